//! For how long each CPU has had more to run than it can: what `/proc/pressure/cpu` is made of (Linux: kernel/sched/psi.c).
//!
//! Nothing is kept, and nothing costs, until somebody asks ([`watch`]). A time begins when a queue is found crowded and ends when it is
//! not any more, both in the queue's lock.

use super::MANY;
use crate::class::RunQueue;
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::executor::EXEC;
use crate::time::{self, Nanos};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// Somebody wants to know.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Of a CPU. Under the lock of its queue.
struct Stall {
    /// Since when somebody waits; 0: nobody does.
    since: AtomicU64,
    /// How long somebody has waited before that.
    total: AtomicU64,
}

static STALLS: PerCpu<Stall> = PerCpu::new([const { Stall { since: AtomicU64::new(0), total: AtomicU64::new(0) } }; MAX_CPUS]);

/// Keeps the times from now on.
pub fn watch() {
    WATCHED.store(true, Relaxed);
    MANY.store(true, Release);
}

/// Whether they are kept.
pub fn is_watched() -> bool {
    WATCHED.load(Relaxed)
}

/// `rq`, the locked queue of `cpu`, has changed by `now`.
pub(super) fn note(rq: &RunQueue, cpu: CpuId, now: Nanos) {
    if !is_watched() {
        return;
    }
    let stall = STALLS.of(cpu);
    let since = stall.since.load(Relaxed);
    match (since, rq.is_crowded()) {
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
