//! The deadline class: earliest deadline first, each entity within its reservation (Linux: `dl_sched_class`, SCHED_DEADLINE).
//!
//! * [`reservation`]: what an entity was promised, and the rules of the constant bandwidth server.
//! * [`domain`]: what may be promised.
//! * Here, with `queue`: the queue of one CPU. An entity whose budget is used up waits, runnable, for its next period; one that sleeps counts
//!   as active until its 0-lag time. GRUB, for those that reclaim, charges by how much of the CPU is active.
//!
//! ```text
//!   ready  ◀────────────── roll: next period ─────────────  throttled
//!     │  ▲ ─────── update_curr, put_prev (yield): budget used up ──▶
//!     │  │ enqueue: contending, wake-up rule
//!     ▼  │
//!   inactive ──── roll: 0-lag time ────▶ asleep
//! ```
//!
//! The current entity stays in its tree. All of its times come from the caller: the queue's clock is that of the last call.

mod change;
pub mod domain;
mod queue;
pub mod reservation;

use super::entity::Entity;
use super::features::Features;
use super::params::{Class, Rank, Tunables};
use super::sched_class::SchedClass;
use super::tree::{Tree, before};
use super::{Enqueue, PickLimit, TICK};
use crate::time::{Nanos, USEC};
use core::ptr::NonNull;
use domain::Domain;
use reservation::{BW_UNIT, Reservation, Tied, ratio};

type Dl = NonNull<Reservation>;

/// The shortest time for which the end of a budget is awaited, ns (Linux: `hrtick_start`): a budget that is hardly longer than what
/// a switch takes would go by for switches alone. What is used too much is a debt, so the share stays what was promised.
const LEAST_STAY: i64 = 10 * USEC as i64;

/// The deadline class's queue.
#[derive(Debug)]
pub(super) struct DlRq {
    ready: Tree<Reservation>,
    throttled: Tree<Reservation>,
    inactive: Tree<Reservation>,
    /// In no order: only to be found.
    asleep: Tree<Reservation>,
    curr: Option<Dl>,
    /// How many are ready.
    nr: u32,
    /// How many are in one of the first three: the one thing that is looked at while there are no deadline entities.
    tied: u32,
    /// The current one is throttled, and still runs.
    curr_throttled: bool,
    /// Bandwidth of all whose place is here, and of those that are active.
    this_bw: u64,
    running_bw: u64,
    /// The reciprocal of what may be promised, in 1 / 2^8.
    bw_ratio: u64,
    /// Budgets end at ticks.
    ticks: bool,
    clock: Nanos,
    domain: &'static Domain,
}

/// The reservation of `e`.
///
/// # Safety
/// `e` is valid and of this class.
unsafe fn reservation_of(e: NonNull<Entity>) -> Option<Dl> {
    // SAFETY: by the caller's contract.
    unsafe { (*e.as_ptr()).reservation }
}

impl DlRq {
    pub(super) const fn new(t: &Tunables) -> Self {
        DlRq {
            ready: Tree::new(),
            throttled: Tree::new(),
            inactive: Tree::new(),
            asleep: Tree::new(),
            curr: None,
            nr: 0,
            tied: 0,
            curr_throttled: false,
            this_bw: 0,
            running_bw: 0,
            bw_ratio: bw_ratio(t),
            ticks: !t.features.has(Features::HRTICK_DL),
            clock: 0,
            domain: &domain::DOMAINS[0],
        }
    }

