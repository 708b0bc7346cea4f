//! How long a real-time task waits for the CPU, and where the instructions of that way go.
//!
//! Meant for `-icount shift=0`: one instruction is one nanosecond of guest time, and the comparator's interrupt comes at
//! the very instruction that it was programmed for. Stamps are PMCCNTR_EL0, which counts by 1 there; the counter behind
//! the comparator counts by 16.

use super::report;
use core::arch::asm;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::task::{Hooks, Spawned};
use vigil_executor::time::{self, MSEC, Nanos, USEC};
use vigil_executor::timer::{SleepUntil, sleep_until};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// The longest that a FIFO 90 task may wait for a poll that spins.
const SPIN_LIMIT: Nanos = 10 * USEC;
/// Instructions from the interrupt to the waker, and from the waker to the poll.
const WAKER_LIMIT: u64 = 150;
const POLL_LIMIT: u64 = 300;

static STOP: AtomicBool = AtomicBool::new(false);
static GONE: AtomicBool = AtomicBool::new(false);

/// A fair task that holds the CPU without an await for 5 ms at a time.
async fn spinner() {
    while !STOP.load(Relaxed) {
        let end = time::now() + 5 * MSEC;
        while time::now() < end {}
        yield_now(YieldKind::Preempted).await;
    }
    GONE.store(true, Release);
}

fn start_on_boot_cpu(future: impl Future<Output = ()> + Send + 'static, params: Params) -> bool {
    let Ok(task) = Spawned::new(future, params, b"selftest", const { &Hooks::NONE }, core::ptr::null()) else {
        return false;
    };
    task.task().set_affinity(CpuMask::of(CpuId::BOOT));
    drop(task.start());
    true
}

async fn pause(time: Nanos) {
    let _ = sleep_until(wait_site!("selftest"), time::now() + time, 0, WaitMode::Uninterruptible).await;
}

async fn stop_spinner() {
    STOP.store(true, Relaxed);
    while !GONE.load(Acquire) {
        pause(MSEC).await;
    }
}

static WORST: AtomicU64 = AtomicU64::new(0);
static TOTAL: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

async fn urgent(wakes: u64) {
    for i in 0..wakes {
        let at = time::now() + MSEC + i * 977 % MSEC;
        let _ = sleep_until(wait_site!("selftest"), at, 0, WaitMode::Uninterruptible).await;
        let late = time::now() - at;
        WORST.fetch_max(late, Relaxed);
        TOTAL.fetch_add(late, Relaxed);
        DONE.fetch_add(1, Release);
    }
}

/// A FIFO 90 task that is woken `wakes` times by a timer while a fair poll spins.
pub async fn spin(wakes: u64) -> bool {
    STOP.store(false, Relaxed);
    GONE.store(false, Relaxed);
    let mut ok = start_on_boot_cpu(spinner(), Params::DEFAULT) && start_on_boot_cpu(urgent(wakes), Params::fifo(90));
    let deadline = time::now() + (wakes + 1000) * 4 * MSEC;
    while DONE.load(Acquire) < wakes && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    stop_spinner().await;
    let (worst, done) = (WORST.load(Relaxed), DONE.load(Relaxed));
    ok &= done == wakes && worst <= SPIN_LIMIT;
    let average = TOTAL.load(Relaxed).checked_div(done).unwrap_or(0);
    report("spin", ok, format_args!("FIFO 90 behind a poll that spins 5 ms: wakes {done}, average {average} ns, worst {worst} ns (at most {SPIN_LIMIT})"))
}

/// Starts the cycle counter of this CPU.
fn start_cycles() {
    // SAFETY: PMCR_EL0.E with the counter reset, and the cycle counter enabled; the kernel uses the PMU for nothing else.
    unsafe { asm!("msr pmcr_el0, {}", "msr pmccfiltr_el0, xzr", "msr pmcntenset_el0, {}", "isb", in(reg) 0b101u64, in(reg) 1u64 << 31) };
}

#[inline(always)]
fn cycles() -> u64 {
    let c: u64;
    // SAFETY: a read of the cycle counter.
    unsafe { asm!("mrs {}, pmccntr_el0", out(reg) c, options(nostack, preserves_flags)) };
    c
}

/// The cycle counter at the moment when CLOCK_MONOTONIC was 0 (modulo 2^64), to a few instructions.
fn cycles_at_zero() -> u64 {
    // The moment at which the coarse counter goes on is known exactly.
    vigil_executor::arch::without_irqs(|| {
        let mut best = 0;
        let mut offset = 0;
        for _ in 0..64 {
            let (a, n, b) = (cycles(), time::now(), cycles());
            // The largest difference of now against the cycles is where the counter had just gone on.
            let lead = n.wrapping_sub(a).wrapping_add(1 << 40);
            if lead > best && b.wrapping_sub(a) < 100 {
                (best, offset) = (lead, a.wrapping_sub(n));
            }
        }
        offset
    })
}

