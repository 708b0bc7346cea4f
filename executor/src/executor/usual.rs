//! The usual way from one poll to the next, in fewer steps than the loop's pass takes for everything that may be.

use super::CpuExec;
use crate::balance;
use crate::class::Enqueue;
use crate::cpu::CpuId;
use crate::task::Task;
use crate::time;
use crate::timer;
use core::ptr::NonNull;

/// After idling: makes the task current that an interrupt of `here`, this CPU, has woken, if it is the only one that waits. `None`,
/// and nothing done, if it is not as simple as that: the loop's pass will see.
///
/// What the pass does besides is not missed here. Nobody asks an idle CPU's loop to reschedule, and a wish that is left over makes
/// the poll ask the classes once more; the interrupt was a quiescent state for RCU. Interrupts masked; nothing is current.
#[inline(always)]
pub(super) fn woken_alone(exec: &CpuExec, here: CpuId) -> Option<NonNull<Task>> {
    // SAFETY: a task in the inbox is alive, and only this CPU takes it out.
    let task = unsafe { exec.inbox.newest_own().as_ref() }?;
    // What is to be looked at besides: one branch for all of it.
    if exec.inbox.besides(task) | exec.due() as usize != 0 || exec.pool.is_short() || !task.is_woken_on(here) {
        return None;
    }
    let now = time::now_unordered();
    let mut rq = exec.rq.lock_idle();
    // In the lock, under which affinities change.
    if !task.affinity().contains(here) {
        return None;
    }
    // SAFETY: the task is in no queue (it came from an inbox) and lives until it is dequeued.
    let event = unsafe { rq.enqueue_as_current(task.entity_ptr(), Enqueue::Wakeup, now) }?;
    exec.inbox.take_only_own();
    let event = balance::settled(exec, &mut rq, here, event, now);
    drop(rq);
    if let Some(event) = event {
        timer::set_slice(here, event);
    }
    Some(NonNull::from(task))
}
