//! Character streams: what `fs` and the kernel need of a device to make a file of it.
//!
//! Operations complete or say what to wait for; they never wait themselves. The glue turns [`Stop`] into the file
//! layer's own, arm by arm, and [`CharStream::poll`] with the two queues into a poll.

use vigil_abi::{Errno, poll};
use vigil_executor::wait::WaitQueue;
use vigil_mem::{Fault, IoBuf, IoBufMut};

/// Why an operation did not complete; nothing was transferred.
#[derive(Debug)]
pub enum Stop<'a> {
    /// It never will.
    Err(Errno),
    /// Try again when the queue is woken with one of the bits of the key. Without blocking: EAGAIN.
    Wait(&'a WaitQueue, u32),
    /// The caller's buffer is not there: fault it in and try again.
    Fault(Fault),
}

impl From<Fault> for Stop<'_> {
    fn from(f: Fault) -> Self {
        Stop::Fault(f)
    }
}

impl From<Errno> for Stop<'_> {
    fn from(e: Errno) -> Self {
        Stop::Err(e)
    }
}

/// Input has arrived, or the other side is gone.
pub const KEY_IN: u32 = poll::POLLIN | poll::POLLRDNORM | poll::POLLHUP | poll::POLLERR;
/// There is room for output, or the other side is gone.
pub const KEY_OUT: u32 = poll::POLLOUT | poll::POLLWRNORM | poll::POLLHUP | poll::POLLERR;

/// A device that bytes come from and go to. All methods may be called by several tasks at once.
pub trait CharStream: Sync {
    /// Takes what is there, at least one byte, into `buf`, which is not empty. `Ok(0)` is the end of the input.
    fn try_read<'a>(&'a self, buf: &mut IoBufMut<'_>) -> Result<usize, Stop<'a>>;

    /// Gives the device what fits of `buf`, at least one byte; the caller comes back with the rest.
    fn try_write<'a>(&'a self, buf: &mut IoBuf<'_>) -> Result<usize, Stop<'a>>;

    /// What could be done without waiting, as poll bits (`POLL*`).
    fn poll(&self) -> u32;

    /// Woken with [`KEY_IN`] when input arrives or ends.
    fn read_queue(&self) -> &WaitQueue;

    /// Woken with [`KEY_OUT`] when room appears or output ends.
    fn write_queue(&self) -> &WaitQueue;
}
