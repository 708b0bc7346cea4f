//! RCU: readers that never wait and write nothing shared; updaters wait until all readers of the old have left.
//!
//! A read-side section is a preempt-off section ([`read_lock`]), so a CPU whose preempt count is zero is in none: that
//! is a *quiescent state*. A grace period is over when each CPU has been seen in one since it began, or idles, or is
//! offline. Parked polls need no attention: a poll is parked only at count zero.
//!
//! | who | calls |
//! |---|---|
//! | executor loop, at count 0; interrupt exit that interrupted count 0 or EL0; entry from EL0 | [`quiescent`] |
//! | idle loop around WFI; CPU start and stop | [`idle_exit`], [`idle_enter`] |
//! | RCU softirq, raised on each CPU that has something to do when a grace period has ended | [`softirq`] |
//!
//! CPUs that run in EL0 or in one long poll are sent a reschedule interrupt when a grace period has lasted a tick, or what
//! [`limits`] says. Callbacks of CPUs that are to be free of them run in tasks (`nocb`).

#[cfg(not(loom))]
mod barrier;
mod callbacks;
mod grace;
pub mod limits;
#[cfg(not(loom))]
pub mod nocb;
mod pointer;
#[cfg(not(loom))]
pub mod stall;

#[cfg(not(loom))]
pub use barrier::barrier;
pub use callbacks::{Callback, RcuHead, call_rcu, run_callbacks, run_callbacks_of};
pub use grace::Grace;
pub use pointer::Rcu;

use crate::arch;
use crate::atomic::{Ordering, loom_static};
use crate::context::{Context, PreemptGuard};
use crate::cpu::{CpuId, CpuMask};
use crate::platform;
use crate::sync::lockdep::{Acquire, Held, Tracked, might_sleep};
use crate::time::{MSEC, Nanos, now};
use crate::timer::Timer;
use crate::wait::{WaitMode, WaitSite};
use core::pin::Pin;
use core::sync::atomic::AtomicI32;

/// How often whoever spins for the end of a grace period interrupts the CPUs that it waits for.
#[cfg(not(loom))]
const SPIN_KICK: Nanos = MSEC / 2;

/// A timer that is late by so much is on a CPU that has its interrupts masked.
const LOST: Nanos = 1000 * MSEC;

loom_static! {
    /// The machine of the whole system.
    static GRACE: Grace = Grace::new();
}
loom_static! {
    static FORCE: Timer = Timer::new(force);
}

/// What was read of an [`Rcu`] pointer stays valid while this lives. Preemption is off; not `Send`.
#[must_use = "what was read is protected only while the guard lives"]
pub struct RcuGuard {
    _held: Held,
    _preempt: PreemptGuard,
}

/// So that who sleeps in a section is told of its place.
static READ_SIDE: Tracked = Tracked::new(crate::lock_class!("rcu_read_lock"));

/// Begins a read-side section. Any context; nests. A handful of instructions.
#[inline(always)]
#[cfg_attr(debug_assertions, track_caller)]
pub fn read_lock() -> RcuGuard {
    let preempt = PreemptGuard::new();
    RcuGuard { _held: READ_SIDE.acquire((&raw const READ_SIDE).cast(), Acquire::TryRead), _preempt: preempt }
}

/// This CPU is in no read-side section at this moment. A load and a test, unless a grace period waits for this CPU.
/// The caller is on `cpu` and cannot migrate.
#[inline(always)]
pub fn quiescent(cpu: CpuId) {
    if GRACE.waits_for(bit(cpu)) {
        report(cpu);
    }
}

/// [`quiescent`] of the CPU that this runs on, which is looked up only when a grace period waits for somebody.
#[inline(always)]
pub fn quiescent_here() {
    if GRACE.waits() {
        look_here();
    }
}

#[cold]
#[inline(never)]
fn look_here() {
    quiescent(CpuId::current());
}

#[cold]
fn report(cpu: CpuId) {
    if GRACE.quiescent(bit(cpu)) {
        ended();
    }
}

/// `cpu` stops running anything: idle, or going offline. Interrupts masked. Until [`idle_exit`] it may not begin a
/// read-side section: also not in an interrupt, so the idle loop calls `idle_exit` after WFI and before it unmasks.
#[inline]
pub fn idle_enter(cpu: CpuId) {
    if GRACE.idle_enter(bit(cpu)) {
        ended();
    }
}

/// `cpu` runs again, or for the first time. Interrupts masked.
#[inline]
pub fn idle_exit(cpu: CpuId) {
    GRACE.idle_exit(bit(cpu));
}

/// Normal grace periods are as good as expedited ones; expedited ones are normal (Linux: rcu_expedited, rcu_normal).
static ALWAYS_EXPEDITED: AtomicI32 = AtomicI32::new(0);
static ALWAYS_NORMAL: AtomicI32 = AtomicI32::new(0);

/// The words that make all grace periods expedited, or normal, which wins: anything but 0.
pub fn preferences() -> [&'static AtomicI32; 2] {
    [&ALWAYS_EXPEDITED, &ALWAYS_NORMAL]
}

