//! The real-time clock's device file: more cases of ioctl(2), and what a read of `/dev/rtc0` gives.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{F_SETFL, F_SETOWN, O_ASYNC, O_NONBLOCK, O_RDONLY, O_RDWR, POLLIN, POLLOUT, pollfd};

const AIE_ON: u32 = 0x7001;
const AIE_OFF: u32 = 0x7002;
const UIE_ON: u32 = 0x7003;
const UIE_OFF: u32 = 0x7004;
const PIE_ON: u32 = 0x7005;
const PIE_OFF: u32 = 0x7006;
const ALM_SET: u32 = 0x4024_7007;
const ALM_READ: u32 = 0x8024_7008;
pub const RD_TIME: u32 = 0x8024_7009;
pub const SET_TIME: u32 = 0x4024_700a;
const IRQP_READ: u32 = 0x8008_700b;
const IRQP_SET: u32 = 0x4008_700c;
const EPOCH_READ: u32 = 0x8008_700d;
const EPOCH_SET: u32 = 0x4008_700e;
const WKALM_SET: u32 = 0x4028_700f;
const WKALM_RD: u32 = 0x8028_7010;
const PARAM_GET: u32 = 0x4018_7013;
const PARAM_SET: u32 = 0x4018_7014;
const VL_READ: u32 = 0x8004_7013;

/// Second, minute, hour, day, month, year, day of the week and of the year, summer time.
pub type Tm = [i32; 9];
/// 2 January 2030, 3:04:05, with rubbish where nobody looks.
const DATE: Tm = [5, 4, 3, 2, 0, 130, 99, 99, 7];

/// The device.
pub fn rtc() -> i32 {
    open(c"/dev/rtc0", O_RDWR)
}

/// The clock is set to `date` while `f` runs, and to what it was afterwards.
fn at<S>(date: Tm, f: impl FnOnce(i32) -> S) -> S {
    let (fd, mut was) = (rtc(), [0; 9]);
    sys!(ioctl, fd, RD_TIME, &mut was);
    sys!(ioctl, fd, SET_TIME, &date);
    let said = f(fd);
    sys!(ioctl, fd, SET_TIME, &was);
    said
}

fn read_word(fd: i32) -> (isize, u64) {
    let mut data = 0u64;
    (sys!(read, fd, &mut data, 8), data)
}

/// An alarm and whether it is on.
fn wkalm(on: u8, tm: Tm) -> [i32; 10] {
    let mut alarm = [0; 10];
    alarm[0] = i32::from(on);
    alarm[1..].copy_from_slice(&tm);
    alarm
}

fn get_wkalm(fd: i32) -> (isize, [i32; 10]) {
    let mut alarm = [0; 10];
    (sys!(ioctl, fd, WKALM_RD, &mut alarm), alarm)
}

