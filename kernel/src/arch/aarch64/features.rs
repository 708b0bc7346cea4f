//! What the CPUs can do, as user space may see it: HWCAP, HWCAP2, and ID registers read from EL0.
//!
//! An allow list: a feature shows only if the kernel keeps all its state (or it has none). SVE, SME, MTE, pointer
//! authentication and BTI are not listed; SVE and SME trap, the others stay switched off in SCTLR_EL1. With CPUs
//! that differ, a field shows the lowest value of all. Fields: Arm ARM D17.2.61 and following; bits: uapi/asm/hwcap.h;
//! which fields user space sees: Documentation/arm64/cpu-feature-registers.rst.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The ID registers that are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Reg {
    /// ID_AA64PFR0_EL1.
    Pfr0,
    /// ID_AA64PFR1_EL1.
    Pfr1,
    /// ID_AA64ISAR0_EL1.
    Isar0,
    /// ID_AA64ISAR1_EL1.
    Isar1,
    /// ID_AA64ISAR2_EL1.
    Isar2,
    /// ID_AA64MMFR0_EL1.
    Mmfr0,
    /// ID_AA64MMFR1_EL1.
    Mmfr1,
    /// ID_AA64MMFR2_EL1.
    Mmfr2,
}

const REGS: usize = 8;

/// The values of the ID registers of one CPU, or the common ones of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdRegs(pub [u64; REGS]);

/// A row: field, lowest value that means "present" (negative: the field is signed), and the bit; 64 and above is HWCAP2.
struct Cap {
    reg: Reg,
    shift: u8,
    min: i8,
    bit: u8,
}

const fn cap(reg: Reg, shift: u8, min: i8, bit: u8) -> Cap {
    Cap { reg, shift, min, bit }
}

const HWCAP2: u8 = 64;
const HWCAP_EVTSTRM: u64 = 1 << 2;
const HWCAP_CPUID: u64 = 1 << 11;

/// FP and AdvSIMD are signed fields: -1 is "absent", 0 "present".
const fn signed(reg: Reg, shift: u8) -> bool {
    matches!((reg, shift), (Reg::Pfr0, 16 | 20))
}

/// The allow list.
const CAPS: &[Cap] = &[
    cap(Reg::Pfr0, 16, 0, 0),            // fp
    cap(Reg::Pfr0, 20, 0, 1),            // asimd
    cap(Reg::Isar0, 4, 1, 3),            // aes
    cap(Reg::Isar0, 4, 2, 4),            // pmull
    cap(Reg::Isar0, 8, 1, 5),            // sha1
    cap(Reg::Isar0, 12, 1, 6),           // sha2
    cap(Reg::Isar0, 16, 1, 7),           // crc32
    cap(Reg::Isar0, 20, 2, 8),           // atomics
    cap(Reg::Pfr0, 16, 1, 9),            // fphp
    cap(Reg::Pfr0, 20, 1, 10),           // asimdhp
    cap(Reg::Isar0, 28, 1, 12),          // asimdrdm
    cap(Reg::Isar1, 12, 1, 13),          // jscvt
    cap(Reg::Isar1, 16, 1, 14),          // fcma
    cap(Reg::Isar1, 20, 1, 15),          // lrcpc
    cap(Reg::Isar1, 0, 1, 16),           // dcpop
    cap(Reg::Isar0, 32, 1, 17),          // sha3
    cap(Reg::Isar0, 36, 1, 18),          // sm3
    cap(Reg::Isar0, 40, 1, 19),          // sm4
    cap(Reg::Isar0, 44, 1, 20),          // asimddp
    cap(Reg::Isar0, 12, 2, 21),          // sha512
    cap(Reg::Isar0, 48, 1, 23),          // asimdfhm
    cap(Reg::Pfr0, 48, 1, 24),           // dit
    cap(Reg::Mmfr2, 32, 1, 25),          // uscat
    cap(Reg::Isar1, 20, 2, 26),          // ilrcpc
    cap(Reg::Isar0, 52, 1, 27),          // flagm
    cap(Reg::Pfr1, 4, 2, 28),            // ssbs
    cap(Reg::Isar1, 36, 1, 29),          // sb
    cap(Reg::Isar1, 0, 2, HWCAP2),       // dcpodp
    cap(Reg::Isar0, 52, 2, HWCAP2 + 7),  // flagm2
    cap(Reg::Isar1, 32, 1, HWCAP2 + 8),  // frint
    cap(Reg::Isar1, 52, 1, HWCAP2 + 13), // i8mm
    cap(Reg::Isar1, 44, 1, HWCAP2 + 14), // bf16
    cap(Reg::Isar1, 48, 1, HWCAP2 + 15), // dgh
    cap(Reg::Isar0, 60, 1, HWCAP2 + 16), // rng
    cap(Reg::Mmfr0, 60, 1, HWCAP2 + 19), // ecv
    cap(Reg::Mmfr1, 44, 1, HWCAP2 + 20), // afp
    cap(Reg::Isar2, 4, 1, HWCAP2 + 21),  // rpres
];

