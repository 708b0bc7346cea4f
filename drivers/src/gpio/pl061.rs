//! Arm PrimeCell GPIO, PL061 (Arm DDI 0190): eight pins. QEMU's `virt` has its power button on one.
//!
//! The data register is 256 registers: bits 9 to 2 of the address say which pins an access is about, so setting one pin is one store and
//! touches no other. Everything else is read, changed and written under the chip's lock.

use super::{GpioChip, controller};
use crate::dt::Node;
use crate::irq::{self, Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq};
use crate::model::{Driver, Mmio, ioremap};
use core::sync::atomic::AtomicU16;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::trace::Store;
use vigil_mem::{KBox, PhysAddr, try_format};

const PINS: usize = 8;
/// Direction: 1, an output.
pub(super) const DIR: usize = 0x400;
/// 1: levels raise interrupts, not edges.
pub(super) const IS: usize = 0x404;
/// 1: both edges do.
pub(super) const IBE: usize = 0x408;
/// 1: rising edges or high levels do.
pub(super) const IEV: usize = 0x40c;
/// 1: interrupts are raised.
pub(super) const IE: usize = 0x410;
/// What is pending and not masked.
pub(super) const MIS: usize = 0x418;
/// Written ones forget edges.
pub(super) const IC: usize = 0x41c;
const SIZE: usize = 0x1000;

/// The driver. Before those that use pins.
pub static DRIVER: Driver = Driver { name: "pl061_gpio", compatible: &["arm,pl061"], priority: 5, probe };

static LOCK: LockClass = LockClass::new("pl061");

pub(super) struct Pl061 {
    io: Mmio,
    label: &'static str,
    /// Held over each read-modify-write.
    lock: SpinLock<()>,
    revmap: [AtomicU16; PINS],
    domain: spin::Once<IrqDomain>,
}

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let parent = irq::map_dt(node, 0)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let label = controller::leak(try_format!("{:x}.{}", region.base, node.name())?.as_str())?;
    let chip = Pl061::new(io, label)?;
    if let Some(domain) = chip.domain() {
        irq::register_domain(domain, node)?;
    }
    let chain: &'static IrqAction = KBox::leak(KBox::try_new(IrqAction::for_device("pl061", chained, chip, IrqFlags::CHAINED))?);
    super::register(chip, node)?;
    irq::request_irq(parent, chain)
}

impl Pl061 {
    /// The chip behind `io`, its interrupts off.
    pub(super) fn new(io: Mmio, label: &'static str) -> Result<&'static Pl061, Errno> {
        if io.len() < SIZE {
            return Err(Errno::EINVAL);
        }
        io.write8(IE, 0);
        let revmap = [const { AtomicU16::new(0) }; PINS];
        let made = Pl061 { io, label, lock: SpinLock::new(&LOCK, ()), revmap, domain: spin::Once::new() };
        let chip: &'static Pl061 = KBox::leak(KBox::try_new(made)?);
        chip.domain.call_once(|| IrqDomain::new(chip, &chip.revmap));
        Ok(chip)
    }

    /// Sets or clears a pin's bit of the register at `offset`.
    fn change(&self, offset: usize, line: u32, on: bool) {
        let _held = self.lock.lock_irq();
        let (old, bit) = (self.io.read8(offset), bit(line));
        self.io.write8(offset, if on { old | bit } else { old & !bit });
    }
}

fn bit(line: u32) -> u8 {
    1 << (line % PINS as u32)
}

/// The data register of one pin.
pub(super) fn data(line: u32) -> usize {
    usize::from(bit(line)) << 2
}

/// The handler of the line that the chip is connected to.
pub(super) fn chained(_: Virq, dev: *const ()) -> IrqReturn {
    // SAFETY: `probe` gave the action the chip, which lives for ever.
    let chip = unsafe { &*dev.cast::<Pl061>() };
    let Some(domain) = chip.domain.get() else { return IrqReturn::None };
    let mut pending = chip.io.read8(MIS);
    let handled = if pending == 0 { IrqReturn::None } else { IrqReturn::Handled };
    while pending != 0 {
        irq::handle_domain_irq(domain, pending.trailing_zeros());
        pending &= pending - 1;
    }
    handled
}

impl GpioChip for Pl061 {
    fn label(&self) -> &'static str {
        self.label
    }

    fn lines(&self) -> u32 {
        PINS as u32
    }

    fn is_output(&self, line: u32) -> bool {
        self.io.read8(DIR) & bit(line) != 0
    }

    fn input(&self, line: u32) {
        self.change(DIR, line, false);
    }

    fn output(&self, line: u32, high: bool) {
        // Before and after: what is written to an input may be lost.
        self.set(line, high);
        self.change(DIR, line, true);
        self.set(line, high);
    }

    fn get(&self, line: u32) -> bool {
        self.io.read8(data(line)) != 0
    }

    fn set(&self, line: u32, high: bool) {
        self.io.write8(data(line), if high { bit(line) } else { 0 });
    }

    fn stores(&self, line: u32) -> Result<[Store; 2], Errno> {
        // The register is a byte; what a wider store has beyond it is nobody's.
        let register = self.io.address(data(line)).ok_or(Errno::EINVAL)?;
        Ok([0, bit(line)].map(|value| Store { register, value: value.into() }))
    }

    fn domain(&'static self) -> Option<&'static IrqDomain> {
        self.domain.get()
    }
}

impl IrqChip for Pl061 {
    fn name(&self) -> &'static str {
        self.label
    }

    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno> {
        let &[line, flags, ..] = cells else { return Err(Errno::EINVAL) };
        let trigger = Trigger::from_dt(flags).filter(|_| (line as usize) < PINS);
        Ok((line, trigger.ok_or(Errno::EINVAL)?))
    }

    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        if hwirq as usize >= PINS {
            return Err(Errno::EINVAL);
        }
        Ok(if self.io.read8(IS) & bit(hwirq) != 0 { Flow::Level } else { Flow::Edge })
    }

    fn mask(&self, hwirq: u32) {
        self.change(IE, hwirq, false);
    }

    fn unmask(&self, hwirq: u32) {
        self.change(IE, hwirq, true);
    }

    fn ack(&self, hwirq: u32) {
        self.io.write8(IC, bit(hwirq));
    }

    fn set_type(&self, hwirq: u32, trigger: Trigger) -> Result<(), Errno> {
        let (level, both, high) = match trigger {
            Trigger::EdgeRising => (false, false, true),
            Trigger::EdgeFalling => (false, false, false),
            Trigger::EdgeBoth => (false, true, false),
            Trigger::LevelHigh => (true, false, true),
            Trigger::LevelLow => (true, false, false),
            Trigger::None => return Err(Errno::EINVAL),
        };
        self.change(IS, hwirq, level);
        self.change(IBE, hwirq, both);
        self.change(IEV, hwirq, high);
        // What the change itself looks like is no edge.
        self.ack(hwirq);
        Ok(())
    }
}
