//! Preemption of a poll: its stack is parked, a spare one takes over.
//!
//! ```text
//!        stack A (poll of T)                    stack B (spare)                       later, on any CPU, from stack C
//!   ──── poll of T ──┐ preempt
//!                    │ pop B, to_publish = T
//!                    └─ switch ───────────────► executor loop: T on the queue, PARKED; pick, poll, pick …
//!                                                                                     pick T: clear PARKED, to_free = C
//!   ◄──────────────────────────────────────────────────────────────────────── switch ─┘
//!   finish_switch: C back to its pool
//!   ──── poll of T goes on
//! ```
//!
//! * T is published only after its stack was left: otherwise another CPU could resume a live stack (bug 3 of
//!   `spec/preemption.md`).
//! * A poll is parked only for a higher class or a higher real-time rank. Fair against fair waits for the poll's end, a
//!   yield point, or the way to EL0; that wish is the lazy flag of the context block (Linux: TIF_NEED_RESCHED_LAZY).
//! * Without a spare stack the poll goes on. It does not come to that by fair tasks: with `pool::LOW_MARK` stacks left
//!   the fair class resumes what it has parked before it polls anything new, so the last ones are for nesting among the
//!   classes above it.
//!
//! [`abandon`] is the end of a poll that must not go on.
//!
//! Two places park: [`preempt_irq`], from the vectors, and [`preempt_schedule`], from the last guard's drop.

use crate::arch;
use crate::balance;
#[cfg(target_os = "none")]
use crate::class::Enqueue;
use crate::class::Preempt;
use crate::coarse;
use crate::context::{Context, StackKind};
#[cfg(target_os = "none")]
use crate::cpu::CpuMask;
use crate::cpu::{CpuId, local};
#[cfg(target_os = "none")]
use crate::executor::EXEC;
use crate::executor::{CpuExec, elsewhere, take_in};
use crate::pending::{DUE_CHOICE, DUE_SEND, DUE_TICK, DUE_TIMERS};
use crate::task::Task;
use crate::time;
use crate::timer;
use crate::trace::{self, KEY_SWITCH};
#[cfg(target_os = "none")]
use core::ptr::null;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::Ordering::*;

unsafe extern "C" {
    /// Saves the callee-saved registers on this stack and SP in `*save`, and goes on at `sp`: the top of a fresh stack
    /// made by `vigil_fresh_stack`, or what an earlier call saved. Supplied by the architecture.
    #[cfg(target_os = "none")]
    fn vigil_switch_stack(save: *mut usize, sp: usize);
    /// The SP with which `vigil_switch_stack` enters `entry` on the unused stack whose context block is `context`.
    #[cfg(target_os = "none")]
    fn vigil_fresh_stack(context: usize, entry: usize) -> usize;
}

/// The base of each spare stack.
#[cfg(target_os = "none")]
extern "C" fn spare_entry() -> ! {
    let parked = CpuExec::this().to_publish.replace(null());
    match NonNull::new(parked.cast_mut()) {
        Some(task) => crate::executor::run_parked(task),
        None => crate::executor::run(),
    }
}

/// Ends the poll that runs on this stack without returning from it: its future is not dropped, the task is dead, and this CPU
/// goes on in an executor loop at the stack's base. For a poll that has faulted. No guard may be alive.
#[cfg(target_os = "none")]
pub fn abandon() -> ! {
    extern "C" fn entry() -> ! {
        crate::executor::run_abandoned()
    }
    arch::irq_disable();
    let mut never_used = 0;
    // SAFETY: the frames at the base belong to a loop that is never returned to; what is written there is below the context
    // block and far above this frame. Nothing switches back to the SP that is saved.
    unsafe {
        let sp = vigil_fresh_stack(core::ptr::from_ref(Context::here()) as usize, entry as *const () as usize);
        vigil_switch_stack(&mut never_used, sp);
    }
    unreachable!("an abandoned poll was entered again")
}

