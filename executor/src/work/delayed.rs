//! Work after a delay.

use super::WorkQueue;
use super::item::{Work, WorkRef};
use crate::arch;
use crate::atomic::{AtomicPtr, Ordering};
use crate::coarse::{CoarseTimer, Kind};
use crate::cpu::CpuId;
use crate::time::Nanos;
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr::{self, NonNull, null_mut};

/// An item that is queued by a timer (Linux: delayed_work). Pending from the moment it is scheduled.
#[repr(C)]
pub struct DelayedWork {
    work: Work,
    timer: CoarseTimer,
    queue: AtomicPtr<WorkQueue>,
}

impl DelayedWork {
    /// An item that calls `function`; see [`Work::new`].
    pub const fn new(function: fn(&Work)) -> Self {
        DelayedWork { work: Work::new(function), timer: CoarseTimer::new(expired, Kind::IRQSAFE), queue: AtomicPtr::new(null_mut()) }
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

    /// Puts it on `queue` after `delay` nanoseconds, or a few ticks later ([`coarse`](crate::coarse)); `false` if it is pending already. Any context.
    pub fn schedule(&'static self, queue: &'static WorkQueue, delay: Nanos) -> bool {
        // Who calls it off spins in between.
        arch::without_irqs(|| {
            let fresh = self.work.set_pending(<&'static Work as WorkRef>::release);
            if fresh {
                self.start(queue, delay);
            }
            fresh
        })
    }

    /// As [`schedule`](Self::schedule) with the delay from now on, if its timer runs already (`true`; Linux: mod_delayed_work). What lies
    /// in a queue stays there.
    pub fn modify(&'static self, queue: &'static WorkQueue, delay: Nanos) -> bool {
        arch::without_irqs(|| {
            let stopped = self.timer.delete_sync();
            if stopped {
                self.start(queue, delay);
            } else {
                self.schedule(queue, delay);
            }
            stopped
        })
    }

    /// PENDING is the caller's, who has interrupts masked.
    fn start(&'static self, queue: &'static WorkQueue, delay: Nanos) {
        self.queue.store(ptr::from_ref(queue).cast_mut(), Ordering::Release);
        if delay == 0 {
            queue.push_pending(CpuId::current(), NonNull::from(&self.work));
        } else {
            Pin::static_ref(&self.timer).start(delay);
        }
    }

    /// Stops the timer or takes the item out of its queue (`true`), and waits until it does not run. Until then nobody can schedule it.
    /// Not in its own function.
    pub async fn cancel_sync(&'static self) -> bool {
        match self.queue() {
            Some(queue) => queue.call_off(&self.work, || self.timer.delete_sync()).await,
            None => false,
        }
    }

    /// Queues it now if its timer runs, and waits for the end of the run that was asked for last (Linux: flush_delayed_work). Whether
    /// there was one.
    pub async fn flush(&'static self) -> bool {
        let Some(queue) = self.queue() else { return false };
        arch::without_irqs(|| {
            if self.timer.delete_sync() {
                queue.push_pending(CpuId::current(), NonNull::from(&self.work));
            }
        });
        queue.flush_work(&self.work).await
    }

    /// The queue that it was given last.
    fn queue(&self) -> Option<&'static WorkQueue> {
        // SAFETY: only statics are stored.
        unsafe { self.queue.load(Ordering::Acquire).cast_const().as_ref::<'static>() }
    }
}

/// The timer has fired.
fn expired(timer: &CoarseTimer) {
    // SAFETY: this function is given to the timers of delayed items only.
    let delayed = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(DelayedWork, timer)).cast::<DelayedWork>() };
    if let Some(queue) = delayed.queue() {
        queue.push_pending(CpuId::current(), NonNull::from(&delayed.work));
    }
}
