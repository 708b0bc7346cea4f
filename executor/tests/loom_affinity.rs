//! Loom: where a task is while its affinity changes: `settle`, `drain`, `arrives`, `with_entity` and `set_affinity` of
//! `executor/src/executor` and `hand_over` of `preempt`, in their steps and orders, over the real state word ([`World`]).
#![cfg(loom)]

mod common;

use common::model;
use common::world::World;
use loom::thread;

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
