//! Edges that came while their line was disabled, on a controller that cannot raise a line again.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::SeqCst};
use vigil_abi::Errno;
use vigil_drivers::irq::{
    Flow, IrqAction, IrqChip, IrqDomain, IrqFlags, IrqReturn, Trigger, Virq, disable_irq_nosync, enable_irq, handle_domain_irq, request_irq,
};
use vigil_executor::arch;
use vigil_executor::context::{Context, in_hardirq};
use vigil_executor::cpu::CpuMask;
use vigil_executor::softirq;

/// A controller of edges: no `retrigger`.
struct Chip;

impl IrqChip for Chip {
    fn name(&self) -> &'static str {
        "edges"
    }
    fn translate(&self, _: &[u32]) -> Result<(u32, Trigger), Errno> {
        Err(Errno::EINVAL)
    }
    fn flow(&self, _: u32) -> Result<Flow, Errno> {
        Ok(Flow::Edge)
    }
    fn mask(&self, _: u32) {}
    fn unmask(&self, _: u32) {}
    fn set_type(&self, _: u32, _: Trigger) -> Result<(), Errno> {
        Ok(())
    }
    fn set_affinity(&self, _: u32, mask: CpuMask) -> Result<CpuMask, Errno> {
        Ok(mask)
    }
}

static REVMAP: [AtomicU16; 2] = [const { AtomicU16::new(0) }; 2];
static DOMAIN: IrqDomain = IrqDomain::new(&Chip, &REVMAP);
static SEEN: AtomicU32 = AtomicU32::new(0);
static WRONG: AtomicU32 = AtomicU32::new(0);

fn handler(_: Virq, _: *const ()) -> IrqReturn {
    SEEN.fetch_add(1, SeqCst);
    WRONG.fetch_add(u32::from(!in_hardirq() || !arch::irqs_disabled()), SeqCst);
    IrqReturn::Handled
}

static ACTION: IrqAction = IrqAction::of_static("edge", handler, IrqFlags::empty());

#[test]
fn an_edge_that_came_while_its_line_was_disabled_is_handled_when_it_is_on() {
    softirq::init();
    let virq = DOMAIN.map(1, Trigger::EdgeRising).unwrap();
    request_irq(virq, &ACTION).unwrap();
    disable_irq_nosync(virq);
    let edge = || {
        arch::without_irqs(|| {
            let here = Context::here();
            here.add(vigil_executor::context::HARDIRQ_OFFSET);
            handle_domain_irq(&DOMAIN, 1);
            here.sub(vigil_executor::context::HARDIRQ_OFFSET);
        });
    };
    edge();
    edge();
    assert_eq!(SEEN.load(SeqCst), 0, "the line is off");
    enable_irq(virq);
    softirq::run_if_pending();
    Context::here().clear_need_resched();
    assert_eq!(SEEN.load(SeqCst), 1, "one for all edges of that time");
    edge();
    assert_eq!((SEEN.load(SeqCst), WRONG.load(SeqCst)), (2, 0), "hard interrupts with interrupts masked, all of them");
}
