//! Until when a call waits, and waits that follow a clock which is set meanwhile.

use super::{clock, steer};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use vigil_executor::time::Nanos;
use vigil_executor::wait::{Register, WaitMode, WaitNode, WaitQueue, WaitSite, Waited};

/// When a wait ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Never.
    Endless,
    /// At this time of the executor: what began as a span.
    Elapsed(Nanos),
    /// When CLOCK_MONOTONIC shows this.
    Monotonic(Nanos),
    /// When CLOCK_REALTIME shows this, however it is set until then.
    Realtime(Nanos),
}

impl Until {
    /// The executor's time of it as the clocks stand now.
    pub fn deadline(self) -> Option<Nanos> {
        match self {
            Until::Endless => None,
            Until::Elapsed(t) => Some(t),
            Until::Monotonic(t) => Some(clock::when(t)),
            Until::Realtime(t) => Some(clock::when(clock::realtime_to_monotonic(t))),
        }
    }

    /// Whether [`deadline`](Until::deadline) may come to be another, and [`wait`] is needed.
    pub fn may_move(self) -> bool {
        match self {
            Until::Endless | Until::Elapsed(_) => false,
            Until::Monotonic(_) => clock::is_steered(),
            Until::Realtime(_) => true,
        }
    }
}

/// Waits as [`WaitQueue::wait_until_deadline`], interruptibly, and to another deadline when a clock is set or steered (Linux:
/// clock_was_set). The future is large: callers box it.
pub async fn wait<T>(
    queue: &WaitQueue,
    site: &'static WaitSite,
    until: Until,
    slack: Nanos,
    mut condition: impl FnMut() -> Option<T>,
) -> Waited<T> {
    let told = pin!(WaitNode::new());
    let told = told.as_ref();
    if until.may_move() {
        // The clock is looked at afterwards, so that no change of it is missed.
        poll_fn(|cx| {
            // SAFETY: it is in no list yet; the queue is a static; nobody else registers it, and its drop takes it out.
            unsafe { told.register(&steer::SLEEPERS, u32::MAX, Register::Keep, Some(cx.waker())) };
            Poll::Ready(())
        })
        .await;
    }
    loop {
        let changes = clock::changes();
        let was_set = || (until.may_move() && clock::changes() != changes).then_some(None);
        let either = || condition().map(Some).or_else(was_set);
        match queue.wait_until_deadline(site, WaitMode::Interruptible, until.deadline(), slack, either).await {
            Waited::Ready(Some(value)) => return Waited::Ready(value),
            Waited::Ready(None) => {}
            Waited::TimedOut => return Waited::TimedOut,
            Waited::Interrupted => return Waited::Interrupted,
        }
    }
}
