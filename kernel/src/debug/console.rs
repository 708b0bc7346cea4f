//! Consoles: where messages are shown, and who shows them.
//!
//! Each console remembers the next record that it has to show. Whoever stores a record tries to take the console lock;
//! the one who has it shows everything, so a message that comes while another CPU (or the interrupted code below us)
//! is showing is shown by that one. Nobody waits: a printk in an interrupt handler or an NMI cannot deadlock.
//!
//! A console is slow. Who cannot be preempted, an interrupt handler or the holder of a spin lock, therefore leaves what is no error
//! to a task, [`run`], as soon as there is one; errors and worse are shown at once, as nobody may come to it later. The next record
//! that is shown at once, by anybody, takes all before it along, and so does a panic.

use super::printk::{self, LOG, Level, Line};
use super::ring::{MAX_TEXT, Meta, Missing};
use core::fmt::Write;
use core::future::poll_fn;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use core::task::{Poll, Waker};
use vigil_executor::context::{PreemptGuard, preemptible};
use vigil_executor::executor::cond_resched;
use vigil_executor::task;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// Something that shows text.
pub trait Console: Sync {
    /// Its name and number, as in `console=`: `ttyAMA0`.
    fn name(&self) -> &str;
    /// Shows `bytes`; the console adds CR before LF if it needs one. Any context, panic included: polled, bounded waits.
    fn write(&self, bytes: &[u8]);
}

/// How a console is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An early console: shows everything from the beginning, and stops when a real console is there.
    Boot,
    /// A real one: shows the log from the beginning if no boot console did.
    Normal,
}

