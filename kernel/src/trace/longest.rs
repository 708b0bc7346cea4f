//! The longest sections by place: `longest_sections`, and the last lines of a machine that runs with `vigil.longest`.
//!
//! The tracers of masked interrupts and of the preempt count note here every section that is longer than the shortest of those
//! kept; of sections with the same two ends one is kept.

use super::event::Text;
use super::latency::{Ended, Tracer};
use super::state::{self, Who};
use crate::debug::backtrace::{Symbol, walk};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// How many are kept.
const KEPT: usize = 12;
/// Callers of a section's end that are kept.
const CALLERS: usize = 6;

/// A section.
#[derive(Clone, Copy)]
struct Place {
    length: u64,
    from: usize,
    to: usize,
    callers: [usize; CALLERS],
    pid: u32,
    comm: [u8; 16],
}

const NONE: Place = Place { length: 0, from: 0, to: 0, callers: [0; CALLERS], pid: 0, comm: [0; 16] };

/// A leaf, like the report of the longest one.
static KEEP: SpinLock<[Place; KEPT]> = SpinLock::new(lock_class!("longest_sections"), [NONE; KEPT]);
/// What is not longer than this is not kept.
static LEAST: AtomicU64 = AtomicU64::new(0);

/// A section has ended at `to`, in a call chain that begins with the frame record `fp`. In `state::enter`.
pub fn note(ended: Ended, who: &Who, to: usize, fp: usize) {
    if ended.length <= LEAST.load(Relaxed) {
        return;
    }
    let mut place = Place { length: ended.length, from: ended.from, to, pid: who.pid, comm: who.comm, ..NONE };
    let mut callers = place.callers.iter_mut();
    walk(fp, |ret| {
        if let Some(slot) = callers.next() {
            *slot = ret.wrapping_sub(4);
        }
    });
    let mut kept = KEEP.lock_masked();
    let same = kept.iter().position(|p| (p.from, p.to) == (place.from, to));
    // They are in order: the last one is the shortest.
    let at = same.unwrap_or(KEPT - 1);
    if kept[at].length < place.length {
        kept[at] = place;
        kept.sort_unstable_by_key(|p| core::cmp::Reverse(p.length));
    }
    LEAST.store(kept[KEPT - 1].length, Relaxed);
}

/// Forgets all.
pub fn clear() {
    let _ = state::enter(|_| {
        *KEEP.lock_masked() = [NONE; KEPT];
        LEAST.store(0, Relaxed);
    });
}

/// Calls `f` with each, the longest first.
fn each(mut f: impl FnMut(&Place)) {
    let Some(all) = state::enter(|_| *KEEP.lock_masked()) else { return };
    all.iter().filter(|p| p.length != 0).for_each(&mut f);
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comm: &[u8] = if self.pid == 0 { b"<idle>" } else { &self.comm };
        write!(f, "{} ns {}-{}: {} -> {}", self.length, Text(comm), self.pid, Symbol(self.from), Symbol(self.to))?;
        self.callers.iter().take_while(|c| **c != 0).try_for_each(|c| write!(f, " <- {}", Symbol(*c)))
    }
}

/// Shows those of the current tracer.
pub fn show(out: &mut dyn Write) -> fmt::Result {
    let mut result = Ok(());
    each(|place| {
        if result.is_ok() {
            result = writeln!(out, "{place}");
        }
    });
    result
}

/// Logs them, if `vigil.longest` asks for that. The machine is about to end: any context in which locks may be taken.
pub fn last_words() {
    let tracer = state::tracer();
    if tracer == Tracer::Nop || !crate::boot::info().is_some_and(|info| info.params.longest) {
        return;
    }
    each(|place| crate::pr_emerg!("longest {}: {place}", tracer.name()));
}
