//! `/dev/input/eventN`: events are read as `struct input_event`, and made by writing them; the device tells of itself by ioctl.

use super::{Client, grab, join, leave};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_NONBLOCK;
use vigil_abi::input::*;
use vigil_abi::ioctl::{IOC_READ, ioc};
use vigil_abi::poll::POLLIN;
use vigil_abi::stat::S_IFCHR;
use vigil_drivers::input::{self, Event, InputDevice};
use vigil_fs::dev::{chrdev, devtmpfs};
use vigil_fs::vfs::stat::minor;
use vigil_fs::{File, FileOps, Inode, OpResult, Opened, PollEvents, PollTable, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, UserPtr, try_format, unsize};

const MAJOR: u32 = 13;
/// The first minor number of evdev, and how many it has.
const FIRST: u32 = 64;
const MINORS: u32 = 32;
const EVENT: usize = size_of::<InputEvent>();

/// An open file.
struct Open {
    device: &'static InputDevice,
    client: KArc<Client>,
}

impl Drop for Open {
    fn drop(&mut self) {
        leave(self.device.number, &self.client);
    }
}

impl Open {
    fn alive(&self) -> Result<(), Errno> {
        if self.client.revoked.load(Relaxed) { Err(Errno::ENODEV) } else { Ok(()) }
    }
}

impl FileOps for Open {
    /// Whole reports. EINVAL: the buffer is too small for one event; ENODEV: revoked.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let count = buf.remaining();
        if count != 0 && count < EVENT {
            return Err(Stop::Err(Errno::EINVAL));
        }
        self.alive()?;
        if !self.client.has_report() {
            return if count == 0 && file.flags() & O_NONBLOCK == 0 { Ok(0) } else { Err(file.would_block(&self.client.wait, POLLIN)) };
        }
        let _one = self.client.reading.lock();
        let mut read = 0;
        while buf.remaining() >= EVENT
            && let Some((event, position)) = self.client.peek()
        {
            match buf.write_pod(&event) {
                Ok(_) => {}
                Err(_) if read != 0 => break,
                Err(fault) => return Err(fault.into()),
            }
            self.client.pop(position);
            read += EVENT;
        }
        Ok(read)
    }

    /// Makes events as the device would. EINVAL: less than one; ENODEV.
    fn write<'a>(&'a self, _: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let count = buf.remaining();
        if count != 0 && count < EVENT {
            return Err(Stop::Err(Errno::EINVAL));
        }
        self.alive()?;
        let mut written = 0;
        while buf.remaining() >= EVENT {
            let event = match buf.read_pod::<InputEvent>() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) if written != 0 => break,
                Err(fault) => return Err(fault.into()),
            };
            written += EVENT;
            self.device.report(Event { kind: event.kind, code: event.code, value: event.value });
        }
        Ok(written)
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        self.alive()?;
        match cmd {
            EVIOCGVERSION => put(arg, &EV_VERSION),
            EVIOCGID => {
                let id = self.device.id;
                put(arg, &InputId { bustype: id.bus, vendor: id.vendor, product: id.product, version: id.version })
            }
            // No device here repeats keys or has effects.
            EVIOCGREP | EVIOCSREP | EVIOCRMFF => Err(Stop::Err(Errno::ENOSYS)),
            EVIOCGEFFECTS => put(arg, &0u32),
            EVIOCGRAB => Ok(grab(self.device.number, &self.client, arg != 0).map(|()| 0)?),
            EVIOCREVOKE if arg == 0 => {
                self.client.revoked.store(true, Relaxed);
                let _ = grab(self.device.number, &self.client, false);
                self.client.wait.wake(u32::MAX, 0);
                Ok(0)
            }
            EVIOCSCLOCKID => {
                let clock = UserPtr::<u32>::new(arg).read()?;
                Ok(self.client.set_clock(clock).map(|()| 0)?)
            }
            _ => self.sized(cmd, arg),
        }
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.client.wait);
        let mut events = if self.alive().is_ok() { PollEvents::OUT | PollEvents::WRNORM } else { PollEvents::HUP | PollEvents::ERR };
        if self.client.has_report() {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        events
    }

    fn is_stream(&self) -> bool {
        true
    }
}

