//! System V semaphores.
mod undo;

use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT};

const KEY: i32 = 0x5e3a_0001;
const UNDO: i32 = 0x1000;
const GETPID: i32 = 11;
const GETVAL: i32 = 12;
const GETALL: i32 = 13;
const GETNCNT: i32 = 14;
const GETZCNT: i32 = 15;
const SETVAL: i32 = 16;
const SETALL: i32 = 17;
const SEM_STAT: i32 = 18;
const SEM_INFO: i32 = 19;
const SEM_STAT_ANY: i32 = 20;

/// `struct semid64_ds`: key and user, group and maker, …, from the third pair on times and number.
type Ds = [u32; 22];

/// Removes what a case that was ended in the middle has left.
pub fn sweep() {
    let mut info = [0i32; 10];
    let highest = sys!(semctl, 0, 0, SEM_INFO, &mut info);
    for index in 0..=highest.max(-1) {
        let id = sys!(semctl, index, 0, SEM_STAT_ANY, &mut [0u32; 22]);
        if info[7] > 0 && id >= 0 {
            sys!(semctl, id, 0, IPC_RMID);
        }
    }
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    gets(a);
    operations(a);
    waits(a);
    undo::undoes(a);
    timed(a);
    controls(a);
}

/// A set that goes with the value.
struct Set(i32);

impl Set {
    fn of(values: &[u16]) -> Set {
        let id = sys!(semget, IPC_PRIVATE, values.len(), 0o600) as i32;
        sys!(semctl, id, 0, SETALL, values.as_ptr());
        Set(id)
    }

    fn op(&self, ops: &[(u16, i16, i32)]) -> isize {
        op(self.0, ops)
    }

    fn values(&self) -> String {
        let mut values = [0u16; 4];
        let mut ds: Ds = [0; 22];
        sys!(semctl, self.0, 0, IPC_STAT, &mut ds);
        let r = sys!(semctl, self.0, 0, GETALL, &mut values);
        if r < 0 { r.show() } else { values[..ds[16].min(4) as usize].iter().map(|v| v.to_string()).collect::<Vec<_>>().join(",") }
    }

    fn ask(&self, number: i32, command: i32) -> isize {
        sys!(semctl, self.0, number, command, 0)
    }

    fn set(&self, number: i32, value: i32) -> isize {
        sys!(semctl, self.0, number, SETVAL, value)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        sys!(semctl, self.0, 0, IPC_RMID);
    }
}

fn packed(ops: &[(u16, i16, i32)]) -> Vec<[i16; 3]> {
    ops.iter().map(|&(number, change, flags)| [number as i16, change, flags as i16]).collect()
}

fn op(id: i32, ops: &[(u16, i16, i32)]) -> isize {
    sys!(semop, id, packed(ops).as_ptr(), ops.len())
}

