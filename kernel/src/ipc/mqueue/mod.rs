//! POSIX message queues (mq_overview(7); Linux: ipc/mqueue.c).
//!
//! A queue is an inode of the file system `mqueue`, and a queue's descriptor an open file of it. Whoever sends gives the
//! message to the most urgent of those who wait for one, without a detour through the queue; whoever receives takes the
//! first message and lets the most urgent of those who wait for room put theirs in.
//!
//! | file | what |
//! |---|---|
//! | [`heap`] | messages by priority and age |
//! | [`queue`] | the queue: sending, receiving, notification |
//! | [`fs`] | the file system |
//! | [`limits`] | how many, how large; `/proc/sys/fs/mqueue` |

#[cfg(target_os = "none")]
pub mod fs;
#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "only the tests use it on a host"))]
pub(crate) mod heap;
#[cfg(target_os = "none")]
pub mod limits;
#[cfg(target_os = "none")]
pub mod queue;

/// Makes the file system and the files of `/proc`. Once.
#[cfg(target_os = "none")]
pub fn init() -> Result<(), vigil_abi::Errno> {
    fs::init()?;
    limits::init()
}
