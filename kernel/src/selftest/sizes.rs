//! What a thread keeps of the kernel's memory while it waits.

use super::report;
use crate::task::thread::Thread;
use crate::task::user;
use vigil_executor::task::Task;
use vigil_mem::KArc;

/// Kernel bytes for a thread that is blocked in `read`: the bound of the acceptance `core-mem`.
const LIMIT: usize = 3 << 10;

/// The size of what `f` returns.
fn size_of_future<A, F>(_: fn(A) -> F) -> usize {
    size_of::<F>()
}

/// Sizes of the parts, and their sum.
pub fn run() -> bool {
    let (header, future, thread) = (size_of::<Task>(), size_of_future(user::run as fn(KArc<Thread>) -> _), size_of::<Thread>());
    let sum = header + future + thread;
    report("sizes", sum <= LIMIT, format_args!("task {header} + its future {future} + thread {thread} = {sum} bytes (at most {LIMIT})"))
}
