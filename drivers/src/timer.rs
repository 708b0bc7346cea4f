//! The architected timer: one comparator per CPU, in system registers (Arm ARM D11).
//!
//! The virtual timer is used: at EL1 it is always accessible, and with CNTVOFF_EL2 = 0 it counts what the physical one
//! does. The line stays raised for as long as the count is past the compare value, so whoever handles it sets a later
//! value or stops it. The registers are the executor's (`vigil_executor::arch::program_timer`); here is the line.

use crate::dt::Tree;
use crate::irq::{self, Virq};
use vigil_abi::Errno;

/// The position of the virtual timer in `interrupts`: after the secure and the non-secure physical one.
const VIRTUAL_INDEX: usize = 2;

/// Finds the timer in the tree and returns its per-CPU line, for [`irq::request_percpu_irq`]; stops this CPU's timer.
///
/// Errors: ENODEV when the tree has none; EPROBE_DEFER before the interrupt controller is there; EINVAL.
pub fn init(tree: &Tree<'_>) -> Result<Virq, Errno> {
    let node = tree.compatible(&["arm,armv8-timer", "arm,armv7-timer"]).next().ok_or(Errno::ENODEV)?;
    vigil_executor::arch::stop_timer();
    let index = node.prop_strings("interrupt-names").position(|n| n == "virt").unwrap_or(VIRTUAL_INDEX);
    irq::map_dt(node, index)
}
