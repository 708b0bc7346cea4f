//! What a CPU with more than one runnable entity does about it: it sends those that wait to where they can run.
//!
//! Linux lets every CPU pull, at ticks and before it idles. Here nobody has ticks: a CPU that runs one task has no timer, and one
//! that idles sleeps until it is told. So it is the crowded CPU that acts, which knows its queue, holds its lock, and is
//! awake: when somebody arrives, when it chooses, and, against lasting differences of load, at the intervals of Linux's
//! periodic balancing. What remains for a CPU that is about to idle is in `idle`.

use super::choose::{IMBALANCE_PCT, IMBALANCE_PCT_SMT, Load, Machine, Seen, lowest, nearest_idle};
use super::topology::{CAPACITY, Level};
use crate::class::{Entity, Needs, Rank, RunQueue};
use crate::time::{MSEC, Nanos, USEC};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// No CPU lets more time pass from one look at a domain to the next, for each CPU of the machine (Linux: max_load_balance_interval).
const LONGEST: Nanos = 100 * MSEC;

/// What is tuned of the domain of one level as a CPU sees it (debugfs `sched/domains`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// From one look to the next, ms: at least, after one that found something to do,
    pub min_interval: u32,
    /// and at most, after several that did not.
    pub max_interval: u32,
    /// A CPU that has something to do looks less often by this.
    pub busy_factor: u32,
    /// By how much one part may have more to do than another, in percent.
    pub imbalance_pct: u32,
}

impl Tuning {
    /// What Linux begins with for a domain of `cpus` CPUs (Linux: sd_init).
    pub const fn of(level: Level, cpus: usize) -> Tuning {
        let n = cpus as u32;
        let pct = if matches!(level, Level::Smt) { IMBALANCE_PCT_SMT } else { IMBALANCE_PCT };
        Tuning { min_interval: n, max_interval: 2 * n, busy_factor: 16, imbalance_pct: pct as u32 }
    }
}

/// Linux's `sysctl_sched_nr_migrate`: so many are looked at, and moved, at a time, at most.
pub(crate) static NR_MIGRATE: AtomicU32 = AtomicU32::new(32);
/// So many of them are moved in one section with interrupts masked (Linux, which has them masked for longer: SCHED_NR_MIGRATE_BREAK), and
/// so long after that come the next.
const AT_ONCE: usize = 2;
const BREAK: Nanos = 100 * USEC;

/// When a CPU next looks for lasting imbalance, and what came of the last times.
#[derive(Clone, Copy, Debug)]
pub struct Periodic {
    /// When it is time for the first of its domains.
    next: Nanos,
    domains: [Watched; Level::ALL.len()],
    /// How often it has looked: where the search begins.
    turn: usize,
}

/// The same of one of its domains.
#[derive(Clone, Copy, Debug)]
struct Watched {
    next: Nanos,
    interval: Nanos,
    /// How often in a row something should have moved and nothing could (Linux: nr_balance_failed).
    failed: u32,
}

impl Periodic {
    /// Of a CPU that has never balanced.
    pub const NEW: Periodic = Periodic { next: 0, domains: [Watched { next: 0, interval: 0, failed: 0 }; Level::ALL.len()], turn: 0 };
}

/// What [`spread`] leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    /// An entity above the fair class waits that may run on another CPU (Linux: rto_mask).
    pub urgent_waits: bool,
    /// When it should be called again, whatever happens.
    pub again: Nanos,
}

/// Spreads what waits on `rq`, the queue of `here`.
///
/// # Safety
/// The lock of `rq` is held.
pub unsafe fn spread(m: &impl Machine, rq: &mut RunQueue, here: usize, periodic: &mut Periodic, now: Nanos) -> Spread {
    let mut gone = Needs::NOTHING;
    if m.any_idle() {
        // SAFETY: passed on.
        gone = unsafe { fill_idle(m, rq, here, now) };
    }
    // SAFETY: passed on.
    let urgent_waits = rq.best_rank().outranks(Rank::FAIR) && unsafe { push_urgent(m, rq, here, now) };
    if now >= periodic.next && rq.is_crowded() {
        // SAFETY: passed on.
        gone = gone.and(unsafe { balance(m, rq, here, periodic, now) });
    }
    if gone != Needs::NOTHING {
        m.gone(here, gone);
    }
    Spread { urgent_waits, again: periodic.next }
}

/// Takes `e` off and sends it away; what still counts here in averages.
///
/// # Safety
/// `e` waits on `rq`, whose lock is held.
unsafe fn send(m: &impl Machine, rq: &mut RunQueue, e: NonNull<Entity>, here: usize, to: usize, now: Nanos) -> Needs {
    // SAFETY: by the caller's contract; off the queue it is nobody's but ours.
    unsafe {
        rq.dequeue(e, now);
        m.send(e, here, to)
    }
}

