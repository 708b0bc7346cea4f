//! The inbox: the lock-free list through which a wake reaches a CPU (Linux's llist).
//!
//! Push is one CAS loop on the head; take is one swap and a reversal, so tasks come out in the order of their wakes.
//! The link is in the task, so a push cannot fail; a task is in at most one inbox, because only the waker that set
//! NOTIFIED on an idle task pushes. A push that is interrupted half-way makes nobody wait: the node is not visible
//! until its CAS, unlike in a Vyukov queue.
//!
//! Who finds the inbox empty tells its CPU; whoever comes next relies on that. A CPU may also let a task *lie* in its own
//! inbox, untold, because what it runs stays before it anyway. Then the next pusher must not rely on anybody:
//!
//! ```text
//!   own CPU, push_here                 another CPU, push
//!   lying = true                       CAS the head: not empty
//!   CAS the head                       read lying: true → tell the CPU
//! ```
//!
//! The second CAS reads what the first wrote, so `lying` is seen, unless [`Inbox::take`] cleared it: and what that takes
//! includes the second push, or it left the inbox empty for it.

use crate::atomic::{AtomicBool, AtomicPtr, Ordering, fence};
use crate::task::Task;
use core::ptr::{NonNull, null_mut};

/// The wakes that a CPU has not yet put on its run queue.
pub struct Inbox {
    head: AtomicPtr<Task>,
    /// Its CPU was not told of what is in it. Set by its own CPU, cleared by its drain.
    lying: AtomicBool,
}

impl Inbox {
    /// An empty inbox.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Inbox { head: AtomicPtr::new(null_mut()), lying: AtomicBool::new(false) }
    }

    /// An empty inbox.
    #[cfg(loom)]
    pub fn new() -> Self {
        Inbox { head: AtomicPtr::new(null_mut()), lying: AtomicBool::new(false) }
    }

    /// Adds `task` from another CPU; `true` if the inbox's CPU has to be told. Any context.
    #[inline]
    pub fn push(&self, task: NonNull<Task>) -> bool {
        // Any other inbox that is not empty has an IPI under way, or its CPU has not yet finished the drain that empties it.
        self.link(task) || self.lying.load(Ordering::SeqCst)
    }

    /// Adds `task` on the inbox's own CPU; `true` if a reschedule is due. `stays`: whether the current task goes on
    /// before it, whatever the queue holds. It is asked after the push, for whoever changes the current task's parameters
    /// and then finds the inbox empty; so what may not lie there counts as lying, too, which costs another CPU an IPI at most.
    #[inline(always)]
    pub fn push_here(&self, task: NonNull<Task>, stays: impl FnOnce() -> bool) -> bool {
        self.lying.store(true, Ordering::SeqCst);
        self.link(task);
        // Pairs with the fence of whoever changes what `stays` answers by and then looks here.
        fence(Ordering::SeqCst);
        !stays()
    }

    /// Links `task`; `true` if the inbox was empty.
    ///
    /// SeqCst on success: the pusher then reads whether the CPU idles, and the idle loop sets its idle bit before it
    /// looks here a last time.
    #[inline]
    fn link(&self, task: NonNull<Task>) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller made the task runnable, so the link is its own until the task is taken.
            unsafe { task.as_ref().link.store(head, Ordering::Relaxed) };
            match self.head.compare_exchange_weak(head, task.as_ptr(), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return head.is_null(),
                Err(h) => head = h,
            }
        }
    }

    /// Whether nothing waits.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// The task that came last, null when there is none. On the inbox's own CPU, with interrupts masked: it stays there, and
    /// alive, until this CPU takes it.
    #[inline(always)]
    pub fn newest(&self) -> *const Task {
        self.head.load(Ordering::Acquire)
    }

    /// Takes everything, oldest first. On the inbox's own CPU, with interrupts masked.
    #[inline]
    pub fn take(&self) -> Drain {
        // Before the take: a push by another CPU after it finds the inbox empty.
        self.lying.store(false, Ordering::Relaxed);
        if self.head.load(Ordering::Relaxed).is_null() {
            return Drain(null_mut());
        }
        let mut p = self.head.swap(null_mut(), Ordering::Acquire);
        let mut reversed = null_mut();
        while let Some(task) = NonNull::new(p) {
            // SAFETY: the swap made this flow the list's only owner.
            unsafe {
                p = task.as_ref().link.load(Ordering::Relaxed);
                task.as_ref().link.store(reversed, Ordering::Relaxed);
            }
            reversed = task.as_ptr();
        }
        Drain(reversed)
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
