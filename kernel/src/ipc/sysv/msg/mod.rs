//! System V message queues (msgop(2); Linux: ipc/msg.c).
//!
//! A message goes to the first of those who wait for one of its kind, or else into the queue.
//!
//! | file | what |
//! |---|---|
//! | [`queue`] | the queue: messages, those who wait |
//! | [`control`] | what msgctl(2) asks and changes |

pub mod control;
pub mod queue;

use super::registry::{Object, Registry};
use crate::task::thread::Thread;
use core::sync::atomic::AtomicI32;
use queue::Queue;
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_mem::KArc;

/// Bytes of the largest message.
pub static MSGMAX: AtomicI32 = AtomicI32::new(8192);
/// Bytes of a queue when it is made.
pub static MSGMNB: AtomicI32 = AtomicI32::new(16_384);

/// All queues.
pub static QUEUES: Registry<Queue> = Registry::new(lock_class!("msg_ids"), 32_000);

impl Object for Queue {
    fn perm(&self) -> &super::perm::Perm {
        &self.perm
    }
}

/// msgget(2): see [`Registry::get`].
pub fn get(thread: &Thread, key: i32, flags: u32) -> Result<i32, Errno> {
    QUEUES.get(thread, key, flags, |_| Ok(()), || Ok(KArc::try_new(Queue::new(thread, key, flags)?)?))
}
