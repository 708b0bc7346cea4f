//! A poll that takes its CPU's interrupts by itself.

use vigil_executor::arch;
use vigil_executor::context::{Context, StackKind};
use vigil_executor::executor::{self, Stopped};

/// What the vector does at an interrupt of the poll that runs.
pub fn interrupt() {
    let stack = Context::new(StackKind::Irq);
    let mask = arch::irq_save();
    assert_eq!(executor::irq_exit(&stack, Context::here(), false), Stopped::No);
    arch::irq_restore(mask);
}
