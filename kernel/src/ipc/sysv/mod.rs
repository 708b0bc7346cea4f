//! System V IPC: objects that have a number and a key, and outlive the processes that use them (sysvipc(7)).
//!
//! | file | what |
//! |---|---|
//! | [`numbers`], [`registry`] | which objects there are |
//! | [`perm`] | whose they are |
//! | [`total`] | what they hold together |
//! | [`sem`], [`msg`], [`shm`] | semaphores, message queues, shared memory |
//! | [`tables`] | `/proc/sysvipc`, `/proc/sys/kernel` |

#[cfg(target_os = "none")]
pub mod msg;
#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "only the tests use it on a host"))]
pub(crate) mod numbers;
#[cfg(target_os = "none")]
pub mod perm;
#[cfg(target_os = "none")]
pub mod registry;
#[cfg(target_os = "none")]
pub mod sem;
#[cfg(target_os = "none")]
pub mod shm;
#[cfg(target_os = "none")]
pub mod tables;
#[cfg(target_os = "none")]
pub mod total;

/// Seconds of the wall clock, as objects keep them.
#[cfg(target_os = "none")]
pub(crate) fn seconds() -> i64 {
    (crate::time::clock::realtime() / vigil_executor::time::SEC) as i64
}
