//! POSIX message queues.
mod notify;

use super::fd::few_files;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, SIGALRM, SIGUSR1};
use std::ffi::CStr;

/// Names of queues in these cases.
const NAMES: [&CStr; 3] = [c"contract-a", c"contract-b", c"contract-c"];
const A: &CStr = NAMES[0];

/// Removes what a case that was ended in the middle has left.
pub fn sweep() {
    for name in NAMES {
        sys!(mq_unlink, name);
    }
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    opens(a);
    unlinks(a);
    sends(a);
    receives(a);
    notify::notifies(a);
    attributes(a);
}

/// `struct mq_attr`: flags, messages, bytes, messages there are.
type Attr = [i64; 8];

fn attr(messages: i64, bytes: i64) -> Attr {
    [0, messages, bytes, 0, 0, 0, 0, 0]
}

/// A queue of four messages of 16 bytes, whose name is gone at once.
fn queue(flags: i32) -> i32 {
    sized(flags, 4, 16)
}

fn sized(flags: i32, messages: i64, bytes: i64) -> i32 {
    let fd = sys!(mq_open, A, O_CREAT | O_EXCL | O_RDWR | flags, 0o600, &attr(messages, bytes));
    sys!(mq_unlink, A);
    fd as i32
}

fn send(fd: i32, text: &str, priority: u32) -> isize {
    sys!(mq_timedsend, fd, text.as_ptr(), text.len(), priority, 0)
}

fn receive_until(fd: i32, deadline: usize) -> String {
    let (mut buffer, mut priority) = ([0u8; 16], 99u32);
    let n = sys!(mq_timedreceive, fd, &mut buffer, 16, &mut priority, deadline);
    if n < 0 { crate::sys::Show::show(n) } else { format!("{}@{priority}", text(&buffer[..n as usize])) }
}

fn receive(fd: i32) -> String {
    receive_until(fd, 0)
}

/// In so many milliseconds, on the wall clock.
fn within(duration: i64) -> libc::timespec {
    let mut t = ms(0);
    sys!(clock_gettime, libc::CLOCK_REALTIME, &mut t);
    let nanos = t.tv_nsec + duration * 1_000_000;
    libc::timespec { tv_sec: t.tv_sec + nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) }
}

fn attributes_of(fd: i32) -> String {
    let mut a = attr(0, 0);
    let r = sys!(mq_getsetattr, fd, 0, &mut a);
    format!("{} {:o} {} {} {}", crate::sys::Show::show(r), a[0], a[1], a[2], a[3])
}

/// The line that a queue's file reads as, without the process.
fn line(fd: i32) -> String {
    let mut buffer = [0u8; 128];
    let n = sys!(pread64, fd, &mut buffer, 128, 0);
    let all = String::from_utf8_lossy(&buffer[..n.max(0) as usize]).into_owned();
    let pid = format!("NOTIFY_PID:{:<6}", sys!(getpid));
    all.replace(&pid, "NOTIFY_PID:me    ").replace(' ', "_").replace('\n', "$")
}

fn polled(fd: i32) -> String {
    let mut p = libc::pollfd { fd, events: 0x7ff, revents: 0 };
    let n = sys!(ppoll, &mut p, 1, &ms(0), 0, 8);
    format!("{n} {:#x}", p.revents)
}

fn limit(bytes: u64) {
    let limit = [bytes, bytes];
    sys!(prlimit64, 0, libc::RLIMIT_MSGQUEUE, &limit, 0);
}

