//! How long a fair entity runs, and where on the timeline it begins.

use super::super::Enqueue;
use super::super::entity::Entity;
use super::super::tree::before;
use super::super::weight::{NICE_0_WEIGHT, calc_delta, calc_delta_fair, inverse_of, real_of_virtual};
use super::FairRq;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// After a sleep of 2^43 ns (2.4 h) or more, vruntimes are too far apart to be compared: such an entity is placed anew.
const LONG_SLEEP: i64 = 1 << 43;

impl FairRq {
    /// The share of the period that `e` may run at a stretch (Linux: `sched_slice`).
    pub(in crate::class) fn slice(&self, e: &Entity) -> Nanos {
        let (more, load) =
            if e.on_rq() { (0, self.load) } else { (1, self.load.saturating_add(u64::from(e.load.weight))) };
        calc_delta(self.period(more), e.load.weight, inverse_of(load)).max(self.floor(e))
    }

    /// The time in which all tasks, and `more`, run once.
    #[inline]
    pub(super) fn period(&self, more: u32) -> Nanos {
        let nr = self.nr_tasks().saturating_add(more);
        if nr > self.nr_latency {
            u64::from(nr).saturating_mul(self.tunables.min_granularity)
        } else {
            self.tunables.latency
        }
    }

    /// The least that `e` runs at a stretch.
    #[inline]
    pub(super) fn floor(&self, e: &Entity) -> Nanos {
        let only_idle = self.nr == self.nr_idle;
        if e.is_idle_policy() && !only_idle { self.tunables.idle_min_granularity } else { self.tunables.min_granularity }
    }

    /// Where a new or woken entity goes on the timeline (Linux: `place_entity`).
    ///
    /// # Safety
    /// `e` is valid, adopted and not on the queue.
    #[inline]
    pub(super) unsafe fn place(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: valid by contract; a shared reference that ends before the write below.
        let this = unsafe { e.as_ref() };
        let min = self.min_vruntime.load(Relaxed);
        let (floor, long) = match why {
            // The running period is promised to those who are there.
            Enqueue::New => (min.wrapping_add(calc_delta_fair(self.slice(this), this.load)), false),
            // A sleeper gets half a period of credit, not more, however long it slept; one that was moved has its lag,
            // which is no more than that unless it slept between the queues.
            Enqueue::Wakeup | Enqueue::Migrated => {
                let credit =
                    if this.is_idle_policy() { self.tunables.min_granularity } else { self.tunables.latency };
                let slept = now.wrapping_sub(this.exec_start) as i64;
                (min.wrapping_sub(credit / 2), slept > LONG_SLEEP)
            }
        };
        let own = this.vruntime;
        // SAFETY: valid by contract.
        unsafe { (*e.as_ptr()).vruntime = if long || before(own, floor) { floor } else { own } };
    }

    /// How much longer the current entity may run (0: its time is up), by the two rules of Linux's
    /// `check_preempt_tick`, exact instead of at the next tick; `None` when it is alone.
    ///
    /// Its time is up when it has run a slice and is no longer leftmost, or when it has run a minimum and is a whole
    /// slice ahead of the leftmost.
    ///
    /// # Safety
    /// `curr` is the current entity and charged.
    #[inline]
    pub(in crate::class) unsafe fn time_left(&self, curr: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: passed on; the current entity is valid, and only read.
        unsafe { self.time_left_of(curr, || self.slice(curr.as_ref())) }
    }

    /// The same with the slice that `slice` computes, if it is needed.
    ///
    /// # Safety
    /// `curr` is the current entity and charged.
    #[inline]
    pub(super) unsafe fn time_left_of(&self, curr: NonNull<Entity>, slice: impl FnOnce() -> Nanos) -> Option<Nanos> {
        let left = self.tree.first()?;
        let slice = slice().min(self.tunables.latency);
        // SAFETY: both are on the queue, and only read.
        let (c, l) = unsafe { (curr.as_ref(), left.as_ref()) };
        let ran = c.sum_exec.wrapping_sub(c.prev_sum_exec);
        // Virtual time until it is past the leftmost.
        let lead = l.vruntime.wrapping_sub(c.vruntime).wrapping_add(1) as i64;
        let until = |virt: i64| match virt {
            ..=0 => 0,
            v if c.load.weight == NICE_0_WEIGHT => v as u64,
            v => real_of_virtual(v as u64, c.load.weight),
        };
        let by_slice = slice.saturating_sub(ran).max(until(lead));
        let by_lead = self
            .tunables
            .min_granularity
            .saturating_sub(ran)
            .max(until(lead.saturating_add_unsigned(slice)));
        Some(by_slice.min(by_lead))
    }
}
