//! Memory of any size: classes from 8 to 8192 bytes, pages above, and the global allocator over them.

use super::cache::KmemCache;
use crate::addr::{PAGE_SHIFT, PAGE_SIZE, VirtAddr};
use crate::fault;
use crate::page::page_of_virt;
use crate::page_alloc::{self, Gfp};
use crate::vmalloc;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use vigil_executor::context::in_interrupt;

/// The largest size that comes from a slab.
pub const KMALLOC_MAX_CACHE_SIZE: usize = 8192;
/// Above this order contiguous pages are tried once, without pressing, and then mapped ones are taken.
pub(crate) const COSTLY_ORDER: usize = 3;

/// Sizes of the classes. 96 and 192 fill the largest gaps, as on Linux. The last four fill the one from 1024 to 2048,
/// where threads and their tasks lie, with sizes that leave little of a slab over: 7 of the first in two pages, 13 of the
/// second in four, 6 and 5 of the others in two. They are found by [`between`].
const SIZES: [usize; 17] = [8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192, 1168, 1248, 1360, 1632];
/// The first of the classes between 1024 and 2048, and the alignment that they all give.
const BETWEEN: usize = 13;
const BETWEEN_ALIGN: usize = 16;

/// The class between 1024 and 2048 that serves `size`.
#[inline(always)]
const fn between(size: usize) -> Option<usize> {
    let mut class = BETWEEN;
    while class < SIZES.len() {
        if size <= SIZES[class] {
            return Some(class);
        }
        class += 1;
    }
    None
}

/// An object of a class is aligned to the largest power of two that divides the size.
const fn class(name: &'static str, size: usize) -> KmemCache {
    let align = 1 << size.trailing_zeros();
    KmemCache::new(name, size, if align > PAGE_SIZE { PAGE_SIZE } else { align })
}

static CLASSES: [KmemCache; 17] = [
    class("kmalloc-8", 8),
    class("kmalloc-16", 16),
    class("kmalloc-32", 32),
    class("kmalloc-64", 64),
    class("kmalloc-96", 96),
    class("kmalloc-128", 128),
    class("kmalloc-192", 192),
    class("kmalloc-256", 256),
    class("kmalloc-512", 512),
    class("kmalloc-1k", 1024),
    class("kmalloc-2k", 2048),
    class("kmalloc-4k", 4096),
    class("kmalloc-8k", 8192),
    class("kmalloc-1168", 1168),
    class("kmalloc-1248", 1248),
    class("kmalloc-1360", 1360),
    class("kmalloc-1632", 1632),
];

/// The class of sizes up to 192, by (size - 1) / 8.
static SMALL: [u8; 24] = {
    let mut t = [0; 24];
    let mut i = 0;
    while i < 24 {
        let mut c = 0;
        while SIZES[c] < (i + 1) * 8 {
            c += 1;
        }
        t[i] = c as u8;
        i += 1;
    }
    t
};

/// The class for `size` (1 to 8192) and `align`; `None` when a slab cannot give that.
#[inline(always)]
fn class_of(size: usize, align: usize) -> Option<&'static KmemCache> {
    if size > 1024
        && align <= BETWEEN_ALIGN
        && let Some(class) = between(size)
    {
        return Some(&CLASSES[class]);
    }
    // A class gives its size's alignment; for a greater wish the next power of two does.
    let size = if align > 8 { size.max(align).next_power_of_two() } else { size };
    if size <= 192 {
        return Some(&CLASSES[SMALL[size.wrapping_sub(1) >> 3] as usize]);
    }
    if size > KMALLOC_MAX_CACHE_SIZE || align > PAGE_SIZE {
        return None;
    }
    // 193..=256 is class 7; each doubling is one more.
    Some(&CLASSES[(usize::BITS - (size - 1).leading_zeros()) as usize - 1])
}

/// Takes `size` bytes aligned to `align`; `None` when there is no memory. Never waits; any context (above 32 KiB: not in an
/// interrupt). `size` is not 0. [`kfree`] needs the same size and alignment.
#[inline(always)]
pub fn kmalloc(size: usize, align: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    match class_of(size, align) {
        Some(cache) => cache.alloc(gfp),
        None => large_alloc(size, align, gfp),
    }
}

/// Gives memory back.
///
/// # Safety
/// `p` came from [`kmalloc`] with this `size` and `align`, is not used any more and is given back once.
#[inline(always)]
pub unsafe fn kfree(p: NonNull<u8>, size: usize, align: usize) {
    match class_of(size, align) {
        // SAFETY: by the caller's contract from this very class.
        Some(cache) => unsafe { cache.free(p) },
        // SAFETY: by the caller's contract a large allocation.
        None => unsafe { large_free(p) },
    }
}

#[cold]
#[inline(never)]
fn large_alloc(size: usize, align: usize, gfp: Gfp) -> Option<NonNull<u8>> {
    if !gfp.contains(Gfp::NOFAULT) && fault::should_fail() {
        return None;
    }
    let pages = size.checked_add(PAGE_SIZE - 1)? >> PAGE_SHIFT;
    let order = pages.max(align >> PAGE_SHIFT).checked_next_power_of_two()?.trailing_zeros() as usize;
    let mut want = gfp | Gfp::NOFAULT;
    if in_interrupt() {
        want |= Gfp::ATOMIC;
    }
    if order > COSTLY_ORDER {
        want |= Gfp::NOWARN;
    }
    if let Some(page) = page_alloc::alloc_pages(order, want) {
        return NonNull::new(page.as_ptr());
    }
    if order <= COSTLY_ORDER || align > PAGE_SIZE || in_interrupt() {
        return None;
    }
    vmalloc::vmalloc(size, want).and_then(|v| NonNull::new(v.as_ptr()))
}

/// # Safety
/// `p` came from `large_alloc` and is not used any more.
#[cold]
#[inline(never)]
unsafe fn large_free(p: NonNull<u8>) {
    let virt = VirtAddr::from_ptr(p.as_ptr());
    if vmalloc::contains(virt) {
        // SAFETY: by the caller's contract the start of an area that nobody uses.
        unsafe { vmalloc::vfree_any_context(virt) };
    } else if let Some(page) = page_of_virt(virt) {
        page_alloc::free_pages(page, page.order());
    }
}

/// The kernel's `#[global_allocator]`: [`kmalloc`] behind Rust's interface. Returns null when there is no memory.
#[derive(Debug)]
pub struct KernelAllocator;

// SAFETY: kmalloc gives memory of the size and alignment that nobody else uses; a null answer is allowed.
unsafe impl GlobalAlloc for KernelAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        kmalloc(layout.size(), layout.align(), Gfp::KERNEL).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        kmalloc(layout.size(), layout.align(), Gfp::KERNEL | Gfp::ZERO).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        if let Some(p) = NonNull::new(p) {
            // SAFETY: by GlobalAlloc's contract from `alloc` with this layout.
            unsafe { kfree(p, layout.size(), layout.align()) }
        }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let same = |a: Option<&KmemCache>, b: Option<&KmemCache>| matches!((a, b), (Some(a), Some(b)) if core::ptr::eq(a, b));
        if same(class_of(layout.size(), layout.align()), class_of(new_size, layout.align())) {
            return p;
        }
        let Some(new) = kmalloc(new_size, layout.align(), Gfp::KERNEL) else { return core::ptr::null_mut() };
        // SAFETY: both are valid for the smaller size and different; the old one is given back once.
        unsafe {
            new.as_ptr().copy_from_nonoverlapping(p, layout.size().min(new_size));
            self.dealloc(p, layout);
        }
        new.as_ptr()
    }
}
