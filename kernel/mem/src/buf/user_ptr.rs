//! [`UserPtr`]: a typed user address.

use super::uaccess;
use crate::error::Fault;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use vigil_abi::Pod;

/// The address of a `T` in user memory, as a system call got it: unchecked, perhaps null, perhaps wild. Each access
/// fetches or stores the bytes once. Unaligned addresses are allowed, as on Linux.
#[repr(transparent)]
pub struct UserPtr<T> {
    addr: usize,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> PartialEq for UserPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
    }
}

impl<T> Eq for UserPtr<T> {}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {:#x}", self.addr)
    }
}

impl<T> UserPtr<T> {
    /// The user address `addr`.
    #[inline(always)]
    pub const fn new(addr: usize) -> UserPtr<T> {
        UserPtr { addr, of: PhantomData }
    }

    /// As a number, with its tag.
    #[inline(always)]
    pub const fn addr(self) -> usize {
        self.addr
    }

    /// Whether it is NULL, which many calls take for "not wanted".
    #[inline(always)]
    pub const fn is_null(self) -> bool {
        self.addr == 0
    }

    /// `self`, or `None` for NULL.
    #[inline(always)]
    pub const fn or_null(self) -> Option<UserPtr<T>> {
        if self.is_null() { None } else { Some(self) }
    }

    /// The same address as one of a `U`.
    #[inline(always)]
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.addr)
    }

    /// The address of the `i`-th `T` from here; wraps.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, i: usize) -> UserPtr<T> {
        UserPtr::new(self.addr.wrapping_add(i.wrapping_mul(size_of::<T>())))
    }

    /// The address `n` bytes further, as one of a `U`: a field. Wraps.
    #[inline(always)]
    #[must_use]
    pub const fn byte_add<U>(self, n: usize) -> UserPtr<U> {
        UserPtr::new(self.addr.wrapping_add(n))
    }
}

impl<T: Pod> UserPtr<T> {
    /// Fetches the value, once.
    #[inline]
    pub fn read(self) -> Result<T, Fault> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the destination is a local of that size.
        let missed = unsafe { uaccess::missed_from_user(value.as_mut_ptr().cast(), self.addr, size_of::<T>()) };
        if missed != 0 {
            return Err(self.fault(size_of::<T>().saturating_sub(missed), size_of::<T>(), false));
        }
        // SAFETY: all bytes were written, and any bytes are a valid Pod.
        Ok(unsafe { value.assume_init() })
    }

    /// Stores `value`. On a fault a part of it may have been stored.
    #[inline]
    pub fn write(self, value: &T) -> Result<(), Fault> {
        // SAFETY: the source is a reference to that many initialised bytes.
        let missed = unsafe { uaccess::missed_to_user(self.addr, core::ptr::from_ref(value).cast(), size_of::<T>()) };
        if missed != 0 { Err(self.fault(size_of::<T>().saturating_sub(missed), size_of::<T>(), true)) } else { Ok(()) }
    }

    /// Fetches `out.len()` values.
    pub fn read_slice(self, out: &mut [T]) -> Result<(), Fault> {
        let n = size_of_val(out);
        // SAFETY: the destination is a slice of that size; any bytes are valid values.
        let got = unsafe { uaccess::copy_from_user(out.as_mut_ptr().cast(), self.addr, n) };
        if got != n { Err(self.fault(got, n, false)) } else { Ok(()) }
    }

    /// Stores `values`. On a fault a part of them may have been stored.
    pub fn write_slice(self, values: &[T]) -> Result<(), Fault> {
        let n = size_of_val(values);
        // SAFETY: the source is a slice of that size.
        let put = unsafe { uaccess::copy_to_user(self.addr, values.as_ptr().cast(), n) };
        if put != n { Err(self.fault(put, n, true)) } else { Ok(()) }
    }

    #[cold]
    fn fault(self, done: usize, n: usize, write: bool) -> Fault {
        fault_at(self.addr, done, n, write)
    }
}

/// The fault of an access to `n` bytes at `addr` that stopped after `done`.
#[cold]
pub(super) fn fault_at(addr: usize, done: usize, n: usize, write: bool) -> Fault {
    match uaccess::access_ok(addr, n) {
        Some(a) => Fault { addr: a.wrapping_add(done), write },
        None => Fault { addr: usize::MAX, write },
    }
}

impl UserPtr<u8> {
    /// Fetches a NUL-terminated string into `buf`; see [`uaccess::strncpy_from_user`]. The result has no NUL; it is as
    /// long as `buf` when none was found, which most calls answer with ENAMETOOLONG.
    pub fn read_str(self, buf: &mut [u8]) -> Result<usize, Fault> {
        let p = core::ptr::from_mut(buf) as *mut [MaybeUninit<u8>];
        // SAFETY: the primitive writes initialised bytes only, so the slice stays initialised.
        uaccess::strncpy_from_user(unsafe { &mut *p }, self.addr)
    }

    /// The length of the string without its NUL, at most `max`; `max` when there is no NUL before. (Linux: strnlen_user
    /// counts the NUL; this does not.)
    pub fn strnlen(self, max: usize) -> Result<usize, Fault> {
        let mut piece = [MaybeUninit::uninit(); 256];
        let mut len = 0;
        while len < max {
            let want = piece.len().min(max - len);
            let n = uaccess::strncpy_from_user(&mut piece[..want], self.addr.wrapping_add(len))?;
            len += n;
            if n < want {
                break;
            }
        }
        Ok(len)
    }
}
