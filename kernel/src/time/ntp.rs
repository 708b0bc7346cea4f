//! How adjtimex(2) steers the wall clock: Mills' clock model as Linux keeps it (kernel/time/ntp.c). A state machine over given seconds.
//!
//! Rates are nanoseconds per second with 32 bits of fraction. All clocks but CLOCK_MONOTONIC_RAW follow; leap seconds are CLOCK_REALTIME's.

use vigil_abi::Errno;
use vigil_abi::time::*;

/// Fraction bits of a rate.
pub const FRACTION: u32 = 32;
/// A part in a million with the 16 bits of fraction that `freq` has, as a rate.
const PPM: i64 = 1000 << (FRACTION - 16);
/// The most that `freq` may be: 500 parts in a million.
const MAX_FREQ: i64 = 500_000 << FRACTION;
/// The most that the phase-locked loop takes, nanoseconds.
const MAX_PHASE: i64 = 500_000_000;
/// Where `maxerror` ends, microseconds: the clock counts as unsynchronised then.
const PHASE_LIMIT: i64 = MAX_PHASE / 1000 << 5;
/// What `maxerror` grows by each second, microseconds.
const DRIFT: i64 = 500;
/// What adjtime(3) slews in a second, microseconds.
const SLEW: i64 = 500;
/// Microseconds of a tick of USER_HZ.
const TICK: i64 = 1_000_000 / USER_HZ as i64;
const DAY: i64 = 86_400;
const SHIFT_PLL: i64 = 2;
const SHIFT_FLL: u32 = 2;
/// Seconds between updates from which on the frequency-locked loop may, and must, be used.
const MIN_FLL: i64 = 256;
const MAX_PLL: i64 = 2048;
/// No leap second is due.
const NEVER: i64 = i64::MAX;

/// The state of the steering.
pub struct Ntp {
    /// TIME_OK, TIME_INS, ...
    state: i32,
    status: i32,
    tick: i64,
    /// What is left of the offset that was given, a rate.
    offset: i64,
    constant: i64,
    maxerror: i64,
    esterror: i64,
    /// A rate.
    freq: i64,
    /// When the offset was given last.
    reference: i64,
    /// What is left for adjtime(3), microseconds.
    adjust: i64,
    /// The second at which a leap happens.
    leap_at: i64,
    /// The second up to which this was carried on.
    second: i64,
    /// How much faster the clock runs in this second, a rate.
    rate: i64,
    /// CLOCK_TAI minus CLOCK_REALTIME, seconds.
    pub tai: i32,
}

impl Ntp {
    /// As after boot: not synchronised.
    pub const fn new() -> Ntp {
        Ntp {
            state: TIME_OK,
            status: STA_UNSYNC,
            tick: TICK,
            offset: 0,
            constant: 2,
            maxerror: PHASE_LIMIT,
            esterror: PHASE_LIMIT,
            freq: 0,
            reference: 0,
            adjust: 0,
            leap_at: NEVER,
            second: 0,
            rate: 0,
            tai: 0,
        }
    }

    /// How much faster the clock runs now, a rate.
    pub fn rate(&self) -> i64 {
        self.rate
    }

    /// Whether somebody keeps the clock right (Linux: ntp_synced).
    pub fn is_synchronised(&self) -> bool {
        self.status & STA_UNSYNC == 0
    }

    /// Whether a coming second may change the rate or leap.
    pub fn is_active(&self) -> bool {
        self.offset != 0
            || self.adjust != 0
            || self.rate != self.steady()
            || self.state != TIME_OK
            || self.status & (STA_INS | STA_DEL) != 0
    }

    /// The clock was set: what was under way is given up (Linux: ntp_clear).
    pub fn clear(&mut self, second: i64) {
        (self.adjust, self.offset) = (0, 0);
        self.status |= STA_UNSYNC;
        (self.maxerror, self.esterror) = (PHASE_LIMIT, PHASE_LIMIT);
        self.leap_at = NEVER;
        self.second = second;
        self.rate = self.steady();
    }

    /// The rate by tick and frequency alone.
    fn steady(&self) -> i64 {
        (((self.tick - TICK) * USER_HZ as i64 * 1000) << FRACTION) + self.freq
    }

    /// The clock shows `second` now: the leap to make, in seconds.
    pub fn advance(&mut self, second: i64) -> i32 {
        if !self.is_active() {
            // Nothing happens but that the clock becomes less certain.
            self.age(second.saturating_sub(self.second).max(0));
            self.second = second;
            return 0;
        }
        let mut leap = 0;
        while self.second < second && leap == 0 {
            self.second += 1;
            leap = self.next_second();
            if !self.is_active() {
                return leap + self.advance(second);
            }
        }
        leap
    }

