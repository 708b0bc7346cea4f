//! Timers that call a function in hard-interrupt context.

use super::base::{self, Cancelled};
use super::entry::{Action, Entry, QUEUED};
use crate::arch;
use crate::atomic::{Ordering, const_unless_loom};
use crate::context::in_hardirq;
use crate::cpu::CpuId;
use crate::time::Nanos;
use core::pin::Pin;

/// A timer with a function (Linux: hrtimer). Pinned while it runs; dropping it cancels it.
///
/// The function runs with interrupts masked and may start the timer again. The object that contains the timer is found
/// from its address.
#[repr(transparent)]
pub struct Timer {
    entry: Entry,
}

impl Timer {
    const_unless_loom! {
        /// A timer that is not started.
        pub fn new(function: fn(&Timer)) -> Timer {
            Timer { entry: Entry::new(Action::Call(function)) }
        }
    }

    const_unless_loom! {
        /// One that is only ever started by the base of `cpu` itself.
        pub(super) fn of_cpu(function: fn(&Timer), cpu: u32) -> Timer {
            Timer { entry: Entry::of_cpu(Action::Call(function), cpu) }
        }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// # Safety
    /// `entry` is the entry of a `Timer`.
    pub(super) unsafe fn of_entry(entry: &Entry) -> &Timer {
        // SAFETY: `Timer` is a transparent wrapper of `Entry`.
        unsafe { &*core::ptr::from_ref(entry).cast::<Timer>() }
    }

    /// Starts it, or starts it anew, on this CPU: fires at `deadline` (CLOCK_MONOTONIC) or up to `slack` nanoseconds
    /// later; at once if that has passed. Any context, its own function included.
    pub fn start(self: Pin<&Self>, deadline: Nanos, slack: Nanos) {
        // SAFETY: structural pinning of the only field.
        let entry = unsafe { self.map_unchecked(|t| &t.entry) };
        base::start_here(entry, deadline, slack);
    }

    /// As [`start`](Self::start), on whichever CPU: this one, unless it is better left alone.
    pub fn start_anywhere(self: Pin<&Self>, deadline: Nanos, slack: Nanos) {
        // SAFETY: as above.
        let entry = unsafe { self.map_unchecked(|t| &t.entry) };
        base::start(entry, deadline, slack, |_| {});
    }

    /// Stops it, and waits (spinning) until its function, if that runs on another CPU, has returned. `true` if it was
    /// waiting. Not while holding a lock that the function takes.
    pub fn cancel(&self) -> bool {
        let mut was_queued = false;
        loop {
            match base::cancel(&self.entry) {
                Cancelled::Yes => return true,
                Cancelled::WasIdle => return was_queued,
                // Called from the function itself, or from an interrupt above it: it cannot be waited for.
                Cancelled::Running(cpu) if in_hardirq() && cpu == CpuId::current().index() => return was_queued,
                Cancelled::Running(_) => was_queued |= self.is_queued(),
            }
            arch::relax();
        }
    }

    /// Stops it if its function does not run at this moment: `Some(was waiting)`, or `None` if it runs.
    pub fn try_cancel(&self) -> Option<bool> {
        match base::cancel(&self.entry) {
            Cancelled::Yes => Some(true),
            Cancelled::WasIdle => Some(false),
            Cancelled::Running(_) => None,
        }
    }

    /// Whether it is started and has not fired yet.
    pub fn is_queued(&self) -> bool {
        self.entry.state.load(Ordering::Acquire) == QUEUED
    }

    /// The deadline with which it was started last.
    pub fn deadline(&self) -> Nanos {
        base::deadline(&self.entry)
    }

    /// Starts it again at the first whole `interval` after its last deadline that lies after `now`; returns how many
    /// intervals that is (Linux: hrtimer_forward): missed ones are counted, not fired. `interval` 0 counts as 1 ns.
    pub fn forward(self: Pin<&Self>, now: Nanos, interval: Nanos, slack: Nanos) -> u64 {
        let last = self.deadline();
        let interval = interval.max(1);
        let count = now.saturating_sub(last) / interval + 1;
        self.start(last.saturating_add(count.saturating_mul(interval)), slack);
        count
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl core::fmt::Debug for Timer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Timer").field("queued", &self.is_queued()).finish()
    }
}
