//! A pool: one list of pending items and the workers that take from it.

use super::WorkQueue;
use super::item::{PENDING, Release, Run, Work};
use crate::atomic::{AtomicU32, Ordering};
use crate::class::{Params, Policy};
use crate::cpu::{CpuId, CpuMask};
use crate::platform;
use crate::sync::{LockClass, SpinLock};
use crate::task::{Hooks, SpawnError, Spawned};
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::future::poll_fn;
use core::ptr::{self, NonNull, null};

static WORK_POOL: LockClass = LockClass::new("work_pool");

/// Pending items, oldest first.
struct Items {
    first: *const Work,
    last: *const Work,
}

// SAFETY: used under its lock.
unsafe impl Send for Items {}

pub(super) struct Pool {
    items: SpinLock<Items>,
    /// Workers that were made, and how many of them wait for an item.
    workers: AtomicU32,
    idle: AtomicU32,
    wanted: WaitQueue,
}

impl Pool {
    pub(super) const fn new() -> Pool {
        Pool {
            items: SpinLock::new(&WORK_POOL, Items { first: null(), last: null() }),
            workers: AtomicU32::new(0),
            idle: AtomicU32::new(0),
            wanted: WaitQueue::new(),
        }
    }

    pub(super) fn has_worker(&self) -> bool {
        self.workers.load(Ordering::Relaxed) != 0
    }

    /// Links `work`, whose PENDING bit is the caller's, and wakes a worker. Any context.
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
        drop(items);
        self.wanted.wake_one();
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

    /// Takes the oldest item that can run now.
    fn take(&self) -> Option<Running> {
        let mut items = self.items.lock_irq();
        loop {
            let work = NonNull::new(items.first.cast_mut())?;
            // SAFETY: linked, hence alive.
            let item = unsafe { work.as_ref() };
            Self::unlink(&mut items, item);
            // Both are the next caller's of `queue` as soon as PENDING is cleared.
            let (color, release) = (item.color(), item.release_fn());
            // One that runs already is linked again by the worker that runs it.
            if item.begin() {
                return Some(Running { work, release, color });
            }
        }
    }

    fn has_backlog(&self) -> bool {
        !self.items.lock_irq().first.is_null()
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
        let made = Spawned::new(worker(queue, self, cpu), params, &name, &Hooks::NONE, null());
        match made {
            Ok(spawned) => {
                if let Some(cpu) = cpu {
                    spawned.task().set_affinity(CpuMask::of(cpu));
                }
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

    /// Makes another worker before an item runs, if none is idle: for the items that wait, and, if the item can await,
    /// for those that come while it does (it may await one of them). Linux keeps an idle worker for the same reason.
    fn help(&'static self, queue: &'static WorkQueue, cpu: Option<CpuId>, item: &Work) {
        let wanted = matches!(item.run(), Run::Poll(_)) || self.has_backlog();
        if self.idle.load(Ordering::Relaxed) != 0 || !wanted {
            return;
        }
        let more = |n: u32| (n < queue.max_active).then_some(n + 1);
        if self.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            // ENOMEM leaves the items to the workers that there are.
            let _ = self.spawn(queue, cpu);
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

/// Runs items for ever.
async fn worker(queue: &'static WorkQueue, pool: &'static Pool, cpu: Option<CpuId>) {
    loop {
        pool.idle.fetch_add(1, Ordering::Relaxed);
        // Interruptible, so that idle workers do not count as load; nobody signals them.
        let got = pool.wanted.wait_until_exclusive(wait_site!("worker_thread"), WaitMode::Interruptible, || pool.take());
        let got = got.await;
        pool.idle.fetch_sub(1, Ordering::Relaxed);
        if let Ok(running) = got {
            pool.help(queue, cpu, running.item());
            run(queue, pool, running).await;
        }
    }
}

/// An item that this worker runs.
struct Running {
    work: NonNull<Work>,
    release: Release,
    color: u32,
}

// SAFETY: the queue's reference keeps the item alive, and items are `Sync`.
unsafe impl Send for Running {}
// SAFETY: as above.
unsafe impl Sync for Running {}

impl Running {
    fn item(&self) -> &Work {
        // SAFETY: the queue's reference, which `release` gives back last, keeps it alive.
        unsafe { self.work.as_ref() }
    }
}

/// Drops the future of an item when its poll is over, also when the worker itself is dropped.
struct FutureSlot<'a>(&'a Running, &'static super::item::FutureOps);

impl Drop for FutureSlot<'_> {
    fn drop(&mut self) {
        // SAFETY: made once by this worker.
        unsafe { (self.1.drop)(self.0.work) };
    }
}

async fn run(queue: &'static WorkQueue, pool: &'static Pool, running: Running) {
    match running.item().run() {
        Run::Call(function) => function(running.item()),
        Run::Poll(ops) => {
            // SAFETY: this worker runs the item: its slot is ours until it is dropped.
            unsafe { (ops.make)(running.work) };
            let future = FutureSlot(&running, ops);
            // SAFETY: made above, dropped below.
            poll_fn(|cx| unsafe { (ops.poll)(future.0.work, cx) }).await;
            drop(future);
        }
    }
    // A deferred item keeps its count and its reference for the next run.
    if running.item().finish() {
        pool.push(running.work);
    }
    // SAFETY: the reference of this run, once.
    unsafe { (running.release)(running.work) };
    queue.leave(running.color);
}
