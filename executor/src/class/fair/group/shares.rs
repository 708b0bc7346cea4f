//! What a group weighs on a CPU (Linux: calc_group_shares, update_cfs_group).
//!
//! ```text
//!                       load of the group here
//!   weight = shares · ───────────────────────────      load here: the larger of present weight and average
//!                      sum of it over all CPUs         elsewhere: the average, brought up to now
//! ```

use super::GroupCpu;
use crate::class::entity::{Entity, Place};
use crate::class::fair::FairRq;
use crate::class::params::{Params, Policy};
use crate::class::pelt::decay;
use crate::class::weight::{self, LoadWeight, inverse_of};
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// The least that a group weighs.
const MIN: u64 = 2;

impl GroupCpu {
    /// Counts the time up to `now` in its averages, with the state that its queue has had, and tells other CPUs.
    pub(super) fn update_avg(&mut self, now: Nanos) {
        let running = self.q.curr.is_some();
        // `load` of the state that was published last is that since then.
        let load = self.published[2].load(Relaxed);
        self.avg.update(now, load, u64::from(self.tasks), running);
        for (to, value) in self.published.iter().zip([self.avg.load, now, self.q.load]) {
            to.store(value, Relaxed);
        }
    }

    /// What it should weigh.
    fn wanted(&mut self, now: Nanos) -> LoadWeight {
        // SAFETY: the group lives as long as its parts.
        let group = unsafe { self.group.as_ref() };
        if group.is_idle() {
            return weight::IDLE;
        }
        let shares = u64::from(group.shares());
        let here = self.q.load.max(self.avg.load);
        let me = core::ptr::from_mut(self);
        let others = group.cpus.into_iter().filter(|p| !p.is_null() && *p != me);
        // SAFETY: parts of a living group.
        let elsewhere: u64 = others.map(|p| unsafe { load_elsewhere(p, now) }).sum();
        let total = here.saturating_add(elsewhere);
        let weight = if elsewhere == 0 || total == 0 { shares } else { (shares * here / total).clamp(MIN.min(shares), shares) };
        LoadWeight { weight: weight as u32, inverse: inverse_of(weight) }
    }
}

/// The average load of another CPU's part now: that of its last update, and constant weight since then.
///
/// # Safety
/// `p` is a part of a living group.
unsafe fn load_elsewhere(p: *const GroupCpu, now: Nanos) -> u64 {
    // SAFETY: `published` is atomic; nothing else of it is touched.
    let published = unsafe { &(*p).published };
    let [load, at, since] = [0, 1, 2].map(|i: usize| published[i].load(Relaxed));
    let periods = now.saturating_sub(at) >> 20;
    decay(load, periods) + since - decay(since, periods).min(since)
}

/// Brings the weight of the entity of `level` up to date, on its parent's queue `on` or off it.
///
/// # Safety
/// Both are valid, under the run queue's lock; no reference into them is held.
pub(super) unsafe fn reweigh(level: NonNull<GroupCpu>, on: *mut FairRq, now: Nanos) {
    // SAFETY: by the contract; each reference ends with its statement.
    unsafe {
        let l = level.as_ptr();
        (*l).update_avg(now);
        let new = (*l).wanted(now);
        let idle = (*(*l).group.as_ptr()).is_idle();
        let se: *mut Entity = &raw mut (*l).se;
        let was_idle = (*se).is_idle_policy();
        if (*se).load == new && was_idle == idle {
            return;
        }
        let counted = (*se).place != Place::Off;
        if counted {
            (*on).account_dequeue(NonNull::new_unchecked(se));
        }
        (*se).params = Params { policy: if idle { Policy::Idle } else { Policy::Normal }, ..Params::DEFAULT };
        (*se).load = new;
        if counted {
            (*on).account_enqueue(NonNull::new_unchecked(se));
        }
    }
}
