//! `gpio-keys`: buttons and switches on pins, as an input device (Linux: `drivers/input/keyboard/gpio_keys.c`, binding `input/gpio-keys`).
//!
//! An edge starts the button's timer; when the pin has been still for the debounce interval its level is reported. No level is ever
//! taken from an edge, so bounces make no events.

use super::{Controller, Edge, EdgeListener, Edges, Settings, controller};
use crate::dt::Node;
use crate::input::{self, EV_KEY, EV_SW, Event, InputDevice, InputId};
use crate::model::Driver;
use core::mem::offset_of;
use core::pin::Pin;
use vigil_abi::Errno;
use vigil_executor::time::{MSEC, Nanos, now};
use vigil_executor::timer::SoftTimer;
use vigil_mem::{KArc, KBox, KVec, unsize};

/// Buttons without an interval of their own.
const DEBOUNCE_MS: u32 = 5;
/// `BUS_HOST`.
const BUS_HOST: u16 = 0x19;

/// The driver. After the chips.
pub static DRIVER: Driver = Driver { name: "gpio-keys", compatible: &["gpio-keys"], priority: 50, probe };

struct Button {
    /// Reports with interrupts on: there may be many readers.
    timer: SoftTimer,
    device: &'static InputDevice,
    pins: &'static Controller,
    line: u32,
    kind: u16,
    code: u16,
    debounce: Nanos,
}

/// What hears of a button's edges.
struct Ear(&'static Button);

impl EdgeListener for Ear {
    fn edge(&self, _: u32, _: Edge) {
        Pin::static_ref(&self.0.timer).start(now().saturating_add(self.0.debounce), 0);
    }
}

/// The pin has been still. Softirq.
fn settled(timer: &SoftTimer) {
    // SAFETY: every `SoftTimer` with this function is the field of a `Button`, which lives for ever.
    let button = unsafe { &*core::ptr::from_ref(timer).byte_sub(offset_of!(Button, timer)).cast::<Button>() };
    button.report();
}

impl Button {
    fn report(&self) {
        let value = i32::from(self.pins.value(self.line).unwrap_or(false));
        self.device.report(Event { kind: self.kind, code: self.code, value });
        self.device.sync();
    }
}

/// What the tree says of one button.
struct Wanted {
    pins: &'static Controller,
    line: u32,
    active_low: bool,
    kind: u16,
    code: u16,
    label: &'static str,
    debounce: Nanos,
}

fn wanted(node: Node<'_>) -> Result<Wanted, Errno> {
    let (pins, line, active_low) = super::from_dt(node, "gpios", 0)?;
    let code = node.prop_u32("linux,code").and_then(|c| u16::try_from(c).ok()).ok_or(Errno::EINVAL)?;
    let kind = match node.prop_u32("linux,input-type").unwrap_or(u32::from(EV_KEY)) {
        1 => EV_KEY,
        5 => EV_SW,
        _ => return Err(Errno::EINVAL),
    };
    let label = controller::leak(node.prop_str("label").unwrap_or(node.name()))?;
    let debounce = Nanos::from(node.prop_u32("debounce-interval").unwrap_or(DEBOUNCE_MS)) * MSEC;
    Ok(Wanted { pins, line, active_low, kind, code, label, debounce })
}

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let mut buttons = KVec::new();
    for child in node.children().filter(|c| c.is_available()) {
        buttons.try_push(wanted(child)?)?;
    }
    if buttons.is_empty() {
        return Err(Errno::ENODEV);
    }
    let name = controller::leak(node.prop_str("label").unwrap_or(node.name()))?;
    let parent = controller::leak(node.name())?;
    let phys = controller::leak("gpio-keys/input0")?;
    let mut device = InputDevice::new(name, phys, parent, InputId { bus: BUS_HOST, vendor: 1, product: 1, version: 0x100 });
    if !buttons.iter().all(|b| device.add(b.kind, b.code)) {
        return Err(Errno::EINVAL);
    }
    for (i, b) in buttons.iter().enumerate() {
        if let Err(e) = b.pins.request(b.line, b.label.as_bytes()) {
            buttons[..i].iter().for_each(|b| b.pins.free(b.line));
            return Err(e);
        }
    }
    let device = input::register(KBox::leak(KBox::try_new(device)?))?;
    for b in buttons.iter() {
        let settings = Settings { active_low: b.active_low, ..Settings::default() };
        b.pins.configure(b.line, settings, false)?;
        let button: &'static Button = KBox::leak(KBox::try_new(Button {
            timer: SoftTimer::new(settled),
            device,
            pins: b.pins,
            line: b.line,
            kind: b.kind,
            code: b.code,
            debounce: b.debounce,
        })?);
        let ear = KArc::try_new(Ear(button))?;
        b.pins.listen(b.line, Edges::RISING | Edges::FALLING, unsize!(KArc, ear => dyn EdgeListener), Some(b.label))?;
        // What is pressed from the start.
        button.report();
    }
    Ok(())
}
