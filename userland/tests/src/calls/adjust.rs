//! Steering the wall clock: adjtimex, clock_adjtime, and who follows it when it is set.
use super::futex::shared_word;
use super::rtc;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_TAI, TIMER_ABSTIME, timespec, timex};

/// adjtime(3)'s modes, which the C library's headers leave out.
const SINGLESHOT: u32 = 0x8001;
const SS_READ: u32 = 0xa001;

fn none() -> timex {
    // SAFETY: a structure of numbers.
    unsafe { std::mem::zeroed() }
}

/// adjtimex(2) with `f` having filled in its structure.
fn adjust(modes: u32, f: impl FnOnce(&mut timex)) -> (isize, timex) {
    let mut t = timex { modes, ..none() };
    f(&mut t);
    (sys!(adjtimex, &mut t), t)
}

fn wall() -> timespec {
    let mut t = ms(0);
    sys!(clock_gettime, CLOCK_REALTIME, &mut t);
    t
}

/// Runs `f` and puts the wall clock back to where it would be without it.
fn back<R>(f: impl FnOnce() -> R) -> R {
    let (before, at) = (wall(), now_ms());
    let r = f();
    let t = timespec { tv_sec: before.tv_sec + (now_ms() - at) / 1000, ..before };
    sys!(clock_settime, CLOCK_REALTIME, &t);
    r
}

