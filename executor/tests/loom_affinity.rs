//! Loom: where a task is while its affinity changes: `settle`, `drain`, `arrives`, `with_entity` and `set_affinity` of
//! `executor/src/executor` and `hand_over` of `preempt`, in their steps and orders, over the real state word. The executor's statics cannot be loom's.
#![cfg(loom)]

mod common;

use common::model;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;
use vigil_executor::task::state::{AfterPending, State, Wake};

/// One CPU's run queue, as far as the one task is concerned.
#[derive(Default)]
struct Rq {
    current: bool,
    queued: bool,
}

struct World {
    state: State,
    cpu: AtomicUsize,
    moving: AtomicBool,
    affinity: AtomicUsize,
    rq: [Mutex<Rq>; 2],
    inbox: [AtomicBool; 2],
    /// CPU 0 was told to choose again.
    due: AtomicBool,
    /// The task's entity: loom reports accesses that nothing keeps apart.
    entity: UnsafeCell<u32>,
}

// SAFETY: `entity` is what is tested; loom watches it.
unsafe impl Sync for World {}

impl World {
    /// A task that was last on CPU 0, may run anywhere, and is being polled there or sleeps.
    fn new(polled: bool) -> Arc<World> {
        let state = State::new_notified();
        state.start_poll();
        if !polled {
            assert_eq!(state.after_pending(), AfterPending::Sleep);
        }
        let rq = [Mutex::new(Rq { current: polled, queued: false }), Mutex::new(Rq::default())];
        let inbox = [AtomicBool::new(false), AtomicBool::new(false)];
        let (cpu, affinity, due) = (AtomicUsize::new(0), AtomicUsize::new(3), AtomicBool::new(false));
        Arc::new(World { state, cpu, moving: AtomicBool::new(false), affinity, rq, inbox, due, entity: UnsafeCell::new(0) })
    }

    fn touch(&self) {
        // SAFETY: the rule under test: a queue's lock, and `moving` or the task's being on that queue.
        self.entity.with_mut(|e| unsafe { *e += 1 });
    }

    fn elsewhere(&self, here: usize) -> Option<usize> {
        (self.affinity.load(Relaxed) & 1 << here == 0).then_some(1 - here)
    }

