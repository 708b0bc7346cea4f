//! The worker: a future that runs items until its pool has no use for it, or as a rescuer those of its queue for ever.
//!
//! Written by hand, because each of its steps is on the way from [`WorkQueue::queue`] to the item: a worker without work is on its
//! pool's list, under the lock under which items come, and is woken from there; no wait queue is between them.
//!
//! ```text
//!   take ──► none: on the list of those that wait, Pending
//!     │
//!     │         (or Ready, if the pool has told it to end: it has waited for long, as others have)
//!     └────► an item ──► call its function, or make and poll its future ──► finish, give way if asked, take
//!                                           └ Pending: another worker may begin ┘
//! ```

use super::WorkQueue;
use super::item::{Release, Run, Work};
use super::pool::{Pool, finish_deferred};
use super::pwq::Pwq;
use super::unbound_cpus;
use crate::arch;
use crate::context::Context;
use crate::cpu::{CpuMask, ONLINE};
use crate::executor::{YieldKind, give_way};
use crate::platform;
use crate::task::{self, Task};
use crate::trace::{self, Event, KEY_WORK};
use crate::wait::WaitMode;
use crate::wait_site;
use core::cell::Cell;
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{NonNull, null};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context as PollContext, Poll};

/// A worker, as its pool sees it. Guarded by the pool's lock.
pub(super) struct Node {
    /// The next of those that wait for an item.
    pub(super) next: Cell<*const Node>,
    pub(super) listed: Cell<bool>,
    /// At which value of the counter it was put there.
    pub(super) since: Cell<u64>,
    /// It is to end. Set under the lock, once; read by its worker without.
    pub(super) ends: AtomicBool,
    /// How often the attributes of the pool had changed when they were applied to it.
    pub(super) renewed: Cell<u32>,
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

/// An item that a worker runs, or has run.
#[derive(Clone, Copy)]
pub(super) struct Running {
    work: NonNull<Work>,
    release: Release,
    pub(super) done: Done,
}

impl Running {
    /// An item that has just been taken out of its pool, with the reference that came with it.
    pub(super) fn new(work: NonNull<Work>, done: Done, release: Release) -> Running {
        Running { work, release, done }
    }

    fn item(&self) -> &Work {
        // SAFETY: the queue's reference, which `end` gives back last, keeps it alive.
        unsafe { self.work.as_ref() }
    }

    /// Calls its function, or makes its future and polls that.
    #[inline(always)]
    fn begin(&self, cx: &mut PollContext<'_>) -> Poll<()> {
        if arch::is_traced::<KEY_WORK>() {
            trace::tell(Event::WorkBegins(self.work.as_ptr() as usize, self.item().function_address()));
        }
        match self.item().run() {
            Run::Call(function) => {
                function(self.item());
                Poll::Ready(())
            }
            // SAFETY: this worker runs the item: its slot is ours until the future is dropped.
            Run::Poll(ops) => unsafe { (ops.begin)(self.work, cx) },
        }
    }

    /// Polls its future again.
    fn go_on(&self, cx: &mut PollContext<'_>) -> Poll<()> {
        match self.item().run() {
            Run::Call(_) => Poll::Ready(()),
            // SAFETY: made by `begin` in this worker, and not dropped: its poll was pending.
            Run::Poll(ops) => unsafe { (ops.poll)(self.work, cx) },
        }
    }

    /// The item has run; how it is to be counted out.
    #[inline(always)]
    fn end(self) -> Done {
        if arch::is_traced::<KEY_WORK>() {
            trace::tell(Event::WorkEnds(self.work.as_ptr() as usize, self.item().function_address()));
        }
        // A deferred item keeps its count and its reference for the next run.
        if !self.item().finish() {
            finish_deferred(self.item());
        }
        // SAFETY: the reference of this run, once.
        unsafe { (self.release)(self.work) };
        self.done
    }
}

/// What the next poll of a worker begins with.
#[derive(Clone, Copy)]
enum Next {
    /// An item of its pool: it waits for one, or has given way after one.
    Take,
    /// The same of a rescuer: one of its queue.
    Rescue,
    /// Its place in its pool.
    Enlist,
    /// The item that it runs, which has waited.
    GoOn(Running),
    /// None: it has ended.
    End,
}

/// The future of a worker's task.
pub(super) struct Worker {
    pool: &'static Pool,
    /// It is the rescuer of this queue; its pool changes.
    rescues: Option<&'static WorkQueue>,
    /// In its name.
    number: u32,
    next: Next,
    node: Node,
    _pinned: PhantomPinned,
}

// SAFETY: the queue's reference keeps the item alive, and items are `Sync`; the node is guarded by its pool's lock.
unsafe impl Send for Worker {}

impl Worker {
    /// A worker of `pool` with a number of its own, or a rescuer.
    pub(super) fn new(pool: &'static Pool, rescues: Option<&'static WorkQueue>, number: u32) -> Worker {
        let node = Node {
            next: Cell::new(null()),
            listed: Cell::new(false),
            since: Cell::new(0),
            ends: AtomicBool::new(false),
            renewed: Cell::new(0),
            all_next: Cell::new(null()),
            counted: Cell::new(false),
            task: Cell::new(null()),
            pwq: Cell::new(null()),
        };
        Worker { pool, rescues, number, next: Next::Enlist, node, _pinned: PhantomPinned }
    }

