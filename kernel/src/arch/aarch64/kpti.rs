//! The kernel unmapped while EL0 runs (KPTI; Linux: CONFIG_UNMAP_KERNEL_AT_EL0).
//!
//! ```text
//!   EL0:     TTBR1 = the trampoline's root, ASID 2n + 1, VBAR = the trampoline at a fixed address
//!   entry:   (trampoline) TTBR1 = the kernel's root, ASID 2n; VBAR = vigil_vectors; to a stub, and on as always
//!   exit:    (in place of ERET) VBAR = the trampoline; TTBR1 = its root, ASID 2n + 1; ERET
//! ```
//!
//! The two roots are neighbours, so that one addition changes the one into the other, and root and ASID change in one write:
//! TCR_EL1.A1 says that the ASID is TTBR1's. The kernel's leaves are not global, so what it used is not found under EL0's
//! ASID. The trampoline's text alone is global and in both tables. User pages are in the TLB under both ASIDs (EL0's own
//! accesses, and the kernel's), so `tlb` invalidates both. Without KPTI nothing of this runs: `alternative` branches here.

use super::mmu::{PoolTables, empty_root, kernel_root};
use super::mmu_layout::{PAGE_SIZE, TRAMPOLINE, TRAMPOLINE_DATA, TRAMPOLINE_PAGES};
use super::pgtable_kernel::{self as pt, Leaf, MapError, Prot, Tables};
use core::arch::asm;

/// From the kernel's root table to the trampoline's.
pub(super) const ROOT_DISTANCE: usize = PAGE_SIZE;
/// The bit of TTBR1 that tells EL0's ASID from the kernel's.
pub(super) const USER_ASID_BIT: u32 = 48;

unsafe extern "C" {
    static __trampoline_start: u8;
    static __trampoline_end: u8;
    static vigil_trampoline_data: u8;
}

/// Maps the trampoline in the kernel's tables and makes the root that EL0 runs with: at the load address, where symbols are
/// physical addresses. `root` is the kernel's, just taken from the pool.
pub(super) fn map_trampoline(t: &mut PoolTables, root: u64) -> Result<(), MapError> {
    let user_root = t.alloc().ok_or(MapError::NoMemory)?;
    let text = (&raw const __trampoline_start) as u64;
    let size = (&raw const __trampoline_end) as u64 - text;
    if user_root != root + ROOT_DISTANCE as u64 || size != (TRAMPOLINE_PAGES * PAGE_SIZE) as u64 {
        return Err(MapError::Unaligned);
    }
    for root in [root, user_root] {
        let table = pt::make_tables(t, root, TRAMPOLINE)?;
        for page in 0..TRAMPOLINE_PAGES {
            t.write(table, pt::index(TRAMPOLINE, 3) + page, (text + (page * PAGE_SIZE) as u64) | Prot::TEXT.global_bits() | 3);
        }
    }
    let data = (&raw const vigil_trampoline_data) as u64;
    pt::map(t, root, TRAMPOLINE_DATA, data, PAGE_SIZE, Prot::RODATA, pt::Granule::Pages)
}

/// Makes the ASID TTBR1's on this CPU. Before its first address space; both registers hold ASID 0.
pub(super) fn init_this_cpu() {
    const A1: u64 = 1 << 22;
    let tcr = super::cpu::read_sysreg!("tcr_el1") | A1;
    // SAFETY: both ASIDs are 0, so no translation changes; what the TLB holds of the old setting goes.
    unsafe { asm!("msr tcr_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) tcr, options(nostack, preserves_flags)) };
}

/// Changes the address space: `root` for TTBR0, `asid` for TTBR1. In between TTBR0 maps nothing, so that no walk enters
/// pages of the one space under the ASID of the other.
///
/// # Safety
/// As for `tlb::set_ttbr0`.
#[cold]
pub unsafe fn switch(root: u64, asid: u64) {
    let ttbr1 = kernel_root() | asid << (USER_ASID_BIT + 1);
    // SAFETY: the kernel's root stays; the rest is the caller's contract.
    unsafe {
        asm!(
            "msr ttbr0_el1, {empty}",
            "isb",
            "msr ttbr1_el1, {ttbr1}",
            "isb",
            "msr ttbr0_el1, {root}",
            "isb",
            empty = in(reg) empty_root(),
            ttbr1 = in(reg) ttbr1,
            root = in(reg) root,
            options(nostack, preserves_flags)
        );
    }
}

/// Whether `va` is in the trampoline's text.
pub(super) fn in_text(va: usize) -> bool {
    (TRAMPOLINE..TRAMPOLINE_DATA).contains(&va)
}

/// Calls `f` with each leaf of the tables that EL0 runs with.
pub(super) fn walk_user_tables<E>(f: &mut dyn FnMut(usize, Leaf) -> Result<(), E>) -> Result<(), E> {
    pt::walk(&mut PoolTables, kernel_root() + ROOT_DISTANCE as u64, super::mmu_layout::LINEAR_BASE, f)
}
