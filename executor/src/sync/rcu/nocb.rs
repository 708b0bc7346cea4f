//! Callbacks of CPUs that are kept free of them: in tasks, which run elsewhere (Linux: tree_nocb.h, `rcu_nocbs=`).
//!
//! ```text
//!   grace period ends ─► RCU softirq ─► rcuog/N: whose callbacks can run? ─► rcuos/N calls them, bottom halves off, some at a time
//! ```

use super::callbacks::{is_ready, run_callbacks_of};
use crate::context::BhGuard;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu};
use crate::executor::{YieldKind, yield_now};
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// CPUs whose callbacks run in tasks.
static OFFLOADED: AtomicU64 = AtomicU64::new(0);

/// Of one CPU.
struct Offloaded {
    /// Its task has something to do, and knows.
    told: AtomicBool,
    wait: WaitQueue,
}

static CPUS: PerCpu<Offloaded> = PerCpu::new([const { Offloaded { told: AtomicBool::new(false), wait: WaitQueue::new() } }; MAX_CPUS]);
/// Those who look whose callbacks can run.
static GRACE_PERIODS: WaitQueue = WaitQueue::new();

/// Callbacks that are queued on CPUs of `mask` run in tasks from now on. At boot, before there are any; each CPU of `mask` needs a task that runs
/// [`callbacks`], and is among the CPUs of one that runs [`grace_periods`].
pub fn offload(mask: CpuMask) {
    OFFLOADED.store(mask.0, Relaxed);
}

/// The CPUs of which that is so.
pub fn offloaded() -> CpuMask {
    CpuMask(OFFLOADED.load(Relaxed))
}

/// A grace period has ended. In a softirq.
pub(super) fn ended() {
    if OFFLOADED.load(Relaxed) != 0 {
        GRACE_PERIODS.wake_all();
    }
}

/// Tells the tasks of the CPUs of `group` of callbacks that can run: the life of `rcuog/N`.
pub async fn grace_periods(group: CpuMask) {
    loop {
        let untold = || {
            let mine = CpuMask(group.0 & OFFLOADED.load(Relaxed));
            mine.iter().find(|cpu| is_ready(*cpu) && !CPUS.of(*cpu).told.load(Acquire))
        };
        // Interruptible: who idles does not count as load, and nobody signals it.
        let Ok(cpu) = GRACE_PERIODS.wait_until(wait_site!("rcu_nocb_gp_kthread"), WaitMode::Interruptible, untold).await else { continue };
        CPUS.of(cpu).told.store(true, Release);
        CPUS.of(cpu).wait.wake_all();
    }
}

/// Calls the callbacks of `cpu` that can run: the life of `rcuos/N`.
pub async fn callbacks(cpu: CpuId) {
    let own = CPUS.of(cpu);
    loop {
        let told = || own.told.load(Acquire).then_some(());
        let _ = own.wait.wait_until(wait_site!("rcu_nocb_cb_kthread"), WaitMode::Interruptible, told).await;
        while call_some(cpu) {
            yield_now(YieldKind::Preempted).await;
        }
        own.told.store(false, Release);
        // What has become ready since nobody was told of.
        GRACE_PERIODS.wake_all();
    }
}

/// Calls a batch with bottom halves off, as in the softirq; whether more are ready.
fn call_some(cpu: CpuId) -> bool {
    let _off = BhGuard::new();
    run_callbacks_of(cpu)
}
