//! A counted object that a thread holds and only the thread itself replaces: its address space, its descriptor table.
//!
//! The owner reads it on every system call: that is one load. Others (`/proc`, signals, ptrace) take the lock and a count.

use core::cell::UnsafeCell;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_mem::KArc;

/// The holder. See the module.
pub struct Owned<T> {
    /// What `slot` holds, for the owner.
    fast: AtomicPtr<T>,
    slot: SpinLock<Option<KArc<T>>>,
    /// Keeps `Owned` from being shared with the wrong variance; holds nothing.
    _invariant: UnsafeCell<()>,
}

// SAFETY: `fast` is only dereferenced by the owner (contract of `get`), the slot is locked.
unsafe impl<T: Send + Sync> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// Holds `value`.
    pub fn new(value: Option<KArc<T>>) -> Self {
        let fast = value.as_ref().map_or(null_mut(), |v| KArc::as_ptr(v).cast_mut());
        Owned { fast: AtomicPtr::new(fast), slot: SpinLock::new(lock_class!("thread.owned"), value), _invariant: UnsafeCell::new(()) }
    }

    /// The object, for the owner.
    ///
    /// # Safety
    /// The caller is the thread that owns this, and lets go of the reference before it calls [`Owned::replace`].
    #[inline(always)]
    pub unsafe fn get(&self) -> Option<&T> {
        // SAFETY: the pointer is that of the object in the slot, which only the owner replaces.
        unsafe { self.fast.load(Relaxed).as_ref() }
    }

    /// The object, counted: for anybody.
    pub fn share(&self) -> Option<KArc<T>> {
        self.slot.lock().clone()
    }

    /// Puts `value` in and returns what was there. Only the owner, or before the thread runs.
    pub fn replace(&self, value: Option<KArc<T>>) -> Option<KArc<T>> {
        let mut slot = self.slot.lock();
        self.fast.store(value.as_ref().map_or(null_mut(), |v| KArc::as_ptr(v).cast_mut()), Release);
        core::mem::replace(&mut *slot, value)
    }
}
