//! Loom: the words of the reader-writer spin lock and of the sequence count.
#![cfg(loom)]

mod common;

use common::model;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;
use vigil_executor::lock_class;
use vigil_executor::sync::{RwSpinLock, SeqCount, SpinLock};

struct Cell(UnsafeCell<u32>);
// SAFETY: accessed under the lock that is tested; loom reports it if that fails.
unsafe impl Sync for Cell {}

fn get(c: &Cell) -> u32 {
    // SAFETY: as above.
    c.0.with(|p| unsafe { *p })
}

fn bump(c: &Cell) {
    // SAFETY: as above.
    c.0.with_mut(|p| unsafe { *p += 1 });
}

#[test]
fn a_spin_lock_excludes() {
    model(3, || {
        let l = Arc::new(SpinLock::new(lock_class!("test"), 0));
        let l2 = l.clone();
        let t = thread::spawn(move || *l2.lock_irq() += 1);
        *l.lock() += 1;
        if let Some(mut n) = l.try_lock() {
            *n += 1;
        }
        t.join().unwrap();
        assert!(*l.lock() >= 2);
    });
}

#[test]
fn a_writer_is_alone_and_readers_are_not_torn() {
    model(2, || {
        let l = Arc::new(RwSpinLock::new(lock_class!("test"), Cell(UnsafeCell::new(0))));
        let l2 = l.clone();
        let t = thread::spawn(move || bump(&l2.write()));
        let seen = get(&l.read());
        assert!(seen <= 1);
        if let Some(w) = l.try_write() {
            bump(&w);
        }
        t.join().unwrap();
        assert!(l.try_write().is_some());
    });
}

#[test]
fn two_writers_and_a_reader() {
    model(2, || {
        let l = Arc::new(RwSpinLock::new(lock_class!("test"), Cell(UnsafeCell::new(0))));
        let l2 = l.clone();
        let t = thread::spawn(move || bump(&l2.write()));
        bump(&l.write());
        t.join().unwrap();
        assert_eq!(get(&l.read()), 2);
    });
}

#[test]
fn a_reader_of_a_sequence_never_keeps_half_a_write() {
    model(3, || {
        let s = Arc::new((SeqCount::new(), AtomicU32::new(0), AtomicU32::new(0)));
        let s2 = s.clone();
        let t = thread::spawn(move || {
            s2.0.write_begin();
            s2.1.store(1, Relaxed);
            s2.2.store(1, Relaxed);
            s2.0.write_end();
        });
        let seq = s.0.read_begin();
        let (a, b) = (s.1.load(Relaxed), s.2.load(Relaxed));
        if !s.0.read_retry(seq) {
            assert_eq!(a, b);
        }
        t.join().unwrap();
    });
}
