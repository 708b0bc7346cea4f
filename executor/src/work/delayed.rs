//! Work after a delay.

use super::WorkQueue;
use super::item::{PENDING, Work, WorkRef};
use crate::atomic::{AtomicPtr, Ordering};
use crate::cpu::CpuId;
use crate::time::{Nanos, now};
use crate::timer::Timer;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::{self, NonNull, null_mut};

/// An item that is queued by a timer (Linux: delayed_work). Pending from the moment it is scheduled.
#[repr(C)]
pub struct DelayedWork {
    work: Work,
    timer: Timer,
    queue: AtomicPtr<WorkQueue>,
}

impl DelayedWork {
    /// An item that calls `function`; see [`Work::new`].
    pub const fn new(function: fn(&Work)) -> Self {
        DelayedWork { work: Work::new(function), timer: Timer::new(expired), queue: AtomicPtr::new(null_mut()) }
    }

    /// The item itself.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The delayed item of which `work` is the item, for its function.
    ///
    /// # Safety
    /// `work` is part of a `DelayedWork`.
    pub unsafe fn of_work(work: &Work) -> &DelayedWork {
        // SAFETY: the item is the first field of the `repr(C)` structure.
        unsafe { &*ptr::from_ref(work).cast::<DelayedWork>() }
    }

    /// Puts it on `queue` after `delay` nanoseconds; `false` if it is pending already. Any context.
    pub fn schedule(&'static self, queue: &'static WorkQueue, delay: Nanos) -> bool {
        if !self.work.set_pending(<&'static Work as WorkRef>::release) {
            return false;
        }
        self.queue.store(ptr::from_ref(queue).cast_mut(), Ordering::Release);
        if delay == 0 {
            queue.push(CpuId::current(), NonNull::from(&self.work));
        } else {
            Pin::static_ref(&self.timer).start(now().saturating_add(delay), 0);
        }
        true
    }

    /// Stops the timer or takes the item out of its queue (`true`), and waits until it does not run. Not in its own
    /// function.
    pub async fn cancel_sync(&'static self) -> bool {
        let stopped = self.timer.cancel() && self.work.clear_bits_if(PENDING, PENDING);
        // SAFETY: only statics are stored.
        let Some(queue) = (unsafe { self.queue.load(Ordering::Acquire).cast_const().as_ref::<'static>() }) else {
            return stopped;
        };
        let cancelled = queue.cancel_sync(&self.work).await;
        stopped || cancelled
    }
}

/// The timer has fired.
fn expired(timer: &Timer) {
    // SAFETY: this function is given to the timers of delayed items only.
    let delayed = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(DelayedWork, timer)).cast::<DelayedWork>() };
    // SAFETY: only statics are stored.
    if let Some(queue) = unsafe { delayed.queue.load(Ordering::Acquire).cast_const().as_ref::<'static>() } {
        queue.push(CpuId::current(), NonNull::from(&delayed.work));
    }
}
