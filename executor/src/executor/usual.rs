//! The usual way from one poll to the next, in fewer steps than the loop's pass takes for everything that may be.

use super::CpuExec;
use super::run::woken_just_now;
use crate::balance;
use crate::class::{Enqueue, PutPrev, RunQueue};
use crate::context::Context;
use crate::cpu::{CpuId, local};
use crate::sync::{SpinMaskedGuard, rcu};
use crate::task::Task;
use crate::task::state::AfterPending;
use crate::time::{self, Nanos};
use crate::timer;
use core::ptr::NonNull;

/// After idling: makes the task current that an interrupt of `here`, this CPU, has woken, if it is the only one that waits. `None`,
/// and nothing done, if it is not as simple as that: the loop's pass will see.
///
/// What the pass does besides is not missed here. Nobody asks an idle CPU's loop to reschedule, and a wish that is left over makes
/// the poll ask the classes once more; the interrupt was a quiescent state for RCU. Interrupts masked; nothing is current.
#[inline(always)]
pub(super) fn woken_alone(exec: &CpuExec, here: CpuId) -> Option<NonNull<Task>> {
    let task = only_arrival(exec, here)?;
    let now = time::now_unordered();
    let mut rq = exec.rq.lock_idle();
    let event = takes_cpu(exec, &mut rq, here, task, now)?;
    let event = balance::settled(exec, &mut rq, here, event, now);
    drop(rq);
    if let Some(event) = event {
        timer::set_slice(here, event);
    }
    Some(NonNull::from(task))
}

/// The task that waits in the inbox of `here`, this CPU, if it is alone there, has been woken by this CPU, on which it was last,
/// and nothing else is to be looked at before a choice. Interrupts masked.
#[inline(always)]
pub(super) fn only_arrival(exec: &CpuExec, here: CpuId) -> Option<&Task> {
    // SAFETY: a task in the inbox is alive, and only this CPU takes it out.
    let task = unsafe { exec.inbox.newest_own().as_ref() }?;
    // What is to be looked at besides: one branch for all of it.
    let simple = exec.inbox.besides(task) | local().pending.any() as usize == 0 && task.is_woken_on(here);
    simple.then_some(task)
}

/// Takes `task`, the [`only_arrival`], out of the inbox and makes it current; nothing is before the call. Answers when the classes must
/// be asked again; `None`, and nothing done, if something as urgent is runnable, or the task may not run here.
#[inline(always)]
pub(super) fn takes_cpu(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, task: &Task, now: Nanos) -> Option<Option<Nanos>> {
    // In the lock, under which affinities change.
    if !task.affinity().contains(here) {
        return None;
    }
    // SAFETY: the task is in no queue (it came from an inbox) and lives until it is dequeued.
    let event = unsafe { rq.enqueue_as_current(task.entity_ptr(), Enqueue::Wakeup, now) }?;
    exec.inbox.take_only_own();
    Some(event)
}

/// What became of the CPU after a poll.
pub(super) enum Turn {
    /// This one is current, not parked; or nobody is runnable. And the time.
    Chosen(Option<NonNull<Task>>, Nanos),
    /// The task sleeps, and the choice is still to be made, at this time. The queue is locked.
    Slept(SpinMaskedGuard<'static, RunQueue>, Nanos),
    /// The task was woken while it was polled, or has yielded: it is still current, at this time. The queue is locked.
    Notified(SpinMaskedGuard<'static, RunQueue>, Nanos),
    /// Nothing was done: something is to be seen to before.
    Untidy,
}

/// After a poll of `task` that has returned `Pending`: it sleeps, and the next one is current, if it is one of the fair tasks that are all there
/// is, or who has come in time, alone, as urgent as anybody. All that the loop's pass does. Interrupts masked.
#[inline(always)]
pub(super) fn turn(ctx: &Context, task: &Task) -> Turn {
    // The poll may have moved to another CPU: everything that belongs to a CPU is read again.
    let local = local();
    let (here, exec) = (local.id, local.exec);
    if local.pending.any() != 0 {
        return Turn::Untidy;
    }
    // Who comes from another CPU after this look interrupts the next poll.
    let came = exec.inbox.waiting();
    ctx.clear_resched();
    rcu::quiescent_here();
    let now = time::now_unordered();
    exec.count_poll();
    let mut rq = exec.rq.lock_as_left();
    let e = task.entity_ptr();
    if task.state.is_notified() {
        return Turn::Notified(rq, now);
    }
    // Off the queue before the state says IDLE: from then on another CPU may enqueue it on its own.
    // SAFETY: the task has just been polled here.
    if unsafe { rq.is_plainly_current(e) } {
        // SAFETY: it has just been answered.
        unsafe { rq.sleep_plainly(e, now) };
        let sleeps = task.state.after_pending() == AfterPending::Sleep;
        if sleeps && came == 0 {
            // SAFETY: an entity in a run queue is that of a live task.
            let next = rq.pick_plainly(now).map(|next| unsafe { Task::of_entity(next) });
            let stays = rq.stays_armed(now);
            if stays && !balance::are_many() {
                return Turn::Chosen(next, now);
            }
            let event = if stays { rq.event_armed() } else { rq.arm_plainly() };
            return chosen(exec, rq, here, next, event, now);
        }
        rq.rest_plainly();
        if !sleeps {
            rq.begin();
            woken_just_now(&mut rq, here, task, now);
            return Turn::Slept(rq, now);
        }
    } else {
        rq.begin();
        rq.put_prev_inline(PutPrev::Sleep, now);
        if task.state.after_pending() == AfterPending::Requeue {
            woken_just_now(&mut rq, here, task, now);
            return Turn::Slept(rq, now);
        }
    }
    let Some(task) = only_arrival(exec, here) else { return Turn::Slept(rq, now) };
    let Some(event) = takes_cpu(exec, &mut rq, here, task, now) else { return Turn::Slept(rq, now) };
    chosen(exec, rq, here, Some(NonNull::from(task)), event, now)
}

/// `next` is current, whose queue's next event is `event`.
#[inline(always)]
fn chosen(
    exec: &CpuExec,
    mut rq: SpinMaskedGuard<'static, RunQueue>,
    here: CpuId,
    next: Option<NonNull<Task>>,
    event: Option<Nanos>,
    now: Nanos,
) -> Turn {
    let event = balance::settled(exec, &mut rq, here, event, now);
    drop(rq);
    if let Some(event) = event {
        timer::set_slice(here, event);
    }
    Turn::Chosen(next, now)
}
