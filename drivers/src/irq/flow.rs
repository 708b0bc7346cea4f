//! The way of one interrupt from its line to its handlers.
//!
//! A handler of a line that is not per-CPU never runs on two CPUs at once: with [`Flow::FastEoi`] the controller keeps
//! the line active until its end is signalled, with the others `running` does. [`super::free_irq`] relies on `running`:
//!
//! ```text
//!   CPU a, interrupt                      CPU b, free_irq
//!   running = 1        (SeqCst)           action list = without it   (SeqCst)
//!   walk action list   (SeqCst)           wait until running == 0    (SeqCst)
//! ```
//!
//! One of the two sees the other. On arm64 these are STLR and LDAR, no barrier instruction.

use super::desc::{DESCS, IrqDesc, SPURIOUS, desc};
use super::domain::{Flow, IrqDomain};
use super::{IrqReturn, Virq};
use core::sync::atomic::AtomicU16;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

/// Of how many interrupts [`UNHANDLED_LIMIT`] must be unhandled for a line to be switched off (Linux `note_interrupt`).
const SPURIOUS_WINDOW: u32 = 100_000;
const UNHANDLED_LIMIT: u32 = 99_900;

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
fn run_flow(d: &'static IrqDesc, virq: Virq) {
    if d.flow.load(Relaxed) == Flow::PerCpu as u8 {
        // One handler, and what else there is to do after it: this is the timer.
        d.count();
        let handled = d.first(Acquire).is_some_and(|a| (a.handler)(virq, a.dev) == IrqReturn::Handled);
        check(d, virq, handled);
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
        let handled = run_actions(d, virq, SeqCst);
        d.running.store(0, Release);
        check(d, virq, handled);
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
        _ => note_spurious(),
    }
}

/// Runs the handlers; whether one of them recognised its device.
#[inline(always)]
fn run_actions(d: &IrqDesc, virq: Virq, order: core::sync::atomic::Ordering) -> bool {
    let mut handled = false;
    let mut action = d.first(order);
    while let Some(a) = action {
        handled |= (a.handler)(virq, a.dev) == IrqReturn::Handled;
        // SAFETY: links are null or came from `&'static IrqAction`s.
        action = unsafe { a.next.load(Acquire).as_ref() };
    }
    handled
}

fn level(d: &IrqDesc, virq: Virq) {
    let (Some(domain), hwirq) = (d.domain(), d.hwirq.load(Relaxed)) else { return };
    domain.chip().mask(hwirq);
    domain.chip().ack(hwirq);
    if d.running.compare_exchange(0, 1, SeqCst, Relaxed).is_err() {
        return;
    }
    let handled = run_actions(d, virq, SeqCst);
    d.running.store(0, Release);
    check(d, virq, handled);
    // Under the lock: a `disable_irq` that came meanwhile must stay in force.
    let state = d.state.lock_irq();
    if state.depth == 0 {
        domain.chip().unmask(hwirq);
    }
}

fn edge(d: &IrqDesc, virq: Virq) {
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
        let handled = run_actions(d, virq, SeqCst);
        check(d, virq, handled);
        if d.running.compare_exchange(1, 0, Release, Relaxed).is_ok() {
            return;
        }
        d.running.store(1, SeqCst);
    }
}

/// Looks after lines that keep asking for nothing. Costs a handled interrupt two instructions.
#[inline(always)]
fn check(d: &IrqDesc, virq: Virq, handled: bool) {
    if !handled || d.unhandled.load(Relaxed) != 0 {
        note_interrupt(d, virq, handled);
    }
}

#[cold]
#[inline(never)]
fn note_interrupt(d: &IrqDesc, virq: Virq, handled: bool) {
    let mut state = d.state.lock_irq();
    if d.first(Relaxed).is_none() {
        SPURIOUS.fetch_add(1, Relaxed);
        mask_line(d);
        return;
    }
    if !handled {
        d.unhandled.fetch_add(1, Relaxed);
    }
    state.calls += 1;
    if state.calls < SPURIOUS_WINDOW {
        return;
    }
    state.calls = 0;
    if d.unhandled.swap(0, Relaxed) > UNHANDLED_LIMIT {
        log::error!("irq {}: nobody cared; disabling it", virq.get());
        state.depth += 1;
        mask_line(d);
    }
}

fn mask_line(d: &IrqDesc) {
    if let Some(domain) = d.domain() {
        domain.chip().mask(d.hwirq.load(Relaxed));
    }
}

/// Counts an interrupt that came from nowhere.
#[cold]
#[inline(never)]
pub(crate) fn note_spurious() {
    SPURIOUS.fetch_add(1, Relaxed);
}