/// How much of a CPU an entity of the fair class needs; others run wherever they can at once.
///
/// # Safety
/// It is on a queue whose lock is held.
unsafe fn needs(e: NonNull<Entity>) -> u32 {
    // SAFETY: by the contract, it is valid, and only read.
    unsafe { if e.as_ref().rank() == Rank::FAIR { Entity::needs(e, 0).util } else { 0 } }
}

/// Sends to idle CPUs what waits here and may run there, one each. What still counts here in averages.
///
/// # Safety
/// As [`spread`].
unsafe fn fill_idle(m: &impl Machine, rq: &mut RunQueue, here: usize, now: Nanos) -> Needs {
    let mut gone = Needs::NOTHING;
    while m.any_idle() {
        let mut to = None;
        let mut seen = 0u32;
        let e = rq.find_waiting(|e| {
            // SAFETY: it is on the queue.
            let util = unsafe { needs(e) };
            // SAFETY: as above.
            to = nearest_idle(m, here, util, |cpu| m.reaches(here, cpu) && unsafe { m.allows(e, cpu) });
            seen += 1;
            to.is_some() || seen >= NR_MIGRATE.load(Relaxed)
        });
        let (Some(e), Some(to)) = (e, to) else { break };
        // SAFETY: it waits here.
        gone = gone.and(unsafe { send(m, rq, e, here, to, now) });
    }
    gone
}

/// Sends what waits here and is above the fair class to CPUs that run something less urgent, or has to be done later (Linux: push_rt_tasks, push_dl_tasks). Whether
/// something is left that may go elsewhere.
///
/// # Safety
/// As [`spread`].
unsafe fn push_urgent(m: &impl Machine, rq: &mut RunQueue, here: usize, now: Nanos) -> bool {
    loop {
        let mut to = None;
        let mut stays = false;
        let e = rq.find_waiting(|e| {
            // SAFETY: it is on the queue, and only read.
            let urgency = unsafe { e.as_ref() }.urgency();
            if !urgency.rank.outranks(Rank::FAIR) {
                // They come last: that was all.
                return true;
            }
            // SAFETY: it is on the queue.
            let allowed = |cpu| cpu != here && unsafe { m.allows(e, cpu) };
            to = lowest(m, urgency, here, allowed);
            stays |= to.is_none() && (0..m.nr_cpus()).any(|cpu| m.takes_part(cpu) && allowed(cpu));
            to.is_some()
        });
        let (Some(e), Some(to)) = (e, to) else { return stays };
        // SAFETY: it waits here.
        let _ = unsafe { send(m, rq, e, here, to, now) };
    }
}

/// One part of a domain (Linux: struct sg_lb_stats).
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    cpus: u64,
    nr: u64,
    load: u64,
    capacity: u64,
}

impl Group {
    /// Counts in a CPU that has `nr` tasks and the average `load`.
    fn add(&mut self, nr: u32, load: u64, capacity: u32) {
        self.cpus += 1;
        self.nr = self.nr.saturating_add(nr.into());
        self.load = self.load.saturating_add(load);
        self.capacity += u64::from(capacity);
    }

    /// Counts in another one.
    fn merge(&mut self, other: &Group) {
        self.cpus += other.cpus;
        self.nr = self.nr.saturating_add(other.nr);
        self.load = self.load.saturating_add(other.load);
        self.capacity += other.capacity;
    }

    /// Its average load for what it gets done (Linux: avg_load).
    fn average(&self) -> u64 {
        relative(self.load, self.capacity)
    }
}

/// A load for a capacity.
fn relative(load: u64, capacity: u64) -> u64 {
    load.saturating_mul(CAPACITY.into()) / capacity.max(1)
}

