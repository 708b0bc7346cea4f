//! Per-CPU set-up at EL1 after the MMU is on, and a CPU's identity.

use super::features_mitigation::Bhb;
use super::{alternative, hardened_vectors, kpti};
use aarch64_cpu::registers::{ID_AA64DFR0_EL1, ID_AA64MMFR1_EL1, MIDR_EL1, MPIDR_EL1, Readable};
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;
use vigil_executor::cpu::{CpuId, local_of};

/// CNTKCTL_EL1: EL0 may read CNTVCT (EL0VCTEN, bit 1).
const CNTKCTL_EL0VCTEN: u64 = 1 << 1;
/// CNTKCTL_EL1: the event stream is on (EVNTEN, bit 2), so that a WFE never waits longer than about 100 µs.
const CNTKCTL_EVNTEN: u64 = 1 << 2;
/// SCTLR_EL1.SPAN: with 0 an exception to EL1 sets PSTATE.PAN.
const SCTLR_SPAN: u64 = 1 << 23;

/// Reads a register that `aarch64-cpu` does not define, or next to a write of ours.
macro_rules! read_sysreg {
    ($name:literal) => {{
        let v: u64;
        // SAFETY: a read of a system register without side effects.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) v, options(nomem, nostack, preserves_flags)) };
        v
    }};
}
pub(crate) use read_sysreg;

/// The affinity fields of MPIDR_EL1, as in the device tree's `reg` of a CPU.
pub fn mpidr() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// MIDR_EL1: implementer, variant, architecture, part, revision.
pub fn midr() -> u64 {
    MIDR_EL1.get()
}

/// REVIDR_EL1.
pub fn revidr() -> u64 {
    read_sysreg!("revidr_el1")
}

/// Makes the trap code's vectors this CPU's, those that do what `bhb` asks for: from now on exceptions are handled, not only
/// reported. The CPU's IRQ and emergency stacks must be in its `CpuLocal`. With KPTI the trampoline's are in force at EL0.
pub fn install_vectors(bhb: Bhb) {
    let table = if alternative::kpti() { Bhb::None } else { bhb };
    local_of(CpuId::current()).el0_vectors.store(hardened_vectors::trampoline(bhb), Relaxed);
    // SAFETY: each table is aligned to 2 KiB and covers all sixteen entries.
    unsafe { asm!("msr vbar_el1, {}", "isb", in(reg) hardened_vectors::table(table), options(nostack, preserves_flags)) };
}

/// Stops this CPU for ever.
pub fn park() -> ! {
    loop {
        // SAFETY: masks exceptions and waits.
        unsafe { asm!("msr daifset, #0xf", "wfi", options(nostack)) };
    }
}

/// Sets up what belongs to a CPU and not to the system: counter access from EL0, the event stream, PAN, the PMU.
/// Exceptions masked; each CPU once when it starts.
pub fn init_this_cpu() {
    let freq = vigil_executor::arch::counter_frequency();
    // The event stream's divider: the counter bit whose toggling is nearest to 10 kHz (Linux: arch_timer_evtstrm_enable).
    let ratio = (freq / 10_000 / 2).max(1);
    let bit = u64::from(ratio.ilog2()).min(15);
    let kctl = CNTKCTL_EL0VCTEN | CNTKCTL_EVNTEN | bit << 4;
    let pan = ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::PAN);
    let pmu = ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer);
    let sctlr = read_sysreg!("sctlr_el1") & !SCTLR_SPAN;
    // SAFETY: none of these registers affects memory that Rust knows of; PAN concerns user memory only, which is
    // accessed by the uaccess module alone.
    unsafe {
        asm!("msr cntkctl_el1, {}", in(reg) kctl, options(nostack, preserves_flags));
        if pan != 0 {
            asm!("msr sctlr_el1, {}", "isb", in(reg) sctlr, options(nostack, preserves_flags));
            // MSR PAN, #1: assemblers know it only with FEAT_PAN enabled.
            asm!(".inst 0xd500419f", options(nostack, preserves_flags));
        }
        if alternative::kpti() {
            kpti::init_this_cpu();
        }
        if pmu != 0 && pmu != 0xf {
            asm!("msr pmuserenr_el0, xzr", options(nostack, preserves_flags));
        }
    }
}
