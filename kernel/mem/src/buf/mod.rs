//! User memory: pointers that name it, cursors that copy it, and nothing that refers to it.
//!
//! Bytes that user space can write are never a Rust reference (rule 11). Every access goes through [`uaccess`]: the
//! address is untagged and range-checked, the copy is made by the architecture's fix-up code, and a fault is a value.
//! Nothing here blocks: who may wait awaits the page-fault path for [`Fault::addr`](crate::Fault) and tries again
//! (rule 6).
//!
//! | type | is |
//! |---|---|
//! | [`UserPtr<T>`] | a typed user address, for the argument structures of system calls |
//! | [`UserBuf`], [`UserBufMut`] | a cursor over one user range: bytes come in, bytes go out |
//! | [`IoBuf`], [`IoBufMut`] | the same over a user range, a user iovec list or kernel memory: what files are read and written with |
//! | [`Iovecs`] | an iovec list, fetched once and checked |

mod io;
mod iovec;
pub mod uaccess;
mod user;
mod user_ptr;

#[cfg(not(target_os = "none"))]
pub mod host;
#[cfg(test)]
mod tests;

pub use io::{IoBuf, IoBufMut};
pub use iovec::{IovecError, Iovecs, MAX_RW_COUNT, UIO_MAXIOV};
pub use user::{UserBuf, UserBufMut, UserRange, UserSlice};
pub use user_ptr::UserPtr;
