//! Work queues: things to do soon, in a task, asked for from any context (Linux: workqueue).
//!
//! A [`Work`] item is part of the object that it works on: queueing sets a bit, links it, and wakes a worker; nothing is
//! allocated. Workers are tasks that all queues share, so items are scheduled, preempted and charged like everything else, and an
//! [`AsyncWork`] may await: its future has its place inside the item, and meanwhile its worker's place is another's.
//!
//! ```text
//!   queue ─► WorkQueue ─► Pwq, one per CPU ─────────────► Pool ─► Worker, Worker, …
//!                         max_active, colors, held back    two per CPU (nice 0, −20); each unbound queue has its own
//! ```
//!
//! | queue | runs an item |
//! |---|---|
//! | [`WorkQueue::per_cpu`] | on the CPU that queued it |
//! | [`WorkQueue::unbound`] | anywhere, side by side |
//! | [`WorkQueue::ordered`] | anywhere, one at a time, in the order in which they were queued |
//!
//! [`highpri`](WorkQueue::highpri), [`cpu_intensive`](WorkQueue::cpu_intensive), [`freezable`](WorkQueue::freezable),
//! [`mem_reclaim`](WorkQueue::mem_reclaim) and [`sysfs`](WorkQueue::sysfs) are Linux's flags.
//!
//! Rules, as in Linux: an item is in a queue at most once (PENDING); it may be queued again from the moment its function
//! begins; it never runs twice at the same time; items *begin* in the order in which they were queued, and up to `max_active` of a queue
//! are under way on a CPU at a time. The lock of a pool is a leaf, taken with interrupts masked.

mod attrs;
mod cancel;
mod delayed;
mod flush;
mod idle;
mod item;
mod list;
mod name;
mod pool;
mod pwq;
mod staff;
mod worker;

pub use attrs::{
    DEFAULT_ACTIVE, MAX_ACTIVE, for_each_queue, freeze_all, freezing_waits, set_possible_cpus, set_unbound_cpus, thaw_all, unbound_cpus,
};
pub use delayed::DelayedWork;
pub use item::{AsyncWork, Work, WorkRef};
pub use name::queue_of;
#[cfg(target_os = "none")]
pub use pwq::told;

use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::class::{Params, Policy};
use crate::cpu::{CpuId, MAX_CPUS, ONLINE, PerCpu};
use crate::sync::{LockClass, SpinLock};
use crate::task::{self, SpawnError, Spawned, Task};
use crate::wait::WaitQueue;
use core::ptr::{self, NonNull, from_ref, null, null_mut};
use core::sync::atomic::AtomicBool;
use flush::Flushes;
use item::Release;
use pool::{CPU_POOLS, HIGHPRI_NICE, Items, Pool, Queued};
use pwq::Pwq;
use worker::Worker;

static FLUSH: LockClass = LockClass::new("workqueue_flush");

const UNBOUND_FLAG: u32 = 1;
const HIGHPRI: u32 = 2;
const CPU_INTENSIVE: u32 = 4;
const FREEZABLE: u32 = 8;
const MEM_RECLAIM: u32 = 16;
const SYSFS: u32 = 32;

/// A queue. A static, or leaked: workers know it for ever.
pub struct WorkQueue {
    /// How many items may be under way on a CPU, as queueing sees it; 0: look why.
    limit: AtomicU32,
    /// New items are counted under this color.
    color: AtomicU32,
    flags: u32,
    max_active: AtomicU32,
    pwqs: PerCpu<Pwq>,
    /// Of an unbound queue.
    pool: Pool,
    name: &'static str,
    /// Those who wait until there is nothing more; only items of the queue may queue meanwhile.
    drainers: AtomicU32,
    flushes: SpinLock<Flushes>,
    /// Woken after each item.
    done: WaitQueue,
    rescuer: AtomicPtr<Task>,
    /// The rescuer is wanted.
    called: AtomicBool,
    registered: AtomicBool,
    next: AtomicPtr<WorkQueue>,
}

impl WorkQueue {
    /// A queue called `name` whose items run on the CPU that queued them, at most `max_active` of each CPU at a time
    /// ([`DEFAULT_ACTIVE`] if it does not matter).
    pub const fn per_cpu(name: &'static str, max_active: u32) -> Self {
        Self::new(name, max_active, 0)
    }

    /// A queue called `name` whose items run anywhere, at most `max_active` at a time.
    pub const fn unbound(name: &'static str, max_active: u32) -> Self {
        Self::new(name, max_active, UNBOUND_FLAG)
    }

