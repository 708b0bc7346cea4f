//! What the vectors call: interrupts, aborts, and everything that should not have happened.

use super::entry::{UserContext, WORK_SIGNAL};
use super::vectors::ExceptionFrame;
use super::{jump_label, uaccess};
use crate::debug::oops;
use crate::irq;
use crate::mm::{Access, FaultStop};
use crate::task::signal;
use crate::task::thread::Thread;
use crate::trace::hooks;
use core::ptr::null_mut;
use vigil_executor::arch;
use vigil_executor::context::Context;
use vigil_executor::executor::Stopped;
use vigil_executor::preempt;
use vigil_executor::stack::context_at;
use vigil_executor::trace::KEY_IRQS;

/// Exception classes of ESR_ELx.EC (Arm ARM D17.2.37).
pub mod ec {
    /// An instruction that does not exist, or is not allowed.
    pub const UNKNOWN: u64 = 0x00;
    /// WFI or WFE trapped.
    pub const WFX: u64 = 0x01;
    /// FP/SIMD access trapped by CPACR_EL1.
    pub const FP_ACCESS: u64 = 0x07;
    /// Illegal execution state.
    pub const ILLEGAL_STATE: u64 = 0x0e;
    /// SVC from AArch64.
    pub const SVC64: u64 = 0x15;
    /// MSR, MRS or system instruction trapped.
    pub const SYSREG: u64 = 0x18;
    /// SVE access trapped.
    pub const SVE: u64 = 0x19;
    /// SME access trapped.
    pub const SME: u64 = 0x1d;
    /// Instruction abort from EL0.
    pub const IABORT_EL0: u64 = 0x20;
    /// Instruction abort from EL1.
    pub const IABORT_EL1: u64 = 0x21;
    /// PC alignment fault.
    pub const PC_ALIGN: u64 = 0x22;
    /// Data abort from EL0.
    pub const DABORT_EL0: u64 = 0x24;
    /// Data abort from EL1.
    pub const DABORT_EL1: u64 = 0x25;
    /// SP alignment fault.
    pub const SP_ALIGN: u64 = 0x26;
    /// Trapped floating-point exception.
    pub const FP_EXCEPTION: u64 = 0x2c;
    /// Breakpoint, hardware, from EL0.
    pub const BREAKPOINT_EL0: u64 = 0x30;
    /// Single step from EL0.
    pub const STEP_EL0: u64 = 0x32;
    /// Watchpoint from EL0.
    pub const WATCHPOINT_EL0: u64 = 0x34;
    /// BRK instruction.
    pub const BRK64: u64 = 0x3c;
}

/// The exception class of `esr`.
pub const fn class(esr: u64) -> u64 {
    esr >> 26 & 0x3f
}

/// The kind of access that an abort's ESR describes. A cache maintenance by VA counts as a read (ESR.CM).
pub const fn access_of(esr: u64) -> Access {
    const WNR: u64 = 1 << 6;
    const CM: u64 = 1 << 8;
    match class(esr) {
        ec::IABORT_EL0 | ec::IABORT_EL1 => Access::Exec,
        _ if esr & WNR != 0 && esr & CM == 0 => Access::Write,
        _ => Access::Read,
    }
}

/// Whether an abort's fault status is one that the page tables can cure: translation, access flag, permission.
pub const fn is_table_fault(esr: u64) -> bool {
    matches!(esr >> 2 & 0xf, 1..=3)
}

/// An exception from EL0 that is no system call. Returns `true` when EL0 may go on: a page was put in, or FP was given.
/// Called from the vectors with interrupts on, on the thread's stack; it may be preempted like any poll.
pub extern "C" fn vigil_el0_fault(ctx: *const UserContext, esr: u64, far: u64) -> bool {
    // SAFETY: the vectors pass the context of the thread that runs on this stack.
    let thread = unsafe { Thread::of_context(ctx) };
    match class(esr) {
        ec::FP_ACCESS => {
            super::fpsimd::trap(thread);
            true
        }
        ec::DABORT_EL0 | ec::IABORT_EL0 if is_table_fault(esr) => {
            let Some(mm) = thread.mm() else { return false };
            match mm.try_fault(far as usize, access_of(esr), thread.stack_limit()) {
                Ok(fault) => {
                    thread.count_fault(fault.major);
                    true
                }
                // The future asks again, and then waits or makes the signal.
                Err(FaultStop::Retry | FaultStop::Signal(_)) => false,
            }
        }
        _ => false,
    }
}

/// The work word is not zero on the way to EL0, all registers are in the context, and nobody wants the CPU. Returns `true`
/// when that work is done. From the vectors, as [`vigil_el0_fault`].
pub extern "C" fn vigil_el0_work(ctx: *const UserContext) -> bool {
    // SAFETY: as above.
    let thread = unsafe { Thread::of_context(ctx) };
    thread.work() == WORK_SIGNAL && signal::try_handle(thread)
}

