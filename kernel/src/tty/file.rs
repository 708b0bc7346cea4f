//! Open terminals.

use super::{Terminal, by_dev, console, ioctl, job};
use crate::dev::stream;
use crate::task::process::tasks;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_ACCMODE, O_NOCTTY, O_WRONLY};
use vigil_abi::process::CAP_SYS_ADMIN;
use vigil_abi::signal::{SIGTTIN, SIGTTOU};
use vigil_abi::termios::TOSTOP;
use vigil_drivers::tty::Tty;
use vigil_fs::vfs::fasync::FasyncList;
use vigil_fs::vfs::stat::encode_dev;
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, unsize};

/// A terminal as one open(2) got it.
pub struct OpenTty {
    /// Which.
    pub terminal: &'static Terminal,
    /// Its lower half.
    pub tty: &'static Tty,
    /// Opened as `/dev/console`: survives hang-ups and is outside of job control (Linux: redirected_tty_write).
    console: bool,
    generation: u32,
}

impl OpenTty {
    /// Whether it was hung up since it was opened.
    pub fn is_hung_up(&self) -> bool {
        !self.console && self.terminal.generation.load(Acquire) != self.generation
    }
}

impl FileOps for OpenTty {
    /// A hung-up terminal reads as ended. EIO: the caller is in the background and cannot be stopped; ERESTARTSYS: it was
    /// sent SIGTTIN.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if self.is_hung_up() {
            return Ok(0);
        }
        if !self.console {
            job::check_change(self.terminal, SIGTTIN)?;
        }
        stream::read(self.tty, file, buf)
    }

    /// EIO after a hang-up; with TOSTOP, as [`OpenTty::read`] with SIGTTOU.
    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if self.is_hung_up() {
            return Err(Stop::Err(Errno::EIO));
        }
        if !self.console && self.tty.settings().lflag() & TOSTOP != 0 {
            job::check_change(self.terminal, SIGTTOU)?;
        }
        stream::write(self.tty, file, buf)
    }

    fn fasync(&self) -> Option<&FasyncList> {
        Some(&self.terminal.fasync)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        let events = stream::poll(self.tty, table);
        if self.is_hung_up() {
            return PollEvents::DEFAULT | PollEvents::ERR | PollEvents::HUP;
        }
        events
    }

    fn ioctl<'a>(&'a self, file: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        ioctl::ioctl(self, file, cmd, arg)
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

fn open(terminal: &'static Terminal, flags: u32, console: bool) -> Result<Opened, Errno> {
    let tty = terminal.tty().ok_or(Errno::ENXIO)?;
    let privileged = Thread::current().is_none_or(|t| t.cred().is_ok_and(|c| c.capable(CAP_SYS_ADMIN)));
    if terminal.exclusive.load(Relaxed) && !privileged {
        return Err(Errno::EBUSY);
    }
    let generation = terminal.generation.load(Acquire);
    let open = KArc::try_new(OpenTty { terminal, tty, console, generation })?;
    // A session leader without a terminal gets the first one that it opens.
    if flags & O_NOCTTY == 0 && !console && flags & O_ACCMODE != O_WRONLY {
        job::take_if_leader(terminal);
    }
    Ok(Opened::Own(unsize!(KArc, open => dyn FileOps)))
}

/// Opens a serial port. ENXIO: there is none of that number.
pub(super) fn open_serial(inode: &Inode, flags: u32) -> Result<Opened, Errno> {
    open(by_dev(u64::from(encode_dev(inode.rdev))).ok_or(Errno::ENXIO)?, flags, false)
}

/// Opens `/dev/tty`: the caller's controlling terminal. ENXIO: it has none.
pub(super) fn open_current(_: &Inode, flags: u32) -> Result<Opened, Errno> {
    let thread = Thread::current().ok_or(Errno::ENXIO)?;
    let dev = thread.process.relations(&tasks()).tty;
    open(by_dev(dev).ok_or(Errno::ENXIO)?, flags | O_NOCTTY, false)
}

/// Opens `/dev/console`. ENODEV: there is no console.
pub(super) fn open_console(_: &Inode, flags: u32) -> Result<Opened, Errno> {
    open(console::terminal().ok_or(Errno::ENODEV)?, flags, true)
}