fn opens(a: &mut Calls) {
    a.call("mq_open", "EACCES EEXIST EINVAL EMFILE ENAMETOOLONG ENOENT ENOSPC", "name attr", false)
        .not("EOVERFLOW", "the limits of both sizes keep below it")
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOMEM", "see --nth");
    a.ok("usual-size", || {
        let fd = sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0) as i32;
        sys!(mq_unlink, A);
        (attributes_of(fd), sys!(fcntl, fd, libc::F_GETFD, 0), sys!(fcntl, fd, libc::F_GETFL, 0))
    })
    .ok("same-queue", || {
        let one = sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, &attr(2, 8)) as i32;
        let other = sys!(mq_open, A, O_RDONLY | O_NONBLOCK | O_CREAT, 0, &attr(9, 9)) as i32;
        sys!(mq_unlink, A);
        (send(one, "x", 3), attributes_of(other), receive(other), receive(other))
    })
    .ok("mode-and-owner", || {
        sys!(umask, 0o027);
        let fd = as_user(|| sys!(mq_open, A, O_CREAT | O_RDWR, 0o7666, 0)) as i32;
        let mut s: libc::stat = zero();
        sys!(fstat, fd, &mut s);
        sys!(mq_unlink, A);
        (format!("{:o}", s.st_mode), s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blksize)
    })
    .ok("made-without-right-to-open", || sys!(mq_open, A, O_CREAT | O_RDWR, 0, 0) + sys!(mq_unlink, A))
    .ok("attributes-are-read-only-if-made", || {
        let fd = sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0);
        let again = sys!(mq_open, A, O_RDWR, 0, &attr(-1, -1));
        sys!(mq_unlink, A);
        (fd, again)
    })
    .ok("counted-until-closed", || {
        // Each needs 4 × (48 + 48 + 16) bytes.
        limit(448 * 2);
        as_user(|| {
            let one = sized(0, 4, 16);
            let two = sized(0, 4, 16);
            let three = sized(0, 4, 16) as isize;
            sys!(close, one);
            (two, three, sized(0, 4, 16))
        })
    })
    .err("EACCES-names", || [c"/a", c"a/b", c".", c".."].map(|n| sys!(mq_open, n, O_CREAT | O_RDWR, 0o600, 0)).to_vec())
    .err("EACCES-permission", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o640, 0);
        let how = user_gets(|| (sys!(mq_open, A, O_RDONLY, 0, 0), sys!(mq_open, A, O_WRONLY | O_CREAT, 0, 0)));
        sys!(mq_unlink, A);
        how
    })
    .err("EEXIST", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0);
        let r = sys!(mq_open, A, O_CREAT | O_EXCL | O_RDWR, 0o600, &attr(0, 0));
        sys!(mq_unlink, A);
        r
    })
    .err("EINVAL-size", || {
        let sizes = [(0, 1), (1, 0), (-1, 8), (8, -1), (65537, 1), (1, (16 << 20) + 1)];
        sizes.map(|(m, b)| sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, &attr(m, b))).to_vec()
    })
    .err("EINVAL-size-of-user", || {
        user();
        [(11, 8), (1, 8193)].map(|(m, b)| sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, &attr(m, b))).to_vec()
    })
    .err("EINVAL-access", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0);
        let r = sys!(mq_open, A, 3, 0, 0);
        sys!(mq_unlink, A);
        r
    })
    .err("EMFILE-limit", || {
        limit(447);
        sized(0, 4, 16) as isize
    })
    .err("EMFILE-files", || {
        few_files(3);
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0)
    })
    .err("ENAMETOOLONG", || {
        let names = [long_name(256), long_name(5000)];
        names.map(|n| sys!(mq_open, n.as_c_str(), O_CREAT | O_RDWR, 0o600, 0)).to_vec()
    })
    .err("ENOENT", || (sys!(mq_open, A, O_RDWR, 0, 0), sys!(mq_open, c"", O_RDWR | O_CREAT, 0o600, 0)))
    .err("ENOSPC", || {
        let file = c"/proc/sys/fs/mqueue/queues_max";
        let old = content(file).replace('.', "");
        let set = |value: &str| {
            let fd = open(file, O_WRONLY);
            sys!(write, fd, value.as_ptr(), value.len());
            sys!(close, fd);
        };
        set("0");
        let result = (user_gets(|| sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, &attr(0, 0))), queue(0));
        set(&old);
        result
    })
    .bad("name", || [BAD, KERN, endless()].map(|p| sys!(mq_open, p, O_CREAT | O_RDWR, 0o600, 0)).to_vec())
    .bad("attr", || [BAD, KERN, edge(63)].map(|p| sys!(mq_open, A, O_RDWR, 0, p)).to_vec());
}