/// Asks the classes, after taking in the inbox, whether the current task of this CPU should give way, and notes a wish
/// that has to wait in `ctx`. Interrupts masked.
pub(crate) fn reschedule_check(exec: &CpuExec, ctx: &Context) -> Preempt {
    ctx.clear_need_resched();
    let now = time::now();
    let mut rq = exec.rq.lock_masked();
    let mut verdict = Preempt::No;
    let here = CpuId::current();
    take_in(exec.inbox.take(), &mut rq, here, now, |rq, entity| verdict = verdict.max(rq.should_preempt(entity, now)));
    let due = local().pending.take_due();
    if due & DUE_TIMERS != 0 {
        coarse::runs_again(here);
    }
    if due & DUE_CHOICE != 0 || due & DUE_TICK != 0 && rq.tick(now) {
        verdict = verdict.max(Preempt::Fair);
    }
    // SAFETY: a current task is alive as long as it is current.
    let may_stay = unsafe { ctx.current().as_ref() }.is_none_or(|current| elsewhere(current, here).is_none());
    if verdict != Preempt::HigherClass && rq.is_outranked() {
        // Also what an earlier call found while preemption was off: its wish was cleared above.
        verdict = Preempt::HigherClass;
    }
    // Company that does not preempt still bounds the slice of the current one. After a tick that said yes the event is
    // in the past until the next pick: not armed again.
    let mut event = if verdict == Preempt::No { rq.next_event(now) } else { None };
    if verdict != Preempt::HigherClass {
        // A poll may go on for long: who has come need not wait for it if another CPU idles.
        event = balance::looks_crowded(exec, &mut rq, here, event, now);
    }
    drop(rq);
    if !may_stay || due & DUE_SEND != 0 {
        (verdict, event) = (Preempt::HigherClass, None);
    }
    match event {
        // That of the classes was not asked for, and stands: the end of a throttling, or of what the current one may run.
        Some(event) if verdict == Preempt::Fair => timer::set_slice_by(here, event),
        Some(event) => timer::set_slice(here, event),
        None => {}
    }
    if verdict == Preempt::Fair {
        ctx.set_lazy_resched();
    }
    verdict
}

/// The last guard is gone and a reschedule is wanted: takes in the inbox, and parks this poll if it is outranked.
///
/// Does nothing in the executor loop, in an interrupt, or with interrupts masked: there the loop, the interrupt's exit,
/// or the next preemption point does it.
#[cold]
#[inline(never)]
pub fn preempt_schedule() {
    let ctx = Context::here();
    if ctx.kind() != StackKind::Cpu || ctx.current().is_null() || arch::irqs_disabled() {
        return;
    }
    while ctx.should_resched() {
        arch::irq_disable();
        if reschedule_check(CpuExec::this(), ctx) == Preempt::HigherClass {
            park(ctx);
        }
        arch::irq_enable();
    }
}

/// From the vectors: [`irq_exit`](crate::executor::irq_exit) said `Park`. On the interrupted stack, interrupts masked.
pub fn preempt_irq() {
    let ctx = Context::here();
    ctx.clear_need_resched();
    park(ctx);
}

/// Where the vectors go on, on a stack of its own, when the poll that they interrupted has given way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handover {
    /// The context block of the unused stack on which [`handed_over`] is entered.
    pub stack: NonNull<Context>,
    /// Where the SP of the stack that is left goes, saved as `vigil_switch_stack` would: the poll is resumed by that.
    pub save: *mut usize,
}

/// Parks the poll that was interrupted and makes `task`, the newest one in the inbox, current instead of it, in one transition: for
/// an urgent task that this interrupt has woken. `None`, and nothing done, if it is not as simple as that. On the interrupt
/// stack; `interrupted` is the block of the stack of `current`'s poll, at count 0. Stacks are not short.
///
/// The run queue's lock is held until the stack is left ([`handed_over`] lets go of it): that publishes the parked poll.
#[cfg(target_os = "none")]
#[inline(never)]
pub(crate) fn hand_over(exec: &CpuExec, interrupted: &Context, current: &Task, task: &Task) -> Option<Handover> {
    let here = CpuId::current();
    if !exec.inbox.is_only(task) || local().pending.due() != 0 || !task.is_woken_on(here) {
        return None;
    }
    let stack = exec.pool.pop_own()?;
    let now = time::now();
    let mut rq = exec.rq.lock_masked();
    // In the lock, under which affinities change: after a look before it either could be forbidden this CPU, and stay here.
    if !CpuMask(task.affinity().0 & current.affinity().0).contains(here) {
        exec.pool.push_here(stack);
        return None;
    }
    // SAFETY: the task is in no queue (it came from an inbox) and lives until it is dequeued.
    let Some(event) = (unsafe { rq.park_current_for(task.entity_ptr(), Enqueue::Wakeup, now) }) else {
        exec.pool.push_here(stack);
        return None;
    };
    exec.inbox.take_only_own();
    exec.handed_over.set(task);
    if let Some(event) = event {
        timer::set_slice(here, event);
    }
    leave(interrupted, current);
    current.state.park();
    rq.keep_over_switch();
    Some(Handover { stack, save: interrupted.saved_sp_ptr() })
}

