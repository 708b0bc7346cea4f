//! epoll.
use super::fd::few_files;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, O_CLOEXEC, O_RDONLY};

const IN: u32 = libc::EPOLLIN as u32;
const OUT: u32 = libc::EPOLLOUT as u32;
const ET: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;
const RDHUP: u32 = libc::EPOLLRDHUP as u32;

/// `struct epoll_event` of arm64: not packed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    events: u32,
    data: u64,
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    creates(a);
    controls(a);
    waits(a);
}

fn epoll() -> i32 {
    sys!(epoll_create1, 0) as i32
}

fn control(ep: i32, op: i32, fd: i32, events: u32, data: u64) -> isize {
    sys!(epoll_ctl, ep, op, fd, &Event { events, data })
}

fn watch(ep: i32, fd: i32, events: u32, data: u64) -> isize {
    control(ep, EPOLL_CTL_ADD, fd, events, data)
}

/// What is ready now: the count, then each event's bits and word.
fn ready(ep: i32) -> String {
    ready_within(ep, 8, 0)
}

fn ready_within(ep: i32, max: i32, timeout: i32) -> String {
    let mut events = [Event::default(); 8];
    let n = sys!(epoll_pwait, ep, &mut events, max, timeout, 0, 8);
    if n < 0 {
        return crate::sys::Show::show(n);
    }
    events[..n as usize].iter().fold(n.to_string(), |s, e| format!("{s} {:#x}/{}", e.events, e.data))
}

fn write_to(fd: i32) -> isize {
    sys!(write, fd, c"x", 1)
}

fn read_from(fd: i32) -> isize {
    let mut b = [0u8; 8];
    sys!(read, fd, &mut b, 8)
}

fn creates(a: &mut Calls) {
    a.call("epoll_create1", "EINVAL EMFILE", "", false).not("ENFILE", "needs the whole system's limit").not("ENOMEM", "see --nth");
    a.ok("file", || {
        let ep = sys!(epoll_create1, O_CLOEXEC);
        (
            ep,
            sys!(fcntl, ep, libc::F_GETFD, 0),
            sys!(fcntl, ep, libc::F_GETFL, 0),
            sys!(read, ep, pages(1), 8),
            sys!(write, ep, pages(1), 8),
        )
    })
    .err("EINVAL", || sys!(epoll_create1, 1))
    .err("EMFILE", || {
        few_files(3);
        sys!(epoll_create1, 0)
    });
}