    /// Its domain.
    pub(super) fn domain(&self) -> &'static Domain {
        self.domain
    }

    /// Calls `f` for each entity that waits, also for its next period.
    #[cold]
    pub(super) fn each_waiting(&self, f: &mut impl FnMut(NonNull<Entity>)) {
        for tree in [&self.ready, &self.throttled] {
            let mut at = tree.first();
            while let Some(dl) = at {
                // SAFETY: what is in the tree is valid, and only read.
                unsafe {
                    if self.curr != Some(dl) {
                        f((*dl.as_ptr()).entity);
                    }
                    at = Tree::next(dl);
                }
            }
        }
    }

    /// How many reservations are ready, throttled, or inactive.
    pub(super) fn tied(&self) -> u32 {
        self.tied
    }

    /// What is counted here, and what of it is active.
    pub(super) fn bandwidth(&self) -> (u64, u64) {
        (self.this_bw, self.running_bw)
    }

    /// Makes it a CPU of `domain`, and whoever belongs to it one of that domain.
    pub(super) fn set_domain(&mut self, domain: &'static Domain, now: Nanos) {
        self.domain = domain;
        for tree in [&self.ready, &self.throttled, &self.inactive, &self.asleep] {
            let mut at = tree.first();
            while let Some(dl) = at {
                // SAFETY: what is in the tree is valid, and this queue's.
                unsafe {
                    domain.adopt(dl, now);
                    at = Tree::next(dl);
                }
            }
        }
    }
}

const fn bw_ratio(t: &Tunables) -> u64 {
    match t.rt_runtime {
        Some(runtime) => ratio(runtime, t.rt_period) >> 12,
        None => 1 << 8,
    }
}

impl SchedClass for DlRq {
    #[inline(always)]
    fn class(&self) -> Class {
        Class::Deadline
    }

    #[inline(always)]
    fn nr_running(&self) -> u32 {
        self.nr
    }

