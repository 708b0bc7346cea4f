//! A counter that many CPUs change often and that is read seldom (Linux: percpu_counter).
//!
//! Each CPU counts by itself up to [`BATCH`], then adds what it has to the common count. [`PerCpuCounter::read`] looks at the
//! common count alone: it is off by less than `BATCH` for each CPU. [`PerCpuCounter::sum`] adds what the CPUs have.
//!
//! Additions are relaxed atomics without a guard: a flow that moves between the choice of its CPU and the addition counts on
//! another one, which changes nothing about the sum.

use crate::cpu::{MAX_CPUS, PerCpu};
use core::cmp::Ordering as Compared;
use core::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What a CPU counts by itself (Linux: percpu_counter_batch, at least 32).
pub const BATCH: i64 = 32;

/// A signed count. Starts at 0.
pub struct PerCpuCounter {
    count: AtomicI64,
    own: PerCpu<AtomicI64>,
}

impl PerCpuCounter {
    /// At 0.
    pub const fn new() -> Self {
        PerCpuCounter { count: AtomicI64::new(0), own: PerCpu::new([const { AtomicI64::new(0) }; MAX_CPUS]) }
    }

    /// Adds `n`. Any context.
    pub fn add(&self, n: i64) {
        let own = self.own.this();
        let mine = own.fetch_add(n, Relaxed).wrapping_add(n);
        if mine >= BATCH || mine <= -BATCH {
            // What is taken here is added there: somebody who sums meanwhile misses it for that moment, as on Linux.
            self.count.fetch_add(own.swap(0, Relaxed), Relaxed);
        }
    }

    /// The count, about.
    pub fn read(&self) -> i64 {
        self.count.load(Relaxed)
    }

    /// The count, about, and not below 0 (Linux: percpu_counter_read_positive).
    pub fn read_positive(&self) -> i64 {
        self.read().max(0)
    }

    /// The count: exact if nobody adds meanwhile. Also what CPUs that have gone had.
    pub fn sum(&self) -> i64 {
        self.own.iter().fold(self.read(), |n, own| n.wrapping_add(own.load(Relaxed)))
    }

    /// How the count compares with `n`, exactly; adds up only if the common count is too near for a decision.
    pub fn compare(&self, n: i64) -> Compared {
        let about = self.read();
        // A CPU that has gone keeps what it had.
        if about.abs_diff(n) > (BATCH * MAX_CPUS as i64) as u64 { about.cmp(&n) } else { self.sum().cmp(&n) }
    }
}

impl core::fmt::Debug for PerCpuCounter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PerCpuCounter").field(&self.sum()).finish()
    }
}

impl Default for PerCpuCounter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_sum_is_exact_and_the_count_off_by_a_batch_for_each_cpu() {
        let n = PerCpuCounter::new();
        n.add(BATCH - 1);
        assert_eq!((n.read(), n.sum()), (0, BATCH - 1));
        n.add(1);
        assert_eq!((n.read(), n.sum()), (BATCH, BATCH));
        n.add(-2 * BATCH - 5);
        assert_eq!((n.sum(), n.read_positive()), (-BATCH - 5, 0));
    }

    #[test]
    fn it_compares_exactly_near_by_and_far_off() {
        let n = PerCpuCounter::new();
        n.add(10);
        assert_eq!([9, 10, 11].map(|m| n.compare(m)), [Compared::Greater, Compared::Equal, Compared::Less]);
        n.add(1_000_000);
        assert_eq!(n.compare(5), Compared::Greater);
        assert_eq!(n.compare(1_000_010), Compared::Equal);
        assert_eq!(n.compare(9_000_000), Compared::Less);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let n = PerCpuCounter::new();
        thread::scope(|s| {
            for t in 0..4 {
                let n = &n;
                s.spawn(move || (0..10_000).for_each(|i| n.add(if (i + t) % 3 == 0 { -1 } else { 1 })));
            }
        });
        let expected: i64 = (0..4).map(|t| (0..10_000).map(|i| if (i + t) % 3 == 0 { -1 } else { 1 }).sum::<i64>()).sum();
        assert_eq!(n.sum(), expected);
    }
}
