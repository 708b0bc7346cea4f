//! Reports of exceptions that the kernel did not mean to take: registers, back-trace, and the policy's verdict.
//!
//! Called by the trap code with interrupts masked. Kept apart from the policy, which is pure and tested on the host.

use super::backtrace::{self, Symbol};
use super::oops::{KernelRegs, OopsAction, Situation, describe, flags, policy, reason};
use super::panic::{self, panic_at};
use super::{warn, watchdog};
use crate::arch::aarch64::vectors::ExceptionFrame;
use crate::pr_emerg;
use crate::trace::dump;
use core::sync::atomic::{
    AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};
use vigil_executor::context::Context;
use vigil_mem::TASK_SIZE;

/// PSTATE.I.
const PSTATE_I: u64 = 1 << 7;

static KILL_CURRENT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Sets what ends the current task in the middle of its poll, as if by SIGKILL: its stack and future are leaked, and the CPU
/// goes on in a new executor loop. It returns only when the task's death is the machine's.
pub fn set_kill_current(f: fn()) {
    KILL_CURRENT.store(f as *mut (), Release);
}

impl From<&ExceptionFrame> for KernelRegs {
    fn from(f: &ExceptionFrame) -> Self {
        let mut x = [0; 31];
        x[..29].copy_from_slice(&f.x);
        x[29] = f.fp;
        x[30] = f.lr;
        KernelRegs { x, sp: core::ptr::from_ref(f) as u64 + size_of::<ExceptionFrame>() as u64, pc: f.pc, pstate: f.pstate }
    }
}

impl KernelRegs {
    /// Logs the registers, as Linux's show_regs does.
    pub fn log(&self) {
        let letters = flags(self.pstate);
        pr_emerg!("pstate: {:08x} ({})", self.pstate, letters.escape_ascii());
        pr_emerg!("pc : {}", Symbol(self.pc as usize));
        pr_emerg!("lr : {}", Symbol(self.x[30] as usize));
        pr_emerg!("sp : {:016x}", self.sp);
        for row in (0..10).rev() {
            let (a, b, c) = (3 * row + 2, 3 * row + 1, 3 * row);
            pr_emerg!("x{a:<2}: {:016x} x{b:<2}: {:016x} x{c:<2}: {:016x}", self.x[a], self.x[b], self.x[c]);
        }
    }
}

/// The first line: what happened, in Linux's words.
fn headline(esr: u64, far: u64) {
    let abort = matches!(esr >> 26 & 0x3f, 0x21 | 0x25);
    if abort && far < 4096 {
        pr_emerg!("Unable to handle kernel NULL pointer dereference at virtual address {far:016x}");
    } else if abort && (far as usize) < TASK_SIZE {
        pr_emerg!("Unable to handle kernel access to user memory outside uaccess routines at virtual address {far:016x}");
    } else if abort {
        pr_emerg!("Unable to handle kernel paging request at virtual address {far:016x}");
    }
    let number = OOPSES.fetch_add(1, Relaxed) + 1;
    pr_emerg!("Internal error: Oops: {esr:016x} [#{number}] SMP");
    pr_emerg!("{} (FAR {far:#x})", describe(esr));
}

/// Oopses so far.
static OOPSES: AtomicU32 = AtomicU32::new(0);

/// Linux's TAINT_DIE.
const TAINT_DIE: u32 = 1 << 7;
/// Linux's TAINT_WARN.
const TAINT_WARN: u32 = 1 << 9;
/// Linux's TAINT_SOFTLOCKUP.
const TAINT_SOFTLOCKUP: u32 = 1 << 14;

/// `/proc/sys/kernel/tainted`: whether the kernel has died here before, and whether a CPU did not give way.
pub fn taint() -> u32 {
    let is = |so: bool, bit: u32| if so { bit } else { 0 };
    is(OOPSES.load(Relaxed) != 0, TAINT_DIE) | is(warn::count() != 0, TAINT_WARN) | is(watchdog::has_reported(), TAINT_SOFTLOCKUP)
}

