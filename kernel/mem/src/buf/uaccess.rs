//! The checks and the primitives under every access to user memory.
//!
//! The primitives are link-time symbols: `kernel/src/arch/aarch64/uaccess` defines them with LDTR/STTR and a fix-up
//! table; on a host [`super::host`] plays a user address space. They copy as far as they get and never fault.

use crate::addr::{PAGE_OFFSET_MASK, TASK_SIZE};
use crate::error::Fault;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicPtr, Ordering};

#[cfg(target_os = "none")]
mod imp {
    unsafe extern "C" {
        pub(super) fn vigil_copy_from_user(dst: *mut u8, src_user: usize, n: usize) -> usize;
        pub(super) fn vigil_copy_to_user(dst_user: usize, src: *const u8, n: usize) -> usize;
        pub(super) fn vigil_clear_user(dst_user: usize, n: usize) -> usize;
        pub(super) fn vigil_strncpy_from_user(dst: *mut u8, src_user: usize, n: usize) -> isize;
        pub(super) fn vigil_user_load_u32(addr: usize, out: *mut u32) -> i32;
        pub(super) fn vigil_user_cmpxchg_u32(addr: usize, old: u32, new: u32, out: *mut u32) -> i32;
        pub(super) fn vigil_user_xchg_u32(addr: usize, arg: u32, out: *mut u32) -> i32;
        pub(super) fn vigil_user_add_u32(addr: usize, arg: u32, out: *mut u32) -> i32;
        pub(super) fn vigil_user_or_u32(addr: usize, arg: u32, out: *mut u32) -> i32;
        pub(super) fn vigil_user_andn_u32(addr: usize, arg: u32, out: *mut u32) -> i32;
        pub(super) fn vigil_user_xor_u32(addr: usize, arg: u32, out: *mut u32) -> i32;
    }
}
#[cfg(not(target_os = "none"))]
use super::host as imp;

/// Whether the current task enabled the tagged-address ABI (`prctl(PR_SET_TAGGED_ADDR_CTRL)`); asked only for an address
/// whose top byte is not 0. Unset means no, Linux's default.
static TAGGED_ADDR_ENABLED: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets who is asked whether the current task may pass tagged addresses. Once at boot.
pub fn set_tagged_addr_hook(enabled: fn() -> bool) {
    TAGGED_ADDR_ENABLED.store(enabled as *mut (), Ordering::Release);
}

/// The address without its tag (Linux: untagged_addr: bits 63..56 become copies of bit 55).
#[inline(always)]
pub const fn untagged_addr(addr: usize) -> usize {
    (((addr as i64) << 8) >> 8) as usize
}

#[cold]
#[inline(never)]
fn untag_if_enabled(addr: usize) -> usize {
    let p = TAGGED_ADDR_ENABLED.load(Ordering::Acquire);
    if p.is_null() {
        return addr;
    }
    // SAFETY: only `set_tagged_addr_hook` stores here, a pointer of this very type.
    let enabled: fn() -> bool = unsafe { core::mem::transmute::<*mut (), fn() -> bool>(p) };
    if enabled() { untagged_addr(addr) } else { addr }
}

/// The address to use for the user range `addr..addr + n`, or `None` when it does not lie below [`TASK_SIZE`].
/// An empty range may end at TASK_SIZE. Linux: access_ok.
#[inline(always)]
pub fn access_ok(addr: usize, n: usize) -> Option<usize> {
    let addr = if addr >> 56 != 0 { untag_if_enabled(addr) } else { addr };
    if n <= TASK_SIZE && addr <= TASK_SIZE - n { Some(addr) } else { None }
}

/// Copies `n` bytes in. Returns how many came; less than `n` means that the next byte faults.
///
/// # Safety
/// `dst` is valid for writes of `n` bytes.
#[inline]
pub unsafe fn copy_from_user(dst: *mut u8, src: usize, n: usize) -> usize {
    // SAFETY: passed on.
    n - unsafe { missed_from_user(dst, src, n) }.min(n)
}

/// As [`copy_from_user`], and says how many bytes did not come: one test for callers that want all or nothing.
///
/// # Safety
/// As [`copy_from_user`].
#[inline]
pub unsafe fn missed_from_user(dst: *mut u8, src: usize, n: usize) -> usize {
    let Some(src) = access_ok(src, n) else { return n };
    // SAFETY: `dst` by the caller's contract; the primitive reaches user addresses only in the checked range and stops
    // at a fault.
    unsafe { imp::vigil_copy_from_user(dst, src, n) }
}

/// Copies `n` bytes out. Returns how many went; less than `n` means that the next byte faults.
///
/// # Safety
/// `src` is valid for reads of `n` bytes. They may be changed by a user while they are copied.
#[inline]
pub unsafe fn copy_to_user(dst: usize, src: *const u8, n: usize) -> usize {
    // SAFETY: passed on.
    n - unsafe { missed_to_user(dst, src, n) }.min(n)
}

/// As [`copy_to_user`], and says how many bytes did not go.
///
/// # Safety
/// As [`copy_to_user`].
#[inline]
pub unsafe fn missed_to_user(dst: usize, src: *const u8, n: usize) -> usize {
    let Some(dst) = access_ok(dst, n) else { return n };
    // SAFETY: as in `missed_from_user`.
    unsafe { imp::vigil_copy_to_user(dst, src, n) }
}

