//! The one door from [`KBox`](crate::KBox), [`KArc`](crate::KArc) and [`KVec`](crate::KVec) to the global allocator.
//!
//! In the kernel that allocator is [`KernelAllocator`](crate::slab::KernelAllocator), which asks the fault injector
//! itself; on a host it is the host's, so the question is asked here. Never counted twice.

use crate::error::AllocError;
use crate::fault;
use alloc::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use core::ptr::NonNull;

/// Whether an allocation through the host's allocator must fail on purpose; `false` in the kernel, whose own asks.
#[inline(always)]
pub(crate) fn injected_on_host() -> bool {
    cfg!(not(target_os = "none")) && fault::should_fail()
}

/// Memory of `layout`; a dangling pointer for a layout of size 0.
#[inline]
pub(crate) fn allocate(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    if layout.size() == 0 {
        return Ok(dangling(layout));
    }
    if injected_on_host() {
        return Err(AllocError);
    }
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc(layout) }).ok_or(AllocError)
}

/// As [`allocate`], filled with zeroes.
#[inline]
pub(crate) fn allocate_zeroed(layout: Layout) -> Result<NonNull<u8>, AllocError> {
    if layout.size() == 0 {
        return Ok(dangling(layout));
    }
    if injected_on_host() {
        return Err(AllocError);
    }
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(AllocError)
}

/// Gives memory back.
///
/// # Safety
/// `p` came from [`allocate`] or [`allocate_zeroed`] with the same layout and is not used any more.
#[inline]
pub(crate) unsafe fn deallocate(p: NonNull<u8>, layout: Layout) {
    if layout.size() != 0 {
        // SAFETY: by the caller's contract.
        unsafe { dealloc(p.as_ptr(), layout) }
    }
}

fn dangling(layout: Layout) -> NonNull<u8> {
    // An alignment is never 0, so neither is the pointer.
    NonNull::new(core::ptr::without_provenance_mut(layout.align())).unwrap_or(NonNull::dangling())
}
