//! Which CPU: the choices of balancing, over any machine. The executor's has a few CPUs, the simulator's up to a thousand.

use super::spread::Tuning;
use super::topology::{CAPACITY, Level, Place};
use crate::class::{Average, Entity, Features, Needs, Rank, Urgency};
use core::cmp::Reverse;
use core::ptr::NonNull;

/// How much a CPU has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Runnable entities, the current one included.
    pub nr: u32,
    /// The sum of the weights of the fair ones.
    pub weight: u64,
}

/// What balancing sees of a machine. What it says of other CPUs may be out of date: it decides where something goes, never
/// whether a queue may be touched.
pub trait Machine {
    /// CPUs are numbered from 0 up to this.
    fn nr_cpus(&self) -> usize;
    /// Where a CPU is.
    fn place(&self, cpu: usize) -> Place;
    /// How much a CPU gets done, of [`CAPACITY`].
    fn capacity(&self, cpu: usize) -> u32 {
        let _ = cpu;
        CAPACITY
    }
    /// What of placing is switched on.
    fn features(&self) -> Features {
        Features::DEFAULT
    }
    /// What is tuned of the domain of `level`, of `cpus` CPUs, as `cpu` sees it.
    fn tuning(&self, cpu: usize, level: Level, cpus: usize) -> Tuning {
        let _ = cpu;
        Tuning::of(level, cpus)
    }
    /// Whether a CPU is online and in the scheduling domains: others neither give nor get.
    fn takes_part(&self, cpu: usize) -> bool;
    /// Whether a CPU idles and nobody is on the way to it.
    fn is_idle(&self, cpu: usize) -> bool;
    /// How many CPUs are busy in the part of the domain of `level` that `cpu` is in: those that are nearer to it than that.
    fn busy_near(&self, cpu: usize, level: Level) -> usize {
        let near = |c: usize| c == cpu || self.place(c).level(self.place(cpu)) < level;
        (0..self.nr_cpus()).filter(|c| self.takes_part(*c) && near(*c) && !self.is_idle(*c)).count()
    }
    /// Whether what waits on `from` may be given at once to `to`, which idles.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let _ = (from, to);
        true
    }
    /// Whether any other CPU may idle: a look that spares the search.
    fn any_idle(&self) -> bool;
    /// How urgent is what a CPU runs (Linux: cpupri, cpudl); [`Urgency::IDLE`] when it runs nothing.
    fn urgency(&self, cpu: usize) -> Urgency;
    /// How much a CPU has to do, about.
    fn load(&self, cpu: usize) -> Load;
    /// The same on average, used and runnable by its capacity (Linux: cpu_load, cpu_runnable, cpu_util).
    fn average(&self, cpu: usize) -> Average {
        let (load, capacity) = (self.load(cpu), u64::from(self.capacity(cpu)));
        Average { util: u64::from(load.nr.min(1)) * capacity, runnable: u64::from(load.nr) * capacity, load: load.weight }
    }
    /// [`Average::load`] alone.
    fn average_load(&self, cpu: usize) -> u64 {
        self.average(cpu).load
    }
    /// Calls `f` for each CPU that takes part and is nearer to `cpu` than `level`, or for all that take part; beginning with `cpu`, by
    /// ascending numbers, and from 0 on.
    fn each_near(&self, cpu: usize, level: Option<Level>, mut f: impl FnMut(usize)) {
        let (n, place) = (self.nr_cpus(), self.place(cpu));
        let near = |c: usize| c == cpu || level.is_none_or(|l| self.place(c).level(place) < l);
        (cpu..n).chain(0..cpu).filter(|c| self.takes_part(*c) && near(*c)).for_each(&mut f);
    }
    /// How many those are.
    fn count_near(&self, cpu: usize, level: Option<Level>) -> usize {
        let mut n = 0;
        self.each_near(cpu, level, |_| n += 1);
        n
    }
    /// Whether an entity may run on a CPU.
    ///
    /// # Safety
    /// `e` is on a queue whose lock is held, or not yet on one.
    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool;
    /// Sends an entity, which has just been taken off the queue of `here`, to a CPU: it counts in the averages of that one. Returns what still
    /// counts in those of `here`.
    ///
    /// # Safety
    /// `e` is runnable, on no queue, and nobody else's.
    #[must_use = "it is to be told to `gone`"]
    unsafe fn send(&self, e: NonNull<Entity>, here: usize, cpu: usize) -> Needs;
    /// Somebody who `needs` so much has gone from `here`.
    fn gone(&self, here: usize, needs: Needs);
}

