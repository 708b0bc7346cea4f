//! What a CPU with more than one runnable entity does about it: it sends those that wait to where they can run.
//!
//! Linux lets every CPU pull, at ticks and before it idles. Here nobody has ticks: a CPU that runs one task has no timer, and one
//! that idles sleeps until it is told. So it is the crowded CPU that acts, which knows its queue, holds its lock, and is
//! awake: when somebody arrives, when it chooses, and, against lasting differences of load, at the intervals of Linux's
//! periodic balancing. What remains for a CPU that is about to idle is in `idle`.

use super::choose::{IMBALANCE_PCT, IMBALANCE_PCT_SMT, Load, Machine, lowest, nearest_idle};
use super::topology::Level;
use crate::class::{Entity, Rank, RunQueue};
use crate::time::{MSEC, Nanos};
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

/// Linux's `sysctl_sched_nr_migrate`: so many are moved at a time, at most.
pub(crate) static NR_MIGRATE: AtomicU32 = AtomicU32::new(32);

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
    if m.any_idle() {
        // SAFETY: passed on.
        unsafe { fill_idle(m, rq, here, now) };
    }
    // SAFETY: passed on.
    let urgent_waits = rq.best_rank().outranks(Rank::FAIR) && unsafe { push_urgent(m, rq, here, now) };
    if now >= periodic.next && rq.is_crowded() {
        // SAFETY: passed on.
        unsafe { balance(m, rq, here, periodic, now) };
    }
    Spread { urgent_waits, again: periodic.next }
}

/// Takes `e` off and sends it away.
///
/// # Safety
/// `e` waits on `rq`, whose lock is held.
unsafe fn send(m: &impl Machine, rq: &mut RunQueue, e: NonNull<Entity>, to: usize, now: Nanos) {
    // SAFETY: by the caller's contract; off the queue it is nobody's but ours.
    unsafe {
        rq.dequeue(e, now);
        m.send(e, to);
    }
}

/// Sends to idle CPUs what waits here and may run there, one each.
///
/// # Safety
/// As [`spread`].
unsafe fn fill_idle(m: &impl Machine, rq: &mut RunQueue, here: usize, now: Nanos) {
    while m.any_idle() {
        let mut to = None;
        let mut seen = 0u32;
        let e = rq.find_waiting(|e| {
            // SAFETY: it is on the queue.
            to = nearest_idle(m, here, |cpu| m.reaches(here, cpu) && unsafe { m.allows(e, cpu) });
            seen += 1;
            to.is_some() || seen >= NR_MIGRATE.load(Relaxed)
        });
        let (Some(e), Some(to)) = (e, to) else { break };
        // SAFETY: it waits here.
        unsafe { send(m, rq, e, to, now) };
    }
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
        unsafe { send(m, rq, e, to, now) };
    }
}

/// One part of a domain.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    cpus: u64,
    nr: u64,
    weight: u64,
}

impl Group {
    fn add(&mut self, load: Load) {
        self.cpus += 1;
        self.nr = self.nr.saturating_add(u64::from(load.nr));
        self.weight = self.weight.saturating_add(load.weight);
    }

    /// Its load per CPU (Linux: avg_load), in 1/1024 of a weight.
    fn average(&self) -> u64 {
        self.weight.saturating_mul(1024).checked_div(self.cpus).unwrap_or(0)
    }
}

/// Looks for a CPU that has lastingly less to do, level by level, and sends it its share (Linux: load_balance, seen from the
/// busiest CPU).
///
/// # Safety
/// As [`spread`].
unsafe fn balance(m: &impl Machine, rq: &mut RunQueue, here: usize, periodic: &mut Periodic, now: Nanos) {
    let place = m.place(here);
    let within = |level: Level| (0..m.nr_cpus()).filter(|c| m.takes_part(*c) && m.place(*c).level(place) <= level).count();
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
        if now >= domain.next {
            let tuning = m.tuning(here, level, cpus);
            let wanted = imbalance(m, own_load(rq), here, level, periodic.turn, tuning.imbalance_pct);
            // SAFETY: passed on.
            let moved = wanted.map_or(0, |(to, amount)| unsafe { shift(m, rq, to, amount, domain.failed, now) });
            domain.failed = if wanted.is_some() && moved == 0 { domain.failed.saturating_add(1) } else { 0 };
            let [shortest, rarest] = [tuning.min_interval, tuning.max_interval].map(|ms| Nanos::from(ms) * MSEC);
            domain.interval = if wanted.is_some() { shortest } else { domain.interval.saturating_mul(2).min(rarest).max(shortest) };
            let pause = domain.interval.saturating_mul(tuning.busy_factor.into()).clamp(MSEC, longest.max(MSEC));
            domain.next = now.saturating_add(pause);
        }
        next = next.min(domain.next);
    }
    periodic.next = next;
}