fn details(regs: &KernelRegs) {
    panic::dump_task();
    regs.log();
    backtrace::print(regs.pc as usize, regs.x[29] as usize);
    pr_emerg!("---[ end trace 0000000000000000 ]---");
}

/// What is known of the flow that runs here, which had interrupts masked or not.
fn situation(irqs_masked: bool) -> Situation {
    let context = Context::here();
    Situation {
        in_poll: !context.current().is_null(),
        preempt_count: context.count(),
        irqs_masked,
        can_kill: !KILL_CURRENT.load(Acquire).is_null(),
        panic_on_oops: panic::panic_on_oops(),
    }
}

/// Ends the current task, as the policy says; returns when its death is the machine's.
fn kill_current() {
    let kill = KILL_CURRENT.load(Acquire);
    if !kill.is_null() {
        // SAFETY: only `set_kill_current` stores here, always a `fn()`.
        let kill: fn() = unsafe { core::mem::transmute::<*mut (), fn()>(kill) };
        kill();
    }
}

/// `panic!`, a failed check, an overflow: Linux's BUG. Kills the current task if the policy allows it; returns if it does not. What the
/// task's frames own is never dropped, which Rust allows (`mem::forget`), and no guard is among them, or the count would not be 0.
pub fn failed_check(info: &core::panic::PanicInfo<'_>) {
    let situation = situation(vigil_executor::arch::irqs_disabled());
    // A second one in the midst of this finds them masked, and panics.
    vigil_executor::arch::irq_disable();
    if policy(situation) != OopsAction::KillTask {
        return;
    }
    pr_emerg!("------------[ cut here ]------------");
    if let Some(at) = info.location() {
        pr_emerg!("kernel BUG at {}:{}!", at.file(), at.line());
    }
    let number = OOPSES.fetch_add(1, Relaxed) + 1;
    pr_emerg!("Internal error: Oops - BUG: {} [#{number}] SMP", info.message());
    panic::dump_task();
    backtrace::print(0, backtrace::frame_pointer());
    dump::of_oops();
    pr_emerg!("---[ end trace 0000000000000000 ]---");
    kill_current();
}

/// An exception at EL1 that is no fault of a user access. Kills the current task if the policy allows it, otherwise panics.
pub fn el1_exception(frame: &ExceptionFrame) -> ! {
    vigil_executor::arch::irq_disable();
    let regs = KernelRegs::from(frame);
    let situation = situation(frame.pstate & PSTATE_I != 0);
    headline(frame.esr, frame.far);
    if policy(situation) == OopsAction::KillTask {
        details(&regs);
        dump::of_oops();
        kill_current();
    } else {
        regs.log();
    }
    panic_at(format_args!("Oops: {}", reason(situation)), regs.pc as usize, regs.x[29] as usize)
}

/// SP was below its stack; runs on the emergency stack. `sp` is what it was.
pub fn stack_overflow(frame: &ExceptionFrame, sp: usize) -> ! {
    let mut regs = KernelRegs::from(frame);
    regs.sp = sp as u64;
    pr_emerg!("Insufficient stack space to handle exception!");
    pr_emerg!("  ESR = {:#x}: {}, FAR = {:#x}", frame.esr, describe(frame.esr), frame.far);
    regs.log();
    panic_at(format_args!("kernel stack overflow"), regs.pc as usize, regs.x[29] as usize)
}

/// A vector that this kernel never uses, or an SError.
pub fn bad_vector(frame: &ExceptionFrame) -> ! {
    const NAMES: [&str; 4] = ["synchronous", "IRQ", "FIQ", "SError"];
    const FROM: [&str; 4] = ["EL1 with SP_EL0", "EL1", "64-bit EL0", "32-bit EL0"];
    let (kind, from) = (NAMES[frame.vector as usize & 3], FROM[(frame.vector as usize >> 2) & 3]);
    let regs = KernelRegs::from(frame);
    pr_emerg!("Bad mode: {kind} exception from {from}: {} (ESR {:#x}, FAR {:#x})", describe(frame.esr), frame.esr, frame.far);
    regs.log();
    panic_at(format_args!("{kind} exception from {from}"), regs.pc as usize, regs.x[29] as usize)
}
