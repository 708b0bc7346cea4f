//! Exception vectors of the boot: in force from the first Rust code at the virtual address until the trap code sets its own.
//!
//! Nothing may trap that early, so every entry saves the registers and panics with what it found. A fault while this one is
//! reported ends in `panic`'s own check for a panic in a panic.

use super::cpu::read_sysreg;
use crate::debug::oops::{KernelRegs, describe};
use core::arch::{asm, global_asm};
use core::mem::offset_of;

global_asm!(
    r#"
    .section .text.early_vectors, "ax"
    .balign 2048
    .global early_vectors
early_vectors:
    .set    slot, 0
    .rept   16
    .balign 128
    sub     sp, sp, #{size}
    stp     x0, x1, [sp]
    mov     x0, #slot
    b       early_trap
    .set    slot, slot + 1
    .endr
    .balign 128
early_trap:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    add     x2, sp, #{size}
    stp     x30, x2, [sp, #240]
    mrs     x3, elr_el1
    mrs     x4, spsr_el1
    stp     x3, x4, [sp, #{pc}]
    mov     x1, sp
    bl      {handler}
    .text
"#,
    size = const size_of::<KernelRegs>().next_multiple_of(16),
    pc = const offset_of!(KernelRegs, pc),
    handler = sym early_exception,
);

const _: () = assert!(offset_of!(KernelRegs, sp) == 248 && offset_of!(KernelRegs, pstate) == offset_of!(KernelRegs, pc) + 8);

unsafe extern "C" {
    static early_vectors: u8;
}

/// Makes the boot's vectors this CPU's.
pub(super) fn install() {
    // SAFETY: the table is aligned and covers all sixteen entries.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) &raw const early_vectors, options(nostack, preserves_flags)) };
}

/// Reports an exception that nothing was ready for.
extern "C" fn early_exception(slot: u64, regs: &KernelRegs) -> ! {
    let esr = read_sysreg!("esr_el1");
    let far = read_sysreg!("far_el1");
    regs.log();
    crate::debug::panic::panic_at(
        format_args!("early exception, vector {slot}: {} (ESR {esr:#x}, FAR {far:#018x})", describe(esr)),
        regs.pc as usize,
        regs.x[29] as usize,
    )
}
