//! Scheduling: policies, priorities, reservations, CPUs.
mod limits;
mod places;
mod rttime;

use super::futex::shared_word;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{PRIO_PGRP, PRIO_PROCESS, PRIO_USER, SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_OTHER, SCHED_RESET_ON_FORK, SCHED_RR};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// Adds the group.
pub fn add(a: &mut Calls) {
    policies(a);
    attributes(a);
    places::add(a);
}

const NOBODY: i32 = 0x3fff_fff0;
const SCHED_DEADLINE: i32 = 6;
const RESET_ON_FORK: u64 = 1;
const RECLAIM: u64 = 2;
const DL_OVERRUN: u64 = 4;
const KEEP_POLICY: u64 = 8;
const KEEP_PARAMS: u64 = 0x10;
const UTIL_CLAMP_MIN: u64 = 0x20;
const SUGOV: u64 = 0x1000_0000;
const MS: u64 = 1_000_000;

fn policies(a: &mut Calls) {
    a.call("sched_yield", "", "", false);
    a.ok("once", || sys!(sched_yield));
    a.call("sched_setscheduler", "EINVAL EPERM ESRCH", "param", false);
    a.ok("all", || {
        [(SCHED_FIFO, 50), (SCHED_RR, 1), (SCHED_BATCH, 0), (SCHED_IDLE, 0), (SCHED_OTHER, 0)]
            .into_iter()
            .map(|(p, n)| sys!(sched_setscheduler, 0, p, &n))
            .collect::<Vec<_>>()
    })
    .ok("inherited", || {
        sys!(sched_setscheduler, 0, SCHED_FIFO, &5);
        in_child(|| sys!(sched_getscheduler, 0) as i32)
    })
    .ok("deadline-ends", || (small(), sys!(sched_setscheduler, 0, SCHED_OTHER, &0), sys!(sched_getscheduler, 0), get()))
    .ok("reset-on-fork", || {
        sys!(sched_setscheduler, 0, SCHED_FIFO | SCHED_RESET_ON_FORK, &5);
        (sys!(sched_getscheduler, 0), in_child(|| sys!(sched_getscheduler, 0) as i32))
    })
    .ok("user-to-batch", || as_user(|| sys!(sched_setscheduler, 0, SCHED_BATCH, &0)))
    .ok("user-within-limit", || {
        sys!(prlimit64, 0, libc::RLIMIT_RTPRIO, &[10u64, 10], 0);
        as_user(|| (sys!(sched_setscheduler, 0, SCHED_FIFO, &10), sys!(sched_setscheduler, 0, SCHED_FIFO, &11)))
    })
    .err("EINVAL-policy", || (sys!(sched_setscheduler, 0, 9, &0), sys!(sched_setscheduler, 0, -1, &0)))
    .err("EINVAL-priority", || {
        (
            sys!(sched_setscheduler, 0, SCHED_FIFO, &0),
            sys!(sched_setscheduler, 0, SCHED_FIFO, &100),
            sys!(sched_setscheduler, 0, SCHED_OTHER, &1),
        )
    })
    .err("EINVAL-deadline", || sys!(sched_setscheduler, 0, SCHED_DEADLINE, &0))
    .err("EPERM-reset-stays", || {
        sys!(sched_setscheduler, 0, SCHED_OTHER | SCHED_RESET_ON_FORK, &0);
        as_user(|| (sys!(sched_setscheduler, 0, SCHED_BATCH, &0), sys!(sched_setscheduler, 0, SCHED_BATCH | SCHED_RESET_ON_FORK, &0)))
    })
    .err("EINVAL-pid", || sys!(sched_setscheduler, -1, SCHED_OTHER, &0))
    .err("EINVAL-null", || sys!(sched_setscheduler, 0, SCHED_OTHER, 0))
    .err("EPERM", || as_user(|| sys!(sched_setscheduler, 0, SCHED_FIFO, &1)))
    .err("EPERM-other", || as_user(|| sys!(sched_setscheduler, 1, SCHED_OTHER, &0)))
    .err("EPERM-user-leaves-idle", || {
        sys!(sched_setscheduler, 0, SCHED_IDLE, &0);
        sys!(setpriority, PRIO_PROCESS, 0, 5);
        sys!(prlimit64, 0, libc::RLIMIT_NICE, &[0u64, 0], 0);
        as_user(|| sys!(sched_setscheduler, 0, SCHED_OTHER, &0))
    })
    .err("ESRCH", || sys!(sched_setscheduler, NOBODY, SCHED_OTHER, &0))
    .bad("param", || sys!(sched_setscheduler, 0, SCHED_OTHER, BAD));
    rttime::rttime(a);
    limits::policies(a);
    a.call("sched_getscheduler", "EINVAL ESRCH", "", false).not("EPERM", "never on Linux");
    a.ok("default", || sys!(sched_getscheduler, 0))
        .ok("deadline", || (small(), sys!(sched_getscheduler, 0)))
        .err("EINVAL", || sys!(sched_getscheduler, -1))
        .err("ESRCH", || sys!(sched_getscheduler, NOBODY));
    a.call("sched_setparam", "EINVAL EPERM ESRCH", "param", false);
    a.ok("real-time", || {
        sys!(sched_setscheduler, 0, SCHED_RR, &5);
        let mut n = 0;
        (sys!(sched_setparam, 0, &7), sys!(sched_getparam, 0, &mut n), n)
    })
    .err("EINVAL", || (sys!(sched_setparam, 0, &1), sys!(sched_setparam, -1, &0), sys!(sched_setparam, 0, 0)))
    .err("EINVAL-deadline", || (small(), sys!(sched_setparam, 0, &0)))
    .err("EPERM", || as_user(|| sys!(sched_setparam, 1, &0)))
    .err("ESRCH", || sys!(sched_setparam, NOBODY, &0))
    .bad("param", || sys!(sched_setparam, 0, BAD));
    a.call("sched_getparam", "EINVAL ESRCH", "param", false).not("EPERM", "never on Linux");
    a.ok("default", || {
        let mut n = 9;
        (sys!(sched_getparam, 0, &mut n), n)
    })
    .err("EINVAL", || (sys!(sched_getparam, -1, pages(1)), sys!(sched_getparam, 0, 0)))
    .err("ESRCH", || sys!(sched_getparam, NOBODY, pages(1)))
    .bad("param", || sys!(sched_getparam, 0, BAD));
    a.call("sched_get_priority_max", "EINVAL", "", false);
    a.ok("all", || (0..7).map(|p| sys!(sched_get_priority_max, p)).collect::<Vec<_>>()).err("EINVAL", || sys!(sched_get_priority_max, 99));
    a.call("sched_get_priority_min", "EINVAL", "", false);
    a.ok("all", || (0..7).map(|p| sys!(sched_get_priority_min, p)).collect::<Vec<_>>()).err("EINVAL", || sys!(sched_get_priority_min, 99));
    a.call("sched_rr_get_interval", "EINVAL ESRCH", "tp", false);
    a.ok("real-time", || {
        sys!(sched_setscheduler, 0, SCHED_RR, &5);
        let mut t = ms(0);
        (sys!(sched_rr_get_interval, 0, &mut t), t.tv_sec, t.tv_nsec)
    })
    .ok("fifo-is-zero", || {
        sys!(sched_setscheduler, 0, SCHED_FIFO, &5);
        let mut t = ms(9);
        (sys!(sched_rr_get_interval, 0, &mut t), t.tv_nsec)
    })
    .ok("deadline-is-zero", || {
        small();
        let mut t = ms(9);
        (sys!(sched_rr_get_interval, 0, &mut t), t.tv_nsec)
    })
    .ok("other", || sys!(sched_rr_get_interval, 0, pages(1)))
    .err("EINVAL", || sys!(sched_rr_get_interval, -1, pages(1)))
    .err("ESRCH", || sys!(sched_rr_get_interval, NOBODY, pages(1)))
    .bad("tp", || sys!(sched_rr_get_interval, 0, BAD));
}

