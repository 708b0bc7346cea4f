//! The fair class: CFS as in Linux 6.1 (`kernel/sched/fair.c`), without groups.
//!
//! Each entity's vruntime is its run time divided by its weight; the entity with the smallest one runs, for a slice of
//! the period that its weight earns. The current entity is not in the tree but counts in `nr` and `load`.
//! vruntimes are relative to a queue's `min_vruntime`; an entity that changes queues is shifted by their difference.

use super::Enqueue;
use super::entity::Entity;
use super::list::List;
use super::params::{Policy, Tunables};
use super::tree::{Tree, before};
use super::weight::{NICE_0_WEIGHT, calc_delta, calc_delta_fair, inverse_of, real_of_virtual};
use crate::time::Nanos;
use core::marker::PhantomPinned;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After a sleep of 2^43 ns (2.4 h) or more, vruntimes are too far apart to be compared: such an entity is placed anew.
const LONG_SLEEP: i64 = 1 << 43;

/// The fair class's queue.
#[derive(Debug)]
pub(super) struct FairRq {
    tree: Tree,
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
    tunables: Tunables,
    /// `tunables.nr_latency()`, which takes a division.
    nr_latency: u32,
    /// Other queues read `min_vruntime` while this one is borrowed mutably: such a borrow may not claim to be alone.
    _shared: PhantomPinned,
}

/// The vruntime of `e`.
///
/// # Safety
/// `e` is valid, under the queue's lock.
#[inline(always)]
unsafe fn vruntime(e: NonNull<Entity>) -> u64 {
    // SAFETY: by the caller's contract.
    unsafe { (*e.as_ptr()).vruntime }
}

impl FairRq {
    pub(super) const fn new(t: &Tunables) -> Self {
        FairRq {
            tree: Tree::new(),
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
            tunables: *t,
            nr_latency: t.nr_latency(),
            _shared: PhantomPinned,
        }
    }

    pub(super) fn tune(&mut self, t: &Tunables) {
        self.tunables = *t;
        self.nr_latency = t.nr_latency();
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
    fn advance_to(&mut self, smallest: u64) {
        if before(self.min_vruntime.load(Relaxed), smallest) {
            self.min_vruntime.store(smallest, Relaxed);
        }
    }

    /// Charges the current entity for a stay of `delta` on the CPU. It `stays` on the queue, or
    /// [`FairRq::dequeue_current`] follows, which moves the clock itself.
    ///
    /// # Safety
    /// `e` is the current entity.
    #[inline(always)]
    pub(super) unsafe fn charge(&mut self, e: NonNull<Entity>, delta: Nanos, stays: bool) {
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            (*this).vruntime = (*this).vruntime.wrapping_add(calc_delta_fair(delta, (*this).load));
        }
        if stays {
            self.update_min_vruntime();
        }
    }

