//! Averages of one CPU (Linux: those of its fair queue, `cfs_rq->avg`), for other CPUs: how much of it is used, how many tasks want to
//! run there, and of what weight.
//!
//! Linux counts at each arrival and departure. Here the CPU notes what it has when a fair task's own averages are due
//! ([`task_avg`](super::task_avg)), at most once in eight periods of each task; how much of the time before it was busy is known from
//! its idle time, which is counted anyway. Who reads carries on to the present in the same way, so what was noted may be as old as it
//! likes: a CPU that one task has to itself for hours notes nothing. Busy time of all classes and of interrupts counts as used; on
//! Linux what is not the fair class's is taken off the CPU's capacity, which comes to the same.
//!
//! A task that begins is [added](CpuAvg::add) at once, and [taken out](CpuAvg::take) when it ends or goes, as Linux attaches and detaches it.
//! In between the average follows what is runnable by the same rule as the task's own does, so its part in it is what its own says.
//!
//! Writers are the CPU itself, under its queue's lock, and whoever sends a task there. Who comes while another one writes does not
//! write: that makes an average wrong by one task, for as long as the past counts. Readers look twice, and then take what is there.

use super::Needs;
use super::pelt::left_after;
use crate::time::Nanos;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

/// A CPU that is used all the time, and one task that always wants to run, have this.
const FULL: u64 = 1024;
/// Up to this time, busy and idle time are taken for an even mixture.
const MIXED: Nanos = 32 << 20;
/// Less than this is not worth a note.
const SHORTEST: Nanos = 1 << 20;
/// So often a reader looks.
const LOOKS: usize = 2;

/// Averages of a CPU at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Average {
    /// How much of it is used, of 1024 of the strongest CPU: its capacity at most (Linux: util_avg).
    pub util: u64,
    /// How many tasks are runnable, its capacity each (Linux: runnable_avg).
    pub runnable: u64,
    /// The weight of those (Linux: load_avg).
    pub load: u64,
}

/// What a CPU does at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doing {
    /// The time.
    pub now: Nanos,
    /// How long it has idled, in sum.
    pub idled: Nanos,
    /// Whether it idles now.
    pub idles: bool,
    /// How many tasks are runnable, and
    pub nr: u32,
    /// their weight, if any are.
    pub weight: u64,
}

impl Doing {
    /// What was runnable while it was busy: a CPU that idles now, and was busy before, had one task at least.
    fn busy_weight(&self) -> u64 {
        if self.nr == 0 { FULL } else { self.weight }
    }
}

/// Averages, and when they were so. Each of them in 1/1024: use, tasks, weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Noted {
    at: Nanos,
    idled: Nanos,
    sums: [u64; 3],
}

/// What a CPU has noted.
#[derive(Debug)]
#[repr(align(64))]
pub struct CpuAvg {
    /// Odd: somebody writes what follows.
    seq: AtomicU32,
    /// How much the CPU gets done, of 1024.
    capacity: AtomicU32,
    at: AtomicU64,
    idled: AtomicU64,
    sums: [AtomicU64; 3],
}

/// `part` of 2^32 of `value`.
const fn scale(value: u64, part: u64) -> u64 {
    ((value as u128 * part as u128) >> 32) as u64
}

/// In the unit of the sums; what does not fit in is as much as does.
const fn unit(value: u64) -> u64 {
    if value > u64::MAX >> 10 { u64::MAX } else { value << 10 }
}

impl Noted {
    /// How much of a sum from then is left at the time of `doing`, and how much is added of what was done since, each of 2^32.
    fn parts(&self, doing: &Doing) -> (u64, u64) {
        let span = doing.now.saturating_sub(self.at);
        let idle = doing.idled.saturating_sub(self.idled).min(span);
        let busy = span - idle;
        // Between the two parts of the idle time it was busy.
        let after = match () {
            () if span <= MIXED => idle - idle / 2,
            () if doing.idles => idle,
            () => 0,
        };
        (left_after(span), left_after(after).saturating_sub(left_after(after + busy)))
    }

