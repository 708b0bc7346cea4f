//! Per-entity load tracking (Linux 6.1: kernel/sched/pelt.c): averages over time whose past counts half after 32 periods of
//! 1024 µs.
//!
//! ```text
//!   sum = u_0 + u_1·y + u_2·y² + …      u_i: time in the i-th period before now, µs; y^32 = 1/2
//!   average = load · sum / (greatest possible sum)
//! ```
//!
//! Fixed-point arithmetic, rounding and the order of steps are Linux's, so that a sequence of updates has Linux's results.

use crate::time::Nanos;

/// The greatest sum of full periods (Linux: LOAD_AVG_MAX).
pub const SUM_MAX: u32 = 47742;
/// Microseconds in a period.
const PERIOD: u64 = 1024;
/// The capacity of the strongest CPU.
const FULL: u64 = 1024;
/// Periods after which what was counts half.
pub(super) const HALF_LIFE: u64 = 32;

/// 2^32 · y^n, rounded down after the division by which the table is made (Linux: runnable_avg_yN_inv).
const Y: [u32; HALF_LIFE as usize] = [
    0xffffffff, 0xfa83b2da, 0xf5257d14, 0xefe4b99a, 0xeac0c6e6, 0xe5b906e6, 0xe0ccdeeb, 0xdbfbb796, 0xd744fcc9, 0xd2a81d91, 0xce248c14,
    0xc9b9bd85, 0xc5672a10, 0xc12c4cc9, 0xbd08a39e, 0xb8fbaf46, 0xb504f333, 0xb123f581, 0xad583ee9, 0xa9a15ab4, 0xa5fed6a9, 0xa2704302,
    0x9ef5325f, 0x9b8d39b9, 0x9837f050, 0x94f4efa8, 0x91c3d373, 0x8ea4398a, 0x8b95c1e3, 0x88980e80, 0x85aac367, 0x82cd8698,
];

/// `value · y^periods` (Linux: decay_load).
pub const fn decay(value: u64, periods: u64) -> u64 {
    if periods > HALF_LIFE * 63 {
        return 0;
    }
    let halved = value >> (periods / HALF_LIFE);
    ((halved as u128 * Y[(periods % HALF_LIFE) as usize] as u128) >> 32) as u64
}

/// `value · y^periods` of a sum that is no more than 32 bits wide, for less than [`HALF_LIFE`] periods.
#[inline(always)]
pub(super) const fn decay_some(value: u32, periods: u64) -> u32 {
    ((value as u64 * Y[(periods % HALF_LIFE) as usize] as u64) >> 32) as u32
}

/// What is left of anything after `time` ns, of 2^32: a half after 32 periods, within a period by a straight line.
pub(super) const fn left_after(time: Nanos) -> u64 {
    // 2^32 · (1 - y).
    const STEP: u64 = (1 << 32) - Y[1] as u64;
    let periods = time >> 20;
    if periods >= HALF_LIFE * 33 {
        return 0;
    }
    let at = (Y[(periods % HALF_LIFE) as usize] as u64 + 1) >> (periods / HALF_LIFE);
    at - ((((at * STEP) >> 32) * ((time >> 10) % PERIOD)) >> 10)
}

/// Averages of one entity or queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Avg {
    /// Up to where time was counted, in units of 1.024 µs.
    last_update: u64,
    load_sum: u64,
    runnable_sum: u64,
    util_sum: u64,
    /// µs of the period that is not over.
    period_contrib: u32,
    /// Average weight of what was runnable.
    pub load: u64,
    /// Average number of runnable tasks, 1024 each.
    pub runnable: u64,
    /// Average of running, 1024 at most.
    pub util: u64,
}

impl Avg {
    /// Nothing so far, from `now` on.
    pub const fn new(now: Nanos) -> Avg {
        Avg { last_update: now >> 10, load_sum: 0, runnable_sum: 0, util_sum: 0, period_contrib: 0, load: 0, runnable: 0, util: 0 }
    }

    /// Averages of nothing but sums, for somebody who keeps no more: `at` in units of 1.024 µs.
    pub(super) const fn from_parts(at: u64, [load_sum, runnable_sum, util_sum]: [u64; 3], period_contrib: u32) -> Avg {
        Avg { last_update: at, load_sum, runnable_sum, util_sum, period_contrib, load: 0, runnable: 0, util: 0 }
    }

    /// The opposite.
    pub(super) const fn parts(&self) -> (u64, [u64; 3], u32) {
        (self.last_update, [self.load_sum, self.runnable_sum, self.util_sum], self.period_contrib)
    }

    /// Counts the time up to `now`, in which the weight `load` and `runnable` tasks were runnable, and one was `running` or
    /// none. Whether a period ended, and with it the averages changed (Linux: ___update_load_sum, ___update_load_avg).
    pub fn update(&mut self, now: Nanos, load: u64, runnable: u64, running: bool) -> bool {
        if !self.count(now, load, runnable, if running { FULL } else { 0 }) {
            return false;
        }
        let divider = u64::from(SUM_MAX) - PERIOD + u64::from(self.period_contrib);
        self.load = self.load_sum / divider;
        self.runnable = self.runnable_sum / divider;
        self.util = self.util_sum / divider;
        true
    }

