//! The loop of one CPU, and what an interrupt's exit asks of it.

use super::usual::{self, Turn};
use super::{CpuExec, IDLE, choose, elsewhere, push_to, yielding::YieldKind};
use crate::arch;
use crate::balance;
use crate::class::{Enqueue, Preempt, PutPrev, RunQueue};
use crate::coarse;
use crate::context::{Context, IrqGuard};
use crate::cpu::{CpuId, local};
use crate::pending::REAP;
use crate::preempt;
use crate::softirq;
use crate::sync::{SpinMaskedGuard, rcu};
use crate::task::state::AfterPending;
use crate::task::{Task, reaper, waker};
use crate::time::{self, Nanos};
use crate::timer;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::*;
use core::task::Context as PollContext;

/// How the loop left a task.
#[derive(Clone, Copy)]
enum Left {
    /// There was none.
    Nothing,
    /// It returned `Pending`.
    Pending(NonNull<Task>),
    /// It returned `Ready` and its future is dropped.
    Dead(NonNull<Task>),
    /// Its poll will never return; its future and its memory stay as they are, for ever.
    #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "no poll is abandoned on a host"))]
    Abandoned(NonNull<Task>),
    /// Its poll was parked, and this loop begins on a spare stack: it can be published now.
    #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "no poll is parked on a host"))]
    Parked(NonNull<Task>),
}

/// The executor loop: never returns. Entered once at the base of each CPU's first stack.
pub fn run() -> ! {
    arch::irq_disable();
    // A CPU counts as idle until it runs: its first polls may read under RCU before it has ever been idle.
    rcu::idle_exit(CpuId::current());
    run_after(Left::Nothing)
}

/// The loop at the base of a spare stack, which takes over because the poll of `parked` has just left its own. The
/// publishing of it, and the first pick, are one transition of the queue. Interrupts masked.
#[cfg(target_os = "none")]
pub(crate) fn run_parked(parked: NonNull<Task>) -> ! {
    run_after(Left::Parked(parked))
}

/// The loop at the base of a spare stack, on which `task`, just woken, is polled first: it is current. Interrupts masked.
#[cfg(target_os = "none")]
#[inline(always)]
pub(crate) fn run_handed_over(task: &Task) -> ! {
    let task_ptr = NonNull::from(task);
    run_after(if poll_task(Context::here(), task_ptr) { Left::Dead(task_ptr) } else { Left::Pending(task_ptr) })
}

/// The loop at the base of a stack whose poll is abandoned: the frames of the poll, above, are not used again. The task is
/// dead, and its reference is kept: what its future put into other lists stays valid. Interrupts masked.
#[cfg(target_os = "none")]
pub(crate) fn run_abandoned() -> ! {
    let ctx = Context::here();
    let Some(task) = NonNull::new(ctx.current().cast_mut()) else { run() };
    // SAFETY: a task is alive as long as it is current.
    unsafe { task.as_ref() }.switch_out();
    ctx.clear_current();
    run_after(Left::Abandoned(task))
}

/// The loop.
///
/// No value with a destructor lives in this frame while a task is picked: when a parked poll is resumed from here, this
/// stack is given back and the frame is never unwound.
fn run_after(first: Left) -> ! {
    arch::irq_disable();
    let ctx = Context::here();
    let mut open = Open::Untidy(first);
    loop {
        let (left, rq, now) = match open {
            Open::Untidy(left) => tidy(ctx, left),
            Open::Locked(left, rq, now) => (left, rq, now),
        };
        let (mut next, mut now) = decide(ctx, left, rq, now);
        open = loop {
            let Some(task) = next else {
                let Some(task) = rest(now) else { break Open::Untidy(Left::Nothing) };
                next = Some(task);
                continue;
            };
            if poll_task(ctx, task) {
                break Open::Untidy(Left::Dead(task));
            }
            // SAFETY: a task that is not dead is alive.
            (next, now) = match usual::turn(ctx, unsafe { task.as_ref() }) {
                Turn::Chosen(next, now) => (next, now),
                Turn::Slept(rq, now) => break Open::Locked(Left::Nothing, rq, now),
                Turn::Notified(rq, now) => break Open::Locked(Left::Pending(task), rq, now),
                Turn::Untidy => break Open::Untidy(Left::Pending(task)),
            };
        };
    }
}

