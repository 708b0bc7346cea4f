//! What a thread keeps of the kernel's memory while it waits.

use super::report;
use crate::syscall::{Args, table};
use crate::task::thread::Thread;
use crate::task::user;
use vigil_executor::task::Task;
use vigil_mem::KArc;

/// Kernel bytes for a thread that is blocked in `read`: the bound of the acceptance `core-mem`.
const LIMIT: usize = 3 << 10;

/// A system call's future, which is kept in its thread's (rule 7 of DESIGN.md).
const CALL_LIMIT: usize = 768;

/// What a task of a thread lies in: the next class of slabs is 80 bytes larger.
const TASK_LIMIT: usize = 1168;

/// The size of what `f` returns.
fn size_of_future<A, F>(_: fn(A) -> F) -> usize {
    size_of::<F>()
}

/// The same for a function of three arguments.
fn size_of_future_of_three<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
    size_of::<F>()
}

/// Sizes of the parts, and their sum.
pub fn run() -> bool {
    let (header, future, thread) = (size_of::<Task>(), size_of_future(user::run as fn(KArc<Thread>) -> _), size_of::<Thread>());
    let serve = size_of_future_of_three(table::serve as fn(&'static Thread, usize, Args<'static>) -> _);
    let sum = header + future + thread;
    let ok = sum <= LIMIT && serve <= CALL_LIMIT && header + future <= TASK_LIMIT;
    let (name, largest) = table::future_sizes().max_by_key(|&(_, size)| size).unwrap_or(("none", 0));
    report(
        "sizes",
        ok,
        format_args!(
            "task {header} + its future {future} (together at most {TASK_LIMIT}), of which a system call {serve} (at most {CALL_LIMIT}; {name} {largest}), + thread {thread} = {sum} bytes (at most {LIMIT})"
        ),
    )
}
