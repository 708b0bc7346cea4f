//! The long-poll watchdog: names futures that are polled for long without giving way, which an executor lives by.
//!
//! `kernel.long_poll_warn_ms` (Vigil's own; 0, the default: off, which costs nothing) is how long a poll may last. While it is on, each
//! CPU's timer looks, four times in that span, at the flow that it interrupted. If that is the same poll for the whole span, it is told of once, with
//! its call trace, in which each future's `poll` is a frame, and the system call that it serves. A poll that is parked for
//! somebody more urgent has given way.
//!
//! A user thread's poll contains its stays in EL0. So a look that finds it in the kernel gives the thread something to do on its way to EL0:
//! when it comes by ([`returned`]) that stay in the kernel is over, and what comes next is another one.

use super::backtrace;
use super::printk::Level;
use super::ratelimit::RateLimit;
use super::watchdog::interrupted;
use crate::arch::aarch64::entry::{WORK_SEEN, vigil_el0_call};
use crate::task::chain;
use crate::task::thread::Thread;
use crate::{pr_warn, smp};
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use vigil_abi::nr;
use vigil_abi::until_nul;
use vigil_executor::context::{Context, PreemptGuard, StackKind};
use vigil_executor::cpu::{CpuId, MAX_CPUS, PerCpu};
use vigil_executor::executor;
use vigil_executor::stack::context_at;
use vigil_executor::task::Task;
use vigil_executor::time::{self, MSEC, Nanos};
use vigil_executor::timer::Timer;

/// Bytes of the vector's way into a system call, and more: nobody else is called from there.
const ENTRY: usize = 64;

/// Milliseconds; 0: off.
static THRESH: AtomicU32 = AtomicU32::new(0);

/// The poll that a CPU's last look has found; its own timer's.
struct Seen {
    /// The task, by its address; 0: none, or it has been in EL0 since.
    task: AtomicUsize,
    /// Polls begun and parked on the CPU by then.
    moves: AtomicU64,
    /// When it was first found.
    since: AtomicU64,
    told: AtomicBool,
}

const NOTHING: Seen = Seen { task: AtomicUsize::new(0), moves: AtomicU64::new(0), since: AtomicU64::new(0), told: AtomicBool::new(false) };
static SEEN: PerCpu<Seen> = PerCpu::new([NOTHING; MAX_CPUS]);
static TIMERS: PerCpu<Timer> = PerCpu::new([const { Timer::new(fired) }; MAX_CPUS]);
static LIMIT: RateLimit = RateLimit::new();

/// `kernel.long_poll_warn_ms`.
pub fn thresh() -> u32 {
    THRESH.load(Relaxed)
}

/// Sets it. A task.
pub fn set_thresh(milliseconds: u32) {
    THRESH.store(milliseconds, Relaxed);
    smp::call_others(start_here, 0);
    let guard = PreemptGuard::new();
    start_here(0);
    drop(guard);
}

/// The current thread is on its way to EL0, after a look that found it in the kernel.
pub fn returned() {
    SEEN.this().task.store(0, Relaxed);
}

/// How long a poll may last; `None`: nobody looks.
fn span() -> Option<Nanos> {
    Some(u64::from(THRESH.load(Relaxed)) * MSEC).filter(|span| *span != 0)
}

/// On the CPU itself, which cannot be left.
fn start_here(_: usize) {
    SEEN.this().task.store(0, Relaxed);
    if let Some(span) = span() {
        Pin::static_ref(TIMERS.this()).start(time::now().saturating_add(span / 4), 0);
    }
}

/// Hard interrupt.
fn fired(timer: &Timer) {
    // Not that of a CPU that has gone, which this one has taken over.
    let Some(span) = span().filter(|_| core::ptr::eq(timer, TIMERS.this())) else { return };
    let now = time::now();
    if let Some(fp) = interrupted() {
        look(fp, now, span);
    } else {
        SEEN.this().task.store(0, Relaxed);
    }
    Pin::static_ref(TIMERS.this()).start(now.saturating_add(span / 4), 0);
}

/// Looks at the flow whose frame record is at `fp`.
fn look(fp: usize, now: Nanos, span: Nanos) {
    let (cpu, seen) = (CpuId::current(), SEEN.this());
    // SAFETY: a frame record lies in a kernel stack, which has an initialised block at its top.
    let context = unsafe { &*(context_at(fp) as *const Context) };
    // SAFETY: the task whose poll was interrupted is alive while it is current.
    let task = unsafe { context.current().as_ref() }.filter(|_| context.kind() == StackKind::Cpu && !context.is_resting());
    let Some(task) = task else { return seen.task.store(0, Relaxed) };
    let (key, moves) = (core::ptr::from_ref(task) as usize, executor::moves(cpu));
    if seen.task.swap(key, Relaxed) != key || seen.moves.swap(moves, Relaxed) != moves {
        seen.since.store(now, Relaxed);
        seen.told.store(false, Relaxed);
        if let Some(thread) = Thread::of_task(task) {
            thread.set_work(WORK_SEEN);
        }
        return;
    }
    let lasted = now.saturating_sub(seen.since.load(Relaxed));
    if lasted >= span && !seen.told.swap(true, Relaxed) && LIMIT.pass().is_some() {
        report(cpu, task, lasted, fp);
    }
}

fn report(cpu: CpuId, task: &Task, lasted: Nanos, fp: usize) {
    let name = task.name();
    let comm = until_nul(&name).escape_ascii();
    pr_warn!("long poll: CPU#{} has polled {comm}:{} for {} ms", cpu.index(), task.number(), lasted / MSEC);
    backtrace::print_at(Level::Warn, 0, fp);
    match fast_call(task, fp) {
        Some(number) => pr_warn!(" => __arm64_sys_{}", nr::name(number)),
        None => chain::awaits(task, false, &mut |line| pr_warn!(" => {line}")),
    }
}

/// The system call that the vector serves without the thread's future, which knows nothing of it, in the chain that begins at `fp`.
fn fast_call(task: &Task, fp: usize) -> Option<usize> {
    let entry = vigil_el0_call as *const () as usize;
    let mut is_in = false;
    backtrace::walk(fp, |ret| is_in |= ret.wrapping_sub(entry) < ENTRY);
    // SAFETY: the thread is in the kernel on this CPU, below this interrupt: its registers lie still.
    Thread::of_task(task).filter(|_| is_in).map(|thread| unsafe { thread.context() }.x[8].get() as usize)
}
