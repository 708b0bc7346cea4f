//! System V message queues.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{IPC_CREAT, IPC_EXCL, IPC_NOWAIT, IPC_PRIVATE, IPC_RMID, IPC_SET, IPC_STAT};
use std::sync::atomic::Ordering;

const KEY: i32 = 0x5e3a_0002;
const NOERROR: i32 = 0o10000;
const EXCEPT: i32 = 0o20000;
const COPY: i32 = 0o40000;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;

/// `struct msqid64_ds` in words of 64 bits.
type Ds = [u64; 15];

/// Removes what a case that was ended in the middle has left.
pub fn sweep() {
    let mut info = [0i32; 8];
    let highest = sys!(msgctl, 0, MSG_INFO, &mut info);
    for index in 0..=highest.max(-1) {
        let id = sys!(msgctl, index, MSG_STAT_ANY, &mut [0u64; 15]);
        if info[0] > 0 && id >= 0 {
            sys!(msgctl, id, IPC_RMID, 0);
        }
    }
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    gets(a);
    sends(a);
    receives(a);
    controls(a);
}

/// A queue that goes with the value.
struct Queue(i32);

impl Queue {
    fn new() -> Queue {
        Queue(sys!(msgget, IPC_PRIVATE, 0o600) as i32)
    }

    fn send(&self, kind: i64, text: &str) -> isize {
        send(self.0, kind, text, IPC_NOWAIT)
    }

    fn get(&self, kind: i64, flags: i32) -> String {
        receive(self.0, kind, 16, flags | IPC_NOWAIT)
    }

    fn stat(&self) -> Ds {
        let mut ds: Ds = [0; 15];
        sys!(msgctl, self.0, IPC_STAT, &mut ds);
        ds
    }

    /// Bytes, messages, limit.
    fn fill(&self) -> String {
        format!("{:?}", &self.stat()[9..12])
    }

    /// Room for so many bytes.
    fn limit(&self, bytes: u64) -> isize {
        let mut ds = self.stat();
        ds[11] = bytes;
        sys!(msgctl, self.0, IPC_SET, &ds)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        sys!(msgctl, self.0, IPC_RMID, 0);
    }
}

fn send(id: i32, kind: i64, text: &str, flags: i32) -> isize {
    let mut message = kind.to_ne_bytes().to_vec();
    message.extend_from_slice(text.as_bytes());
    sys!(msgsnd, id, message.as_ptr(), text.len(), flags)
}

fn receive(id: i32, kind: i64, room: usize, flags: i32) -> String {
    let mut buffer = [0u8; 24];
    let n = sys!(msgrcv, id, &mut buffer, room, kind, flags);
    let (head, body) = buffer.split_at(8);
    let kind = i64::from_ne_bytes(head.try_into().unwrap_or_default());
    if n < 0 { n.show() } else { format!("{}@{kind}", text(&body[..n as usize])) }
}

fn gets(a: &mut Calls) {
    a.call("msgget", "EACCES EEXIST ENOENT ENOSPC", "", false).not("ENOMEM", "see --nth");
    a.ok("key", || {
        let made = sys!(msgget, KEY, IPC_CREAT | 0o600);
        let again = sys!(msgget, KEY, IPC_CREAT | 0o600) == made;
        let r = (made >= 0, again, sys!(msgget, KEY, 0) == made, sys!(msgctl, made, IPC_RMID, 0), sys!(msgget, KEY, 0));
        let other = (sys!(msgget, IPC_PRIVATE, 0), sys!(msgctl, made, IPC_STAT, &mut [0u64; 15]));
        sweep();
        (r.0, r.1, r.2, r.3, r.4, other.0 >= 0, other.1)
    })
    .err("EACCES", || {
        let made = sys!(msgget, KEY, IPC_CREAT | 0o600);
        let how = user_gets(|| sys!(msgget, KEY, 0o400));
        sys!(msgctl, made, IPC_RMID, 0);
        how
    })
    .err("EEXIST", || {
        let made = sys!(msgget, KEY, IPC_CREAT | 0o600);
        let r = sys!(msgget, KEY, IPC_CREAT | IPC_EXCL);
        sys!(msgctl, made, IPC_RMID, 0);
        r
    })
    .err("ENOENT", || sys!(msgget, KEY, 0o600))
    .err("ENOSPC", || {
        let set = |value: &str| {
            let fd = open(c"/proc/sys/kernel/msgmni", libc::O_WRONLY);
            sys!(write, fd, value.as_ptr(), value.len());
            sys!(close, fd);
        };
        let old = content(c"/proc/sys/kernel/msgmni").replace('.', "");
        set("0");
        let r = sys!(msgget, IPC_PRIVATE, 0o600);
        set(&old);
        (r, old, content(c"/proc/sys/kernel/msgmax"), content(c"/proc/sys/kernel/msgmnb"))
    });
}

