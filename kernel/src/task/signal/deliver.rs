//! Taking signals on the way to EL0, and restarting system calls (Linux: `get_signal`, arm64's `do_signal`).

use super::action::{Action, Default, default_of};
use super::pending::{SigInfo, first_of};
use super::state::{has_pending, pending_of, retarget, take, take_from};
use super::{fault, frame, send, stop};
use crate::arch::aarch64::entry::WORK_SIGNAL;
use crate::cgroup::freezer;
use crate::mm::Access;
use crate::syscall::{Stop, user};
use crate::task::exit;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::process::wait_signaled;
use vigil_abi::signal::*;
use vigil_abi::{Errno, nr};
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL, Task};

/// Brings the work word and the interrupt flags up to date after the mask or the pending set changed. The thread itself.
#[inline]
pub fn recalc(thread: &Thread) {
    let Some(task) = thread.task() else { return };
    let woken = task.interrupt_flags();
    if woken != 0 || has_pending(thread) {
        recalc_flags(thread, task, woken);
    }
}

fn recalc_flags(thread: &Thread, task: &Task, woken: u32) {
    // Clear, then look: a sender sets the pending bit before the flag. The kill flag, too: what was fatal when it was sent
    // may have got a handler, or sigtimedwait(2) has taken it.
    if woken != 0 {
        task.clear_interrupt(INTERRUPT_SIGNAL | INTERRUPT_KILL);
    }
    if has_pending(thread) {
        task.interrupt(if must_end(thread) { INTERRUPT_SIGNAL | INTERRUPT_KILL } else { INTERRUPT_SIGNAL });
        thread.set_work(WORK_SIGNAL);
    }
    if woken != 0 {
        // It may have been woken for a signal of the process that it blocks now.
        retarget(thread, thread.signals.blocked());
    }
}

/// Whether the thread will not see EL0 again: it is ending, or a signal that ends its process is pending.
fn must_end(thread: &Thread) -> bool {
    if thread.exiting.load(SeqCst) || thread.process.is_exiting() {
        return true;
    }
    let mut pending = pending_of(thread) & !thread.signals.blocked();
    while pending != 0 {
        let signo = pending.trailing_zeros() + 1;
        if send::is_fatal(thread, signo, thread.process.with_sighand(|s| s.handler(signo))) {
            return true;
        }
        pending &= pending - 1;
    }
    false
}

/// Takes the next signal that is not blocked: the thread's own first.
fn dequeue(thread: &Thread) -> Option<SigInfo> {
    let wanted = !thread.signals.blocked();
    if pending_of(thread) & wanted == 0 {
        return None;
    }
    take(thread, wanted)
}

/// Handles what is pending: ends, stops, or builds the frame of a handler. Called on the way to EL0.
pub async fn handle(thread: &Thread) {
    let mut restart = Restart::of(thread);
    loop {
        stop::report_continued(&thread.process);
        if thread.process.signals.stop_signal.load(SeqCst) != 0 {
            stop::wait(thread).await;
        }
        if freezer::is_freezing(thread) {
            freezer::refrigerator(thread).await;
        }
        if thread.exiting.load(Relaxed) || thread.process.is_exiting() {
            return;
        }
        let continues = thread.process.signals.continues.load(SeqCst);
        let Some(info) = dequeue(thread) else { break };
        let action = thread.process.with_sighand(|s| s.take_for_delivery(info.signo));
        match action.handler {
            SIG_IGN => continue,
            SIG_DFL => {
                if thread.process.signals.unkillable.load(Relaxed) && info.code != SI_KERNEL && info.code <= 0 {
                    continue;
                }
                match default_of(info.signo) {
                    Default::Ignore => continue,
                    Default::Stop => {
                        stop::stop(thread, info.signo, continues).await;
                        continue;
                    }
                    Default::Terminate | Default::Core => {
                        fault::log_fatal(thread, &info);
                        exit::group_exit(&thread.process, wait_signaled(info.signo, false) as i32);
                        return;
                    }
                }
            }
            _ => {
                restart.before_handler(thread, action.flags & SA_RESTART != 0);
                restart = Restart::None;
                enter_handler(thread, &info, &action).await;
            }
        }
    }
    restart.without_handler(thread);
    if let Some(mask) = thread.signals.take_saved() {
        thread.signals.set_blocked(mask);
    }
    recalc(thread);
}

/// Builds the frame and points the context at the handler; a stack that cannot take it is a SIGSEGV.
async fn enter_handler(thread: &Thread, info: &SigInfo, action: &Action) {
    let restored = thread.signals.restored();
    if user::retry(thread, || frame::push(thread, info, action, restored)).await.is_err() {
        thread.signals.take_saved();
        fault::force_segv(thread, info.signo);
        return;
    }
    block_for_handler(thread, info, action);
}

