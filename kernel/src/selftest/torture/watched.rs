//! What is seen inside of a lock that is tortured: two words that differ only while somebody changes them, and counts of who is
//! inside; each section looks at both.

use super::{Rng, linger};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_executor::time;

/// Who is inside of a lock, and what was seen there.
pub(super) struct Watched {
    pub(super) name: &'static str,
    pub(super) inside: AtomicU32,
    pub(super) readers: AtomicU32,
    first: AtomicU64,
    second: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) reads: AtomicU64,
    /// Sections that found somebody who should not be there, or half a change.
    pub(super) wrong: AtomicU64,
    /// The longest wait, in nanoseconds.
    pub(super) longest: AtomicU64,
    /// Tasks that have ended, and the fewest sections that one of them had.
    pub(super) fewest: AtomicU64,
}

impl Watched {
    pub(super) const fn new(name: &'static str) -> Watched {
        Watched {
            name,
            inside: AtomicU32::new(0),
            readers: AtomicU32::new(0),
            first: AtomicU64::new(0),
            second: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            fewest: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn check(&self, good: bool) {
        if !good {
            self.wrong.fetch_add(1, Relaxed);
        }
    }

    fn is_whole(&self) -> bool {
        self.first.load(Relaxed) == self.second.load(Relaxed)
    }

    /// The beginning of a section that excludes all others.
    pub(super) fn begin(&self, since: u64) {
        self.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
        self.check(self.inside.fetch_add(1, Relaxed) == 0 && self.readers.load(Relaxed) == 0 && self.is_whole());
        // The lock alone orders these: a load and a store, not an atomic addition.
        self.first.store(self.first.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Its end.
    pub(super) fn end(&self) {
        self.second.store(self.second.load(Relaxed).wrapping_add(1), Relaxed);
        self.check(self.is_whole() && self.inside.fetch_sub(1, Relaxed) == 1 && self.readers.load(Relaxed) == 0);
        self.writes.fetch_add(1, Relaxed);
    }

    /// The beginning of a section that excludes writers.
    pub(super) fn begin_read(&self, since: u64) {
        self.longest.fetch_max(time::now().saturating_sub(since), Relaxed);
        self.readers.fetch_add(1, Relaxed);
        self.check(self.inside.load(Relaxed) == 0 && self.is_whole());
    }

    /// Its end.
    pub(super) fn end_read(&self) {
        self.check(self.inside.load(Relaxed) == 0 && self.is_whole());
        self.readers.fetch_sub(1, Relaxed);
        self.reads.fetch_add(1, Relaxed);
    }

    pub(super) fn change(&self, rng: &mut Rng, since: u64) {
        self.begin(since);
        linger(rng);
        self.end();
    }

    pub(super) fn read(&self, rng: &mut Rng, since: u64) {
        self.begin_read(since);
        linger(rng);
        self.end_read();
    }
}
