//! What most of a busy CPU's time between polls is made of: a fair task sleeps, the next one runs, others have come. The run queue's
//! operations for that, without what the other classes, groups, buddies and parked polls would ask for.
//!
//! Nothing is decided differently here: each is what the general operation comes to while the queue [is plain](RunQueue::is_plain).

use super::entity::{Entity, Place};
use super::fair::{FairRq, vruntime};
use super::params::Class;
use super::sched_class::SchedClass;
use super::{Enqueue, RunQueue};
use crate::time::Nanos;
use core::ptr::NonNull;

impl RunQueue {
    /// Whether nobody is runnable but fair tasks outside of groups, in the order of their timeline's run, and no class is throttled.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.above | self.rt.nr_running() == 0 && self.fair.oddities() | self.parked_for_current.map_or(0, |e| e.as_ptr().addr()) == 0
    }

    /// Whether `e`, which is current, is a fair task, and the queue is plain.
    ///
    /// # Safety
    /// `e` is current here.
    #[inline(always)]
    pub(crate) unsafe fn is_plainly_current(&mut self, e: NonNull<Entity>) -> bool {
        debug_assert!(self.curr == Some(e) && (!self.plain || self.is_plain()));
        // SAFETY: the current entity is on the queue, hence valid.
        if unsafe { (*e.as_ptr()).class } != Class::Fair {
            return false;
        }
        if !self.plain {
            self.plain = self.is_plain();
        }
        self.plain
    }

    /// `put_prev(PutPrev::Sleep)` of the current entity `e` of a plain queue.
    ///
    /// # Safety
    /// [`RunQueue::is_plainly_current`] has just said so of `e`. No reference to `e` is held across the call.
    #[inline(always)]
    pub(crate) unsafe fn sleep_plainly(&mut self, e: NonNull<Entity>, now: Nanos) {
        self.curr = None;
        // SAFETY: by the contract.
        unsafe {
            let this = e.as_ptr();
            let start = (*this).exec_start;
            // Clocks of two CPUs may differ by a little: time never runs backwards here.
            if now > start {
                (*this).exec_start = now;
                (*this).sum_exec = (*this).sum_exec.wrapping_add(now.wrapping_sub(start));
                self.fair.update_curr(e, start, now, false);
            }
            (*this).stats.nvcsw = (*this).stats.nvcsw.wrapping_add(1);
            (*this).place = Place::Off;
            self.fair.leave_plainly(e);
        }
    }

    /// `pick(PickLimit::Any)` from a plain queue on which nothing is current, where nothing was requeued, with what `next_event`
    /// answers then.
    #[inline(always)]
    pub(crate) fn pick_plainly(&mut self, now: Nanos) -> Option<(NonNull<Entity>, Option<Nanos>)> {
        debug_assert!(self.requeued.is_none());
        let e = self.fair.pop_plainly()?;
        // SAFETY: it was queued, hence valid.
        unsafe {
            let this = e.as_ptr();
            self.run_delay = self.run_delay.wrapping_add((*this).stats.waited_until(now));
            (*this).begin_stay(now);
            self.note_switch(e);
            Some((e, self.fair.event_plainly(e, now)))
        }
    }

    /// `enqueue(Enqueue::Wakeup)` of a fair task outside of groups while nothing is current; `false`, and nothing done, of another.
    ///
    /// # Safety
    /// As [`RunQueue::enqueue`].
    #[inline(always)]
    pub(crate) unsafe fn enqueue_plainly(&mut self, e: NonNull<Entity>, now: Nanos) -> bool {
        debug_assert!(self.curr.is_none());
        // SAFETY: passed on.
        unsafe {
            let this = e.as_ptr();
            if (*this).class != Class::Fair {
                return false;
            }
            debug_assert!((*this).place == Place::Off, "enqueued twice");
            (*this).stats.last_queued = now;
            (*this).place = Place::Queued;
            self.fair.enqueue_plainly(e, now);
        }
        true
    }
}

impl FairRq {
    /// `dequeue_current` from a plain queue.
    ///
    /// # Safety
    /// `e` is current here, and charged.
    #[inline(always)]
    unsafe fn leave_plainly(&mut self, e: NonNull<Entity>) {
        self.curr = None;
        // SAFETY: passed on; the first is queued, hence valid, too.
        unsafe {
            self.account_dequeue(e);
            self.advance_to(vruntime(self.tree.first_of_run().unwrap_or(e)));
        }
    }

    /// Takes the first out of the timeline, which has a run only, and makes it current.
    #[inline(always)]
    fn pop_plainly(&mut self) -> Option<NonNull<Entity>> {
        let e = self.tree.pop_run()?;
        self.curr = Some(e);
        Some(e)
    }