fn gets(a: &mut Calls) {
    a.call("semget", "EACCES EEXIST EINVAL ENOENT ENOSPC", "", false).not("ENOMEM", "see --nth");
    a.ok("key", || {
        let made = sys!(semget, KEY, 3, IPC_CREAT | 0o640);
        let again = (sys!(semget, KEY, 0, 0) == made, sys!(semget, KEY, 3, IPC_CREAT) == made, sys!(semget, KEY, 2, 0o600) == made);
        let other = sys!(semget, IPC_PRIVATE, 1, 0o600);
        let different = other != made;
        (made >= 0, again.0, again.1, again.2, different, sys!(semctl, made, 0, IPC_RMID), sys!(semctl, other, 0, IPC_RMID))
    })
    .ok("stale-number", || {
        let made = sys!(semget, IPC_PRIVATE, 1, 0o600);
        sys!(semctl, made, 0, IPC_RMID);
        let next = sys!(semget, IPC_PRIVATE, 1, 0o600);
        let r = (next != made, sys!(semctl, made, 0, GETVAL), sys!(semctl, next + (1 << 15), 0, GETVAL));
        sys!(semctl, next, 0, IPC_RMID);
        r
    })
    .err("EACCES", || {
        let made = sys!(semget, KEY, 1, IPC_CREAT | 0o600);
        let how = user_gets(|| (sys!(semget, KEY, 1, 0o400), sys!(semget, KEY, 1, 0) == made));
        sys!(semctl, made, 0, IPC_RMID);
        how
    })
    .err("EEXIST", || {
        let made = sys!(semget, KEY, 1, IPC_CREAT | 0o600);
        let r = sys!(semget, KEY, 9, IPC_CREAT | IPC_EXCL | 0o600);
        sys!(semctl, made, 0, IPC_RMID);
        r
    })
    .err("EINVAL", || {
        let made = sys!(semget, KEY, 1, IPC_CREAT | 0o600);
        let r = [(KEY, 2), (IPC_PRIVATE, -1), (IPC_PRIVATE, 0), (IPC_PRIVATE, 32001), (KEY, -1)]
            .map(|(k, n)| sys!(semget, k, n, IPC_CREAT | 0o600));
        sys!(semctl, made, 0, IPC_RMID);
        r.to_vec()
    })
    .err("ENOENT", || (sys!(semget, KEY, 1, 0o600), sys!(semget, KEY, 0, IPC_EXCL)))
    .err("ENOSPC", || {
        let file = c"/proc/sys/kernel/sem";
        let old = std::fs::read_to_string("/proc/sys/kernel/sem").unwrap_or_default();
        let set = |value: &str| {
            let fd = open(file, libc::O_WRONLY);
            sys!(write, fd, value.as_ptr(), value.len());
            sys!(close, fd);
        };
        set("32000 5 500 32000");
        let many = sys!(semget, IPC_PRIVATE, 6, 0o600);
        set("32000 1024000000 500 0");
        let sets = sys!(semget, IPC_PRIVATE, 1, 0o600);
        set(&old);
        (many, sets, old.replace('\t', " ").replace('\n', "$"))
    });
}

fn operations(a: &mut Calls) {
    a.call("semop", "E2BIG EACCES EAGAIN EFBIG EIDRM EINVAL ERANGE", "ops", true).not("ENOMEM", "see --nth");
    a.ok("all-or-nothing", || {
        let set = Set::of(&[1, 0, 5]);
        let no = set.op(&[(2, -5, 0), (0, -1, 0), (1, -1, IPC_NOWAIT)]);
        let before = set.values();
        let yes = set.op(&[(2, -4, 0), (0, -1, 0), (0, 0, 0), (1, 7, 0)]);
        (no, before, yes, set.values(), set.ask(0, GETPID) == sys!(getpid), set.ask(1, GETVAL))
    })
    .ok("one-twice", || {
        let set = Set::of(&[0]);
        let first = set.op(&[(0, 2, 0), (0, -1, 0), (0, -1, 0), (0, 0, 0)]);
        (first, set.op(&[(0, 1, 0), (0, -2, IPC_NOWAIT)]), set.values())
    })
    .ok("reading-needs-no-write", || {
        let set = Set::of(&[0, 1]);
        let mut ds: Ds = [0; 22];
        sys!(semctl, set.0, 0, IPC_STAT, &mut ds);
        ds[5] = 0o444;
        sys!(semctl, set.0, 0, IPC_SET, &ds);
        let how = wait(child(|| as_user(|| i32::from(set.op(&[(0, 0, 0)]) == 0) + 2 * i32::from(set.op(&[(0, 0, 0), (1, -1, 0)]) == -13))));
        (how, set.values())
    })
    .err("E2BIG", || Set::of(&[0]).op(&[(0, 0, 0); 501]))
    .err("EACCES", || {
        let set = Set::of(&[0]);
        user_gets(|| set.op(&[(0, 1, 0)]))
    })
    .err("EAGAIN", || {
        let set = Set::of(&[1]);
        (set.op(&[(0, 0, IPC_NOWAIT)]), set.op(&[(0, -2, IPC_NOWAIT)]), set.values())
    })
    .err("EFBIG", || {
        let set = Set::of(&[1, 1]);
        (set.op(&[(0, -1, 0), (2, 1, 0)]), set.values())
    })
    .err("EIDRM", || {
        let set = Set::of(&[1]);
        let pid = child(|| {
            sleep_ms(60);
            sys!(semctl, set.0, 0, IPC_RMID) as i32
        });
        (set.op(&[(0, 0, 0)]), wait(pid), set.op(&[(0, 0, 0)]))
    })
    .err("EINVAL", || (op(-1, &[(0, 1, 0)]), op(0x7fff_ffff, &[(0, 1, 0)]), sys!(semop, Set::of(&[0]).0, &[0i16; 3], 0)))
    .err("ERANGE", || {
        let set = Set::of(&[32767, 1]);
        let over = set.op(&[(1, -1, 0), (0, 1, 0)]);
        let undo = (set.op(&[(0, -32767, UNDO)]), set.op(&[(0, 20000, 0)]), set.op(&[(0, -20000, UNDO)]));
        (over, undo.0, undo.1, undo.2, set.values())
    })
    .bad("ops", || {
        let set = Set::of(&[1]);
        ([BAD, KERN, edge(5)].map(|p| sys!(semop, set.0, p, 1)).to_vec(), sys!(semop, -1, BAD, 1))
    })
    .intr("waits", || {
        let set = Set::of(&[0]);
        (interrupted(|| set.op(&[(0, -1, 0)])), set.ask(0, GETNCNT), set.values())
    })
    .intr("never-restarts", || {
        let set = Set::of(&[0]);
        restarted(|| {}, || set.op(&[(0, -1, 0)]))
    });
}

