//! Clocks, sleeping, timers.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME,
    CLOCK_REALTIME_COARSE, CLOCK_TAI, CLOCK_THREAD_CPUTIME_ID, SIGALRM, TIMER_ABSTIME, timespec,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    clocks(a);
    sleeps(a);
    intervals(a);
    timers(a);
}

fn clocks(a: &mut Calls) {
    let all = [
        CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
        CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, 8, 9, 10, CLOCK_TAI, 12, -1, -6,
    ];
    a.call("clock_gettime", "EINVAL", "tp", false).not("ENODEV", "no dynamic clocks").not("EPERM", "never");
    a.ok("which", move || all.into_iter().map(|id| sys!(clock_gettime, id, pages(1))).collect::<Vec<_>>())
        .ok("monotonic", || {
            let (mut x, mut y) = (ms(0), ms(0));
            sys!(clock_gettime, CLOCK_MONOTONIC, &mut x);
            sys!(clock_gettime, CLOCK_MONOTONIC, &mut y);
            ((x.tv_sec, x.tv_nsec) <= (y.tv_sec, y.tv_nsec), (0..1_000_000_000).contains(&x.tv_nsec))
        })
        .ok("process-time-runs", || {
            let mut t = ms(0);
            while t.tv_nsec < 5_000_000 && t.tv_sec == 0 {
                sys!(clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &mut t);
            }
            true
        })
        .ok("of-child", || {
            let p = sleeper();
            let r = sys!(clock_gettime, !(p) << 3 | 2, pages(1));
            end(p);
            r
        })
        .ok("through-vdso", || {
            let (mut x, mut y) = (ms(0), ms(0));
            // SAFETY: both structures live through the calls.
            let r = unsafe { libc::clock_gettime(CLOCK_MONOTONIC, &raw mut x) };
            sys!(clock_gettime, CLOCK_MONOTONIC, &mut y);
            (r, (x.tv_sec, x.tv_nsec) <= (y.tv_sec, y.tv_nsec), y.tv_sec - x.tv_sec <= 1)
        })
        .err("EINVAL", || sys!(clock_gettime, 99, pages(1)))
        .err("EINVAL-no-process", || sys!(clock_gettime, !0x3fff_ff0i32 << 3 | 2, pages(1)))
        .bad("tp", || (sys!(clock_gettime, CLOCK_REALTIME, BAD), sys!(clock_gettime, CLOCK_REALTIME, 0)))
        .bad("tp-edge", || sys!(clock_gettime, CLOCK_REALTIME, edge(8)))
        .bad("tp-invalid-clock", || (sys!(clock_gettime, 99, BAD), sys!(clock_gettime, CLOCK_MONOTONIC, KERN)));
    a.call("clock_settime", "EINVAL EPERM", "tp", false).not("EACCES", "no dynamic clocks").not("ENODEV", "no dynamic clocks");
    a.ok("same-time", || {
        let mut t = ms(0);
        sys!(clock_gettime, CLOCK_REALTIME, &mut t);
        sys!(clock_settime, CLOCK_REALTIME, &t)
    })
    .err("EINVAL", || {
        (
            sys!(clock_settime, CLOCK_MONOTONIC, &ms(0)),
            sys!(clock_settime, 99, &ms(0)),
            sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: 1, tv_nsec: -1 }),
        )
    })
    .err("EINVAL-before-monotonic", || sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: -1, tv_nsec: 0 }))
    .err("EPERM", || as_user(|| sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: 2_000_000_000, tv_nsec: 0 })))
    .bad("tp", || sys!(clock_settime, CLOCK_REALTIME, BAD));
    a.call("clock_getres", "EINVAL", "res", false);
    a.ok("which", move || all.into_iter().map(|id| sys!(clock_getres, id, pages(1))).collect::<Vec<_>>())
        .ok("nanosecond", || {
            let mut t = ms(0);
            (sys!(clock_getres, CLOCK_MONOTONIC, &mut t), t.tv_sec, t.tv_nsec)
        })
        .ok("null", || sys!(clock_getres, CLOCK_MONOTONIC, 0))
        .err("EINVAL", || sys!(clock_getres, 99, 0))
        .bad("res", || sys!(clock_getres, CLOCK_MONOTONIC, BAD));
    a.call("gettimeofday", "", "tv tz", false);
    a.ok("both", || {
        let (mut tv, mut tz) = ([0i64; 2], [9i32; 2]);
        (sys!(gettimeofday, &mut tv, &mut tz), (0..1_000_000).contains(&tv[1]), tz[0], tz[1])
    })
    .ok("neither", || sys!(gettimeofday, 0, 0))
    .bad("tv", || sys!(gettimeofday, BAD, 0))
    .bad("tz", || sys!(gettimeofday, 0, BAD));
    a.call("settimeofday", "EINVAL EPERM", "tv tz", false);
    a.ok("same-time", || {
        let mut tv = [0i64; 2];
        sys!(gettimeofday, &mut tv, 0);
        sys!(settimeofday, &tv, 0)
    })
    .err("EINVAL", || (sys!(settimeofday, &[1i64, 1_000_000], 0), sys!(settimeofday, &[1i64, -1], 0)))
    .err("EPERM", || as_user(|| sys!(settimeofday, &[2_000_000_000i64, 0], 0)))
    .bad("tv", || sys!(settimeofday, BAD, 0))
    .bad("tz", || sys!(settimeofday, 0, BAD));
}