    fn age(&mut self, seconds: i64) {
        self.maxerror = self.maxerror.saturating_add(DRIFT.saturating_mul(seconds));
        if self.maxerror > PHASE_LIMIT && seconds > 0 {
            self.maxerror = PHASE_LIMIT;
            self.status |= STA_UNSYNC;
        }
    }

    /// A second begins (Linux: second_overflow).
    fn next_second(&mut self) -> i32 {
        let now = self.second;
        let mut leap = 0;
        match self.state {
            TIME_OK if self.status & STA_INS != 0 => (self.state, self.leap_at) = (TIME_INS, now + DAY - now.rem_euclid(DAY)),
            TIME_OK if self.status & STA_DEL != 0 => (self.state, self.leap_at) = (TIME_DEL, now + DAY - (now + 1).rem_euclid(DAY)),
            TIME_INS if self.status & STA_INS == 0 => (self.state, self.leap_at) = (TIME_OK, NEVER),
            TIME_INS if now == self.leap_at => (self.state, leap) = (TIME_OOP, -1),
            TIME_DEL if self.status & STA_DEL == 0 => (self.state, self.leap_at) = (TIME_OK, NEVER),
            TIME_DEL if now == self.leap_at => (self.state, self.leap_at, leap) = (TIME_WAIT, NEVER, 1),
            TIME_OOP => (self.state, self.leap_at) = (TIME_WAIT, NEVER),
            TIME_WAIT if self.status & (STA_INS | STA_DEL) == 0 => self.state = TIME_OK,
            _ => {}
        }
        self.second += i64::from(leap);
        self.tai -= leap;
        self.age(1);
        // Towards zero, and the last fraction of a nanosecond at once.
        let part = self.offset / (1 << (SHIFT_PLL + self.constant).min(62));
        self.offset = if part == 0 { 0 } else { self.offset - part };
        let slew = self.adjust.clamp(-SLEW, SLEW);
        self.adjust -= slew;
        self.rate = self.steady() + part + ((slew * 1000) << FRACTION);
        leap
    }

    /// adjtimex(2) when the clock shows `second`, with what was checked: fills in `t` and answers the state.
    pub fn adjust(&mut self, t: &mut Timex, second: i64) -> i32 {
        if t.modes & ADJ_ADJTIME != 0 {
            let left = self.adjust;
            if t.modes & ADJ_NANO == 0 {
                // ADJ_NANO's bit means "read only" here.
                self.adjust = t.offset;
            }
            t.offset = left;
        } else {
            self.change(t, second);
            t.offset = self.offset / (1 << FRACTION);
            if self.status & STA_NANO == 0 {
                t.offset /= 1000;
            }
        }
        let unsure = self.status & (STA_UNSYNC | STA_CLOCKERR) != 0
            || self.status & (STA_PPSFREQ | STA_PPSTIME) != 0 && self.status & STA_PPSSIGNAL == 0
            || self.status & STA_PPSTIME != 0 && self.status & STA_PPSJITTER != 0
            || self.status & STA_PPSFREQ != 0 && self.status & (STA_PPSWANDER | STA_PPSERROR) != 0;
        t.freq = self.freq / PPM;
        (t.maxerror, t.esterror, t.status, t.constant) = (self.maxerror, self.esterror, self.status, self.constant);
        (t.precision, t.tolerance, t.tick, t.tai) = (1, MAX_FREQ / PPM, self.tick, self.tai);
        (t.ppsfreq, t.jitter, t.shift, t.stabil, t.jitcnt, t.calcnt, t.errcnt, t.stbcnt) = (0, 0, 0, 0, 0, 0, 0, 0);
        if unsure { TIME_ERROR } else { self.state }
    }