/// Waits until all read-side sections that had begun before the call have ended. Updaters replace a pointer, await
/// this, and free what it pointed to.
pub async fn synchronize(site: &'static WaitSite) {
    wait(site, ALWAYS_EXPEDITED.load(Ordering::Relaxed) != 0).await;
}

/// As [`synchronize`], and interrupts the CPUs that are waited for at once (Linux: synchronize_rcu_expedited).
pub async fn synchronize_expedited(site: &'static WaitSite) {
    wait(site, true).await;
}

async fn wait(site: &'static WaitSite, expedited: bool) {
    might_sleep(site);
    let target = GRACE.snapshot();
    request(target);
    // A poll at count zero is itself a quiescent state of its CPU: with one CPU the wait is over here.
    let irq = arch::irq_save();
    if Context::here().count() == 0 {
        quiescent(CpuId::current());
    }
    arch::irq_restore(irq);
    if expedited && ALWAYS_NORMAL.load(Ordering::Relaxed) == 0 && !GRACE.is_done(target) {
        kick();
    }
    while GRACE.wait_end(site, WaitMode::Uninterruptible, target).await.is_err() {}
}

/// Whether all readers of `cookie` = [`poll_state`] have left; for callers that look now and then instead of waiting.
pub fn poll_done(cookie: u64) -> bool {
    GRACE.is_done(cookie)
}

/// A cookie for [`poll_done`]; starts a grace period if none is under way.
pub fn poll_state() -> u64 {
    let target = GRACE.snapshot();
    request(target);
    target
}

fn bit(cpu: CpuId) -> u64 {
    1 << cpu.index()
}

/// Sees to it that a grace period that satisfies `target` will run.
fn request(target: u64) {
    if GRACE.request(target) {
        ended();
    }
    if GRACE.is_wanted() && (!FORCE.is_queued() || FORCE.deadline() < now().saturating_sub(LOST)) {
        // It is not queued, or is on a CPU that has not taken an interrupt for long, and perhaps never will.
        force_timer().start_anywhere(now().saturating_add(limits::first()), MSEC);
    }
}

fn force_timer() -> Pin<&'static Timer> {
    let timer: &'static Timer = &FORCE;
    Pin::static_ref(timer)
}

/// A grace period ended (and perhaps others after it): on this CPU those are told who wait for it, and each CPU whose
/// callbacks can run now runs them, all in the RCU softirq.
fn ended() {
    let ready = callbacks::ready_cpus(GRACE.completed());
    // Those of others are for tasks, which are told of them in this CPU's softirq.
    #[cfg(not(loom))]
    let ready = CpuMask(ready.0 & !nocb::offloaded().0);
    let irq = arch::irq_save();
    match platform::get() {
        Some(p) => p.raise_rcu(CpuMask(ready.0 | bit(CpuId::current()))),
        None => GRACE.tell(),
    }
    arch::irq_restore(irq);
}

/// The RCU softirq (Linux: rcu_core): wakes who waits for grace periods that have ended and runs a batch of this CPU's
/// callbacks; `true` if more are ready.
pub fn softirq() -> bool {
    GRACE.tell();
    #[cfg(not(loom))]
    if nocb::offloaded().0 != 0 {
        nocb::ended();
        if nocb::offloaded().contains(CpuId::current()) {
            return false;
        }
    }
    run_callbacks()
}

/// [`synchronize`] of a flow on `here` that may not leave its CPU to others meanwhile: the stop task. Interrupts on, count 0.
#[cfg(not(loom))]
pub(crate) fn synchronize_spinning(here: CpuId) {
    let cookie = poll_state();
    let mut kicked = 0;
    while !GRACE.is_done(cookie) {
        arch::without_irqs(|| quiescent(here));
        let t = now();
        if t >= kicked {
            kick();
            kicked = t.saturating_add(SPIN_KICK);
        }
        arch::relax();
    }
}

/// `gone` has gone offline: its callbacks are this CPU's. In a task.
#[cfg(not(loom))]
pub fn take_over(gone: CpuId) {
    let guard = PreemptGuard::new();
    callbacks::take_over(gone);
    // Some may be ready, and who waits may not have been told.
    ended();
    drop(guard);
}

/// Interrupts the CPUs that the grace period waits for.
fn kick() {
    let mask = GRACE.pending() & crate::cpu::ONLINE.load().0;
    if mask != 0
        && let Some(p) = platform::get()
    {
        p.send_reschedule_mask(CpuMask(mask));
    }
}

/// The grace period has lasted too long.
fn force(_timer: &Timer) {
    // Not "pending": between two grace periods in a row nobody is waited for, for a moment.
    if GRACE.is_wanted() {
        kick();
        #[cfg(not(loom))]
        stall::look(now());
        force_timer().start_anywhere(now().saturating_add(limits::next()), MSEC);
    }
}

/// Grace periods that ended since boot, for statistics.
pub fn completed() -> u64 {
    core::sync::atomic::fence(Ordering::Acquire);
    GRACE.completed() / 2
}
