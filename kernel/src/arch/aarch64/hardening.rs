//! Speculation mitigations at work: each CPU decides when it starts, takes its vectors, and adds to the system's state.
//!
//! What is decided, and why, is in [`super::features_mitigation`] and in Linux's words. The system's state is the worst of its
//! CPUs', as `/sys/devices/system/cpu/vulnerabilities` shows it.

use super::features_mitigation::{
    Bhb, Kpti, Mitigations, State, Switches, decide, has_meltdown, meltdown_text, spectre_v2_text, spectre_v4_text,
};
use super::{alternative, cpu, early, features, psci};
use crate::boot::params::Params;
use crate::{pr_info, pr_warn};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use vigil_executor::cpu::{CpuId, MAX_CPUS};

static SWITCHES: spin::Once<Switches> = spin::Once::new();
/// The worst state of any CPU.
static SPECTRE_V2: AtomicU8 = AtomicU8::new(State::Unaffected as u8);
static SPECTRE_BHB: AtomicU8 = AtomicU8::new(State::Unaffected as u8);
static SPECTRE_V4: AtomicU8 = AtomicU8::new(State::Unaffected as u8);
/// The CPUs have PSTATE.SSBS.
static HAS_SSBS: AtomicBool = AtomicBool::new(false);
static MELTDOWN: AtomicBool = AtomicBool::new(false);
/// CPUs whose predictor the firmware flushes when the address space changes.
static FLUSH: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// Takes the command line's switches, and says what becomes of the kernel's mappings. The boot CPU, once.
pub fn init(params: &Params<'_>) {
    let switches = SWITCHES.call_once(|| early::switches_of(params));
    match early::kpti_reason(switches) {
        Kpti::Forced(on) => {
            pr_info!("CPU features: kernel page table isolation forced {} by command line option", if on { "ON" } else { "OFF" })
        }
        Kpti::Kaslr => pr_info!("CPU features: kernel page table isolation forced ON by KASLR"),
        Kpti::Off => pr_info!("CPU features: kernel page table isolation forced OFF by mitigations=off"),
        Kpti::Needed(_) => {}
    }
    if alternative::kpti() {
        pr_info!("CPU features: detected: Kernel page table isolation (KPTI)");
    }
}

/// Decides for this CPU, takes its vectors and sets its registers. Interrupts are masked. An error: the CPU must not run.
pub fn init_cpu(id: CpuId) -> Result<(), &'static str> {
    let switches = SWITCHES.get().copied().unwrap_or_default();
    let (regs, midr) = (features::read_this_cpu(), cpu::midr());
    let m = decide(&regs, midr, &switches, psci::arch_features);
    let meltdown = has_meltdown(&regs, midr);
    if meltdown && !alternative::kpti() && !switches.off && switches.kpti != Some(false) {
        return Err("needs kernel page table isolation, which the boot CPU does not have on");
    }
    MELTDOWN.fetch_or(meltdown, Relaxed);
    // CPUs start one after the other.
    note("Spectre-v2", &SPECTRE_V2, m.spectre_v2);
    note("Spectre-v4", &SPECTRE_V4, m.spectre_v4);
    note("Spectre-BHB", &SPECTRE_BHB, m.spectre_bhb);
    if id == CpuId::BOOT {
        say_what_is_off(&m, &switches);
    }
    FLUSH[id.index()].store(m.firmware_bp, Relaxed);
    if m.firmware_ssbd {
        psci::set_ssbd(true);
    }
    if m.ssbs {
        HAS_SSBS.store(true, Relaxed);
        set_kernel_ssbs(m.spectre_v4 == State::Vulnerable);
    }
    cpu::install_vectors(m.bhb);
    Ok(())
}

fn note(name: &str, worst: &AtomicU8, state: State) {
    let before = worst.fetch_max(state as u8, Relaxed);
    if before == State::Unaffected as u8 && state != State::Unaffected {
        pr_info!("CPU features: detected: {name}");
    }
}

fn say_what_is_off(m: &Mitigations, on: &Switches) {
    if m.spectre_v2 == State::Vulnerable && (on.off || on.nospectre_v2) {
        pr_info!("spectre-v2 mitigation disabled by command line option");
    }
    if m.spectre_bhb == State::Vulnerable && m.spectre_v2 != State::Vulnerable && (on.off || on.nospectre_bhb) {
        pr_info!("spectre-bhb mitigation disabled by command line option");
    }
    if m.spectre_v4 == State::Vulnerable && (on.off || on.ssbd == Some(false)) {
        pr_info!("spectre-v4 mitigation disabled by command-line option");
    } else if m.spectre_v4 == State::Mitigated && on.ssbd == Some(true) {
        pr_info!("spectre-v4 mitigation forced on by command-line option");
    }
    if m.bhb == Bhb::None && m.spectre_bhb == State::Vulnerable && !on.off && !on.nospectre_bhb && m.spectre_v2 != State::Vulnerable {
        pr_warn!("spectre-bhb: this CPU is not known, and its firmware has no workaround: vulnerable");
    }
}

/// SCTLR_EL1.DSSBS: PSTATE.SSBS at an exception to EL1.
const SCTLR_DSSBS: u64 = 1 << 44;

/// Lets this CPU bypass stores speculatively in the kernel, or not.
fn set_kernel_ssbs(allowed: bool) {
    let sctlr = cpu::read_sysreg!("sctlr_el1") & !SCTLR_DSSBS | if allowed { SCTLR_DSSBS } else { 0 };
    // SAFETY: bits that concern speculation only; the CPU has PSTATE.SSBS. MSR SSBS, #imm as a number, for assemblers that
    // know it only with the extension enabled.
    unsafe {
        asm!("msr sctlr_el1, {}", "isb", in(reg) sctlr, options(nostack, preserves_flags));
        if allowed {
            asm!(".inst 0xd503413f", options(nostack, preserves_flags));
        } else {
            asm!(".inst 0xd503403f", options(nostack, preserves_flags));
        }
    }
}

/// Flushes this CPU's branch predictor if it is one that needs it. Interrupts are masked.
#[cold]
pub fn flush_branch_predictor() {
    if FLUSH[CpuId::current().index()].load(Relaxed) {
        psci::flush_branch_predictor();
    }
}

fn worst(of: &AtomicU8) -> State {
    State::from_number(of.load(Relaxed))
}

/// Whether PSTATE.SSBS controls speculative store bypass.
pub fn has_ssbs() -> bool {
    HAS_SSBS.load(Relaxed)
}

/// The state of speculative store bypass, and what `ssbd=` forces.
pub fn spectre_v4() -> (State, Option<bool>) {
    (worst(&SPECTRE_V4), SWITCHES.get().and_then(|s| if s.off { Some(false) } else { s.ssbd }))
}

/// The text of `/sys/devices/system/cpu/vulnerabilities/meltdown`.
pub fn meltdown() -> &'static str {
    meltdown_text(MELTDOWN.load(Relaxed), alternative::kpti())
}

/// The text of `…/spectre_v2`.
pub fn spectre_v2() -> &'static str {
    spectre_v2_text(worst(&SPECTRE_V2), worst(&SPECTRE_BHB))
}

/// The text of `…/spec_store_bypass`.
pub fn spec_store_bypass() -> &'static str {
    spectre_v4_text(worst(&SPECTRE_V4))
}
