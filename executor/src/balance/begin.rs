//! Where something begins that is nowhere yet, or has nothing in a cache any more (Linux: find_idlest_cpu, at fork and exec).
//!
//! From the widest domain down: of the parts of the domain the one that has most room, if that of the CPU where it is asked has less
//! ([`Kind`]); of that part the CPU that has most room; and from there on in the next domain. Linux goes by the same figures, but for
//! one: a part with a CPU that idles comes before all that have none. There nobody idles beside a waiter, so it would be sent
//! to that CPU anyway.

use super::choose::{Machine, Seen, fits, weakness};
use super::topology::{CAPACITY, Level};
use crate::class::{Average, Needs, Rank};
use crate::cpu::MAX_CPUS;
use core::cell::Cell;
use core::cmp::Reverse;

/// How much room there is in a part of a domain: the less, the later (Linux: enum group_type).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// A CPU idles on which it may run, and which gets enough done for it (has_spare).
    Idle,
    /// One idles that does not (misfit_task).
    IdleWeak,
    /// None idles, but there is time left (has_spare).
    Spare,
    /// All are busy (fully_busy).
    Full,
    /// All are busy, and none gets enough done for it (misfit_task).
    Misfit,
    /// More is to be done than can be (overloaded).
    Overloaded,
}

/// A part of a domain (Linux: struct sg_lb_stats, by update_sg_wakeup_stats).
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    cpus: u64,
    nr: u64,
    /// CPUs on which it may run: any, some that idle, some of these that are strong enough; and whether any is.
    allowed: bool,
    idle: u64,
    idle_fit: u64,
    fits: bool,
    load: u64,
    runnable: u64,
    util: u64,
    capacity: u64,
    strongest: u32,
}

/// What begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginner {
    /// What it needs.
    pub needs: Needs,
    /// It runs already, on the CPU where it is asked: what that has to do is counted without it.
    pub runs: bool,
}

/// One choice: who begins where, and what was seen of CPUs so far. The average of each is brought up to date once at most.
struct Choice<'m, M, A> {
    m: &'m M,
    here: usize,
    what: Beginner,
    allowed: A,
    averages: [Cell<Option<Average>>; MAX_CPUS],
}