/// Looks for a CPU that has lastingly less to do, level by level, and sends it its share (Linux: load_balance, seen from the
/// busiest CPU).
///
/// # Safety
/// As [`spread`].
unsafe fn balance(m: &impl Machine, rq: &mut RunQueue, here: usize, periodic: &mut Periodic, now: Nanos) -> Needs {
    let within = |level: Level| m.count_near(here, level.above());
    let mut gone = Needs::NOTHING;
    let longest = (within(Level::Machine) as Nanos).saturating_mul(LONGEST);
    periodic.turn = periodic.turn.wrapping_add(1);
    let mut next = now.saturating_add(longest);
    let mut below = 1;
    for (level, domain) in Level::ALL.into_iter().zip(&mut periodic.domains) {
        let cpus = within(level);
        // Of two levels with the same CPUs there is one domain.
        if cpus == below {
            continue;
        }
        below = cpus;
        if now >= domain.next && gone != Needs::NOTHING {
            // That was enough for one section.
            domain.next = now.saturating_add(BREAK);
        } else if now >= domain.next {
            let tuning = m.tuning(here, level, cpus);
            let wanted = imbalance(m, own_load(rq), here, level, periodic.turn, tuning.imbalance_pct);
            let mut moved = 0;
            if let Some((to, amount)) = wanted {
                let left;
                // SAFETY: passed on.
                (moved, left) = unsafe { shift(m, rq, here, to, amount, domain.failed, now) };
                gone = gone.and(left);
            }
            domain.failed = if wanted.is_some() && moved == 0 { domain.failed.saturating_add(1) } else { 0 };
            let [shortest, rarest] = [tuning.min_interval, tuning.max_interval].map(|ms| Nanos::from(ms) * MSEC);
            domain.interval = if wanted.is_some() { shortest } else { domain.interval.saturating_mul(2).min(rarest).max(shortest) };
            let pause = domain.interval.saturating_mul(tuning.busy_factor.into()).clamp(MSEC, longest.max(MSEC));
            // What is too much for one section goes in the next.
            domain.next = now.saturating_add(if moved >= AT_ONCE { BREAK } else { pause });
        }
        next = next.min(domain.next);
    }
    periodic.next = next;
    gone
}

pub(super) fn own_load(rq: &RunQueue) -> Load {
    Load { nr: rq.nr_running() as u32, weight: rq.load() }
}

/// Whether, among the parts of the domain of `level`, that of `here` has the most to do and by too much, and `here` the most
/// in it, by average loads and for what each gets done: the CPU that should get something, and how much (Linux: find_busiest_group,
/// calculate_imbalance with migrate_load).
/// Of several the next in `turn`, so that each has company at times. Each CPU is looked at once, and none if the part of `here` has no more tasks
/// than CPUs: all this is in the queue's lock.
fn imbalance(m: &impl Machine, own: Load, here: usize, level: Level, turn: usize, pct: u32) -> Option<(usize, u64)> {
    let nr = |cpu: usize| if cpu == here { own.nr } else { m.load(cpu).nr };
    let (mut tasks, mut cpus) = (0u64, 0u64);
    m.each_near(here, Some(level), |c| (tasks, cpus) = (tasks.saturating_add(nr(c).into()), cpus + 1));
    if tasks <= cpus {
        return None;
    }
    let mut seen = Seen::NONE;
    // The part of `here`, and the most that another CPU of it has.
    let (mut mine, mut own_load, mut most) = (Group::default(), 0, 0);
    m.each_near(here, Some(level), |c| {
        seen.insert(c);
        let (load, capacity) = (m.average_load(c), m.capacity(c));
        mine.add(nr(c), load, capacity);
        let relative = relative(load, capacity.into());
        if c == here {
            own_load = relative;
        } else {
            most = most.max(relative);
        }
    });
    // Loads that differ by less are the same: averages always differ by a little, and each should have its turn.
    let step = (mine.average() / 8).max(1);
    if most > own_load.saturating_add(step) {
        return None;
    }
    let n = m.nr_cpus().max(here + 1);
    let behind = |cpu: usize| (cpu + n - (here.wrapping_add(turn)) % n) % n;
    let mut whole = mine;
    // The part with the least, and the CPU of it that has the least.
    let mut target: Option<((u64, usize), Group, usize)> = None;
    m.each_near(here, level.above(), |first| {
        if !seen.insert(first) {
            return;
        }
        let mut part = Group::default();
        let mut least: Option<((u64, u32, usize), usize)> = None;
        m.each_near(first, Some(level), |c| {
            seen.insert(c);
            let (nr, load, capacity) = (nr(c), m.average_load(c), m.capacity(c));
            part.add(nr, load, capacity);
            let key = (relative(load, capacity.into()) / step, nr, behind(c));
            if least.is_none_or(|(least, _)| key < least) {
                least = Some((key, c));
            }
        });
        whole.merge(&part);
        let key = (part.average() / step, behind(first));
        if let Some((_, to)) = least
            && target.is_none_or(|(best, ..)| key < best)
        {
            target = Some((key, part, to));
        }
    });
    let (_, theirs, to) = target?;
    let (average, least, all) = (mine.average(), theirs.average(), whole.average());
    if least >= all || average.saturating_mul(100) <= least.saturating_mul(pct.into()) {
        return None;
    }
    let over = average.saturating_sub(all).saturating_mul(mine.capacity);
    let under = all.saturating_sub(least).saturating_mul(theirs.capacity);
    Some((to, over.min(under) / u64::from(CAPACITY)))
}

