//! The pins of a Raspberry Pi 1 to 4: BCM2835's GPIO block and the BCM2711's, which pulls otherwise (Broadcom, "BCM2835 ARM
//! Peripherals", 6; "BCM2711 ARM Peripherals", 5).
//!
//! Every pin has three bits of function (input, output, six others) and six bits that say which of its edges and levels are latched in
//! the event register; an event is forgotten by writing its bit. Setting, clearing and forgetting are single stores that touch no
//! other pin; everything else is changed under the chip's lock.

use super::{Bias, GpioChip, pinctrl};
use crate::dt::Node;
use crate::irq::{self, Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq};
use crate::model::{Driver, Mmio, ioremap};
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::arch::{counter, counter_frequency};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::trace::Store;
use vigil_mem::{KBox, PhysAddr};

/// Functions, ten pins a word.
const FSEL: usize = 0x00;
/// Two words each: a written one sets, clears; levels; events, forgotten by a written one.
const SET: usize = 0x1c;
const CLEAR: usize = 0x28;
const LEVEL: usize = 0x34;
const EVENT: usize = 0x40;
/// Two words each: which edges and levels are events.
const RISING: usize = 0x4c;
const FALLING: usize = 0x58;
const HIGH: usize = 0x64;
const LOW: usize = 0x70;
/// BCM2835: the resistor that [`PULL_CLOCK`] gives to the pins whose bits are set.
const PULL: usize = 0x94;
const PULL_CLOCK: usize = 0x98;
/// BCM2711: two bits a pin, sixteen pins a word.
const PULLS_2711: usize = 0xe4;
const SIZE: usize = 0xb4;
const SIZE_2711: usize = 0xf4;

/// Pins at most: the BCM2711's.
const PINS: usize = 58;
const PINS_2835: u32 = 54;
/// A pin's function that makes it an input, an output.
pub(super) const INPUT: u32 = 0;
pub(super) const OUTPUT: u32 = 1;

/// The chip's lines at its parent, and the pins of both words of events that raise each.
const GROUPS: [[u32; 2]; 3] = [[0x0fff_ffff, 0], [0xf000_0000, 0x0000_3fff], [0, 0x03ff_c000]];

/// The driver. Before those whose pins it sets.
pub static DRIVER: Driver = Driver { name: "pinctrl-bcm2835", compatible: &["brcm,bcm2835-gpio", "brcm,bcm2711-gpio"], priority: 5, probe };

static LOCK: LockClass = LockClass::new("bcm2835_gpio");
static PULLING: LockClass = LockClass::new("bcm2835_pull");

/// The chip.
pub struct Bcm2835 {
    io: Mmio,
    is_2711: bool,
    /// Held over each read-modify-write.
    lock: SpinLock<()>,
    /// Held over the steps that set a resistor, which take some microseconds. Not in interrupts.
    pulling: SpinLock<()>,
    /// What raises each pin's interrupt (a [`Trigger`]), while it is masked as well.
    types: [AtomicU8; PINS],
    /// Pins whose interrupt is on.
    enabled: [AtomicU32; 2],
    revmap: [AtomicU16; PINS],
    domain: spin::Once<IrqDomain>,
}

/// One of the chip's lines at its parent.
struct Group {
    chip: &'static Bcm2835,
    pins: [u32; 2],
}

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let parents = [irq::map_dt(node, 0)?, irq::map_dt(node, 1)?];
    let is_2711 = node.is_compatible("brcm,bcm2711-gpio");
    // Linux's tree gives a BCM2711 the BCM2835's length, which ends before its pull registers; they are in the same page.
    let size = if is_2711 { SIZE_2711.max(region.size as usize) } else { region.size as usize };
    let io = ioremap(PhysAddr::new(region.base as usize), size)?;
    let chip = Bcm2835::new(io, is_2711)?;
    if let Some(domain) = chip.domain() {
        irq::register_domain(domain, node)?;
    }
    pinctrl::register(chip, node);
    super::register(chip, node)?;
    for (group, parent) in parents.into_iter().enumerate() {
        chip.chain_at(group, parent)?;
    }
    // A BCM2711's tree may have two lines only.
    match irq::map_dt(node, 2) {
        Ok(parent) => chip.chain_at(2, parent)?,
        Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    pinctrl::select_default(node)
}

