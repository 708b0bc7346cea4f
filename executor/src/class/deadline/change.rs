//! Reservations made, changed and given back (Linux: `sched_dl_overflow`, `__setparam_dl`, `dl_change_utilization`).

use super::super::entity::{Entity, Place};
use super::super::params::Class;
use super::super::sched_class::SchedClass;
use super::super::{Preempt, RunQueue};
use super::domain::{Domain, Overflow};
use super::reservation::DlParams;
use crate::time::Nanos;
use core::ptr::NonNull;

impl RunQueue {
    /// Promises `e` what `p` says, instead of what it had, if the domain can. Its policy is for the caller to
    /// set ([`RunQueue::set_params`]). Whether the CPU should be rescheduled.
    ///
    /// # Safety
    /// As [`RunQueue::set_params`]; `e` has a reservation ([`Entity::set_reservation`]).
    pub unsafe fn reserve(&mut self, e: NonNull<Entity>, p: DlParams, now: Nanos) -> Result<bool, Overflow> {
        // SAFETY: valid by contract, under this queue's lock.
        unsafe {
            let Some(dl) = (*e.as_ptr()).reservation else { return Err(Overflow) };
            self.dl.domain().admit(dl, p.bandwidth(), now)?;
            Ok(self.change(e, now, || (*dl.as_ptr()).own = p))
        }
    }

    /// `e` needs what it was promised no more: it has another policy. That counts until its 0-lag time.
    ///
    /// # Safety
    /// As [`RunQueue::set_params`].
    pub unsafe fn give_back(&mut self, e: NonNull<Entity>, now: Nanos) {
        // SAFETY: valid by contract, under this queue's lock.
        unsafe {
            let Some(dl) = (*e.as_ptr()).reservation else { return };
            let until = (*dl.as_ptr()).zero_lag();
            Domain::give_back(dl, until, now);
            let _ = self.change(e, now, || (*dl.as_ptr()).own = DlParams::NONE);
        }
    }

    /// `e` runs by the parameters `p` of somebody who waits for it, or by its own again. Whether the CPU should be rescheduled.
    ///
    /// # Safety
    /// As [`RunQueue::reserve`].
    pub unsafe fn lend(&mut self, e: NonNull<Entity>, p: Option<DlParams>, now: Nanos) -> bool {
        // SAFETY: valid by contract, under this queue's lock.
        unsafe {
            let Some(dl) = (*e.as_ptr()).reservation else { return false };
            if (*dl.as_ptr()).lent == p {
                return false;
            }
            self.change(e, now, || (*dl.as_ptr()).lent = p)
        }
    }

    /// Calls `change` while `e` is not in the deadline class's queue.
    ///
    /// # Safety
    /// As [`RunQueue::set_params`].
    unsafe fn change(&mut self, e: NonNull<Entity>, now: Nanos, change: impl FnOnce()) -> bool {
        self.update_current(now);
        self.dl.advance(now);
        // SAFETY: valid by contract, under this queue's lock; no reference outlives its statement.
        unsafe {
            let (class, place) = ((*e.as_ptr()).class, (*e.as_ptr()).place);
            if class != Class::Deadline {
                change();
                return false;
            }
            if place == Place::Off {
                self.dl.disown(e);
                change();
                return false;
            }
            let current = place == Place::Current;
            self.dl.leave(e, current, false);
            change();
            self.dl.join(e, current, false);
            self.count_above();
            // The current one's next event is another: it is picked anew.
            if current { true } else { self.should_preempt(e, now) != Preempt::No }
        }
    }

    /// The bandwidth of the deadline entities whose place is here, and of those of them that are active, in 1 / 2^20 (Linux:
    /// `dl_rq->this_bw`, `running_bw`).
    pub fn deadline_bandwidth(&self) -> (u64, u64) {
        self.dl.bandwidth()
    }

    /// The domain in which the deadline class's promises are made.
    pub fn domain(&self) -> &'static Domain {
        self.dl.domain()
    }

    /// Makes this a queue of `domain`: what was promised to those who belong to it is promised there.
    pub fn set_domain(&mut self, domain: &'static Domain, now: Nanos) {
        self.dl.set_domain(domain, now);
    }

    /// A runnable entity, which was taken off the queue as if it slept, or one that sleeps, goes to another CPU: nothing of it
    /// stays here.
    ///
    /// # Safety
    /// `e` is off this queue, and was last on it.
    #[inline]
    pub(crate) unsafe fn detach(&mut self, e: NonNull<Entity>) {
        // SAFETY: valid by contract, under this queue's lock.
        unsafe {
            if (*e.as_ptr()).class == Class::Deadline {
                self.dl.disown(e);
            }
        }
    }
}
