//! The operations of the fair class for tasks of groups: each walks from the task up to the CPU's queue.
//!
//! An entity of a group is on its parent's queue as long as the group's queue has somebody and is not held back; it is current there
//! when one of its tasks is.

use super::GroupCpu;
use super::throttle::throttle;
use crate::class::Enqueue;
use crate::class::entity::{Entity, Place};
use crate::class::fair::FairRq;
use crate::class::params::Policy;
use crate::class::weight::{calc_delta, inverse_of};
use crate::time::Nanos;
use core::ptr::NonNull;

/// The fair class's queue of a CPU, as tasks of groups see it.
pub(in crate::class) struct Grouped<'q>(pub(in crate::class) &'q mut FairRq);

/// The least time to the end of a slice that is waited for: virtual time of any weight moves in it. For less than that, the
/// rounding of a heavy group's virtual time would keep it where it is, and the end would come again and again.
pub(super) const LEAST: Nanos = crate::time::USEC;

pub(super) type Level = Option<NonNull<GroupCpu>>;

/// The queue of `level`.
///
/// # Safety
/// Both are valid.
pub(super) unsafe fn queue_of(root: *mut FairRq, level: Level) -> *mut FairRq {
    match level {
        // SAFETY: valid by contract.
        Some(level) => unsafe { &raw mut (*level.as_ptr()).q },
        None => root,
    }
}

/// Where the task `e` is queued on the CPU of `root`.
///
/// # Safety
/// Both are valid, and `e` is in a group.
pub(in crate::class::fair) unsafe fn leaf(root: *mut FairRq, e: NonNull<Entity>) -> Level {
    // SAFETY: by the contract; a group lives as long as a task is in it.
    unsafe { (*e.as_ptr()).group.and_then(|g| g.as_ref().on((*root).cpu as usize)) }
}

/// The levels from `level` up: the entity on the queue, and whose queue it is.
///
/// # Safety
/// The levels live as long as the iterator.
pub(super) unsafe fn up(e: NonNull<Entity>, level: Level) -> impl Iterator<Item = (NonNull<Entity>, Level)> {
    core::iter::successors(Some((e, level)), |(_, level)| {
        level.map(|l| {
            let l = l.as_ptr();
            // SAFETY: by the contract.
            unsafe { (NonNull::new_unchecked(&raw mut (*l).se), (*l).parent) }
        })
    })
}

/// Puts the entity of a group, or a task, on the queue of `level`.
///
/// # Safety
/// `e` is on no queue; under the run queue's lock.
pub(super) unsafe fn place_entity(root: *mut FairRq, level: Level, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
    // SAFETY: by the contract.
    unsafe {
        let q = queue_of(root, level);
        (*q).adopt(e);
        (*q).place(e, why, now);
        (*q).note_company(now);
        (*q).account_enqueue(e);
        (*q).tree.insert(e);
        note_place(root, level, e, Place::Queued);
    }
}

/// Takes a queued entity off the queue of `level`.
///
/// # Safety
/// It is queued there; under the run queue's lock.
pub(super) unsafe fn take_entity(root: *mut FairRq, level: Level, e: NonNull<Entity>) {
    // SAFETY: by the contract.
    unsafe {
        let q = queue_of(root, level);
        (*q).clear_buddies(e);
        (*q).tree.remove(e);
        (*q).account_dequeue(e);
        note_place(root, level, e, Place::Off);
    }
}

/// Notes where the entity of a group is; a task's place is noted by the run queue.
///
/// # Safety
/// As above.
pub(super) unsafe fn note_place(root: *mut FairRq, level: Level, e: NonNull<Entity>, place: Place) {
    // SAFETY: by the contract.
    unsafe {
        if (*e.as_ptr()).owns.is_none() {
            return;
        }
        let was = core::mem::replace(&mut (*e.as_ptr()).place, place);
        if level.is_none() {
            (*root).group_entities += u32::from(place != Place::Off);
            (*root).group_entities -= u32::from(was != Place::Off);
        }
    }
}

/// The current entity of the queue of `level` gives the CPU up and stays.
///
/// # Safety
/// It is current there.
pub(super) unsafe fn put_back(root: *mut FairRq, level: Level, e: NonNull<Entity>) {
    // SAFETY: by the contract.
    unsafe {
        let q = queue_of(root, level);
        (*q).curr = None;
        (*q).tree.insert(e);
        note_place(root, level, e, Place::Queued);
    }
}

/// Holds back what has no run time left, of the groups of `level` and above. Nothing is current in them.
///
/// # Safety
/// Under the run queue's lock.
pub(super) unsafe fn check_time(root: *mut FairRq, level: Level) {
    // SAFETY: by the contract.
    unsafe {
        let mut at = level;
        while let Some(l) = at {
            let this = l.as_ptr();
            if (*this).se.place == Place::Queued && (*this).is_out_of_time((*root).clock) {
                throttle(root, l, true);
            }
            at = (*this).parent;
        }
    }
}

