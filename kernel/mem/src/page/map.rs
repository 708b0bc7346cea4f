//! The memory map: the array of all descriptors, and the way between descriptor and frame.
//!
//! One flat array from the lowest to the highest frame of RAM, holes included, as the boards' memory is nearly
//! contiguous. Its ends are rounded to blocks of the largest order, so a buddy's descriptor always exists.

use super::{Page, PageFlags};
use crate::addr::{Pfn, VirtAddr, virt_to_phys};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Address that the descriptor of frame 0 would have, so that a lookup is one shift and one add.
static BIASED: AtomicUsize = AtomicUsize::new(0);
static FIRST: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// Makes `map` the memory map of the frames from `first` on.
///
/// # Safety
/// `map` is valid for ever for `frames` descriptors, all bytes zero, used by nobody else. Once.
pub(crate) unsafe fn init_mem_map(map: *mut Page, first: Pfn, frames: usize) {
    BIASED.store((map as usize).wrapping_sub(first.get().wrapping_mul(size_of::<Page>())), Relaxed);
    FIRST.store(first.get(), Relaxed);
    END.store(first.get() + frames, Relaxed);
}

/// The frames that have a descriptor: first and the first behind.
pub fn mem_map_range() -> (Pfn, Pfn) {
    (Pfn::new(FIRST.load(Relaxed)), Pfn::new(END.load(Relaxed)))
}

/// The descriptor of a frame that has one.
///
/// # Safety
/// `pfn` is in [`mem_map_range`].
#[inline(always)]
pub unsafe fn page_at(pfn: usize) -> &'static Page {
    let p = BIASED.load(Relaxed).wrapping_add(pfn.wrapping_mul(size_of::<Page>())) as *const Page;
    debug_assert!(pfn >= FIRST.load(Relaxed) && pfn < END.load(Relaxed), "frame without a descriptor");
    // SAFETY: by the caller's contract, an element of the map, which lives for ever.
    unsafe { &*p }
}

#[inline(always)]
pub(super) fn pfn_of(page: &Page) -> Pfn {
    let off = (core::ptr::from_ref(page) as usize).wrapping_sub(BIASED.load(Relaxed));
    Pfn::new(off / size_of::<Page>())
}

/// The descriptor of `pfn`, if it has one.
#[inline]
pub fn page_of(pfn: Pfn) -> Option<&'static Page> {
    let n = pfn.get();
    // SAFETY: checked to be in the range.
    if n >= FIRST.load(Relaxed) && n < END.load(Relaxed) { Some(unsafe { page_at(n) }) } else { None }
}

/// The descriptor of the frame behind `virt`, an address in the linear map.
#[inline]
pub fn page_of_virt(virt: VirtAddr) -> Option<&'static Page> {
    page_of(virt_to_phys(virt).pfn())
}

/// Whether `pfn` is RAM that the kernel manages or has reserved for itself (not a hole, not `no-map`).
pub fn pfn_valid(pfn: Pfn) -> bool {
    page_of(pfn).is_some_and(|p| !p.has(PageFlags::RESERVED) || p.refcount() != 0)
}
