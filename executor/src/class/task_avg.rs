//! Averages of one entity (Linux: struct sched_avg of a task): how much of the recent past it was runnable, and ran.
//!
//! Linux brings them up to date at every transition of a task. Here that is done when they are read, and when the task is charged and
//! [`SPAN`] has passed since the last time: until then its run time and its waiting time, which are kept anyway, say all that is to
//! be known. What was in between is taken for one sleep, one wait and one stay; at the end of a stay, when it was not long, for an even
//! mixture of the three. Within a period of [`pelt`](super::pelt) the order makes no difference, and within eight, of 32 in which the
//! past loses a half, hardly any.

use super::pelt::{Avg, HALF_LIFE, SUM_MAX, decay, decay_some, left_after, segments};
use crate::time::Nanos;

/// What a utilisation that was estimated is marked with until it changes: in what is shown (Linux: UTIL_AVG_UNCHANGED), and here.
const SHOWN_UNCHANGED: u32 = 1 << 31;
const UNCHANGED: u16 = 1 << 15;
/// Estimates that differ by less than this are the same: 1 % (Linux: UTIL_EST_MARGIN).
const MARGIN: i32 = 1024 / 100;
/// So long a task that runs, sleeps and runs again may go without being brought up to date: eight periods, 8.4 ms.
const SPAN: Nanos = 8 << 20;
/// A CPU's capacity.
const CAPACITY: u32 = 1024;

/// The averages, as they were when they were last brought up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskAvg {
    /// When the period ends that was under way then; 0: there was no such time.
    pub(super) next: Nanos,
    /// Run time and waiting time by then.
    seen: [Nanos; 2],
    /// Sums of being runnable, twice by Linux's two scales, and of running.
    sums: [u32; 3],
    /// Part of the period that had gone by, in units of 1.024 µs.
    contrib: u16,
    /// One more than the number of the CPU whose [`QueueUtil`] has it.
    counted_on: u16,
    /// One more than the number of the CPU whose [`CpuAvg`](super::CpuAvg) it was added to and not yet taken from (Linux: attached); 0: none.
    pub(super) attached: u16,
    /// What it needed when it last slept, and a moving average of that (Linux: util_est).
    enqueued: u16,
    ewma: u16,
}

/// What an entity needs, by its averages, for placing it: as they were when they were brought up to date last, without a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Utilisation, or its estimate, in 1024; 0 of one that has not run for some time yet (Linux: task_util_est).
    pub util: u32,
    /// How much of the time it is runnable, in 1024.
    pub runnable: u32,
    /// Average weight: what it weighs, as a part of what its groups weigh on its CPU, by the part of the time in which it is runnable (Linux:
    /// task_h_load).
    pub load: u32,
}

impl Needs {
    /// Of what is not in the fair class.
    pub(crate) const NOTHING: Needs = Needs { util: 0, runnable: 0, load: 0 };
    /// The word of one that has just been made: it will be runnable all the time, and run for nobody knows how long.
    pub(super) const NEW: u32 = CAPACITY << Needs::RUNNABLE_AT | Share::WHOLE.0 << Needs::SHARE_AT;

    /// The word of a new child of one that has the word `parent`: as much of its weight counts.
    pub(super) const fn begun(parent: u32) -> u32 {
        Needs::NEW & ((1 << Needs::SHARE_AT) - 1) | Share::in_word(parent).0 << Needs::SHARE_AT
    }

    /// Where the parts of a word are; utilisation is below them.
    const RUNNABLE_AT: u32 = 11;
    const SHARE_AT: u32 = 22;

    /// The word of what `avg` says, of one that has `share` of its weight.
    pub(super) fn word(avg: &TaskAvg, share: Share) -> u32 {
        let util = avg.util().max(avg.ewma.into()).max((avg.enqueued & !UNCHANGED).into());
        let runnable = ((u64::from(avg.sums[0]) << 10) / avg.divider()) as u32;
        util.min(CAPACITY) | runnable.min(CAPACITY) << Needs::RUNNABLE_AT | share.0 << Needs::SHARE_AT
    }

    /// From such a word, for an entity of `weight`.
    pub(super) fn of(word: u32, weight: u32) -> Needs {
        let runnable = word >> Needs::RUNNABLE_AT & 0x7ff;
        // Each is less than 2^17 but for the last one, 2^16 at most.
        let load = (u64::from(weight) * u64::from(runnable) * Share::in_word(word).part()) >> 20;
        Needs { util: word & 0x7ff, runnable, load: load.min(u32::MAX.into()) as u32 }
    }

