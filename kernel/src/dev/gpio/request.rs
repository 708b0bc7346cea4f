//! The file of requested lines: values, and edges by read(2). Of three kinds: handles and line events of version 1, requests of version 2.

use super::events::{Ear, Events};
use super::flags::{self, Wish};
use vigil_abi::Errno;
use vigil_abi::gpio::*;
use vigil_abi::poll::POLLIN;
use vigil_drivers::gpio::{Controller, EdgeListener, Edges, Settings};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::{File, FileOps, OpResult, PollEvents, PollTable, Stop};
use vigil_mem::{IoBufMut, KArc, KVec, UserPtr, unsize};

/// Which interface a request came by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// GPIO_GET_LINEHANDLE_IOCTL.
    Handle,
    /// GPIO_GET_LINEEVENT_IOCTL.
    Event,
    /// GPIO_V2_GET_LINE_IOCTL.
    Request,
}

/// A line that was taken; given back when this is dropped.
struct Line {
    pins: &'static Controller,
    offset: u32,
    /// What listens to it.
    ear: SpinLock<Option<KArc<Ear>>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.pins.free(self.offset);
    }
}

/// An open request.
pub(super) struct Request {
    kind: Kind,
    lines: KVec<Line>,
    events: KArc<Events>,
}

impl Request {
    /// Takes `offsets` for `user`, with room for `size` events. Errors: EINVAL, EBUSY, ENOMEM, those of the chip.
    pub(super) fn try_new(
        kind: Kind,
        pins: &'static Controller,
        offsets: &[u32],
        user: &[u8],
        size: usize,
        wish: impl Fn(usize) -> Result<Wish, Errno>,
    ) -> Result<Request, Errno> {
        let events = Events::try_new(size, kind == Kind::Event)?;
        let mut request = Request { kind, lines: KVec::new(), events };
        request.lines.try_reserve_exact(offsets.len())?;
        let user = user.split(|&byte| byte == 0).next().unwrap_or(&[]);
        // As Linux: a line is named "?" when its user gives no name.
        let user = if user.is_empty() { b"?" } else { user };
        for (index, &offset) in offsets.iter().enumerate() {
            pins.request(offset, user)?;
            let line = Line { pins, offset, ear: SpinLock::new(lock_class!("gpio_ear"), None) };
            // The vector has room: the line is in it, or given back here.
            request.lines.try_push(line)?;
            request.lines[index].configure(&request.events, wish(index)?)?;
        }
        Ok(request)
    }

    /// Bits of the lines that are active, of those in `mask`.
    fn values(&self, mask: u64) -> Result<u64, Errno> {
        let mut bits = 0;
        for (i, line) in self.lines.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0) {
            bits |= u64::from(line.value()?) << i;
        }
        Ok(bits)
    }

    /// The lines of the request in `mask`. EINVAL: none.
    fn selected(&self, mask: u64) -> Result<u64, Errno> {
        let all = u64::MAX >> (64 - self.lines.len().clamp(1, 64));
        if mask & all == 0 { Err(Errno::EINVAL) } else { Ok(mask & all) }
    }

    fn set(&self, mask: u64, bits: u64) -> Result<(), Errno> {
        let chosen = || self.lines.iter().enumerate().filter(|(i, _)| mask >> i & 1 != 0);
        for (_, line) in chosen() {
            if !line.pins.with(line.offset, |l| l.settings.output)? {
                return Err(Errno::EPERM);
            }
        }
        chosen().try_for_each(|(i, line)| line.pins.set_value(line.offset, bits >> i & 1 != 0))
    }

    fn handle_ioctl(&self, cmd: u32, arg: usize) -> Result<(), Stop<'static>> {
        match (self.kind, cmd) {
            (Kind::Handle | Kind::Event, GPIOHANDLE_GET_LINE_VALUES_IOCTL) => {
                let bits = self.values(u64::MAX)?;
                let mut data = GpiohandleData::default();
                for (i, value) in data.values.iter_mut().enumerate().take(self.lines.len()) {
                    *value = (bits >> i & 1) as u8;
                }
                UserPtr::new(arg).write(&data)?;
            }
            (Kind::Handle, GPIOHANDLE_SET_LINE_VALUES_IOCTL) => {
                // Directions are those of all: the first says.
                let output = self.lines.first().map_or(Ok(false), |l| l.pins.with(l.offset, |s| s.settings.output))?;
                if !output {
                    return Err(Stop::Err(Errno::EPERM));
                }
                let data = UserPtr::<GpiohandleData>::new(arg).read()?;
                self.set(u64::MAX, data.values.iter().rev().fold(0, |bits, &v| bits << 1 | u64::from(v != 0)))?;
            }
            (Kind::Handle, GPIOHANDLE_SET_CONFIG_IOCTL) => {
                let config = UserPtr::<GpiohandleConfig>::new(arg).read()?;
                let wish = flags::of_handle(config.flags, false)?;
                if !wish.directed {
                    return Err(Stop::Err(Errno::EINVAL));
                }
                for (line, value) in self.lines.iter().zip(config.default_values) {
                    line.configure(&self.events, Wish { active: value != 0, ..wish })?;
                }
            }
            _ => return Err(Stop::Err(Errno::EINVAL)),
        }
        Ok(())
    }

    fn request_ioctl(&self, cmd: u32, arg: usize) -> Result<(), Stop<'static>> {
        match cmd {
            GPIO_V2_LINE_GET_VALUES_IOCTL => {
                let mut values = UserPtr::<GpioV2LineValues>::new(arg).read()?;
                values.bits = self.values(self.selected(values.mask)?)?;
                UserPtr::new(arg).write(&values)?;
            }
            GPIO_V2_LINE_SET_VALUES_IOCTL => {
                let values = UserPtr::<GpioV2LineValues>::new(arg).read()?;
                self.set(self.selected(values.mask)?, values.bits)?;
            }
            GPIO_V2_LINE_SET_CONFIG_IOCTL => {
                let config = UserPtr::<GpioV2LineConfig>::new(arg).read()?;
                flags::check_config(&config, self.lines.len())?;
                for (i, line) in self.lines.iter().enumerate() {
                    line.configure(&self.events, flags::of_config(&config, i)?)?;
                }
            }
            _ => return Err(Stop::Err(Errno::EINVAL)),
        }
        Ok(())
    }
}