/// rt_sigreturn. Returns `true` when the context is what EL0 goes on with. From the vectors, as [`vigil_el0_fault`].
pub extern "C" fn vigil_el0_sigreturn_handler(ctx: *const UserContext) -> bool {
    // SAFETY: as above.
    crate::syscall::try_sigreturn(unsafe { Thread::of_context(ctx) })
}

/// An interrupt from EL0: on the IRQ stack, interrupts masked. `sp` is the thread's kernel SP. The flags that it leaves
/// in that stack's context block decide whether EL0 is entered again.
pub extern "C" fn vigil_el0_irq_handler(sp: usize) {
    let _ = interrupt(sp, true);
}

/// What the vector of an interrupt from EL1 does when that is handled, in x0 and x1.
#[repr(C)]
pub struct AfterIrq {
    /// 0: goes on with what was interrupted; [`PARK`]: calls [`vigil_preempt_irq`] first; [`RETURN`]: as a call returns; else leaves
    /// that stack to its poll and enters the executor on the unused stack whose context block this is.
    what: usize,
    /// Where SP is saved in the last case; null in the others.
    save: *mut usize,
}

/// In x0 of [`AfterIrq`]. No context block has this address.
pub const PARK: usize = 1;
/// Likewise.
pub const RETURN: usize = 2;

/// An interrupt from EL1, likewise.
pub extern "C" fn vigil_el1_irq(sp: usize) -> AfterIrq {
    after(interrupt(sp, false))
}

#[inline(always)]
fn after(stopped: Stopped) -> AfterIrq {
    match stopped {
        Stopped::No => AfterIrq { what: 0, save: null_mut() },
        Stopped::Park => AfterIrq { what: PARK, save: null_mut() },
        Stopped::Return => AfterIrq { what: RETURN, save: null_mut() },
        Stopped::HandOver(to) => AfterIrq { what: to.stack.as_ptr() as usize, save: to.save },
    }
}

/// The poll that was left at an interrupt is entered again: on its own stack, interrupts masked.
pub extern "C" fn vigil_resumed() {
    preempt::finish_switch();
    resumed();
}

/// The hard interrupt, its bottom halves, and whether what was interrupted gives way.
#[inline(always)]
fn interrupt(sp: usize, from_el0: bool) -> Stopped {
    // SAFETY: the vectors pass an SP inside a kernel stack, which has an initialised context block at its top.
    let interrupted: &'static Context = unsafe { &*(context_at(sp) as *const Context) };
    let here = Context::here();
    irq::handle(here, interrupted, from_el0)
}

/// [`interrupt`] while somebody traces interrupts: what calls the other two is patched to call these (`jump_label`).
fn traced(sp: usize, from_el0: bool) -> Stopped {
    // SAFETY: as in `interrupt`.
    let interrupted: &'static Context = unsafe { &*(context_at(sp) as *const Context) };
    hooks::hardirq_enter(sp, interrupted, from_el0);
    let stopped = interrupt(sp, from_el0);
    hooks::hardirq_exit(interrupted, from_el0 || stopped == Stopped::No);
    stopped
}

/// [`vigil_el0_irq_handler`], traced.
pub extern "C" fn vigil_el0_irq_traced(sp: usize) {
    let _ = traced(sp, true);
}

/// [`vigil_el1_irq`], traced.
pub extern "C" fn vigil_el1_irq_traced(sp: usize) -> AfterIrq {
    after(traced(sp, false))
}

/// Parks the interrupted poll: on its own stack, interrupts masked. Returns when it is resumed.
pub extern "C" fn vigil_preempt_irq() {
    preempt::preempt_irq();
    resumed();
}

/// A poll that an interrupt has stopped is about to go on.
#[inline(always)]
fn resumed() {
    if arch::is_traced::<KEY_IRQS>() {
        hooks::irqs_on_at_exit();
    }
}

/// A synchronous exception at EL1. A fault of a user access goes on at its fix-up; anything else is a bug.
pub extern "C" fn vigil_el1_sync(frame: &mut ExceptionFrame) {
    if class(frame.esr) == ec::DABORT_EL1
        && let Some(fixup) = uaccess::fixup(frame.pc)
    {
        frame.pc = fixup;
        return;
    }
    if class(frame.esr) == ec::BRK64 && jump_label::trap(frame, hooks::trap) {
        return;
    }
    oops::el1_exception(frame);
}

/// SP pointed below its stack. On the emergency stack; `sp` is what it was.
pub extern "C" fn vigil_stack_overflow(frame: &ExceptionFrame, sp: usize) -> ! {
    arch::irq_disable();
    oops::stack_overflow(frame, sp)
}

/// An exception that this kernel never causes, or an SError.
pub extern "C" fn vigil_bad_exception(frame: &ExceptionFrame) -> ! {
    arch::irq_disable();
    oops::bad_vector(frame)
}
