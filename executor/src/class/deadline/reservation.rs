//! A reservation: what a deadline entity was promised, what is left of it, and the rules of the constant bandwidth server.
//!
//! Nothing here knows of queues. The formulas are those of Linux 6.1 (`kernel/sched/deadline.c`), which divide by the
//! relative *deadline* where the literature has the period: the same for implicit deadlines.

use super::super::entity::Entity;
use super::super::tree::{Member, Node, before};
use crate::time::Nanos;
use core::ptr::NonNull;

/// Bandwidths are fractions of a CPU in units of 1 / 2^20 (Linux: BW_SHIFT).
pub const BW_UNIT: u64 = 1 << 20;
/// Products of two times are taken of times without their lowest bits (Linux: DL_SCALE); the shortest runtime is one such.
const SCALE: u32 = 10;
/// The shortest runtime that can be promised, ns.
pub const MIN_RUNTIME: Nanos = 1 << SCALE;

/// What is asked for: `runtime` in each `period`, by `deadline` after its start. All in ns; see [`DlParams::is_valid`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DlParams {
    /// The budget of a period.
    pub runtime: Nanos,
    /// By when, from the period's start, the budget is available.
    pub deadline: Nanos,
    /// The period; 0 stands for `deadline`.
    pub period: Nanos,
    /// Takes over what others leave unused (SCHED_FLAG_RECLAIM).
    pub reclaim: bool,
    /// Wants to be told when the budget was not enough (SCHED_FLAG_DL_OVERRUN).
    pub overrun: bool,
}

/// `runtime / period` as a bandwidth (Linux: to_ratio).
pub const fn ratio(period: Nanos, runtime: Nanos) -> u64 {
    if period == 0 { 0 } else { (((runtime as u128) << 20) / period as u128) as u64 }
}

impl DlParams {
    /// No reservation.
    pub const NONE: DlParams = DlParams { runtime: 0, deadline: 0, period: 0, reclaim: false, overrun: false };

    /// The period in effect.
    pub const fn period(&self) -> Nanos {
        if self.period == 0 { self.deadline } else { self.period }
    }

    /// Whether it makes sense, with a period between `min` and `max` (Linux: `__checkparam_dl`).
    pub const fn is_valid(&self, min: Nanos, max: Nanos) -> bool {
        let period = self.period();
        self.deadline != 0
            && self.runtime >= MIN_RUNTIME
            && (self.deadline | self.period) >> 63 == 0
            && period >= self.deadline
            && self.deadline >= self.runtime
            && period >= min
            && period <= max
    }

    /// The share of a CPU that it takes.
    pub const fn bandwidth(&self) -> u64 {
        ratio(self.period(), self.runtime)
    }

    /// Whether the deadline is the period's end.
    const fn is_implicit(&self) -> bool {
        self.period() == self.deadline
    }
}

/// In which of its queue's trees a reservation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tied {
    /// In none.
    No,
    /// It can run, or does.
    Ready,
    /// Its entity could run, but the budget is used up.
    Throttled,
    /// Its entity sleeps, and its bandwidth is still counted as active.
    Inactive,
    /// Its entity sleeps, and its bandwidth is counted as what is not used.
    Asleep,
}

/// The deadline class's part of a task (Linux: `sched_dl_entity`). Made when a task first asks for a reservation, or takes part
/// in priority inheritance; it lives as long as the task.
///
/// Guarded by the lock of the run queue on which its entity is or was last, but for `domain`, which [`super::domain`] guards.
#[derive(Debug)]
pub struct Reservation {
    node: Node<Reservation>,
    /// The time by which its tree is ordered.
    pub(super) key: Nanos,
    pub(super) entity: NonNull<Entity>,
    /// Its own; [`DlParams::NONE`] while it has none.
    pub(super) own: DlParams,
    /// Those of whoever waits for it with an earlier deadline.
    pub(super) lent: Option<DlParams>,
    /// What is left of the budget; less than 0 when it was overdrawn.
    pub(super) runtime: i64,
    /// When the present deadline is (`dl.deadline` of `/proc/PID/sched`).
    pub(super) deadline: Nanos,
    /// The budget is used up, and not yet renewed.
    pub(super) throttled: bool,
    /// It has given the rest of its budget away.
    pub(super) yielded: bool,
    /// The budget was not enough, and nobody was told yet.
    pub(in super::super) overran: bool,
    pub(super) tied: Tied,
    /// What of its queue's `this_bw` is its.
    pub(super) counted: u64,
    /// Whether `counted` is in `running_bw`, too.
    pub(super) active: bool,
    pub(super) domain: super::domain::Claim,
    /// Called when `overran` is set, under the lock of the run queue.
    notify: fn(NonNull<Entity>),
}

