//! Callbacks of SRCU: not before the readers have left, in their order, and the barrier waits for them all.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use std::ptr::NonNull;
use std::sync::Mutex;
use vigil_executor::lock_class;
use vigil_executor::sync::rcu::RcuHead;
use vigil_executor::sync::srcu::Srcu;
use vigil_executor::sync::{Completion, Semaphore};
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::{WaitMode, Waited};
use vigil_executor::wait_site;

#[repr(C)]
struct Numbered {
    head: RcuHead,
    number: u32,
}

fn numbered(number: u32) -> NonNull<RcuHead> {
    NonNull::from(Box::leak(Box::new(Numbered { head: RcuHead::new(), number }))).cast()
}

async fn pause(ms: u64) {
    let _ = sleep_until(wait_site!("test"), now() + ms * MSEC, 0, WaitMode::Uninterruptible).await;
}

/// What was called, in its order.
static CALLED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

unsafe fn note(head: NonNull<RcuHead>) {
    // SAFETY: the head is the first field of a leaked `Numbered`.
    CALLED.lock().unwrap().push(unsafe { head.cast::<Numbered>().as_ref() }.number);
}

#[test]
fn callbacks_wait_for_the_readers_and_the_barrier_for_the_callbacks() {
    static DOMAIN: Srcu = Srcu::new(lock_class!("domain"));
    static LEAVE: Completion = Completion::new();
    static ENTERED: Completion = Completion::new();
    cpus::run(async {
        DOMAIN.start_callbacks().unwrap();
        cpus::spawn("reader", None, async {
            let section = DOMAIN.read_lock();
            ENTERED.complete();
            LEAVE.wait(wait_site!("test")).await;
            drop(section);
        });
        ENTERED.wait(wait_site!("test")).await;
        for n in 1..=5 {
            // SAFETY: leaked, and queued once.
            unsafe { DOMAIN.call(numbered(n), note) };
        }
        pause(20).await;
        assert!(CALLED.lock().unwrap().is_empty(), "called before the reader had left");
        LEAVE.complete();
        DOMAIN.barrier(wait_site!("test")).await;
        assert_eq!(*CALLED.lock().unwrap(), [1, 2, 3, 4, 5]);
        DOMAIN.barrier(wait_site!("test")).await;
    });
}

#[test]
fn a_semaphore_is_waited_for_until_the_deadline() {
    static S: Semaphore = Semaphore::new(1);
    cpus::run(async {
        let wait = |ms| S.down_deadline(wait_site!("test"), WaitMode::Uninterruptible, now() + ms * MSEC);
        assert_eq!(wait(0).await, Waited::Ready(()), "a unit that is free is there at once");
        let begun = now();
        assert_eq!(wait(20).await, Waited::TimedOut);
        assert!(now() - begun >= 20 * MSEC);
        cpus::spawn("gives", None, async {
            pause(10).await;
            S.up();
        });
        assert_eq!(wait(10_000).await, Waited::Ready(()));
        assert!(S.down_deadline(wait_site!("test"), WaitMode::Killable, now()).await == Waited::TimedOut);
        // Who gave up has left nothing behind: the unit goes to the next one.
        S.up();
        assert!(S.down_killable(wait_site!("test")).await.is_ok());
        assert_eq!(S.available(), 0);
    });
}
