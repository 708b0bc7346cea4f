//! Which speculation mitigations a CPU needs, and which are on: pure, as Linux's arch/arm64/kernel/proton-pack.c decides.
//!
//! Sources: Arm's "Cache Speculation Side-channels" and "Spectre-BHB" white papers, SMCCC (DEN0028) for the firmware's
//! workarounds, Linux's Documentation/admin-guide/kernel-parameters.txt for the switches. `super::hardening` asks for each
//! CPU when it starts, and does what is decided; `mitigations=off` turns everything off.

use super::features::{IdRegs, Reg};

/// SMCCC_ARCH_WORKAROUND_1: flush the branch predictor.
pub const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
/// Speculative store bypass control.
pub const ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
/// Spectre-BHB; implies workaround 1.
pub const ARCH_WORKAROUND_3: u32 = 0x8000_3fff;

/// A mitigation's state; the system's is the worst of its CPUs'.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// The CPU does not have the problem.
    Unaffected,
    /// It has, and the mitigation is on.
    Mitigated,
    /// It has, and nothing helps, or it was switched off.
    Vulnerable,
}

impl State {
    /// From its number.
    pub const fn from_number(n: u8) -> State {
        match n {
            0 => State::Unaffected,
            1 => State::Mitigated,
            _ => State::Vulnerable,
        }
    }
}

/// How the branch history is kept from user space's influence at the kernel's entry from EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bhb {
    /// Nothing to do.
    None,
    /// This many taken branches: 8, 24 or 32.
    Loop(u8),
    /// The CLRBHB instruction.
    ClearInstruction,
    /// SMCCC_ARCH_WORKAROUND_3.
    Firmware,
}

/// What one CPU needs and gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mitigations {
    /// Branch target injection.
    pub spectre_v2: State,
    /// SMCCC_ARCH_WORKAROUND_1 is called when the address space changes.
    pub firmware_bp: bool,
    /// Branch history injection.
    pub spectre_bhb: State,
    /// What is done about it at entry from EL0.
    pub bhb: Bhb,
    /// Speculative store bypass.
    pub spectre_v4: State,
    /// PSTATE.SSBS exists: 0 in the kernel, and in tasks that ask for it.
    pub ssbs: bool,
    /// SMCCC_ARCH_WORKAROUND_2 is called instead, once: the firmware's mitigation stays on.
    pub firmware_ssbd: bool,
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
}

/// Arm's part numbers (MIDR bits 15:4, implementer 0x41).
mod part {
    pub const A35: u32 = 0xd04;
    pub const A53: u32 = 0xd03;
    pub const A55: u32 = 0xd05;
    pub const A510: u32 = 0xd46;
    pub const A520: u32 = 0xd80;
    pub const A57: u32 = 0xd07;
    pub const A72: u32 = 0xd08;
    pub const A73: u32 = 0xd09;
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

/// Whether EL0 may read kernel memory on a CPU speculatively (CVE-2017-5754).
pub fn has_meltdown(regs: &IdRegs, midr: u64) -> bool {
    use part::*;
    regs.unsigned(Reg::Pfr0, 60) == 0 && !matches!(arm_part(midr), Some(A35 | A53 | A55 | A57 | A72 | A73))
}

/// Why the kernel is or is not unmapped while EL0 runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kpti {
    /// The CPU needs it, or does not.
    Needed(bool),
    /// `kpti=` says so.
    Forced(bool),
    /// The image was moved: without E0PD only a kernel that is not mapped keeps its place secret.
    Kaslr,
    /// `mitigations=off`.
    Off,
}

impl Kpti {
    /// Whether it is on.
    pub const fn is_on(self) -> bool {
        matches!(self, Kpti::Needed(true) | Kpti::Forced(true) | Kpti::Kaslr)
    }
}

/// Decides about KPTI on the boot CPU (Linux: unmap_kernel_at_el0). `kaslr`: the image was moved.
pub fn decide_kpti(regs: &IdRegs, midr: u64, on: &Switches, kaslr: bool) -> Kpti {
    let e0pd = regs.unsigned(Reg::Mmfr2, 60) != 0;
    match on.kpti {
        Some(forced) => Kpti::Forced(forced),
        None if on.off => Kpti::Off,
        None if kaslr && !e0pd => Kpti::Kaslr,
        None => Kpti::Needed(has_meltdown(regs, midr)),
    }
}

