//! Bottom halves: softirqs at the exit of a hard interrupt, and ksoftirqd (seed_000_part2.md 4.2).
//!
//! A handler raises a number; the outermost interrupt exit runs what is pending on the IRQ stack with interrupts on,
//! for at most ten rounds or 2 ms (Linux: MAX_SOFTIRQ_RESTART, MAX_SOFTIRQ_TIME). What is raised outside of an interrupt
//! runs in the executor loop, when the poll gives way; Linux wakes ksoftirqd for it, because it has no such place. What is still
//! pending after the budget belongs to ksoftirqd/N, a fair task of that CPU, so that a flood of interrupts competes by weight like
//! everything else; until it is through, nobody else runs them (Linux: ksoftirqd_running).
//!
//! RCU is the one that is raised: see [`vigil_executor::sync::rcu`]. Timers, block requests and packets have no bottom half here:
//! the interrupt wakes a future, which is the bottom half.

use crate::task::kthread;
use crate::trace::{event, hooks};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use vigil_drivers::irq::{Ipi, send_ipi, threads_forced};
use vigil_executor::arch;
use vigil_executor::class::Params;
use vigil_executor::context::{Context, SOFTIRQ_OFFSET, StackKind, in_interrupt};
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu, local, local_of};
use vigil_executor::executor::{YieldKind, yield_now};
use vigil_executor::sync::rcu;
use vigil_executor::task::SpawnError;
use vigil_executor::time::{self, MSEC};
use vigil_executor::trace::KEY_SOFTIRQ;
use vigil_executor::wait::{WaitMode, WaitQueue};
use vigil_executor::wait_site;

/// The ten softirqs, in Linux's order: lower numbers run first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Softirq {
    /// High-priority tasklets.
    Hi = 0,
    /// The timer wheel.
    Timer = 1,
    /// Network transmit.
    NetTx = 2,
    /// Network receive.
    NetRx = 3,
    /// Block completions.
    Block = 4,
    /// Polled completions.
    IrqPoll = 5,
    /// Tasklets.
    Tasklet = 6,
    /// Load balancing.
    Sched = 7,
    /// Soft high-resolution timers.
    HrTimer = 8,
    /// RCU callbacks.
    Rcu = 9,
}

/// How many there are.
pub const COUNT: usize = 10;

/// Their names in `/proc/softirqs`.
pub const NAMES: [&str; COUNT] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

const MAX_ROUNDS: u32 = 10;
const MAX_TIME: u64 = 2 * MSEC;

struct CpuSoftirq {
    counts: [AtomicU32; COUNT],
    /// Nanoseconds spent.
    time: AtomicU64,
    /// What is pending is ksoftirqd's.
    deferred: AtomicBool,
    /// There is a ksoftirqd.
    has_daemon: AtomicBool,
    wait: WaitQueue,
}

impl CpuSoftirq {
    const fn new() -> Self {
        CpuSoftirq {
            counts: [const { AtomicU32::new(0) }; COUNT],
            time: AtomicU64::new(0),
            deferred: AtomicBool::new(false),
            has_daemon: AtomicBool::new(false),
            wait: WaitQueue::new(),
        }
    }
}

static CPUS: PerCpu<CpuSoftirq> = PerCpu::new([const { CpuSoftirq::new() }; MAX_CPUS]);
static HANDLERS: [AtomicPtr<()>; COUNT] = [const { AtomicPtr::new(core::ptr::null_mut()) }; COUNT];

/// Sets what `softirq` runs. Once each, at boot.
pub fn open(softirq: Softirq, handler: fn()) {
    HANDLERS[softirq as usize].store(handler as *mut (), Release);
}

/// Opens those that there are. Before the first task.
pub fn init() {
    open(Softirq::Rcu, || {
        if rcu::softirq() {
            raise_here(Softirq::Rcu);
        }
    });
}

/// Marks `softirq` pending on the CPUs of `mask`, and interrupts those that are others. Interrupts masked.
pub fn raise(softirq: Softirq, mask: CpuMask) {
    let here = CpuMask::of(CpuId::current());
    if mask.0 & here.0 != 0 {
        raise_here(softirq);
    }
    let others = CpuMask(mask.0 & !here.0);
    for cpu in others.iter() {
        // Release: whoever takes the bit sees what it was raised for.
        local_of(cpu).softirq_pending.fetch_or(1 << softirq as u32, Release);
    }
    if others.0 != 0 {
        send_ipi(others, Ipi::Reschedule);
    }
}

/// Marks `softirq` pending on this CPU. Interrupts masked.
#[inline]
pub fn raise_here(softirq: Softirq) {
    if arch::is_traced::<KEY_SOFTIRQ>() {
        hooks::softirq(event::SOFTIRQ_RAISE, softirq as u32);
    }
    local().softirq_pending.fetch_or(1 << softirq as u32, Release);
    if !in_interrupt() {
        Context::here().set_need_resched();
    }
}

/// How often `softirq` (an index into [`NAMES`]) ran on `cpu`.
pub fn count(softirq: usize, cpu: CpuId) -> u32 {
    CPUS.of(cpu).counts.get(softirq).map_or(0, |c| c.load(Relaxed))
}

