//! GICv2 (GIC-400 and its like): distributor and CPU interface are registers in memory.
//!
//! EOImode 0: writing GICC_EOIR drops the priority and deactivates. For a software-generated interrupt the value that
//! is written back holds the sender's number, so it is always the acknowledged value as it was read.

use super::gic::{self, DOMAIN, FIRST_SPECIAL, Gic, PRIORITY_MASK};
use crate::dt::Node;
use crate::irq::{self, Ipi};
use crate::model::{Mmio, Window, ioremap};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_mem::PhysAddr;

pub(super) const COMPATIBLE: &[&str] = &["arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,cortex-a9-gic", "arm,eb11mp-gic"];

/// What is used of the CPU interface: its first page.
const CPU_INTERFACE: usize = 0x1000;
const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_BPR: usize = 0x08;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;
const GICC_ENABLE: u32 = 1;
/// The bypass bits of GICC_CTLR are the firmware's.
const GICC_BYPASS: u32 = 0x1e0;
const INTID: u32 = 0x3ff;

struct GicV2 {
    dist: Mmio,
    cpu: Window<CPU_INTERFACE>,
    /// The bit by which the distributor knows each CPU; 0 for one that is not up.
    targets: [AtomicU8; MAX_CPUS],
}

static GICV2: spin::Once<GicV2> = spin::Once::new();

/// Sets up the controller at `node`.
pub(super) fn init(node: Node<'_>) -> Result<(), Errno> {
    let window = |i| {
        let r = node.reg(i).ok_or(Errno::EINVAL)?;
        ioremap(PhysAddr::new(r.base as usize), r.size as usize)
    };
    init_at(window(0)?, Window::new(window(1)?).ok_or(Errno::EINVAL)?);
    irq::register_domain(&DOMAIN, node)
}

/// Sets up the controller whose distributor and CPU interface are these windows.
pub(super) fn init_at(dist: Mmio, cpu: Window<CPU_INTERFACE>) {
    let gic = GICV2.call_once(|| GicV2 { dist, cpu, targets: [const { AtomicU8::new(0) }; MAX_CPUS] });
    gic.dist.write32(gic::GICD_CTLR, 0);
    gic::reset_spis(&gic.dist);
    let own = own_target(&gic.dist);
    for n in 32..gic::lines(&gic.dist) as usize {
        gic.dist.write8(gic::GICD_ITARGETSR + n, own);
    }
    gic.dist.write32(gic::GICD_CTLR, 1);
    gic::GIC.call_once(|| gic);
    super::set_init_cpu(init_cpu);
    irq::set_ipi_sender(send_ipi);
    init_cpu();
    irq::set_root_handler(handle);
}

/// This CPU's bit: what the targets of its private lines read as. On a uniprocessor they read as zero.
fn own_target(dist: &Mmio) -> u8 {
    let word = (0..8).map(|i| dist.read32(gic::GICD_ITARGETSR + i * 4)).find(|&w| w != 0).unwrap_or(1);
    (word | word >> 8 | word >> 16 | word >> 24) as u8
}

fn init_cpu() {
    let Some(gic) = GICV2.get() else { return };
    gic.targets[CpuId::current().index()].store(own_target(&gic.dist), Relaxed);
    gic::reset_private(&gic.dist);
    gic.cpu.write32_relaxed::<GICC_PMR>(PRIORITY_MASK);
    gic.cpu.write32_relaxed::<GICC_BPR>(0);
    let bypass = gic.cpu.read32::<GICC_CTLR>() & GICC_BYPASS;
    gic.cpu.write32_relaxed::<GICC_CTLR>(bypass | GICC_ENABLE);
}

/// The root loop. An acknowledge has the order of `readl`, so a handler sees what its device wrote before.
fn handle() {
    let Some(gic) = GICV2.get() else { return };
    loop {
        let iar = gic.cpu.read32::<GICC_IAR>();
        if iar & INTID >= FIRST_SPECIAL {
            return;
        }
        handle_one(gic.cpu, iar);
    }
}

/// One interrupt. Not inlined: in the loop its constants would be set up before the first look at what is pending.
#[inline(never)]
fn handle_one(cpu: Window<CPU_INTERFACE>, iar: u32) {
    let intid = iar & INTID;
    if intid < 16 {
        cpu.write32_relaxed::<GICC_EOIR>(iar);
        irq::handle_ipi(intid);
    } else {
        irq::handle_root(&gic::REVMAP, intid);
        cpu.write32_relaxed::<GICC_EOIR>(iar);
    }
}

fn send_ipi(mask: CpuMask, ipi: Ipi) {
    let Some(gic) = GICV2.get() else { return };
    let list = gic.targets_of(mask);
    if list != 0 {
        // The order before it is made by the caller's barrier.
        gic.dist.write32_relaxed(gic::GICD_SGIR, u32::from(list) << 16 | ipi as u32);
    }
}

impl GicV2 {
    fn targets_of(&self, mask: CpuMask) -> u8 {
        mask.iter().fold(0, |list, cpu| list | self.targets[cpu.index()].load(Relaxed))
    }
}

impl Gic for GicV2 {
    fn name(&self) -> &'static str {
        "GICv2"
    }

    fn bank(&self, hwirq: u32) -> Option<Mmio> {
        (hwirq < FIRST_SPECIAL).then_some(self.dist)
    }

    fn sync(&self, _hwirq: u32) {
        // GICv2 has no pending-write bit: a read of the distributor comes back after the write took effect.
        self.dist.read32(gic::GICD_CTLR);
    }

    fn route(&self, hwirq: u32, mask: CpuMask) -> Result<CpuId, Errno> {
        let bit = |cpu: CpuId| self.targets[cpu.index()].load(Relaxed);
        let cpu = mask.iter().find(|&cpu| bit(cpu) != 0).ok_or(Errno::EINVAL)?;
        // One CPU: with several the first that acknowledges gets it and the others find nothing.
        self.dist.write8(gic::GICD_ITARGETSR + hwirq as usize, bit(cpu));
        Ok(cpu)
    }
}
