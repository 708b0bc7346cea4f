//! Says which line nobody cares for, and that it has been switched off (Linux: __report_bad_irq).
//!
//! It is found out in a hard interrupt, with interrupts masked; the names of a call trace take ten times as long as anybody may mask them.
//! So the interrupt notes places and handlers, and a work item says it all.

use super::backtrace::{Chain, Symbol, frame_pointer};
use crate::{pr_emerg, pr_err};
use vigil_drivers::irq::{IrqAction, Virq};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::work::{UNBOUND, Work};

/// Lines that can wait to be reported. Of more only the number is said.
const LINES: usize = 4;
/// Handlers of a line that are named.
const HANDLERS: usize = 8;

/// What is to be said of a line. The handlers as they were: they may be gone when it is said.
#[derive(Clone, Copy)]
struct Report {
    /// The line; `None` when there is nothing to say.
    virq: Option<Virq>,
    chain: Chain,
    handlers: [Option<(usize, &'static str)>; HANDLERS],
}

impl Report {
    const NONE: Report = Report { virq: None, chain: Chain::EMPTY, handlers: [None; HANDLERS] };

    /// Without time to lose.
    fn say(&self) {
        let Some(virq) = self.virq else { return };
        pr_err!("irq {}: nobody cared", virq.get());
        self.chain.print();
        pr_err!("handlers:");
        for (address, name) in self.handlers.iter().flatten() {
            pr_err!("[<0>] {} ({name})", Symbol(*address));
        }
        pr_emerg!("Disabling IRQ #{}", virq.get());
    }
}

static REPORTS: SpinLock<[Report; LINES]> = SpinLock::new(lock_class!("bad_irq"), [Report::NONE; LINES]);

static SAY: Work = Work::new(|_| {
    let take = |report: &mut Report| {
        let found = *report;
        report.virq = None;
        found
    };
    let next = || REPORTS.lock_irq().iter_mut().find(|r| r.virq.is_some()).map(take);
    while let Some(report) = next() {
        report.say();
    }
});

/// `virq` is switched off, and had `handlers`: what ran and who they are is said soon. Interrupts masked.
pub fn report(virq: Virq, handlers: &mut dyn Iterator<Item = &'static IrqAction>) {
    let mut reports = REPORTS.lock_irq();
    let Some(free) = reports.iter_mut().find(|r| r.virq.is_none()) else {
        drop(reports);
        pr_emerg!("irq {0}: nobody cared; disabling IRQ #{0}", virq.get());
        return;
    };
    free.virq = Some(virq);
    free.chain.follow(frame_pointer());
    for place in &mut free.handlers {
        *place = handlers.next().map(|action| (action.handler_address(), action.name()));
    }
    drop(reports);
    UNBOUND.queue(&SAY);
}
