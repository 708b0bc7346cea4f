//! "It is done" (Linux: struct completion).

use super::lockdep::might_sleep;
use crate::atomic::{AtomicU32, Ordering, const_unless_loom};
use crate::time::Nanos;
use crate::wait::{Interrupted, WaitMode, WaitQueue, WaitSite, Waited};

/// Done for all and for ever (Linux: UINT_MAX).
const ALL: u32 = u32::MAX;

/// A count of completions; each waiter consumes one.
pub struct Completion {
    done: AtomicU32,
    queue: WaitQueue,
}

impl Completion {
    const_unless_loom! {
        /// Nothing is done yet.
        pub fn new() -> Self {
            Completion { done: AtomicU32::new(0), queue: WaitQueue::new() }
        }
    }

    /// Done once more: one waiter, present or future, goes on. Any context.
    pub fn complete(&self) {
        // Saturates at ALL - 1, so that counting never turns into "for ever".
        let mut d = self.done.load(Ordering::Relaxed);
        while d < ALL - 1 {
            match self.done.compare_exchange_weak(d, d + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => d = now,
            }
        }
        self.queue.wake_one();
    }

    /// Done for all waiters, present and future, until [`Completion::reinit`]. Any context.
    pub fn complete_all(&self) {
        self.done.store(ALL, Ordering::Release);
        self.queue.wake_all();
    }

    /// Not done any more. The caller knows that nobody waits.
    pub fn reinit(&self) {
        self.done.store(0, Ordering::Relaxed);
    }

    /// Consumes one completion if there is one. Any context.
    pub fn try_wait(&self) -> bool {
        let mut d = self.done.load(Ordering::Acquire);
        loop {
            match d {
                0 => return false,
                ALL => return true,
                _ => {}
            }
            match self.done.compare_exchange_weak(d, d - 1, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => d = now,
            }
        }
    }

    /// Whether a wait would return at once.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) != 0
    }

    /// Waits for a completion, however long that lasts.
    pub async fn wait(&self, site: &'static WaitSite) {
        while self.wait_mode(site, WaitMode::Uninterruptible).await.is_err() {}
    }

    /// Waits for a completion, unless an interrupt of `mode` comes first.
    pub async fn wait_mode(&self, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        might_sleep(site);
        self.queue.wait_until_exclusive(site, mode, || self.try_wait().then_some(())).await
    }

    /// Waits for a completion until `deadline` (CLOCK_MONOTONIC).
    pub async fn wait_deadline(&self, site: &'static WaitSite, mode: WaitMode, deadline: Nanos) -> Waited<()> {
        might_sleep(site);
        self.queue.wait_until_exclusive_deadline(site, mode, Some(deadline), 0, || self.try_wait().then_some(())).await
    }
}

#[cfg(not(loom))]
impl Default for Completion {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Completion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Completion").field("done", &self.done.load(Ordering::Relaxed)).finish()
    }
}
