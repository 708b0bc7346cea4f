//! The table of lines. What the interrupt path reads comes first in a descriptor and is atomic; what changes a line is
//! under its lock.

use super::domain::{Flow, IrqDomain};
use super::resend::resend;
use super::{IrqAction, IrqFlags, NR_IRQS, Trigger, Virq};
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU32,
    Ordering::{Acquire, Relaxed, SeqCst},
};
use vigil_abi::Errno;
use vigil_executor::arch::store_counter;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::trace::{KEY_LINES, Role};

/// A line.
#[repr(C, align(64))]
pub(super) struct IrqDesc {
    /// First handler that an interrupt calls: null while the line is free or disabled, so that who has disabled it and seen no
    /// handler run knows that none begins. First field: a load-acquire takes no offset.
    pub(super) live: AtomicPtr<IrqAction>,
    /// First handler; null while the line is free.
    pub(super) action: AtomicPtr<IrqAction>,
    /// 0: no handler runs; 1: one runs; 2: one runs and must run again (edge flow). Not used by per-CPU lines.
    pub(super) running: AtomicU32,
    /// Interrupts that nobody handled among the last hundred thousand: see [`super::spurious`].
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
    /// Where its interrupts may go.
    pub(super) affinity: CpuMask,
    /// `affinity` was asked for; else it follows the default at each request.
    pub(super) affinity_set: bool,
    /// Where the controller sends them; empty before it was first told.
    pub(super) effective: CpuMask,
    /// An edge came while the line was disabled: raised again when it is enabled.
    pub(super) pending: bool,
    /// It was switched off because nobody cared.
    pub(super) shut: bool,
    /// When an interrupt was last unhandled (monotonic nanoseconds); 0: never.
    pub(super) last_unhandled: u64,
}

static DESC_CLASS: LockClass = LockClass::new("irq_desc");

impl IrqDesc {
    const fn new() -> Self {
        let state = DescState {
            depth: 1,
            trigger: Trigger::None,
            affinity: CpuMask::ALL,
            affinity_set: false,
            effective: CpuMask(0),
            pending: false,
            shut: false,
            last_unhandled: 0,
        };
        IrqDesc {
            live: AtomicPtr::new(null_mut()),
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

    /// The first handler that an interrupt calls.
    #[inline(always)]
    pub(super) fn first_live(&self, order: core::sync::atomic::Ordering) -> Option<&'static IrqAction> {
        // SAFETY: the pointer is null or came from a `&'static IrqAction`.
        unsafe { self.live.load(order).as_ref() }
    }

    /// The first handler.
    pub(super) fn first(&self, order: core::sync::atomic::Ordering) -> Option<&'static IrqAction> {
        // SAFETY: the pointer is null or came from a `&'static IrqAction`.
        unsafe { self.action.load(order).as_ref() }
    }

    /// Its handlers, whether they are called or not.
    pub(super) fn handlers(&self) -> impl Iterator<Item = &'static IrqAction> + use<> {
        following(self.first(SeqCst))
    }

    /// Switches it off, once more. Masked when it returns; a handler may run.
    pub(super) fn disable(&self, state: &mut DescState) {
        state.depth = state.depth.saturating_add(1);
        if state.depth == 1 {
            self.live.store(null_mut(), SeqCst);
            self.mask();
        }
    }

    /// Switches it on, whatever its depth; an edge that came meanwhile is raised again.
    pub(super) fn enable(&self, state: &mut DescState) {
        state.depth = 0;
        state.shut = false;
        self.live.store(self.action.load(Relaxed), SeqCst);
        let (Some(domain), hwirq) = (self.domain(), self.hwirq.load(Relaxed)) else { return };
        domain.chip().unmask(hwirq);
        if core::mem::take(&mut state.pending) {
            resend(self.virq(), domain.chip(), hwirq);
        }
    }

    /// Its number: the place in the table.
    pub(super) fn virq(&self) -> Virq {
        Virq(((core::ptr::from_ref(self) as usize - DESCS.as_ptr() as usize) / size_of::<IrqDesc>()) as u32)
    }

    /// Masks it at its controller.
    pub(super) fn mask(&self) {
        if let Some(domain) = self.domain() {
            domain.chip().mask(self.hwirq.load(Relaxed));
        }
    }

    /// Sends its interrupts to CPUs of `mask`. Errors: those of the controller.
    pub(super) fn route(&self, state: &mut DescState, mask: CpuMask) -> Result<(), Errno> {
        let domain = self.domain().ok_or(Errno::EINVAL)?;
        state.effective = domain.chip().set_affinity(self.hwirq.load(Relaxed), mask)?;
        Ok(())
    }

    /// How often it was raised.
    pub(super) fn total(&self) -> u32 {
        self.counts.iter().fold(0, |n, c| n.wrapping_add(c.load(Relaxed)))
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
    /// Where its interrupts may go.
    pub affinity: CpuMask,
    /// Where the controller sends them; empty while nothing has told it.
    pub effective: CpuMask,
    /// It can be sent to other CPUs.
    pub movable: bool,
    /// Interrupts that nobody handled among the last hundred thousand.
    pub unhandled: u32,
    /// When one was last unhandled (monotonic nanoseconds); 0: never.
    pub last_unhandled: u64,
    /// How often it came, per CPU.
    pub counts: [u32; MAX_CPUS],
    first: Option<&'static IrqAction>,
}

impl IrqInfo {
    /// The names of its handlers.
    pub fn actions(&self) -> impl Iterator<Item = &'static str> {
        following(self.first).map(|a| a.name)
    }
}

/// `first` and what is linked behind it.
fn following(first: Option<&'static IrqAction>) -> impl Iterator<Item = &'static IrqAction> {
    core::iter::successors(first, |a| {
        // SAFETY: links are null or came from `&'static IrqAction`s.
        unsafe { a.next.load(Acquire).as_ref() }
    })
}

/// What there is to say about line `virq`; `None` if it is mapped to no controller.
pub fn info(virq: Virq) -> Option<IrqInfo> {
    let d = desc(virq);
    let domain = d.domain()?;
    let state = d.state.lock_irq();
    Some(IrqInfo {
        virq,
        hwirq: d.hwirq.load(Relaxed),
        chip: domain.chip().name(),
        trigger: state.trigger,
        affinity: state.affinity,
        effective: state.effective,
        movable: d.flow() != Flow::PerCpu,
        unhandled: d.unhandled.load(Relaxed),
        last_unhandled: state.last_unhandled,
        counts: core::array::from_fn(|cpu| d.counts[cpu].load(Relaxed)),
        first: d.first(Acquire),
    })
}

/// Calls `f` for every line that has a handler which is a device's, by ascending number. Takes each line's lock for a moment, never during
/// a call.
pub fn for_each_desc(mut f: impl FnMut(&IrqInfo)) {
    for virq in (1..NR_IRQS as u32).filter_map(Virq::new) {
        if let Some(info) = info(virq).filter(|i| i.first.is_some_and(|a| !a.flags.contains(IrqFlags::CHAINED))) {
            f(&info);
        }
    }
}