fn controls(a: &mut Calls) {
    a.call("epoll_ctl", "EBADF EEXIST EINVAL ELOOP ENOENT EPERM", "event", false)
        .not("ENOMEM", "see --nth")
        .not("ENOSPC", "no limit of watches");
    a.ok("add-change-remove", || {
        let (ep, p) = (epoll(), pipe());
        write_to(p.1);
        let added = (watch(ep, p.0, OUT, 1), ready(ep));
        let changed = (control(ep, EPOLL_CTL_MOD, p.0, IN, 2), ready(ep));
        let removed = (sys!(epoll_ctl, ep, EPOLL_CTL_DEL, p.0, 0), ready(ep));
        (added.0, added.1, changed.0, changed.1, removed.0, removed.1)
    })
    .ok("same-file-two-descriptors", || {
        let (ep, p) = (epoll(), pipe());
        let other = sys!(dup, p.0) as i32;
        write_to(p.1);
        (watch(ep, p.0, IN, 1), watch(ep, other, IN, 2), ready(ep))
    })
    .ok("close-removes", || {
        let (ep, p) = (epoll(), pipe());
        write_to(p.1);
        watch(ep, p.0, IN, 1);
        sys!(close, p.0);
        (ready(ep), sys!(epoll_ctl, ep, EPOLL_CTL_DEL, p.0, 0))
    })
    .ok("close-of-one-of-two-does-not", || {
        let (ep, p) = (epoll(), pipe());
        write_to(p.1);
        watch(ep, p.0, IN, 1);
        sys!(dup, p.0);
        sys!(close, p.0);
        ready(ep)
    })
    .ok("nested", || {
        let (outer, inner, p) = (epoll(), epoll(), pipe());
        let r = (watch(outer, inner, IN, 1), watch(inner, p.0, IN, 2));
        let before = ready(outer);
        write_to(p.1);
        let during = ready(outer);
        read_from(p.0);
        (r.0, r.1, before, during, ready(outer), ready(inner))
    })
    .ok("eventfd-timerfd-console", || {
        let ep = epoll();
        let e = sys!(eventfd2, 0, 0) as i32;
        (
            watch(ep, e, IN, 1),
            watch(ep, sys!(timerfd_create, 1, 0) as i32, IN, 2),
            watch(ep, open(c"/dev/console", libc::O_RDWR | libc::O_NOCTTY), IN, 3),
            ready(ep),
        )
    })
    .err("EBADF", || (watch(99, pipe().0, IN, 0), watch(epoll(), 99, IN, 0)))
    .err("EBADF-path", || {
        file(c"f", "");
        watch(epoll(), open(c"f", libc::O_PATH), IN, 0)
    })
    .err("EEXIST", || {
        let (ep, p) = (epoll(), pipe());
        (watch(ep, p.0, IN, 0), watch(ep, p.0, IN, 0))
    })
    .err("EINVAL-itself", || {
        let ep = epoll();
        watch(ep, ep, IN, 0)
    })
    .err("EINVAL-no-epoll", || {
        let p = pipe();
        watch(p.0, p.1, IN, 0)
    })
    .err("EINVAL-operation", || control(epoll(), 9, pipe().0, IN, 0))
    .err("EINVAL-exclusive", || {
        let (ep, p) = (epoll(), pipe());
        (
            watch(ep, epoll(), IN | EXCLUSIVE, 0),
            watch(ep, p.0, IN | EXCLUSIVE | ONESHOT, 0),
            watch(ep, p.0, IN | EXCLUSIVE, 0),
            control(ep, EPOLL_CTL_MOD, p.0, IN, 0),
            control(ep, EPOLL_CTL_MOD, p.1, IN | EXCLUSIVE, 0),
        )
    })
    .err("ELOOP-circle", || {
        let (x, y) = (epoll(), epoll());
        (watch(x, y, IN, 0), watch(y, x, IN, 0))
    })
    .err("ELOOP-chain", || {
        let chain: Vec<i32> = (0..8).map(|_| epoll()).collect();
        // From the bottom up.
        ("ELOOP", (1..8).map(|i| watch(chain[i], chain[i - 1], IN, 0)).collect::<Vec<_>>())
    })
    .err("ENOENT", || {
        let (ep, p) = (epoll(), pipe());
        (control(ep, EPOLL_CTL_MOD, p.0, IN, 0), sys!(epoll_ctl, ep, EPOLL_CTL_DEL, p.0, 0))
    })
    .err("EPERM", || {
        let f = opened(c"f", "");
        (
            watch(epoll(), f, IN, 0),
            watch(epoll(), open(c".", O_RDONLY), IN, 0),
            watch(epoll(), open(c"/dev/null", O_RDONLY), IN, 0),
            watch(f, f, IN, 0),
        )
    })
    .bad("event", || {
        let (ep, p) = (epoll(), pipe());
        (
            sys!(epoll_ctl, ep, EPOLL_CTL_ADD, p.0, BAD),
            sys!(epoll_ctl, ep, EPOLL_CTL_DEL, p.0, BAD),
            sys!(epoll_ctl, 99, EPOLL_CTL_ADD, 99, BAD),
        )
    });
}

