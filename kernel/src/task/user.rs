//! The future of a thread: into EL0, and what has to be done between two stays there.
//!
//! ```text
//!   run ─► exit_to_user_work ─► Stay ─┬─ Syscall   ─► serve(call).await ─┐
//!            ▲                       ├─ Exception ─► fault or signal ────┤
//!            │                       └─ Work ─────────────────────────────┤
//!            └────────────────────────────────────────────────────────────┘
//!   until the thread is exiting ─► apart(exit::finish(thread)).await
//! ```

use super::disturb::disturbed;
use super::stay::Stay;
use super::thread::Thread;
use super::{exit, signal, switch};
use crate::arch::aarch64::entry::{Trap, WORK_BUDGET, WORK_SEEN, WORK_SIGNAL, WORK_STOP, WORK_UNAFFINE, WORK_UNAFFINE_ANY};
use crate::arch::aarch64::features;
use crate::arch::aarch64::trap::{access_of, class, ec, is_table_fault};
use crate::debug::long_poll;
use crate::mm::FaultError;
use crate::syscall;
use core::sync::atomic::Ordering::*;
use vigil_abi::{Errno, until_nul};
use vigil_executor::apart::apart;
use vigil_executor::context::Context;
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::stage;
use vigil_mem::{KArc, UserPtr};

/// Runs `thread` until it exits.
pub async fn run(thread: KArc<Thread>) {
    let tid_address = thread.set_child_tid.load(Relaxed);
    if tid_address != 0 {
        // As Linux's schedule_tail: a bad address is ignored.
        let _ = syscall::user::put(&thread, UserPtr::<u32>::new(tid_address), &thread.tid()).await;
    }
    let Some(task) = thread.task() else { return };
    // The first time in any case: the process may be ending already.
    let mut look = true;
    loop {
        if look && exit_to_user_work(&thread).await {
            break;
        }
        let trap = Stay::new(&thread, task).await;
        // Who ends or stops a thread says so in its work word.
        look = trap == Trap::Work;
        match trap {
            Trap::Syscall => _ = apart(disturbed(&thread, system_call(&thread))).await,
            Trap::Exception => _ = apart(disturbed(&thread, exception(&thread))).await,
            Trap::SError => signal::force_fault(&thread, signal::SIGBUS, signal::BUS_OBJERR, 0),
            Trap::Work => {}
        }
    }
    exit::finish(thread.clone()).await;
    if let Some(task) = thread.task() {
        vigil_mem::fault::clear(core::ptr::from_ref(task) as usize);
    }
    switch::detach();
}

/// Serves the system call in the user context.
async fn system_call(thread: &Thread) {
    thread.begin_system();
    let (nr, args) = {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { thread.context() };
        context.orig_x0.set(context.x[0].get());
        // The number is an int: -1 is a call that does not exist, not the mark of a context that was replaced.
        let number = context.x[8].get() as u32;
        context.syscall.set(i64::from(number));
        (number as usize, core::array::from_fn(|i| context.x[i].get()))
    };
    let result = syscall::serve(thread, nr, &args).await;
    // SAFETY: as above.
    let context = unsafe { thread.context() };
    // exec and sigreturn have replaced the whole context, and say so here.
    if context.syscall.get() >= 0 {
        context.x[0].set(result as u64);
        // The range first: an address in the low word may be anything, the smallest i32 included.
        if (-4095..0).contains(&result) && Errno::from_raw(-(result as i32)).is_some_and(Errno::is_restart) {
            thread.set_work(WORK_SIGNAL);
        }
    }
    thread.end_system();
}

/// An exception that the vectors could not settle: waits for the page, or makes the signal that Linux makes.
async fn exception(thread: &Thread) {
    thread.begin_system();
    serve_exception(thread).await;
    thread.end_system();
}

