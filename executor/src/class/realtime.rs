//! The real-time class: SCHED_FIFO and SCHED_RR (Linux: `rt_sched_class`).
//!
//! A list per priority and a bitmap of those that are not empty. The current entity is in none of them: who wakes and runs at
//! once never touches one. Preempted it comes back at the head. Real-time as a whole may use `rt_runtime` of each `rt_period`;
//! periods begin at multiples of `rt_period` of the clock.

use super::entity::Entity;
use super::list::List;
use super::params::{Class, Policy, Rank, Tunables};
use super::sched_class::SchedClass;
use super::{Enqueue, PickLimit};
use crate::time::Nanos;
use core::ptr::NonNull;

/// Priorities 0..=99; 0 stays empty.
const LEVELS: usize = 100;

/// Which priorities have somebody: bit `99 - priority` of 128, so that the lowest set bit is the most urgent.
#[derive(Clone, Copy, Debug)]
struct Bitmap([u64; 2]);

impl Bitmap {
    #[inline(always)]
    fn place(priority: u8) -> (usize, u64) {
        let bit = (LEVELS as u8).wrapping_sub(1).wrapping_sub(priority);
        (usize::from(bit >> 6 & 1), 1u64.wrapping_shl(u32::from(bit)))
    }

    #[inline(always)]
    fn set(&mut self, priority: u8) {
        let (word, bit) = Self::place(priority);
        self.0[word] |= bit;
    }

    #[inline(always)]
    fn clear(&mut self, priority: u8) {
        let (word, bit) = Self::place(priority);
        self.0[word] &= !bit;
    }

    /// The most urgent priority.
    #[inline(always)]
    fn first(&self) -> Option<usize> {
        let [high, low] = self.0;
        let bit = if high != 0 { high.trailing_zeros() } else { low.trailing_zeros().wrapping_add(64) };
        (LEVELS - 1).checked_sub(bit as usize)
    }
}

/// The real-time class's queue.
#[derive(Debug)]
pub(super) struct RtRq {
    bitmap: Bitmap,
    queue: [List; LEVELS],
    nr: u32,
    /// The current entity goes behind those of its priority when it is put back, for it has come to it last.
    behind: bool,
    /// Real-time has used up its share of this period.
    throttled: bool,
    /// What it has used of this period, ns.
    used: Nanos,
    /// When this period ends.
    period_end: Nanos,
    period: Nanos,
    runtime: Option<Nanos>,
    /// `runtime` where that limits anything, else for ever: a runtime of the whole period is no limit (Linux:
    /// `sched_rt_runtime_exceeded`).
    limit: Nanos,
    /// By when the share cannot be used up, however busily real-time runs: reckoned anew when it is reached.
    busy_until: Nanos,
    timeslice: Nanos,
}

/// # Safety
/// `e` is valid.
#[inline(always)]
unsafe fn priority(e: NonNull<Entity>) -> u8 {
    // SAFETY: by the caller's contract. `Entity::apply` keeps it in 1..=99.
    unsafe { (*e.as_ptr()).params.rt_priority }
}

const fn limit(runtime: Option<Nanos>, period: Nanos) -> Nanos {
    match runtime {
        // None at all is no limit, either: Linux throttles nobody whom no period could give anything.
        Some(runtime) if runtime != 0 && runtime < period => runtime,
        _ => Nanos::MAX,
    }
}

impl RtRq {
    pub(super) const fn new(t: &Tunables) -> Self {
        RtRq {
            bitmap: Bitmap([0; 2]),
            queue: [const { List::new() }; LEVELS],
            nr: 0,
            behind: false,
            throttled: false,
            used: 0,
            period_end: 0,
            period: t.rt_period,
            runtime: t.rt_runtime,
            limit: limit(t.rt_runtime, t.rt_period),
            busy_until: 0,
            timeslice: t.rr_timeslice,
        }
    }

    /// # Safety
    /// `e` is valid, in no list, and stays until it is taken out.
    #[inline(always)]
    unsafe fn insert(&mut self, e: NonNull<Entity>, head: bool) {
        // SAFETY: passed on.
        unsafe {
            let p = priority(e);
            let list = &mut self.queue[p as usize];
            if head {
                list.push_front(e)
            } else {
                list.push_back(e)
            };
            self.bitmap.set(p);
        }
    }

