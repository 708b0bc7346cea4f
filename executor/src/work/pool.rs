//! A pool: one list of items that may be taken, and the workers that take them (Linux: worker_pool).
//!
//! Each CPU has two, for all queues: one of nice 0, one of nice −20. A queue that is bound to no CPU has one of its own.
//!
//! **How many run.** A pool of a CPU wants one worker at a time to be under way: one that runs takes the next item when it has
//! finished, so that an item that is queued wakes nobody then. A worker whose item waits does not count: the next one is woken. Items
//! of CPU-intensive queues and pools without a CPU do not count either, so that everything there runs side by side.

use super::WorkQueue;
use super::item::{Release, Work};
use super::list::{READY, WorkList};
use super::pwq::Pwq;
use super::staff::Numbers;
use super::worker::{Done, Node, Running};
use crate::atomic::{AtomicU32, Ordering};
use crate::coarse::{CoarseTimer, Kind};
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu};
use crate::sync::{LockClass, SpinLock};
use core::ptr::{self, NonNull, null};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64};

static WORK_POOL: LockClass = LockClass::new("work_pool");

/// The pools of the CPUs: of nice 0, and of nice −20.
pub(super) static CPU_POOLS: [PerCpu<Pool>; 2] =
    [PerCpu::new([const { Pool::new(0) }; MAX_CPUS]), PerCpu::new([const { Pool::new(HIGHPRI_NICE) }; MAX_CPUS])];

/// The nice value of high-priority workers and of rescuers.
pub(super) const HIGHPRI_NICE: i32 = -20;

/// No CPU, or none yet.
const NO_CPU: u32 = u32::MAX;

/// What came of queueing an item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// It is pending.
    Already,
    /// The queue may not take it now.
    Look,
}

/// What the lock guards.
pub(super) struct Items {
    pub(super) list: WorkList<READY>,
    /// The workers that wait for an item, the last to wait first.
    pub(super) idle: *const Node,
    /// All workers.
    pub(super) workers: *const Node,
    /// How often their attributes have changed.
    pub(super) renewals: u32,
    /// Workers under way that keep others from being woken.
    running: u32,
    /// There was no memory for another worker.
    pub(super) short: bool,
}

// SAFETY: used under its lock.
unsafe impl Send for Items {}

pub(super) struct Pool {
    pub(super) items: SpinLock<Items>,
    /// How many workers there are, or are being made.
    pub(super) workers: AtomicU32,
    /// The numbers of those.
    pub(super) numbers: Numbers,
    /// The CPU of its workers.
    pub(super) cpu: AtomicU32,
    /// The number in the names of workers that have no CPU.
    pub(super) number: AtomicU32,
    pub(super) nice: AtomicI32,
    /// Where workers without a CPU may run, of what holds for all of them; if that leaves nothing, wherever that says.
    pub(super) cpus: AtomicU64,
    /// Items that are under way do not keep others from it: there is no CPU.
    pub(super) parallel: AtomicBool,
    /// Ends workers that have waited for long.
    pub(super) idle_timer: CoarseTimer,
}

impl Pool {
    pub(super) const fn new(nice: i32) -> Pool {
        let items = Items { list: WorkList::new(), idle: null(), workers: null(), renewals: 0, running: 0, short: false };
        Pool {
            items: SpinLock::new(&WORK_POOL, items),
            workers: AtomicU32::new(0),
            numbers: Numbers::new(),
            cpu: AtomicU32::new(NO_CPU),
            number: AtomicU32::new(0),
            nice: AtomicI32::new(nice),
            cpus: AtomicU64::new(CpuMask::ALL.0),
            parallel: AtomicBool::new(false),
            idle_timer: CoarseTimer::new(super::idle::timer, Kind::DEFERRABLE),
        }
    }

    pub(super) fn has_worker(&self) -> bool {
        self.workers.load(Ordering::Relaxed) != 0
    }

    /// Whether its items run side by side.
    pub(super) fn is_parallel(&self) -> bool {
        self.parallel.load(Ordering::Relaxed)
    }

