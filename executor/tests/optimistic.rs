//! Who finds a lock held waits in its poll while the holder is being polled on another CPU, and no longer.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use vigil_executor::sync::{Completion, Mutex, RwSem};
use vigil_executor::{lock_class, wait_site};

/// What the owner does in its section.
#[derive(Clone, Copy, PartialEq)]
enum Owner {
    /// It holds its CPU, and lets go some time after the other one has begun to try.
    Runs,
    /// It holds its CPU, and lets go when the other one's first poll has ended, or after ten seconds.
    Stays,
    /// It waits for something, and its CPU is free.
    Waits,
}

#[derive(Default)]
struct Pair {
    held: AtomicBool,
    tried: AtomicBool,
    go_on: Completion,
    done: Completion,
    at_once: AtomicBool,
}

/// Whether the future's first poll is its last; awaits its end.
async fn first_poll_ends(pair: &Pair, mut future: Pin<&mut (dyn Future<Output = ()> + Send)>) -> bool {
    pair.tried.store(true, SeqCst);
    let at_once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await;
    pair.go_on.complete();
    if !at_once {
        future.await;
    }
    at_once
}

/// One task on CPU 0 holds what `hold` takes, one on CPU 1 takes `want`; whether the latter had it in its first poll.
fn in_one_poll<H, W>(owner: Owner, hold: impl FnOnce() -> H + Send + 'static, want: W) -> bool
where
    H: Future<Output: Send> + Send,
    W: Future<Output = ()> + Send + 'static,
{
    let pair = Arc::new(Pair::default());
    let (theirs, result) = (pair.clone(), pair.clone());
    cpus::run(async move {
        let ours = pair.clone();
        cpus::spawn("owner", Some(0), async move {
            let guard = hold().await;
            ours.held.store(true, SeqCst);
            let begun = Instant::now();
            match owner {
                Owner::Waits => ours.go_on.wait(wait_site!("test")).await,
                Owner::Stays => {
                    while !ours.go_on.is_done() && begun.elapsed() < Duration::from_secs(10) {
                        std::thread::yield_now();
                    }
                }
                Owner::Runs => {
                    while !ours.tried.load(SeqCst) {
                        std::thread::yield_now();
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            drop(guard);
        });
        cpus::spawn("contender", Some(1), async move {
            while !theirs.held.load(SeqCst) {
                vigil_executor::executor::yield_now(vigil_executor::executor::YieldKind::Yield).await;
            }
            let at_once = first_poll_ends(&theirs, pin!(want)).await;
            theirs.at_once.store(at_once, SeqCst);
            theirs.done.complete();
        });
        pair.done.wait(wait_site!("test")).await;
    });
    result.at_once.load(SeqCst)
}

#[test]
fn a_mutex_is_spun_for_while_its_owner_runs() {
    static M: Mutex<()> = Mutex::new(lock_class!("runs"), ());
    assert!(in_one_poll(Owner::Runs, || M.lock(wait_site!("test")), async { drop(M.lock(wait_site!("test")).await) }));
}

#[test]
fn a_mutex_whose_owner_waits_is_waited_for() {
    static M: Mutex<()> = Mutex::new(lock_class!("waits"), ());
    assert!(!in_one_poll(Owner::Waits, || M.lock(wait_site!("test")), async { drop(M.lock(wait_site!("test")).await) }));
}

#[test]
fn a_writer_spins_for_a_writer_that_runs() {
    static S: RwSem<()> = RwSem::new(lock_class!("writer"), ());
    assert!(in_one_poll(Owner::Runs, || S.write(wait_site!("test")), async { drop(S.write(wait_site!("test")).await) }));
}

#[test]
fn a_reader_does_not_spin() {
    static S: RwSem<()> = RwSem::new(lock_class!("reader"), ());
    assert!(!in_one_poll(Owner::Stays, || S.write(wait_site!("test")), async { drop(S.read(wait_site!("test")).await) }));
}

#[test]
fn a_writer_spins_for_readers_not_for_long() {
    static S: RwSem<()> = RwSem::new(lock_class!("readers"), ());
    assert!(!in_one_poll(Owner::Stays, || S.read(wait_site!("test")), async { drop(S.write(wait_site!("test")).await) }));
}

#[test]
fn a_waiter_that_lost_once_is_handed_the_mutex() {
    let m = Mutex::new(lock_class!("handoff"), ());
    let mut cx = Context::from_waker(Waker::noop());
    // Somebody else's: guards may move.
    let try_elsewhere = || std::thread::scope(|s| s.spawn(|| m.try_lock()).join().unwrap());
    let first = try_elsewhere().unwrap();
    let mut waiter = pin!(m.lock(wait_site!("test")));
    assert!(waiter.as_mut().poll(&mut cx).is_pending());
    drop(first);
    let barger = try_elsewhere().expect("who was woken does not own it yet");
    assert!(waiter.as_mut().poll(&mut cx).is_pending());
    drop(barger);
    assert!(try_elsewhere().is_none(), "the next owner was to be the one that lost");
    assert!(waiter.as_mut().poll(&mut cx).is_ready());
}
