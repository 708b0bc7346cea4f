//! A read or write that has to wait: the short way.
//!
//! The vector has tried the call, found that it must wait for a queue, and left a [`Blocked`] in the thread. The thread's
//! future then waits here, and calls the same plain function again when it is woken. Nothing is looked up twice, and
//! no asynchronous form of the call is entered: that one ([`super::rw::read`]) is for what is left, a call that has moved some
//! bytes, has met a page that is not there, or has to wait for something else.
//!
//! ```text
//!   vector: try ── Wait(queue) ──► future: enter the queue ── still_waits? ──► Pending … woken ──► try ─┬─ done: result into x0
//!                                                                                       ▲              ├─ Wait(queue) ─┐
//!                                                                                       └──────────────┼──────────────┘
//!                                                                                                      └─ else: the asynchronous form
//! ```

use super::{Args, rw};
use crate::arch::aarch64::entry::WORK_SIGNAL;
use crate::task::thread::Thread;
use core::future::poll_fn;
use core::pin::pin;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_executor::wait::{WaitMode, WaitQueue, WaitSite, Waiting};
use vigil_executor::wait_site;
use vigil_fs::{EXCLUSIVE, File, Stop};
use vigil_mem::KArc;

/// Which call it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// read(2).
    Read,
    /// write(2).
    Write,
}

impl Kind {
    fn site(self) -> &'static WaitSite {
        match self {
            Kind::Read => wait_site!("read"),
            Kind::Write => wait_site!("write"),
        }
    }
}

/// What the vector's attempt leaves behind: nothing was transferred, and `file` says when to try again.
pub struct Blocked {
    file: KArc<File>,
    /// A queue of `file`'s, which keeps it.
    queue: NonNull<WaitQueue>,
    exclusive: bool,
    kind: Kind,
}

// SAFETY: the queue is shared, and the count on the file keeps it where it is, whoever holds this.
unsafe impl Send for Blocked {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Blocked {}

impl Blocked {
    /// For an attempt on `file` that was answered with `queue` and `key`.
    ///
    /// # Safety
    /// `queue` lives as long as `file`.
    #[inline]
    pub unsafe fn new(file: KArc<File>, queue: &WaitQueue, key: u32, kind: Kind) -> Blocked {
        Blocked { file, queue: NonNull::from(queue), exclusive: key & EXCLUSIVE != 0, kind }
    }

    /// Tries again. `None`: it would wait as before. `Some(None)`: the asynchronous form has to go on.
    #[inline]
    fn retry(&self, thread: &Thread, a: Args) -> Option<Option<i64>> {
        let (result, done) = match self.kind {
            Kind::Read => rw::read_once(&self.file, a),
            Kind::Write => rw::write_once(thread, &self.file, a),
        };
        Some(match result {
            Ok(n) => Some(n as i64),
            Err(Stop::Wait(queue, _)) if done == 0 && core::ptr::eq(queue, self.queue.as_ptr()) => return None,
            // A terminal has stopped the caller's group: the call starts over.
            Err(Stop::Err(e)) if !e.is_restart() => Some(rw::failed(thread, self.kind, e)),
            Err(_) => {
                thread.transferred.store(done, Relaxed);
                None
            }
        })
    }
}

/// Waits until the call that `call` was left by can be done, and puts its result into the thread's x0. `false`: it is to be
/// served by its asynchronous form.
pub async fn serve(thread: &Thread, call: Blocked) -> bool {
    {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { thread.context() };
        context.orig_x0.set(context.x[0].get());
        context.syscall.set(i64::from(context.x[8].get() as u32));
    }
    // SAFETY: the count in `call` keeps the queue, and `waiting`, which points at it, goes before `call` does.
    let queue = unsafe { call.queue.as_ref() };
    let mut waiting = pin!(Waiting::after_look(queue, call.kind.site(), WaitMode::Interruptible, call.exclusive));
    let outcome = poll_fn(|cx| {
        // SAFETY: as above; x0–x5 stay as they are until the call is over.
        let args = unsafe { thread.context().arguments() };
        waiting.as_mut().poll_again(cx, || call.file.ops().still_waits(&call.file, queue), || call.retry(thread, args))
    });
    let result = match outcome.await {
        Ok(Some(result)) => result,
        Ok(None) => return false,
        Err(_) => {
            // Restarted, or EINTR, when the signal's action is known.
            thread.set_work(WORK_SIGNAL);
            Errno::ERESTARTSYS.to_ret() as i64
        }
    };
    // SAFETY: as above.
    unsafe { thread.context() }.x[0].set(result as u64);
    true
}
