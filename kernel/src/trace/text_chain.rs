//! What a task is in the kernel for, and where it waits: for the report of the longest poll.

use crate::task::chain;
use core::fmt::Write;
use vigil_executor::task::Task;

/// Writes the await chain of `task`, the current one, innermost first; `waits`: its poll has ended.
pub fn write(task: &Task, waits: bool, out: &mut dyn Write) {
    let mut line = |text: core::fmt::Arguments<'_>| _ = writeln!(out, " => {text}");
    chain::awaits(task, waits, &mut line);
}
