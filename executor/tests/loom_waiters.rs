//! Loom: waiters of epoll (`fs/src/epoll`: the callback, the ready list, the scan) and of PI futexes (`kernel/src/ipc/pi.rs`:
//! hand-over, giving up), in their steps and orders, over the real wait queues and nodes.
#![cfg(loom)]

mod common;

use common::{block_on, model};
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::mem::offset_of;
use std::pin::Pin;
use vigil_executor::wait::{Register, WaitMode, WaitNode, WaitQueue};
use vigil_executor::wait_site;

/// A step of the kernel that a mutant leaves out or does too late.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// The scan asks the file before it takes the item off the list.
    AsksFirst,
    /// EPOLLONESHOT disables what has been given out, whatever came meanwhile.
    DisablesLate,
}

/// An epoll with one item, and the file that it watches.
struct Epoll {
    node: WaitNode,
    file: WaitQueue,
    units: AtomicUsize,
    /// Whether the item is on the ready list.
    ready: Mutex<bool>,
    /// Who is in epoll_wait.
    wait: WaitQueue,
    /// What the item waits for; 0: disabled.
    events: AtomicU32,
    mutant: Mutant,
}

fn woken(node: Pin<&WaitNode>, _key: u32) -> bool {
    let node = std::ptr::from_ref(node.get_ref());
    // SAFETY: only the node of an `Epoll` has this callback, and it is unregistered before that goes.
    let epoll = unsafe { &*node.byte_sub(offset_of!(Epoll, node)).cast::<Epoll>() };
    epoll.make_ready();
    true
}

impl Epoll {
    fn new(mutant: Mutant) -> Pin<Arc<Epoll>> {
        let epoll = Arc::pin(Epoll {
            node: WaitNode::with_callback(woken),
            file: WaitQueue::new(),
            units: AtomicUsize::new(0),
            ready: Mutex::new(false),
            wait: WaitQueue::new(),
            events: AtomicU32::new(1),
            mutant,
        });
        // SAFETY: pinned; the queue is in the same object, which takes the node out when it goes.
        unsafe { epoll.node().register(&epoll.file, u32::MAX, Register::Keep, None) };
        epoll
    }

    fn node(&self) -> Pin<&WaitNode> {
        // SAFETY: only made in a pinned Arc.
        unsafe { Pin::new_unchecked(&self.node) }
    }

    fn make_ready(&self) {
        *self.ready.lock().unwrap() = true;
        self.wait.wake(0, 1);
    }

    fn write(&self) {
        self.units.fetch_add(1, Relaxed);
        self.file.wake(1, 0);
    }

    fn pop(&self) -> bool {
        std::mem::take(&mut *self.ready.lock().unwrap())
    }

    fn rest(&self) {
        if self.wait.has_waiters() && *self.ready.lock().unwrap() {
            self.wait.wake(0, 1);
        }
    }

    /// Level-triggered: whether the file is ready.
    fn scan_level(&self) -> Option<()> {
        let found = self.pop() && self.units.load(Relaxed) > 0;
        if found {
            *self.ready.lock().unwrap() = true;
        }
        self.rest();
        found.then_some(())
    }

    /// Edge-triggered: takes what there is.
    fn scan_edge(&self) -> Option<usize> {
        let early = self.units.load(Relaxed);
        if !self.pop() {
            return None;
        }
        let seen = if self.mutant == Mutant::AsksFirst { early } else { self.units.load(Relaxed) };
        self.rest();
        (seen > 0).then(|| self.units.fetch_sub(seen, Relaxed)).map(|_| seen)
    }

    /// EPOLLONESHOT: for which events it was given out.
    fn scan_once(&self) -> Option<u32> {
        if !self.pop() {
            return None;
        }
        loop {
            let events = self.events.load(Acquire);
            if events == 0 {
                return None;
            }
            if self.mutant == Mutant::DisablesLate {
                self.events.store(0, Relaxed);
                return Some(events);
            }
            if self.events.compare_exchange(events, 0, Acquire, Relaxed).is_ok() {
                return Some(events);
            }
        }
    }

    fn waits<T>(&self, look: impl FnMut() -> Option<T>) -> Option<T> {
        block_on(self.wait.wait_until_exclusive(wait_site!("test"), WaitMode::Uninterruptible, look)).ok()
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        // SAFETY: it was pinned, and is unregistered here only.
        unsafe { self.node().unregister() };
    }
}

#[test]
fn a_file_that_stays_ready_is_given_to_all_who_wait() {
    model(2, || {
        let epoll = Epoll::new(Mutant::None);
        let (other, writer) = (epoll.clone(), epoll.clone());
        let second = thread::spawn(move || other.waits(|| other.scan_level()));
        let writes = thread::spawn(move || writer.write());
        assert!(epoll.waits(|| epoll.scan_level()).is_some());
        writes.join().unwrap();
        assert!(second.join().unwrap().is_some());
    });
}

