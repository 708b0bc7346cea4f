//! A counted object that a thread holds and only the thread itself replaces: its address space, its descriptor table.
//!
//! The owner reads it on every system call: that is one load. Others (`/proc`, signals, ptrace) take the lock and a count.

use core::cell::UnsafeCell;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_mem::KArc;

/// The holder. See the module.
///
/// `slot` is written by the owner only, with the lock held. So others read it with the lock held, and the owner without.
pub struct Owned<T> {
    slot: UnsafeCell<Option<KArc<T>>>,
    lock: SpinLock<()>,
}

// SAFETY: the slot is read by its only writer or under the lock, and written under the lock.
unsafe impl<T: Send + Sync> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// Holds `value`.
    pub fn new(value: Option<KArc<T>>) -> Self {
        Owned { slot: UnsafeCell::new(value), lock: SpinLock::new(lock_class!("thread.owned"), ()) }
    }

    /// The object, for the owner.
    ///
    /// # Safety
    /// The caller is the thread that owns this, and lets go of the reference before it calls [`Owned::replace`].
    #[inline(always)]
    pub unsafe fn get(&self) -> Option<&T> {
        // SAFETY: only the owner writes the slot, which is the caller; others read it.
        unsafe { &*self.slot.get() }.as_deref()
    }

    /// The object, counted: for anybody.
    pub fn share(&self) -> Option<KArc<T>> {
        let _guard = self.lock.lock();
        // SAFETY: the lock is held, so nobody writes.
        unsafe { &*self.slot.get() }.clone()
    }

    /// Calls `f` with it, for anybody, under its lock: where a counted reference might become the last one, under another lock.
    pub fn with<R>(&self, f: impl FnOnce(Option<&T>) -> R) -> R {
        let _guard = self.lock.lock();
        // SAFETY: the lock is held, so nobody writes.
        f(unsafe { &*self.slot.get() }.as_deref())
    }

    /// Puts `value` in and returns what was there. Only the owner, or before the thread runs.
    pub fn replace(&self, value: Option<KArc<T>>) -> Option<KArc<T>> {
        let _guard = self.lock.lock();
        // SAFETY: nobody else reads with the lock held, and the owner, who is the caller, keeps no reference.
        unsafe { core::mem::replace(&mut *self.slot.get(), value) }
    }
}
