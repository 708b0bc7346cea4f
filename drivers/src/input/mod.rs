//! Input devices: buttons and what else makes events, between the driver that reports and the files that programs read.
//!
//! A driver [`register`]s an [`InputDevice`] at boot and reports by [`InputDevice::report`], from a hard interrupt if it likes. What is
//! not a change is left out; a report of one or more events ends with SYN_REPORT ([`InputDevice::sync`]). Readers are told through one
//! [`InputSink`], which the kernel's evdev is. Source for behaviour: Linux `drivers/input/input.c`.

mod device;

pub use device::{BITS, InputDevice, InputId, MAX_KEY};

use core::sync::atomic::{AtomicPtr, Ordering};
use vigil_abi::Errno;
use vigil_executor::time::Nanos;

/// Input devices that there can be.
pub const MAX_DEVICES: usize = 8;

/// The end of what happened at one time.
pub const EV_SYN: u16 = 0;
/// Keys and buttons: 1 pressed, 0 released, 2 repeated.
pub const EV_KEY: u16 = 1;
/// Switches.
pub const EV_SW: u16 = 5;
/// Ends a report.
pub const SYN_REPORT: u16 = 0;

/// One event of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// `EV_*`.
    pub kind: u16,
    /// Which key or axis.
    pub code: u16,
    /// Its new state.
    pub value: i32,
}

/// Where events go.
pub trait InputSink: Sync {
    /// Events of device `number`, in order; `at` is when their report began, in the executor's time. Any context, interrupts masked: no allocation, IRQ-safe locks held briefly.
    fn event(&self, number: usize, event: Event, at: Nanos);
}

static DEVICES: [AtomicPtr<InputDevice>; MAX_DEVICES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_DEVICES];
static SINK: spin::Once<&'static dyn InputSink> = spin::Once::new();

/// Makes `sink` the one that events go to. Once.
pub fn set_sink(sink: &'static dyn InputSink) {
    SINK.call_once(|| sink);
}

fn sink() -> Option<&'static dyn InputSink> {
    SINK.get().copied()
}

/// `inputN`, if there is one.
pub fn device(n: usize) -> Option<&'static InputDevice> {
    // SAFETY: a slot is null or holds a leaked device.
    unsafe { DEVICES.get(n)?.load(Ordering::Acquire).as_ref() }
}

/// All of them, by number.
pub fn devices() -> impl Iterator<Item = &'static InputDevice> {
    (0..MAX_DEVICES).map_while(device)
}

/// Makes `device` the next `inputN`. Boot only. Errors: ENOSPC when there are too many.
pub fn register(device: &'static mut InputDevice) -> Result<&'static InputDevice, Errno> {
    let number = devices().count();
    let slot = DEVICES.get(number).ok_or(Errno::ENOSPC)?;
    device.number = number;
    log::info!("input: {} as /devices/platform/{}/input/input{number}", device.name, device.parent);
    slot.store(device, Ordering::Release);
    Ok(device)
}
