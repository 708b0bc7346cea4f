//! Files to wait with: eventfd, timerfd, signalfd.
use super::fd::few_files;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_CLOEXEC, O_NONBLOCK};

const SEMAPHORE: i32 = libc::EFD_SEMAPHORE;

/// Adds the group.
pub fn add(a: &mut Calls) {
    eventfds(a);
    timerfds(a);
    signalfds(a);
}

/// Reads 8 bytes as a number.
fn count_of(fd: isize) -> String {
    let mut n = 0u64;
    let r = sys!(read, fd, &mut n, 8);
    if r < 0 { crate::sys::Show::show(r) } else { format!("{r}:{n}") }
}

fn put(fd: isize, value: u64) -> isize {
    sys!(write, fd, &value, 8)
}

fn polled(fd: isize) -> String {
    let mut p = libc::pollfd { fd: fd as i32, events: 0x7ff, revents: 0 };
    let n = sys!(ppoll, &mut p, 1, &ms(0), 0, 8);
    format!("{n} {:#x}", p.revents)
}

fn eventfds(a: &mut Calls) {
    a.call("eventfd2", "EINVAL EMFILE", "", true)
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOMEM", "see --nth")
        .not("ENODEV", "cannot happen");
    a.ok("counts", || {
        let fd = sys!(eventfd2, 3, O_NONBLOCK);
        (count_of(fd), count_of(fd), put(fd, 2), put(fd, 5), count_of(fd))
    })
    .ok("semaphore", || {
        let fd = sys!(eventfd2, 2, O_NONBLOCK | SEMAPHORE);
        (count_of(fd), count_of(fd), count_of(fd))
    })
    .ok("flags", || {
        let fd = sys!(eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
        (sys!(fcntl, fd, libc::F_GETFD, 0), sys!(fcntl, fd, libc::F_GETFL, 0))
    })
    .ok("poll", || {
        let fd = sys!(eventfd2, 0, O_NONBLOCK);
        let empty = polled(fd);
        put(fd, 1);
        let one = polled(fd);
        put(fd, u64::MAX - 2);
        (empty, one, polled(fd), put(fd, 1))
    })
    .ok("sizes", || {
        let fd = sys!(eventfd2, 1, O_NONBLOCK);
        let mut b = [0u64; 4];
        (sys!(read, fd, &mut b, 7), sys!(read, fd, &mut b, 32), sys!(write, fd, &b, 7), sys!(write, fd, &b, 32), put(fd, u64::MAX))
    })
    .ok("seek-and-pread", || {
        let fd = sys!(eventfd2, 1, O_NONBLOCK);
        let mut n = 0u64;
        (sys!(lseek, fd, 5, 0), sys!(pread64, fd, &mut n, 8, 0), n, sys!(ftruncate, fd, 0))
    })
    .ok("wakes-reader", || {
        let fd = sys!(eventfd2, 0, 0);
        let writer = child(|| {
            sleep_ms(30);
            put(fd, 7) as i32
        });
        let n = count_of(fd);
        (n, wait(writer))
    })
    .ok("wakes-writer", || {
        let fd = sys!(eventfd2, 0, 0);
        put(fd, u64::MAX - 1);
        let reader = child(|| {
            sleep_ms(30);
            i32::from(count_of(fd) == format!("8:{}", u64::MAX - 1))
        });
        let r = put(fd, 7);
        (r, wait(reader), count_of(fd))
    })
    .err("EINVAL", || sys!(eventfd2, 0, 4))
    .err("EMFILE", || {
        few_files(3);
        sys!(eventfd2, 0, 0)
    })
    .ok("bad-buffers", || {
        let fd = sys!(eventfd2, 1, O_NONBLOCK);
        (sys!(write, fd, BAD, 8), sys!(write, fd, edge(4), 8), count_of(fd))
    })
    .intr("read", || count_then(sys!(eventfd2, 0, 0)))
    .intr("write", || {
        let fd = sys!(eventfd2, 0, 0);
        put(fd, u64::MAX - 1);
        interrupted(|| put(fd, 1))
    });
}

/// A read that a signal ends.
fn count_then(fd: isize) -> String {
    interrupted(|| count_of(fd))
}

fn spec(value_ms: i64, interval_ms: i64) -> libc::itimerspec {
    libc::itimerspec { it_interval: ms(interval_ms), it_value: ms(value_ms) }
}

fn armed(flags: i32, value_ms: i64, interval_ms: i64) -> isize {
    let fd = sys!(timerfd_create, libc::CLOCK_MONOTONIC, flags);
    sys!(timerfd_settime, fd, 0, &spec(value_ms, interval_ms), 0);
    fd
}

fn timerfds(a: &mut Calls) {
    a.call("timerfd_create", "EINVAL EMFILE EPERM", "", false)
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOMEM", "see --nth")
        .not("ENODEV", "cannot happen");
    a.ok("clocks", || [0, 1, 7, 8, 9].map(|clock| sys!(timerfd_create, clock, 0)).to_vec())
        .ok("flags", || {
            let fd = sys!(timerfd_create, 1, O_CLOEXEC | O_NONBLOCK);
            (sys!(fcntl, fd, libc::F_GETFD, 0), sys!(fcntl, fd, libc::F_GETFL, 0), count_of(fd), polled(fd), put(fd, 1))
        })
        .err("EINVAL-clock", || [2, 3, 4, 5, 6, 10, 11, 99].map(|clock| sys!(timerfd_create, clock, 0)).to_vec())
        .err("EINVAL-flags", || sys!(timerfd_create, 1, 1))
        .err("EPERM-alarm", || as_user(|| sys!(timerfd_create, libc::CLOCK_BOOTTIME_ALARM, 0)))
        .err("EMFILE", || {
            few_files(3);
            sys!(timerfd_create, 1, 0)
        });
    a.call("timerfd_settime", "EBADF EINVAL ECANCELED", "new_value old_value", true).not("EPERM", "see timerfd_create");
    a.ok("once", || {
        let fd = armed(0, 20, 0);
        let n = count_of(fd);
        let mut left = spec(9, 9);
        sys!(fcntl, fd, libc::F_SETFL, O_NONBLOCK);
        (n, count_of(fd), sys!(timerfd_gettime, fd, &mut left), left.it_value.tv_nsec, left.it_interval.tv_nsec)
    })
    .ok("many", || {
        let fd = armed(0, 10, 10);
        sleep_ms(100);
        let mut n = 0u64;
        (sys!(read, fd, &mut n, 8), (9..30).contains(&n), sys!(read, fd, &mut n, 8), (1..9).contains(&n))
    })
    .ok("absolute-past", || {
        let fd = sys!(timerfd_create, 1, O_NONBLOCK);
        sys!(timerfd_settime, fd, 1, &spec(1, 0), 0);
        sleep_ms(10);
        (polled(fd), count_of(fd))
    })
    .ok("absolute-wall-clock", || {
        let fd = sys!(timerfd_create, 0, 0);
        let mut now = ms(0);
        sys!(clock_gettime, 0, &mut now);
        let at = libc::itimerspec { it_interval: ms(0), it_value: libc::timespec { tv_sec: now.tv_sec + 1, ..now } };
        let begin = now_ms();
        (sys!(timerfd_settime, fd, 1, &at, 0), count_of(fd), (now_ms() - begin) / 500)
    })
    .ok("old-value", || {
        let fd = armed(0, 50_000, 7_000);
        let mut old = spec(0, 0);
        (
            sys!(timerfd_settime, fd, 0, &spec(0, 0), &mut old),
            old.it_value.tv_sec,
            old.it_interval.tv_sec,
            sys!(timerfd_gettime, fd, &mut old),
            old.it_value.tv_sec,
        )
    })
    .ok("disarm-forgets", || {
        let fd = armed(O_NONBLOCK, 5, 0);
        sleep_ms(30);
        sys!(timerfd_settime, fd, 0, &spec(0, 0), 0);
        count_of(fd)
    })
    .ok("short-read", || sys!(read, armed(0, 1, 0), pages(1), 7))
    .err("EBADF", || sys!(timerfd_settime, 99, 0, &spec(1, 0), 0))
    .err("EINVAL-file", || sys!(timerfd_settime, pipe().0, 0, &spec(1, 0), 0))
    .err("EINVAL-flags", || sys!(timerfd_settime, armed(0, 0, 0), 4, &spec(1, 0), 0))
    .err("EINVAL-value", || {
        let bad = libc::itimerspec { it_interval: ms(0), it_value: libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 } };
        (sys!(timerfd_settime, armed(0, 0, 0), 0, &bad, 0), sys!(timerfd_settime, 99, 0, &bad, 0))
    })
    .err("ECANCELED", || {
        let fd = sys!(timerfd_create, 0, O_NONBLOCK);
        let mut now = ms(0);
        sys!(clock_gettime, 0, &mut now);
        let at = libc::itimerspec { it_interval: ms(0), it_value: libc::timespec { tv_sec: now.tv_sec + 1000, ..now } };
        sys!(timerfd_settime, fd, 3, &at, 0);
        let before = polled(fd);
        sys!(clock_gettime, 0, &mut now);
        sys!(clock_settime, 0, &now);
        (before, polled(fd), count_of(fd), count_of(fd))
    })
    .bad("new_value", || (sys!(timerfd_settime, armed(0, 0, 0), 0, BAD, 0), sys!(timerfd_settime, 99, 0, BAD, 0)))
    .bad("old_value", || sys!(timerfd_settime, armed(0, 0, 0), 0, &spec(0, 0), BAD))
    .bad("new_value-then-read", || {
        let fd = armed(0, 1, 0);
        sleep_ms(10);
        sys!(read, fd, BAD, 8)
    })
    .intr("read", || count_then(armed(0, 0, 0)));
    a.call("timerfd_gettime", "EBADF EINVAL", "curr_value", false);
    a.ok("left", || {
        let mut left = spec(0, 0);
        (sys!(timerfd_gettime, armed(0, 100_500, 3_000), &mut left), left.it_value.tv_sec, left.it_interval.tv_sec)
    })
    .ok("of-periodic-that-fired", || {
        let mut left = spec(0, 0);
        let fd = armed(O_NONBLOCK, 10, 50_000);
        sleep_ms(50);
        (sys!(timerfd_gettime, fd, &mut left), left.it_value.tv_sec, left.it_interval.tv_sec, count_of(fd))
    })
    .err("EBADF", || sys!(timerfd_gettime, 99, pages(1)))
    .err("EINVAL", || sys!(timerfd_gettime, pipe().0, pages(1)))
    .bad("curr_value", || sys!(timerfd_gettime, armed(0, 0, 0), BAD));
}