/// What EL0 reads in the fields that are hidden from it.
const fn hidden_value(reg: Reg) -> u64 {
    match reg {
        // EL0 and EL1 are AArch64.
        Reg::Pfr0 => 0x11,
        // TGran4 and TGran64: not told.
        Reg::Mmfr0 => 0xff00_0000,
        _ => 0,
    }
}

fn field(value: u64, reg: Reg, shift: u8) -> i8 {
    let raw = ((value >> shift) & 0xf) as i8;
    if signed(reg, shift) && raw > 7 { raw - 16 } else { raw }
}

impl IdRegs {
    /// The value of `reg`.
    pub const fn get(&self, reg: Reg) -> u64 {
        self.0[reg as usize]
    }

    /// A field of four bits as an unsigned number.
    pub const fn unsigned(&self, reg: Reg, shift: u8) -> u64 {
        (self.0[reg as usize] >> shift) & 0xf
    }

    /// HWCAP and HWCAP2 (AT_HWCAP, AT_HWCAP2).
    pub fn hwcaps(&self) -> (u64, u64) {
        let mut caps = u128::from(HWCAP_EVTSTRM | HWCAP_CPUID);
        for c in CAPS {
            if field(self.get(c.reg), c.reg, c.shift) >= c.min {
                caps |= 1 << c.bit;
            }
        }
        (caps as u64, (caps >> 64) as u64)
    }

    /// What EL0 may see of `reg`: the fields of the allow list, and safe values in the others.
    pub fn user_view(&self, reg: Reg) -> u64 {
        let mut mask = 0u64;
        for c in CAPS.iter().filter(|c| c.reg == reg) {
            mask |= 0xf << c.shift;
        }
        // SSBS would promise MSR SSBS at value 2 only; lower values are hidden by the row's minimum.
        self.get(reg) & mask | hidden_value(reg) & !mask
    }

    /// The common capabilities of two CPUs: the lower value of each listed field; other fields keep `self`'s.
    pub fn common(&self, other: &IdRegs) -> IdRegs {
        let mut out = *self;
        for c in CAPS {
            let (a, b) = (field(self.get(c.reg), c.reg, c.shift), field(other.get(c.reg), c.reg, c.shift));
            if b < a {
                let r = &mut out.0[c.reg as usize];
                *r = *r & !(0xf << c.shift) | ((b as u64 & 0xf) << c.shift);
            }
        }
        out
    }
}

/// The common values of all CPUs that have started.
static COMMON: [AtomicU64; REGS] = [const { AtomicU64::new(0) }; REGS];
/// MIDR and REVIDR of the boot CPU, for reads from EL0.
static MIDR: AtomicU64 = AtomicU64::new(0);
static REVIDR: AtomicU64 = AtomicU64::new(0);

/// The common ID registers of all CPUs that have started.
pub fn common() -> IdRegs {
    let mut regs = IdRegs::default();
    for (r, c) in regs.0.iter_mut().zip(&COMMON) {
        *r = c.load(Relaxed);
    }
    regs
}

/// HWCAP and HWCAP2, made of the common values: each exec asks for them.
static HWCAPS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn set_common(regs: &IdRegs) {
    let (first, second) = regs.hwcaps();
    HWCAPS[0].store(first, Relaxed);
    HWCAPS[1].store(second, Relaxed);
    for (r, c) in regs.0.iter().zip(&COMMON) {
        c.store(*r, Relaxed);
    }
}

