//! For how long each CPU has had more to run than it can: what `/proc/pressure/cpu` is made of (Linux: kernel/sched/psi.c); and the same
//! for sets of tasks ([`crate::class::psi`]).
//!
//! Nothing is kept, and nothing costs, until somebody asks ([`watch`], [`watch_sets`]). A time begins when somebody is found to wait and
//! ends when nobody does any more, both in the queue's lock.

use crate::class::RunQueue;
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::executor::EXEC;
use crate::time::{self, Nanos};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};

/// Somebody wants to know of the machine,
static WATCHED: AtomicBool = AtomicBool::new(false);
/// or of so many sets.
static SETS: AtomicUsize = AtomicUsize::new(0);

/// Of a CPU. Under the lock of its queue.
struct Stall {
    /// Since when somebody waits; 0: nobody does.
    since: AtomicU64,
    /// How long somebody has waited before that.
    total: AtomicU64,
}

static STALLS: PerCpu<Stall> = PerCpu::new([const { Stall { since: AtomicU64::new(0), total: AtomicU64::new(0) } }; MAX_CPUS]);

/// Keeps the times of the machine from now on.
pub fn watch() {
    WATCHED.store(true, Relaxed);
    super::follow();
}

/// Whether they are kept.
pub fn is_watched() -> bool {
    WATCHED.load(Relaxed)
}

/// Keeps the times of one set more, or (`false`) less.
pub(crate) fn watch_sets(more: bool) {
    if more {
        SETS.fetch_add(1, Relaxed);
    } else {
        SETS.fetch_sub(1, Relaxed);
    }
    super::follow();
}

/// Whether anything is watched.
pub(super) fn is_anything_watched() -> bool {
    is_watched() || SETS.load(Relaxed) != 0
}

/// `rq`, the locked queue of `cpu`, has changed by `now`.
pub(crate) fn note(rq: &RunQueue, cpu: CpuId, now: Nanos) {
    if SETS.load(Relaxed) != 0 {
        rq.note_psi(now);
    }
    if !is_watched() {
        return;
    }
    let stall = STALLS.of(cpu);
    let since = stall.since.load(Relaxed);
    match (since, rq.somebody_waits()) {
        (0, true) => stall.since.store(now.max(1), Relaxed),
        (1.., false) => {
            stall.since.store(0, Relaxed);
            stall.total.store(stall.total.load(Relaxed).wrapping_add(now.saturating_sub(since)), Relaxed);
        }
        _ => {}
    }
}

/// How long somebody has waited for `cpu` since [`watch`], ns.
pub fn stalled(cpu: CpuId) -> Nanos {
    let _rq = EXEC.of(cpu).rq.lock_irq();
    let stall = STALLS.of(cpu);
    let so_far = match stall.since.load(Relaxed) {
        0 => 0,
        since => time::now().saturating_sub(since),
    };
    stall.total.load(Relaxed).wrapping_add(so_far)
}
