//! A pointer that readers follow without a lock.

use super::RcuGuard;
use crate::atomic::{AtomicPtr, Ordering, const_unless_loom};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A pointer to a `T` that may be replaced while it is read. Owns nothing: who swaps gets the old pointer, and frees it
/// after a grace period.
#[derive(Debug)]
pub struct Rcu<T> {
    pointer: AtomicPtr<T>,
    /// The atomic alone would be shared between threads whatever it points to.
    _value: PhantomData<*const T>,
}

// SAFETY: readers on all CPUs get `&T`, and who swaps gets the value that another one has stored.
unsafe impl<T: Send + Sync> Sync for Rcu<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for Rcu<T> {}

impl<T> Rcu<T> {
    const_unless_loom! {
        /// A null pointer.
        pub fn null() -> Self {
            Rcu { pointer: AtomicPtr::new(core::ptr::null_mut()), _value: PhantomData }
        }
    }

    /// What it points to, for as long as the guard lives (Linux: rcu_dereference).
    #[inline(always)]
    pub fn load<'g>(&self, _guard: &'g RcuGuard) -> Option<&'g T> {
        // Acquire instead of a dependency, which the language does not have; on Arm it is a load-acquire.
        // SAFETY: by the contract of `swap` the pointee is valid until a grace period after it was replaced, and the
        // guard holds up grace periods.
        unsafe { self.pointer.load(Ordering::Acquire).cast_const().as_ref() }
    }

    /// Makes it point to `new` and returns what it pointed to (Linux: rcu_replace_pointer).
    ///
    /// # Safety
    /// `new` is null or valid and shared from now until a grace period after it is replaced.
    #[inline]
    pub unsafe fn swap(&self, new: *mut T) -> Option<NonNull<T>> {
        NonNull::new(self.pointer.swap(new, Ordering::AcqRel))
    }

    /// The pointer itself, for comparing, and for updaters that exclude each other by a lock.
    #[inline]
    pub fn as_ptr(&self) -> *mut T {
        self.pointer.load(Ordering::Acquire)
    }
}
