//! Yield points: how a poll gives way by itself.

use crate::context::Context;
use crate::task;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context as PollContext, Poll};

/// Why a task gives way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum YieldKind {
    /// It was preempted: it stays at the head of its priority.
    Preempted = 0,
    /// It asked to go behind its peers (sched_yield).
    Yield = 1,
}

/// Gives way once; the future of [`yield_now`].
#[must_use = "futures do nothing unless polled"]
pub struct YieldNow {
    kind: YieldKind,
    done: bool,
}

/// Lets the class choose again. The task stays runnable.
pub fn yield_now(kind: YieldKind) -> YieldNow {
    YieldNow { kind, done: false }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        self.done = true;
        give_way(self.kind, cx);
        Poll::Pending
    }
}

/// Lets the class choose again: for a poll that returns `Pending` next, and is to be polled again.
pub(crate) fn give_way(kind: YieldKind, cx: &PollContext<'_>) {
    match task::current() {
        // Not through wake(): that pushes on an inbox and may park inside the yield (`spec/preemption.md`, bug 8).
        Some(current) => {
            Context::here().set_yield_kind(kind);
            current.state.notify_self();
        }
        None => cx.waker().wake_by_ref(),
    }
}

impl Drop for YieldNow {
    /// One that is dropped in the poll that began it has not yielded: how that poll ends must not be taken for it.
    fn drop(&mut self) {
        if self.done {
            let _ = Context::here().take_yield_kind();
        }
    }
}

/// A yield point in a long loop: gives way only when another task should run (Linux: cond_resched).
pub async fn cond_resched() {
    if Context::here().resched_wanted() {
        yield_now(YieldKind::Preempted).await;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_yield_that_is_given_up_leaves_no_mark() {
        Context::here().set_yield_kind(YieldKind::Yield);
        drop(YieldNow { kind: YieldKind::Yield, done: true });
        assert_eq!(Context::here().take_yield_kind(), YieldKind::Preempted);
    }
}
