//! Rate limits for messages that a user could cause without end (Linux: lib/ratelimit.c; 10 messages per 5 s).

use super::printk::local_clock;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Length of a window, in nanoseconds.
const INTERVAL: u64 = 5_000_000_000;
/// Messages that pass in one window.
const BURST: u32 = 10;

/// The state of one place that logs. Approximate under races: a few messages more may pass.
#[derive(Debug)]
pub struct RateLimit {
    begin: AtomicU64,
    passed: AtomicU32,
    missed: AtomicU32,
}

impl RateLimit {
    /// A limit that has seen nothing.
    pub const fn new() -> Self {
        RateLimit { begin: AtomicU64::new(0), passed: AtomicU32::new(0), missed: AtomicU32::new(0) }
    }

    /// Whether a message may pass now. `Some(n)`: yes, and `n` were suppressed in the window before.
    pub fn pass(&self) -> Option<u32> {
        self.pass_at(local_clock())
    }

    fn pass_at(&self, now: u64) -> Option<u32> {
        let begin = self.begin.load(Relaxed);
        if now.wrapping_sub(begin) >= INTERVAL && self.begin.compare_exchange(begin, now, Relaxed, Relaxed).is_ok() {
            self.passed.store(1, Relaxed);
            return Some(self.missed.swap(0, Relaxed));
        }
        if self.passed.fetch_add(1, Relaxed) < BURST {
            return Some(0);
        }
        self.missed.fetch_add(1, Relaxed);
        None
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// Logs with the given `pr_*` macro, at most 10 times in 5 seconds from this place:
/// `pr_ratelimited!(pr_warn, "odd {}", x)`.
#[macro_export]
macro_rules! pr_ratelimited {
    ($pr:ident, $($a:tt)*) => {{
        static LIMIT: $crate::debug::ratelimit::RateLimit = $crate::debug::ratelimit::RateLimit::new();
        if let Some(missed) = LIMIT.pass() {
            if missed != 0 {
                $crate::pr_warn!("{}: {} messages suppressed", module_path!(), missed);
            }
            $crate::$pr!($($a)*);
        }
    }};
}

/// [`pr_ratelimited!`](crate::pr_ratelimited) with `pr_err!`.
#[macro_export]
macro_rules! pr_err_ratelimited { ($($a:tt)*) => { $crate::pr_ratelimited!(pr_err, $($a)*) } }
/// [`pr_ratelimited!`](crate::pr_ratelimited) with `pr_warn!`.
#[macro_export]
macro_rules! pr_warn_ratelimited { ($($a:tt)*) => { $crate::pr_ratelimited!(pr_warn, $($a)*) } }
/// [`pr_ratelimited!`](crate::pr_ratelimited) with `pr_info!`.
#[macro_export]
macro_rules! pr_info_ratelimited { ($($a:tt)*) => { $crate::pr_ratelimited!(pr_info, $($a)*) } }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_pass_and_the_next_window_tells_how_many_did_not() {
        let l = RateLimit::new();
        let t = INTERVAL * 3;
        assert_eq!((0..15).filter(|_| l.pass_at(t).is_some()).count(), 10);
        assert_eq!(l.pass_at(t + INTERVAL), Some(5));
        assert_eq!(l.pass_at(t + INTERVAL), Some(0));
    }
}
