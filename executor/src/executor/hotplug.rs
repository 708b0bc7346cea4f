//! CPUs that come and go while others run (Linux: kernel/cpu.c, `sched_cpu_deactivate`, `balance_push`, stop_machine).
//!
//! ```text
//!   who asks                                  migration/N, the stop task of the CPU that goes
//!   deactivate: ACTIVE -= N
//!   stop ────────────────────── wake ───────► sends away everybody who is queued, also who is held back or parked
//!                                             ONLINE -= N
//!                                             waits for a grace period: whoever had seen N active has sent what he sends
//!                                             masks interrupts, sends away who came meanwhile
//!                                             power_off ─────────────────────────────────┐
//!   is_stopped; takes over timers,            (the poll goes on here, on its stack)      │ CPU_ON
//!   callbacks, softirqs                       ◄──────────────────────────────────────────┘
//!   activate: ACTIVE += N                     ONLINE += N; sleeps again
//! ```
//!
//! The CPU goes in the middle of the stop task's poll, and comes back there. So its stacks, its pool and its loop stay as they are,
//! nothing is freed or made anew, and no path of the executor asks whether a CPU is about to go. A wake is a section with
//! interrupts masked, the start of a task one with preemption off, so a grace period is also the end of all that have read ACTIVE, ONLINE
//! or IDLE before it.
//!
//! Who sleeps stays as he is: his next wake finds his CPU not active. What a deadline task has of its reservation there is let go
//! of by the CPU itself.

use super::{CpuExec, EXEC, push_to, take_in};
use crate::arch;
use crate::balance;
use crate::class::{Enqueue, Params, PickLimit, PutPrev};
use crate::coarse;
use crate::context::IrqGuard;
use crate::cpu::{ACTIVE, CpuId, CpuMask, MAX_CPUS, ONLINE, PerCpu};
use crate::platform;
use crate::sync::rcu;
use crate::task::{SpawnError, Spawned, Task};
use crate::time::{self, Nanos};
use crate::timer;
use crate::wait::{WaitMode, WaitQueue};
use crate::wait_site;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

struct Stopper {
    asked: AtomicBool,
    wait: WaitQueue,
    /// Nanoseconds that it was not online, up to the last time that it came.
    away: AtomicU64,
    /// When it went last; 0 at first.
    since: AtomicU64,
}

static STOPPERS: PerCpu<Stopper> = PerCpu::new(
    [const { Stopper { asked: AtomicBool::new(false), wait: WaitQueue::new(), away: AtomicU64::new(0), since: AtomicU64::new(0) } };
        MAX_CPUS],
);

/// The CPU cannot be spared (EBUSY): it is the last one, or the others cannot keep what deadline tasks were promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needed;

fn active_after(cpu: CpuId) -> u64 {
    u64::from((ACTIVE.load().0 & !CpuMask::of(cpu).0).count_ones())
}

/// Makes the stop task of `cpu`. On it, once.
pub fn start_stopper(cpu: CpuId) -> Result<(), SpawnError> {
    Spawned::start_of_cpu(cpu, stopper(cpu), Params::STOP, *b"migration/0")
}

/// This CPU is about to run its loop, for the first time or again. Interrupts masked.
pub fn come_online(cpu: CpuId) {
    let this = STOPPERS.of(cpu);
    let away = time::now().saturating_sub(this.since.load(Relaxed));
    this.away.fetch_add(away, Relaxed);
    ONLINE.insert(cpu);
}

/// How long `cpu` was not online since boot.
pub(super) fn offline_time(cpu: CpuId) -> Nanos {
    let this = STOPPERS.of(cpu);
    let now = if ONLINE.load().contains(cpu) { 0 } else { time::now().saturating_sub(this.since.load(Relaxed)) };
    this.away.load(Relaxed).saturating_add(now)
}

/// Tasks may be sent to `cpu`, which is online.
pub fn activate(cpu: CpuId) {
    ACTIVE.insert(cpu);
    // More CPUs can keep what fewer have promised.
    balance::partition::cpus_changed();
}