fn put<T: vigil_abi::Pod>(arg: usize, value: &T) -> OpResult<'static, isize> {
    UserPtr::<T>::new(arg).write(value)?;
    Ok(0)
}

impl Open {
    /// The ioctls whose number carries the buffer's size.
    fn sized(&self, cmd: u32, arg: usize) -> OpResult<'static, isize> {
        let (nr, size) = (cmd & 0xff, (cmd >> 16 & 0x3fff) as usize);
        if cmd != ioc(IOC_READ, EVIOC, nr as u8, size) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        match nr {
            EVIOC_NR_NAME => text(arg, size, self.device.name),
            EVIOC_NR_PHYS => text(arg, size, self.device.phys),
            EVIOC_NR_UNIQ => Err(Stop::Err(Errno::ENOENT)),
            EVIOC_NR_PROP => bits(arg, size, &[0], INPUT_PROP_MAX),
            EVIOC_NR_KEY => {
                let keys = self.device.pressed();
                self.client.flush(EV_KEY);
                bits(arg, size, &keys, KEY_MAX)
            }
            EVIOC_NR_SW => {
                let switches = self.device.switched();
                self.client.flush(EV_SW);
                bits(arg, size, &[switches], SW_MAX)
            }
            EVIOC_NR_LED => bits(arg, size, &[0], LED_MAX),
            EVIOC_NR_SND => bits(arg, size, &[0], SND_MAX),
            _ if nr & !u32::from(EV_MAX) == EVIOC_NR_BIT => match (nr & u32::from(EV_MAX)) as u16 {
                EV_SYN => bits(arg, size, &[self.device.kinds()], EV_MAX),
                EV_KEY => bits(arg, size, &self.device.keys(), KEY_MAX),
                EV_SW => bits(arg, size, &[self.device.switches()], SW_MAX),
                EV_REL => bits(arg, size, &[0], REL_MAX),
                EV_ABS => bits(arg, size, &[0], ABS_MAX),
                EV_MSC => bits(arg, size, &[0], MSC_MAX),
                EV_LED => bits(arg, size, &[0], LED_MAX),
                EV_SND => bits(arg, size, &[0], SND_MAX),
                EV_FF => bits(arg, size, &[0; 2], FF_MAX),
                _ => Err(Stop::Err(Errno::EINVAL)),
            },
            // Axes, slots, maps of keys: no device here has them.
            _ => Err(Stop::Err(Errno::EINVAL)),
        }
    }
}

/// A set of which `max` is the highest member, as much as fits; answers how many bytes that is.
fn bits(arg: usize, size: usize, words: &[u64], max: u16) -> OpResult<'static, isize> {
    let len = usize::from(max).div_ceil(64) * 8;
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    copy(arg, size.min(len), bytes)
}

/// A string with its zero, as much as fits; answers how many bytes that is.
fn text(arg: usize, size: usize, text: &str) -> OpResult<'static, isize> {
    copy(arg, size.min(text.len() + 1), text.bytes().chain([0]))
}

fn copy(arg: usize, len: usize, bytes: impl Iterator<Item = u8>) -> OpResult<'static, isize> {
    let mut buffer = [0; 128];
    let len = len.min(buffer.len());
    for (to, from) in buffer.iter_mut().zip(bytes).take(len) {
        *to = from;
    }
    UserPtr::<u8>::new(arg).write_slice(&buffer[..len])?;
    Ok(len as isize)
}

fn open(inode: &Inode, _: u32) -> Result<Opened, Errno> {
    let number = minor(inode.rdev).checked_sub(FIRST).ok_or(Errno::ENODEV)? as usize;
    let device = input::device(number).ok_or(Errno::ENODEV)?;
    let client = KArc::try_new_with(Client::new)?;
    join(number, &client)?;
    // Its drop leaves again, should there be no memory for it.
    let open = Open { device, client };
    Ok(Opened::Own(unsize!(KArc, KArc::try_new(open)? => dyn FileOps)))
}

/// Registers the devices and makes their nodes.
pub(super) fn init() -> Result<(), Errno> {
    chrdev::register(MAJOR, FIRST, MINORS, "input", open)?;
    for device in input::devices() {
        let name = try_format!("input/event{}", device.number)?;
        devtmpfs::device_node(name.as_str(), S_IFCHR | 0o600, MAJOR, FIRST + device.number as u32)?;
    }
    Ok(())
}
