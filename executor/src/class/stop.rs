//! The stop class: it outranks everything, has no slice and is never preempted (Linux: `stop_sched_class`).

use super::entity::Entity;
use super::list::List;
use core::ptr::NonNull;

/// The stop class's queue. Its current entity stays at the head while it runs.
#[derive(Debug)]
pub(super) struct StopRq {
    list: List,
    pub(super) nr: u32,
}

impl StopRq {
    pub(super) const fn new() -> Self {
        StopRq { list: List::new(), nr: 0 }
    }

    #[inline(always)]
    pub(super) fn pick(&self) -> Option<NonNull<Entity>> {
        self.list.first()
    }

    /// # Safety
    /// `e` is valid, on no queue, and stays until it is dequeued.
    pub(super) unsafe fn enqueue(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe { self.list.push_back(e) };
        self.nr = self.nr.wrapping_add(1);
    }

    /// # Safety
    /// `e` is on this queue.
    pub(super) unsafe fn dequeue(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe { self.list.remove(e) };
        self.nr = self.nr.wrapping_sub(1);
    }

    /// # Safety
    /// `e` is on this queue.
    pub(super) unsafe fn requeue_tail(&mut self, e: NonNull<Entity>) {
        // SAFETY: it is on the queue, and on none between the two calls.
        unsafe {
            self.list.remove(e);
            self.list.push_back(e);
        }
    }
}
