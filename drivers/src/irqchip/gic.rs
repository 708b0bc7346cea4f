//! What GICv2 and GICv3 have in common: interrupt numbers, specifiers, and the banks of distributor registers.
//!
//! INTIDs: 0–15 software-generated, 16–31 private to a CPU, 32–1019 shared, 1020–1023 special (IHI 0069, 2.2).

use crate::irq::{Flow, IrqChip, IrqDomain, Trigger};
use crate::model::Mmio;
use core::sync::atomic::AtomicU16;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::sync::{LockClass, SpinLock};

pub(super) const GICD_CTLR: usize = 0x000;
pub(super) const GICD_TYPER: usize = 0x004;
pub(super) const GICD_IGROUPR: usize = 0x080;
pub(super) const GICD_ISENABLER: usize = 0x100;
pub(super) const GICD_ICENABLER: usize = 0x180;
pub(super) const GICD_ISPENDR: usize = 0x200;
pub(super) const GICD_ICACTIVER: usize = 0x380;
pub(super) const GICD_IPRIORITYR: usize = 0x400;
pub(super) const GICD_ITARGETSR: usize = 0x800;
pub(super) const GICD_ICFGR: usize = 0xc00;
pub(super) const GICD_SGIR: usize = 0xf00;

/// The first shared interrupt.
pub(super) const FIRST_SPI: u32 = 32;
/// The first INTID that is none.
pub(super) const FIRST_SPECIAL: u32 = 1020;
/// The software-generated ones, as a bank of enable bits.
pub(super) const SGIS: u32 = 0x0000_ffff;
/// The private ones, as a bank of enable bits.
pub(super) const PPIS: u32 = 0xffff_0000;
/// Every interrupt has the same priority, in the middle, four times in a register (Linux: GICD_INT_DEF_PRI_X4).
const PRIORITY_X4: u32 = 0xa0a0_a0a0;
/// The mask that lets it through: below this priority. The upper four bits exist everywhere.
pub(super) const PRIORITY_MASK: u32 = 0xf0;

/// hwirq → virq of the root controller; a board has one.
pub(super) static REVMAP: [AtomicU16; FIRST_SPECIAL as usize] = [const { AtomicU16::new(0) }; FIRST_SPECIAL as usize];

/// The root controller's domain. The chip behind it forwards to whichever version the board has.
pub(super) static DOMAIN: IrqDomain = IrqDomain::new(&RootChip, &REVMAP);

/// Guards the registers that several lines share and that are read and written back (GICD_ICFGR).
static CONFIG: SpinLock<()> = SpinLock::new(&CONFIG_CLASS, ());
static CONFIG_CLASS: LockClass = LockClass::new("gic_config");

/// The register windows of a version of the GIC.
pub(super) trait Gic: Sync {
    /// As in `/proc/interrupts`.
    fn name(&self) -> &'static str;
    /// The window with the enable, priority and configuration banks of `hwirq`: the distributor, or, for private
    /// lines of a GICv3, this CPU's redistributor.
    fn bank(&self, hwirq: u32) -> Option<Mmio>;
    /// Waits until the effect of a cleared enable bit is everywhere.
    fn sync(&self, hwirq: u32);
    /// Sends shared line `hwirq` to one CPU of `mask`; says to which.
    fn route(&self, hwirq: u32, mask: CpuMask) -> Result<CpuId, Errno>;
}

/// The version that the board has.
pub(super) static GIC: spin::Once<&'static dyn Gic> = spin::Once::new();

struct RootChip;

impl RootChip {
    fn bank(&self, hwirq: u32) -> Option<(&'static dyn Gic, Mmio)> {
        let gic = *GIC.get()?;
        Some((gic, gic.bank(hwirq)?))
    }
}