/// Nanoseconds that `cpu` spent in softirqs.
pub fn time_of(cpu: CpuId) -> u64 {
    CPUS.of(cpu).time.load(Relaxed)
}

/// A hard interrupt of the flow of `interrupted` has ended: unless that is a bottom half or has them off, this is the
/// outermost one, and they run now. On the IRQ stack, interrupts masked on entry and return.
///
/// Before it the interrupt is reported to RCU, if it has interrupted no read-side section: what becomes ready by that runs now.
#[inline(always)]
pub fn irq_exit(interrupted: &Context) {
    if interrupted.count() == 0 {
        rcu::quiescent_here();
    }
    if local().softirq_pending.load(Relaxed) != 0 && interrupted.kind() != StackKind::Irq && !interrupted.softirqs_off() {
        run_unless_deferred();
    }
}

/// [`irq_exit`] of an interrupt for which the executor's loop has called on an idle CPU: that says itself when it is quiescent.
#[inline(always)]
pub fn idle_irq_exit() {
    if local().softirq_pending.load(Relaxed) != 0 {
        run_unless_deferred();
    }
}

/// Bottom halves are on again, or this is the executor loop: runs what became pending. Interrupts may be on.
pub fn run_if_pending() {
    if local().softirq_pending.load(Relaxed) != 0 {
        let state = arch::irq_save();
        run_unless_deferred();
        arch::irq_restore(state);
    }
}

/// As [`run`], if ksoftirqd is not at it; with `threadirqs` it always is. Interrupts masked.
#[cold]
fn run_unless_deferred() {
    let cpu = CPUS.this();
    if !cpu.deferred.load(Relaxed) {
        run();
    } else if threads_forced() {
        cpu.wait.wake_all();
    }
}

/// Runs what is pending, within the budget. Interrupts masked on entry and return, on in between.
#[cold]
#[inline(never)]
fn run() {
    let ctx = Context::here();
    let (cpu, pending_word) = (CPUS.this(), &local().softirq_pending);
    let begun = time::now();
    ctx.add(SOFTIRQ_OFFSET);
    for _ in 0..MAX_ROUNDS {
        let pending = pending_word.swap(0, Acquire);
        if pending == 0 {
            break;
        }
        arch::irq_enable();
        let mut rest = pending;
        while let Some(i) = lowest(rest) {
            rest &= rest - 1;
            cpu.counts[i].fetch_add(1, Relaxed);
            if arch::is_traced::<KEY_SOFTIRQ>() {
                hooks::softirq(event::SOFTIRQ_ENTRY, i as u32);
            }
            let handler = HANDLERS[i].load(Acquire);
            if !handler.is_null() {
                // SAFETY: only `open` stores here, and it stores a `fn()`.
                let handler: fn() = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
                handler();
            }
            if arch::is_traced::<KEY_SOFTIRQ>() {
                hooks::softirq(event::SOFTIRQ_EXIT, i as u32);
            }
        }
        arch::irq_disable();
        // Who was woken meanwhile comes before another round.
        if ctx.need_resched() || time::now().saturating_sub(begun) > MAX_TIME {
            break;
        }
    }
    ctx.sub(SOFTIRQ_OFFSET);
    cpu.time.fetch_add(time::now().saturating_sub(begun), Relaxed);
    let more = pending_word.load(Relaxed) != 0 && cpu.has_daemon.load(Relaxed);
    cpu.deferred.store(more || (threads_forced() && cpu.has_daemon.load(Relaxed)), Relaxed);
    if more {
        cpu.wait.wake_all();
    }
}

/// The lowest softirq among the bits of `pending`.
fn lowest(pending: u32) -> Option<usize> {
    let first = pending.trailing_zeros() as usize;
    (first < COUNT).then_some(first)
}

/// `gone` has gone offline: what is pending on it is this CPU's. In a task.
pub fn take_over(gone: CpuId) {
    CPUS.of(gone).deferred.store(threads_forced(), Relaxed);
    let pending = local_of(gone).softirq_pending.swap(0, Acquire);
    arch::without_irqs(|| {
        if pending != 0 {
            local().softirq_pending.fetch_or(pending, Release);
            Context::here().set_need_resched();
        }
    });
}

/// Starts ksoftirqd/N.
pub fn start_ksoftirqd(cpu: CpuId) -> Result<(), SpawnError> {
    let mut name = *b"ksoftirqd/0";
    name[10] = b'0' + cpu.index() as u8;
    kthread::spawn(ksoftirqd(cpu), Params::DEFAULT, &name, Some(cpu))?;
    CPUS.of(cpu).has_daemon.store(true, Relaxed);
    CPUS.of(cpu).deferred.store(threads_forced(), Relaxed);
    Ok(())
}

async fn ksoftirqd(cpu: CpuId) {
    let this = CPUS.of(cpu);
    loop {
        let any = || !threads_forced() || local_of(cpu).softirq_pending.load(Relaxed) != 0;
        let pending = || (this.deferred.load(Relaxed) && any()).then_some(());
        let _ = this.wait.wait_until(wait_site!("smpboot_thread_fn"), WaitMode::Interruptible, pending).await;
        arch::without_irqs(|| {
            if CpuId::current() == cpu {
                run();
            }
        });
        yield_now(YieldKind::Preempted).await;
    }
}