/// CPUs that were looked at.
pub(super) struct Seen([u64; 16]);

impl Seen {
    /// None so far.
    pub(super) const NONE: Seen = Seen([0; 16]);

    /// Whether `cpu` is new among them. One that has no bit is.
    pub(super) fn insert(&mut self, cpu: usize) -> bool {
        let Some(word) = self.0.get_mut(cpu / 64) else { return true };
        let bit = 1 << (cpu % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// How far `cpu` is from `near`, and, to break ties, by how many numbers it is behind it.
pub(super) fn distance(m: &impl Machine, near: usize, cpu: usize) -> (Level, usize) {
    // One that has never taken part may be above all that have.
    let around = if cpu >= near { cpu - near } else { cpu + m.nr_cpus().max(near + 1) - near };
    (m.place(near).level(m.place(cpu)), around)
}

/// Whether all threads of the core of `cpu` idle.
fn is_core_idle(m: &impl Machine, cpu: usize) -> bool {
    let mut idle = true;
    m.each_near(cpu, Some(Level::Cluster), |c| idle &= m.is_idle(c));
    idle
}

/// Whether a CPU of `capacity` gets enough done for something that needs `util`, with a fifth to spare (Linux: fits_capacity). The strongest
/// do for everything.
pub fn fits(util: u32, capacity: u32) -> bool {
    capacity >= CAPACITY || u64::from(util) * 1280 < u64::from(capacity) * 1024
}

/// How much too weak a CPU is for something that needs `util`: 0, not at all; the weaker, the more.
pub(super) fn weakness(m: &impl Machine, util: u32, cpu: usize) -> u32 {
    let capacity = m.capacity(cpu);
    if fits(util, capacity) { 0 } else { CAPACITY - capacity }
}

/// The idle CPU for something that belongs to `near` and needs `util` of the strongest CPU: one that gets enough done for it, else the
/// strongest (Linux: select_idle_capacity); the nearest one, of these one whose whole core idles (Linux: select_idle_sibling, and
/// select_idle_core in it).
pub fn nearest_idle(m: &impl Machine, near: usize, util: u32, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    (0..m.nr_cpus()).filter(|c| m.takes_part(*c) && m.is_idle(*c) && allowed(*c)).min_by_key(|c| {
        let (level, around) = distance(m, near, *c);
        // A free core is worth a step within the cluster, not one out of it.
        (weakness(m, util, *c), level.max(Level::Cluster), !is_core_idle(m, *c), level, around)
    })
}

/// The CPU on which something of `urgency` can run at once: the one whose current entity is the least urgent, if it is less
/// urgent than that; of several the nearest (Linux: cpupri_find, find_lowest_rq; cpudl_find, find_later_rq).
pub fn lowest(m: &impl Machine, urgency: Urgency, near: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    (0..m.nr_cpus())
        .filter(|c| m.takes_part(*c) && urgency.outranks(m.urgency(*c)) && allowed(*c))
        .min_by_key(|c| (Reverse(m.urgency(*c)), distance(m, near, *c)))
}

/// The CPU that has the least to do for what it gets done, of several the nearest to `near` (Linux: find_idlest_cpu, by load). `None`
/// if none is allowed.
pub fn idlest(m: &impl Machine, near: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    (0..m.nr_cpus()).filter(|c| m.takes_part(*c) && allowed(*c)).min_by_key(|c| {
        let load = m.load(*c);
        let relative = load.weight.saturating_mul(CAPACITY.into()) / u64::from(m.capacity(*c).max(1));
        (relative, load.nr, distance(m, near, *c))
    })
}

/// What is woken.
#[derive(Clone, Copy, Debug)]
pub struct Woken {
    /// Its rank.
    pub rank: Rank,
    /// What it needs, in the fair class.
    pub needs: Needs,
    /// Where it ran last, and its averages count.
    pub prev: usize,
    /// Where it is woken.
    pub here: usize,
    /// That CPU runs nothing: an interrupt of one that idled wakes it.
    pub rests: bool,
}

/// The CPU for what is woken (Linux: select_task_rq of the classes). `None`: where it was, or wherever it may be.
pub fn woken(m: &impl Machine, what: &Woken, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let (rank, prev, here) = (what.rank, what.prev, what.here);
    let urgent = rank.outranks(Rank::FAIR);
    let stays = allowed(prev);
    let (util, fits) = (what.needs.util, |cpu| urgent || weakness(m, what.needs.util, cpu) == 0);
    if stays && (urgent && rank.outranks(m.urgency(prev).rank) || !urgent && m.is_idle(prev) && fits(prev)) {
        // It runs there at once, and what it preempts is sent on.
        return Some(prev);
    }
    if urgent {
        return nearest_idle(m, prev, 0, &allowed).or_else(|| lowest(m, Urgency::of(rank), prev, &allowed));
    }
    // Not to a CPU in no domain, from where nothing would take it back, unless it was there.
    let joins = allowed(here) && (prev == here || m.takes_part(here));
    let rests = what.rests && joins;
    let distance = m.place(prev).level(m.place(here));
    let sure = match () {
        () if !joins => Some(prev),
        () if prev == here || !m.takes_part(prev) => Some(here),
        // Linux: wake_affine_idle.
        () if rests && m.features().has(Features::WA_IDLE) && distance <= Level::Package => Some(here),
        () if !m.features().has(Features::WA_WEIGHT) => Some(prev),
        () => None,
    };
    if sure == Some(here) && rests && fits(here) {
        return Some(here);
    }
    // Near which CPU: that, or where it is woken (Linux: wake_affine, but for what a waker says of itself by WF_SYNC). Idle ones of the cluster
    // of both are as near to one as to the other, and loads need not be looked at.
    let mut target = sure.unwrap_or_else(|| if distance <= Level::Cluster { prev } else { lighter(m, what) });
    let idle = nearest_idle(m, target, util, &allowed);
    if rests && idle.is_none_or(|cpu| m.capacity(cpu) <= m.capacity(here) && !fits(cpu)) {
        return Some(here);
    }
    if idle.is_some() {
        return idle;
    }
    if sure.is_none() && distance <= Level::Cluster {
        target = lighter(m, what);
    }
    if allowed(target) { Some(target) } else { idlest(m, prev, &allowed) }
}

/// Where it is woken, or else where it was: see [`is_lighter`].
fn lighter(m: &impl Machine, what: &Woken) -> usize {
    if is_lighter(m, what, m.features().has(Features::WA_BIAS)) { what.here } else { what.prev }
}

/// Whether its waker's CPU has less to do with it than the other one without it, by averages and for what each gets done; with `bias`, the
/// other one by half of the imbalance that a domain tolerates more (Linux: wake_affine_weight).
fn is_lighter(m: &impl Machine, what: &Woken, bias: bool) -> bool {
    let (prev, here, load) = (what.prev, what.here, u64::from(what.needs.load));
    // It comes on top of what is here, and has its part in what is there.
    let (mine, theirs) = (m.average_load(here).saturating_add(load), m.average_load(prev).saturating_sub(load));
    let tolerated = if bias { 100 + (IMBALANCE_PCT - 100) / 2 } else { 100 };
    // Each load by the other one's capacity.
    let mine = mine.saturating_mul(100).saturating_mul(m.capacity(prev).into());
    let theirs = theirs.saturating_mul(tolerated).saturating_mul(m.capacity(here).into());
    mine < theirs
}

/// By how much one part of a domain may have more to do than another, in percent (Linux: sd->imbalance_pct above SMT).
pub const IMBALANCE_PCT: u64 = 117;
/// The same among threads of a core.
pub const IMBALANCE_PCT_SMT: u64 = 110;

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUs of one cluster that all have something to do.
    struct Busy<'a> {
        loads: &'a [(u32, u64)],
        capacities: &'a [u32],
        isolated: &'a [usize],
    }

    impl Machine for Busy<'_> {
        fn nr_cpus(&self) -> usize {
            self.loads.len()
        }
        fn place(&self, cpu: usize) -> Place {
            Place { core: cpu as u16, ..Place::default() }
        }
        fn capacity(&self, cpu: usize) -> u32 {
            self.capacities[cpu]
        }
        fn takes_part(&self, cpu: usize) -> bool {
            !self.isolated.contains(&cpu)
        }
        fn is_idle(&self, _: usize) -> bool {
            false
        }
        fn any_idle(&self) -> bool {
            false
        }
        fn urgency(&self, _: usize) -> Urgency {
            Urgency::of(Rank::FAIR)
        }
        fn load(&self, cpu: usize) -> Load {
            Load { nr: self.loads[cpu].0, weight: self.loads[cpu].1 }
        }
        unsafe fn allows(&self, _: NonNull<Entity>, _: usize) -> bool {
            true
        }
        unsafe fn send(&self, _: NonNull<Entity>, _: usize, _: usize) -> Needs {
            Needs::NOTHING
        }
        fn gone(&self, _: usize, _: Needs) {}
    }

