//! System V shared memory.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT};

const KEY: i32 = 0x5e3a_0003;
const RDONLY: i32 = 0o10000;
const RND: i32 = 0o20000;
const REMAP: i32 = 0o40000;
const EXEC: i32 = 0o100000;
const LOCK: i32 = 11;
const UNLOCK: i32 = 12;
const SHM_STAT: i32 = 13;
const SHM_INFO: i32 = 14;
const SHM_STAT_ANY: i32 = 15;

/// `struct shmid64_ds` in words of 64 bits.
type Ds = [u64; 14];

/// Removes what a case that was ended in the middle has left.
pub fn sweep() {
    let mut info = [0u64; 6];
    let highest = sys!(shmctl, 0, SHM_INFO, &mut info);
    for index in 0..=highest.max(-1) {
        let id = sys!(shmctl, index, SHM_STAT_ANY, &mut [0u64; 14]);
        if info[0] > 0 && id >= 0 {
            sys!(shmctl, id, IPC_RMID, 0);
        }
    }
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    gets(a);
    attaches(a);
    detaches(a);
    controls(a);
}

/// A segment that goes with the value.
struct Segment(i32);

impl Segment {
    fn of(size: usize) -> Segment {
        Segment(sys!(shmget, IPC_PRIVATE, size, 0o600) as i32)
    }

    fn attach(&self) -> usize {
        sys!(shmat, self.0, 0, 0) as usize
    }

    fn stat(&self) -> Ds {
        let mut ds: Ds = [0; 14];
        sys!(shmctl, self.0, IPC_STAT, &mut ds);
        ds
    }

    fn attached(&self) -> u64 {
        self.stat()[11]
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        sys!(shmctl, self.0, IPC_RMID, 0);
    }
}

fn gets(a: &mut Calls) {
    a.call("shmget", "EACCES EEXIST EINVAL ENOENT ENOMEM ENOSPC", "", false)
        .not("ENFILE", "needs the whole system's limit")
        .not("EPERM", "huge pages are not there");
    a.ok("key", || {
        let made = sys!(shmget, KEY, 5000, IPC_CREAT | 0o600);
        let again = (sys!(shmget, KEY, 0, 0) == made, sys!(shmget, KEY, 5000, IPC_CREAT) == made);
        (made >= 0, again.0, again.1, sys!(shmctl, made, IPC_RMID, 0), sys!(shmget, KEY, 0, 0))
    })
    .err("EACCES", || {
        let made = sys!(shmget, KEY, 1, IPC_CREAT | 0o600);
        let how = user_gets(|| sys!(shmget, KEY, 1, 0o400));
        sys!(shmctl, made, IPC_RMID, 0);
        how
    })
    .err("EEXIST", || {
        let made = sys!(shmget, KEY, 1, IPC_CREAT | 0o600);
        let r = sys!(shmget, KEY, 1, IPC_CREAT | IPC_EXCL);
        sys!(shmctl, made, IPC_RMID, 0);
        r
    })
    .err("EINVAL", || {
        let made = sys!(shmget, KEY, 5000, IPC_CREAT | 0o600);
        let r = (sys!(shmget, KEY, 5001, 0), sys!(shmget, IPC_PRIVATE, 0, 0o600), sys!(shmget, IPC_PRIVATE, -1, 0o600));
        sys!(shmctl, made, IPC_RMID, 0);
        r
    })
    .err("ENOENT", || sys!(shmget, KEY, 1, 0o600))
    .err("ENOMEM", || sys!(shmget, IPC_PRIVATE, 1usize << 45, 0o600))
    .err("ENOSPC", || {
        let set = |value: &str| {
            let fd = open(c"/proc/sys/kernel/shmmni", libc::O_WRONLY);
            sys!(write, fd, value.as_ptr(), value.len());
            sys!(close, fd);
        };
        let old = content(c"/proc/sys/kernel/shmmni").replace('.', "");
        set("0");
        let r = sys!(shmget, IPC_PRIVATE, 1, 0o600);
        set(&old);
        (r, old, content(c"/proc/sys/kernel/shmmax"), content(c"/proc/sys/kernel/shmall"))
    });
}

