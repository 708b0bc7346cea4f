//! The scheduling domains of each CPU, bottom up, and what an administrator has tuned of them (Linux: struct sched_domain).

use super::cpus::place_of;
use super::partition;
use super::spread::Tuning;
use super::topology::Level;
use crate::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A domain of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain {
    /// The smallest level that all its CPUs have in common.
    pub level: Level,
    /// Its CPUs, of those that take part in balancing.
    pub span: CpuMask,
    /// It has all CPUs, and there is no larger one.
    pub is_top: bool,
}

/// A figure of a domain that can be tuned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Knob {
    /// [`Tuning::min_interval`]
    MinInterval,
    /// [`Tuning::max_interval`]
    MaxInterval,
    /// [`Tuning::busy_factor`]
    BusyFactor,
    /// [`Tuning::imbalance_pct`]
    ImbalancePct,
}

const KNOBS: usize = 4;
/// Nobody has tuned it.
const UNTOUCHED: u64 = u64::MAX;

static TUNED: PerCpu<[[AtomicU64; KNOBS]; Level::ALL.len()]> =
    PerCpu::new([const { [const { [const { AtomicU64::new(UNTOUCHED) }; KNOBS] }; Level::ALL.len()] }; MAX_CPUS]);

/// The domains of `cpu`, the smallest first. None of one CPU, and none of two levels with the same CPUs.
pub fn domains(cpu: CpuId) -> impl Iterator<Item = Domain> {
    let all = partition::span(cpu);
    let span = move |level: Level| {
        let inside = |other: &CpuId| place_of(cpu).level(place_of(*other)) <= level;
        CpuMask(all.iter().filter(inside).fold(0, |mask, other| mask | CpuMask::of(other).0))
    };
    let below = move |level: Level| Level::ALL.into_iter().rev().find(|l| *l < level).map_or(CpuMask::of(cpu), span);
    Level::ALL
        .into_iter()
        .map(move |level| (level, span(level)))
        .filter(move |(level, s)| all.contains(cpu) && *s != below(*level))
        .map(move |(level, span)| Domain { level, span, is_top: span == all })
}

/// What is tuned of the domain of `level`, of `cpus` CPUs, as `cpu` sees it.
pub fn tuning(cpu: CpuId, level: Level, cpus: usize) -> Tuning {
    let mut tuning = Tuning::of(level, cpus);
    let tuned = &TUNED.of(cpu)[level as usize];
    let fields = [&mut tuning.min_interval, &mut tuning.max_interval, &mut tuning.busy_factor, &mut tuning.imbalance_pct];
    for (field, tuned) in fields.into_iter().zip(tuned) {
        if let Ok(value) = u32::try_from(tuned.load(Relaxed)) {
            *field = value;
        }
    }
    tuning
}

/// Tunes the domain of `level` as `cpu` sees it, until domains are made anew.
pub fn tune(cpu: CpuId, level: Level, knob: Knob, value: u32) {
    TUNED.of(cpu)[level as usize][knob as usize].store(value.into(), Relaxed);
}

/// Domains are made anew: what was tuned is forgotten, as on Linux.
pub(super) fn rebuilt() {
    TUNED.iter().flatten().flatten().for_each(|knob| knob.store(UNTOUCHED, Relaxed));
}
