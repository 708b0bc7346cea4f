//! Who of the fair class runs: the pick with its buddies, and wake-up preemption.

use super::super::entity::Entity;
use super::super::features::Features;
use super::super::params::Policy;
use super::super::tree::before;
use super::super::weight::calc_delta_fair;
use super::FairRq;
use super::group::levels::{Grouped, is_held, leaf};
use core::ptr::NonNull;

impl FairRq {
    /// `e` yields: it is passed over at the next pick if that is not too unfair (Linux: `yield_task_fair`).
    pub(in crate::class) fn set_skip(&mut self, e: NonNull<Entity>) {
        if self.nr > 1 {
            self.clear_buddies(e);
            self.skip = Some(e);
            self.has_buddies = true;
        }
    }

    #[inline(always)]
    pub(in crate::class) fn clear_buddies(&mut self, e: NonNull<Entity>) {
        if self.has_buddies {
            self.forget_buddy(e);
        }
    }

    /// The current entity `e` has used up its slice: no buddy may bring it back, and who yielded has been passed over
    /// long enough (else the pick would bring `e` back, and its slice would be over at once, for ever).
    pub(in crate::class) fn end_slice(&mut self, e: NonNull<Entity>) {
        self.skip = None;
        self.forget_buddy(e);
    }

    fn forget_buddy(&mut self, e: NonNull<Entity>) {
        let e = Some(e);
        if self.next == e {
            self.next = None;
        }
        if self.last == e {
            self.last = None;
        }
        if self.skip == e {
            self.skip = None;
        }
        self.has_buddies = self.next.is_some() || self.last.is_some() || self.skip.is_some();
    }

    /// By how much `e` must be behind to be worth a preemption, in its virtual time.
    #[inline]
    fn wakeup_gran(&self, e: &Entity) -> u64 {
        calc_delta_fair(self.terms.wakeup_granularity, e.load)
    }

    /// Linux's `wakeup_preempt_entity`: 1 if `e` should run rather than `curr`, 0 if `curr` is ahead but by less than
    /// a granularity, -1 if it is not ahead.
    pub(super) fn preempt_entity(&self, curr: &Entity, e: &Entity) -> i32 {
        let ahead = curr.vruntime.wrapping_sub(e.vruntime) as i64;
        if ahead <= 0 {
            -1
        } else if ahead as u64 > self.wakeup_gran(e) {
            1
        } else {
            0
        }
    }

    /// Takes the entity that is to run out of the tree and makes it current.
    #[inline]
    pub(in crate::class) fn pick(&mut self) -> Option<NonNull<Entity>> {
        let e = self.take_next()?;
        // SAFETY: it was queued, hence valid, and on the list if it is parked.
        unsafe {
            if (*e.as_ptr()).parked {
                self.parked.remove(e);
            }
        }
        Some(e)
    }

    /// The same without the list of parked polls.
    #[inline]
    pub(super) fn take_next(&mut self) -> Option<NonNull<Entity>> {
        if self.has_buddies {
            match self.tree.first() {
                // The usual buddy: who has just preempted by waking, and is leftmost anyway.
                Some(left) if self.next == Some(left) => self.forget_buddy(left),
                _ => return self.pick_buddy(),
            }
        }
        let e = self.tree.pop_first()?;
        self.curr = Some(e);
        Some(e)
    }

    /// Linux's `pick_next_entity`, with the current entity already in the tree.
    #[inline(never)]
    fn pick_buddy(&mut self) -> Option<NonNull<Entity>> {
        let left = self.tree.first()?;
        // SAFETY: buddies are queued, as all in the tree: valid, and only read until one is removed.
        unsafe {
            let fair = |e: NonNull<Entity>| self.preempt_entity(e.as_ref(), left.as_ref()) < 1;
            let mut e = left;
            if self.skip == Some(left)
                && let Some(second) = self.tree.next(left)
                && fair(second)
            {
                e = second;
            }
            if let Some(next) = self.next
                && fair(next)
            {
                e = next;
            } else if let Some(last) = self.last
                && fair(last)
            {
                e = last;
            }
            self.forget_buddy(e);
            self.tree.remove(e);
            self.curr = Some(e);
            Some(e)
        }
    }

    /// As [`FairRq::pick`], of those whose poll is parked, and of groups that are not held back; linear in their number, which the stacks
    /// limit.
    #[cold]
    pub(in crate::class) fn pick_parked(&mut self) -> Option<NonNull<Entity>> {
        let root: *mut FairRq = self;
        // SAFETY: they are queued, hence valid, and only read; the one that is picked is in the tree.
        unsafe {
            let held = |e: &Entity| e.group.is_some() && is_held(leaf(root, NonNull::from(e)));
            // Between groups vruntimes mean nothing, but here one is as good as the other.
            let e = (*root).parked.min_by(|a, b| match (held(a), held(b)) {
                (false, true) => true,
                (true, false) => false,
                _ => before(a.vruntime, b.vruntime),
            })?;
            if (*e.as_ptr()).group.is_some() {
                return Grouped(self).pick_this(e).then_some(e);
            }
            self.clear_buddies(e);
            self.remove(e);
            self.curr = Some(e);
            Some(e)
        }
    }

    /// Whether the queued `e` should run rather than the current `curr`, which is charged
    /// (Linux: `check_preempt_wakeup`). Marks buddies.
    ///
    /// # Safety
    /// Both are on this queue.
    pub(in crate::class) unsafe fn check_preempt(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract, and only read.
        let (c, w) = unsafe { (curr.as_ref(), e.as_ref()) };
        let wins = if c.is_idle_policy() && !w.is_idle_policy() {
            true
        } else {
            // Batch and idle wake-ups preempt nobody.
            w.params.policy == Policy::Normal && !self.wakes_wait(e) && self.preempt_entity(c, w) == 1
        };
        if wins {
            self.has_buddies = true;
            if !w.is_idle_policy() {
                self.next = Some(e);
            }
            // With many entities, who was preempted comes back before its cache is cold.
            if self.nr >= self.terms.nr_latency && !c.is_idle_policy() && self.keeps_last() {
                self.last = Some(curr);
            }
        }
        wins
    }

    /// Whether wakes preempt nobody, by the features. Marks `e`, who was woken, if they say so.
    #[inline(always)]
    pub(super) fn wakes_wait(&mut self, e: NonNull<Entity>) -> bool {
        self.terms.unusual && self.wakes_wait_by_features(e)
    }

    #[cold]
    #[inline(never)]
    fn wakes_wait_by_features(&mut self, e: NonNull<Entity>) -> bool {
        let features = self.terms.features;
        if features.has(Features::NEXT_BUDDY) && self.nr >= self.terms.nr_latency {
            self.next = Some(e);
            self.has_buddies = true;
        }
        !features.has(Features::WAKEUP_PREEMPTION)
    }

    /// Whether who is preempted is marked.
    #[inline(always)]
    pub(super) fn keeps_last(&self) -> bool {
        !self.terms.unusual || self.terms.features.has(Features::LAST_BUDDY)
    }
}
