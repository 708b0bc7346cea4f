//! The real-time clock follows a wall clock that somebody keeps right (Linux: sync_hw_clock).
//!
//! While adjtimex(2)'s state says that the clock is synchronised, the real-time clock is set to it every eleven minutes, at the begin of
//! a second: it counts nothing finer.

use vigil_executor::time::{MSEC, Nanos, SEC};

/// Seconds between two writes.
const PERIOD: u64 = 11 * 60;
/// So long after its begin a second is still written (Linux: five ticks).
const WINDOW: Nanos = 20 * MSEC;

/// Whether the second that `now` is in may be written.
fn may_write(now: Nanos) -> bool {
    now % SEC < WINDOW
}

/// When to write next, after this was done, or was not possible, at `now`.
fn next(now: Nanos, written: bool) -> Nanos {
    (now / SEC + if written { PERIOD } else { 1 }) * SEC
}

#[cfg(target_os = "none")]
pub use target::{clock_was_set, notify};

#[cfg(target_os = "none")]
mod target {
    use super::*;
    use crate::time::{clock, steer};
    use core::pin::Pin;
    use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use vigil_abi::Errno;
    use vigil_drivers::rtc;
    use vigil_executor::timer::Timer;
    use vigil_executor::work::{UNBOUND, Work};

    static TIMER: Timer = Timer::new(|_| _ = UNBOUND.queue(&WRITE));
    /// The wall clock's time of the next write.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static WRITE: Work = Work::new(|_| write());

    /// adjtimex(2) has been called: writes at once, unless that waits for its time.
    pub fn notify() {
        if steer::is_synchronised() && !TIMER.is_queued() {
            UNBOUND.queue(&WRITE);
        }
    }

    /// The wall clock was set: the time of the next write comes at another one.
    pub fn clock_was_set() {
        if TIMER.is_queued() {
            start(NEXT.load(Relaxed));
        }
    }

    fn start(at: Nanos) {
        NEXT.store(at, Relaxed);
        Pin::static_ref(&TIMER).start_anywhere(clock::when(clock::realtime_to_monotonic(at)), 0);
    }

    fn write() {
        if !steer::is_synchronised() || TIMER.is_queued() {
            return;
        }
        let now = clock::realtime();
        match if may_write(now) { rtc::set(now / SEC) } else { Err(Errno::EAGAIN) } {
            Err(Errno::ENODEV) => {}
            result => start(next(now, result.is_ok())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_every_eleven_minutes_at_the_begin_of_a_second() {
        let (mut now, mut writes) = (1_700_000_000 * SEC + 300 * MSEC, std::vec::Vec::new());
        while writes.len() < 4 {
            let written = may_write(now);
            if written {
                writes.push(now / SEC);
            }
            // The work comes a millisecond after the timer.
            now = next(now, written) + MSEC;
        }
        assert_eq!(writes, [0, 1, 2, 3].map(|n| 1_700_000_001 + 660 * n));
        assert!(!may_write(1_700_000_000 * SEC - MSEC) && next(SEC - 1, false) == SEC);
    }
}
