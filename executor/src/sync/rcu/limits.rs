//! What can be tuned of RCU (Linux: rcutree's parameters). Relaxed words: each is looked at by itself.

use crate::class::TICK;
use crate::time::{MSEC, Nanos, SEC};
use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU64, Ordering::Relaxed};

/// So many ticks are a second: no grace period waits longer for its CPUs before they are interrupted.
const HZ: u64 = SEC / TICK;

/// How many callbacks are called in one go (rcutree.blimit), unless they pile up.
pub static BLIMIT: AtomicI64 = AtomicI64::new(10);
/// With so many callbacks more than before on a CPU they pile up (rcutree.qhimark): all are called in one go, and the CPUs that are
/// waited for are interrupted at once;
pub static QHIMARK: AtomicI64 = AtomicI64::new(10_000);
/// with so many left they do not (rcutree.qlowmark).
pub static QLOWMARK: AtomicI64 = AtomicI64::new(100);
/// The part of those that are queued that is called in one go at least, as a shift (rcutree.rcu_divisor).
pub static DIVISOR: AtomicI32 = AtomicI32::new(7);
/// How long a softirq may be at many callbacks, ns (rcutree.rcu_resched_ns); between a millisecond and a second.
pub static RESCHED_NS: AtomicI64 = AtomicI64::new(3_000_000);
/// Ticks until the CPUs are interrupted for which a grace period waits, the first time and again (jiffies_till_first_fqs, …_next_fqs).
static FIRST_FQS: AtomicU64 = AtomicU64::new(1);
static NEXT_FQS: AtomicU64 = AtomicU64::new(1);

/// In one go at most, however many there are (Linux: DEFAULT_MAX_RCU_BLIMIT).
const MOST: i64 = 10_000;
/// More than these in one go are called for a limited time only.
const TIMED: usize = 100;

/// Ticks until the CPUs are interrupted for which a grace period waits: the first time, and again.
pub fn force_after() -> (u64, u64) {
    (FIRST_FQS.load(Relaxed), NEXT_FQS.load(Relaxed))
}

/// Changes the first: a second at most.
pub fn set_force_first(ticks: u64) {
    FIRST_FQS.store(ticks.min(HZ), Relaxed);
}

/// Changes the second: a tick at least, a second at most.
pub fn set_force_next(ticks: u64) {
    NEXT_FQS.store(ticks.clamp(1, HZ), Relaxed);
}

pub(super) fn first() -> Nanos {
    FIRST_FQS.load(Relaxed) * TICK
}

pub(super) fn next() -> Nanos {
    NEXT_FQS.load(Relaxed) * TICK
}

/// How many of `len` callbacks are called in one go, and for how long at most, if that matters. `piled`: see [`QHIMARK`].
pub(super) fn batch(len: usize, piled: bool) -> (usize, Option<Nanos>) {
    let limit = if piled { MOST } else { BLIMIT.load(Relaxed) };
    let part = len >> DIVISOR.load(Relaxed).clamp(0, usize::BITS as i32 - 2);
    let batch = usize::try_from(limit).unwrap_or(0).max(part).max(1);
    let timed = batch > TIMED;
    (batch, timed.then(|| RESCHED_NS.load(Relaxed).clamp(MSEC as i64, SEC as i64) as Nanos))
}