/// Adds to the call ioctl.
pub fn add(a: &mut Calls) {
    a.ok("rtc-time", || {
        at(DATE, |fd| {
            let mut tm = [0; 9];
            let r = sys!(ioctl, fd, RD_TIME, &mut tm);
            tm[0] -= i32::from(tm[0] == 6);
            (r, tm.to_vec())
        })
    })
    .ok("rtc-seconds", || {
        let fd = rtc();
        let mut ready = pollfd { fd, events: POLLIN | POLLOUT, revents: 0 };
        let before = sys!(ppoll, &mut ready, 1, &ms(0), 0, 8);
        let (on, begun) = (sys!(ioctl, fd, UIE_ON, 0), now_ms());
        let read = (read_word(fd).1 & 0xff, read_word(fd).1 & 0xff);
        let took = now_ms() - begun;
        sys!(ppoll, &mut ready, 1, &ms(5000), 0, 8);
        let mut half = 0u64;
        let four = (sys!(read, fd, &mut half, 4), half & 0xff);
        let off = (sys!(ioctl, fd, UIE_OFF, 0), sys!(ioctl, fd, UIE_OFF, 0));
        (before, on, read, took > 990, i32::from(ready.revents), four, off)
    })
    .ok("rtc-alarm", || {
        at([50, 59, 23, 31, 11, 130, 0, 0, 0], |fd| {
            // The time of day alone counts: tomorrow's.
            let set = sys!(ioctl, fd, ALM_SET, &[1i32, 0, 0, -1, 77, -5, 0, 0, 0]);
            let mut tm = [0; 9];
            sys!(ioctl, fd, ALM_READ, &mut tm);
            sys!(ioctl, fd, SET_TIME, &[0, 0, 0, 1, 0, 131, 0, 0, 0]);
            let before = get_wkalm(fd).1[0];
            let on = (sys!(ioctl, fd, AIE_ON, 0), get_wkalm(fd).1[0]);
            let come = read_word(fd).1 & 0xff;
            // It has passed: it comes at once.
            let again = (get_wkalm(fd).1[0], sys!(ioctl, fd, AIE_ON, 0), read_word(fd).1 & 0xff);
            (set, tm.to_vec(), before, on, come, again, sys!(ioctl, fd, AIE_OFF, 0))
        })
    })
    .ok("rtc-alarm-with-date", || {
        at(DATE, |fd| {
            let past = (sys!(ioctl, fd, WKALM_SET, &wkalm(1, [0, 0, 0, 1, 0, 130, 0, 0, 0])), read_word(fd).1 & 0xff);
            let set = sys!(ioctl, fd, WKALM_SET, &wkalm(1, [5, 4, 3, 2, 5, 130, 0, 0, 0]));
            let (read, alarm) = get_wkalm(fd);
            let off = sys!(ioctl, fd, WKALM_SET, &wkalm(0, [5, 4, 3, 2, 5, 130, 0, 0, 0]));
            (past, set, read, alarm.to_vec(), off, get_wkalm(fd).1[0])
        })
    })
    .ok("rtc-rate", || {
        let fd = rtc();
        let set = [0, 8193, -1i64, 8192, 64].map(|f| sys!(ioctl, fd, IRQP_SET, f)).to_vec();
        let mut rate = 99u64;
        let read = (sys!(ioctl, fd, IRQP_READ, &mut rate), rate);
        let on = sys!(ioctl, fd, PIE_ON, 0);
        sleep_ms(500);
        let (come, off) = (read_word(fd).1, sys!(ioctl, fd, PIE_OFF, 0));
        sys!(fcntl, fd, F_SETFL, O_NONBLOCK);
        read_word(fd);
        (set, read, on, come & 0xff, come >> 8 >= 10, off, read_word(fd).0)
    })
    .ok("rtc-signal", || {
        handle(libc::SIGIO, 0);
        let fd = rtc();
        sys!(fcntl, fd, F_SETOWN, sys!(getpid));
        sys!(fcntl, fd, F_SETFL, O_ASYNC);
        sys!(ioctl, fd, UIE_ON, 0);
        sys!(ppoll, 0, 0, &ms(5000), 0, 8);
        caught() > 0
    })
    .ok("rtc-parameters", || {
        let (fd, mut p) = (rtc(), [0u64; 3]);
        let features = (sys!(ioctl, fd, PARAM_GET, &mut p), p[1]);
        let get = |param: u64, index: u64| sys!(ioctl, fd, PARAM_GET, &[param, 0, index]);
        let set = |param: u64| sys!(ioctl, fd, PARAM_SET, &[param, 0, 0]);
        (features, get(0, 1), get(1, 0), get(2, 0), set(0), set(1), set(2))
    })
    .err("EBUSY-rtc-twice", || (rtc() > 0, sys!(openat, libc::AT_FDCWD, c"/dev/rtc0", O_RDONLY, 0)))
    .err("EINVAL-rtc-date", || {
        let fd = rtc();
        let with = |i: usize, v: i32| {
            let mut tm = DATE;
            tm[i] = v;
            (sys!(ioctl, fd, SET_TIME, &tm), sys!(ioctl, fd, WKALM_SET, &wkalm(0, tm)), sys!(ioctl, fd, ALM_SET, &tm))
        };
        let of_day = [(0, 60), (1, -1), (2, 24)].map(|(i, v)| with(i, v)).to_vec();
        let days = [(3, 0), (3, 32), (4, 12), (5, 69)].map(|(i, v)| with(i, v)).map(|r| (r.0, r.1)).to_vec();
        (of_day, days)
    })
    .err("EINVAL-rtc-size", || {
        let fd = rtc();
        [1, 3, 5, 7].map(|n| sys!(read, fd, pages(1), n)).to_vec()
    })
    .err("ERANGE-rtc-date", || {
        let (fd, mut tm) = (rtc(), DATE);
        tm[5] = 300;
        (sys!(ioctl, fd, SET_TIME, &tm), sys!(ioctl, fd, WKALM_SET, &wkalm(0, tm)))
    })
    .err("ENOTTY-rtc", || {
        let (fd, mut n) = (rtc(), 0u64);
        [VL_READ, EPOCH_READ, EPOCH_SET, 0x700f, 0x5401].map(|cmd| sys!(ioctl, fd, cmd, &mut n)).to_vec()
    })
    .err("EACCES-rtc", || {
        let fd = rtc();
        let user = as_user(|| {
            let asked = [(SET_TIME, 8), (EPOCH_SET, 8), (PARAM_SET, 8), (IRQP_SET, 65), (IRQP_SET, 64), (PIE_ON, 0)];
            asked.map(|(cmd, arg)| sys!(ioctl, fd, cmd, arg)).to_vec()
        });
        sys!(ioctl, fd, IRQP_SET, 128);
        (user, as_user(|| sys!(ioctl, fd, PIE_ON, 0)), as_user(|| sys!(openat, libc::AT_FDCWD, c"/dev/rtc0", O_RDONLY, 0)))
    })
    .err("ESPIPE-rtc", || {
        let fd = rtc();
        (sys!(lseek, fd, 0, 0), sys!(write, fd, pages(1), 8))
    })
    .bad("arg-rtc", || {
        let fd = rtc();
        [RD_TIME, SET_TIME, ALM_READ, ALM_SET, WKALM_RD, WKALM_SET, IRQP_READ, PARAM_GET, PARAM_SET]
            .map(|cmd| sys!(ioctl, fd, cmd, 8))
            .to_vec()
    });
}
