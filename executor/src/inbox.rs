//! The inbox: the lists through which a wake reaches a CPU.
//!
//! Two of them, because most wakes come from the CPU itself and need no atomic operation:
//!
//! | list | pushed by | how |
//! |---|---|---|
//! | `own` | its CPU, [`Inbox::push_here`] | interrupts masked, a load and a store |
//! | `others` | every other CPU, [`Inbox::push`] | one CAS loop on the head (Linux's llist) |
//!
//! [`Inbox::take`], on the CPU itself with interrupts masked, empties both. Each comes out in the order of its wakes. The link
//! is in the task, so a push cannot fail; a task is in at most one list, because only the waker that set NOTIFIED on an idle
//! task pushes. A push that is interrupted half-way makes nobody wait: the node is not visible until the head is written,
//! unlike in a Vyukov queue.
//!
//! Which other CPU finds `others` empty tells the inbox's CPU, and who comes next relies on that. The CPU itself knows what is
//! in `own`: it may let a task *lie* there as long as what it runs stays before it anyway, untold, and nobody relies on it.

use crate::atomic::{AtomicPtr, Ordering};
use crate::task::Task;
use core::ptr::{NonNull, null_mut};

/// The wakes that a CPU has not yet put on its run queue.
pub struct Inbox {
    own: AtomicPtr<Task>,
    others: AtomicPtr<Task>,
}

impl Inbox {
    /// An empty inbox.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Inbox { own: AtomicPtr::new(null_mut()), others: AtomicPtr::new(null_mut()) }
    }

    /// An empty inbox.
    #[cfg(loom)]
    pub fn new() -> Self {
        Inbox { own: AtomicPtr::new(null_mut()), others: AtomicPtr::new(null_mut()) }
    }

    /// Adds `task` from another CPU; `true` if the inbox's CPU has to be told: every inbox of which `others` is not empty has an
    /// IPI under way, or its CPU has not yet finished the drain that empties it. Any context.
    ///
    /// SeqCst on success: the pusher then reads whether the CPU idles, and the idle loop sets its idle bit before it
    /// looks here a last time.
    #[inline]
    pub fn push(&self, task: NonNull<Task>) -> bool {
        let mut head = self.others.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller made the task runnable, so the link is its own until the task is taken.
            unsafe { task.as_ref().link.store(head, Ordering::Relaxed) };
            match self.others.compare_exchange_weak(head, task.as_ptr(), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return head.is_null(),
                Err(h) => head = h,
            }
        }
    }

    /// Adds `task` on the inbox's own CPU, interrupts masked.
    #[inline(always)]
    pub fn push_here(&self, task: NonNull<Task>) {
        // SAFETY: as in `push`.
        unsafe { task.as_ref() }.link_here(self.own.load(Ordering::Relaxed));
        self.own.store(task.as_ptr(), Ordering::Relaxed);
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.own.load(Ordering::Relaxed).is_null() && self.others.load(Ordering::SeqCst).is_null()
    }

    /// Not 0 if somebody waits, as far as this CPU knows.
    #[inline(always)]
    pub fn waiting(&self) -> usize {
        self.own.load(Ordering::Relaxed).addr() | self.others.load(Ordering::Relaxed).addr()
    }

    /// The task that came last, null when there is none; what the CPU itself has woken comes before what others have. On the
    /// inbox's own CPU, with interrupts masked: it stays there, and alive, until this CPU takes it.
    #[inline(always)]
    pub fn newest(&self) -> *const Task {
        let own = self.own.load(Ordering::Relaxed);
        if own.is_null() { self.others.load(Ordering::Acquire) } else { own }
    }

    /// The task that the CPU itself has woken last, null when there is none. As [`newest`](Inbox::newest).
    #[inline(always)]
    pub fn newest_own(&self) -> *const Task {
        self.own.load(Ordering::Relaxed)
    }

    /// Whether the CPU itself has woken more than one.
    #[inline(always)]
    pub fn has_many_own(&self) -> bool {
        // SAFETY: what is in the list is alive, and only its CPU takes it out.
        unsafe { self.newest_own().as_ref() }.is_some_and(|task| !task.link.load(Ordering::Relaxed).is_null())
    }

    /// Whether `task`, which is the [`newest_own`](Inbox::newest_own), is the only one that waits.
    #[inline(always)]
    pub fn is_only(&self, task: &Task) -> bool {
        self.besides(task) == 0
    }

    /// Not 0 if somebody waits besides `task`, which is the [`newest_own`](Inbox::newest_own).
    #[inline(always)]
    pub fn besides(&self, task: &Task) -> usize {
        task.link.load(Ordering::Relaxed).addr() | self.others.load(Ordering::Relaxed).addr()
    }

    /// Takes out the task that [`Inbox::is_only`] was asked for.
    #[inline(always)]
    pub fn take_only_own(&self) {
        self.own.store(null_mut(), Ordering::Relaxed);
    }

    /// Takes everything, each list oldest first. On the inbox's own CPU, with interrupts masked.
    #[inline(always)]
    pub fn take(&self) -> Drain {
        let own = self.own.load(Ordering::Relaxed);
        if let Some(task) = NonNull::new(own) {
            self.own.store(null_mut(), Ordering::Relaxed);
            // SAFETY: what is in the list is alive, and its links are this flow's.
            if unsafe { task.as_ref().link.load(Ordering::Relaxed) }.is_null() && self.others.load(Ordering::Relaxed).is_null() {
                return Drain(own);
            }
        } else if self.others.load(Ordering::Relaxed).is_null() {
            return Drain(null_mut());
        }
        self.take_many(own)
    }

    /// Everything, `own` and what others have pushed.
    #[inline(never)]
    fn take_many(&self, own: *mut Task) -> Drain {
        let Drain(others) = self.take_others();
        Drain(reversed(own, others))
    }

    /// Takes what the CPU itself has woken, the newest first. What others have pushed comes after it: [`Inbox::take_others`].
    #[inline(always)]
    pub fn take_own(&self) -> Newest {
        let own = self.own.load(Ordering::Relaxed);
        self.own.store(null_mut(), Ordering::Relaxed);
        Newest(own)
    }

    /// Takes what others have pushed, the oldest first.
    #[inline(always)]
    fn take_others(&self) -> Drain {
        if self.others.load(Ordering::Relaxed).is_null() {
            return Drain(null_mut());
        }
        Drain(reversed(self.others.swap(null_mut(), Ordering::Acquire), null_mut()))
    }
}