    #[cold]
    #[inline(never)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        self.advance(now);
        // SAFETY: passed on; an entity of this class has a reservation.
        unsafe {
            let Some(dl) = reservation_of(e) else { return };
            self.untie(dl);
            self.contend(dl);
            self.place(dl);
            if (*dl.as_ptr()).tied == Tied::No {
                if why != Enqueue::Migrated {
                    (*dl.as_ptr()).wake(now);
                }
                self.make_ready(dl);
            }
        }
    }

    /// Never so: what is enqueued may be throttled, and its place is in a tree in any case.
    #[inline(always)]
    unsafe fn enqueue_current(&mut self, _: NonNull<Entity>, _: Enqueue, _: Nanos) -> Option<Option<Nanos>> {
        None
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            if let Some(dl) = reservation_of(e) {
                self.untie(dl);
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        self.curr = None;
        self.curr_throttled = false;
        // SAFETY: passed on.
        unsafe {
            let Some(dl) = reservation_of(e) else { return };
            self.untie(dl);
            // Linux: `task_non_contending`.
            let zero_lag = (*dl.as_ptr()).zero_lag();
            if before(self.clock, zero_lag) {
                self.tie(dl, Tied::Inactive, zero_lag);
            } else {
                self.sleep(dl);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn first_queued(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        self.advance(now);
        let dl = self.ready.first().or(self.throttled.first())?;
        // SAFETY: it is in the tree, hence valid.
        Some(unsafe { (*dl.as_ptr()).entity })
    }

    #[cold]
    #[inline(never)]
    fn pick_next_task(&mut self, _: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        self.advance(now);
        let dl = self.ready.first()?;
        self.curr = Some(dl);
        // SAFETY: it is in the tree, hence valid.
        Some(unsafe { (*dl.as_ptr()).entity })
    }

    #[cold]
    #[inline(never)]
    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool) {
        // SAFETY: passed on.
        unsafe {
            if gives_way
                && let Some(dl) = reservation_of(e)
                && !(*dl.as_ptr()).throttled
            {
                (*dl.as_ptr()).yielded = true;
                self.throttle(dl);
            }
        }
        self.curr = None;
        self.curr_throttled = false;
    }

    #[cold]
    #[inline(never)]
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, _: bool) {
        self.clock = now;
        // SAFETY: valid by contract.
        unsafe {
            let Some(dl) = reservation_of(e) else { return };
            let this = dl.as_ptr();
            let mut delta = now.wrapping_sub(start);
            if (*this).own.reclaim {
                delta = ((u128::from(delta) * u128::from(self.reclaim_rate(&*this))) >> 20) as u64;
            }
            (*this).runtime = (*this).runtime.saturating_sub_unsigned(delta);
            if (*this).runtime <= 0 && !(*this).throttled {
                self.throttle(dl);
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn check_preempt_curr(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe {
            match (reservation_of(curr), reservation_of(e)) {
                (Some(curr), Some(e)) => self.curr_throttled || before((*e.as_ptr()).deadline, (*curr.as_ptr()).deadline),
                _ => false,
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn task_tick(&mut self, _: NonNull<Entity>) -> bool {
        self.curr_throttled || self.ready.first() != self.curr
    }

    #[cold]
    #[inline(never)]
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: passed on.
        unsafe {
            let dl = reservation_of(curr)?;
            let this = &*dl.as_ptr();
            if this.throttled {
                return None;
            }
            let start = (*curr.as_ptr()).exec_start;
            let left = this.runtime.max(LEAST_STAY).unsigned_abs();
            if self.ticks {
                return Some(start.saturating_add(1).next_multiple_of(TICK));
            }
            if !this.own.reclaim {
                return Some(start.saturating_add(left));
            }
            // As long as nobody comes, goes, or passes its 0-lag time, the rate stays.
            let rate = self.reclaim_rate(this).max(1);
            let mut at = start.saturating_add((u128::from(left) * u128::from(BW_UNIT)).div_ceil(u128::from(rate)) as u64);
            if let Some(first) = self.inactive.first() {
                at = at.min((*first.as_ptr()).key);
            }
            Some(at.min(self.domain.next_release()))
        }
    }

    #[inline(always)]
    fn roll(&mut self, now: Nanos) {
        if self.tied != 0 {
            self.advance(now);
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn holds_back(&self, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { reservation_of(e).is_none_or(|dl| (*dl.as_ptr()).throttled) }
    }

    #[inline(always)]
    fn unthrottle_event(&self) -> Option<Nanos> {
        if self.tied == 0 { None } else { self.next_replenishment() }
    }

    #[inline(always)]
    fn best_rank(&self) -> Option<Rank> {
        if self.tied == 0 { None } else { self.best() }
    }

    #[cold]
    #[inline(never)]
    fn find_waiting(&self, wanted: &mut impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        let mut at = self.ready.first();
        while let Some(dl) = at {
            // SAFETY: what is in the tree is valid, and only read.
            let e = unsafe { (*dl.as_ptr()).entity };
            if self.curr != Some(dl) && wanted(e) {
                return Some(e);
            }
            // SAFETY: it is in the tree.
            at = unsafe { Tree::next(dl) };
        }
        None
    }

    #[cold]
    #[inline(never)]
    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool, _: bool) {
        if current {
            self.curr = None;
            self.curr_throttled = false;
        }
        // SAFETY: passed on.
        unsafe { self.disown(e) };
    }

    #[cold]
    #[inline(never)]
    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, _: bool) {
        // SAFETY: passed on.
        unsafe {
            let Some(dl) = reservation_of(e) else { return };
            if current {
                self.curr = Some(dl);
            }
            self.untie(dl);
            self.contend(dl);
            let this = dl.as_ptr();
            if (*this).lent.is_some() {
                (*this).replenish(self.clock);
            }
            self.place(dl);
            if (*this).tied == Tied::No {
                if before((*this).deadline, self.clock) {
                    (*this).begin_period(self.clock);
                }
                self.make_ready(dl);
            } else {
                self.curr_throttled |= current;
            }
        }
    }

    #[cold]
    #[inline(never)]
    unsafe fn disown(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            if let Some(dl) = reservation_of(e) {
                self.forget(dl);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn tune(&mut self, t: &Tunables, _: Nanos) {
        self.bw_ratio = bw_ratio(t);
        self.ticks = !t.features.has(Features::HRTICK_DL);
    }
}
