//! Log-linear histograms: 256 buckets for each power of two, so that a value is known to 0.4 %.

/// Buckets within a power of two.
pub const STEPS: u64 = 256;
const STEP_BITS: u32 = STEPS.ilog2();
const BUCKETS: usize = (64 - STEP_BITS as usize) * STEPS as usize + STEPS as usize;

/// Counts of values in nanoseconds.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
    sum: u128,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0, sum: 0 }
    }

    /// The bucket of `value`.
    fn index(value: u64) -> usize {
        if value < STEPS {
            return value as usize;
        }
        let shift = value.ilog2() - STEP_BITS;
        (u64::from(shift) * STEPS + (value >> shift)) as usize
    }

    /// The least value of a bucket.
    fn lowest(index: usize) -> u64 {
        let index = index as u64;
        if index < STEPS {
            return index;
        }
        let shift = index / STEPS - 1;
        (index % STEPS + STEPS) << shift
    }

    /// Counts `value`.
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(Histogram::index(value)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
        self.sum += u128::from(value);
    }

    /// How many values there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The sum of all.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// The mean.
    pub fn mean(&self) -> u64 {
        (self.sum / u128::from(self.total.max(1))) as u64
    }

    /// What `parts` of 100 000 values are not above, to the bucket.
    pub fn percentile(&self, parts: u64) -> u64 {
        let wanted = (u128::from(self.total) * u128::from(parts)).div_ceil(100_000).max(1);
        let mut seen = 0u128;
        for (i, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted {
                return Histogram::lowest(i + 1).saturating_sub(1).min(self.max);
            }
        }
        self.max
    }

    /// The buckets that are not empty: least value, count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count != 0).map(|(i, count)| (Histogram::lowest(i), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::Histogram;

    #[test]
    fn a_bucket_has_what_is_within_four_thousandths() {
        for value in (0..2000).chain([4095, 4096, 1 << 40, u64::MAX]) {
            let low = Histogram::lowest(Histogram::index(value));
            assert!(low <= value && value - low <= value / super::STEPS, "{value} is in the bucket of {low}");
        }
    }

    #[test]
    fn percentiles_are_of_all_values() {
        let mut h = Histogram::new();
        (1..=100_000).for_each(|v| h.add(v % 20 + 1));
        h.add(1_000_000);
        assert_eq!((h.percentile(50_000), h.percentile(99_999), h.max(), h.total()), (11, 20, 1_000_000, 100_001));
        assert_eq!(h.percentile(100_000), 1_000_000);
    }
}
