//! The limit of a group: so much run time in each period, for all CPUs together (Linux: cfs_bandwidth).
//!
//! CPUs take slices from a pool; the pool is filled when somebody looks at it in a new period. There is no timer of its own for that:
//! a CPU that holds a group back has the end of the period among its next events. When a CPU gives back what it does not need,
//! those that hold the group back are told a little later ([`SLACK`]): by then others may have given something, too.

use crate::time::{MSEC, Nanos, USEC};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a CPU takes at a time, ns (`sched_cfs_bandwidth_slice_us`).
pub static SLICE: AtomicU64 = AtomicU64::new(5 * MSEC);
/// And at least, whatever that says: each end of what it has taken is an interrupt, to the nanosecond, where Linux looks at ticks.
pub(super) const LEAST_TAKEN: Nanos = 100 * USEC;
/// So much later what was given back is handed out (Linux: cfs_bandwidth_slack_period),
pub const SLACK: Nanos = 5 * MSEC;
/// unless the pool is filled that soon after it (Linux: min_bandwidth_expiration).
const NEAR_FILL: Nanos = 2 * MSEC;
/// What a CPU keeps when its last task of the group sleeps (Linux: min_cfs_rq_runtime).
pub const KEEP: Nanos = MSEC;

/// The limit, the pool, and what `cpu.stat` shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bandwidth {
    /// Run time in a period; `None`: any.
    pub quota: Option<Nanos>,
    /// Length of a period.
    pub period: Nanos,
    /// How much of unused quota may be saved up.
    pub burst: Nanos,
    pool: Nanos,
    /// The pool after it was filled last.
    filled: Nanos,
    /// When this period began.
    start: Nanos,
    /// Somebody took from the pool in this period.
    used: bool,
    /// CPUs that hold the group back.
    pub(super) held: u64,
    /// Periods in which it ran.
    pub nr_periods: u64,
    /// Those in which it was held back.
    pub nr_throttled: u64,
    /// How long CPUs have held it back, in sum.
    pub throttled_time: Nanos,
    /// Periods that used up what was saved before.
    pub nr_bursts: u64,
    /// And how much of it.
    pub burst_time: Nanos,
}

impl Bandwidth {
    /// No limit.
    pub const fn new() -> Bandwidth {
        Bandwidth {
            quota: None,
            period: 100 * MSEC,
            burst: 0,
            pool: 0,
            filled: 0,
            start: 0,
            used: false,
            held: 0,
            nr_periods: 0,
            nr_throttled: 0,
            throttled_time: 0,
            nr_bursts: 0,
            burst_time: 0,
        }
    }

    /// Sets the limit; a period begins.
    pub fn set(&mut self, quota: Option<Nanos>, period: Nanos, burst: Nanos, now: Nanos) {
        (self.quota, self.period, self.burst) = (quota, period.max(1), burst);
        self.start = now;
        self.fill();
    }

    fn fill(&mut self) {
        let Some(quota) = self.quota else { return };
        self.pool = self.pool.saturating_add(quota);
        if let Some(above) = self.filled.checked_sub(self.pool).filter(|n| *n > 0) {
            self.burst_time = self.burst_time.saturating_add(above);
            self.nr_bursts += 1;
        }
        self.pool = self.pool.min(quota.saturating_add(self.burst));
        self.filled = self.pool;
    }

    /// Begins the period of `now`.
    fn roll(&mut self, now: Nanos) {
        let over = now.saturating_sub(self.start) / self.period;
        if over == 0 {
            return;
        }
        self.start = self.start.saturating_add(over.saturating_mul(self.period));
        if self.used || self.held != 0 {
            self.nr_periods += if self.held != 0 { over } else { 1 };
        }
        if self.held != 0 {
            self.nr_throttled += over;
        }
        self.used = false;
        self.fill();
    }

    /// Takes up to `wanted` from the pool.
    pub(super) fn take(&mut self, wanted: Nanos, now: Nanos) -> Nanos {
        if self.quota.is_none() {
            return wanted;
        }
        self.roll(now);
        let got = self.pool.min(wanted);
        self.pool -= got;
        self.used |= got > 0;
        got
    }

