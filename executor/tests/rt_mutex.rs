//! Priority inheritance on tasks that are made but not run: what each would run with.
#![cfg(not(loom))]

use core::pin::pin;
use vigil_executor::class::{DlParams, Params, Policy};
use vigil_executor::executor::{Refused, deadline, effective_params, params, set_deadline, set_params};
use vigil_executor::sync::rt_mutex::{Deadlock, RtMutex, RtWaiter, prepare};
use vigil_executor::task::{Spawned, TaskRef};
use vigil_executor::time::MSEC;

fn task(params: Params) -> Spawned {
    let task = Spawned::new(async {}, params, b"t", None, core::ptr::null()).unwrap();
    prepare(task.task()).unwrap();
    task
}

fn of(task: &Spawned) -> TaskRef {
    TaskRef::from_task(task.task())
}

/// Policy and real-time priority that it runs with.
fn runs(task: &Spawned) -> (Policy, u8) {
    let p = effective_params(task.task());
    (p.policy, p.rt_priority)
}

#[test]
fn an_owner_runs_as_its_most_urgent_waiter_until_it_hands_over() {
    let (owner, low, high) = (task(Params::normal(5)), task(Params::fifo(10)), task(Params::fifo(90)));
    let mutex = pin!(RtMutex::new());
    let (a, b) = (pin!(RtWaiter::new()), pin!(RtWaiter::new()));
    let (mutex, a, b) = (mutex.as_ref(), a.as_ref(), b.as_ref());
    mutex.own(of(&owner));
    mutex.enqueue(a, of(&low)).unwrap();
    assert_eq!(runs(&owner), (Policy::Fifo, 10));
    mutex.enqueue(b, of(&high)).unwrap();
    assert_eq!(runs(&owner), (Policy::Fifo, 90));
    assert_eq!(params(owner.task()), Params::normal(5), "what it was given is not what it is lent");
    let next = mutex.hand_over().unwrap();
    assert!(core::ptr::eq(next.as_ptr(), b.get_ref()));
    assert_eq!(runs(&owner), (Policy::Normal, 0));
    assert_eq!(runs(&high), (Policy::Fifo, 90));
    assert!(mutex.is_owned_by(high.task()) && !b.leave());
    assert!(core::ptr::eq(mutex.hand_over().unwrap().as_ptr(), a.get_ref()));
    assert!(mutex.hand_over().is_none() && !mutex.is_owned_by(low.task()));
}

#[test]
fn a_donation_travels_along_a_chain_and_back() {
    let tasks = [task(Params::DEFAULT), task(Params::round_robin(1)), task(Params::DEFAULT), task(Params::fifo(50))];
    let mutexes = [pin!(RtMutex::new()), pin!(RtMutex::new()), pin!(RtMutex::new())];
    let waiters = [pin!(RtWaiter::new()), pin!(RtWaiter::new()), pin!(RtWaiter::new())];
    let mutexes = mutexes.each_ref().map(|m| m.as_ref());
    let waiters = waiters.each_ref().map(|w| w.as_ref());
    for i in 0..3 {
        mutexes[i].own(of(&tasks[i]));
    }
    // 1 waits for 0, 2 for 1; then the urgent one for 2.
    for i in 0..3 {
        mutexes[i].enqueue(waiters[i], of(&tasks[i + 1])).unwrap();
    }
    assert_eq!(runs(&tasks[0]), (Policy::Fifo, 50));
    assert_eq!(runs(&tasks[1]), (Policy::RoundRobin, 50), "its policy stays");
    assert_eq!(runs(&tasks[2]), (Policy::Fifo, 50));
    // The urgent one becomes more urgent, then gives up.
    set_params(tasks[3].task(), Params::fifo(70));
    assert_eq!(runs(&tasks[0]), (Policy::Fifo, 70));
    assert!(waiters[2].leave());
    assert_eq!(runs(&tasks[2]), (Policy::Normal, 0));
    assert_eq!(runs(&tasks[0]), (Policy::Fifo, 1), "round robin 1 still waits");
    for m in mutexes {
        while m.hand_over().is_some() {}
    }
}

#[test]
fn parameters_set_while_boosted_count_when_the_boost_ends() {
    let (owner, high) = (task(Params::DEFAULT), task(Params::fifo(40)));
    let (mutex, w) = (pin!(RtMutex::new()), pin!(RtWaiter::new()));
    let (mutex, w) = (mutex.as_ref(), w.as_ref());
    mutex.own(of(&owner));
    mutex.enqueue(w, of(&high)).unwrap();
    set_params(owner.task(), Params::fifo(20));
    assert_eq!((runs(&owner), params(owner.task())), ((Policy::Fifo, 40), Params::fifo(20)));
    set_params(owner.task(), Params::fifo(60));
    assert_eq!(runs(&owner), (Policy::Fifo, 60), "more than what it is lent");
    set_params(owner.task(), Params::normal(3));
    assert_eq!(runs(&owner), (Policy::Fifo, 40));
    mutex.hand_over();
    assert_eq!(effective_params(owner.task()), Params::normal(3));
    mutex.hand_over();
}

