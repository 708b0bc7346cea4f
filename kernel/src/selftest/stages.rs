//! Where the instructions go between the timer's interrupt and EL0: the four stamps of `vigil_executor::stamps`.
//!
//! Meant for `-icount shift=0`: the counts are instructions. Each stage prints one line, which a checking program reads:
//!
//! ```text
//!   stage NAME p50 N max N limit N samples N
//! ```
//!
//! | NAME | from | to | printed by |
//! |---|---|---|---|
//! | `vector_to_waker_idle`, `_parking` | first instruction of the vector | the sleeping task's waker is called | `stages` |
//! | `waker_to_poll_idle`, `_parking` | that | its future is polled | `stages` |
//! | `vector_to_waker_user`, `waker_to_poll_user` | the same for a real-time thread beside which process 1 runs | | `stages-user` |
//! | `poll_to_el0` | the thread's future is polled | its first instruction in EL0 | `stages-user` |
//!
//! *idle*: the CPU waits for an interrupt; *parking*: a fair poll is interrupted and parked. `stages-user` needs a program
//! as process 1, or started by it, that sleeps in `nanosleep` at SCHED_FIFO (`vigil-stress cyclic`); it prints when it has
//! its samples, and the program decides when the machine ends. The stamps cost about ten instructions themselves.

use super::latency::{pause, start_on_boot_cpu, start_spinner, stop_spinner};
use super::report;
use crate::pr_info;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*};
use vigil_executor::class::{Params, Policy};
use vigil_executor::executor;
use vigil_executor::stamps::{self, Way};
use vigil_executor::task;
use vigil_executor::time::{self, MSEC, USEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// Instructions from the vector to the waker, from the waker to the poll, and from the poll to EL0.
const WAKER_LIMIT: u32 = 150;
const POLL_LIMIT: u32 = 300;
const EL0_LIMIT: u32 = 250;
/// The first ones translate code and let lists settle.
const WARM_UP: usize = 8;
/// The most samples of a stage that are kept.
const MOST: usize = 4096;

/// The samples of one stage.
pub(super) struct Stage {
    count: AtomicUsize,
    values: [AtomicU32; MOST],
}

impl Stage {
    pub(super) const fn new() -> Self {
        Stage { count: AtomicUsize::new(0), values: [const { AtomicU32::new(0) }; MOST] }
    }

    pub(super) fn clear(&self) {
        self.count.store(0, Relaxed);
    }

    pub(super) fn add(&self, n: u64) {
        if let Some(slot) = self.values.get(self.count.load(Relaxed)) {
            slot.store(u32::try_from(n).unwrap_or(u32::MAX), Relaxed);
            self.count.fetch_add(1, Release);
        }
    }

    /// Prints the line of this stage; whether its median is within `limit`.
    pub(super) fn print(&self, name: &str, situation: &str, limit: u32) -> bool {
        let n = self.count.load(Acquire);
        let values = self.values.get(WARM_UP..n).unwrap_or(&[]);
        // The median by counting: a sample with at most half of them below it and at most half above.
        let is_median = |v: &u32| {
            let below = values.iter().filter(|x| x.load(Relaxed) < *v).count();
            let above = values.iter().filter(|x| x.load(Relaxed) > *v).count();
            below <= values.len() / 2 && above <= values.len() / 2
        };
        let median = values.iter().map(|x| x.load(Relaxed)).find(is_median).unwrap_or(u32::MAX);
        let max = values.iter().map(|x| x.load(Relaxed)).max().unwrap_or(u32::MAX);
        pr_info!("stage {name}{situation} p50 {median} max {max} limit {limit} samples {}", values.len());
        !values.is_empty() && median <= limit
    }
}

static TO_WAKER: Stage = Stage::new();
static TO_POLL: Stage = Stage::new();
static TO_EL0: Stage = Stage::new();

fn add(way: &Way) {
    TO_WAKER.add(way.wake.wrapping_sub(way.vector));
    TO_POLL.add(way.poll.wrapping_sub(way.wake));
}

async fn sampler(wakes: usize) {
    stamps::start();
    for i in 0..wakes as u64 {
        let at = time::now() + 300 * USEC + i * 977 % (100 * USEC);
        let _ = sleep_until(wait_site!("selftest"), at, 0, WaitMode::Uninterruptible).await;
        if let Some(way) = task::current().and_then(|t| t.stamps().read()) {
            add(&way);
        }
    }
    SAMPLED.store(true, Release);
}

static SAMPLED: AtomicBool = AtomicBool::new(false);

async fn sample(situation: &str, wakes: usize) -> bool {
    SAMPLED.store(false, Relaxed);
    TO_WAKER.clear();
    TO_POLL.clear();
    let started = start_on_boot_cpu(sampler(wakes + WARM_UP), Params::fifo(95));
    let deadline = time::now() + (wakes as u64 + 1000) * 4 * MSEC;
    while !SAMPLED.load(Acquire) && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    let waker = TO_WAKER.print("vector_to_waker", situation, WAKER_LIMIT);
    let poll = TO_POLL.print("waker_to_poll", situation, POLL_LIMIT);
    started && waker && poll
}

/// The stages of a kernel task, with an idle CPU and with a fair poll that is parked.
pub async fn kernel(wakes: u64) -> bool {
    let wakes = (wakes as usize).min(MOST - WARM_UP);
    let idle = sample("_idle", wakes).await;
    let started = start_spinner();
    let parking = sample("_parking", wakes).await;
    stop_spinner().await;
    report("stages", idle && started && parking, format_args!("{wakes} wakes each"))
}

/// How many samples of user threads are still wanted.
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// A thread has come back from EL0.
pub fn left_user() {
    if WANTED.load(Relaxed) == 0 {
        return;
    }
    let Some(task) = task::current() else { return };
    let Some(way) = task.stamps().read() else { return };
    let el0 = stamps::last_user_entry();
    if !matches!(executor::params(&task).policy, Policy::Fifo) || el0 <= way.poll {
        return;
    }
    add(&way);
    TO_EL0.add(el0.wrapping_sub(way.poll));
    WANTED.fetch_sub(1, Relaxed);
}

async fn watch_boot_cpu() {
    stamps::start();
    SAMPLED.store(true, Release);
}

/// The stages of a real-time thread of user space.
pub async fn user(wakes: u64) -> bool {
    let wakes = (wakes as usize).min(MOST - WARM_UP);
    SAMPLED.store(false, Relaxed);
    let mut ok = start_on_boot_cpu(watch_boot_cpu(), Params::fifo(95));
    while ok && !SAMPLED.load(Acquire) {
        pause(MSEC).await;
    }
    WANTED.store(wakes + WARM_UP, Relaxed);
    let deadline = time::now() + (wakes as u64 + 1000) * 10 * MSEC;
    while WANTED.load(Acquire) != 0 && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    WANTED.store(0, Relaxed);
    ok &= TO_WAKER.print("vector_to_waker", "_user", WAKER_LIMIT);
    ok &= TO_POLL.print("waker_to_poll", "_user", POLL_LIMIT);
    ok &= TO_EL0.print("poll_to_el0", "", EL0_LIMIT);
    report("stages-user", ok, format_args!("{wakes} wakes"))
}