impl<M: Machine, A: Fn(usize) -> bool> Choice<'_, M, A> {
    /// Whether it may begin there.
    fn may(&self, cpu: usize) -> bool {
        self.m.takes_part(cpu) && (self.allowed)(cpu)
    }

    /// How many run on a CPU without it, and whether it would idle (Linux: idle_cpu_without).
    fn others(&self, cpu: usize) -> (u32, bool) {
        let nr = self.m.load(cpu).nr;
        if self.what.runs && cpu == self.here {
            let nr = nr.saturating_sub(1);
            return (nr, nr == 0);
        }
        (nr, self.m.is_idle(cpu))
    }

    /// The averages of a CPU without it (Linux: cpu_load_without and its like).
    fn average(&self, cpu: usize) -> Average {
        let known = self.averages.get(cpu);
        if let Some(average) = known.and_then(Cell::get) {
            return average;
        }
        let mut average = self.m.average(cpu);
        if self.what.runs && cpu == self.here {
            let needs = self.what.needs;
            average.util = average.util.saturating_sub(needs.util.into());
            average.runnable = average.runnable.saturating_sub(self.m.capacity(cpu).into());
            average.load = average.load.saturating_sub(needs.load.into());
        }
        known.inspect(|known| known.set(Some(average)));
        average
    }

    /// What can be said of a CPU at a glance, counted in with `part`.
    fn count(&self, part: &mut Part, cpu: usize) {
        let (allowed, capacity) = (self.may(cpu), self.m.capacity(cpu));
        let ((nr, idle), fits) = (self.others(cpu), fits(self.what.needs.util, capacity));
        part.cpus += 1;
        part.nr += u64::from(nr);
        part.allowed |= allowed;
        part.idle += u64::from(idle && allowed);
        part.idle_fit += u64::from(idle && allowed && fits);
        part.fits |= allowed && fits;
        part.capacity += u64::from(capacity);
        part.strongest = part.strongest.max(if allowed { capacity } else { 0 });
    }

    /// The part of `cpu` in the domain of `level`, at a glance, and in `seen`.
    fn part(&self, cpu: usize, level: Level, seen: &mut Seen) -> Part {
        let mut part = Part::default();
        self.m.each_near(cpu, Some(level), |c| {
            seen.insert(c);
            self.count(&mut part, c);
        });
        part
    }

    /// The rest of what is known of that part.
    fn add_up(&self, part: &mut Part, cpu: usize, level: Level) {
        self.m.each_near(cpu, Some(level), |c| {
            let average = self.average(c);
            part.load = part.load.saturating_add(average.load);
            part.runnable = part.runnable.saturating_add(average.runnable);
            part.util = part.util.saturating_add(average.util);
        });
    }

    /// The CPU in the roomiest part of the domain of `level` around `at`, if it should go to another part than that of `at` (Linux:
    /// find_idlest_group, find_idlest_group_cpu).
    fn descend(&self, at: usize, level: Level, above: Option<Level>) -> Option<usize> {
        let cpus = self.m.count_near(at, above);
        if self.m.count_near(at, Some(level)) == cpus {
            return None;
        }
        let mut seen = Seen::NONE;
        let mut local = self.part(at, level, &mut seen);
        if local.allowed && local.idle_fit > 0 {
            // Idle here: by counts alone it leaves only for where more do, and mostly none does.
            let (mut more, mut counted) = (false, Seen::NONE);
            self.m.each_near(at, Some(level), |c| _ = counted.insert(c));
            self.m.each_near(at, above, |c| more |= counted.insert(c) && self.part(c, level, &mut counted).idle_fit > local.idle_fit);
            if !more {
                return None;
            }
        }
        self.add_up(&mut local, at, level);
        let pct = self.m.tuning(at, level, cpus).imbalance_pct.into();
        let mut best: Option<(Kind, Part, usize)> = None;
        self.m.each_near(at, above, |cpu| {
            if !seen.insert(cpu) {
                return;
            }
            let mut part = self.part(cpu, level, &mut seen);
            if !part.allowed {
                return;
            }
            if best.as_ref().is_some_and(|(kind, ..)| *kind == Kind::Idle && part.idle_fit == 0) {
                return;
            }
            self.add_up(&mut part, cpu, level);
            let kind = part.kind(pct);
            if best.as_ref().is_none_or(|(k, b, _)| kind < *k || kind == *k && part.has_more_than(b, kind)) {
                best = Some((kind, part, cpu));
            }
        });
        let (kind, part, cpu) = best?;
        let mine = local.kind(pct);
        let leaves = !local.allowed || kind < mine || kind == mine && part.is_worth_leaving(&local, kind, pct);
        if leaves { self.roomiest(cpu, level) } else { None }
    }

    /// The CPU of the part of `first` that has most room (Linux: find_idlest_group_cpu).
    fn roomiest(&self, first: usize, level: Level) -> Option<usize> {
        let mut best = None;
        self.m.each_near(first, Some(level), |cpu| {
            if !self.may(cpu) {
                return;
            }
            let idle = self.m.is_idle(cpu);
            let (weak, average) = (weakness(self.m, self.what.needs.util, cpu), self.average(cpu));
            let urgent = !idle && self.m.urgency(cpu).rank.outranks(Rank::FAIR);
            let room = (!idle, weak, urgent, if idle { average.util } else { average.load });
            if best.is_none_or(|(least, _)| room < least) {
                best = Some((room, cpu));
            }
        });
        best.map(|(_, cpu)| cpu)
    }
}

impl Part {
    /// Linux: group_classify, with group_is_overloaded and group_has_capacity.
    fn kind(&self, pct: u64) -> Kind {
        let (capacity, used) = (self.capacity.saturating_mul(100), self.util.saturating_mul(pct));
        let wanted = self.runnable.saturating_mul(100) > self.capacity.saturating_mul(pct);
        match () {
            () if self.idle_fit > 0 => Kind::Idle,
            () if self.idle > 0 => Kind::IdleWeak,
            () if self.nr > self.cpus && (capacity < used || wanted) => Kind::Overloaded,
            () if !self.fits => Kind::Misfit,
            () if self.nr < self.cpus || !wanted && capacity > used => Kind::Spare,
            () => Kind::Full,
        }
    }

    /// Its load for what it gets done (Linux: avg_load).
    fn average(&self) -> u64 {
        self.load.saturating_mul(CAPACITY.into()) / self.capacity.max(1)
    }

