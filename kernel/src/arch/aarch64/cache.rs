//! Cache maintenance by virtual address (Arm ARM D7.5): for what is read with caches off, and for new code.

use super::cpu::read_sysreg;
use core::arch::asm;

/// Bytes of the smallest data cache line (CTR_EL0.DminLine).
fn dcache_line() -> usize {
    4 << ((read_sysreg!("ctr_el0") >> 16) & 0xf)
}

/// Writes the lines of `len` bytes at `va` back to the point of coherency and drops them: a CPU with its caches off sees
/// what we wrote, and we shall see what it writes.
pub fn clean_invalidate_poc(va: usize, len: usize) {
    let line = dcache_line();
    let mut at = va & !(line - 1);
    let end = va.saturating_add(len);
    while at < end {
        // SAFETY: clean and invalidate changes no contents.
        unsafe { asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) };
}
