//! Communication between processes that is not through files.
//!
//! | module | what is there |
//! |---|---|
//! | [`futex`], [`pi`] | futexes |
//! | [`mqueue`] | POSIX message queues and their file system |
//! | [`sysv`] | System V IPC |
//! | [`hand`], [`payload`], [`account`] | what they share: waiting for something to be handed over, bytes of a message, limits per user |
//!
//! Locks: the lock of an object is taken first, then that of a waiter's hand; user memory is copied and signals are sent with
//! neither held.

#[cfg(target_os = "none")]
pub mod account;
#[cfg(target_os = "none")]
pub mod futex;
#[cfg(target_os = "none")]
pub mod hand;
pub mod mqueue;
#[cfg(target_os = "none")]
pub mod payload;
#[cfg(target_os = "none")]
pub mod pi;
pub mod sysv;

/// Makes the file systems of this module and fills its part of `/proc`. Once, in a task, after [`crate::procfs::init`].
#[cfg(target_os = "none")]
pub fn init() -> Result<(), vigil_abi::Errno> {
    mqueue::init()?;
    sysv::tables::init()
}

/// How urgently `thread` runs, on Linux's scale: the smaller the more urgent (Linux: `task_struct.prio`).
#[cfg(target_os = "none")]
pub fn urgency_of(thread: &crate::task::thread::Thread) -> i32 {
    use vigil_executor::class::Policy;
    let params = thread.task().map_or(vigil_executor::class::Params::DEFAULT, vigil_executor::executor::effective_params);
    match params.policy {
        Policy::Stop | Policy::Deadline => -1,
        Policy::Fifo | Policy::RoundRobin => 99 - i32::from(params.rt_priority),
        Policy::Normal | Policy::Batch | Policy::Idle => 120 + i32::from(params.nice),
    }
}
