//! Holding a group back on a CPU when its run time is used up, and letting it go (Linux: throttle_cfs_rq, unthrottle_cfs_rq).

use super::GroupCpu;
use super::bandwidth::{KEEP, LEAST_TAKEN, SLICE};
use super::levels::{place_entity, queue_of, take_entity};
use super::shares::reweigh;
use crate::class::Enqueue;
use crate::class::entity::Place;
use crate::class::fair::FairRq;
use crate::cpu::CpuMask;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

impl GroupCpu {
    /// Whether it has no run time left, after an attempt to get some.
    pub(super) fn is_out_of_time(&mut self, now: Nanos) -> bool {
        // SAFETY: the group lives as long as its parts.
        let group = unsafe { self.group.as_ref() };
        if !group.is_limited() || self.remaining > 0 {
            return false;
        }
        let wanted = (SLICE.load(Relaxed).max(LEAST_TAKEN) as i64).saturating_sub(self.remaining).max(0) as u64;
        let got = group.with_bandwidth(|b| b.take(wanted, now));
        self.remaining = self.remaining.saturating_add(got as i64);
        self.remaining <= 0
    }

    /// Whether its run time counts.
    pub(super) fn is_limited(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.group.as_ref() }.is_limited()
    }

    /// Its last task here sleeps: most of what is left goes back to the pool (Linux: return_cfs_rq_runtime).
    pub(super) fn give_back(&mut self, now: Nanos) {
        let unused = self.remaining - KEEP as i64;
        if unused > 0 && self.is_limited() {
            self.remaining = KEEP as i64;
            // SAFETY: as above.
            let group = unsafe { self.group.as_ref() };
            let to = group.with_bandwidth(|b| b.give(unused as u64, now));
            if to != 0 {
                (group.slack)(CpuMask(to));
            }
        }
    }
}

/// Takes the entity of `level`, which is queued or, with `queued` false, not on its parent's queue yet, off until there is run time.
///
/// # Safety
/// Under the run queue's lock; nothing is current in it, and no reference into the levels is held.
pub(super) unsafe fn throttle(root: *mut FairRq, level: NonNull<GroupCpu>, queued: bool) {
    // SAFETY: by the contract.
    unsafe {
        let l = level.as_ptr();
        let now = (*root).clock;
        (*l).throttled = true;
        (*l).throttled_at = now;
        (*l).next_throttled = (*root).throttled.replace(level);
        (*l).group.as_ref().with_bandwidth(|b| b.held |= 1 << (*root).cpu);
        if !queued {
            return;
        }
        let tasks = (*l).tasks;
        let mut se = NonNull::new_unchecked(&raw mut (*l).se);
        let mut above = (*l).parent;
        let mut gone = true;
        loop {
            if gone {
                take_entity(root, above, se);
            }
            let Some(p) = above else { break };
            let p = p.as_ptr();
            (*p).tasks -= tasks;
            if (*p).throttled {
                return;
            }
            gone = gone && (*p).q.nr == 0;
            if !gone {
                reweigh(NonNull::new_unchecked(p), queue_of(root, (*p).parent), now);
            }
            se = NonNull::new_unchecked(&raw mut (*p).se);
            above = (*p).parent;
        }
        (*root).grouped -= tasks;
    }
}

/// Puts the entity of `level`, which was held back, on the queue again, if it has tasks.
///
/// # Safety
/// As [`throttle`]; something may be current.
unsafe fn unthrottle(root: *mut FairRq, level: NonNull<GroupCpu>) {
    // SAFETY: by the contract.
    unsafe {
        let l = level.as_ptr();
        let now = (*root).clock;
        (*l).throttled = false;
        let held = now.saturating_sub((*l).throttled_at);
        (*l).group.as_ref().with_bandwidth(|b| {
            b.held &= !(1 << (*root).cpu);
            b.throttled_time = b.throttled_time.saturating_add(held);
        });
        let tasks = (*l).tasks;
        if (*l).q.nr == 0 {
            return;
        }
        let mut at = level;
        loop {
            let l = at.as_ptr();
            reweigh(at, queue_of(root, (*l).parent), now);
            if (*l).se.place == Place::Off {
                place_entity(root, (*l).parent, NonNull::new_unchecked(&raw mut (*l).se), Enqueue::Wakeup, now);
            }
            let Some(p) = (*l).parent else { break };
            (*p.as_ptr()).tasks += tasks;
            if (*p.as_ptr()).throttled {
                return;
            }
            at = p;
        }
        (*root).grouped += tasks;
    }
}

/// Lets go of those whose pool has something for them again. The clock of `root` is right.
///
/// # Safety
/// As [`unthrottle`].
pub(super) unsafe fn unthrottle_due(root: *mut FairRq) {
    // SAFETY: by the contract.
    unsafe {
        let now = (*root).clock;
        let mut list = (*root).throttled.take();
        while let Some(level) = list {
            let l = level.as_ptr();
            list = (*l).next_throttled.take();
            if (*l).is_limited() {
                let wanted = (1 - (*l).remaining).max(0) as u64;
                let got = (*l).group.as_ref().with_bandwidth(|b| b.take(wanted, now));
                (*l).remaining += got as i64;
            }
            if (*l).is_limited() && (*l).remaining <= 0 {
                (*l).next_throttled = (*root).throttled.replace(level);
            } else {
                unthrottle(root, level);
            }
        }
    }
}

/// Lets go of all, each with the least of run time.
///
/// # Safety
/// As [`unthrottle`].
pub(super) unsafe fn unthrottle_all(root: *mut FairRq) {
    // SAFETY: by the contract.
    unsafe {
        let mut list = (*root).throttled.take();
        while let Some(level) = list {
            let l = level.as_ptr();
            list = (*l).next_throttled.take();
            (*l).remaining = (*l).remaining.max(1);
            unthrottle(root, level);
        }
    }
}

/// When the first of those that are held back may go on.
pub(super) fn next_fill(root: &FairRq) -> Option<Nanos> {
    let mut first = None;
    let mut at = root.throttled;
    while let Some(level) = at {
        // SAFETY: what is in the list lives as long as it is in it.
        let level = unsafe { level.as_ref() };
        // SAFETY: the group lives as long as its parts.
        let fill = unsafe { level.group.as_ref() }.with_bandwidth(|b| b.next_fill());
        first = Some(first.map_or(fill, |f: Nanos| f.min(fill)));
        at = level.next_throttled;
    }
    first
}
