//! A read, write or sleep that has to wait: the short way.
//!
//! The vector has tried the call, found that it must wait for a queue or a time, and left a [`Blocked`] in the thread. The thread's
//! stay in EL0 (`task::stay`) then waits, and calls the same plain function again when it is woken. Nothing is looked up
//! twice, and no asynchronous form of the call is entered: that one ([`super::rw::read`]) is for what is left, a call that has
//! moved some bytes, has met a page that is not there, or has to wait for something else.

use super::{Args, rw};
use crate::task::thread::Thread;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::time::Nanos;
use vigil_executor::wait::{Register, WaitQueue, WaitSite};
use vigil_executor::wait_site;
use vigil_fs::{AtOnce, File, Stop};
use vigil_mem::KArc;

/// Which call it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// read(2).
    Read,
    /// write(2).
    Write,
}

/// What the vector's attempt leaves behind.
pub enum Blocked {
    /// A read or write: nothing was transferred.
    Transfer(Transfer),
    /// A sleep that has not begun.
    Sleep(Sleep),
    /// Nothing that waits: the file of a read or write that has begun, or has waited. Its asynchronous form comes next and
    /// goes on with it, for its descriptor may be another file's by now.
    Begun(KArc<File>),
}

/// A sleep until `deadline` (CLOCK_MONOTONIC), or up to `slack` nanoseconds later. Interrupted, its asynchronous form has to
/// say what remains.
pub struct Sleep {
    /// When it ends.
    pub deadline: Nanos,
    /// How much later is soon enough.
    pub slack: Nanos,
    /// It was asked for as a span: its asynchronous form has to know the deadline.
    pub relative: bool,
}

/// A read or write; `file` says when to try again.
pub struct Transfer {
    file: KArc<File>,
    /// A queue of `file`'s, which keeps it.
    queue: NonNull<WaitQueue>,
    exclusive: bool,
    kind: Kind,
}

// SAFETY: the queue is shared, and the count on the file keeps it where it is, whoever holds this.
unsafe impl Send for Transfer {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Transfer {}

/// How another attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a call that is done has a result"]
pub enum Retry {
    /// With this for x0.
    Done(i64),
    /// It has to wait as before.
    Wait,
    /// The asynchronous form has to go on.
    Async,
}

impl Transfer {
    /// For an attempt on `file` that was answered with `queue`; a wake is for one `exclusive` waiter.
    ///
    /// # Safety
    /// `queue` lives as long as `file`.
    #[inline]
    pub unsafe fn new(file: KArc<File>, queue: &WaitQueue, exclusive: bool, kind: Kind) -> Transfer {
        Transfer { file, queue: NonNull::from(queue), exclusive, kind }
    }

    /// What it waits for.
    #[inline]
    pub fn queue(&self) -> &WaitQueue {
        // SAFETY: `file` keeps it, by `new`'s contract.
        unsafe { self.queue.as_ref() }
    }

    /// How its node enters the queue.
    #[inline]
    pub fn registration(&self) -> Register {
        if self.exclusive { Register::Exclusive } else { Register::Shared }
    }

    /// What a wake that it has consumed without need is for.
    pub fn pass_on(&self) {
        if self.exclusive {
            self.queue().wake_one();
        }
    }

    /// Where it waits.
    #[inline]
    pub fn site(&self) -> &'static WaitSite {
        match self.kind {
            Kind::Read => wait_site!("read"),
            Kind::Write => wait_site!("write"),
        }
    }

    /// Whether another attempt would be in vain.
    #[inline]
    pub fn still_waits(&self) -> bool {
        self.file.ops().still_waits(&self.file, self.queue())
    }

    /// What its asynchronous form goes on with.
    pub fn into_file(self) -> KArc<File> {
        self.file
    }

    /// Tries again.
    #[inline]
    pub fn retry(&self, thread: &Thread, a: Args) -> Retry {
        match rw::at_once(&self.file, self.kind, a) {
            AtOnce::Done(n) => return Retry::Done(n as i64),
            AtOnce::Wait(queue) if core::ptr::eq(queue, self.queue.as_ptr()) => return Retry::Wait,
            _ => {}
        }
        self.retry_long(thread, a)
    }

    #[inline(never)]
    fn retry_long(&self, thread: &Thread, a: Args) -> Retry {
        let (result, done) = match self.kind {
            Kind::Read => rw::read_once(&self.file, a),
            Kind::Write => rw::write_once(thread, &self.file, a),
        };
        match result {
            Ok(n) => Retry::Done(n as i64),
            Err(Stop::Wait(queue, _)) if done == 0 && core::ptr::eq(queue, self.queue.as_ptr()) => Retry::Wait,
            Err(Stop::Err(e)) if !e.is_restart() => Retry::Done(rw::failed(thread, &self.file, self.kind, e)),
            // Also when a terminal has stopped the caller's group: the call starts over.
            Err(_) => {
                thread.transferred.store(done, Relaxed);
                Retry::Async
            }
        }
    }
}
