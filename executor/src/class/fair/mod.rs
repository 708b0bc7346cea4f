//! The fair class: CFS as in Linux 6.1 (`kernel/sched/fair.c`).
//!
//! Each entity's vruntime is its run time divided by its weight; the entity with the smallest one runs, for a slice of
//! the period that its weight earns. The current entity is not in the tree but counts in `nr` and `load`.
//! The queue and its clock are here, who runs is in `choice`, for how long in `slice`, averages in `average`, groups of tasks in [`group`].
//!
//! vruntimes are relative to a queue's `min_vruntime`; an entity that changes queues is shifted by their difference.

mod average;
mod choice;
pub mod group;
mod slice;

use super::entity::Entity;
use super::list::List;
use super::params::{Class, Rank, Tunables};
use super::sched_class::SchedClass;
use super::task_avg::QueueUtil;
use super::timeline::Timeline;
use super::tree::before;
use super::weight::calc_delta_fair;
use super::{Enqueue, PickLimit};
use crate::time::Nanos;
pub(super) use average::Notes;
use core::marker::PhantomPinned;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use group::levels::Grouped;
use slice::Terms;

/// The fair class's queue.
#[derive(Debug)]
pub(super) struct FairRq {
    pub(super) tree: Timeline<Entity>,
    pub(super) curr: Option<NonNull<Entity>>,
    /// Buddies: who should run next if that is not unfair, who ran last and was preempted by a wake-up, who yielded.
    next: Option<NonNull<Entity>>,
    last: Option<NonNull<Entity>>,
    skip: Option<NonNull<Entity>>,
    /// Whether any of the three may be set: the common case takes one test.
    has_buddies: bool,
    pub(super) nr: u32,
    /// How many of them are SCHED_IDLE.
    nr_idle: u32,
    /// The sum of their weights.
    pub(super) load: u64,
    /// Monotone. Read without a lock by the queue to which an entity of this one is woken.
    pub(super) min_vruntime: AtomicU64,
    /// The parked polls of the tree, for [`FairRq::pick_parked`].
    parked: List,
    terms: Terms,
    /// What [`SchedClass::next_event`] answered last.
    event: Nanos,
    /// Till when who was alone may go on, see [`FairRq::note_company`]; who that is, and its `prev_sum_exec` in that stay.
    grace: Nanos,
    grace_of: Option<(NonNull<Entity>, Nanos)>,
    /// The CPU whose queue it is.
    pub(super) cpu: u32,
    /// Runnable tasks of groups; and entities of groups that are on this queue for them.
    grouped: u32,
    group_entities: u32,
    /// The clock as tasks of groups know it.
    clock: Nanos,
    /// Groups that are held back on this CPU.
    throttled: Option<NonNull<group::GroupCpu>>,
    util: QueueUtil,
    /// Where the CPU's averages are noted, if there are several.
    pub(super) notes: Option<Notes>,
    /// Other queues read `min_vruntime` while this one is borrowed mutably: such a borrow may not claim to be alone.
    _shared: PhantomPinned,
}

/// The vruntime of `e`.
///
/// # Safety
/// `e` is valid, under the queue's lock.
#[inline(always)]
pub(super) unsafe fn vruntime(e: NonNull<Entity>) -> u64 {
    // SAFETY: by the caller's contract.
    unsafe { (*e.as_ptr()).vruntime }
}

impl FairRq {
    pub(super) const fn new(t: &Tunables) -> Self {
        FairRq {
            tree: Timeline::new(),
            curr: None,
            next: None,
            last: None,
            skip: None,
            has_buddies: false,
            nr: 0,
            nr_idle: 0,
            load: 0,
            min_vruntime: AtomicU64::new(0),
            parked: List::new(),
            terms: Terms::of(t),
            util: QueueUtil::NEW,
            notes: None,
            event: 0,
            grace: 0,
            grace_of: None,
            cpu: 0,
            grouped: 0,
            group_entities: 0,
            clock: 0,
            throttled: None,
            _shared: PhantomPinned,
        }
    }

    /// How many tasks are runnable, those of groups included.
    pub(super) fn nr_tasks(&self) -> u32 {
        self.nr.wrapping_add(self.nr_in_groups())
    }

    /// How many more they are than `nr`, which counts a group for those in it.
    #[inline(always)]
    pub(super) fn nr_in_groups(&self) -> u32 {
        self.grouped.wrapping_sub(self.group_entities)
    }

    /// Takes over the tunables of the CPU's queue: a group's, before somebody comes.
    fn take_tunables(&mut self, root: &FairRq) {
        self.terms = root.terms;
    }