    /// A queue called `name` whose items run one after the other, in the order in which they were queued.
    pub const fn ordered(name: &'static str) -> Self {
        Self::unbound(name, 1)
    }

    const fn new(name: &'static str, max_active: u32, flags: u32) -> Self {
        let max_active = if max_active == 0 { 1 } else { max_active };
        WorkQueue {
            limit: AtomicU32::new(max_active),
            color: AtomicU32::new(0),
            flags,
            max_active: AtomicU32::new(max_active),
            pwqs: PerCpu::new([const { Pwq::new() }; MAX_CPUS]),
            pool: Pool::new(0),
            name,
            drainers: AtomicU32::new(0),
            flushes: SpinLock::new(&FLUSH, Flushes::NONE),
            done: WaitQueue::new(),
            rescuer: AtomicPtr::new(null_mut()),
            called: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            next: AtomicPtr::new(null_mut()),
        }
    }

    const fn with(mut self, flag: u32) -> Self {
        self.flags |= flag;
        self
    }

    /// Its workers have nice −20 (Linux: WQ_HIGHPRI).
    pub const fn highpri(self) -> Self {
        self.with(HIGHPRI)
    }

    /// Its items may compute for long: others of the CPU do not wait for them (WQ_CPU_INTENSIVE).
    pub const fn cpu_intensive(self) -> Self {
        self.with(CPU_INTENSIVE)
    }

    /// Its items do not begin while the system is frozen (WQ_FREEZABLE).
    pub const fn freezable(self) -> Self {
        self.with(FREEZABLE)
    }

    /// Its items are needed to get memory back: there is a worker for them even when none can be made (WQ_MEM_RECLAIM).
    pub const fn mem_reclaim(self) -> Self {
        self.with(MEM_RECLAIM)
    }

    /// It has a directory in `/sys/devices/virtual/workqueue` (WQ_SYSFS).
    pub const fn sysfs(self) -> Self {
        self.with(SYSFS)
    }

    /// Makes the first workers: for CPUs that are online, so call it again when more are. Items that were queued before run now. Not in an
    /// interrupt. ENOMEM when a worker could not be made.
    pub fn start(&'static self) -> Result<(), SpawnError> {
        if attrs::register(self) && self.flags & MEM_RECLAIM != 0 {
            let params = Params { policy: Policy::Normal, nice: HIGHPRI_NICE as i8, rt_priority: 0 };
            staff::introduce(Spawned::new(Worker::new(&self.pool, Some(self), 0), params, self.name.as_bytes(), None, null())?);
        }
        if self.is_unbound() { self.pool.ensure_worker(None) } else { attrs::start_pools(ONLINE.load()) }
    }

    /// Queues `work`; `false` if it is pending already. Any context.
    #[inline]
    pub fn queue<R: WorkRef>(&'static self, work: R) -> bool {
        self.queue_on(CpuId::current(), work)
    }

    /// Queues `work` for `cpu`, if this is a per-CPU queue and the CPU has a worker. Any context.
    #[inline]
    pub fn queue_on<R: WorkRef>(&'static self, cpu: CpuId, work: R) -> bool {
        let raw = work.into_raw();
        let (pwq, pool) = self.place(cpu);
        let queued = match pool.queue(self, pwq, raw, R::release, false) {
            Queued::Look => self.queue_looking(cpu, raw, R::release),
            queued => queued == Queued::Yes,
        };
        if !queued {
            // SAFETY: the reference was made by `into_raw`, and is not used any more.
            unsafe { R::release(raw) };
        }
        queued
    }

    /// The queue is frozen, or drained: then only its own items may queue.
    #[cold]
    fn queue_looking(&'static self, cpu: CpuId, work: NonNull<Work>, release: Release) -> bool {
        if self.drainers.load(Ordering::Acquire) != 0 && !self.runs_current() {
            return false;
        }
        let (pwq, pool) = self.place(cpu);
        pool.queue(self, pwq, work, release, true) == Queued::Yes
    }

    /// Whether the current task is a worker that runs an item of this queue.
    fn runs_current(&'static self) -> bool {
        let Some(current) = task::current() else { return false };
        let mut ours = ptr::eq(self.rescuer.load(Ordering::Relaxed), current);
        self.for_each_pool(|pool| {
            pool.for_each_worker(|node| ours |= ptr::eq(node.task.get(), current) && node.queue().is_some_and(|queue| ptr::eq(queue, self)))
        });
        ours
    }

