//! [`IoBuf`] and [`IoBufMut`]: the one kind of buffer that `read` and `write` of a file, pipe, socket or device see.
//!
//! Behind them is a user range, a user iovec list, or kernel memory (for `sendfile`, `exec`, `/proc` of another task).
//! Copies stop at a fault as [`UserBuf`](super::UserBuf)'s do: `Ok(n)` short after `n > 0` bytes, then `Err`.

use super::uaccess;
use super::user::UserSlice;
use crate::error::Fault;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use vigil_abi::Pod;

#[derive(Clone, Copy)]
enum Backing<'a> {
    User,
    Kernel(PhantomData<&'a mut [u8]>),
    Iovec(&'a [UserSlice]),
}

/// What both directions share: a current piece and the ranges behind it.
struct Cursor<'a> {
    /// The piece that is being copied: a user address or a kernel address, and what is left of it.
    piece: UserSlice,
    /// Bytes left in all, the piece included.
    remaining: usize,
    /// Bytes copied so far.
    done: usize,
    backing: Backing<'a>,
}

impl<'a> Cursor<'a> {
    fn user(addr: usize, len: usize) -> Option<Self> {
        let piece = UserSlice::checked(addr, len)?;
        Some(Cursor { piece, remaining: len, done: 0, backing: Backing::User })
    }

    fn kernel(addr: usize, len: usize) -> Self {
        Cursor { piece: UserSlice { addr, len }, remaining: len, done: 0, backing: Backing::Kernel(PhantomData) }
    }

    fn iovec(ranges: &'a [UserSlice]) -> Self {
        let remaining = ranges.iter().fold(0usize, |n, r| n.saturating_add(r.len));
        Cursor { piece: UserSlice::default(), remaining, done: 0, backing: Backing::Iovec(ranges) }
    }

    #[inline(always)]
    fn is_kernel(&self) -> bool {
        matches!(self.backing, Backing::Kernel(_))
    }

    /// Goes on to the next range that is not empty when the piece is used up.
    #[inline]
    fn refill(&mut self) {
        while self.piece.len == 0 && self.remaining != 0 {
            let Backing::Iovec(ranges) = &mut self.backing else { return };
            let Some((first, rest)) = ranges.split_first() else { return };
            self.piece = *first;
            *ranges = rest;
        }
    }

    #[inline(always)]
    fn advance(&mut self, n: usize) {
        debug_assert!(n <= self.piece.len && n <= self.remaining);
        // The piece is no longer than what remains, and `n` no longer than the piece.
        self.piece.addr = self.piece.addr.wrapping_add(n);
        self.piece.len = self.piece.len.wrapping_sub(n);
        self.remaining = self.remaining.wrapping_sub(n);
        self.done = self.done.wrapping_add(n);
    }

    /// Copies up to `n` bytes piece by piece with `copy(cursor address, is kernel, offset, length) -> bytes done`.
    #[inline(always)]
    fn each_piece(&mut self, n: usize, write: bool, mut copy: impl FnMut(usize, bool, usize, usize) -> usize) -> Result<usize, Fault> {
        let want = n.min(self.remaining);
        if want <= self.piece.len && want != 0 {
            // All of it in one piece: nearly always.
            let addr = self.piece.addr;
            let done = copy(addr, self.is_kernel(), 0, want);
            if done == 0 {
                return Err(Fault { addr, write });
            }
            self.advance(done);
            return Ok(done);
        }
        let mut total = 0;
        while total < want {
            self.refill();
            let len = self.piece.len.min(want - total);
            let done = copy(self.piece.addr, self.is_kernel(), total, len);
            let addr = self.piece.addr;
            self.advance(done);
            total += done;
            if done < len {
                if total == 0 {
                    return Err(Fault { addr, write });
                }
                break;
            }
        }
        Ok(total)
    }

