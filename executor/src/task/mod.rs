//! The task: a future, its state word, its place in a class, and the reference count that its wakers share.
//!
//! ```text
//!   KTask<F> (one allocation)          everything that is not F is reached through `Task`, the header
//!   ┌───────────────────────────┐
//!   │ Task: state word          │ ◄── wakers, run queues, the inbox, `current()`
//!   │       inbox link          │
//!   │       vtable ─────────────┼──► poll F, drop F, free
//!   │       scheduling entity   │
//!   │       wait (place, mode)  │
//!   ├───────────────────────────┤
//!   │ F: the future             │ ◄── touched only by the holder of the RUN bit
//!   └───────────────────────────┘
//! ```
//!
//! References: each [`TaskRef`] and each waker counts one; the executor holds one from spawn until the task is DEAD.
//! The last reference may go in a hard interrupt, so it frees nothing: the header is pushed on the reaper's list.

mod header;
pub mod reaper;
mod reference;
mod spawn;
pub mod state;
mod traced;
pub mod waker;

pub use header::{Hooks, INTERRUPT_KILL, INTERRUPT_SIGNAL, Task};
pub use reference::TaskRef;
pub use spawn::{SpawnError, Spawned};
pub use state::State;
pub use traced::Coming;

use crate::context::Context;

/// The task whose poll runs on this stack, or `None` in the executor loop, in an interrupt or at boot.
#[inline(always)]
pub fn current() -> Option<&'static Task> {
    // SAFETY: a task is kept alive by the executor's reference while it is polled; callers do not keep the reference
    // beyond their poll (they take a `TaskRef` for that).
    unsafe { Context::here().current().as_ref() }
}