    /// Whether there is more room than in `other`, of the same kind (Linux: update_pick_idlest).
    fn has_more_than(&self, other: &Part, kind: Kind) -> bool {
        match kind {
            Kind::Idle => (self.idle_fit, Reverse(self.util)) > (other.idle_fit, Reverse(other.util)),
            Kind::IdleWeak => (self.strongest, self.idle, Reverse(self.util)) > (other.strongest, other.idle, Reverse(other.util)),
            Kind::Spare => self.util < other.util,
            Kind::Misfit => self.strongest > other.strongest,
            Kind::Full | Kind::Overloaded => self.average() < other.average(),
        }
    }

    /// Whether there is so much more room than in `local`, of the same kind, that it should go there (Linux: find_idlest_group).
    fn is_worth_leaving(&self, local: &Part, kind: Kind, pct: u64) -> bool {
        match kind {
            Kind::Idle => self.idle_fit > local.idle_fit,
            Kind::IdleWeak | Kind::Misfit => self.strongest > local.strongest,
            Kind::Spare => false,
            Kind::Full | Kind::Overloaded => {
                let (there, here) = (self.average(), local.average());
                let tolerated = u64::from(CAPACITY).saturating_mul(pct.saturating_sub(100)) / 100;
                let is_busier = there < here.saturating_add(tolerated) && here.saturating_mul(100) > there.saturating_mul(pct);
                // One task more among several CPUs is less than Linux's tolerance; but many that begin at once should spread evenly.
                is_busier || there < here && self.nr.saturating_mul(local.cpus) < local.nr.saturating_mul(self.cpus)
            }
        }
    }
}