fn left(t: timespec) -> bool {
    t.tv_sec < 5 && (t.tv_sec, t.tv_nsec) > (3, 0)
}

fn sleeps(a: &mut Calls) {
    a.call("nanosleep", "EINVAL", "rqtp rmtp", true);
    a.ok("sleeps", || {
        let start = now_ms();
        (sys!(nanosleep, &ms(40), 0), now_ms() - start >= 40)
    })
    .ok("zero", || sys!(nanosleep, &ms(0), 0))
    .ok("remaining-untouched", || {
        let mut t = timespec { tv_sec: 77, tv_nsec: 7 };
        (sys!(nanosleep, &ms(1), &mut t), t.tv_sec)
    })
    .err("EINVAL", || {
        (sys!(nanosleep, &timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, 0), sys!(nanosleep, &timespec { tv_sec: -1, tv_nsec: 0 }, 0))
    })
    .bad("rqtp", || (sys!(nanosleep, BAD, 0), sys!(nanosleep, 0, 0)))
    .bad("rmtp", || interrupted(|| sys!(nanosleep, &ms(5000), BAD)))
    .intr("remaining", || {
        let mut t = ms(0);
        (interrupted(|| sys!(nanosleep, &ms(5000), &mut t)), left(t))
    })
    .intr("not-restarted", || restarted(|| (), || sys!(nanosleep, &ms(5000), 0)));
    a.call("clock_nanosleep", "EINVAL EOPNOTSUPP", "rqtp rmtp", true);
    a.ok("relative", || {
        let start = now_ms();
        (sys!(clock_nanosleep, CLOCK_MONOTONIC, 0, &ms(40), 0), now_ms() - start >= 40)
    })
    .ok("absolute", || {
        let start = now_ms();
        (sys!(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ms(start + 41), 0), now_ms() - start >= 40)
    })
    .ok("absolute-past", || sys!(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ms(1), 0))
    .ok("clocks", || {
        [CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID]
            .into_iter()
            .map(|id| sys!(clock_nanosleep, id, TIMER_ABSTIME, &ms(0), 0))
            .collect::<Vec<_>>()
    })
    .err("EINVAL-clock", || sys!(clock_nanosleep, 99, 0, &ms(1), 0))
    .err("EINVAL-time", || sys!(clock_nanosleep, CLOCK_MONOTONIC, 0, &timespec { tv_sec: 0, tv_nsec: -1 }, 0))
    .err("EOPNOTSUPP-thread-clock", || sys!(clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &ms(1), 0))
    .err("EOPNOTSUPP", || {
        (sys!(clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &ms(1), 0), sys!(clock_nanosleep, CLOCK_MONOTONIC_COARSE, 0, &ms(1), 0))
    })
    .bad("rqtp", || sys!(clock_nanosleep, CLOCK_MONOTONIC, 0, BAD, 0))
    .bad("rmtp", || interrupted(|| sys!(clock_nanosleep, CLOCK_MONOTONIC, 0, &ms(5000), BAD)))
    .intr("relative", || {
        let mut t = ms(0);
        (interrupted(|| sys!(clock_nanosleep, CLOCK_MONOTONIC, 0, &ms(5000), &mut t)), left(t))
    })
    .intr("absolute-leaves-remaining", || {
        let mut t = ms(77_000);
        (interrupted(|| sys!(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ms(now_ms() + 5000), &mut t)), t.tv_sec)
    })
    .intr("absolute-not-restarted", || {
        let start = now_ms();
        (
            restarted(|| (), || sys!(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ms(start + 150), 0)),
            caught() > 0,
            now_ms() - start >= 149,
        )
    });
    super::end_of_time::add(a);
}