fn waits(a: &mut Calls) {
    a.ok("waits-for-more", || {
        let set = Set::of(&[0]);
        let pid = child(|| {
            sleep_ms(60);
            let counts = (set.ask(0, GETNCNT), set.ask(0, GETZCNT));
            set.op(&[(0, 1, 0)]);
            let few = set.ask(0, GETNCNT);
            set.op(&[(0, 2, 0)]);
            (counts.0 * 100 + counts.1 * 10 + few) as i32
        });
        (set.op(&[(0, -2, 0)]), wait(pid), set.values())
    })
    .ok("waits-for-zero", || {
        let set = Set::of(&[2, 0]);
        let pid = child(|| {
            sleep_ms(60);
            let counts = set.ask(0, GETZCNT) * 10 + set.ask(0, GETNCNT);
            set.set(0, 0);
            counts as i32
        });
        (set.op(&[(0, 0, 0), (1, 3, 0)]), wait(pid), set.values())
    })
    .ok("counts-what-it-waits-for", || {
        let set = Set::of(&[0, 0, 1]);
        let pid = child(|| set.op(&[(0, 1, 0), (1, -1, 0), (2, 0, 0)]) as i32);
        sleep_ms(60);
        let first = [0, 1, 2].map(|n| set.ask(n, GETNCNT) * 10 + set.ask(n, GETZCNT)).to_vec();
        set.op(&[(1, 1, 0)]);
        let then = [0, 1, 2].map(|n| set.ask(n, GETNCNT) * 10 + set.ask(n, GETZCNT)).to_vec();
        let values = set.values();
        set.set(2, 0);
        (first, then, values, wait(pid), set.values())
    })
    .ok("in-the-order-of-coming", || {
        let (set, done) = (Set::of(&[0]), pipe());
        let pids = [1u8, 2, 3].map(|n| {
            let pid = child(|| {
                set.op(&[(0, -1, 0)]);
                sys!(write, done.1, &[b'0' + n], 1);
                0
            });
            sleep_ms(40);
            pid
        });
        for _ in pids {
            set.op(&[(0, 1, 0)]);
            sleep_ms(40);
        }
        let ends = pids.map(wait).to_vec();
        let mut order = [0u8; 3];
        sys!(read, done.0, &mut order, 3);
        (text(&order), ends)
    })
    .ok("small-passes-large", || {
        let set = Set::of(&[0]);
        let large = child(|| set.op(&[(0, -5, 0)]) as i32);
        sleep_ms(40);
        let small = child(|| set.op(&[(0, -1, 0)]) as i32);
        sleep_ms(40);
        set.op(&[(0, 1, 0)]);
        let first = wait(small);
        set.op(&[(0, 5, 0)]);
        (first, wait(large), set.values())
    })
    .ok("chain", || {
        // Each lets the next one go, all by one operation.
        let set = Set::of(&[0, 0, 0]);
        let one = child(|| set.op(&[(0, -1, 0), (1, 1, 0)]) as i32);
        let two = child(|| set.op(&[(1, -1, 0), (2, 1, 0)]) as i32);
        let three = child(|| set.op(&[(0, 0, 0), (2, -1, 0)]) as i32);
        sleep_ms(80);
        set.op(&[(0, 1, 0)]);
        (wait(one), wait(two), wait(three), set.values())
    })
    .ok("fails-while-it-waits", || {
        let set = Set::of(&[0, 0]);
        let pid = child(|| -(set.op(&[(0, -1, 0), (1, 1, 0)]) as i32));
        sleep_ms(60);
        set.set(1, 32767);
        set.op(&[(0, 1, 0)]);
        (wait(pid), set.values())
    })
    .ok("set-all-lets-go", || {
        let set = Set::of(&[0, 0]);
        let pid = child(|| set.op(&[(0, -1, 0), (1, -1, 0)]) as i32);
        sleep_ms(60);
        let r = sys!(semctl, set.0, 0, SETALL, &[3u16, 3]);
        (r, wait(pid), set.values())
    });
}

