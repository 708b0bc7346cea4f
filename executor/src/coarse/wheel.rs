//! The wheel: where timers wait that may be late.
//!
//! Level 0 has 64 buckets of one tick; those of each level above are 8 times as wide. A timer lies in the lowest level that reaches it,
//! in the bucket behind the one in which its time lies, and fires when that begins: it is late by at most the bucket's width (a tick
//! up to 63 ticks ahead, 8 up to 504, ...), early never, and it is never moved. Most timers are cancelled: to start and to cancel one is
//! a few stores.

use super::Jiffies;
use crate::ring::Link;
use core::cell::Cell;

/// log2 of the buckets of a level, and how many that are.
const DIGIT: u32 = 6;
const WIDTH: u64 = 1 << DIGIT;
/// log2 of how much wider the buckets of the next level are.
const STEP: u32 = 3;
const LEVELS: usize = 9;
const BUCKETS: usize = LEVELS * WIDTH as usize;
/// No time.
pub(super) const NEVER: Jiffies = Jiffies::MAX;

/// What a timer hangs by; under the lock of its base.
#[repr(C)]
pub(super) struct Node {
    link: Link,
    /// Where it was put.
    bucket: Cell<u16>,
}

impl Node {
    pub(super) const fn new() -> Node {
        Node { link: Link::new(), bucket: Cell::new(0) }
    }
}

/// The timers of one base, under its lock. In a static: heads are part of their rings.
pub(super) struct Wheel {
    /// The first tick whose buckets have not been emptied.
    clock: Jiffies,
    /// No bucket begins before; [`NEVER`] when there is none. A timer that was cancelled may have left it too early.
    next: Jiffies,
    /// Which buckets of a level have timers.
    occupied: [u64; LEVELS],
    buckets: [Link; BUCKETS],
    /// Those whose time has come.
    due: Link,
}

impl Wheel {
    pub(super) const fn new() -> Wheel {
        Wheel { clock: 0, next: NEVER, occupied: [0; LEVELS], buckets: [const { Link::new() }; BUCKETS], due: Link::new() }
    }

    /// When the first bucket begins.
    pub(super) fn next(&self) -> Jiffies {
        self.next
    }

    /// Puts `node` in, to fire after `expires`, as seen at `now`; when it will.
    ///
    /// # Safety
    /// It is in no wheel, and stays where it is until it is taken out.
    pub(super) unsafe fn insert(&mut self, node: &Node, expires: Jiffies, now: Jiffies) -> Jiffies {
        // Nothing is due before `next`: the buckets until then are free for later rounds.
        self.clock = self.clock.max(now.min(self.next));
        let (level, number) = place(self.clock, expires);
        let digit = number & (WIDTH - 1);
        let bucket = level * WIDTH as usize + digit as usize;
        node.bucket.set(bucket as u16);
        self.occupied[level] |= 1 << digit;
        // SAFETY: by the contract.
        unsafe { self.buckets[bucket].append(&node.link) };
        let fires = number << (STEP * level as u32);
        self.next = self.next.min(fires);
        fires
    }

    /// Takes `node` out.
    ///
    /// # Safety
    /// It is in here.
    pub(super) unsafe fn remove(&mut self, node: &Node) {
        // SAFETY: by the contract.
        unsafe { node.link.remove() };
        let bucket = usize::from(node.bucket.get());
        // It may have been among those that are due, and another round's be in its bucket.
        if self.buckets[bucket].is_alone() {
            self.occupied[bucket / WIDTH as usize] &= !(1 << (bucket as u64 & (WIDTH - 1)));
        }
        if self.occupied == [0; LEVELS] && self.due.is_alone() {
            self.next = NEVER;
        }
    }

    /// Empties the buckets that begin first, if that is at `now` or before, for [`pop_due`](Self::pop_due). Whether one may have begun.
    pub(super) fn collect(&mut self, now: Jiffies) -> bool {
        let begins = self.next;
        if begins > now {
            return false;
        }
        // Who was started with the longest span first.
        for level in (0..LEVELS).rev() {
            let shift = STEP * level as u32;
            let digit = begins >> shift & (WIDTH - 1);
            if begins & ((1 << shift) - 1) == 0 && self.occupied[level] >> digit & 1 != 0 {
                self.occupied[level] &= !(1 << digit);
                // SAFETY: both are heads.
                unsafe { self.due.append_all(&self.buckets[level * WIDTH as usize + digit as usize]) };
            }
        }
        self.clock = begins + 1;
        true
    }

