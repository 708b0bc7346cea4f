//! System calls: the table, and the way of one call.
//!
//! A call is one of three shapes (rule 7 of DESIGN.md):
//!
//! * `sync`: a plain function that never waits. It is tried in the vector; a fault of a user access makes it start over
//!   in the thread's future, after the page was brought in, so it has **no side effect before its last user access** that
//!   can fail for want of a page.
//! * `both`: a plain function that is tried in the vector and may answer [`Stop::NotYet`], and an async one that serves
//!   the call from the start when it did.
//! * `slow`: an async function only.
//!
//! | file | calls |
//! |---|---|
//! | [`table`] | numbers to functions |
//! | [`blocked`] | a read or write that waits, without its asynchronous form |
//! | [`user`] | user memory from async code: copy, await the fault, retry |
//! | one file per group | see `table` |

pub mod blocked;
pub mod table;
pub mod user;

mod cred;
mod epoll;
mod event;
pub(crate) mod fd;
mod file;
mod futex;
mod info;
mod lock;
mod membarrier;
mod memory;
mod message;
mod mqueue;
mod numa;
mod owner;
mod path;
mod pidfd;
mod poll;
pub mod prctl;
mod prctl_mm;
pub mod prctl_spec;
mod process;
mod rw;
pub mod sched;
mod seal;
mod sendfile;
mod signal;
mod socket;
mod sysv_msg;
mod sysv_sem;
mod sysv_shm;
mod time;
mod xattr;

pub(crate) use memory::limits_of;
pub use process::process_times;
pub use signal::try_sigreturn;
pub use table::serve;
pub use time::slack_of;

use vigil_abi::Errno;
use vigil_mem::{AllocError, Fault};

/// Arguments of a call: x0–x5. A reference: each async function that they pass through would keep a copy of its own.
pub type Args<'a> = &'a [u64; 6];

/// Why a plain function did not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The call's error.
    Errno(Errno),
    /// A user access faulted: bring the page in and call again. The fields of a [`Fault`], which leave room for the tag.
    Fault {
        /// The first byte that could not be reached.
        addr: usize,
        /// Whether it was to be written.
        write: bool,
    },
    /// It would have to wait, and nothing happened yet.
    NotYet,
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Self {
        Stop::Errno(e)
    }
}

impl From<Fault> for Stop {
    fn from(Fault { addr, write }: Fault) -> Self {
        Stop::Fault { addr, write }
    }
}

impl From<AllocError> for Stop {
    fn from(e: AllocError) -> Self {
        Stop::Errno(e.into())
    }
}

/// The result of a plain function.
pub type SysResult = Result<usize, Stop>;
