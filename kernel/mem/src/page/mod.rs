//! Page descriptors: one [`Page`] of 64 bytes for each page frame, in one array, the memory map.
//!
//! A descriptor lives for ever, so a `&'static Page` is a plain handle; whether its memory may be touched depends on the
//! reference count. [`PageRef`] is a counted handle that frees the page with its last reference.

mod flags;
pub mod links;
mod map;
mod page_ref;

pub use flags::PageFlags;
pub(crate) use map::init_mem_map;
pub use map::{mem_map_range, page_at, page_of, page_of_virt, pfn_valid};
pub use page_ref::PageRef;

use crate::addr::{Pfn, PhysAddr, VirtAddr, phys_to_virt};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use links::Links;

/// The descriptor of a page frame. All bytes zero is a frame that is not in use and not (yet) in the buddy system.
#[repr(C, align(64))]
pub struct Page {
    flags: AtomicU32,
    refcount: AtomicU32,
    /// How many page-table entries map it.
    mapcount: AtomicU32,
    /// log2 of the pages of the block that this is the head of.
    order: AtomicU8,
    /// In the first descriptor of each pageblock: its migrate type, exclusive-or 1, so that 0 is "movable".
    pub(crate) block_type: AtomicU8,
    /// What it belongs to: the page cache's mapping or the anonymous VMA's, for `fs` and `kernel` to say.
    mapping: AtomicUsize,
    /// Its place there, in pages.
    index: AtomicUsize,
    /// The owner's: buffer heads, the slab's free list, ….
    private: AtomicUsize,
    /// The list that it is on: a free list, a per-CPU list, an LRU, a slab's partial list.
    pub(crate) links: Links,
}

const _: () = assert!(size_of::<Page>() == 64);

