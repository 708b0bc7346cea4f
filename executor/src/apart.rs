//! Futures that are polled in a frame of their own.
//!
//! The compiler inlines the poll of each `async fn` that is awaited once into its caller, so a function with many arms
//! has one frame as large as all of them together, and it stays on the stack below whichever arm runs. [`apart`] keeps
//! the frame of one arm out of it: kernel stacks are small.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use pin_project_lite::pin_project;

pin_project! {
    /// The future of [`apart`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Apart<F> {
        #[pin]
        future: F,
    }
}

/// Polls `future` in a frame of its own.
#[inline(always)]
pub fn apart<F: Future>(future: F) -> Apart<F> {
    Apart { future }
}

impl<F: Future> Future for Apart<F> {
    type Output = F::Output;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_result_comes_through() {
        let mut future = core::pin::pin!(apart(async { 42 }));
        let mut cx = Context::from_waker(core::task::Waker::noop());
        assert_eq!(future.as_mut().poll(&mut cx), Poll::Ready(42));
    }
}
