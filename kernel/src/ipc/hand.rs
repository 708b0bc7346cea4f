//! What somebody waits to be given: a message, room, the end of his turn.
//!
//! Who waits is entered in a list of the object that he waits for, and whoever has the thing takes him out of it and puts it
//! into his hand, both under the object's lock. So nobody else can get it in between, and it is always somewhere: in the object
//! or in a hand. A waiter that goes, by a signal, a deadline or because its future is dropped, leaves the list first; what
//! is in its hand by then goes back.

use crate::time::until::{self, Until};
use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::Nanos;
use vigil_executor::wait::{WaitQueue, WaitSite, Waited};

/// A place for one `T`, and the waker of who waits for it.
pub struct Hand<T> {
    given: SpinLock<Option<T>>,
    full: AtomicBool,
    wait: WaitQueue,
}

impl<T: Send> Hand<T> {
    /// An empty one.
    pub fn new() -> Hand<T> {
        Hand { given: SpinLock::new(lock_class!("ipc_hand"), None), full: AtomicBool::new(false), wait: WaitQueue::new() }
    }

    /// Puts `value` in. The object's lock is held.
    pub fn give(&self, value: T) {
        *self.given.lock() = Some(value);
        self.full.store(true, Release);
        self.wait.wake_all();
    }

    /// What is in it.
    pub fn take(&self) -> Option<T> {
        if self.full.load(Acquire) { self.given.lock().take() } else { None }
    }

    /// Waits for what will be given, `until` then and `slack` later. ETIMEDOUT, EINTR.
    pub async fn wait(&self, site: &'static WaitSite, until: Until, slack: Nanos) -> Result<T, Errno> {
        match until::wait(&self.wait, site, until, slack, || self.take()).await {
            Waited::Ready(value) => Ok(value),
            Waited::TimedOut => Err(Errno::ETIMEDOUT),
            Waited::Interrupted => Err(Errno::EINTR),
        }
    }
}