    /// Not 0 if the order of the timeline's run does not say alone who of the queue runs next: because of buddies, groups, parked
    /// polls, or members in the tree.
    #[inline(always)]
    pub(super) fn oddities(&self) -> usize {
        // One branch for all.
        let addr = |e: Option<NonNull<Entity>>| e.map_or(0, |e| e.as_ptr().addr());
        let throttled = self.throttled.map_or(0, |g| g.as_ptr().addr());
        usize::from(self.has_buddies)
            | self.group_entities as usize
            | throttled
            | addr(self.parked.first())
            | addr(self.tree.first_of_tree())
    }

    /// What [`SchedClass::next_event`] answered last.
    pub(super) fn last_event(&self) -> Nanos {
        self.event
    }

    /// At the beginning of a stay, at `start`: an event that is under way, and comes before any stay could end, will do. Polls that
    /// are shorter than that by far are not each worth a computation.
    #[inline(always)]
    pub(super) fn event_ahead(&self, start: Nanos) -> Option<Nanos> {
        (self.event.wrapping_sub(start).wrapping_sub(1) < self.terms.shortest).then_some(self.event)
    }

    /// Moves `min_vruntime` up to the smallest vruntime of the queue.
    #[inline]
    fn update_min_vruntime(&mut self) {
        // SAFETY: entities of the queue are valid.
        let smallest = unsafe {
            match (self.curr, self.tree.first()) {
                (Some(c), Some(f)) => {
                    let (c, f) = (vruntime(c), vruntime(f));
                    if before(f, c) { f } else { c }
                }
                (Some(e), None) | (None, Some(e)) => vruntime(e),
                (None, None) => return,
            }
        };
        self.advance_to(smallest);
    }

    #[inline(always)]
    pub(super) fn advance_to(&mut self, smallest: u64) {
        if before(self.min_vruntime.load(Relaxed), smallest) {
            self.min_vruntime.store(smallest, Relaxed);
        }
    }

    /// Shifts `e`'s vruntime from the clock of the queue that it was on to this one's.
    ///
    /// # Safety
    /// `e` is valid and on no queue; the queue that it was on still exists.
    #[inline]
    pub(super) unsafe fn adopt(&mut self, e: NonNull<Entity>) {
        let here = NonNull::from(&self.min_vruntime);
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            if (*this).home.map_or(core::ptr::null(), |h| h.as_ptr().cast_const()) == here.as_ptr().cast_const() {
                return;
            }
            let there = (*this).home.map_or(0, |h| h.as_ref().load(Relaxed));
            let shift = self.min_vruntime.load(Relaxed).wrapping_sub(there);
            (*this).vruntime = (*this).vruntime.wrapping_add(shift);
            (*this).home = Some(here);
        }
    }

    /// Counts `e` in.
    ///
    /// # Safety
    /// `e` is valid and not counted.
    #[inline]
    pub(super) unsafe fn account_enqueue(&mut self, e: NonNull<Entity>) {
        // SAFETY: valid by contract.
        let this = unsafe { e.as_ref() };
        self.nr = self.nr.wrapping_add(1);
        self.load = self.load.wrapping_add(u64::from(this.load.weight));
        if this.is_idle_policy() {
            self.nr_idle = self.nr_idle.wrapping_add(1);
        }
    }

    /// Counts `e` out.
    ///
    /// # Safety
    /// `e` is valid and was counted with the weight that it has now.
    #[inline]
    pub(super) unsafe fn account_dequeue(&mut self, e: NonNull<Entity>) {
        // SAFETY: valid by contract.
        let this = unsafe { e.as_ref() };
        self.nr = self.nr.wrapping_sub(1);
        self.load = self.load.wrapping_sub(u64::from(this.load.weight));
        if this.is_idle_policy() {
            self.nr_idle = self.nr_idle.wrapping_sub(1);
        }
    }

    /// # Safety
    /// `e` is valid, counted, and not in the tree.
    #[inline]
    pub(super) unsafe fn insert(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            self.tree.insert(e);
            if (*e.as_ptr()).parked {
                self.parked.push_back(e);
            }
        }
    }

    /// # Safety
    /// `e` is in the tree.
    #[inline]
    pub(super) unsafe fn remove(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            self.tree.remove(e);
            if (*e.as_ptr()).parked {
                self.parked.remove(e);
            }
        }
    }
}

impl SchedClass for FairRq {
    #[inline(always)]
    fn class(&self) -> Class {
        Class::Fair
    }

    #[inline(always)]
    fn nr_running(&self) -> u32 {
        self.nr
    }

