//! The worker: a future that runs the items of its pool for ever.
//!
//! Written by hand, because each of its steps is on the way from [`WorkQueue::queue`] to the item: a worker without work is on its
//! pool's list, under the lock under which items come, and is woken from there; no wait queue is between them.
//!
//! ```text
//!   take ──► none: on the list of those that wait, Pending
//!     │
//!     └────► an item ──► call its function, or make and poll its future ──► finish, give way if asked, take
//! ```

use super::WorkQueue;
use super::item::{FutureOps, Release, Run, Work};
use super::pool::Pool;
use crate::cpu::CpuId;
use crate::executor::{YieldKind, give_way};
use crate::context::Context;
use crate::task::{self, Task};
use crate::wait::WaitMode;
use crate::wait_site;
use core::cell::Cell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::task::{Context as PollContext, Poll};

/// A worker that waits for an item, in its pool's list. Guarded by the pool's lock.
pub(super) struct Idle {
    pub(super) next: Cell<*const Idle>,
    pub(super) listed: Cell<bool>,
    /// The worker's task, in which this node lies.
    pub(super) task: Cell<*const Task>,
}

/// An item that a worker runs.
pub(super) struct Running {
    work: NonNull<Work>,
    release: Release,
    color: u32,
    /// Its future is made, and not dropped.
    made: Option<&'static FutureOps>,
}

impl Running {
    /// An item that has just been taken out of its pool, with the reference that came with it.
    pub(super) fn new(work: NonNull<Work>, release: Release, color: u32) -> Running {
        Running { work, release, color, made: None }
    }

    fn item(&self) -> &Work {
        // SAFETY: the queue's reference, which `release` gives back last, keeps it alive.
        unsafe { self.work.as_ref() }
    }

    /// Calls its function, or polls its future, which is made first.
    fn poll(&mut self, cx: &mut PollContext<'_>) -> Poll<()> {
        match self.item().run() {
            Run::Call(function) => {
                function(self.item());
                Poll::Ready(())
            }
            Run::Poll(ops) => {
                if self.made.is_none() {
                    // SAFETY: this worker runs the item: its slot is ours until the future is dropped.
                    unsafe { (ops.make)(self.work) };
                    self.made = Some(ops);
                }
                // SAFETY: made above.
                unsafe { (ops.poll)(self.work, cx) }
            }
        }
    }

    fn drop_future(&mut self) {
        if let Some(ops) = self.made.take() {
            // SAFETY: made once by this worker.
            unsafe { (ops.drop)(self.work) };
        }
    }
}

/// The future of a worker's task.
pub(super) struct Worker {
    queue: &'static WorkQueue,
    pool: &'static Pool,
    cpu: Option<CpuId>,
    running: Option<Running>,
    idle: Idle,
    /// The task's wait word is set.
    waiting: bool,
    _pinned: PhantomPinned,
}

// SAFETY: the queue's reference keeps the item alive, and items are `Sync`; the node is guarded by its pool's lock.
unsafe impl Send for Worker {}

impl Worker {
    /// A worker of `pool`, which is that of `cpu`, or of all.
    pub(super) fn new(queue: &'static WorkQueue, pool: &'static Pool, cpu: Option<CpuId>) -> Worker {
        let idle = Idle { next: Cell::new(null()), listed: Cell::new(false), task: Cell::new(null()) };
        Worker { queue, pool, cpu, running: None, idle, waiting: false, _pinned: PhantomPinned }
    }

    /// The item to run: the one that waits in the middle, or the next one. `None` when this worker waits for one.
    fn next(&mut self, task: &Task) -> Option<&mut Running> {
        if self.running.is_none() {
            if self.waiting {
                self.waiting = false;
                task.end_wait();
            }
            self.idle.task.set(task);
            let taken = self.pool.take(&self.idle);
            let (running, more) = taken?;
            self.running = Some(running);
            // Items of one CPU's pool take turns unless one waits; those of no CPU can run side by side.
            if more && self.cpu.is_none() {
                self.pool.help(self.queue, self.cpu);
            }
        }
        self.running.as_mut()
    }

    /// Waits for an item. Interruptible, so that idle workers do not count as load; nobody signals them.
    fn begin_wait(&mut self, task: &Task) {
        self.waiting = true;
        let _ = task.begin_wait(wait_site!("worker_thread"), WaitMode::Interruptible);
    }

    /// The item has run.
    fn finish(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.drop_future();
        // A deferred item keeps its count and its reference for the next run.
        if running.item().finish() {
            self.pool.push(running.work);
        }
        // SAFETY: the reference of this run, once.
        unsafe { (running.release)(running.work) };
        self.queue.leave(running.color);
    }
}

impl Future for Worker {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        // SAFETY: the node is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(task) = task::current() else {
            debug_assert!(false, "workers are tasks");
            return Poll::Pending;
        };
        loop {
            let Some(running) = this.next(task) else {
                this.begin_wait(task);
                return Poll::Pending;
            };
            if running.poll(cx).is_pending() {
                this.pool.help(this.queue, this.cpu);
                return Poll::Pending;
            }
            this.finish();
            if Context::here().resched_wanted() {
                give_way(YieldKind::Preempted, cx);
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.pool.forget(&self.idle);
        if let Some(running) = &mut self.running {
            running.drop_future();
        }
    }
}
