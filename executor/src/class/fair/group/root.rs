//! What the CPU's queue does about groups besides serving their tasks.

use super::TaskGroup;
use super::levels::{Grouped, Level, leaf, queue_of, slice};
use super::shares::reweigh;
use super::throttle::{self, next_fill};
use crate::class::entity::Entity;
use crate::class::fair::FairRq;
use crate::time::Nanos;
use core::ptr::NonNull;

impl FairRq {
    /// The first task that waits and is `wanted`, in groups and out of them; groups in the order in which they would run, the one
    /// that runs first.
    #[cold]
    pub(in crate::class) fn find_in_groups(&self, wanted: &mut impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        // SAFETY: what is queued is valid, under this queue's lock; groups are entered and left by their own pointers.
        unsafe {
            let queue = |level: Level| level.map_or(self, |l| &(*l.as_ptr()).q);
            let owns = |e: NonNull<Entity>| (*e.as_ptr()).owns;
            let first = |q: &FairRq| q.curr.filter(|c| owns(*c).is_some()).or(q.tree.first());
            let next = |q: &FairRq, e| if q.curr == Some(e) { q.tree.first() } else { q.tree.next(e) };
            let (mut level, mut at): (Level, _) = (None, first(self));
            loop {
                match at {
                    Some(e) => match owns(e) {
                        Some(below) => {
                            level = Some(below);
                            at = first(queue(level));
                        }
                        None if wanted(e) => return Some(e),
                        None => at = next(queue(level), e),
                    },
                    None => {
                        let left = level?.as_ptr();
                        level = (*left).parent;
                        at = next(queue(level), NonNull::new_unchecked(&raw mut (*left).se));
                    }
                }
            }
        }
    }

    /// [`FairRq::check_preempt`] for tasks in groups or out of them.
    ///
    /// # Safety
    /// As there.
    #[cold]
    pub(in crate::class) unsafe fn check_preempt_any(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on; both are valid.
        unsafe {
            if (*curr.as_ptr()).group.is_none() && (*e.as_ptr()).group.is_none() {
                self.check_preempt(curr, e)
            } else {
                Grouped(self).check_preempt(curr, e)
            }
        }
    }

    /// Whether a group is held back that somebody waits in.
    pub(in crate::class) fn holds_somebody_back(&self) -> bool {
        // SAFETY: what is in the list lives as long as it is in it; under this queue's lock.
        core::iter::successors(self.throttled, |l| unsafe { (*l.as_ptr()).next_throttled }).any(|l| unsafe { (*l.as_ptr()).tasks != 0 })
    }

    /// The share of the period that the task `e` may run at a stretch, in a group or not.
    pub(in crate::class) fn slice_of(&self, e: &Entity) -> Nanos {
        if e.group.is_none() {
            return self.slice(e);
        }
        let root = core::ptr::from_ref(self).cast_mut();
        // SAFETY: under this queue's lock; the levels are only read.
        unsafe { slice(root, NonNull::from(e), leaf(root, NonNull::from(e))) }
    }

    /// The time has come to let go of groups that were held back.
    #[cold]
    pub(in crate::class) fn roll_groups(&mut self, now: Nanos) {
        self.clock = now;
        // SAFETY: under this queue's lock, with nothing else borrowed.
        unsafe { throttle::unthrottle_due(core::ptr::from_mut(self)) };
    }

    /// Lets go of all groups that are held back: this CPU goes, and their tasks with their limits elsewhere (Linux:
    /// unthrottle_offline_cfs_rqs).
    #[cold]
    pub(in crate::class) fn release_groups(&mut self, now: Nanos) {
        self.clock = now;
        // SAFETY: under this queue's lock, with nothing else borrowed.
        unsafe { throttle::unthrottle_all(core::ptr::from_mut(self)) };
    }

    /// When that is.
    #[cold]
    pub(in crate::class) fn groups_fill(&self) -> Option<Nanos> {
        next_fill(self)
    }

    /// `group`, in which nobody is, ends.
    pub(in crate::class) fn forget_group(&mut self, group: &TaskGroup) {
        let gone = group.on(self.cpu as usize);
        let mut list = self.throttled.take();
        while let Some(level) = list {
            // SAFETY: what is in the list lives as long as it is in it; under this queue's lock.
            unsafe {
                list = (*level.as_ptr()).next_throttled.take();
                if Some(level) != gone {
                    (*level.as_ptr()).next_throttled = self.throttled.replace(level);
                }
            }
        }
    }

    /// The weight or the limit of `group` was changed: its part here follows. What was held back is let go, to be held back again
    /// if there is still no time.
    pub(in crate::class) fn change_group(&mut self, group: &TaskGroup, limit: bool, now: Nanos) {
        self.clock = now;
        let Some(level) = group.on(self.cpu as usize) else { return };
        let root = core::ptr::from_mut(self);
        // SAFETY: its part on this CPU, under this queue's lock.
        unsafe {
            reweigh(level, queue_of(root, (*level.as_ptr()).parent), now);
            if limit {
                (*level.as_ptr()).remaining = 0;
                throttle::unthrottle_due(root);
            }
        }
    }
}