pub(super) fn own_load(rq: &RunQueue) -> Load {
    Load { nr: rq.nr_running() as u32, weight: rq.load() }
}

/// Whether, among the parts of the domain of `level`, that of `here` has the most to do and by too much, and `here` the most
/// in it: the CPU that should get something, and how much, as a weight (Linux: find_busiest_group, calculate_imbalance).
/// Of several the next in `turn`, so that each has company at times.
fn imbalance(m: &impl Machine, own: Load, here: usize, level: Level, turn: usize, pct: u32) -> Option<(usize, u64)> {
    let place = m.place(here);
    // The parts of a domain are the domains of the level below: two CPUs of it are in one part if they meet below.
    let n = m.nr_cpus();
    let behind = |cpu: usize| (cpu + n - (here.wrapping_add(turn)) % n) % n;
    let in_domain = |cpu: usize| m.takes_part(cpu) && m.place(cpu).level(place) <= level;
    let load = |cpu: usize| if cpu == here { own } else { m.exact_load(cpu) };
    let part_of = |first: usize| {
        let mut group = Group::default();
        (0..m.nr_cpus()).filter(|c| in_domain(*c) && together(m, *c, first, level)).for_each(|c| group.add(load(c)));
        group
    };
    let mut whole = Group::default();
    let mut target: Option<(u64, usize, usize)> = None;
    for cpu in (0..m.nr_cpus()).filter(|c| in_domain(*c)) {
        whole.add(load(cpu));
        let is_first = !(0..cpu).any(|c| in_domain(c) && together(m, c, cpu, level));
        if is_first && !together(m, cpu, here, level) {
            let this = (part_of(cpu).average(), behind(cpu), cpu);
            target = Some(target.map_or(this, |least| least.min(this)));
        }
    }
    let (least, _, first) = target?;
    let mine = part_of(here);
    let (average, all) = (mine.average(), whole.average());
    if mine.nr <= mine.cpus || least >= all || average.saturating_mul(100) <= least.saturating_mul(pct.into()) {
        return None;
    }
    let busiest = (0..m.nr_cpus()).filter(|c| in_domain(*c) && together(m, *c, here, level)).all(|c| load(c).weight <= own.weight);
    if !busiest {
        return None;
    }
    let theirs = part_of(first);
    let over = average.saturating_sub(all).saturating_mul(mine.cpus);
    let under = all.saturating_sub(least).saturating_mul(theirs.cpus);
    let to = (0..m.nr_cpus())
        .filter(|c| in_domain(*c) && together(m, *c, first, level))
        .min_by_key(|c| (load(*c).weight, load(*c).nr, behind(*c)))?;
    Some((to, over.min(under) / 1024))
}

/// Whether two CPUs of a domain of `level` are in one part of it.
fn together(m: &impl Machine, a: usize, b: usize, level: Level) -> bool {
    a == b || m.place(a).level(m.place(b)) < level
}

/// Sends fair entities that wait to `to` until their weights make up `amount`; how many (Linux: detach_tasks).
///
/// # Safety
/// As [`spread`].
unsafe fn shift(m: &impl Machine, rq: &mut RunQueue, to: usize, mut amount: u64, failed: u32, now: Nanos) -> usize {
    let mut moved = 0;
    while moved < NR_MIGRATE.load(Relaxed) as usize && amount > 0 {
        let mut weight = 0;
        let e = rq.find_waiting(|e| {
            // SAFETY: it is on the queue, and only read.
            let this = unsafe { e.as_ref() };
            weight = u64::from(this.weight());
            // The more often nothing fitted, the larger a one may be moved.
            let fits = weight.checked_shr(failed).unwrap_or(0).max(u64::from(failed > 0)) <= amount;
            // SAFETY: as above.
            this.rank() == Rank::FAIR && fits && unsafe { m.allows(e, to) }
        });
        let Some(e) = e else { break };
        // SAFETY: it waits here.
        unsafe { send(m, rq, e, to, now) };
        amount = amount.saturating_sub(weight);
        moved += 1;
    }
    moved
}
