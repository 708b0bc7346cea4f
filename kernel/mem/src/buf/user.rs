//! Cursors over one user range.

use super::uaccess;
use super::user_ptr::fault_at;
use crate::error::Fault;
use core::mem::MaybeUninit;

/// A user range: an address and a length, nothing promised about either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UserSlice {
    /// Its first address.
    pub addr: usize,
    /// Its bytes.
    pub len: usize,
}

impl UserSlice {
    /// `len` bytes at `addr`, if they lie below TASK_SIZE; `None` is EFAULT.
    #[inline]
    pub fn checked(addr: usize, len: usize) -> Option<UserSlice> {
        uaccess::access_ok(addr, len).map(|addr| UserSlice { addr, len })
    }

    #[inline(always)]
    fn advance(&mut self, n: usize) {
        self.addr = self.addr.wrapping_add(n);
        self.len -= n;
    }
}

/// A user range below TASK_SIZE: what the short way of a small transfer takes instead of a cursor. Its copies move all or, with
/// `false` as the answer, what nobody may count on.
#[derive(Clone, Copy, Debug)]
pub struct UserRange(UserSlice);

impl UserRange {
    /// `len` bytes at `addr`, if they lie below TASK_SIZE; `None` is EFAULT.
    #[inline]
    pub fn new(addr: usize, len: usize) -> Option<UserRange> {
        UserSlice::checked(addr, len).map(UserRange)
    }

    /// Its bytes.
    #[inline(always)]
    pub fn len(self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0.len == 0
    }

    /// Copies its first `n` bytes to `dst`. `false`: a page is not there, or it has fewer.
    ///
    /// # Safety
    /// `dst` is valid for writes of `n` bytes.
    #[inline(always)]
    pub unsafe fn copy_in(self, dst: *mut u8, n: usize) -> bool {
        // SAFETY: passed on; a part of a checked range.
        n <= self.0.len && unsafe { uaccess::missed_from_checked(dst, self.0.addr, n) } == 0
    }

    /// Copies `n` bytes from `src` to its beginning. `false`: a page is not there, or it has room for fewer.
    ///
    /// # Safety
    /// `src` is valid for reads of `n` bytes. They may be changed by a user while they are copied.
    #[inline(always)]
    pub unsafe fn copy_out(self, src: *const u8, n: usize) -> bool {
        // SAFETY: passed on; a part of a checked range.
        n <= self.0.len && unsafe { uaccess::missed_to_checked(self.0.addr, src, n) } == 0
    }
}

/// A cursor over user bytes that are read.
///
/// A copy takes as many bytes as both sides have. It returns `Ok(n)` with `n` less than that when it met a fault after
/// `n > 0` bytes; the next copy then returns the fault, unless the page has come in meanwhile. So a loop "copy until
/// empty, on `Err` bring the page in" is right, and a short count is exactly what was copied.
#[derive(Clone, Copy, Debug)]
pub struct UserBuf(pub(super) UserSlice);

/// A cursor over user bytes that are written. Copies stop as [`UserBuf`]'s do.
#[derive(Clone, Copy, Debug)]
pub struct UserBufMut(pub(super) UserSlice);

#[inline(always)]
fn outcome(range: &mut UserSlice, done: usize, want: usize, write: bool) -> Result<usize, Fault> {
    if done == 0 && want != 0 {
        return Err(fault_at(range.addr, 0, want, write));
    }
    range.advance(done);
    Ok(done)
}

impl UserBuf {
    /// Over `len` bytes at `addr`, unchecked: a wild range faults at the first copy.
    #[inline]
    pub const fn new(addr: usize, len: usize) -> UserBuf {
        UserBuf(UserSlice { addr, len })
    }

    /// Bytes left.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.0.len
    }

    /// Where it stands.
    #[inline]
    pub const fn addr(&self) -> usize {
        self.0.addr
    }

    /// Copies into `dst`.
    #[inline]
    pub fn copy_in(&mut self, dst: &mut [u8]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are writable.
        unsafe { self.copy_in_raw(dst.as_mut_ptr(), dst.len()) }
    }

    /// Copies into memory that need not be initialised; the first `n` bytes are afterwards.
    #[inline]
    pub fn copy_in_uninit(&mut self, dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are writable.
        unsafe { self.copy_in_raw(dst.as_mut_ptr().cast(), dst.len()) }
    }

    /// Copies up to `n` bytes to `dst`, for memory that is no Rust reference (a page of the page cache).
    ///
    /// # Safety
    /// `dst` is valid for writes of `n` bytes.
    #[inline]
    pub unsafe fn copy_in_raw(&mut self, dst: *mut u8, n: usize) -> Result<usize, Fault> {
        let n = n.min(self.0.len);
        // SAFETY: by the caller's contract, for a part of the range.
        let done = unsafe { uaccess::copy_from_user(dst, self.0.addr, n) };
        outcome(&mut self.0, done, n, false)
    }

    /// Leaves out up to `n` bytes.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.0.advance(n.min(self.0.len));
    }
}

impl UserBufMut {
    /// Over `len` bytes at `addr`, unchecked: a wild range faults at the first copy.
    #[inline]
    pub const fn new(addr: usize, len: usize) -> UserBufMut {
        UserBufMut(UserSlice { addr, len })
    }

    /// Bytes left.
    #[inline]
    pub const fn remaining(&self) -> usize {
        self.0.len
    }

    /// Where it stands.
    #[inline]
    pub const fn addr(&self) -> usize {
        self.0.addr
    }

    /// Copies `src` out.
    #[inline]
    pub fn copy_out(&mut self, src: &[u8]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are readable.
        unsafe { self.copy_out_raw(src.as_ptr(), src.len()) }
    }

    /// Copies up to `n` bytes from `src`, for memory that is no Rust reference (a page of the page cache).
    ///
    /// # Safety
    /// `src` is valid for reads of `n` bytes.
    #[inline]
    pub unsafe fn copy_out_raw(&mut self, src: *const u8, n: usize) -> Result<usize, Fault> {
        let n = n.min(self.0.len);
        // SAFETY: by the caller's contract, for a part of the range.
        let done = unsafe { uaccess::copy_to_user(self.0.addr, src, n) };
        outcome(&mut self.0, done, n, true)
    }

    /// Writes up to `n` zero bytes.
    #[inline]
    pub fn zero(&mut self, n: usize) -> Result<usize, Fault> {
        let n = n.min(self.0.len);
        let done = uaccess::clear_user(self.0.addr, n);
        outcome(&mut self.0, done, n, true)
    }

    /// Leaves out up to `n` bytes.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.0.advance(n.min(self.0.len));
    }
}