    /// # Safety
    /// `e` is in the list of the priority that it has now.
    #[inline(always)]
    unsafe fn remove(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            let p = priority(e);
            let list = &mut self.queue[p as usize];
            list.remove(e);
            if list.is_empty() {
                self.bitmap.clear(p);
            }
        }
    }

    /// The most urgent entity, by the state of the last charge.
    #[inline(always)]
    fn peek(&self) -> Option<NonNull<Entity>> {
        if self.throttled {
            return None;
        }
        self.queue.get(self.bitmap.first()?)?.first()
    }

    #[cold]
    fn new_period(&mut self, now: Nanos) {
        let passed = (now - self.period_end) / self.period;
        // Onto the grid: the first use, or a change of tunables, may have left it.
        self.period_end = (now - now % self.period).saturating_add(self.period);
        if let Some(runtime) = self.runtime {
            self.used = self.used.saturating_sub(runtime.saturating_mul(passed.saturating_add(1)));
            if self.used < runtime {
                self.throttled = false;
            }
        } else {
            self.used = 0;
            self.throttled = false;
        }
    }

    /// Reckons `busy_until`, with everything charged up to `start`.
    #[inline(never)]
    fn reckon(&mut self, start: Nanos) {
        self.roll(start);
        self.busy_until = if self.limit == Nanos::MAX {
            Nanos::MAX
        } else {
            let at = start.saturating_add(self.limit.saturating_sub(self.used));
            // A new period comes first and forgives what was used in this one.
            if at > self.period_end { self.period_end.saturating_add(self.limit) } else { at }
        };
    }

    /// When the share may be used up, for a stay that begins at `start`.
    #[inline(always)]
    fn share_event(&mut self, start: Nanos) -> Option<Nanos> {
        if self.busy_until <= start {
            self.reckon(start);
        }
        if self.busy_until == Nanos::MAX { None } else { Some(self.busy_until) }
    }

    /// Charges a stay that ends a period or the share of it.
    #[cold]
    fn charge_across(&mut self, start: Nanos, now: Nanos) {
        let delta = now.saturating_sub(start);
        if now >= self.period_end {
            let before = self.period_end.saturating_sub(start).min(delta);
            self.used = self.used.saturating_add(before);
            self.new_period(now);
            let after = now.saturating_sub(start.max(self.period_end.saturating_sub(self.period)));
            self.used = self.used.saturating_add(after);
        } else {
            self.used = self.used.saturating_add(delta);
        }
        if self.used >= self.limit {
            self.throttled = true;
        }
    }

    /// The deadline class has run from `start` to `now`: that is real-time's share, too.
    #[cold]
    #[inline(never)]
    pub(super) fn charge_deadline(&mut self, start: Nanos, now: Nanos) {
        self.charge_across(start, now);
        self.busy_until = 0;
    }

    /// Charges the quantum of `e`, of policy RR.
    ///
    /// # Safety
    /// `e` is current.
    #[inline(never)]
    unsafe fn charge_quantum(&mut self, e: NonNull<Entity>, delta: Nanos) {
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = e.as_ptr();
            (*this).rr_left = (*this).rr_left.saturating_sub(delta);
            self.is_quantum_over(e);
        }
    }

    /// Whether nobody waits at its priority.
    ///
    /// # Safety
    /// `e` is current.
    #[inline]
    unsafe fn is_alone(&self, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract.
        self.queue[unsafe { priority(e) } as usize].is_empty()
    }

    /// Whether its quantum is used up and somebody waits for its end; alone it gets a new one.
    ///
    /// # Safety
    /// `e` is current.
    #[inline]
    unsafe fn is_quantum_over(&mut self, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = e.as_ptr();
            if (*this).params.policy != Policy::RoundRobin || (*this).rr_left != 0 {
                return false;
            }
            if self.is_alone(e) {
                (*this).rr_left = self.timeslice;
                return false;
            }
            true
        }
    }
}

impl RtRq {
    /// Calls `f` for each entity that waits, whether the class is throttled or not.
    pub(super) fn each_waiting(&self, f: &mut impl FnMut(NonNull<Entity>)) {
        let mut left = self.bitmap;
        while let Some(priority) = left.first() {
            let mut at = self.queue[priority].first();
            while let Some(e) = at {
                f(e);
                // SAFETY: entities of the list are valid, and only read.
                at = unsafe { List::next(e) };
            }
            left.clear(priority as u8);
        }
    }
}

impl SchedClass for RtRq {
    #[inline(always)]
    fn class(&self) -> Class {
        Class::Realtime
    }

    #[inline(always)]
    fn nr_running(&self) -> u32 {
        self.nr
    }

    #[inline(always)]
    unsafe fn enqueue_task(&mut self, e: NonNull<Entity>, _: Enqueue, _: Nanos) {
        self.nr = self.nr.wrapping_add(1);
        // SAFETY: passed on.
        unsafe { self.insert(e, false) };
    }

    #[inline(always)]
    unsafe fn enqueue_current(&mut self, _: NonNull<Entity>, _: Enqueue, now: Nanos) -> Option<Option<Nanos>> {
        if self.throttled {
            self.roll(now);
            if self.throttled {
                return None;
            }
        }
        self.nr = self.nr.wrapping_add(1);
        Some(self.share_event(now))
    }