    /// The share of the period that `e` may run at a stretch (Linux: `sched_slice`).
    pub(super) fn slice(&self, e: &Entity) -> Nanos {
        let (nr, load) = if e.on_rq() {
            (self.nr, self.load)
        } else {
            (self.nr.saturating_add(1), self.load.saturating_add(u64::from(e.load.weight)))
        };
        let period = if nr > self.nr_latency {
            u64::from(nr).saturating_mul(self.tunables.min_granularity)
        } else {
            self.tunables.latency
        };
        let share = calc_delta(period, e.load.weight, inverse_of(load));
        let only_idle = self.nr == self.nr_idle;
        let floor = if e.is_idle_policy() && !only_idle {
            self.tunables.idle_min_granularity
        } else {
            self.tunables.min_granularity
        };
        share.max(floor)
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
            if (*this).home == Some(here) {
                return;
            }
            let there = (*this).home.map_or(0, |h| h.as_ref().load(Relaxed));
            let shift = self.min_vruntime.load(Relaxed).wrapping_sub(there);
            (*this).vruntime = (*this).vruntime.wrapping_add(shift);
            (*this).home = Some(here);
        }
    }

    /// Makes `e`'s vruntime relative to no queue, for its stay outside (Linux: the normalised vruntime).
    ///
    /// # Safety
    /// `e` is valid, and was last on this queue.
    pub(super) unsafe fn disown(&mut self, e: NonNull<Entity>) {
        // SAFETY: valid by contract.
        unsafe {
            let this = e.as_ptr();
            if let Some(home) = (*this).home.take() {
                (*this).vruntime = (*this).vruntime.wrapping_sub(home.as_ref().load(Relaxed));
            }
        }
    }

    /// Where a new or woken entity goes on the timeline (Linux: `place_entity`).
    ///
    /// # Safety
    /// `e` is valid, adopted and not on the queue.
    unsafe fn place(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: valid by contract; a shared reference that ends before the write below.
        let this = unsafe { e.as_ref() };
        let min = self.min_vruntime.load(Relaxed);
        let (floor, long) = match why {
            // The running period is promised to those who are there.
            Enqueue::New => (min.wrapping_add(calc_delta_fair(self.slice(this), this.load)), false),
            // A sleeper gets half a period of credit, not more, however long it slept.
            Enqueue::Wakeup => {
                let credit =
                    if this.is_idle_policy() { self.tunables.min_granularity } else { self.tunables.latency };
                let slept = now.wrapping_sub(this.exec_start) as i64;
                (min.wrapping_sub(credit / 2), slept > LONG_SLEEP)
            }
            Enqueue::Migrated => return,
        };
        let own = this.vruntime;
        // SAFETY: valid by contract.
        unsafe { (*e.as_ptr()).vruntime = if long || before(own, floor) { floor } else { own } };
    }

    /// # Safety
    /// `e` is valid, on no queue, stays until it is dequeued; the queue that it was on before still exists.
    #[inline]
    pub(super) unsafe fn enqueue(&mut self, e: NonNull<Entity>, why: Enqueue, now: Nanos) {
        // SAFETY: passed on.
        unsafe {
            self.adopt(e);
            self.place(e, why, now);
            if self.nr == 1
                && let Some(curr) = self.curr
            {
                // Its slice begins now: alone it had none to use up. Otherwise a wakee that may not preempt (BATCH,
                // or too little behind) would get the CPU all the same, for Linux only at its next tick.
                let curr = curr.as_ptr();
                (*curr).prev_sum_exec = (*curr).sum_exec;
            }
            self.account_enqueue(e);
            self.insert(e);
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

    /// Takes a queued entity, which is not the current one, off.
    ///
    /// # Safety
    /// `e` is in the tree.
    pub(super) unsafe fn dequeue(&mut self, e: NonNull<Entity>) {
        self.clear_buddies(e);
        // SAFETY: passed on.
        unsafe {
            self.remove(e);
            self.account_dequeue(e);
        }
    }

    /// Takes the current entity off.
    ///
    /// # Safety
    /// `e` is the current entity and charged.
    #[inline]
    pub(super) unsafe fn dequeue_current(&mut self, e: NonNull<Entity>) {
        self.clear_buddies(e);
        self.curr = None;
        // SAFETY: passed on; the leftmost is queued, hence valid, too.
        unsafe {
            self.account_dequeue(e);
            self.advance_to(vruntime(self.tree.first().unwrap_or(e)));
        }
    }

    /// Puts the current entity back into the tree.
    ///
    /// # Safety
    /// `e` is the current entity and charged.
    #[inline]
    pub(super) unsafe fn requeue_current(&mut self, e: NonNull<Entity>) {
        self.curr = None;
        // SAFETY: it was counted all the time, and the current entity is not in the tree.
        unsafe { self.insert(e) };
    }

    /// `e` yields: it is passed over at the next pick if that is not too unfair (Linux: `yield_task_fair`).
    pub(super) fn set_skip(&mut self, e: NonNull<Entity>) {
        if self.nr > 1 {
            self.clear_buddies(e);
            self.skip = Some(e);
            self.has_buddies = true;
        }
    }

    #[inline(always)]
    pub(super) fn clear_buddies(&mut self, e: NonNull<Entity>) {
        if self.has_buddies {
            self.forget_buddy(e);
        }
    }

    fn forget_buddy(&mut self, e: NonNull<Entity>) {
        let e = Some(e);
        if self.next == e {
            self.next = None;
        }
        if self.last == e {
            self.last = None;
        }
        if self.skip == e {
            self.skip = None;
        }
        self.has_buddies = self.next.is_some() || self.last.is_some() || self.skip.is_some();
    }

    /// By how much `e` must be behind to be worth a preemption, in its virtual time.
    #[inline]
    fn wakeup_gran(&self, e: &Entity) -> u64 {
        calc_delta_fair(self.tunables.wakeup_granularity, e.load)
    }

    /// Linux's `wakeup_preempt_entity`: 1 if `e` should run rather than `curr`, 0 if `curr` is ahead but by less than
    /// a granularity, -1 if it is not ahead.
    fn preempt_entity(&self, curr: &Entity, e: &Entity) -> i32 {
        let ahead = curr.vruntime.wrapping_sub(e.vruntime) as i64;
        if ahead <= 0 {
            -1
        } else if ahead as u64 > self.wakeup_gran(e) {
            1
        } else {
            0
        }
    }

    /// Takes the entity that is to run out of the tree and makes it current.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<NonNull<Entity>> {
        if self.has_buddies {
            match self.tree.first() {
                // The usual buddy: who has just preempted by waking, and is leftmost anyway.
                Some(left) if self.next == Some(left) => self.forget_buddy(left),
                _ => return self.pick_buddy(),
            }
        }
        let e = self.tree.pop_first()?;
        // SAFETY: it was queued, hence valid, and on the list if it is parked.
        unsafe {
            if (*e.as_ptr()).parked {
                self.parked.remove(e);
            }
        }
        self.curr = Some(e);
        Some(e)
    }

    /// Linux's `pick_next_entity`, with the current entity already in the tree.
    #[inline(never)]
    fn pick_buddy(&mut self) -> Option<NonNull<Entity>> {
        let left = self.tree.first()?;
        // SAFETY: buddies are queued, as all in the tree: valid, and only read until one is removed.
        unsafe {
            let fair = |e: NonNull<Entity>| self.preempt_entity(e.as_ref(), left.as_ref()) < 1;
            let mut e = left;
            if self.skip == Some(left)
                && let Some(second) = Tree::next(left)
                && fair(second)
            {
                e = second;
            }
            if let Some(next) = self.next
                && fair(next)
            {
                e = next;
            } else if let Some(last) = self.last
                && fair(last)
            {
                e = last;
            }
            self.forget_buddy(e);
            self.remove(e);
            self.curr = Some(e);
            Some(e)
        }
    }

    /// As [`FairRq::pick`], of those whose poll is parked; linear in their number, which the stacks limit.
    #[cold]
    pub(super) fn pick_parked(&mut self) -> Option<NonNull<Entity>> {
        // SAFETY: they are queued, hence valid, and only read; the one that is picked is in the tree.
        unsafe {
            let e = self.parked.min_by(|a, b| before(a.vruntime, b.vruntime))?;
            self.clear_buddies(e);
            self.remove(e);
            self.curr = Some(e);
            Some(e)
        }
    }

    /// Whether the queued `e` should run rather than the current `curr`, which is charged
    /// (Linux: `check_preempt_wakeup`). Marks buddies.
    ///
    /// # Safety
    /// Both are on this queue.
    pub(super) unsafe fn check_preempt(&mut self, curr: NonNull<Entity>, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract, and only read.
        let (c, w) = unsafe { (curr.as_ref(), e.as_ref()) };
        let wins = if c.is_idle_policy() && !w.is_idle_policy() {
            true
        } else {
            // Batch and idle wake-ups preempt nobody.
            w.params.policy == Policy::Normal && self.preempt_entity(c, w) == 1
        };
        if wins {
            self.has_buddies = true;
            if !w.is_idle_policy() {
                self.next = Some(e);
            }
            // With many entities, who was preempted comes back before its cache is cold.
            if self.nr >= self.nr_latency && !c.is_idle_policy() {
                self.last = Some(curr);
            }
        }
        wins
    }

    /// How much longer the current entity may run (0: its time is up), by the two rules of Linux's
    /// `check_preempt_tick`, exact instead of at the next tick; `None` when it is alone.
    ///
    /// Its time is up when it has run a slice and is no longer leftmost, or when it has run a minimum and is a whole
    /// slice ahead of the leftmost.
    ///
    /// # Safety
    /// `curr` is the current entity and charged.
    pub(super) unsafe fn time_left(&self, curr: NonNull<Entity>) -> Option<Nanos> {
        let left = self.tree.first()?;
        // SAFETY: both are on the queue, and only read.
        let (c, l) = unsafe { (curr.as_ref(), left.as_ref()) };
        let slice = self.slice(c).min(self.tunables.latency);
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
