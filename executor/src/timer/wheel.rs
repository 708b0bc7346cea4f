//! Where later timers wait: in buckets, so that time-outs, most of which are cancelled, are never put in order.
//!
//! Level 0 has 64 buckets of 2^20 ns (1.05 ms); those of each level above are 64 times as wide; the fifth level reaches 13 days. A
//! timer lies in the level of the highest digit (of 6 bits) in which its hard expiry differs from the wheel's clock, in the bucket of
//! that digit. So all buckets of a level come before those of the next one. Starting appends to a list, cancelling takes out of it.
//!
//! Shortly before a bucket's time begins its timers are moved down: to lower levels, and at last into the ordered tree, from which
//! alone timers fire (`pull.rs`). What comes before the tree's first, or before the clock, goes into the tree at once.

use super::entry::Entry;
use crate::time::{MSEC, Nanos};
use core::ptr;

/// log2 of the width of a bucket of level 0.
const SHIFT: u32 = 20;
/// log2 of the buckets of a level.
const DIGIT: u32 = 6;
const WIDTH: usize = 1 << DIGIT;
const LEVELS: usize = 5;
/// How many buckets there are.
pub(super) const BUCKETS: usize = LEVELS * WIDTH;
/// A bucket is emptied a sixteenth of its width before it begins, but no more than so long.
const MOST_LEAD: Nanos = 2 * MSEC;
/// Of no bucket.
const NEVER: Nanos = Nanos::MAX;

/// The number of a bucket: level and digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bucket(usize);

impl Bucket {
    #[inline(always)]
    fn new(level: u32, digits: u64) -> Bucket {
        Bucket((level as usize).wrapping_mul(WIDTH) | digits as usize & (WIDTH - 1))
    }

    #[inline(always)]
    fn level(self) -> usize {
        self.0 / WIDTH
    }

    /// log2 of the width.
    #[inline(always)]
    fn shift(self) -> u32 {
        SHIFT.wrapping_add(DIGIT.wrapping_mul(self.level() as u32))
    }

    /// How long before its begin it is emptied.
    #[inline(always)]
    fn lead(self) -> Nanos {
        (1u64.wrapping_shl(self.shift()) >> 4).min(MOST_LEAD)
    }
}

/// A bucket, and when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Spot {
    pub(super) bucket: Bucket,
    begins: Nanos,
}

impl Spot {
    /// When it is to be emptied.
    #[inline(always)]
    pub(super) fn empty_at(self) -> Nanos {
        self.begins.wrapping_sub(self.bucket.lead())
    }
}

/// The buckets of one CPU, under its base's lock.
pub(super) struct Wheel {
    /// The first timer of each bucket, null where there is none. The timers of a bucket are a ring, in the order of their starts.
    buckets: [*const Entry; BUCKETS],
    /// Which buckets of a level have timers.
    occupied: [u64; LEVELS],
    /// What digits are compared with. Before the begin of each bucket that has timers, and of the same digits above its own.
    clock: Nanos,
    /// No bucket begins before. A cancelled timer may have left it too early.
    first: Nanos,
    /// The bucket that begins at `first` and is being emptied.
    draining: Option<Bucket>,
}

impl Wheel {
    /// Empty.
    pub(super) const fn new() -> Wheel {
        Wheel { buckets: [ptr::null(); BUCKETS], occupied: [0; LEVELS], clock: 0, first: NEVER, draining: None }
    }

    #[inline(always)]
    fn head(&mut self, bucket: Bucket) -> &mut *const Entry {
        // SAFETY: a `Bucket` has a level that exists: `spot` and `earliest` make them.
        unsafe { self.buckets.get_unchecked_mut(bucket.0) }
    }

    #[inline(always)]
    fn level(&mut self, bucket: Bucket) -> &mut u64 {
        // SAFETY: as above.
        unsafe { self.occupied.get_unchecked_mut(bucket.level()) }
    }

    /// Where a timer of hard expiry `hard` waits, at the time `now`. `None`: in the tree, whose first one is due at `tree_first`.
    #[inline(always)]
    pub(super) fn find(&mut self, hard: Nanos, tree_first: Nanos, now: Nanos) -> Option<Spot> {
        let clock = self.clock.max(now.min(self.first.wrapping_sub(1)));
        self.clock = clock;
        // What is moved down meanwhile lies where it belongs at a later clock, so that nothing may lie there by this one.
        if self.draining.is_some() && hard < self.first {
            return None;
        }
        spot(clock, hard, tree_first)
    }