impl Bcm2835 {
    /// The chip behind `io`, every event off: the firmware may have left some.
    pub(super) fn new(io: Mmio, is_2711: bool) -> Result<&'static Bcm2835, Errno> {
        if io.len() < if is_2711 { SIZE_2711 } else { SIZE } {
            return Err(Errno::EINVAL);
        }
        for word in [0, 4] {
            for events in [RISING, FALLING, HIGH, LOW] {
                io.write32(events + word, 0);
            }
            io.write32(EVENT + word, u32::MAX);
        }
        let made = Bcm2835 {
            io,
            is_2711,
            lock: SpinLock::new(&LOCK, ()),
            pulling: SpinLock::new(&PULLING, ()),
            types: [const { AtomicU8::new(0) }; PINS],
            enabled: [const { AtomicU32::new(0) }; 2],
            revmap: [const { AtomicU16::new(0) }; PINS],
            domain: spin::Once::new(),
        };
        let chip: &'static Bcm2835 = KBox::leak(KBox::try_new(made)?);
        chip.domain.call_once(|| IrqDomain::new(chip, &chip.revmap));
        Ok(chip)
    }

    /// Connects one of the chip's lines to its parent. Errors: EINVAL, ENOMEM, those of the line.
    pub(super) fn chain_at(&'static self, group: usize, parent: Virq) -> Result<(), Errno> {
        let pins = *GROUPS.get(group).ok_or(Errno::EINVAL)?;
        let group: &'static Group = KBox::leak(KBox::try_new(Group { chip: self, pins })?);
        irq::request_irq(parent, KBox::leak(KBox::try_new(IrqAction::for_device("bcm2835-gpio", chained, group, IrqFlags::CHAINED))?))
    }

    fn change(&self, offset: usize, bit: u32, on: bool) {
        let old = self.io.read32(offset);
        self.io.write32(offset, if on { old | bit } else { old & !bit });
    }

    /// The pin's function: [`INPUT`], [`OUTPUT`], or one of the six others.
    pub(super) fn function(&self, pin: u32) -> u32 {
        let (offset, shift) = field(FSEL, pin, 3);
        self.io.read32(offset) >> shift & 7
    }

    /// Gives the pin a function; from one that is not an input to another it goes by way of an input, so that no third drives it.
    pub(super) fn set_function(&self, pin: u32, function: u32) {
        let _held = self.lock.lock_irq();
        let (offset, shift) = field(FSEL, pin, 3);
        let word = self.io.read32(offset);
        let (others, old) = (word & !(7 << shift), word >> shift & 7);
        if old != function && old != INPUT && function != INPUT {
            self.io.write32(offset, others);
        }
        if old != function {
            self.io.write32(offset, others | function << shift);
        }
    }

    /// Lets the pin's events through, or none, and forgets what was latched.
    fn set_events(&self, pin: u32, on: bool) {
        let (word, bit) = bank(pin);
        let wanted = Trigger::from_dt(u32::from(self.types.get(pin as usize).map_or(0, |t| t.load(Relaxed)))).filter(|_| on);
        let _held = self.lock.lock_irq();
        if let Some(enabled) = self.enabled.get(word / 4) {
            let old = enabled.load(Relaxed);
            enabled.store(if on { old | bit } else { old & !bit }, Relaxed);
        }
        for (register, triggers) in [
            (RISING, [Trigger::EdgeRising, Trigger::EdgeBoth]),
            (FALLING, [Trigger::EdgeFalling, Trigger::EdgeBoth]),
            (HIGH, [Trigger::LevelHigh; 2]),
            (LOW, [Trigger::LevelLow; 2]),
        ] {
            self.change(register + word, bit, wanted.is_some_and(|w| triggers.contains(&w)));
        }
        if !on {
            self.io.write32(EVENT + word, bit);
        }
    }

    /// The chip has the pin.
    pub(super) fn has(&self, pin: u32) -> bool {
        pin < self.lines()
    }
}

/// Where the `bits` of a pin are, of an array of such from `first` on.
fn field(first: usize, pin: u32, bits: u32) -> (usize, u32) {
    let in_word = 32 / bits;
    (first + 4 * (pin / in_word) as usize, pin % in_word * bits)
}

/// The offset of a pin's word, and its bit in it.
fn bank(pin: u32) -> (usize, u32) {
    (4 * (pin / 32) as usize, 1 << (pin % 32))
}

/// The two waits of 150 core clocks that setting a resistor needs: 1 µs at 250 MHz, five times that to be sure.
fn settle() {
    let from = counter();
    while counter().wrapping_sub(from) < counter_frequency() / 200_000 + 1 {
        core::hint::spin_loop();
    }
}

