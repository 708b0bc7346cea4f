//! Whether an interrupted poll finds its registers and its stack as it left them.

use core::arch::naked_asm;
use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};

/// Words of stack that are watched.
const CANARIES: usize = 48;

/// Holds a pattern made of `seed` in x2–x17, x19–x28 and x30 for `loops` rounds of a loop, and returns 0 if all of them
/// still hold it (otherwise the OR of the differences).
#[unsafe(naked)]
unsafe extern "C" fn hold_registers(seed: u64, loops: u64) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-96]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        ".irp r, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,19,20,21,22,23,24,25,26,27,28,30",
        "add x\\r, x0, #\\r",
        ".endr",
        "1: subs x1, x1, #1",
        "b.ne 1b",
        ".irp r, 2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,19,20,21,22,23,24,25,26,27,28,30",
        "sub x\\r, x\\r, #\\r",
        "eor x\\r, x\\r, x0",
        "orr x1, x1, x\\r",
        ".endr",
        "mov x0, x1",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #96",
        "ret",
    )
}

/// Spends `loops` rounds with a pattern of `seed` in registers and on the stack. Whether both were kept.
#[inline(never)]
pub fn hold(seed: u64, loops: u64) -> bool {
    let mut canaries = [0u64; CANARIES];
    for (i, word) in canaries.iter_mut().enumerate() {
        // SAFETY: a local variable; volatile, so that the words are really on the stack.
        unsafe { write_volatile(word, seed.rotate_left(i as u32)) };
    }
    // SAFETY: the function keeps to the calling convention and touches its own frame only.
    let differences = unsafe { hold_registers(black_box(seed), loops.max(1)) };
    // SAFETY: as above.
    let kept = canaries.iter().enumerate().all(|(i, word)| unsafe { read_volatile(word) } == seed.rotate_left(i as u32));
    differences == 0 && kept
}
