//! Instructions of wake, pick and poll: `cost EXECUTOR TASKS ROUNDS`.
//!
//! In each round every task is woken once, by its waker and from outside of any task, as an interrupt would; then each is
//! polled once, by an empty future. `cargo xtask accept sched-cost` runs it under callgrind with R and with 2 R rounds; the
//! difference, divided by R and by the number of tasks, is the price of one wake, pick and poll: making the tasks cancels.

mod floor;
mod others;
mod vigil;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

thread_local! {
    /// The wakers of the tasks, as they came to their first poll.
    static WAKERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    /// Polls so far, the first ones included.
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

/// The empty future: it leaves its waker at its first poll, and never ends.
#[derive(Default)]
struct Empty {
    known: bool,
}

impl Future for Empty {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        POLLS.set(POLLS.get() + 1);
        if !self.known {
            self.known = true;
            WAKERS.with_borrow_mut(|w| w.push(cx.waker().clone()));
        }
        Poll::Pending
    }
}

/// Polls since the round began.
fn polls() -> u64 {
    POLLS.get()
}

/// The rounds of one run.
struct Rounds {
    wakers: Vec<Waker>,
    tasks: u64,
    total: u64,
    left: u64,
}

impl Rounds {
    /// After the first polls.
    fn begin(rounds: u64) -> Rounds {
        let wakers = WAKERS.take();
        let tasks = wakers.len() as u64;
        assert_eq!(POLLS.replace(0), tasks, "each is polled once at the start");
        Rounds { wakers, tasks, total: rounds, left: rounds }
    }

    /// Whether everybody who was woken has been polled.
    fn is_over(&self) -> bool {
        polls() == self.tasks
    }

    /// Ends the round, and begins the next: wakes everybody. `false` when that was the last.
    fn next(&mut self) -> bool {
        assert!(self.left == self.total || self.is_over(), "everybody who was woken has been polled once");
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        POLLS.set(0);
        self.wakers.iter().for_each(Waker::wake_by_ref);
        true
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).and_then(|a| a.parse::<u64>().ok());
    let (Some(name), Some(tasks), Some(rounds)) = (args.get(1), number(2), number(3)) else {
        eprintln!("usage: cost EXECUTOR TASKS ROUNDS");
        std::process::exit(2);
    };
    match name.as_str() {
        "vigil" => vigil::run(tasks, rounds, vigil_executor::class::Params::DEFAULT),
        "vigil-fifo" => vigil::run(tasks, rounds, vigil_executor::class::Params::fifo(50)),
        "tokio" => others::tokio(tasks, rounds),
        "async-executor" => others::async_executor(tasks, rounds),
        "async-executor-run" => others::async_executor_run(tasks, rounds),
        "floor" => floor::run(tasks, rounds),
        "embassy" => others::embassy(tasks, rounds),
        _ => {
            eprintln!("cost: no executor {name}");
            std::process::exit(2);
        }
    }
}
