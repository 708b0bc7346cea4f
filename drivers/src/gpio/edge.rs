//! Edges of lines: a listener is called in the hard interrupt.
//!
//! A line's [`IrqAction`] lives as long as its chip, for ever; what comes and goes is its listener, under the line's lock. So nothing that
//! walks the handlers of an interrupt can meet memory that is gone.

use super::Edges;
use super::controller::{Controller, Line};
use crate::irq::{self, IrqAction, IrqFlags, IrqReturn, Trigger, Virq};
use vigil_abi::Errno;
use vigil_executor::arch::counter;
use vigil_executor::time::{Nanos, ticks_to_nanos};
use vigil_mem::{KArc, KBox};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edge {
    /// The line became active; else it became inactive.
    pub rising: bool,
    /// The generic counter when the handler began.
    pub stamp: u64,
}

impl Edge {
    /// When it was seen, in the executor's time.
    pub fn time(&self) -> Nanos {
        ticks_to_nanos(self.stamp)
    }
}

/// Who is told of edges.
pub trait EdgeListener: Send + Sync {
    /// An edge of `line`. In the hard interrupt, under the line's lock: no allocation, IRQ-safe locks held briefly, wakes are welcome;
    /// nothing of the line's [`Controller`] may be called.
    fn edge(&self, line: u32, edge: Edge);
}

/// A listener on a line.
pub(super) struct Listening {
    virq: Virq,
    edges: Edges,
    listener: KArc<dyn EdgeListener>,
    /// The line's own handler, or one with its listener's name.
    action: &'static IrqAction,
}

/// The handler of lines before they have theirs.
pub(super) fn nobody(_: Virq, _: *const ()) -> IrqReturn {
    IrqReturn::None
}

/// Gives each line its handler: once, when they have come to where they stay.
pub(super) fn prepare(lines: &mut [Line]) {
    for line in lines {
        let own = core::ptr::from_ref(line).cast();
        // SAFETY: the line stays here for ever, and may be used by any CPU.
        line.action = unsafe { IrqAction::new("gpio", interrupt, own, IrqFlags::empty()) };
    }
}

/// A handler of `line` that is called `name`, for ever.
fn named(line: &'static Line, name: &'static str) -> Result<&'static IrqAction, Errno> {
    // SAFETY: as in `prepare`.
    let action = unsafe { IrqAction::new(name, interrupt, core::ptr::from_ref(line).cast(), IrqFlags::empty()) };
    Ok(KBox::leak(KBox::try_new(action)?))
}

/// Hard interrupt of a line that somebody listens to.
fn interrupt(_: Virq, dev: *const ()) -> IrqReturn {
    let stamp = counter();
    // SAFETY: `prepare` gave the action its own line, which stays for ever.
    let line = unsafe { &*dev.cast::<Line>() };
    let state = line.state.lock_irq();
    let Some(listening) = &state.listening else { return IrqReturn::None };
    let rising = match listening.edges {
        Edges::RISING => true,
        Edges::FALLING => false,
        // Which it was, the pin says: an edge that a glitch has taken back meanwhile is told as the level that there is.
        _ => line.chip.get(line.offset) != state.settings.active_low,
    };
    listening.listener.edge(line.offset, Edge { rising, stamp });
    IrqReturn::Handled
}

/// What raises the line's interrupt: edges of the pin.
fn trigger(edges: Edges, active_low: bool) -> Option<Trigger> {
    match (edges.contains(Edges::RISING), edges.contains(Edges::FALLING)) {
        (true, true) => Some(Trigger::EdgeBoth),
        (false, false) => None,
        (rising, _) => Some(if rising != active_low { Trigger::EdgeRising } else { Trigger::EdgeFalling }),
    }
}

impl Controller {
    /// Tells `listener` of `edges` of a line from now on. Not for interrupt context. A driver that listens for ever has a `name` in
    /// `/proc/interrupts`; others are `gpio`, because names of interrupts must last.
    ///
    /// Errors: EINVAL for no edges; EBUSY when somebody listens; ENXIO when the chip raises no interrupts; those of its domain; ENOMEM.
    pub fn listen(
        &'static self,
        line: u32,
        edges: Edges,
        listener: KArc<dyn EdgeListener>,
        name: Option<&'static str>,
    ) -> Result<(), Errno> {
        let l = self.line(line)?;
        let action = name.map_or(Ok(&l.action), |name| named(l, name))?;
        let active_low = l.state.lock_irq().settings.active_low;
        let trigger = trigger(edges, active_low).ok_or(Errno::EINVAL)?;
        let virq = self.chip.domain().ok_or(Errno::ENXIO)?.map(line, Trigger::None)?;
        {
            let mut state = l.state.lock_irq();
            if state.listening.is_some() {
                return Err(Errno::EBUSY);
            }
            state.listening = Some(Listening { virq, edges, listener, action });
        }
        let result = irq::set_type(virq, trigger).and_then(|()| irq::request_irq(virq, action));
        if result.is_err() {
            drop(stop(l));
        }
        result
    }

    /// Nobody listens to a line any more when this returns. Not for interrupt context.
    pub fn unlisten(&'static self, line: u32) {
        if let Ok(l) = self.line(line)
            && let Some(listening) = stop(l)
        {
            irq::free_irq(listening.virq, listening.action);
        }
    }

    /// The number of the line's interrupt, while somebody listens to it.
    pub fn irq(&self, line: u32) -> Option<Virq> {
        self.line(line).ok()?.state.lock_irq().listening.as_ref().map(|listening| listening.virq)
    }
}

fn stop(line: &Line) -> Option<Listening> {
    line.state.lock_irq().listening.take()
}