/// `struct sched_attr`, 56 bytes: size and policy, flags, nice and priority, runtime, deadline, period, clamps.
fn attr(policy: i32, nice: i32, priority: u32) -> [u64; 7] {
    [56 | (policy as u64) << 32, 0, u64::from(nice as u32) | u64::from(priority) << 32, 0, 0, 0, 0]
}

/// A reservation, in nanoseconds.
fn deadline(flags: u64, runtime: u64, deadline: u64, period: u64) -> [u64; 7] {
    let mut x = attr(SCHED_DEADLINE, 0, 0);
    (x[1], x[3], x[4], x[5]) = (flags, runtime, deadline, period);
    x
}

fn set(x: &[u64; 7]) -> isize {
    sys!(sched_setattr, 0, x, 0)
}

/// What sched_getattr(2) says of the caller.
fn get() -> String {
    let mut x = [0u64; 7];
    sys!(sched_getattr, 0, &mut x, 56, 0);
    format!("{x:x?}")
}

/// Writes to a file of /proc/sys/kernel; the result, and what it reads then. What was there before is put back.
fn sysctl(name: &str, value: &str) -> (isize, String) {
    let path = c(&format!("/proc/sys/kernel/{name}"));
    let before = content(&path);
    let write = |value: &str| {
        let fd = open(&path, libc::O_WRONLY);
        let r = sys!(write, fd, value.as_ptr(), value.len());
        sys!(close, fd);
        r
    };
    let r = (write(value), content(&path));
    write(before.trim_end_matches('.'));
    r
}