fn attaches(a: &mut Calls) {
    a.call("shmat", "EACCES EINVAL", "addr", false).not("EIDRM", "a race with a removal").not("ENOMEM", "see --nth");
    a.ok("shared-by-all", || {
        let segment = Segment::of(5000);
        let (one, two) = (segment.attach(), segment.attach());
        fill(one, 8192, b'q');
        let how = wait(child(|| {
            fill(two + 4999, 1, b'c');
            let third = segment.attach();
            i32::from(peek(third + 4999)) + i32::from(segment.attached() == 5)
        }));
        (peek(two), how, peek(one + 4999), one != two, segment.attached(), sys!(shmdt, one), segment.attached(), sys!(shmdt, two))
    })
    .ok("lives-while-attached", || {
        let segment = Segment::of(1);
        let at = segment.attach();
        fill(at, 1, b'x');
        let gone = sys!(shmctl, segment.0, IPC_RMID, 0);
        let ds = segment.stat();
        let again = segment.attach();
        let r = (gone, format!("{:o} {:x} {}", ds[2] >> 32, ds[0] as u32, ds[11]), peek(again), sys!(shmctl, segment.0, IPC_RMID, 0));
        (r.0, r.1, r.2, r.3, sys!(shmdt, at), sys!(shmdt, again), sys!(shmctl, segment.0, IPC_STAT, &mut [0u64; 14]))
    })
    .ok("removed-key-is-free", || {
        let made = Segment(sys!(shmget, KEY, 1, IPC_CREAT | 0o600) as i32);
        made.attach();
        sys!(shmctl, made.0, IPC_RMID, 0);
        let r = sys!(shmget, KEY, 1, 0);
        let next = Segment(sys!(shmget, KEY, 1, IPC_CREAT | IPC_EXCL | 0o600) as i32);
        (r, next.0 >= 0, next.0 != made.0)
    })
    .ok("counts-over-fork-and-exit", || {
        let segment = Segment::of(4096);
        segment.attach();
        let pid = child(|| {
            let n = segment.attached();
            let inner = wait(child(|| segment.attached() as i32));
            n as i32 * 10 + inner.trim_start_matches("exited ").parse().unwrap_or(0)
        });
        (wait(pid), segment.attached())
    })
    .ok("counts-parts", || {
        let segment = Segment::of(3 * PAGE);
        let at = segment.attach();
        sys!(mprotect, at + PAGE, PAGE, libc::PROT_READ);
        let three = segment.attached();
        sys!(mprotect, at + PAGE, PAGE, libc::PROT_READ | libc::PROT_WRITE);
        let still = segment.attached();
        sys!(munmap, at + PAGE, PAGE);
        (three, still, segment.attached(), sys!(shmdt, at), segment.attached())
    })
    .ok("read-only", || {
        let segment = Segment::of(4096);
        let at = sys!(shmat, segment.0, 0, RDONLY) as usize;
        let how = wait(child(|| {
            fill(at, 1, 1);
            0
        }));
        (peek(at), how, sys!(mprotect, at, PAGE, libc::PROT_WRITE), sys!(read, pipe().0, at, 0))
    })
    .ok("execute", || {
        let segment = Segment(sys!(shmget, IPC_PRIVATE, 4096, 0o700) as i32);
        let at = sys!(shmat, segment.0, 0, EXEC) as usize;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let line = maps.lines().find(|l| l.starts_with(&format!("{at:08x}-"))).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1).copied().unwrap_or("?").to_string(), words.get(5..).map(|w| w.join(" ")).unwrap_or_default())
    })
    .ok("where-it-is-wanted", || {
        let segment = Segment::of(2 * PAGE);
        let at = pages(4);
        sys!(munmap, at, 4 * PAGE);
        let exact = sys!(shmat, segment.0, at, 0) as usize == at;
        let taken = sys!(shmat, segment.0, at + PAGE, 0);
        let over = sys!(shmat, segment.0, at + PAGE, REMAP) as usize == at + PAGE;
        let rounded = sys!(shmat, segment.0, at + 3 * PAGE + 5, RND) as usize == at + 3 * PAGE;
        (exact, taken, over, rounded, segment.attached(), sys!(shmdt, at), sys!(shmdt, at + PAGE), segment.attached())
    })
    .ok("unmapped-by-exec", || {
        let segment = Segment::of(1);
        let pid = child(|| {
            segment.attach();
            // A program that sleeps.
            let arguments = [c"/proc/self/exe".as_ptr(), c"--role=sleep".as_ptr(), std::ptr::null()];
            sys!(execve, c"/proc/self/exe", &arguments, &arguments[2]) as i32
        });
        sleep_ms(300);
        let left = (segment.attached(), segment.stat()[10] == (pid as u64) << 32 | sys!(getpid) as u64);
        end(pid);
        left
    })
    .err("EACCES", || {
        let segment = Segment::of(1);
        let mut ds = segment.stat();
        ds[2] = ds[2] & 0xffff_ffff | 0o644 << 32;
        sys!(shmctl, segment.0, IPC_SET, &ds);
        user_gets(|| (sys!(shmat, segment.0, 0, 0), sys!(shmat, segment.0, 0, RDONLY) > 0, sys!(shmat, segment.0, 0, RDONLY | EXEC)))
    })
    .err("EINVAL", || {
        let segment = Segment::of(1);
        let ids = (sys!(shmat, -1, 0, 0), sys!(shmat, 0x7fff_ffff, 0, 0));
        (
            ids,
            sys!(shmat, segment.0, 5, 0),
            sys!(shmat, segment.0, 0, REMAP),
            sys!(shmat, segment.0, 5, RND | REMAP),
            sys!(shmat, segment.0, pages(1), 0),
            segment.attached(),
        )
    })
    .bad("addr", || {
        let segment = Segment::of(1);
        ([1usize << 47, KERN, PAGE, !0xfff].map(|p| sys!(shmat, segment.0, p, 0)).to_vec(), segment.attached())
    });
}

