//! The interrupt core: from a controller's number to the handlers of a line, and IPIs.
//!
//! ```text
//!  vector ─► handle_irq() ─► root controller (irqchip): acknowledge; a GICv2 until spurious
//!                              │ hwirq ─ IrqDomain::revmap ─► Virq ─ DESCS ─► IrqDesc
//!                              ▼
//!                            flow (per-CPU, fast EOI, level, edge, simple) ─► IrqAction ─► IrqAction ─► …   handlers
//! ```
//!
//! | type | is |
//! |---|---|
//! | [`Virq`] | the kernel's number of a line, as in `/proc/interrupts` |
//! | [`IrqDomain`] | one controller's lines: its [`IrqChip`] and the map hwirq → virq |
//! | [`IrqAction`] | one driver's handler on a line; lines may be shared |
//! | [`Ipi`] | an interrupt from one CPU to others |
//!
//! The way of an interrupt takes no lock and allocates nothing. What changes a line ([`request_irq`], [`free_irq`],
//! [`disable_irq`], [`set_affinity`]) takes the line's spin lock with interrupts masked: inside the lock on the numbers,
//! outside the controllers' register locks. Sources: Linux `kernel/irq`, `Documentation/core-api/genericirq`.

mod action;
mod desc;
mod domain;
mod flow;
mod ipi;
mod manage;
mod resend;
mod spurious;
mod thread;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_faults;

pub use action::{IrqAction, IrqFlags, IrqReturn};
pub use desc::{IrqInfo, for_each_desc, info, line_of_counter, spurious_count};
pub use domain::{Flow, IrqChip, IrqDomain, map_dt, register_domain};
pub use flow::handle_domain_irq;
pub(crate) use flow::handle_root;
pub use ipi::{Ipi, ipi_count, ipi_of_counter, send_ipi, set_ipi_handler};
pub(crate) use ipi::{handle_ipi, set_ipi_sender};
pub use manage::{
    default_affinity, disable_hardirq, disable_irq, disable_irq_nosync, disable_percpu_irq, enable_irq, enable_percpu_irq, free_irq,
    leave_cpu, request_irq, request_percpu_irq, retrigger, set_affinity, set_default_affinity, set_first_affinity, set_type,
    synchronize_hardirq, synchronize_irq,
};
pub(crate) use spurious::note_spurious;
pub use spurious::{Reporter, in_window, no_debug, set_reporter};
pub use thread::{Handler, IrqThread, force_threads, free_threaded_irq, request_threaded_irq, threads_forced};

use core::sync::atomic::{AtomicPtr, Ordering};

/// How many lines the kernel can have in use at once, line 0 (none) included.
pub const NR_IRQS: usize = 320;

/// The kernel's number of an interrupt line: from 1 to [`NR_IRQS`] − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Virq(u32);

impl Virq {
    /// The number, as `/proc/interrupts` shows it.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Line `n`, if there can be one.
    pub const fn new(n: u32) -> Option<Virq> {
        if n != 0 && (n as usize) < NR_IRQS { Some(Virq(n)) } else { None }
    }
}

/// What makes a line raise an interrupt. The values are those of device tree specifiers (`IRQ_TYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Trigger {
    /// As the controller has it.
    None = 0,
    /// A rising edge.
    EdgeRising = 1,
    /// A falling edge.
    EdgeFalling = 2,
    /// Either edge.
    EdgeBoth = 3,
    /// For as long as it is high.
    LevelHigh = 4,
    /// For as long as it is low.
    LevelLow = 8,
}

impl Trigger {
    /// The trigger of a specifier's flags; bits beyond the low four are a controller's own.
    pub const fn from_dt(flags: u32) -> Option<Trigger> {
        match flags & 0xf {
            0 => Some(Trigger::None),
            1 => Some(Trigger::EdgeRising),
            2 => Some(Trigger::EdgeFalling),
            3 => Some(Trigger::EdgeBoth),
            4 => Some(Trigger::LevelHigh),
            8 => Some(Trigger::LevelLow),
            _ => None,
        }
    }

    /// Whether the line is edge triggered.
    pub const fn is_edge(self) -> bool {
        matches!(self, Trigger::EdgeRising | Trigger::EdgeFalling | Trigger::EdgeBoth)
    }
}

/// The root controller's handler. A plain function in an atomic: one load and one indirect call in the vector.
static ROOT: AtomicPtr<()> = AtomicPtr::new(no_root as *mut ());

fn no_root() {
    note_spurious();
}

/// Makes `handle` what the vectors call.
pub(crate) fn set_root_handler(handle: fn()) {
    ROOT.store(handle as *mut (), Ordering::Release);
}

/// Handles what is pending on this CPU: acknowledges at least one interrupt, runs its handlers, ends it.
///
/// Called by the interrupt vector with interrupts masked and the hard-interrupt count raised, on the interrupt stack.
#[inline(always)]
pub fn handle_irq() {
    let root = ROOT.load(Ordering::Relaxed);
    // SAFETY: `ROOT` only ever holds pointers made of `fn()` items.
    let root: fn() = unsafe { core::mem::transmute(root) };
    root();
}
