//! The futures of a wait: condition, signal, deadline, in this order.

use super::node::WaitNode;
use super::queue::{WaitQueue, registration};
use super::{Interrupted, WaitMode, WaitSite};
use crate::task;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use pin_project_lite::pin_project;

/// How a wait with a deadline ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited<T> {
    /// The condition became true.
    Ready(T),
    /// The deadline passed first.
    TimedOut,
    /// A signal came first.
    Interrupted,
}

/// The part of the wait futures that does not depend on the condition. On its own it is for callers that have looked at the
/// condition themselves and pin it in a frame of theirs, which spares the moves of a future that is built, then awaited.
pub struct Waiting<'a> {
    queue: &'a WaitQueue,
    node: WaitNode,
    site: &'static WaitSite,
    mode: WaitMode,
    exclusive: bool,
    /// The condition was found false just before this was made: the first poll enters the queue at once.
    looked: bool,
    /// The task's wait word is set.
    waiting: bool,
}

impl<'a> Waiting<'a> {
    fn new(queue: &'a WaitQueue, site: &'static WaitSite, mode: WaitMode, exclusive: bool) -> Self {
        Waiting { queue, node: WaitNode::new(), site, mode, exclusive, looked: false, waiting: false }
    }

    /// For a caller that has just found the condition false.
    #[inline]
    pub fn after_look(queue: &'a WaitQueue, site: &'static WaitSite, mode: WaitMode, exclusive: bool) -> Self {
        Waiting { queue, node: WaitNode::new(), site, mode, exclusive, looked: true, waiting: false }
    }

    /// One poll of a wait without a deadline: what `condition` gave, or that an interrupt of the mode came.
    #[inline]
    pub fn poll_until<T>(self: Pin<&mut Self>, cx: &mut Context<'_>, condition: impl FnMut() -> Option<T>) -> Poll<Result<T, Interrupted>> {
        self.poll_again(cx, || false, condition)
    }

    /// As [`Waiting::poll_until`], for a condition that is dear: once in the queue, `unchanged` is asked first, and
    /// `condition` only if it may have come true since the last look.
    #[inline]
    pub fn poll_again<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        unchanged: impl FnMut() -> bool,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Poll<Result<T, Interrupted>> {
        Poll::Ready(match ready!(self.poll(cx, unchanged, &mut condition, |_| false)) {
            Waited::Ready(value) => Ok(value),
            Waited::TimedOut | Waited::Interrupted => Err(Interrupted),
        })
    }

    /// One poll. `expired` is asked after the condition and before the signal (Linux: a timeout that is used up ends
    /// the wait although a signal is pending). Before either ends the wait the condition is asked once more.
    #[inline]
    fn poll<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut unchanged: impl FnMut() -> bool,
        condition: &mut impl FnMut() -> Option<T>,
        mut expired: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<Waited<T>> {
        // SAFETY: the node is not moved out of; the rest is not pinned.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: `this` is pinned.
        let node = unsafe { Pin::new_unchecked(&this.node) };
        // In the queue already: then the condition is worth a look only once the waker is known to be right.
        if !node.is_linked() {
            // First poll, or woken: it may be true, and then no node is needed.
            if !core::mem::replace(&mut this.looked, false)
                && let Some(value) = condition()
            {
                return Poll::Ready(this.finish(Waited::Ready(value)));
            }
            // SAFETY: only this future registers the node; the queue is borrowed for its life.
            unsafe {
                if node.is_woken() {
                    node.unregister();
                }
                node.register(this.queue, u32::MAX, registration(this.exclusive), Some(cx.waker()));
            }
        } else if !this.queue.update_waker(&this.node, cx.waker()) {
            // Woken between the two looks.
            // SAFETY: as above.
            unsafe {
                node.unregister();
                node.register(this.queue, u32::MAX, registration(this.exclusive), Some(cx.waker()));
            }
        }
        if !unchanged()
            && let Some(value) = condition()
        {
            // The condition was true by itself. A wake that came all the same was for the next unit of it.
            this.give_up();
            return Poll::Ready(Waited::Ready(value));
        }
        if expired(cx) {
            return Poll::Ready(this.ended(condition, Waited::TimedOut));
        }
        this.waiting = true;
        if task::current().is_some_and(|t| t.begin_wait(this.site, this.mode)) {
            return Poll::Ready(this.ended(condition, Waited::Interrupted));
        }
        Poll::Pending
    }

