//! The CPU for what wakes or begins (Linux: select_task_rq).

use super::active::is_asymmetric;
use super::averages::{self, needs};
use super::begin::{Beginner, begun};
use super::choose::{Machine, Woken, woken};
use super::cpus::Cpus;
use super::partition::span;
use super::{are_many, has_others};
use crate::class::Rank;
use crate::context::PreemptGuard;
use crate::cpu::{ACTIVE, CpuId, CpuMask, ONLINE};
use crate::executor::{CpuExec, EXEC, IDLE};
use crate::platform;
use crate::task::Task;

/// The CPU for a task that was woken on `here`: its last one if that idles. Any context.
#[inline]
pub(crate) fn place_woken(task: &Task, here: CpuId) -> CpuId {
    let prev = task.cpu();
    let idle = IDLE.load();
    let mask = task.affinity();
    // Nowhere else to go: most tasks of the kernel, and what a user keeps on one CPU (Linux: nr_cpus_allowed is 1).
    if mask == CpuMask::of(prev) && ACTIVE.load().contains(prev) {
        return prev;
    }
    // It may be too weak for what it is to do, and others idle.
    if mask.contains(prev) && (idle.contains(prev) && !is_asymmetric() || idle.0 == 0 && prev == here) {
        return prev;
    }
    place_slow(task, prev, here)
}

/// Its last CPU is busy, or another one than this, or not allowed any more.
#[inline(never)]
fn place_slow(task: &Task, prev: CpuId, here: CpuId) -> CpuId {
    // Linux: select_task_rq_stop.
    if task.rank() == Rank::STOP {
        return prev;
    }
    // What a deadline task has of its reservation is kept where it was last, also while it sleeps: a CPU on its way out sends it on.
    if task.is_deadline() && task.affinity().contains(prev) && ONLINE.load().contains(prev) {
        return prev;
    }
    let active = usable(task);
    if active.contains(prev) && (!has_others(prev) || prev == here && rests(here) && !is_asymmetric()) {
        return prev;
    }
    place_among(task, active, prev, here)
}

/// Whether `here`, this CPU, has nothing to do: what is woken here was woken by an interrupt that ended its idling.
fn rests(here: CpuId) -> bool {
    EXEC.of(here).rank() == Rank::IDLE && EXEC.of(here).inbox.is_empty()
}

/// The CPU of `active` that suits it.
fn place_among(task: &Task, active: CpuMask, prev: CpuId, here: CpuId) -> CpuId {
    let cpus = Cpus { here: near(active, prev, here) };
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| active.contains(c));
    let what = Woken { rank: task.rank(), needs: needs(task), prev: prev.index(), here: here.index(), rests: rests(here) };
    match woken(&cpus, &what, allowed).and_then(CpuId::new) {
        Some(cpu) => cpu,
        None if active.contains(prev) => prev,
        // Isolated CPUs only.
        None => active.first().unwrap_or(here),
    }
}

/// A CPU of the root domain in which something is to be that was last on `prev` and may be on those of `active`: that of `prev`, or else one to
/// which it may go.
fn near(active: CpuMask, prev: CpuId, here: CpuId) -> CpuId {
    let shares = |cpu: &CpuId| active.contains(*cpu) && span(*cpu).0 != 0;
    if active.0 & span(prev).0 != 0 {
        return prev;
    }
    Some(here).filter(shares).or_else(|| active.iter().find(shares)).unwrap_or(prev)
}

/// The CPU for a task that has to leave `here`, this CPU, which is on its way out.
pub(crate) fn place_evicted(task: &Task, here: CpuId) -> CpuId {
    place_among(task, usable(task), here, here)
}

/// The CPUs on which `task` may run now.
#[inline(always)]
fn usable(task: &Task) -> CpuMask {
    let mask = task.affinity();
    let active = mask.0 & ACTIVE.load().0;
    if active != 0 { CpuMask(active) } else { fall_back(task, mask) }
}

/// No CPU of `mask`, on which `task` may run, is there: it may run on all (Linux: select_fallback_rq). A task of the kernel keeps its mask, and
/// goes back when its CPU comes.
#[cold]
#[inline(never)]
fn fall_back(task: &Task, mask: CpuMask) -> CpuMask {
    if let Some(p) = platform::get() {
        p.affinity_lost(task, mask);
    }
    ACTIVE.load()
}

/// The CPU for a task that begins on `here` (Linux: SD_BALANCE_FORK), in whose averages it counts from now on. Preemption off; interrupts may
/// be on.
pub(crate) fn place_new(task: &Task, here: CpuId) -> CpuId {
    // A CPU that starts makes its own tasks before it is active.
    let bound = task.affinity() == CpuMask::of(here);
    if !are_many() && (bound || ACTIVE.load() == CpuMask::of(here) && task.affinity().contains(here)) {
        return here;
    }
    let what = Beginner { needs: needs(task), runs: false };
    let cpu = if bound { here } else { place_among_all(task, what, here) };
    // The next one that begins finds it there.
    averages::comes(what.needs, cpu, Cpus { here: cpu }.load(cpu.index()));
    cpu
}

/// The same if there is a choice.
fn place_among_all(task: &Task, what: Beginner, here: CpuId) -> CpuId {
    let active = usable(task);
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| active.contains(c));
    if active != CpuMask::of(here) && (span(here).0 != 0 || !active.contains(here)) {
        let near = near(active, here, here);
        if let Some(cpu) = begun(&Cpus { here: near }, near.index(), what, allowed).and_then(CpuId::new) {
            return cpu;
        }
    }
    if active.contains(here) { here } else { active.first().unwrap_or(here) }
}

/// `task`, the current one, is about to run another program, and nothing of that is in a cache: whether it should give way, for it
/// goes on where there is more room (Linux: sched_exec). Interrupts on.
pub fn exec(task: &Task) -> bool {
    let _here = PreemptGuard::new();
    let here = CpuId::current();
    if !are_many() || task.rank() != Rank::FAIR || !has_others(here) {
        return false;
    }
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c));
    let what = Beginner { needs: needs(task), runs: true };
    let to = begun(&Cpus { here }, here.index(), what, allowed).and_then(CpuId::new).filter(|to| *to != here);
    if let Some(to) = to {
        CpuExec::this().ask_to_send(to);
    }
    to.is_some()
}
