//! The soft-lockup watchdog: says which CPU has not given way for long, and in what (Linux: kernel/watchdog.c).
//!
//! Linux asks whether the CPU's stop task has come to run. Here a stop task can park any poll in its middle, unless preemption is off;
//! so each CPU's timer, five times in two thresholds, looks at the flow that it interrupts. That CPU is well if the flow may be
//! parked, or if another poll has begun or been parked since the last look; else, when that has lasted for two thresholds, it is
//! reported, once until it moves again.
//!
//! With interrupts masked no timer comes: a [hard lockup](super::hard_lockup), which another CPU sees. CPUs of `nohz_full=` are not
//! looked at, as on Linux.

use super::{backtrace, hard_lockup, panic};
use crate::task::thread::Thread;
use crate::{pr_emerg, smp};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::until_nul;
use vigil_executor::context::{Context, PreemptGuard, StackKind};
use vigil_executor::cpu::{AtomicCpuMask, CpuId, CpuMask, MAX_CPUS, PerCpu};
use vigil_executor::executor;
use vigil_executor::stack::context_at;
use vigil_executor::time::{self, Nanos, SEC};
use vigil_executor::timer::Timer;

/// `kernel.watchdog_thresh`, in seconds; 0: off.
static THRESH: AtomicU32 = AtomicU32::new(10);
/// `kernel.soft_watchdog`.
static SOFT: AtomicBool = AtomicBool::new(true);
/// `kernel.softlockup_panic`: whether a soft lockup is the end of the machine.
pub static PANICS: AtomicBool = AtomicBool::new(false);
/// `kernel.softlockup_all_cpu_backtrace`: whether a report is followed by what each other CPU does.
pub static SHOWS_ALL_CPUS: AtomicBool = AtomicBool::new(false);
/// CPUs whose timers look.
static LOOKING: AtomicCpuMask = AtomicCpuMask::new();
/// Whether a CPU was ever reported (TAINT_SOFTLOCKUP).
static SEEN: AtomicBool = AtomicBool::new(false);

/// What is known of a CPU; its own timer's.
struct Watched {
    /// Polls begun and parked at the last look.
    moves: AtomicU64,
    /// When it was last seen to be well.
    well: AtomicU64,
    reported: AtomicBool,
}

const UNSEEN: Watched = Watched { moves: AtomicU64::new(0), well: AtomicU64::new(0), reported: AtomicBool::new(false) };
static WATCHED: PerCpu<Watched> = PerCpu::new([UNSEEN; MAX_CPUS]);
static TIMERS: PerCpu<Timer> = PerCpu::new([const { Timer::new(fired) }; MAX_CPUS]);

/// `kernel.watchdog_thresh`.
pub fn thresh() -> u32 {
    THRESH.load(Relaxed)
}

/// Sets it. A task.
pub fn set_thresh(seconds: u32) {
    THRESH.store(seconds, Relaxed);
    start();
}

/// `kernel.soft_watchdog`.
pub fn is_soft_enabled() -> bool {
    SOFT.load(Relaxed)
}

/// Sets it. A task.
pub fn set_soft_enabled(on: bool) {
    SOFT.store(on, Relaxed);
    start();
}

/// Sets `kernel.nmi_watchdog`, the other one. A task.
pub fn set_hard_enabled(on: bool) {
    hard_lockup::set_enabled(on);
    start();
}

/// `kernel.watchdog`: whether either is there.
pub fn is_enabled() -> bool {
    is_soft_enabled() || hard_lockup::is_enabled()
}

/// Sets both. A task.
pub fn set_enabled(on: bool) {
    SOFT.store(on, Relaxed);
    set_hard_enabled(on);
}

/// Whether a CPU was ever reported.
pub fn has_reported() -> bool {
    SEEN.load(Relaxed)
}

/// Begins with what the command line says. Once, a task.
pub fn init() {
    if let Some(params) = crate::boot::params() {
        THRESH.store(params.watchdog_thresh.min(60), Relaxed);
        SOFT.store(params.soft_watchdog, Relaxed);
        PANICS.store(params.softlockup_panic, Relaxed);
        hard_lockup::set_enabled(params.nmi_watchdog);
        hard_lockup::PANICS.store(params.hardlockup_panic, Relaxed);
    }
    start();
}

