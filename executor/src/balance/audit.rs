//! A look over the shoulder of idle CPUs (feature `audit`; without it nothing here is compiled in): whether anybody waits elsewhere
//! who could run on the CPU that is about to idle, after it has looked for work itself.

use super::choose::Machine;
use super::cpus::Cpus;
use super::has_others;
use super::partition::span;
use crate::cpu::{CpuId, CpuMask};
use crate::executor::EXEC;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

static ON: AtomicBool = AtomicBool::new(false);
static ENTRIES: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);
static SWITCHING: AtomicU64 = AtomicU64::new(0);
static WAITERS: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

/// What was seen since [`start`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// So often a CPU was about to idle after it had found no work, and every other CPU's queue was looked at.
    pub entries: u64,
    /// So often it did not idle after all: something was sent to it meanwhile.
    pub left: u64,
    /// Queues that were in the middle of a switch: who waited there was about to be chosen, or to be sent away.
    pub switching: u64,
    /// Entities that waited on a queue and might have run on the CPU that was about to idle.
    pub waiters: u64,
    /// The last one's CPU, rank, and the rank of what that CPU ran; and the CPU that was about to idle. A byte each.
    pub last: u64,
}

/// Looks at each idle entry from now on.
pub fn start() {
    ON.store(true, Relaxed);
}

/// What was seen so far.
pub fn seen() -> Seen {
    Seen {
        entries: ENTRIES.load(Relaxed),
        left: LEFT.load(Relaxed),
        switching: SWITCHING.load(Relaxed),
        waiters: WAITERS.load(Relaxed),
        last: LAST.load(Relaxed),
    }
}

/// `here`, this CPU, is about to idle, and has found nothing to pull. Interrupts masked.
pub(crate) fn look(here: CpuId) {
    if !ON.load(Relaxed) || !has_others(here) {
        return;
    }
    for from in CpuMask(span(here).0 & !CpuMask::of(here).0).iter() {
        if look_at(from, here) {
            LEFT.fetch_add(1, Relaxed);
            return;
        }
    }
    ENTRIES.fetch_add(1, Relaxed);
}

/// Counts who waits on `from`. Whether `here` has got something to do, so that nobody need care for it any more.
fn look_at(from: CpuId, here: CpuId) -> bool {
    let cpus = Cpus { here };
    let rq = EXEC.of(from).rq.lock_masked();
    let (mut waiting, mut rank) = (0, 0);
    let _ = rq.find_waiting(|e| {
        // SAFETY: entities that wait on a locked queue are those of live tasks.
        if unsafe { cpus.allows(e, here.index()) } {
            // SAFETY: as above.
            (waiting, rank) = (waiting + 1, unsafe { e.as_ref() }.rank().0);
        }
        false
    });
    // Looked at with the queue locked: whoever let somebody wait there before looked at this CPU's inbox.
    if !EXEC.of(here).inbox.is_empty() {
        return true;
    }
    if waiting != 0 && rq.is_outranked() {
        SWITCHING.fetch_add(1, Relaxed);
    } else if waiting != 0 {
        WAITERS.fetch_add(waiting, Relaxed);
        let seen = [from.index() as u8, rank, rq.current_rank().0, here.index() as u8];
        LAST.store(u32::from_be_bytes(seen).into(), Relaxed);
    }
    false
}