    /// Gives back what a CPU does not need. The CPUs that are to be told after [`SLACK`] that there is something for them
    /// (Linux: __return_cfs_rq_runtime, start_cfs_slack_bandwidth).
    #[must_use = "who waits for it must be told"]
    pub(super) fn give(&mut self, unused: Nanos, now: Nanos) -> u64 {
        let Some(quota) = self.quota else { return 0 };
        self.roll(now);
        self.pool = self.pool.saturating_add(unused).min(quota.saturating_add(self.burst));
        let worth_it = self.pool > SLICE.load(Relaxed) && self.next_fill() > now.saturating_add(SLACK + NEAR_FILL);
        if worth_it { self.held } else { 0 }
    }

    /// When the pool is filled next.
    pub(super) fn next_fill(&self) -> Nanos {
        self.start.saturating_add(self.period)
    }
}

impl Default for Bandwidth {
    fn default() -> Self {
        Bandwidth::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_has_its_quota() {
        let mut b = Bandwidth::new();
        assert_eq!(b.take(7, 0), 7, "no limit");
        b.set(Some(25 * MSEC), 100 * MSEC, 0, 0);
        let mut got = 0;
        for _ in 0..10 {
            got += b.take(5 * MSEC, 50 * MSEC);
        }
        assert_eq!(got, 25 * MSEC);
        assert_eq!(b.take(5 * MSEC, 99 * MSEC), 0);
        assert_eq!(b.take(5 * MSEC, 100 * MSEC), 5 * MSEC);
        // Unused time is not saved without a burst.
        assert_eq!(b.take(SEC_LONG, 350 * MSEC), 25 * MSEC);
        assert_eq!(b.nr_periods, 2);
    }

    const SEC_LONG: Nanos = 1000 * MSEC;

    #[test]
    fn a_burst_is_what_was_saved() {
        let mut b = Bandwidth::new();
        b.set(Some(20 * MSEC), 100 * MSEC, 10 * MSEC, 0);
        assert_eq!(b.take(5 * MSEC, 1), 5 * MSEC);
        assert_eq!(b.take(SEC_LONG, 100 * MSEC), 30 * MSEC);
        assert_eq!(b.take(1, 200 * MSEC), 1);
        assert_eq!((b.nr_bursts, b.burst_time), (1, 10 * MSEC));
    }

    #[test]
    fn a_limit_that_goes_is_no_burst() {
        let mut b = Bandwidth::new();
        b.set(Some(20 * MSEC), 100 * MSEC, 0, 0);
        assert_eq!(b.take(20 * MSEC, 1), 20 * MSEC);
        b.set(None, 100 * MSEC, 0, 2);
        assert_eq!((b.nr_bursts, b.burst_time), (0, 0));
    }

    #[test]
    fn who_is_held_back_is_told_of_a_slice_and_more_unless_the_period_ends_soon() {
        let mut b = Bandwidth::new();
        b.set(Some(20 * MSEC), 100 * MSEC, 0, 0);
        assert_eq!(b.take(20 * MSEC, 1), 20 * MSEC);
        assert_eq!(b.give(MSEC, 2), 0, "nobody is held back");
        b.held = 0b100;
        assert_eq!(b.give(4 * MSEC, 2), 0, "a slice, no more");
        assert_eq!(b.give(1, 92 * MSEC), 0b100);
        assert_eq!(b.give(MSEC, 93 * MSEC), 0);
    }

    #[test]
    fn what_is_given_back_can_be_taken() {
        let mut b = Bandwidth::new();
        b.set(Some(10 * MSEC), 100 * MSEC, 0, 0);
        assert_eq!(b.take(10 * MSEC, 1), 10 * MSEC);
        assert_eq!(b.give(4 * MSEC, 2), 0);
        assert_eq!(b.take(10 * MSEC, 3), 4 * MSEC);
    }
}
