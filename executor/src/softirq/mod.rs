//! Bottom halves: softirqs at the exit of a hard interrupt, ksoftirqd, and tasklets (seed_000_part2.md 4.3).
//!
//! ```text
//!   hard interrupt ─ raise ─► pending word of the CPU ─ outermost exit ─► rounds: every pending one, lowest number first, interrupts on
//!   poll ─────────── raise ─►        "                ─ end of the poll ─►    "    again while more is raised, within the budget
//!                                                                             └─ more than that ─► ksoftirqd/N
//! ```
//!
//! A handler raises a number; the outermost interrupt exit runs what is pending on the IRQ stack with interrupts on,
//! for at most ten rounds or 2 ms (Linux: MAX_SOFTIRQ_RESTART, MAX_SOFTIRQ_TIME), and no further round when somebody was woken. What
//! is raised outside of an interrupt runs in the executor loop, when the poll gives way; Linux wakes ksoftirqd for it, because it has
//! no such place. What is still pending after the budget belongs to ksoftirqd/N, a fair task of that CPU, so that a flood of interrupts
//! competes by weight like everything else; until it is through, nobody else runs them (Linux: ksoftirqd_running).
//!
//! A softirq never interrupts another one of its CPU; the same one may run on several CPUs at once. Who wants neither uses a
//! [`Tasklet`]. Softirqs are held back on a CPU by a [`BhGuard`](crate::context::BhGuard), whose end runs them.
//!
//! RCU is one that is raised: see [`crate::sync::rcu`]; [coarse](crate::coarse) and [soft](crate::timer::SoftTimer) timers are
//! others. The other timers expire in the hard interrupt, and for block requests and packets the interrupt wakes a future, which is the bottom half.

mod run;
mod tasklet;

pub use run::{idle_irq_exit, irq_exit, leave_to_threads, run_if_pending, start_ksoftirqd, take_over};
pub use tasklet::Tasklet;

use crate::arch;
use crate::coarse;
use crate::context::{Context, in_interrupt};
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu, local, local_of};
use crate::platform;
use crate::sync::rcu;
use crate::timer;
use crate::trace::{self, Event, KEY_SOFTIRQ};
use crate::wait::WaitQueue;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

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
pub const NAMES: [&str; COUNT] = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

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

/// Opens those of the executor. Before the first task.
pub fn init() {
    open(Softirq::Hi, tasklet::run_hi);
    open(Softirq::Timer, coarse::softirq);
    open(Softirq::Tasklet, tasklet::run_normal);
    open(Softirq::HrTimer, timer::softirq);
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
        local_of(cpu).pending.set(1 << softirq as u32);
    }
    if others.0 != 0
        && let Some(p) = platform::get()
    {
        p.send_reschedule_mask(others);
    }
}

/// Marks `softirq` pending on this CPU. Interrupts masked, or in a softirq.
#[inline]
pub fn raise_here(softirq: Softirq) {
    if arch::is_traced::<KEY_SOFTIRQ>() {
        trace::tell(Event::SoftirqRaised(softirq as u32));
    }
    local().pending.set(1 << softirq as u32);
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
