//! Cache maintenance by virtual address (Arm ARM D7.5): for what is read and written with caches off, by a device that does not
//! snoop them or by a CPU that starts.

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod cpu {
    use core::arch::asm;

    /// Writes the lines of `len` bytes at `va` back to the point of coherency and drops them: who has caches off sees what we
    /// wrote, and we shall see what it writes.
    pub fn clean_invalidate_poc(va: usize, len: usize) {
        let ctr: usize;
        // SAFETY: a read of a system register without side effects.
        unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
        // Bytes of the smallest data cache line (CTR_EL0.DminLine).
        let line = 4usize << ((ctr >> 16) & 0xf);
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
}

#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
mod cpu {
    /// Nothing: a test's device reads the same memory.
    pub fn clean_invalidate_poc(_va: usize, _len: usize) {}
}

pub use cpu::clean_invalidate_poc;
