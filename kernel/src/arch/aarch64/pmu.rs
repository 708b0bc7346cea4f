//! The performance monitors' interrupt (Arm ARM D13): a line of each CPU, raised for as long as a counter has overflowed.
//!
//! Nobody counts events yet (there is no perf_event_open(2)); whoever lets a counter interrupt finds its overflow taken back here.

use super::cpu::read_sysreg;
use aarch64_cpu::registers::{ID_AA64DFR0_EL1, Readable};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_drivers::dt::Tree;
use vigil_drivers::irq::{self, IrqAction, IrqFlags, IrqReturn, Virq};

/// What the tree calls them, in general and for the CPUs of our boards.
const COMPATIBLE: [&str; 5] = ["arm,armv8-pmuv3", "arm,cortex-a53-pmu", "arm,cortex-a57-pmu", "arm,cortex-a72-pmu", "arm,cortex-a76-pmu"];

static ACTION: IrqAction = IrqAction::of_static("arm-pmu", overflowed, IrqFlags::empty());
/// The line, once it is known.
static LINE: AtomicU32 = AtomicU32::new(0);

/// Finds the line and switches it on for this CPU, the boot CPU. Boards whose monitors have a shared line for each CPU have none here.
pub fn init(tree: &Tree<'_>) {
    let Some(node) = tree.compatible(&COMPATIBLE).next() else { return };
    if is_there()
        && let Ok(virq) = irq::map_dt(node, 0)
        && irq::request_percpu_irq(virq, &ACTION).is_ok()
    {
        LINE.store(virq.get(), Relaxed);
        init_cpu();
    }
}

/// The line of this CPU, which starts. Interrupts masked.
pub fn init_cpu() {
    if let Some(virq) = line() {
        let all = u64::from(u32::MAX);
        // SAFETY: no counter interrupts, and none has overflowed; neither affects memory.
        unsafe { asm!("msr pmintenclr_el1, {0}", "msr pmovsclr_el0, {0}", "isb", in(reg) all, options(nostack, preserves_flags)) };
        irq::enable_percpu_irq(virq);
    }
}

/// The line, if there is one.
pub fn line() -> Option<Virq> {
    Virq::new(LINE.load(Relaxed))
}

/// Whether this CPU has monitors of version 3.
fn is_there() -> bool {
    !matches!(ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer), 0 | 0xf)
}

/// Counters have overflowed: the line goes down with their bits.
fn overflowed(_: Virq, _: *const ()) -> IrqReturn {
    let counters = read_sysreg!("pmovsclr_el0");
    if counters == 0 {
        return IrqReturn::None;
    }
    // SAFETY: affects the bits alone.
    unsafe { asm!("msr pmovsclr_el0, {}", "isb", in(reg) counters, options(nostack, preserves_flags)) };
    IrqReturn::Handled
}