    const EVEN: &[u32] = &[CAPACITY; 2];

    #[test]
    fn who_begins_goes_where_the_least_weight_is_not_the_fewest_tasks() {
        let idlest = |loads, capacities| idlest(&Busy { loads, capacities, isolated: &[] }, 0, |_| true);
        assert_eq!(idlest(&[(1, 88_761), (2, 30)], EVEN), Some(1), "two of nice 19 are less than one of nice -20");
        assert_eq!(idlest(&[(1, 1024), (2, 2048)], EVEN), Some(0));
        assert_eq!(idlest(&[(1, 1024), (1, 1024)], EVEN), Some(0), "of several the nearest");
        assert_eq!(idlest(&[(1, 1024), (2, 2048)], &[446, CAPACITY]), Some(1), "a weak CPU has more to do with less");
    }

    /// Where somebody of `load` goes that CPU 1 wakes and CPU 0 ran.
    fn wake(load: u32, loads: &[(u32, u64)], capacities: &[u32]) -> Option<usize> {
        let what = Woken { rank: Rank::FAIR, needs: Needs { util: 0, runnable: 1024, load }, prev: 0, here: 1, rests: false };
        woken(&Busy { loads, capacities, isolated: &[] }, &what, |_| true)
    }

    #[test]
    fn who_is_woken_goes_to_its_waker_only_if_it_fits_in_there() {
        // The load of CPU 0 has its part in it.
        assert_eq!(wake(1024, &[(2, 3072), (1, 500)], EVEN), Some(1));
        assert_eq!(wake(1024, &[(1, 2048), (1, 1024)], EVEN), Some(0));
        assert_eq!(wake(88_761, &[(2, 90_000), (1, 1024)], EVEN), Some(0), "it would be the heavier one's burden");
        assert_eq!(wake(15, &[(1, 1039), (1, 1024)], EVEN), Some(1), "a light one is tolerated");
        assert_eq!(wake(1024, &[(2, 3072), (1, 500)], &[CAPACITY, 446]), Some(0), "not on a weak one");
    }