    fn lock_move(&self) {
        while self.moving.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            thread::yield_now();
        }
    }

    fn unlock_move(&self) {
        self.moving.store(false, Release);
    }

    fn push(&self, cpu: usize) {
        assert!(!self.inbox[cpu].swap(true, AcqRel), "in an inbox twice");
    }

    fn wake(&self, to: usize) {
        if self.state.wake() == Wake::Push {
            self.push(to);
        }
    }

    fn enqueue(&self, rq: &mut Rq) {
        assert!(!rq.queued && !rq.current, "on a queue twice");
        self.touch();
        rq.queued = true;
    }

    fn drain(&self, here: usize) {
        let mut rq = self.rq[here].lock().unwrap();
        if !self.inbox[here].swap(false, AcqRel) {
            return;
        }
        let arrives = self.cpu.load(Relaxed) != here;
        if arrives {
            self.lock_move();
        }
        let away = self.elsewhere(here);
        if away.is_none() {
            self.cpu.store(here, Relaxed);
        }
        if arrives {
            self.unlock_move();
        }
        match away {
            Some(cpu) => self.push(cpu),
            None => self.enqueue(&mut rq),
        }
    }

    /// The poll on CPU 0 has returned `Pending`. `asks`: whether a task that was woken meanwhile may stay is asked.
    fn settle(&self, asks: bool) {
        let mut rq = self.rq[0].lock().unwrap();
        rq.current = false;
        self.touch();
        let asks = asks || self.state.is_notified();
        if self.state.after_pending() == AfterPending::Requeue {
            match self.elsewhere(0).filter(|_| asks) {
                Some(cpu) => self.push(cpu),
                None => self.enqueue(&mut rq),
            }
        }
    }

    fn with_entity<R>(&self, f: impl Fn(&mut MutexGuard<'_, Rq>, usize) -> R) -> R {
        loop {
            let cpu = self.cpu.load(Relaxed);
            let mut rq = self.rq[cpu].lock().unwrap();
            self.lock_move();
            let there = self.cpu.load(Relaxed) == cpu;
            let result = there.then(|| f(&mut rq, cpu));
            self.unlock_move();
            if let Some(result) = result {
                return result;
            }
        }
    }

    fn set_affinity(&self, mask: usize) {
        let to = self.with_entity(|rq, cpu| {
            self.affinity.store(mask, Relaxed);
            self.touch();
            let target = self.elsewhere(cpu);
            if target.is_some() && rq.current {
                self.due.store(true, Relaxed);
            }
            target.filter(|_| std::mem::take(&mut rq.queued))
        });
        if let Some(cpu) = to {
            self.push(cpu);
        }
    }

    /// The interrupt of CPU 0 that has woken the task ends: it gets the CPU at once if it may be there, which is asked in the lock.
    fn hand_over(&self, asks_in_lock: bool) {
        let before = self.elsewhere(0);
        let mut rq = self.rq[0].lock().unwrap();
        if (if asks_in_lock { self.elsewhere(0) } else { before }).is_some() {
            drop(rq);
            return self.drain(0);
        }
        assert!(self.inbox[0].swap(false, AcqRel), "it was in the inbox");
        self.touch();
        rq.current = true;
        self.state.start_poll();
    }

    /// CPU 0 looks whether what it polls may stay, if it was told to.
    fn choose_again(&self) {
        let mut rq = self.rq[0].lock().unwrap();
        if self.due.swap(false, Relaxed)
            && rq.current
            && let Some(cpu) = self.elsewhere(0)
        {
            rq.current = false;
            self.state.park();
            self.push(cpu);
        }
    }

    /// Everybody drains until nothing travels; the CPU on whose queue the task is then.
    fn rest(&self) -> Option<usize> {
        for _ in 0..3 {
            self.drain(0);
            self.drain(1);
        }
        (0..2).find(|&cpu| self.rq[cpu].lock().unwrap().queued)
    }
}

fn woken_while_its_poll_ends(asks: bool) {
    model(3, move || {
        let w = World::new(true);
        let (w1, w2) = (w.clone(), w.clone());
        let waker = thread::spawn(move || w1.wake(0));
        let moved = thread::spawn(move || w2.set_affinity(0b10));
        w.settle(asks);
        waker.join().unwrap();
        moved.join().unwrap();
        assert_eq!(w.rest(), Some(1), "it is not where it may run");
    });
}

#[test]
fn a_task_that_is_woken_as_its_poll_ends_leaves_a_cpu_that_it_may_not_use() {
    woken_while_its_poll_ends(true);
}

#[test]
#[should_panic(expected = "not where it may run")]
fn mutant_that_requeues_without_asking_leaves_it_there() {
    woken_while_its_poll_ends(false);
}

#[test]
fn a_task_that_arrives_while_its_affinity_changes_ends_where_it_may_run() {
    for mask in [0b01, 0b10] {
        model(3, move || {
            let w = World::new(false);
            let (w1, w2) = (w.clone(), w.clone());
            let other = thread::spawn(move || {
                w1.wake(1);
                w1.drain(1);
            });
            let moved = thread::spawn(move || w2.set_affinity(mask));
            w.drain(0);
            other.join().unwrap();
            moved.join().unwrap();
            assert_eq!(w.rest(), Some(mask - 1), "it is not where it may run");
        });
    }
}

fn handed_the_cpu_that_it_loses(asks_in_lock: bool) {
    model(3, move || {
        let w = World::new(false);
        let w1 = w.clone();
        let moved = thread::spawn(move || w1.set_affinity(0b10));
        w.wake(0);
        w.hand_over(asks_in_lock);
        moved.join().unwrap();
        w.choose_again();
        assert_eq!(w.rest(), Some(1), "it is not where it may run");
    });
}

#[test]
fn a_task_that_is_handed_a_cpu_which_it_loses_leaves_it() {
    handed_the_cpu_that_it_loses(true);
}

#[test]
#[should_panic(expected = "not where it may run")]
fn mutant_that_asks_before_the_lock_leaves_it_there() {
    handed_the_cpu_that_it_loses(false);
}
