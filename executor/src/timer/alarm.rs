//! Sleeping: the deadline inside a future.

use super::base;
use super::entry::{Action, Entry, FIRED, IDLE, QUEUED};
use crate::atomic::Ordering;
use crate::task;
use crate::time::{Nanos, now};
use crate::wait::{Interrupted, WaitMode, WaitSite};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// A deadline that wakes the polling task. Not started before it is polled, or [`start`](Alarm::start)ed; dropping it
/// cancels it.
pub struct Alarm {
    deadline: Option<Nanos>,
    slack: Nanos,
    entry: Entry,
}

impl Alarm {
    /// For `deadline` (CLOCK_MONOTONIC), or up to `slack` nanoseconds later; `None` never expires.
    #[inline]
    pub fn new(deadline: Option<Nanos>, slack: Nanos) -> Alarm {
        Alarm { deadline, slack, entry: Entry::new(Action::Wake(None)) }
    }

    /// Starts it, once: `waker` is called at the deadline; at once if that has passed.
    #[inline]
    pub fn start(self: Pin<&Self>, waker: Waker) {
        if let Some(deadline) = self.deadline {
            // SAFETY: structural pinning of `entry`.
            let entry = unsafe { self.map_unchecked(|a| &a.entry) };
            base::start(entry, deadline, self.slack, |action| *action = Action::Wake(Some(waker)));
        }
    }

    #[inline(always)]
    fn has_fired(&self) -> bool {
        self.entry.state.load(Ordering::Acquire) == FIRED
    }

    /// Whether the deadline of an alarm that was started has passed, by the alarm or by the clock. To be asked after each wake.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.has_fired() || self.is_about_to_fire()
    }

    #[cold]
    #[inline(never)]
    fn is_about_to_fire(&self) -> bool {
        self.deadline.is_some_and(|d| now() >= d) || base::with_action(&self.entry, |_, queued| !queued)
    }

    /// Whether the deadline has passed; if not, `cx` is woken when it does.
    #[inline]
    pub(crate) fn poll_expired(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.into_ref();
        let Some(deadline) = this.deadline else { return false };
        this.has_fired() || this.has_passed(deadline, cx)
    }

    /// The answer before it has fired: mostly that it is to be started.
    #[inline(never)]
    fn has_passed(self: Pin<&Self>, deadline: Nanos, cx: &mut Context<'_>) -> bool {
        if now() >= deadline {
            return true;
        }
        if self.entry.state.load(Ordering::Acquire) == IDLE {
            self.start(cx.waker().clone());
            return false;
        }
        // Queued, and polled for another reason: the future may have moved to another task.
        let (queued, old) = base::with_action(&self.entry, |action, queued| match action {
            Action::Wake(Some(w)) if queued && !w.will_wake(cx.waker()) => (queued, Some(core::mem::replace(w, cx.waker().clone()))),
            _ => (queued, None),
        });
        drop(old);
        !queued
    }
}

impl Alarm {
    /// Takes it out if it waits. Its base has then finished with it.
    #[inline(always)]
    pub(super) fn stop(&self) {
        if self.entry.state.load(Ordering::Acquire) == QUEUED {
            base::cancel(&self.entry);
        }
    }

    #[cfg(all(test, loom))]
    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The future of [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct SleepUntil {
    alarm: Alarm,
    site: &'static WaitSite,
    mode: WaitMode,
    waiting: bool,
}

/// Sleeps until `deadline` (CLOCK_MONOTONIC), at most `slack` nanoseconds longer by intent, or until an interrupt of
/// `mode`. A deadline that has passed returns at once.
#[inline]
pub fn sleep_until(site: &'static WaitSite, deadline: Nanos, slack: Nanos, mode: WaitMode) -> SleepUntil {
    SleepUntil { alarm: Alarm::new(Some(deadline), slack), site, mode, waiting: false }
}

impl SleepUntil {
    fn end_wait(&mut self) {
        if self.waiting {
            self.waiting = false;
            if let Some(task) = task::current() {
                task.end_wait();
            }
        }
    }
}

impl Future for SleepUntil {
    type Output = Result<(), Interrupted>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `alarm` is pinned structurally; nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        if unsafe { Pin::new_unchecked(&mut this.alarm) }.poll_expired(cx) {
            this.end_wait();
            return Poll::Ready(Ok(()));
        }
        this.waiting = true;
        if task::current().is_some_and(|t| t.begin_wait(this.site, this.mode)) {
            this.end_wait();
            return Poll::Ready(Err(Interrupted));
        }
        Poll::Pending
    }
}

impl Drop for SleepUntil {
    fn drop(&mut self) {
        self.end_wait();
    }
}