#[test]
fn equals_are_served_in_order_and_the_more_urgent_first() {
    let owner = task(Params::DEFAULT);
    let waiting = [(0, Params::DEFAULT), (1, Params::fifo(5)), (2, Params::normal(-20)), (3, Params::fifo(5)), (4, Params::fifo(6))];
    let mutex = pin!(RtMutex::new());
    let mutex = mutex.as_ref();
    mutex.own(of(&owner));
    let waiters = [const { RtWaiter::new() }; 5];
    let waiters = pin!(waiters);
    let waiters = waiters.as_ref();
    // SAFETY: elements of a pinned array are pinned.
    let at = |i: usize| unsafe { waiters.map_unchecked(|w| &w[i]) };
    let tasks: Vec<Spawned> = waiting.iter().map(|(_, p)| task(*p)).collect();
    for (i, task) in tasks.iter().enumerate() {
        mutex.enqueue(at(i), of(task)).unwrap();
    }
    let mut order = Vec::new();
    while let Some(next) = mutex.hand_over() {
        order.push((0..5).find(|i| core::ptr::eq(next.as_ptr(), at(*i).get_ref())).unwrap());
    }
    assert_eq!(order, [4, 1, 3, 0, 2], "fair tasks are equals, whatever their nice value");
}

#[test]
fn who_would_wait_for_himself_is_told() {
    let (a, b) = (task(Params::DEFAULT), task(Params::DEFAULT));
    let (m, n) = (pin!(RtMutex::new()), pin!(RtMutex::new()));
    let (w, v) = (pin!(RtWaiter::new()), pin!(RtWaiter::new()));
    let (m, n, w, v) = (m.as_ref(), n.as_ref(), w.as_ref(), v.as_ref());
    m.own(of(&a));
    n.own(of(&b));
    assert_eq!(m.enqueue(v, of(&a)), Err(Deadlock));
    m.enqueue(w, of(&b)).unwrap();
    assert_eq!(n.enqueue(v, of(&a)), Err(Deadlock), "a owns what b waits for");
    assert!(w.leave());
    assert_eq!(n.enqueue(v, of(&a)), Ok(()));
    assert!(v.leave());
}

/// `runtime` ms of each 100.
fn reservation(runtime: u64) -> DlParams {
    DlParams { runtime: runtime * MSEC, deadline: 100 * MSEC, period: 100 * MSEC, ..DlParams::NONE }
}

#[test]
fn an_owner_runs_by_the_reservation_of_who_waits() {
    let (owner, fifo, dl) = (task(Params::round_robin(7)), task(Params::fifo(99)), task(Params::DEFAULT));
    set_deadline(dl.task(), 3, reservation(10)).unwrap();
    assert_eq!((params(dl.task()).policy, params(dl.task()).nice), (Policy::Deadline, 3));
    let mutex = pin!(RtMutex::new());
    let (a, b) = (pin!(RtWaiter::new()), pin!(RtWaiter::new()));
    let (mutex, a, b) = (mutex.as_ref(), a.as_ref(), b.as_ref());
    mutex.own(of(&owner));
    mutex.enqueue(a, of(&fifo)).unwrap();
    mutex.enqueue(b, of(&dl)).unwrap();
    assert_eq!(runs(&owner), (Policy::Deadline, 0));
    assert_eq!(deadline(owner.task()), None, "what it is lent was not promised to it");
    assert_eq!(params(owner.task()), Params::round_robin(7));
    // The deadline task is before FIFO 99, and then FIFO 99 is left.
    assert!(core::ptr::eq(mutex.hand_over().unwrap().as_ptr(), b.get_ref()));
    assert_eq!(runs(&owner), (Policy::RoundRobin, 7));
    assert_eq!(runs(&dl), (Policy::Deadline, 0));
    assert!(core::ptr::eq(mutex.hand_over().unwrap().as_ptr(), a.get_ref()));
    assert!(mutex.hand_over().is_none());
    set_params(dl.task(), Params::normal(1));
    assert_eq!((runs(&dl), deadline(dl.task())), ((Policy::Normal, 0), None));
}

#[test]
fn a_kernel_future_can_hold_a_reservation() {
    let (future, greedy) = (task(Params::DEFAULT), task(Params::DEFAULT));
    set_deadline(future.task(), 0, reservation(20)).unwrap();
    assert_eq!((runs(&future), deadline(future.task())), ((Policy::Deadline, 0), Some(reservation(20))));
    assert_eq!(set_deadline(greedy.task(), 0, reservation(80)), Err(Refused::Busy));
    assert_eq!(runs(&greedy), (Policy::Normal, 0));
    set_deadline(future.task(), 0, reservation(30)).unwrap();
    assert_eq!(deadline(future.task()), Some(reservation(30)));
}

#[test]
fn a_chain_is_not_walked_for_ever() {
    const MOST: usize = 20;
    let n = MOST + 2;
    let tasks: Vec<Spawned> = (0..n).map(|_| task(Params::DEFAULT)).collect();
    let mutexes: Vec<_> = (0..n).map(|_| Box::pin(RtMutex::new())).collect();
    let waiters: Vec<_> = (0..n).map(|_| Box::pin(RtWaiter::new())).collect();
    (0..n).for_each(|i| mutexes[i].as_ref().own(of(&tasks[i])));
    // 0 waits for 1, and so on: each sees one owner that waits for nobody.
    for i in 0..n - 1 {
        mutexes[i + 1].as_ref().enqueue_within(waiters[i].as_ref(), of(&tasks[i]), MOST as i32).unwrap();
    }
    let (late, last) = (task(Params::fifo(9)), Box::pin(RtWaiter::new()));
    assert_eq!(mutexes[0].as_ref().enqueue_within(last.as_ref(), of(&late), MOST as i32), Err(Deadlock));
    assert_eq!(runs(&tasks[0]), (Policy::Normal, 0));
    mutexes[2].as_ref().enqueue_within(last.as_ref(), of(&late), MOST as i32).unwrap();
    assert_eq!(runs(&tasks[n - 1]), (Policy::Fifo, 9));
    for m in mutexes {
        while m.as_ref().hand_over().is_some() {}
    }
}