/// The handler of one of the lines that the chip is connected to.
fn chained(_: Virq, dev: *const ()) -> IrqReturn {
    // SAFETY: `chain` gave the action its group, which lives for ever.
    let group = unsafe { &*dev.cast::<Group>() };
    let Some(domain) = group.chip.domain.get() else { return IrqReturn::None };
    let mut result = IrqReturn::None;
    for (word, pins) in group.pins.into_iter().enumerate().filter(|(_, pins)| *pins != 0) {
        let enabled = group.chip.enabled[word].load(Relaxed);
        let mut events = group.chip.io.read32(EVENT + 4 * word) & pins & enabled;
        while events != 0 {
            irq::handle_domain_irq(domain, 32 * word as u32 + events.trailing_zeros());
            events &= events - 1;
            result = IrqReturn::Handled;
        }
    }
    result
}

impl GpioChip for Bcm2835 {
    fn label(&self) -> &'static str {
        if self.is_2711 { "pinctrl-bcm2711" } else { "pinctrl-bcm2835" }
    }

    fn lines(&self) -> u32 {
        if self.is_2711 { PINS as u32 } else { PINS_2835 }
    }

    fn is_output(&self, line: u32) -> bool {
        self.function(line) == OUTPUT
    }

    fn input(&self, line: u32) {
        self.set_function(line, INPUT);
    }

    fn output(&self, line: u32, high: bool) {
        self.set(line, high);
        self.set_function(line, OUTPUT);
    }

    fn get(&self, line: u32) -> bool {
        let (word, bit) = bank(line);
        self.io.read32(LEVEL + word) & bit != 0
    }

    fn set(&self, line: u32, high: bool) {
        let (word, bit) = bank(line);
        self.io.write32(if high { SET } else { CLEAR } + word, bit);
    }

    fn stores(&self, line: u32) -> Result<[Store; 2], Errno> {
        let (word, bit) = bank(line);
        let store = |first| self.io.address(first + word).map(|register| Store { register, value: bit.into() });
        let (low, high) = store(CLEAR).zip(store(SET)).ok_or(Errno::EINVAL)?;
        Ok([low, high])
    }

    fn set_bias(&self, line: u32, bias: Bias) -> Result<(), Errno> {
        let _held = self.pulling.lock();
        if self.is_2711 {
            let (offset, shift) = field(PULLS_2711, line, 2);
            let pull = match bias {
                Bias::Disable => 0,
                Bias::PullUp => 1,
                Bias::PullDown => 2,
            };
            let others = self.io.read32(offset) & !(3 << shift);
            self.io.write32(offset, others | pull << shift);
            return Ok(());
        }
        let (word, bit) = bank(line);
        let pull = match bias {
            Bias::Disable => 0,
            Bias::PullDown => 1,
            Bias::PullUp => 2,
        };
        self.io.write32(PULL, pull);
        settle();
        self.io.write32(PULL_CLOCK + word, bit);
        settle();
        self.io.write32(PULL, 0);
        self.io.write32(PULL_CLOCK + word, 0);
        Ok(())
    }

    fn domain(&'static self) -> Option<&'static IrqDomain> {
        self.domain.get()
    }
}

impl IrqChip for Bcm2835 {
    fn name(&self) -> &'static str {
        self.label()
    }

    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno> {
        let &[pin, flags, ..] = cells else { return Err(Errno::EINVAL) };
        let trigger = Trigger::from_dt(flags).filter(|_| self.has(pin));
        Ok((pin, trigger.ok_or(Errno::EINVAL)?))
    }

    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        if !self.has(hwirq) {
            return Err(Errno::EINVAL);
        }
        let kind = self.types.get(hwirq as usize).map_or(0, |t| t.load(Relaxed));
        let level = kind == Trigger::LevelHigh as u8 || kind == Trigger::LevelLow as u8;
        Ok(if level { Flow::Level } else { Flow::Edge })
    }

    fn mask(&self, hwirq: u32) {
        self.set_events(hwirq, false);
    }

    fn unmask(&self, hwirq: u32) {
        self.set_events(hwirq, true);
    }

    fn ack(&self, hwirq: u32) {
        let (word, bit) = bank(hwirq);
        self.io.write32(EVENT + word, bit);
    }

    fn set_type(&self, hwirq: u32, trigger: Trigger) -> Result<(), Errno> {
        if trigger == Trigger::None || !self.has(hwirq) {
            return Err(Errno::EINVAL);
        }
        if let Some(kind) = self.types.get(hwirq as usize) {
            kind.store(trigger as u8, Relaxed);
        }
        let (word, bit) = bank(hwirq);
        if self.enabled.get(word / 4).is_some_and(|e| e.load(Relaxed) & bit != 0) {
            self.set_events(hwirq, true);
        }
        Ok(())
    }
}