async fn serve_exception(thread: &Thread) {
    let (esr, far, pc) = {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { thread.context() };
        context.syscall.set(-1);
        (context.esr.get(), context.far.get() as usize, context.pc.get() as usize)
    };
    match class(esr) {
        ec::DABORT_EL0 | ec::IABORT_EL0 if is_table_fault(esr) => page_fault(thread, esr, far).await,
        ec::DABORT_EL0 | ec::IABORT_EL0 => signal::abort(thread, esr, far),
        ec::BRK64 => signal::force_fault(thread, signal::SIGTRAP, signal::TRAP_BRKPT, pc),
        ec::PC_ALIGN => signal::force_fault(thread, signal::SIGBUS, signal::BUS_ADRALN, far),
        ec::SP_ALIGN => signal::force_fault(thread, signal::SIGBUS, signal::BUS_ADRALN, pc),
        ec::STEP_EL0 => signal::force_fault(thread, signal::SIGTRAP, signal::TRAP_TRACE, pc),
        ec::BREAKPOINT_EL0 | ec::WATCHPOINT_EL0 => signal::force_fault(thread, signal::SIGTRAP, signal::TRAP_HWBKPT, far),
        ec::FP_EXCEPTION => signal::floating_point(thread, esr, pc),
        ec::SYSREG => {
            // SAFETY: as above.
            let context = unsafe { thread.context() };
            match features::emulate_mrs_iss(esr as u32 & 0x1ff_ffff) {
                Some((rt, value)) => {
                    // Register 31 is the zero register.
                    if let Some(x) = context.x.get(rt as usize) {
                        x.set(value);
                    }
                    context.pc.update(|pc| pc.wrapping_add(4));
                }
                None => signal::force_fault(thread, signal::SIGILL, signal::ILL_ILLOPC, pc),
            }
        }
        ec::UNKNOWN => undefined(thread, pc).await,
        // WFI and WFE are hints: EL0 goes on behind them.
        ec::WFX => {
            // SAFETY: as above.
            unsafe { thread.context() }.pc.update(|pc| pc.wrapping_add(4));
        }
        // Illegal states, SVE, SME: none of them exist for user space here.
        _ => signal::force_fault(thread, signal::SIGILL, signal::ILL_ILLOPC, pc),
    }
}

/// An undefined instruction: on CPUs without FEAT_IDST a read of an ID register comes here, which is emulated.
async fn undefined(thread: &Thread, pc: usize) {
    let word = syscall::user::get(thread, UserPtr::<u32>::new(pc)).await;
    match word.ok().and_then(features::emulate_mrs_instruction) {
        Some((rt, value)) => {
            // SAFETY: the thread itself, outside EL0.
            let context = unsafe { thread.context() };
            if let Some(x) = context.x.get(rt as usize) {
                x.set(value);
            }
            context.pc.update(|pc| pc.wrapping_add(4));
        }
        None => signal::force_fault(thread, signal::SIGILL, signal::ILL_ILLOPC, pc),
    }
}

async fn page_fault(thread: &Thread, esr: u64, far: usize) {
    let Some(mm) = thread.share_mm() else {
        return signal::force_fault(thread, signal::SIGSEGV, signal::SEGV_MAPERR, far);
    };
    match stage!("do_page_fault", mm.handle_fault(far, access_of(esr), thread.stack_limit())).await {
        Ok(fault) => thread.count_fault(fault.major),
        // The address with its tag, for handlers that want it.
        Err(FaultError::Signal(s)) => signal::force_fault(thread, s.signo, s.code, far),
        // A fatal signal is pending; the way to EL0 finds it.
        Err(FaultError::Interrupted) => {}
        Err(FaultError::Oom) => crate::mm::oom::out_of_memory(thread).await,
    }
}

/// Says that `thread` may run on all CPUs now, because those of `gone`, the last of its own, went (Linux: select_fallback_rq).
#[cold]
fn tell_unaffine(thread: &Thread, gone: u32) {
    let comm = thread.comm();
    let name = until_nul(&comm).escape_ascii();
    crate::pr_info_ratelimited!("process {} ({name}) no longer affine to cpu{}", thread.tid(), gone.trailing_zeros());
}

/// Does what is asked for before EL0. Returns `true` when the thread is to end.
async fn exit_to_user_work(thread: &Thread) -> bool {
    loop {
        if thread.exiting.load(Relaxed) || thread.process.is_exiting() {
            return true;
        }
        if Context::here().resched_wanted() {
            yield_now(YieldKind::Preempted).await;
            continue;
        }
        let work = thread.work();
        if work == 0 {
            return false;
        }
        let work = thread.take_work(WORK_SIGNAL | WORK_STOP | WORK_BUDGET | WORK_SEEN | WORK_UNAFFINE_ANY);
        if work & WORK_SEEN != 0 {
            long_poll::returned();
        }
        if work & WORK_BUDGET != 0 {
            signal::budget_overrun(thread);
        }
        if work & WORK_UNAFFINE_ANY != 0 {
            tell_unaffine(thread, (work & WORK_UNAFFINE_ANY) / WORK_UNAFFINE);
        }
        apart(stage!("get_signal", signal::handle(thread))).await;
    }
}