    /// What is left of them after `time` ns in which nothing was wanted.
    pub(super) fn after(self, time: Nanos) -> Needs {
        let left = |what: u32| ((u64::from(what) * left_after(time)) >> 32) as u32;
        Needs { util: left(self.util), runnable: left(self.runnable), load: left(self.load) }
    }

    /// Of both.
    pub(crate) fn and(self, other: Needs) -> Needs {
        Needs {
            util: self.util.saturating_add(other.util),
            runnable: self.runnable.saturating_add(other.runnable),
            load: self.load.saturating_add(other.load),
        }
    }
}

/// What an entity counts for on its CPU, of its weight: all of it outside of groups. Linux keeps no such number: it goes up to the root
/// (update_cfs_rq_h_load). Ten bits: a logarithm, and six bits of what is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share(u32);

impl Share {
    /// All.
    pub(super) const WHOLE: Share = Share::of(1024);

    /// `part` of 1024, from 1 to 65 535: less or more are as much as these.
    pub(super) const fn of(part: u64) -> Share {
        let part = if part == 0 {
            1
        } else if part > 65_535 {
            65_535
        } else {
            part
        };
        let log = part.ilog2();
        Share(log << 6 | ((part << 6) >> log) as u32 & 63)
    }

    /// That of a word of [`Needs`].
    pub(super) const fn in_word(word: u32) -> Share {
        Share(word >> Needs::SHARE_AT)
    }

    /// In 1024.
    const fn part(self) -> u64 {
        (((self.0 & 63) as u64 | 64) << (self.0 >> 6)) >> 6
    }
}

/// What `/proc/PID/sched` shows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Averages {
    /// Sums: load, runnable, util.
    pub sums: [u64; 3],
    /// Averages of the same.
    pub load: u64,
    /// 1024 for a task that was always runnable.
    pub runnable: u64,
    /// 1024 for one that always ran.
    pub util: u64,
    /// The time that they are of.
    pub last_update: Nanos,
    /// Utilisation estimated by its stays.
    pub util_est_ewma: u32,
    /// The last such, with bit 31 as long as it holds.
    pub util_est_enqueued: u32,
}

impl TaskAvg {
    pub(super) const NEW: TaskAvg =
        TaskAvg { next: 0, seen: [0; 2], sums: [0; 3], contrib: 0, counted_on: 0, attached: 0, enqueued: 0, ewma: 0 };

    /// Whether it is time to bring them up to date.
    #[inline(always)]
    pub(super) fn are_due(&self, now: Nanos) -> bool {
        // Signed: a CPU whose clock is a little behind another's comes early, not late.
        now.wrapping_sub(self.next) as i64 >= (SPAN - (1 << 20)) as i64
    }

    /// Whether they have not begun yet.
    pub(super) fn are_new(&self) -> bool {
        self.next == 0
    }

    fn get(&self) -> Avg {
        let at = (self.next >> 10).wrapping_sub(u64::from(1024 - self.contrib));
        Avg::from_parts(at, self.sums.map(u64::from), self.contrib.into())
    }

    fn set(&mut self, avg: &Avg) {
        let (at, sums, contrib) = avg.parts();
        self.sums = sums.map(|s| s.min(u32::MAX.into()) as u32);
        self.contrib = contrib as u16;
        self.next = at.wrapping_add(u64::from(1024 - contrib)) << 10;
    }

    /// It begins `at` this time (Linux: init_entity_runnable_average, post_init_entity_util_avg): taken to be runnable all the time, and
    /// to run for half of what is left of `cpu`.
    fn begin(&mut self, at: Nanos, cpu: Used) {
        // All count periods by the same clock.
        self.contrib = (at >> 10) as u16 % 1024;
        self.next = ((at >> 20) + 1) << 20;
        let divider = SUM_MAX - 1024 + u32::from(self.contrib);
        let half = cpu.capacity.saturating_sub(cpu.util as u32) / 2;
        self.sums = [divider, half * divider, half * divider];
    }