/// [`missed_from_user`] for a range that [`access_ok`] has passed.
///
/// # Safety
/// As [`copy_from_user`], and `src..src + n` lies in such a range.
#[inline(always)]
pub(super) unsafe fn missed_from_checked(dst: *mut u8, src: usize, n: usize) -> usize {
    // SAFETY: as in `missed_from_user`.
    unsafe { imp::vigil_copy_from_user(dst, src, n) }
}

/// [`missed_to_user`] for a range that [`access_ok`] has passed.
///
/// # Safety
/// As [`copy_to_user`], and `dst..dst + n` lies in such a range.
#[inline(always)]
pub(super) unsafe fn missed_to_checked(dst: usize, src: *const u8, n: usize) -> usize {
    // SAFETY: as in `missed_to_user`.
    unsafe { imp::vigil_copy_to_user(dst, src, n) }
}

/// Writes `n` zero bytes. Returns how many went.
#[inline]
pub fn clear_user(dst: usize, n: usize) -> usize {
    let Some(dst) = access_ok(dst, n) else { return 0 };
    // SAFETY: reaches user addresses only, in the checked range.
    n - unsafe { imp::vigil_clear_user(dst, n) }.min(n)
}

/// Copies a string into `dst`: its length without the NUL, or `dst.len()` when there was no NUL in that many bytes.
///
/// On a fault before the NUL the whole copy counts as failed, as Linux's strncpy_from_user. The primitive answers a fault
/// with a negative number; the address in the fault is that of the page to bring in.
pub fn strncpy_from_user(dst: &mut [MaybeUninit<u8>], src: usize) -> Result<usize, Fault> {
    let Some(src) = access_ok(src, 1) else { return Err(Fault { addr: usize::MAX, write: false }) };
    // A string may end just below TASK_SIZE, so only its first byte had to be in range.
    let n = dst.len().min(TASK_SIZE - src);
    // SAFETY: `dst` is writable for `n` bytes; the range ends at TASK_SIZE at most.
    let r = unsafe { imp::vigil_strncpy_from_user(dst.as_mut_ptr().cast(), src, n) };
    if r >= 0 && (r as usize) < n {
        return Ok(r as usize);
    }
    if r < 0 {
        return Err(Fault { addr: first_unreadable(src, n), write: false });
    }
    if n < dst.len() { Err(Fault { addr: TASK_SIZE, write: false }) } else { Ok(n) }
}

/// The first address of the checked range `src..src + n` that cannot be read: its start, or the start of one of its pages.
#[cold]
fn first_unreadable(src: usize, n: usize) -> usize {
    let end = src + n;
    let mut at = src;
    while at < end {
        let mut byte = 0;
        // SAFETY: one byte into a local.
        if unsafe { imp::vigil_copy_from_user(&mut byte, at, 1) } != 0 {
            return at;
        }
        at = (at | PAGE_OFFSET_MASK) + 1;
    }
    // Another thread has mapped it meanwhile: bringing in a page that is there does no harm, and the copy is tried again.
    src
}

/// What an atomic access to a user word may do (futex operations).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserAtomic {
    /// Store the argument.
    Xchg,
    /// Add it.
    Add,
    /// Or with it.
    Or,
    /// And with its complement.
    Andn,
    /// Exclusive or with it.
    Xor,
}

/// Result of an atomic primitive: what was there, or where it faults.
#[inline]
fn word_result(addr: usize, write: bool, rc: i32, old: u32) -> Result<u32, Fault> {
    if rc == 0 { Ok(old) } else { Err(Fault { addr, write }) }
}

/// Checks a futex word's address. The callers have checked its alignment (EINVAL); here it is only kept safe.
#[inline]
fn word_ok(addr: usize, write: bool) -> Result<usize, Fault> {
    match access_ok(addr, 4) {
        Some(a) if a & 3 == 0 => Ok(a),
        _ => Err(Fault { addr: usize::MAX, write }),
    }
}

/// Reads an aligned word in one access.
#[inline]
pub fn user_load_u32(addr: usize) -> Result<u32, Fault> {
    let addr = word_ok(addr, false)?;
    let mut out = 0;
    // SAFETY: checked and aligned; the primitive stops at a fault.
    let rc = unsafe { imp::vigil_user_load_u32(addr, &mut out) };
    word_result(addr, false, rc, out)
}

/// Stores `new` if the word is `old`; returns what was there. Sequentially consistent.
#[inline]
pub fn user_cmpxchg_u32(addr: usize, old: u32, new: u32) -> Result<u32, Fault> {
    let addr = word_ok(addr, true)?;
    let mut out = 0;
    // SAFETY: checked and aligned; the primitive stops at a fault.
    let rc = unsafe { imp::vigil_user_cmpxchg_u32(addr, old, new, &mut out) };
    word_result(addr, true, rc, out)
}

/// Changes an aligned word atomically; returns what was there. Sequentially consistent.
pub fn user_atomic_u32(op: UserAtomic, addr: usize, arg: u32) -> Result<u32, Fault> {
    let addr = word_ok(addr, true)?;
    let mut out = 0;
    // SAFETY: checked and aligned; the primitives stop at a fault.
    let rc = unsafe {
        match op {
            UserAtomic::Xchg => imp::vigil_user_xchg_u32(addr, arg, &mut out),
            UserAtomic::Add => imp::vigil_user_add_u32(addr, arg, &mut out),
            UserAtomic::Or => imp::vigil_user_or_u32(addr, arg, &mut out),
            UserAtomic::Andn => imp::vigil_user_andn_u32(addr, arg, &mut out),
            UserAtomic::Xor => imp::vigil_user_xor_u32(addr, arg, &mut out),
        }
    };
    word_result(addr, true, rc, out)
}
