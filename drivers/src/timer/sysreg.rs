//! The virtual timer's registers.

use core::arch::asm;

/// CNTV_CTL_EL0.ENABLE.
const ENABLE: u64 = 1;
/// CNTV_CTL_EL0.ISTATUS.
const ISTATUS: u64 = 1 << 2;

/// Raises this CPU's timer line when the count reaches `count`; at once if it has. In ticks of [`frequency`].
#[inline(always)]
pub fn set_compare(count: u64) {
    // SAFETY: the comparator raises an interrupt, no more. The ISB makes both writes take effect in this order before
    // what follows. Not `nomem`: what was queued for this deadline is written before.
    unsafe {
        asm!(
            "msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb",
            in(reg) count, in(reg) ENABLE, options(nostack, preserves_flags)
        );
    }
}

/// Stops this CPU's timer and lowers its line.
#[inline(always)]
pub fn stop() {
    // SAFETY: as in `set_compare`.
    unsafe { asm!("msr cntv_ctl_el0, xzr", "isb", options(nostack, preserves_flags)) };
}

/// Whether the count is past the compare value while the timer is on.
#[inline(always)]
pub fn is_pending() -> bool {
    let ctl: u64;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, cntv_ctl_el0", out(reg) ctl, options(nostack, preserves_flags)) };
    ctl & (ENABLE | ISTATUS) == ENABLE | ISTATUS
}

/// The counter's frequency in Hz (CNTFRQ_EL0), as the firmware set it.
#[inline(always)]
pub fn frequency() -> u64 {
    vigil_executor::arch::counter_frequency()
}