    /// `next_event` of `e`, whose stay has just begun.
    ///
    /// # Safety
    /// `e` is current here.
    #[inline(always)]
    unsafe fn event_plainly(&mut self, e: NonNull<Entity>, now: Nanos) -> Option<Nanos> {
        self.tree.first_of_run()?;
        if let Some(event) = self.event_ahead(now) {
            return Some(event);
        }
        // SAFETY: passed on.
        unsafe { self.next_event(e) }
    }

    /// `enqueue_task(Enqueue::Wakeup)` while nothing is current. Who is woken has no parked poll.
    ///
    /// # Safety
    /// As [`SchedClass::enqueue_task`].
    #[inline(always)]
    unsafe fn enqueue_plainly(&mut self, e: NonNull<Entity>, now: Nanos) {
        // SAFETY: passed on.
        unsafe {
            debug_assert!(!(*e.as_ptr()).parked);
            self.adopt(e);
            self.place(e, Enqueue::Wakeup, now);
            self.account_enqueue(e);
            self.tree.insert(e);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::class::{Params, PickLimit, PutPrev};
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::vec::Vec;

    /// A queue and its tasks, driven by the general operations or by those of this file.
    struct Side {
        rq: Box<RunQueue>,
        tasks: Vec<NonNull<Entity>>,
        plainly: bool,
    }

    impl Side {
        fn new(nices: &[i8], plainly: bool) -> Side {
            let tasks = nices.iter().map(|n| NonNull::from(Box::leak(Box::new(Entity::new(Params::normal(*n)))))).collect();
            Side { rq: Box::new(RunQueue::new()), tasks, plainly }
        }

        /// Those of `woken` that sleep come, in this order, while nothing is current; then one is picked. Who, and the next event.
        fn turn(&mut self, woken: &[usize], now: Nanos) -> (Option<usize>, Option<Nanos>) {
            // SAFETY: the tasks live as long as this, and nobody else looks at them.
            unsafe {
                match self.rq.current() {
                    Some(e) if self.plainly && self.rq.is_plainly_current(e) => self.rq.sleep_plainly(e, now),
                    _ => self.rq.put_prev(PutPrev::Sleep, now),
                }
                if !woken.is_empty() {
                    self.rq.begin();
                }
                for e in woken.iter().filter_map(|i| self.tasks.get(*i)) {
                    if !e.as_ref().on_rq() && !(self.plainly && self.rq.enqueue_plainly(*e, now)) {
                        self.rq.enqueue(*e, Enqueue::Wakeup, now);
                    }
                }
                let (next, event) = match self.plainly && self.rq.is_plain() {
                    true => self.rq.pick_plainly(now).map_or((None, None), |(e, event)| (Some(e), event)),
                    false => (self.rq.pick(PickLimit::Any, now), self.rq.next_event(now)),
                };
                (next.and_then(|e| self.tasks.iter().position(|t| *t == e)), event)
            }
        }

        /// All that the classes know of each task, and of the queue.
        fn books(&self) -> (Vec<(u64, Nanos, Nanos, bool)>, u64, usize, u64, Nanos, u64) {
            // SAFETY: as above.
            let of = |e: &NonNull<Entity>| unsafe {
                let e = e.as_ref();
                (e.vruntime(), e.sum_exec_runtime(), e.stats().run_delay, e.on_rq())
            };
            let rq = &self.rq;
            (self.tasks.iter().map(of).collect(), rq.min_vruntime(), rq.nr_running(), rq.nr_switches(), rq.run_delay(), rq.load())
        }
    }

    impl Drop for Side {
        fn drop(&mut self) {
            for e in self.tasks.drain(..) {
                // SAFETY: leaked above; the queue is not used any more.
                drop(unsafe { Box::from_raw(e.as_ptr()) });
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_short_operations_decide_as_the_general_ones(
            nices in prop::collection::vec(-20i8..20, 1..8),
            turns in prop::collection::vec((0u64..3_000_000, prop::collection::vec(0usize..8, 0..6)), 1..120),
        ) {
            let mut sides = [Side::new(&nices, false), Side::new(&nices, true)];
            let mut now = 1_000_000;
            for (ran, woken) in turns {
                now += ran;
                let [general, short] = sides.each_mut().map(|s| s.turn(&woken, now));
                prop_assert_eq!(general, short);
                let [general, short] = sides.each_ref().map(Side::books);
                prop_assert_eq!(general, short);
            }
        }
    }
}
