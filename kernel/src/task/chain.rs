//! The await chain of a task: from the system call (or fault) that it is in to where it waits, or its parked poll.
//!
//! For `/proc/PID/stack`, oopses, SysRq-t and -w, and the hung-task watchdog. Reads only atomics and words that may be stale:
//! it may be asked of any task at any moment, and takes no lock.

use super::thread::Thread;
use crate::debug::backtrace::{self, Symbol};
use core::fmt::{self, Arguments};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::nr;
use vigil_executor::task::Task;
use vigil_executor::wait::{WaitMode, WaitSite};

/// What a thread is in the kernel for.
struct Entered<'a>(&'a Thread);

impl fmt::Display for Entered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.finishing.load(Relaxed) {
            return f.write_str("do_exit");
        }
        match usize::try_from(self.0.syscall_number()) {
            Ok(number) => write!(f, "__arm64_sys_{}", nr::name(number)),
            Err(_) => f.write_str("el0_exception"),
        }
    }
}

/// Linux's letter of a wait, and its name.
pub fn mode_name(mode: WaitMode) -> &'static str {
    match mode {
        WaitMode::Uninterruptible => "uninterruptible",
        WaitMode::Killable => "killable",
        WaitMode::Interruptible => "interruptible",
    }
}

/// Calls `line` with each line of the chain of `task`, innermost first, without the mark that stands before each.
/// Nothing for a task that runs in EL0 or is runnable without a parked poll.
pub fn each(task: &Task, line: &mut dyn FnMut(Arguments<'_>)) {
    if let Some(sp) = task.parked_frame() {
        backtrace::walk(sp, |ret| line(format_args!("{}", Symbol(ret.wrapping_sub(4)))));
        return;
    }
    if task.is_sleeping() && task.waiting_at().is_some() {
        awaits(task, true, line);
    }
}

/// The chain of `task` as far as it is one of awaits, whatever it does at the moment: without its wait unless it `waits`.
pub fn awaits(task: &Task, waits: bool, line: &mut dyn FnMut(Arguments<'_>)) {
    if waits && let Some((site, mode)) = task.waiting_at() {
        line(format_args!("{} ({}:{}, {})", site.wchan, site.file, site.line, mode_name(mode)));
        for WaitSite { wchan, file, line: at } in task.stages() {
            line(format_args!("{wchan} ({file}:{at})"));
        }
    }
    if let Some(thread) = Thread::of_task(task) {
        line(format_args!("{}", Entered(thread)));
    }
}
