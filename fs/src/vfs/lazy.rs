//! A word that becomes an object when somebody needs it: what few inodes or files have, and must cost the others nothing.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering::*};
use vigil_mem::{AllocError, KBox};

/// A `T` that is made at its first use and stays.
pub struct Lazy<T> {
    made: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T> Lazy<T> {
    /// Nothing yet.
    pub const fn new() -> Lazy<T> {
        Lazy { made: AtomicPtr::new(core::ptr::null_mut()), owns: PhantomData }
    }

    /// The object, if it was ever needed.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: null or a box that was leaked below, which only `drop` takes back.
        unsafe { self.made.load(Acquire).as_ref() }
    }

    /// The object, made by the first caller.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> Result<&T, AllocError> {
        if let Some(object) = self.get() {
            return Ok(object);
        }
        let made = KBox::into_raw(KBox::try_new(make())?);
        match self.made.compare_exchange(core::ptr::null_mut(), made, AcqRel, Acquire) {
            // SAFETY: just leaked; `self` owns it now.
            Ok(_) => Ok(unsafe { &*made }),
            Err(other) => {
                // SAFETY: nobody has seen `made`; `other` is as in `get`.
                unsafe {
                    drop(KBox::from_raw(made));
                    Ok(&*other)
                }
            }
        }
    }
}

impl<T> Drop for Lazy<T> {
    fn drop(&mut self) {
        let made = *self.made.get_mut();
        if !made.is_null() {
            // SAFETY: leaked by `get_or_make`, and nobody else is left.
            drop(unsafe { KBox::from_raw(made) });
        }
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Lazy<T> {
        Lazy::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Lazy;

    #[test]
    fn made_once_and_dropped() {
        vigil_mem::host::start();
        let counted = std::sync::Arc::new(());
        let lazy = Lazy::new();
        assert!(lazy.get().is_none());
        for _ in 0..2 {
            lazy.get_or_make(|| counted.clone()).unwrap();
        }
        assert_eq!(std::sync::Arc::strong_count(&counted), 2);
        drop(lazy);
        assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}
