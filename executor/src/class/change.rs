//! Changes from outside: parameters of an entity (sched_setscheduler, nice, priority inheritance) and tunables.

use super::entity::{Entity, Place};
use super::fair::Notes;
use super::params::{Class, Params, Policy, Tunables};
use super::sched_class::{SchedClass, of_class};
use super::{CpuAvg, Preempt, RunQueue, TaskGroup};
use crate::idle_time::IdleTime;
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
        if params.class() == Class::Deadline {
            self.dl.advance(now);
        }
        // SAFETY: valid by contract, under this queue's lock; no reference outlives its statement.
        unsafe {
            let this = e.as_ptr();
            let (old, place) = ((*this).params, (*this).place);
            let (old_class, new_class) = ((*this).class, (*this).class_with(&params));
            if old.class() != params.class() {
                // Averages are of the time in the fair class; the rest counts as sleep.
                if old.class() == Class::Fair {
                    (*this).avg = (*this).averaged(now, self.fair.used(now));
                } else {
                    let (ran, waited) = ((*this).sum_exec, (*this).stats.run_delay);
                    (*this).avg.skip(ran, waited);
                }
            }
            if place == Place::Off {
                if old_class != new_class {
                    of_class!(self, old_class, c => c.disown(e));
                }
                (*this).apply(params);
                return false;
            }
            if old_class == Class::Realtime && new_class == Class::Realtime && old.rt_priority == params.rt_priority.clamp(1, 99) {
                // It keeps its place and its quantum.
                (*this).apply(params);
                return false;
            }
            let current = place == Place::Current;
            of_class!(self, old_class, c => c.leave(e, current, old_class != new_class));
            let old_prio = old.prio();
            (*this).apply(params);
            let new_prio = (*this).params.prio();
            of_class!(self, new_class, c => c.join(e, current, old_prio < new_prio));
            if current {
                return self.should_leave(old_class, old_prio, new_class, new_prio);
            }
            if old_class == new_class && old_prio == new_prio && new_class != Class::Deadline {
                return false;
            }
        }
        self.should_preempt(e, now) != Preempt::No
    }

    /// Whether the current entity should stop after its parameters changed.
    fn should_leave(&self, old_class: Class, old_prio: i16, class: Class, prio: i16) -> bool {
        match class {
            // A change into the fair class, or to a higher nice value, is worth another pick.
            Class::Fair | Class::Grouped | Class::Watched => {
                self.fair.nr_tasks() > 1 && (old_class != class || old_prio < prio) || self.is_outranked()
            }
            // With another class comes another next event, for which the timer must be set.
            Class::Stop | Class::Deadline | Class::Realtime => old_class != class || class == Class::Deadline || self.is_outranked(),
        }
    }

    /// Puts `e` into `group`, or the root; the CPU should be rescheduled if that is `true` (Linux: sched_move_task).
    ///
    /// # Safety
    /// As [`RunQueue::set_params`]. The group lives until `e` has left it or is never on a queue again.
    pub unsafe fn set_group(&mut self, e: NonNull<Entity>, group: Option<NonNull<TaskGroup>>, now: Nanos) -> bool {
        self.update_current(now);
        // SAFETY: valid by contract, under this queue's lock; no reference outlives its statement.
        unsafe {
            let this = e.as_ptr();
            if (*this).group == group {
                return false;
            }
            let (old_class, place) = ((*this).class, (*this).place);
            let current = place == Place::Current;
            if place != Place::Off {
                of_class!(self, old_class, c => c.leave(e, current, true));
            } else {
                of_class!(self, old_class, c => c.disown(e));
            }
            (*this).group = group;
            (*this).apply((*this).params);
            if place == Place::Off {
                return false;
            }
            of_class!(self, (*this).class, c => c.join(e, current, false));
            current || self.should_preempt(e, now) != Preempt::No
        }
    }

    /// Says which CPU it is of: groups have a part for each. Once, before any group.
    pub fn set_cpu(&mut self, cpu: usize) {
        self.fair.cpu = cpu as u32;
    }

    /// Says where the averages of all CPUs are noted, by their numbers, and where its own counts how long it has idled. Once;
    /// without it nobody notes them.
    pub(crate) fn note_averages(&mut self, all: &'static [CpuAvg], idled: &'static IdleTime) {
        self.fair.notes = Some(Notes { all, idled });
    }

    /// The weight of `group`, or its `limit`, was changed: its part on this CPU follows. The CPU should be rescheduled.
    pub fn group_changed(&mut self, group: &TaskGroup, limit: bool, now: Nanos) {
        self.update_current(now);
        self.fair.change_group(group, limit, now);
    }

    /// `group` ends: nobody is in it or below it.
    pub fn group_ends(&mut self, group: &TaskGroup) {
        self.fair.forget_group(group);
    }

    /// Scales the fair class's times to a machine with `n` CPUs, as Linux does; other tunables stay.
    pub fn set_nr_cpus(&mut self, n: usize) {
        let factor = self.tunables.scaling.factor(n);
        let one = Tunables::for_cpus(1);
        self.tunables = Tunables {
            latency: one.latency * factor,
            min_granularity: one.min_granularity * factor,
            wakeup_granularity: one.wakeup_granularity * factor,
            ..self.tunables
        };
        self.fair.tune(&self.tunables, 0);
    }

    /// The tunables.
    pub fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// Changes the tunables; a real-time period begins at `now`. The caller checked them as Linux checks its sysctls.
    pub fn set_tunables(&mut self, tunables: Tunables, now: Nanos) {
        self.update_current(now);
        self.tunables = tunables;
        self.dl.tune(&tunables, now);
        self.rt.tune(&tunables, now);
        self.fair.tune(&tunables, now);
    }

    /// What `sched_rr_get_interval` answers for `e`: the quantum of RR, 0 for FIFO, the slice of a fair entity on a
    /// queue that has any load.
    pub fn rr_interval(&self, e: &Entity) -> Nanos {
        match (e.class(), e.params().policy) {
            (_, Policy::RoundRobin) => self.tunables.rr_timeslice,
            (Class::Fair, _) if self.fair.load > 0 => self.fair.slice_of(e),
            _ => 0,
        }
    }
}