    /// Up to `now`, by which it has run for `ran` and waited for `waited`. `waits`: it waits at this moment, or it runs or sleeps.
    pub(super) fn advance(&mut self, now: Nanos, ran: Nanos, waited: Nanos, state: State, cpu: Used) {
        let since = [ran.wrapping_sub(self.seen[0]), waited.wrapping_sub(self.seen[1])];
        self.seen = [ran, waited];
        if state == State::Runs && self.mix(now, since, cpu.capacity) {
            return;
        }
        if self.next == 0 {
            self.begin(now.saturating_sub(since[0]).saturating_sub(since[1]), cpu);
        }
        let mut avg = self.get();
        let start = avg.parts().0 << 10;
        let slept = now.saturating_sub(start).saturating_sub(since[0]).saturating_sub(since[1]);
        let (run, wait, sleep) = ((since[0], 1, cpu.capacity.into()), (since[1], 1, 0), (slept, 0, 0));
        let parts = match state {
            State::Runs => [sleep, wait, run],
            State::Waits => [sleep, run, wait],
            State::Sleeps => [wait, run, sleep],
        };
        let mut at = start;
        for (length, on, runs) in parts {
            if length != 0 {
                at = at.saturating_add(length).min(now);
                avg.count(at, on, on, runs);
            }
        }
        self.set(&avg);
    }

    /// Up to `now`, if that is some periods and no more than two spans: the times `since` then, running and waiting, and the rest, asleep,
    /// are spread evenly over them. `false`, and nothing done, otherwise.
    fn mix(&mut self, now: Nanos, [ran, waited]: [Nanos; 2], capacity: u32) -> bool {
        const { assert!(((2 * SPAN) >> 20) + 1 < HALF_LIFE) };
        let at = now >> 10;
        // What has gone by, less than a period of it before `next`.
        let delta = at.wrapping_sub((self.next >> 10).wrapping_sub(u64::from(1024 - self.contrib)));
        let with_rest = delta.wrapping_add(self.contrib.into());
        if self.next == 0 || delta > (2 * SPAN) >> 10 || with_rest < 1024 {
            return false;
        }
        let (periods, rest) = (with_rest / 1024, with_rest % 1024);
        let most = segments(periods, u64::from(1024 - self.contrib), rest) as u32;
        let part = |time: Nanos| most * ((time >> 10).min(delta) as u32) / delta as u32;
        let (on, running) = (part(ran.saturating_add(waited)), part(ran));
        self.sums = self.sums.map(|sum| decay_some(sum, periods));
        self.sums[0] += on;
        self.sums[1] += on << 10;
        self.sums[2] += running * capacity;
        self.contrib = rest as u16;
        self.next = at.wrapping_add(1024 - rest) << 10;
        true
    }

    /// The time up to now is passed over as if it had slept: it was of another class, by then with so much run and waiting time.
    pub(super) fn skip(&mut self, ran: Nanos, waited: Nanos) {
        self.seen = [ran, waited];
    }

    fn divider(&self) -> u64 {
        u64::from(SUM_MAX - 1024) + u64::from(self.contrib)
    }

    fn util(&self) -> u32 {
        (u64::from(self.sums[2]) / self.divider()) as u32
    }

    /// It goes to sleep (Linux: util_est_update): what it needed this time counts a quarter, all of it if it is more than before and
    /// `fast_up`.
    pub(super) fn estimate(&mut self, fast_up: bool) {
        let before = i32::from(self.enqueued & !UNCHANGED);
        let (util, ewma) = (self.util(), u32::from(self.ewma));
        self.enqueued = util as u16 & !UNCHANGED | UNCHANGED;
        if fast_up && ewma < util {
            self.ewma = util as u16;
            return;
        }
        let diff = util as i32 - ewma as i32;
        if diff.abs() < MARGIN && (before - util as i32).abs() < MARGIN || util > CAPACITY {
            return;
        }
        if diff.abs() >= MARGIN {
            self.ewma = (((ewma << 2) as i32 + diff) >> 2) as u16;
        }
    }

    /// What is shown for an entity of `weight`.
    pub(super) fn averages(&self, weight: u32) -> Averages {
        let by = |sum: u32, factor: u64| factor * u64::from(sum) / self.divider();
        Averages {
            sums: self.sums.map(u64::from),
            load: by(self.sums[0], weight.into()),
            runnable: by(self.sums[1], 1),
            util: by(self.sums[2], 1),
            last_update: self.get().parts().0 << 10,
            util_est_ewma: self.ewma.into(),
            util_est_enqueued: u32::from(self.enqueued & !UNCHANGED) | if self.enqueued & UNCHANGED == 0 { 0 } else { SHOWN_UNCHANGED },
        }
    }
}

