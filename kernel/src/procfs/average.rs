//! Averages over 10, 60 and 300 seconds of how much of the time something took (Linux: calc_avgs of kernel/sched/psi.c); nothing of
//! the kernel, so that they are tested on the host.

/// Fraction bits of an average, which is in percent.
pub(super) const SHIFT: u32 = 11;
/// One percent.
pub(super) const ONE: u64 = 1 << SHIFT;
/// exp(-2 s / 10, 60, 300 s) in that form (Linux: EXP_10s, EXP_60s, EXP_300s).
const DECAY: [u64; 3] = [1677, 1981, 2034];

/// The averages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Average {
    values: [u64; 3],
    /// What the total was when they were brought up to date last, and when that was.
    total: u64,
    last: u64,
}

impl Average {
    /// Of what begins at `now`, ns, when it has taken `total` ns in all.
    pub(super) const fn begun(now: u64, total: u64) -> Average {
        Average { values: [0; 3], total, last: now }
    }

    /// In percent, with [`SHIFT`] fraction bits.
    pub(super) fn values(&self) -> [u64; 3] {
        self.values
    }

    /// By `now` it has taken `total` ns in all. Nothing happens before `period` has passed since the last time; of several that have,
    /// all but the last were idle.
    pub(super) fn update(&mut self, total: u64, now: u64, period: u64) {
        let passed = now.saturating_sub(self.last);
        if passed < period {
            return;
        }
        let missed = passed / period - 1;
        let length = passed - missed * period;
        let taken = total.wrapping_sub(self.total).min(length);
        let percent = (u128::from(taken) * 100 * u128::from(ONE) / u128::from(length.max(1))) as u64;
        for (value, decay) in self.values.iter_mut().zip(DECAY) {
            for _ in 0..missed.min(4096) {
                *value = step(*value, decay, 0);
            }
            *value = step(*value, decay, percent);
        }
        (self.total, self.last) = (total, now);
    }
}

/// One period more, with `active` in it (Linux: calc_load).
fn step(value: u64, decay: u64, active: u64) -> u64 {
    let sum = value * decay + active * (ONE - decay);
    (if active >= value { sum + ONE - 1 } else { sum }) / ONE
}

/// How much a total has grown within a time that ends now (Linux: psi_window).
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u64,
    start: u64,
    value: u64,
    /// By how much it grew in the one before.
    before: u64,
}

impl Window {
    /// One of `size` ns that begins at `now`, when the total was `value`.
    pub(super) const fn begun(size: u64, now: u64, value: u64) -> Window {
        Window { size, start: now, value, before: 0 }
    }

    /// Its length, ns.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// By now the total is `value`: by how much it has grown in the last `size` ns, of which those before the present window are taken
    /// for as busy as that was on average.
    pub(super) fn update(&mut self, now: u64, value: u64) -> u64 {
        let passed = now.saturating_sub(self.start);
        let growth = value.wrapping_sub(self.value);
        if passed > self.size {
            *self = Window { size: self.size, start: now, value, before: growth };
            return growth;
        }
        let rest = u128::from(self.before) * u128::from(self.size - passed) / u128::from(self.size.max(1));
        growth.saturating_add(rest as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_takes_half_of_the_time_has_fifty_percent_in_the_end() {
        let mut a = Average::begun(0, 0);
        for i in 1..=1000 {
            a.update(i * SECOND, i * 2 * SECOND, 2 * SECOND);
        }
        assert!(a.values().iter().all(|v| (49 * ONE..=51 * ONE).contains(v)), "{:?}", a.values());
        // The short average forgets within a minute, the long one does not.
        a.update(1000 * SECOND, 2060 * SECOND, 2 * SECOND);
        let [short, _, long] = a.values();
        assert!(short < ONE && long > 35 * ONE, "{short} {long}");
    }

    #[test]
    fn a_window_knows_how_much_came_in_its_length() {
        let mut w = Window::begun(SECOND, 0, 0);
        assert_eq!(w.update(SECOND / 2, 100), 100);
        // The next window begins: half-way through it half of the last one counts.
        assert_eq!(w.update(SECOND + 1, 300), 300);
        assert_eq!(w.update(SECOND + 1 + SECOND / 2, 310), 10 + 150);
        assert_eq!(w.update(10 * SECOND, 310), 10);
        assert_eq!(w.update(10 * SECOND, 310), 10);
    }

    #[test]
    fn nothing_changes_before_a_period_has_passed() {
        let mut a = Average::begun(0, 0);
        a.update(SECOND, SECOND, 2 * SECOND);
        assert_eq!(a.values(), [0; 3]);
        a.update(2 * SECOND, 2 * SECOND, 2 * SECOND);
        // As Linux: a fifth of the way to 100 % after two seconds.
        assert_eq!(a.values()[0] >> SHIFT, 18);
    }
}
