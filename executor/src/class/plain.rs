//! What most of a busy CPU's time between polls is made of: a fair task sleeps, the next one runs, others have come. The run queue's
//! operations for that, without what the other classes, groups, buddies and parked polls would ask for.
//!
//! Nothing is decided differently here: each is what the general operation comes to while the queue [is plain](RunQueue::is_plain).

use super::RunQueue;
use super::entity::{Entity, Place};
use super::fair::vruntime;
use super::params::Class;
use super::sched_class::SchedClass;
use super::timeline::Timeline;
use super::tree::before;
use super::weight::{NICE_0_WEIGHT, calc_delta_fair};
use crate::time::Nanos;
use core::ptr::{NonNull, null};
use core::sync::atomic::AtomicU64;

/// What the loop knows of its queue while it keeps the lock from everybody else, or nobody else has had it since: [`RunQueue::plain`].
pub(super) mod known {
    /// Nothing.
    pub const NOTHING: u8 = 0;
    /// It is plain, and so is the current entity.
    pub const PLAIN: u8 = 1;
    /// And the slice timer stands at the fair class's last event, or before it.
    pub const ARMED: u8 = 2;
}

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
        // SAFETY: passed on.
        self.plain != known::NOTHING || unsafe { self.learn(e) }
    }

    /// Looks whether it is so.
    ///
    /// # Safety
    /// As [`RunQueue::is_plainly_current`].
    #[inline]
    unsafe fn learn(&mut self, e: NonNull<Entity>) -> bool {
        debug_assert!(self.curr == Some(e));
        // SAFETY: the current entity is on the queue, hence valid.
        if unsafe { (*e.as_ptr()).class } != Class::Fair || !self.is_plain() {
            return false;
        }
        self.plain = known::PLAIN;
        true
    }

    /// `put_prev(PutPrev::Sleep)` of the current entity `e` of a plain queue. [`RunQueue::pick_plainly`] or [`RunQueue::rest_plainly`] comes
    /// next.
    ///
    /// # Safety
    /// [`RunQueue::is_plainly_current`] has just said so of `e`. No reference to `e` is held across the call.
    #[inline(always)]
    pub(crate) unsafe fn sleep_plainly(&mut self, e: NonNull<Entity>, now: Nanos) {
        debug_assert!(self.curr == Some(e) && self.is_plain() && self.fair.curr == Some(e));
        // SAFETY: by the contract; the first is queued, hence valid, too.
        unsafe {
            let this = e.as_ptr();
            let start = (*this).exec_start;
            // Clocks of two CPUs may differ by a little: time never runs backwards here.
            let mut ran = 0;
            if now > start {
                ran = now.wrapping_sub(start);
                (*this).exec_start = now;
                (*this).sum_exec = (*this).sum_exec.wrapping_add(ran);
            }
            // While it still counts in what the CPU has to do.
            if (*this).avg.are_due(now) {
                self.fair.average(e, now, true);
            }
            if (*this).load.weight == NICE_0_WEIGHT {
                // Nor of SCHED_IDLE: in fewer steps.
                (*this).vruntime = (*this).vruntime.wrapping_add(ran);
                self.fair.nr = self.fair.nr.wrapping_sub(1);
                self.fair.load = self.fair.load.wrapping_sub(NICE_0_WEIGHT.into());
            } else {
                (*this).vruntime = (*this).vruntime.wrapping_add(calc_delta_fair(ran, (*this).load));
                self.fair.account_dequeue(e);
            }
            (*this).stats.nvcsw = (*this).stats.nvcsw.wrapping_add(1);
            (*this).place = Place::Off;
            // Before the task's state says that it sleeps: a CPU that it is woken to goes by this clock then.
            self.fair.advance_to(vruntime(self.fair.tree.first_of_run().unwrap_or(e)));
        }
    }

    /// Nobody is current after [`RunQueue::sleep_plainly`].
    #[inline(always)]
    pub(crate) fn rest_plainly(&mut self) {
        self.curr = None;
        self.fair.curr = None;
    }

    /// `pick(PickLimit::Any)` after [`RunQueue::sleep_plainly`].
    #[inline(always)]
    pub(crate) fn pick_plainly(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        debug_assert!(self.requeued.is_none());
        let Some(e) = self.fair.tree.pop_run() else {
            self.rest_plainly();
            return None;
        };
        // SAFETY: it was queued, hence valid.
        unsafe {
            let this = e.as_ptr();
            self.fair.curr = Some(e);
            let waited = (*this).stats.waited_until(now);
            self.run_delay = self.run_delay.wrapping_add(waited);
            (*this).begin_stay(now);
            self.note_switch(e);
        }
        Some(e)
    }

    /// Whether the slice timer may stay as it is for the entity that [`RunQueue::pick_plainly`] has just made current, if any.
    #[inline(always)]
    pub(crate) fn stays_armed(&self, now: Nanos) -> bool {
        self.fair.tree.first_of_run().is_none() || self.plain == known::ARMED && self.fair.event_ahead(now).is_some()
    }

    /// What `next_event` answers if it does.
    pub(crate) fn event_armed(&self) -> Option<Nanos> {
        self.fair.tree.first_of_run().map(|_| self.fair.last_event())
    }

    /// `next_event` otherwise, for which the slice timer is about to be set.
    #[cold]
    #[inline(never)]
    pub(crate) fn arm_plainly(&mut self) -> Option<Nanos> {
        self.plain = known::ARMED;
        let curr = self.curr?;
        // SAFETY: it is current here, hence valid.
        unsafe { self.fair.next_event(curr) }
    }

    /// A list for those who are woken: nobody yet. Nothing is current until [`RunQueue::join_chain`].
    #[inline(always)]
    pub(crate) fn chain(&self, now: Nanos) -> Chain {
        debug_assert!(self.curr.is_none());
        let (floor, long_before) = self.fair.woken_terms(now);
        Chain { first: None, vruntime: 0, len: 0, floor, long_before, home: &raw const self.fair.min_vruntime, now }
    }

    /// Puts those of `chain` on the queue, behind who has come before them: what `enqueue(Enqueue::Wakeup)` of each would have done. `last` is
    /// the one that was put there first.
    ///
    /// # Safety
    /// It is, if anybody is there.
    pub(crate) unsafe fn join_chain(&mut self, chain: Chain, last: NonNull<Entity>) {
        let Some(first) = chain.first else { return };
        self.fair.nr = self.fair.nr.wrapping_add(chain.len);
        self.fair.load = self.fair.load.wrapping_add(u64::from(chain.len).wrapping_mul(NICE_0_WEIGHT.into()));
        // SAFETY: the chain is of entities that are valid, and on no queue.
        unsafe { self.fair.tree.append_all(first, last) };
    }
}

