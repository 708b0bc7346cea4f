//! [`KBox`]: an owned value on the kernel heap that can fail to be made.

use crate::error::AllocError;
use crate::heap;
use alloc::boxed::Box;
use core::alloc::Layout;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;

/// One owned `T` on the heap. Like `Box`, but the only way in is fallible. Dropping frees; neither blocks.
#[repr(transparent)]
pub struct KBox<T: ?Sized>(Box<T>);

impl<T> KBox<T> {
    /// Moves `value` to the heap. `value` is dropped when there is no memory.
    #[inline]
    pub fn try_new(value: T) -> Result<KBox<T>, AllocError> {
        let p = heap::allocate(Layout::new::<T>())?.cast::<T>();
        // SAFETY: fresh memory of T's layout from the global allocator, which is what Box owns; written before use.
        unsafe {
            p.as_ptr().write(value);
            Ok(KBox(Box::from_raw(p.as_ptr())))
        }
    }

    /// Moves `value` to the heap and pins it there.
    #[inline]
    pub fn try_pin(value: T) -> Result<Pin<KBox<T>>, AllocError> {
        Ok(Self::into_pin(Self::try_new(value)?))
    }

    /// As [`KBox::try_pin`] for a large value that `make` builds: in its place, where a value that is passed would be built on
    /// the stack and copied whole. For futures, whose state is mostly uninitialised when they are made.
    #[inline(always)]
    pub fn try_pin_with(make: impl FnOnce() -> T) -> Result<Pin<KBox<T>>, AllocError> {
        let p = heap::allocate(Layout::new::<T>())?.cast::<T>();
        // SAFETY: as in `try_new`. A panic in `make` leaks the memory, which is safe.
        unsafe {
            p.as_ptr().write(make());
            Ok(Self::into_pin(KBox(Box::from_raw(p.as_ptr()))))
        }
    }

    /// Moves the value out and frees the memory.
    #[inline]
    pub fn into_inner(this: KBox<T>) -> T {
        *this.0
    }
}

impl<T: vigil_abi::Pod> KBox<T> {
    /// A `T` of zero bytes, made in place: for what is too large to pass over the stack.
    pub fn try_new_zeroed() -> Result<KBox<T>, AllocError> {
        let p = heap::allocate_zeroed(Layout::new::<T>())?.cast::<T>();
        // SAFETY: fresh memory of T's layout; all-zero is a valid Pod value.
        Ok(KBox(unsafe { Box::from_raw(p.as_ptr()) }))
    }

    /// `len` values of zero bytes.
    pub fn try_new_zeroed_slice(len: usize) -> Result<KBox<[T]>, AllocError> {
        let p = heap::allocate_zeroed(Layout::array::<T>(len).map_err(|_| AllocError)?)?.cast::<T>();
        let slice = core::ptr::slice_from_raw_parts_mut(p.as_ptr(), len);
        // SAFETY: fresh memory of the array's layout; all-zero is a valid Pod value.
        Ok(KBox(unsafe { Box::from_raw(slice) }))
    }
}

impl<T: ?Sized> KBox<T> {
    /// Gives up ownership; [`KBox::from_raw`] takes it back.
    #[inline]
    pub fn into_raw(this: KBox<T>) -> *mut T {
        Box::into_raw(this.0)
    }

    /// Owns what `p` points at.
    ///
    /// # Safety
    /// `p` came from [`KBox::into_raw`] (possibly coerced to an unsized type) and is owned by nobody else.
    #[inline]
    pub unsafe fn from_raw(p: *mut T) -> KBox<T> {
        // SAFETY: by the caller's contract.
        KBox(unsafe { Box::from_raw(p) })
    }

    /// Gives up the value for the rest of time.
    #[inline]
    pub fn leak<'a>(this: KBox<T>) -> &'a mut T
    where
        T: 'a,
    {
        Box::leak(this.0)
    }

    /// Pins it; a heap value does not move anyway.
    #[inline]
    pub fn into_pin(this: KBox<T>) -> Pin<KBox<T>> {
        // SAFETY: the value stays where it is until it is dropped, also when the KBox moves.
        unsafe { Pin::new_unchecked(this) }
    }
}

impl<T: ?Sized> Deref for KBox<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for KBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized> AsRef<T> for KBox<T> {
    fn as_ref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for KBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Coerces a `KBox` or `KArc` to an unsized type, which stable Rust does not do for types that are not its own:
/// `unsize!(KArc, file => dyn FileOps)`.
#[macro_export]
macro_rules! unsize {
    ($ptr:ident, $value:expr => $ty:ty) => {{
        let sized = $crate::$ptr::into_raw($value);
        let raw: *const $ty = sized;
        // SAFETY: the pointer has just been taken out of the same kind of pointer; the coercion added metadata only.
        unsafe { $crate::$ptr::from_raw(raw.cast_mut()) }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    #[test]
    fn owns_coerces_and_fails_on_demand() {
        let b = KBox::try_new(5u32).unwrap();
        let d: KBox<dyn ToString> = crate::unsize!(KBox, b => dyn ToString);
        assert_eq!(d.to_string(), "5");
        assert!(crate::fault::set(2));
        assert!(KBox::try_new(String::new()).is_ok());
        assert_eq!(KBox::try_new(7u64).err(), Some(AllocError));
        assert!(KBox::try_new(8u64).is_ok());
        assert!(crate::fault::set(0));
        assert!(KBox::try_new(()).is_ok(), "a zero-sized value needs no memory");
        assert_eq!(&*KBox::<u16>::try_new_zeroed_slice(3).unwrap(), &[0; 3]);
        let mut f = KBox::try_pin(async { 3 }).unwrap();
        let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
        assert_eq!(f.as_mut().poll(&mut cx), core::task::Poll::Ready(3));
    }
}