    #[inline]
    fn skip(&mut self, n: usize) {
        if n <= self.piece.len {
            return self.advance(n);
        }
        let mut left = n.min(self.remaining);
        while left > 0 {
            self.refill();
            let len = self.piece.len.min(left);
            self.advance(len);
            left -= len;
        }
    }

    fn limit(&mut self, n: usize) {
        self.remaining = self.remaining.min(n);
        self.piece.len = self.piece.len.min(n);
    }
}

macro_rules! common {
    () => {
        /// Bytes left.
        #[inline(always)]
        pub fn remaining(&self) -> usize {
            self.0.remaining
        }

        /// Whether nothing is left.
        #[inline(always)]
        pub fn is_empty(&self) -> bool {
            self.0.remaining == 0
        }

        /// Bytes copied (or skipped) since it was made.
        #[inline(always)]
        pub fn done(&self) -> usize {
            self.0.done
        }

        /// Leaves out up to `n` bytes.
        #[inline]
        pub fn skip(&mut self, n: usize) {
            self.0.skip(n);
        }

        /// Forgets all but the next `n` bytes.
        pub fn limit(&mut self, n: usize) {
            self.0.limit(n);
        }

        /// The contiguous user range that comes next, for a caller that brings pages in ahead; `None` for kernel memory or
        /// when nothing is left.
        pub fn next_user_range(&mut self) -> Option<UserSlice> {
            self.0.refill();
            if self.0.is_kernel() || self.0.piece.len == 0 { None } else { Some(self.0.piece) }
        }
    };
}

/// A source of bytes: what `write` writes.
pub struct IoBuf<'a>(Cursor<'a>);

/// A sink of bytes: where `read` reads to.
pub struct IoBufMut<'a>(Cursor<'a>);

