//! The CPU interface of a GICv3: system registers ICC_*_EL1 (IHI 0069, chapter 12.2), by their encodings, as the
//! assembler knows their names only with a feature that the target has not.

use core::arch::asm;

/// ICC_IAR1_EL1: acknowledges the highest pending interrupt and returns its INTID. The DSB makes the acknowledge
/// complete before a handler touches its device (IHI 0069, 4.1.1).
#[inline(always)]
pub(super) fn acknowledge() -> u32 {
    let iar: u64;
    // SAFETY: acknowledging an interrupt touches no memory; not `nomem`, as handlers must not be moved before it.
    unsafe { asm!("mrs {}, S3_0_C12_C12_0", "dsb sy", out(reg) iar, options(nostack, preserves_flags)) };
    iar as u32 & 0xff_ffff
}

/// ICC_EOIR1_EL1: ends interrupt `intid`. The ISB makes it take effect before what follows.
#[inline(always)]
pub(super) fn end(intid: u32) {
    // SAFETY: ends an interrupt that was acknowledged; not `nomem`, as handlers must not be moved behind it.
    unsafe { asm!("msr S3_0_C12_C12_1, {}", "isb", in(reg) u64::from(intid), options(nostack, preserves_flags)) };
}

/// ICC_SGI1R_EL1: raises a software-generated interrupt. The caller's barrier orders what was written before.
#[inline(always)]
pub(super) fn send_sgi(value: u64) {
    // SAFETY: raises an interrupt on CPUs that are up.
    unsafe { asm!("msr S3_0_C12_C11_5, {}", "isb", in(reg) value, options(nostack, preserves_flags)) };
}

/// Opens the interface: system registers on (ICC_SRE), priorities below `mask` pass (ICC_PMR), one priority group
/// (ICC_BPR1), EOImode 0 (ICC_CTLR), group 1 on (ICC_IGRPEN1).
pub(super) fn enable(mask: u32) {
    // SAFETY: interrupts are masked by DAIF (contract of `init_cpu`), so nothing is taken before the caller is ready.
    unsafe {
        asm!(
            "mrs {t}, S3_0_C12_C12_5",
            "orr {t}, {t}, #1",
            "msr S3_0_C12_C12_5, {t}",
            "isb",
            "msr S3_0_C4_C6_0, {mask}",
            "msr S3_0_C12_C12_3, xzr",
            "mrs {t}, S3_0_C12_C12_4",
            "bic {t}, {t}, #2",
            "msr S3_0_C12_C12_4, {t}",
            "mov {t}, #1",
            "msr S3_0_C12_C12_7, {t}",
            "isb",
            t = out(reg) _,
            mask = in(reg) u64::from(mask),
            options(nostack, preserves_flags),
        );
    }
}
