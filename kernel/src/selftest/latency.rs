//! How long a real-time task waits for the CPU behind a poll that spins.
//!
//! Meant for `-icount shift=0`: one instruction is one nanosecond of guest time, and the comparator's interrupt comes at
//! the very instruction that it was programmed for.

use super::report;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::task::Spawned;
use vigil_executor::time::{self, MSEC, Nanos, USEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// The longest that a FIFO 90 task may wait for a poll that spins.
const SPIN_LIMIT: Nanos = 10 * USEC;

static STOP: AtomicBool = AtomicBool::new(false);
static GONE: AtomicBool = AtomicBool::new(false);

/// A fair task that holds the CPU without an await for 5 ms at a time.
async fn spinning() {
    while !STOP.load(Relaxed) {
        let end = time::now() + 5 * MSEC;
        while time::now() < end {}
        yield_now(YieldKind::Preempted).await;
    }
    GONE.store(true, Release);
}

/// Starts the spinner on the boot CPU.
pub(super) fn start_spinner() -> bool {
    STOP.store(false, Relaxed);
    GONE.store(false, Relaxed);
    start_on_boot_cpu(spinning(), Params::DEFAULT)
}

/// Starts a kernel task on the boot CPU.
pub(super) fn start_on_boot_cpu(future: impl Future<Output = ()> + Send + 'static, params: Params) -> bool {
    let Ok(task) = Spawned::new(future, params, b"selftest", None, core::ptr::null()) else {
        return false;
    };
    task.task().set_affinity(CpuMask::of(CpuId::BOOT));
    drop(task.start());
    true
}

/// Sleeps for `time`.
pub(super) async fn pause(time: Nanos) {
    let _ = sleep_until(wait_site!("selftest"), time::now() + time, 0, WaitMode::Uninterruptible).await;
}

/// Stops the spinner and waits until it is gone.
pub(super) async fn stop_spinner() {
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
    let mut ok = start_spinner() && start_on_boot_cpu(urgent(wakes), Params::fifo(90));
    let deadline = time::now() + (wakes + 1000) * 4 * MSEC;
    while DONE.load(Acquire) < wakes && time::now() < deadline {
        pause(10 * MSEC).await;
    }
    stop_spinner().await;
    let (worst, done) = (WORST.load(Relaxed), DONE.load(Relaxed));
    ok &= done == wakes && worst <= SPIN_LIMIT;
    let average = TOTAL.load(Relaxed).checked_div(done).unwrap_or(0);
    report(
        "spin",
        ok,
        format_args!("FIFO 90 behind a poll that spins 5 ms: wakes {done}, average {average} ns, worst {worst} ns (at most {SPIN_LIMIT})"),
    )
}