/// A signalfd for these signals, which are blocked.
fn signalfd(signals: &[i32], flags: i32) -> isize {
    block(signals);
    sys!(signalfd4, -1, &mask(signals), 8, flags)
}

/// What a signalfd gives: signal, code, whether it is from here, status or value.
fn taken(fd: isize) -> String {
    let mut info = [0u32; 64];
    let n = sys!(read, fd, &mut info, 256);
    if n < 0 {
        return crate::sys::Show::show(n);
    }
    let one =
        |i: &[u32]| format!("signo {} code {} mine {} status {} int {}", i[0], i[2] as i32, i[3] as isize == sys!(getpid), i[10], i[11]);
    let all: Vec<String> = info[..n as usize / 4].chunks(32).map(one).collect();
    format!("{n}: {}", all.join("; "))
}

fn signalfds(a: &mut Calls) {
    a.call("signalfd4", "EBADF EINVAL EMFILE", "mask", true)
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOMEM", "see --nth")
        .not("ENODEV", "cannot happen");
    a.ok("takes-signals", || {
        let fd = signalfd(&[10, 12], O_NONBLOCK);
        let none = (taken(fd), polled(fd));
        sys!(kill, sys!(getpid), 12);
        sys!(tkill, sys!(gettid), 10);
        (none.0, none.1, polled(fd), taken(fd), taken(fd))
    })
    .ok("one-at-a-time", || {
        let fd = signalfd(&[10, 12], O_NONBLOCK);
        sys!(kill, sys!(getpid), 10);
        sys!(kill, sys!(getpid), 12);
        let mut b = [0u8; 200];
        (sys!(read, fd, &mut b, 127), sys!(read, fd, &mut b, 200), b[0], sys!(read, fd, &mut b, 128), b[0])
    })
    .ok("child", || {
        let fd = signalfd(&[17], 0);
        let pid = child(|| 5);
        let got = taken(fd);
        (got.replace("mine false", "child's"), wait(pid))
    })
    .ok("queued-value", || {
        let fd = signalfd(&[40], O_NONBLOCK);
        let mut info = [0u32; 32];
        (info[2], info[4], info[5], info[6]) = (-1i32 as u32, sys!(getpid) as u32, 0, 77);
        sys!(rt_sigqueueinfo, sys!(getpid), 40, &info);
        taken(fd)
    })
    .ok("not-the-others", || {
        let fd = signalfd(&[10], O_NONBLOCK);
        block(&[12]);
        sys!(kill, sys!(getpid), 12);
        (taken(fd), sys!(signalfd4, fd, &mask(&[12]), 8, 0) == fd, taken(fd))
    })
    .ok("kill-is-left-out", || {
        let fd = sys!(signalfd4, -1, &mask(&[9, 19]), 8, O_NONBLOCK);
        (fd, taken(fd))
    })
    .ok("wakes-reader", || {
        let fd = signalfd(&[10], 0);
        let parent = sys!(getpid);
        let other = child(|| {
            sleep_ms(30);
            sys!(kill, parent, 10) as i32
        });
        let got = taken(fd);
        (got, wait(other))
    })
    .ok("reader-is-who-asks", || {
        let fd = signalfd(&[10], O_NONBLOCK);
        sys!(kill, sys!(getpid), 10);
        // In the child nothing is pending.
        let inside = in_child(|| i32::from(taken(fd) == "-EAGAIN"));
        (inside, taken(fd))
    })
    .ok("flags", || {
        let fd = signalfd(&[10], O_CLOEXEC | O_NONBLOCK);
        (sys!(fcntl, fd, libc::F_GETFD, 0), sys!(fcntl, fd, libc::F_GETFL, 0), put(fd, 1))
    })
    .err("EBADF", || sys!(signalfd4, 99, &mask(&[10]), 8, 0))
    .err("EINVAL-file", || sys!(signalfd4, pipe().0, &mask(&[10]), 8, 0))
    .err("EINVAL-size", || (sys!(signalfd4, -1, &mask(&[10]), 4, 0), sys!(signalfd4, -1, BAD, 4, 0)))
    .err("EINVAL-flags", || sys!(signalfd4, -1, &mask(&[10]), 8, 1))
    .err("EMFILE", || {
        few_files(3);
        sys!(signalfd4, -1, &mask(&[10]), 8, 0)
    })
    .bad("mask", || (sys!(signalfd4, -1, BAD, 8, 0), sys!(signalfd4, 99, BAD, 8, 9)))
    .bad("mask-buffer", || {
        let fd = signalfd(&[10], O_NONBLOCK);
        sys!(kill, sys!(getpid), 10);
        sys!(read, fd, BAD, 128)
    })
    .intr("read", || {
        let fd = signalfd(&[10], 0);
        interrupted(|| taken(fd))
    });
}
