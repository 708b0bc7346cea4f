//! What a CPU does before it idles (Linux: newidle_balance).

use super::averages;
use super::choose::Machine;
use super::cpus::Cpus;
use super::partition::{may_pull, span};
use super::{OVERLOADED, has_others, pressure};
use crate::class::Needs;
use crate::context::IrqGuard;
use crate::cpu::{CpuId, CpuMask};
use crate::executor::{EXEC, push_to};
use crate::platform;
use crate::task::Task;
use crate::time;
use core::sync::atomic::{Ordering::SeqCst, fence};

/// Takes one task that waits on another CPU, the nearest first, into the inbox of `here`. Whether there was one. `here` is this
/// CPU, about to idle, its bit in `IDLE` set; interrupts masked.
#[inline(always)]
pub(crate) fn pull(here: CpuId) -> bool {
    // SeqCst, after the bit in IDLE was set, against `cpus::looks_crowded`.
    OVERLOADED.load_ordered().0 != 0 && pull_from(here)
}

#[cold]
#[inline(never)]
fn pull_from(here: CpuId) -> bool {
    if !has_others(here) {
        return false;
    }
    let mut left = OVERLOADED.load().0 & span(here).0 & !CpuMask::of(here).0;
    let cpus = Cpus { here };
    let place = cpus.place(here.index());
    while let Some(from) = CpuMask(left).iter().min_by_key(|c| place.level(cpus.place(c.index()))) {
        left &= !CpuMask::of(from).0;
        if !may_pull(here, place.level(cpus.place(from.index()))) {
            return false;
        }
        if pull_one(from, here) {
            return true;
        }
    }
    false
}

fn pull_one(from: CpuId, here: CpuId) -> bool {
    let cpus = Cpus { here };
    let exec = EXEC.of(from);
    let mut left = Needs::NOTHING;
    let found = {
        let mut rq = exec.rq.lock_masked();
        // SAFETY: entities that wait on a locked queue are those of live tasks.
        let found = rq.find_waiting(|e| unsafe { cpus.allows(e, here.index()) });
        if let Some(e) = found {
            // SAFETY: it waits there.
            unsafe { rq.dequeue(e, time::now()) };
            // In the lock: `with_entity` looks at it under that until it has arrived.
            // SAFETY: it is off every queue, and that of `from`, on which it was last, is locked.
            left = unsafe { averages::moved(e, from, here, cpus.load(here.index())) };
            pressure::note(&rq, from, time::now());
        } else if !rq.is_crowded() {
            // Before the look at the inbox, which comes after the push in `cpus::lies`.
            OVERLOADED.remove(from);
        }
        found
    };
    if let Some(e) = found {
        // SAFETY: it is runnable and off every queue: nobody's but ours, and alive.
        let task = unsafe { Task::of_entity(e).as_ref() };
        averages::goes(left, from, cpus.load(from.index()));
        task.set_migrating();
        // Nothing is current here: the loop drains before it picks.
        push_to(task, here, here, &IrqGuard::held());
        return true;
    }
    fence(SeqCst);
    if !exec.inbox.is_empty() {
        // Who lies there untold can be taken when that CPU has looked; it sees that this one idles.
        OVERLOADED.insert(from);
        if let Some(p) = platform::get() {
            p.send_reschedule(from);
        }
    }
    false
}