/// The mask while a handler runs.
fn block_for_handler(thread: &Thread, info: &SigInfo, action: &Action) {
    let own = if action.flags & SA_NODEFER != 0 { 0 } else { sigmask(info.signo) };
    thread.signals.take_saved();
    thread.signals.set_blocked(thread.signals.blocked() | action.mask | own);
}

/// How often a frame is tried in the vector: it can be in three pages.
const ATTEMPTS: usize = 4;

/// [`handle`] for the vector, when nothing is to be waited for and no system call to be restarted: signals that have
/// handlers, with stacks that are there or can be there at once. `false`: the future's [`handle`] does the rest.
pub fn try_handle(thread: &Thread) -> bool {
    let process = &thread.process;
    if process.signals.stop_signal.load(SeqCst) != 0
        || process.continued.load(Relaxed)
        || freezer::is_freezing(thread)
        || thread.exiting.load(Relaxed)
        || process.is_exiting()
    {
        return false;
    }
    // Clear, then look: a sender sets the pending bit before this one.
    thread.take_work(WORK_SIGNAL);
    // SAFETY: the thread itself, outside EL0.
    unsafe { thread.context() }.syscall.set(-1);
    while pending_of(thread) & !thread.signals.blocked() != 0 {
        if !try_one(thread) {
            thread.set_work(WORK_SIGNAL);
            return false;
        }
    }
    if let Some(mask) = thread.signals.take_saved() {
        thread.signals.set_blocked(mask);
    }
    recalc(thread);
    true
}

/// Enters the handler of one signal. `false`: nothing has happened, and this signal is the future's.
fn try_one(thread: &Thread) -> bool {
    let wanted = !thread.signals.blocked();
    let own = &thread.signals.queue;
    let queue = if own.set() & wanted != 0 { own } else { &thread.process.signals.queue };
    // Another thread may have taken it meanwhile.
    let Some(signo) = first_of(queue.set() & wanted) else { return true };
    let action = thread.process.with_sighand(|s| s.get(signo));
    if action.handler <= SIG_IGN || action.flags & SA_RESETHAND != 0 {
        return false;
    }
    let Some(info) = take_from(thread, queue, sigmask(signo)) else { return true };
    for _ in 0..ATTEMPTS {
        match frame::push(thread, &info, &action, thread.signals.restored()) {
            Ok(()) => {
                block_for_handler(thread, &info, &action);
                return true;
            }
            Err(Stop::Fault { addr, .. }) if addr < vigil_mem::addr::TASK_SIZE => {
                let Some(mm) = thread.mm() else { break };
                match mm.try_fault(addr, Access::Write, thread.stack_limit()) {
                    Ok(done) => thread.count_fault(done.major),
                    Err(_) => break,
                }
            }
            Err(_) => break,
        }
    }
    queue.with(|p| p.put_back(info));
    false
}

/// What is to become of the system call that a signal interrupted.
enum Restart {
    None,
    Error(Errno),
}

impl Restart {
    fn of(thread: &Thread) -> Restart {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { thread.context() };
        if context.syscall.replace(-1) < 0 {
            return Restart::None;
        }
        let result = context.x[0].get() as i64;
        match i32::try_from(-result).ok().and_then(Errno::from_raw) {
            Some(e) if result < 0 && e.is_restart() => Restart::Error(e),
            _ => Restart::None,
        }
    }

    /// A handler will run: the call fails with EINTR, or is made again after it.
    fn before_handler(&self, thread: &Thread, sa_restart: bool) {
        let Restart::Error(e) = *self else { return };
        let again = e == Errno::ERESTARTNOINTR || e == Errno::ERESTARTSYS && sa_restart;
        // SAFETY: as above.
        let context = unsafe { thread.context() };
        if again {
            context.x[0].set(context.orig_x0.get());
            context.pc.update(|pc| pc.wrapping_sub(4));
        } else {
            context.x[0].set(Errno::EINTR.to_ret() as u64);
        }
    }

    /// No handler runs: user space does not notice.
    fn without_handler(&self, thread: &Thread) {
        let Restart::Error(e) = *self else { return };
        // SAFETY: as above.
        let context = unsafe { thread.context() };
        context.x[0].set(context.orig_x0.get());
        context.pc.update(|pc| pc.wrapping_sub(4));
        if e == Errno::ERESTART_RESTARTBLOCK {
            context.x[8].set(nr::restart_syscall as u64);
        }
    }
}
