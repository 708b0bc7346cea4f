//! RCU callbacks are a softirq: a few at once, a flood by ksoftirqd.

use super::report;
use crate::debug::rcu_stall;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::context::in_interrupt;
use vigil_executor::cpu::ONLINE;
use vigil_executor::sync::rcu::{self, RcuHead};
use vigil_executor::task;
use vigil_executor::time::{self, MSEC, SEC, USEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KVec;

/// What a callback takes, so that a flood outlasts the budget of one interrupt.
const WORK: u64 = 20 * USEC;

static DONE: AtomicU32 = AtomicU32::new(0);
/// Callbacks that were no softirq.
static STRAY: AtomicU32 = AtomicU32::new(0);
/// Callbacks that ksoftirqd ran.
static DEFERRED: AtomicU32 = AtomicU32::new(0);

unsafe fn callback(_: NonNull<RcuHead>) {
    if !in_interrupt() {
        STRAY.fetch_add(1, Relaxed);
    }
    if task::current().is_some_and(|t| t.name().starts_with(b"ksoftirqd/")) {
        DEFERRED.fetch_add(1, Relaxed);
    }
    let end = time::now() + WORK;
    while time::now() < end {
        core::hint::spin_loop();
    }
    DONE.fetch_add(1, Release);
}

/// Queues `count` callbacks at once. All must run, in softirqs, most of them in ksoftirqd's, and a task that sleeps for a
/// millisecond at a time must go on beside them; a grace period must end on all CPUs.
pub async fn run(count: u32) -> bool {
    let Ok(heads) = KVec::try_from_iter((0..count).map(|_| RcuHead::new())) else {
        return report("rcu", false, format_args!("no memory"));
    };
    let before = softirqs();
    for head in heads.iter() {
        // SAFETY: each is queued once, and freed below when all were called.
        unsafe { rcu::call_rcu(NonNull::from(head), callback) };
    }
    let begun = time::now();
    let mut turns = 0;
    while DONE.load(Acquire) < count && time::now() - begun < 20 * SEC {
        let _ = sleep_until(wait_site!("selftest"), time::now() + MSEC, 0, WaitMode::Uninterruptible).await;
        turns += 1;
    }
    let (done, stray, deferred) = (DONE.load(Acquire), STRAY.load(Relaxed), DEFERRED.load(Relaxed));
    if done < count {
        // They may be called yet.
        core::mem::forget(heads);
    }
    rcu::synchronize(wait_site!("selftest")).await;
    let raised = softirqs().wrapping_sub(before);
    let good = done == count && stray == 0 && deferred > count / 2 && raised > 0 && turns > 5;
    report(
        "rcu",
        good,
        format_args!(
            "callbacks {done}, outside of softirqs {stray}, by ksoftirqd {deferred}, softirqs {raised}, turns beside them {turns}"
        ),
    )
}

/// A section on the boot CPU that lasts longer than the shortest time after which it is told of.
async fn stuck() {
    let section = rcu::read_lock();
    let end = time::now() + 4 * SEC;
    while time::now() < end {
        core::hint::spin_loop();
    }
    drop(section);
}

/// A grace period that waits for a section that does not end is told of, and ends with the section.
pub async fn stall() -> bool {
    rcu::stall::set_timeout(0);
    let (told, least) = (rcu_stall::count(), rcu::stall::timeout());
    let started = super::latency::start_on_boot_cpu(stuck(), Params::DEFAULT);
    let begun = time::now();
    let _ = sleep_until(wait_site!("selftest"), begun + 10 * MSEC, 0, WaitMode::Uninterruptible).await;
    rcu::synchronize(wait_site!("selftest")).await;
    let (took, told) = ((time::now() - begun) / MSEC, rcu_stall::count() - told);
    report(
        "rcu-stall",
        started && least == 3 && took >= 3000 && told == 1,
        format_args!("a grace period of {took} ms was told {told} times"),
    )
}

/// How often the RCU softirq has run.
fn softirqs() -> u32 {
    let rcu = vigil_executor::softirq::Softirq::Rcu as usize;
    ONLINE.load().iter().fold(0, |n, cpu| n.wrapping_add(vigil_executor::softirq::count(rcu, cpu)))
}
