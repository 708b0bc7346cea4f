//! PSCI (DEN0022) through the conduit that the device tree names: power off, reset, starting a CPU.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};
use smccc::{Hvc, Smc, psci};
use vigil_drivers::dt::early::PsciMethod;
use vigil_executor::cpu::CpuId;

const NONE: u8 = 0;
const HVC: u8 = 1;
const SMC: u8 = 2;

static CONDUIT: AtomicU8 = AtomicU8::new(NONE);

/// Sets the conduit; `None` when the tree has no PSCI node.
pub fn init(method: Option<PsciMethod>) {
    let conduit = match method {
        None => NONE,
        Some(PsciMethod::Hvc) => HVC,
        Some(PsciMethod::Smc) => SMC,
    };
    CONDUIT.store(conduit, Relaxed);
}

/// Calls a function of `smccc` by the conduit in use; `None` without one.
macro_rules! by_conduit {
    ($($f:ident)::+ ($($arg:expr),*)) => {
        match CONDUIT.load(Relaxed) {
            HVC => Some($($f)::+::<Hvc>($($arg),*)),
            SMC => Some($($f)::+::<Smc>($($arg),*)),
            _ => None,
        }
    };
}

/// Turns the machine off; returns when the firmware cannot.
pub fn system_off() {
    let _ = by_conduit!(psci::system_off());
}

/// Resets the machine; returns when the firmware cannot.
pub fn system_reset() {
    let _ = by_conduit!(psci::system_reset());
}

/// Turns this CPU off; returns when the firmware cannot. Exceptions masked.
pub fn cpu_off() {
    let _ = by_conduit!(psci::cpu_off());
}

/// Starts the CPU `mpidr` at the physical address `entry` with `context` in x0. `false` when there is no PSCI or it refuses.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> bool {
    matches!(by_conduit!(psci::cpu_on(mpidr, entry, context)), Some(Ok(())))
}

/// Whether the firmware says that `cpu` is off; also when it cannot say.
pub fn is_off(cpu: CpuId) -> bool {
    let Some(target) = crate::boot::info().and_then(|i| i.cpus().nth(cpu.index())) else { return true };
    let level = psci::LowestAffinityLevel::All;
    let state = by_conduit!(psci::affinity_info(target.mpidr, level));
    !matches!(state, Some(Ok(psci::AffinityState::On | psci::AffinityState::OnPending)))
}

/// The version as (major, minor), when there is PSCI.
pub fn version() -> Option<(u16, u16)> {
    by_conduit!(psci::version()).and_then(Result::ok).map(|v| (v.major, v.minor))
}

/// SMCCC_ARCH_FEATURES of `function`: what the firmware says about a workaround, 1 for "not required"; `None` before SMCCC 1.1.
pub fn arch_features(function: u32) -> Option<u32> {
    let v = by_conduit!(psci::psci_features(smccc::arch::SMCCC_VERSION))?;
    v.ok()?;
    match by_conduit!(smccc::arch::features(function))? {
        Err(smccc::arch::Error::NotRequired) => Some(1),
        answer => answer.ok(),
    }
}

/// Whether calls go through HVC (`Some(true)`) or SMC (`Some(false)`).
pub fn uses_hvc() -> Option<bool> {
    match CONDUIT.load(Relaxed) {
        HVC => Some(true),
        SMC => Some(false),
        _ => None,
    }
}

/// SMCCC_ARCH_WORKAROUND_2: turns the firmware's mitigation of speculative store bypass on or off for this CPU.
pub fn set_ssbd(on: bool) {
    let _ = by_conduit!(smccc::arch::arch_workaround_2(on));
}

/// SMCCC_ARCH_WORKAROUND_1: the firmware flushes this CPU's branch predictor (`Mitigations::firmware_bp`).
pub fn flush_branch_predictor() {
    let _ = by_conduit!(smccc::arch::arch_workaround_1());
}