// SAFETY: the pointers in it are followed only under the lock of its run queue, or of its domain.
unsafe impl Send for Reservation {}

impl Member for Reservation {
    unsafe fn node(this: NonNull<Self>) -> *mut Node<Self> {
        // SAFETY: by the caller's contract.
        unsafe { &raw mut (*this.as_ptr()).node }
    }

    unsafe fn key(this: NonNull<Self>) -> u64 {
        // SAFETY: by the caller's contract.
        unsafe { (*this.as_ptr()).key }
    }
}

impl Reservation {
    /// For `entity`, with nothing promised. `notify` is called, under the lock of the run queue, when a budget of one who wants to
    /// know was not enough.
    pub const fn new(entity: NonNull<Entity>, notify: fn(NonNull<Entity>)) -> Reservation {
        Reservation {
            node: Node::UNLINKED,
            key: 0,
            entity,
            own: DlParams::NONE,
            lent: None,
            runtime: 0,
            // Has passed, whatever the time.
            deadline: u64::MAX,
            throttled: false,
            yielded: false,
            overran: false,
            tied: Tied::No,
            counted: 0,
            active: false,
            domain: super::domain::Claim::NONE,
            notify,
        }
    }

    /// The budget is used up.
    pub(super) fn exhaust(&mut self) {
        self.throttled = true;
        if self.own.overrun && self.runtime <= 0 {
            self.overran = true;
            (self.notify)(self.entity);
        }
    }

    /// What it was promised; all zero for nothing.
    pub fn params(&self) -> DlParams {
        self.own
    }

    /// What is left of the budget, ns, by the last charge.
    pub fn remaining(&self) -> i64 {
        self.runtime
    }

    /// The present deadline.
    pub fn absolute_deadline(&self) -> Nanos {
        self.deadline
    }

    /// Whether it waits for a new budget.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// What it is lent.
    pub fn lent(&self) -> Option<DlParams> {
        self.lent
    }

    /// The parameters that it runs by (Linux: `pi_of`).
    pub fn effective(&self) -> DlParams {
        self.lent.unwrap_or(self.own)
    }

    /// When the period after the present one begins (Linux: `dl_next_period`).
    pub(super) fn next_period(&self) -> Nanos {
        self.deadline.wrapping_sub(self.own.deadline).wrapping_add(self.own.period())
    }

    /// A budget and a deadline from `now` on.
    pub(super) fn begin_period(&mut self, now: Nanos) {
        let p = self.effective();
        self.deadline = now.wrapping_add(p.deadline);
        self.runtime = p.runtime as i64;
    }

    /// The budget is renewed (Linux: `replenish_dl_entity`).
    pub(super) fn replenish(&mut self, now: Nanos) {
        let p = self.effective();
        if self.own.deadline == 0 {
            self.begin_period(now);
        }
        if self.yielded {
            self.runtime = self.runtime.min(0);
        }
        if self.runtime <= 0 && p.runtime > 0 {
            // So many periods that something is left of the last.
            let n = self.runtime.unsigned_abs() / p.runtime + 1;
            self.deadline = self.deadline.wrapping_add(n.wrapping_mul(p.period()));
            self.runtime = self.runtime.saturating_add_unsigned(n.saturating_mul(p.runtime));
        }
        if before(self.deadline, now) {
            // Left behind: what was owed is forgiven.
            self.begin_period(now);
        }
        self.yielded = false;
        self.throttled = false;
    }

    /// Whether what is left, used from `now` to the deadline, would be a larger share than was promised.
    fn would_overflow(&self, now: Nanos) -> bool {
        let p = self.effective();
        let scaled = |t: i64| i128::from(t >> SCALE);
        let left = scaled(p.deadline as i64) * scaled(self.runtime);
        let right = scaled(self.deadline.wrapping_sub(now) as i64) * scaled(p.runtime as i64);
        right < left
    }

    /// The wake-up rule (Linux: `update_dl_entity`): what is left is kept if it may be, else a new period begins; a
    /// constrained deadline that is still to come is kept, with as much budget as fits.
    pub(super) fn wake(&mut self, now: Nanos) {
        let late = before(self.deadline, now);
        if !late && !self.would_overflow(now) {
            return;
        }
        if !late && self.lent.is_none() && !self.own.is_implicit() {
            let laxity = self.deadline.wrapping_sub(now);
            let density = ratio(self.own.deadline, self.own.runtime);
            self.runtime = ((u128::from(density) * u128::from(laxity)) >> 20) as i64;
            return;
        }
        self.begin_period(now);
    }

