//! BCM2835's interrupt controller for the peripherals (Broadcom, "BCM2835 ARM Peripherals", 7), which on a Raspberry Pi 2
//! and 3 is behind one line of [`super::bcm2836`].
//!
//! Three banks of lines: eight of the ARM's own devices, and twice 32 of the GPU's. The pending word of the first says
//! also whether the others have something, and repeats eleven lines of theirs. Lines are level; none is acknowledged.

use crate::dt::Node;
use crate::irq::{self, Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq};
use crate::model::{Mmio, ioremap};
use core::sync::atomic::AtomicU16;
use vigil_abi::Errno;
use vigil_mem::PhysAddr;

pub(super) const COMPATIBLE: &[&str] = &["brcm,bcm2836-armctrl-ic"];

const BANKS: usize = 3;
const LINES: usize = 32 * BANKS;
/// Lines of the first bank.
const BANK0_LINES: u32 = 8;
/// The registers of each bank.
const PENDING: [usize; BANKS] = [0x00, 0x04, 0x08];
const ENABLE: [usize; BANKS] = [0x18, 0x10, 0x14];
const DISABLE: [usize; BANKS] = [0x24, 0x1c, 0x20];
/// Which line is the fast interrupt; bit 7: there is one.
const FIQ_CONTROL: usize = 0x0c;
const FIQ_ENABLE: u32 = 1 << 7;
/// In the first bank's pending word: its own lines.
const OWN: u32 = (1 << BANK0_LINES) - 1;
/// In the first bank's pending word, for the other two: something is pending, or one of its repeated lines is.
const HAS: [u32; 2] = [1 << 8 | 0x7c00, 1 << 9 | 0x1f_8000];

static REVMAP: [AtomicU16; LINES] = [const { AtomicU16::new(0) }; LINES];
pub(super) static DOMAIN: IrqDomain = IrqDomain::new(&ArmCtrl, &REVMAP);
static REGISTERS: spin::Once<Mmio> = spin::Once::new();
pub(super) static CHAIN: IrqAction = IrqAction::of_static("ARMCTRL", handle, IrqFlags::CHAINED);

/// Sets up the controller at `node`, every line off.
pub(super) fn init(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let parent = irq::map_dt(node, 0)?;
    init_at(ioremap(PhysAddr::new(region.base as usize), region.size as usize)?);
    irq::register_domain(&DOMAIN, node)?;
    irq::request_percpu_irq(parent, &CHAIN)?;
    irq::enable_percpu_irq(parent);
    Ok(())
}

/// Switches every line of the controller behind `io` off: the firmware may have left some on (its USB boot does).
pub(super) fn init_at(io: Mmio) {
    for reg in DISABLE {
        io.write32(reg, u32::MAX);
    }
    if io.read32(FIQ_CONTROL) & FIQ_ENABLE != 0 {
        io.write32(FIQ_CONTROL, 0);
    }
    REGISTERS.call_once(|| io);
}

/// What is pending now, as a line; `None`: nothing.
fn pending(io: &Mmio) -> Option<u32> {
    let first = io.read32(PENDING[0]);
    if first & OWN != 0 {
        return Some((first & OWN).trailing_zeros());
    }
    for (bank, has) in (1..BANKS).zip(HAS) {
        let bits = if first & has != 0 { io.read32(PENDING[bank]) } else { 0 };
        if bits != 0 {
            return Some(32 * bank as u32 + bits.trailing_zeros());
        }
    }
    None
}

/// The handler of the line that it is connected to.
fn handle(_: Virq, _: *const ()) -> IrqReturn {
    let Some(io) = REGISTERS.get() else { return IrqReturn::None };
    let mut handled = IrqReturn::None;
    while let Some(line) = pending(io) {
        irq::handle_domain_irq(&DOMAIN, line);
        handled = IrqReturn::Handled;
    }
    handled
}

struct ArmCtrl;

fn switch(registers: &[usize; BANKS], hwirq: u32) {
    if let (Some(io), Some(&reg)) = (REGISTERS.get(), registers.get(hwirq as usize / 32)) {
        io.write32(reg, 1 << (hwirq % 32));
    }
}

impl IrqChip for ArmCtrl {
    fn name(&self) -> &'static str {
        "ARMCTRL-level"
    }

    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno> {
        let &[bank, line, ..] = cells else { return Err(Errno::EINVAL) };
        let lines = if bank == 0 { BANK0_LINES } else { 32 };
        if bank as usize >= BANKS || line >= lines {
            return Err(Errno::EINVAL);
        }
        Ok((32 * bank + line, Trigger::LevelHigh))
    }

    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        if (hwirq as usize) < LINES { Ok(Flow::Level) } else { Err(Errno::EINVAL) }
    }

    fn mask(&self, hwirq: u32) {
        switch(&DISABLE, hwirq);
    }

    fn unmask(&self, hwirq: u32) {
        switch(&ENABLE, hwirq);
    }

    fn set_type(&self, _hwirq: u32, trigger: Trigger) -> Result<(), Errno> {
        if trigger == Trigger::LevelHigh { Ok(()) } else { Err(Errno::EINVAL) }
    }
}