fn sends(a: &mut Calls) {
    a.call("msgsnd", "EACCES EAGAIN EIDRM EINVAL", "msgp", true).not("ENOMEM", "see --nth");
    a.ok("in-order", || {
        let queue = Queue::new();
        let sent = (queue.send(1, "one"), queue.send(5, ""), queue.send(i64::MAX, "max"));
        (sent, queue.fill(), queue.get(0, 0), queue.get(0, 0), queue.get(0, 0), queue.get(0, 0), queue.fill())
    })
    .ok("waits-for-room", || {
        let queue = Queue::new();
        queue.limit(8);
        queue.send(1, "12345678");
        let pid = child(|| {
            sleep_ms(60);
            i32::from(receive(queue.0, 0, 16, 0) == "12345678@1")
        });
        (send(queue.0, 2, "12", 0), wait(pid), queue.get(0, 0))
    })
    .ok("more-bytes-let-go", || {
        let queue = Queue::new();
        queue.limit(2);
        let pid = child(|| {
            sleep_ms(60);
            queue.limit(100) as i32
        });
        (send(queue.0, 2, "1234", 0), wait(pid), queue.fill())
    })
    .ok("who-and-when", || {
        let queue = Queue::new();
        let before = queue.stat();
        queue.send(1, "x");
        queue.get(0, 0);
        let after = queue.stat();
        let me = sys!(getpid) as u64;
        (before[6] == 0, before[7] == 0, before[8] > 0, after[6] >= after[8], after[7] >= after[8], after[12] == me << 32 | me)
    })
    .err("EACCES", || {
        let queue = Queue::new();
        user_gets(|| queue.send(1, "x"))
    })
    .err("EAGAIN", || {
        let queue = Queue::new();
        queue.limit(3);
        (queue.send(1, "12"), queue.send(1, "12"), queue.send(1, ""), queue.send(1, ""), queue.send(1, ""), queue.fill())
    })
    .err("EIDRM", || {
        let queue = Queue::new();
        queue.limit(0);
        let pid = child(|| {
            sleep_ms(60);
            sys!(msgctl, queue.0, IPC_RMID, 0) as i32
        });
        (send(queue.0, 1, "x", 0), wait(pid))
    })
    .err("EINVAL", || {
        let queue = Queue::new();
        let big = pages(4);
        fill(big, 9000, 1);
        (
            queue.send(0, "x"),
            queue.send(-1, "x"),
            send(-1, 1, "x", 0),
            send(0x7fff_ffff, 1, "x", 0),
            sys!(msgsnd, queue.0, big, 8193, 0),
            sys!(msgsnd, queue.0, big, -1, 0),
        )
    })
    .bad("msgp", || {
        let queue = Queue::new();
        let there = edge(11);
        fill(there, 8, 1);
        ([BAD, KERN, edge(7), there].map(|p| sys!(msgsnd, queue.0, p, 4, IPC_NOWAIT)).to_vec(), sys!(msgsnd, -1, BAD, 4, 0), queue.fill())
    })
    .intr("full", || {
        let queue = Queue::new();
        queue.limit(0);
        (interrupted(|| send(queue.0, 1, "x", 0)), queue.fill())
    })
    .intr("never-restarts", || {
        let queue = Queue::new();
        queue.limit(0);
        restarted(|| {}, || send(queue.0, 1, "x", 0))
    });
}