impl Page {
    /// Its frame's number.
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        map::pfn_of(self)
    }

    /// Where the frame starts.
    #[inline(always)]
    pub fn phys(&self) -> PhysAddr {
        self.pfn().phys()
    }

    /// Where the linear map shows it.
    #[inline(always)]
    pub fn virt(&self) -> VirtAddr {
        phys_to_virt(self.phys())
    }

    /// Its bytes in the linear map.
    #[inline(always)]
    pub fn as_ptr(&self) -> *mut u8 {
        self.virt().as_ptr()
    }

    /// The flags that are set.
    #[inline(always)]
    pub fn flags(&self) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.load(Ordering::Acquire))
    }

    /// Whether all of `f` are set.
    #[inline(always)]
    pub fn has(&self, f: PageFlags) -> bool {
        self.flags().contains(f)
    }

    /// Sets `f`; returns what was set before.
    #[inline(always)]
    pub fn set(&self, f: PageFlags) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.fetch_or(f.bits(), Ordering::AcqRel))
    }

    /// Clears `f`; returns what was set before.
    #[inline(always)]
    pub fn clear(&self, f: PageFlags) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.fetch_and(!f.bits(), Ordering::AcqRel))
    }

    /// Sets all flags at once, for a page that nobody else knows.
    #[inline(always)]
    pub(crate) fn reset_flags(&self, f: PageFlags) {
        self.flags.store(f.bits(), Ordering::Relaxed);
    }

    /// Sets LOCKED; `true` if this call did. Waiting for it is the page cache's business.
    #[inline]
    pub fn try_lock(&self) -> bool {
        !self.set(PageFlags::LOCKED).contains(PageFlags::LOCKED)
    }

    /// References at this moment.
    #[inline(always)]
    pub fn refcount(&self) -> u32 {
        self.refcount.load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(crate) fn set_refcount(&self, n: u32) {
        self.refcount.store(n, Ordering::Relaxed);
    }

    /// Takes a further reference. The caller has one, or a lock that keeps another's alive.
    #[inline(always)]
    pub fn get(&self) {
        self.refcount.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a reference unless there is none: for a lookup that may meet a page that is just being freed. The caller then
    /// checks that the page is still the one that it looked for.
    #[inline]
    pub fn try_get(&self) -> bool {
        let mut n = self.refcount.load(Ordering::Relaxed);
        while n != 0 {
            match self.refcount.compare_exchange_weak(n, n + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => n = seen,
            }
        }
        false
    }

    /// Gives a reference back; `true` when it was the last, and the caller must free the page.
    #[inline(always)]
    #[must_use = "the last reference's holder frees the page"]
    pub fn put_testzero(&self) -> bool {
        if self.refcount.fetch_sub(1, Ordering::Release) != 1 {
            return false;
        }
        core::sync::atomic::fence(Ordering::Acquire);
        true
    }

    /// Gives a reference back and frees the page (the whole block that it is the head of) with the last.
    #[inline]
    pub fn put(&'static self) {
        if self.put_testzero() {
            crate::page_alloc::free_unreferenced(self);
        }
    }

    /// How many page-table entries map it.
    #[inline]
    pub fn mapcount(&self) -> u32 {
        self.mapcount.load(Ordering::Relaxed)
    }

    /// One more page-table entry maps it; returns how many did before.
    #[inline]
    pub fn inc_mapcount(&self) -> u32 {
        self.mapcount.fetch_add(1, Ordering::AcqRel)
    }

    /// One page-table entry fewer maps it; returns how many still do.
    #[inline]
    pub fn dec_mapcount(&self) -> u32 {
        self.mapcount.fetch_sub(1, Ordering::AcqRel).wrapping_sub(1)
    }

    /// log2 of the pages of the block that it is the head of.
    #[inline(always)]
    pub fn order(&self) -> usize {
        self.order.load(Ordering::Relaxed) as usize
    }

    #[inline(always)]
    pub(crate) fn set_order(&self, order: usize) {
        self.order.store(order as u8, Ordering::Relaxed);
    }

    /// What it belongs to; 0 is nothing.
    #[inline(always)]
    pub fn mapping(&self) -> usize {
        self.mapping.load(Ordering::Acquire)
    }

    /// Sets what it belongs to. Under the page's lock.
    #[inline(always)]
    pub fn set_mapping(&self, m: usize) {
        self.mapping.store(m, Ordering::Release);
    }

    /// Its place in what it belongs to, in pages.
    #[inline(always)]
    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed)
    }

    /// Sets its place.
    #[inline(always)]
    pub fn set_index(&self, i: usize) {
        self.index.store(i, Ordering::Relaxed);
    }

    /// The owner's word.
    #[inline(always)]
    pub fn private(&self) -> usize {
        self.private.load(Ordering::Relaxed)
    }

    /// Sets the owner's word.
    #[inline(always)]
    pub fn set_private(&self, p: usize) {
        self.private.store(p, Ordering::Relaxed);
    }

    /// The links for the owner's list (page cache, LRU). Free for use while the page is allocated.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The page that `links` belongs to.
    ///
    /// # Safety
    /// `links` is the `links` of a page (not a list's head).
    #[inline(always)]
    pub unsafe fn from_links(links: *const Links) -> &'static Page {
        // SAFETY: by the caller's contract; descriptors live for ever.
        unsafe { &*links.byte_sub(core::mem::offset_of!(Page, links)).cast::<Page>() }
    }

    /// Zeroes its bytes.
    ///
    /// # Safety
    /// The caller owns the page; nobody else reads or writes it meanwhile.
    #[inline]
    pub unsafe fn zero(&self) {
        // SAFETY: a frame in the linear map is a page of normal memory.
        unsafe { crate::arch::zero_page(self.as_ptr()) }
    }

    /// Copies `src`'s bytes here.
    ///
    /// # Safety
    /// The caller owns this page and has a reference to `src`, another page.
    #[inline]
    pub unsafe fn copy_from(&self, src: &Page) {
        // SAFETY: both are frames in the linear map, and different.
        unsafe { crate::arch::copy_page(self.as_ptr(), src.as_ptr()) }
    }
}

impl core::fmt::Debug for Page {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Page")
            .field("pfn", &self.pfn().get())
            .field("flags", &self.flags())
            .field("refcount", &self.refcount())
            .field("mapcount", &self.mapcount())
            .field("order", &self.order())
            .field("index", &self.index())
            .finish_non_exhaustive()
    }
}
