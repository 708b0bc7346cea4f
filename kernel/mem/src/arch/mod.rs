//! What a page of memory needs of the CPU: to be zeroed and to be copied. Chosen at compile time.

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
#[path = "aarch64.rs"]
mod imp;
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[path = "host.rs"]
mod imp;

pub use imp::{copy_page, detect, zero_page};

/// Zeroes `pages` pages from `p` on.
///
/// # Safety
/// As [`zero_page`], for each of them.
pub unsafe fn zero_pages(p: *mut u8, pages: usize) {
    for i in 0..pages {
        // SAFETY: by the caller's contract.
        unsafe { zero_page(p.add(i * crate::addr::PAGE_SIZE)) };
    }
}
