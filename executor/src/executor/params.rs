//! What a task is to its class: read and changed under the lock of the queue that it belongs to, wherever it is.

use super::{EXEC, ask_for_choice};
use crate::balance;
use crate::class::{Entity, Params, RunQueue};
use crate::context::PreemptGuard;
use crate::sync::rt_mutex;
use crate::task::Task;
use crate::time::{self, Nanos};
use core::ptr::NonNull;
use core::sync::atomic::{Ordering::SeqCst, fence};

/// Runs `f` on the entity of `task` with the lock of the run queue that it belongs to; `f` gets the queue as well.
///
/// For everything that changes or reads class parameters: `sched_setscheduler`, `nice`, `/proc/PID/schedstat`.
pub fn with_entity<R>(task: &Task, f: impl FnOnce(&mut RunQueue, NonNull<Entity>, Nanos) -> R) -> R {
    loop {
        let cpu = task.cpu();
        let mut rq = EXEC.of(cpu).rq.lock_irq();
        // A task that sleeps, or is on its way, may arrive at another queue at any time: not while this is held.
        task.lock_move();
        if task.cpu() == cpu {
            let r = f(&mut rq, task.entity_ptr(), time::now());
            task.unlock_move();
            return r;
        }
        // It moved between the read and the lock.
        task.unlock_move();
    }
}

/// Changes how `task` is scheduled. While it is lent a higher priority (`rt_mutex`) it keeps that.
pub fn set_params(task: &Task, params: Params) {
    rt_mutex::set_normal_params(task, params);
}

/// Changes the nice value of `task`, whatever its policy is; the rest stays.
pub fn set_nice(task: &Task, nice: i8) {
    rt_mutex::set_normal_nice(task, nice);
}

/// The parameters that `task` was given: without what is lent to it.
pub fn params(task: &Task) -> Params {
    rt_mutex::normal_params(task)
}

/// Makes `task` run with `params`, and reschedules its CPU when the order of its queue changed.
pub(crate) fn apply_params(task: &Task, params: Params) {
    apply(task, |rq, entity, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held.
        let resched = unsafe { rq.set_params(entity, params, now) };
        task.note_params(&params);
        (resched, ())
    });
}

/// Changes what `task` is to its class by `f`, which says whether the order of its queue changed.
pub(crate) fn apply<R>(task: &Task, f: impl FnOnce(&mut RunQueue, NonNull<Entity>, Nanos) -> (bool, R)) -> R {
    let guard = PreemptGuard::new();
    let (cpu, current, changed, (resched, r)) = with_entity(task, |rq, entity, now| {
        // SAFETY: the entity is read under its queue's lock.
        let urgency = || unsafe { entity.as_ref() }.urgency();
        let before = urgency();
        let r = f(rq, entity, now);
        // SAFETY: as above.
        let (on_rq, current) = unsafe { (entity.as_ref().on_rq(), entity.as_ref().is_current()) };
        (task.cpu(), current, on_rq && urgency() != before, r)
    });
    // What lies in the inbox lies there by what the parameters were: the fence of `lets_lie` is the other half.
    fence(SeqCst);
    // What a CPU runs it says when it chooses: those that something more urgent waits on must hear of it (Linux: prio_changed_rt,
    // switched_from_rt).
    if resched || !EXEC.of(cpu).inbox.is_empty() || changed && current && balance::are_many() {
        ask_for_choice(cpu, &guard);
    } else if changed && task.is_realtime() {
        // It may run at once elsewhere (Linux: switched_to_rt).
        balance::ask_to_spread(cpu);
    }
    drop(guard);
    r
}

/// Places `child`, which does not run yet, as a fork of `parent` (Linux: task_fork_fair).
pub fn inherit(parent: &Task, child: &crate::task::Spawned) {
    with_entity(parent, |rq, entity, now| {
        if rq.current() == Some(entity) {
            rq.update_current(now);
        }
        // SAFETY: the parent's entity under its queue's lock; the child's is nobody else's before it is started.
        unsafe { child.task().entity_ptr().as_mut().inherit_from(entity.as_ref()) };
    });
}

/// The parameters that `task` runs with now.
pub fn effective_params(task: &Task) -> Params {
    // SAFETY: the entity is read under its queue's lock.
    with_entity(task, |_, entity, _| unsafe { entity.as_ref().params() })
}

/// Run time of `task` so far, in nanoseconds, the present stay on its CPU included.
pub fn run_time(task: &Task) -> Nanos {
    with_entity(task, |rq, entity, now| {
        if rq.current() == Some(entity) {
            rq.update_current(now);
        }
        // SAFETY: the entity is read under its queue's lock.
        unsafe { entity.as_ref().sum_exec_runtime() }
    })
}