impl IrqChip for RootChip {
    fn name(&self) -> &'static str {
        GIC.get().map_or("GIC", |g| g.name())
    }

    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno> {
        let &[kind, number, flags, ..] = cells else { return Err(Errno::EINVAL) };
        let (base, limit) = match kind {
            0 => (FIRST_SPI, FIRST_SPECIAL - FIRST_SPI),
            1 => (16, 16),
            _ => return Err(Errno::EINVAL),
        };
        if number >= limit {
            return Err(Errno::EINVAL);
        }
        Ok((base + number, Trigger::from_dt(flags).ok_or(Errno::EINVAL)?))
    }

    fn flow(&self, hwirq: u32) -> Result<Flow, Errno> {
        match hwirq {
            16..FIRST_SPI => Ok(Flow::PerCpu),
            FIRST_SPI..FIRST_SPECIAL => Ok(Flow::FastEoi),
            _ => Err(Errno::EINVAL),
        }
    }

    fn mask(&self, hwirq: u32) {
        let Some((gic, bank)) = self.bank(hwirq) else { return };
        bank.write32(GICD_ICENABLER + bit_word(hwirq), 1 << (hwirq % 32));
        gic.sync(hwirq);
    }

    fn unmask(&self, hwirq: u32) {
        let Some((_, bank)) = self.bank(hwirq) else { return };
        bank.write32(GICD_ISENABLER + bit_word(hwirq), 1 << (hwirq % 32));
    }

    fn set_type(&self, hwirq: u32, trigger: Trigger) -> Result<(), Errno> {
        // A shared line is active high: rising edge or high level. Private ones are what the hardware made them, and
        // device trees call them low as well: writing is tried and its failure not reported, as Linux does.
        if hwirq >= FIRST_SPI && !matches!(trigger, Trigger::LevelHigh | Trigger::EdgeRising) {
            return Err(Errno::EINVAL);
        }
        let (_, bank) = self.bank(hwirq).ok_or(Errno::ENODEV)?;
        let _guard = CONFIG.lock_irq();
        let reg = GICD_ICFGR + hwirq as usize / 16 * 4;
        let edge = 2 << (hwirq % 16 * 2);
        let old = bank.read32(reg);
        let new = if trigger.is_edge() { old | edge } else { old & !edge };
        if new != old {
            bank.write32(reg, new);
            if hwirq >= FIRST_SPI && bank.read32(reg) != new {
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }

    fn set_affinity(&self, hwirq: u32, mask: CpuMask) -> Result<CpuMask, Errno> {
        if hwirq < FIRST_SPI {
            return Err(Errno::EINVAL);
        }
        GIC.get().ok_or(Errno::ENODEV)?.route(hwirq, mask).map(CpuMask::of)
    }

    fn retrigger(&self, hwirq: u32) -> Result<(), Errno> {
        let (_, bank) = self.bank(hwirq).ok_or(Errno::EINVAL)?;
        bank.write32(GICD_ISPENDR + bit_word(hwirq), 1 << (hwirq % 32));
        Ok(())
    }
}

/// The offset of the word in a bank of bits.
fn bit_word(hwirq: u32) -> usize {
    hwirq as usize / 32 * 4
}

/// How many INTIDs the distributor has (IHI 0069, GICD_TYPER.ITLinesNumber).
pub(super) fn lines(dist: &Mmio) -> u32 {
    ((dist.read32(GICD_TYPER) & 0x1f) + 1).saturating_mul(32).min(FIRST_SPECIAL)
}

/// Sets all shared lines: level, middle priority, off, not active.
pub(super) fn reset_spis(dist: &Mmio) {
    let lines = lines(dist) as usize;
    for n in (32..lines).step_by(16) {
        dist.write32_relaxed(GICD_ICFGR + n / 4, 0);
    }
    for n in (32..lines).step_by(4) {
        dist.write32_relaxed(GICD_IPRIORITYR + n, PRIORITY_X4);
    }
    for n in (32..lines).step_by(32) {
        dist.write32_relaxed(GICD_ICACTIVER + n / 8, u32::MAX);
        dist.write32_relaxed(GICD_ICENABLER + n / 8, u32::MAX);
    }
}

/// Sets this CPU's lines: middle priority, private ones off, software-generated ones on, none active.
pub(super) fn reset_private(bank: &Mmio) {
    bank.write32_relaxed(GICD_ICACTIVER, u32::MAX);
    bank.write32_relaxed(GICD_ICENABLER, PPIS);
    for n in (0..32).step_by(4) {
        bank.write32_relaxed(GICD_IPRIORITYR + n, PRIORITY_X4);
    }
    bank.write32(GICD_ISENABLER, SGIS);
}
