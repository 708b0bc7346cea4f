//! Lock statistics by class (Linux: CONFIG_LOCK_STAT, `/proc/lock_stat`): how often and how long locks are waited for and held, as
//! readers and otherwise. Relaxed counters: figures of one moment need not fit each other.

use super::graph::{self, MAX_CLASSES};
use crate::cpu::CpuId;
use crate::time::Nanos;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Times of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// The shortest, the longest, all together, in nanoseconds.
    pub min: Nanos,
    /// See `min`.
    pub max: Nanos,
    /// See `min`.
    pub total: Nanos,
    /// How many came from another CPU than the one before.
    pub bounces: u64,
}

struct Counters {
    count: AtomicU64,
    /// One less than the shortest, so that 0 is none: as a difference to `u64::MAX`.
    shortest: AtomicU64,
    longest: AtomicU64,
    total: AtomicU64,
    bounces: AtomicU64,
    /// One more than the CPU of the last one.
    cpu: AtomicU32,
}

impl Counters {
    const fn new() -> Counters {
        Counters {
            count: AtomicU64::new(0),
            shortest: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            total: AtomicU64::new(0),
            bounces: AtomicU64::new(0),
            cpu: AtomicU32::new(0),
        }
    }

    fn add(&self, time: Nanos) {
        let here = CpuId::current().index() as u32 + 1;
        let before = self.cpu.swap(here, Relaxed);
        self.bounces.fetch_add(u64::from(before != 0 && before != here), Relaxed);
        self.count.fetch_add(1, Relaxed);
        self.shortest.fetch_max(u64::MAX - time, Relaxed);
        self.longest.fetch_max(time, Relaxed);
        self.total.fetch_add(time, Relaxed);
    }

    fn times(&self) -> Times {
        let count = self.count.load(Relaxed);
        let min = if count == 0 { 0 } else { u64::MAX - self.shortest.load(Relaxed) };
        Times { count, min, max: self.longest.load(Relaxed), total: self.total.load(Relaxed), bounces: self.bounces.load(Relaxed) }
    }

    fn clear(&self) {
        for word in [&self.count, &self.shortest, &self.longest, &self.total, &self.bounces] {
            word.store(0, Relaxed);
        }
    }
}

/// Of one class, one way: waits, stays.
struct Row {
    waits: Counters,
    holds: Counters,
}

/// Otherwise, as readers.
static ROWS: [[Row; 2]; MAX_CLASSES] = [const { [const { Row { waits: Counters::new(), holds: Counters::new() } }; 2] }; MAX_CLASSES];

/// A lock of class `class` was waited for.
pub(super) fn waited(class: usize, reads: bool, time: Nanos) {
    ROWS[class][usize::from(reads)].waits.add(time);
}

/// A lock of class `class` was held.
pub(super) fn held(class: usize, reads: bool, time: Nanos) {
    ROWS[class][usize::from(reads)].holds.add(time);
}

/// What was counted of one class.
#[derive(Clone, Copy, Debug)]
pub struct ClassStat {
    /// Its name.
    pub name: &'static str,
    /// Waits and stays of those who exclude everybody.
    pub writers: (Times, Times),
    /// Those of readers.
    pub readers: (Times, Times),
}

/// Calls `f` with what was counted of each class that was used.
pub fn for_each(mut f: impl FnMut(&ClassStat)) {
    for class in 0..graph::count() {
        let of = |row: &Row| (row.waits.times(), row.holds.times());
        let [writers, readers] = ROWS[class].each_ref().map(of);
        if writers.1.count != 0 || readers.1.count != 0 {
            f(&ClassStat { name: graph::name(class), writers, readers });
        }
    }
}

/// Forgets all that was counted.
pub fn clear() {
    for row in ROWS.iter().flatten() {
        row.waits.clear();
        row.holds.clear();
    }
}
