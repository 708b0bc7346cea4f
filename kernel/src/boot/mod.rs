//! Booting, the part that every architecture shares.

/// Goes on where the architecture's entry code ends.
#[cfg(target_os = "none")]
pub fn start() -> ! {
    use crate::arch::aarch64::{boot, mmu, mmu_layout::FixSlot, pgtable_kernel::Prot};
    let u = unsafe { mmu::set_fixmap(FixSlot::Earlycon, 0x0900_0000, Prot::DEVICE) } as *mut u8;
    let a = boot::boot_args();
    struct W(*mut u8);
    impl core::fmt::Write for W {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            for b in s.bytes() { unsafe { self.0.write_volatile(b) } }
            Ok(())
        }
    }
    let _ = core::fmt::Write::write_fmt(&mut W(u), format_args!("hello {:x?} text {:x}\n", a, mmu::text_start()));
    crate::debug::semihosting::enable();
    crate::debug::semihosting::exit(0);
    crate::arch::aarch64::cpu::park()
}