    /// The wait ends by `how`, unless the condition became true before: who sends a byte and then a signal finds the byte
    /// taken, as on Linux, where the condition is looked at after the signal.
    #[cold]
    #[inline(never)]
    fn ended<T>(&mut self, condition: &mut impl FnMut() -> Option<T>, how: Waited<T>) -> Waited<T> {
        let result = condition().map_or(how, Waited::Ready);
        self.give_up();
        result
    }

    /// The condition was true when the wake had come: the wake is used up.
    fn finish<T>(&mut self, result: Waited<T>) -> Waited<T> {
        if !self.node.is_idle() {
            // SAFETY: pinned since it was registered, and nobody else registers it.
            unsafe { Pin::new_unchecked(&self.node).unregister() };
        }
        self.end_wait();
        result
    }

    /// Leaves the queue; an exclusive wake that was consumed without need goes to the next waiter.
    fn give_up(&mut self) {
        // SAFETY: as in `finish`.
        let woken = unsafe { Pin::new_unchecked(&self.node).unregister() };
        if woken && self.exclusive {
            self.queue.wake_one();
        }
        self.end_wait();
    }

    fn end_wait(&mut self) {
        if self.waiting {
            self.waiting = false;
            if let Some(task) = task::current() {
                task.end_wait();
            }
        }
    }
}

impl Drop for Waiting<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.waiting || !self.node.is_idle() {
            self.give_up();
        }
    }
}

pin_project! {
    /// The future of [`WaitQueue::wait_until`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct WaitUntil<'a, F> {
        #[pin]
        waiting: Waiting<'a>,
        condition: F,
    }
}

impl<T, F: FnMut() -> Option<T>> Future for WaitUntil<'_, F> {
    type Output = Result<T, Interrupted>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.waiting.poll_until(cx, this.condition)
    }
}

pin_project! {
    /// The future of [`WaitQueue::wait_until_deadline`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct WaitDeadline<'a, F> {
        #[pin]
        waiting: Waiting<'a>,
        condition: F,
        #[pin]
        alarm: crate::timer::Alarm,
    }
}

impl<T, F: FnMut() -> Option<T>> Future for WaitDeadline<'_, F> {
    type Output = Waited<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        this.waiting.poll(cx, || false, this.condition, |cx| this.alarm.as_mut().poll_expired(cx))
    }
}

impl WaitQueue {
    /// Waits until `condition` gives a value, or an interrupt of `mode` comes. The condition is called in the poll,
    /// with nothing held, once before the node is entered and again after each wake; it may take locks and consume
    /// what it finds. All waiters of this kind are woken by each wake.
    #[inline]
    pub fn wait_until<T, F: FnMut() -> Option<T>>(&self, site: &'static WaitSite, mode: WaitMode, condition: F) -> WaitUntil<'_, F> {
        WaitUntil { waiting: Waiting::new(self, site, mode, false), condition }
    }

    /// As [`wait_until`](Self::wait_until), exclusively: a wake of one wakes the first of these only.
    #[inline]
    pub fn wait_until_exclusive<T, F: FnMut() -> Option<T>>(
        &self,
        site: &'static WaitSite,
        mode: WaitMode,
        condition: F,
    ) -> WaitUntil<'_, F> {
        WaitUntil { waiting: Waiting::new(self, site, mode, true), condition }
    }

    /// As [`wait_until`](Self::wait_until), not beyond `deadline` (CLOCK_MONOTONIC; `None`: no limit) by more than
    /// `slack` nanoseconds.
    #[inline]
    pub fn wait_until_deadline<T, F: FnMut() -> Option<T>>(
        &self,
        site: &'static WaitSite,
        mode: WaitMode,
        deadline: Option<crate::time::Nanos>,
        slack: crate::time::Nanos,
        condition: F,
    ) -> WaitDeadline<'_, F> {
        let alarm = crate::timer::Alarm::new(deadline, slack);
        WaitDeadline { waiting: Waiting::new(self, site, mode, false), condition, alarm }
    }

    /// Exclusive and with a deadline.
    #[inline]
    pub fn wait_until_exclusive_deadline<T, F: FnMut() -> Option<T>>(
        &self,
        site: &'static WaitSite,
        mode: WaitMode,
        deadline: Option<crate::time::Nanos>,
        slack: crate::time::Nanos,
        condition: F,
    ) -> WaitDeadline<'_, F> {
        let alarm = crate::timer::Alarm::new(deadline, slack);
        WaitDeadline { waiting: Waiting::new(self, site, mode, true), condition, alarm }
    }
}
