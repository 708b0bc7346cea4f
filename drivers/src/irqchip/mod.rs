//! Interrupt controllers of boards: GICv2 and GICv3, and the pair of a Raspberry Pi 3.
//!
//! [`init`] on the boot CPU finds the controller, sets its distributor and the CPU's own interface; [`init_cpu`] does
//! the latter on every other CPU. From then on [`crate::irq::handle_irq`] and [`crate::irq::send_ipi`] work.
//! Sources: Arm IHI 0048 (GICv2), IHI 0069 (GICv3).

mod armctrl;
mod bcm2836;
mod gic;
mod gicv2;
mod gicv3;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod gicv3_sysreg;
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
#[path = "gicv3_sysreg_host.rs"]
mod gicv3_sysreg;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bcm;

use crate::dt::Tree;
use crate::irq::IrqDomain;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuId, MAX_CPUS};

/// The affinity fields of MPIDR_EL1.
const MPIDR_AFFINITY: u64 = 0xff_00ff_ffff;

/// A CPU whose MPIDR nobody told.
const UNKNOWN: u64 = u64::MAX;

static MPIDR: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(UNKNOWN) }; MAX_CPUS];

/// Tells the affinity of `cpu` (its MPIDR_EL1; other bits are ignored). Before [`init`], for every CPU that will start.
pub fn set_cpu_mpidr(cpu: CpuId, mpidr: u64) {
    MPIDR[cpu.index()].store(mpidr & MPIDR_AFFINITY, Ordering::Relaxed);
}

/// The affinity of `cpu`, if it was told.
fn mpidr(cpu: CpuId) -> Option<u64> {
    Some(MPIDR[cpu.index()].load(Ordering::Relaxed)).filter(|&m| m != UNKNOWN)
}

fn nothing() {}
static INIT_CPU: AtomicPtr<()> = AtomicPtr::new(nothing as *mut ());

fn set_init_cpu(f: fn()) {
    INIT_CPU.store(f as *mut (), Ordering::Release);
}

/// Finds the board's root controller, sets it up with every line off, and opens the boot CPU's interface.
///
/// Boot CPU, interrupts masked, after the register mapper is set. Errors: ENODEV when the tree has no controller that
/// is known here; EINVAL when its node is malformed; those of `ioremap`.
pub fn init(tree: &Tree<'_>) -> Result<(), Errno> {
    if let Some(node) = tree.compatible(gicv3::COMPATIBLE).next() {
        return gicv3::init(node);
    }
    if let Some(node) = tree.compatible(gicv2::COMPATIBLE).next() {
        return gicv2::init(node);
    }
    if let Some(node) = tree.compatible(bcm2836::COMPATIBLE).next() {
        bcm2836::init(node)?;
        return tree.compatible(armctrl::COMPATIBLE).try_for_each(armctrl::init);
    }
    Err(Errno::ENODEV)
}

/// The lines of the board's GIC, if that is its root controller.
pub fn gic_domain() -> Option<&'static IrqDomain> {
    gic::GIC.get().map(|_| &gic::DOMAIN)
}

/// Opens the interface of the CPU that calls it; its per-CPU lines are off, its IPIs on.
///
/// Each CPU but the boot CPU, once, interrupts masked, before it takes its first interrupt.
pub fn init_cpu() {
    // SAFETY: `INIT_CPU` only ever holds pointers made of `fn()` items.
    let f: fn() = unsafe { core::mem::transmute(INIT_CPU.load(Ordering::Acquire)) };
    f();
}
