//! Root domains: the parts of the machine between which nothing is balanced, and whose deadline tasks are admitted apart (Linux:
//! struct root_domain, partition_sched_domains).
//!
//! At first there is one, of all CPUs; [`partition`] says otherwise. CPUs that are in none, isolated ones, give and get nothing; together
//! they have the first of [`DOMAINS`] (Linux: def_root_domain). A CPU that goes keeps its domain till it comes back: what is promised to those who sleep on it
//! counts there.

use super::cpus::place_of;
use super::topology::Level;
use super::{DOMAIN, OVERLOADED, RT_OVERLOADED, domains};
use crate::class::deadline::domain::{DOMAINS, Overflow};
use crate::cpu::{ACTIVE, CpuId, CpuMask, MAX_CPUS, ONLINE, PerCpu};
use crate::executor::EXEC;
use crate::lock_class;
use crate::sync::SpinLock;
use crate::time;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Its CPUs, online or not.
    pub cpus: CpuMask,
    /// Beyond the domains of this number CPUs that idle get nothing but by periodic balancing (`sched_relax_domain_level`); negative: no limit.
    pub relax: i32,
}

/// The parts, disjoint, and by CPU the number of its domain in [`DOMAINS`].
struct Parts {
    list: [Part; MAX_CPUS],
    domains: [usize; MAX_CPUS],
}

const EMPTY: Part = Part { cpus: CpuMask(0), relax: -1 };

static PARTS: SpinLock<Parts> = {
    let mut list = [EMPTY; MAX_CPUS];
    list[0].cpus = CpuMask::ALL;
    SpinLock::new(lock_class!("root_domains"), Parts { list, domains: [0; MAX_CPUS] })
};

/// By CPU, with whom it shares what is to be done, itself included; nobody: it takes no part.
static SPANS: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// By CPU, [`Part::relax`] as a [`Level`]'s number, one more; 0: nothing is near enough.
static RELAX: PerCpu<AtomicU32> = PerCpu::new([const { AtomicU32::new(u32::MAX) }; MAX_CPUS]);

/// The CPUs with which `cpu` shares what is to be done, itself included; none: it takes no part.
#[inline(always)]
pub(super) fn span(cpu: CpuId) -> CpuMask {
    CpuMask(SPANS.of(cpu).load(Relaxed))
}

/// Whether `cpu`, when it idles, may get at once what waits on a CPU that is so far away.
pub(super) fn may_pull(cpu: CpuId, distance: Level) -> bool {
    let limit = RELAX.of(cpu).load(Relaxed);
    limit == u32::MAX || (number_of(cpu, distance) as u32) < limit
}

/// The number of the domain of `level`, bottom up: of two levels with the same CPUs the upper one is there (Linux: of a cluster that is all of
/// its socket there is no domain).
fn number_of(cpu: CpuId, level: Level) -> usize {
    let whole = |level: Level| domains::domains(cpu).find(|d| d.level == level).is_some_and(|d| d.is_top);
    if level == Level::Cluster && whole(level) { Level::Package as usize } else { level as usize }
}

/// The largest [`Part::relax`] that means something on this machine (Linux: sched_domain_level_max).
pub fn highest_relax() -> i32 {
    let sockets = ONLINE.load().iter().any(|c| place_of(c).level(place_of(CpuId::BOOT)) == Level::Machine);
    Level::Package as i32 + 1 + i32::from(sockets)
}

/// The CPUs of the root domain of `cpu`: what a task with a reservation there must be allowed.
pub fn root_span(cpu: CpuId) -> CpuMask {
    match span(cpu) {
        CpuMask(0) => CpuMask(ACTIVE.load().iter().filter(|c| span(*c).0 == 0).fold(0, |mask, c| mask | CpuMask::of(c).0)),
        span => span,
    }
}

/// Whether the root domain of `cpu` can promise `bandwidth` (of 2^20) more.
pub fn has_room(cpu: CpuId, bandwidth: u64) -> bool {
    let number = PARTS.lock().domains[cpu.index()];
    DOMAINS[number].has_room(bandwidth, time::now())
}

/// Whether the CPUs of `new` could keep what the domain of those of `old` has promised (Linux: cpuset_cpumask_can_shrink).
pub fn can_shrink(old: CpuMask, new: CpuMask) -> bool {
    let Some(first) = old.first() else { return true };
    let number = PARTS.lock().domains[first.index()];
    DOMAINS[number].fits_cpus(u64::from(new.0.count_ones()), time::now())
}

/// From now on the machine has the root domains of `parts`, which are disjoint.
pub fn partition(parts: &[Part]) {
    let mut this = PARTS.lock();
    let list = core::array::from_fn(|i| parts.get(i).copied().unwrap_or(EMPTY));
    // Domains that stay as they are keep what was tuned of them.
    if list != this.list {
        this.list = list;
        rebuild(&mut this);
    }
}

/// CPUs take part that did not, or not any more those that did.
pub(crate) fn cpus_changed() {
    rebuild(&mut PARTS.lock());
}

/// `cpu` is no more active in its root domain, if the others there can keep what is promised.
pub(crate) fn try_leave(cpu: CpuId) -> Result<(), Overflow> {
    let this = PARTS.lock();
    let number = this.domains[cpu.index()];
    DOMAINS[number].set_cpus(this.active(number) - u64::from(ACTIVE.load().contains(cpu)), time::now())
}

impl Parts {
    /// How many active CPUs the domain `number` has.
    fn active(&self, number: usize) -> u64 {
        ACTIVE.load().iter().filter(|c| self.domains[c.index()] == number).count() as u64
    }
}

/// Brings what is said of each CPU up to date.
fn rebuild(this: &mut Parts) {
    domains::rebuilt();
    let taking_part = DOMAIN.load();
    let mut numbers = this.domains;
    let mut isolated = ACTIVE.load().0;
    let mut used = 1u64;
    for cpu in CpuMask::ALL.iter() {
        SPANS.of(cpu).store(0, Relaxed);
    }
    for part in this.list {
        let cpus = CpuMask(part.cpus.0 & taking_part.0);
        if cpus.0 == 0 {
            continue;
        }
        isolated &= !cpus.0;
        for cpu in cpus.iter() {
            SPANS.of(cpu).store(cpus.0, Relaxed);
            RELAX.of(cpu).store(u32::try_from(part.relax).map_or(u32::MAX, |r| r.saturating_add(1)), Relaxed);
        }
        // One that has been there goes on.
        let free = |number: &usize| used & 1 << number == 0;
        let number = cpus.iter().map(|c| this.domains[c.index()]).find(free).or_else(|| (1..=MAX_CPUS).find(free)).unwrap_or(0);
        used |= 1 << number;
        cpus.iter().for_each(|c| numbers[c.index()] = number);
    }
    for cpu in CpuMask(isolated).iter() {
        numbers[cpu.index()] = 0;
        OVERLOADED.remove(cpu);
        RT_OVERLOADED.remove(cpu);
    }
    let now = time::now();
    for cpu in CpuMask::ALL.iter() {
        let number = numbers[cpu.index()];
        if number != this.domains[cpu.index()] {
            EXEC.of(cpu).rq.lock_irq().set_domain(&DOMAINS[number], now);
        }
    }
    this.domains = numbers;
    for (number, domain) in DOMAINS.iter().enumerate() {
        domain.give_cpus(this.active(number));
    }
}
