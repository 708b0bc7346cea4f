//! Reservations of tasks: the deadline class seen from outside. For threads of user space and kernel futures alike: whoever has
//! one runs before everything else within its budget, and not at all beyond it.

use super::tuning::{tunables, tune};
use super::{Params, with_entity};
use crate::class::deadline::domain::{DOMAINS, Domain, Overflow};
use crate::class::{DlParams, Entity, Policy, Reservation};
use crate::lock_class;
use crate::platform;
use crate::sync::{SpinLock, rt_mutex};
use crate::task::{SpawnError, Task};
use crate::time::{self, Nanos};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

/// Why a reservation was not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// No memory (ENOMEM).
    NoMemory,
    /// More than the CPUs can promise (EBUSY).
    Busy,
}

/// Frees what nobody uses any more.
fn free(r: NonNull<Reservation>) {
    // SAFETY: `prepare` allocated it, there is nothing in it to drop, and nobody reaches it any more.
    unsafe { dealloc(r.as_ptr().cast(), Layout::new::<Reservation>()) };
}

fn free_garbage() {
    for domain in &DOMAINS {
        while let Some(r) = domain.take_garbage() {
            free(r);
        }
    }
}

/// Gives `task` what it needs to be in the deadline class. Once for each task; more often does no harm.
pub(crate) fn prepare(task: &Task) -> Result<(), SpawnError> {
    free_garbage();
    // SAFETY: the entity is read under its queue's lock.
    if with_entity(task, |_, e, _| unsafe { e.as_ref() }.reservation().is_some()) {
        return Ok(());
    }
    // SAFETY: the layout is not empty.
    let new = NonNull::new(unsafe { alloc(Layout::new::<Reservation>()) }.cast::<Reservation>()).ok_or(SpawnError::NoMemory)?;
    // SAFETY: freshly allocated for this type.
    unsafe { new.write(Reservation::new(task.entity_ptr(), overran)) };
    let spare = with_entity(task, |_, mut e, _| {
        // SAFETY: the entity is changed under its queue's lock.
        let e = unsafe { e.as_mut() };
        let taken = e.reservation().is_some();
        if !taken {
            e.set_reservation(new);
        }
        taken
    });
    if spare {
        free(new);
    }
    Ok(())
}

fn overran(e: NonNull<Entity>) {
    if let Some(p) = platform::get() {
        // SAFETY: `prepare` made the reservation for a task's entity, and its queue is locked.
        p.budget_overrun(unsafe { Task::of_entity(e).as_ref() });
    }
}

/// The task is freed: so is what [`prepare`] gave it, at its 0-lag time.
pub(crate) fn forget(r: Option<NonNull<Reservation>>) {
    if let Some(r) = r {
        free_garbage();
        // SAFETY: nobody reaches it any more, but the list of its domain.
        if unsafe { Domain::abandon(r, time::now()) } {
            free(r);
        }
    }
}

/// Gives `task` a reservation (Linux: sched_setattr with SCHED_DEADLINE), or changes the one that it has. `p` is
/// [valid](DlParams::is_valid). What is lent to it it keeps.
pub fn set_deadline(task: &Task, nice: i8, p: DlParams) -> Result<(), Refused> {
    prepare(task).map_err(|_| Refused::NoMemory)?;
    rt_mutex::set_normal_deadline(task, Params { policy: Policy::Deadline, nice, rt_priority: 0 }, p).map_err(|Overflow| Refused::Busy)
}

/// The first half of [`set_deadline`]: the promise.
pub(crate) fn reserve(task: &Task, p: DlParams) -> Result<(), Overflow> {
    super::apply(task, |rq, e, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held; it was prepared.
        match unsafe { rq.reserve(e, p, now) } {
            Ok(resched) => (resched, Ok(())),
            Err(overflow) => (false, Err(overflow)),
        }
    })
}

/// `task` has another policy now: what it was promised is given back.
pub(crate) fn give_back(task: &Task) {
    with_entity(task, |rq, e, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held.
        unsafe { rq.give_back(e, now) };
    });
}

/// Lets `task` run by the reservation of somebody who waits for it, or by its own again; whether that is a change.
pub(crate) fn lend(task: &Task, p: Option<DlParams>) -> bool {
    super::apply(task, |rq, e, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held; whoever takes part was prepared.
        unsafe {
            let changed = e.as_ref().reservation().is_some_and(|r| r.lent() != p);
            (rq.lend(e, p, now), changed)
        }
    })
}

/// What `task` was promised; `None` without a reservation.
pub fn deadline(task: &Task) -> Option<DlParams> {
    // SAFETY: the entity is read under its queue's lock.
    let p = with_entity(task, |_, e, _| unsafe { e.as_ref() }.reservation().map(Reservation::params))?;
    (p != DlParams::NONE).then_some(p)
}

/// Whether the budget of `task` was not enough since the last call, if it wants to be told ([`DlParams::overrun`]).
pub fn take_overrun(task: &Task) -> bool {
    with_entity(task, |_, mut e, _| {
        // SAFETY: the entity is changed under its queue's lock.
        unsafe { e.as_mut() }.take_overrun()
    })
}

/// How much of each period real-time and deadline tasks may use: (period, runtime); `None`: all of it.
pub fn rt_bandwidth() -> (Nanos, Option<Nanos>) {
    let t = tunables();
    (t.rt_period, t.rt_runtime)
}

/// Changes how much of each `period` real-time and deadline tasks may use; `None`: all of it (Linux: sched_rt_runtime_us,
/// sched_rt_period_us). EBUSY when more is promised.
pub fn set_rt_bandwidth(period: Nanos, runtime: Option<Nanos>) -> Result<(), Overflow> {
    static ONE_AT_A_TIME: SpinLock<()> = SpinLock::new(lock_class!("rt_bandwidth"), ());
    let _one = ONE_AT_A_TIME.lock();
    let now = time::now();
    let (old_period, old_runtime) = rt_bandwidth();
    for (i, domain) in DOMAINS.iter().enumerate() {
        if let Err(overflow) = domain.set_limit(period, runtime, now) {
            // Those before it: what has been promised meanwhile may be more than the old limit allows, and stays.
            DOMAINS.iter().take(i).for_each(|domain| domain.force_limit(old_period, old_runtime));
            return Err(overflow);
        }
    }
    tune(|t| (t.rt_period, t.rt_runtime) = (period, runtime));
    Ok(())
}
