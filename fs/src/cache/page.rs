//! Pages of file contents and of pipes: what the file systems do with [`PageRef`].
//!
//! The bytes of such a page can be written by user space at any time, so they are reached by raw pointer only and never
//! as a Rust reference.

use vigil_mem::page::{Page, PageFlags};
use vigil_mem::page_alloc::Gfp;
use vigil_mem::{AllocError, PAGE_SIZE};

pub use vigil_mem::page::PageRef;

/// A new page, zeroed if asked for.
pub fn alloc(zero: bool) -> Result<PageRef, AllocError> {
    PageRef::try_new(if zero { Gfp::USER | Gfp::ZERO } else { Gfp::USER })
}

/// What file systems ask of a page.
pub trait PageExt {
    /// Its address in the kernel.
    fn addr(&self) -> *mut u8;
    /// Zeroes `n` bytes from `offset` on, within the page.
    fn zero_range(&self, offset: usize, n: usize);
    /// Whether this is the only reference.
    fn is_unique(&self) -> bool;
    /// Notes that its contents are newer than any store's.
    fn note_dirty(&self);
}

impl PageExt for PageRef {
    #[inline]
    fn addr(&self) -> *mut u8 {
        self.page().as_ptr()
    }

    fn zero_range(&self, offset: usize, n: usize) {
        let offset = offset.min(PAGE_SIZE);
        let n = n.min(PAGE_SIZE - offset);
        // SAFETY: within the page, which is counted.
        unsafe { core::ptr::write_bytes(self.addr().add(offset), 0, n) };
    }

    fn is_unique(&self) -> bool {
        self.page().refcount() == 1
    }

    fn note_dirty(&self) {
        if !self.page().has(PageFlags::DIRTY) {
            self.page().set(PageFlags::DIRTY);
        }
    }
}

/// Turns a reference into a word, keeping its count.
pub fn into_raw(page: PageRef) -> *const () {
    core::ptr::from_ref(page.into_counted()).cast()
}

/// The inverse of [`into_raw`].
///
/// # Safety
/// `raw` came from `into_raw`, and its count is taken over here.
pub unsafe fn from_raw(raw: *const ()) -> PageRef {
    // SAFETY: by the caller's contract a descriptor, which lives for ever, with a count that is ours.
    unsafe { PageRef::from_counted(&*raw.cast::<Page>()) }
}

/// Another reference to the page behind `raw`.
///
/// # Safety
/// `raw` came from `into_raw`, and that reference is still there.
#[inline]
pub unsafe fn clone_raw(raw: *const ()) -> PageRef {
    // SAFETY: by the caller's contract a descriptor of a page that is allocated.
    PageRef::from_page(unsafe { &*raw.cast::<Page>() })
}
