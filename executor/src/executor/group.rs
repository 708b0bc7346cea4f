//! Groups of tasks that share the CPUs by weight (Linux: task_group): making, changing, entering them.

use super::{EXEC, ask_for_choice, with_entity};
use crate::class::{Bandwidth, OwnedGroup};
use crate::context::PreemptGuard;
use crate::task::Task;
use crate::time::{self, Nanos};
use core::ptr::NonNull;

/// A group. It is dropped when no task is in it and no group below it.
pub struct Group(OwnedGroup);

impl Group {
    /// A group of weight 1024 below `parent`, which must outlive it, or below the root, for the first `nr_cpus` CPUs. `None`: no
    /// memory.
    pub fn try_new(parent: Option<&Group>, nr_cpus: usize) -> Option<Group> {
        OwnedGroup::try_new(parent.map(|p| &*p.0), nr_cpus).map(Group)
    }

    /// Its weight.
    pub fn shares(&self) -> u32 {
        self.0.shares()
    }

    /// Whether it gives way to all that is not idle.
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// Its limit, and what came of it.
    pub fn bandwidth(&self) -> Bandwidth {
        self.0.with_bandwidth(|b| *b)
    }

    /// Gives it a weight, 2 or more; with `idle` it gives way to all others whatever that is.
    pub fn set_shares(&self, shares: u32, idle: bool) {
        self.0.note_shares(shares.max(2), idle);
        self.tell(false);
    }

    /// Limits it to `quota` of run time in each `period`, on all CPUs together; `None`: not at all. Unused quota is saved up to `burst`.
    pub fn set_bandwidth(&self, quota: Option<Nanos>, period: Nanos, burst: Nanos) {
        self.0.note_bandwidth(quota, period, burst, time::now());
        self.tell(true);
    }

    fn tell(&self, limit: bool) {
        for cpu in self.0.cpus() {
            let guard = PreemptGuard::new();
            EXEC.of(cpu).rq.lock_irq().group_changed(&self.0, limit, time::now());
            ask_for_choice(cpu, &guard);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for cpu in self.0.cpus() {
            EXEC.of(cpu).rq.lock_irq().group_ends(&self.0);
        }
    }
}

/// Puts `task` into `group`, or into none. The caller sees to it that the group lives as long as a task is in it: who ends leaves it.
pub fn set_group(task: &Task, group: Option<&Group>) {
    let guard = PreemptGuard::new();
    let group = group.map(|g| NonNull::from(&*g.0));
    let (cpu, resched) = with_entity(task, |rq, entity, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held; the group by the caller's contract.
        (task.cpu(), unsafe { rq.set_group(entity, group, now) })
    });
    if resched {
        ask_for_choice(cpu, &guard);
    }
    drop(guard);
}
