//! What threads and processes have used (getrusage(2), wait4(2)).

use super::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;

/// Resources used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// CPU time in nanoseconds: user, system.
    pub time: [u64; 2],
    /// Faults: minor, major.
    pub faults: [u64; 2],
    /// The largest resident set, KiB.
    pub max_rss: u64,
}

impl Used {
    /// What `thread` has used; its address space is its process's.
    pub fn of(thread: &Thread) -> Used {
        let faults = [thread.min_faults.load(Relaxed), thread.maj_faults.load(Relaxed)];
        Used { time: thread.times(), faults, max_rss: 0 }
    }

    /// Adds what somebody else has used.
    pub fn add(&mut self, other: &Used) {
        for i in 0..2 {
            self.time[i] = self.time[i].wrapping_add(other.time[i]);
            self.faults[i] = self.faults[i].wrapping_add(other.faults[i]);
        }
        self.max_rss = self.max_rss.max(other.max_rss);
    }
}
