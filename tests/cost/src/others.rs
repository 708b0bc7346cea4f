//! The executors that Vigil's is compared with, each used as its documentation shows, in the cheapest way that it gives.

use crate::{Empty, Rounds, polls};
use async_executor::LocalExecutor;
use embassy_executor::raw::TaskStorage;
use futures_lite::future;

/// The current-thread runtime without drivers. The main future wakes, and yields until the round is over.
pub fn tokio(tasks: u64, rounds: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..tasks {
            // Without its handle a task goes on by itself.
            drop(tokio::spawn(Empty::default()));
        }
        while polls() < tasks {
            tokio::task::yield_now().await;
        }
        let mut rounds = Rounds::begin(rounds);
        while rounds.next() {
            while !rounds.is_over() {
                tokio::task::yield_now().await;
            }
        }
    });
}

/// A local executor, ticked by hand: cheaper than its `run`.
pub fn async_executor(tasks: u64, rounds: u64) {
    let executor = LocalExecutor::new();
    for _ in 0..tasks {
        executor.spawn(Empty::default()).detach();
    }
    while executor.try_tick() {}
    let mut rounds = Rounds::begin(rounds);
    while rounds.next() {
        while executor.try_tick() {}
    }
}

/// A local executor that runs beside a main future, which wakes.
pub fn async_executor_run(tasks: u64, rounds: u64) {
    let executor = LocalExecutor::new();
    for _ in 0..tasks {
        executor.spawn(Empty::default()).detach();
    }
    future::block_on(executor.run(async {
        while polls() < tasks {
            future::yield_now().await;
        }
        let mut rounds = Rounds::begin(rounds);
        while rounds.next() {
            while !rounds.is_over() {
                future::yield_now().await;
            }
        }
    }));
}

/// The executor of its `std` platform. It asks `done` whenever it has polled all that was woken: that wakes.
pub fn embassy(tasks: u64, total: u64) {
    let executor = Box::leak(Box::new(embassy_executor::Executor::new()));
    let mut rounds = None;
    let init = |spawner: embassy_executor::Spawner| {
        for _ in 0..tasks {
            let storage: &'static TaskStorage<Empty> = Box::leak(Box::new(TaskStorage::new()));
            spawner.spawn(storage.spawn(Empty::default).expect("a fresh task"));
        }
    };
    executor.run_until(init, || !rounds.get_or_insert_with(|| Rounds::begin(total)).next());
}
