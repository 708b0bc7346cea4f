//! Groups of the fair class (Linux: struct task_group): on each CPU a group is an entity on its parent's queue, and has a queue.
//!
//! ```text
//!   RunQueue.fair ── task ── task ── entity of group A ── task
//!                                         │
//!                                    queue of A ── task ── entity of group A/B
//!                                                               │
//!                                                          queue of A/B ── task
//! ```
//!
//! A task of a group is of the run queue's internal class [`Class::Grouped`](super::super::Class), whose operations (`class`) walk
//! up from the task to the root. So tasks of the root go the way that they went without groups; they only meet entities of groups in the
//! tree. On its CPU a group's entity weighs the part of the group's weight that the group's load there is of its load everywhere
//! ([`shares`]). What a group may run in a period is in [`bandwidth`].
//!
//! All of a group on a CPU is guarded by that CPU's run queue; the pool of its bandwidth is a lock inside.

pub mod bandwidth;
mod class;
pub(in crate::class) mod levels;
mod root;
mod shares;
mod throttle;

use super::FairRq;
use crate::class::entity::Entity;
use crate::class::params::{Params, Tunables};
use crate::class::pelt::Avg;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS};
use crate::lock_class;
use crate::sync::SpinLock;
use crate::time::Nanos;
use alloc::alloc::{alloc, dealloc};
use bandwidth::Bandwidth;
use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The weight of a group that was told none (`cpu.shares` 1024, `cpu.weight` 100).
pub const DEFAULT_SHARES: u32 = 1024;

/// A group on one CPU.
#[derive(Debug)]
pub(in crate::class) struct GroupCpu {
    /// Its queue.
    pub(super) q: FairRq,
    /// Its place on the parent's queue.
    pub(super) se: Entity,
    /// The group above; `None`: the CPU's own queue is.
    pub(super) parent: Option<NonNull<GroupCpu>>,
    group: NonNull<TaskGroup>,
    /// Runnable tasks in it and below, without those of groups below that are held back.
    pub(super) tasks: u32,
    avg: Avg,
    /// What is left of the run time that was taken from the group's pool; may be overdrawn.
    pub(super) remaining: i64,
    /// It is held back: `se` is on no queue although there are tasks.
    pub(super) throttled: bool,
    throttled_at: Nanos,
    next_throttled: Option<NonNull<GroupCpu>>,
    /// For other CPUs: `avg.load`, when it was computed, and the weight of `q` since then.
    published: [AtomicU64; 3],
}

/// A group.
pub struct TaskGroup {
    cpus: [*mut GroupCpu; MAX_CPUS],
    shares: AtomicU32,
    idle: AtomicBool,
    /// Whether `bandwidth` limits it.
    limited: AtomicBool,
    bandwidth: SpinLock<Bandwidth>,
    /// Tells CPUs, [`bandwidth::SLACK`] later, that there is run time for those that they hold back. Under a run queue's lock.
    slack: fn(CpuMask),
}

// SAFETY: each `GroupCpu` is guarded by its CPU's run queue, but for `published`, which is atomic; the rest is atomic or locked.
unsafe impl Sync for TaskGroup {}
// SAFETY: as above.
unsafe impl Send for TaskGroup {}

impl core::fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TaskGroup").field("shares", &self.shares).finish_non_exhaustive()
    }
}

/// Owns a group: dropping it frees the memory. No task may be in it and no group below it.
#[derive(Debug)]
pub struct OwnedGroup(NonNull<TaskGroup>);

// SAFETY: it is only a pointer to what is both.
unsafe impl Send for OwnedGroup {}
// SAFETY: as above.
unsafe impl Sync for OwnedGroup {}

