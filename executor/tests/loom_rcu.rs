//! Loom: no grace period ends while a reader of the old value is in its section.
#![cfg(loom)]

mod common;

use common::{block_on, model};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::*};
use loom::thread;
use vigil_executor::sync::rcu::Grace;
use vigil_executor::sync::srcu::Srcu;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

const A: u64 = 1;
const B: u64 = 2;

/// A value behind an index: 0 is freed after the grace period, and then poisoned.
struct Shared {
    grace: Grace,
    current: AtomicUsize,
    /// Object 0, which is written when it is freed: loom sees a read that is not ordered before that.
    object: UnsafeCell<u32>,
}

// SAFETY: that nobody reads the object while it is written is what the tests show.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { grace: Grace::new(), current: AtomicUsize::new(0), object: UnsafeCell::new(7) })
    }

    /// Those who wait are told if a grace period `ended`.
    fn tell(&self, ended: bool) {
        if ended {
            self.grace.tell();
        }
    }

    /// One read-side section, which must find the object alive at its end.
    fn read(&self) {
        if self.current.load(Acquire) == 0 {
            thread::yield_now();
            // SAFETY: the reader is in its section.
            assert_eq!(self.object.with(|p| unsafe { *p }), 7, "freed under a reader");
        }
    }

    fn free(&self) {
        // SAFETY: a grace period has passed.
        self.object.with_mut(|p| unsafe { *p = 0 });
    }
}

#[test]
fn a_reader_on_another_cpu_is_waited_for() {
    model(3, || {
        let s = Shared::new();
        s.grace.idle_exit(A);
        s.grace.idle_exit(B);
        let s2 = s.clone();
        let reader = thread::spawn(move || {
            s2.read();
            s2.tell(s2.grace.quiescent(B));
            s2.read();
            s2.tell(s2.grace.idle_enter(B));
        });
        s.current.store(1, Release);
        let target = s.grace.snapshot();
        s.tell(s.grace.request(target));
        s.tell(s.grace.quiescent(A));
        block_on(s.grace.wait_end(wait_site!("test"), WaitMode::Uninterruptible, target)).unwrap();
        s.free();
        reader.join().unwrap();
    });
}

#[test]
fn an_idle_cpu_is_not_waited_for_and_sees_the_new_value_when_it_wakes() {
    model(3, || {
        let s = Shared::new();
        s.grace.idle_exit(A);
        let s2 = s.clone();
        let sleeper = thread::spawn(move || {
            s2.grace.idle_exit(B);
            s2.read();
            s2.tell(s2.grace.idle_enter(B));
            s2.grace.idle_exit(B);
            s2.read();
            s2.tell(s2.grace.idle_enter(B));
        });
        s.current.store(1, Release);
        let target = s.grace.snapshot();
        s.tell(s.grace.request(target));
        s.tell(s.grace.quiescent(A));
        block_on(s.grace.wait_end(wait_site!("test"), WaitMode::Uninterruptible, target)).unwrap();
        s.free();
        sleeper.join().unwrap();
    });
}

#[test]
fn two_updaters_both_get_a_grace_period_of_their_own_or_a_later_one() {
    model(2, || {
        let s = Shared::new();
        s.grace.idle_exit(A);
        s.grace.idle_exit(B);
        let s2 = s.clone();
        let other = thread::spawn(move || {
            let target = s2.grace.snapshot();
            s2.tell(s2.grace.request(target));
            s2.tell(s2.grace.idle_enter(B));
            block_on(s2.grace.wait_end(wait_site!("test"), WaitMode::Uninterruptible, target)).unwrap();
        });
        let target = s.grace.snapshot();
        s.tell(s.grace.request(target));
        s.tell(s.grace.idle_enter(A));
        block_on(s.grace.wait_end(wait_site!("test"), WaitMode::Uninterruptible, target)).unwrap();
        other.join().unwrap();
        assert_eq!(s.grace.pending(), 0);
    });
}

#[test]
fn an_srcu_reader_is_waited_for_across_its_awaits() {
    model(2, || {
        let s = Arc::new((Srcu::new(vigil_executor::lock_class!("srcu_test")), Shared::new()));
        let s2 = s.clone();
        let reader = thread::spawn(move || {
            let guard = s2.0.read_lock();
            s2.1.read();
            drop(guard);
        });
        s.1.current.store(1, Release);
        block_on(s.0.synchronize(wait_site!("test")));
        s.1.free();
        reader.join().unwrap();
    });
}