fn nanos(clock: i32) -> i64 {
    let mut t = ms(0);
    sys!(clock_gettime, clock, &mut t);
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// By the C library, which asks the vDSO.
fn by_library(clock: i32) -> i64 {
    let mut t = ms(0);
    // SAFETY: the place for the answer is ours.
    unsafe { libc::clock_gettime(clock, &mut t) };
    t.tv_sec * 1_000_000_000 + t.tv_nsec
}

/// The raw clock, and those that are steered, at one moment: read again if too much passed between them.
fn together() -> [i64; 5] {
    loop {
        let [raw, mono, boot, real, tai] =
            [libc::CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_TAI].map(by_library);
        if nanos(libc::CLOCK_MONOTONIC_RAW) - raw < 2_000_000 {
            return [raw, mono, boot, real, tai];
        }
    }
}

fn forward(seconds: i64) -> isize {
    let mut t = timex { modes: libc::ADJ_SETOFFSET, ..none() };
    t.time.tv_sec = seconds;
    sys!(clock_adjtime, CLOCK_REALTIME, &mut t).min(0)
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    a.call("adjtimex", "EINVAL EPERM", "buf", false);
    a.ok("reads", || {
        let (r, t) = adjust(0, |_| {});
        (r, t.status & 0x40, t.offset, t.freq, t.precision, t.tolerance, t.tick)
    })
    .ok("anybody-reads", || as_user(|| adjust(0, |_| {}).0))
    .ok("time", || {
        let (before, (_, t), after) = (wall(), adjust(0, |_| {}), wall());
        (
            (before.tv_sec, before.tv_nsec / 1000) <= (t.time.tv_sec, t.time.tv_usec),
            (t.time.tv_sec, t.time.tv_usec) <= (after.tv_sec, after.tv_nsec / 1000),
        )
    })
    .ok("frequency", || {
        let set = adjust(libc::ADJ_FREQUENCY, |t| t.freq = 6_553_600).1.freq;
        let clamped = adjust(libc::ADJ_FREQUENCY, |t| t.freq = 1 << 40).1.freq;
        (set, clamped, adjust(libc::ADJ_FREQUENCY, |t| t.freq = -1).1.freq, adjust(libc::ADJ_FREQUENCY, |_| {}).1.freq)
    })
    .ok("tick", || (adjust(libc::ADJ_TICK, |t| t.tick = 10_001).1.tick, adjust(libc::ADJ_TICK, |t| t.tick = 10_000).1.tick))
    .ok("tick-speeds-the-clock-up", || {
        // A tenth faster: 20 ms in 200.
        let (begun, at) = (wall(), now_ms());
        adjust(libc::ADJ_TICK, |t| t.tick = 11_000);
        sleep_ms(200);
        adjust(libc::ADJ_TICK, |t| t.tick = 10_000);
        let (end, took) = (wall(), now_ms() - at);
        let wall = (end.tv_sec - begun.tv_sec) * 1000 + (end.tv_nsec - begun.tv_nsec) / 1_000_000;
        // CLOCK_MONOTONIC may be steered along or not.
        wall >= 199 && wall - took <= 25 + took / 10
    })
    .ok("all-clocks-but-raw-follow", || {
        adjust(libc::ADJ_TICK, |t| t.tick = 11_000);
        let begun = together();
        sleep_ms(400);
        // However they are read, they never go back.
        let (mut last, mut back) = (0, 0);
        for i in 0..2000 {
            let t = if i % 2 == 0 { nanos(CLOCK_MONOTONIC) } else { by_library(CLOCK_MONOTONIC) };
            back += u32::from(t < last);
            last = t;
        }
        let target = nanos(CLOCK_MONOTONIC) + 100_000_000;
        let until = timespec { tv_sec: target / 1_000_000_000, tv_nsec: target % 1_000_000_000 };
        let slept = sys!(clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
        let early = nanos(CLOCK_MONOTONIC) < target;
        let end = together();
        adjust(libc::ADJ_TICK, |t| t.tick = 10_000);
        let passed: Vec<i64> = begun.iter().zip(&end).map(|(from, to)| to - from).collect();
        // A tenth faster than the raw clock, which is the first.
        let faster = passed[1..].iter().map(|clock| (clock * 100 / passed[0] - 110).abs() <= 2).collect::<Vec<_>>();
        (faster.iter().all(|f| *f), back as i32, slept, early)
    })
    .ok("constant", || {
        let with_micro = adjust(libc::ADJ_TIMECONST, |t| t.constant = 3).1.constant;
        let most = adjust(libc::ADJ_TIMECONST, |t| t.constant = 99).1.constant;
        adjust(libc::ADJ_NANO, |_| {});
        let with_nano = adjust(libc::ADJ_TIMECONST, |t| t.constant = 2).1.constant;
        adjust(libc::ADJ_MICRO, |_| {});
        (with_micro, most, with_nano)
    })
    .ok("nano", || {
        let (on, off) = (adjust(libc::ADJ_NANO, |_| {}).1, adjust(libc::ADJ_MICRO, |_| {}).1);
        (on.status & 0x2000, off.status & 0x2000, off.time.tv_usec < 1_000_000)
    })
    .ok("errors", || {
        let (r, t) = adjust(libc::ADJ_MAXERROR | libc::ADJ_ESTERROR, |t| (t.maxerror, t.esterror) = (77, 78));
        (r, t.maxerror, t.esterror)
    })
    .ok("status", || {
        // What only the kernel may set stays.
        let (r, t) = adjust(libc::ADJ_STATUS | libc::ADJ_MAXERROR, |t| t.status = 0xff00 | 0x80);
        let again = adjust(libc::ADJ_STATUS, |t| t.status = 0x40).1.status;
        (r, t.status, again)
    })
    .ok("offset-needs-the-loop", || {
        let ignored = adjust(libc::ADJ_OFFSET, |t| t.offset = 500).1.offset;
        adjust(libc::ADJ_STATUS, |t| t.status = 1);
        let (_, t) = adjust(libc::ADJ_OFFSET, |t| t.offset = 500);
        let (_, most) = adjust(libc::ADJ_OFFSET, |t| t.offset = 900_000);
        adjust(libc::ADJ_OFFSET, |_| {});
        adjust(libc::ADJ_STATUS | libc::ADJ_FREQUENCY, |t| t.status = 0x40);
        (ignored, (499..=500).contains(&t.offset), (499_999..=500_000).contains(&most.offset))
    })
    .ok("single-shot", || {
        let first = adjust(SINGLESHOT, |t| t.offset = 1_000_000).1.offset;
        let left = adjust(SS_READ, |_| {}).1.offset;
        sleep_ms(2100);
        let later = adjust(SS_READ, |_| {}).1.offset;
        (
            first,
            left > 990_000,
            left - later >= 500 && left - later <= 2000,
            adjust(SINGLESHOT, |_| {}).0 >= 0,
            adjust(SS_READ, |_| {}).1.offset,
        )
    })
    .ok("set-offset", || {
        back(|| {
            let before = wall();
            let (r, _) = adjust(libc::ADJ_SETOFFSET, |t| (t.time.tv_sec, t.time.tv_usec) = (100, 500_000));
            let gone = wall().tv_sec - before.tv_sec;
            let (s, _) = adjust(libc::ADJ_SETOFFSET | libc::ADJ_NANO, |t| (t.time.tv_sec, t.time.tv_usec) = (-101, 500_000_000));
            adjust(libc::ADJ_MICRO, |_| {});
            (r, (100..=102).contains(&gone), s, (wall().tv_sec - before.tv_sec).abs() <= 1)
        })
    })
    .ok("tai", || {
        let r = adjust(libc::ADJ_TAI, |t| t.constant = 37).1.tai;
        let (mut t, mut w) = (ms(0), wall());
        sys!(clock_gettime, CLOCK_TAI, &mut t);
        let ahead = (t.tv_sec - w.tv_sec, adjust(libc::ADJ_TAI, |t| t.constant = -5).1.tai);
        adjust(libc::ADJ_TAI, |_| {});
        sys!(clock_gettime, CLOCK_TAI, &mut t);
        w = wall();
        (r, (37..=38).contains(&ahead.0), ahead.1, w.tv_sec - t.tv_sec <= 1)
    })
    .ok("leap-second-is-inserted", || {
        back(|| {
            // Two seconds before the end of a day.
            sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: 1_893_456_000 - 2, tv_nsec: 0 });
            adjust(libc::ADJ_TAI, |t| t.constant = 37);
            // A clock of unknown error would answer TIME_ERROR alone.
            adjust(libc::ADJ_STATUS | libc::ADJ_MAXERROR, |t| t.status = 0x10);
            let (begun, mut seen, mut before, mut after) = (now_ms(), Vec::new(), i64::MIN, i64::MAX);
            while now_ms() - begun < 4500 {
                let (state, t) = adjust(0, |_| {});
                if seen.last() != Some(&(state, t.tai)) {
                    seen.push((state, t.tai));
                }
                let second = t.time.tv_sec - 1_893_456_000;
                if t.tai == 37 {
                    before = before.max(second);
                } else {
                    after = after.min(second);
                }
                sleep_ms(5);
            }
            adjust(libc::ADJ_STATUS, |_| {});
            sleep_ms(1100);
            let end = adjust(libc::ADJ_STATUS, |t| t.status = 0x40);
            adjust(libc::ADJ_TAI, |_| {});
            // 23:59:59 comes twice.
            (seen, before, after, end.0)
        })
    })
    .ok("real-time-clock-follows", || {
        let fd = rtc::rtc();
        let said = back(|| {
            let far = |seconds: i64| timespec { tv_sec: wall().tv_sec + seconds, tv_nsec: 0 };
            // A write that was left to a later time, also by the leap second's case, is due now, and not done: nobody keeps the clock right.
            let now = wall();
            sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: 1_950_000_000, tv_nsec: 0 });
            sleep_ms(100);
            sys!(clock_settime, CLOCK_REALTIME, &timespec { tv_sec: now.tv_sec + 4000, ..now });
            let before = behind(fd);
            let state = adjust(libc::ADJ_STATUS | libc::ADJ_MAXERROR, |_| {}).0;
            let begun = now_ms();
            while behind(fd) > 2 && now_ms() - begun < 5_000 {
                sleep_ms(100);
            }
            let follows = behind(fd) <= 2;
            // Set again, and kept right: the next write comes after eleven minutes.
            sys!(clock_settime, CLOCK_REALTIME, &far(100));
            adjust(libc::ADJ_STATUS | libc::ADJ_MAXERROR, |_| {});
            sleep_ms(2500);
            let later = behind(fd) > 90;
            adjust(libc::ADJ_STATUS, |t| t.status = 0x40);
            (before > 3000, state, follows, later)
        });
        // SAFETY: the structure is ours, of numbers.
        let date = unsafe {
            let mut tm: libc::tm = std::mem::zeroed();
            libc::gmtime_r(&wall().tv_sec, &mut tm);
            [tm.tm_sec, tm.tm_min, tm.tm_hour, tm.tm_mday, tm.tm_mon, tm.tm_year, 0, 0, 0]
        };
        sys!(ioctl, fd, rtc::SET_TIME, &date);
        said
    })
    .err("EINVAL", || {
        (
            adjust(libc::ADJ_TICK, |t| t.tick = 8999).0,
            adjust(libc::ADJ_TICK, |t| t.tick = 11_001).0,
            adjust(0x8000, |_| {}).0,
            adjust(libc::ADJ_SETOFFSET, |t| t.time.tv_usec = 1_000_000).0,
            adjust(libc::ADJ_SETOFFSET, |t| t.time.tv_usec = -1).0,
            adjust(libc::ADJ_FREQUENCY, |t| t.freq = i64::MAX).0,
            adjust(libc::ADJ_SETOFFSET, |t| t.time.tv_sec = -4_000_000_000).0,
        )
    })
    .err("EPERM", || {
        as_user(|| {
            (
                adjust(libc::ADJ_FREQUENCY, |_| {}).0,
                adjust(SINGLESHOT, |_| {}).0,
                adjust(SS_READ, |_| {}).0,
                adjust(libc::ADJ_TICK, |_| {}).0,
            )
        })
    })
    .bad("buf", || (sys!(adjtimex, BAD), sys!(adjtimex, 0)))
    .bad("buf-edge", || sys!(adjtimex, edge(100)));
    a.call("clock_adjtime", "EINVAL EOPNOTSUPP EPERM", "buf", false).not("ENODEV", "no dynamic clocks");
    a.ok("reads", || {
        let mut t = none();
        (sys!(clock_adjtime, CLOCK_REALTIME, &mut t), t.tick)
    })
    .err("EINVAL", || {
        (
            sys!(clock_adjtime, 99, &mut none()),
            sys!(clock_adjtime, 10, &mut none()),
            sys!(clock_adjtime, CLOCK_REALTIME, &mut timex { modes: libc::ADJ_TICK, ..none() }),
        )
    })
    .err("EOPNOTSUPP", || {
        [CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, 2, 3, 4, 5, 6, 8, 9, -6, -2].map(|id| sys!(clock_adjtime, id, &mut none())).to_vec()
    })
    .err("EPERM", || as_user(|| sys!(clock_adjtime, CLOCK_REALTIME, &mut timex { modes: libc::ADJ_STATUS, ..none() })))
    .bad("buf", || (sys!(clock_adjtime, CLOCK_REALTIME, BAD), sys!(clock_adjtime, 99, BAD), sys!(clock_adjtime, CLOCK_MONOTONIC, BAD)));
    followers(a);
}

