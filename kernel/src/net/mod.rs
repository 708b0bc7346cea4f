//! Sockets (seed_000_part2.md, networking; Linux: net/).
//!
//! | module | what is there |
//! |---|---|
//! | [`sockfs`] | the files behind socket descriptors |
//! | [`unix`] | the local family, AF_UNIX: streams, datagrams, sequenced packets, passed descriptors and credentials |
//!
//! Operations are plain functions that complete or say what to wait for ([`vigil_fs::Stop`]); the system calls
//! (`syscall::socket`) parse addresses and control messages and await. A socket's state is under one spin lock, class
//! `unix_state`, a leaf; messages and descriptors are dropped outside of it.

pub mod sockfs;
pub mod unix;

use vigil_abi::socket::Ucred;

/// Who is calling, as receivers see it: process, real user and group.
pub fn caller() -> Ucred {
    #[cfg(target_os = "none")]
    if let Some(thread) = crate::task::thread::Thread::current()
        && let Ok(cred) = thread.cred()
    {
        return Ucred { pid: thread.process.pid, uid: cred.uid, gid: cred.gid };
    }
    Ucred::default()
}