fn timed(a: &mut Calls) {
    a.call("semtimedop", "EAGAIN EINVAL", "timeout ops", true)
        .not("E2BIG", "see semop")
        .not("EACCES", "see semop")
        .not("EFBIG", "see semop")
        .not("EIDRM", "see semop")
        .not("ERANGE", "see semop")
        .not("ENOMEM", "see --nth");
    a.ok("in-time", || {
        let set = Set::of(&[0]);
        let pid = child(|| {
            sleep_ms(50);
            set.op(&[(0, 1, 0)]) as i32
        });
        (sys!(semtimedop, set.0, packed(&[(0, -1, 0)]).as_ptr(), 1, &ms(5000)), wait(pid))
    })
    .err("EAGAIN", || {
        let set = Set::of(&[0]);
        let start = now_ms();
        let late = sys!(semtimedop, set.0, packed(&[(0, -1, 0)]).as_ptr(), 1, &ms(60));
        (late, now_ms() - start >= 55, sys!(semtimedop, set.0, packed(&[(0, -1, 0)]).as_ptr(), 1, &ms(0)), set.ask(0, GETNCNT))
    })
    .err("EINVAL", || {
        let set = Set::of(&[0]);
        let times = [(-1, 0), (0, -1), (0, 1_000_000_000)];
        times.map(|(s, n)| sys!(semtimedop, set.0, packed(&[(0, 1, 0)]).as_ptr(), 1, &libc::timespec { tv_sec: s, tv_nsec: n })).to_vec()
    })
    .bad("timeout", || [BAD, KERN, edge(15)].map(|p| sys!(semtimedop, -1, BAD, 9999, p)).to_vec())
    .bad("ops", || [BAD, KERN, edge(5)].map(|p| sys!(semtimedop, -1, p, 1, &ms(1))).to_vec())
    .intr("waits", || {
        let set = Set::of(&[0]);
        interrupted(|| sys!(semtimedop, set.0, packed(&[(0, -1, 0)]).as_ptr(), 1, &ms(5000)))
    });
}

