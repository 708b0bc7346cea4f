//! For how much of the time somebody has waited, of what each CPU says (Linux: collect_percpu_times, kernel/sched/psi.c); nothing of the
//! kernel, so that it is tested on the host.

use super::average::{Average, ONE, SHIFT};
use core::fmt::Write;
use vigil_executor::cpu::MAX_CPUS;
use vigil_executor::time::{Nanos, USEC};

/// From one bringing up to date of the averages to the next (Linux: PSI_FREQ, 2 s and a tick).
pub(crate) const PERIOD: Nanos = 2_004_000_000;

/// For how long on a CPU some have waited, all have, and there was anybody.
pub(crate) type Times = [Nanos; 3];

/// What was seen of the CPUs, and what follows from it.
pub(crate) struct Stalls {
    seen: [Times; MAX_CPUS],
    /// For how long some, and all, have waited, ns: each CPU's time counts by how busy it was.
    totals: [Nanos; 2],
    averages: [Average; 2],
    /// When that was brought up to date last.
    at: Nanos,
}

impl Stalls {
    /// Nobody has looked yet.
    pub(crate) const NEW: Stalls = Stalls { seen: [[0; 3]; MAX_CPUS], totals: [0; 2], averages: [Average::begun(0, 0); 2], at: 0 };

    /// It counts from `now` on, when the CPUs say `times`. What was counted before stays.
    pub(crate) fn begin(&mut self, times: [Times; MAX_CPUS], now: Nanos) {
        self.seen = times;
        self.averages = self.totals.map(|total| Average::begun(now, total));
        self.at = now;
    }

    /// Adds what has passed since the last time.
    pub(crate) fn update(&mut self, times: [Times; MAX_CPUS], now: Nanos) {
        let (mut weighted, mut weights) = ([0u128; 2], 0u128);
        for (seen, times) in self.seen.iter_mut().zip(times) {
            let passed: Times = core::array::from_fn(|i| times[i].saturating_sub(seen[i]));
            let busy = u128::from(passed[2]);
            for (sum, stalled) in weighted.iter_mut().zip(passed) {
                *sum += u128::from(stalled) * busy;
            }
            weights += busy;
            *seen = times;
        }
        for ((total, average), weighted) in self.totals.iter_mut().zip(&mut self.averages).zip(weighted) {
            *total = total.wrapping_add(weighted.checked_div(weights).unwrap_or(0) as u64);
            average.update(*total, now, PERIOD);
        }
        self.at = now;
    }

    /// Whether it is up to date at `now`.
    pub(crate) fn is_of(&self, now: Nanos) -> bool {
        self.at >= now
    }

    /// For how long some have waited, or (`full`) all, ns.
    pub(crate) fn total(&self, full: bool) -> Nanos {
        self.totals[usize::from(full)]
    }

    /// Writes the text of a pressure file.
    pub(crate) fn show(&self, out: &mut impl Write) {
        for ((what, average), total) in ["some", "full"].into_iter().zip(self.averages).zip(self.totals) {
            let [a, b, c] = average.values().map(|v| (v >> SHIFT, ((v & (ONE - 1)) * 100) >> SHIFT));
            let total = total / USEC;
            let _ = writeln!(out, "{what} avg10={}.{:02} avg60={}.{:02} avg300={}.{:02} total={total}", a.0, a.1, b.0, b.1, c.0, c.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    const SECOND: Nanos = 1_000_000_000;

    /// What the first two CPUs say.
    fn two(a: Times, b: Times) -> [Times; MAX_CPUS] {
        let mut times = [[0; 3]; MAX_CPUS];
        (times[0], times[1]) = (a, b);
        times
    }

    #[test]
    fn a_cpu_counts_by_how_busy_it_was() {
        let mut s = Stalls::NEW;
        s.begin(two([7, 7, 7], [5, 5, 5]), 0);
        // One is busy for a second and waited for half of the time; the other is busy for a third of that, and always waited for.
        let third = SECOND / 3;
        s.update(two([7 + SECOND / 2, 7, 7 + SECOND], [5 + third, 5 + third, 5 + third]), SECOND);
        assert_eq!([false, true].map(|full| s.total(full) / 1000), [458_333, 83_333]);
        // Nobody was there.
        s.update(two([7 + SECOND / 2, 7, 7 + SECOND], [5 + third, 5 + third, 5 + third]), 2 * SECOND);
        assert_eq!(s.total(false) / 1000, 458_333);
    }

    #[test]
    fn what_was_counted_stays_when_it_begins_again() {
        let mut s = Stalls::NEW;
        s.begin(two([0; 3], [0; 3]), 0);
        s.update(two([SECOND; 3], [0; 3]), PERIOD);
        s.begin(two([100 * SECOND; 3], [0; 3]), 100 * SECOND);
        s.update(two([100 * SECOND; 3], [0; 3]), 100 * SECOND + PERIOD);
        let mut text = String::new();
        s.show(&mut text);
        assert_eq!(text.lines().next(), Some("some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000"));
        assert_eq!(text.lines().count(), 2);
    }
}
