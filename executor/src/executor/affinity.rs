//! Which CPUs a task may run on, and moving it when that changes.
//!
//! A task leaves a CPU that it may no longer use at the first of these: while it is queued, at once, a parked poll
//! included ([`set_affinity`]); when its poll is parked, which happens as soon as its CPU has taken the interrupt that it is sent
//! (`preempt`); when its poll ends or EL0 is left (`run`); when it is woken. It travels through the inbox of the CPU that it goes to, like a wake: its link is free, because a task that
//! is queued or parked is pushed by nobody else.

use super::{EXEC, ask_for_choice, push_to, with_entity};
use crate::balance;
use crate::class::Enqueue;
use crate::context::{IrqGuard, PreemptGuard};
use crate::cpu::{ACTIVE, CpuId, CpuMask};
use crate::task::Task;
use core::sync::atomic::{Ordering::SeqCst, fence};

/// The CPU that `task` has to go to, because it may not be on `here`; `None` when it may stay. A mask without a CPU that
/// is active forbids nothing: see `balance::place`.
#[inline(always)]
pub(crate) fn elsewhere(task: &Task, here: CpuId) -> Option<CpuId> {
    if task.affinity().contains(here) { None } else { away_from(task, here) }
}

/// [`elsewhere`] for a mask without `here`.
#[cold]
#[inline(never)]
fn away_from(task: &Task, here: CpuId) -> Option<CpuId> {
    (task.affinity().0 & ACTIVE.load().0 != 0).then(|| balance::place_woken(task, here))
}

/// Whether `task` neither runs on a CPU that it may not use nor is on its way from one: what a caller of [`set_affinity`] may have to wait for
/// (Linux: affine_move_task). A CPU that it is sent to takes it in at once, by the interrupt that it is told with; the caller's own
/// when the caller waits.
pub fn has_left(task: &Task) -> bool {
    with_entity(task, |_, entity, _| {
        // SAFETY: the entity is read under its queue's lock.
        let current = unsafe { entity.as_ref().is_current() };
        let comes = task.next_arrival() == Enqueue::Migrated;
        !current && !comes || task.affinity().contains(task.cpu()) || task.affinity().0 & ACTIVE.load().0 == 0
    })
}

/// Lets `task` run on the CPUs of `mask` only, and makes it leave the CPU on which it is if that is not one of them
/// (Linux: set_cpus_allowed_ptr). `false` for an empty mask. Any context but a hard interrupt; does not wait: a task that
/// runs elsewhere leaves when its CPU has taken the interrupt that it is sent, in the middle of its poll, unless that has
/// preemption off. [`has_left`] says when.
pub fn set_affinity(task: &Task, mask: CpuMask) -> bool {
    let guard = PreemptGuard::new();
    let here = CpuId::current();
    let mut to = None;
    let mut ask = None;
    let mut spread = None;
    let (cpu, ok) = with_entity(task, |rq, entity, now| {
        let cpu = task.cpu();
        if !task.set_affinity(mask) {
            return (cpu, false);
        }
        // SAFETY: the entity is read under its queue's lock.
        let (on_rq, current) = unsafe { (entity.as_ref().on_rq(), entity.as_ref().is_current()) };
        if let Some(target) = elsewhere(task, cpu) {
            if current {
                ask = Some(cpu);
            } else if on_rq {
                // SAFETY: it is on this queue and not current.
                unsafe { rq.dequeue(entity, now) };
                task.set_migrating();
                to = Some(target);
            }
        } else if on_rq && !current {
            // Where it waits nobody may have been able to take it so far.
            spread = Some(cpu);
        }
        (cpu, true)
    });
    // It may lie in that CPU's inbox, which nobody looks at as long as what runs stays before it: the fence of `lets_lie` is
    // the other half.
    fence(SeqCst);
    if ok && to.is_none() && !EXEC.of(cpu).inbox.is_empty() {
        ask = Some(cpu);
    }
    if let Some(target) = to {
        push_to(task, target, here, &IrqGuard::new());
    }
    if let Some(cpu) = ask {
        ask_for_choice(cpu, &guard);
    }
    if let Some(cpu) = spread {
        balance::ask_to_spread(cpu);
    }
    drop(guard);
    ok
}
