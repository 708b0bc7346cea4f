//! Which speculation mitigations this machine needs, and which are on.
//!
//! Sources: Arm's "Cache Speculation Side-channels" and "Spectre-BHB" white papers, SMCCC (DEN0028) for the firmware's
//! workarounds, Linux's Documentation/admin-guide/kernel-parameters.txt for the switches. The entry code reads the
//! decision once at boot; `mitigations=off` turns everything off.

use super::features::{IdRegs, Reg};

/// Firmware functions.
pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// Speculative store bypass control.
pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// Spectre-BHB; implies workaround 1.
pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// A mitigation's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The CPU does not have the problem.
    Unaffected,
    /// It has, and the mitigation is on.
    Mitigated,
    /// It has, and nothing helps, or it was switched off.
    Vulnerable,
}

/// How the branch history is kept from user space's influence at the kernel's entry from EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bhb {
    /// Nothing to do.
    None,
    /// This many taken branches (A57, A72: 8; A76, A77, N1: 24; newer: 32).
    Loop(u8),
    /// The CLRBHB instruction.
    ClearInstruction,
    /// SMCCC_ARCH_WORKAROUND_3.
    Firmware,
}

/// What the entry and exit code does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mitigations {
    /// Branch target injection.
    pub spectre_v2: State,
    /// SMCCC_ARCH_WORKAROUND_1 is called when the address space changes or at entry from EL0.
    pub firmware_bp: bool,
    /// Branch history injection.
    pub spectre_bhb: State,
    /// What is done about it at entry from EL0.
    pub bhb: Bhb,
    /// Speculative store bypass.
    pub spectre_v4: State,
    /// The kernel sets PSTATE.SSBS = 0 (speculation off) for itself and for tasks that ask for it.
    pub ssbs: bool,
    /// SMCCC_ARCH_WORKAROUND_2 is called instead.
    pub firmware_ssbd: bool,
    /// The kernel is unmapped while EL0 runs.
    pub kpti: bool,
}

/// What the command line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Switches {
    /// `mitigations=off`.
    pub off: bool,
    /// `nospectre_v2`.
    pub nospectre_v2: bool,
    /// `nospectre_bhb`.
    pub nospectre_bhb: bool,
    /// `ssbd=`: forced off or on.
    pub ssbd: Option<bool>,
    /// `kpti=`.
    pub kpti: Option<bool>,
    /// The image was moved by KASLR: only a hidden kernel keeps that secret.
    pub kaslr: bool,
}

/// Arm's part numbers (MIDR bits 15:4, implementer 0x41).
mod part {
    pub const A35: u32 = 0xd04;
    pub const A53: u32 = 0xd03;
    pub const A55: u32 = 0xd05;
    pub const A57: u32 = 0xd07;
    pub const A72: u32 = 0xd08;
    pub const A73: u32 = 0xd09;
    pub const A75: u32 = 0xd0a;
    pub const A76: u32 = 0xd0b;
    pub const A77: u32 = 0xd0d;
    pub const N1: u32 = 0xd0c;
    pub const A78: u32 = 0xd41;
    pub const A78AE: u32 = 0xd42;
    pub const A78C: u32 = 0xd4b;
    pub const X1: u32 = 0xd44;
    pub const V1: u32 = 0xd40;
    pub const A710: u32 = 0xd47;
    pub const X2: u32 = 0xd48;
    pub const N2: u32 = 0xd49;
}

/// The part number of an Arm design; `None` for other implementers.
fn arm_part(midr: u64) -> Option<u32> {
    (midr >> 24 & 0xff == 0x41).then_some((midr >> 4 & 0xfff) as u32)
}

/// The number of branches that flush a CPU's branch history, for those that need it.
fn bhb_loop(midr: u64) -> Option<u8> {
    use part::*;
    match arm_part(midr)? {
        A57 | A72 => Some(8),
        A76 | A77 | N1 => Some(24),
        A78 | A78AE | A78C | X1 | V1 | A710 | X2 | N2 => Some(32),
        _ => None,
    }
}