/// Entities that were woken, in the order of the timeline and of their wakes: a piece of the queue in the making.
pub(crate) struct Chain {
    first: Option<NonNull<Entity>>,
    /// Of the first.
    vruntime: u64,
    len: u32,
    /// Nobody is placed before this, and who has slept since before that is placed there.
    floor: u64,
    long_before: i64,
    /// The queue's clock.
    home: *const AtomicU64,
    now: Nanos,
}

impl Chain {
    /// Puts `e` first: it was woken before those who are there. `false`, and nothing done, if it is not of the fair class's usual kind, or
    /// its place is behind them.
    ///
    /// # Safety
    /// `e` and those of the chain are valid, on no queue, and nobody else's.
    #[inline(always)]
    pub(crate) unsafe fn put_first(&mut self, e: NonNull<Entity>) -> bool {
        // SAFETY: by the contract.
        unsafe {
            let this = e.as_ptr();
            let at_home = (*this).home.map_or(null(), |h| h.as_ptr().cast_const()) == self.home;
            if !((*this).class == Class::Fair && (*this).load.weight == NICE_0_WEIGHT && at_home) {
                return false;
            }
            debug_assert!((*this).place == Place::Off && !(*this).parked, "enqueued twice");
            let own = (*this).vruntime;
            let at = if ((*this).exec_start as i64) < self.long_before || before(own, self.floor) { self.floor } else { own };
            if let Some(first) = self.first {
                if before(self.vruntime, at) {
                    return false;
                }
                Timeline::link(e, first);
            }
            self.first = Some(e);
            self.vruntime = at;
            self.len = self.len.wrapping_add(1);
            (*this).vruntime = at;
            (*this).stats.last_queued = self.now;
            (*this).place = Place::Queued;
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::class::cpu_avg::CpuAvg;
    use crate::class::{Enqueue, Params, PickLimit, PutPrev};
    use crate::idle_time::IdleTime;
    use proptest::prelude::*;
    use std::boxed::Box;
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// A queue and its tasks, driven by the general operations or by those of this file.
    struct Side {
        rq: Box<RunQueue>,
        tasks: Vec<NonNull<Entity>>,
        plainly: bool,
        /// The averages that the queue notes.
        all: &'static [CpuAvg],
    }

    impl Side {
        fn new(nices: &[i8], plainly: bool) -> Side {
            let tasks = nices.iter().map(|n| NonNull::from(Box::leak(Box::new(Entity::new(Params::normal(*n)))))).collect();
            let mut rq = Box::new(RunQueue::new());
            let all: &'static [CpuAvg] = Box::leak(Box::new([CpuAvg::new()]));
            rq.note_averages(all, Box::leak(Box::new(IdleTime::new())));
            Side { rq, tasks, plainly, all }
        }

        /// Those of `woken` that sleep come, in this order, while nothing is current; then one is picked. Who, and the next event.
        fn turn(&mut self, woken: &[usize], now: Nanos) -> (Option<usize>, Option<Nanos>) {
            // SAFETY: the tasks live as long as this, and nobody else looks at them.
            unsafe {
                let plainly = match self.rq.current() {
                    Some(e) if self.plainly && self.rq.is_plainly_current(e) => {
                        self.rq.sleep_plainly(e, now);
                        true
                    }
                    _ => {
                        self.rq.put_prev(PutPrev::Sleep, now);
                        false
                    }
                };
                let came: Vec<_> = woken.iter().filter_map(|i| self.tasks.get(*i)).filter(|e| !e.as_ref().on_rq()).copied().collect();
                let (next, event) = if plainly && came.is_empty() {
                    let next = self.rq.pick_plainly(now);
                    (next, if self.rq.stays_armed(now) { self.rq.event_armed() } else { self.rq.arm_plainly() })
                } else {
                    if plainly {
                        self.rq.rest_plainly();
                    }
                    self.rq.begin();
                    self.come(&came, now);
                    (self.rq.pick(PickLimit::Any, now), self.rq.next_event(now))
                };
                (next.and_then(|e| self.tasks.iter().position(|t| *t == e)), event)
            }
        }

        /// Those of `came`, each once, the first of them first.
        ///
        /// # Safety
        /// They sleep, and nothing is current.
        unsafe fn come(&mut self, came: &[NonNull<Entity>], now: Nanos) {
            let mut left: Vec<NonNull<Entity>> = Vec::new();
            came.iter().for_each(|e| left.extend((!left.contains(e)).then_some(*e)));
            // SAFETY: by the contract.
            unsafe {
                let mut chain = self.rq.chain(now);
                let last = left.last().copied();
                while self.plainly && left.last().is_some_and(|e| chain.put_first(*e)) {
                    left.pop();
                }
                left.iter().for_each(|e| self.rq.enqueue(*e, Enqueue::Wakeup, now));
                if let Some(last) = last {
                    self.rq.join_chain(chain, last);
                }
            }
        }

        /// All that the classes know of each task, and of the queue.
        fn books(&self) -> (Vec<(u64, Nanos, Nanos, bool)>, u64, usize, u64, Nanos, u64, String) {
            // SAFETY: as above.
            let of = |e: &NonNull<Entity>| unsafe {
                let e = e.as_ref();
                (e.vruntime(), e.sum_exec_runtime(), e.stats().run_delay, e.on_rq())
            };
            let rq = &self.rq;
            (
                self.tasks.iter().map(of).collect(),
                rq.min_vruntime(),
                rq.nr_running(),
                rq.nr_switches(),
                rq.run_delay(),
                rq.load(),
                format!("{:?}", self.all),
            )
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
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_short_operations_decide_as_the_general_ones(
            nices in prop::collection::vec(prop_oneof![Just(0), -20i8..20], 1..8),
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
