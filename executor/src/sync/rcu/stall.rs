//! Grace periods that take too long (Linux: kernel/rcu/tree_stall.h): who is waited for is said, again and again.

use super::GRACE;
use crate::cpu::{CpuId, CpuMask};
use crate::platform;
use crate::time::{Nanos, SEC};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The bounds of the time after which it is said, in seconds (Linux: rcu_jiffies_till_stall_check).
const TIMEOUT: core::ops::RangeInclusive<u64> = 3..=300;

/// Seconds (Linux: rcupdate.rcu_cpu_stall_timeout; Debian's CONFIG_RCU_CPU_STALL_TIMEOUT).
static SECONDS: AtomicU64 = AtomicU64::new(21);
static SUPPRESSED: AtomicBool = AtomicBool::new(false);
/// The sequence number of the grace period that was under way at the last look, when it was seen first, and when it is to be said
/// next. Changed by the timer's function alone.
static SEEN: AtomicU64 = AtomicU64::new(0);
static SINCE: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A grace period that takes too long.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// CPUs that it waits for.
    pub cpus: CpuMask,
    /// The CPU that has found out, in a hard interrupt.
    pub here: CpuId,
    /// How long it has lasted.
    pub time: Nanos,
    /// Its sequence number (Linux: gp_seq).
    pub sequence: u64,
    /// Callbacks that wait, on all CPUs.
    pub callbacks: usize,
}

/// After how many seconds a grace period is said to stall.
pub fn timeout() -> u64 {
    SECONDS.load(Relaxed)
}

/// Sets it, as far as it is allowed: 3 to 300 seconds.
pub fn set_timeout(seconds: u64) {
    SECONDS.store(seconds.clamp(*TIMEOUT.start(), *TIMEOUT.end()), Relaxed);
}

/// Whether nothing is said (Linux: rcupdate.rcu_cpu_stall_suppress).
pub fn set_suppressed(suppressed: bool) {
    SUPPRESSED.store(suppressed, Relaxed);
}

/// Looks at the grace period that is under way. In the timer's function.
pub(super) fn look(now: Nanos) {
    let sequence = GRACE.completed();
    if SEEN.load(Relaxed) != sequence {
        SEEN.store(sequence, Relaxed);
        SINCE.store(now, Relaxed);
        NEXT.store(now.saturating_add(timeout() * SEC), Relaxed);
        return;
    }
    let cpus = CpuMask(GRACE.pending());
    if now < NEXT.load(Relaxed) || SUPPRESSED.load(Relaxed) || cpus.0 == 0 {
        return;
    }
    // As on Linux, the second time comes later than the first.
    NEXT.store(now.saturating_add((3 * timeout() + 3) * SEC), Relaxed);
    if let Some(p) = platform::get() {
        let time = now.saturating_sub(SINCE.load(Relaxed));
        p.rcu_stall(Stall { cpus, here: CpuId::current(), time, sequence, callbacks: super::callbacks::queued() });
    }
}