    #[test]
    fn who_may_not_stay_where_it_is_asked_goes_to_a_busy_cpu_if_it_must() {
        let m = Busy { loads: &[(1, 1024), (3, 3072)], capacities: EVEN, isolated: &[] };
        let what = Woken { rank: Rank::FAIR, needs: Needs { util: 0, runnable: 1024, load: 1024 }, prev: 0, here: 0, rests: false };
        assert_eq!(woken(&m, &what, |c| c == 1), Some(1));
        assert_eq!(woken(&m, &Woken { here: 1, ..what }, |c| c == 1), Some(1));
        assert_eq!(woken(&m, &what, |_| false), None);
    }

    /// Two weak CPUs and two strong ones, of which those of `idle` idle.
    struct Mixed(&'static [usize]);

    impl Machine for Mixed {
        fn nr_cpus(&self) -> usize {
            4
        }
        fn place(&self, cpu: usize) -> Place {
            Place { core: cpu as u16 % 2, cluster: cpu as u16 / 2, ..Place::default() }
        }
        fn capacity(&self, cpu: usize) -> u32 {
            if cpu < 2 { 446 } else { CAPACITY }
        }
        fn takes_part(&self, _: usize) -> bool {
            true
        }
        fn is_idle(&self, cpu: usize) -> bool {
            self.0.contains(&cpu)
        }
        fn any_idle(&self) -> bool {
            !self.0.is_empty()
        }
        fn urgency(&self, cpu: usize) -> Urgency {
            if self.is_idle(cpu) { Urgency::IDLE } else { Urgency::of(Rank::FAIR) }
        }
        fn load(&self, cpu: usize) -> Load {
            if self.is_idle(cpu) { Load::default() } else { Load { nr: 1, weight: 1024 } }
        }
        unsafe fn allows(&self, _: NonNull<Entity>, _: usize) -> bool {
            true
        }
        unsafe fn send(&self, _: NonNull<Entity>, _: usize, _: usize) -> Needs {
            Needs::NOTHING
        }
        fn gone(&self, _: usize, _: Needs) {}
    }

    #[test]
    fn who_needs_much_is_woken_on_a_strong_cpu_that_idles_and_who_needs_little_where_it_was() {
        let wake = |util, prev, rests, idle| {
            let what = Woken { rank: Rank::FAIR, needs: Needs { util, runnable: util, load: util }, prev, here: 0, rests };
            woken(&Mixed(idle), &what, |_| true)
        };
        assert_eq!(wake(100, 1, false, &[0, 1, 2, 3]), Some(1));
        assert_eq!(wake(400, 1, false, &[0, 1, 2, 3]), Some(2), "a fifth is to spare");
        assert_eq!(wake(400, 3, false, &[0, 1, 3]), Some(3));
        assert_eq!(wake(400, 1, false, &[0, 1]), Some(1), "idle and weak is better than busy and strong");
        assert_eq!(wake(400, 0, true, &[1, 3]), Some(3), "also if its waker runs nothing");
        assert_eq!(wake(400, 0, true, &[1]), Some(0));
        assert_eq!(wake(100, 0, true, &[1, 3]), Some(0));
    }

    #[test]
    fn an_isolated_waker_keeps_nobody_but_its_own_whether_it_rests_or_not() {
        let m = Busy { loads: &[(3, 3072), (2, 2048)], capacities: EVEN, isolated: &[1] };
        for rests in [false, true] {
            let what = Woken { rank: Rank::FAIR, needs: Needs { util: 0, runnable: 1024, load: 1024 }, prev: 0, here: 1, rests };
            assert_eq!(woken(&m, &what, |_| true), Some(0), "rests: {rests}");
            assert_eq!(woken(&m, &Woken { prev: 1, ..what }, |_| true), Some(1));
        }
    }

    #[test]
    fn a_waker_that_runs_nothing_keeps_whom_it_wakes_if_the_other_cpu_is_busy() {
        let m = Busy { loads: &[(1, 1024), (0, 0)], capacities: EVEN, isolated: &[] };
        let what = Woken { rank: Rank::FAIR, needs: Needs { util: 0, runnable: 1024, load: 1024 }, prev: 0, here: 1, rests: true };
        assert_eq!(woken(&m, &what, |_| true), Some(1));
        assert_eq!(woken(&m, &what, |c| c == 0), Some(0));
    }
}
