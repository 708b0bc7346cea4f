//! Loom: a task that waits is taken from one CPU to another: pushed by the crowded one and pulled by the one that idles, while it is
//! woken, polled, forbidden a CPU, or ends. `spread`, `pull` and their neighbours over the real state word ([`World`]).
#![cfg(loom)]

mod common;

use common::model;
use common::world::World;
use loom::thread;

/// Queued on CPU 0, which has looked whether anybody idles; CPU 1 runs something.
fn waiting() -> loom::sync::Arc<World> {
    let w = World::new(false);
    w.wake(0);
    w.drain(0);
    w
}

fn nobody_idles_beside_a_waiter(fenced: bool) {
    model(3, move || {
        let w = waiting();
        let w1 = w.clone();
        let idle = thread::spawn(move || w1.pull(fenced));
        w.spread(fenced);
        idle.join().unwrap();
        assert!(!w.is_unjust(), "it waits beside a CPU that idles");
        assert!(!w.is_nowhere(), "it is lost");
    });
}

#[test]
fn a_waiter_and_a_cpu_that_begins_to_idle_find_each_other() {
    nobody_idles_beside_a_waiter(true);
}

#[test]
#[should_panic(expected = "waits beside a CPU that idles")]
fn mutant_without_the_fences_lets_it_wait() {
    nobody_idles_beside_a_waiter(false);
}

#[test]
fn a_wake_is_not_lost_while_the_task_is_moved() {
    model(3, || {
        let w = waiting();
        let (w1, w2) = (w.clone(), w.clone());
        let idle = thread::spawn(move || {
            if w1.pull(true) {
                w1.drain(1);
                w1.run(1, false);
            }
        });
        let waker = thread::spawn(move || w2.happen(0));
        w.spread(true);
        w.run(0, false);
        idle.join().unwrap();
        waker.join().unwrap();
        if let Some(cpu) = w.rest() {
            w.run(cpu, false);
        }
        assert!(w.has_seen(), "nobody has polled it since");
    });
}

#[test]
fn a_task_that_is_moved_while_its_affinity_changes_ends_where_it_may_run() {
    for mask in [0b01, 0b10] {
        model(3, move || {
            let w = waiting();
            let (w1, w2) = (w.clone(), w.clone());
            let idle = thread::spawn(move || {
                if w1.pull(true) {
                    w1.drain(1);
                }
            });
            let moved = thread::spawn(move || w2.set_affinity(mask));
            w.spread(true);
            idle.join().unwrap();
            moved.join().unwrap();
            assert_eq!(w.rest(), Some(mask - 1), "it is not where it may run");
        });
    }
}

#[test]
fn a_task_that_ends_where_it_was_taken_to_is_nowhere() {
    model(3, || {
        let w = waiting();
        let (w1, w2) = (w.clone(), w.clone());
        let idle = thread::spawn(move || {
            if w1.pull(true) {
                w1.drain(1);
                w1.run(1, true);
            }
        });
        let waker = thread::spawn(move || w2.wake(0));
        w.run(0, true);
        idle.join().unwrap();
        waker.join().unwrap();
        if let Some(cpu) = w.rest() {
            w.run(cpu, true);
        }
        assert!(w.state.is_dead() && w.is_nowhere());
    });
}
