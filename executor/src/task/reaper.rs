//! Where the last reference of a task goes: a lock-free list that the executor loop empties outside of interrupts.

use super::header::Task;
use crate::cpu::local;
use crate::pending::REAP;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

static DEAD: AtomicPtr<Task> = AtomicPtr::new(null_mut());

/// Gives `task`, whose last reference is gone, to the reaper. Any context.
pub(crate) fn push(task: NonNull<Task>) {
    let mut head = DEAD.load(Ordering::Relaxed);
    loop {
        // SAFETY: nobody else refers to the task any more; its link is ours.
        unsafe { task.as_ref().link.store(head, crate::atomic::Ordering::Relaxed) };
        match DEAD.compare_exchange_weak(head, task.as_ptr(), Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(h) => head = h,
        }
    }
    // Whichever CPU this is by then: it frees what all have given. Should it never look again, the next one that idles does.
    local().pending.set(REAP);
}

/// Whether there is something to free.
#[inline(always)]
pub fn is_pending() -> bool {
    !DEAD.load(Ordering::Relaxed).is_null()
}

/// Frees every task that was given so far. Not in an interrupt; takes the allocator's locks.
pub fn reap() {
    // Before the list is taken: whoever comes later sets the bit again.
    local().pending.take(REAP);
    let mut p = DEAD.swap(null_mut(), Ordering::Acquire);
    while let Some(task) = NonNull::new(p) {
        // SAFETY: taken off the list by the swap: this is the only user. Its future was dropped before DEAD.
        unsafe {
            p = task.as_ref().link.load(crate::atomic::Ordering::Relaxed);
            Task::free(task);
        }
    }
}