impl Line {
    fn value(&self) -> Result<bool, Errno> {
        let still = self.ear.lock().as_ref().and_then(|ear| ear.level());
        still.map_or_else(|| self.pins.value(self.offset), Ok)
    }

    /// Uses the line as `wish` says from now on.
    fn configure(&self, events: &KArc<Events>, wish: Wish) -> Result<(), Errno> {
        let (pins, offset) = (self.pins, self.offset);
        pins.unlisten(offset);
        // A listener goes with nothing locked.
        let old = self.ear.lock().take();
        drop(old);
        if !wish.directed {
            return pins.leave(offset, wish.settings);
        }
        pins.configure(offset, wish.settings, wish.active)?;
        let Settings { edges, debounce_us, .. } = wish.settings;
        if edges == Edges::empty() && debounce_us == 0 {
            return Ok(());
        }
        let ear = Ear::try_new(events, pins, offset, &wish.settings)?;
        let listener = unsize!(KArc, ear.clone() => dyn EdgeListener);
        let hears = ear.hears();
        *self.ear.lock() = Some(ear);
        // A chip without interrupts.
        pins.listen(offset, hears, listener, None).map_err(|e| if e == Errno::ENXIO { Errno::ENODEV } else { e })
    }
}

impl FileOps for Request {
    /// Edges, as many as there are and fit. EINVAL: not one fits; EAGAIN.
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        let size = match self.kind {
            Kind::Handle => return Err(Stop::Err(Errno::EINVAL)),
            Kind::Event => size_of::<GpioeventData>(),
            Kind::Request => size_of::<GpioV2LineEvent>(),
        };
        if buf.remaining() < size {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let _one = self.events.reading.lock();
        let mut read = 0;
        while buf.remaining() >= size
            && let Some((event, position)) = self.events.peek()
        {
            let copied = match self.kind {
                Kind::Request => buf.write_pod(&event),
                _ => buf.write_pod(&GpioeventData { timestamp: event.timestamp_ns, id: event.id, __pad: 0 }),
            };
            match copied {
                Ok(_) => {}
                Err(_) if read != 0 => break,
                Err(fault) => return Err(fault.into()),
            }
            self.events.pop(position);
            read += size;
        }
        if read == 0 { Err(file.would_block(&self.events.wait, POLLIN)) } else { Ok(read) }
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        match self.kind {
            Kind::Request => self.request_ioctl(cmd, arg)?,
            _ => self.handle_ioctl(cmd, arg)?,
        }
        Ok(0)
    }

    fn can_poll(&self) -> bool {
        self.kind != Kind::Handle
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        if self.kind == Kind::Handle {
            return PollEvents::DEFAULT;
        }
        table.add(&self.events.wait);
        if self.events.peek().is_some() { PollEvents::IN | PollEvents::RDNORM } else { PollEvents::empty() }
    }

    fn is_stream(&self) -> bool {
        true
    }
}
