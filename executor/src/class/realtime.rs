//! The real-time class: SCHED_FIFO and SCHED_RR (Linux: `rt_sched_class`).
//!
//! A list per priority and a bitmap of those that are not empty; the current entity stays in its list while it runs,
//! so being preempted costs nothing and keeps its place. Real-time as a whole may use `rt_runtime` of each
//! `rt_period`; periods begin at multiples of `rt_period` of the clock.

use super::entity::Entity;
use super::list::List;
use super::params::{Policy, Tunables};
use crate::time::Nanos;
use core::ptr::NonNull;

/// Priorities 0..=99; 0 stays empty.
const LEVELS: usize = 100;

/// The real-time class's queue.
#[derive(Debug)]
pub(super) struct RtRq {
    /// Bit `99 - priority`: the lowest set bit is the most urgent.
    bitmap: u128,
    queue: [List; LEVELS],
    pub(super) nr: u32,
    /// Real-time has used up its share of this period.
    throttled: bool,
    /// What it has used of this period, ns.
    used: Nanos,
    /// When this period ends.
    period_end: Nanos,
    period: Nanos,
    runtime: Option<Nanos>,
    timeslice: Nanos,
}

#[inline(always)]
const fn bit(priority: u8) -> u128 {
    1 << (LEVELS - 1 - priority as usize)
}

/// # Safety
/// `e` is valid.
#[inline(always)]
unsafe fn priority(e: NonNull<Entity>) -> u8 {
    // SAFETY: by the caller's contract. `Entity::apply` keeps it in 1..=99.
    unsafe { (*e.as_ptr()).params.rt_priority }
}

impl RtRq {
    pub(super) const fn new(t: &Tunables) -> Self {
        RtRq {
            bitmap: 0,
            queue: [const { List::new() }; LEVELS],
            nr: 0,
            throttled: false,
            used: 0,
            period_end: 0,
            period: t.rt_period,
            runtime: t.rt_runtime,
            timeslice: t.rr_timeslice,
        }
    }

    pub(super) fn tune(&mut self, t: &Tunables, now: Nanos) {
        self.period = t.rt_period.max(1);
        self.runtime = t.rt_runtime;
        self.timeslice = t.rr_timeslice.max(1);
        // The new period begins now, as Linux restarts its period timer.
        self.period_end = now.saturating_add(self.period);
        self.used = 0;
        self.throttled = false;
    }

    /// # Safety
    /// `e` is valid, on no queue, and stays until it is dequeued.
    pub(super) unsafe fn enqueue(&mut self, e: NonNull<Entity>, head: bool) {
        // SAFETY: passed on.
        unsafe {
            let p = priority(e);
            let list = &mut self.queue[p as usize];
            if head { list.push_front(e) } else { list.push_back(e) };
            self.bitmap |= bit(p);
        }
        self.nr = self.nr.wrapping_add(1);
    }

    /// # Safety
    /// `e` is on this queue, at the priority that it has now.
    pub(super) unsafe fn dequeue(&mut self, e: NonNull<Entity>) {
        // SAFETY: passed on.
        unsafe {
            let p = priority(e);
            let list = &mut self.queue[p as usize];
            list.remove(e);
            if list.is_empty() {
                self.bitmap &= !bit(p);
            }
        }
        self.nr = self.nr.wrapping_sub(1);
    }

    /// # Safety
    /// `e` is on this queue.
    pub(super) unsafe fn requeue_tail(&mut self, e: NonNull<Entity>) {
        // SAFETY: it is on the queue, and on none between the two calls.
        unsafe {
            let list = &mut self.queue[priority(e) as usize];
            list.remove(e);
            list.push_back(e);
        }
    }

    /// The most urgent entity, the current one included; none while throttled.
    #[inline]
    pub(super) fn pick(&mut self, now: Nanos) -> Option<NonNull<Entity>> {
        self.roll(now);
        self.peek()
    }

    /// As [`RtRq::pick`], by the state of the last charge.
    #[inline]
    pub(super) fn peek(&self) -> Option<NonNull<Entity>> {
        if self.throttled || self.bitmap == 0 {
            return None;
        }
        let p = LEVELS - 1 - self.bitmap.trailing_zeros() as usize;
        self.queue.get(p)?.first()
    }

    /// Whether it may not run before the period's end.
    #[inline(always)]
    pub(super) fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Begins a new period if this one is over; what was used is forgiven up to the runtime of each period that passed.
    #[inline]
    pub(super) fn roll(&mut self, now: Nanos) {
        if now >= self.period_end {
            self.new_period(now);
        }
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

    /// Charges the current entity for `[start, now)`.
    ///
    /// # Safety
    /// `e` is on this queue.
    #[inline(never)]
    pub(super) unsafe fn charge(&mut self, e: NonNull<Entity>, start: Nanos, now: Nanos) {
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
        if let Some(runtime) = self.runtime
            && self.used >= runtime
            // A runtime of the whole period is no limit (Linux: `sched_rt_runtime_exceeded`).
            && runtime < self.period
        {
            self.throttled = true;
        }
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = e.as_ptr();
            if (*this).params.policy == Policy::RoundRobin {
                (*this).rr_left = (*this).rr_left.saturating_sub(delta);
                if (*this).rr_left == 0 && self.is_alone(e) {
                    (*this).rr_left = self.timeslice;
                }
            }
        }
    }

    /// Whether nobody else is queued at its priority.
    ///
    /// # Safety
    /// `e` is on this queue.
    #[inline]
    unsafe fn is_alone(&self, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract.
        self.queue[unsafe { priority(e) } as usize].is_single()
    }

    /// If its quantum is used up, gives it a new one and moves it to the tail of its priority; whether it did.
    ///
    /// # Safety
    /// `e` is on this queue.
    #[inline]
    pub(super) unsafe fn end_quantum(&mut self, e: NonNull<Entity>) -> bool {
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = e.as_ptr();
            if (*this).params.policy != Policy::RoundRobin || (*this).rr_left != 0 {
                return false;
            }
            (*this).rr_left = self.timeslice;
            if self.is_alone(e) {
                return false;
            }
            self.requeue_tail(e);
            true
        }
    }

    /// When the current entity `e`, charged up to `exec_start`, must stop.
    ///
    /// # Safety
    /// `e` is on this queue.
    pub(super) unsafe fn next_event(&self, e: NonNull<Entity>) -> Option<Nanos> {
        // SAFETY: valid by contract, under the queue's lock.
        unsafe {
            let this = e.as_ptr();
            let start = (*this).exec_start;
            let quantum = ((*this).params.policy == Policy::RoundRobin && !self.is_alone(e))
                .then(|| start.saturating_add((*this).rr_left));
            let throttle = self.runtime.filter(|&runtime| runtime < self.period).map(|runtime| {
                let at = start.saturating_add(runtime.saturating_sub(self.used));
                // A new period comes first and forgives what was used in this one.
                if at > self.period_end { self.period_end.saturating_add(runtime) } else { at }
            });
            match (quantum, throttle) {
                (Some(q), Some(t)) => Some(q.min(t)),
                (q, t) => q.or(t),
            }
        }
    }

    /// When a throttled class may run again, if anything waits for that.
    #[inline]
    pub(super) fn unthrottle_event(&self) -> Option<Nanos> {
        (self.throttled && self.nr > 0).then_some(self.period_end)
    }
}
