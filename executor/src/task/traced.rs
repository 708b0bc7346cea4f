//! What tracers and balancing see of a task, without a lock.

use super::Task;
use super::header::{URGENCY_IDLE, URGENCY_PRIO_SHIFT};
use crate::class::{Enqueue, weight};
use crate::trace::{KEY_WAKE, Role};
use core::mem::offset_of;
use core::sync::atomic::Ordering::Relaxed;

/// Why a task comes to a run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coming {
    /// It was woken.
    Woken,
    /// It was never on one.
    New,
    /// It was taken off another one.
    Migrated,
}

/// The priority of nice 0 as Linux shows it.
const NICE_0_PRIO: i16 = 120;

/// How the push on its CPU's own inbox is traced.
const WAKE: u32 = Role::Wake as u32;
const LINK_AT: usize = offset_of!(Task, link);

impl Task {
    /// Its priority as Linux shows it (`Params::prio`), read without a lock: for tracers.
    pub fn prio(&self) -> i16 {
        (self.urgency.load(Relaxed) >> URGENCY_PRIO_SHIFT) as i16
    }

    /// What it weighs in the fair class, by nice value and policy.
    pub(crate) fn weight(&self) -> u32 {
        let nice = self.prio().saturating_sub(NICE_0_PRIO).clamp(-20, 19) as i8;
        if self.urgency.load(Relaxed) & URGENCY_IDLE == 0 { weight::of_nice(nice).weight } else { weight::IDLE.weight }
    }

    /// The kernel's number for it, below 2^31; 0: it has none.
    pub fn number(&self) -> u32 {
        self.number.load(Relaxed) >> 1
    }

    /// Whether its number is also that of its process.
    pub fn leads(&self) -> bool {
        self.number.load(Relaxed) & 1 != 0
    }

    /// Gives it a number, and says whether that is also its process's.
    pub fn set_number(&self, number: u32, leads: bool) {
        self.number.store(number << 1 | u32::from(leads), Relaxed);
    }

    /// Whether its futures belong to user space: the executor enters and leaves it by hooks.
    pub fn has_hooks(&self) -> bool {
        self.hooks.is_some()
    }

    /// Links it before `next` in its CPU's own inbox.
    #[inline(always)]
    pub(crate) fn link_here(&self, next: *mut Task) {
        // SAFETY: the field is an atomic pointer of this header.
        unsafe { crate::arch::store_traced::<WAKE, KEY_WAKE, LINK_AT>(core::ptr::from_ref(self).cast(), next.cast()) };
    }

    /// What becomes of it when its poll ends now, as far as can be seen in that poll: whether it is runnable at once.
    pub fn is_runnable_again(&self) -> bool {
        self.state.is_notified()
    }

    /// Why it comes to a run queue next: for tracers.
    pub fn coming(&self) -> Coming {
        match self.next_arrival() {
            Enqueue::Wakeup => Coming::Woken,
            Enqueue::New => Coming::New,
            Enqueue::Migrated => Coming::Migrated,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::class::{Params, Policy};
    use crate::task::Spawned;
    use core::ptr::null;

    #[test]
    fn the_weight_is_that_of_nice_value_and_policy() {
        let weight = |params| Spawned::new(async {}, params, b"weight", None, null()).map(|made| made.task().weight());
        for (nice, expected) in [(0, 1024), (-20, 88_761), (19, 15)] {
            assert_eq!(weight(Params::normal(nice)), Ok(expected));
            assert_eq!(weight(Params { policy: Policy::Batch, ..Params::normal(nice) }), Ok(expected));
            assert_eq!(weight(Params { policy: Policy::Idle, ..Params::normal(nice) }), Ok(3));
        }
    }
}