fn detaches(a: &mut Calls) {
    a.call("shmdt", "EINVAL", "addr", false);
    a.ok("all-that-is-left", || {
        let segment = Segment::of(4 * PAGE);
        let at = segment.attach();
        sys!(munmap, at, PAGE);
        sys!(munmap, at + 2 * PAGE, PAGE);
        let between = sys!(mmap, at, PAGE, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED, -1, 0) as usize;
        let parts = segment.attached();
        let r = sys!(shmdt, at);
        (between == at, parts, r, segment.attached(), peek(between), sys!(shmdt, at))
    })
    .ok("moved", || {
        let segment = Segment::of(PAGE);
        let at = segment.attach();
        let to = pages(1);
        let moved = sys!(mremap, at, PAGE, PAGE, 3, to) as usize == to;
        (moved, segment.attached(), sys!(shmdt, at), sys!(shmdt, to), segment.attached())
    })
    .err("EINVAL", || {
        let at = Segment::of(2 * PAGE).attach();
        let plain = pages(1);
        (sys!(shmdt, at + 1), sys!(shmdt, at + PAGE), sys!(shmdt, plain), sys!(shmdt, 0))
    })
    .bad("addr", || [BAD, KERN, !0xfff].map(|p| sys!(shmdt, p)).to_vec());
}

