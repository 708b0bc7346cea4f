//! Loom: no wake is lost between a waiter's look at its condition and its node, and none that a dropped waiter consumed.
#![cfg(loom)]

mod common;

use common::{Parker, block_on, model, poll_once};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use loom::thread;
use std::pin::{Pin, pin};
use std::task::{Poll, Waker};
use vigil_executor::wait::{Register, WaitMode, WaitNode, WaitQueue};
use vigil_executor::wait_site;

const MODE: WaitMode = WaitMode::Uninterruptible;

struct Resource {
    units: AtomicUsize,
    queue: WaitQueue,
}

impl Resource {
    fn new() -> Arc<Resource> {
        Arc::new(Resource { units: AtomicUsize::new(0), queue: WaitQueue::new() })
    }

    fn take(&self) -> Option<()> {
        self.units.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).ok().map(drop)
    }

    fn post(&self) -> usize {
        self.units.fetch_add(1, Relaxed);
        self.queue.wake_one()
    }
}

#[test]
fn a_wake_is_not_lost() {
    model(3, || {
        let r = Arc::new((AtomicBool::new(false), WaitQueue::new()));
        let r2 = r.clone();
        let waker = thread::spawn(move || {
            r2.0.store(true, Relaxed);
            r2.1.wake_all();
        });
        block_on(r.1.wait_until(wait_site!("test"), MODE, || r.0.load(Relaxed).then_some(()))).unwrap();
        waker.join().unwrap();
        assert!(!r.1.has_waiters());
    });
}

#[test]
fn two_units_reach_two_exclusive_waiters() {
    model(2, || {
        let r = Resource::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let r = r.clone();
                thread::spawn(move || {
                    block_on(r.queue.wait_until_exclusive(wait_site!("test"), MODE, || r.take())).unwrap();
                })
            })
            .collect();
        r.post();
        r.post();
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(r.units.load(Relaxed), 0);
    });
}

#[test]
fn a_dropped_waiter_passes_its_wake_on() {
    model(3, || {
        let r = Resource::new();
        let r2 = r.clone();
        let poster = thread::spawn(move || r2.post());
        {
            // First in line; dropped at a moment that loom chooses relative to the wake.
            let parker = Parker::new();
            let mut first = pin!(r.queue.wait_until_exclusive(wait_site!("test"), MODE, || None::<()>));
            assert!(poll_once(first.as_mut(), &parker).is_pending());
        }
        block_on(r.queue.wait_until_exclusive(wait_site!("test"), MODE, || r.take())).unwrap();
        poster.join().unwrap();
    });
}

#[test]
fn a_wake_consumed_by_a_dropped_waiter_reaches_the_one_behind() {
    model(2, || {
        let r = Resource::new();
        let parker = Parker::new();
        let mut first = Box::pin(r.queue.wait_until_exclusive(wait_site!("test"), MODE, || None::<()>));
        assert!(poll_once(first.as_mut(), &parker).is_pending());
        let (r2, r3) = (r.clone(), r.clone());
        let second = thread::spawn(move || {
            block_on(r2.queue.wait_until_exclusive(wait_site!("test"), MODE, || r2.take())).unwrap();
        });
        let poster = thread::spawn(move || {
            r3.post();
        });
        drop(first);
        second.join().unwrap();
        poster.join().unwrap();
    });
}

#[test]
fn a_woken_count_is_exact_for_a_waiter_that_leaves() {
    model(3, || {
        let r = Resource::new();
        let r2 = r.clone();
        let parker = Parker::new();
        let mut waiter = Box::pin(r.queue.wait_until_exclusive(wait_site!("test"), MODE, || None::<()>));
        assert!(poll_once(waiter.as_mut(), &parker).is_pending());
        let poster = thread::spawn(move || r2.queue.wake_one());
        drop(waiter);
        let woken = poster.join().unwrap();
        assert_eq!(woken == 1, parker.is_notified());
    });
}

#[test]
fn a_node_that_stays_collects_keys_until_it_is_unregistered() {
    model(3, || {
        let q = Arc::new(WaitQueue::new());
        let q2 = q.clone();
        let parker = Parker::new();
        let node = Box::pin(WaitNode::new());
        let waker = Waker::from(parker.clone());
        // SAFETY: fresh node; the queue outlives it; only this thread registers it.
        unsafe { node.as_ref().register(&q, 0b11, Register::Keep, Some(&waker)) };
        let t = thread::spawn(move || q2.wake(0b01, 1) + q2.wake(0b100, 1) + q2.wake(0b10, 1));
        let early = node.take_fired();
        let woken = t.join().unwrap();
        assert_eq!(woken, 2);
        assert_eq!(early | node.take_fired(), 0b11);
        // SAFETY: as above.
        unsafe { Pin::as_ref(&node).unregister() };
        assert!(!q.has_waiters());
        assert!(parker.is_notified());
    });
}

#[test]
fn a_future_that_moves_to_another_task_wakes_that_one() {
    model(3, || {
        let r = Arc::new((AtomicBool::new(false), WaitQueue::new()));
        let (r2, r3) = (r.clone(), r.clone());
        let (a, b) = (Parker::new(), Parker::new());
        // SAFETY: `r` outlives the future, which alone uses the reference.
        let q: &'static WaitQueue = unsafe { &*(&raw const r.1) };
        let mut f = Box::pin(q.wait_until(wait_site!("test"), MODE, move || r3.0.load(Relaxed).then_some(())));
        assert!(poll_once(f.as_mut(), &a).is_pending());
        let t = thread::spawn(move || {
            r2.0.store(true, Relaxed);
            r2.1.wake_all();
        });
        if poll_once(f.as_mut(), &b) == Poll::Pending {
            b.park();
            assert!(poll_once(f.as_mut(), &b).is_ready());
        }
        t.join().unwrap();
        drop(f);
    });
}
