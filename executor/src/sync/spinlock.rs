//! The spin lock: mutual exclusion for sections of a few dozen instructions.
//!
//! Three ways to take it, after who else does:
//!
//! | taken in | others take it by |
//! |---|---|
//! | polls only | [`SpinLock::lock`] |
//! | polls and softirqs | [`SpinLock::lock_bh`] in polls, `lock` in softirqs |
//! | hard interrupts, too | [`SpinLock::lock_irq`] (any context: it saves the mask) |
//! | the same, by whoever has interrupts masked | [`SpinLock::lock_masked`]: nothing but the lock itself |
//!
//! A guard keeps preemption off, by the count or by the interrupt mask, and is not `Send`, so no future of a task can hold it
//! across an await. Dropping it lets go of the lock, restores the mask or the count and, if a reschedule is due, gives way.

use super::lockdep::{Acquire, Held, LockClass, Tracked};
use super::raw::{self, RawGuard, RawMutex};
use crate::atomic::const_unless_loom;
use crate::context::{BhGuard, MaskGuard, PreemptGuard};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A value that one CPU at a time may touch.
pub struct SpinLock<T> {
    class: Tracked,
    inner: RawMutex<T>,
}

impl<T> SpinLock<T> {
    const_unless_loom! {
        /// A free lock of `class` around `value`.
        pub fn new(class: &'static LockClass, value: T) -> Self {
            SpinLock { class: Tracked::new(class), inner: RawMutex::new(value) }
        }
    }

    fn addr(&self) -> *const () {
        (&raw const self.inner).cast()
    }

    /// Takes it, preemption off. Not for locks that interrupts or softirqs take.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        SpinGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _preempt: preempt }
    }

    /// As [`lock`](Self::lock) for the second of two locks of one class; `class` tells the checker the level (Linux:
    /// `spin_lock_nested`). The caller keeps an order between the two, by address or by number.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_nested(&self, class: &'static LockClass) -> SpinGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let held = self.class.acquire_as(class, self.addr(), Acquire::Wait);
        SpinGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _preempt: preempt }
    }

    /// Takes it if it is free.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let preempt = PreemptGuard::new();
        let raw = raw::try_lock(&self.inner)?;
        let held = self.class.acquire(self.addr(), Acquire::Try);
        Some(SpinGuard { _held: held, raw, _preempt: preempt })
    }

    /// Takes it with interrupts masked; the guard restores the mask (Linux: `spin_lock_irqsave`). Any context.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_irq(&self) -> SpinIrqGuard<'_, T> {
        let masked = MaskGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        SpinIrqGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _masked: masked }
    }

    /// Takes it in a flow that has interrupts masked already, and masked until the guard is gone: a hard interrupt, or
    /// the executor between two polls. Nothing can preempt it there, so nothing is counted, and the end asks nobody to
    /// give way.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_masked(&self) -> SpinMaskedGuard<'_, T> {
        debug_assert!(crate::arch::irqs_disabled());
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        SpinMaskedGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _here: PhantomData }
    }

    /// Lets go of a lock whose holder has left the stack on which it took it: see [`SpinMaskedGuard::keep_over_switch`].
    ///
    /// # Safety
    /// That guard's flow has come here, with interrupts masked all the time.
    #[cfg(target_os = "none")]
    #[inline(always)]
    pub(crate) unsafe fn unlock_after_switch(&self) {
        // SAFETY: by the caller's contract it is held, and the one guard of it was forgotten.
        unsafe { self.inner.force_unlock() };
    }

    /// What a lock guards whose holder has left the stack on which it took it, until
    /// [`unlock_after_switch`](Self::unlock_after_switch).
    ///
    /// # Safety
    /// As there; no reference from an earlier call is left.
    #[cfg(target_os = "none")]
    #[expect(clippy::mut_from_ref, reason = "the lock is held, and its one guard forgotten")]
    pub(crate) unsafe fn held_after_switch(&self) -> &mut T {
        // SAFETY: by the caller's contract the lock is held for this flow, and nobody else has a reference.
        unsafe { &mut *self.inner.as_mut_ptr() }
    }

    /// [`lock_irq`](Self::lock_irq) for the second of two locks of one class; see [`lock_nested`](Self::lock_nested).
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_irq_nested(&self, class: &'static LockClass) -> SpinIrqGuard<'_, T> {
        let masked = MaskGuard::new();
        let held = self.class.acquire_as(class, self.addr(), Acquire::Wait);
        SpinIrqGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _masked: masked }
    }

    /// Takes it with interrupts masked if it is free.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock_irq(&self) -> Option<SpinIrqGuard<'_, T>> {
        let masked = MaskGuard::new();
        let raw = raw::try_lock(&self.inner)?;
        let held = self.class.acquire(self.addr(), Acquire::Try);
        Some(SpinIrqGuard { _held: held, raw, _masked: masked })
    }

    /// Takes it with bottom halves off. Not in a hard interrupt.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn lock_bh(&self) -> SpinBhGuard<'_, T> {
        let bh = BhGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        SpinBhGuard { raw: held.take(|| raw::try_lock(&self.inner), || raw::lock(&self.inner)), _held: held, _bh: bh }
    }

    /// The value, without locking: `&mut self` proves that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        #[cfg(not(loom))]
        return self.inner.get_mut();
        #[cfg(loom)]
        return self.inner.get_mut().unwrap_or_else(|e| e.into_inner());
    }

    /// The value.
    pub fn into_inner(self) -> T {
        #[cfg(not(loom))]
        return self.inner.into_inner();
        #[cfg(loom)]
        return self.inner.into_inner().unwrap_or_else(|e| e.into_inner());
    }
}