/// The CPU for `what`, which begins on `here`; `None` if none is allowed (Linux: find_idlest_cpu). With preemption off at most: with as many
/// CPUs as there can be it takes some thousand instructions.
pub fn begun(m: &impl Machine, here: usize, what: Beginner, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let choice = Choice { m, here, what, allowed, averages: [const { Cell::new(None) }; MAX_CPUS] };
    let mut at = here;
    let mut above = None;
    for level in Level::ALL.into_iter().rev() {
        at = choice.descend(at, level, above).unwrap_or(at);
        above = Some(level);
    }
    choice.may(at).then_some(at)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::choose::Load;
    use super::super::topology::Place;
    use super::*;
    use crate::class::{Entity, Urgency};
    use core::ptr::NonNull;

    /// CPUs in clusters of two, by how many run on each and how much it is used.
    struct Pairs<'a> {
        cpus: &'a [(u32, u64)],
        capacities: &'a [u32],
        /// How often the averages of any were asked for, and the most often of one.
        asked: [Cell<u32>; MAX_CPUS],
    }

    impl<'a> Pairs<'a> {
        fn new(cpus: &'a [(u32, u64)], capacities: &'a [u32]) -> Pairs<'a> {
            Pairs { cpus, capacities, asked: [const { Cell::new(0) }; MAX_CPUS] }
        }

        fn asked(&self) -> (u32, u32) {
            (self.asked.iter().map(Cell::get).sum(), self.asked.iter().map(Cell::get).max().unwrap_or(0))
        }
    }

    impl Machine for Pairs<'_> {
        fn nr_cpus(&self) -> usize {
            self.cpus.len()
        }
        fn place(&self, cpu: usize) -> Place {
            Place { core: (cpu % 2) as u16, cluster: (cpu / 2) as u16, ..Place::default() }
        }
        fn capacity(&self, cpu: usize) -> u32 {
            self.capacities.get(cpu).copied().unwrap_or(CAPACITY)
        }
        fn takes_part(&self, _: usize) -> bool {
            true
        }
        fn is_idle(&self, cpu: usize) -> bool {
            self.cpus[cpu].0 == 0
        }
        fn any_idle(&self) -> bool {
            self.cpus.iter().any(|c| c.0 == 0)
        }
        fn urgency(&self, _: usize) -> Urgency {
            Urgency::of(Rank::FAIR)
        }
        fn load(&self, cpu: usize) -> Load {
            Load { nr: self.cpus[cpu].0, weight: u64::from(self.cpus[cpu].0) * 1024 }
        }
        fn average(&self, cpu: usize) -> Average {
            self.asked[cpu].set(self.asked[cpu].get() + 1);
            let (nr, util) = (u64::from(self.cpus[cpu].0), self.cpus[cpu].1);
            Average { util, runnable: util.max(nr.saturating_sub(1) * 1024), load: util * nr.max(1) }
        }
        unsafe fn allows(&self, _: NonNull<Entity>, _: usize) -> bool {
            true
        }
        unsafe fn send(&self, _: NonNull<Entity>, _: usize, _: usize) -> Needs {
            Needs::NOTHING
        }
        fn gone(&self, _: usize, _: Needs) {}
    }

    fn fork(cpus: &[(u32, u64)], allowed: &[usize]) -> Option<usize> {
        let what = Beginner { needs: Needs { util: 0, runnable: 1024, load: 1024 }, runs: false };
        begun(&Pairs::new(cpus, &[]), 0, what, |c| allowed.is_empty() || allowed.contains(&c))
    }

    fn exec(cpus: &[(u32, u64)], capacities: &[u32], util: u32) -> Option<usize> {
        begun(&Pairs::new(cpus, capacities), 0, Beginner { needs: Needs { util, runnable: util, load: util }, runs: true }, |_| true)
    }

    #[test]
    fn a_fork_goes_to_the_part_with_most_idle_cpus_and_there_to_the_least_used() {
        assert_eq!(fork(&[(1, 900), (0, 0), (0, 300), (0, 200)], &[]), Some(3));
        assert_eq!(fork(&[(1, 900), (0, 0), (1, 10), (0, 0)], &[]), Some(1), "as many here");
        assert_eq!(fork(&[(1, 900), (0, 0), (0, 300), (0, 200)], &[0, 1, 2]), Some(1), "those where it may not run are none");
    }

    #[test]
    fn without_idle_cpus_it_goes_where_time_is_left_and_else_where_the_load_is_least() {
        assert_eq!(fork(&[(1, 1000), (1, 1000), (1, 1000), (1, 100)], &[]), Some(3));
        assert_eq!(fork(&[(1, 100), (1, 1000), (1, 100), (1, 100)], &[]), Some(0), "time is left here, too");
        assert_eq!(fork(&[(3, 1024), (3, 1024), (2, 1024), (3, 1024)], &[]), Some(2));
        assert_eq!(fork(&[(2, 1024), (2, 1024), (2, 1020), (2, 1020)], &[]), Some(0), "a little less is not worth leaving for");
        assert_eq!(fork(&[(3, 1024), (3, 1024), (2, 1024), (3, 1024)], &[1]), Some(1));
        assert_eq!(fork(&[(1, 1024), (1, 1024)], &[7]), None);
    }

    #[test]
    fn who_executes_is_not_in_its_own_way() {
        assert_eq!(exec(&[(1, 1024), (0, 0), (0, 0), (0, 0)], &[], 1024), Some(0));
        assert_eq!(exec(&[(2, 1024), (0, 0), (1, 500), (1, 500)], &[], 500), Some(1));
    }

    #[test]
    fn who_executes_and_needs_much_goes_to_a_strong_cpu() {
        let capacities = [446, 446, 1024, 1024];
        assert_eq!(exec(&[(1, 400), (0, 0), (0, 0), (0, 0)], &capacities, 400), Some(2));
        assert_eq!(exec(&[(1, 100), (0, 0), (1, 900), (0, 0)], &capacities, 100), Some(0));
    }

    #[test]
    fn no_average_is_brought_up_to_date_twice_and_none_without_need() {
        let new = Beginner { needs: Needs { util: 0, runnable: 1024, load: 1024 }, runs: false };
        let asked = |cpus: &[(u32, u64)], what| {
            let m = Pairs::new(cpus, &[]);
            let to = begun(&m, 0, what, |_| true);
            (to, m.asked().0, m.asked().1)
        };
        // All are busy, and in two levels of domains each is looked at.
        let busy = [(2, 1024), (2, 1024), (2, 1024), (2, 1024), (2, 1024), (2, 1024), (1, 900), (2, 1024)];
        let (to, all, most) = asked(&busy, new);
        assert_eq!((to, most), (Some(6), 1));
        assert!(all <= 8, "{all}");
        // Who executes, alone on its CPU, stays: the counts say it.
        let alone = [(1, 1024), (1, 1024), (0, 0), (1, 0), (1, 1024), (1, 1024), (1, 900), (1, 1024)];
        assert_eq!(asked(&alone, Beginner { runs: true, ..new }), (Some(0), 0, 0));
    }
}