/// Takes the boot CPU's registers as the common ones.
pub fn set_boot_cpu(regs: &IdRegs, midr: u64, revidr: u64) {
    set_common(regs);
    MIDR.store(midr, Relaxed);
    REVIDR.store(revidr, Relaxed);
}

/// Lowers the common values to what another CPU has too. CPUs start one after the other.
pub fn add_cpu(regs: &IdRegs) {
    set_common(&common().common(regs));
}

/// MIDR_EL1 of the boot CPU, for `/proc/cpuinfo`.
pub fn midr() -> u64 {
    MIDR.load(Relaxed)
}

/// HWCAP (AT_HWCAP).
pub fn hwcap() -> u64 {
    HWCAPS[0].load(Relaxed)
}

/// HWCAP2 (AT_HWCAP2).
pub fn hwcap2() -> u64 {
    HWCAPS[1].load(Relaxed)
}

/// Whether all CPUs have PAN (FEAT_PAN).
pub fn has_pan() -> bool {
    common().unsigned(Reg::Mmfr1, 20) != 0
}

/// The lines of `/proc/cpuinfo`'s "Features", in Linux's order.
pub const NAMES: &[&str] = &[
    "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid", "asimdrdm", "jscvt", "fcma",
    "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm", "dit", "uscat", "ilrcpc", "flagm", "ssbs", "sb",
    "paca", "pacg",
];
/// The names of HWCAP2's bits.
pub const NAMES2: &[&str] = &[
    "dcpodp", "sve2", "sveaes", "svepmull", "svebitperm", "svesha3", "svesm4", "flagm2", "frint", "svei8mm", "svef32mm", "svef64mm",
    "svebf16", "i8mm", "bf16", "dgh", "rng", "bti", "mte", "ecv", "afp", "rpres",
];

/// The value that EL0 reads from the system register `op0=3, op1, CRn, CRm, op2` when the kernel emulates it: MIDR, REVIDR, a
/// safe MPIDR, and the ID registers' user view. `None`: not emulated, SIGILL.
pub fn emulate_id_read(op1: u32, crn: u32, crm: u32, op2: u32) -> Option<u64> {
    let regs = common();
    match (op1, crn, crm, op2) {
        (0, 0, 0, 0) => Some(MIDR.load(Relaxed)),
        (0, 0, 0, 5) => Some(1 << 31),
        (0, 0, 0, 6) => Some(REVIDR.load(Relaxed)),
        (0, 0, 4, 0) => Some(regs.user_view(Reg::Pfr0)),
        (0, 0, 4, 1) => Some(regs.user_view(Reg::Pfr1)),
        // DFR0: debug architecture 6 and nothing else.
        (0, 0, 5, 0) => Some(6),
        (0, 0, 6, 0) => Some(regs.user_view(Reg::Isar0)),
        (0, 0, 6, 1) => Some(regs.user_view(Reg::Isar1)),
        (0, 0, 6, 2) => Some(regs.user_view(Reg::Isar2)),
        (0, 0, 7, 0) => Some(regs.user_view(Reg::Mmfr0)),
        (0, 0, 7, 1) => Some(regs.user_view(Reg::Mmfr1)),
        (0, 0, 7, 2) => Some(regs.user_view(Reg::Mmfr2)),
        // The rest of the ID space reads as zero.
        (0, 0, 1..=7, _) => Some(0),
        _ => None,
    }
}

/// Emulates the trapped MRS of ESR's ISS (EC 0x18, CPUs with FEAT_IDST): the register number Rt and the value for it.
pub fn emulate_mrs_iss(iss: u32) -> Option<(u32, u64)> {
    // Direction: 1 is a read. Op0 is bits 21:20.
    if iss & 1 == 0 || (iss >> 20) & 3 != 3 {
        return None;
    }
    let value = emulate_id_read((iss >> 14) & 7, (iss >> 10) & 0xf, (iss >> 1) & 0xf, (iss >> 17) & 7)?;
    Some(((iss >> 5) & 0x1f, value))
}

