//! The state word: one atomic that decides who may push, poll, park and drop a task.
//!
//! ```text
//!                 ┌───────────────────────────────────────────────────────────────┐
//!                 │                          after_pending                        │
//!                 ▼                                                               │
//!   ┌──────┐  wake (this caller pushes)  ┌──────────┐  start_poll  ┌─────┐ ───────┘
//!   │ IDLE │ ───────────────────────────►│ NOTIFIED │─────────────►│ RUN │
//!   └──────┘                             └──────────┘              └─────┘
//!                                             ▲                     │ │ ▲
//!                                             │ after_pending       │ │ │ resume
//!                                    (woken while polling: the      │ │ │
//!                                     poller enqueues)              │ │ └──────────────┐
//!                                             │                     │ └─ park ──► ┌────────────┐
//!                                        ┌──────────────┐   wake    │             │ RUN|PARKED │
//!                                        │ RUN|NOTIFIED │◄──────────┤             └────────────┘
//!                                        └──────────────┘           │ finish
//!                                                                   ▼
//!                                                                ┌──────┐
//!                                                                │ DEAD │
//!                                                                └──────┘
//! ```
//!
//! RUN owns the future: its `&mut`, and the frames of its poll. Nobody else polls or drops it. NOTIFIED without RUN
//! means that the task is, or is about to be, in exactly one inbox or run queue. A wake on RUN or RUN|PARKED only sets
//! NOTIFIED. Every transition is a single read-modify-write.

use crate::atomic::{AtomicU32, Ordering};

/// The future is being polled, or its poll is parked.
const RUN: u32 = 1;
/// A wake has been asked for and not yet answered by a poll.
const NOTIFIED: u32 = 2;
/// The poll was preempted in the middle: its frames are on a parked stack.
const PARKED: u32 = 4;
/// The future returned `Ready` and has been dropped.
const DEAD: u32 = 8;

/// What the caller of [`State::wake`] must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a task that nobody pushes is lost"]
pub enum Wake {
    /// Push the task on an inbox: this wake, and no other, made it runnable.
    Push,
    /// Nothing: it is queued already, its poller will see the bit, or it is dead.
    Nothing,
}

/// What the poller must do after `Poll::Pending`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a task that was woken while it was polled is lost unless it is requeued"]
pub enum AfterPending {
    /// The task sleeps: take it off the run queue.
    Sleep,
    /// It was woken while it was polled: put it back on the run queue.
    Requeue,
}

/// The state word of a task.
#[derive(Debug)]
pub struct State(AtomicU32);

impl State {
    /// A task that was just made: runnable, and its maker pushes it.
    pub fn new_notified() -> Self {
        State(AtomicU32::new(NOTIFIED))
    }

    /// A wake: any context.
    ///
    /// Release, so that what the waker wrote is seen by the poll; acquire is not needed, the waker reads nothing.
    #[inline(always)]
    pub fn wake(&self) -> Wake {
        // The write is needed although the bit may be set: it orders the caller's stores before the poller's swap: see `start_poll`.
        let old = self.0.fetch_or(NOTIFIED, Ordering::AcqRel);
        if old & (RUN | NOTIFIED | DEAD) == 0 { Wake::Push } else { Wake::Nothing }
    }

    /// [`State::wake`] of a task that sleeps, for which the caller must do what [`Wake::Push`] asks. `false`, and nothing done, of one
    /// that does not.
    #[inline(always)]
    #[must_use = "a task that nobody pushes is lost"]
    pub fn wake_sleeping(&self) -> bool {
        self.0.compare_exchange(0, NOTIFIED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The picker takes a queued task to poll it. Clears NOTIFIED: wakes from here on ask for another poll.
    #[inline]
    pub fn start_poll(&self) {
        let old = self.0.swap(RUN, Ordering::AcqRel);
        debug_assert_eq!(old, NOTIFIED, "only a queued task is polled");
    }

    /// The poll returned `Pending`.
    #[inline(always)]
    pub fn after_pending(&self) -> AfterPending {
        match self.0.compare_exchange(RUN, 0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => AfterPending::Sleep,
            Err(_) => {
                // Woken while polling: NOTIFIED stays set, so no waker pushes; the poller enqueues.
                let old = self.0.fetch_and(!RUN, Ordering::AcqRel);
                debug_assert_eq!(old, RUN | NOTIFIED);
                AfterPending::Requeue
            }
        }
    }

    /// Asks for another poll of the task that is being polled (a yield). Only the poller itself.
    #[inline]
    pub fn notify_self(&self) {
        self.0.fetch_or(NOTIFIED, Ordering::Relaxed);
    }

    /// The poll is parked; set after its stack has been left.
    #[inline]
    pub fn park(&self) {
        let old = self.0.fetch_or(PARKED, Ordering::AcqRel);
        debug_assert_eq!(old & (RUN | PARKED | DEAD), RUN);
    }

    /// The parked poll is about to be resumed.
    #[inline]
    pub fn resume(&self) {
        let old = self.0.fetch_and(!PARKED, Ordering::AcqRel);
        debug_assert_eq!(old & (RUN | PARKED | DEAD), RUN | PARKED);
    }

    /// The future returned `Ready` and was dropped.
    #[inline]
    pub fn finish(&self) {
        let old = self.0.swap(DEAD, Ordering::AcqRel);
        debug_assert_eq!(old & (RUN | PARKED | DEAD), RUN);
    }

    /// Whether a poll of it is parked.
    #[inline]
    pub fn is_parked(&self) -> bool {
        self.0.load(Ordering::Acquire) & PARKED != 0
    }

    /// Whether its future is gone.
    pub fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) & DEAD != 0
    }

    /// Whether it neither runs nor waits to run.
    pub fn is_idle(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    /// Whether it was woken since its poll began, or is queued.
    #[inline]
    pub fn is_notified(&self) -> bool {
        self.0.load(Ordering::Acquire) & NOTIFIED != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wake_pushes_only_an_idle_task() {
        let s = State::new_notified();
        assert_eq!(s.wake(), Wake::Nothing);
        s.start_poll();
        assert_eq!(s.wake(), Wake::Nothing);
        assert_eq!(s.after_pending(), AfterPending::Requeue);
        s.start_poll();
        assert_eq!(s.after_pending(), AfterPending::Sleep);
        assert_eq!(s.wake(), Wake::Push);
        s.start_poll();
        s.park();
        assert_eq!(s.wake(), Wake::Nothing);
        s.resume();
        s.finish();
        assert_eq!(s.wake(), Wake::Nothing);
        assert!(s.is_dead());
    }
}
