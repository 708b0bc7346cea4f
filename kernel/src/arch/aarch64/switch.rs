//! The stack switch of a park and of a resume.
//!
//! Only the callee-saved registers of the AAPCS64 and SP: everything else is dead at a call, or in the interrupt's frame
//! further up the same stack. PSTATE is not saved: both sides run with interrupts masked.

use core::arch::naked_asm;

/// Bytes that a switch pushes: x19–x30.
pub(super) const SWITCH_FRAME: usize = 96;

/// Saves this flow on its stack and SP in `*save`, and goes on with the flow whose SP is `sp`.
///
/// # Safety
/// Interrupts are masked. `sp` was stored by this function, or made by [`vigil_fresh_stack`], and is used once.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn vigil_switch_stack(save: *mut usize, sp: usize) {
    naked_asm!(
        "stp x29, x30, [sp, #-{FRAME}]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "mov x9, sp",
        "str x9, [x0]",
        "mov sp, x1",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #{FRAME}",
        "ret",
        FRAME = const SWITCH_FRAME,
    )
}

/// Prepares the unused stack below `context` so that a switch to the returned SP calls `entry` with x29 = 0.
///
/// # Safety
/// Nobody runs on the stack; `context` is its context block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vigil_fresh_stack(context: usize, entry: usize) -> usize {
    let sp = context - SWITCH_FRAME;
    // {x29, x30}: a back-trace ends at a zero frame pointer; `ret` goes to x30. What the other registers get means nothing
    // to `entry`, which begins with none of them.
    // SAFETY: the bytes below the context block belong to the stack, which is the caller's.
    unsafe { (sp as *mut [usize; 2]).write([0, entry]) };
    sp
}