    /// Takes out the first one of those that are due.
    pub(super) fn pop_due(&mut self) -> Option<*const Node> {
        let first = self.due.first()?;
        // SAFETY: it is in the ring, and the link is the first field of its node.
        unsafe { (*first).remove() };
        Some(first.cast())
    }

    /// Takes out any one; not those that are due.
    pub(super) fn pop_any(&mut self) -> Option<*const Node> {
        let level = self.occupied.iter().position(|o| *o != 0)?;
        let bucket = level * WIDTH as usize + self.occupied[level].trailing_zeros() as usize;
        let node: *const Node = self.buckets[bucket].first()?.cast();
        // SAFETY: the bucket has timers; the link is the first field of its node.
        unsafe { self.remove(&*node) };
        Some(node)
    }

    /// Looks when the first bucket begins, when those that were due are gone.
    pub(super) fn look(&mut self) {
        let (mut next, mut clock) = (NEVER, self.clock);
        for (level, occupied) in self.occupied.iter().enumerate() {
            if *occupied != 0 {
                let ahead = occupied.rotate_right((clock & (WIDTH - 1)) as u32).trailing_zeros();
                next = next.min((clock + u64::from(ahead)) << (STEP * level as u32));
            }
            // The bucket in which the clock is has begun.
            clock = clock.div_ceil(1 << STEP);
        }
        self.next = next;
    }
}

/// The level and the number of the bucket of a timer, by the clock `clock`.
fn place(clock: Jiffies, expires: Jiffies) -> (usize, u64) {
    if expires < clock {
        return (0, clock);
    }
    // Farther than the last level reaches is at its end.
    let farthest = ((WIDTH - 1) << (STEP * (LEVELS as u32 - 1))) - 1;
    let ahead = (expires - clock).min(farthest);
    let level = (0..LEVELS).find(|level| ahead < (WIDTH - 1) << (STEP * *level as u32)).unwrap_or(LEVELS - 1);
    (level, ((clock + ahead) >> (STEP * level as u32)) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;
    use std::boxed::Box;
    use std::vec::Vec;

    /// What `place` may make a timer late by.
    fn width(ahead: u64) -> u64 {
        (0..LEVELS as u32).map(|l| (63u64 << (3 * l), 1 << (3 * l))).find(|(reach, _)| ahead < *reach).unwrap().1
    }

    #[test]
    fn each_fires_after_its_time_and_within_its_level_s_width() {
        let mut random = 12345u64;
        let mut wheel = Box::new(Wheel::new());
        let mut now = (1u64 << 32) - 75_000;
        let mut waiting: Vec<(Box<Node>, u64, u64)> = Vec::new();
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 60 < 9 {
                let ahead = (random >> 20 & 0xff_ffff) >> (random >> 50 & 0x1f).min(23);
                let node = Box::new(Node::new());
                // SAFETY: the node lives in the box until it is popped.
                unsafe { wheel.insert(&node, now + ahead, now) };
                waiting.push((node, now + ahead, now + ahead + width(ahead) + 1));
            } else if random >> 60 < 11 && !waiting.is_empty() {
                let (node, ..) = waiting.swap_remove(random as usize % waiting.len());
                // SAFETY: it waits in the wheel.
                unsafe { wheel.remove(&node) };
            } else {
                now += 1 << (random >> 40 & 7);
                while wheel.collect(now) {
                    let at = wheel.clock - 1;
                    while let Some(node) = wheel.pop_due() {
                        let i = waiting.iter().position(|(n, ..)| ptr::eq(&**n, node)).unwrap();
                        let (_, expires, latest) = waiting.swap_remove(i);
                        assert!(at > expires && at <= latest, "{at}: {expires} to {latest}");
                    }
                    wheel.look();
                }
                assert!(waiting.iter().all(|(_, _, latest)| *latest >= now));
            }
        }
        while wheel.pop_any().is_some() {}
        assert_eq!(wheel.next(), NEVER);
    }
}