/// Makes the caller a deadline task: with enough for a case on a slow emulator.
fn small() -> isize {
    set(&deadline(0, 20 * MS, 100 * MS, 100 * MS))
}

fn attributes(a: &mut Calls) {
    a.call("sched_setattr", "EINVAL EPERM ESRCH E2BIG EBUSY", "attr", false);
    deadlines(a);
    limits::attributes(a);
    a.ok("nice", || (sys!(sched_setattr, 0, &attr(SCHED_OTHER, 7, 0), 0), sys!(getpriority, PRIO_PROCESS, 0)))
        .ok("fifo", || (sys!(sched_setattr, 0, &attr(SCHED_FIFO, 0, 7), 0), sys!(sched_getscheduler, 0)))
        .ok("size-zero-is-first-version", || {
            let mut x = attr(SCHED_OTHER, 3, 0);
            x[0] = 0;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EINVAL", || {
            (sys!(sched_setattr, 0, 0, 0), sys!(sched_setattr, -1, &attr(0, 0, 0), 0), sys!(sched_setattr, 0, &attr(0, 0, 0), 1))
        })
        .err("EINVAL-policy", || sys!(sched_setattr, 0, &attr(9, 0, 0), 0))
        .err("EINVAL-flags", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            x[1] = 1 << 20;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EINVAL-deadline", || {
            let mut x = attr(6, 0, 0);
            (x[3], x[4], x[5]) = (20_000_000, 10_000_000, 30_000_000);
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("E2BIG", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            x[0] = 20;
            let r = sys!(sched_setattr, 0, &mut x, 0);
            // The kernel's size comes back.
            (r, x[0] as u32)
        })
        .err("E2BIG-non-zero-rest", || {
            let mut x = [1u64; 8];
            x[..7].copy_from_slice(&attr(SCHED_OTHER, 0, 0));
            x[0] = 64;
            sys!(sched_setattr, 0, &x, 0)
        })
        .err("EPERM", || as_user(|| sys!(sched_setattr, 0, &attr(SCHED_OTHER, -5, 0), 0)))
        .err("ESRCH", || sys!(sched_setattr, NOBODY, &attr(0, 0, 0), 0))
        .bad("attr", || sys!(sched_setattr, 0, BAD, 0))
        .bad("attr-edge", || {
            let at = edge(24);
            fill(at, 24, 0);
            fill(at, 1, 48);
            sys!(sched_setattr, 0, at, 0)
        });
    a.call("sched_getattr", "EINVAL ESRCH", "attr", false).not("E2BIG", "is EINVAL");
    a.ok("default", || {
        let mut x = [0u64; 7];
        (sys!(sched_getattr, 0, &mut x, 56, 0), x[0], x[2], x[3])
    })
    .ok("fifo", || (set(&attr(SCHED_FIFO, 3, 7)), get()))
    .ok("nice", || (set(&attr(SCHED_BATCH, -3, 0)), get()))
    .ok("deadline", || (set(&deadline(RESET_ON_FORK | RECLAIM | DL_OVERRUN, 20 * MS, 50 * MS, 0)), get()))
    .ok("deadline-smaller", || {
        let mut x = [0u64; 7];
        (small(), sys!(sched_getattr, 0, &mut x, 48, 0), format!("{x:x?}"))
    })
    .ok("smaller", || {
        let mut x = [0u64; 7];
        (sys!(sched_getattr, 0, &mut x, 48, 0), x[0])
    })
    .ok("larger", || {
        let mut x = [0u64; 16];
        (sys!(sched_getattr, 0, &mut x, 128, 0), x[0])
    })
    .err("EINVAL", || {
        (
            sys!(sched_getattr, 0, pages(1), 47, 0),
            sys!(sched_getattr, 0, pages(2), 4097, 0),
            sys!(sched_getattr, 0, pages(1), 56, 1),
            sys!(sched_getattr, 0, 0, 56, 0),
        )
    })
    .err("ESRCH", || sys!(sched_getattr, NOBODY, pages(1), 56, 0))
    .bad("attr", || sys!(sched_getattr, 0, BAD, 56, 0));
}