fn filled() -> Queue {
    let queue = Queue::new();
    for (kind, text) in [(3, "a"), (1, "b"), (2, "c"), (1, "d")] {
        queue.send(kind, text);
    }
    queue
}

fn receives(a: &mut Calls) {
    a.call("msgrcv", "E2BIG EACCES EIDRM EINVAL ENOMSG", "msgp", true).not("ENOSYS", "not without an option");
    a.ok("by-type", || {
        let q = filled();
        (q.get(1, 0), q.get(2, 0), q.get(1, 0), q.get(1, 0), q.get(0, 0))
    })
    .ok("no-higher-than", || {
        let q = filled();
        (q.get(-2, 0), q.get(-2, 0), q.get(-2, 0), q.get(-2, 0), q.get(i64::MIN, 0))
    })
    .ok("except", || {
        let q = filled();
        (q.get(3, EXCEPT), q.get(1, EXCEPT), q.get(1, EXCEPT), q.get(1, EXCEPT), q.get(0, EXCEPT))
    })
    .ok("cut", || {
        let q = Queue::new();
        q.send(1, "0123456789");
        let long = receive(q.0, 0, 4, IPC_NOWAIT);
        (long, receive(q.0, 0, 4, IPC_NOWAIT | NOERROR), q.fill())
    })
    .ok("copy", || {
        let q = filled();
        let all = (q.get(0, COPY), q.get(3, COPY), q.get(4, COPY));
        let short = receive(q.0, 0, 0, COPY | IPC_NOWAIT);
        (all, short, receive(q.0, 0, 0, COPY | IPC_NOWAIT | NOERROR), receive(q.0, 0, 16, COPY), q.get(0, COPY | EXCEPT), q.fill())
    })
    .ok("waits-for-its-type", || {
        let q = Queue::new();
        let pid = child(|| {
            sleep_ms(60);
            (q.send(1, "no") + q.send(7, "yes")) as i32
        });
        (receive(q.0, 7, 16, 0), wait(pid), q.fill())
    })
    .ok("too-long-for-who-waits", || {
        let q = Queue::new();
        let pid = child(|| i32::from(receive(q.0, 0, 2, 0) == "-E2BIG") + 2 * i32::from(receive(q.0, 0, 2, NOERROR) == "lo@1"));
        sleep_ms(60);
        q.send(1, "long");
        (wait(pid), q.fill())
    })
    .ok("first-come", || {
        let (q, done) = (Queue::new(), pipe());
        let pids = [1u8, 2].map(|n| {
            let pid = child(|| {
                receive(q.0, 0, 16, 0);
                sys!(write, done.1, &[b'0' + n], 1);
                0
            });
            sleep_ms(40);
            pid
        });
        q.send(1, "x");
        sleep_ms(40);
        q.send(1, "y");
        let ends = pids.map(wait).to_vec();
        let mut order = [0u8; 2];
        sys!(read, done.0, &mut order, 2);
        (text(&order), ends)
    })
    .err("E2BIG", || {
        let q = filled();
        (receive(q.0, 1, 0, IPC_NOWAIT), q.fill())
    })
    .err("EACCES", || {
        let q = filled();
        user_gets(|| q.get(0, 0))
    })
    .err("EIDRM", || {
        let q = Queue::new();
        let pid = child(|| {
            sleep_ms(60);
            sys!(msgctl, q.0, IPC_RMID, 0) as i32
        });
        (receive(q.0, 0, 16, 0), wait(pid), q.get(0, 0))
    })
    .err("EINVAL", || (receive(-1, 0, 16, 0), receive(0x7fff_ffff, 0, 16, 0), sys!(msgrcv, filled().0, BAD, -1, 0, 0)))
    .err("ENOMSG", || {
        let q = filled();
        (q.get(9, 0), Queue::new().get(0, 0), q.get(9, COPY))
    })
    .bad("msgp", || {
        let q = filled();
        ([BAD, KERN, edge(7), read_only()].map(|p| sys!(msgrcv, q.0, p, 4, 0, IPC_NOWAIT)).to_vec(), q.fill())
    })
    .intr("empty", || {
        let q = Queue::new();
        interrupted(|| receive(q.0, 0, 16, 0))
    })
    .intr("never-restarts", || {
        let q = Queue::new();
        FD.store(q.0, Ordering::Relaxed);
        restarted(|| {}, || receive(q.0, 0, 16, 0))
    });
}