/// Decides for one CPU. `firmware(function)` is SMCCC_ARCH_FEATURES: 0 needed and there, 1 not needed, `None` not there.
pub fn decide(regs: &IdRegs, midr: u64, on: &Switches, firmware: impl Fn(u32) -> Option<u32>) -> Mitigations {
    use part::*;
    let in_order = matches!(arm_part(midr), Some(A35 | A53 | A55));
    let csv2 = regs.unsigned(Reg::Pfr0, 56);

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

    let (mut spectre_bhb, mut bhb) = (State::Unaffected, Bhb::None);
    // A CPU that is not known to be safe is taken to be affected.
    if csv2 < 3 && !matches!(arm_part(midr), Some(A35 | A53 | A55 | A510 | A520)) {
        let ecbhb = regs.unsigned(Reg::Mmfr1, 60) != 0;
        let clearbhb = regs.unsigned(Reg::Isar2, 28) != 0;
        spectre_bhb = State::Vulnerable;
        // Where targets can be injected directly there is no point in keeping the history clean.
        if spectre_v2 != State::Vulnerable && !on.off && !on.nospectre_bhb {
            let way = match (ecbhb, clearbhb, bhb_loop(midr)) {
                (true, ..) => Some(Bhb::None),
                (_, true, _) => Some(Bhb::ClearInstruction),
                (.., Some(n)) => Some(Bhb::Loop(n)),
                _ => (firmware(ARCH_WORKAROUND_3) == Some(0)).then_some(Bhb::Firmware),
            };
            if let Some(way) = way {
                (spectre_bhb, bhb) = (State::Mitigated, way);
            }
        }
    }

    let ssbs = regs.unsigned(Reg::Pfr1, 4) != 0;
    let wanted = on.ssbd != Some(false) && !on.off;
    let (mut spectre_v4, mut firmware_ssbd) = (State::Unaffected, false);
    if !in_order && (ssbs || firmware(ARCH_WORKAROUND_2) != Some(1)) {
        firmware_ssbd = !ssbs && wanted && firmware(ARCH_WORKAROUND_2) == Some(0);
        spectre_v4 = if ssbs && wanted || firmware_ssbd { State::Mitigated } else { State::Vulnerable };
    }
    Mitigations { spectre_v2, firmware_bp, spectre_bhb, bhb, spectre_v4, ssbs, firmware_ssbd }
}

/// The text of `/sys/devices/system/cpu/vulnerabilities/spectre_v2`.
pub const fn spectre_v2_text(v2: State, bhb: State) -> &'static str {
    match (v2, bhb) {
        (State::Vulnerable, _) => "Vulnerable",
        (State::Unaffected, State::Unaffected) => "Not affected",
        (State::Unaffected, State::Mitigated) => "Mitigation: CSV2, BHB",
        (State::Unaffected, State::Vulnerable) => "Mitigation: CSV2, but not BHB",
        (State::Mitigated, State::Unaffected) => "Mitigation: Branch predictor hardening",
        (State::Mitigated, State::Mitigated) => "Mitigation: Branch predictor hardening, BHB",
        (State::Mitigated, State::Vulnerable) => "Mitigation: Branch predictor hardening, but not BHB",
    }
}

/// The text of `…/spec_store_bypass`.
pub const fn spectre_v4_text(v4: State) -> &'static str {
    match v4 {
        State::Unaffected => "Not affected",
        State::Mitigated => "Mitigation: Speculative Store Bypass disabled via prctl",
        State::Vulnerable => "Vulnerable",
    }
}