/// Begins to look at all CPUs that are online, anew at those that are looked at. A task.
pub fn start() {
    LOOKING.load().iter().for_each(|cpu| _ = LOOKING.remove(cpu));
    smp::call_others(start_here, 0);
    let guard = PreemptGuard::new();
    start_here(0);
    drop(guard);
}

/// How long it is between two looks; `None`: nobody looks.
fn period() -> Option<Nanos> {
    let thresh = u64::from(THRESH.load(Relaxed));
    (is_enabled() && thresh != 0).then_some(thresh * 2 * SEC / 5)
}

/// On the CPU itself, which cannot be left.
fn start_here(_: usize) {
    let tickless = CpuMask(crate::boot::info().map_or(0, |info| info.params.nohz_full));
    let Some(period) = period().filter(|_| !tickless.contains(CpuId::current())) else { return };
    WATCHED.this().well.store(time::now(), Relaxed);
    LOOKING.insert(CpuId::current());
    Pin::static_ref(TIMERS.this()).start(time::now().saturating_add(period), 0);
}

/// The frame record of the flow that this hard interrupt has interrupted, which is on another stack; `None` if that was EL0.
pub(super) fn interrupted() -> Option<usize> {
    let mut fp = backtrace::frame_pointer();
    let own = context_at(fp);
    // A bound, should the chain be broken.
    for _ in 0..64 {
        if fp == 0 || context_at(fp) != own {
            break;
        }
        // SAFETY: a frame record of this stack, whose flow is this one.
        fp = unsafe { (fp as *const usize).read() };
    }
    (fp != 0 && context_at(fp) != own).then_some(fp)
}

/// Hard interrupt.
fn fired(timer: &Timer) {
    let cpu = CpuId::current();
    if !core::ptr::eq(timer, TIMERS.this()) {
        // That of a CPU that has gone, which this one has taken over.
        LOOKING.load().iter().filter(|gone| core::ptr::eq(timer, TIMERS.of(*gone))).for_each(|gone| _ = LOOKING.remove(gone));
        return;
    }
    let Some(period) = period() else { return };
    let now = time::now();
    hard_lockup::looked(cpu, LOOKING.load());
    if is_soft_enabled() {
        look(cpu, now, period);
    }
    Pin::static_ref(TIMERS.this()).start(now.saturating_add(period), 0);
}

/// Whether this CPU's flow has moved.
fn look(cpu: CpuId, now: Nanos, period: Nanos) {
    let watched = WATCHED.this();
    let moves = executor::moves(cpu);
    let flow = interrupted();
    // SAFETY: a frame record lies in a kernel stack, which has an initialised block at its top.
    let context = flow.map(|fp| unsafe { &*(context_at(fp) as *const Context) });
    let may_stay = context.is_some_and(|c| c.kind() == StackKind::Cpu && c.count() != 0 && !c.is_resting());
    if watched.moves.swap(moves, Relaxed) != moves || !may_stay {
        watched.well.store(now, Relaxed);
        watched.reported.store(false, Relaxed);
    }
    let stuck = now.saturating_sub(watched.well.load(Relaxed));
    if let (true, Some(context), Some(fp)) = (stuck >= 5 * period, context, flow)
        && !watched.reported.swap(true, Relaxed)
    {
        report(cpu, stuck / SEC, context, fp);
    }
}

fn report(cpu: CpuId, seconds: u64, context: &Context, fp: usize) {
    SEEN.store(true, Relaxed);
    // SAFETY: the task whose poll was interrupted is alive while it is current.
    let task = unsafe { context.current().as_ref() };
    let name = task.map_or(*b"swapper\0\0\0\0\0\0\0\0\0", |t| t.name());
    let comm = until_nul(&name).escape_ascii();
    let pid = task.and_then(Thread::of_task).map_or(0, Thread::tid);
    pr_emerg!("watchdog: BUG: soft lockup - CPU#{} stuck for {seconds}s! [{comm}:{pid}]", cpu.index());
    backtrace::print(0, fp);
    if SHOWS_ALL_CPUS.load(Relaxed) {
        backtrace::show_others();
    }
    if PANICS.load(Relaxed) {
        panic::panic_at(format_args!("softlockup: hung tasks"), 0, 0);
    }
}
