//! The fair class for tasks that are watched: they are counted when they come and go, and are otherwise served as tasks of a group, or of
//! none.

use super::PsiRq;
use crate::class::entity::Entity;
use crate::class::fair::FairRq;
use crate::class::fair::group::levels::Grouped;
use crate::class::params::{Class, Rank};
use crate::class::sched_class::SchedClass;
use crate::class::{Enqueue, PickLimit};
use crate::time::Nanos;
use core::ptr::NonNull;

/// The fair class's queue of a CPU, and what is counted there.
pub(in crate::class) struct Watched<'q>(pub(in crate::class) &'q mut FairRq, pub(in crate::class) &'q PsiRq);

/// `as_served!(watched, e, c => expression)`: the expression with `c` as the class that would serve `e` if it were not watched.
macro_rules! as_served {
    ($this:expr, $e:expr, $c:ident => $body:expr) => {
        if (*$e.as_ptr()).group.is_some() {
            let $c = &mut Grouped($this.0);
            $body
        } else {
            let $c = &mut *$this.0;
            $body
        }
    };
}

impl Watched<'_> {
    /// # Safety
    /// `e` is valid; under the run queue's lock.
    unsafe fn count(&self, e: NonNull<Entity>, comes: bool) {
        // SAFETY: by the contract; a set lives as long as somebody is in it.
        unsafe { self.1.count(self.0.cpu as usize, (*e.as_ptr()).psi, comes) };
    }
}

// Out of line and cold, as for groups.
impl SchedClass for Watched<'_> {
    #[cold]
    #[inline(never)]
    fn class(&self) -> Class {
        Class::Watched
    }

    #[cold]
    #[inline(never)]
    fn nr_running(&self) -> u32 {
        self.0.nr_tasks()
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: passed on.
        unsafe {
            as_served!(self, e, c => c.enqueue_task(e, why, now));
            self.count(e, true);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_current(&mut self, _: NonNull<Entity>, _: Enqueue, _: Nanos) -> Option<Option<Nanos>> {
        None
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            as_served!(self, e, c => c.dequeue_task(e));
            self.count(e, false);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            as_served!(self, e, c => c.dequeue_current(e));
            self.count(e, false);
        }
    }

    #[cold]
    #[inline(never)]
    fn pick_next_task(&mut self, limit: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        self.0.pick_next_task(limit, now)
    }

    #[cold]
    #[inline(never)]
    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool) {
        // SAFETY: passed on.
        unsafe { as_served!(self, e, c => c.put_prev_task(e, gives_way)) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, stays: bool) {
        // SAFETY: passed on.
        unsafe { as_served!(self, e, c => c.update_curr(e, start, now, stays)) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn check_preempt_curr(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { self.0.check_preempt_any(curr, e) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn task_tick(&mut self, curr: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { as_served!(self, curr, c => c.task_tick(curr)) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: passed on.
        unsafe { as_served!(self, curr, c => c.next_event(curr)) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn roll_for(&mut self, e: NonNull<Entity>, now: Nanos) {
        // SAFETY: passed on.
        unsafe { as_served!(self, e, c => c.roll(now)) }
    }

    #[cold]
    #[inline(never)]
    fn best_rank(&self) -> Option<Rank> {
        self.0.best_rank()
    }

    #[cold]
    #[inline(never)]
    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool, for_good: bool) {
        // SAFETY: passed on.
        unsafe {
            as_served!(self, e, c => c.leave(e, current, for_good));
            self.count(e, false);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, head: bool) {
        // SAFETY: passed on.
        unsafe {
            as_served!(self, e, c => c.join(e, current, head));
            self.count(e, true);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn disown(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe { self.0.disown(e) }
    }
}