    /// Whether it woke between its constrained deadline and the next period: it has had its budget (Linux:
    /// `dl_check_constrained_dl`).
    pub(super) fn is_between_periods(&self, now: Nanos) -> bool {
        !self.own.is_implicit() && self.lent.is_none() && before(self.deadline, now) && before(now, self.next_period())
    }

    /// When the share that was used would be the promised one had nothing run since: till then the bandwidth counts
    /// (Linux: the 0-lag time in `task_non_contending`). It may have passed.
    pub(super) fn zero_lag(&self) -> Nanos {
        if self.own.runtime == 0 {
            return self.deadline;
        }
        let ahead = i128::from(self.runtime) * i128::from(self.own.period()) / i128::from(self.own.runtime);
        self.deadline.wrapping_sub(ahead as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::Params;
    use crate::time::MSEC;

    fn reservation(runtime: Nanos, deadline: Nanos, period: Nanos) -> Reservation {
        let mut r = Reservation::new(NonNull::from(&mut Entity::new(Params::DEFAULT)), |_| {});
        r.own = DlParams { runtime, deadline, period, ..DlParams::NONE };
        r
    }

    #[test]
    fn parameters_are_checked_as_linux_does() {
        let ok = |runtime, deadline, period| DlParams { runtime, deadline, period, ..DlParams::NONE }.is_valid(100_000, (1 << 22) * 1000);
        assert!(ok(10 * MSEC, 100 * MSEC, 0));
        assert!(ok(1024, 100_000, 100_000));
        assert!(!ok(1023, 100_000, 100_000));
        assert!(!ok(1024, 99_999, 99_999), "period below the least");
        assert!(ok(1024, 50_000, 100_000));
        assert!(!ok(10 * MSEC, 5 * MSEC, 100 * MSEC), "runtime beyond the deadline");
        assert!(!ok(10 * MSEC, 100 * MSEC, 99 * MSEC), "deadline beyond the period");
        assert!(!ok(10 * MSEC, 0, 100 * MSEC));
        assert!(!ok(10 * MSEC, 100 * MSEC, 1 << 63));
        assert!(!ok(10 * MSEC, 5000 * MSEC, 0), "period above the most");
        assert_eq!(ratio(1000 * MSEC, 950 * MSEC), 996_147);
    }

    #[test]
    fn a_budget_survives_a_short_sleep_only() {
        let mut r = reservation(10 * MSEC, 100 * MSEC, 100 * MSEC);
        r.begin_period(0);
        r.runtime = 4 * MSEC as i64;
        // 4 ms of 10 in 60 of 100 ms: kept.
        r.wake(40 * MSEC);
        assert_eq!((r.runtime, r.deadline), (4 * MSEC as i64, 100 * MSEC));
        // In the last 30 ms it would be more than was promised.
        r.wake(70 * MSEC);
        assert_eq!((r.runtime, r.deadline), (10 * MSEC as i64, 170 * MSEC));
    }

    #[test]
    fn a_constrained_budget_shrinks() {
        let mut r = reservation(10 * MSEC, 50 * MSEC, 100 * MSEC);
        r.begin_period(0);
        r.wake(25 * MSEC);
        // Half of the way to the deadline, half of the budget.
        assert_eq!(r.deadline, 50 * MSEC);
        assert!((r.runtime - 5 * MSEC as i64).abs() < 100, "{}", r.runtime);
        assert!(!r.is_between_periods(49 * MSEC) && r.is_between_periods(51 * MSEC) && !r.is_between_periods(100 * MSEC));
    }

    #[test]
    fn a_debt_is_paid_by_whole_periods() {
        let mut r = reservation(10 * MSEC, 100 * MSEC, 100 * MSEC);
        r.begin_period(0);
        (r.runtime, r.throttled) = (-(25 * MSEC as i64), true);
        r.replenish(100 * MSEC);
        assert_eq!((r.runtime, r.deadline, r.throttled), (5 * MSEC as i64, 400 * MSEC, false));
        (r.runtime, r.yielded) = (7 * MSEC as i64, true);
        r.replenish(400 * MSEC);
        assert_eq!((r.runtime, r.deadline), (10 * MSEC as i64, 500 * MSEC));
        r.runtime = 0;
        r.replenish(1000 * MSEC);
        assert_eq!((r.runtime, r.deadline), (10 * MSEC as i64, 1100 * MSEC), "left behind: a period from now on");
    }

    #[test]
    fn zero_lag_is_where_the_used_share_is_the_promised_one() {
        let mut r = reservation(10 * MSEC, 100 * MSEC, 100 * MSEC);
        r.begin_period(0);
        r.runtime = 6 * MSEC as i64;
        assert_eq!(r.zero_lag(), 40 * MSEC);
    }
}
