//! Waiting: sites, modes, and the wait queue.
//!
//! A wait is: enter a node in a [`WaitQueue`], look at the condition, return `Pending`; a wake takes the node out and
//! wakes its task, which looks at the condition again. "Wake" means "something happened", never "yours happened": every
//! wait has a condition, and checks it before it checks for a signal (Linux: `___wait_event`).
//!
//! Nodes are in the waiting future (or wherever the caller of [`WaitNode`] keeps them), so neither waiting nor waking
//! allocates. A future that is dropped takes its node out; if it had consumed an exclusive wake, it passes it on.
//!
//! | what | for |
//! |---|---|
//! | [`WaitQueue::wait_until`], `.._exclusive`, `.._deadline` | leaf waits of system calls |
//! | [`WaitNode`] | many nodes of one task on many queues: poll, select, epoll, futex |
//! | [`WaitQueue::wake`], `wake_one`, `wake_all` | any context, hard interrupts included |

mod future;
#[cfg(all(test, loom))]
mod interrupt_tests;
mod list;
mod node;
mod queue;
mod stage;

pub use future::{WaitDeadline, WaitUntil, Waited, Waiting};
pub(crate) use list::List;
pub(crate) use node::{GRANTED, IDLE, LINKED, WOKEN};
pub use node::{Register, WaitNode, WakeFn};
pub use queue::WaitQueue;
pub(crate) use stage::Stages;
pub use stage::{MAX_STAGES, Stage};

/// A place in the source where a task can wait; static, so that a waiting task can be explained without its stack.
#[derive(Debug)]
pub struct WaitSite {
    /// What `/proc/PID/wchan` shows: Linux's name of the function where it is one.
    pub wchan: &'static str,
    /// Source file.
    pub file: &'static str,
    /// Source line.
    pub line: u32,
}

/// The [`WaitSite`] of the place where the macro stands: `wait_site!("pipe_read")`.
#[macro_export]
macro_rules! wait_site {
    ($wchan:literal) => {{
        static SITE: $crate::wait::WaitSite = $crate::wait::WaitSite { wchan: $wchan, file: file!(), line: line!() };
        &SITE
    }};
}

/// What may end a wait besides its condition (Linux: TASK_UNINTERRUPTIBLE, TASK_KILLABLE, TASK_INTERRUPTIBLE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum WaitMode {
    /// Nothing. Counts as D state and in the load average.
    Uninterruptible = 1,
    /// A fatal signal.
    Killable = 2,
    /// Any signal.
    Interruptible = 3,
}

impl WaitMode {
    /// As stored in the task's wait word; 0 means "does not wait".
    pub(crate) fn to_word(self) -> u32 {
        self as u32
    }

    /// The inverse of `to_word`, whatever is above its byte; a task that does not wait counts as uninterruptible.
    pub(crate) fn from_word(word: u32) -> WaitMode {
        match word & 0xff {
            2 => WaitMode::Killable,
            3 => WaitMode::Interruptible,
            _ => WaitMode::Uninterruptible,
        }
    }

    /// Whether interrupt `flags` end a wait in this mode.
    pub fn is_ended_by(self, flags: u32) -> bool {
        use crate::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
        match self {
            WaitMode::Uninterruptible => false,
            WaitMode::Killable => flags & INTERRUPT_KILL != 0,
            WaitMode::Interruptible => flags & (INTERRUPT_KILL | INTERRUPT_SIGNAL) != 0,
        }
    }
}

/// The wait was ended by a signal; the system call turns it into EINTR or a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interrupted;
