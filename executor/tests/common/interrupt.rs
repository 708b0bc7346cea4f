//! Hard interrupts of what a thread does.

use vigil_executor::context::{Context, HARDIRQ_OFFSET};
use vigil_executor::{arch, softirq};

/// A hard interrupt of this flow, whose handler is `handler`, with its exit.
pub fn interrupt(handler: impl FnOnce()) {
    let irq = arch::irq_save();
    let here = Context::here();
    here.add(HARDIRQ_OFFSET);
    handler();
    here.sub(HARDIRQ_OFFSET);
    softirq::irq_exit(here);
    arch::irq_restore(irq);
}
