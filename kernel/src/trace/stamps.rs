//! When tasks were woken, and histograms of how long they waited for their CPU.
//!
//! A task's header has no room for a stamp that nobody reads most of the time: stamps are in a table, found by the task's
//! address. It is written in the middle of wakes: no lock, no allocation. A stamp that finds no place is lost, and counted.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};

/// How many places a task may have.
const PROBES: usize = 16;

/// A table of `N` stamps.
pub struct Stamps<const N: usize> {
    places: [(AtomicUsize, AtomicU64); N],
    lost: AtomicU64,
}

impl<const N: usize> Stamps<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Stamps { places: [const { (AtomicUsize::new(0), AtomicU64::new(0)) }; N], lost: AtomicU64::new(0) }
    }

    fn places(&self, key: usize) -> impl Iterator<Item = &(AtomicUsize, AtomicU64)> {
        // Headers are slab objects: their low bits say little.
        let first = (key >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize) >> 32;
        (0..PROBES).filter_map(move |i| self.places.get(first.wrapping_add(i) % N.max(1)))
    }

    /// Notes `stamp` for `key`, which is not 0, in place of an older one.
    pub fn put(&self, key: usize, stamp: u64) {
        if let Some((_, at)) = self.places(key).find(|(k, _)| k.load(Relaxed) == key) {
            return at.store(stamp, Release);
        }
        for (owner, at) in self.places(key) {
            if owner.load(Relaxed) == 0 && owner.compare_exchange(0, key, AcqRel, Relaxed).is_ok() {
                return at.store(stamp, Release);
            }
        }
        self.lost.fetch_add(1, Relaxed);
    }

    /// Takes the stamp of `key`.
    pub fn take(&self, key: usize) -> Option<u64> {
        let (owner, at) = self.places(key).find(|(k, _)| k.load(Acquire) == key)?;
        let stamp = at.swap(0, AcqRel);
        owner.store(0, Release);
        (stamp != 0).then_some(stamp)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for (owner, at) in &self.places {
            at.store(0, Relaxed);
            owner.store(0, Relaxed);
        }
        self.lost.store(0, Relaxed);
    }

    /// How many found no place.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

impl<const N: usize> Default for Stamps<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Buckets: bucket n counts what took less than 2^n nanoseconds, and at least half of that.
pub const BUCKETS: usize = 36;

/// A histogram by powers of two.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }

    /// Counts `nanos`.
    pub fn add(&self, nanos: u64) {
        let bucket = (u64::BITS - nanos.leading_zeros()) as usize;
        if let Some(b) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            b.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(nanos, Relaxed);
        self.max.fetch_max(nanos, Relaxed);
    }

    /// The count of each bucket.
    pub fn counts(&self) -> [u64; BUCKETS] {
        core::array::from_fn(|i| self.buckets[i].load(Relaxed))
    }

    /// The sum of all, and the largest, in nanoseconds.
    pub fn sum_and_max(&self) -> (u64, u64) {
        (self.sum.load(Relaxed), self.max.load(Relaxed))
    }

    /// Empties it.
    pub fn clear(&self) {
        for b in &self.buckets {
            b.store(0, Relaxed);
        }
        self.sum.store(0, Relaxed);
        self.max.store(0, Relaxed);
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_taken_once() {
        let s = Stamps::<64>::new();
        for task in 1..=8usize {
            s.put(task << 8, task as u64);
        }
        s.put(3 << 8, 99);
        assert_eq!(s.take(3 << 8), Some(99));
        assert_eq!(s.take(3 << 8), None);
        assert_eq!(s.take(5 << 8), Some(5));
        assert_eq!(s.lost(), 0);
        s.clear();
        assert_eq!(s.take(6 << 8), None);
    }

    #[test]
    fn what_finds_no_place_is_counted() {
        let s = Stamps::<16>::new();
        for task in 1..=20usize {
            s.put(task << 8, 1);
        }
        assert_eq!(s.lost(), 4);
    }

    #[test]
    fn buckets_are_powers_of_two() {
        let h = Histogram::new();
        for nanos in [0, 1, 2, 3, 4, 1023, 1024, u64::MAX >> 8] {
            h.add(nanos);
        }
        let counts = h.counts();
        assert_eq!((counts[0], counts[1], counts[2], counts[3]), (1, 1, 2, 1));
        assert_eq!((counts[10], counts[11], counts[BUCKETS - 1]), (1, 1, 1));
        assert_eq!(h.sum_and_max().1, u64::MAX >> 8);
    }
}
