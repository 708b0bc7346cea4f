//! Lines that ask for nothing: told from the odd interrupt that is nobody's, and switched off (Linux: kernel/irq/spurious.c).
//!
//! Of a hundred thousand interrupts of a line more than 99 900 that no handler knew: the line is reported and switched off. Ten
//! times a second its handlers are called all the same, so that a device that shares the line with the broken one goes on, slowly.

use super::desc::{DESCS, IrqDesc, SPURIOUS};
use super::resend::resend;
use super::{IrqAction, NR_IRQS, Virq};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};
use vigil_executor::arch;
use vigil_executor::coarse::{CoarseTimer, Kind};
use vigil_executor::time::{self, MSEC};
use vigil_executor::trace::{self, KEY_LINES};

/// Of how many interrupts more than [`UNHANDLED_LIMIT`] must be unhandled for a line to be switched off.
const WINDOW: u32 = 100_000;
const UNHANDLED_LIMIT: u32 = 99_900;
/// Unhandled interrupts that are further apart are the odd ones, and begin a new count.
const SERIES: u64 = 100 * MSEC;
/// How often the handlers of lines that were switched off are called.
const POLL_INTERVAL: u64 = 100 * MSEC;

/// `noirqdebug`: nothing is counted.
static OFF: AtomicBool = AtomicBool::new(false);

/// Lines are left on whatever they do (`noirqdebug`).
pub fn no_debug() {
    OFF.store(true, Relaxed);
}

/// What a line's counter has come to in its window: what `/proc/irq/N/spurious` shows.
pub const fn in_window(total: u32) -> u32 {
    total % WINDOW
}

/// Tells of a line that nobody cares for and is switched off: the number and its handlers.
pub type Reporter = fn(Virq, &mut dyn Iterator<Item = &'static IrqAction>);

fn report_names(virq: Virq, handlers: &mut dyn Iterator<Item = &'static IrqAction>) {
    log::error!("irq {}: nobody cared", virq.get());
    log::error!("handlers:");
    for action in handlers {
        log::error!("[<{:#x}>] {}", action.handler_address(), action.name());
    }
    log::error!("Disabling IRQ #{}", virq.get());
}

static REPORTER: AtomicPtr<()> = AtomicPtr::new(report_names as *mut ());

/// Sets who tells of lines that nobody cares for: in the hard interrupt, the line's lock held, so it should take little time.
pub fn set_reporter(reporter: Reporter) {
    REPORTER.store(reporter as *mut (), Release);
}

/// Looks after lines that keep asking for nothing. Costs a handled interrupt two instructions.
#[inline(always)]
pub(super) fn check(d: &'static IrqDesc, virq: Virq, handled: bool) {
    if !handled || d.unhandled.load(Relaxed) != 0 {
        note_interrupt(d, virq, handled);
    }
}

#[cold]
#[inline(never)]
fn note_interrupt(d: &'static IrqDesc, virq: Virq, handled: bool) {
    if !handled && arch::is_traced::<KEY_LINES>() {
        trace::tell(trace::Event::NotHandled);
    }
    if OFF.load(Relaxed) {
        return;
    }
    let mut state = d.state.lock_irq();
    if !handled {
        let now = time::now();
        let series = d.unhandled.load(Relaxed) != 0 && now.saturating_sub(state.last_unhandled) <= SERIES;
        d.unhandled.store(if series { d.unhandled.load(Relaxed) + 1 } else { 1 }, Relaxed);
        state.last_unhandled = now.max(1);
    }
    // A window's end that this does not see has nothing unhandled before it.
    if in_window(d.total()) != 0 {
        return;
    }
    if d.unhandled.swap(0, Relaxed) > UNHANDLED_LIMIT {
        // SAFETY: `REPORTER` only ever holds pointers made of `Reporter` items.
        let report: Reporter = unsafe { core::mem::transmute(REPORTER.load(Acquire)) };
        report(virq, &mut d.handlers());
        state.shut = true;
        let virq = virq.get() as usize;
        SHUT[virq / WORD].fetch_or(1 << (virq % WORD), Release);
        d.disable(&mut state);
        drop(state);
        Pin::static_ref(&POLL).start(POLL_INTERVAL);
    }
}

/// An interrupt of a line that is off, or has no handler: it stays off. An edge is kept for when the line is enabled.
#[cold]
#[inline(never)]
pub(super) fn not_live(d: &'static IrqDesc) {
    let mut state = d.state.lock_irq();
    let Some(domain) = d.domain() else { return };
    let hwirq = d.hwirq.load(Relaxed);
    if !d.live.load(Relaxed).is_null() {
        // It was enabled meanwhile. A level is still there; an edge was acknowledged.
        if state.trigger.is_edge() {
            resend(d.virq(), domain.chip(), hwirq);
        }
        return;
    }
    if d.first(Relaxed).is_none() {
        SPURIOUS.fetch_add(1, Relaxed);
    }
    state.pending = state.trigger.is_edge();
    domain.chip().mask(hwirq);
}

const WORD: usize = u64::BITS as usize;
/// Lines that may be switched off, so that the others need not be looked at.
static SHUT: [AtomicU64; NR_IRQS.div_ceil(WORD)] = [const { AtomicU64::new(0) }; NR_IRQS.div_ceil(WORD)];

/// Calls the handlers of lines that were switched off.
fn poll(_: &CoarseTimer) {
    let mut shut = false;
    for (word, first) in SHUT.iter().zip((0..).step_by(WORD)) {
        let mut rest = word.load(Relaxed);
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            // Taken out first: who switches it off again meanwhile is seen by `poll_line`, or puts it in again.
            word.fetch_and(!(1 << bit), AcqRel);
            if Virq::new(first + bit).is_some_and(poll_line) {
                word.fetch_or(1 << bit, Relaxed);
                shut = true;
            }
        }
    }
    if shut {
        Pin::static_ref(&POLL).start(POLL_INTERVAL);
    }
}

/// Calls the handlers of `virq`; `false` if it is not switched off any more. Handlers expect interrupts masked.
fn poll_line(virq: Virq) -> bool {
    let Some(d) = DESCS.get(virq.get() as usize) else { return false };
    if !d.state.lock_irq().shut {
        return false;
    }
    arch::without_irqs(|| {
        // The line is masked, so its flow is nowhere; `free_irq` waits for `running`.
        if d.running.compare_exchange(0, 1, SeqCst, Relaxed).is_ok() {
            for action in d.handlers() {
                let _ = (action.handler)(virq, action.dev);
            }
            d.running.store(0, Release);
        }
    });
    true
}

static POLL: CoarseTimer = CoarseTimer::new(poll, Kind::PLAIN);

/// Counts an interrupt that came from nowhere.
#[cold]
#[inline(never)]
pub(crate) fn note_spurious() {
    SPURIOUS.fetch_add(1, Relaxed);
}
