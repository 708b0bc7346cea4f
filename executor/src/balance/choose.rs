//! Which CPU: the choices of balancing, over any machine. The executor's has a few CPUs, the simulator's up to a thousand.

use super::spread::Tuning;
use super::topology::{CAPACITY, Level, Place};
use crate::class::{Entity, Rank, Urgency};
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
    /// The same, exactly if that is to be had. Not in a wake.
    fn exact_load(&self, cpu: usize) -> Load {
        self.load(cpu)
    }
    /// Whether an entity may run on a CPU.
    ///
    /// # Safety
    /// `e` is on a queue whose lock is held, or not yet on one.
    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool;
    /// Sends an entity, which has just been taken off its queue, to a CPU.
    ///
    /// # Safety
    /// `e` is runnable, on no queue, and nobody else's.
    unsafe fn send(&self, e: NonNull<Entity>, cpu: usize);
}

/// How far `cpu` is from `near`, and, to break ties, by how many numbers it is behind it.
pub(super) fn distance(m: &impl Machine, near: usize, cpu: usize) -> (Level, usize) {
    // One that has never taken part may be above all that have.
    let around = if cpu >= near { cpu - near } else { cpu + m.nr_cpus().max(near + 1) - near };
    (m.place(near).level(m.place(cpu)), around)
}

/// Whether all threads of the core of `cpu` idle.
fn is_core_idle(m: &impl Machine, cpu: usize) -> bool {
    let place = m.place(cpu);
    // Threads of a core have neighbouring numbers or the same distance, whichever the firmware chose: all are asked.
    (0..m.nr_cpus()).all(|c| m.place(c).level(place) != Level::Smt || m.is_idle(c))
}

/// The idle CPU for something that belongs to `near`: the nearest one, of these one whose whole core idles
/// (Linux: select_idle_sibling, and select_idle_core in it).
pub fn nearest_idle(m: &impl Machine, near: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    (0..m.nr_cpus()).filter(|c| m.takes_part(*c) && m.is_idle(*c) && allowed(*c)).min_by_key(|c| {
        let (level, around) = distance(m, near, *c);
        // A free core is worth a step within the cluster, not one out of it.
        (level.max(Level::Cluster), !is_core_idle(m, *c), level, around)
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

/// The CPU for something that begins on `here`: from the widest domain down an idle CPU in the part with the fewest busy ones, which
/// is the nearest of several; else the one that has the least to do (Linux: find_idlest_cpu).
pub fn begun(m: &impl Machine, here: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let idle = |c: &usize| m.takes_part(*c) && m.is_idle(*c) && allowed(*c);
    let mut found: Option<usize> = None;
    for level in Level::ALL.into_iter().rev() {
        let inside = |c: &usize| found.is_none_or(|at| m.place(*c).level(m.place(at)) <= level);
        let roomiest = (0..m.nr_cpus()).filter(|c| idle(c) && inside(c)).min_by_key(|c| (m.busy_near(*c, level), distance(m, here, *c)));
        found = Some(roomiest.or(found)?);
    }
    found
}

/// The CPU for something of `rank`, and of `weight` in the fair class, that is woken on `here` and last ran on `prev`, which is not
/// as simple as an idle `prev` (Linux: select_task_rq of the classes). `None`: where it was, or wherever it may be.
pub fn woken(m: &impl Machine, rank: Rank, weight: u32, prev: usize, here: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let urgent = rank.outranks(Rank::FAIR);
    let stays = allowed(prev);
    if stays && urgent && rank.outranks(m.urgency(prev).rank) {
        // It runs there at once, and what it preempts is sent on.
        return Some(prev);
    }
    if let Some(cpu) = nearest_idle(m, prev, &allowed) {
        return Some(cpu);
    }
    if urgent {
        lowest(m, Urgency::of(rank), prev, &allowed)
    } else if stays {
        Some(if allowed(here) { wake_affine(m, weight, prev, here) } else { prev })
    } else {
        idlest(m, prev, &allowed)
    }
}

/// Where something of `weight` woken on `here` goes that last ran on `prev`, when neither idles: to its waker if that CPU has less to
/// do with it than the other one without it, for what each gets done (Linux: wake_affine_weight, with the imbalance that a domain
/// tolerates).
fn wake_affine(m: &impl Machine, weight: u32, prev: usize, here: usize) -> usize {
    if prev == here || !m.takes_part(prev) || !m.takes_part(here) {
        return prev;
    }
    // It comes on top of what is here.
    let (mine, theirs) = (m.load(here).weight.saturating_add(weight.into()), m.load(prev).weight);
    let tolerated = 100 + (IMBALANCE_PCT - 100) / 2;
    // Each load by the other one's capacity.
    let mine = mine.saturating_mul(100).saturating_mul(m.capacity(prev).into());
    let theirs = theirs.saturating_mul(tolerated).saturating_mul(m.capacity(here).into());
    if mine < theirs { here } else { prev }
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
        fn takes_part(&self, _: usize) -> bool {
            true
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
        unsafe fn send(&self, _: NonNull<Entity>, _: usize) {}
    }

    const EVEN: &[u32] = &[CAPACITY; 2];

    #[test]
    fn who_begins_goes_where_the_least_weight_is_not_the_fewest_tasks() {
        let idlest = |loads, capacities| idlest(&Busy { loads, capacities }, 0, |_| true);
        assert_eq!(idlest(&[(1, 88_761), (2, 30)], EVEN), Some(1), "two of nice 19 are less than one of nice -20");
        assert_eq!(idlest(&[(1, 1024), (2, 2048)], EVEN), Some(0));
        assert_eq!(idlest(&[(1, 1024), (1, 1024)], EVEN), Some(0), "of several the nearest");
        assert_eq!(idlest(&[(1, 1024), (2, 2048)], &[446, CAPACITY]), Some(1), "a weak CPU has more to do with less");
    }

    #[test]
    fn who_is_woken_goes_to_its_waker_only_if_it_fits_in_there() {
        let woken = |weight, loads, capacities| woken(&Busy { loads, capacities }, Rank::FAIR, weight, 0, 1, |_| true);
        assert_eq!(woken(1024, &[(2, 2048), (1, 1024)], EVEN), Some(1));
        assert_eq!(woken(1024, &[(1, 1024), (1, 1024)], EVEN), Some(0));
        assert_eq!(woken(88_761, &[(2, 2048), (1, 1024)], EVEN), Some(0), "it would be the heavier one's burden");
        assert_eq!(woken(15, &[(1, 1024), (1, 1024)], EVEN), Some(1), "a light one is tolerated");
        assert_eq!(woken(1024, &[(2, 2048), (1, 1024)], &[CAPACITY, 446]), Some(0), "not on a weak one");
    }
}