fn unlinks(a: &mut Calls) {
    a.call("mq_unlink", "EACCES ENAMETOOLONG ENOENT EPERM", "name", false);
    a.ok("lives-on-while-open", || {
        let fd = sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, &attr(4, 16)) as i32;
        let first = sys!(mq_unlink, A);
        send(fd, "still", 1);
        let other = sys!(mq_open, A, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0o600, &attr(4, 16)) as i32;
        let second = sys!(mq_unlink, A);
        (first, second, receive(other), receive(fd))
    })
    .err("EACCES", || [c"/a", c".", c".."].map(|n| sys!(mq_unlink, n)).to_vec())
    .err("ENAMETOOLONG", || sys!(mq_unlink, long_name(256).as_c_str()))
    .err("ENOENT", || (sys!(mq_unlink, A), sys!(mq_unlink, c"")))
    .err("EPERM", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o666, 0);
        let how = user_gets(|| sys!(mq_unlink, A));
        (how, sys!(mq_unlink, A))
    })
    .bad("name", || [BAD, KERN].map(|p| sys!(mq_unlink, p)).to_vec());
    a.ok("file-system", || {
        dir(c"m");
        let mounted = sys!(mount, c"none", c"m", c"mqueue", 0, 0);
        let made = open(c"m/contract-a", O_CREAT | O_RDWR);
        let named = sys!(mq_open, A, O_RDWR | O_NONBLOCK, 0, 0) as i32;
        let through = (send(made, "here", 7), receive(named));
        let kinds = (
            sys!(mkdirat, CWD, c"m/d", 0o755),
            sys!(symlinkat, c"x", CWD, c"m/s"),
            sys!(renameat, CWD, c"m/contract-a", CWD, c"m/contract-b"),
        );
        let names = std::fs::read_dir("m").map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>());
        let status = (stat_text(c"m/contract-a"), sys!(unlinkat, CWD, c"m/contract-a", 0), sys!(mq_unlink, A));
        let root = stat_text(c"m");
        sys!(umount2, c"m", libc::MNT_DETACH);
        (mounted, through, kinds, names.unwrap_or_default(), status, root)
    })
    .ok("what-it-reads-as", || {
        let fd = queue(0);
        let empty = line(fd);
        send(fd, "seven77", 0);
        send(fd, "x", 0);
        let mut status: libc::statfs = zero();
        sys!(fstatfs, fd, &mut status);
        (empty, line(fd), sys!(write, fd, c"x", 1), format!("{:#x}", status.f_type), status.f_namelen, sys!(lseek, fd, 5, 0))
    })
    .ok("poll", || {
        let fd = queue(0);
        let empty = polled(fd);
        send(fd, "1", 0);
        let some = polled(fd);
        for _ in 0..3 {
            send(fd, "1", 0);
        }
        (empty, some, polled(fd))
    })
    .ok("epoll", || {
        let (fd, watcher) = (queue(0), sys!(epoll_create1, 0));
        let wanted = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 5 };
        let added = sys!(epoll_ctl, watcher, libc::EPOLL_CTL_ADD, fd, &wanted);
        let pid = meanwhile(|| {
            send(fd, "1", 0);
        });
        let mut got: libc::epoll_event = zero();
        let n = sys!(epoll_pwait, watcher, &mut got, 1, 2000, 0, 8);
        let events = got.events;
        (added, n, events, wait(pid))
    });
}

