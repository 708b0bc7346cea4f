//! The stop class: it outranks everything, has no slice and is never preempted (Linux: `stop_sched_class`).

use super::entity::Entity;
use super::list::List;
use super::params::{Class, Rank};
use super::sched_class::SchedClass;
use super::{Enqueue, PickLimit};
use crate::time::Nanos;
use core::ptr::NonNull;

/// The stop class's queue. Its current entity stays at the head while it runs.
#[derive(Debug)]
pub(super) struct StopRq {
    list: List,
    nr: u32,
}

impl StopRq {
    pub(super) const fn new() -> Self {
        StopRq { list: List::new(), nr: 0 }
    }
}

impl SchedClass for StopRq {
    #[inline(always)]
    fn class(&self) -> Class {
        Class::Stop
    }

    #[inline(always)]
    fn nr_running(&self) -> u32 {
        self.nr
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, _: Enqueue, _: Nanos) {
        // SAFETY: passed on.
        unsafe { self.list.push_back(e) };
        self.nr = self.nr.wrapping_add(1);
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_current(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        // SAFETY: passed on. The current entity is in the list.
        unsafe { self.enqueue_task(e, why, now) };
        Some(None)
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe { self.list.remove(e) };
        self.nr = self.nr.wrapping_sub(1);
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        // SAFETY: the current entity is in the list.
        unsafe { self.dequeue_task(e) };
    }

    #[cold]
    #[inline(never)]
    fn pick_next_task(&mut self, _: PickLimit, _: Nanos) -> Option<NonNull<Entity>> {
        self.list.first()
    }

    #[cold]
    #[inline(never)]
    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool) {
        if gives_way {
            // SAFETY: it is in the list, and in none between the two calls.
            unsafe {
                self.list.remove(e);
                self.list.push_back(e);
            }
        }
    }

    #[inline(always)]
    unsafe fn update_curr(&mut self, _: NonNull<Entity>, _: Nanos, _: Nanos, _: bool) {}

    #[inline(always)]
    fn best_rank(&self) -> Option<Rank> {
        if self.nr > 0 { Some(Rank::STOP) } else { None }
    }

    #[cold]
    #[inline(never)]
    unsafe fn leave(&mut self, e: NonNull<Entity>, _: bool, _: bool) {
        // SAFETY: it is in the list.
        unsafe { self.dequeue_task(e) };
    }

    #[cold]
    #[inline(never)]
    unsafe fn join(&mut self, e: NonNull<Entity>, _: bool, _: bool) {
        // SAFETY: it is in no list.
        unsafe { self.enqueue_task(e, Enqueue::Migrated, 0) };
    }
}
