//! The table of lines. What the interrupt path reads comes first in a descriptor and is atomic; what changes a line is
//! under its lock.

use super::domain::{Flow, IrqDomain};
use super::{IrqAction, NR_IRQS, Trigger, Virq};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering::{Acquire, Relaxed}};
use vigil_executor::arch::store_counter;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::trace::{KEY_LINES, Role};

/// A line.
#[repr(C, align(64))]
pub(super) struct IrqDesc {
    /// First handler; null while the line is free. First field: a load-acquire takes no offset.
    pub(super) action: AtomicPtr<IrqAction>,
    /// 0: no handler runs; 1: one runs; 2: one runs and must run again (edge flow). Not used by per-CPU lines.
    pub(super) running: AtomicU32,
    /// Interrupts that nobody handled since `calls` was last reset.
    pub(super) unhandled: AtomicU32,
    pub(super) flow: AtomicU8,
    pub(super) hwirq: AtomicU32,
    pub(super) domain: AtomicPtr<IrqDomain>,
    /// How often it was raised, per CPU. Each CPU writes its own, with interrupts masked.
    pub(super) counts: [AtomicU32; MAX_CPUS],
    pub(super) state: SpinLock<DescState>,
}

/// What the descriptor's lock guards.
pub(super) struct DescState {
    /// How often the line was disabled; 0: on. A free line counts one.
    pub(super) depth: u32,
    pub(super) trigger: Trigger,
    pub(super) affinity: CpuMask,
    /// Interrupts seen since the last look at `unhandled`; counts only while there are unhandled ones.
    pub(super) calls: u32,
}

static DESC_CLASS: LockClass = LockClass::new("irq_desc");

impl IrqDesc {
    const fn new() -> Self {
        let state = DescState { depth: 1, trigger: Trigger::None, affinity: CpuMask::ALL, calls: 0 };
        IrqDesc {
            action: AtomicPtr::new(null_mut()),
            running: AtomicU32::new(0),
            unhandled: AtomicU32::new(0),
            flow: AtomicU8::new(0),
            hwirq: AtomicU32::new(0),
            domain: AtomicPtr::new(null_mut()),
            counts: [const { AtomicU32::new(0) }; MAX_CPUS],
            state: SpinLock::new(&DESC_CLASS, state),
        }
    }

    /// The line's controller; `None` while it is mapped nowhere.
    pub(super) fn domain(&self) -> Option<&'static IrqDomain> {
        // SAFETY: the pointer is null or came from a `&'static IrqDomain`.
        unsafe { self.domain.load(Relaxed).as_ref() }
    }

    pub(super) fn flow(&self) -> Flow {
        Flow::from_u8(self.flow.load(Relaxed))
    }

    /// The first handler.
    #[inline(always)]
    pub(super) fn first(&self, order: core::sync::atomic::Ordering) -> Option<&'static IrqAction> {
        // SAFETY: the pointer is null or came from a `&'static IrqAction`.
        unsafe { self.action.load(order).as_ref() }
    }

    /// Counts one interrupt on this CPU. Interrupts masked.
    #[inline(always)]
    pub(super) fn count(&self) {
        let slot = &self.counts[CpuId::current().index() % MAX_CPUS];
        store_counter::<LINE, KEY_LINES>(slot, slot.load(Relaxed).wrapping_add(1));
    }
}

/// How the count is traced.
const LINE: u32 = Role::Line as u32;

/// The line whose counter is at `counter`, and the name of its first handler: for tracers.
pub fn line_of_counter(counter: usize) -> Option<(Virq, &'static str)> {
    let at = counter.checked_sub((&raw const DESCS) as usize)? / size_of::<IrqDesc>();
    let d = DESCS.get(at)?;
    Some((Virq::new(at as u32)?, d.first(Acquire).map_or("", |a| a.name)))
}

pub(super) static DESCS: [IrqDesc; NR_IRQS] = [const { IrqDesc::new() }; NR_IRQS];

/// The descriptor of `virq`.
#[inline(always)]
pub(super) fn desc(virq: Virq) -> &'static IrqDesc {
    // A `Virq` is below NR_IRQS by construction.
    &DESCS[virq.0 as usize]
}

pub(super) static SPURIOUS: AtomicU32 = AtomicU32::new(0);

/// Interrupts that no line or no handler was found for: the `Err` row of `/proc/interrupts`.
pub fn spurious_count() -> u32 {
    SPURIOUS.load(Relaxed)
}

/// One line of `/proc/interrupts`.
pub struct IrqInfo {
    /// The line.
    pub virq: Virq,
    /// Its number at the controller.
    pub hwirq: u32,
    /// The controller's name.
    pub chip: &'static str,
    /// What raises it.
    pub trigger: Trigger,
    /// How often it came, per CPU.
    pub counts: [u32; MAX_CPUS],
    first: Option<&'static IrqAction>,
}

impl IrqInfo {
    /// The names of its handlers.
    pub fn actions(&self) -> impl Iterator<Item = &'static str> {
        core::iter::successors(self.first, |a| {
            // SAFETY: links are null or came from `&'static IrqAction`s.
            unsafe { a.next.load(core::sync::atomic::Ordering::Acquire).as_ref() }
        })
        .map(|a| a.name)
    }
}

/// Calls `f` for every line that has a handler, by ascending number. Takes each line's lock for a moment, never during
/// a call.
pub fn for_each_desc(mut f: impl FnMut(&IrqInfo)) {
    for (n, d) in DESCS.iter().enumerate().skip(1) {
        let (Some(domain), Some(first)) = (d.domain(), d.first(core::sync::atomic::Ordering::Acquire)) else { continue };
        let trigger = d.state.lock_irq().trigger;
        f(&IrqInfo {
            virq: Virq(n as u32),
            hwirq: d.hwirq.load(Relaxed),
            chip: domain.chip().name(),
            trigger,
            counts: core::array::from_fn(|cpu| d.counts[cpu].load(Relaxed)),
            first: Some(first),
        });
    }
}
