//! `/proc/PID/fail-nth` and `/proc/PID/fail-await`: orders to the fault injectors.
//!
//! `fail-nth` is Linux's (Documentation/fault-injection): the number N that is written makes the thread's N-th allocation
//! from then on fail; what is read is how many are left until it, 0 when it has failed. `fail-await` is the same for waits,
//! and has a word after the number, `interrupt` (the default), `kill` or `drop`: see [`crate::task::disturb`].
//!
//! Neither file allocates to be read or written: they would count themselves.

use super::format::unsigned;
use super::process::Who;
use crate::task::disturb::Disturbance;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_fs::vfs::file::File;
use vigil_fs::vfs::ops::{FileOps, OpResult, Stop};
use vigil_mem::{IoBuf, IoBufMut, fault};

/// Which injector.
#[derive(Clone, Copy)]
pub(super) enum Injector {
    /// Allocations.
    Nth,
    /// Waits.
    Await,
}

/// One of the files, open.
pub(super) struct Open {
    pub who: Who,
    pub which: Injector,
}

/// A short line on the stack.
struct Line {
    bytes: [u8; 32],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(core::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Open {
    fn left(&self) -> Result<u32, Errno> {
        let thread = self.who.thread()?;
        Ok(match self.which {
            Injector::Nth => thread.task().map_or(0, |task| fault::get_flow(core::ptr::from_ref(task) as usize)),
            Injector::Await => thread.disturb.left(),
        })
    }

    /// EINVAL: no such order; EBUSY: too many.
    fn order(&self, text: &[u8]) -> Result<(), Errno> {
        let thread = self.who.thread()?;
        let done = match self.which {
            Injector::Nth => {
                let n = unsigned(text).ok_or(Errno::EINVAL)?;
                let task = thread.task().ok_or(Errno::ESRCH)?;
                let flow = core::ptr::from_ref(task) as usize;
                let done = fault::set_flow(flow, n);
                // Who has begun to end forgets the order at its end, which may be over: a zombie would keep the slot.
                if thread.finishing.load(Relaxed) {
                    fault::clear(flow);
                }
                done
            }
            Injector::Await => {
                let mut words = text.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
                let n = words.next().and_then(unsigned).ok_or(Errno::EINVAL)?;
                let kind = match words.next() {
                    None | Some(b"interrupt") => Disturbance::Interrupt,
                    Some(b"kill") => Disturbance::Kill,
                    Some(b"drop") => Disturbance::Drop,
                    Some(_) => return Err(Errno::EINVAL),
                };
                thread.disturb.set(n, kind)
            }
        };
        if done { Ok(()) } else { Err(Errno::EBUSY) }
    }
}

impl FileOps for Open {
    fn read<'a>(&'a self, _: &'a File, buf: &mut IoBufMut<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let mut line = Line { bytes: [0; 32], length: 0 };
        writeln!(line, "{}", self.left()?).map_err(|_| Stop::Err(Errno::EINVAL))?;
        let text = &line.bytes[..line.length];
        let start = usize::try_from(*pos).unwrap_or(usize::MAX).min(text.len());
        let n = buf.copy_out(&text[start..])?;
        *pos += n as u64;
        Ok(n)
    }

    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, pos: &mut u64) -> OpResult<'a, usize> {
        let n = buf.remaining();
        let mut text = [0; 32];
        let length = n.min(text.len());
        let mut at = 0;
        while at < length {
            at += buf.copy_in(&mut text[at..length])?;
        }
        self.order(&text[..length])?;
        buf.skip(n - length);
        *pos += n as u64;
        Ok(n)
    }
}
