//! Callbacks of an SRCU domain (Linux: call_srcu, srcu_barrier): they are called by a task of the domain's own, in the order in
//! which they were queued, each when all read-side sections that had begun before it was queued have ended.
//!
//! The task takes all that is queued, awaits one grace period for the lot, and calls them; what comes meanwhile is the next lot.

use super::rcu::{Callback, RcuHead};
use super::spinlock::SpinLock;
use super::srcu::Srcu;
use crate::class::Params;
use crate::lock_class;
use crate::task::{SpawnError, Spawned};
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::ptr::{NonNull, null, null_mut};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// FIFO.
struct List {
    first: *mut RcuHead,
    last: *mut RcuHead,
}

// SAFETY: the heads belong to whoever has the list's lock, or took the list.
unsafe impl Send for List {}

impl List {
    const EMPTY: List = List { first: null_mut(), last: null_mut() };
}

/// What a domain has of callbacks.
pub(super) struct Callbacks {
    /// Any context queues. A leaf.
    list: SpinLock<List>,
    /// Changed under the lock.
    queued: AtomicU64,
    called: AtomicU64,
    started: AtomicBool,
    /// Both ends wait here: the task for something to do, barriers for what has been done.
    changed: WaitQueue,
}

impl Callbacks {
    pub(super) const fn new() -> Callbacks {
        Callbacks {
            list: SpinLock::new(lock_class!("srcu_callbacks"), List::EMPTY),
            queued: AtomicU64::new(0),
            called: AtomicU64::new(0),
            started: AtomicBool::new(false),
            changed: WaitQueue::new(),
        }
    }

    fn take(&self) -> Option<NonNull<RcuHead>> {
        NonNull::new(core::mem::replace(&mut *self.list.lock_irq(), List::EMPTY).first)
    }
}

impl Srcu {
    /// Makes the task that calls the domain's callbacks; more often does no harm. Callbacks that were queued before are called then.
    pub fn start_callbacks(&'static self) -> Result<(), SpawnError> {
        if !self.callbacks.started.swap(true, AcqRel) {
            match Spawned::new(self.run_callbacks(), Params::DEFAULT, b"srcu", None, null()) {
                Ok(made) => drop(made.start()),
                Err(e) => {
                    self.callbacks.started.store(false, Release);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Calls `function` with `head` when all read-side sections of the domain that have begun before have ended; in a task, where it
    /// may not wait. Any context; never allocates. The domain's callbacks are to be [started](Self::start_callbacks).
    ///
    /// # Safety
    /// `head` is not queued and stays valid until `function` is called; `function` may be called on any CPU.
    pub unsafe fn call(&'static self, head: NonNull<RcuHead>, function: Callback) {
        {
            let mut list = self.callbacks.list.lock_irq();
            // SAFETY: by the contract the head is the caller's, and those in the list belong to its lock.
            unsafe {
                head.as_ref().prepare(function);
                match NonNull::new(list.last) {
                    Some(last) => last.as_ref().link(head),
                    None => list.first = head.as_ptr(),
                }
            }
            list.last = head.as_ptr();
            self.callbacks.queued.fetch_add(1, Relaxed);
        }
        self.callbacks.changed.wake_all();
    }

    /// Waits until every callback that was queued before the call has been called and has returned.
    pub async fn barrier(&self, site: &'static crate::wait::WaitSite) {
        let callbacks = &self.callbacks;
        let target = callbacks.queued.load(Acquire);
        let over = || (callbacks.called.load(Acquire) >= target).then_some(());
        while callbacks.changed.wait_until(site, WaitMode::Uninterruptible, over).await.is_err() {}
    }

    async fn run_callbacks(&'static self) {
        let callbacks = &self.callbacks;
        loop {
            let something = || callbacks.take().map(Batch);
            // Interruptible, as idle workers are: it counts for no load. Nobody signals it.
            let taken = callbacks.changed.wait_until(wait_site!("srcu"), WaitMode::Interruptible, something).await;
            let Ok(batch) = taken else { continue };
            self.synchronize(wait_site!("srcu_synchronize")).await;
            // SAFETY: the grace period is over.
            unsafe { batch.call(|| _ = callbacks.called.fetch_add(1, Release)) };
            callbacks.changed.wake_all();
        }
    }
}

/// A list that was taken.
struct Batch(NonNull<RcuHead>);

// SAFETY: the heads belong to who took them.
unsafe impl Send for Batch {}

impl Batch {
    /// Calls them all, and `done` after each.
    ///
    /// # Safety
    /// What the callbacks may rely on has come true.
    unsafe fn call(self, done: impl Fn()) {
        let mut next = Some(self.0);
        while let Some(head) = next {
            // SAFETY: taken, so ours; a head is its callback's once it is called, so its link is read before.
            unsafe {
                next = head.as_ref().next();
                head.as_ref().call();
            }
            done();
        }
    }
}
