//! The fair class for tasks of groups: the operations that the run queue asks for.

use super::levels::*;
use super::shares::reweigh;
use super::throttle::throttle;
use crate::class::entity::{Entity, Place};
use crate::class::params::{Class, Rank, Tunables};
use crate::class::sched_class::SchedClass;
use crate::class::weight::calc_delta_fair;
use crate::class::{Enqueue, PickLimit};
use crate::time::Nanos;
use core::ptr::NonNull;

// Out of line and cold: the way of a task without a group stays as it is.
impl SchedClass for Grouped<'_> {
    #[cold]
    #[inline(never)]
    fn class(&self) -> Class {
        Class::Grouped
    }

    #[cold]
    #[inline(never)]
    fn nr_running(&self) -> u32 {
        self.0.nr_tasks()
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        let root = self.root();
        // SAFETY: passed on; references end with their statements.
        unsafe {
            (*root).clock = now;
            let level = leaf(root, e);
            place_entity(root, level, e, why, now);
            if (*e.as_ptr()).parked {
                (*root).parked.push_back(e);
            }
            let mut at = level;
            while let Some(l) = at {
                let this = l.as_ptr();
                (*this).tasks += 1;
                if (*this).throttled {
                    return;
                }
                if (*this).se.place == Place::Off {
                    (*this).q.take_tunables(&*root);
                    if (*this).is_out_of_time(now) {
                        return throttle(root, l, false);
                    }
                }
                reweigh(l, queue_of(root, (*this).parent), now);
                if (*this).se.place == Place::Off {
                    let se = NonNull::new_unchecked(&raw mut (*this).se);
                    place_entity(root, (*this).parent, se, Enqueue::Wakeup, now);
                }
                at = (*this).parent;
            }
            (*root).grouped += 1;
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
        let root = self.root();
        // SAFETY: passed on; references end with their statements.
        unsafe {
            let level = leaf(root, e);
            take_entity(root, level, e);
            if (*e.as_ptr()).parked {
                (*root).parked.remove(e);
            }
            let mut at = level;
            while let Some(l) = at {
                let this = l.as_ptr();
                (*this).tasks -= 1;
                if (*this).throttled {
                    // Nobody brings it up to date when it is let go of without tasks.
                    return (*this).update_avg((*root).clock);
                }
                reweigh(l, queue_of(root, (*this).parent), (*root).clock);
                if (*this).q.nr == 0 && (*this).se.place == Place::Queued {
                    take_entity(root, (*this).parent, NonNull::new_unchecked(&raw mut (*this).se));
                    (*this).give_back((*root).clock);
                }
                at = (*this).parent;
            }
            (*root).grouped -= 1;
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        let root = self.root();
        // SAFETY: passed on; references end with their statements.
        unsafe {
            let level = leaf(root, e);
            (*queue_of(root, level)).dequeue_current(e);
            let mut at = level;
            while let Some(l) = at {
                let this = l.as_ptr();
                (*this).tasks -= 1;
                if (*this).se.place != Place::Current {
                    // It had become current in a group that is held back.
                    return (*this).update_avg((*root).clock);
                }
                reweigh(l, queue_of(root, (*this).parent), (*root).clock);
                let se = NonNull::new_unchecked(&raw mut (*this).se);
                if (*this).q.nr == 0 {
                    (*queue_of(root, (*this).parent)).dequeue_current(se);
                    note_place(root, (*this).parent, se, Place::Off);
                    (*this).give_back((*root).clock);
                } else {
                    put_back(root, (*this).parent, se);
                }
                at = (*this).parent;
            }
            (*root).grouped -= 1;
            check_time(root, level);
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
        let root = self.root();
        // SAFETY: passed on; references end with their statements.
        unsafe {
            let level = leaf(root, e);
            if (*e.as_ptr()).parked {
                (*root).parked.push_back(e);
            }
            for (at, level) in up(e, level) {
                if at != e && (*at.as_ptr()).place != Place::Current {
                    break;
                }
                if gives_way {
                    (*queue_of(root, level)).set_skip(at);
                }
                put_back(root, level, at);
            }
            check_time(root, level);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, stays: bool) {
        let root = self.root();
        let delta = now.wrapping_sub(start);
        // SAFETY: passed on; references end with their statements.
        unsafe {
            (*root).clock = now;
            if (*e.as_ptr()).avg.are_due(now) {
                (*root).average(e, now, !stays);
            }
            for (at, level) in up(e, leaf(root, e)) {
                let this = at.as_ptr();
                if at != e {
                    if (*this).place != Place::Current {
                        break;
                    }
                    (*this).exec_start = now;
                    (*this).sum_exec = (*this).sum_exec.wrapping_add(delta);
                }
                (*this).vruntime = (*this).vruntime.wrapping_add(calc_delta_fair(delta, (*this).load));
                (*queue_of(root, level)).update_min_vruntime();
                if let Some(l) = level {
                    let l = l.as_ptr();
                    if (*l).is_limited() {
                        (*l).remaining = (*l).remaining.saturating_sub_unsigned(delta);
                        let _ = (*l).is_out_of_time(now);
                    }
                }
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn check_preempt_curr(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { self.check_preempt(curr, e) }
    }

    #[cold]
    #[inline(never)]
    unsafe fn task_tick(&mut self, curr: NonNull<Entity>) -> bool {
        let root = self.root();
        let mut due = false;
        // SAFETY: passed on; references end with their statements.
        unsafe {
            for (at, level) in up(curr, leaf(root, curr)) {
                let q = queue_of(root, level);
                if let Some(l) = level {
                    let l = l.as_ptr();
                    due |= (*l).throttled || (*l).is_limited() && (*l).remaining <= 0;
                    reweigh(NonNull::new_unchecked(l), queue_of(root, (*l).parent), (*root).clock);
                }
                if (*at.as_ptr()).place == Place::Current && (*q).time_left_of(at, || slice(root, at, level)) == Some(0) {
                    (*q).end_slice(at);
                    due = true;
                }
            }
        }
        due
    }

    #[cold]
    #[inline(never)]
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        let root = self.root();
        let mut left: Option<Nanos> = None;
        // SAFETY: passed on; references end with their statements.
        unsafe {
            for (at, level) in up(curr, leaf(root, curr)) {
                if (*at.as_ptr()).place != Place::Current {
                    break;
                }
                let q = queue_of(root, level);
                let mut earlier = |n: Nanos| left = Some(left.map_or(n, |l| l.min(n)));
                if let Some(n) = (*q).time_left_of(at, || slice(root, at, level)) {
                    earlier(if n == 0 { 0 } else { n.max(LEAST) });
                }
                if let Some(l) = level
                    && (*l.as_ptr()).is_limited()
                {
                    earlier((*l.as_ptr()).remaining.max(0) as Nanos);
                }
            }
            left.map(|left| (*root).terms.end((*curr.as_ptr()).exec_start.saturating_add(left)))
        }
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
            if current {
                self.dequeue_current(e)
            } else {
                self.dequeue_task(e)
            };
            if for_good {
                self.disown(e);
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, _: bool) {
        let root = self.root();
        // SAFETY: passed on; references end with their statements.
        unsafe {
            let now = (*e.as_ptr()).exec_start.max((*root).clock);
            self.enqueue_task(e, Enqueue::Migrated, now);
            if !current {
                return;
            }
            for (at, level) in up(e, leaf(root, e)) {
                if at != e && (*at.as_ptr()).place != Place::Queued {
                    break;
                }
                let q = queue_of(root, level);
                (*q).tree.remove(at);
                (*q).curr = Some(at);
                (*at.as_ptr()).exec_start = (*e.as_ptr()).exec_start;
                note_place(root, level, at, Place::Current);
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn disown(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe { self.0.disown(e) }
    }

    #[cold]
    #[inline(never)]
    fn tune(&mut self, t: &Tunables, now: Nanos) {
        self.0.tune(t, now);
    }
}