    fn change(&mut self, t: &Timex, second: i64) {
        if t.modes & ADJ_STATUS != 0 {
            if self.status & STA_PLL != 0 && t.status & STA_PLL == 0 {
                (self.state, self.status, self.leap_at) = (TIME_OK, STA_UNSYNC, NEVER);
            }
            if self.status & STA_PLL == 0 && t.status & STA_PLL != 0 {
                self.reference = second;
            }
            self.status = self.status & STA_RONLY | t.status & !STA_RONLY;
        }
        if t.modes & ADJ_NANO != 0 {
            self.status |= STA_NANO;
        }
        if t.modes & ADJ_MICRO != 0 {
            self.status &= !STA_NANO;
        }
        if t.modes & ADJ_FREQUENCY != 0 {
            self.freq = t.freq.saturating_mul(PPM).clamp(-MAX_FREQ, MAX_FREQ);
        }
        if t.modes & ADJ_MAXERROR != 0 {
            self.maxerror = t.maxerror;
        }
        if t.modes & ADJ_ESTERROR != 0 {
            self.esterror = t.esterror;
        }
        if t.modes & ADJ_TIMECONST != 0 {
            let constant = if self.status & STA_NANO == 0 { t.constant.saturating_add(4) } else { t.constant };
            self.constant = constant.clamp(0, 10);
        }
        if t.modes & ADJ_TAI != 0 && t.constant >= 0 {
            self.tai = t.constant as i32;
        }
        if t.modes & ADJ_OFFSET != 0 {
            self.lock_to(t.offset, second);
        }
        if t.modes & ADJ_TICK != 0 {
            self.tick = t.tick;
        }
        if t.modes & (ADJ_TICK | ADJ_FREQUENCY | ADJ_OFFSET) != 0 {
            self.rate = self.steady();
        }
    }

    /// An offset for the phase-locked loop, or the frequency-locked one (Linux: ntp_update_offset).
    fn lock_to(&mut self, offset: i64, second: i64) {
        if self.status & STA_PLL == 0 {
            return;
        }
        let nanos = if self.status & STA_NANO != 0 { offset } else { offset.clamp(-1_000_000, 1_000_000) * 1000 };
        let offset = nanos.clamp(-MAX_PHASE, MAX_PHASE);
        let mut seconds = if self.status & STA_FREQHOLD != 0 { 0 } else { (second - self.reference).clamp(0, i64::from(u32::MAX)) };
        self.reference = second;
        self.status &= !STA_MODE;
        let mut freq = 0i128;
        if seconds >= MIN_FLL && (self.status & STA_FLL != 0 || seconds > MAX_PLL) {
            self.status |= STA_MODE;
            freq = (i128::from(offset) << (FRACTION - SHIFT_FLL)) / i128::from(seconds);
        }
        // No longer than the loop's own time, which also keeps it stable.
        seconds = seconds.min(1 << (SHIFT_PLL + 1 + self.constant));
        let shift = i64::from(FRACTION) - 2 * (SHIFT_PLL + 2 + self.constant);
        freq += i128::from(offset) * i128::from(seconds) * if shift >= 0 { 1 << shift } else { 1 };
        if shift < 0 {
            freq >>= -shift;
        }
        self.freq = (freq + i128::from(self.freq)).clamp(i128::from(-MAX_FREQ), i128::from(MAX_FREQ)) as i64;
        self.offset = offset << FRACTION;
    }

    /// What is shown during a leap second whose begin the clock has not noticed yet, or has: `result`, corrected.
    pub fn around_leap(&self, t: &mut Timex, result: i32) -> i32 {
        if t.time.tv_sec < self.leap_at {
            return result;
        }
        match self.state {
            TIME_INS if self.status & STA_INS != 0 => {
                t.tai += 1;
                t.time.tv_sec -= 1;
                TIME_OOP
            }
            TIME_DEL if self.status & STA_DEL != 0 => {
                t.tai -= 1;
                t.time.tv_sec += 1;
                TIME_WAIT
            }
            TIME_OOP if t.time.tv_sec == self.leap_at => TIME_WAIT,
            _ => result,
        }
    }
}