    #[inline]
    unsafe fn dequeue_task(&mut self, e: NonNull<Entity>) {
        self.nr = self.nr.wrapping_sub(1);
        // SAFETY: passed on.
        unsafe { self.remove(e) };
    }

    #[inline(always)]
    unsafe fn dequeue_current(&mut self, _: NonNull<Entity>) {
        self.nr = self.nr.wrapping_sub(1);
        self.behind = false;
    }

    #[inline(always)]
    fn pick_next_task(&mut self, _: PickLimit, now: Nanos) -> Option<NonNull<Entity>> {
        self.roll(now);
        let e = self.peek()?;
        // SAFETY: it is the first of its list.
        unsafe { self.remove(e) };
        Some(e)
    }

    unsafe fn put_prev_task(&mut self, e: NonNull<Entity>, gives_way: bool) {
        // SAFETY: passed on; the current entity is in no list.
        unsafe {
            let over = self.is_quantum_over(e);
            if over {
                (*e.as_ptr()).rr_left = self.timeslice;
            }
            let behind = core::mem::replace(&mut self.behind, false);
            self.insert(e, !(gives_way || over || behind));
        }
    }

    #[inline(always)]
    unsafe fn update_curr(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos, _: bool) {
        let delta = now.wrapping_sub(start);
        let used = self.used.wrapping_add(delta);
        if now >= self.period_end || used >= self.limit {
            self.charge_across(start, now);
        } else {
            self.used = used;
        }
        // SAFETY: valid by contract.
        unsafe {
            if (*e.as_ptr()).params.policy == Policy::RoundRobin {
                self.charge_quantum(e, delta);
            }
        }
    }

    unsafe fn task_tick(&mut self, curr: NonNull<Entity>) -> bool {
        // SAFETY: passed on.
        unsafe { self.is_quantum_over(curr) || self.throttled }
    }

    #[inline(always)]
    unsafe fn next_event(&mut self, curr: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = curr.as_ptr();
            let start = (*this).exec_start;
            let event = self.share_event(start);
            if (*this).params.policy == Policy::RoundRobin && !self.is_alone(curr) {
                return Some(start.saturating_add((*this).rr_left).min(self.busy_until));
            }
            event
        }
    }

    /// Begins a new period if this one is over; what was used is forgiven up to the runtime of each period that passed.
    #[inline(always)]
    fn roll(&mut self, now: Nanos) {
        if now >= self.period_end {
            self.new_period(now);
        }
    }

    #[inline(always)]
    fn is_throttled(&self) -> bool {
        self.throttled
    }

    #[inline(always)]
    fn unthrottle_event(&self) -> Option<Nanos> {
        (self.throttled && self.nr > 0).then_some(self.period_end)
    }

    #[inline(always)]
    fn best_rank(&self) -> Option<Rank> {
        // SAFETY: it is queued, hence valid.
        self.peek().map(|e| unsafe { (*e.as_ptr()).rank })
    }

    fn find_waiting(&self, wanted: &mut impl FnMut(NonNull<Entity>) -> bool) -> Option<NonNull<Entity>> {
        if self.throttled {
            return None;
        }
        let mut left = self.bitmap;
        while let Some(priority) = left.first() {
            let mut at = self.queue[priority].first();
            while let Some(e) = at {
                if wanted(e) {
                    return Some(e);
                }
                // SAFETY: entities of the list are valid, and only read.
                at = unsafe { List::next(e) };
            }
            left.clear(priority as u8);
        }
        None
    }

    fn first_queued(&mut self, _: Nanos) -> Option<NonNull<Entity>> {
        self.queue.get(self.bitmap.first()?)?.first()
    }

    unsafe fn leave(&mut self, e: NonNull<Entity>, current: bool, _: bool) {
        // SAFETY: passed on.
        unsafe {
            if current {
                self.dequeue_current(e)
            } else {
                self.dequeue_task(e)
            };
        }
    }

    unsafe fn join(&mut self, e: NonNull<Entity>, current: bool, head: bool) {
        self.nr = self.nr.wrapping_add(1);
        if current {
            self.behind = !head;
        } else {
            // SAFETY: passed on.
            unsafe { self.insert(e, head) };
        }
    }

    fn tune(&mut self, t: &Tunables, now: Nanos) {
        let (period, timeslice) = (t.rt_period.max(1), t.rr_timeslice.max(1));
        if (period, t.rt_runtime, timeslice) == (self.period, self.runtime, self.timeslice) {
            return;
        }
        self.period = period;
        self.runtime = t.rt_runtime;
        self.limit = limit(t.rt_runtime, period);
        self.busy_until = 0;
        self.timeslice = timeslice;
        // The new period begins now, as Linux restarts its period timer.
        self.period_end = now.saturating_add(self.period);
        self.used = 0;
        self.throttled = false;
    }
}
