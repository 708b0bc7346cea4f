//! Signals (signal(7); seed_003_part2.md "signals").
//!
//! ```text
//!   send ─► pending set + queue (thread's or process's) ─► work word, interrupt flags, kick ─► handle, on the way to EL0
//!                                                                                              ├─ default: end, stop, nothing
//!                                                                                              └─ handler: frame on the user stack
//! ```
//!
//! | file | subject |
//! |---|---|
//! | [`pending`] | sets and queues, pure |
//! | [`action`] | dispositions, default actions |
//! | [`state`] | what threads and processes hold |
//! | [`send`] | generating signals |
//! | [`deliver`] | taking them, restarting system calls |
//! | [`frame`] | the frame of a handler, sigreturn |
//! | [`io`] | signals of files |
//! | [`signalfd`] | signals that are read |
//! | [`stop`] | job control |
//! | [`fault`] | signals for exceptions |
//!
//! Locks: the process tree's, then a signal queue's; both spin locks that are not taken in hard interrupts: timers hand
//! their signals to a task.

pub mod action;
#[cfg(target_os = "none")]
pub mod deliver;
#[cfg(target_os = "none")]
pub mod fault;
#[cfg(target_os = "none")]
pub mod frame;
#[cfg(target_os = "none")]
pub mod io;
#[cfg(target_os = "none")]
pub mod many;
pub mod pending;
#[cfg(target_os = "none")]
pub mod send;
#[cfg(target_os = "none")]
pub mod signalfd;
#[cfg(target_os = "none")]
pub mod state;
#[cfg(target_os = "none")]
pub mod stop;

pub use action::{Action, SigHand};
#[cfg(target_os = "none")]
pub use deliver::{handle, recalc, try_handle};
#[cfg(target_os = "none")]
pub use fault::{abort, floating_point, force_fault};
#[cfg(target_os = "none")]
pub use many::send_to_group;
pub use pending::SigInfo;
#[cfg(target_os = "none")]
pub use send::{budget_overrun, send_to_process, send_to_process_locked, send_to_thread};
#[cfg(target_os = "none")]
pub use state::{ProcessSignals, ThreadSignals, exit_thread, has_pending};
#[cfg(target_os = "none")]
pub use stop::{child_orphaned, orphaned_group_check};
pub use vigil_abi::signal::{
    BUS_ADRALN, BUS_ADRERR, BUS_OBJERR, ILL_ILLOPC, SEGV_ACCERR, SEGV_MAPERR, TRAP_BRKPT, TRAP_HWBKPT, TRAP_TRACE,
};
pub use vigil_abi::signal::{
    SIGALRM, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGPIPE, SIGPROF, SIGQUIT, SIGSEGV, SIGSTOP, SIGSYS,
    SIGTERM, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};

/// The number of signals; they are numbered 1 to 64.
pub const NSIG: usize = 64;