/// No more tasks are sent to `cpu`; those that are there stay till [`stop`]. One such change at a time: the caller's business.
pub fn deactivate(cpu: CpuId) -> Result<(), Needed> {
    let left = active_after(cpu);
    if left == 0 || balance::partition::try_leave(cpu).is_err() {
        return Err(Needed);
    }
    ACTIVE.remove(cpu);
    balance::leave(cpu);
    Ok(())
}

/// Makes `cpu`, which is not active, send away its tasks and power itself off. Does not wait: [`Platform::power_off`] on that CPU
/// is the end of it.
///
/// [`Platform::power_off`]: crate::platform::Platform::power_off
pub fn stop(cpu: CpuId) {
    let this = STOPPERS.of(cpu);
    this.asked.store(true, Release);
    this.wait.wake_all();
}

/// The life of migration/N.
async fn stopper(cpu: CpuId) {
    let this = STOPPERS.of(cpu);
    loop {
        let asked = || this.asked.swap(false, AcqRel).then_some(());
        // Interruptible, so that it does not count as load; nobody signals it.
        if this.wait.wait_until(wait_site!("smpboot_thread_fn"), WaitMode::Interruptible, asked).await.is_ok() {
            go(cpu);
        }
    }
}

/// Goes, and comes back. In the poll of the stop task, which nothing preempts.
fn go(here: CpuId) {
    let exec = CpuExec::this();
    evict(exec, here);
    ONLINE.remove(here);
    rcu::synchronize_spinning(here);
    arch::irq_disable();
    // Nobody else sends anything from here on, and no interrupt wakes anybody.
    evict(exec, here);
    let entity = {
        let mut rq = exec.rq.lock();
        let me = rq.current();
        rq.put_prev(PutPrev::Sleep, time::now());
        rq.retire();
        balance::pressure::note(&rq, here, time::now());
        me
    };
    timer::stop();
    if let Some(p) = platform::get() {
        p.cpu_dying();
    }
    rcu::idle_enter(here);
    STOPPERS.of(here).since.store(time::now(), Relaxed);
    if let Some(p) = platform::get() {
        p.power_off();
    }
    rcu::idle_exit(here);
    {
        let mut rq = exec.rq.lock();
        let now = time::now();
        if let Some(entity) = entity {
            // SAFETY: this poll's own entity, which was taken off above; the queue is empty but for it.
            unsafe { rq.enqueue(entity, Enqueue::Wakeup, now) };
        }
        let picked = rq.pick(PickLimit::Any, now);
        debug_assert_eq!(picked, entity, "somebody was left behind");
        let _ = balance::settled(exec, &mut rq, here, None, now);
    }
    timer::reprogram();
    come_online(here);
    arch::irq_enable();
}

/// Sends away everybody who is queued here, or in the inbox, to CPUs that are active. Interrupts as they are.
fn evict(exec: &CpuExec, here: CpuId) {
    while arch::without_irqs(|| evict_one(exec, here)) {}
}

/// Whether there was one. Interrupts masked.
fn evict_one(exec: &CpuExec, here: CpuId) -> bool {
    let mut rq = exec.rq.lock();
    let now = time::now();
    take_in(exec.inbox.take(), &mut rq, here, now, |_, _| {});
    let Some(entity) = rq.first_queued(now) else { return false };
    // SAFETY: it is queued here and not current, under the queue's lock; a queued entity is that of a live task, which is nobody's
    // but ours when it is off.
    let task = unsafe {
        rq.dequeue(entity, now);
        Task::of_entity(entity).as_ref()
    };
    task.set_migrating();
    push_to(task, balance::place_evicted(task, here), here, &IrqGuard::held());
    true
}

/// `gone` has powered itself off: what it has left is this CPU's. In a task.
pub fn take_over(gone: CpuId) {
    debug_assert!(EXEC.of(gone).inbox.is_empty(), "a wake was sent to a CPU that has gone");
    timer::take_over(gone);
    timer::take_over_due(gone);
    coarse::take_over(gone);
    rcu::take_over(gone);
}