/// Emulates the instruction word of an undefined instruction (EC 0x00, older CPUs) if it is such an MRS.
pub fn emulate_mrs_instruction(word: u32) -> Option<(u32, u64)> {
    // MRS Xt, S3_op1_CRn_CRm_op2: 1101 0101 0011 1 op1 CRn CRm op2 Rt.
    if word & 0xfff8_0000 != 0xd538_0000 {
        return None;
    }
    let value = emulate_id_read((word >> 16) & 7, (word >> 12) & 0xf, (word >> 8) & 0xf, (word >> 5) & 7)?;
    Some((word & 0x1f, value))
}

/// This CPU's ID registers.
#[cfg(target_os = "none")]
pub fn read_this_cpu() -> IdRegs {
    use super::cpu::read_sysreg;
    use aarch64_cpu::registers::*;
    IdRegs([
        ID_AA64PFR0_EL1.get(),
        ID_AA64PFR1_EL1.get(),
        ID_AA64ISAR0_EL1.get(),
        ID_AA64ISAR1_EL1.get(),
        // ID_AA64ISAR2_EL1: the crate does not define it, and not every assembler knows it.
        read_sysreg!("S3_0_C0_C6_2"),
        ID_AA64MMFR0_EL1.get(),
        ID_AA64MMFR1_EL1.get(),
        ID_AA64MMFR2_EL1.get(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// A Cortex-A72 as QEMU shows it.
    const A72: IdRegs = IdRegs([0x2222, 0, 0x11120, 0, 0, 0x1124, 0, 0]);

    fn features(r: &IdRegs) -> String {
        let (a, b) = r.hwcaps();
        let names = NAMES.iter().enumerate().filter(|(i, _)| a >> i & 1 != 0);
        let names2 = NAMES2.iter().enumerate().filter(|(i, _)| b >> i & 1 != 0);
        names.chain(names2).map(|(_, n)| *n).collect::<std::vec::Vec<_>>().join(" ")
    }

    #[test]
    fn a_cortex_a72_shows_what_linux_shows() {
        assert_eq!(features(&A72), "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid");
    }

    #[test]
    fn what_is_not_kept_is_not_shown() {
        // Everything present: no sve, paca, pacg, bti, mte.
        let mut all = IdRegs([0x7777_7777_7777_7777; REGS]);
        all.0[Reg::Pfr0 as usize] = 0x7777_7777_7711_7777;
        let f = features(&all);
        for absent in ["sve", "paca", "pacg", "bti", "mte", "sve2"] {
            assert!(!f.split(' ').any(|w| w == absent), "{f}");
        }
        for present in ["atomics", "fphp", "sha512", "ilrcpc", "flagm2", "rng"] {
            assert!(f.split(' ').any(|w| w == present), "{f}");
        }
        assert_eq!(all.user_view(Reg::Pfr0) & 0xf_0000_00ff, 0x11, "SVE hidden, EL0 and EL1 64-bit only");
        assert_eq!(IdRegs::default().user_view(Reg::Mmfr0), 0xff00_0000);
    }

    #[test]
    fn no_fp_is_a_negative_field() {
        let mut none = IdRegs([0xff_0000, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(features(&none), "evtstrm cpuid");
        none.0[Reg::Isar0 as usize] = A72.get(Reg::Isar0);
        let c = A72.common(&none);
        assert!(!features(&c).contains("asimd") && features(&c).contains("aes"));
    }

    #[test]
    fn mrs_is_emulated_from_both_traps() {
        set_boot_cpu(&A72, 0x410f_d083, 0);
        // mrs x3, midr_el1; mrs x0, id_aa64isar0_el1
        assert_eq!(emulate_mrs_instruction(0xd538_0003), Some((3, 0x410f_d083)));
        assert_eq!(emulate_mrs_instruction(0xd538_0600), Some((0, 0x11120)));
        // mrs x0, sctlr_el1 is not an ID register; msr is not a read.
        assert_eq!(emulate_mrs_instruction(0xd538_1000), None);
        assert_eq!(emulate_mrs_instruction(0xd518_0000), None);
        let iss = 3 << 20 | 6 << 1 | 5 << 5 | 1;
        assert_eq!(emulate_mrs_iss(iss), Some((5, 0x11120)));
        assert_eq!(emulate_mrs_iss(iss & !1), None);
    }
}