    /// What it is at the time of `doing`.
    fn till(self, doing: &Doing) -> Noted {
        if doing.now <= self.at {
            return self;
        }
        let (old, new) = self.parts(doing);
        let mut sums = self.sums;
        for (sum, what) in sums.iter_mut().zip([FULL, FULL * u64::from(doing.nr.max(1)), doing.busy_weight()]) {
            *sum = scale(*sum, old).saturating_add(scale(unit(what), new));
        }
        Noted { at: doing.now, idled: doing.idled, sums }
    }

    /// Counts `needs` in: how much of a CPU is used shows soon enough, so their utilisation is not counted.
    fn count(&mut self, needs: Needs) {
        let [_, runnable, load] = &mut self.sums;
        *runnable = runnable.saturating_add(unit(needs.runnable.into()));
        *load = load.saturating_add(unit(needs.load.into()));
    }

    /// Counts out what is `left` of `needs`, of 2^32.
    fn discount(&mut self, needs: Needs, left: u64) {
        let [_, runnable, load] = &mut self.sums;
        *runnable = runnable.saturating_sub(scale(unit(needs.runnable.into()), left));
        *load = load.saturating_sub(scale(unit(needs.load.into()), left));
    }
}

impl Default for CpuAvg {
    fn default() -> CpuAvg {
        CpuAvg::new()
    }
}

impl CpuAvg {
    /// Nothing so far, and never begun.
    pub const fn new() -> CpuAvg {
        CpuAvg {
            seq: AtomicU32::new(0),
            capacity: AtomicU32::new(FULL as u32),
            at: AtomicU64::new(0),
            idled: AtomicU64::new(0),
            sums: [const { AtomicU64::new(0) }; 3],
        }
    }

    fn words(&self) -> Noted {
        Noted { at: self.at.load(Relaxed), idled: self.idled.load(Relaxed), sums: self.sums.each_ref().map(|s| s.load(Relaxed)) }
    }

    /// What is noted; after [`LOOKS`] looks it may be of two moments, and an average is wrong for once.
    fn read(&self) -> Noted {
        let mut noted = Noted::default();
        for _ in 0..LOOKS {
            let seq = self.seq.load(Acquire);
            noted = self.words();
            fence(Acquire);
            if seq & 1 == 0 && self.seq.load(Relaxed) == seq {
                break;
            }
        }
        noted
    }

    /// Changes it, unless somebody else does at this moment: on another CPU, or on this one, where this is an interrupt of it. Any context.
    fn change(&self, f: impl FnOnce(&mut Noted)) {
        let seq = self.seq.load(Relaxed);
        if seq & 1 != 0 || self.seq.compare_exchange(seq, seq | 1, Acquire, Relaxed).is_err() {
            return;
        }
        fence(Release);
        let mut noted = self.words();
        f(&mut noted);
        self.at.store(noted.at, Relaxed);
        self.idled.store(noted.idled, Relaxed);
        self.sums.iter().zip(noted.sums).for_each(|(to, sum)| to.store(sum, Relaxed));
        self.seq.store(seq.wrapping_add(2), Release);
    }

    /// How much the CPU gets done, of 1024.
    pub fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    /// Says that.
    pub fn set_capacity(&self, capacity: u32) {
        self.capacity.store(capacity, Relaxed);
    }

    /// The CPU begins at `now`, with nothing; it has idled for `idled` before.
    pub fn begin(&self, now: Nanos, idled: Nanos) {
        self.change(|noted| *noted = Noted { at: now, idled, sums: [0; 3] });
    }

    /// Notes what it does, if that is worth it. Under its queue's lock.
    pub(super) fn note(&self, doing: &Doing) {
        if doing.now.saturating_sub(self.at.load(Relaxed)) >= SHORTEST {
            self.change(|noted| *noted = noted.till(doing));
        }
    }