/// What a pass of the loop is about.
enum Open {
    /// How a task was left; what is pending is still to be seen to.
    Untidy(Left),
    /// The same after that, with this CPU's queue locked, at this time.
    Locked(Left, SpinMaskedGuard<'static, RunQueue>, Nanos),
}

/// Sees to what is pending, and locks the queue. Interrupts masked.
#[inline(always)]
fn tidy(ctx: &Context, left: Left) -> (Left, SpinMaskedGuard<'static, RunQueue>, Nanos) {
    // The poll may have moved to another CPU: everything that belongs to a CPU is read again.
    let exec = CpuExec::this();
    // After a poll. Not before what an interrupt has woken out of idling, or a poll was parked for: it will come by again.
    if !matches!(left, Left::Parked(_) | Left::Nothing) {
        exec.count_poll();
        if is_untidy() {
            clean_up();
        }
    }
    // Before the drain: a wake after it sets the flag again.
    ctx.clear_resched();
    rcu::quiescent_here();
    let now = time::now_unordered();
    (left, exec.rq.lock_as_left(), now)
}

/// Does with the task that was `left` what its state asks for, and makes another one current: that, whose poll is not parked, and the
/// time. Interrupts masked.
#[inline(always)]
fn decide(ctx: &'static Context, left: Left, mut rq: SpinMaskedGuard<'static, RunQueue>, now: Nanos) -> (Option<NonNull<Task>>, Nanos) {
    let here = CpuId::current();
    let exec = CpuExec::this();
    rq.begin();
    let dead = match left {
        Left::Nothing => None,
        Left::Pending(task) => {
            // SAFETY: a task that is not dead is alive; the state decides who owns it next.
            settle(ctx, &mut rq, here, unsafe { task.as_ref() }, now);
            None
        }
        Left::Dead(task) => {
            rq.put_prev_inline(PutPrev::Dead, now);
            // SAFETY: the executor's reference keeps it alive.
            unsafe { task.as_ref() }.state.finish();
            Some(task)
        }
        Left::Abandoned(task) => {
            rq.put_prev(PutPrev::Dead, now);
            // SAFETY: the executor's reference is never given back.
            unsafe { task.as_ref() }.state.finish();
            None
        }
        Left::Parked(task) => {
            // SAFETY: as above.
            publish(&mut rq, here, unsafe { task.as_ref() }, now);
            None
        }
    };
    // The event also when idle: real-time throttling ends by it. When there is none, one that is armed may stay and do nothing.
    let (next, event) = choose(exec, &mut rq, here, now);
    let event = balance::settled(exec, &mut rq, here, event, now);
    drop(rq);
    if let Some(event) = event {
        timer::set_slice(here, event);
    }
    if let Some(task) = dead {
        // SAFETY: the task is in no queue any more, and this is the executor's reference.
        unsafe { task.as_ref().put() };
    }
    // SAFETY: an entity in a run queue is that of a live task.
    let next = next.map(|entity| unsafe { Task::of_entity(entity) });
    // SAFETY: a picked task is alive.
    if let Some(task) = next.map(|task| unsafe { task.as_ref() })
        && !task.parked_on.load(Relaxed).is_null()
    {
        preempt::resume(exec, task);
    }
    (next, now)
}

/// Nobody is runnable `since` then: waits for an interrupt, and makes current whom it has woken, if that is all.
#[inline(always)]
fn rest(since: Nanos) -> Option<NonNull<Task>> {
    // Also what others have given, whose polls may not end for long.
    if is_untidy() || reaper::is_pending() {
        clean_up();
        return None;
    }
    let exec = CpuExec::this();
    idle(exec, since);
    usual::woken_alone(exec, CpuId::current())
}

/// Whether dead tasks wait to be freed, or softirqs to be run that were raised outside of an interrupt.
#[inline(always)]
fn is_untidy() -> bool {
    let pending = &local().pending;
    pending.any() != 0 && (pending.any() & REAP != 0 || pending.softirqs() != 0)
}

/// Whether somebody was woken for this CPU and not taken in yet.
pub(crate) fn somebody_came() -> bool {
    !CpuExec::this().inbox.is_empty()
}

/// Frees dead tasks and runs softirqs. Interrupts are masked on entry and on return.
#[cold]
#[inline(never)]
fn clean_up() {
    arch::irq_enable();
    reaper::reap();
    softirq::run_if_pending();
    arch::irq_disable();
}

/// The CPU to which `task`, still runnable, has to go: it may not be here, or is asked for by a CPU that idles.
#[inline(always)]
fn elsewhere_or_sent(task: &Task, here: CpuId) -> Option<CpuId> {
    let exec = CpuExec::this();
    elsewhere(task, here).or_else(|| if exec.has_to_send() { balance::sent(exec, task) } else { None })
}

/// Puts the task whose poll was parked on the queue, now that its stack is left.
fn publish(rq: &mut RunQueue, here: CpuId, task: &Task, now: Nanos) {
    // SAFETY: the entity is this queue's current one, and the lock is held.
    unsafe { task.entity_ptr().as_mut() }.set_parked(true);
    task.state.park();
    rq.put_prev(PutPrev::Preempted, now);
    if let Some(cpu) = elsewhere_or_sent(task, here) {
        // SAFETY: it has just been queued here, and is not current.
        unsafe { rq.dequeue(task.entity_ptr(), now) };
        task.set_migrating();
        push_to(task, cpu, here, &IrqGuard::held());
    }
}

/// Does with the task that has just returned `Pending` what its state asks for.
#[inline(always)]
fn settle(ctx: &Context, rq: &mut RunQueue, here: CpuId, task: &Task, now: Nanos) {
    if task.state.is_notified() {
        return requeue(ctx, rq, here, task, now);
    }
    // Off the queue before the state says IDLE: from then on another CPU may enqueue it on its own.
    rq.put_prev(PutPrev::Sleep, now);
    if task.state.after_pending() == AfterPending::Requeue {
        woken_just_now(rq, here, task, now);
    }
}

/// The task was woken as its poll ended, and has just been taken off: NOTIFIED without RUN makes it ours to enqueue.
#[cold]
#[inline(never)]
pub(super) fn woken_just_now(rq: &mut RunQueue, here: CpuId, task: &Task, now: Nanos) {
    // Its affinity may have changed during the poll: nobody asks again before it runs, perhaps for ever.
    if let Some(cpu) = elsewhere(task, here) {
        // SAFETY: it has just been taken off this queue.
        unsafe { rq.detach(task.entity_ptr()) };
        task.set_migrating();
        return push_to(task, cpu, here, &IrqGuard::held());
    }
    // SAFETY: it is on no queue.
    unsafe { rq.enqueue(task.entity_ptr(), Enqueue::Wakeup, now) };
}

/// The task was woken while it was polled, or has yielded.
#[inline(never)]
fn requeue(ctx: &Context, rq: &mut RunQueue, here: CpuId, task: &Task, now: Nanos) {
    // Taken also when it leaves: the next one on this stack must not be taken to have yielded.
    let kind = ctx.take_yield_kind();
    // Brought up to date here, its averages would say that it had come from where it goes (`FairRq::average`).
    if CpuExec::this().has_to_send() {
        rq.update_current(now);
    }
    if let Some(cpu) = elsewhere_or_sent(task, here) {
        // It may not stay here: it leaves through the other CPU's inbox. It has not given the CPU up itself.
        rq.put_prev(PutPrev::Preempted, now);
        // SAFETY: it has just been queued here, and is not current.
        unsafe { rq.dequeue(task.entity_ptr(), now) };
        let _ = task.state.after_pending();
        task.set_migrating();
        return push_to(task, cpu, here, &IrqGuard::held());
    }
    let why = match kind {
        YieldKind::Yield => PutPrev::Yield,
        YieldKind::Preempted => PutPrev::Preempted,
    };
    rq.put_prev(why, now);
    let after = task.state.after_pending();
    debug_assert_eq!(after, AfterPending::Requeue);
}

/// Polls the task `ptr`, which is not parked; whether that was its end. Interrupts are masked on entry and on return.
#[inline(always)]
fn poll_task(ctx: &'static Context, ptr: NonNull<Task>) -> bool {
    // SAFETY: as above.
    let task = unsafe { ptr.as_ref() };
    task.state.start_poll();
    ctx.set_current(task);
    task.switch_in();
    arch::irq_enable();
    let waker = waker::borrowed(task);
    #[cfg(feature = "stamps")]
    task.stamps().note_poll();
    // SAFETY: RUN is held; no reference into the task is kept across the poll but the shared header.
    let result = unsafe { task.poll(&mut PollContext::from_waker(&waker)) };
    if result.is_ready() {
        end_task(ctx, task);
        return true;
    }
    leave_task(ctx, task);
    false
}

/// The poll of `task` has returned `Ready`.
#[cold]
#[inline(never)]
fn end_task(ctx: &Context, task: &Task) {
    // With interrupts on and still charged to the task: the destructor may be long and may wake others.
    // SAFETY: RUN is held, and a future that returned Ready is not polled again.
    unsafe { task.drop_future() };
    leave_task(ctx, task);
}

/// The poll of `task` is over: masks interrupts, and takes the task off this stack.
#[inline(always)]
fn leave_task(ctx: &Context, task: &Task) {
    debug_check(ctx);
    arch::irq_disable();
    task.switch_out();
    ctx.clear_current();
}

/// Rule 3: no guard crosses an await. A poll that comes back with preemption off or interrupts masked has leaked one.
#[inline(always)]
fn debug_check(ctx: &Context) {
    // First the one that knows the culprit.
    #[cfg(all(debug_assertions, not(loom)))]
    crate::sync::lockdep::assert_none_held();
    debug_assert_eq!(ctx.count(), 0, "a poll returned with preemption off");
    debug_assert!(!arch::irqs_disabled(), "a poll returned with interrupts masked");
}

/// Waits for work. The interrupt that ends the wait is taken at the end, when all of idling is undone. Interrupts are masked on
/// entry and on return.
fn idle(exec: &CpuExec, since: Nanos) {
    let here = CpuId::current();
    IDLE.insert(here);
    if balance::pull(here) {
        IDLE.remove(here);
        return;
    }
    #[cfg(feature = "audit")]
    balance::audit::look(here);
    exec.idle.begin(since);
    coarse::rests(exec, here);
    rcu::idle_enter(here);
    // The idle bit is set before this look, and a waker pushes before it looks at the bit (both SeqCst): whoever comes
    // second sees the other. An IPI that arrives now is pending and ends the WFI although it is masked.
    if exec.inbox.is_empty() && local().pending.softirqs() == 0 && !Context::here().need_resched() {
        timer::reprogram();
        arch::wait_for_interrupt();
    }
    rcu::idle_exit(here);
    IDLE.remove(here);
    exec.idle.end(since, time::now);
    let ctx = Context::here();
    ctx.set_resting(true);
    arch::take_interrupt();
    ctx.set_resting(false);
}

/// What the vector does after an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a wanted reschedule must happen"]
pub enum Stopped {
    /// Go on with what was interrupted.
    No,
    /// Park the interrupted poll: call [`preempt::preempt_irq`] on its stack.
    Park,
    /// Save what is left of the interrupted poll's registers on its stack and go to another one: all the rest is done.
    HandOver(preempt::Handover),
    /// Go on with the executor loop, which has called for the interrupt ([`arch::take_interrupt`]): with interrupts masked, and only
    /// the registers that a called function preserves.
    Return,
}

/// The end of a hard interrupt, after its softirqs: takes in the wakes and decides whether what was interrupted should
/// give way. Interrupts masked; `here` is the block of the interrupt stack that this runs on, `interrupted` that of the
/// stack that was interrupted.
///
/// Not for an interrupt that the loop has called for ([`Context::is_resting`]): it looks at everything itself.
///
/// EL0 is treated as a poll that gives way at its exit: the flags are set and the return path sees them.
#[inline(always)]
pub fn irq_exit(here: &Context, interrupted: &Context, from_el0: bool) -> Stopped {
    let exec = CpuExec::this();
    // The usual reason to park: who was woken in this interrupt outranks the poll, and mostly everybody else who waits: then he is
    // handed the CPU here. Not when stacks are short: a park that fails would leave the inbox as it is.
    // SAFETY: a current task is alive, and so is one in the inbox, which only this CPU takes out.
    let (current, newest) = unsafe { (interrupted.current().as_ref(), exec.inbox.newest_own().as_ref()) };
    if let (Some(current), Some(newest)) = (current, newest)
        && !from_el0
        && interrupted.count() == 0
        && !exec.pool.is_short()
        && newest.outranks(current)
    {
        return preempt::hand_over(exec, interrupted, current, newest).map_or(Stopped::Park, Stopped::HandOver);
    }
    // Whoever wakes on the interrupt stack leaves no wish there; others may.
    here.clear_need_resched();
    if exec.inbox.is_empty() && local().pending.due() == 0 && !interrupted.need_resched() {
        return Stopped::No;
    }
    outranked(exec, interrupted, current, from_el0)
}

/// Something may outrank the interrupted task.
#[inline(never)]
fn outranked(exec: &CpuExec, interrupted: &Context, current: Option<&Task>, from_el0: bool) -> Stopped {
    let Some(current) = current else {
        // The loop itself was interrupted: it drains before it picks. It must not go on to sleep.
        interrupted.set_need_resched();
        return Stopped::No;
    };
    let may_park = !from_el0 && interrupted.count() == 0;
    // If who has come from another CPU outranks the poll, nothing need be asked of the classes: the loop on the new stack takes the
    // inbox in and picks. Should it pick this poll all the same, because the class of who came is throttled, or because he may
    // not run here, the poll goes on.
    // SAFETY: as above.
    if may_park && !exec.pool.is_short() && unsafe { exec.inbox.newest().as_ref() }.is_some_and(|newest| newest.outranks(current)) {
        return Stopped::Park;
    }
    if preempt::reschedule_check(exec, interrupted) < Preempt::HigherClass {
        return Stopped::No;
    }
    interrupted.set_need_resched();
    if may_park { Stopped::Park } else { Stopped::No }
}