/// Whether Linux takes `t` (timekeeping_validate_timex): EPERM, EINVAL. `may_set`: CAP_SYS_TIME.
pub fn validate(t: &Timex, may_set: bool) -> Result<(), Errno> {
    if t.modes & ADJ_ADJTIME != 0 {
        if t.modes & ADJ_OFFSET_SINGLESHOT & !ADJ_ADJTIME == 0 {
            return Err(Errno::EINVAL);
        }
        if t.modes & ADJ_NANO == 0 && !may_set {
            return Err(Errno::EPERM);
        }
    } else {
        if t.modes != 0 && !may_set {
            return Err(Errno::EPERM);
        }
        if t.modes & ADJ_TICK != 0 && !(900_000 / USER_HZ as i64..=1_100_000 / USER_HZ as i64).contains(&t.tick) {
            return Err(Errno::EINVAL);
        }
    }
    if t.modes & ADJ_SETOFFSET != 0 {
        if !may_set {
            return Err(Errno::EPERM);
        }
        let most = if t.modes & ADJ_NANO != 0 { 1_000_000_000 } else { 1_000_000 };
        if !(0..most).contains(&t.time.tv_usec) {
            return Err(Errno::EINVAL);
        }
    }
    if t.modes & ADJ_FREQUENCY != 0 && !(i64::MIN / PPM..=i64::MAX / PPM).contains(&t.freq) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(n: &mut Ntp, second: i64, t: Timex) -> Timex {
        let mut t = t;
        n.advance(second);
        n.adjust(&mut t, second);
        t
    }

    #[test]
    fn adjtime_slews_half_a_millisecond_a_second_and_ends() {
        let mut n = Ntp::new();
        let t = set(&mut n, 100, Timex { modes: ADJ_OFFSET_SINGLESHOT, offset: -1200, ..Timex::default() });
        assert_eq!((t.offset, n.rate()), (0, 0));
        let mut slewed = 0;
        for s in 101..110 {
            n.advance(s);
            slewed += n.rate() >> FRACTION;
        }
        assert_eq!((slewed, n.is_active()), (-1_200_000, false));
        let left = set(&mut n, 120, Timex { modes: ADJ_OFFSET_SS_READ, offset: 99, ..Timex::default() });
        assert_eq!(left.offset, 0);
    }

    /// A clock that shows five seconds before the end of a day, at which `status` has a second left out or put in; and that end.
    fn before_a_leap(status: i32) -> (Ntp, i64) {
        let (mut n, day) = (Ntp::new(), 20_000 * DAY);
        n.clear(day - 5);
        set(&mut n, day - 5, Timex { modes: ADJ_STATUS, status, ..Timex::default() });
        (n, day)
    }

    #[test]
    fn a_leap_second_is_inserted_at_the_end_of_the_day_and_told_of() {
        let (mut n, day) = before_a_leap(STA_INS);
        set(&mut n, day - 5, Timex { modes: ADJ_TAI, constant: 37, ..Timex::default() });
        assert_eq!((n.advance(day - 4), n.state), (0, TIME_INS));
        assert_eq!((n.advance(day - 1), n.state), (0, TIME_INS));
        assert_eq!((n.advance(day), n.state, n.tai), (-1, TIME_OOP, 38));
        // 23:59:59 a second time.
        assert_eq!((n.advance(day - 1), n.state), (0, TIME_OOP));
        assert_eq!((n.advance(day), n.state), (0, TIME_WAIT));
        assert_eq!((n.advance(day + 1), n.state), (0, TIME_WAIT));
        set(&mut n, day + 1, Timex { modes: ADJ_STATUS, ..Timex::default() });
        n.advance(day + 2);
        assert_eq!((n.state, n.is_active()), (TIME_OK, false));
    }

    #[test]
    fn a_second_is_left_out_when_that_is_asked_for() {
        let (mut n, day) = before_a_leap(STA_DEL);
        assert_eq!((n.advance(day - 2), n.state), (0, TIME_DEL));
        assert_eq!((n.advance(day - 1), n.state, n.tai), (1, TIME_WAIT, -1));
    }

    #[test]
    fn the_loop_works_an_offset_off_and_learns_the_frequency() {
        let mut n = Ntp::new();
        set(&mut n, 0, Timex { modes: ADJ_STATUS | ADJ_TIMECONST, status: STA_PLL, constant: 0, ..Timex::default() });
        let t = set(&mut n, 16, Timex { modes: ADJ_OFFSET, offset: 1000, ..Timex::default() });
        assert_eq!(t.offset, 1000);
        assert!(t.freq > 0);
        let (mut slewed, steady) = (0, n.steady());
        for s in 17..2000 {
            n.advance(s);
            slewed += n.rate() - steady;
        }
        assert!((slewed >> FRACTION) > 999_000, "{}", slewed >> FRACTION);
    }

    #[test]
    fn a_clock_that_nobody_sets_becomes_unsure() {
        let mut n = Ntp::new();
        let t = set(&mut n, 0, Timex { modes: ADJ_STATUS | ADJ_MAXERROR, maxerror: 0, ..Timex::default() });
        assert_eq!(t.status & STA_UNSYNC, 0);
        assert_eq!(set(&mut n, 10, Timex::default()).maxerror, 5000);
        assert_eq!(set(&mut n, 40_000, Timex::default()).maxerror, PHASE_LIMIT);
        assert_ne!(n.status & STA_UNSYNC, 0);
    }
}
