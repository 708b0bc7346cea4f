//! Pages on a host: what `memset` and `memcpy` do.

use crate::addr::PAGE_SIZE;

/// Nothing to find out.
pub fn detect() {}

/// Fills one page with zeroes.
///
/// # Safety
/// `p` is page-aligned and valid for writes of a page.
pub unsafe fn zero_page(p: *mut u8) {
    // SAFETY: by the caller's contract.
    unsafe { p.write_bytes(0, PAGE_SIZE) }
}

/// Copies one page.
///
/// # Safety
/// Both are page-aligned; `src` is valid for reads and `dst` for writes of a page, and they are different pages.
pub unsafe fn copy_page(dst: *mut u8, src: *const u8) {
    // SAFETY: by the caller's contract.
    unsafe { dst.copy_from_nonoverlapping(src, PAGE_SIZE) }
}
