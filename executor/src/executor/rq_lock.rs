//! The lock of a run queue, whose taking ends what a hand-over has left to do.

use crate::class::RunQueue;
use crate::lock_class;
use crate::sync::{SpinGuard, SpinIrqGuard, SpinLock, SpinMaskedGuard};

/// A run queue and its lock. Whoever takes it finds the queue in order: an entity that was parked for another one
/// ([`RunQueue::park_current_for`]) is put back first, as of the moment when it lost the CPU. What the loop knew of the queue
/// ([`RunQueue::begin`]) it knows no more.
pub(crate) struct RqLock(SpinLock<RunQueue>);

impl RqLock {
    pub(crate) const fn new() -> Self {
        RqLock(SpinLock::new(lock_class!("rq"), RunQueue::new()))
    }

    /// As [`SpinLock::lock_irq`].
    #[inline(always)]
    pub(crate) fn lock_irq(&self) -> SpinIrqGuard<'_, RunQueue> {
        let mut rq = self.0.lock_irq();
        rq.begin();
        rq
    }

    /// As [`SpinLock::lock`], with interrupts masked.
    #[inline(always)]
    pub(crate) fn lock(&self) -> SpinGuard<'_, RunQueue> {
        let mut rq = self.0.lock();
        rq.begin();
        rq
    }

    /// As [`SpinLock::lock_masked`].
    #[inline(always)]
    pub(crate) fn lock_masked(&self) -> SpinMaskedGuard<'_, RunQueue> {
        let mut rq = self.0.lock_masked();
        rq.begin();
        rq
    }

    /// The same, but what a hand-over has left to do is the caller's: the loop's, which sees it with the rest that is unusual, and
    /// calls [`RunQueue::begin`] itself before anything that is not of `class/plain.rs`.
    #[inline(always)]
    pub(crate) fn lock_as_left(&self) -> SpinMaskedGuard<'_, RunQueue> {
        self.0.lock_masked()
    }

    /// The same on the lock's own CPU, which idles: nobody was parked there since it was locked last. To make somebody current.
    #[inline(always)]
    pub(crate) fn lock_idle(&self) -> SpinMaskedGuard<'_, RunQueue> {
        let rq = self.0.lock_masked();
        debug_assert!(!rq.has_parked());
        rq
    }

    /// As [`SpinLock::try_lock_irq`].
    #[inline(always)]
    pub(crate) fn try_lock_irq(&self) -> Option<SpinIrqGuard<'_, RunQueue>> {
        let mut rq = self.0.try_lock_irq()?;
        rq.begin();
        Some(rq)
    }

    /// As [`SpinLock::held_after_switch`].
    ///
    /// # Safety
    /// Its contract.
    #[cfg(target_os = "none")]
    #[expect(clippy::mut_from_ref, reason = "the lock is held, and its one guard forgotten")]
    pub(crate) unsafe fn held_after_switch(&self) -> &mut RunQueue {
        // SAFETY: passed on.
        let rq = unsafe { self.0.held_after_switch() };
        rq.begin();
        rq
    }

    /// As [`SpinLock::unlock_after_switch`].
    ///
    /// # Safety
    /// Its contract.
    #[cfg(target_os = "none")]
    #[inline(always)]
    pub(crate) unsafe fn unlock_after_switch(&self) {
        // SAFETY: passed on.
        unsafe { self.0.unlock_after_switch() };
    }
}
