//! Generating signals (Linux: `send_signal_locked`, `complete_signal`).

use super::action::{Default, default_of};
use super::pending::SigInfo;
use super::state::Queue;
use super::stop;
use crate::arch::aarch64::entry::WORK_SIGNAL;
use crate::task::exit;
use crate::task::limits;
use crate::task::process::{Life, Process, Tasks, tasks};
use crate::task::rttime;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::poll::POLLIN;
use vigil_abi::process::wait_signaled;
use vigil_abi::signal::*;
use vigil_executor::context::Context;
use vigil_executor::executor;
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
use vigil_mem::KArc;

/// Makes `thread` look at its signals: ends its wait, gets it out of EL0.
#[inline]
pub fn wake(thread: &Thread, fatal: bool) {
    thread.set_work(WORK_SIGNAL);
    if let Some(task) = thread.task() {
        task.interrupt(if fatal { INTERRUPT_SIGNAL | INTERRUPT_KILL } else { INTERRUPT_SIGNAL });
        // The caller itself is not in EL0.
        if !core::ptr::eq(Context::here().current(), task) {
            crate::platform::kick_user(task);
        }
    }
}

/// Whether `signo` would be dropped: ignored by its `handler`, and not blocked by the thread that would take it (sigwait
/// wants it then).
#[inline]
fn is_dropped(process: &Process, thread: Option<&Thread>, signo: u32, handler: u64) -> bool {
    let ignored = match handler {
        SIG_IGN => true,
        SIG_DFL => process.signals.unkillable.load(Relaxed) || default_of(signo) == Default::Ignore,
        _ => return false,
    };
    ignored && !thread.is_some_and(|t| (t.signals.blocked() | t.signals.awaited()) & sigmask(signo) != 0)
}

fn add(queue: &Queue, process: &Process, info: SigInfo) -> Result<(), Errno> {
    queue.with(|p| p.add(info, process.limits.soft(limits::SIGPENDING)))?;
    if let Some(readers) = process.signals.signalfd.get() {
        readers.wake(POLLIN, 0);
    }
    Ok(())
}

/// Whether the signal ends the process whatever happens, so that killable waits of `thread` may end at once.
#[inline]
pub(super) fn is_fatal(thread: &Thread, signo: u32, handler: u64) -> bool {
    signo == SIGKILL
        || handler == SIG_DFL
            && thread.signals.awaited() & sigmask(signo) == 0
            && default_of(signo) == Default::Terminate
            && !thread.process.signals.unkillable.load(Relaxed)
}

/// A signal is pending that `thread` takes. One that ends the process ends all its threads here, whatever the taker is
/// doing, unless they are stopped (Linux: complete_signal).
#[inline]
fn show(thread: &Thread, signo: u32, handler: u64, guard: &Tasks) {
    let process = &thread.process;
    let fatal = is_fatal(thread, signo, handler);
    if fatal && (signo == SIGKILL || process.signals.stop_signal.load(SeqCst) == 0) {
        exit::group_exit_locked(process, wait_signaled(signo, false) as i32, guard);
    } else {
        wake(thread, fatal);
    }
}

/// Sends to one thread. EAGAIN: the queue of real-time signals is full. A dead thread's signal is dropped, and a kernel
/// task's.
pub fn send_to_thread(thread: &Thread, info: SigInfo) -> Result<(), Errno> {
    let result = send_to_thread_locked(thread, info, &tasks());
    exit::kick_rest(&thread.process);
    result
}

fn send_to_thread_locked(thread: &Thread, info: SigInfo, guard: &Tasks) -> Result<(), Errno> {
    if thread.is_gone() || thread.process.kernel {
        return Ok(());
    }
    stop::prepare(&thread.process, info.signo, guard);
    let handler = thread.process.with_sighand(|s| s.handler(info.signo));
    if is_dropped(&thread.process, Some(thread), info.signo, handler) {
        return Ok(());
    }
    add(&thread.signals.queue, &thread.process, info)?;
    if thread.signals.blocked() & sigmask(info.signo) == 0 {
        show(thread, info.signo, handler, guard);
    }
    Ok(())
}

/// Sends to a process: one of its threads that does not block it will take it.
pub fn send_to_process(process: &Process, info: SigInfo) -> Result<(), Errno> {
    let result = send_to_process_checked(process, info, &tasks());
    exit::kick_rest(process);
    result
}

/// The same with the tree locked; a full queue drops the signal.
pub fn send_to_process_locked(process: &Process, info: SigInfo, guard: &Tasks) {
    let _ = send_to_process_checked(process, info, guard);
}

/// The same, and what came of it.
pub fn send_to_process_checked(process: &Process, info: SigInfo, guard: &Tasks) -> Result<(), Errno> {
    let relations = process.relations(guard);
    if relations.life != Life::Running || process.kernel {
        return Ok(());
    }
    stop::prepare(process, info.signo, guard);
    let bit = sigmask(info.signo);
    let takes = |t: &&KArc<Thread>| t.signals.blocked() & bit == 0 && !t.exiting.load(Relaxed);
    let taker = process.living(guard).find(takes);
    let main = taker.or(relations.threads.first());
    let handler = process.with_sighand(|s| s.handler(info.signo));
    if is_dropped(process, main.map(|t| &**t), info.signo, handler) {
        return Ok(());
    }
    add(&process.signals.queue, process, info)?;
    if let Some(thread) = taker {
        show(thread, info.signo, handler, guard);
    }
    Ok(())
}

impl SigInfo {
    /// SIGCHLD, or what clone asked for instead: a child has ended with wait status `status`.
    pub fn child_exit(signo: u32, child: &Process, status: i32) -> SigInfo {
        let (code, value) = match status {
            s if s & 0x7f == 0 => (CLD_EXITED, s >> 8 & 0xff),
            s if s & 0x80 != 0 => (CLD_DUMPED, s & 0x7f),
            s => (CLD_KILLED, s & 0x7f),
        };
        SigInfo { signo, ..SigInfo::child(code, child.pid, child.uid(), value, [0; 2]) }
    }
}

/// A budget of `thread`, whose poll this is, was not enough, or a limit may be reached: SIGXCPU for its process if that is about its
/// reservation (Linux: check_dl_overrun). As on Linux it learns of that when it runs again.
pub fn budget_overrun(thread: &Thread) {
    if thread.task().is_some_and(executor::take_overrun) {
        // Nothing to be done if the signal's details are lost: it is pending all the same.
        let _ = send_to_process(&thread.process, SigInfo::kernel(super::SIGXCPU));
    }
    rttime::look(thread);
}