fn intervals(a: &mut Calls) {
    fn timer(value: i64, interval: i64) -> libc::itimerval {
        let tv = |us: i64| libc::timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 };
        libc::itimerval { it_interval: tv(interval), it_value: tv(value) }
    }
    a.call("getitimer", "EINVAL", "curr_value", false);
    a.ok("disarmed", || {
        let mut t = timer(9, 9);
        (sys!(getitimer, 0, &mut t), t.it_value.tv_usec, t.it_interval.tv_usec)
    })
    .ok("armed", || {
        sys!(setitimer, 0, &timer(9_000_000, 5), 0);
        let mut t = timer(0, 0);
        (sys!(getitimer, 0, &mut t), (7..=9).contains(&t.it_value.tv_sec), t.it_interval.tv_usec)
    })
    .err("EINVAL", || sys!(getitimer, 3, pages(1)))
    .bad("curr_value", || sys!(getitimer, 0, BAD));
    a.call("setitimer", "EINVAL", "new_value old_value", false);
    a.ok("once", || {
        handle(SIGALRM, 0);
        sys!(setitimer, 0, &timer(20_000, 0), 0);
        sleep_ms(5000);
        sleep_ms(60);
        caught()
    })
    .ok("repeating", || {
        handle(SIGALRM, 0);
        sys!(setitimer, 0, &timer(20_000, 20_000), 0);
        while caught() < 3 {
            sleep_ms(5000);
        }
        no_alarm();
        true
    })
    .ok("old", || {
        sys!(setitimer, 0, &timer(9_000_000, 5), 0);
        let mut t = timer(0, 0);
        (sys!(setitimer, 0, &timer(0, 0), &mut t), t.it_interval.tv_usec, (7..=9).contains(&t.it_value.tv_sec))
    })
    .ok("null-disarms", || {
        sys!(setitimer, 0, &timer(9_000_000, 5), 0);
        let mut t = timer(9, 9);
        (sys!(setitimer, 0, 0, 0), sys!(getitimer, 0, &mut t), t.it_value.tv_sec)
    })
    .ok("processor-time", || {
        [(1, libc::SIGVTALRM), (2, libc::SIGPROF)]
            .into_iter()
            .map(|(which, signal)| {
                in_child(|| {
                    handle(signal, 0);
                    sys!(setitimer, which, &timer(20_000, 0), 0);
                    while caught() == 0 {
                        std::hint::spin_loop();
                    }
                    5
                })
            })
            .collect::<Vec<_>>()
    })
    .err("EINVAL", || {
        (sys!(setitimer, 3, &timer(0, 0), 0), sys!(setitimer, 0, &[0i64, 0, 0, 1_000_000], 0), sys!(setitimer, 0, &[0i64, 0, -1, 0], 0))
    })
    .bad("new_value", || sys!(setitimer, 0, BAD, 0))
    .bad("old_value", || sys!(setitimer, 0, &timer(0, 0), BAD));
}

/// A timer of the monotonic clock that signals with SIGUSR1, or the error.
fn create(clock: i32) -> isize {
    let event = [0u64, (libc::SIGUSR1 as u64) | (libc::SIGEV_SIGNAL as u64) << 32, 0, 0, 0, 0, 0, 0];
    let mut id = -1i32;
    let r = sys!(timer_create, clock, &event, &mut id);
    if r < 0 { r } else { id as isize }
}

