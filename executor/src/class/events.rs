//! What happens while an entity runs: ticks, the time of the next one, and wake-ups that preempt.

use super::params::{Class, Rank};
use super::sched_class::{SchedClass, in_order, of_class};
use super::{Entity, Preempt, RunQueue};
use crate::time::Nanos;
use core::ptr::NonNull;

impl RunQueue {
    /// Whether `e`, which was enqueued just now, should run instead of the current entity
    /// (Linux: `check_preempt_curr`). Charges the current one, and marks fair buddies for the next pick.
    #[inline]
    pub fn should_preempt(&mut self, e: NonNull<Entity>, now: Nanos) -> Preempt {
        // SAFETY: the caller has just enqueued it, so it is valid.
        let (rank, class) = unsafe { ((*e.as_ptr()).rank, (*e.as_ptr()).class) };
        let held_back = of_class!(self, class, c => {
            // SAFETY: it is on the queue of its class.
            unsafe {
                c.roll_for(e, now);
                c.holds_back(e)
            }
        });
        if held_back {
            return Preempt::No;
        }
        let Some(curr) = self.curr else { return Preempt::HigherClass };
        // SAFETY: the current entity is on the queue, hence valid.
        let (curr_rank, curr_class) = unsafe { ((*curr.as_ptr()).rank, (*curr.as_ptr()).class) };
        if rank.outranks(curr_rank) {
            return Preempt::HigherClass;
        }
        if rank != curr_rank || class != curr_class {
            return self.preempts_between(curr, e, now);
        }
        self.charge_current(now, true);
        // SAFETY: both are on the queue of their class.
        if !of_class!(self, class, c => unsafe { c.check_preempt_curr(curr, e) }) {
            return Preempt::No;
        }
        if class == Class::Deadline { Preempt::HigherClass } else { Preempt::Fair }
    }

    /// The same for two that are not of one rank and class: tasks of the fair class may be, one in a group and one not.
    #[cold]
    fn preempts_between(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>, now: Nanos) -> Preempt {
        // SAFETY: both are on the queue, hence valid.
        let fair = unsafe { [curr, e].iter().all(|e| (*e.as_ptr()).rank == Rank::FAIR) };
        if !fair {
            return Preempt::No;
        }
        self.charge_current(now, true);
        // SAFETY: both are on the fair class's queue.
        if unsafe { self.fair.check_preempt_any(curr, e) } { Preempt::Fair } else { Preempt::No }
    }

    /// The timer's or tick's work: charges the current entity, ends quanta, begins real-time periods. Whether the
    /// current entity should stop: its slice is used up and another is due, real-time is throttled, or a more urgent
    /// entity may run again. Calls at any time do no harm.
    pub fn tick(&mut self, now: Nanos) -> bool {
        self.update_current(now);
        in_order!(&mut self, c => c.roll(now));
        if self.above != 0 {
            self.count_above();
        }
        let Some(curr) = self.curr else { return self.best_rank().outranks(Rank::IDLE) };
        if self.is_outranked() {
            return true;
        }
        // SAFETY: the current entity is on the queue of its class, and charged.
        unsafe { of_class!(self, (*curr.as_ptr()).class, c => c.task_tick(curr)) }
    }

    /// When [`RunQueue::tick`] must next be called; `None` when the current entity may run on for ever, or the CPU may
    /// idle on. Valid until the next enqueue, dequeue, pick or change of parameters. A tick that comes earlier does no
    /// harm, so a timer that is armed for an earlier time may stay. After a tick that said `true` it answers `now` until
    /// the next pick: whoever must wait for the end of a poll leaves the timer off till then.
    #[inline(always)]
    pub fn next_event(&mut self, now: Nanos) -> Option<Nanos> {
        let event = match self.curr {
            // SAFETY: the current entity is on the queue of its class, hence valid.
            Some(curr) => unsafe { of_class!(self, (*curr.as_ptr()).class, c => c.next_event(curr)) },
            None => None,
        };
        self.or_unthrottled(event, now)
    }

    /// `event`, or the end of a throttling if that comes before; not before `now`.
    #[inline(always)]
    pub(super) fn or_unthrottled(&self, mut event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
        in_order!(self, c => event = c.or_unthrottled(event));
        event.map(|at| at.max(now))
    }

    /// The most urgent rank that waits for the CPU, the current entity left out of account if it is fair (its own
    /// class's rank says nothing about it); [`Rank::IDLE`] when nothing waits.
    #[inline]
    pub fn best_rank(&self) -> Rank {
        in_order!(self, c => if let Some(rank) = c.best_rank() {
            return rank;
        });
        Rank::IDLE
    }

    /// Whether a queued entity outranks the current one, so that it should run at once, also in the middle of a poll:
    /// what a dropped preempt guard asks, and what tells a [`RunQueue::tick`] that must preempt from one that may wait
    /// for the poll's end.
    #[inline]
    pub fn is_outranked(&self) -> bool {
        self.best_rank().outranks(self.current_rank())
    }
}
