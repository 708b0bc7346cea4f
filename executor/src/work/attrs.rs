//! What can be changed and seen of queues from outside: `/sys/devices/virtual/workqueue`, freezing.

use super::pool::{CPU_POOLS, HIGHPRI_NICE};
use super::{Pool, WorkQueue};
use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::cpu::CpuMask;
use core::ptr::{from_ref, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU64};

/// The most items of a queue that can be under way on a CPU (Linux: WQ_MAX_ACTIVE).
pub const MAX_ACTIVE: u32 = 512;
/// What a queue has that asks for nothing (WQ_DFL_ACTIVE).
pub const DEFAULT_ACTIVE: u32 = 256;

/// All queues that were started, the last first.
static QUEUES: AtomicPtr<WorkQueue> = AtomicPtr::new(null_mut());
/// How many of them have a pool of their own: it is in the names of their workers.
static UNBOUND_QUEUES: AtomicU32 = AtomicU32::new(0);
/// How many CPUs there can be; see [`set_possible_cpus`].
static POSSIBLE: AtomicU32 = AtomicU32::new(1);
static FROZEN: AtomicBool = AtomicBool::new(false);
/// See [`set_unbound_cpus`]; 0: all.
static UNBOUND_CPUS: AtomicU64 = AtomicU64::new(0);

/// How many CPUs there can be: pools without a CPU are numbered behind the two of each CPU. Before the first queue is started.
pub fn set_possible_cpus(count: u32) {
    POSSIBLE.store(count, Ordering::Relaxed);
}

/// Workers that belong to no CPU run on those of `mask` (Linux: wq_unbound_cpumask). Not in an interrupt.
pub fn set_unbound_cpus(mask: CpuMask) {
    UNBOUND_CPUS.store(mask.0, Ordering::Relaxed);
    for_each_queue(|queue| {
        if queue.is_unbound() {
            queue.own_pool().renew_attributes();
        }
    });
}

/// Where workers that belong to no CPU may run.
pub fn unbound_cpus() -> CpuMask {
    match UNBOUND_CPUS.load(Ordering::Relaxed) {
        0 => CpuMask::ALL,
        mask => CpuMask(mask),
    }
}

/// Calls `f` with every queue that was started.
pub fn for_each_queue(mut f: impl FnMut(&'static WorkQueue)) {
    let mut at = QUEUES.load(Ordering::Acquire).cast_const();
    // SAFETY: queues live for ever, and are never taken off the list.
    while let Some(queue) = unsafe { at.as_ref() } {
        f(queue);
        at = queue.next.load(Ordering::Acquire);
    }
}

/// Enters a queue in the list, once; whether it was not there.
pub(super) fn register(queue: &'static WorkQueue) -> bool {
    if queue.registered.swap(true, Ordering::AcqRel) {
        return false;
    }
    if queue.is_unbound() {
        if queue.is_highpri() {
            queue.own_pool().set_attributes(HIGHPRI_NICE, CpuMask::ALL);
        }
        let number = 2 * POSSIBLE.load(Ordering::Relaxed) + UNBOUND_QUEUES.fetch_add(1, Ordering::Relaxed);
        queue.own_pool().set_number(number);
    }
    let this = from_ref(queue).cast_mut();
    let push = |first: *mut WorkQueue| {
        queue.next.store(first, Ordering::Relaxed);
        Some(this)
    };
    // The closure never refuses.
    let _ = QUEUES.fetch_update(Ordering::AcqRel, Ordering::Acquire, push);
    true
}

/// From now on no item of a [freezable](WorkQueue::freezable) queue begins (Linux: freeze_workqueues_begin).
pub fn freeze_all() {
    FROZEN.store(true, Ordering::Release);
    for_each_queue(WorkQueue::renew_limit);
}

/// Whether an item of a freezable queue is still under way (freeze_workqueues_busy).
pub fn freezing_waits() -> bool {
    let mut waits = false;
    for_each_queue(|queue| waits |= queue.is_freezable() && queue.active() != 0);
    waits
}

/// Takes [`freeze_all`] back; what was held back begins.
pub fn thaw_all() {
    FROZEN.store(false, Ordering::Release);
    for_each_queue(WorkQueue::renew_limit);
}

pub(super) fn is_frozen() -> bool {
    FROZEN.load(Ordering::Acquire)
}

impl WorkQueue {
    /// How many items may be under way, of each CPU for a queue that is bound to them.
    pub fn max_active(&self) -> u32 {
        self.max_active.load(Ordering::Relaxed)
    }

    /// Changes it, from 1 to [`MAX_ACTIVE`]: what is beyond is cut. Items that were held back begin. Not for ordered queues.
    pub fn set_max_active(&'static self, n: u32) {
        self.max_active.store(n.clamp(1, MAX_ACTIVE), Ordering::Relaxed);
        self.renew_limit();
    }

    /// The nice value of its workers.
    pub fn nice(&self) -> i32 {
        match (self.is_unbound(), self.is_highpri()) {
            (true, _) => self.own_pool().nice(),
            (false, true) => HIGHPRI_NICE,
            (false, false) => 0,
        }
    }

    /// The number of an unbound queue's pool, as in the names of its workers.
    pub fn pool_number(&self) -> u32 {
        self.own_pool().number()
    }

    /// Where the workers of an unbound queue may run, of what [`unbound_cpus`] leaves them; if nothing, wherever that says.
    pub fn cpus(&self) -> CpuMask {
        self.own_pool().cpus()
    }

    /// Changes nice value and CPUs of the workers of an unbound queue. Not in an interrupt.
    pub fn set_attributes(&'static self, nice: i32, cpus: CpuMask) {
        if self.is_unbound() {
            self.own_pool().set_attributes(nice, cpus);
        }
    }

    /// What may be under way changes: what is held back and need not be begins.
    pub(super) fn renew_limit(&'static self) {
        let stopped = self.drainers.load(Ordering::Relaxed) != 0;
        self.limit.store(if stopped { 0 } else { self.allowed() }, Ordering::Release);
        self.for_each_pwq(|pwq, items| {
            while let Some(work) = pwq.next_allowed(self.allowed()) {
                items.add(work);
            }
        });
    }

    /// How many of its items may be under way now.
    pub(super) fn allowed(&self) -> u32 {
        if self.is_freezable() && is_frozen() { 0 } else { self.max_active() }
    }

    /// The pool of an unbound queue; that of another one has no worker.
    pub(super) fn own_pool(&self) -> &Pool {
        &self.pool
    }

    /// How many of its items are under way or may be taken.
    fn active(&'static self) -> u32 {
        let mut active = 0;
        self.for_each_pwq(|pwq, _| active += pwq.active());
        active
    }
}

/// Makes the first worker of each pool of the CPUs in `cpus`.
pub(super) fn start_pools(cpus: CpuMask) -> Result<(), crate::task::SpawnError> {
    for cpu in cpus.iter() {
        for pools in &CPU_POOLS {
            pools.of(cpu).ensure_worker(Some(cpu))?;
        }
    }
    Ok(())
}