/// The list `p`, which is the caller's alone, the other way round, and then `rest`.
fn reversed(mut p: *mut Task, mut rest: *mut Task) -> *mut Task {
    while let Some(task) = NonNull::new(p) {
        // SAFETY: tasks in a list are alive, and the list is the caller's.
        unsafe {
            p = task.as_ref().link.load(Ordering::Relaxed);
            task.as_ref().link.store(rest, Ordering::Relaxed);
        }
        rest = task.as_ptr();
    }
    rest
}

impl Default for Inbox {
    fn default() -> Self {
        Inbox::new()
    }
}

/// The tasks of one [`Inbox::take_own`], the newest first.
#[must_use = "tasks that are not enqueued are lost"]
pub struct Newest(*mut Task);

impl Newest {
    /// The newest one that is left.
    #[inline(always)]
    pub fn peek(&self) -> Option<NonNull<Task>> {
        NonNull::new(self.0)
    }

    /// Passes over `newest`, the one that was [peeked](Newest::peek) at. It has not been given away yet, or its link is as it was.
    #[inline(always)]
    pub fn pass(&mut self, newest: &Task) {
        self.0 = newest.link.load(Ordering::Relaxed);
    }

    /// What is left, the oldest first.
    #[inline(always)]
    pub fn rest(self) -> Drain {
        if self.0.is_null() { Drain(null_mut()) } else { Drain(reversed(self.0, null_mut())) }
    }
}

/// The tasks of one [`Inbox::take`].
#[must_use = "tasks that are not enqueued are lost"]
pub struct Drain(*mut Task);

impl Iterator for Drain {
    type Item = NonNull<Task>;

    #[inline]
    fn next(&mut self) -> Option<NonNull<Task>> {
        let task = NonNull::new(self.0)?;
        // SAFETY: the list is this drain's own; the link is read before the task is given away.
        self.0 = unsafe { task.as_ref().link.load(Ordering::Relaxed) };
        Some(task)
    }
}
