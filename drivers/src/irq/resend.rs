//! Edges that came while their line was disabled, on controllers that cannot raise a line by themselves: a tasklet runs the handlers when
//! the line is on again (Linux: kernel/irq/resend.c).

use super::desc::desc;
use super::flow::run_flow;
use super::{IrqChip, NR_IRQS, Virq};
use core::sync::atomic::{AtomicU64, Ordering::AcqRel};
use vigil_executor::arch;
use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::softirq::Tasklet;

/// The lines that wait for it, a bit each.
static LINES: [AtomicU64; NR_IRQS.div_ceil(64)] = [const { AtomicU64::new(0) }; NR_IRQS.div_ceil(64)];

static RESEND: Tasklet = Tasklet::new(|_| {
    for (i, word) in LINES.iter().enumerate() {
        let mut lines = word.swap(0, AcqRel);
        while lines != 0 {
            let number = i as u32 * 64 + lines.trailing_zeros();
            lines &= lines - 1;
            if let Some(virq) = Virq::new(number) {
                run(virq);
            }
        }
    }
});

/// Raises line `virq`, which is `hwirq` of `chip`, once more: at its controller, or else soon, by the tasklet. Any context.
pub(super) fn resend(virq: Virq, chip: &dyn IrqChip, hwirq: u32) {
    if chip.retrigger(hwirq).is_err() {
        let number = virq.get() as usize;
        LINES[number / 64].fetch_or(1 << (number % 64), AcqRel);
        RESEND.schedule();
    }
}

/// What an interrupt of the line would do. In a softirq.
fn run(virq: Virq) {
    arch::without_irqs(|| {
        let here = Context::here();
        here.add(HARDIRQ_OFFSET);
        run_flow(desc(virq), virq);
        here.sub(HARDIRQ_OFFSET);
    });
}
