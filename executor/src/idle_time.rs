//! For how long a CPU has idled: written by itself, read by anybody (Linux: kcpustat's idle time, `idle_sleeptime_seq`).
//!
//! The present stay is not in the sum before it ends, and must neither be missing nor count twice for who reads as it does:
//!
//! ```text
//!   since   S ────────── ENDING ──────────────── 0
//!                          │ clock, sum += clock − S
//! ```
//!
//! A reader takes `sum`, `since`, and `sum` again: alike, they belong together, for `sum` changes only between ENDING and 0.

use crate::arch;
use crate::atomic::{AtomicU64, Ordering::*, const_unless_loom, fence};
use crate::time::Nanos;
#[cfg(not(loom))]
use crate::trace::{KEY_SWITCH, Role};

/// The present stay is about to be added.
const ENDING: u64 = u64::MAX;

/// The times of one CPU.
#[derive(Debug)]
pub(crate) struct IdleTime {
    /// Of all stays that have ended, ns.
    sum: AtomicU64,
    /// When the present one began; 0: none; or [`ENDING`].
    since: AtomicU64,
}

impl IdleTime {
    const_unless_loom! {
        pub(crate) fn new() -> IdleTime {
            IdleTime { sum: AtomicU64::new(0), since: AtomicU64::new(0) }
        }
    }

    /// The CPU has nothing to do since `since`. Itself, interrupts masked. Tracers are told.
    #[inline(always)]
    pub(crate) fn begin(&self, since: Nanos) {
        // Who sees this stay sees the sum of those before.
        fence(Release);
        #[cfg(not(loom))]
        {
            const AT: usize = core::mem::offset_of!(IdleTime, since);
            let (this, value) = (core::ptr::from_ref(self).cast(), core::ptr::without_provenance_mut(since as usize));
            // SAFETY: the field is an atomic word of this structure.
            unsafe { arch::store_traced::<{ Role::Idle as u32 }, KEY_SWITCH, AT>(this, value) };
        }
        #[cfg(loom)]
        self.since.store(since, Relaxed);
    }

    /// The stay that [began](IdleTime::begin) at `since` is over. Itself, interrupts masked. `clock` is the time, read by this.
    #[inline(always)]
    pub(crate) fn end(&self, since: Nanos, clock: impl FnOnce() -> Nanos) {
        self.since.store(ENDING, Relaxed);
        fence(Release);
        let sum = self.sum.load(Relaxed);
        // No read-modify-write: nobody else adds.
        self.sum.store(sum.wrapping_add(clock().saturating_sub(since)), Relaxed);
        self.since.store(0, Release);
    }

    /// For how long it has idled in all, ns; never less than what was read before. `clock` as in [`IdleTime::end`]. Any context.
    pub(crate) fn total(&self, clock: impl Fn() -> Nanos) -> Nanos {
        self.state(clock).0
    }

    /// That, and whether it idles now.
    pub(crate) fn state(&self, clock: impl Fn() -> Nanos) -> (Nanos, bool) {
        loop {
            // Before the look at the stay: if that goes on then, it ends later.
            let now = clock();
            let sum = self.sum.load(Acquire);
            let since = self.since.load(Acquire);
            fence(Acquire);
            if since != ENDING && self.sum.load(Relaxed) == sum {
                return if since == 0 { (sum, false) } else { (sum.wrapping_add(now.saturating_sub(since)), true) };
            }
            arch::relax();
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn what_is_read_never_becomes_less() {
        loom::model(|| {
            let (idle, clock) = (Arc::new(IdleTime::new()), Arc::new(AtomicU64::new(200)));
            idle.begin(100);
            // All agree about the order of what the clock shows: it is the machine's.
            let tick = |clock: &AtomicU64| clock.fetch_add(10, AcqRel);
            let cpu = thread::spawn({
                let (idle, clock) = (idle.clone(), clock.clone());
                move || {
                    idle.end(100, || tick(&clock));
                    idle.begin(tick(&clock));
                }
            });
            let first = idle.total(|| tick(&clock));
            let second = idle.total(|| tick(&clock));
            assert!(first <= second, "{first} and then {second}");
            cpu.join().unwrap();
        });
    }
}
