//! What a task is in the kernel for, and where it waits: for the report of the longest poll.

use crate::task::chain;
use core::fmt::Write;
use vigil_abi::nr;
use vigil_executor::task::Task;

/// Writes the await chain of `task`, the current one, innermost first; `waits`: its poll has ended. `call`: it was in this system call,
/// which its future knows nothing of.
pub fn write(task: &Task, waits: bool, call: Option<usize>, out: &mut dyn Write) {
    if let Some(number) = call {
        // What does not fit is cut.
        let _ = writeln!(out, " => __arm64_sys_{}", nr::name(number));
        return;
    }
    let mut line = |text: core::fmt::Arguments<'_>| _ = writeln!(out, " => {text}");
    chain::awaits(task, waits, &mut line);
}