impl OwnedGroup {
    /// A group below `parent`, or below the root, for `nr_cpus` CPUs. `parent` must outlive it. `None`: no memory.
    /// `slack` tells CPUs to look at their queues after [`bandwidth::SLACK`]; it is called under a run queue's lock.
    pub fn try_new(parent: Option<&TaskGroup>, nr_cpus: usize, slack: fn(CpuMask)) -> Option<OwnedGroup> {
        // SAFETY: the layout is not empty.
        let raw = unsafe { alloc(Layout::new::<TaskGroup>()) }.cast::<TaskGroup>();
        let group = NonNull::new(raw)?;
        // SAFETY: fresh memory of the layout.
        unsafe {
            group.write(TaskGroup {
                cpus: [null_mut(); MAX_CPUS],
                shares: AtomicU32::new(DEFAULT_SHARES),
                idle: AtomicBool::new(false),
                limited: AtomicBool::new(false),
                bandwidth: SpinLock::new(lock_class!("cfs_bandwidth"), Bandwidth::new()),
                slack,
            });
        }
        // From here on a failure frees what there is.
        let owned = OwnedGroup(group);
        for cpu in 0..nr_cpus.min(MAX_CPUS) {
            // SAFETY: the layout is not empty.
            let raw = unsafe { alloc(Layout::new::<GroupCpu>()) }.cast::<GroupCpu>();
            let here = NonNull::new(raw)?;
            // SAFETY: fresh memory; the group is not shared yet.
            unsafe {
                here.write(GroupCpu {
                    q: FairRq::new(&Tunables::for_cpus(nr_cpus)),
                    se: Entity::new(Params::DEFAULT),
                    parent: parent.and_then(|p| NonNull::new(p.cpus[cpu])),
                    group,
                    tasks: 0,
                    avg: Avg::new(0),
                    remaining: 0,
                    throttled: false,
                    throttled_at: 0,
                    next_throttled: None,
                    published: [const { AtomicU64::new(0) }; 3],
                });
                (*here.as_ptr()).se.owns = Some(here);
                (*group.as_ptr()).cpus[cpu] = here.as_ptr();
            }
        }
        Some(owned)
    }
}

impl core::ops::Deref for OwnedGroup {
    type Target = TaskGroup;
    fn deref(&self) -> &TaskGroup {
        // SAFETY: it lives as long as its owner.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedGroup {
    fn drop(&mut self) {
        // SAFETY: no task and no group refers to it, so its queues are empty and its entities on no queue; all was allocated with
        // these layouts.
        unsafe {
            for here in self.cpus.into_iter().filter(|here| !here.is_null()) {
                dealloc(here.cast(), Layout::new::<GroupCpu>());
            }
            dealloc(self.0.as_ptr().cast(), Layout::new::<TaskGroup>());
        }
    }
}

impl TaskGroup {
    /// What it is on `cpu`.
    #[inline]
    pub(in crate::class) fn on(&self, cpu: usize) -> Option<NonNull<GroupCpu>> {
        NonNull::new(*self.cpus.get(cpu)?)
    }

    /// The CPUs that it has a part for.
    pub fn cpus(&self) -> impl Iterator<Item = CpuId> {
        self.cpus.into_iter().enumerate().filter(|(_, here)| !here.is_null()).filter_map(|(i, _)| CpuId::new(i))
    }

    /// Its weight against its siblings; 1024 by default.
    pub fn shares(&self) -> u32 {
        self.shares.load(Relaxed)
    }

    /// Whether its tasks give way to those of all others that do not (`cpu.idle`).
    pub fn is_idle(&self) -> bool {
        self.idle.load(Relaxed)
    }

    /// Calls `f` on its limit.
    pub fn with_bandwidth<R>(&self, f: impl FnOnce(&mut Bandwidth) -> R) -> R {
        f(&mut self.bandwidth.lock_irq())
    }

    /// Notes weight and idleness; the CPUs are told by [`super::super::RunQueue::group_changed`].
    pub fn note_shares(&self, shares: u32, idle: bool) {
        self.shares.store(shares, Relaxed);
        self.idle.store(idle, Relaxed);
    }

    /// Limits it from `now` on; the CPUs are told by [`super::super::RunQueue::group_changed`].
    pub fn note_bandwidth(&self, quota: Option<Nanos>, period: Nanos, burst: Nanos, now: Nanos) {
        self.with_bandwidth(|b| b.set(quota, period, burst, now));
        self.limited.store(quota.is_some(), Relaxed);
    }

    fn is_limited(&self) -> bool {
        self.limited.load(Relaxed)
    }
}