    /// Takes the next item, if there is one. `done` has run. `RESCUES`: it is a rescuer.
    #[inline(always)]
    fn take<const RESCUES: bool>(&mut self, done: Option<Done>) -> Option<Running> {
        if RESCUES {
            return self.rescue(self.rescues?, done);
        }
        let (running, more) = self.pool.take(&self.node, done)?;
        if more {
            self.pool.help_a_burst();
        }
        Some(running)
    }

    /// Runs items, beginning with the next one; `done` has run. Returns when there is none, one waits, or the task gives way. Whether
    /// there is none and the worker shall end.
    #[inline(always)]
    fn run<const RESCUES: bool>(&mut self, mut done: Option<Done>, task: &Task, cx: &mut PollContext<'_>) -> bool {
        loop {
            if let Some(done) = done
                && Context::here().resched_wanted()
            {
                self.give_way(done, cx);
                return false;
            }
            let next = self.take::<RESCUES>(done);
            if let Some(done) = done {
                done.pwq.queue().note_done();
            }
            let Some(running) = next else { return self.begin_wait(task) };
            if running.begin(cx).is_pending() {
                self.next = Next::GoOn(running);
                self.lets_others_run();
                return false;
            }
            done = Some(running.end());
        }
    }

    #[cold]
    fn enlist(&mut self, task: &Task) {
        self.next = self.taking();
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

    /// How it looks for an item.
    fn taking(&self) -> Next {
        if self.rescues.is_some() { Next::Rescue } else { Next::Take }
    }

    /// Waits for an item. Interruptible, so that idle workers do not count as load; nobody signals them. Whether it shall end.
    fn begin_wait(&self, task: &Task) -> bool {
        let site = if self.rescues.is_some() { wait_site!("rescuer_thread") } else { wait_site!("worker_thread") };
        let _ = task.begin_wait(site, WaitMode::Interruptible);
        self.node.ends.load(Ordering::Relaxed)
    }

    /// It has been told to end, and is on no list of those that wait.
    #[cold]
    fn end(&mut self) -> Poll<()> {
        self.pool.dismiss(&self.node, self.number);
        self.next = Next::End;
        if let (Some(platform), Some(task)) = (platform::get(), task::current()) {
            platform.kernel_task_ends(task);
        }
        Poll::Ready(())
    }

    /// Its item waits.
    #[cold]
    fn lets_others_run(&self) {
        if self.rescues.is_none() && self.pool.begin_wait(&self.node) {
            self.pool.help();
        }
    }

    /// An item has run, and the task is asked to give way: counts it out and does that.
    #[cold]
    fn give_way(&self, done: Done, cx: &PollContext<'_>) {
        self.pool.settle(done);
        done.pwq.queue().note_done();
        give_way(YieldKind::Preempted, cx);
    }

    /// A poll of a rescuer, the first one, or one in which an item goes on.
    #[cold]
    fn poll_unusual(&mut self, cx: &mut PollContext<'_>) -> bool {
        let Some(task) = task::current() else {
            debug_assert!(false, "workers are tasks");
            return false;
        };
        let mut done = None;
        match self.next {
            Next::Enlist => {
                self.enlist(task);
                // Where it may run may have changed since it was made: it goes there first.
                give_way(YieldKind::Preempted, cx);
                return false;
            }
            Next::GoOn(running) => {
                if self.rescues.is_none() && running.done.pwq.counts() {
                    self.pool.end_wait(&self.node);
                }
                if running.go_on(cx).is_pending() {
                    self.lets_others_run();
                    return false;
                }
                self.next = self.taking();
                done = Some(running.end());
            }
            Next::Take | Next::Rescue => task.end_wait(),
            Next::End => return false,
        }
        if self.rescues.is_some() { self.run::<true>(done, task, cx) } else { self.run::<false>(done, task, cx) }
    }
}

impl Future for Worker {
    type Output = ();

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        // SAFETY: the node is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: the task in which the node lies, or nothing before it is enlisted.
        let ends = if matches!(this.next, Next::Take)
            && let Some(task) = unsafe { this.node.task.get().as_ref() }
        {
            task.end_wait();
            this.run::<false>(None, task, cx)
        } else {
            this.poll_unusual(cx)
        };
        if ends { this.end() } else { Poll::Pending }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A task that was never started, or one that its pool knows no more.
        debug_assert!(matches!(self.next, Next::Enlist | Next::End));
    }
}