impl<'a> IoBuf<'a> {
    /// Over `len` user bytes at `addr`; `None`, which is EFAULT, when they do not lie below TASK_SIZE.
    #[inline]
    pub fn user(addr: usize, len: usize) -> Option<IoBuf<'a>> {
        Cursor::user(addr, len).map(IoBuf)
    }

    /// Over kernel memory.
    #[inline]
    pub fn kernel(bytes: &'a [u8]) -> IoBuf<'a> {
        IoBuf(Cursor::kernel(bytes.as_ptr() as usize, bytes.len()))
    }

    /// Over a checked iovec list ([`Iovecs::ranges`](super::Iovecs::ranges)).
    pub fn iovec(ranges: &'a [UserSlice]) -> IoBuf<'a> {
        IoBuf(Cursor::iovec(ranges))
    }

    common!();

    /// Copies in as many bytes as `dst` takes and are left.
    #[inline]
    pub fn copy_in(&mut self, dst: &mut [u8]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are writable.
        unsafe { self.copy_in_raw(dst.as_mut_ptr(), dst.len()) }
    }

    /// As [`IoBuf::copy_in`], into memory that need not be initialised.
    #[inline]
    pub fn copy_in_uninit(&mut self, dst: &mut [MaybeUninit<u8>]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are writable.
        unsafe { self.copy_in_raw(dst.as_mut_ptr().cast(), dst.len()) }
    }

    /// Copies up to `n` bytes in to memory that is no Rust reference (a page of the page cache).
    ///
    /// # Safety
    /// `dst` is valid for writes of `n` bytes and does not overlap a kernel source.
    #[inline]
    pub unsafe fn copy_in_raw(&mut self, dst: *mut u8, n: usize) -> Result<usize, Fault> {
        self.0.each_piece(n, false, |addr, kernel, at, len| {
            // SAFETY: `at + len <= n`, so the destination is in range by the caller's contract.
            let dst = unsafe { dst.add(at) };
            if kernel {
                // SAFETY: the piece is a part of the slice that the buffer borrows.
                unsafe { dst.copy_from_nonoverlapping(addr as *const u8, len) };
                len
            } else {
                // SAFETY: the destination is in range.
                unsafe { uaccess::copy_from_user(dst, addr, len) }
            }
        })
    }

    /// Takes one whole `T`; on a fault nothing is taken. `Ok(None)` when fewer bytes are left than it needs.
    pub fn read_pod<T: Pod>(&mut self) -> Result<Option<T>, Fault> {
        let mut value = T::zeroed();
        Ok(self.copy_in_all(value.as_bytes_mut())?.then_some(value))
    }

    /// Fills the whole of `dst`, as a datagram must be. `Ok(false)` when fewer bytes are left; on a fault nothing is taken
    /// either.
    pub fn copy_in_all(&mut self, dst: &mut [u8]) -> Result<bool, Fault> {
        if self.remaining() < dst.len() {
            return Ok(false);
        }
        let before = Cursor { ..self.0 };
        let done = self.copy_in(dst)?;
        if done < dst.len() {
            self.0.refill();
            let next = self.0.piece.addr;
            self.0 = before;
            return Err(Fault { addr: next, write: false });
        }
        Ok(true)
    }

    /// As [`IoBuf::copy_in_all`], and takes nothing: for who may have to wait, and to read it again.
    pub fn peek_all(&mut self, dst: &mut [u8]) -> Result<bool, Fault> {
        let before = Cursor { ..self.0 };
        let all = self.copy_in_all(dst);
        self.0 = before;
        all
    }

    /// As [`IoBuf::read_pod`], and takes nothing: for who may have to wait before the value counts as taken.
    pub fn peek_pod<T: Pod>(&mut self) -> Result<Option<T>, Fault> {
        let before = Cursor { ..self.0 };
        let value = self.read_pod();
        self.0 = before;
        value
    }
}

impl<'a> IoBufMut<'a> {
    /// Over `len` user bytes at `addr`; `None`, which is EFAULT, when they do not lie below TASK_SIZE.
    #[inline]
    pub fn user(addr: usize, len: usize) -> Option<IoBufMut<'a>> {
        Cursor::user(addr, len).map(IoBufMut)
    }

    /// Over kernel memory.
    #[inline]
    pub fn kernel(bytes: &'a mut [u8]) -> IoBufMut<'a> {
        IoBufMut(Cursor::kernel(bytes.as_mut_ptr() as usize, bytes.len()))
    }

    /// Over a checked iovec list ([`Iovecs::ranges`](super::Iovecs::ranges)).
    pub fn iovec(ranges: &'a [UserSlice]) -> IoBufMut<'a> {
        IoBufMut(Cursor::iovec(ranges))
    }

    common!();

    /// Copies out as many bytes of `src` as there is room for.
    #[inline]
    pub fn copy_out(&mut self, src: &[u8]) -> Result<usize, Fault> {
        // SAFETY: a slice's bytes are readable.
        unsafe { self.copy_out_raw(src.as_ptr(), src.len()) }
    }

    /// Copies up to `n` bytes out of memory that is no Rust reference (a page of the page cache).
    ///
    /// # Safety
    /// `src` is valid for reads of `n` bytes and does not overlap a kernel destination.
    #[inline]
    pub unsafe fn copy_out_raw(&mut self, src: *const u8, n: usize) -> Result<usize, Fault> {
        self.0.each_piece(n, true, |addr, kernel, at, len| {
            // SAFETY: `at + len <= n`, so the source is in range by the caller's contract.
            let src = unsafe { src.add(at) };
            if kernel {
                // SAFETY: the piece is a part of the slice that the buffer borrows mutably.
                unsafe { (addr as *mut u8).copy_from_nonoverlapping(src, len) };
                len
            } else {
                // SAFETY: the source is in range.
                unsafe { uaccess::copy_to_user(addr, src, len) }
            }
        })
    }

    /// As [`IoBufMut::copy_out_raw`], all of `n` bytes or none: after a fault the cursor stays where it was, and the fault is
    /// that of the first byte that could not be written. For sources whose bytes are gone once they count as read.
    ///
    /// # Safety
    /// `src` is valid for reads of `n` bytes and does not overlap a kernel destination; at least `n` bytes are left.
    #[inline]
    pub unsafe fn copy_out_whole_raw(&mut self, src: *const u8, n: usize) -> Result<usize, Fault> {
        if n <= self.0.piece.len && !self.0.is_kernel() {
            let addr = self.0.piece.addr;
            // SAFETY: the source is in range by the caller's contract.
            let done = unsafe { uaccess::copy_to_user(addr, src, n) };
            if done < n {
                return Err(Fault { addr: addr + done, write: true });
            }
            self.0.advance(n);
            return Ok(n);
        }
        let before = Cursor { ..self.0 };
        // SAFETY: as the caller's contract says.
        let done = unsafe { self.copy_out_raw(src, n) }?;
        if done < n {
            self.0.refill();
            let next = self.0.piece.addr;
            self.0 = before;
            return Err(Fault { addr: next, write: true });
        }
        Ok(n)
    }

    /// Clears up to `n` bytes as Linux's clear_user counts: a word that a fault divides counts as not cleared. The fault
    /// names the first byte that could not be reached all the same.
    #[inline(always)]
    pub fn clear(&mut self, n: usize) -> Result<usize, Fault> {
        let want = n.min(self.0.remaining);
        if want <= self.0.piece.len && !self.0.is_kernel() {
            let done = uaccess::clear_user(self.0.piece.addr, want);
            if done == want {
                self.0.advance(want);
                return Ok(want);
            }
        }
        self.clear_slow(want)
    }

    #[cold]
    #[inline(never)]
    fn clear_slow(&mut self, n: usize) -> Result<usize, Fault> {
        let mut missed = None;
        let cleared = self.0.each_piece(n, true, |addr, kernel, _, len| {
            if kernel {
                // SAFETY: the piece is a part of the slice that the buffer borrows mutably.
                unsafe { (addr as *mut u8).write_bytes(0, len) };
                return len;
            }
            let done = uaccess::clear_user(addr, len);
            if done == len {
                return len;
            }
            missed = Some(addr + done);
            // The largest word that fits; 1 for none.
            let word = 1 << len.clamp(1, 8).ilog2();
            done - done % word
        });
        match (cleared, missed) {
            (Err(fault), Some(addr)) => Err(Fault { addr, ..fault }),
            (cleared, _) => cleared,
        }
    }

    /// Whether a whole `T` could be put out now, found out by writing zeros; the cursor stays.
    pub fn probe_pod<T: Pod>(&mut self) -> Result<(), Fault> {
        let before = Cursor { ..self.0 };
        let result = self.write_pod(&T::zeroed());
        self.0 = before;
        result.map(|_| ())
    }

    /// Writes up to `n` zero bytes.
    #[inline]
    pub fn zero(&mut self, n: usize) -> Result<usize, Fault> {
        self.0.each_piece(n, true, |addr, kernel, _, len| {
            if kernel {
                // SAFETY: the piece is a part of the slice that the buffer borrows mutably.
                unsafe { (addr as *mut u8).write_bytes(0, len) };
                len
            } else {
                uaccess::clear_user(addr, len)
            }
        })
    }

    /// Puts one whole `T` out. `Ok(false)` when there is not room for all of it, and nothing was put. On a fault a part may have been
    /// written, but the cursor stays before it.
    pub fn write_pod<T: Pod>(&mut self, value: &T) -> Result<bool, Fault> {
        self.copy_out_all(value.as_bytes())
    }

    /// As [`IoBufMut::write_pod`], for bytes.
    pub fn copy_out_all(&mut self, src: &[u8]) -> Result<bool, Fault> {
        if self.remaining() < src.len() {
            return Ok(false);
        }
        let before = Cursor { ..self.0 };
        let done = self.copy_out(src)?;
        if done < src.len() {
            self.0.refill();
            let next = self.0.piece.addr;
            self.0 = before;
            return Err(Fault { addr: next, write: true });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
