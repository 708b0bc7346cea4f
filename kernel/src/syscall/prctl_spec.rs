//! PR_GET_SPECULATION_CTRL and PR_SET_SPECULATION_CTRL: a thread asks for speculative store bypass to be off while it runs
//! (Linux: arch/arm64/kernel/proton-pack.c; Documentation/userspace-api/spec_ctrl.rst).
//!
//! On CPUs with PSTATE.SSBS the bit in the thread's saved PSTATE does it: 1 lets loads bypass stores.

use super::Args;
use super::prctl::{SSB_DISABLE, SSB_FORCE, SSB_NOEXEC, set_wish};
use crate::arch::aarch64::entry::PSTATE_EL0;
use crate::arch::aarch64::features_mitigation::State;
use crate::arch::aarch64::hardening;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;

const PR_SPEC_STORE_BYPASS: u64 = 0;
const PR_SPEC_NOT_AFFECTED: usize = 0;
const PR_SPEC_PRCTL: usize = 1 << 0;
const PR_SPEC_ENABLE: usize = 1 << 1;
const PR_SPEC_DISABLE: usize = 1 << 2;
const PR_SPEC_FORCE_DISABLE: usize = 1 << 3;
const PR_SPEC_DISABLE_NOEXEC: usize = 1 << 4;

/// PSTATE.SSBS.
const PSTATE_SSBS: u64 = 1 << 12;

/// What PR_GET_SPECULATION_CTRL answers about `t`.
fn state_of(t: &Thread) -> usize {
    match hardening::spectre_v4() {
        (State::Unaffected, _) => PR_SPEC_NOT_AFFECTED,
        (State::Mitigated, Some(true)) => PR_SPEC_NOT_AFFECTED,
        (State::Mitigated, None) => match t.wishes.load(Relaxed) {
            w if w & SSB_FORCE != 0 => PR_SPEC_PRCTL | PR_SPEC_FORCE_DISABLE,
            w if w & SSB_NOEXEC != 0 => PR_SPEC_PRCTL | PR_SPEC_DISABLE_NOEXEC,
            w if w & SSB_DISABLE != 0 => PR_SPEC_PRCTL | PR_SPEC_DISABLE,
            _ => PR_SPEC_PRCTL | PR_SPEC_ENABLE,
        },
        _ => PR_SPEC_ENABLE,
    }
}

/// PR_GET_SPECULATION_CTRL. ENODEV: not a kind of speculation that can be controlled here.
pub(super) fn get(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[1] == PR_SPEC_STORE_BYPASS { Ok(state_of(t)) } else { Err(Errno::ENODEV) }
}

/// PR_SET_SPECULATION_CTRL. ENODEV as above; EPERM: the command line or an earlier call forbids it; ERANGE: no such value.
pub(super) fn set(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[1] != PR_SPEC_STORE_BYPASS {
        return Err(Errno::ENODEV);
    }
    let forced = hardening::spectre_v4().1;
    let locked = t.wishes.load(Relaxed) & SSB_FORCE != 0;
    let wishes = match a[2] as usize {
        PR_SPEC_ENABLE if locked || forced == Some(true) => return Err(Errno::EPERM),
        PR_SPEC_ENABLE => 0,
        PR_SPEC_FORCE_DISABLE | PR_SPEC_DISABLE if forced == Some(false) => return Err(Errno::EPERM),
        PR_SPEC_FORCE_DISABLE => SSB_DISABLE | SSB_FORCE,
        PR_SPEC_DISABLE => SSB_DISABLE | if locked { SSB_FORCE } else { 0 },
        PR_SPEC_DISABLE_NOEXEC if locked || forced.is_some() => return Err(Errno::EPERM),
        PR_SPEC_DISABLE_NOEXEC => SSB_DISABLE | SSB_NOEXEC,
        _ => return Err(Errno::ERANGE),
    };
    set_wish(t, SSB_DISABLE | SSB_FORCE | SSB_NOEXEC, wishes);
    // SAFETY: the thread itself, outside EL0.
    let context = unsafe { t.context() };
    context.pstate.set(context.pstate.get() & !PSTATE_SSBS | bypass_bit(t));
    Ok(0)
}

/// PSTATE.SSBS as `t` runs with it.
fn bypass_bit(t: &Thread) -> u64 {
    let allowed = match hardening::spectre_v4().1 {
        Some(disabled) => !disabled,
        None => t.wishes.load(Relaxed) & SSB_DISABLE == 0,
    };
    if allowed && hardening::has_ssbs() { PSTATE_SSBS } else { 0 }
}

/// PSTATE of a new program of `t`, which a wish until exec does not outlive.
pub fn pstate_at_exec(t: &Thread) -> u64 {
    if t.wishes.load(Relaxed) & SSB_NOEXEC != 0 {
        set_wish(t, SSB_DISABLE | SSB_NOEXEC, 0);
    }
    PSTATE_EL0 | bypass_bit(t)
}

/// The words of `Speculation_Store_Bypass` in `/proc/PID/status`.
pub fn status_text(t: &Thread) -> &'static str {
    match state_of(t) {
        PR_SPEC_NOT_AFFECTED => "not vulnerable",
        s if s & PR_SPEC_FORCE_DISABLE != 0 => "thread force mitigated",
        s if s & (PR_SPEC_DISABLE | PR_SPEC_DISABLE_NOEXEC) != 0 => "thread mitigated",
        s if s & PR_SPEC_PRCTL != 0 => "thread vulnerable",
        _ => "vulnerable",
    }
}