/// How much of a CPU the fair class's tasks use: the sum of their averages, each as it was when it was brought up to date last.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueUtil {
    period: u64,
    sum: u64,
}

impl QueueUtil {
    pub(super) const NEW: QueueUtil = QueueUtil { period: 0, sum: 0 };

    /// Counts a task of `cpu` as it is now in place of as it was. What it was counted for elsewhere decays there by itself.
    pub(super) fn replace(&mut self, before: &TaskAvg, now: &mut TaskAvg, cpu: u32) {
        let period = now.next >> 20;
        self.sum = decay(self.sum, period.saturating_sub(self.period));
        self.period = self.period.max(period);
        now.counted_on = cpu as u16 + 1;
        if before.counted_on == now.counted_on {
            let was = decay(before.sums[2].into(), period.saturating_sub(before.next >> 20));
            self.sum = self.sum.saturating_sub(was);
        }
        self.sum = self.sum.saturating_add(now.sums[2].into());
    }

    /// In 1024, at `now`.
    pub(super) fn at(&self, now: Nanos) -> u64 {
        (decay(self.sum, ((now >> 20) + 1).saturating_sub(self.period)) / u64::from(SUM_MAX - 1024)).min(CAPACITY.into())
    }
}

/// The CPU that a task is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// How much it gets done, of 1024: who runs there all the time needs no more, or it would run elsewhere (Linux: arch_scale_cpu_capacity).
    pub(super) capacity: u32,
    /// How much of that is used.
    pub(super) util: u64,
}

impl Used {
    /// The strongest, which nobody uses.
    pub(super) const NONE: Used = Used { capacity: CAPACITY, util: 0 };
}

