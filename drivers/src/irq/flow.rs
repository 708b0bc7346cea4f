//! The way of one interrupt from its line to its handlers.
//!
//! A handler of a line that is not per-CPU never runs on two CPUs at once: with [`Flow::FastEoi`] the controller keeps
//! the line active until its end is signalled, with the others `running` does. [`super::free_irq`] and
//! [`super::disable_hardirq`] rely on `running`:
//!
//! ```text
//!   CPU a, interrupt                      CPU b, free_irq or disable_hardirq
//!   running = 1        (SeqCst)           live list = without it, or empty   (SeqCst)
//!   walk live list     (SeqCst)           wait until running == 0            (SeqCst)
//! ```
//!
//! One of the two sees the other. On arm64 these are STLR and LDAR, no barrier instruction.

use super::desc::{DESCS, IrqDesc, desc};
use super::domain::{Flow, IrqDomain};
use super::spurious::{check, not_live, note_spurious};
use super::{IrqAction, IrqReturn, Virq};
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// An interrupt of line `hwirq` of the root controller, whose end the caller signals afterwards. Inlined into its loop,
/// with everything that is not the ordinary way out of line: this is the first part of every interrupt's latency.
#[inline(always)]
pub(crate) fn handle_root<const LINES: usize>(revmap: &'static [AtomicU16; LINES], hwirq: u32) {
    let number = revmap.get(hwirq as usize).map_or(0, |virq| virq.load(Acquire));
    // Line 0 is none: it has no flow.
    if let Some(d) = DESCS.get(usize::from(number)) {
        run_flow(d, Virq(u32::from(number)));
    }
}

/// An interrupt of line `hwirq` of a controller that is itself connected to a line: called by that line's handler.
///
/// Hard interrupt, interrupts masked.
pub fn handle_domain_irq(domain: &'static IrqDomain, hwirq: u32) {
    match domain.find(hwirq) {
        Some(virq) => run_flow(desc(virq), virq),
        None => {
            note_spurious();
            domain.chip().mask(hwirq);
        }
    }
}

#[inline(always)]
pub(super) fn run_flow(d: &'static IrqDesc, virq: Virq) {
    if d.flow.load(Relaxed) == Flow::PerCpu as u8 {
        // One handler, and what else there is to do after it: this is the timer.
        d.count();
        match d.first_live(Acquire) {
            Some(a) => check(d, virq, (a.handler)(virq, a.dev) == IrqReturn::Handled),
            None => not_live(d),
        }
    } else {
        shared_line(d, virq);
    }
}

/// A line that all CPUs share.
#[inline(never)]
fn shared_line(d: &'static IrqDesc, virq: Virq) {
    d.count();
    if d.flow() == Flow::FastEoi {
        d.running.store(1, SeqCst);
        match d.first_live(SeqCst) {
            Some(first) => {
                let handled = run_actions(first, virq);
                d.running.store(0, Release);
                check(d, virq, handled);
            }
            None => {
                d.running.store(0, Release);
                not_live(d);
            }
        }
    } else {
        other_flow(d, virq);
    }
}

#[cold]
#[inline(never)]
fn other_flow(d: &'static IrqDesc, virq: Virq) {
    match d.flow() {
        Flow::Level => level(d, virq),
        Flow::Edge => edge(d, virq),
        Flow::Simple => {
            simple(d, virq);
        }
        _ => note_spurious(),
    }
}

/// Runs the handlers; whether one of them recognised its device.
#[inline(always)]
fn run_actions(first: &'static IrqAction, virq: Virq) -> bool {
    let mut handled = false;
    let mut action = Some(first);
    while let Some(a) = action {
        handled |= (a.handler)(virq, a.dev) == IrqReturn::Handled;
        // SAFETY: links are null or came from `&'static IrqAction`s.
        action = unsafe { a.next.load(Acquire).as_ref() };
    }
    handled
}

fn level(d: &'static IrqDesc, virq: Virq) {
    let (Some(domain), hwirq) = (d.domain(), d.hwirq.load(Relaxed)) else { return };
    domain.chip().mask(hwirq);
    domain.chip().ack(hwirq);
    if !simple(d, virq) {
        return;
    }
    // Under the lock: a `disable_irq` that came meanwhile must stay in force.
    let state = d.state.lock_irq();
    if state.depth == 0 {
        domain.chip().unmask(hwirq);
    }
}

/// `false`: they run elsewhere, or the line is off.
fn simple(d: &'static IrqDesc, virq: Virq) -> bool {
    if d.running.compare_exchange(0, 1, SeqCst, Relaxed).is_err() {
        return false;
    }
    let handled = d.first_live(SeqCst).map(|first| run_actions(first, virq));
    d.running.store(0, Release);
    match handled {
        Some(handled) => check(d, virq, handled),
        None => not_live(d),
    }
    handled.is_some()
}

fn edge(d: &'static IrqDesc, virq: Virq) {
    let (Some(domain), hwirq) = (d.domain(), d.hwirq.load(Relaxed)) else { return };
    domain.chip().ack(hwirq);
    loop {
        match d.running.compare_exchange(0, 1, SeqCst, Relaxed) {
            Ok(_) => break,
            // Whoever runs the handlers runs them once more.
            Err(_) if d.running.compare_exchange(1, 2, SeqCst, Relaxed) != Err(0) => return,
            Err(_) => {}
        }
    }
    loop {
        let Some(first) = d.first_live(SeqCst) else {
            d.running.store(0, Release);
            return not_live(d);
        };
        let handled = run_actions(first, virq);
        check(d, virq, handled);
        if d.running.compare_exchange(1, 0, Release, Relaxed).is_ok() {
            return;
        }
        d.running.store(1, SeqCst);
    }
}
