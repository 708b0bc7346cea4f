//! GICv3 (and GICv4 used as one): a distributor, a redistributor per CPU, and the CPU interface in system registers.
//!
//! EOImode 0: ICC_EOIR1_EL1 drops the priority and deactivates. All interrupts are non-secure group 1, affinity routing
//! is on, LPIs are off.

use super::gic::{self, DOMAIN, FIRST_SPECIAL, FIRST_SPI, Gic};
use super::gicv3_sysreg as sysreg;
use crate::dt::Node;
use crate::irq::{self, Ipi};
use crate::model::{Mmio, ioremap};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_mem::PhysAddr;

pub(super) const COMPATIBLE: &[&str] = &["arm,gic-v3"];

const GICD_IROUTER: usize = 0x6000;
const GICD_CTLR_RWP: u32 = 1 << 31;
/// ARE_NS, EnableGrp1A, EnableGrp1; with one security state the same bits are ARE, EnableGrp1, EnableGrp0.
const GICD_CTLR_ON: u32 = 1 << 4 | 1 << 1 | 1;
const GICR_CTLR: usize = 0x0000;
const GICR_CTLR_RWP: u32 = 1 << 3;
const GICR_TYPER: usize = 0x0008;
const GICR_TYPER_VLPIS: u64 = 1 << 1;
const GICR_TYPER_LAST: u64 = 1 << 4;
const GICR_WAKER: usize = 0x0014;
const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;
/// Where the SGI and PPI registers of a redistributor start; their offsets are the distributor's.
const GICR_SGI_FRAME: usize = 0x1_0000;
/// A redistributor's frames: RD and SGI, and two more for virtual LPIs.
const GICR_STRIDE: usize = 0x2_0000;
const GICR_STRIDE_VLPIS: usize = 0x4_0000;
/// How often a register is read while waiting for the controller: it answers within microseconds.
const PATIENCE: u32 = 1_000_000;
const MAX_REGIONS: usize = 8;

struct GicV3 {
    dist: Mmio,
    regions: [Option<Mmio>; MAX_REGIONS],
    /// `redistributor-stride`, when the tree says one.
    stride: Option<usize>,
    /// The redistributor of each CPU that is up.
    redist: [spin::Once<Mmio>; MAX_CPUS],
    /// What ICC_SGI1R_EL1 takes to interrupt each CPU; 0 for one that is not up.
    sgi: [AtomicU64; MAX_CPUS],
}

static GICV3: spin::Once<GicV3> = spin::Once::new();

/// Sets up the controller at `node`.
pub(super) fn init(node: Node<'_>) -> Result<(), Errno> {
    let window = |i| {
        let r = node.reg(i).ok_or(Errno::EINVAL)?;
        ioremap(PhysAddr::new(r.base as usize), r.size as usize)
    };
    let mut regions = [None; MAX_REGIONS];
    let count = node.prop_u32("#redistributor-regions").unwrap_or(1) as usize;
    for (i, slot) in regions.iter_mut().enumerate().take(count) {
        *slot = Some(window(i + 1)?);
    }
    let stride = node.prop("redistributor-stride").and_then(|v| match v.len() {
        8 => v.try_into().ok().map(|b| u64::from_be_bytes(b) as usize),
        _ => node.prop_u32("redistributor-stride").map(|s| s as usize),
    });
    init_at(window(0)?, regions, stride.filter(|&s| s != 0))?;
    irq::register_domain(&DOMAIN, node)
}

/// Sets up the controller with these windows.
pub(super) fn init_at(dist: Mmio, regions: [Option<Mmio>; MAX_REGIONS], stride: Option<usize>) -> Result<(), Errno> {
    let gic = GICV3.call_once(|| GicV3 {
        dist,
        regions,
        stride,
        redist: [const { spin::Once::new() }; MAX_CPUS],
        sgi: [const { AtomicU64::new(0) }; MAX_CPUS],
    });
    gic.dist.write32(gic::GICD_CTLR, 0);
    gic.wait_dist();
    for n in (32..gic::lines(&gic.dist) as usize).step_by(32) {
        gic.dist.write32_relaxed(gic::GICD_IGROUPR + n / 8, u32::MAX);
    }
    gic::reset_spis(&gic.dist);
    gic.wait_dist();
    gic.dist.write32(gic::GICD_CTLR, GICD_CTLR_ON);
    gic.wait_dist();
    let boot = super::mpidr(CpuId::current()).ok_or(Errno::EINVAL)?;
    for n in 32..gic::lines(&gic.dist) as usize {
        gic.dist.write64_relaxed(GICD_IROUTER + n * 8, boot);
    }
    gic::GIC.call_once(|| gic);
    super::set_init_cpu(init_cpu);
    irq::set_ipi_sender(send_ipi);
    init_cpu();
    irq::set_root_handler(handle);
    Ok(())
}

