//! Tortures: primitives under as much as a machine can do to them, with everything checked that they promise (Linux:
//! kernel/torture.c, rcutorture, locktorture).
//!
//! | module | what it tortures |
//! |---|---|
//! | [`rcu`] | RCU and SRCU: readers in tasks, softirqs and hard interrupts; nothing is used again before they have left |
//! | [`locks`], [`sleeping`] | every lock, by tasks of changing urgency, softirqs and hard interrupts |
//!
//! Both run beside each other and beside what this module does to them: each CPU has a timer that interrupts whatever runs there at
//! odd moments, tasks are made urgent and ordinary again, and CPUs go and come.

mod boost;
mod locks;
mod rcu;
mod sleeping;
mod watched;

use super::{Rng, report};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, ONLINE};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::softirq::{self, Softirq};
use vigil_executor::task::Spawned;
use vigil_executor::time::{self, MSEC, Nanos, SEC, USEC};
use vigil_executor::timer::{Timer, sleep_until};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// After the end everybody has so long to notice it.
const PATIENCE: Nanos = 60 * SEC;

static STOP: AtomicBool = AtomicBool::new(false);
static ALIVE: AtomicUsize = AtomicUsize::new(0);
/// Hard interrupts that tortured something.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
/// Softirqs that did.
static SOFTIRQS: AtomicU64 = AtomicU64::new(0);
static TIMERS: [Timer; MAX_CPUS] = [const { Timer::new(interrupt) }; MAX_CPUS];

fn stopped() -> bool {
    STOP.load(Relaxed)
}

async fn pause(time: Nanos) {
    let _ = sleep_until(wait_site!("torture"), time::now() + time, 0, WaitMode::Uninterruptible).await;
}

/// Holds the CPU for `time`.
fn spin(time: Nanos) {
    let end = time::now() + time;
    while time::now() < end {
        core::hint::spin_loop();
    }
}

/// What a section lasts: mostly nothing, sometimes long enough for an interrupt, for a wake, for a grace period on all other CPUs.
fn linger(rng: &mut Rng) {
    match rng.range(0, 8192) {
        0 => spin(2 * MSEC),
        1..64 => spin(rng.range(10 * USEC, 100 * USEC)),
        64..1024 => spin(rng.range(0, 3 * USEC)),
        _ => {}
    }
}

/// Between two sections: mostly at once, sometimes later, so that others come to their turn in every order.
async fn breathe(rng: &mut Rng) {
    match rng.range(0, 64) {
        0..4 => pause(rng.range(0, 2 * MSEC)).await,
        4..16 => yield_now(YieldKind::Yield).await,
        _ => {}
    }
}

/// Starts a task that is counted until its future ends. One that is to be `disturbed` is, by [`boost`].
fn start(name: &str, future: impl Future<Output = ()> + Send + 'static, params: Params, disturbed: bool) -> bool {
    let counted = async move {
        future.await;
        ALIVE.fetch_sub(1, Release);
    };
    let Ok(made) = Spawned::new(counted, params, name.as_bytes(), None, core::ptr::null()) else { return false };
    ALIVE.fetch_add(1, Relaxed);
    boost::remember(made.start(), disturbed);
    true
}

/// A hard interrupt at an odd moment.
fn interrupt(timer: &Timer) {
    if stopped() {
        return;
    }
    let nth = INTERRUPTS.fetch_add(1, Relaxed);
    let now = time::now();
    let mut rng = Rng::new(now ^ nth);
    rcu::in_interrupt(&mut rng);
    locks::in_interrupt(&mut rng);
    softirq::raise_here(Softirq::IrqPoll);
    // SAFETY: only the statics of `TIMERS` have this function.
    let timer = unsafe { Pin::new_unchecked(timer) };
    timer.start(now + rng.range(20 * USEC, 700 * USEC), 0);
}

/// A softirq at an odd moment.
fn bottom_half() {
    if stopped() {
        return;
    }
    let nth = SOFTIRQS.fetch_add(1, Relaxed);
    let mut rng = Rng::new(time::now() ^ nth << 32);
    rcu::in_softirq(&mut rng);
    locks::in_softirq(&mut rng);
}

/// Starts the timer of `cpu`, on it.
async fn start_timer(cpu: CpuId) {
    Pin::static_ref(&TIMERS[cpu.index()]).start(time::now() + MSEC, 0);
}

fn start_timers() -> bool {
    softirq::open(Softirq::IrqPoll, bottom_half);
    ONLINE.load().iter().all(|cpu| {
        let Ok(made) = Spawned::new(start_timer(cpu), Params::DEFAULT, b"torture", None, core::ptr::null()) else {
            return false;
        };
        made.task().set_affinity(CpuMask::of(cpu));
        drop(made.start());
        true
    })
}

/// Which of the two run.
#[derive(Clone, Copy)]
pub struct What {
    /// RCU and SRCU.
    pub rcu: bool,
    /// The locks.
    pub locks: bool,
}

/// `seconds` of torture.
pub async fn run(what: What, seconds: u64) -> bool {
    STOP.store(false, Relaxed);
    let cpus = ONLINE.load().iter().count();
    let mut ok = start_timers();
    if what.rcu {
        ok &= rcu::start(cpus);
    }
    if what.locks {
        ok &= locks::start(cpus);
    }
    ok &= boost::start(cpus);
    let end = time::now() + seconds * SEC;
    while ok && time::now() < end {
        pause(100 * MSEC).await;
    }
    STOP.store(true, Relaxed);
    let deadline = time::now() + PATIENCE;
    while ALIVE.load(Acquire) != 0 && time::now() < deadline {
        sleeping::wake_all();
        pause(10 * MSEC).await;
    }
    for timer in &TIMERS {
        timer.cancel();
    }
    let left = ALIVE.load(Acquire);
    boost::end(left != 0);
    let noise = boost::Noise::here();
    if left != 0 || !ok {
        return report("torture", false, format_args!("started {ok}, {left} tasks did not end"));
    }
    if what.rcu {
        ok &= rcu::verdict(seconds).await;
    }
    if what.locks {
        ok &= locks::verdict(seconds);
    }
    let (irqs, softirqs) = (INTERRUPTS.load(Relaxed), SOFTIRQS.load(Relaxed));
    let disturbed = irqs > seconds && softirqs > 0 && noise.boosts > 0 && (cpus == 1 || noise.goings > 0);
    ok & report(
        "torture",
        disturbed,
        format_args!(
            "seconds {seconds}, CPUs {cpus}, interrupts {irqs}, softirqs {softirqs}, boosts {}, signals {}, CPUs gone {}",
            noise.boosts, noise.signals, noise.goings
        ),
    )
}