    /// Links an item whose PENDING bit the caller has set.
    fn push_pending(&'static self, cpu: CpuId, work: NonNull<Work>) {
        let (pwq, pool) = self.place(cpu);
        pool.queue_pending(pwq, work);
    }

    /// Where items go that are queued for `cpu`.
    #[inline]
    fn place(&'static self, cpu: CpuId) -> (&'static Pwq, &'static Pool) {
        let pwq = self.pwqs.of(if self.is_unbound() { CpuId::BOOT } else { cpu });
        match pwq.pool() {
            Some(pool) => (pwq, pool),
            None => self.first_place(cpu),
        }
    }

    /// The same for the first time: a CPU without workers leaves it to the boot CPU's.
    #[cold]
    fn first_place(&'static self, cpu: CpuId) -> (&'static Pwq, &'static Pool) {
        let pools = &CPU_POOLS[(self.flags & HIGHPRI != 0) as usize];
        let cpu = if self.is_unbound() || !pools.of(cpu).has_worker() { CpuId::BOOT } else { cpu };
        let pool = if self.is_unbound() { &self.pool } else { pools.of(cpu) };
        let pwq = self.pwqs.of(cpu);
        pwq.tie(self, pool);
        (pwq, pool)
    }

    /// Calls `f` with what the queue has on each CPU where there was an item, under the lock of its pool.
    fn for_each_pwq(&'static self, mut f: impl FnMut(&'static Pwq, &mut Items)) {
        for cpu in (0..MAX_CPUS).filter_map(CpuId::new) {
            let pwq = self.pwqs.of(cpu);
            if let Some(pool) = pwq.pool() {
                f(pwq, &mut pool.lock());
            }
        }
    }

    /// Calls `f` with each pool in which there was an item of this queue.
    fn for_each_pool(&'static self, mut f: impl FnMut(&'static Pool)) {
        for cpu in (0..MAX_CPUS).filter_map(CpuId::new) {
            if let Some(pool) = self.pwqs.of(cpu).pool() {
                f(pool);
            }
        }
    }

    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn color(&self) -> u32 {
        self.color.load(Ordering::Relaxed)
    }

    fn is_cpu_intensive(&self) -> bool {
        self.flags & CPU_INTENSIVE != 0
    }

    fn is_freezable(&self) -> bool {
        self.flags & FREEZABLE != 0
    }

    /// Whether its workers have nice −20 to begin with.
    pub fn is_highpri(&self) -> bool {
        self.flags & HIGHPRI != 0
    }

    /// Whether it is bound to no CPU.
    pub fn is_unbound(&self) -> bool {
        self.flags & UNBOUND_FLAG != 0
    }

    /// Whether it is shown in sysfs.
    pub fn in_sysfs(&self) -> bool {
        self.flags & SYSFS != 0
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// An item has run.
    #[inline]
    fn note_done(&self) {
        self.done.wake_all();
    }

    fn set_rescuer(&self, task: &Task) {
        self.rescuer.store(from_ref(task).cast_mut(), Ordering::Release);
    }

    /// There is no worker for an item of this queue: wakes the rescuer, if it has one. With a pool's lock held, or not.
    fn call_rescuer(&self) {
        // SAFETY: the task of a rescuer, which does not end.
        if let Some(task) = unsafe { self.rescuer.load(Ordering::Acquire).as_ref() } {
            self.called.store(true, Ordering::Release);
            task.wake();
        }
    }

    /// Whether the rescuer was called since.
    fn take_call(&self) -> bool {
        self.called.swap(false, Ordering::AcqRel)
    }
}

/// The queue for short items that care about their CPU's caches (Linux: system_wq).
pub static SYSTEM: WorkQueue = WorkQueue::per_cpu("events", DEFAULT_ACTIVE);
/// The same for those that cannot wait (system_highpri_wq).
pub static HIGHPRI_QUEUE: WorkQueue = WorkQueue::per_cpu("events_highpri", DEFAULT_ACTIVE).highpri();
/// The queue for everything else (system_unbound_wq).
/// Unlike Linux's it can be kept off CPUs by user space: the input of terminals is here.
pub static UNBOUND: WorkQueue = WorkQueue::unbound("events_unbound", MAX_ACTIVE).sysfs();

/// Starts the system's queues. Once the executor runs; again when further CPUs are online.
pub fn start_system() -> Result<(), SpawnError> {
    SYSTEM.start()?;
    HIGHPRI_QUEUE.start()?;
    UNBOUND.start()
}
