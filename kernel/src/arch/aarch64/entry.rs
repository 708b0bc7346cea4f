//! EL0: the user context, the way into EL0 and the ways out of it.
//!
//! While a thread runs in EL0, SP_EL1 points at its [`UserContext`]: the vectors store straight into it, then take up
//! the kernel stack where [`enter_user`] left it. Three ways lead back:
//!
//! ```text
//!   EL0 ──SVC──►  save caller-saved ── table ── fast call ──┬─ done, no work ─► restore, ERET   (no Rust frame is left)
//!       ──abort─►  "                   try_fault ───────────┤
//!       ──IRQ──►   "                   IRQ stack ───────────┤
//!                                                           └─ not yet, or work ─► save the rest, return to enter_user's
//!                                                              caller: the thread's future
//! ```
//!
//! A fast call is a plain function with the arguments in x0–x5 and the context in x6. It either completes or returns
//! [`NOT_YET`] *before any side effect*; then the future serves the call from the start. Interrupts are on in a fast call,
//! and its stack can be parked like any other poll.

use super::stamped::stamped;
pub use super::user_context::*;
use core::arch::global_asm;
use core::mem::offset_of;
use vigil_executor::stack::{CONTEXT_SIZE, STACK_SIZE};
use vigil_executor::toggle_pin;
use vigil_executor::trace::{KEY_HARDIRQ, KEY_PINS, KEY_STAMPS, KEY_USER, PIN_EL0, PIN_VECTOR, Pin, Role};

/// What a fast call returns when it would have to wait. No system call's result has this value.
pub const NOT_YET: i64 = i64::MIN;

/// Why EL0 was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Trap {
    /// SVC; the call was not served, nothing happened yet.
    Syscall = TRAP_SYSCALL,
    /// A fast call was served (x0 holds its result) or an interrupt was taken, and there is work before EL0.
    Work = TRAP_WORK,
    /// Any other synchronous exception; see `esr` and `far`.
    Exception = TRAP_EXCEPTION,
    /// An SError that EL0 caused.
    SError = TRAP_SERROR,
}

const TRAP_SYSCALL: u64 = 0;
const TRAP_WORK: u64 = 1;
const TRAP_EXCEPTION: u64 = 2;
const TRAP_SERROR: u64 = 3;

unsafe extern "C" {
    fn vigil_enter_user(ctx: *mut UserContext) -> u64;
    /// The entry of the vector's table for a call without a fast form. Not a function: only the vector may go there.
    pub fn vigil_el0_no_fast_call(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, context: *const UserContext) -> i64;
    /// Where the vector goes into a fast call. Not a function: its address is compared with.
    pub fn vigil_el0_call();
    /// The entry of rt_sigreturn, which replaces all registers. Not a function, either.
    pub fn vigil_el0_sigreturn(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, context: *const UserContext) -> i64;
}

/// Runs the thread in EL0 until something needs its future.
///
/// Interrupts are masked on entry, after the caller has seen that there is no work; they are on at the return.
///
/// # Safety
/// The address space, TPIDR_EL0 and FP state of the thread are on this CPU; `ctx` is that of the current task and stays
/// where it is.
pub unsafe fn enter_user(ctx: *mut UserContext) -> Trap {
    // SAFETY: by the caller's contract.
    match unsafe { vigil_enter_user(ctx) } {
        TRAP_SYSCALL => Trap::Syscall,
        TRAP_WORK => Trap::Work,
        TRAP_SERROR => Trap::SError,
        _ => Trap::Exception,
    }
}

/// Whether the vectors and the way into EL0 take time stamps (`vigil_executor::stamps`), and where.
#[cfg(feature = "selftest")]
pub(super) const STAMPS: usize = 1;
#[cfg(feature = "selftest")]
pub(super) use vigil_executor::stamps::{USER as USER_STAMP, VECTOR as VECTOR_STAMP};
#[cfg(not(feature = "selftest"))]
pub(super) const STAMPS: usize = 0;
#[cfg(not(feature = "selftest"))]
pub(super) const VECTOR_STAMP: usize = 0;
#[cfg(not(feature = "selftest"))]
const USER_STAMP: usize = 0;

