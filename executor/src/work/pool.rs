//! A pool: one list of pending items and the workers that take from it.

use super::WorkQueue;
use super::item::{PENDING, Release, Work};
use super::worker::{Idle, Running, Worker};
use crate::atomic::{AtomicU32, Ordering};
use crate::class::{Params, Policy};
use crate::cpu::{CpuId, CpuMask};
use crate::platform;
use crate::sync::{LockClass, SpinLock};
use crate::task::{Hooks, SpawnError, Spawned};
use core::ptr::{self, NonNull, null};
use core::sync::atomic::AtomicU64;

static WORK_POOL: LockClass = LockClass::new("work_pool");

/// Pending items, oldest first, and the workers that wait for one, the last to wait first.
struct Items {
    first: *const Work,
    last: *const Work,
    idle: *const Idle,
}

// SAFETY: used under its lock.
unsafe impl Send for Items {}

pub(super) struct Pool {
    items: SpinLock<Items>,
    /// How many workers were made.
    workers: AtomicU32,
}

/// See [`set_unbound_cpus`]; 0: all.
static UNBOUND_CPUS: AtomicU64 = AtomicU64::new(0);

/// Workers that belong to no CPU, and are made from now on, run on those of `mask` (Linux: wq_unbound_cpumask).
pub fn set_unbound_cpus(mask: CpuMask) {
    UNBOUND_CPUS.store(mask.0, Ordering::Relaxed);
}

fn unbound_cpus() -> CpuMask {
    match UNBOUND_CPUS.load(Ordering::Relaxed) {
        0 => CpuMask::ALL,
        mask => CpuMask(mask),
    }
}

impl Pool {
    pub(super) const fn new() -> Pool {
        Pool {
            items: SpinLock::new(&WORK_POOL, Items { first: null(), last: null(), idle: null() }),
            workers: AtomicU32::new(0),
        }
    }

    pub(super) fn has_worker(&self) -> bool {
        self.workers.load(Ordering::Relaxed) != 0
    }

    /// Links `work`, whose PENDING bit is the caller's, and wakes a worker. Any context.
    #[inline]
    pub(super) fn push(&self, work: NonNull<Work>) {
        let mut items = self.items.lock_irq();
        // SAFETY: pending items are alive; the links are guarded by the lock.
        unsafe {
            let item = work.as_ref();
            item.pool.store(ptr::from_ref(self).cast_mut(), Ordering::Release);
            item.next.set(null());
            item.prev.set(items.last);
            item.linked.set(true);
            match items.last.as_ref() {
                Some(last) => last.next.set(item),
                None => items.first = item,
            }
            items.last = item;
        }
        items.wake_one();
    }

    /// Takes `item`, which is linked here, out.
    fn unlink(items: &mut Items, item: &Work) {
        let (prev, next) = (item.prev.get(), item.next.get());
        // SAFETY: neighbours are linked, hence alive, and guarded by the lock that guards `items`.
        unsafe {
            match prev.as_ref() {
                Some(p) => p.next.set(next),
                None => items.first = next,
            }
            match next.as_ref() {
                Some(n) => n.prev.set(prev),
                None => items.last = prev,
            }
        }
        item.linked.set(false);
    }

    /// Takes the oldest item that can run now, for a worker whose node is `idle`; whether others wait behind it. Without one the
    /// worker is put on the list of those that wait.
    #[inline]
    pub(super) fn take(&self, idle: &Idle) -> Option<(Running, bool)> {
        let mut items = self.items.lock_irq();
        while let Some(work) = NonNull::new(items.first.cast_mut()) {
            // SAFETY: linked, hence alive.
            let item = unsafe { work.as_ref() };
            Self::unlink(&mut items, item);
            // Both are the next caller's of `queue` as soon as PENDING is cleared.
            let (color, release) = (item.color(), item.release_fn());
            // One that runs already is linked again by the worker that runs it.
            if item.begin() {
                items.remove_idle(idle);
                return Some((Running::new(work, release, color), !items.first.is_null()));
            }
        }
        items.add_idle(idle);
        None
    }

    /// Takes a worker off the list of those that wait, for ever.
    pub(super) fn forget(&self, idle: &Idle) {
        self.items.lock_irq().remove_idle(idle);
    }

    /// Whether nobody waits for an item.
    fn is_busy(&self) -> bool {
        self.items.lock_irq().idle.is_null()
    }

