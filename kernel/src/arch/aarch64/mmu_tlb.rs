//! TLB and barrier primitives for the kernel's own mappings (Arm ARM D8.13, D8.16).

use core::arch::asm;

/// Makes table entries that went from invalid to valid visible to the walkers, and this CPU's next instructions use them.
#[inline(always)]
pub fn publish() {
    // SAFETY: barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Removes the translation of the page at `va`, for all ASIDs and on all CPUs; orders the entry's store before.
#[inline(always)]
pub fn flush_page(va: usize) {
    let arg = (va as u64 >> 12) & ((1 << 44) - 1);
    // SAFETY: invalidation only costs a walk.
    unsafe { asm!("dsb ishst", "tlbi vaae1is, {}", "dsb ish", "isb", in(reg) arg, options(nostack, preserves_flags)) };
}

/// Removes all translations of EL1 and EL0 on all CPUs; orders earlier stores to entries before.
pub fn flush_all() {
    // SAFETY: invalidation only costs walks.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Above this many pages a range is flushed by dropping everything.
const MAX_BY_PAGE: usize = 512;

/// Removes the translations of `pages` pages from `va` on.
pub fn flush_range(va: usize, pages: usize) {
    if pages > MAX_BY_PAGE {
        return flush_all();
    }
    // SAFETY: as in `flush_page`; one DSB before and after for the whole range.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
    for i in 0..pages {
        let arg = ((va as u64 >> 12).wrapping_add(i as u64)) & ((1 << 44) - 1);
        // SAFETY: as above.
        unsafe { asm!("tlbi vaae1is, {}", in(reg) arg, options(nostack, preserves_flags)) };
    }
    // SAFETY: as above.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Points TTBR0 at `root` with ASID 0 and forgets all this CPU's translations.
///
/// # Safety
/// Nothing may be accessed at a user (low) address that `root` does not map.
pub unsafe fn set_ttbr0(root: u64) {
    // SAFETY: by the caller's contract.
    unsafe {
        asm!("msr ttbr0_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) root, options(nostack, preserves_flags));
    }
}
