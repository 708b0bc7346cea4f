//! The reader-writer spin lock: many readers or one writer, for sections of a few dozen instructions.
//!
//! A waiting writer holds new readers back, except readers in interrupts. So a reader outside of interrupts may not
//! take the same lock again while it holds it (Linux's qrwlock has the same rule), and a writer of a lock that
//! interrupts read takes it by [`RwSpinLock::write_irq`].

use super::lockdep::{Acquire, Held, LockClass, Tracked};
use super::raw::RawRwLock;
use crate::atomic::{UnsafeCell, const_unless_loom};
use crate::context::{IrqGuard, PreemptGuard, in_interrupt};
use core::ops::{Deref, DerefMut};

/// A value that many CPUs may read, or one may change.
pub struct RwSpinLock<T> {
    raw: RawRwLock,
    class: Tracked,
    value: UnsafeCell<T>,
}

// SAFETY: the word lets in readers or one writer; readers on several CPUs need `T: Sync`, a writer `T: Send`.
unsafe impl<T: Send + Sync> Sync for RwSpinLock<T> {}
// SAFETY: it owns its value.
unsafe impl<T: Send> Send for RwSpinLock<T> {}

impl<T> RwSpinLock<T> {
    const_unless_loom! {
        /// A free lock of `class` around `value`.
        pub fn new(class: &'static LockClass, value: T) -> Self {
            RwSpinLock { raw: RawRwLock::new(), class: Tracked::new(class), value: UnsafeCell::new(value) }
        }
    }

    fn addr(&self) -> *const () {
        (&raw const self.raw).cast()
    }

    fn ptr(&self) -> *mut T {
        self.value.with_mut(|p| p)
    }

    /// Takes it as a reader, preemption off.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read(&self) -> RwReadGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Read);
        held.take(|| self.raw.try_read(in_interrupt()).then_some(()), || self.raw.read(in_interrupt()));
        RwReadGuard { _held: held, lock: self, _irq: (), _preempt: preempt }
    }

    /// Takes it as a reader with interrupts masked.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn read_irq(&self) -> RwReadIrqGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let irq = IrqGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Read);
        held.take(|| self.raw.try_read(in_interrupt()).then_some(()), || self.raw.read(in_interrupt()));
        RwReadIrqGuard { _held: held, lock: self, _irq: irq, _preempt: preempt }
    }

    /// Takes it as the writer, preemption off. Not for locks that interrupts take.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write(&self) -> RwWriteGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        held.take(|| self.raw.try_write().then_some(()), || self.raw.write());
        RwWriteGuard { _held: held, lock: self, _irq: (), _preempt: preempt }
    }

    /// Takes it as the writer with interrupts masked.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn write_irq(&self) -> RwWriteIrqGuard<'_, T> {
        let preempt = PreemptGuard::new();
        let irq = IrqGuard::new();
        let held = self.class.acquire(self.addr(), Acquire::Wait);
        held.take(|| self.raw.try_write().then_some(()), || self.raw.write());
        RwWriteIrqGuard { _held: held, lock: self, _irq: irq, _preempt: preempt }
    }

    /// Takes it as the writer if it is free.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_write(&self) -> Option<RwWriteGuard<'_, T>> {
        let preempt = PreemptGuard::new();
        if !self.raw.try_write() {
            return None;
        }
        let held = self.class.acquire(self.addr(), Acquire::Try);
        Some(RwWriteGuard { _held: held, lock: self, _irq: (), _preempt: preempt })
    }

    /// Takes it as a reader if no writer has it or waits for it.
    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_read(&self) -> Option<RwReadGuard<'_, T>> {
        let preempt = PreemptGuard::new();
        if !self.raw.try_read(false) {
            return None;
        }
        let held = self.class.acquire(self.addr(), Acquire::TryRead);
        Some(RwReadGuard { _held: held, lock: self, _irq: (), _preempt: preempt })
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes all guards.
        unsafe { &mut *self.ptr() }
    }
}

macro_rules! rw_guard {
    ($(#[$m:meta])* $name:ident, $irq:ty, $unlock:ident) => {
        $(#[$m])*
        #[must_use = "the lock is held only while the guard lives"]
        pub struct $name<'a, T> {
            _held: Held,
            lock: &'a RwSpinLock<T>,
            // Dropped after `Drop::drop` let go of the lock, in this order.
            _irq: $irq,
            _preempt: PreemptGuard,
        }

        // SAFETY: a shared guard gives out only `&T`.
        unsafe impl<T: Sync> Sync for $name<'_, T> {}

        impl<T> Deref for $name<'_, T> {
            type Target = T;
            #[inline(always)]
            fn deref(&self) -> &T {
                // SAFETY: the lock is held, as a reader or as the writer, while the guard lives.
                unsafe { &*self.lock.ptr() }
            }
        }

        impl<T> Drop for $name<'_, T> {
            #[inline(always)]
            fn drop(&mut self) {
                self.lock.raw.$unlock();
            }
        }
    };
}

rw_guard!(/** It is read-held; preemption is off. */ RwReadGuard, (), read_unlock);
rw_guard!(/** It is read-held; interrupts are masked. */ RwReadIrqGuard, IrqGuard, read_unlock);
rw_guard!(/** It is write-held; preemption is off. */ RwWriteGuard, (), write_unlock);
rw_guard!(/** It is write-held; interrupts are masked. */ RwWriteIrqGuard, IrqGuard, write_unlock);

impl<T> DerefMut for RwWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is write-held while the guard lives.
        unsafe { &mut *self.lock.ptr() }
    }
}

impl<T> DerefMut for RwWriteIrqGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is write-held while the guard lives.
        unsafe { &mut *self.lock.ptr() }
    }
}
