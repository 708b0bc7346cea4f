//! The guarantees of RCU, one test each: what a grace period waits for, what it does not wait for, and when callbacks are called.
#![cfg(not(loom))]

use std::future::Future;
use std::pin::pin;
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::task::{Context, Poll, Waker};
use vigil_executor::arch;
use vigil_executor::cpu::{CpuId, local_of};
use vigil_executor::sync::rcu::{self, Grace, RcuHead, limits};
use vigil_executor::wait_site;

const A: u64 = 1;
const B: u64 = 2;

/// CPUs A and B run.
fn two_cpus() -> Grace {
    let grace = Grace::new();
    grace.idle_exit(A);
    grace.idle_exit(B);
    grace
}

/// An update: the number at which nobody can have what was replaced.
fn update(grace: &Grace) -> u64 {
    let target = grace.snapshot();
    let _ = grace.request(target);
    target
}

#[test]
fn a_grace_period_waits_for_each_cpu_that_runs() {
    let grace = two_cpus();
    let target = update(&grace);
    assert!(!grace.is_done(target));
    assert!(!grace.quiescent(A));
    assert!(!grace.is_done(target), "B may be in a section");
    assert!(grace.quiescent(B));
    assert!(grace.is_done(target));
}

#[test]
fn a_grace_period_that_has_begun_is_not_enough() {
    let grace = two_cpus();
    let first = update(&grace);
    let _ = grace.quiescent(A);
    // A has reported, and enters a section: it may get hold of what the second update replaces now.
    let second = update(&grace);
    let _ = grace.quiescent(B);
    assert!(grace.is_done(first));
    assert!(!grace.is_done(second), "A is in its section");
    let _ = grace.quiescent(B);
    assert!(!grace.is_done(second));
    let _ = grace.quiescent(A);
    assert!(grace.is_done(second));
}

#[test]
fn a_cpu_that_idles_is_not_waited_for() {
    let grace = two_cpus();
    let _ = grace.idle_enter(B);
    let target = update(&grace);
    let _ = grace.quiescent(A);
    assert!(grace.is_done(target));
}

#[test]
fn a_cpu_that_begins_to_idle_is_waited_for_no_longer() {
    let grace = two_cpus();
    let target = update(&grace);
    let _ = grace.quiescent(A);
    let _ = grace.idle_enter(B);
    assert!(grace.is_done(target));
}

/// What the callbacks have done; one test at a time uses the system's machine.
static ONE: Mutex<()> = Mutex::new(());
static CALLS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

#[repr(C)]
struct Numbered {
    head: RcuHead,
    number: u32,
}

unsafe fn call(head: NonNull<RcuHead>) {
    // SAFETY: the head is the first field of a `Numbered`, which is leaked.
    let object = unsafe { head.cast::<Numbered>().as_ref() };
    CALLS.lock().unwrap().push(object.number);
}

/// Queues a callback on this CPU.
fn queue(number: u32) {
    let object = Box::leak(Box::new(Numbered { head: RcuHead::new(), number }));
    // SAFETY: it lives for ever, and is queued once.
    unsafe { rcu::call_rcu(NonNull::from(&object.head), call) };
}

/// Makes this thread CPU `n`, which runs from now on.
fn be_cpu(n: usize) -> CpuId {
    let cpu = CpuId::new(n).unwrap();
    // SAFETY: the tests that do this run one at a time.
    unsafe { arch::set_cpu_local(local_of(cpu)) };
    rcu::idle_exit(cpu);
    cpu
}

#[test]
fn a_callback_is_called_after_a_grace_period_and_in_its_turn() {
    let _one = ONE.lock().unwrap();
    let cpu = be_cpu(0);
    (1..=3).for_each(queue);
    assert!(!rcu::run_callbacks_of(cpu), "nothing is ready");
    assert_eq!(*CALLS.lock().unwrap(), []);
    rcu::quiescent(cpu);
    rcu::quiescent(cpu);
    rcu::run_callbacks_of(cpu);
    assert_eq!(std::mem::take(&mut *CALLS.lock().unwrap()), [1, 2, 3]);
    rcu::idle_enter(cpu);
}

#[test]
fn no_more_callbacks_are_called_in_one_go_than_the_limit_says() {
    let _one = ONE.lock().unwrap();
    let cpu = be_cpu(2);
    let limit = limits::BLIMIT.swap(4, Relaxed);
    (1..=10).for_each(queue);
    rcu::quiescent(cpu);
    rcu::quiescent(cpu);
    assert!(rcu::run_callbacks_of(cpu), "there are more");
    assert_eq!(*CALLS.lock().unwrap(), [1, 2, 3, 4]);
    // They pile up: all are called, until few are left.
    let mark = limits::QHIMARK.swap(8, Relaxed);
    (11..=30).for_each(queue);
    rcu::quiescent(cpu);
    rcu::quiescent(cpu);
    assert!(!rcu::run_callbacks_of(cpu));
    assert_eq!(std::mem::take(&mut *CALLS.lock().unwrap()), (1..=30).collect::<Vec<_>>());
    limits::QHIMARK.store(mark, Relaxed);
    (1..=10).for_each(queue);
    rcu::quiescent(cpu);
    rcu::quiescent(cpu);
    assert!(rcu::run_callbacks_of(cpu), "they do not any more");
    assert_eq!(CALLS.lock().unwrap().len(), 4);
    while rcu::run_callbacks_of(cpu) {}
    CALLS.lock().unwrap().clear();
    limits::BLIMIT.store(limit, Relaxed);
    rcu::idle_enter(cpu);
}

#[test]
fn a_barrier_waits_for_all_callbacks_that_were_queued_before() {
    static CALLED: AtomicU32 = AtomicU32::new(0);
    let _one = ONE.lock().unwrap();
    let cpu = be_cpu(1);
    (1..=20).for_each(queue);
    let mut barrier = pin!(rcu::barrier(wait_site!("test")));
    let mut cx = Context::from_waker(Waker::noop());
    for round in 0.. {
        assert!(round < 100, "the barrier does not end");
        let over = barrier.as_mut().poll(&mut cx) == Poll::Ready(());
        CALLED.fetch_add(std::mem::take(&mut *CALLS.lock().unwrap()).len() as u32, Relaxed);
        assert!(!over || CALLED.load(Relaxed) == 20, "{} of 20 were called", CALLED.load(Relaxed));
        if over {
            break;
        }
        rcu::quiescent(cpu);
        // Each run calls some.
        rcu::run_callbacks_of(cpu);
    }
    rcu::idle_enter(cpu);
}
