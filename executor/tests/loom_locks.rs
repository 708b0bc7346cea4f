//! Loom: the async locks exclude, hand over, and survive waiters that are dropped at any moment.
#![cfg(loom)]

mod common;

use common::{Parker, block_on, model, poll_once};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use std::task::Poll;
use vigil_executor::sync::{Completion, Mutex, RwSem, Semaphore};
use vigil_executor::wait::WaitMode;
use vigil_executor::{lock_class, wait_site};

/// What is in it, as an access that loom sees.
fn get(cell: &UnsafeCell<usize>) -> usize {
    // SAFETY: the caller holds the lock around the cell; loom reports an overlap.
    cell.with(|p| unsafe { *p })
}

/// Adds one, in two accesses that loom sees: an overlap is a reported race.
fn bump(cell: &UnsafeCell<usize>) {
    let n = get(cell);
    thread::yield_now();
    // SAFETY: the caller holds the lock around the cell; loom reports an overlap.
    cell.with_mut(|p| unsafe { *p = n + 1 });
}

#[test]
fn a_mutex_excludes_and_nobody_is_left_behind() {
    model(3, || {
        let m = Arc::new(Mutex::new(lock_class!("test"), UnsafeCell::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let m = m.clone();
                thread::spawn(move || bump(&*block_on(m.lock(wait_site!("test")))))
            })
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        let m = m.try_lock().unwrap();
        assert_eq!(get(&m), 2);
    });
}

#[test]
fn three_contenders_hand_a_mutex_over() {
    model(1, || {
        let m = Arc::new(Mutex::new(lock_class!("test"), UnsafeCell::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let m = m.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        bump(&*block_on(m.lock(wait_site!("test"))));
                    }
                })
            })
            .collect();
        bump(&*block_on(m.lock(wait_site!("test"))));
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(get(&m.try_lock().unwrap()), 5);
    });
}

#[test]
fn a_mutex_waiter_that_is_dropped_does_not_strand_the_next() {
    model(2, || {
        let m = Arc::new(Mutex::new(lock_class!("test"), UnsafeCell::new(0)));
        let held = m.try_lock().unwrap();
        let parker = Parker::new();
        let mut dropped = Box::pin(m.lock(wait_site!("test")));
        assert!(poll_once(dropped.as_mut(), &parker).is_pending());
        let m2 = m.clone();
        let next = thread::spawn(move || bump(&*block_on(m2.lock(wait_site!("test")))));
        drop(held);
        drop(dropped);
        next.join().unwrap();
        assert!(!m.is_locked());
    });
}

#[test]
fn a_mutex_waiter_dropped_while_the_owner_unlocks() {
    model(3, || {
        let m = Arc::new(Mutex::new(lock_class!("test"), UnsafeCell::new(0)));
        let m2 = m.clone();
        let owner = thread::spawn(move || {
            bump(&*block_on(m2.lock(wait_site!("test"))));
        });
        {
            let parker = Parker::new();
            let mut waiter = Box::pin(m.lock(wait_site!("test")));
            if let Poll::Ready(guard) = poll_once(waiter.as_mut(), &parker) {
                bump(&guard);
            }
        }
        bump(&*block_on(m.lock(wait_site!("test"))));
        owner.join().unwrap();
        assert!(!m.is_locked());
    });
}

#[test]
fn a_rwsem_lets_readers_share_and_writers_be_alone() {
    model(2, || {
        let m = Arc::new(RwSem::new(lock_class!("test"), UnsafeCell::new(0)));
        let (m2, m3) = (m.clone(), m.clone());
        let writer = thread::spawn(move || {
            let g = block_on(m2.write(wait_site!("test")));
            bump(&g);
            let r = g.downgrade();
            assert_eq!(get(&r), 1);
        });
        let reader = thread::spawn(move || get(&block_on(m3.read(wait_site!("test")))));
        let seen = get(&block_on(m.read(wait_site!("test"))));
        assert!(seen <= 1 && reader.join().unwrap() <= 1);
        writer.join().unwrap();
        assert!(m.try_write().is_some());
    });
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    model(2, || {
        let m = Arc::new(RwSem::new(lock_class!("test"), UnsafeCell::new(0)));
        let held = m.try_read().unwrap();
        let parker = Parker::new();
        let mut writer = Box::pin(m.write(wait_site!("test")));
        assert!(poll_once(writer.as_mut(), &parker).is_pending());
        let m2 = m.clone();
        let reader = thread::spawn(move || get(&block_on(m2.read(wait_site!("test")))));
        drop(writer);
        // `held` is still a reader: the other one must get in beside it.
        reader.join().unwrap();
        drop(held);
        assert!(m.try_write().is_some());
    });
}

#[test]
fn a_granted_writer_that_is_dropped_gives_the_lock_back() {
    model(3, || {
        let m = Arc::new(RwSem::new(lock_class!("test"), UnsafeCell::new(0)));
        let held = m.try_write().unwrap();
        let parker = Parker::new();
        let mut writer = Box::pin(m.write(wait_site!("test")));
        assert!(poll_once(writer.as_mut(), &parker).is_pending());
        let m2 = m.clone();
        let t = thread::spawn(move || {
            let _ = block_on(m2.write(wait_site!("test")));
        });
        drop(held);
        drop(writer);
        t.join().unwrap();
        assert!(m.try_write().is_some());
    });
}

#[test]
fn a_semaphore_gives_each_unit_once() {
    model(2, || {
        let s = Arc::new((Semaphore::new(1), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let s = s.clone();
                thread::spawn(move || {
                    block_on(s.0.down(wait_site!("test")));
                    assert_eq!(s.1.fetch_add(1, Relaxed), 0, "two owners of one unit");
                    s.1.fetch_sub(1, Relaxed);
                    s.0.up();
                })
            })
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        assert_eq!(s.0.available(), 1);
    });
}

#[test]
fn a_unit_granted_to_a_dropped_waiter_comes_back() {
    model(3, || {
        let s = Arc::new(Semaphore::new(0));
        let s2 = s.clone();
        let parker = Parker::new();
        let mut waiter = Box::pin(s.down(wait_site!("test")));
        assert!(poll_once(waiter.as_mut(), &parker).is_pending());
        let t = thread::spawn(move || s2.up());
        drop(waiter);
        t.join().unwrap();
        assert_eq!(s.available(), 1);
    });
}

#[test]
fn a_completion_wakes_as_many_as_it_counts() {
    model(2, || {
        let c = Arc::new(Completion::new());
        let c2 = c.clone();
        let c3 = c.clone();
        let other = thread::spawn(move || block_on(c2.wait(wait_site!("test"))));
        let done = thread::spawn(move || {
            c3.complete();
            c3.complete();
        });
        block_on(c.wait(wait_site!("test")));
        other.join().unwrap();
        done.join().unwrap();
        assert!(!c.is_done());
    });
}

#[test]
fn complete_all_reaches_the_dropped_the_present_and_the_future() {
    model(2, || {
        let c = Arc::new(Completion::new());
        let c2 = c.clone();
        let parker = Parker::new();
        let mut dropped = Box::pin(c.wait_mode(wait_site!("test"), WaitMode::Killable));
        let _ = poll_once(dropped.as_mut(), &parker);
        let t = thread::spawn(move || c2.complete_all());
        drop(dropped);
        block_on(c.wait(wait_site!("test")));
        t.join().unwrap();
        block_on(c.wait(wait_site!("test")));
    });
}