struct Slot {
    console: spin::Once<(&'static dyn Console, Kind)>,
    enabled: AtomicBool,
    seq: AtomicU64,
}

const SLOTS: usize = 4;
static CONSOLES: [Slot; SLOTS] =
    [const { Slot { console: spin::Once::new(), enabled: AtomicBool::new(false), seq: AtomicU64::new(0) } }; SLOTS];
static LOCKED: AtomicBool = AtomicBool::new(false);
/// A panic goes ahead without the lock: its holder may be stopped, or below us on this very CPU.
static BUSTED: AtomicBool = AtomicBool::new(false);
static KEEP_BOOT: AtomicBool = AtomicBool::new(false);

/// `keep_bootcon`: boot consoles stay when a real one comes.
pub fn keep_boot_consoles() {
    KEEP_BOOT.store(true, Relaxed);
}

/// Adds a console; `false` when there are four already. The log that it has not shown is shown at once.
pub fn register(console: &'static dyn Console, kind: Kind) -> bool {
    let boot_shows = CONSOLES.iter().any(|s| s.enabled.load(Acquire) && s.console.get().is_some_and(|c| c.1 == Kind::Boot));
    let Some(slot) = CONSOLES.iter().find(|s| !s.console.is_completed()) else { return false };
    slot.console.call_once(|| (console, kind));
    if kind == Kind::Normal && boot_shows {
        slot.seq.store(LOG.next(), Relaxed);
    }
    let what = if kind == Kind::Boot { "bootconsole" } else { "console" };
    crate::pr_info!("printk: {what} [{}] enabled", console.name());
    if kind == Kind::Normal && boot_shows && !KEEP_BOOT.load(Relaxed) {
        for s in &CONSOLES {
            if let Some((c, Kind::Boot)) = s.console.get() {
                crate::pr_info!("printk: bootconsole [{}] disabled", c.name());
                s.enabled.store(false, Release);
            }
        }
        // The line about the change was shown by the boot console; the new one goes on behind it.
        slot.seq.store(LOG.next(), Relaxed);
    }
    slot.enabled.store(true, Release);
    flush();
    true
}

/// Calls `f` with each console that shows messages: name and whether it is a boot console (`/proc/consoles`).
pub fn for_each(mut f: impl FnMut(&'static dyn Console, Kind)) {
    for s in &CONSOLES {
        if let Some((c, kind)) = s.console.get().filter(|_| s.enabled.load(Acquire)) {
            f(*c, *kind);
        }
    }
}

/// Wakes the task that shows what others leave.
static PRINTER: spin::Once<Waker> = spin::Once::new();

/// Shows what those leave who cannot be preempted. The future of a task that never ends.
pub async fn run() {
    loop {
        while show_next() {
            cond_resched().await;
        }
        let mut woken = false;
        poll_fn(|cx| {
            PRINTER.call_once(|| cx.waker().clone());
            if core::mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            if let Some(task) = task::current() {
                // Nothing interrupts a kernel task.
                let _ = task.begin_wait(wait_site!("printk"), WaitMode::Interruptible);
            }
            Poll::Pending
        })
        .await;
    }
}

/// A record of `level` was stored: shows it, or leaves it to the task. Any context.
pub(super) fn stored(level: u8) {
    match PRINTER.get() {
        Some(printer) if level > Level::Err as u8 && !preemptible() && !BUSTED.load(Relaxed) => printer.wake_by_ref(),
        _ => flush(),
    }
}

/// Shows what has not been shown, unless somebody else is doing so: a record at a time, between which others may run. Any context.
pub fn flush() {
    while show_next() {}
}

/// Shows all messages that are still there once more, in a panic.
pub fn replay() {
    CONSOLES.iter().for_each(|slot| slot.seq.store(LOG.oldest(), SeqCst));
    flush();
}

/// Shows a record on each console that is behind, unless somebody else is doing so; whether that left any.
fn show_next() -> bool {
    let _stay = PreemptGuard::new();
    if LOCKED.swap(true, Acquire) && !BUSTED.load(Relaxed) {
        return false;
    }
    for slot in CONSOLES.iter().filter(|s| s.enabled.load(Acquire)) {
        if let Some((console, _)) = slot.console.get() {
            show_one(*console, &slot.seq);
        }
    }
    LOCKED.store(false, SeqCst);
    // A record stored after our last look, by somebody who found the lock taken, is ours to show.
    is_behind()
}

/// Whether a console has not shown everything.
fn is_behind() -> bool {
    CONSOLES.iter().any(|s| s.enabled.load(Acquire) && s.console.is_completed() && pending(s.seq.load(SeqCst)))
}

/// How many times [`flush_and_wait`] looks before it gives up: some tenths of a second.
const PATIENCE: u32 = 10_000_000;

/// Shows what has not been shown, and waits (bounded) for another CPU that is showing; for the last messages before the
/// machine stops. Any context.
pub fn flush_and_wait() {
    for _ in 0..PATIENCE {
        flush();
        if BUSTED.load(Relaxed) || (!LOCKED.load(SeqCst) && !is_behind()) {
            return;
        }
        vigil_executor::arch::relax();
    }
}

/// Whether record `seq` can be shown now.
fn pending(seq: u64) -> bool {
    let mut text = [0; MAX_TEXT];
    !matches!(LOG.read(seq, &mut text), Err(Missing::NotYet))
}

/// Shows the next record, if there is one.
fn show_one(console: &dyn Console, seq: &AtomicU64) {
    let mut text = [0; MAX_TEXT];
    let at = seq.load(Relaxed);
    match LOG.read(at, &mut text) {
        Ok(meta) => {
            // First, so that a panic inside `write` does not show the same record for ever.
            seq.store(at + 1, SeqCst);
            if printk::shown(meta.level) {
                show(console, &meta, &text[..meta.len as usize]);
            }
        }
        Err(Missing::Lost(next)) => {
            console.write(b"** printk messages dropped **\n");
            seq.store(next, SeqCst);
        }
        Err(Missing::NotYet) => {}
    }
}

fn show(console: &dyn Console, meta: &Meta, text: &[u8]) {
    for part in text.split(|b| *b == b'\n') {
        let mut line = Line::new();
        // `Line` takes everything.
        let _ = write_time(&mut line, meta.time);
        // In one piece if it fits, so that nothing comes between.
        if line.bytes().len() + part.len() < MAX_TEXT {
            line.push(part);
            line.push(b"\n");
            console.write(line.bytes());
        } else {
            console.write(line.bytes());
            console.write(part);
            console.write(b"\n");
        }
    }
}

/// Writes `[    1.234567] `.
pub(super) fn write_time(w: &mut Line, nanos: u64) -> core::fmt::Result {
    write!(w, "[{:5}.{:06}] ", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000)
}

/// From now on consoles are written without the lock: the kernel panics.
pub fn bust() {
    BUSTED.store(true, SeqCst);
}
