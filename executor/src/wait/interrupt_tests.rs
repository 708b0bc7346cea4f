//! Loom: a wait beside a signal: what came before the signal is found, and the signal is never missed.

use crate::class::Params;
use crate::context::Context as Flow;
use crate::task::{INTERRUPT_SIGNAL, Spawned, Task};
use crate::wait::{Interrupted, WaitMode, WaitQueue};
use crate::wait_site;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::thread;

struct World {
    event: AtomicBool,
    queue: WaitQueue,
    task: Spawned,
}

/// Polls a wait for the event once while `other` runs: the result, and whether the task is runnable after both.
fn beside(other: fn(&World, &Task), check: fn(Poll<Result<(), Interrupted>>, bool)) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let task = Spawned::new(async {}, Params::DEFAULT, b"t", None, core::ptr::null()).unwrap();
        let w = Arc::new(World { event: AtomicBool::new(false), queue: WaitQueue::new(), task });
        Flow::here().set_current(w.task.task());
        let w2 = w.clone();
        let beside = thread::spawn(move || other(&w2, w2.task.task()));
        let state = &w.task.task().state;
        state.start_poll();
        let wait = w.queue.wait_until(wait_site!("test"), WaitMode::Interruptible, || w.event.load(Relaxed).then_some(()));
        let mut wait = pin!(wait);
        let result = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let _ = state.after_pending();
        beside.join().unwrap();
        check(result, !state.is_idle());
        Flow::here().set_current(core::ptr::null());
    });
}

#[test]
fn what_came_before_a_signal_is_not_lost_to_it() {
    beside(
        |w, task| {
            w.event.store(true, Relaxed);
            w.queue.wake_all();
            task.interrupt(INTERRUPT_SIGNAL);
        },
        |result, _| assert_ne!(result, Poll::Ready(Err(Interrupted)), "EINTR, though the event came before the signal"),
    );
}

#[test]
fn a_signal_is_not_missed_by_a_wait_that_begins() {
    beside(
        |_, task| task.interrupt(INTERRUPT_SIGNAL),
        |result, runnable| match result {
            Poll::Pending => assert!(runnable, "asleep, and a signal is pending"),
            ended => assert_eq!(ended, Poll::Ready(Err(Interrupted))),
        },
    );
}
