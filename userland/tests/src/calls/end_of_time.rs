//! Timers and waits at the last moment that a clock can tell, and beyond it: nothing fires, nothing overflows. More cases of clock_nanosleep.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, TIMER_ABSTIME, timespec};

/// Beyond what a clock of nanoseconds can tell.
const END: timespec = timespec { tv_sec: i64::MAX, tv_nsec: 999_999_999 };
/// What it can tell.
const LAST: timespec = timespec { tv_sec: 9_223_372_036, tv_nsec: 854_775_807 };
/// The first second that no clock can be set to.
const UNSETTABLE: i64 = 9_223_372_036 - 30 * 365 * 86_400;
const CLOCKS: [i32; 4] = [CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI];

/// A timer's setting: whether what is left is more than two centuries, and the period.
fn far(t: [timespec; 2]) -> (bool, i64, i64) {
    (t[1].tv_sec > 6_400_000_000, t[0].tv_sec, t[0].tv_nsec)
}

/// Adds to the call clock_nanosleep.
pub fn add(a: &mut Calls) {
    a.ok("end-of-time-sleep", || {
        let mut left = ms(0);
        let relative = interrupted(|| sys!(nanosleep, &END, &mut left));
        let all = CLOCKS.map(|clock| [END, LAST].map(|t| interrupted(|| sys!(clock_nanosleep, clock, TIMER_ABSTIME, &t, 0))).to_vec());
        (relative, left.tv_sec > 9_000_000_000, all.to_vec())
    })
    .ok("end-of-time-timer", || {
        handle(libc::SIGUSR1, 0);
        let event = [0u64, libc::SIGUSR1 as u64, 0, 0, 0, 0, 0, 0];
        let each = |clock: i32, flags: i32, t: timespec| {
            let (mut id, mut now) = (-1i32, [ms(0); 2]);
            sys!(timer_create, clock, &event, &mut id);
            let set = sys!(timer_settime, id, flags, &[t, t], 0);
            sleep_ms(5);
            sys!(timer_gettime, id, &mut now);
            ((set, sys!(timer_getoverrun, id)), far(now), sys!(timer_delete, id))
        };
        let all = CLOCKS.map(|clock| {
            [(0, END), (0, LAST), (TIMER_ABSTIME, END), (TIMER_ABSTIME, LAST)].map(|(flags, t)| each(clock, flags, t)).to_vec()
        });
        (all.to_vec(), caught())
    })
    .ok("end-of-time-timerfd", || {
        let each = |clock: i32, flags: i32| {
            let (fd, mut now, mut ticks) = (sys!(timerfd_create, clock, libc::TFD_NONBLOCK), [ms(0); 2], 0u64);
            let set = sys!(timerfd_settime, fd, flags, &[END, END], 0);
            sleep_ms(5);
            sys!(timerfd_gettime, fd, &mut now);
            (set, far(now), sys!(read, fd, &mut ticks, 8))
        };
        CLOCKS[..3].iter().map(|clock| [0, libc::TFD_TIMER_ABSTIME].map(|flags| each(*clock, flags)).to_vec()).collect::<Vec<_>>()
    })
    .ok("end-of-time-itimer", || {
        let t = libc::timeval { tv_sec: i64::MAX, tv_usec: 999_999 };
        [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF]
            .map(|which| {
                let set = sys!(setitimer, which, &libc::itimerval { it_interval: t, it_value: t }, 0);
                let mut now: libc::itimerval = zero();
                sys!(getitimer, which, &mut now);
                // What Linux says is left of CPU time is negative, by some nanoseconds of what was used.
                (set, which != libc::ITIMER_REAL || now.it_value.tv_sec > 9_000_000_000, now.it_interval.tv_sec > 9_000_000_000)
            })
            .to_vec()
    })
    .ok("end-of-time-waits", || {
        const WAIT: i32 = 0;
        const WAIT_BITSET: i32 = 9;
        const ON_WALL: i32 = 256;
        let word = 0u32;
        let futex = |op: i32| interrupted(|| sys!(futex, &word, op, 0, &END, 0, u32::MAX));
        let waits = vec![
            interrupted(|| sys!(ppoll, 0, 0, &mut END.clone(), 0, 8)),
            interrupted(|| sys!(pselect6, 0, 0, 0, 0, &mut END.clone(), 0)),
            interrupted(|| sys!(rt_sigtimedwait, &mask(&[libc::SIGUSR2]), 0, &END, 8)),
            interrupted(|| sys!(epoll_pwait, sys!(epoll_create1, 0), pages(1), 1, i32::MAX, 0, 8)),
        ];
        (waits, vec![futex(WAIT), futex(WAIT_BITSET), futex(WAIT_BITSET | ON_WALL)])
    })
    .ok("end-of-time-clock", || {
        let set = |tv_sec: i64| sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec, tv_nsec: 0 });
        let refused = [i64::MAX, LAST.tv_sec, UNSETTABLE].map(set).to_vec();
        let of_day = sys!(settimeofday, &libc::timeval { tv_sec: UNSETTABLE, tv_usec: 0 }, 0);
        // SAFETY: a structure of numbers.
        let mut offset = libc::timex { modes: libc::ADJ_SETOFFSET, ..unsafe { std::mem::zeroed() } };
        offset.time.tv_sec = i64::MAX / 2;
        let by_offset = sys!(adjtimex, &mut offset);
        let (mut was, begun, mut late) = (ms(0), now_ms(), ms(0));
        sys!(clock_gettime, CLOCK_REALTIME, &mut was);
        let taken = set(UNSETTABLE - 1);
        sys!(clock_gettime, CLOCK_REALTIME, &mut late);
        was.tv_sec += (now_ms() - begun) / 1000;
        sys!(clock_settime, CLOCK_REALTIME, &was);
        (refused, of_day, by_offset, taken, late.tv_sec >= UNSETTABLE - 1 && late.tv_sec < UNSETTABLE + 9)
    });
}