fn controls(a: &mut Calls) {
    a.call("msgctl", "EACCES EINVAL EPERM", "buf", false).not("EFAULT", "see the pointers").not("EIDRM", "a race with a removal");
    a.ok("stat-and-set", || {
        let id = sys!(msgget, KEY, IPC_CREAT | 0o7640) as i32;
        let queue = Queue(id);
        let old = queue.stat();
        let mut new = old;
        (new[0], new[2]) = (new[0] & 0xffff_ffff | 1000 << 32, new[2] & 0xffff_ffff | 0o604 << 32);
        new[11] = 100;
        let r = sys!(msgctl, id, IPC_SET, &new);
        let show = |ds: Ds| format!("{:x} {} {:o} {:?}", ds[0], ds[1], ds[2] >> 32, &ds[9..12]);
        (show(old), r, show(queue.stat()))
    })
    .ok("info", || {
        let queue = filled();
        let (mut limits, mut usage) = ([0i32; 8], [0i32; 8]);
        let highest = sys!(msgctl, 0, 3, &mut limits);
        let same = sys!(msgctl, 0, MSG_INFO, &mut usage) == highest;
        let found = (0..=highest).any(|i| sys!(msgctl, i, MSG_STAT, &mut [0u64; 15]) == queue.0 as isize);
        (same, found, format!("{:?} {:#x}", &limits[2..6], limits[7] & 0xffff), format!("{} {} {}", usage[0], usage[1], usage[6]))
    })
    .ok("proc", || {
        let queue = filled();
        let all = std::fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
        let own = all.lines().find(|l| l.split_whitespace().nth(1) == Some(&queue.0.to_string())).unwrap_or_default();
        let pid = sys!(getpid).to_string();
        let words = own.split_whitespace().skip(2).take(9).map(|w| if w == pid { "me".to_string() } else { w.to_string() });
        (all.lines().next().unwrap_or_default().replace(' ', "_"), words.collect::<Vec<_>>(), own.len())
    })
    .err("EACCES", || {
        let queue = filled();
        user_gets(|| sys!(msgctl, queue.0, IPC_STAT, &mut [0u64; 15]))
    })
    .err("EINVAL", || {
        let queue = Queue::new();
        let mut ds: Ds = [0; 15];
        [(-1, IPC_STAT), (queue.0, -1), (queue.0, 99), (0x7fff_ffff, IPC_STAT), (32000, MSG_STAT), (queue.0, IPC_STAT | 0x100)]
            .map(|(id, c)| sys!(msgctl, id, c, &mut ds))
            .to_vec()
    })
    .err("EPERM", || {
        let queue = Queue::new();
        let ds = queue.stat();
        let how = user_gets(|| (sys!(msgctl, queue.0, IPC_RMID, 0), sys!(msgctl, queue.0, IPC_SET, &ds)));
        let own = as_user(|| {
            let queue = Queue::new();
            (queue.limit(16384), queue.limit(16385))
        });
        (how, own)
    })
    .bad("buf", || {
        let queue = Queue::new();
        [IPC_STAT, IPC_SET, 3, MSG_INFO].map(|c| [BAD, KERN, edge(7)].map(|p| sys!(msgctl, queue.0, c, p)).to_vec()).to_vec()
    });
}