fn timers(a: &mut Calls) {
    let time = |value: i64, interval: i64| [ms(interval), ms(value)];
    a.call("timer_create", "EINVAL EOPNOTSUPP", "sevp timerid", false)
        .not("ENOMEM", "see --nth")
        .not("EPERM", "CAP_WAKE_ALARM")
        .not("EAGAIN", "see --nth");
    a.ok("first", || create(CLOCK_MONOTONIC))
        .ok("clocks", || {
            [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID]
                .into_iter()
                .map(|c| create(c) >= 0)
                .collect::<Vec<_>>()
        })
        .ok("default-event", || {
            handle(SIGALRM, 0);
            let mut id = -1i32;
            let r = sys!(timer_create, CLOCK_MONOTONIC, 0, &mut id);
            sys!(timer_settime, id, 0, &[ms(0), ms(20)], 0);
            sleep_ms(5000);
            (r, caught())
        })
        .ok("none-event", || {
            let event = [0u64, (libc::SIGEV_NONE as u64) << 32, 0, 0, 0, 0, 0, 0];
            let mut id = -1i32;
            let r = sys!(timer_create, CLOCK_MONOTONIC, &event, &mut id);
            sys!(timer_settime, id, 0, &[ms(0), ms(1)], 0);
            sleep_ms(20);
            r
        })
        .ok("thread-event", || {
            handle(libc::SIGUSR1, 0);
            let event = [0u64, (libc::SIGUSR1 as u64) | (libc::SIGEV_THREAD_ID as u64) << 32, sys!(gettid) as u64, 0, 0, 0, 0, 0];
            let mut id = -1i32;
            let r = sys!(timer_create, CLOCK_MONOTONIC, &event, &mut id);
            sys!(timer_settime, id, 0, &[ms(0), ms(20)], 0);
            sleep_ms(5000);
            (r, caught())
        })
        .ok("not-inherited", || {
            create(CLOCK_MONOTONIC);
            in_child(|| sys!(timer_delete, 0) as i32)
        })
        .err("EINVAL-clock", || create(99))
        .err("EINVAL-signal", || sys!(timer_create, CLOCK_MONOTONIC, &[0u64, 99, 0, 0, 0, 0, 0, 0], pages(1)))
        .err("EINVAL-notify", || sys!(timer_create, CLOCK_MONOTONIC, &[0u64, 10 | 9 << 32, 0, 0, 0, 0, 0, 0], pages(1)))
        .err("EINVAL-thread", || sys!(timer_create, CLOCK_MONOTONIC, &[0u64, 10 | 4 << 32, 1, 0, 0, 0, 0, 0], pages(1)))
        .err("EOPNOTSUPP-clock", || create(CLOCK_MONOTONIC_RAW))
        .bad("sevp", || sys!(timer_create, CLOCK_MONOTONIC, BAD, pages(1)))
        .bad("timerid", || sys!(timer_create, CLOCK_MONOTONIC, 0, BAD));
    a.call("timer_settime", "EINVAL", "new_value old_value", false);
    a.ok("once", move || {
        handle(libc::SIGUSR1, 0);
        let id = create(CLOCK_MONOTONIC);
        let r = sys!(timer_settime, id, 0, &time(20, 0), 0);
        sleep_ms(5000);
        (r, caught())
    })
    .ok("absolute", move || {
        handle(libc::SIGUSR1, 0);
        let id = create(CLOCK_MONOTONIC);
        let r = sys!(timer_settime, id, TIMER_ABSTIME, &time(now_ms() + 30, 0), 0);
        sleep_ms(5000);
        (r, caught())
    })
    .ok("old", move || {
        let id = create(CLOCK_MONOTONIC);
        sys!(timer_settime, id, 0, &time(9000, 7), 0);
        let mut old = time(0, 0);
        (sys!(timer_settime, id, 0, &time(0, 0), &mut old), old[0].tv_nsec, (7..=9).contains(&old[1].tv_sec))
    })
    .err("EINVAL-id", move || sys!(timer_settime, 99, 0, &time(1, 0), 0))
    .err("EINVAL-time", || sys!(timer_settime, create(CLOCK_MONOTONIC), 0, &[0i64, 0, 0, -1], 0))
    .err("EINVAL-null", || sys!(timer_settime, create(CLOCK_MONOTONIC), 0, 0, 0))
    .bad("new_value", || sys!(timer_settime, create(CLOCK_MONOTONIC), 0, BAD, 0))
    .bad("old_value", move || sys!(timer_settime, create(CLOCK_MONOTONIC), 0, &time(0, 0), BAD));
    a.call("timer_gettime", "EINVAL", "curr_value", false);
    a.ok("disarmed", || {
        let mut t = [9i64; 4];
        (sys!(timer_gettime, create(CLOCK_MONOTONIC), &mut t), t[0], t[3])
    })
    .ok("armed", move || {
        let id = create(CLOCK_MONOTONIC);
        sys!(timer_settime, id, 0, &time(9000, 7), 0);
        let mut t = time(0, 0);
        (sys!(timer_gettime, id, &mut t), t[0].tv_nsec, (7..=9).contains(&t[1].tv_sec))
    })
    .err("EINVAL", || sys!(timer_gettime, 99, pages(1)))
    .bad("curr_value", || sys!(timer_gettime, create(CLOCK_MONOTONIC), BAD));
    a.call("timer_getoverrun", "EINVAL", "", false);
    a.ok("none", || sys!(timer_getoverrun, create(CLOCK_MONOTONIC)))
        .ok("some", move || {
            handle(libc::SIGUSR1, 0);
            block(&[libc::SIGUSR1]);
            let id = create(CLOCK_MONOTONIC);
            sys!(timer_settime, id, 0, &time(5, 5), 0);
            sleep_ms(60);
            // Taken, not delivered: however late this goes on, no later signal comes between that and the question.
            let (mut info, set) = ([0i32; 32], 1u64 << (libc::SIGUSR1 - 1));
            let taken = sys!(rt_sigtimedwait, &set, &mut info, 0, 8);
            let overrun = sys!(timer_getoverrun, id);
            (taken, overrun > 5, overrun == info[5] as isize)
        })
        .err("EINVAL", || sys!(timer_getoverrun, 99));
    a.call("timer_delete", "EINVAL", "", false);
    a.ok("twice", || {
        let id = create(CLOCK_MONOTONIC);
        (sys!(timer_delete, id), sys!(timer_delete, id))
    })
    .ok("armed", move || {
        let id = create(CLOCK_MONOTONIC);
        sys!(timer_settime, id, 0, &time(30, 0), 0);
        let r = sys!(timer_delete, id);
        sleep_ms(60);
        r
    })
    .err("EINVAL", || sys!(timer_delete, 99));
}