fn controls(a: &mut Calls) {
    a.call("shmctl", "EACCES EINVAL ENOMEM EPERM", "buf", false).not("EIDRM", "a race with a removal").not("EOVERFLOW", "not on 64 bits");
    a.ok("stat-and-set", || {
        let segment = Segment(sys!(shmget, KEY, 5000, IPC_CREAT | 0o640) as i32);
        let old = segment.stat();
        let at = segment.attach();
        let used = segment.stat();
        sys!(shmdt, at);
        let left = segment.stat();
        let mut new = old;
        (new[0], new[2]) = (new[0] & 0xffff_ffff | 1000 << 32, new[2] & 0xffff_ffff | 0o7604 << 32);
        let r = sys!(shmctl, segment.0, IPC_SET, &new);
        let set = segment.stat();
        let show = |ds: Ds| format!("{:x} {} {:o} {}", ds[0], ds[1], ds[2] >> 32, ds[6]);
        let me = sys!(getpid) as u64;
        let times = [old[7] == 0, old[8] == 0, old[9] > 0, used[7] >= old[9], used[8] == 0, left[8] >= old[9]].map(i32::from);
        (show(old), format!("{times:?}"), old[10] == me, used[10] == me << 32 | me, r, show(set))
    })
    .ok("info", || {
        let segment = Segment::of(5000);
        let (mut limits, mut usage) = ([0u64; 9], [0u64; 6]);
        fill(segment.attach(), 1, 1);
        let highest = sys!(shmctl, 0, 3, &mut limits);
        let same = sys!(shmctl, 0, SHM_INFO, &mut usage) == highest;
        let found = (0..=highest).any(|i| sys!(shmctl, i, SHM_STAT, &mut [0u64; 14]) == segment.0 as isize);
        (same, found, format!("{limits:?}"), format!("{usage:?}"))
    })
    .ok("proc", || {
        let segment = Segment::of(5000);
        fill(segment.attach(), 1, 1);
        let all = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let own = all.lines().find(|l| l.split_whitespace().nth(1) == Some(&segment.0.to_string())).unwrap_or_default();
        let pid = sys!(getpid).to_string();
        let words = own
            .split_whitespace()
            .enumerate()
            .filter(|(i, _)| !matches!(i, 1 | 11 | 13))
            .map(|(_, w)| if w == pid { "me".to_string() } else { w.to_string() });
        (all.lines().next().unwrap_or_default().replace(' ', "_"), words.collect::<Vec<_>>(), own.len())
    })
    .ok("lock", || {
        let segment = Segment::of(5000);
        let mode = || format!("{:o}", segment.stat()[2] >> 32);
        let on = (sys!(shmctl, segment.0, LOCK, 0), mode(), sys!(shmctl, segment.0, LOCK, 0));
        (on.0, on.1, on.2, sys!(shmctl, segment.0, UNLOCK, 0), mode(), sys!(shmctl, segment.0, UNLOCK, 0))
    })
    .err("EACCES", || {
        let segment = Segment::of(1);
        user_gets(|| sys!(shmctl, segment.0, IPC_STAT, &mut [0u64; 14]))
    })
    .err("EINVAL", || {
        let segment = Segment::of(1);
        let mut ds: Ds = [0; 14];
        [(-1, IPC_STAT), (segment.0, -1), (segment.0, 99), (0x7fff_ffff, LOCK), (4095, SHM_STAT), (segment.0, IPC_STAT | 0x100)]
            .map(|(id, c)| sys!(shmctl, id, c, &mut ds))
            .to_vec()
    })
    .err("ENOMEM", || {
        sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[8192u64, 8192], 0);
        user();
        let (small, large) = (Segment::of(8192), Segment::of(1));
        (sys!(shmctl, small.0, LOCK, 0), sys!(shmctl, large.0, LOCK, 0), sys!(shmctl, small.0, UNLOCK, 0), sys!(shmctl, large.0, LOCK, 0))
    })
    .err("EPERM", || {
        let segment = Segment::of(1);
        let ds = segment.stat();
        let how = user_gets(|| [IPC_RMID, IPC_SET, LOCK, UNLOCK].map(|c| sys!(shmctl, segment.0, c, &ds)).to_vec());
        sys!(prlimit64, 0, libc::RLIMIT_MEMLOCK, &[0u64, 0], 0);
        (how, as_user(|| sys!(shmctl, Segment::of(1).0, LOCK, 0)))
    })
    .bad("buf", || {
        let segment = Segment::of(1);
        [IPC_STAT, IPC_SET, 3, SHM_INFO]
            .map(|c| [BAD, KERN, edge(7)].map(|p| sys!(shmctl, segment.0, c, p)).map(Show::show).join(" "))
            .to_vec()
    });
}