#[test]
fn edges_wake_who_waits_for_them() {
    model(3, || {
        let epoll = Epoll::new(Mutant::None);
        let writer = epoll.clone();
        let writes = thread::spawn(move || (0..2).for_each(|_| writer.write()));
        let mut seen = 0;
        while seen < 2 {
            seen += epoll.waits(|| epoll.scan_edge()).unwrap_or(0);
        }
        writes.join().unwrap();
        assert_eq!(seen, 2);
    });
}

fn edges_come(mutant: Mutant) {
    model(3, move || {
        let epoll = Epoll::new(mutant);
        let writer = epoll.clone();
        let writes = thread::spawn(move || (0..2).for_each(|_| writer.write()));
        let during = epoll.scan_edge().unwrap_or(0);
        writes.join().unwrap();
        assert_eq!(during + epoll.scan_edge().unwrap_or(0), 2, "an edge was lost");
    });
}

#[test]
fn an_edge_that_comes_during_a_scan_is_given_out() {
    edges_come(Mutant::None);
}

#[test]
#[should_panic(expected = "an edge was lost")]
fn mutant_that_asks_before_it_takes_loses_an_edge() {
    edges_come(Mutant::AsksFirst);
}

fn armed_anew(mutant: Mutant) {
    model(3, move || {
        let epoll = Epoll::new(mutant);
        epoll.write();
        let changer = epoll.clone();
        // EPOLL_CTL_MOD of a file that is ready.
        let changes = thread::spawn(move || {
            // The kernel's store: loom does not keep the order of a plain one and an exchange beside it.
            changer.events.swap(2, AcqRel);
            changer.make_ready();
        });
        let first = epoll.scan_once();
        changes.join().unwrap();
        assert_eq!(epoll.scan_once().or(first), Some(2), "the change was undone");
        assert_eq!(epoll.scan_once(), None);
    });
}

#[test]
fn one_shot_armed_anew_beside_a_scan_fires_again() {
    armed_anew(Mutant::None);
}

#[test]
#[should_panic(expected = "the change was undone")]
fn mutant_that_disables_late_undoes_the_change() {
    armed_anew(Mutant::DisablesLate);
}

/// A PI futex: those who wait for it, in order, under the table's lock.
struct Futex {
    table: Mutex<Vec<usize>>,
    waiters: [Waiter; 2],
}

struct Waiter {
    granted: AtomicBool,
    interrupted: AtomicBool,
    queue: WaitQueue,
}

impl Futex {
    fn new() -> Arc<Futex> {
        let waiter = || Waiter { granted: AtomicBool::new(false), interrupted: AtomicBool::new(false), queue: WaitQueue::new() };
        Arc::new(Futex { table: Mutex::new(vec![0, 1]), waiters: [waiter(), waiter()] })
    }

    /// Hands it to the next waiter; whether there was one.
    fn unlock(&self) -> bool {
        let mut table = self.table.lock().unwrap();
        if table.is_empty() {
            return false;
        }
        let heir = &self.waiters[table.remove(0)];
        assert!(!heir.granted.swap(true, Release), "it was given twice");
        heir.queue.wake_all();
        true
    }

    /// Waits; whether it owns the futex then.
    fn wait(&self, me: usize) -> bool {
        let waiter = &self.waiters[me];
        let look = || (waiter.granted.load(Acquire) || waiter.interrupted.load(Relaxed)).then_some(());
        let _ = block_on(waiter.queue.wait_until(wait_site!("test"), WaitMode::Uninterruptible, look));
        self.leave(me)
    }

    fn leave(&self, me: usize) -> bool {
        let mut table = self.table.lock().unwrap();
        let at = table.iter().position(|w| *w == me);
        if !self.waiters[me].granted.load(Relaxed)
            && let Some(at) = at
        {
            table.remove(at);
            return false;
        }
        self.waiters[me].granted.load(Relaxed)
    }
}

#[test]
fn a_futex_that_is_handed_to_a_waiter_who_gives_up_has_an_owner() {
    model(3, || {
        let futex = Futex::new();
        let (one, two) = (futex.clone(), futex.clone());
        let gives_up = thread::spawn(move || {
            let owns = one.wait(0);
            // EINTR otherwise; who owns it unlocks it some day.
            if owns { one.unlock() } else { false }
        });
        let other = thread::spawn(move || two.wait(1));
        futex.waiters[0].interrupted.store(true, Relaxed);
        futex.waiters[0].queue.wake_all();
        assert!(futex.unlock());
        gives_up.join().unwrap();
        assert!(other.join().unwrap(), "nobody owns it");
        assert!(futex.table.lock().unwrap().is_empty());
    });
}
