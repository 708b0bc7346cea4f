//! Looking at who waits for the CPU: what balancing asks of a queue.

use super::RunQueue;
use super::entity::Entity;
use super::sched_class::{SchedClass, in_order};
use crate::time::Nanos;
use core::ptr::NonNull;

impl RunQueue {
    /// Whether more than one entity is runnable.
    #[inline(always)]
    pub fn is_crowded(&self) -> bool {
        let mut n = 0u32;
        in_order!(self, c => n = n.wrapping_add(c.nr_running()));
        n.wrapping_add(self.fair.nr_in_groups()) > 1
    }

    /// The first entity that waits for the CPU and is `wanted`; the most urgent class first, and in it the order in which they
    /// would run. Those of a class that is throttled do not wait: they could not run elsewhere either before their time.
    pub fn find_waiting(&self, mut wanted: impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        in_order!(self, c => if let Some(e) = c.find_waiting(&mut wanted) {
            return Some(e);
        });
        None
    }

    /// An entity that is queued and not current, whatever holds it back: it has to go to another CPU. Stop tasks stay.
    pub fn first_queued(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        self.update_current(now);
        in_order!(&mut self, c => if let Some(e) = c.first_queued(now) {
            return Some(e);
        });
        None
    }

    /// The CPU goes, and nobody is queued: what of entities that sleep is kept here is so no more.
    pub(crate) fn retire(&mut self) {
        self.dl.forget_all();
        self.count_above();
    }
}
