//! The CPU for what wakes or begins (Linux: select_task_rq).

use super::choose::{idlest, nearest_idle, woken};
use super::cpus::Cpus;
use super::{DOMAIN, has_others};
use crate::cpu::{CpuId, CpuMask, ONLINE};
use crate::executor::IDLE;
use crate::task::Task;

/// The CPU for a task that was woken on `here`: its last one if that idles. Any context.
#[inline]
pub(crate) fn place_woken(task: &Task, here: CpuId) -> CpuId {
    let prev = task.cpu();
    let idle = IDLE.load();
    if task.affinity().contains(prev) && (idle.contains(prev) || idle.0 == 0 && prev == here) {
        return prev;
    }
    place_slow(task, prev, here)
}

/// Its last CPU is busy, or another one than this, or not allowed any more.
#[inline(never)]
fn place_slow(task: &Task, prev: CpuId, here: CpuId) -> CpuId {
    let online = CpuMask(task.affinity().0 & ONLINE.load().0);
    let stays = online.contains(prev);
    if stays && !has_others(prev) {
        return prev;
    }
    // What a deadline task has of its reservation is kept where it was last, also while it sleeps.
    if stays && task.is_deadline() {
        return prev;
    }
    let cpus = Cpus { here };
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| online.contains(c));
    let chosen = woken(&cpus, task.rank(), prev.index(), here.index(), allowed);
    match chosen.and_then(CpuId::new) {
        Some(cpu) => cpu,
        None if stays => prev,
        // Isolated CPUs only, or none that is online at all (Linux: select_fallback_rq).
        None => online.first().unwrap_or(here),
    }
}

/// The CPU for a task that begins on `here`: the idlest one (Linux: SD_BALANCE_FORK).
pub(crate) fn place_new(task: &Task, here: CpuId) -> CpuId {
    let online = CpuMask(task.affinity().0 & ONLINE.load().0);
    let cpus = Cpus { here };
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| online.contains(c));
    if DOMAIN.load().contains(here) || !online.contains(here) {
        let idle = nearest_idle(&cpus, here.index(), allowed);
        if let Some(cpu) = idle.or_else(|| idlest(&cpus, here.index(), allowed)).and_then(CpuId::new) {
            return cpu;
        }
    }
    if online.contains(here) { here } else { online.first().unwrap_or(here) }
}
