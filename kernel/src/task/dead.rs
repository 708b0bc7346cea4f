//! A thread whose kernel code has faulted: what the oops policy does with it (Linux: make_task_dead), and who it was.
//!
//! Its poll cannot go on and cannot be unwound. So the poll is abandoned (`vigil_executor::preempt::abandon`): stack frames
//! and future stay as they are, for other lists may lead into them, and what they hold stays held. The thread itself goes on
//! in another task, the undertaker, whose only future is the thread's end: files are closed, memory is given back, the
//! parent learns that SIGSEGV killed its child.

use super::switch::{self, HOOKS};
use super::thread::Thread;
use super::{exit, process};
use crate::{pr_alert, pr_emerg};
use core::sync::atomic::Ordering::*;
use vigil_abi::signal::SIGSEGV;
use vigil_abi::until_nul;
use vigil_executor::class::Params;
use vigil_executor::preempt;
use vigil_executor::task::{self, Spawned};
use vigil_mem::KArc;

/// Ends the current task in the middle of its poll. Interrupts masked, no guard alive. Returns only when the task is one
/// whose death is the machine's: init, or a thread that cannot be buried for want of memory.
pub fn kill_current() {
    let Some(current) = task::current() else { return };
    // Its slot is wanted by others, and the undertaker's allocations are not what was asked for.
    vigil_mem::fault::clear(core::ptr::from_ref(current) as usize);
    let Some(thread) = Thread::of_task(current) else {
        pr_alert!("a kernel task is dead: what it does for others stays undone");
        preempt::abandon()
    };
    if thread.process.pid == 1 {
        pr_emerg!("Attempted to kill init! exitcode=0x{SIGSEGV:08x}");
        return;
    }
    if thread.finishing.load(Relaxed) {
        pr_alert!("Fixing recursive fault but reboot is needed!");
        switch::detach();
        preempt::abandon()
    }
    let Some(shared) = process::find_thread(thread.tid()) else { return };
    exit::exit_thread(thread, SIGSEGV as i32);
    let owner = KArc::as_ptr(&shared).cast();
    let Ok(undertaker) = Spawned::new(bury(shared), Params::DEFAULT, &current.name(), Some(&HOOKS), owner) else {
        pr_emerg!("no memory to end the thread");
        return;
    };
    undertaker.task().set_affinity(current.affinity());
    switch::detach();
    drop(undertaker.start());
    preempt::abandon()
}

/// The thread's end, in its second task.
async fn bury(thread: KArc<Thread>) {
    exit::finish(thread.clone()).await;
    switch::detach();
}

/// Logs who runs on this CPU, as the head of a report. Any context; takes no lock.
pub fn dump_current() {
    let cpu = vigil_executor::cpu::CpuId::current().index();
    let Some(current) = task::current() else {
        pr_emerg!("CPU: {cpu} PID: 0 Comm: swapper/{cpu}");
        return;
    };
    let name = current.name();
    let comm = until_nul(&name).escape_ascii();
    match Thread::of_task(current) {
        Some(thread) => pr_emerg!("CPU: {cpu} PID: {} Comm: {comm}", thread.tid()),
        None => pr_emerg!("CPU: {cpu} PID: - Comm: {comm} (kernel task)"),
    }
}
