//! The worker: a future that runs items for ever: those of its pool, or as a rescuer those of its queue.
//!
//! Written by hand, because each of its steps is on the way from [`WorkQueue::queue`] to the item: a worker without work is on its
//! pool's list, under the lock under which items come, and is woken from there; no wait queue is between them.
//!
//! ```text
//!   take ──► none: on the list of those that wait, Pending
//!     │
//!     └────► an item ──► call its function, or make and poll its future ──► finish, give way if asked, take
//!                                           └ Pending: another worker may begin ┘
//! ```

use super::WorkQueue;
use super::item::{Release, Run, Work};
use super::pool::{Pool, finish_deferred};
use super::pwq::Pwq;
use super::unbound_cpus;
use crate::executor::{YieldKind, give_way};
use crate::context::Context;
use crate::cpu::{CpuMask, ONLINE};
use crate::task::{self, Task};
use crate::wait::WaitMode;
use crate::wait_site;
use core::cell::Cell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::task::{Context as PollContext, Poll};

/// A worker, as its pool sees it. Guarded by the pool's lock.
pub(super) struct Node {
    /// The next of those that wait for an item.
    pub(super) next: Cell<*const Node>,
    pub(super) listed: Cell<bool>,
    /// The next of all.
    pub(super) all_next: Cell<*const Node>,
    /// It is one of `running`.
    pub(super) counted: Cell<bool>,
    /// The worker's task, in which this node lies.
    pub(super) task: Cell<*const Task>,
    /// Where the item is counted that it runs, or ran last.
    pub(super) pwq: Cell<*const Pwq>,
}

impl Node {
    /// The queue whose item it runs, or ran last.
    pub(super) fn queue(&self) -> Option<&'static WorkQueue> {
        // SAFETY: they are parts of queues, which live for ever.
        unsafe { self.pwq.get().as_ref() }.map(Pwq::queue)
    }
}

/// How an item that has run is counted.
#[derive(Clone, Copy)]
pub(super) struct Done {
    pub(super) pwq: &'static Pwq,
    pub(super) color: u32,
}

/// An item that a worker runs.
pub(super) struct Running {
    work: NonNull<Work>,
    release: Release,
    /// Two fields, so that `made` has its place beside the color: what is moved is four words.
    pwq: &'static Pwq,
    color: u32,
    /// Its future is made, and not dropped.
    made: bool,
}

impl Running {
    /// An item that has just been taken out of its pool, with the reference that came with it.
    pub(super) fn new(work: NonNull<Work>, done: Done, release: Release) -> Running {
        Running { work, release, pwq: done.pwq, color: done.color, made: false }
    }

    /// Whether others wait until it has run, or waits itself.
    pub(super) fn counts(&self) -> bool {
        self.pwq.counts()
    }

    fn item(&self) -> &Work {
        // SAFETY: the queue's reference, which `release` gives back last, keeps it alive.
        unsafe { self.work.as_ref() }
    }

    /// What it is counted in.
    pub(super) fn pwq(&self) -> &'static Pwq {
        self.pwq
    }

    /// Calls its function, or polls its future, which is made first.
    fn poll(&mut self, cx: &mut PollContext<'_>) -> Poll<()> {
        match self.item().run() {
            Run::Call(function) => {
                function(self.item());
                Poll::Ready(())
            }
            Run::Poll(ops) => {
                if !self.made {
                    // SAFETY: this worker runs the item: its slot is ours until the future is dropped.
                    unsafe { (ops.make)(self.work) };
                    self.made = true;
                }
                // SAFETY: made above.
                unsafe { (ops.poll)(self.work, cx) }
            }
        }
    }

    fn drop_future(&mut self) {
        if let Run::Poll(ops) = self.item().run()
            && core::mem::take(&mut self.made)
        {
            // SAFETY: made once by this worker.
            unsafe { (ops.drop)(self.work) };
        }
    }
}

/// The future of a worker's task.
pub(super) struct Worker {
    pool: &'static Pool,
    /// It is the rescuer of this queue; its pool changes.
    rescues: Option<&'static WorkQueue>,
    running: Option<Running>,
    node: Node,
    /// The task's wait word is set.
    waiting: bool,
    enlisted: bool,
    _pinned: PhantomPinned,
}

// SAFETY: the queue's reference keeps the item alive, and items are `Sync`; the node is guarded by its pool's lock.
unsafe impl Send for Worker {}

impl Worker {
    /// A worker of `pool`, or a rescuer.
    pub(super) fn new(pool: &'static Pool, rescues: Option<&'static WorkQueue>) -> Worker {
        let node = Node {
            next: Cell::new(null()),
            listed: Cell::new(false),
            all_next: Cell::new(null()),
            counted: Cell::new(false),
            task: Cell::new(null()),
            pwq: Cell::new(null()),
        };
        Worker { pool, rescues, running: None, node, waiting: false, enlisted: false, _pinned: PhantomPinned }
    }

