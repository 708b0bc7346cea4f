//! Terminals as programs see them: device files, controlling terminals, job control (Linux: drivers/tty/{tty_io,
//! tty_jobctrl,tty_ioctl}.c).
//!
//! The line discipline, the queues and the device are `vigil_drivers::tty`; a [`Terminal`] adds what needs processes.
//! The relation between a session and its terminal is kept on both sides, `Relations::tty` and the terminal's session and
//! foreground group, and changes only under the lock of the process tree.
//!
//! | file | what |
//! |---|---|
//! | [`console`] | the kernel's console on a serial port; which terminal `/dev/console` is |
//! | [`file`] | open terminals |
//! | [`ioctl`] | ioctl(2) |
//! | [`job`] | controlling terminals, process groups, signals, hang-up |

pub mod console;
pub mod file;
pub mod ioctl;
pub mod job;

pub use job::leader_exit;

use core::sync::atomic::{AtomicBool, AtomicU32};
use vigil_abi::Errno;
use vigil_abi::stat::S_IFCHR;
use vigil_drivers::serial::{self, Family, MAX_PORTS};
use vigil_drivers::tty::{Received, Tty, TtyEvents};
use vigil_executor::work::{UNBOUND, Work};
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::vfs::fasync::{Band, FasyncList};
use vigil_fs::vfs::stat::{encode_dev, mkdev};

/// The device numbers of a family's ports (Linux: SERIAL_AMBA_MAJOR and _MINOR, TTY_MAJOR).
const fn numbers(family: Family) -> (u32, u32) {
    match family {
        Family::Ama => (204, 64),
        Family::S => (4, 64),
    }
}

/// Major number of `/dev/tty` and `/dev/console` (TTYAUX_MAJOR).
const AUX_MAJOR: u32 = 5;

/// A terminal with a place among the device numbers.
pub struct Terminal {
    /// What kind of serial port it is.
    family: Family,
    /// Its number among those of its kind.
    index: usize,
    /// Counts hang-ups: files opened before the last one are dead.
    generation: AtomicU32,
    /// TIOCEXCL: no further opens but the superuser's.
    exclusive: AtomicBool,
    breaking: ioctl::Break,
    /// Who wants a signal for each line.
    fasync: FasyncList,
}

static TERMINALS: [Terminal; 2 * MAX_PORTS] = {
    use Family::{Ama, S};
    [
        Terminal::new(Ama, 0),
        Terminal::new(Ama, 1),
        Terminal::new(Ama, 2),
        Terminal::new(Ama, 3),
        Terminal::new(S, 0),
        Terminal::new(S, 1),
        Terminal::new(S, 2),
        Terminal::new(S, 3),
    ]
};

impl Terminal {
    const fn new(family: Family, index: usize) -> Self {
        Terminal {
            family,
            index,
            generation: AtomicU32::new(0),
            exclusive: AtomicBool::new(false),
            breaking: ioctl::Break::new(),
            fasync: FasyncList::new(),
        }
    }

    /// Its name, without `/dev/`.
    fn name(&self) -> &'static str {
        self.family.names()[self.index]
    }

    /// The line discipline and the device; `None` while there is no such port.
    pub fn tty(&self) -> Option<&'static Tty> {
        serial::port(self.family, self.index)?.tty()
    }

    /// Its device number as user space sees it (`tty_nr` of `/proc/PID/stat`): never 0.
    pub fn dev(&self) -> u64 {
        let (major, minor) = numbers(self.family);
        u64::from(encode_dev(mkdev(major, minor + self.index as u32)))
    }
}

/// The terminal whose device number is `dev`, as [`Terminal::dev`] gives it.
pub fn by_dev(dev: u64) -> Option<&'static Terminal> {
    terminals().find(|t| t.dev() == dev)
}

/// Every terminal that is there.
fn terminals() -> impl Iterator<Item = &'static Terminal> {
    TERMINALS.iter().filter(|t| t.tty().is_some())
}

/// Takes characters out of the ports and through the line disciplines.
static INPUT: Work = Work::new(|_| terminals().filter_map(Terminal::tty).for_each(Tty::flush_input));

struct Events;

impl TtyEvents for Events {
    fn input(&self, _: &'static Tty) {
        UNBOUND.queue(&INPUT);
    }

    fn signal(&self, tty: &Tty, received: Received) {
        job::signal_foreground(tty, received);
    }

    fn readable(&self, tty: &Tty) {
        if let Some(terminal) = terminals().find(|terminal| terminal.tty().is_some_and(|own| core::ptr::eq(own, tty))) {
            terminal.fasync.tell(Band::In);
        }
    }
}

/// Registers the device files and takes over the ports' input. Once, in a task.
pub(crate) fn init() -> Result<(), Errno> {
    for (family, name) in [(Family::Ama, "ttyAMA"), (Family::S, "ttyS")] {
        let (major, minor) = numbers(family);
        chrdev::register(major, minor, MAX_PORTS as u32, name, file::open_serial)?;
    }
    chrdev::register(AUX_MAJOR, 0, 1, "/dev/tty", file::open_current)?;
    chrdev::register(AUX_MAJOR, 1, 1, "/dev/console", file::open_console)?;
    devtmpfs::device_node("tty", S_IFCHR | 0o666, AUX_MAJOR, 0)?;
    devtmpfs::device_node("console", S_IFCHR | 0o600, AUX_MAJOR, 1)?;
    for terminal in terminals() {
        let Some(tty) = terminal.tty() else { continue };
        let (major, minor) = numbers(terminal.family);
        devtmpfs::device_node(terminal.name(), S_IFCHR | 0o600, major, minor + terminal.index as u32)?;
        tty.set_events(&Events);
    }
    // What came in while nobody listened.
    UNBOUND.queue(&INPUT);
    Ok(())
}
