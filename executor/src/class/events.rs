//! What happens while an entity runs: ticks, the time of the next one, and wake-ups that preempt.

use super::params::{Class, Rank};
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
        if class == Class::Realtime {
            self.rt.roll(now);
            if self.rt.is_throttled() {
                return Preempt::No;
            }
        }
        let Some(curr) = self.curr else { return Preempt::HigherClass };
        // SAFETY: the current entity is on the queue, hence valid.
        let (curr_rank, curr_class) = unsafe { ((*curr.as_ptr()).rank, (*curr.as_ptr()).class) };
        if rank.outranks(curr_rank) {
            return Preempt::HigherClass;
        }
        if class != Class::Fair || curr_class != Class::Fair {
            return Preempt::No;
        }
        self.charge_current(now, true);
        // SAFETY: both are on the fair queue.
        if unsafe { self.fair.check_preempt(curr, e) } { Preempt::Fair } else { Preempt::No }
    }

    /// The timer's or tick's work: charges the current entity, ends quanta, begins real-time periods. Whether the
    /// current entity should stop: its slice is used up and another is due, real-time is throttled, or a more urgent
    /// entity may run again. Calls at any time do no harm.
    pub fn tick(&mut self, now: Nanos) -> bool {
        self.update_current(now);
        self.rt.roll(now);
        let Some(curr) = self.curr else { return self.best_rank().outranks(Rank::IDLE) };
        if self.is_outranked() {
            return true;
        }
        // SAFETY: the current entity is on the queue of its class, and charged.
        unsafe {
            match (*curr.as_ptr()).class {
                Class::Stop => false,
                Class::Realtime => self.rt.end_quantum(curr) || self.rt.is_throttled(),
                Class::Fair => {
                    let due = self.fair.time_left(curr) == Some(0);
                    if due {
                        self.fair.end_slice(curr);
                    }
                    due
                }
            }
        }
    }

    /// When [`RunQueue::tick`] must next be called; `None` when the current entity may run on for ever, or the CPU may
    /// idle on. Valid until the next enqueue, dequeue, pick or change of parameters. A tick that comes earlier does no
    /// harm, so a timer that is armed for an earlier time may stay. After a tick that said `true` it answers `now` until
    /// the next pick: whoever must wait for the end of a poll leaves the timer off till then.
    pub fn next_event(&self, now: Nanos) -> Option<Nanos> {
        let own = self.curr.and_then(|curr| {
            // SAFETY: the current entity is on the queue of its class, hence valid.
            unsafe {
                match (*curr.as_ptr()).class {
                    Class::Stop => None,
                    Class::Realtime => self.rt.next_event(curr),
                    Class::Fair => {
                        let start = (*curr.as_ptr()).exec_start;
                        self.fair.time_left(curr).map(|left| start.saturating_add(left))
                    }
                }
            }
        });
        let event = match (own, self.rt.unthrottle_event()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        event.map(|at| at.max(now))
    }

    /// The most urgent rank that waits for the CPU, the current entity left out of account if it is fair (its own
    /// class's rank says nothing about it); [`Rank::IDLE`] when nothing waits.
    pub fn best_rank(&self) -> Rank {
        let urgent = self.stop.pick().or_else(|| self.rt.peek());
        match urgent {
            // SAFETY: it is queued, hence valid.
            Some(e) => unsafe { (*e.as_ptr()).rank },
            None if self.fair.nr > 0 => Rank::FAIR,
            None => Rank::IDLE,
        }
    }

    /// Whether a queued entity outranks the current one, so that it should run at once, also in the middle of a poll:
    /// what a dropped preempt guard asks, and what tells a [`RunQueue::tick`] that must preempt from one that may wait
    /// for the poll's end.
    #[inline]
    pub fn is_outranked(&self) -> bool {
        self.best_rank().outranks(self.current_rank())
    }
}
