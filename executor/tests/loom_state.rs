//! Loom: the task's state word and the inbox: wake × poll × park × migrate × finish.
#![cfg(loom)]

mod common;

use common::model;
use loom::sync::Arc;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence};
use loom::thread;
use std::collections::VecDeque;
use std::ptr::NonNull;
use vigil_executor::class::{Params, Policy};
use vigil_executor::inbox::Inbox;
use vigil_executor::task::Spawned;
use vigil_executor::task::state::{AfterPending, State, Wake};

/// One task and the queue that its CPUs take it from.
struct World {
    state: State,
    queue: Mutex<VecDeque<()>>,
    /// How many CPUs poll it now: never two.
    polling: AtomicUsize,
    event: AtomicBool,
    done: AtomicBool,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            state: State::new_notified(),
            queue: Mutex::new(VecDeque::from([()])),
            polling: AtomicUsize::new(0),
            event: AtomicBool::new(false),
            done: AtomicBool::new(false),
        })
    }

    fn wake(&self) {
        if self.state.wake() == Wake::Push {
            self.push();
        }
    }

    fn push(&self) {
        let mut q = self.queue.lock().unwrap();
        q.push_back(());
        assert_eq!(q.len(), 1, "queued twice");
    }

    /// Picks and polls until the queue is empty. `park`: the poll is preempted in the middle once.
    fn run(&self, mut park: bool) {
        while self.queue.lock().unwrap().pop_front().is_some() {
            if self.state.is_parked() {
                self.state.resume();
                self.body_end();
                continue;
            }
            self.state.start_poll();
            assert_eq!(self.polling.fetch_add(1, AcqRel), 0, "polled twice");
            if park {
                park = false;
                // The stack is left; published for whichever CPU.
                self.polling.fetch_sub(1, AcqRel);
                self.state.park();
                self.push();
                continue;
            }
            self.polling.fetch_sub(1, AcqRel);
            self.body_end();
        }
    }

    /// The second half of a poll: looks for the event.
    fn body_end(&self) {
        assert_eq!(self.polling.fetch_add(1, AcqRel), 0, "resumed while it is polled");
        let ready = self.event.load(Relaxed);
        self.polling.fetch_sub(1, AcqRel);
        if ready {
            self.state.finish();
            self.done.store(true, Relaxed);
        } else if self.state.after_pending() == AfterPending::Requeue {
            self.push();
        }
    }
}

fn wake_once(w: Arc<World>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        w.event.store(true, Relaxed);
        w.wake();
    })
}

#[test]
fn a_wake_is_polled_for_whenever_it_comes() {
    model(4, || {
        let w = World::new();
        let t = wake_once(w.clone());
        w.run(false);
        t.join().unwrap();
        w.run(false);
        assert!(w.done.load(Relaxed), "the event was lost");
        assert!(w.state.is_dead());
    });
}

#[test]
fn a_wake_of_a_parked_poll_is_not_lost() {
    model(4, || {
        let w = World::new();
        let t = wake_once(w.clone());
        w.run(true);
        t.join().unwrap();
        w.run(false);
        assert!(w.done.load(Relaxed), "the event was lost");
    });
}

#[test]
fn two_cpus_and_a_waker_never_poll_at_once() {
    model(2, || {
        let w = World::new();
        let t = wake_once(w.clone());
        let w2 = w.clone();
        let cpu = thread::spawn(move || w2.run(true));
        w.run(false);
        t.join().unwrap();
        cpu.join().unwrap();
        w.run(false);
        assert!(w.done.load(Relaxed), "the event was lost");
    });
}

#[test]
fn of_two_wakes_one_pushes() {
    model(3, || {
        let s = Arc::new(State::new_notified());
        s.start_poll();
        assert_eq!(s.after_pending(), AfterPending::Sleep);
        let s2 = s.clone();
        let t = thread::spawn(move || s2.wake() == Wake::Push);
        let here = s.wake() == Wake::Push;
        assert!(t.join().unwrap() != here, "exactly one wake makes it runnable");
    });
}

fn task() -> Spawned {
    let params = Params { policy: Policy::Normal, nice: 0, rt_priority: 0 };
    Spawned::new(async {}, params, b"t", None, std::ptr::null()).unwrap()
}

#[test]
fn an_inbox_keeps_every_push() {
    model(3, || {
        let (a, b, c) = (task(), task(), task());
        let inbox = Arc::new(Inbox::new());
        let address = |t: &Spawned| std::ptr::from_ref(t.task()) as usize;
        let (pa, pb, pc) = (address(&a), address(&b), address(&c));
        let node = |p: usize| NonNull::new(p as *mut _).unwrap();
        let i2 = inbox.clone();
        let t = thread::spawn(move || {
            i2.push(node(pb));
            i2.push(node(pc));
        });
        inbox.push_here(node(pa));
        let mut got: Vec<usize> = inbox.take().map(|t| t.as_ptr() as usize).collect();
        t.join().unwrap();
        got.extend(inbox.take().map(|t| t.as_ptr() as usize));
        assert!(inbox.is_empty());
        let at = |p| got.iter().position(|&g| g == p).unwrap();
        assert_eq!(got.len(), 3);
        assert!(at(pb) < at(pc), "the order of one waker's wakes is kept");
    });
}

/// Where a task is, as an inbox links it.
fn node(t: &Spawned) -> usize {
    std::ptr::from_ref(t.task()) as usize
}

fn pointer(p: usize) -> NonNull<vigil_executor::task::Task> {
    NonNull::new(p as *mut _).unwrap()
}

#[test]
fn a_wake_from_elsewhere_does_not_wait_behind_one_that_was_left_lying() {
    model(3, || {
        let (low, urgent) = (task(), task());
        let (pl, pu) = (node(&low), node(&urgent));
        let inbox = Arc::new(Inbox::new());
        let i2 = inbox.clone();
        let other = thread::spawn(move || i2.push(pointer(pu)));
        inbox.push_here(pointer(pl));
        let drained: Vec<usize> = inbox.take().map(|t| t.as_ptr() as usize).collect();
        let told = other.join().unwrap();
        assert!(told || drained.contains(&pu), "the urgent task waits, and its CPU does not know");
        let rest = inbox.take().count();
        assert_eq!(drained.len() + rest, 2);
    });
}

#[test]
fn what_was_left_lying_before_a_change_of_parameters_is_asked_about() {
    model(3, || {
        let low = task();
        let pl = node(&low);
        let (inbox, stays) = (Arc::new(Inbox::new()), Arc::new(AtomicBool::new(true)));
        let (i2, s2) = (inbox.clone(), stays.clone());
        // executor::apply_params: notes the parameters, then looks whether something lies there.
        let change = thread::spawn(move || {
            s2.store(false, SeqCst);
            fence(SeqCst);
            !i2.is_empty()
        });
        // executor::push_to with lets_lie.
        inbox.push_here(pointer(pl));
        fence(SeqCst);
        let due = !stays.load(SeqCst);
        let asked = change.join().unwrap();
        assert!(due || asked, "nobody looks whether the current task still stays");
        assert_eq!(inbox.take().count(), 1);
    });
}
