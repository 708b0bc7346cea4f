//! Work queues: things to do soon, in a task, asked for from any context (Linux: workqueue).
//!
//! A [`Work`] item is part of the object that it works on: queueing sets a bit, links it, and wakes a worker; nothing is
//! allocated. Workers are tasks of the queue, so items are scheduled, preempted and charged like everything else, and an
//! [`AsyncWork`] may await: its future has its place inside the item.
//!
//! | queue | runs an item |
//! |---|---|
//! | [`WorkQueue::per_cpu`] | on the CPU that queued it |
//! | [`WorkQueue::unbound`] | anywhere |
//!
//! Rules, as in Linux: an item is in a queue at most once (PENDING); it may be queued again from the moment its function
//! begins; it never runs twice at the same time; items of one CPU's pool *begin* in the order in which they were queued,
//! and up to `max_active` of them are under way at a time. The lock of a pool is a leaf, taken with interrupts masked.

mod delayed;
mod item;
mod pool;
mod worker;

pub use delayed::DelayedWork;
pub use item::{AsyncWork, Work, WorkRef};
pub use pool::set_unbound_cpus;

use crate::atomic::{AtomicU32, AtomicUsize, Ordering, fence};
use crate::cpu::{CpuId, MAX_CPUS, ONLINE, PerCpu};
use crate::sync::{LockClass, Mutex};
use crate::task::SpawnError;
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::ptr::NonNull;
use item::{DEFERRED, PENDING, RUNNING};
use pool::Pool;

static FLUSH: LockClass = LockClass::new("workqueue_flush");

/// A queue with its workers. A static, or leaked: its workers live for ever.
pub struct WorkQueue {
    name: &'static str,
    max_active: u32,
    per_cpu: bool,
    pools: PerCpu<Pool>,
    /// New items are counted in `in_flight[color & 1]`.
    color: AtomicU32,
    in_flight: [AtomicUsize; 2],
    flushing: Mutex<()>,
    /// Woken after each item.
    done: WaitQueue,
}

impl WorkQueue {
    /// A queue called `name` whose items run on the CPU that queued them, at most `max_active` of each CPU at a time.
    pub const fn per_cpu(name: &'static str, max_active: u32) -> Self {
        Self::new(name, max_active, true)
    }

    /// A queue called `name` whose items run anywhere, at most `max_active` at a time.
    pub const fn unbound(name: &'static str, max_active: u32) -> Self {
        Self::new(name, max_active, false)
    }

    const fn new(name: &'static str, max_active: u32, per_cpu: bool) -> Self {
        WorkQueue {
            name,
            max_active: if max_active == 0 { 1 } else { max_active },
            per_cpu,
            pools: PerCpu::new([const { Pool::new() }; MAX_CPUS]),
            color: AtomicU32::new(0),
            in_flight: [AtomicUsize::new(0), AtomicUsize::new(0)],
            flushing: Mutex::new(&FLUSH, ()),
            done: WaitQueue::new(),
        }
    }

    /// Makes the first worker of each pool that has none: for CPUs that are online, so call it again when more are. Items
    /// that were queued before run now. Not in an interrupt. ENOMEM when a worker could not be made.
    pub fn start(&'static self) -> Result<(), SpawnError> {
        if !self.per_cpu {
            return self.pools.of(CpuId::BOOT).ensure_worker(self, None);
        }
        for cpu in ONLINE.load().iter() {
            self.pools.of(cpu).ensure_worker(self, Some(cpu))?;
        }
        Ok(())
    }

    /// Queues `work`; `false` if it is pending already. Any context.
    pub fn queue<R: WorkRef>(&'static self, work: R) -> bool {
        self.queue_on(CpuId::current(), work)
    }

    /// Queues `work` for `cpu`, if this is a per-CPU queue and the CPU has a worker. Any context.
    pub fn queue_on<R: WorkRef>(&'static self, cpu: CpuId, work: R) -> bool {
        let raw = work.into_raw();
        // SAFETY: the reference that was given keeps it alive.
        let item = unsafe { raw.as_ref() };
        if !item.set_pending(R::release) {
            // SAFETY: the reference was made by `into_raw`, and is not used any more.
            unsafe { R::release(raw) };
            return false;
        }
        self.push(cpu, raw);
        true
    }

    /// Links an item whose PENDING bit the caller has set.
    fn push(&'static self, cpu: CpuId, work: NonNull<Work>) {
        // SAFETY: PENDING items are alive.
        unsafe { work.as_ref() }.set_color(self.enter());
        self.pool_for(cpu).push(work);
    }

    fn pool_for(&self, cpu: CpuId) -> &Pool {
        let pool = self.pools.of(cpu);
        if self.per_cpu && pool.has_worker() { pool } else { self.pools.of(CpuId::BOOT) }
    }

    /// Counts an item in; returns the color under which it is counted.
    ///
    /// The color is looked at again after the count: a flush that changed it in between either sees the count or is seen.
    fn enter(&self) -> u32 {
        loop {
            let color = self.color.load(Ordering::Relaxed) & 1;
            self.in_flight[color as usize].fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.color.load(Ordering::Relaxed) & 1 == color {
                return color;
            }
            self.leave(color);
        }
    }

    /// Counts an item out.
    fn leave(&self, color: u32) {
        self.in_flight[color as usize].fetch_sub(1, Ordering::Release);
        self.done.wake_all();
    }

    /// Waits until every item that was queued before the call has run. Not in an item of this queue.
    pub async fn flush(&'static self) {
        let _one_at_a_time = self.flushing.lock(wait_site!("flush_workqueue")).await;
        // The other column is empty: the flush before waited for that.
        let old = self.color.fetch_add(1, Ordering::Relaxed) as usize & 1;
        fence(Ordering::SeqCst);
        let empty = || (self.in_flight[old].load(Ordering::Acquire) == 0).then_some(());
        while self.done.wait_until(wait_site!("flush_workqueue"), WaitMode::Uninterruptible, empty).await.is_err() {}
    }

    /// Takes `work` out of this queue if it is pending (`true`), and waits until it does not run. Not in its own
    /// function. Whoever may queue it again must be stopped by the caller.
    pub async fn cancel_sync(&'static self, work: &Work) -> bool {
        let cancelled = self.cancel(work);
        let idle = || (work.state() & RUNNING == 0).then_some(());
        while self.done.wait_until(wait_site!("cancel_work_sync"), WaitMode::Uninterruptible, idle).await.is_err() {}
        cancelled
    }

    /// Takes `work` out of this queue if it is pending. It may be running. Any context.
    pub fn cancel(&'static self, work: &Work) -> bool {
        let deferred = (work.color(), work.release_fn());
        let counted = match pool::remove(work) {
            Some(counted) => counted,
            None if work.clear_bits_if(DEFERRED | PENDING, DEFERRED | PENDING) => deferred,
            None => return false,
        };
        // SAFETY: PENDING was taken off here, so the reference that came with it is ours to give back, once.
        unsafe { (counted.1)(NonNull::from(work)) };
        self.leave(counted.0);
        true
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The queue for short items that care about their CPU's caches (Linux: system_wq).
pub static SYSTEM: WorkQueue = WorkQueue::per_cpu("events", 4);

/// The queue for everything else (Linux: system_unbound_wq).
pub static UNBOUND: WorkQueue = WorkQueue::unbound("events_unbound", 8);

/// Starts the system's queues. Once the executor runs; again when further CPUs are online.
pub fn start_system() -> Result<(), SpawnError> {
    SYSTEM.start()?;
    UNBOUND.start()
}