/// What an entity does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It is current.
    Runs,
    /// It is queued.
    Waits,
    /// It is off every queue.
    Sleeps,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MSEC;

    const PERIOD: Nanos = 1 << 20;

    /// One that has always run, or always slept, since the time 1.
    fn after(periods: u64, runs: bool) -> TaskAvg {
        let mut avg = TaskAvg::NEW;
        avg.advance(PERIOD, 0, 0, State::Sleeps, Used::NONE);
        let n = periods * PERIOD;
        if runs {
            avg.advance(PERIOD + n, n, 0, State::Runs, Used::NONE)
        } else {
            avg.advance(PERIOD + n, 0, 0, State::Sleeps, Used::NONE)
        }
        avg
    }

    #[test]
    fn a_new_task_has_its_weight_and_half_a_cpu() {
        let a = after(0, true).averages(335);
        assert_eq!((a.load, a.runnable, a.util), (335, 512, 512));
        assert_eq!(a.sums, [46718, 512 * 46718, 512 * 46718]);
    }

    #[test]
    fn what_always_runs_has_a_whole_cpu_and_what_sleeps_loses_half_in_32_periods() {
        // Linux's values: a half after 32 periods, and what is missing to 1024 is lost by rounding.
        let a = after(32, true).averages(1024);
        assert!(a.load >= 1022 && (766..=768).contains(&a.util), "{a:?}");
        let a = after(345, true).averages(1024);
        assert!(a.util >= 1022 && a.runnable == a.util, "{a:?}");
        let a = after(32, false).averages(1024);
        assert!(a.load.abs_diff(512) <= 1 && a.util.abs_diff(256) <= 1, "{a:?}");
    }

    #[test]
    fn many_short_stays_are_one_long_one_of_the_same_share() {
        // A quarter running, a quarter waiting: brought up to date each millisecond, or once.
        let mut often = TaskAvg::NEW;
        often.advance(PERIOD, 0, 0, State::Sleeps, Used::NONE);
        for ms in 1..=400u64 {
            often.advance(PERIOD + ms * MSEC, ms * MSEC / 4, ms * MSEC / 4, State::Runs, Used::NONE);
        }
        let a = often.averages(1024);
        assert!(a.util.abs_diff(256) <= 6 && a.runnable.abs_diff(512) <= 12 && a.load.abs_diff(512) <= 12, "{a:?}");
        assert!(PERIOD + 400 * MSEC - a.last_update < 1024);
    }

    #[test]
    fn brought_up_to_date_each_span_they_are_what_they_are_each_period() {
        // In each millisecond: sleeps, waits a tenth of it, runs a fifth.
        let (mut often, mut seldom) = (TaskAvg::NEW, TaskAvg::NEW);
        for avg in [&mut often, &mut seldom] {
            avg.advance(PERIOD, 0, 0, State::Sleeps, Used::NONE);
        }
        let mut updates = 0;
        for ms in 1..=400u64 {
            let now = PERIOD + ms * MSEC;
            often.advance(now, ms * MSEC / 5, ms * MSEC / 10, State::Runs, Used::NONE);
            if seldom.are_due(now) {
                seldom.advance(now, ms * MSEC / 5, ms * MSEC / 10, State::Runs, Used::NONE);
                updates += 1;
            }
        }
        seldom.advance(PERIOD + 400 * MSEC, 80 * MSEC, 40 * MSEC, State::Runs, Used::NONE);
        let (a, b) = (often.averages(1024), seldom.averages(1024));
        assert!((40..=60).contains(&updates), "{updates}");
        assert!(a.util.abs_diff(b.util) <= 6 && a.runnable.abs_diff(b.runnable) <= 6 && a.load.abs_diff(b.load) <= 6, "{a:?} {b:?}");
    }

    #[test]
    fn what_is_read_without_a_lock_is_the_same() {
        assert_eq!(Needs::of(Needs::NEW, 335), Needs { util: 0, runnable: 1024, load: 335 });
        let word = |avg: &TaskAvg| Needs::word(avg, Share::WHOLE);
        let avg = after(32, false);
        let (a, needs) = (avg.averages(2048), Needs::of(word(&avg), 2048));
        assert_eq!((u64::from(needs.util), u64::from(needs.runnable)), (a.util, a.load / 2));
        assert!(u64::from(needs.load).abs_diff(a.load) <= 2, "{needs:?} {a:?}");
        // One that waits all the time weighs as much as one that runs, and needs nothing.
        let mut waits = after(345, false);
        waits.advance(waits.next + 345 * PERIOD, 0, 345 * PERIOD, State::Waits, Used::NONE);
        let needs = Needs::of(word(&waits), 2048);
        assert!(needs.util == 0 && needs.runnable >= 1022 && needs.load >= 2044, "{needs:?}");
    }

    #[test]
    fn who_is_in_a_group_counts_for_its_share() {
        for part in [1, 2, 3, 63, 64, 100, 1000, 1024, 9_999, 65_535] {
            let share = Share::of(part);
            assert!(share.0 < 1 << 10 && share.part().abs_diff(part) <= part / 63, "{part}: {}", share.part());
        }
        assert_eq!((Share::of(0), Share::of(u64::MAX), Share::WHOLE.part()), (Share::of(1), Share::of(65_535), 1024));
        let avg = after(345, true);
        let needs = Needs::of(Needs::word(&avg, Share::of(102)), 1024);
        assert!((99..=102).contains(&needs.load) && needs.runnable >= 1022, "{needs:?}");
        // As much as there can be.
        assert!(Needs::of(u32::MAX, u32::MAX).load == u32::MAX);
    }

    #[test]
    fn on_a_weak_cpu_one_that_always_runs_uses_no_more_than_there_is() {
        let mut avg = TaskAvg::NEW;
        let weak = Used { capacity: 446, util: 0 };
        avg.advance(PERIOD, 0, 0, State::Sleeps, weak);
        assert_eq!(avg.util(), 223);
        for n in 1..=60 {
            avg.advance(PERIOD + n * 8 * PERIOD, n * 8 * PERIOD, 0, State::Runs, weak);
        }
        assert!((440..=446).contains(&avg.util()) && avg.averages(1024).runnable >= 1000, "{avg:?}");
    }

    #[test]
    fn estimates_follow_up_at_once_and_down_by_quarters() {
        let mut avg = after(345, true);
        avg.estimate(true);
        let full = avg.util();
        let shown = avg.averages(1024);
        assert_eq!((shown.util_est_ewma, shown.util_est_enqueued), (full, full | SHOWN_UNCHANGED));
        avg.advance(avg.next + 31 * PERIOD, 345 * PERIOD, 0, State::Sleeps, Used::NONE);
        avg.estimate(true);
        let half = avg.util();
        assert!(half.abs_diff(full / 2) <= 8);
        assert_eq!(u32::from(avg.ewma), (full * 3 + half) / 4);
    }
}