    #[inline(always)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: passed on.
        unsafe {
            self.adopt(e);
            self.place(e, why, now);
            self.note_company(now);
            self.account_enqueue(e);
            self.insert(e);
        }
    }

    #[inline(always)]
    unsafe fn enqueue_current(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        // SAFETY: passed on.
        unsafe {
            self.adopt(e);
            self.place(e, why, now);
            self.account_enqueue(e);
        }
        self.curr = Some(e);
        Some(None)
    }

    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>) {
        self.clear_buddies(e);
        // SAFETY: passed on.
        unsafe {
            self.remove(e);
            self.account_dequeue(e);
        }
    }

    #[inline]
    unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        self.clear_buddies(e);
        self.curr = None;
        // SAFETY: passed on; the leftmost is queued, hence valid, too.
        unsafe {
            self.account_dequeue(e);
            self.advance_to(vruntime(self.tree.first().unwrap_or(e)));
        }
    }

    #[inline]
    fn pick_next_task(&mut self, limit: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        match limit {
            PickLimit::Any => {
                let e = self.pick()?;
                // SAFETY: it is on the queue, hence valid.
                if unsafe { (*e.as_ptr()).owns.is_some() } {
                    // SAFETY: just picked.
                    return unsafe { Grouped(self).pick_below(e, now) };
                }
                Some(e)
            }
            PickLimit::FairParkedOnly => self.pick_parked(),
        }
    }

    #[inline(always)]
    fn roll(&mut self, now: Nanos) {
        if self.throttled.is_some() {
            self.roll_groups(now);
        }
    }

    #[inline(always)]
    fn unthrottle_event(&self) -> Option<Nanos> {
        if self.throttled.is_some() { self.groups_fill() } else { None }
    }

    #[inline(always)]
    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool) {
        if gives_way {
            self.set_skip(e);
        }
        self.curr = None;
        // SAFETY: it was counted all the time, and the current entity is not in the tree.
        unsafe { self.insert(e) };
    }

    #[inline(always)]
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, stays: bool) {
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            (*this).vruntime = (*this).vruntime.wrapping_add(calc_delta_fair(now.wrapping_sub(start), (*this).load));
            if (*this).avg.are_due(now) {
                self.average(e, now, !stays);
            }
        }
        // Otherwise `dequeue_current` moves the clock itself.
        if stays {
            self.update_min_vruntime();
        }
    }

    #[inline]
    unsafe fn check_preempt_curr(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { self.check_preempt(curr, e) }
    }

    unsafe fn task_tick(&mut self, curr: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        let due = unsafe { self.time_left(curr) } == Some(0);
        if due {
            self.end_slice(curr);
        }
        due
    }

    #[inline]
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: passed on; the current entity is valid.
        unsafe {
            self.tree.first()?;
            let this = curr.as_ptr();
            let start = (*this).exec_start;
            if (*this).prev_sum_exec == (*this).sum_exec
                && let Some(event) = self.event_ahead(start)
            {
                return Some(event);
            }
            let event = self.time_left(curr).map(|left| self.terms.end(start.saturating_add(left)))?;
            self.event = event;
            Some(event)
        }
    }

    #[inline(always)]
    fn best_rank(&self) -> Option<Rank> {
        if self.nr > 0 { Some(Rank::FAIR) } else { None }
    }

    fn find_waiting(&self, wanted: &mut impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        if self.group_entities != 0 {
            return self.find_in_groups(wanted);
        }
        let mut at = self.tree.first();
        while let Some(e) = at {
            if wanted(e) {
                return Some(e);
            }
            // SAFETY: it is in the tree.
            at = unsafe { self.tree.next(e) };
        }
        None
    }

    fn first_queued(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        if self.throttled.is_some() {
            self.release_groups(now);
        }
        self.find_waiting(&mut |_| true)
    }

    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool, for_good: bool) {
        // SAFETY: passed on.
        unsafe {
            if current {
                self.dequeue_current(e)
            } else {
                self.dequeue_task(e)
            };
            if for_good {
                self.disown(e);
            }
        }
    }

    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, _: bool) {
        // SAFETY: passed on.
        unsafe {
            self.adopt(e);
            self.account_enqueue(e);
            if current {
                self.curr = Some(e);
            } else {
                self.insert(e);
            }
        }
    }

    /// Makes `e`'s vruntime relative to no queue, for its stay outside (Linux: the normalised vruntime).
    unsafe fn disown(&mut self, e: NonNull<Entity>) {
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            if let Some(home) = (*this).home.take() {
                (*this).vruntime = (*this).vruntime.wrapping_sub(home.as_ref().load(Relaxed));
            }
        }
    }

    fn tune(&mut self, t: &Tunables, _: Nanos) {
        self.terms = Terms::of(t);
    }
}