/// The base of a stack that a [`Handover`] enters: interrupts masked, the run queue locked.
#[cfg(target_os = "none")]
pub extern "C" fn handed_over() -> ! {
    let exec = CpuExec::this();
    if balance::are_many() {
        // Not before, or who was parked could be sent away with his stack still in use; and before anybody sees him wait.
        // SAFETY: as below.
        let event = balance::handed_over(exec, unsafe { exec.rq.held_after_switch() });
        if let Some(event) = event {
            timer::set_slice(CpuId::current(), event);
        }
    }
    // SAFETY: `hand_over` took it on this CPU, and its stack is left.
    unsafe { exec.rq.unlock_after_switch() };
    // SAFETY: `hand_over` has stored the task that it has made current: it is alive.
    crate::executor::run_handed_over(unsafe { &*exec.handed_over.get() })
}

/// On a host there is one stack per simulated CPU.
#[cfg(not(target_os = "none"))]
pub(crate) fn hand_over(_exec: &CpuExec, _interrupted: &Context, _current: &Task, _task: &Task) -> Option<Handover> {
    None
}

/// The executor leaves `task`, whose poll stays on the stack of `ctx`.
#[cfg(target_os = "none")]
#[inline(always)]
fn leave(ctx: &Context, task: &Task) {
    task.switch_out();
    task.parked_on.store(core::ptr::from_ref(ctx).cast_mut(), Relaxed);
}

/// Leaves this stack to its poll and goes on in an executor loop on a spare one. Returns when the poll is resumed.
#[cfg(target_os = "none")]
fn park(ctx: &'static Context) {
    let exec = CpuExec::this();
    let current = ctx.current();
    // SAFETY: the current task is alive while it is current.
    let task = unsafe { &*current };
    let Some(spare) = exec.pool.pop() else {
        // No stack: the poll goes on. The wish stays, for its end and for the way to EL0.
        ctx.set_lazy_resched();
        return;
    };
    leave(ctx, task);
    exec.to_publish.set(current);
    // SAFETY: the spare is nobody's; the switch returns here with this stack intact when the poll is resumed.
    unsafe {
        let sp = vigil_fresh_stack(spare.as_ptr() as usize, spare_entry as *const () as usize);
        vigil_switch_stack(ctx.saved_sp_ptr(), sp);
    }
    finish_switch();
}

/// On a host there is one stack per simulated CPU: the wish waits for the poll's end.
#[cfg(not(target_os = "none"))]
fn park(ctx: &'static Context) {
    ctx.set_lazy_resched();
}

/// Goes back to the parked poll of `task`; this stack is given back. Interrupts masked. Does not return.
pub(crate) fn resume(exec: &CpuExec, task: &Task) {
    let target = task.parked_on.swap(null_mut(), Relaxed);
    // Its own CPU's, masked: no read-modify-write.
    exec.parks.store(exec.parks.load(Relaxed).wrapping_add(1), Relaxed);
    {
        // Others read entities under this lock.
        let _rq = exec.rq.lock();
        // SAFETY: the entity is this queue's current one, and the lock is held.
        unsafe { task.entity_ptr().as_mut() }.set_parked(false);
    }
    task.state.resume();
    let here = Context::here();
    exec.to_free.set(here);
    // The stack that a CPU runs on is its own; the one it leaves goes to where the poll was parked. So each pool is full
    // again when nothing is parked, however the polls have moved (bug 7 of `spec/preemption.md`).
    // SAFETY: a stack's context block is never freed, and this one is the parked poll's, which is ours.
    if let Some(parked) = unsafe { target.as_ref() } {
        let home = parked.home_cpu();
        parked.set_home_cpu(here.home_cpu());
        here.set_home_cpu(home);
    }
    task.switch_in();
    if arch::is_traced::<KEY_SWITCH>() {
        trace::tell(trace::Event::Resumed(task));
    }
    #[cfg(target_os = "none")]
    {
        let mut never_used = 0;
        // SAFETY: `target` is the context block of the stack that `park` left, and PARKED was set after it was left.
        unsafe { vigil_switch_stack(&mut never_used, (*target).saved_sp()) };
    }
    #[cfg(not(target_os = "none"))]
    let _ = target;
    unreachable!("the stack of an abandoned executor loop was entered again");
}

/// The first code of a poll that is resumed: gives back the stack of the loop that was left for it. Interrupts masked.
#[cfg(target_os = "none")]
pub fn finish_switch() {
    // Not the caller's: the poll may have been resumed on another CPU.
    let exec = CpuExec::this();
    if let Some(stack) = NonNull::new(exec.to_free.replace(null()).cast_mut()) {
        // SAFETY: nobody runs on that stack any more.
        let home = unsafe { stack.as_ref() }.home_cpu();
        let home = crate::cpu::CpuId::new(home as usize).unwrap_or(crate::cpu::CpuId::BOOT);
        // SAFETY: as above; its flow is over, so its count and current start anew.
        unsafe { stack.as_ref().reset() };
        if home == CpuId::current() {
            exec.pool.push_here(stack)
        } else {
            EXEC.of(home).pool.push(stack)
        };
    }
}
