//! Groups of tasks that share the CPUs by weight (Linux: task_group): making, changing, entering them.

use super::{EXEC, ask_for_choice, with_entity};
use crate::class::{BANDWIDTH_SLACK, Bandwidth, OwnedGroup};
use crate::context::PreemptGuard;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu, local_of};
use crate::pending::DUE_TICK;
use crate::platform;
use crate::task::Task;
use crate::time::{self, Nanos};
use crate::timer::Timer;
use core::pin::Pin;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// A group. It is dropped when no task is in it and no group below it.
pub struct Group(OwnedGroup);

impl Group {
    /// A group of weight 1024 below `parent`, which must outlive it, or below the root, for the first `nr_cpus` CPUs. `None`: no
    /// memory.
    pub fn try_new(parent: Option<&Group>, nr_cpus: usize) -> Option<Group> {
        OwnedGroup::try_new(parent.map(|p| &*p.0), nr_cpus, hand_out_later).map(Group)
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

/// A CPU on which run time was given back, until those that wait for some are told.
struct Slack {
    timer: Timer,
    /// Who.
    to: AtomicU64,
}

static SLACK: PerCpu<Slack> = PerCpu::new([const { Slack { timer: Timer::new(hand_out), to: AtomicU64::new(0) } }; MAX_CPUS]);

/// Some run time of a group is in its pool again: the CPUs `to` look for it after a while. Under a run queue's lock.
fn hand_out_later(to: CpuMask) {
    let slack = SLACK.of(CpuId::current());
    if slack.to.fetch_or(to.0, AcqRel) == 0 {
        Pin::static_ref(&slack.timer).start(time::now().saturating_add(BANDWIDTH_SLACK), 0);
    }
}

/// Hard interrupt (Linux: do_sched_cfs_slack_timer). What is in the pool goes to whoever comes first.
fn hand_out(timer: &Timer) {
    let here = CpuId::current();
    // SAFETY: every timer with this function is that of a `Slack`, which is static.
    let slack = unsafe { &*core::ptr::from_ref(timer).byte_sub(core::mem::offset_of!(Slack, timer)).cast::<Slack>() };
    let to = CpuMask(slack.to.swap(0, AcqRel));
    for cpu in to.iter() {
        local_of(cpu).pending.set(DUE_TICK);
        if cpu != here
            && let Some(p) = platform::get()
        {
            p.send_reschedule(cpu);
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