    /// Takes the lock for what spans more than one of these functions.
    pub(super) fn lock(&self) -> crate::sync::SpinIrqGuard<'_, Items> {
        self.items.lock_irq()
    }

    /// Queues `work` by `pwq` of `queue`, if it is not pending; a queue that takes no more holds it back. A queue whose limit is 0 wants a look
    /// first: it is frozen, or being drained; then it must be `forced`. Any context.
    #[inline]
    pub(super) fn queue(&self, queue: &WorkQueue, pwq: &'static Pwq, work: NonNull<Work>, release: Release, forced: bool) -> Queued {
        let mut items = self.items.lock_irq();
        let mut limit = queue.limit();
        if limit == 0 {
            if !forced {
                return Queued::Look;
            }
            limit = queue.allowed();
        }
        // SAFETY: the reference that the caller has been given keeps it alive.
        let item = unsafe { work.as_ref() };
        if !item.set_pending(release) {
            return Queued::Already;
        }
        item.set_pwq(pwq);
        // SAFETY: PENDING was set here.
        let asked = unsafe { pwq.enter(work, queue.color(), limit) } && items.add(work);
        if !asked {
            items.end_unwoken();
        }
        Queued::Yes
    }

    /// As [`Pool::queue`] for an item whose PENDING bit the caller has set; not refused.
    pub(super) fn queue_pending(&self, pwq: &'static Pwq, work: NonNull<Work>) {
        let mut items = self.items.lock_irq();
        let queue = pwq.queue();
        // SAFETY: pending items are alive.
        let item = unsafe { work.as_ref() };
        item.set_pwq(pwq);
        // SAFETY: the bit is the caller's.
        if unsafe { pwq.enter(work, queue.color(), queue.allowed()) } {
            items.add(work);
        }
    }

    /// Counts `done` out, and takes the oldest item that can run now for the worker of `node`. Without one the worker is put on the
    /// list of those that wait. The flag: others wait behind it, nobody is there to run them, and they need not wait.
    #[inline(always)]
    pub(super) fn take(&'static self, node: &Node, done: Option<Done>) -> Option<(Running, bool)> {
        let mut items = self.items.lock_irq();
        if let Some(done) = done {
            items.count_out(done);
        }
        // SAFETY: the lock is held.
        while let Some(work) = unsafe { items.list.pop() } {
            let Some(running) = items.begin(work) else { continue };
            items.remove_idle(node);
            let pwq = running.done.pwq;
            node.pwq.set(pwq);
            let counts = pwq.counts();
            items.set_counted(node, counts);
            if counts && done.is_none() {
                items.end_unwoken();
                return Some((running, false));
            }
            let more = !counts && !items.list.is_empty() && items.running == 0 && !items.wake_one();
            return Some((running, more));
        }
        items.set_counted(node, false);
        if items.add_idle(node) {
            drop(items);
            self.watch_idle();
        }
        None
    }

    /// The CPU of its workers, if it has one.
    pub(super) fn cpu(&self) -> Option<CpuId> {
        CpuId::new(self.cpu.load(Ordering::Relaxed) as usize)
    }

    /// Whether an item of `queue` is here that no worker has taken.
    pub(super) fn has_item_of(&self, queue: &'static WorkQueue) -> bool {
        let items = self.items.lock_irq();
        // SAFETY: linked items are alive, and counted in what they point to.
        items.list.iter().any(|work| unsafe { work.as_ref() }.pwq().is_some_and(|pwq| ptr::eq(pwq.queue(), queue)))
    }

    /// For the rescuer of `queue`: takes the queue's oldest item that is in this pool.
    pub(super) fn take_of(&self, queue: &'static WorkQueue) -> Option<Running> {
        let mut items = self.items.lock_irq();
        let mut found = None;
        for work in items.list.iter() {
            // SAFETY: linked items are alive, and counted in what they point to.
            let item = unsafe { work.as_ref() };
            if !item.pwq().is_some_and(|pwq| ptr::eq(pwq.queue(), queue)) {
                continue;
            }
            // SAFETY: it is in this list, and the lock is held.
            unsafe { items.list.unlink(item) };
            found = items.begin(work);
            if found.is_some() {
                break;
            }
        }
        found
    }

    /// Counts out what has run before its worker gives way.
    pub(super) fn settle(&self, done: Done) {
        self.items.lock_irq().count_out(done);
    }

    /// The item of `node`'s worker waits: others need not wait for it. Whether nobody would be there to run the next one; it may
    /// be one that this one waits for (Linux keeps an idle worker for the same reason).
    pub(super) fn begin_wait(&self, node: &Node) -> bool {
        let mut items = self.items.lock_irq();
        items.set_counted(node, false);
        if !items.list.is_empty() && items.running == 0 {
            items.wake_one();
        }
        items.idle.is_null()
    }

    /// The item of `node`'s worker goes on.
    pub(super) fn end_wait(&self, node: &Node) {
        self.items.lock_irq().set_counted(node, true);
    }
}

/// The function of an item that was taken while it ran has returned: links it again, unless it was called off.
#[cold]
pub(super) fn finish_deferred(work: &Work) {
    while let Some(pwq) = work.pwq()
        && let Some(pool) = pwq.pool()
    {
        let mut items = pool.items.lock_irq();
        // Called off and queued elsewhere meanwhile: it is that pool's.
        if work.pwq().is_some_and(|now| ptr::eq(now, pwq)) {
            if work.finish_deferred() {
                items.add(NonNull::from(work));
            }
            return;
        }
    }
}

impl Items {
    /// Puts an item that may be taken at the end; wakes a worker if none is under way. Whether this flow may have been asked to give way.
    #[inline(always)]
    pub(super) fn add(&mut self, work: NonNull<Work>) -> bool {
        // SAFETY: pending, hence alive; in no list; the lock that guards `self` is held.
        unsafe { self.list.push(work) };
        if self.running != 0 {
            return false;
        }
        match self.wake_idle() {
            Some(asked) => asked,
            None if self.short => {
                self.call_rescuers();
                true
            }
            None => false,
        }
    }

    /// An item that was taken out begins to run; `None` if it runs already: that worker links it again.
    fn begin(&mut self, work: NonNull<Work>) -> Option<Running> {
        // SAFETY: pending, hence alive.
        let item = unsafe { work.as_ref() };
        // All three are the next caller's of `queue` as soon as PENDING is cleared.
        let (pwq, color, release) = (item.pwq()?, item.color.get(), item.release_fn());
        item.begin().then(|| Running::new(work, Done { pwq, color }, release))
    }

    /// An item has run: others of its queue may take its place.
    #[inline]
    pub(super) fn count_out(&mut self, done: Done) {
        done.pwq.leave(done.color, true);
        if let Some(next) = done.pwq.next_allowed(done.pwq.queue().allowed()) {
            self.add(next);
        }
    }

    #[inline(always)]
    fn set_counted(&mut self, node: &Node, counts: bool) {
        let counted = node.counted.replace(counts);
        self.running = self.running.wrapping_add(u32::from(counts)).wrapping_sub(u32::from(counted));
    }

    /// There is no worker for what is here, and no memory for one.
    #[cold]
    pub(super) fn call_rescuers(&self) {
        for work in self.list.iter() {
            // SAFETY: linked items are alive.
            if let Some(pwq) = unsafe { work.as_ref() }.pwq() {
                pwq.queue().call_rescuer();
            }
        }
    }
}