    /// The same for a timer of the bucket that is being emptied.
    pub(super) fn find_lower(&self, hard: Nanos, tree_first: Nanos) -> Option<Spot> {
        spot(self.first, hard, tree_first)
    }

    /// Appends `entry`; whether its bucket begins before all others.
    ///
    /// # Safety
    /// It is in no bucket or tree, and stays where it is until it is [removed](Wheel::remove). `spot` is what was found for it.
    #[inline(always)]
    pub(super) unsafe fn append(&mut self, entry: &Entry, spot: Spot) -> bool {
        let bucket = spot.bucket;
        let head = self.head(bucket);
        // SAFETY: entries in a ring are alive, and under our lock, as `entry` is by the contract.
        unsafe {
            if head.is_null() {
                *head = entry;
                entry.enter_ring(entry, entry, bucket);
                *self.level(bucket) |= 1u64.wrapping_shl(bucket.0 as u32);
            } else {
                let (first, last) = (&**head, &*(**head).ring().prev);
                entry.enter_ring(first, last, bucket);
                last.ring().next = entry;
                first.ring().prev = entry;
            }
        }
        let earliest = spot.begins < self.first;
        if earliest {
            self.first = spot.begins;
        }
        earliest
    }

    /// Takes `entry` out of its bucket.
    ///
    /// # Safety
    /// It is in this wheel.
    #[inline(always)]
    pub(super) unsafe fn remove(&mut self, entry: &Entry) {
        // SAFETY: by the contract; its neighbours are alive, and under our lock.
        unsafe {
            let ring = *entry.ring();
            let head = self.head(ring.bucket);
            if ptr::eq(ring.next, entry) {
                *head = ptr::null();
                *self.level(ring.bucket) &= !1u64.wrapping_shl(ring.bucket.0 as u32);
            } else {
                if ptr::eq(*head, entry) {
                    *head = ring.next;
                }
                (*ring.prev).ring().next = ring.next;
                (*ring.next).ring().prev = ring.prev;
            }
            entry.leave_ring();
        }
    }

    /// Calls `f` with each timer of the bucket of number `bucket`, until `f` says that it is enough.
    #[cfg(not(loom))]
    pub(super) fn each(&mut self, bucket: usize, f: &mut dyn FnMut(&Entry) -> bool) {
        let first = self.buckets[bucket];
        let mut entry = first;
        while !entry.is_null() {
            // SAFETY: what a bucket names is in it, and alive; its ring is closed.
            let (go_on, next) = unsafe { (f(&*entry), (*entry).ring().next) };
            entry = if go_on && !ptr::eq(next, first) { next } else { ptr::null() };
        }
    }

    /// The earliest bucket that has timers, and when it is to be emptied: at once, if that has begun.
    pub(super) fn earliest(&mut self) -> Option<(Bucket, Nanos)> {
        if let Some(bucket) = self.draining {
            if !self.head(bucket).is_null() {
                return Some((bucket, 0));
            }
            self.draining = None;
            self.clock = self.first;
        }
        let Some(level) = self.occupied.iter().position(|o| *o != 0) else {
            self.first = NEVER;
            return None;
        };
        let digit = u64::from(self.occupied[level].trailing_zeros());
        let bucket = Bucket::new(level as u32, digit);
        // The digits above it are the clock's.
        let digits = self.clock >> bucket.shift() & !(WIDTH as u64 - 1) | digit;
        let spot = Spot { bucket, begins: digits << bucket.shift() };
        self.first = spot.begins;
        Some((bucket, spot.empty_at()))
    }

    /// Takes the first timer out of `bucket`, the earliest one, which is being emptied from now on.
    pub(super) fn pop(&mut self, bucket: Bucket) -> Option<*const Entry> {
        self.draining = Some(bucket);
        let entry = *self.head(bucket);
        // SAFETY: what a bucket names is in it, and alive.
        (!entry.is_null()).then(|| unsafe {
            self.remove(&*entry);
            entry
        })
    }
}

/// See [`Wheel::find`], by the clock `clock`.
#[inline(always)]
fn spot(clock: Nanos, hard: Nanos, tree_first: Nanos) -> Option<Spot> {
    let differs = (hard ^ clock) >> SHIFT;
    if hard < clock || differs == 0 {
        return None;
    }
    let level = differs.ilog2() / DIGIT;
    if level >= LEVELS as u32 {
        return None;
    }
    let digits = hard.wrapping_shr(SHIFT.wrapping_add(DIGIT.wrapping_mul(level)));
    let bucket = Bucket::new(level, digits);
    let spot = Spot { bucket, begins: digits.wrapping_shl(bucket.shift()) };
    (spot.empty_at() >= tree_first).then_some(spot)
}
