//! The chip's file: what it is, what its lines are, and requests of lines, each of which is a file of its own.

use super::flags;
use super::request::{Kind, Request};
use crate::dev::sysfs::{link, text};
use crate::syscall::fd::nofile;
use crate::task::thread::Thread;
use vigil_abi::fcntl::O_RDONLY;
use vigil_abi::gpio::*;
use vigil_abi::stat::S_IFCHR;
use vigil_abi::{Errno, Pod};
use vigil_drivers::gpio::{Controller, controller, controllers};
use vigil_fs::anon::anon_file;
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::proc::sys_root;
use vigil_fs::vfs::stat::minor;
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, Stop};
use vigil_mem::{KArc, UserPtr, try_format, unsize};

/// The first that Linux gives to those who ask for any: as there.
const MAJOR: u32 = 254;
const MINORS: u32 = 8;
/// Events that a request keeps for each line if it does not say.
const EVENTS: usize = 16;

/// An open chip.
struct Chip {
    pins: &'static Controller,
}

fn name_of(text: &[u8]) -> [u8; GPIO_MAX_NAME_SIZE] {
    let mut name = [0; GPIO_MAX_NAME_SIZE];
    name.iter_mut().take(GPIO_MAX_NAME_SIZE - 1).zip(text).for_each(|(to, from)| *to = *from);
    name
}

impl Chip {
    fn info(&self) -> Result<GpiochipInfo, Errno> {
        let name = try_format!("gpiochip{}", self.pins.number)?;
        let chip = self.pins.chip;
        Ok(GpiochipInfo { name: name_of(name.as_str().as_bytes()), label: name_of(chip.label().as_bytes()), lines: chip.lines() })
    }

    fn line_v1(&self, line_offset: u32) -> Result<GpiolineInfo, Errno> {
        let name = name_of(self.pins.name(line_offset).as_bytes());
        self.pins.with(line_offset, |line| GpiolineInfo {
            line_offset,
            flags: flags::to_v1(line.user().is_some(), &line.settings),
            name,
            consumer: name_of(line.user().unwrap_or(&[])),
        })
    }

    fn line_v2(&self, offset: u32) -> Result<GpioV2LineInfo, Errno> {
        let name = name_of(self.pins.name(offset).as_bytes());
        self.pins.with(offset, |line| {
            let consumer = name_of(line.user().unwrap_or(&[]));
            let flags = flags::to_v2(line.user().is_some(), &line.settings);
            let mut info = GpioV2LineInfo { name, consumer, offset, flags, ..GpioV2LineInfo::default() };
            if line.settings.debounce_us != 0 {
                info.num_attrs = 1;
                info.attrs[0] =
                    GpioV2LineAttribute { id: GPIO_V2_LINE_ATTR_ID_DEBOUNCE, padding: 0, value: line.settings.debounce_us.into() };
            }
            info
        })
    }

    fn handle(&self, arg: usize) -> OpResult<'static, isize> {
        let mut wanted = UserPtr::<GpiohandleRequest>::new(arg).read()?;
        let lines = wanted.lines as usize;
        if lines == 0 || lines > GPIO_LINES_MAX {
            return Err(Stop::Err(Errno::EINVAL));
        }
        flags::of_handle(wanted.flags, false)?;
        let make = || {
            let wish = |i: usize| flags::of_handle(wanted.flags, wanted.default_values[i] != 0);
            Request::try_new(Kind::Handle, self.pins, &wanted.lineoffsets[..lines], &wanted.consumer_label, 0, wish)
        };
        let fd = file_of(arg, &wanted, b"gpio-linehandle", make)?;
        wanted.fd = fd.number();
        fd.tell(arg, &wanted)
    }

    fn event(&self, arg: usize) -> OpResult<'static, isize> {
        let mut wanted = UserPtr::<GpioeventRequest>::new(arg).read()?;
        let wish = flags::of_event(wanted.handleflags, wanted.eventflags)?;
        let make = || Request::try_new(Kind::Event, self.pins, &[wanted.lineoffset], &wanted.consumer_label, EVENTS, |_| Ok(wish));
        let fd = file_of(arg, &wanted, b"gpio-event", make)?;
        wanted.fd = fd.number();
        fd.tell(arg, &wanted)
    }

    fn request(&self, arg: usize) -> OpResult<'static, isize> {
        let mut wanted = UserPtr::<GpioV2LineRequest>::new(arg).read()?;
        let lines = wanted.num_lines as usize;
        if lines == 0 || lines > GPIO_LINES_MAX || wanted.padding.iter().any(|&p| p != 0) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        flags::check_config(&wanted.config, lines)?;
        let size = match wanted.event_buffer_size as usize {
            0 => lines * EVENTS,
            size => size.min(GPIO_LINES_MAX * EVENTS),
        };
        let make = || {
            Request::try_new(Kind::Request, self.pins, &wanted.offsets[..lines], &wanted.consumer, size, |i| {
                flags::of_config(&wanted.config, i)
            })
        };
        let fd = file_of(arg, &wanted, b"gpio-line", make)?;
        wanted.fd = fd.number();
        fd.tell(arg, &wanted)
    }
}