fn sends(a: &mut Calls) {
    a.call("mq_timedsend", "EAGAIN EBADF EINVAL EMSGSIZE ETIMEDOUT", "message timeout", true);
    a.ok("by-priority-then-age", || {
        let fd = queue(0);
        for (text, priority) in [("a", 1), ("b", 5), ("c", 5), ("d", 0)] {
            send(fd, text, priority);
        }
        (receive(fd), receive(fd), receive(fd), receive(fd))
    })
    .ok("empty-and-largest", || {
        let fd = queue(0);
        (send(fd, "", 32767), send(fd, "0123456789abcdef", 0), receive(fd), receive(fd))
    })
    .ok("waits-for-room", || {
        let fd = sized(0, 1, 16);
        send(fd, "first", 0);
        let pid = meanwhile(|| {
            receive(fd);
        });
        (send(fd, "second", 0), wait(pid), receive(fd))
    })
    .ok("large", || {
        let fd = sized(0, 2, 100_000);
        let bytes = pages(25);
        fill(bytes + 70_000, 9, b'z');
        let sent = sys!(mq_timedsend, fd, bytes, 100_000, 0, 0);
        let back = pages(25);
        let got = sys!(mq_timedreceive, fd, back, 100_000, 0, 0);
        (sent, got, peek(back + 70_008), peek(back + 70_009))
    })
    .err("EAGAIN", || {
        let fd = sized(O_NONBLOCK, 1, 16);
        (send(fd, "1", 0), send(fd, "2", 0), sys!(mq_timedsend, fd, c"x", 1, 0, &within(-5)))
    })
    .err("EBADF", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0);
        let fd = sys!(mq_open, A, O_RDONLY, 0, 0) as i32;
        sys!(mq_unlink, A);
        (send(fd, "x", 0), send(99, "x", 0), send(pipe().1, "x", 0), send(-1, "x", 0))
    })
    .err("EINVAL", || {
        let fd = queue(0);
        let bad = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 };
        let old = libc::timespec { tv_sec: -1, tv_nsec: 0 };
        (send(fd, "x", 32768), send(99, "x", 32768), sys!(mq_timedsend, fd, c"x", 1, 0, &bad), sys!(mq_timedsend, fd, c"x", 1, 0, &old))
    })
    .err("EMSGSIZE", || (send(queue(0), "0123456789abcdefg", 0), sys!(mq_timedsend, queue(0), BAD, 17, 0, 0)))
    .err("ETIMEDOUT", || {
        let fd = sized(0, 1, 16);
        send(fd, "1", 0);
        let start = now_ms();
        let late = sys!(mq_timedsend, fd, c"x", 1, 0, &within(60));
        let waited = now_ms() - start >= 55;
        (late, waited, sys!(mq_timedsend, fd, c"x", 1, 0, &within(-60)), attributes_of(fd))
    })
    .bad("message", || {
        let fd = queue(0);
        ([BAD, KERN, edge(3)].map(|p| sys!(mq_timedsend, fd, p, 4, 0, 0)).to_vec(), attributes_of(fd))
    })
    .bad("timeout", || [BAD, KERN, edge(15)].map(|p| sys!(mq_timedsend, 99, c"x", 1, 99999, p)).to_vec())
    .intr("full", || {
        let fd = sized(0, 1, 16);
        send(fd, "1", 0);
        (interrupted(|| send(fd, "2", 0)), attributes_of(fd))
    })
    .intr("restarts", || {
        let fd = sized(0, 1, 16);
        FD.store(fd, std::sync::atomic::Ordering::Relaxed);
        send(fd, "1", 0);
        let take = || {
            receive(FD.load(std::sync::atomic::Ordering::Relaxed));
        };
        (restarted(take, || send(fd, "2", 0)), caught() > 0)
    });
}