fn waits(a: &mut Calls) {
    a.call("epoll_pwait", "EBADF EINVAL", "events sigmask", true);
    a.ok("level", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.0, IN, 7);
        let none = ready(ep);
        write_to(p.1);
        let first = (ready(ep), ready(ep));
        read_from(p.0);
        (none, first.0, first.1, ready(ep))
    })
    .ok("edge", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.0, IN | ET, 7);
        write_to(p.1);
        let first = (ready(ep), ready(ep));
        read_from(p.0);
        let empty = ready(ep);
        write_to(p.1);
        (first.0, first.1, empty, ready(ep), control(ep, EPOLL_CTL_MOD, p.0, IN | ET, 8), ready(ep), ready(ep))
    })
    .ok("one-shot", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.0, IN | ONESHOT, 7);
        write_to(p.1);
        let first = (ready(ep), ready(ep));
        write_to(p.1);
        (first.0, first.1, ready(ep), control(ep, EPOLL_CTL_MOD, p.0, IN | ONESHOT, 8), ready(ep), ready(ep))
    })
    .ok("hang-up-unasked", || {
        let (ep, p, q) = (epoll(), pipe(), pipe());
        watch(ep, p.0, 0, 1);
        watch(ep, q.1, OUT | RDHUP, 2);
        sys!(close, p.1);
        sys!(close, q.0);
        ready(ep)
    })
    .ok("in-turn", || {
        let ep = epoll();
        let pipes: Vec<(i32, i32)> = (0..4).map(|_| pipe()).collect();
        for (i, p) in pipes.iter().enumerate() {
            watch(ep, p.0, IN, i as u64);
            write_to(p.1);
        }
        (ready_within(ep, 3, 0), ready_within(ep, 3, 0), ready_within(ep, 8, 0))
    })
    .ok("waits-for-data", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.0, IN, 7);
        let writer = child(|| {
            sleep_ms(30);
            write_to(p.1) as i32
        });
        let got = ready_within(ep, 8, 5000);
        (got, wait(writer))
    })
    .ok("waits-for-nested", || {
        let (outer, inner, p) = (epoll(), epoll(), pipe());
        watch(inner, p.0, IN, 1);
        watch(outer, inner, IN, 2);
        let writer = child(|| {
            sleep_ms(30);
            write_to(p.1) as i32
        });
        let got = ready_within(outer, 8, 5000);
        (got, wait(writer))
    })
    .ok("timer", || {
        let (ep, t) = (epoll(), sys!(timerfd_create, 1, 0) as i32);
        watch(ep, t, IN, 3);
        let at = libc::itimerspec { it_interval: ms(0), it_value: ms(20) };
        sys!(timerfd_settime, t, 0, &at, 0);
        ready_within(ep, 8, 5000)
    })
    .ok("signal-file", || {
        let ep = epoll();
        block(&[10]);
        let s = sys!(signalfd4, -1, &mask(&[10]), 8, 0) as i32;
        watch(ep, s, IN, 4);
        let before = ready(ep);
        sys!(kill, sys!(getpid), 10);
        (before, ready(ep))
    })
    .ok("times-out", || {
        let begin = now_ms();
        let r = ready_within(epoll(), 8, 60);
        (r, now_ms() - begin >= 60)
    })
    .ok("exclusive-wakes-one-of-two", || {
        // Each of two processes waits at an epoll of its own for the same pipe.
        let p = pipe();
        let done = pipe();
        let waiter = || {
            child(|| {
                let ep = epoll();
                watch(ep, p.0, IN | EXCLUSIVE, 1);
                let n = sys!(epoll_pwait, ep, &mut [Event::default(); 2], 2, 400, 0, 8);
                sys!(write, done.1, &[b'0' + n as u8], 1);
                0
            })
        };
        let pids = (waiter(), waiter());
        sleep_ms(100);
        write_to(p.1);
        let mut b = [0u8; 2];
        sys!(read, done.0, &mut b, 1);
        let first = b[0] - b'0';
        sys!(read, done.0, &mut b, 1);
        wait(pids.0);
        wait(pids.1);
        (u32::from(first), u32::from(b[0] - b'0'))
    })
    .ok("polled-itself", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.0, IN, 1);
        let poll = || {
            let mut e = libc::pollfd { fd: ep, events: 0x7ff, revents: 0 };
            let n = sys!(ppoll, &mut e, 1, &ms(0), 0, 8);
            format!("{n} {:#x}", e.revents)
        };
        let before = poll();
        write_to(p.1);
        (before, poll())
    })
    .err("EBADF", || sys!(epoll_pwait, 99, pages(1), 1, 0, 0, 8))
    .err("EINVAL-max", || {
        let ep = epoll();
        (sys!(epoll_pwait, ep, pages(1), 0, 0, 0, 8), sys!(epoll_pwait, ep, pages(1), -1, 0, 0, 8), sys!(epoll_pwait, 99, BAD, 0, 0, 0, 8))
    })
    .err("EINVAL-file", || sys!(epoll_pwait, pipe().0, pages(1), 1, 0, 0, 8))
    .err("EINVAL-mask-size", || sys!(epoll_pwait, epoll(), pages(1), 1, 0, &0u64, 4))
    .bad("events", || {
        let (ep, p) = (epoll(), pipe());
        let empty = sys!(epoll_pwait, ep, BAD, 1, 0, 0, 8);
        watch(ep, p.1, OUT, 1);
        (empty, sys!(epoll_pwait, ep, BAD, 1, 0, 0, 8), sys!(epoll_pwait, ep, KERN, 1, 0, 0, 8), ready(ep))
    })
    .bad("events-edge", || {
        let (ep, p, q) = (epoll(), pipe(), pipe());
        watch(ep, p.1, OUT | ET, 1);
        watch(ep, q.1, OUT | ET, 2);
        (sys!(epoll_pwait, ep, edge(24), 2, 0, 0, 8), ready(ep), ready(ep))
    })
    .bad("sigmask", || sys!(epoll_pwait, epoll(), pages(1), 1, 0, BAD, 8))
    .intr("waiting", || interrupted(|| ready_within(epoll(), 8, -1)))
    .intr("mask-lets-it-in", || {
        handle(libc::SIGUSR1, libc::SA_RESTART);
        block(&[libc::SIGUSR1]);
        sys!(kill, sys!(getpid), libc::SIGUSR1);
        let r = sys!(epoll_pwait, epoll(), pages(1), 1, 1000, &0u64, 8);
        (r, caught(), sys!(epoll_pwait, epoll(), pages(1), 1, 0, 0, 8))
    });
    a.call("epoll_pwait2", "EBADF EINVAL", "events timeout sigmask", true);
    a.ok("times-out", || {
        let begin = now_ms();
        let r = sys!(epoll_pwait2, epoll(), pages(1), 1, &ms(60), 0, 8);
        (r, now_ms() - begin >= 60)
    })
    .ok("ready", || {
        let (ep, p) = (epoll(), pipe());
        watch(ep, p.1, OUT, 1);
        (sys!(epoll_pwait2, ep, pages(1), 1, 0, 0, 8), sys!(epoll_pwait2, ep, pages(1), 1, &ms(0), 0, 8))
    })
    .err("EBADF", || sys!(epoll_pwait2, 99, pages(1), 1, &ms(0), 0, 8))
    .err("EINVAL-timeout", || sys!(epoll_pwait2, 99, pages(1), 1, &libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, 0, 8))
    .err("EINVAL-max", || sys!(epoll_pwait2, epoll(), pages(1), 0, &ms(0), 0, 8))
    .bad("events", || sys!(epoll_pwait2, epoll(), KERN, 1, &ms(0), 0, 8))
    .bad("timeout", || sys!(epoll_pwait2, 99, pages(1), 1, BAD, 0, 8))
    .bad("sigmask", || sys!(epoll_pwait2, epoll(), pages(1), 1, &ms(0), BAD, 8))
    .intr("waiting", || interrupted(|| sys!(epoll_pwait2, epoll(), pages(1), 1, 0, 0, 8)));
}