/// A file that has a number already, which nobody but this call knows.
struct Numbered<'t> {
    reserved: vigil_fs::Reserved<'t>,
    file: KArc<File>,
}

/// Makes the file of a request. `wanted` is written back first, as it came, so that a page which is not there is met before anything is done.
fn file_of<'t, T: Pod>(
    arg: usize,
    wanted: &T,
    name: &[u8],
    make: impl FnOnce() -> Result<Request, Errno>,
) -> Result<Numbered<'t>, Stop<'static>> {
    UserPtr::<T>::new(arg).write(wanted)?;
    let thread = Thread::current().ok_or(Errno::EBADF)?;
    let request = KArc::try_new(make()?).map_err(Errno::from)?;
    let reserved = thread.files()?.reserve(0, nofile(thread), true)?;
    let file = anon_file(name, unsize!(KArc, request => dyn FileOps), O_RDONLY)?;
    Ok(Numbered { reserved, file })
}

impl Numbered<'_> {
    fn number(&self) -> i32 {
        self.reserved.fd()
    }

    /// Tells the program, and only then gives it the file.
    fn tell<T: Pod>(self, arg: usize, wanted: &T) -> OpResult<'static, isize> {
        UserPtr::<T>::new(arg).write(wanted)?;
        self.reserved.install(self.file);
        Ok(0)
    }
}

impl FileOps for Chip {
    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        match cmd {
            GPIO_GET_CHIPINFO_IOCTL => UserPtr::new(arg).write(&self.info()?)?,
            GPIO_GET_LINEINFO_IOCTL => {
                let asked = UserPtr::<GpiolineInfo>::new(arg).read()?;
                UserPtr::new(arg).write(&self.line_v1(asked.line_offset)?)?;
            }
            GPIO_V2_GET_LINEINFO_IOCTL => {
                let asked = UserPtr::<GpioV2LineInfo>::new(arg).read()?;
                if asked.padding.iter().any(|&p| p != 0) {
                    return Err(Stop::Err(Errno::EINVAL));
                }
                UserPtr::new(arg).write(&self.line_v2(asked.offset)?)?;
            }
            GPIO_GET_LINEHANDLE_IOCTL => return self.handle(arg),
            GPIO_GET_LINEEVENT_IOCTL => return self.event(arg),
            GPIO_V2_GET_LINE_IOCTL => return self.request(arg),
            _ => return Err(Stop::Err(Errno::EINVAL)),
        }
        Ok(0)
    }
}

fn open(inode: &Inode, _: u32) -> Result<Opened, Errno> {
    let pins = controller(minor(inode.rdev) as usize).ok_or(Errno::ENXIO)?;
    Ok(Opened::Own(unsize!(KArc, KArc::try_new(Chip { pins })? => dyn FileOps)))
}

/// `/sys/bus/gpio/devices/gpiochipN` and what it leads to: libgpiod looks there.
fn add_device(pins: &Controller) -> Result<(), Errno> {
    let (n, sys) = (pins.number, sys_root()?);
    let place = try_format!("devices/platform/{}/gpiochip{n}", pins.parent)?;
    let dir = sys.subdir(place.as_str())?;
    text(&dir, "dev", format_args!("{MAJOR}:{n}\n"))?;
    text(&dir, "uevent", format_args!("MAJOR={MAJOR}\nMINOR={n}\nDEVNAME=gpiochip{n}\n"))?;
    link(&dir, "subsystem", format_args!("../../../../bus/gpio"))?;
    link(&sys, try_format!("bus/gpio/devices/gpiochip{n}")?.as_str(), format_args!("../../../{}", place.as_str()))?;
    link(&sys, try_format!("dev/char/{MAJOR}:{n}")?.as_str(), format_args!("../../{}", place.as_str()))?;
    devtmpfs::device_node(try_format!("gpiochip{n}")?.as_str(), S_IFCHR | 0o600, MAJOR, n as u32)
}

/// Registers the devices and makes their nodes.
pub(in crate::dev) fn init() -> Result<(), Errno> {
    chrdev::register(MAJOR, 0, MINORS, "gpiochip", open)?;
    controllers().try_for_each(add_device)?;
    super::debugfs::init()
}