/// Sends fair entities that wait to `to` until their loads make up `amount`, [`AT_ONCE`] at most; how many, and what still counts here in averages
/// (Linux: detach_tasks).
///
/// # Safety
/// As [`spread`].
unsafe fn shift(m: &impl Machine, rq: &mut RunQueue, here: usize, to: usize, mut amount: u64, failed: u32, now: Nanos) -> (usize, Needs) {
    let (mut moved, mut gone, mut seen) = (0, Needs::NOTHING, 0);
    let most = NR_MIGRATE.load(Relaxed);
    while moved < AT_ONCE.min(most as usize) && amount > 0 {
        let mut fit = None;
        let _ = rq.find_waiting(|e| {
            // SAFETY: it is on the queue, and only read.
            let (rank, weight) = unsafe { (e.as_ref().rank(), e.as_ref().weight()) };
            // SAFETY: as above.
            let load = u64::from(unsafe { Entity::needs(e, weight) }.load.max(1));
            // The more often nothing fitted, the larger a one may be moved.
            let fits = load.checked_shr(failed).unwrap_or(0).max(u64::from(failed > 0)) <= amount;
            // SAFETY: as above.
            if rank == Rank::FAIR && fits && unsafe { m.allows(e, to) } {
                fit = Some((e, load));
            }
            seen += 1;
            fit.is_some() || seen >= most
        });
        let Some((e, load)) = fit else { break };
        // SAFETY: it waits here.
        gone = gone.and(unsafe { send(m, rq, e, here, to, now) });
        amount = amount.saturating_sub(load);
        moved += 1;
    }
    (moved, gone)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::topology::Place;
    use super::*;
    use crate::class::{Average, Urgency};
    use core::cell::Cell;

    /// Eight CPUs in clusters of four: how many run on each, and its load; and how often that was asked for.
    struct Loads {
        loads: [(u32, u64); 8],
        asked: [Cell<u32>; 8],
    }

    impl Machine for Loads {
        fn nr_cpus(&self) -> usize {
            8
        }
        fn place(&self, cpu: usize) -> Place {
            Place { core: (cpu % 4) as u16, cluster: (cpu / 4) as u16, ..Place::default() }
        }
        fn takes_part(&self, _: usize) -> bool {
            true
        }
        fn is_idle(&self, cpu: usize) -> bool {
            self.loads[cpu].0 == 0
        }
        fn any_idle(&self) -> bool {
            self.loads.iter().any(|l| l.0 == 0)
        }
        fn urgency(&self, _: usize) -> Urgency {
            Urgency::of(Rank::FAIR)
        }
        fn load(&self, cpu: usize) -> Load {
            Load { nr: self.loads[cpu].0, weight: 1024 * u64::from(self.loads[cpu].0) }
        }
        fn average(&self, cpu: usize) -> Average {
            self.asked[cpu].set(self.asked[cpu].get() + 1);
            Average { util: 1024, runnable: 1024, load: self.loads[cpu].1 }
        }
        unsafe fn allows(&self, _: NonNull<Entity>, _: usize) -> bool {
            true
        }
        unsafe fn send(&self, _: NonNull<Entity>, _: usize, _: usize) -> Needs {
            Needs::NOTHING
        }
        fn gone(&self, _: usize, _: Needs) {}
    }

    /// What `imbalance` says of CPU 0, and how often it has asked for averages: in sum, and the most often for one.
    fn look(level: Level, loads: [(u32, u64); 8]) -> (Option<(usize, u64)>, u32, u32) {
        let m = Loads { loads, asked: [const { Cell::new(0) }; 8] };
        let found = imbalance(&m, m.load(0), 0, level, 0, 117);
        (found, m.asked.iter().map(Cell::get).sum(), m.asked.iter().map(Cell::get).max().unwrap_or(0))
    }

    #[test]
    fn the_part_with_the_least_gets_something_and_each_cpu_is_looked_at_once() {
        let one = (1, 1024);
        let (found, all, most) = look(Level::Cluster, [(4, 4096), one, (1, 500), one, one, one, one, one]);
        assert_eq!((all, most), (4, 1));
        assert_eq!(found.map(|f| f.0), Some(2), "{found:?}");
        let two = (2, 2048);
        let (found, all, most) = look(Level::Package, [two, two, two, two, one, one, (1, 100), one]);
        assert_eq!((all, most), (8, 1));
        assert_eq!(found.map(|f| f.0), Some(6), "{found:?}");
        // Somebody else of its part has more to do: that one acts.
        assert_eq!(look(Level::Package, [two, (4, 4096), two, two, one, one, one, one]).0, None);
        assert_eq!(look(Level::Cluster, [two, two, two, two, one, one, one, one]).0, None, "all alike");
    }

    #[test]
    fn a_part_with_no_more_tasks_than_cpus_is_not_looked_at_further() {
        assert_eq!(look(Level::Package, [(4, 4096), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]), (None, 0, 0));
    }
}