/// The waker of the task that samples: one at a time, each with a slot of its own.
static REAL: [spin::Once<Waker>; 2] = [const { spin::Once::new() }; 2];
static PHASE: AtomicUsize = AtomicUsize::new(0);
static WOKEN_AT: AtomicU64 = AtomicU64::new(0);

static STAMPING: RawWakerVTable = RawWakerVTable::new(
    |_| RawWaker::new(core::ptr::null(), &STAMPING),
    |_| stamp_and_wake(),
    |_| stamp_and_wake(),
    |_| {},
);

fn stamp_and_wake() {
    WOKEN_AT.store(cycles(), Relaxed);
    if let Some(waker) = REAL[PHASE.load(Relaxed) & 1].get() {
        waker.wake_by_ref();
    }
}

/// Polls `sleep` with a waker that notes when it is called; answers when the poll that found it expired had begun.
fn poll_stamped(sleep: Pin<&mut SleepUntil>, cx: &mut Context<'_>) -> Poll<u64> {
    let begun = cycles();
    REAL[PHASE.load(Relaxed) & 1].call_once(|| cx.waker().clone());
    // SAFETY: the table's functions use no data, and count nothing.
    let waker = unsafe { Waker::from_raw(RawWaker::new(core::ptr::null(), &STAMPING)) };
    sleep.poll(&mut Context::from_waker(&waker)).map(|_| begun)
}

#[derive(Clone, Copy)]
struct Stage {
    total: u64,
    worst: u64,
    least: u64,
}

impl Stage {
    const NEW: Stage = Stage { total: 0, worst: 0, least: u64::MAX };

    fn add(&mut self, n: u64) {
        self.total += n;
        self.worst = self.worst.max(n);
        self.least = self.least.min(n);
    }
}

static RESULT: spin::Once<(Stage, Stage, u64)> = spin::Once::new();
static RESULT_BUSY: spin::Once<(Stage, Stage, u64)> = spin::Once::new();

async fn sampler(wakes: u64, result: &'static spin::Once<(Stage, Stage, u64)>) {
    start_cycles();
    let zero = cycles_at_zero();
    let (mut to_waker, mut to_poll) = (Stage::NEW, Stage::NEW);
    for i in 0..wakes {
        // A multiple of 16 ns: the comparator cannot fire between.
        let at = (time::now() + 300 * USEC + i * 977 % (100 * USEC)) & !15;
        let begun = {
            let mut sleep = pin!(sleep_until(wait_site!("selftest"), at, 0, WaitMode::Uninterruptible));
            poll_fn(|cx| poll_stamped(sleep.as_mut(), cx)).await
        };
        let woken = WOKEN_AT.load(Relaxed);
        // The first ones translate code and fill caches of nothing that counts here, but lists settle.
        if i >= 4 {
            to_waker.add(woken.wrapping_sub(zero.wrapping_add(at)));
            to_poll.add(begun.wrapping_sub(woken));
        }
    }
    result.call_once(|| (to_waker, to_poll, wakes.saturating_sub(4).max(1)));
}

async fn sample(what: &str, wakes: u64, result: &'static spin::Once<(Stage, Stage, u64)>) -> bool {
    let mut ok = start_on_boot_cpu(sampler(wakes, result), Params::fifo(95));
    let deadline = time::now() + (wakes + 1000) * 4 * MSEC;
    while result.get().is_none() && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    let Some((waker, poll, n)) = result.get() else { return report("stages", false, format_args!("{what}: no samples")) };
    ok &= waker.total / n <= WAKER_LIMIT && poll.total / n <= POLL_LIMIT;
    report(
        "stages",
        ok,
        format_args!(
            "{what}: comparator to waker {} (least {}, worst {}; at most {WAKER_LIMIT}), waker to poll {} (least {}, worst {}; at most {POLL_LIMIT})",
            waker.total / n, waker.least, waker.worst, poll.total / n, poll.least, poll.worst
        ),
    )
}

/// The stages with an idle CPU and with a fair poll that is parked, or, with `user`, beside whatever process 1 does.
pub async fn stages(wakes: u64, user: bool) -> bool {
    if user {
        pause(500 * MSEC).await;
        return sample("beside user space", wakes, &RESULT).await;
    }
    let idle = sample("CPU idle", wakes, &RESULT).await;
    STOP.store(false, Relaxed);
    GONE.store(false, Relaxed);
    PHASE.store(1, Relaxed);
    let started = start_on_boot_cpu(spinner(), Params::DEFAULT);
    let parking = sample("parking a poll", wakes, &RESULT_BUSY).await;
    stop_spinner().await;
    idle && started && parking
}
