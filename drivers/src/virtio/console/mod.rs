//! virtio-console with ports (specification 5.3): each port is a stream, `vport{device}p{port}`.
//!
//! ```text
//!   control queues (2, 3) ── PORT_ADD, PORT_NAME, PORT_OPEN … ──► Port::present, name, host_connected
//!   queues of port n (0/1 for n = 0, else 2n+2 / 2n+3) ── bytes ──► Port::try_read, Port::try_write
//! ```
//!
//! Who sees what is Linux's `virtio_console`: a port may be open once (EBUSY); one that is a console cannot be opened
//! (ENXIO); while the host's side is closed a read answers what is left, then 0, a write waits, and poll says POLLHUP.
//!
//! The interrupt handler reads control messages into fixed fields and wakes; it allocates nothing. A port's buffers are
//! allocated when it is opened first. Locks: the control lock is taken with interrupts masked, also by the handler;
//! the data locks only by tasks. None is taken inside another.

mod control;
mod port;

pub use port::{NAME_LEN, Port};

use super::mmio::Transport;
use crate::irq::{self, IrqAction, IrqFlags, IrqReturn, Virq};
use control::Control;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use vigil_abi::Errno;
use vigil_mem::KBox;

/// The most ports of a device that are driven; the device is told that others cannot be.
pub const MAX_PORTS: usize = 16;
/// The most devices.
pub const MAX_DEVICES: usize = 2;

const F_MULTIPORT: u64 = 1 << 1;
const CONFIG_MAX_PORTS: usize = 4;
const PORT_QUEUE_SIZE: u16 = 16;

/// A device with its ports.
pub struct Console {
    transport: Transport,
    control: Control,
    ports: [Option<&'static Port>; MAX_PORTS],
}

static DEVICES: [AtomicPtr<Console>; MAX_DEVICES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_DEVICES];
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn nothing() {}
static HOTPLUG: AtomicPtr<()> = AtomicPtr::new(nothing as *mut ());

/// Sets what runs when a port appeared, got its name or went: in the hard interrupt, so it only wakes whoever then
/// looks at [`ports`] and makes or removes device nodes.
pub fn set_hotplug_hook(hook: fn()) {
    HOTPLUG.store(hook as *mut (), Ordering::Release);
}

fn hotplug() {
    // SAFETY: `HOTPLUG` only ever holds pointers made of `fn()` items.
    let hook: fn() = unsafe { core::mem::transmute(HOTPLUG.load(Ordering::Acquire)) };
    hook();
}

/// All ports that are there, by device and number.
pub fn ports() -> impl Iterator<Item = &'static Port> {
    devices().flat_map(|d| d.ports.iter().flatten().copied()).filter(|p| p.is_present())
}

/// Port `number` of device `device`, if it is there.
pub fn port(device: usize, number: usize) -> Option<&'static Port> {
    devices().nth(device)?.ports.get(number).copied().flatten().filter(|p| p.is_present())
}

fn devices() -> impl Iterator<Item = &'static Console> {
    // SAFETY: a slot is null or points to a leaked device.
    DEVICES.iter().filter_map(|d| unsafe { d.load(Ordering::Acquire).as_ref() })
}

/// Takes the device behind `transport`, whose interrupt is `virq`. Errors: ENODEV when it has no ports (it is a plain
/// console) or there are too many devices; ENOMEM; those of the queues.
pub(super) fn probe(transport: Transport, virq: Virq) -> Result<(), Errno> {
    let console = start(transport)?;
    let action: &'static IrqAction = KBox::leak(KBox::try_new(IrqAction::for_device("virtio0", interrupt, console, IrqFlags::SHARED))?);
    irq::request_irq(virq, action)?;
    console.control.announce(&console.transport);
    Ok(())
}

/// Sets the device up and makes it known; its interrupt is not requested yet.
fn start(transport: Transport) -> Result<&'static Console, Errno> {
    let device = COUNT.load(Ordering::Relaxed);
    let slot = DEVICES.get(device).ok_or(Errno::ENODEV)?;
    let agreed = transport.begin(F_MULTIPORT)?;
    if agreed & F_MULTIPORT == 0 {
        transport.fail();
        return Err(Errno::ENODEV);
    }
    let count = (transport.config32(CONFIG_MAX_PORTS) as usize).clamp(1, MAX_PORTS);
    let console = build(transport, device, count).inspect_err(|_| transport.fail())?;
    transport.finish();
    slot.store(core::ptr::from_ref(console).cast_mut(), Ordering::Release);
    COUNT.store(device + 1, Ordering::Relaxed);
    console.control.start(&console.transport);
    Ok(console)
}

fn build(transport: Transport, device: usize, count: usize) -> Result<&'static Console, Errno> {
    // What is allocated before a failure stays allocated: the device has failed, and a board has one.
    let control = Control::new(transport.queue(2, control::SLOTS)?, transport.queue(3, control::SLOTS)?)?;
    let mut ports = [None; MAX_PORTS];
    for (n, slot) in ports.iter_mut().enumerate().take(count) {
        let first = if n == 0 { 0 } else { 2 * n as u16 + 2 };
        let (rx, tx) = (transport.queue(first, PORT_QUEUE_SIZE)?, transport.queue(first + 1, PORT_QUEUE_SIZE)?);
        let port: &'static Port = KBox::leak(KBox::try_new(Port::new(transport, device, n, rx, tx))?);
        *slot = Some(port);
    }
    Ok(KBox::leak(KBox::try_new(Console { transport, control, ports })?))
}

impl Console {
    fn handle_interrupt(&'static self) -> IrqReturn {
        let reason = self.transport.take_interrupt();
        if reason == 0 {
            return IrqReturn::None;
        }
        if self.control.receive(&self.transport, &self.ports) {
            hotplug();
        }
        for port in self.ports.iter().flatten() {
            port.wake();
        }
        IrqReturn::Handled
    }

    /// Tells the device that the guest's side of a port opened or closed.
    fn tell_open(&self, port: usize, open: bool) {
        self.control.send(&self.transport, port as u32, control::PORT_OPEN, u16::from(open));
    }
}

fn interrupt(_: Virq, device: *const ()) -> IrqReturn {
    // SAFETY: `probe` makes the action with a `&'static Console`.
    unsafe { &*device.cast::<Console>() }.handle_interrupt()
}

#[cfg(test)]
pub(super) mod testing {
    //! Doors for the tests of the whole device.
    use super::*;

    pub(in crate::virtio) fn start_device(transport: Transport) -> &'static Console {
        let console = start(transport).unwrap();
        console.control.announce(&console.transport);
        console
    }

    pub(in crate::virtio) fn interrupt_device(console: &'static Console) -> IrqReturn {
        console.handle_interrupt()
    }
}
