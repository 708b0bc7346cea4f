//! What the loom tests share: a waker that loom understands, and bounded models.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod world;

use loom::sync::{Condvar, Mutex};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// A "task" of loom's: a flag and a condition variable.
pub struct Parker {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub fn new() -> Arc<Parker> {
        Arc::new(Parker { notified: Mutex::new(false), changed: Condvar::new() })
    }

    pub fn park(&self) {
        let mut notified = self.notified.lock().unwrap();
        while !*notified {
            notified = self.changed.wait(notified).unwrap();
        }
        *notified = false;
    }

    pub fn is_notified(&self) -> bool {
        *self.notified.lock().unwrap()
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.notified.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Polls `future` to its end on this thread; sleeps only until woken, so that a lost wake is a deadlock that loom sees.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let parker = Parker::new();
    let waker = Waker::from(parker.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        parker.park();
    }
}

/// Polls `future` once.
pub fn poll_once<F: Future>(future: Pin<&mut F>, parker: &Arc<Parker>) -> Poll<F::Output> {
    let waker = Waker::from(parker.clone());
    future.poll(&mut Context::from_waker(&waker))
}

/// Checks every interleaving of `f` with at most `preemptions` forced switches.
pub fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(f);
}