/// The period in which each runs once, shared out from the root down to `e`, which is on the queue of `level` (Linux: sched_slice).
///
/// # Safety
/// Under the run queue's lock.
pub(in crate::class) unsafe fn slice(root: *mut FairRq, e: NonNull<Entity>, level: Level) -> Nanos {
    // SAFETY: by the contract.
    unsafe {
        let off = (*e.as_ptr()).place == Place::Off;
        let mut share = (*root).period(u32::from(off));
        for (at, level) in up(e, level) {
            let q = queue_of(root, level);
            let own = if off && at == e { u64::from((*at.as_ptr()).load.weight) } else { 0 };
            share = calc_delta(share, (*at.as_ptr()).load.weight, inverse_of((*q).load.saturating_add(own)));
        }
        let q = queue_of(root, level);
        share.max((*q).floor(e.as_ref()))
    }
}

impl Grouped<'_> {
    /// The CPU's queue.
    pub(super) fn root(&mut self) -> *mut FairRq {
        core::ptr::from_mut(self.0)
    }

    /// The entity of a group was picked: makes the chain down to a task current.
    ///
    /// # Safety
    /// `e` was picked from the root's queue, and is a group's.
    #[cold]
    #[inline(never)]
    pub(in crate::class) unsafe fn pick_below(&mut self, e: NonNull<Entity>, now: Nanos) -> Option<NonNull<Entity>> {
        let root = self.root();
        let mut e = e;
        let mut level: Level = None;
        // SAFETY: what is queued is valid; references end with their statements.
        unsafe {
            (*root).clock = now;
            while let Some(owner) = (*e.as_ptr()).owns {
                note_place(root, level, e, Place::Current);
                let this = e.as_ptr();
                // Put back at this very time, it goes on as if it had not stopped.
                if (*this).exec_start != now {
                    (*this).prev_sum_exec = (*this).sum_exec;
                }
                (*this).exec_start = now;
                level = Some(owner);
                e = (*owner.as_ptr()).q.take_next()?;
            }
            if (*e.as_ptr()).parked {
                (*root).parked.remove(e);
            }
        }
        Some(e)
    }

    /// Makes the parked task `e` of a group current. `false`: one of its groups is held back.
    ///
    /// # Safety
    /// It is queued, and nothing is current.
    pub(in crate::class) unsafe fn pick_this(&mut self, e: NonNull<Entity>) -> bool {
        let root = self.root();
        // SAFETY: by the contract; what is queued is valid.
        unsafe {
            let level = leaf(root, e);
            if is_held(level) {
                return false;
            }
            for (at, level) in up(e, level) {
                let q = queue_of(root, level);
                (*q).clear_buddies(at);
                (*q).tree.remove(at);
                (*q).curr = Some(at);
                note_place(root, level, at, Place::Current);
            }
            (*root).parked.remove(e);
        }
        true
    }

    /// Whether the queued task `e` should run instead of the current `curr`; one of them, or both, are in groups.
    ///
    /// # Safety
    /// Both are of the fair class and on this queue, `curr` is charged.
    pub(in crate::class) unsafe fn check_preempt(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        let root = self.root();
        // SAFETY: by the contract; references end with their statements.
        unsafe {
            let (mut c, mut c_level) = (curr, leaf(root, curr));
            let (mut w, mut w_level) = (e, leaf(root, e));
            if is_held(w_level) {
                return false;
            }
            let idle = |e: NonNull<Entity>| (*e.as_ptr()).is_idle_policy();
            let by_policy = idle(curr) && !idle(e);
            if !by_policy && ((*e.as_ptr()).params.policy != Policy::Normal || (*queue_of(root, w_level)).wakes_wait(e)) {
                return false;
            }
            // Up to the queue that has both.
            let (c_depth, w_depth) = (up(c, c_level).count(), up(w, w_level).count());
            let lift = |e: NonNull<Entity>, level: Level, n: usize| up(e, level).nth(n).unwrap_or((e, None));
            (c, c_level) = lift(c, c_level, c_depth.saturating_sub(w_depth));
            (w, w_level) = lift(w, w_level, w_depth.saturating_sub(c_depth));
            while c_level != w_level {
                (c, c_level) = lift(c, c_level, 1);
                (w, w_level) = lift(w, w_level, 1);
            }
            let q = queue_of(root, w_level);
            let wins = by_policy || idle(c) && !idle(w) || idle(c) == idle(w) && (*q).preempt_entity(c.as_ref(), w.as_ref()) == 1;
            if !wins {
                return false;
            }
            for (at, level) in up(w, w_level) {
                let q = queue_of(root, level);
                (*q).next = Some(at).filter(|at| !idle(*at));
                (*q).has_buddies = true;
            }
            if (*q).nr >= (*q).terms.nr_latency && !idle(c) && (*c.as_ptr()).owns.is_none() && (*q).keeps_last() {
                (*q).last = Some(c);
            }
            true
        }
    }
}

/// Whether `level` or a group above it is held back.
///
/// # Safety
/// The levels are valid.
pub(in crate::class::fair) unsafe fn is_held(level: Level) -> bool {
    // SAFETY: by the contract.
    core::iter::successors(level, |l| unsafe { (*l.as_ptr()).parent }).any(|l| unsafe { (*l.as_ptr()).throttled })
}
