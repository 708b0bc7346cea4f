//! Branches that are decided once at boot, before the kernel runs at its virtual address, and cost one instruction.
//!
//! A site is a `nop` (in Rust: a function that answers `false`) or any instruction of the assembly; the section
//! `.alternatives` holds a record for each: where it is, where it branches to when its switch is on, and the switch. While
//! the image is still writable, at its load address, [`apply`] puts a branch into the sites whose switch is on. Text is
//! never written afterwards (Linux: alternatives and static keys).

use core::arch::asm;

/// The kernel is not mapped while EL0 runs (KPTI).
pub const KPTI: u32 = 1 << 0;
/// The firmware is called by HVC, not SMC.
pub const HVC: u32 = 1 << 1;
/// Some CPU flushes its branch predictor when the address space changes.
pub const FLUSH_PREDICTOR: u32 = 1 << 2;

/// A record: distances from the fields themselves.
#[repr(C)]
struct Site {
    site: i32,
    target: i32,
    switch: u32,
}

unsafe extern "C" {
    static __alternatives_start: Site;
    static __alternatives_end: Site;
}

macro_rules! switch {
    ($(#[$doc:meta])* $name:ident, $switch:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> bool {
            let mut on = false;
            // SAFETY: a NOP, or a branch to the label.
            unsafe {
                asm!(
                    "771: nop",
                    ".pushsection .alternatives, \"a\"",
                    ".balign 4",
                    ".long 771b - .",
                    ".long {target} - .",
                    ".long {switch}",
                    ".popsection",
                    target = label { on = true },
                    switch = const $switch,
                    options(nomem, nostack, preserves_flags),
                )
            };
            on
        }
    };
}

switch! {
    /// Whether the kernel is unmapped while EL0 runs.
    kpti, KPTI
}
switch! {
    /// Whether a change of the address space may have to flush the branch predictor.
    flush_predictor, FLUSH_PREDICTOR
}

/// The unconditional branch over `distance` bytes.
const fn branch(distance: i64) -> u32 {
    0x1400_0000 | (distance >> 2) as u32 & 0x03ff_ffff
}

/// Turns on the sites of `switches`.
///
/// # Safety
/// Once, on the boot CPU while it is alone, at the load address through the identity map, which is writable.
pub(super) unsafe fn apply(switches: u32) {
    let mut at = &raw const __alternatives_start;
    let end = &raw const __alternatives_end;
    while at < end {
        // SAFETY: the linker script lays whole records between the two symbols.
        let record = unsafe { &*at };
        if record.switch & switches != 0 {
            let site = (&raw const record.site as usize).wrapping_add_signed(record.site as isize);
            let target = (&raw const record.target as usize).wrapping_add_signed(record.target as isize);
            // SAFETY: the site is an instruction of the text, writable by the caller's contract; nothing executes it now.
            unsafe {
                (site as *mut u32).write_volatile(branch(target.wrapping_sub(site) as i64));
                asm!("dc cvau, {}", in(reg) site, options(nostack, preserves_flags));
            }
        }
        // SAFETY: at most one behind the last record.
        at = unsafe { at.add(1) };
    }
    // SAFETY: barriers and an invalidation: the new instructions are fetched from here on (Arm ARM B2.4.4).
    unsafe { asm!("dsb ish", "ic iallu", "dsb ish", "isb", options(nostack, preserves_flags)) };
}
