//! TLB invalidation and the table-walk barriers (Arm ARM D8.13, D8.16.5; spec seed 000 §3.12).
//!
//! Every invalidation is broadcast to the inner-shareable domain, so there are no shoot-down IPIs. The order is the
//! Arm ARM's: DSB ISHST (the walker sees our stores), TLBI, DSB ISH (all CPUs have done it), and an ISB only where this
//! CPU itself must not go on with an old translation; the return to EL0 is one.

use crate::arch::aarch64::{alternative, hardening, kpti};
use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable};
use core::arch::asm;

/// Above this many pages, one invalidation of the whole ASID is cheaper than one per page.
const MAX_TLBI_PAGES: usize = 128;

/// TLBI's operand: ASID in 63:48, VA[55:12] in 43:0.
#[inline(always)]
fn operand(asid: u64, addr: usize) -> u64 {
    (asid << 48) | ((addr as u64 >> 12) & 0xfff_ffff_ffff)
}

/// Calls `f` with each hardware ASID of the address space `asid`: with KPTI the kernel's and EL0's.
#[inline(always)]
fn each_asid(asid: u64, f: impl Fn(u64)) {
    if alternative::kpti() {
        f(asid << 1);
        f(asid << 1 | 1);
    } else {
        f(asid);
    }
}

/// Makes earlier stores to tables visible to the walkers before later loads, stores and returns.
#[inline(always)]
pub fn table_store_barrier() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}

/// Orders earlier stores to tables before the invalidations that follow.
#[inline(always)]
fn before_tlbi() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ishst", options(nostack, preserves_flags)) };
}

/// Waits until all CPUs have done the invalidations.
#[inline(always)]
fn after_tlbi() {
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
}

/// Invalidates everything of `asid` on all CPUs, intermediate entries included.
///
/// Here and below `asid` is asked for behind the barrier. The address space may get another ASID at any time (a roll-over,
/// then a switch on another CPU). That CPU's walks under the new one see our stores, or else they are done before the barrier
/// is, and then the question gives the new one: never a stale entry under an ASID that is not invalidated.
pub fn flush_asid(asid: impl FnOnce() -> u64) {
    before_tlbi();
    let asid = asid();
    // SAFETY: an invalidation only makes the next access walk again.
    each_asid(asid, |asid| unsafe { asm!("tlbi aside1is, {}", in(reg) asid << 48, options(nostack, preserves_flags)) });
    after_tlbi();
}

/// Invalidates the last-level entry of one page on all CPUs.
#[inline(always)]
pub fn flush_page(asid: impl FnOnce() -> u64, addr: usize) {
    before_tlbi();
    let asid = asid();
    // SAFETY: as above.
    each_asid(asid, |asid| unsafe { asm!("tlbi vale1is, {}", in(reg) operand(asid, addr), options(nostack, preserves_flags)) });
    after_tlbi();
}

/// Invalidates `[start, end)` on all CPUs. `tables`: page tables below it go away, too, so cached walks must.
pub fn flush_range(asid: impl FnOnce() -> u64, start: usize, end: usize, tables: bool) {
    if (end - start) >> 12 > MAX_TLBI_PAGES {
        return flush_asid(asid);
    }
    before_tlbi();
    let asid = asid();
    each_asid(asid, |asid| {
        for addr in (start..end).step_by(4096) {
            let op = operand(asid, addr);
            if tables {
                // SAFETY: an invalidation.
                unsafe { asm!("tlbi vae1is, {}", in(reg) op, options(nostack, preserves_flags)) };
            } else {
                // SAFETY: an invalidation.
                unsafe { asm!("tlbi vale1is, {}", in(reg) op, options(nostack, preserves_flags)) };
            }
        }
    });
    after_tlbi();
}

/// Invalidates this CPU's whole TLB: what a CPU does once per ASID generation.
pub fn flush_local_all() {
    // SAFETY: an invalidation, and barriers.
    unsafe { asm!("dsb nshst", "tlbi vmalle1", "dsb nsh", "isb", options(nostack, preserves_flags)) };
}

/// Points TTBR0_EL1 at the table at physical address `root` under `asid` (TCR_EL1.A1 = 0: the ASID is TTBR0's).
///
/// # Safety
/// `root` is the physical address of a level 0 table that lives until TTBR0 is changed again on this CPU, and holds
/// user mappings only.
#[inline(always)]
pub unsafe fn set_ttbr0(root: u64, asid: u64) {
    if alternative::kpti() {
        // SAFETY: the caller's.
        return unsafe { kpti::switch(root, asid) };
    }
    // SAFETY: the caller's; root and ASID change in one register write, so no walk mixes them.
    unsafe { asm!("msr ttbr0_el1, {}", "isb", in(reg) root | (asid << 48), options(nostack, preserves_flags)) };
}

/// Another address space runs from here on: what the old one taught the branch predictor is forgotten, on CPUs that need it.
/// Interrupts are masked.
#[inline(always)]
pub fn new_address_space() {
    if alternative::flush_predictor() {
        hardening::flush_branch_predictor();
    }
}

/// Makes what was written through the linear map at `[addr, addr + len)` fetchable as instructions (Arm ARM B2.4.4),
/// as far as CTR_EL0.IDC and .DIC say that it is needed.
pub fn sync_icache(addr: usize, len: usize) {
    let ctr: u64;
    // SAFETY: a read of CTR_EL0.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    let idc = ctr & (1 << 28) != 0;
    let dic = ctr & (1 << 29) != 0;
    if !idc {
        let line = 4usize << ((ctr >> 16) & 0xf);
        let mut p = addr & !(line - 1);
        while p < addr + len {
            // SAFETY: a clean to the point of unification of memory that the caller has mapped.
            unsafe { asm!("dc cvau, {}", in(reg) p, options(nostack, preserves_flags)) };
            p += line;
        }
    }
    // SAFETY: a barrier: the clean is complete, or the stores themselves are.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if !dic {
        // The user's address is another alias than ours: all of the instruction cache, as VIPT caches need it.
        // SAFETY: an invalidation and its barriers.
        unsafe { asm!("ic ialluis", "dsb ish", options(nostack, preserves_flags)) };
    }
    // SAFETY: this CPU refetches.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
}

/// Width of the numbers of address spaces: that of this CPU's ASIDs (ID_AA64MMFR0_EL1.ASIDBits: 8 or 16), less one bit with KPTI.
pub fn asid_bits() -> u32 {
    let bits = if ID_AA64MMFR0_EL1.matches_all(ID_AA64MMFR0_EL1::ASIDBits::Bits_16) { 16 } else { 8 };
    bits - u32::from(alternative::kpti())
}