    /// An item that waits may be one that others of this pool must run for: makes another worker, if none is idle (Linux keeps an
    /// idle one for the same reason), and if there are fewer than `max_active`.
    pub(super) fn help(&'static self, queue: &'static WorkQueue, cpu: Option<CpuId>) {
        if !self.is_busy() {
            return;
        }
        let more = |n: u32| (n < queue.max_active).then_some(n + 1);
        if self.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            // ENOMEM leaves the items to the workers that there are.
            let _ = self.spawn(queue, cpu);
        }
    }

    /// Makes the first worker if there is none.
    pub(super) fn ensure_worker(&'static self, queue: &'static WorkQueue, cpu: Option<CpuId>) -> Result<(), SpawnError> {
        if self.workers.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return Ok(());
        }
        self.spawn(queue, cpu)
    }

    /// Makes a worker; its place in `workers` is taken already.
    fn spawn(&'static self, queue: &'static WorkQueue, cpu: Option<CpuId>) -> Result<(), SpawnError> {
        let params = Params { policy: Policy::Normal, nice: 0, rt_priority: 0 };
        let name = worker_name(cpu, self.workers.load(Ordering::Relaxed).wrapping_sub(1));
        let made = Spawned::new(Worker::new(queue, self, cpu), params, &name, &Hooks::NONE, null());
        match made {
            Ok(spawned) => {
                spawned.task().set_affinity(cpu.map_or_else(unbound_cpus, CpuMask::of));
                if let Some(platform) = platform::get() {
                    platform.kernel_task(spawned.task());
                }
                drop(spawned.start());
                Ok(())
            }
            Err(e) => {
                self.workers.fetch_sub(1, Ordering::Relaxed);
                Err(e)
            }
        }
    }
}

impl Items {
    /// Wakes the worker that began to wait last: its future is the warmest.
    fn wake_one(&mut self) {
        // SAFETY: a worker's node stays where it is, and alive, until it is off the list; the lock that guards `self` is held.
        if let Some(idle) = unsafe { self.idle.as_ref() } {
            self.idle = idle.next.get();
            idle.listed.set(false);
            // SAFETY: the node is part of the task.
            if let Some(task) = unsafe { idle.task.get().as_ref() } {
                task.wake_in_lock();
            }
        }
    }

    fn add_idle(&mut self, idle: &Idle) {
        if !idle.listed.replace(true) {
            idle.next.set(self.idle);
            self.idle = idle;
        }
    }

    /// Takes `idle` off the list, if it is on it: a worker that was polled without having been woken.
    fn remove_idle(&mut self, idle: &Idle) {
        if idle.listed.replace(false) {
            self.unlist(idle);
        }
    }

    #[cold]
    fn unlist(&mut self, idle: &Idle) {
        if ptr::eq(self.idle, idle) {
            self.idle = idle.next.get();
            return;
        }
        let mut at = self.idle;
        // SAFETY: as in `wake_one`.
        while let Some(node) = unsafe { at.as_ref() } {
            if ptr::eq(node.next.get(), idle) {
                node.next.set(idle.next.get());
                return;
            }
            at = node.next.get();
        }
    }
}

/// The `n`-th worker's name: `kworker/0:1`, and `kworker/u:1` for one that is bound to no CPU. At most two digits each.
fn worker_name(cpu: Option<CpuId>, n: u32) -> [u8; 13] {
    let digits = |n: usize| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    let mut name = *b"kworker/\0\0\0\0\0";
    let mut at = 8;
    let mut put = |bytes: &[u8]| {
        for b in bytes {
            name[at] = *b;
            at += 1;
        }
    };
    let number = |put: &mut dyn FnMut(&[u8]), n: usize| {
        let d = digits(n);
        put(if n < 10 { &d[1..] } else { &d });
    };
    match cpu {
        Some(cpu) => number(&mut put, cpu.index()),
        None => put(b"u"),
    }
    put(b":");
    number(&mut put, n as usize);
    name
}

/// Takes `work` out of the pool in which it is linked, and clears PENDING. Returns its count's color and how to release
/// it; `None` if it is in no pool.
pub(super) fn remove(work: &Work) -> Option<(u32, Release)> {
    loop {
        let pool = work.pool.load(Ordering::Acquire);
        // SAFETY: pools are parts of statics.
        let p = unsafe { pool.as_ref() }?;
        let mut items = p.items.lock_irq();
        if work.pool.load(Ordering::Acquire) != pool {
            continue;
        }
        if !work.linked.get() {
            return None;
        }
        Pool::unlink(&mut items, work);
        let counted = (work.color(), work.release_fn());
        return work.clear_bits_if(PENDING, PENDING).then_some(counted);
    }
}