/// How many CPUs there are.
pub(super) fn cpus() -> u32 {
    let mut m = 0u64;
    sys!(sched_getaffinity, 1, 8, &mut m);
    m.count_ones()
}

/// Cases of sched_setattr(2) about reservations and flags.
fn deadlines(a: &mut Calls) {
    a.ok("deadline", || (set(&deadline(0, 10 * MS, 30 * MS, 100 * MS)), get(), content(c"/proc/self/schedstat").is_empty()))
        .ok("deadline-least", || set(&deadline(0, 1024, 100_000, 100_000)))
        .ok("deadline-longest", || set(&deadline(0, 100 * MS, (1 << 22) * 1000, 0)))
        .ok("deadline-changed", || (small(), set(&deadline(RECLAIM, 25 * MS, 90 * MS, 100 * MS)), get()))
        .ok("deadline-keeps-nice", || {
            sys!(setpriority, PRIO_PROCESS, 0, 5);
            (small(), sys!(getpriority, PRIO_PROCESS, 0), set(&attr(SCHED_FIFO, 0, 1)), sys!(getpriority, PRIO_PROCESS, 0))
        })
        .ok("deadline-and-nice", || (small(), sys!(setpriority, PRIO_PROCESS, 0, 7), get(), sys!(sched_getscheduler, 0)))
        .ok("deadline-sleeps-and-yields", || {
            small();
            sleep_ms(5);
            (sys!(sched_yield), sys!(sched_getscheduler, 0))
        })
        .ok("deadline-resets-child", || {
            set(&deadline(RESET_ON_FORK, 20 * MS, 100 * MS, 100 * MS));
            in_child(|| (sys!(sched_getscheduler, 0) + 10 * sys!(getpriority, PRIO_PROCESS, 0)) as i32)
        })
        .ok("keep-policy", || {
            (
                set(&attr(SCHED_RR, 0, 3)),
                set(&{
                    let mut x = attr(SCHED_OTHER, 0, 9);
                    x[1] = KEEP_POLICY;
                    x
                }),
                get(),
            )
        })
        .ok("keep-params", || {
            (
                set(&attr(SCHED_RR, 0, 3)),
                set(&{
                    let mut x = attr(SCHED_FIFO, 0, 9);
                    x[1] = KEEP_PARAMS;
                    x
                }),
                get(),
            )
        })
        .ok("keep-both-of-deadline", || {
            (
                small(),
                set(&{
                    let mut x = attr(SCHED_OTHER, 0, 0);
                    x[1] = KEEP_PARAMS | KEEP_POLICY;
                    x
                }),
                get(),
            )
        })
        .ok("keep-policy-keeps-reset", || {
            (
                set(&{
                    let mut x = attr(SCHED_OTHER, 0, 0);
                    x[1] = RESET_ON_FORK;
                    x
                }),
                set(&{
                    let mut x = attr(SCHED_OTHER, 2, 0);
                    x[1] = KEEP_POLICY;
                    x
                }),
                get(),
            )
        })
        .ok("nice-is-clamped", || {
            (
                set(&attr(SCHED_OTHER, 100, 0)),
                sys!(getpriority, PRIO_PROCESS, 0),
                set(&attr(SCHED_OTHER, -100, 0)),
                sys!(getpriority, PRIO_PROCESS, 0),
            )
        })
        .err("EINVAL-deadline-params", || {
            [
                (0, 0, 0),
                (1023, 100_000, 100_000),
                (1024, 99_999, 99_999),
                (1024, 0, 100_000),
                (2 * MS, MS, 3 * MS),
                (MS, 3 * MS, 2 * MS),
                (MS, 1 << 63, 0),
                (MS, MS, 1 << 63),
                (MS, (1 << 22) * 1000 + 1, 0),
            ]
            .into_iter()
            .map(|(r, d, p)| set(&deadline(0, r, d, p)))
            .collect::<Vec<_>>()
        })
        .err("EINVAL-deadline-priority", || {
            let mut x = deadline(0, MS, 100 * MS, 0);
            x[2] = 1 << 32;
            set(&x)
        })
        .err("EINVAL-sugov", || set(&deadline(SUGOV, MS, 100 * MS, 0)))
        .err("EINVAL-negative-policy", || set(&attr(-1, 0, 0)))
        .err("EINVAL-clamp-without-room", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            (x[0], x[1]) = (48, UTIL_CLAMP_MIN);
            set(&x)
        })
        .err("EOPNOTSUPP-clamp", || {
            let mut x = attr(SCHED_OTHER, 0, 0);
            (x[1], x[6]) = (UTIL_CLAMP_MIN, 100);
            set(&x)
        })
        .err("E2BIG-says-the-size", || {
            let mut x = [1u64; 9];
            x[..7].copy_from_slice(&attr(SCHED_OTHER, 0, 0));
            x[0] = 72;
            (sys!(sched_setattr, 0, &mut x, 0), x[0] as u32, sys!(sched_setattr, 0, &mut [8192u64; 1], 0))
        })
        .err("EPERM-deadline", || as_user(small))
        .err("EPERM-deadline-before-EBUSY", || {
            sys!(sched_setaffinity, 0, 8, &1u64);
            (small(), set(&deadline(0, 99 * MS, 100 * MS, 0)))
        })
        .err("EPERM-user-ends-what-is-reset", || {
            set(&deadline(RESET_ON_FORK, 20 * MS, 100 * MS, 0));
            as_user(|| (set(&attr(SCHED_OTHER, 0, 0)), set(&deadline(RESET_ON_FORK, MS, 100 * MS, 0))))
        })
        .err("EBUSY", || {
            // Each CPU can promise 95 %, and a task at most what a CPU has: one is too many of as many as there are, and one more.
            // What earlier cases have promised is given back before that.
            sleep_ms(300);
            let child = |share: u64| {
                child(move || {
                    let r = set(&deadline(0, share * MS, 1000 * MS, 0));
                    sleep_ms(400);
                    -r as i32
                })
            };
            let pids: Vec<_> = (0..cpus()).map(|_| child(900)).collect();
            sleep_ms(100);
            let r = set(&deadline(0, 200 * MS, 1000 * MS, 0));
            (r, pids.into_iter().map(wait).collect::<Vec<_>>())
        })
        .ok("overrun-signal", || {
            handle(libc::SIGXCPU, 0);
            let r = set(&deadline(DL_OVERRUN, 10 * MS, 50 * MS, 50 * MS));
            let start = now_ms();
            while caught() == 0 && now_ms() < start + 2000 {}
            (r, caught() > 0)
        })
        .ok("no-signal-without-overrun", || {
            handle(libc::SIGXCPU, 0);
            let r = set(&deadline(0, 10 * MS, 50 * MS, 50 * MS));
            let start = now_ms();
            while now_ms() < start + 200 {}
            (r, caught())
        })
        .ok("sysctl-runtime", || {
            let f = |v| sysctl("sched_rt_runtime_us", v);
            (f("950000"), f("1000000"), f("-1"), (small(), f("0")))
        })
        .err("EINVAL-sysctl", || {
            let f = |v| sysctl("sched_rt_runtime_us", v);
            let g = |v| sysctl("sched_rt_period_us", v);
            (f("1000001"), f("-2"), (f("x"), g("0"), g("-1"), g("949999"), g("950000")))
        })
        .ok("sysctl-rr", || {
            let f = |v| sysctl("sched_rr_timeslice_ms", v);
            (f("20"), f("0"), f("-1"))
        })
        .ok("sysctl-deadline-period", || {
            let (f, g) = (|v| sysctl("sched_deadline_period_max_us", v), |v| sysctl("sched_deadline_period_min_us", v));
            (f("4194304"), f("99"), (g("100"), g("4194305")))
        })
        .err("EBUSY-sysctl", || {
            small();
            (sysctl("sched_rt_runtime_us", "5000"), sysctl("sched_rt_runtime_us", "500000"))
        })
        .err("EPERM-without-realtime", || {
            // What earlier cases have promised is given back.
            sleep_ms(1500);
            let path = c"/proc/sys/kernel/sched_rt_runtime_us";
            let fd = open(path, libc::O_WRONLY);
            let w = sys!(write, fd, c"0".as_ptr(), 1);
            let r = small();
            sys!(lseek, fd, 0, 0);
            (w, r, sys!(write, fd, c"950000".as_ptr(), 6))
        })
        .err("EAGAIN-fork", || (small(), sys!(clone, libc::SIGCHLD, 0, 0, 0, 0)));
}