fn receives(a: &mut Calls) {
    a.call("mq_timedreceive", "EAGAIN EBADF EINVAL EMSGSIZE ETIMEDOUT", "buffer priority timeout", true);
    a.ok("waits-for-a-message", || {
        let fd = queue(0);
        let pid = meanwhile(|| {
            send(fd, "late", 4);
        });
        (receive(fd), wait(pid), attributes_of(fd))
    })
    .ok("each-to-one", || {
        let fd = queue(0);
        let readers: Vec<i32> = (0..3).map(|_| child(|| i32::from(receive(fd).starts_with('m')))).collect();
        sleep_ms(60);
        for text in ["m1", "m2", "m3"] {
            send(fd, text, 0);
        }
        (readers.into_iter().map(wait).collect::<Vec<_>>(), attributes_of(fd))
    })
    .ok("most-urgent-first", || {
        let (fd, done) = (queue(0), pipe());
        let reader = |priority: i32| {
            child(|| {
                sys!(sched_setscheduler, 0, libc::SCHED_FIFO, &priority);
                receive(fd);
                sys!(write, done.1, &[b'0' + priority as u8], 1);
                0
            })
        };
        let pids = [3, 7, 5].map(|p| {
            let pid = reader(p);
            sleep_ms(40);
            pid
        });
        for _ in pids {
            send(fd, "go", 0);
            sleep_ms(40);
        }
        pids.into_iter().for_each(|pid| drop(wait(pid)));
        let mut order = [0u8; 3];
        sys!(read, done.0, &mut order, 3);
        text(&order)
    })
    .ok("lets-a-sender-in", || {
        let fd = sized(0, 1, 16);
        send(fd, "low", 1);
        let pid = child(|| send(fd, "high", 9) as i32);
        sleep_ms(60);
        (receive(fd), receive(fd), wait(pid), attributes_of(fd))
    })
    .err("EAGAIN", || {
        let fd = queue(O_NONBLOCK);
        (receive(fd), receive_until(fd, crate::sys::Arg::arg(&within(50))))
    })
    .err("EBADF", || {
        sys!(mq_open, A, O_CREAT | O_RDWR, 0o600, 0);
        let fd = sys!(mq_open, A, O_WRONLY, 0, 0) as i32;
        sys!(mq_unlink, A);
        (receive(fd), receive(99), receive(pipe().0))
    })
    .err("EINVAL", || {
        let bad = libc::timespec { tv_sec: 0, tv_nsec: -1 };
        receive_until(99, crate::sys::Arg::arg(&bad))
    })
    .err("EMSGSIZE", || {
        let fd = queue(0);
        send(fd, "x", 0);
        (sys!(mq_timedreceive, fd, &mut [0u8; 16], 15, 0, 0), receive(fd))
    })
    .err("ETIMEDOUT", || {
        let fd = queue(0);
        let start = now_ms();
        let late = receive_until(fd, crate::sys::Arg::arg(&within(60)));
        let waited = now_ms() - start >= 55;
        (late, waited, receive_until(fd, crate::sys::Arg::arg(&within(-60))))
    })
    .bad("buffer", || {
        let fd = queue(O_NONBLOCK);
        let results = [BAD, KERN, edge(3), read_only()].map(|p| {
            send(fd, "lost", 0);
            sys!(mq_timedreceive, fd, p, 16, 0, 0)
        });
        (results.to_vec(), attributes_of(fd))
    })
    .bad("priority", || {
        let fd = queue(O_NONBLOCK);
        let results = [BAD, KERN, edge(3)].map(|p| {
            send(fd, "lost", 0);
            sys!(mq_timedreceive, fd, &mut [0u8; 16], 16, p, 0)
        });
        (results.to_vec(), attributes_of(fd))
    })
    .bad("timeout", || [BAD, KERN, edge(15)].map(|p| sys!(mq_timedreceive, 99, BAD, 1, 0, p)).to_vec())
    .intr("empty", || (interrupted(|| receive(queue(0))), interrupted(|| receive_until(queue(0), crate::sys::Arg::arg(&within(5000))))))
    .intr("restarts", || {
        let fd = queue(0);
        FD.store(fd, std::sync::atomic::Ordering::Relaxed);
        let put = || {
            send(FD.load(std::sync::atomic::Ordering::Relaxed), "signal", 2);
        };
        restarted(put, || receive(fd))
    });
}

fn attributes(a: &mut Calls) {
    a.call("mq_getsetattr", "EBADF EINVAL", "new old", false);
    a.ok("nonblock", || {
        let fd = queue(0);
        let mut old = attr(0, 0);
        let set = sys!(mq_getsetattr, fd, &[i64::from(O_NONBLOCK), 9, 9, 9, 0, 0, 0, 0], &mut old);
        (
            set,
            old[0],
            attributes_of(fd),
            receive(fd),
            sys!(fcntl, fd, libc::F_GETFL, 0),
            sys!(mq_getsetattr, fd, &attr(0, 0), 0),
            attributes_of(fd),
        )
    })
    .ok("counts", || {
        let fd = queue(0);
        send(fd, "1", 0);
        send(fd, "2", 0);
        attributes_of(fd)
    })
    .err("EBADF", || (attributes_of(99), attributes_of(pipe().0)))
    .err("EINVAL", || (sys!(mq_getsetattr, queue(0), &[1i64; 8], 0), sys!(mq_getsetattr, 99, &[1i64; 8], 0)))
    .bad("new", || [BAD, KERN, edge(63)].map(|p| sys!(mq_getsetattr, 99, p, 0)).to_vec())
    .bad("old", || [BAD, KERN, edge(63), read_only()].map(|p| sys!(mq_getsetattr, queue(0), 0, p)).to_vec());
}
