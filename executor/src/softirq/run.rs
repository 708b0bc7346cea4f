//! When softirqs run, for how long, and who goes on with them.

use super::{COUNT, CPUS, HANDLERS, tasklet};
use crate::arch;
use crate::class::Params;
use crate::context::{Context, SOFTIRQ_OFFSET, StackKind};
use crate::cpu::{CpuId, local, local_of};
use crate::executor::{YieldKind, somebody_came, yield_now};
use crate::pending::REAP;
use crate::sync::rcu;
use crate::task::{SpawnError, Spawned};
use crate::time::{self, MSEC};
use crate::trace::{self, Event, KEY_SOFTIRQ};
use crate::wait::WaitMode;
use crate::wait_site;
use core::sync::atomic::{AtomicBool, Ordering::*};

const MAX_ROUNDS: u32 = 10;
const MAX_TIME: u64 = 2 * MSEC;

/// Everything is ksoftirqd's, always.
static TO_THREADS: AtomicBool = AtomicBool::new(false);

/// From now on softirqs run in ksoftirqd alone (the word `threadirqs`). Before the first [`start_ksoftirqd`].
pub fn leave_to_threads() {
    TO_THREADS.store(true, Relaxed);
}

fn to_threads() -> bool {
    TO_THREADS.load(Relaxed)
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
    if local().pending.softirqs() != 0 && interrupted.kind() != StackKind::Irq && !interrupted.softirqs_off() {
        run(false);
    }
}

/// [`irq_exit`] of an interrupt for which the executor's loop has called on an idle CPU: that says itself when it is quiescent.
#[inline(always)]
pub fn idle_irq_exit() {
    if local().pending.softirqs() != 0 {
        run(false);
    }
}

/// Bottom halves are on again, or this is the executor loop: runs what became pending. Interrupts may be on.
pub fn run_if_pending() {
    if local().pending.softirqs() != 0 {
        let state = arch::irq_save();
        run(false);
        arch::irq_restore(state);
    }
}

/// Runs what is pending, within the budget, unless it is ksoftirqd's, and this is not it; with `threadirqs` it always is. Interrupts
/// masked on entry and return, on in between.
#[cold]
#[inline(never)]
fn run(is_daemon: bool) {
    let ctx = Context::here();
    let (cpu, word) = (CPUS.this(), &local().pending);
    if cpu.deferred.load(Relaxed) && !is_daemon {
        if to_threads() {
            cpu.wait.wake_all();
        }
        return;
    }
    let begun = time::now();
    ctx.add(SOFTIRQ_OFFSET);
    for _ in 0..MAX_ROUNDS {
        let pending = word.take_softirqs();
        if pending == 0 {
            break;
        }
        arch::irq_enable();
        let mut rest = pending;
        while let Some(i) = lowest(rest) {
            rest &= rest - 1;
            // Only the bottom half of this CPU writes it.
            let count = &cpu.counts[i];
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
            if arch::is_traced::<KEY_SOFTIRQ>() {
                trace::tell(Event::SoftirqBegins(i as u32));
            }
            let handler = HANDLERS[i].load(Acquire);
            if !handler.is_null() {
                // SAFETY: only `open` stores here, and it stores a `fn()`.
                let handler: fn() = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
                handler();
            }
            if arch::is_traced::<KEY_SOFTIRQ>() {
                trace::tell(Event::SoftirqEnds(i as u32));
            }
        }
        arch::irq_disable();
        // Who was woken meanwhile comes before another round.
        if ctx.need_resched() || somebody_came() {
            break;
        }
        if time::now().saturating_sub(begun) > MAX_TIME {
            break;
        }
    }
    ctx.sub(SOFTIRQ_OFFSET);
    cpu.time.fetch_add(time::now().saturating_sub(begun), Relaxed);
    let more = word.softirqs() != 0 && cpu.has_daemon.load(Relaxed);
    cpu.deferred.store(more || (to_threads() && cpu.has_daemon.load(Relaxed)), Relaxed);
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
    CPUS.of(gone).deferred.store(to_threads(), Relaxed);
    arch::without_irqs(|| {
        tasklet::take_over(gone);
        let pending = local_of(gone).pending.take_softirqs() | local_of(gone).pending.take(REAP);
        if pending != 0 {
            local().pending.set(pending);
            Context::here().set_need_resched();
        }
    });
}

/// Starts ksoftirqd/N.
pub fn start_ksoftirqd(cpu: CpuId) -> Result<(), SpawnError> {
    Spawned::start_of_cpu(cpu, ksoftirqd(cpu), Params::DEFAULT, *b"ksoftirqd/0")?;
    CPUS.of(cpu).has_daemon.store(true, Relaxed);
    CPUS.of(cpu).deferred.store(to_threads(), Relaxed);
    Ok(())
}

async fn ksoftirqd(cpu: CpuId) {
    let this = CPUS.of(cpu);
    loop {
        let any = || !to_threads() || local_of(cpu).pending.softirqs() != 0;
        let pending = || (this.deferred.load(Relaxed) && any()).then_some(());
        let _ = this.wait.wait_until(wait_site!("smpboot_thread_fn"), WaitMode::Interruptible, pending).await;
        arch::without_irqs(|| {
            if CpuId::current() == cpu {
                run(true);
            }
        });
        yield_now(YieldKind::Preempted).await;
    }
}
