//! Controllers: what one can do, which lines it has, and how a device tree specifier names one of them.

use super::desc::{DESCS, desc};
use super::{NR_IRQS, Trigger, Virq};
use crate::dt::{DtError, Node};
use crate::model::EPROBE_DEFER;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, Ordering};
use vigil_abi::Errno;
use vigil_executor::cpu::CpuMask;
use vigil_executor::sync::{LockClass, SpinLock};

/// How the interrupts of a line are treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Flow {
    /// Nothing handles them.
    None = 0,
    /// Each CPU has a line of its own behind the number: no sharing, no exclusion needed.
    PerCpu = 1,
    /// The controller keeps a line from being raised again until it is told the end (GIC).
    FastEoi = 2,
    /// Masked, acknowledged, handled, unmasked.
    Level = 3,
    /// Acknowledged, handled; an edge that comes meanwhile runs the handlers once more.
    Edge = 4,
    /// Handled, and nothing else: whoever calls does the rest.
    Simple = 5,
}

impl Flow {
    pub(super) const fn from_u8(n: u8) -> Flow {
        match n {
            1 => Flow::PerCpu,
            2 => Flow::FastEoi,
            3 => Flow::Level,
            4 => Flow::Edge,
            5 => Flow::Simple,
            _ => Flow::None,
        }
    }
}

/// An interrupt controller's operations on one of its lines. Called with the line's lock held and interrupts masked,
/// or from the interrupt itself; none may block.
pub trait IrqChip: Sync {
    /// As in `/proc/interrupts`.
    fn name(&self) -> &'static str;
    /// The line and trigger that a device tree specifier names. Errors: EINVAL.
    fn translate(&self, cells: &[u32]) -> Result<(u32, Trigger), Errno>;
    /// How the line's interrupts are treated. Errors: EINVAL for a line that it does not have.
    fn flow(&self, hwirq: u32) -> Result<Flow, Errno>;
    /// Keeps the line from raising interrupts; done when it returns. For a per-CPU line: this CPU's.
    fn mask(&self, hwirq: u32);
    /// Lets the line raise interrupts.
    fn unmask(&self, hwirq: u32);
    /// Forgets the edge that was seen, or tells the controller that the level was noticed.
    fn ack(&self, _hwirq: u32) {}
    /// Sets what raises it. Errors: EINVAL when the line cannot be raised so.
    fn set_type(&self, hwirq: u32, trigger: Trigger) -> Result<(), Errno>;
    /// Sends the line's interrupts to CPUs of `mask`, which is not empty; says to which. Errors: EINVAL for a per-CPU line.
    fn set_affinity(&self, _hwirq: u32, _mask: CpuMask) -> Result<CpuMask, Errno> {
        Err(Errno::EINVAL)
    }
    /// Raises the line as its device would, once. Errors: EINVAL when the controller cannot do that.
    fn retrigger(&self, _hwirq: u32) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
}

/// The lines of one controller.
pub struct IrqDomain {
    chip: &'static dyn IrqChip,
    /// hwirq → virq; 0 for a line without a number.
    revmap: &'static [AtomicU16],
    /// The controller's node in the device tree.
    node: AtomicU32,
}

/// No node.
const NO_NODE: u32 = u32::MAX;

impl IrqDomain {
    /// The domain of `chip`, with a map for as many lines as it can have.
    pub const fn new(chip: &'static dyn IrqChip, revmap: &'static [AtomicU16]) -> Self {
        IrqDomain { chip, revmap, node: AtomicU32::new(NO_NODE) }
    }

    /// Its controller.
    pub fn chip(&self) -> &'static dyn IrqChip {
        self.chip
    }

    /// The number of line `hwirq`, if it has one.
    #[inline(always)]
    pub fn find(&self, hwirq: u32) -> Option<Virq> {
        let virq = self.revmap.get(hwirq as usize)?.load(Ordering::Acquire);
        Virq::new(u32::from(virq))
    }

    /// The number of line `hwirq`; gives it one if it has none, and sets its trigger.
    ///
    /// Errors: EINVAL for a line or trigger that the controller does not have, or when the line has another trigger already;
    /// ENOSPC when all numbers are in use.
    pub fn map(&'static self, hwirq: u32, trigger: Trigger) -> Result<Virq, Errno> {
        let slot = self.revmap.get(hwirq as usize).ok_or(Errno::EINVAL)?;
        let mut next = NEXT.lock_irq();
        let virq = match self.find(hwirq) {
            Some(virq) => virq,
            None => {
                let flow = self.chip.flow(hwirq)?;
                let virq = Virq::new(*next).ok_or(Errno::ENOSPC)?;
                let d = desc(virq);
                d.hwirq.store(hwirq, Ordering::Relaxed);
                d.flow.store(flow as u8, Ordering::Relaxed);
                d.domain.store(core::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
                *next += 1;
                slot.store(virq.0 as u16, Ordering::Release);
                virq
            }
        };
        if trigger != Trigger::None {
            let d = desc(virq);
            let mut state = d.state.lock_irq();
            if state.trigger == Trigger::None {
                self.chip.set_type(hwirq, trigger)?;
                state.trigger = trigger;
                // There are controllers whose lines are treated as they are triggered.
                d.flow.store(self.chip.flow(hwirq)? as u8, Ordering::Relaxed);
            } else if state.trigger != trigger {
                log::warn!("type mismatch, failed to map hwirq-{hwirq} for {}!", self.chip.name());
                return Err(Errno::EINVAL);
            }
        }
        Ok(virq)
    }
}

/// The next free number. Numbers are not given back: a line stays mapped, as a board's lines are few.
static NEXT: SpinLock<u32> = SpinLock::new(&DOMAIN_CLASS, 1);
static DOMAIN_CLASS: LockClass = LockClass::new("irq_domain");

const _: () = assert!(NR_IRQS <= u16::MAX as usize && DESCS.len() == NR_IRQS);

const MAX_DOMAINS: usize = 8;
static DOMAINS: [AtomicPtr<IrqDomain>; MAX_DOMAINS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_DOMAINS];

/// Makes `domain` the one of the controller at `node`, so that [`map_dt`] finds it.
///
/// Errors: ENOSPC when there are too many controllers.
pub fn register_domain(domain: &'static IrqDomain, node: Node<'_>) -> Result<(), Errno> {
    domain.node.store(node.id(), Ordering::Relaxed);
    let new = core::ptr::from_ref(domain).cast_mut();
    for slot in &DOMAINS {
        match slot.compare_exchange(core::ptr::null_mut(), new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(old) if old == new => return Ok(()),
            Err(_) => {}
        }
    }
    Err(Errno::ENOSPC)
}

/// The number of interrupt `index` of the device at `node`.
///
/// Errors: ENOENT when it has no such interrupt, EPROBE_DEFER when its controller has no driver yet, EINVAL when the
/// specifier is not the controller's, ENOSPC. Boot only.
pub fn map_dt(node: Node<'_>, index: usize) -> Result<Virq, Errno> {
    let spec = match node.irq(index) {
        Ok(spec) => spec,
        Err(DtError::NotFound) => return Err(Errno::ENOENT),
        Err(e) => return Err(e.into()),
    };
    let id = spec.controller.id();
    let domain = DOMAINS
        .iter()
        // SAFETY: a slot is null or came from a `&'static IrqDomain`.
        .filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
        .find(|d| d.node.load(Ordering::Relaxed) == id)
        .ok_or(EPROBE_DEFER)?;
    let (hwirq, trigger) = domain.chip.translate(spec.cells())?;
    domain.map(hwirq, trigger)
}
