//! How long a fair entity runs, and where on the timeline it begins.

use super::super::entity::Entity;
use super::super::features::Features;
use super::super::params::Tunables;
use super::super::tree::before;
use super::super::weight::{NICE_0_WEIGHT, calc_delta, calc_delta_fair, inverse_of, real_of_virtual};
use super::super::{Enqueue, TICK};
use super::FairRq;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

/// After a sleep of 2^43 ns (2.4 h) or more, vruntimes are too far apart to be compared: such an entity is placed anew.
const LONG_SLEEP: i64 = 1 << 43;

/// What the fair class needs of the tunables, and what follows from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    latency: Nanos,
    min_granularity: Nanos,
    pub(super) wakeup_granularity: Nanos,
    /// By how much who has slept may be placed before the clock, and one of SCHED_IDLE.
    credit: Nanos,
    idle_credit: Nanos,
    /// The shortest slice, and that of one of SCHED_IDLE beside others.
    floor: Nanos,
    idle_floor: Nanos,
    /// No stay is shorter than this, if the class alone ends it.
    pub(super) shortest: Nanos,
    /// A new one waits for the end of the running period.
    debit: bool,
    /// Slices end at ticks.
    ticks: bool,
    pub(super) features: Features,
    pub(super) nr_latency: u32,
    /// One of the features that are asked for at each wake or slice is not as it is by default.
    pub(super) unusual: bool,
}

impl Terms {
    pub(super) const fn of(t: &Tunables) -> Terms {
        let usual = Features::LAST_BUDDY.with(Features::WAKEUP_PREEMPTION).with(Features::ALT_PERIOD);
        let shift = t.features.has(Features::GENTLE_FAIR_SLEEPERS) as u32;
        let shortest = t.features.has(Features::BASE_SLICE) as Nanos;
        Terms {
            latency: t.latency,
            min_granularity: t.min_granularity,
            wakeup_granularity: t.wakeup_granularity,
            credit: t.latency >> shift,
            idle_credit: t.min_granularity >> shift,
            floor: t.min_granularity * shortest,
            idle_floor: t.idle_min_granularity * shortest,
            shortest: t.shortest_stay() * shortest,
            debit: t.features.has(Features::START_DEBIT),
            ticks: !t.features.has(Features::HRTICK),
            features: t.features,
            nr_latency: t.nr_latency,
            unusual: !t.features.has(usual) || t.features.has(Features::NEXT_BUDDY),
        }
    }

    /// When a slice ends that is used up `at` this time.
    #[inline(always)]
    pub(super) fn end(&self, at: Nanos) -> Nanos {
        if self.ticks { tick_after(at) } else { at }
    }
}

/// The first tick at or after `at`.
#[cold]
#[inline(never)]
fn tick_after(at: Nanos) -> Nanos {
    at.checked_next_multiple_of(TICK).unwrap_or(at)
}

impl FairRq {
    /// The share of the period that `e` may run at a stretch (Linux: `sched_slice`).
    pub(in crate::class) fn slice(&self, e: &Entity) -> Nanos {
        let (more, load) = if e.on_rq() { (0, self.load) } else { (1, self.load.saturating_add(u64::from(e.load.weight))) };
        calc_delta(self.period(more), e.load.weight, inverse_of(load)).max(self.floor(e))
    }

    /// The time in which all tasks, and `more`, run once.
    #[inline]
    pub(super) fn period(&self, more: u32) -> Nanos {
        let nr = if self.terms.unusual { self.nr_for_period() } else { self.nr_tasks() }.saturating_add(more);
        if nr > self.terms.nr_latency { u64::from(nr).saturating_mul(self.terms.min_granularity) } else { self.terms.latency }
    }

    /// Whom the period is shared by.
    #[cold]
    #[inline(never)]
    fn nr_for_period(&self) -> u32 {
        if self.terms.features.has(Features::ALT_PERIOD) { self.nr_tasks() } else { self.nr }
    }

    /// The least that `e` runs at a stretch.
    #[inline]
    pub(super) fn floor(&self, e: &Entity) -> Nanos {
        let only_idle = self.nr == self.nr_idle;
        if e.is_idle_policy() && !only_idle { self.terms.idle_floor } else { self.terms.floor }
    }

    /// By what [`FairRq::place`] places one that was woken, and has the weight of nice 0: nobody before this vruntime, and there who sleeps
    /// since before that time.
    #[inline(always)]
    pub(in crate::class) fn woken_terms(&self, now: Nanos) -> (u64, i64) {
        (self.min_vruntime.load(Relaxed).wrapping_sub(self.terms.credit), (now as i64).saturating_sub(LONG_SLEEP))
    }

    /// Where a new or woken entity goes on the timeline (Linux: `place_entity`).
    ///
    /// # Safety
    /// `e` is valid, adopted and not on the queue.
    #[inline]
    pub(in crate::class) unsafe fn place(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: valid by contract; a shared reference that ends before the write below.
        let this = unsafe { e.as_ref() };
        let min = self.min_vruntime.load(Relaxed);
        let (floor, long) = match why {
            // The running period is promised to those who are there.
            Enqueue::New if self.terms.debit => (min.wrapping_add(calc_delta_fair(self.slice(this), this.load)), false),
            Enqueue::New => (min, false),
            // A sleeper gets half a period of credit, not more, however long it slept; one that was moved has its lag,
            // which is no more than that unless it slept between the queues.
            Enqueue::Wakeup | Enqueue::Migrated => {
                let credit = if this.is_idle_policy() { self.terms.idle_credit } else { self.terms.credit };
                let slept = now.wrapping_sub(this.exec_start) as i64;
                (min.wrapping_sub(credit), slept > LONG_SLEEP)
            }
        };
        let own = this.vruntime;
        // SAFETY: valid by contract.
        unsafe { (*e.as_ptr()).vruntime = if long || before(own, floor) { floor } else { own } };
    }

    /// Somebody is about to be queued. If the current entity was alone, its stay may have been longer than the slice that it has in
    /// company; Linux sees that at its next tick, and till then it goes on. (Else a wakee that may not preempt, because it is BATCH or
    /// too little behind, would do so all the same.)
    ///
    /// # Safety
    /// Under the queue's lock; the current entity is charged.
    #[inline(always)]
    pub(super) unsafe fn note_company(&mut self, now: Nanos) {
        if self.nr == 1
            && let Some(curr) = self.curr
        {
            // SAFETY: the current entity is valid, and only read.
            let (sum, prev) = unsafe { ((*curr.as_ptr()).sum_exec, (*curr.as_ptr()).prev_sum_exec) };
            // No slice is shorter.
            if sum.wrapping_sub(prev) >= self.terms.shortest {
                self.grace = tick_after(now.saturating_add(1));
                self.grace_of = Some((curr, prev));
            }
        }
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
        let slice = slice().min(self.terms.latency);
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
        let by_lead = self.terms.min_granularity.saturating_sub(ran).max(until(lead.saturating_add_unsigned(slice)));
        let time = by_slice.min(by_lead);
        Some(if time == 0 && self.grace_of == Some((curr, c.prev_sum_exec)) { self.grace.saturating_sub(c.exec_start) } else { time })
    }
}
