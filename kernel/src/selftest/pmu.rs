//! The performance monitors interrupt their CPU when a counter overflows, once.

use super::latency::pause;
use super::report;
use crate::arch::aarch64::pmu;
use core::arch::asm;
use vigil_drivers::irq;
use vigil_executor::arch::without_irqs;
use vigil_executor::time::MSEC;

/// The cycle counter's bit.
const CYCLES: u64 = 1 << 31;
/// PMCR_EL0: enabled (E), and overflows from 32 bits (LC clear).
const ENABLED: u64 = 1;

/// Interrupts of all CPUs.
fn interrupts() -> u32 {
    pmu::line().and_then(irq::info).map_or(0, |info| info.counts.iter().sum())
}

/// Lets the cycle counter of this CPU overflow.
pub async fn overflow() -> bool {
    let (before, mut was) = (interrupts(), 0u64);
    let near = u64::from(u32::MAX - 100_000);
    // SAFETY: nobody counts cycles beside this test; none of the registers affects memory.
    without_irqs(|| unsafe {
        asm!(
            "mrs {was}, pmcr_el0", "msr pmcr_el0, {on}", "msr pmccntr_el0, {near}", "msr pmcntenset_el0, {cycles}", "msr pmintenset_el1, {cycles}", "isb",
            was = out(reg) was, on = in(reg) ENABLED, near = in(reg) near, cycles = in(reg) CYCLES, options(nostack)
        );
    });
    let mut came = 0;
    for _ in 0..100 {
        pause(MSEC).await;
        came = interrupts().wrapping_sub(before);
        if came != 0 {
            break;
        }
    }
    pause(5 * MSEC).await;
    let after = interrupts().wrapping_sub(before);
    // SAFETY: as above.
    without_irqs(|| unsafe {
        asm!("msr pmintenclr_el1, {cycles}", "msr pmcr_el0, {was}", "isb", cycles = in(reg) CYCLES, was = in(reg) was, options(nostack));
    });
    report("pmu", came == 1 && after == 1, format_args!("interrupts of an overflow {after}"))
}
