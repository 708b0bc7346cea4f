//! Signals for exceptions (Linux: arm64's `fault_info`, `force_sig_fault`).

use super::action::Action;
use super::pending::SigInfo;
use super::state::ThreadSignals;
use crate::arch::aarch64::entry::WORK_SIGNAL;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::signal::*;
use vigil_mem::buf::uaccess::untagged_addr;

/// Sends `signo` for a fault at `addr` to the calling thread; it cannot be blocked or ignored (Linux: force_sig_fault).
pub fn force_fault(thread: &Thread, signo: u32, code: i32, addr: usize) {
    // SAFETY: the thread itself, outside EL0.
    let esr = unsafe { thread.context() }.esr.get();
    thread.signals.fault_address.store(untagged_addr(addr) as u64, Relaxed);
    thread.signals.fault_esr.store(esr, Relaxed);
    force(thread, SigInfo::fault(signo, code, addr as u64), false);
}

/// A frame could not be built or restored: SIGSEGV; when it was SIGSEGV's own, the default action.
pub fn force_segv(thread: &Thread, failed: u32) {
    force(thread, SigInfo::kernel(SIGSEGV), failed == SIGSEGV);
}

fn force(thread: &Thread, info: SigInfo, reset: bool) {
    let signals: &ThreadSignals = &thread.signals;
    let sighand = thread.process.sighand();
    let action = sighand.get(info.signo);
    let blocked = signals.blocked() & sigmask(info.signo) != 0;
    if reset || blocked || action.handler == SIG_IGN {
        sighand.set(info.signo, Action { handler: SIG_DFL, ..action });
        signals.set_blocked(signals.blocked() & !sigmask(info.signo));
    }
    // The first process dies by its own faults.
    if sighand.get(info.signo).handler == SIG_DFL {
        thread.process.signals.unkillable.store(false, Relaxed);
    }
    let _ = signals.queue.with(|p| p.add(info, u64::MAX));
    thread.set_work(WORK_SIGNAL);
}

/// An abort that the page tables cannot cure, by its fault status (Arm ARM D17.2.37, ISS of aborts).
pub fn abort(thread: &Thread, esr: u64, far: usize) {
    let (signo, code) = match esr & 0x3f {
        // Alignment fault.
        0x21 => (SIGBUS, BUS_ADRALN),
        // Address size, translation, access flag and permission faults end as for a missing mapping.
        0x00..=0x07 => (SIGSEGV, SEGV_MAPERR),
        0x08..=0x0f => (SIGSEGV, SEGV_ACCERR),
        // Synchronous external aborts and parity errors.
        _ => (SIGBUS, BUS_OBJERR),
    };
    force_fault(thread, signo, code, far);
}

/// A trapped floating-point exception: the code by ESR's bits, when they are valid (ISS.TFV).
pub fn floating_point(thread: &Thread, esr: u64, pc: usize) {
    const TFV: u64 = 1 << 23;
    let code = if esr & TFV == 0 {
        FPE_FLTUNK
    } else if esr & 1 != 0 {
        FPE_FLTINV
    } else if esr & 2 != 0 {
        FPE_FLTDIV
    } else if esr & 4 != 0 {
        FPE_FLTOVF
    } else if esr & 8 != 0 {
        FPE_FLTUND
    } else if esr & 16 != 0 {
        FPE_FLTRES
    } else {
        FPE_FLTUNK
    };
    force_fault(thread, SIGFPE, code, pc);
}

/// One rate-limited line about a process that a fault ends, as Linux's `show_unhandled_signals` prints it.
pub fn log_fatal(thread: &Thread, info: &SigInfo) {
    if matches!(info.signo, SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP) && info.code > 0 {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { thread.context() };
        let (pc, sp, esr) = (context.pc.get(), context.sp.get(), context.esr.get());
        let comm = thread.comm();
        let length = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
        let name = core::str::from_utf8(&comm[..length]).unwrap_or("?");
        crate::pr_ratelimited!(
            pr_info,
            "{name}[{}]: unhandled exception: signal {} code {} addr {:#x} esr {esr:#x} pc {pc:#x} sp {sp:#x}",
            thread.tid(),
            info.signo,
            info.code,
            info.fields[0],
        );
    }
}