fn init_cpu() {
    let Some(gic) = GICV3.get() else { return };
    let cpu = CpuId::current();
    let Some(mpidr) = super::mpidr(cpu) else { return };
    let Some(redist) = gic.find_redist(mpidr) else {
        log::error!("GICv3: no redistributor for CPU {} (MPIDR {mpidr:#x})", cpu.index());
        return;
    };
    let waker = redist.read32(GICR_WAKER);
    redist.write32(GICR_WAKER, waker & !WAKER_PROCESSOR_SLEEP);
    wait_clear(&redist, GICR_WAKER, WAKER_CHILDREN_ASLEEP);
    let private = redist.slice(GICR_SGI_FRAME);
    private.write32_relaxed(gic::GICD_IGROUPR, u32::MAX);
    gic::reset_private(&private);
    wait_clear(&redist, GICR_CTLR, GICR_CTLR_RWP);
    gic.redist[cpu.index()].call_once(|| redist);
    gic.sgi[cpu.index()].store(sgi_target(mpidr), Relaxed);
    sysreg::enable(gic::PRIORITY_MASK);
}

/// The target part of ICC_SGI1R_EL1 for one CPU: Aff3, Aff2, Aff1, the range selector, and a bit for Aff0.
fn sgi_target(mpidr: u64) -> u64 {
    let aff = |n: u32| mpidr >> n & 0xff;
    let (aff0, aff1, aff2, aff3) = (aff(0), aff(8), aff(16), aff(32));
    aff3 << 48 | (aff0 >> 4) << 44 | aff2 << 32 | aff1 << 16 | 1 << (aff0 & 0xf)
}

/// The root handler: one interrupt. Another that is pending is taken when the CPU unmasks, as in Linux: a look for it
/// would cost each interrupt more than the second entry costs the few that have company.
fn handle() {
    let intid = sysreg::acknowledge();
    if intid < 16 {
        sysreg::end(intid);
        irq::handle_ipi(intid);
    } else if intid < FIRST_SPECIAL {
        irq::handle_root(&gic::REVMAP, intid);
        sysreg::end(intid);
    }
}

fn send_ipi(mask: CpuMask, ipi: Ipi) {
    let Some(gic) = GICV3.get() else { return };
    let intid = (ipi as u64) << 24;
    let mut pending = 0u64;
    for cpu in mask.iter() {
        let target = gic.sgi[cpu.index()].load(Relaxed);
        if target == 0 {
            continue;
        }
        // CPUs of one cluster are interrupted together.
        if pending != 0 && (pending ^ target) >> 16 != 0 {
            sysreg::send_sgi(pending | intid);
            pending = 0;
        }
        pending |= target;
    }
    if pending != 0 {
        sysreg::send_sgi(pending | intid);
    }
}

/// Waits until `bits` of the register are clear; gives up after a while, as there is nothing better to do.
fn wait_clear(io: &Mmio, reg: usize, bits: u32) {
    for _ in 0..PATIENCE {
        if io.read32(reg) & bits == 0 {
            return;
        }
        core::hint::spin_loop();
    }
    log::error!("GICv3: register {reg:#x} stays busy");
}

impl GicV3 {
    fn wait_dist(&self) {
        wait_clear(&self.dist, gic::GICD_CTLR, GICD_CTLR_RWP);
    }

    /// The redistributor of the CPU with affinity `mpidr`: the regions are walked until a TYPER names it.
    fn find_redist(&self, mpidr: u64) -> Option<Mmio> {
        let affinity = mpidr >> 8 & 0xff00_0000 | mpidr & 0x00ff_ffff;
        for region in self.regions.iter().flatten() {
            let mut at = 0;
            while at + GICR_STRIDE <= region.len() {
                let redist = region.slice(at);
                let typer = redist.read64(GICR_TYPER);
                if typer >> 32 == affinity {
                    return Some(redist);
                }
                if typer & GICR_TYPER_LAST != 0 {
                    break;
                }
                let vlpis = typer & GICR_TYPER_VLPIS != 0;
                at += self.stride.unwrap_or(if vlpis { GICR_STRIDE_VLPIS } else { GICR_STRIDE });
            }
        }
        None
    }

    fn own_redist(&self) -> Option<Mmio> {
        self.redist[CpuId::current().index()].get().copied()
    }
}

impl Gic for GicV3 {
    fn name(&self) -> &'static str {
        "GICv3"
    }

    fn bank(&self, hwirq: u32) -> Option<Mmio> {
        match hwirq {
            0..FIRST_SPI => Some(self.own_redist()?.slice(GICR_SGI_FRAME)),
            FIRST_SPI..FIRST_SPECIAL => Some(self.dist),
            _ => None,
        }
    }

    fn sync(&self, hwirq: u32) {
        if hwirq >= FIRST_SPI {
            self.wait_dist();
        } else if let Some(redist) = self.own_redist() {
            wait_clear(&redist, GICR_CTLR, GICR_CTLR_RWP);
        }
    }

    fn route(&self, hwirq: u32, mask: CpuMask) -> Result<CpuId, Errno> {
        let up = |cpu: &CpuId| self.sgi[cpu.index()].load(Relaxed) != 0;
        let cpu = mask.iter().find(up).ok_or(Errno::EINVAL)?;
        let mpidr = super::mpidr(cpu).ok_or(Errno::EINVAL)?;
        self.dist.write64(GICD_IROUTER + hwirq as usize * 8, mpidr);
        Ok(cpu)
    }
}
