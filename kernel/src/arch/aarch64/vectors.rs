//! The vector table (Arm ARM D1.3.1.5) and the ways in and out of exceptions taken at EL1.
//!
//! All 16 entries are real: those that cannot happen in a sound system (EL1t, AArch32) report which one it was. An entry
//! from EL1 first tests SP with one bit: stacks are aligned to twice their size, so that bit log2(`STACK_SIZE`) is set
//! only below a stack. An overflow is then reported on the CPU's emergency stack.
//!
//! An IRQ at EL1 is handled on the IRQ stack. When it ends with the wish to preempt, the interrupted poll is parked: the
//! register frame stays on its own stack, below the frame of the switch. When it ends the wait of an idle CPU it is
//! a call for the executor's loop, and given back is what a call preserves.

use super::stamped::stamped;
use core::arch::global_asm;
use core::mem::{offset_of, size_of};
use vigil_executor::cpu::CpuLocal;
use vigil_executor::stack::STACK_SIZE;
use vigil_executor::trace::{KEY_HARDIRQ, KEY_PINS, KEY_STAMPS, PIN_VECTOR, Pin};

/// What an exception at EL1 saves on the stack that it interrupted. `fp` and `pc` first: they are the frame record
/// {x29, return address} of the AAPCS64, so a back-trace goes from the handler on into what was interrupted.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct ExceptionFrame {
    /// x29.
    pub fp: u64,
    /// ELR_EL1.
    pub pc: u64,
    /// x0–x28; an IRQ's frame holds x0–x19 only.
    pub x: [u64; 29],
    /// x30.
    pub lr: u64,
    /// SPSR_EL1.
    pub pstate: u64,
    /// ESR_EL1; an IRQ's frame does not hold it.
    pub esr: u64,
    /// FAR_EL1; likewise.
    pub far: u64,
    /// Which vector, 0–15; likewise.
    pub vector: u64,
}

const FRAME: usize = size_of::<ExceptionFrame>();
const X: usize = offset_of!(ExceptionFrame, x);

unsafe extern "C" {
    /// The table; VBAR_EL1 of each CPU.
    pub static vigil_vectors: u8;
}