    /// Takes the next item; `false` if there is none. `done` has run.
    #[inline]
    fn take(&mut self, done: Option<Done>) -> bool {
        if let Some(queue) = self.rescues {
            self.running = self.rescue(queue, done);
            return self.running.is_some();
        }
        let Some((running, more)) = self.pool.take(&self.node, done) else { return false };
        self.running = Some(running);
        if more {
            self.pool.help_a_burst();
        }
        true
    }

    /// The first poll, or the item goes on. `false`: it is nothing yet.
    #[cold]
    fn go_on(&mut self, task: &Task, cx: &mut PollContext<'_>) -> bool {
        if !self.enlisted {
            self.enlist(task);
            // Where it may run may have changed since it was made: it goes there first.
            give_way(YieldKind::Preempted, cx);
            return false;
        }
        if let Some(running) = &self.running
            && self.rescues.is_none()
            && running.counts()
        {
            self.pool.end_wait(&self.node);
        }
        true
    }

    #[cold]
    fn enlist(&mut self, task: &Task) {
        self.enlisted = true;
        self.node.task.set(task);
        match self.rescues {
            None => self.pool.enlist(&self.node, task),
            Some(queue) => queue.set_rescuer(task),
        }
    }

    /// Where its task may run.
    fn affinity(&self) -> CpuMask {
        task::current().map_or(CpuMask::ALL, Task::affinity)
    }

    /// The next item of `queue` that no worker takes, if it has called: that of a CPU on that CPU.
    #[cold]
    fn rescue(&mut self, queue: &'static WorkQueue, done: Option<Done>) -> Option<Running> {
        if let Some(done) = done {
            self.pool.settle(done);
        }
        loop {
            let called = queue.take_call();
            let (mut found, mut there) = (None, None);
            queue.for_each_pool(|pool| {
                if called && found.is_none() && there.is_none() && pool.has_item_of(queue) {
                    let cpu = pool.cpu().filter(|cpu| ONLINE.load().contains(*cpu));
                    there = cpu.map(CpuMask::of).filter(|there| self.affinity() != *there);
                    if there.is_none() {
                        self.pool = pool;
                        found = pool.take_of(queue);
                    }
                }
            });
            if found.is_some() {
                // There may be more.
                queue.call_rescuer();
                return found;
            }
            let cpus = there.unwrap_or_else(unbound_cpus);
            if let Some(me) = task::current()
                && me.affinity() != cpus
            {
                me.set_affinity(cpus);
            }
            if there.is_some() {
                // It looks again when it is there.
                queue.call_rescuer();
                return None;
            }
            if !called {
                return None;
            }
        }
    }

    /// Waits for an item. Interruptible, so that idle workers do not count as load; nobody signals them. `false`: there is none.
    fn begin_wait(&mut self, task: &Task) -> bool {
        self.waiting = true;
        let site = if self.rescues.is_some() { wait_site!("rescuer_thread") } else { wait_site!("worker_thread") };
        let _ = task.begin_wait(site, WaitMode::Interruptible);
        false
    }

    /// The item has run; how it is to be counted out.
    fn finish(&mut self) -> Option<Done> {
        let mut running = self.running.take()?;
        running.drop_future();
        // A deferred item keeps its count and its reference for the next run.
        if !running.item().finish() {
            finish_deferred(running.item());
        }
        // SAFETY: the reference of this run, once.
        unsafe { (running.release)(running.work) };
        Some(Done { pwq: running.pwq, color: running.color })
    }

    /// The item waits.
    #[cold]
    fn item_waits(&mut self) {
        if self.rescues.is_none() && self.pool.begin_wait(&self.node) {
            self.pool.help();
        }
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
        let ready = if this.enlisted && this.running.is_none() {
            if this.waiting {
                this.waiting = false;
                task.end_wait();
            }
            this.take(None) || this.begin_wait(task)
        } else {
            this.go_on(task, cx)
        };
        if !ready {
            return Poll::Pending;
        }
        loop {
            let Some(running) = &mut this.running else { return Poll::Pending };
            if running.poll(cx).is_pending() {
                this.item_waits();
                return Poll::Pending;
            }
            let done = this.finish();
            let give = Context::here().resched_wanted();
            if give && let Some(done) = done {
                this.pool.settle(done);
            }
            let more = give || this.take(done);
            if let Some(done) = done {
                done.pwq.queue().note_done();
            }
            if give {
                give_way(YieldKind::Preempted, cx);
                return Poll::Pending;
            }
            if !more {
                this.begin_wait(task);
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A task that was never started: workers do not end.
        debug_assert!(!self.enlisted);
        if let Some(running) = &mut self.running {
            running.drop_future();
        }
    }
}