/// Decides. `firmware(function)` is SMCCC_ARCH_FEATURES: 0 needed and there, 1 not needed, `None` not there.
pub fn decide(regs: &IdRegs, midr: u64, on: Switches, firmware: impl Fn(u32) -> Option<u32>) -> Mitigations {
    let in_order = matches!(arm_part(midr), Some(part::A35 | part::A53 | part::A55));
    let csv2 = regs.unsigned(Reg::Pfr0, 56);
    let csv3 = regs.unsigned(Reg::Pfr0, 60);

    let (mut spectre_v2, mut firmware_bp) = (State::Unaffected, false);
    if csv2 == 0 && !in_order {
        spectre_v2 = match firmware(ARCH_WORKAROUND_1) {
            Some(1) => State::Unaffected,
            Some(0) if !on.off && !on.nospectre_v2 => {
                firmware_bp = true;
                State::Mitigated
            }
            _ => State::Vulnerable,
        };
    }

    let ecbhb = regs.unsigned(Reg::Mmfr1, 60) != 0;
    let clearbhb = regs.unsigned(Reg::Isar2, 28) != 0;
    let (mut spectre_bhb, mut bhb) = (State::Unaffected, Bhb::None);
    let suspects = bhb_loop(midr).is_some() || matches!(arm_part(midr), Some(part::A73 | part::A75));
    if csv2 < 3 && !ecbhb && suspects {
        let way = match (clearbhb, bhb_loop(midr), firmware(ARCH_WORKAROUND_3)) {
            (true, _, _) => Bhb::ClearInstruction,
            (_, Some(n), _) => Bhb::Loop(n),
            (_, _, Some(0)) => Bhb::Firmware,
            _ => Bhb::None,
        };
        let enabled = !on.off && !on.nospectre_bhb && way != Bhb::None;
        (spectre_bhb, bhb) = if enabled { (State::Mitigated, way) } else { (State::Vulnerable, Bhb::None) };
    }

    let has_ssbs = regs.unsigned(Reg::Pfr1, 4) != 0;
    let (mut spectre_v4, mut ssbs, mut firmware_ssbd) = (State::Unaffected, false, false);
    let wanted = on.ssbd.unwrap_or(true) && !on.off;
    if has_ssbs {
        ssbs = wanted;
        spectre_v4 = if wanted { State::Mitigated } else { State::Vulnerable };
    } else if !in_order && firmware(ARCH_WORKAROUND_2) != Some(1) {
        firmware_ssbd = wanted && firmware(ARCH_WORKAROUND_2) == Some(0);
        spectre_v4 = if firmware_ssbd { State::Mitigated } else { State::Vulnerable };
    }

    let e0pd = regs.unsigned(Reg::Mmfr2, 60) != 0;
    let no_meltdown = csv3 != 0 || matches!(arm_part(midr), Some(part::A35 | part::A53 | part::A55 | part::A57 | part::A72 | part::A73));
    let needed = !no_meltdown || (on.kaslr && !e0pd);
    let kpti = on.kpti.unwrap_or(needed && !on.off);
    Mitigations { spectre_v2, firmware_bp, spectre_bhb, bhb, spectre_v4, ssbs, firmware_ssbd, kpti }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A72: u64 = 0x410f_d083;
    const A53: u64 = 0x410f_d034;

    #[test]
    fn an_a72_without_firmware_help_loops_and_stays_vulnerable_to_v2() {
        let m = decide(&IdRegs::default(), A72, Switches::default(), |_| None);
        assert_eq!((m.spectre_v2, m.firmware_bp), (State::Vulnerable, false));
        assert_eq!((m.spectre_bhb, m.bhb), (State::Mitigated, Bhb::Loop(8)));
        assert!(!m.kpti && m.spectre_v4 == State::Vulnerable);
        let m = decide(&IdRegs::default(), A72, Switches { kaslr: true, ..Switches::default() }, |_| Some(0));
        assert!(m.firmware_bp && m.firmware_ssbd && m.kpti);
    }

    #[test]
    fn off_is_off() {
        let on = Switches { off: true, kaslr: true, ..Switches::default() };
        let m = decide(&IdRegs::default(), A72, on, |_| Some(0));
        assert!(!m.firmware_bp && m.bhb == Bhb::None && !m.ssbs && !m.firmware_ssbd && !m.kpti);
        assert_eq!(m.spectre_v2, State::Vulnerable);
    }

    #[test]
    fn an_in_order_cpu_needs_nothing() {
        let m = decide(&IdRegs::default(), A53, Switches::default(), |_| None);
        assert_eq!((m.spectre_v2, m.spectre_bhb, m.spectre_v4), (State::Unaffected, State::Unaffected, State::Unaffected));
        assert!(!m.kpti);
    }
}