/// Bytes of the frame that `vigil_enter_user` keeps: x19–x30.
const KERNEL_FRAME: usize = 96;

global_asm!(
    stamped!("el0_stamped"),
    r#"
    // An instruction at which tracers can look, see `vigil_executor::trace`.
    .macro user_site role, instruction
772:
    \instruction
    .pushsection .trace_sites, "a"
    .balign 4
    .long   772b - .
    .long   \role
    .long   {KEY_USER}
    .popsection
    .endm

    .macro save_caller_saved stamp=0 irq=0
        .if \irq
        el0_stamped "stp x0, x1, [sp, #0]"
        .else
        stp     x0, x1, [sp, #0]
        .endif
        .if \stamp
        mrs     x0, pmccntr_el0
        mrs     x1, tpidr_el1
        str     x0, [x1, #{VECTOR_STAMP}]
        .endif
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     x8, x9, [sp, #64]
        stp     x10, x11, [sp, #80]
        stp     x12, x13, [sp, #96]
        stp     x14, x15, [sp, #112]
        stp     x16, x17, [sp, #128]
        stp     x18, x19, [sp, #144]
        stp     x29, x30, [sp, #232]
        mrs     x9, elr_el1
        mrs     x10, spsr_el1
        mrs     x11, sp_el0
        mov     x19, sp                         // x19: the UserContext, until EL0 again
        ldr     x12, [x19, #{KSP}]
        stp     x9, x10, [x19, #{PC}]
        str     x11, [x19, #{SP}]
    .endm

    .macro restore_from_x2
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x29, x30, [sp, #232]
771:
    eret                                        // with KPTI: b vigil_kpti_exit
    .pushsection .alternatives, "a"
    .balign 4
    .long   771b - .
    .long   vigil_kpti_exit - .
    .long   {KPTI}
    .popsection
    dsb     nsh                                 // nothing is executed speculatively beyond ERET
    isb
    .endm

    // EL0, AArch64, synchronous.
    .balign 64
    .global vigil_el0_sync
vigil_el0_sync:
    save_caller_saved
    mrs     x13, esr_el1
    mov     sp, x12
    mov     x29, x12                            // the record of vigil_enter_user's frame: back-traces go on
    lsr     x14, x13, #26
    cmp     x14, #0x15                          // SVC from AArch64
    b.ne    el0_other
    cmp     x8, #{NR}
    b.hs    el0_slow_syscall
    csel    x9, x8, xzr, lo                     // no speculative index beyond the table
    csdb
    adrp    x10, {TABLE}
    add     x10, x10, :lo12:{TABLE}
    ldr     x10, [x10, x9, lsl #3]
    mov     x6, x19
    .global vigil_el0_call
vigil_el0_call:                                 // x8: the number, for tracers
    user_site {USER_IN} "msr daifclr, #2"
    blr     x10
    cmp     x0, #1                              // overflows for one value only: NOT_YET
    user_site {USER_OUT} "msr daifset, #2"
    b.vs    el0_slow_syscall
    ldr     x9, [x19, #{CONTEXT}]
    mov     x12, #{QUIET}
    ldr     x10, [x9]
    ldr     w11, [x19, #{WORK}]
    cmp     x10, x12
    ccmp    w11, #0, #0, eq
    b.ne    el0_call_then_work
    ldp     x9, x10, [x19, #{PC}]
    mov     sp, x19
    msr     elr_el1, x9
    msr     spsr_el1, x10
    ldr     x1, [sp, #8]
    restore_from_x2

el0_call_then_work:
    str     x0, [x19, #0]

    // x10, x12: the context block's flags, and what they are when nobody wants the CPU. Else only a signal: here, if it
    // goes without waiting. EL0's x20–x28 come back unchanged.
el0_work:
    cmp     x10, x12
    b.ne    el0_give_way
    stp     x20, x21, [x19, #160]
    stp     x22, x23, [x19, #176]
    stp     x24, x25, [x19, #192]
    stp     x26, x27, [x19, #208]
    str     x28, [x19, #224]
    mov     x0, x19
    user_site {USER_IN} "msr daifclr, #2"
    bl      {WORK_HERE}
    user_site {USER_OUT} "msr daifset, #2"
    cbz     w0, el0_give_way

el0_check_and_restore_sp:
    ldr     x11, [x19, #{SP}]
    msr     sp_el0, x11
    b       el0_check_and_restore

    .global vigil_el0_sigreturn
vigil_el0_sigreturn:
    mov     x0, x19
    bl      {SIGRETURN}
    user_site {USER_OUT} "msr daifset, #2"
    cbz     w0, el0_slow_syscall
    ldp     x20, x21, [x19, #160]
    ldp     x22, x23, [x19, #176]
    ldp     x24, x25, [x19, #192]
    ldp     x26, x27, [x19, #208]
    ldr     x28, [x19, #224]
    b       el0_check_and_restore_sp

el0_give_way:
    mov     x0, #{TRAP_WORK}
    b       el0_to_future

    // What the table holds for calls that only the future serves.
    .global vigil_el0_no_fast_call
vigil_el0_no_fast_call:
el0_slow_syscall:
    mov     x0, #{TRAP_SYSCALL}
    b       el0_to_future

    // An abort: try to resolve it here. x13: ESR.
el0_other:
    mrs     x2, far_el1
    stp     x13, x2, [x19, #{ESR}]
    mov     x0, x19
    mov     x1, x13
    user_site {USER_IN} "msr daifclr, #2"
    bl      {FAULT}
    user_site {USER_OUT} "msr daifset, #2"
    cbnz    w0, el0_check_and_restore
    mov     x0, #{TRAP_EXCEPTION}
    b       el0_to_future

    .balign 64
    .global vigil_el0_irq
vigil_el0_irq:
    save_caller_saved {STAMPS}, 1
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #{IRQ_SP}]
    mov     sp, x9
    mov     x29, x12
    mov     x0, x12
773:
    bl      {IRQ}
    .pushsection .trace_sites, "a"
    .balign 4
    .long   773b - .
    .long   {IRQ_TRACED} - .
    .long   {KEY_HARDIRQ}
    .popsection
    ldr     x12, [x19, #{KSP}]
    mov     sp, x12

    // Interrupts are masked: whatever comes now comes after ERET.
el0_check_and_restore:
    ldr     x9, [x19, #{CONTEXT}]
    mov     x12, #{QUIET}
    ldr     x10, [x9]
    ldr     w11, [x19, #{WORK}]
    cmp     x10, x12
    ccmp    w11, #0, #0, eq
    b.ne    el0_work
    ldp     x9, x10, [x19, #{PC}]
    mov     sp, x19
    msr     elr_el1, x9
    msr     spsr_el1, x10
    ldp     x0, x1, [sp, #0]
el0_restore_from_x2:
    restore_from_x2

    .balign 64
    .global vigil_el0_serror
vigil_el0_serror:
    save_caller_saved
    mrs     x13, esr_el1
    mov     sp, x12
    mrs     x2, far_el1
    stp     x13, x2, [x19, #{ESR}]
    mov     x0, #{TRAP_SERROR}

    // Back to the caller of enter_user with x0: the callee-saved registers of EL0 into the context, the kernel's back.
el0_to_future:
    stp     x20, x21, [x19, #160]
    stp     x22, x23, [x19, #176]
    stp     x24, x25, [x19, #192]
    stp     x26, x27, [x19, #208]
    str     x28, [x19, #224]
    ldp     x29, x30, [sp, #0]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    add     sp, sp, #{KERNEL_FRAME}
    user_site {USER_IN} "msr daifclr, #2"
    ret

    // u64 vigil_enter_user(UserContext *)
    .global vigil_enter_user
vigil_enter_user:
    sub     sp, sp, #{KERNEL_FRAME}
    stp     x29, x30, [sp, #0]
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    user_site {USER_OUT} "mov x9, sp"
    orr     x10, x9, #{STACK_MASK}
    sub     x10, x10, #{CONTEXT_SIZE} - 1
    stp     x9, x10, [x0, #{KSP}]
    mov     sp, x0
    ldp     x9, x10, [sp, #{PC}]
    ldr     x11, [sp, #{SP}]
    msr     elr_el1, x9
    msr     spsr_el1, x10
    msr     sp_el0, x11
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldr     x28, [sp, #224]
    .if {STAMPS}
    mrs     x0, pmccntr_el0
    mrs     x1, tpidr_el1
    str     x0, [x1, #{USER_STAMP}]
    .endif
774:
    ldp     x0, x1, [sp, #0]
    b       el0_restore_from_x2
    .pushsection .trace_sites, "a"
    .balign 4
    .long   774b - .
    .long   775f - .
    .long   {KEY_PINS}
    .popsection
    .pushsection .text.pins, "ax"
775:
    mrs     x1, tpidr_el1
    "#,
    toggle_pin!("x0", "x1", "w1", "PIN_EL0"),
    r#"
776:
    ldp     x0, x1, [sp, #0]
    b       el0_restore_from_x2
    .popsection
    "#,
    KPTI = const super::alternative::KPTI,
    KSP = const offset_of!(UserContext, kernel_sp),
    PC = const offset_of!(UserContext, pc),
    SP = const offset_of!(UserContext, sp),
    ESR = const offset_of!(UserContext, esr),
    WORK = const offset_of!(UserContext, work),
    NR = const crate::syscall::table::NR_CALLS,
    STACK_MASK = const STACK_SIZE - 1,
    CONTEXT_SIZE = const CONTEXT_SIZE,
    CONTEXT = const offset_of!(UserContext, kernel_context),
    QUIET = const vigil_executor::context::QUIET,
    IRQ_SP = const offset_of!(vigil_executor::cpu::CpuLocal, irq_sp),
    STAMPS = const STAMPS,
    VECTOR_STAMP = const VECTOR_STAMP,
    USER_STAMP = const USER_STAMP,
    TRAP_SYSCALL = const TRAP_SYSCALL,
    TRAP_WORK = const TRAP_WORK,
    TRAP_EXCEPTION = const TRAP_EXCEPTION,
    TRAP_SERROR = const TRAP_SERROR,
    KERNEL_FRAME = const KERNEL_FRAME,
    TABLE = sym crate::syscall::table::FAST,
    FAULT = sym super::trap::vigil_el0_fault,
    WORK_HERE = sym super::trap::vigil_el0_work,
    SIGRETURN = sym super::trap::vigil_el0_sigreturn_handler,
    IRQ = sym super::trap::vigil_el0_irq_handler,
    IRQ_TRACED = sym super::trap::vigil_el0_irq_traced,
    KEY_HARDIRQ = const KEY_HARDIRQ,
    KEY_USER = const KEY_USER,
    KEY_STAMPS = const KEY_STAMPS,
    VECTOR_AT = const offset_of!(vigil_executor::cpu::CpuLocal, vector_at),
    KEY_PINS = const KEY_PINS,
    PINS = const offset_of!(vigil_executor::cpu::CpuLocal, pins),
    PIN_VECTOR = const PIN_VECTOR * size_of::<Pin>(),
    PIN_EL0 = const PIN_EL0 * size_of::<Pin>(),
    USER_IN = const Role::UserIn as u32,
    USER_OUT = const Role::UserOut as u32,
);

const _: () = {
    // What the vector's compare takes it for.
    assert!(NOT_YET == i64::MIN);
    assert!(offset_of!(UserContext, sp) == 248);
    assert!(offset_of!(UserContext, pc) == 256);
    assert!(offset_of!(UserContext, x) == 0 && offset_of!(UserContext, pstate) == 8 * (REGISTERS - 1));
    assert!(offset_of!(UserContext, kernel_context) == offset_of!(UserContext, kernel_sp) + 8);
    assert!(offset_of!(UserContext, far) == offset_of!(UserContext, esr) + 8);
};