    /// The sums' part of [`Avg::update`], for somebody who keeps no more. `running` on a CPU that gets so much done, of 1024.
    #[inline]
    pub(super) fn count(&mut self, now: Nanos, load: u64, runnable: u64, running: u64) -> bool {
        // µs, as near as a shift comes. A clock that has gone back starts anew.
        let delta = (now >> 10).wrapping_sub(self.last_update);
        if (delta as i64) < 0 {
            self.last_update = now >> 10;
            return false;
        }
        if delta == 0 {
            return false;
        }
        self.last_update = now >> 10;
        // What is not runnable does not run.
        self.accumulate(delta, load, runnable, if load == 0 { 0 } else { running }) != 0
    }

    /// Linux: accumulate_sum. The number of periods that have ended.
    fn accumulate(&mut self, delta: u64, load: u64, runnable: u64, running: u64) -> u64 {
        let mut contrib = delta;
        let with_rest = delta + u64::from(self.period_contrib);
        let periods = with_rest / PERIOD;
        if periods != 0 {
            self.load_sum = decay(self.load_sum, periods);
            self.runnable_sum = decay(self.runnable_sum, periods);
            self.util_sum = decay(self.util_sum, periods);
            let rest = with_rest % PERIOD;
            if load != 0 {
                contrib = segments(periods, PERIOD - u64::from(self.period_contrib), rest);
            }
            self.period_contrib = rest as u32;
        } else {
            self.period_contrib = with_rest as u32;
        }
        if load != 0 {
            self.load_sum += load * contrib;
        }
        if runnable != 0 {
            self.runnable_sum += (runnable * contrib) << 10;
        }
        self.util_sum += contrib * running;
        periods
    }
}

/// What a stretch adds: the end of the first period, the full ones, the beginning of the last (Linux: __accumulate_pelt_segments).
pub(super) fn segments(periods: u64, first: u64, last: u64) -> u64 {
    let max = u64::from(SUM_MAX);
    decay(first, periods) + (max - decay(max, periods) - PERIOD) + last
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const US: u64 = 1024;

    #[test]
    fn half_is_left_after_32_periods() {
        assert_eq!(decay(1 << 20, 0), (1 << 20) - 1);
        assert_eq!(decay(1 << 20, 32), (1 << 19) - 1);
        assert_eq!(decay(u64::from(SUM_MAX), 32 * 64), 0);
        for n in 0..200 {
            let exact = 1e9 * 0.5f64.powf(n as f64 / 32.0);
            assert!((decay(1_000_000_000, n) as f64 - exact).abs() < 4.0, "{n}");
        }
    }

    #[test]
    fn what_is_left_falls_steadily_from_all_to_nothing() {
        assert_eq!(left_after(0), 1 << 32);
        assert_eq!(left_after(Nanos::MAX), 0);
        let mut before = u64::MAX;
        for step in 0..40_000u64 {
            let time = step * 33_333;
            let (left, exact) = (left_after(time), 4294967296.0 * 0.5f64.powf(time as f64 / 1048576.0 / 32.0));
            assert!(left <= before && (left as f64 - exact).abs() < exact / 10_000.0 + 40.0, "{time}: {left} {exact}");
            before = left;
        }
    }

    #[test]
    fn the_table_is_that_of_powers() {
        for (n, y) in Y.iter().enumerate() {
            let exact = 0.5f64.powf(n as f64 / 32.0) * 4294967295.0;
            assert!((f64::from(*y) - exact).abs() <= 2.0, "{n}");
        }
    }

    /// Linux's numbers for a task that runs all the time: it reaches 1024 within 345 periods, 512 after 32.
    #[test]
    fn what_always_runs_approaches_its_weight() {
        let mut avg = Avg::new(0);
        let mut at = Vec::new();
        for period in 1..=400u64 {
            avg.update(period * 1024 * US, 1024, 1, true);
            at.push(avg.util);
        }
        assert!(at.windows(2).all(|w| w[0] <= w[1]));
        assert!((510..=514).contains(&at[31]), "{}", at[31]);
        assert!(at[345] >= 1022 && at[399] <= 1024, "{} {}", at[345], at[399]);
        assert_eq!((avg.load, avg.runnable), (avg.util, avg.util));
    }

    #[test]
    fn one_long_step_is_as_many_short_ones() {
        let (mut one, mut many) = (Avg::new(0), Avg::new(0));
        one.update(100 * 1024 * US + 500 * US, 2048, 3, true);
        for step in 1..=1005u64 {
            many.update(step * 100 * 1024 * US / 1000, 2048, 3, true);
        }
        many.update(100 * 1024 * US + 500 * US, 2048, 3, true);
        assert!(one.util.abs_diff(many.util) <= 2 && one.load.abs_diff(many.load) <= 4, "{one:?} {many:?}");
        assert!(one.runnable.abs_diff(3 * one.util) <= 3);
    }

    #[test]
    fn sleep_halves_each_32_periods() {
        let mut avg = Avg::new(0);
        avg.update(1000 * 1024 * US, 1024, 1, true);
        let full = avg.util;
        avg.update(1032 * 1024 * US, 0, 0, false);
        assert!(avg.util.abs_diff(full / 2) <= 1, "{}", avg.util);
        assert!(avg.load.abs_diff(512) <= 2);
    }
}
