//! Changes from outside: parameters of an entity (sched_setscheduler, nice, priority inheritance) and tunables.

use super::entity::{Entity, Place};
use super::params::{Class, Params, Policy, Tunables};
use super::{Preempt, RunQueue};
use crate::time::Nanos;
use core::ptr::NonNull;

impl RunQueue {
    /// Gives `e` new parameters (Linux: `__sched_setscheduler`, `set_user_nice`, `rt_mutex_setprio`). Whether the
    /// CPU should be rescheduled: then [`RunQueue::is_outranked`] says whether at once.
    ///
    /// A real-time entity whose priority falls goes to the head of its new priority, one whose priority rises to the
    /// tail; one whose priority stays keeps its place.
    ///
    /// # Safety
    /// `e` is valid; it is on this queue, or it is on none and was last on this one. No reference to `e` is held
    /// across the call.
    pub unsafe fn set_params(&mut self, e: NonNull<Entity>, params: Params, now: Nanos) -> bool {
        self.update_current(now);
        // SAFETY: valid by contract, under this queue's lock; no reference outlives its statement.
        unsafe {
            let this = e.as_ptr();
            let (old, place) = ((*this).params, (*this).place);
            let (old_class, new_class) = ((*this).class, params.class());
            if place == Place::Off {
                if old_class == Class::Fair && new_class != Class::Fair {
                    self.fair.disown(e);
                }
                (*this).apply(params);
                return false;
            }
            if old_class == Class::Realtime
                && new_class == Class::Realtime
                && old.rt_priority == params.rt_priority.clamp(1, 99)
            {
                // It keeps its place and its quantum.
                (*this).apply(params);
                return false;
            }
            self.leave(e, place == Place::Current);
            if old_class == Class::Fair && new_class != Class::Fair {
                self.fair.disown(e);
            }
            let old_prio = old.prio();
            (*this).apply(params);
            let new_prio = (*this).params.prio();
            self.join(e, place == Place::Current, old_prio < new_prio);
            if place == Place::Current {
                return self.should_leave(old_class, old_prio, new_class, new_prio);
            }
            if old_class == new_class && old_prio == new_prio {
                return false;
            }
        }
        self.should_preempt(e, now) != Preempt::No
    }

    /// Whether the current entity should stop after its parameters changed.
    fn should_leave(&self, old_class: Class, old_prio: u8, class: Class, prio: u8) -> bool {
        match class {
            // A change into the fair class, or to a higher nice value, is worth another pick.
            Class::Fair => self.fair.nr > 1 && (old_class != class || old_prio < prio) || self.is_outranked(),
            Class::Stop | Class::Realtime => self.is_outranked(),
        }
    }

    /// Takes `e` off its class's queue, with the parameters with which it was put on.
    ///
    /// # Safety
    /// `e` is on this queue; `current` says whether it is the current entity.
    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool) {
        // SAFETY: passed on.
        unsafe {
            match (*e.as_ptr()).class {
                Class::Stop => self.stop.dequeue(e),
                Class::Realtime => self.rt.dequeue(e),
                Class::Fair if current => self.fair.dequeue_current(e),
                Class::Fair => self.fair.dequeue(e),
            }
        }
    }

    /// Puts `e` on its new class's queue.
    ///
    /// # Safety
    /// `e` is valid and has left; `current` as in `leave`.
    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, head: bool) {
        // SAFETY: passed on.
        unsafe {
            match (*e.as_ptr()).class {
                Class::Stop => self.stop.enqueue(e),
                Class::Realtime => self.rt.enqueue(e, head),
                Class::Fair => {
                    self.fair.adopt(e);
                    self.fair.account_enqueue(e);
                    if current {
                        self.fair.curr = Some(e);
                    } else {
                        self.fair.insert(e);
                    }
                }
            }
        }
    }

    /// Scales the fair class's times to a machine with `n` CPUs, as Linux does; other tunables stay.
    pub fn set_nr_cpus(&mut self, n: usize) {
        let scaled = Tunables::for_cpus(n);
        self.tunables = Tunables {
            latency: scaled.latency,
            min_granularity: scaled.min_granularity,
            wakeup_granularity: scaled.wakeup_granularity,
            ..self.tunables
        };
        self.fair.tune(&self.tunables);
    }

    /// The tunables.
    pub fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// Changes the tunables; a real-time period begins at `now`. The caller checked them as Linux checks its sysctls.
    pub fn set_tunables(&mut self, tunables: Tunables, now: Nanos) {
        self.update_current(now);
        let old = core::mem::replace(&mut self.tunables, tunables);
        self.fair.tune(&tunables);
        if (old.rt_period, old.rt_runtime, old.rr_timeslice)
            != (tunables.rt_period, tunables.rt_runtime, tunables.rr_timeslice)
        {
            self.rt.tune(&tunables, now);
        }
    }

    /// What `sched_rr_get_interval` answers for `e`: the quantum of RR, 0 for FIFO, the slice of a fair entity on a
    /// queue that has any load.
    pub fn rr_interval(&self, e: &Entity) -> Nanos {
        match (e.class(), e.params().policy) {
            (_, Policy::RoundRobin) => self.tunables.rr_timeslice,
            (Class::Fair, _) if self.fair.load > 0 => self.fair.slice(e),
            _ => 0,
        }
    }
}