global_asm!(
    stamped!("el1_stamped"),
    r#"
    .macro vector target
    .balign 128
    b       \target
    .endm

    .macro bad_vector number
    .balign 128
    msr     daifset, #15
    sub     sp, sp, #{FRAME}
    str     x0, [sp, #{X}]
    mov     x0, #\number
    b       bad_exception
    .endm

    // From EL1 with SP_EL1: is SP inside a stack? x0 is borrowed without touching memory (sp + x0 - x0).
    .macro el1_vector target
    .balign 128
    sub     sp, sp, #{FRAME}
    add     sp, sp, x0
    sub     x0, sp, x0
    tbnz    x0, #{STACK_SHIFT}, stack_overflow
    sub     x0, sp, x0
    sub     sp, sp, x0
    b       \target
    .endm

    .section .text.vectors, "ax"
    .balign 2048
    .global vigil_vectors
vigil_vectors:
    bad_vector 0
    bad_vector 1
    bad_vector 2
    bad_vector 3
    el1_vector el1_sync
    el1_vector el1_irq
    bad_vector 6
    el1_vector el1_serror
    vector  vigil_el0_sync
    vector  vigil_el0_irq
    bad_vector 10
    vector  vigil_el0_serror
    bad_vector 12
    bad_vector 13
    bad_vector 14
    bad_vector 15
    .balign 128

    .macro save_low stamp=0 irq=0
    .if \irq
    el1_stamped "stp x0, x1, [sp, #{X}]"
    .else
    stp     x0, x1, [sp, #{X}]
    .endif
    .if \stamp
    mrs     x0, pmccntr_el0
    mrs     x1, tpidr_el1
    str     x0, [x1, #{VECTOR_STAMP}]
    .endif
    stp     x2, x3, [sp, #{X} + 16]
    stp     x4, x5, [sp, #{X} + 32]
    stp     x6, x7, [sp, #{X} + 48]
    stp     x8, x9, [sp, #{X} + 64]
    stp     x10, x11, [sp, #{X} + 80]
    stp     x12, x13, [sp, #{X} + 96]
    stp     x14, x15, [sp, #{X} + 112]
    stp     x16, x17, [sp, #{X} + 128]
    stp     x18, x19, [sp, #{X} + 144]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x29, x0, [sp, #0]
    stp     x30, x1, [sp, #{LR}]
    mov     x29, sp
    .endm

    .macro restore_low
    ldp     x29, x0, [sp, #0]
    ldp     x30, x1, [sp, #{LR}]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp, #{X}]
    ldp     x2, x3, [sp, #{X} + 16]
    ldp     x4, x5, [sp, #{X} + 32]
    ldp     x6, x7, [sp, #{X} + 48]
    ldp     x8, x9, [sp, #{X} + 64]
    ldp     x10, x11, [sp, #{X} + 80]
    ldp     x12, x13, [sp, #{X} + 96]
    ldp     x14, x15, [sp, #{X} + 112]
    ldp     x16, x17, [sp, #{X} + 128]
    ldp     x18, x19, [sp, #{X} + 144]
    .endm

    .macro save_high vector
    stp     x20, x21, [sp, #{X} + 160]
    stp     x22, x23, [sp, #{X} + 176]
    stp     x24, x25, [sp, #{X} + 192]
    stp     x26, x27, [sp, #{X} + 208]
    str     x28, [sp, #{X} + 224]
    mrs     x0, esr_el1
    mrs     x1, far_el1
    mov     x2, #\vector
    str     x0, [sp, #{ESR}]
    str     x1, [sp, #{ESR} + 8]
    str     x2, [sp, #{ESR} + 16]
    .endm

    .macro restore_high
    ldp     x20, x21, [sp, #{X} + 160]
    ldp     x22, x23, [sp, #{X} + 176]
    ldp     x24, x25, [sp, #{X} + 192]
    ldp     x26, x27, [sp, #{X} + 208]
    ldr     x28, [sp, #{X} + 224]
    .endm

    // An abort of a user access, or a bug. The handler may change the frame's pc.
el1_sync:
    save_low
    save_high 4
    mov     x0, sp
    bl      {EL1_SYNC}
    restore_high
    restore_low
    add     sp, sp, #{FRAME}
    eret

el1_serror:
    save_low
    save_high 7
    mov     x0, sp
    bl      {BAD}
    b       .

el1_irq:
    save_low {STAMPS}, 1
    mov     x19, sp                             // the interrupted stack
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{IRQ_SP}]
    eor     x10, x9, x19
    lsr     x10, x10, #{STACK_SHIFT}
    cbz     x10, 1f                             // a softirq was interrupted: already on the IRQ stack
    mov     sp, x9
1:  mov     x0, x19
773:
    bl      {EL1_IRQ}
    .pushsection .trace_sites, "a"
    .balign 4
    .long   773b - .
    .long   {EL1_IRQ_TRACED} - .
    .long   {KEY_HARDIRQ}
    .popsection
    mov     sp, x19
    cbnz    x0, 3f
2:  restore_low
    add     sp, sp, #{FRAME}
    eret

    // The poll gives way. Its callee-saved registers go below the frame, as vigil_switch_stack puts them: that comes back to 4.
3:  cbz     x1, 5f
    adr     x30, 4f
    stp     x29, x30, [sp, #-{SWITCH_FRAME}]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x9, sp
    str     x9, [x1]
    mov     sp, x0
    mov     x29, xzr                            // a back-trace ends here
    mov     x30, xzr
    b       {HANDED_OVER}
4:  bl      {RESUMED}                           // maybe on another CPU
    b       2b
5:  tbnz    x0, #{PARK_BIT}, 6f
    ldp     x29, x9, [sp, #0]                   // the executor's loop has called for the interrupt: as a call returns
    ldr     x19, [sp, #{X} + 152]
    add     sp, sp, #{FRAME}
    ret     x9
6:  bl      {PREEMPT}                           // returns when the poll is resumed
    b       2b

    // x0 and SP were mixed by the test above; the old SP cannot be trusted with anything.
stack_overflow:
    sub     x0, sp, x0                          // x0 = x0 as it was
    sub     sp, sp, x0                          // SP as it was, minus the frame
    msr     tpidrro_el0, x0
    mov     x0, sp
    msr     sp_el0, x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{EMERGENCY_SP}]
    mov     sp, x0
    mrs     x0, tpidrro_el0
    sub     sp, sp, #{FRAME}
    save_low
    save_high 16
    mov     x0, sp
    mrs     x1, sp_el0
    add     x1, x1, #{FRAME}
    bl      {OVERFLOW}
    b       .

bad_exception:
    str     x0, [sp, #{ESR} + 16]
    ldr     x0, [sp, #{X}]
    save_low
    mrs     x0, esr_el1
    mrs     x1, far_el1
    str     x0, [sp, #{ESR}]
    str     x1, [sp, #{ESR} + 8]
    stp     x20, x21, [sp, #{X} + 160]
    stp     x22, x23, [sp, #{X} + 176]
    stp     x24, x25, [sp, #{X} + 192]
    stp     x26, x27, [sp, #{X} + 208]
    str     x28, [sp, #{X} + 224]
    mov     x0, sp
    bl      {BAD}
    b       .
    "#,
    FRAME = const FRAME,
    X = const X,
    LR = const offset_of!(ExceptionFrame, lr),
    ESR = const offset_of!(ExceptionFrame, esr),
    STACK_SHIFT = const STACK_SIZE.trailing_zeros(),
    IRQ_SP = const offset_of!(CpuLocal, irq_sp),
    EMERGENCY_SP = const offset_of!(CpuLocal, emergency_sp),
    STAMPS = const super::entry::STAMPS,
    VECTOR_STAMP = const super::entry::VECTOR_STAMP,
    EL1_SYNC = sym super::trap::vigil_el1_sync,
    EL1_IRQ = sym super::trap::vigil_el1_irq,
    EL1_IRQ_TRACED = sym super::trap::vigil_el1_irq_traced,
    KEY_HARDIRQ = const KEY_HARDIRQ,
    KEY_STAMPS = const KEY_STAMPS,
    VECTOR_AT = const offset_of!(CpuLocal, vector_at),
    KEY_PINS = const KEY_PINS,
    PINS = const offset_of!(CpuLocal, pins),
    PIN_VECTOR = const PIN_VECTOR * size_of::<Pin>(),
    PREEMPT = sym super::trap::vigil_preempt_irq,
    PARK_BIT = const super::trap::PARK.trailing_zeros(),
    SWITCH_FRAME = const super::switch::SWITCH_FRAME,
    HANDED_OVER = sym vigil_executor::preempt::handed_over,
    RESUMED = sym super::trap::vigil_resumed,
    OVERFLOW = sym super::trap::vigil_stack_overflow,
    BAD = sym super::trap::vigil_bad_exception,
);

const _: () = {
    assert!(FRAME % 16 == 0);
    assert!(offset_of!(ExceptionFrame, pc) == 8);
    assert!(offset_of!(ExceptionFrame, pstate) == offset_of!(ExceptionFrame, lr) + 8);
};
