//! `/dev/irqlat`: how long it takes from a timer's due time, or from an edge of a pin, to a program, in stages, measured where they are
//! passed.
//!
//! A program starts with ioctl `IRQLAT_START` ([`IrqlatSetup`]: source, period, threshold) or by writing a timer's period (8 bytes, native order,
//! in nanoseconds of 10 µs to 10 s); `IRQLAT_STOP`, or a period of 0, ends the measurement. Each read(2) waits for the next sample (`measure::Sample`).
//! The schedule is absolute: a period that nobody read in time, or that
//! passed while interrupts were masked, is counted as missed in the next sample and never moves the ones after it, so that slow
//! answers are not left out (no coordinated omission).
//!
//! ```text
//!   due ──────► vector ────► acked ───────► woken ────► polled ─────► read ──► EL0
//!   comparator  the CPU has  the line is    read's      the executor           the program reads CNTVCT_EL0 after
//!   or output   saved x0,x1  known          task is     begins its             the system call
//!                                           queued      poll
//! ```
//!
//! Stamps are values of the generic counter, which the program reads as well. Those at the vector, behind the acknowledge and at the
//! poll's beginning are the CPU's ([`KEY_STAMPS`](vigil_executor::trace::KEY_STAMPS)), taken while somebody measures; where an
//! interrupt or poll had begun before the one in question was due, its stage is empty. What a late sample is to be blamed on is
//! noted by [`blame`].
//!
//! Edges come from an output that a timer toggles on the CPU of who has started, by a wire, to an input whose interrupt goes where its
//! chip's line goes ([`vigil_drivers::gpio::wire`]).

mod measure;
mod pins;

use self::measure::{Measurement, Next, SAMPLE};
use crate::trace::blame;
use vigil_abi::Errno;
use vigil_abi::irqlat::{IRQLAT_SOURCE_TIMER, IRQLAT_START, IRQLAT_STOP, IrqlatSetup};
use vigil_abi::poll::POLLIN;
use vigil_abi::stat::S_IFCHR;
use vigil_executor::task::current;
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, UserPtr, unsize};

/// Major number of miscellaneous devices (Linux: MISC_MAJOR).
const MAJOR: u32 = 10;
/// In the range that Linux leaves to local use (Documentation/admin-guide/devices.txt: 240 to 254).
const MINOR: u32 = 240;

/// What one open(2) got.
struct IrqLat(KArc<Measurement>);

impl Drop for IrqLat {
    fn drop(&mut self) {
        // If a CPU comes or goes the stamps stay on, until the next measurement ends.
        let _ = self.0.stop();
    }
}

impl FileOps for IrqLat {
    /// The next sample. EAGAIN: it has not come and the file does not wait. EINVAL: the buffer is too small, or there is no
    /// measurement.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.remaining() < SAMPLE {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let (mut sample, asked, cpu) = match self.0.next() {
            Next::Off => return Err(Stop::Err(Errno::EINVAL)),
            Next::Later => return Err(file.would_block(&self.0.wait, POLLIN)),
            Next::Now(sample, asked, cpu) => (sample, asked, cpu),
        };
        sample.class = current().map_or(0, |task| (i64::from(task.prio()) + 100) as u64);
        blame::sample(asked, cpu, sample.sequence);
        buf.copy_out(&sample.bytes()).map_err(|fault| {
            // The reader comes again when its page is there.
            self.0.put_back(sample);
            fault.into()
        })
    }

    /// A timer's period; 0 ends the measurement. EINVAL: not eight bytes; those of [`Measurement::start`].
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let mut bytes = [0; 8];
        if buf.remaining() != bytes.len() {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let copied = buf.copy_in(&mut bytes)?;
        match u64::from_ne_bytes(bytes) {
            0 => self.0.stop()?,
            period => Measurement::start(&self.0, &IrqlatSetup { source: IRQLAT_SOURCE_TIMER, period, ..IrqlatSetup::default() })?,
        }
        Ok(copied)
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        match cmd {
            IRQLAT_START => Measurement::start(&self.0, &UserPtr::<IrqlatSetup>::new(arg).read()?)?,
            IRQLAT_STOP => self.0.stop()?,
            _ => return Err(Stop::Err(Errno::ENOTTY)),
        }
        Ok(0)
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.0.wait);
        if self.0.is_ready() { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn is_stream(&self) -> bool {
        true
    }
}

fn open(_: &Inode, _: u32) -> Result<Opened, Errno> {
    let made = KArc::try_new(IrqLat(Measurement::try_new()?))?;
    Ok(Opened::Own(unsize!(KArc, made => dyn FileOps)))
}

/// Registers the device, for the superuser: its interrupts come before every task.
pub(super) fn init() -> Result<(), Errno> {
    pins::init();
    chrdev::register(MAJOR, MINOR, 1, "irqlat", open)?;
    devtmpfs::device_node("irqlat", S_IFCHR | 0o600, MAJOR, MINOR)?;
    // Also where nobody has mounted debugfs.
    for dir in [vigil_fs::proc::sys_root()?.subdir("kernel/debug")?, vigil_fs::debug::root()?] {
        dir.add_file_rw(
            "irqlat_blame",
            0o600,
            |out| blame::show(out),
            |data| {
                let text = core::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
                blame::arm(text.trim().parse().map_err(|_| Errno::EINVAL)?)
            },
        )?;
    }
    Ok(())
}
