//! The mutex with priority inheritance, by tasks that run.
#![cfg(not(loom))]

#[path = "common/cpus.rs"]
mod cpus;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor::{effective_params, set_params};
use vigil_executor::lock_class;
use vigil_executor::sync::Completion;
use vigil_executor::sync::lockdep::{self, Kind};
use vigil_executor::sync::rt_mutex::{NotLocked, PiMutex};
use vigil_executor::task::{INTERRUPT_SIGNAL, TaskRef};
use vigil_executor::time::{MSEC, now};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

fn me() -> TaskRef {
    TaskRef::current().unwrap()
}

/// What `task` runs with: the priority of a real-time task, 0 for others.
fn urgency(task: &TaskRef) -> u8 {
    let params = effective_params(task);
    if matches!(params.policy, Policy::Fifo | Policy::RoundRobin) { params.rt_priority } else { 0 }
}

/// Looks at `what` every millisecond, for ten seconds.
async fn comes_true(what: impl Fn() -> bool) -> bool {
    for _ in 0..10_000 {
        if what() {
            return true;
        }
        let _ = sleep_until(wait_site!("test"), now() + MSEC, 0, WaitMode::Uninterruptible).await;
    }
    false
}

/// A task of `priority` that takes `mutex`, then does `then`.
fn waiter(mutex: Pin<&'static PiMutex<()>>, priority: u8, then: impl FnOnce() + Send + 'static) -> Arc<Completion> {
    let done = Arc::new(Completion::new());
    let theirs = done.clone();
    cpus::spawn("waiter", None, async move {
        set_params(&me(), Params::fifo(priority));
        let guard = mutex.lock(wait_site!("test")).await.unwrap();
        then();
        drop(guard);
        set_params(&me(), Params::DEFAULT);
        theirs.complete();
    });
    done
}

#[test]
fn an_owner_is_as_urgent_as_the_most_urgent_waiter_and_that_one_is_next() {
    static M: PiMutex<()> = PiMutex::new(lock_class!("one"), ());
    static FIRST: AtomicU32 = AtomicU32::new(0);
    cpus::run(async {
        let m = Pin::static_ref(&M);
        let guard = m.lock(wait_site!("test")).await.unwrap();
        let owner = me();
        let low = waiter(m, 10, || _ = FIRST.compare_exchange(0, 10, SeqCst, SeqCst));
        assert!(comes_true(|| urgency(&owner) == 10).await, "nothing was lent");
        let high = waiter(m, 40, || _ = FIRST.compare_exchange(0, 40, SeqCst, SeqCst));
        assert!(comes_true(|| urgency(&owner) == 40).await, "the more urgent one lent nothing");
        drop(guard);
        assert_eq!(urgency(&owner), 0, "what was lent was kept");
        low.wait(wait_site!("test")).await;
        high.wait(wait_site!("test")).await;
        assert_eq!(FIRST.load(SeqCst), 40);
        assert!(!m.is_locked());
    });
}

#[test]
fn urgency_is_lent_along_a_chain() {
    static A: PiMutex<()> = PiMutex::new(lock_class!("a"), ());
    static B: PiMutex<()> = PiMutex::new(lock_class!("b"), ());
    cpus::run(async {
        let (a, b) = (Pin::static_ref(&A), Pin::static_ref(&B));
        let guard = a.lock(wait_site!("test")).await.unwrap();
        let owner = me();
        let has_b = Arc::new(AtomicBool::new(false));
        let says = has_b.clone();
        cpus::spawn("middle", None, async move {
            let _b = b.lock(wait_site!("test")).await.unwrap();
            says.store(true, SeqCst);
            let _a = a.lock(wait_site!("test")).await.unwrap();
        });
        assert!(comes_true(|| has_b.load(SeqCst)).await);
        let done = waiter(b, 30, || {});
        assert!(comes_true(|| urgency(&owner) == 30).await, "the chain was not followed");
        drop(guard);
        assert_eq!(urgency(&owner), 0);
        done.wait(wait_site!("test")).await;
        assert!(comes_true(|| !a.is_locked() && !b.is_locked()).await);
    });
}

/// The checker of orders would be the first to say so: here it is told to leave that to the mutex.
fn leave_deadlocks_alone() {
    lockdep::set_report_hook(|report| assert!(matches!(report.kind(), Kind::Recursion | Kind::Inversion), "{report}"));
}

#[test]
fn who_owns_it_already_is_told() {
    static M: PiMutex<u32> = PiMutex::new(lock_class!("self"), 0);
    leave_deadlocks_alone();
    cpus::run(async {
        let m = Pin::static_ref(&M);
        let guard = m.lock(wait_site!("test")).await.unwrap();
        assert!(m.try_lock().is_none());
        assert_eq!(m.lock(wait_site!("test")).await.err(), Some(NotLocked::Deadlock));
        drop(guard);
        assert!(!m.is_locked());
    });
}

#[test]
fn a_circle_of_owners_is_told_to_who_would_close_it() {
    static A: PiMutex<()> = PiMutex::new(lock_class!("circle_a"), ());
    static B: PiMutex<()> = PiMutex::new(lock_class!("circle_b"), ());
    leave_deadlocks_alone();
    cpus::run(async {
        let (a, b) = (Pin::static_ref(&A), Pin::static_ref(&B));
        let guard = a.lock(wait_site!("test")).await.unwrap();
        let owner = me();
        let done = Arc::new(Completion::new());
        let theirs = done.clone();
        cpus::spawn("other", None, async move {
            set_params(&me(), Params::fifo(5));
            let second = b.lock(wait_site!("test")).await.unwrap();
            drop(a.lock(wait_site!("test")).await.unwrap());
            drop(second);
            theirs.complete();
        });
        assert!(comes_true(|| urgency(&owner) == 5).await, "the other one does not wait");
        assert_eq!(b.lock(wait_site!("test")).await.err(), Some(NotLocked::Deadlock));
        drop(guard);
        done.wait(wait_site!("test")).await;
        assert!(!a.is_locked() && !b.is_locked());
    });
}

#[test]
fn a_signal_ends_the_wait_and_takes_back_what_was_lent() {
    static M: PiMutex<()> = PiMutex::new(lock_class!("signal"), ());
    cpus::run(async {
        let m = Pin::static_ref(&M);
        let guard = m.lock(wait_site!("test")).await.unwrap();
        let owner = me();
        let (send, receive) = std::sync::mpsc::channel();
        let (done, ended) = (Arc::new(Completion::new()), Arc::new(AtomicBool::new(false)));
        let (theirs, says) = (done.clone(), ended.clone());
        cpus::spawn("waiter", None, async move {
            set_params(&me(), Params::fifo(20));
            send.send(me()).unwrap();
            let result = m.lock_interruptible(wait_site!("test")).await;
            says.store(result.err() == Some(NotLocked::Interrupted), SeqCst);
            theirs.complete();
        });
        assert!(comes_true(|| urgency(&owner) == 20).await);
        receive.recv_timeout(Duration::from_secs(10)).unwrap().interrupt(INTERRUPT_SIGNAL);
        done.wait(wait_site!("test")).await;
        assert!(ended.load(SeqCst));
        assert_eq!(urgency(&owner), 0);
        drop(guard);
        assert!(!m.is_locked());
        assert!(m.try_lock().is_some());
    });
}