    /// A task that `needs` so much comes to it, which does what `doing` says: that counts from now on, not when the task has been there for some
    /// time (Linux: attach_entity_load_avg). Any CPU, any context.
    pub fn add(&self, needs: Needs, doing: &Doing) {
        self.change(|noted| {
            *noted = noted.till(doing);
            noted.count(needs);
        });
    }

    /// The same at the time of a note of this moment.
    pub(super) fn add_noted(&self, needs: Needs) {
        self.change(|noted| noted.count(needs));
    }

    /// The opposite: it goes.
    pub fn remove(&self, needs: Needs, doing: &Doing) {
        self.change(|noted| {
            *noted = noted.till(doing);
            noted.discount(needs, 1 << 32);
        });
    }

    /// What has `needs`, and had them at the time `at`, is here no more (Linux: detach_entity_load_avg, remove_entity_load_avg). Any CPU, any
    /// context. What was noted since then has faded by as much as they have; what was noted before is taken for as old.
    pub fn take(&self, needs: Needs, at: Nanos) {
        self.change(|noted| {
            let left = left_after(noted.at.saturating_sub(at));
            noted.discount(needs, left);
        });
    }

    /// The averages at the time of `doing`. A CPU is used by a part of what it gets done, and each of its tasks is runnable for as much (Linux:
    /// update_rq_clock_pelt). Any CPU, any context.
    pub fn at(&self, doing: &Doing) -> Average {
        let [util, runnable, load] = self.read().till(doing).sums.map(|sum| sum.saturating_add(512) >> 10);
        let part = |value: u64| value.saturating_mul(self.capacity().into()) / FULL;
        Average { util: part(util.min(FULL)), runnable: part(runnable), load }
    }