/// The text of `…/meltdown`.
pub const fn meltdown_text(affected: bool, kpti: bool) -> &'static str {
    match (affected, kpti) {
        (false, _) => "Not affected",
        (true, true) => "Mitigation: PTI",
        (true, false) => "Vulnerable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A72: u64 = 0x410f_d083;
    const A53: u64 = 0x410f_d034;
    const A76: u64 = 0x414f_d0b1;
    const QEMU_MAX: u64 = 0x000f_0510;
    const ON: Switches = Switches { off: false, nospectre_v2: false, nospectre_bhb: false, ssbd: None, kpti: None };

    fn regs(pfr0: u64, pfr1: u64, mmfr2: u64) -> IdRegs {
        let mut r = IdRegs::default();
        r.0[Reg::Pfr0 as usize] = pfr0;
        r.0[Reg::Pfr1 as usize] = pfr1;
        r.0[Reg::Mmfr2 as usize] = mmfr2;
        r
    }

    /// The texts that Debian's Linux 6.1 shows in QEMU 7.2, whose firmware knows no workaround.
    #[test]
    fn the_texts_are_those_of_linux_under_qemu() {
        let show = |r: &IdRegs, midr| {
            let m = decide(r, midr, &ON, |_| None);
            let kpti = decide_kpti(r, midr, &ON, true);
            (
                spectre_v2_text(m.spectre_v2, m.spectre_bhb),
                spectre_v4_text(m.spectre_v4),
                meltdown_text(has_meltdown(r, midr), kpti.is_on()),
                kpti,
            )
        };
        let ssb = "Mitigation: Speculative Store Bypass disabled via prctl";
        assert_eq!(show(&regs(0, 0, 0), A53), ("Not affected", "Not affected", "Not affected", Kpti::Kaslr));
        assert_eq!(show(&regs(0, 0, 0), A72), ("Vulnerable", "Vulnerable", "Not affected", Kpti::Kaslr));
        let a76 = regs(1 << 60 | 1 << 56, 0x10, 0);
        assert_eq!(show(&a76, A76), ("Mitigation: CSV2, BHB", ssb, "Not affected", Kpti::Kaslr));
        let max = regs(1 << 60 | 2 << 56, 0x20, 1 << 60);
        assert_eq!(show(&max, QEMU_MAX), ("Mitigation: CSV2, but not BHB", ssb, "Not affected", Kpti::Needed(false)));
    }

    #[test]
    fn firmware_that_helps_an_a72_is_used() {
        let m = decide(&IdRegs::default(), A72, &ON, |_| Some(0));
        assert_eq!((m.spectre_v2, m.firmware_bp), (State::Mitigated, true));
        assert_eq!((m.spectre_bhb, m.bhb), (State::Mitigated, Bhb::Loop(8)));
        assert!(m.firmware_ssbd && m.spectre_v4 == State::Mitigated);
        let m = decide(&IdRegs::default(), A72, &ON, |_| Some(1));
        assert_eq!((m.spectre_v2, m.spectre_v4, m.bhb), (State::Unaffected, State::Unaffected, Bhb::Loop(8)));
    }

    #[test]
    fn the_command_line_switches_each_off() {
        let off = |s: Switches| decide(&regs(1 << 56, 0x10, 0), A76, &s, |_| Some(0));
        let m = off(Switches { off: true, ..ON });
        assert_eq!((m.spectre_bhb, m.bhb, m.spectre_v4), (State::Vulnerable, Bhb::None, State::Vulnerable));
        assert_eq!(off(Switches { nospectre_bhb: true, ..ON }).bhb, Bhb::None);
        assert_eq!(off(Switches { ssbd: Some(false), ..ON }).spectre_v4, State::Vulnerable);
        assert_eq!(decide(&IdRegs::default(), A72, &Switches { nospectre_v2: true, ..ON }, |_| Some(0)).spectre_v2, State::Vulnerable);
        let none = IdRegs::default();
        assert_eq!(decide_kpti(&none, A72, &Switches { off: true, ..ON }, true), Kpti::Off);
        assert!(decide_kpti(&none, A72, &Switches { off: true, kpti: Some(true), ..ON }, false).is_on());
        assert!(!decide_kpti(&none, A72, &Switches { kpti: Some(false), ..ON }, true).is_on());
        assert_eq!(decide_kpti(&none, 0x4100_d0a0, &ON, false), Kpti::Needed(true), "a Cortex-A75 without CSV3");
    }
}