impl<T> core::fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SpinLock")
    }
}

/// The deref of one kind of guard. Its fields drop in their order: the checker's entry, the lock, and last the
/// mask or the preempt count, with a look at need-resched.
macro_rules! guard {
    ($name:ident) => {
        // SAFETY: a shared guard gives out only `&T`.
        unsafe impl<T: Sync> Sync for $name<'_, T> {}

        impl<T> Deref for $name<'_, T> {
            type Target = T;
            #[inline(always)]
            fn deref(&self) -> &T {
                &self.raw
            }
        }

        impl<T> DerefMut for $name<'_, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut T {
                &mut self.raw
            }
        }
    };
}

/// The lock is held and preemption off.
#[must_use = "the lock is held only while the guard lives"]
pub struct SpinGuard<'a, T> {
    _held: Held,
    raw: RawGuard<'a, T>,
    _preempt: PreemptGuard,
}

/// The lock is held and interrupts are masked.
#[must_use = "the lock is held only while the guard lives"]
pub struct SpinIrqGuard<'a, T> {
    _held: Held,
    raw: RawGuard<'a, T>,
    _masked: MaskGuard,
}

/// The lock is held; its holder has interrupts masked. Not `Send`, like the others.
#[must_use = "the lock is held only while the guard lives"]
pub struct SpinMaskedGuard<'a, T> {
    _held: Held,
    raw: RawGuard<'a, T>,
    _here: PhantomData<*mut ()>,
}

/// The lock is held and bottom halves are off.
#[must_use = "the lock is held only while the guard lives"]
pub struct SpinBhGuard<'a, T> {
    _held: Held,
    raw: RawGuard<'a, T>,
    _bh: BhGuard,
}

#[cfg(target_os = "none")]
impl<T> SpinMaskedGuard<'_, T> {
    /// The lock stays held over a switch to another stack, where [`SpinLock::unlock_after_switch`] lets go of it. For the
    /// checker this flow holds it no longer: it takes no other meanwhile.
    #[inline(always)]
    pub(crate) fn keep_over_switch(self) {
        let SpinMaskedGuard { _held, raw, _here } = self;
        core::mem::forget(raw);
    }
}

impl<T> SpinIrqGuard<'_, T> {
    /// Lets go of it, and does not ask whether to give way: nobody was woken since it was taken.
    #[inline(always)]
    pub(crate) fn end_unwoken(self) {
        let SpinIrqGuard { _held, raw, _masked } = self;
        drop(_held);
        drop(raw);
        _masked.end_unwoken();
    }
}

guard!(SpinGuard);
guard!(SpinIrqGuard);
guard!(SpinMaskedGuard);
guard!(SpinBhGuard);