    /// [`Average::load`] alone, in fewer steps.
    pub fn load_at(&self, doing: &Doing) -> u64 {
        let noted = self.read();
        let (old, new) = noted.parts(doing);
        let [_, _, load] = noted.sums;
        scale(load, old).saturating_add(scale(unit(doing.busy_weight()), new)).saturating_add(512) >> 10
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::{MSEC, SEC};

    const ONE: Needs = Needs { util: 0, runnable: 1024, load: 1024 };

    fn busy(now: Nanos, idled: Nanos) -> Doing {
        Doing { now, idled, idles: false, nr: 1, weight: 1024 }
    }

    fn idle(now: Nanos, idled: Nanos) -> Doing {
        Doing { now, idled, idles: true, nr: 0, weight: 0 }
    }

    #[test]
    fn a_task_alone_for_long_fills_its_cpu_although_nothing_is_noted() {
        let avg = CpuAvg::new();
        avg.begin(SEC, 0);
        let a = avg.at(&busy(11 * SEC, 0));
        assert_eq!((a.util, a.runnable, a.load), (1024, 1024, 1024));
        assert_eq!(avg.load_at(&busy(11 * SEC, 0)), 1024);
        // Half of it 32 periods after the start, as by `pelt`.
        let a = avg.at(&busy(SEC + (32 << 20), 0));
        assert!(a.util.abs_diff(512) <= 1, "{a:?}");
    }

    #[test]
    fn a_light_task_is_light_also_while_it_runs_and_however_often_it_is_noted() {
        // 1 ms of 10; noted at the end of each run, or of each third.
        for every in [1, 3] {
            let avg = CpuAvg::new();
            avg.begin(0, 0);
            let mut idled = 0;
            for n in 1..=100u64 {
                idled += 9 * MSEC;
                if n % every == 0 {
                    avg.note(&busy(n * 10 * MSEC, idled));
                }
            }
            let a = avg.at(&busy(1009 * MSEC, idled + 9 * MSEC));
            assert!((80..=125).contains(&a.util), "{a:?} noted at each {every}th");
        }
    }

    #[test]
    fn what_idles_loses_half_in_32_periods() {
        let avg = CpuAvg::new();
        avg.begin(0, 0);
        avg.note(&Doing { nr: 3, weight: 3072, ..busy(SEC, 0) });
        let a = avg.at(&idle(SEC + (32 << 20), 32 << 20));
        assert!(a.util.abs_diff(512) <= 1 && a.runnable.abs_diff(1536) <= 3 && a.load.abs_diff(1536) <= 3, "{a:?}");
    }

    #[test]
    fn what_was_busy_before_it_idles_is_the_past_and_what_is_busy_after_it_idled_is_the_present() {
        let avg = CpuAvg::new();
        avg.begin(0, 0);
        let idles = avg.at(&Doing { idles: true, ..busy(SEC, 500 * MSEC) });
        let runs = avg.at(&busy(SEC, 500 * MSEC));
        assert!(idles.util == 0 && runs.util == 1024, "{idles:?} {runs:?}");
    }

    #[test]
    fn who_comes_to_a_cpu_that_has_idled_for_long_counts_at_once() {
        let avg = CpuAvg::new();
        avg.begin(0, 0);
        avg.note(&busy(SEC, 0));
        avg.add(ONE, &idle(11 * SEC, 10 * SEC));
        let a = avg.at(&busy(11 * SEC, 10 * SEC));
        assert_eq!((a.runnable, a.load), (1024, 1024), "{a:?}");
    }

    #[test]
    fn who_comes_stays_and_ends_leaves_nothing_whenever_it_ends() {
        for periods in [0, 1, 5, 40, 300] {
            let avg = CpuAvg::new();
            avg.begin(0, 0);
            let two = |now| Doing { nr: 2, weight: 2048, ..busy(now, 0) };
            // One is there all the time, another one comes, is runnable for some time, and ends.
            avg.note(&busy(SEC, 0));
            avg.add(ONE, &busy(SEC, 0));
            let end = SEC + (periods << 20);
            avg.note(&two(end));
            avg.take(ONE, end);
            let a = avg.at(&busy(end, 0));
            assert!(a.runnable.abs_diff(1024) <= 2 && a.load.abs_diff(1024) <= 2, "after {periods} periods: {a:?}");
            // The same if it had gone elsewhere before.
            avg.add(ONE, &busy(end, 0));
            avg.note(&busy(end + (20 << 20), 0));
            avg.take(ONE, end);
            let a = avg.at(&busy(end + (20 << 20), 0));
            assert!(a.load.abs_diff(1024) <= 3, "after {periods} periods: {a:?}");
        }
    }

    #[test]
    fn words_of_two_moments_do_no_harm() {
        let avg = CpuAvg::new();
        for sum in [u64::MAX, 1 << 60, 1 << 59] {
            avg.change(|noted| *noted = Noted { at: 2 * SEC, idled: 5 * SEC, sums: [sum; 3] });
            for (now, idled) in [(SEC, 0), (2 * SEC + 1_000_000, 5 * SEC), (3 * SEC, 9 * SEC), (Nanos::MAX, Nanos::MAX)] {
                let doing = Doing { nr: u32::MAX, weight: u64::MAX, ..busy(now, idled) };
                assert!(avg.at(&doing).util <= 1024);
                assert_eq!(avg.at(&doing).load, avg.load_at(&doing));
                avg.add(Needs { util: u32::MAX, runnable: u32::MAX, load: u32::MAX }, &doing);
            }
        }
    }

    #[test]
    fn who_comes_while_somebody_writes_does_not_write() {
        let avg = CpuAvg::new();
        avg.begin(0, 0);
        avg.change(|noted| {
            avg.add(ONE, &busy(SEC, 0));
            noted.count(ONE);
        });
        let a = avg.at(&busy(0, 0));
        assert_eq!((a.runnable, a.load), (1024, 1024), "{a:?}");
    }
}