/// Seconds between the wall clock and the real-time clock.
fn behind(rtc: i32) -> i64 {
    let mut date: rtc::Tm = [0; 9];
    sys!(ioctl, rtc, rtc::RD_TIME, &mut date);
    let [tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, ..] = date;
    // SAFETY: a structure of numbers.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    (tm.tm_sec, tm.tm_min, tm.tm_hour, tm.tm_mday, tm.tm_mon, tm.tm_year) = (tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year);
    // SAFETY: the structure is ours.
    (wall().tv_sec - unsafe { libc::timegm(&mut tm) }).abs()
}

/// A wait until a time of the wall clock.
const WAIT_WALL: i32 = libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME;

/// A message queue without a name that has room for one message.
fn message_queue() -> isize {
    let queue = sys!(mq_open, c"set", libc::O_CREAT | libc::O_RDWR, 0o600, &[0i64, 1, 16, 0, 0, 0, 0, 0]);
    sys!(mq_unlink, c"set");
    queue
}

/// Who waits for a time of a clock that is set meanwhile; more cases of clock_adjtime.
fn followers(a: &mut Calls) {
    fn timer(clock: i32, flags: i32, value: timespec) -> i32 {
        handle(libc::SIGUSR1, 0);
        let event = [0u64, (libc::SIGUSR1 as u64) | (libc::SIGEV_SIGNAL as u64) << 32, 0, 0, 0, 0, 0, 0];
        let mut id = -1i32;
        sys!(timer_create, clock, &event, &mut id);
        sys!(timer_settime, id, flags, &[ms(0), value], 0);
        id
    }
    a.ok("wall-clock-passes-it", || {
        back(|| {
            timer(CLOCK_REALTIME, TIMER_ABSTIME, timespec { tv_sec: wall().tv_sec + 100, tv_nsec: 0 });
            let r = forward(200);
            sleep_ms(2000);
            (r, caught())
        })
    })
    .ok("wall-clock-is-set-under-a-span", || {
        back(|| {
            let begun = now_ms();
            timer(CLOCK_REALTIME, 0, ms(150));
            let r = forward(-100);
            sleep_ms(5000);
            (r, caught(), (150..2000).contains(&(now_ms() - begun)))
        })
    })
    .ok("wall-clock-goes-back", || {
        back(|| {
            let t = wall();
            let id = timer(CLOCK_REALTIME, TIMER_ABSTIME, timespec { tv_sec: t.tv_sec + 1, ..t });
            forward(-100);
            sleep_ms(1300);
            let mut left = [0i64; 4];
            sys!(timer_gettime, id, &mut left);
            (caught(), (99..=101).contains(&left[2]))
        })
    })
    .ok("wall-clock-passes-time-outs", || {
        back(|| {
            let until = || timespec { tv_sec: wall().tv_sec + 100, tv_nsec: 0 };
            let set_under = |f: &dyn Fn() -> isize| {
                let (setter, begun) = (meanwhile(|| _ = forward(200)), now_ms());
                let r = f();
                (r, now_ms() - begun < 50_000, wait(setter))
            };
            let (word, queue) = (shared_word(), message_queue());
            let waited = set_under(&|| sys!(futex, word, WAIT_WALL, 0, &until(), 0, u32::MAX));
            let received = set_under(&|| sys!(mq_timedreceive, queue, &mut [0u8; 16], 16, 0, &until()));
            sys!(mq_timedsend, queue, c"x", 1, 0, 0);
            let sent = set_under(&|| sys!(mq_timedsend, queue, c"x", 1, 0, &until()));
            let owner = child(|| {
                sys!(futex, word, libc::FUTEX_LOCK_PI, 0, 0, 0, 0);
                loop {
                    sleep_ms(1000);
                }
            });
            sleep_ms(60);
            let locked = set_under(&|| sys!(futex, word, libc::FUTEX_LOCK_PI, 0, &until(), 0, 0));
            end(owner);
            (waited, received, sent, locked)
        })
    })
    .ok("wall-clock-goes-back-under-time-outs", || {
        back(|| {
            let until = || {
                let t = wall();
                timespec { tv_sec: t.tv_sec + 1, ..t }
            };
            let (word, queue) = (shared_word(), message_queue());
            let set_under = |then: &dyn Fn(), f: &dyn Fn() -> isize| {
                let other = meanwhile(|| {
                    forward(-100);
                    sleep_ms(1500);
                    then();
                });
                let r = f();
                (r, wait(other))
            };
            let wake = || _ = sys!(futex, word, libc::FUTEX_WAKE, 1, 0, 0, 0);
            let waited = set_under(&wake, &|| sys!(futex, word, WAIT_WALL, 0, &until(), 0, u32::MAX));
            let send = || _ = sys!(mq_timedsend, queue, c"x", 1, 0, 0);
            let received = set_under(&send, &|| sys!(mq_timedreceive, queue, &mut [0u8; 16], 16, 0, &until()));
            (waited, received)
        })
    })
    .ok("cpu-clock-of-a-child", || {
        let child = child(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        timer(!child << 3 | 2, 0, ms(60));
        sleep_ms(9000);
        let r = caught();
        end(child);
        r
    });
}