fn controls(a: &mut Calls) {
    a.call("semctl", "EACCES EINVAL EPERM ERANGE", "arg", false)
        .not("EIDRM", "a race with a removal")
        .not("EOVERFLOW", "not on 64 bits")
        .not("ENOMEM", "see --nth");
    a.ok("stat", || {
        let id = sys!(semget, KEY, 3, IPC_CREAT | 0o7640);
        let mut ds: Ds = [0; 22];
        let r = sys!(semctl, id, 0, IPC_STAT, &mut ds);
        let fresh = (ds[12] == 0, ds[14] > 1_600_000_000, ds[16]);
        op(id as i32, &[(0, 1, 0)]);
        let mut later: Ds = [0; 22];
        sys!(semctl, id, 0, IPC_STAT, &mut later);
        sys!(semctl, id, 0, IPC_RMID);
        (r, ds[0] == KEY as u32, format!("{:?} {:o}", &ds[1..5], ds[5]), fresh.0, fresh.1, fresh.2, later[12] >= ds[14])
    })
    .ok("set", || {
        let set = Set::of(&[0]);
        let mut ds: Ds = [0; 22];
        sys!(semctl, set.0, 0, IPC_STAT, &mut ds);
        (ds[1], ds[2], ds[5]) = (1000, 1000, 0o7604);
        let r = sys!(semctl, set.0, 0, IPC_SET, &ds);
        let how = wait(child(|| as_user(|| set.op(&[(0, 1, 0)]) as i32 + sys!(semctl, set.0, 0, IPC_SET, &ds) as i32)));
        ds = [0; 22];
        sys!(semctl, set.0, 0, IPC_STAT, &mut ds);
        (r, how, format!("{:?} {:o}", &ds[1..5], ds[5]))
    })
    .ok("info", || {
        let mut first = [0i32; 10];
        sys!(semctl, 0, 0, SEM_INFO, &mut first);
        let set = Set::of(&[0, 0, 0]);
        let (mut info, mut limits) = ([0i32; 10], [0i32; 10]);
        let highest = sys!(semctl, 0, 0, SEM_INFO, &mut info);
        let r = sys!(semctl, 0, 0, 3, &mut limits);
        let mut ds: Ds = [0; 22];
        let found = (0..=highest).any(|i| sys!(semctl, i, 0, SEM_STAT, &mut ds) == set.0 as isize);
        (r == highest, info[7] - first[7], info[9] - first[9], found, format!("{limits:?}"))
    })
    .ok("proc", || {
        let set = Set::of(&[0, 0]);
        let all = std::fs::read_to_string("/proc/sysvipc/sem").unwrap_or_default();
        let mut lines = all.lines();
        let head = lines.next().unwrap_or_default().replace(' ', "_");
        let own = lines.find(|l| l.split_whitespace().nth(1) == Some(&set.0.to_string())).unwrap_or_default();
        let places: Vec<usize> = own.match_indices(char::is_whitespace).map(|m| m.0).collect();
        (head, own.split_whitespace().skip(2).take(7).map(String::from).collect::<Vec<_>>(), own.len(), places.len() > 9)
    })
    .ok("stat-any", || {
        let set = Set::of(&[0]);
        let index = set.0 & 0x7fff;
        wait(child(|| {
            as_user(|| {
                let mut ds: Ds = [0; 22];
                let results = (
                    sys!(semctl, index, 0, SEM_STAT, &mut ds),
                    sys!(semctl, index, 0, SEM_STAT_ANY, &mut ds),
                    sys!(semctl, set.0, 0, IPC_STAT, &mut ds),
                );
                i32::from(results.0 == -13) + 2 * i32::from(results.1 == set.0 as isize) + 4 * i32::from(results.2 == -13)
            })
        }))
    })
    .err("EACCES", || {
        let set = Set::of(&[0]);
        user_gets(|| {
            [GETVAL, GETALL, GETPID, GETNCNT, SETALL].map(|c| sys!(semctl, set.0, 0, c, &[0u64; 2])).to_vec().show()
                + " "
                + &set.set(0, 0).show()
        })
    })
    .err("EINVAL", || {
        let set = Set::of(&[0, 0]);
        let numbers = [-1, 2]
            .map(|n| (set.ask(n, GETVAL), set.set(n, 1)))
            .to_vec()
            .into_iter()
            .map(|(a, b)| format!("{} {}", a.show(), b.show()))
            .collect::<Vec<_>>();
        let mut ds: Ds = [0; 22];
        sys!(semctl, set.0, 0, IPC_STAT, &mut ds);
        ds[1] = u32::MAX;
        let ids = [-1, 0x7fff_ffff, set.0 + (1 << 15)].map(|id| sys!(semctl, id, 0, GETVAL, 0)).to_vec();
        (
            numbers,
            ids,
            set.ask(0, 99),
            set.ask(0, IPC_STAT | 0x100),
            sys!(semctl, set.0, 0, IPC_SET, &ds),
            sys!(semctl, 32000, 0, SEM_STAT, &mut ds),
        )
    })
    .err("EPERM", || {
        let set = Set::of(&[0]);
        let mut ds: Ds = [0; 22];
        sys!(semctl, set.0, 0, IPC_STAT, &mut ds);
        ds[5] = 0o666;
        sys!(semctl, set.0, 0, IPC_SET, &ds);
        user_gets(|| (sys!(semctl, set.0, 0, IPC_RMID), sys!(semctl, set.0, 0, IPC_SET, &ds)))
    })
    .err("ERANGE", || {
        let set = Set::of(&[1, 1]);
        (set.set(0, -1), set.set(0, 32768), set.set(9, 32768), sys!(semctl, set.0, 0, SETALL, &[1u16, 32768]), set.values())
    })
    .bad("arg", || {
        let set = Set::of(&[1, 1, 1, 1]);
        let commands = [IPC_STAT, IPC_SET, GETALL, SETALL, SEM_INFO, 3];
        commands.map(|c| [BAD, KERN, edge(7)].map(|p| sys!(semctl, set.0, 0, c, p)).to_vec()).to_vec()
    });
}
