//! The averages of each CPU, for choices of where something goes: noted by its queue ([`crate::class::cpu_avg`]), read without its lock.

use super::choose::Load;
use crate::class::cpu_avg::Doing;
use crate::class::{Average, CpuAvg, Entity, Needs, Rank};
use crate::cpu::{CpuId, MAX_CPUS};
use crate::executor::EXEC;
use crate::task::Task;
use crate::time::{self, Nanos};
use core::ptr::NonNull;

static AVERAGES: [CpuAvg; MAX_CPUS] = [const { CpuAvg::new() }; MAX_CPUS];

/// Those of all CPUs, by their numbers.
pub(crate) fn averages() -> &'static [CpuAvg] {
    &AVERAGES
}

/// Those of `cpu`.
pub(super) fn averages_of(cpu: CpuId) -> &'static CpuAvg {
    &AVERAGES[cpu.index()]
}

/// What `cpu` does now, which has `load` to do.
fn doing(cpu: CpuId, load: Load, now: Nanos) -> Doing {
    let (idled, idles) = EXEC.of(cpu).idle.state(|| now);
    Doing { now, idled, idles, nr: load.nr, weight: load.weight }
}

/// `cpu` begins with nothing.
pub(super) fn begin(cpu: CpuId) {
    let now = time::now();
    averages_of(cpu).begin(now, doing(cpu, Load::default(), now).idled);
}

/// The averages of `cpu`, which has `load` to do, now.
pub(super) fn of(cpu: CpuId, load: Load) -> Average {
    averages_of(cpu).at(&doing(cpu, load, time::now_unordered()))
}

/// The load among them.
pub(super) fn load_of(cpu: CpuId, load: Load) -> u64 {
    averages_of(cpu).load_at(&doing(cpu, load, time::now_unordered()))
}

/// What `task` needs of a CPU; nothing that counts in the fair class if it is above that now. No lock need be held.
pub(super) fn needs(task: &Task) -> Needs {
    if task.rank() != Rank::FAIR {
        return Needs::NOTHING;
    }
    // SAFETY: it is that of a task that is alive.
    unsafe { Entity::needs(task.entity_ptr(), task.weight()) }
}

/// Something that `needs` so much comes to `cpu`, which has `load` to do: who looks next finds it there.
pub(super) fn comes(needs: Needs, cpu: CpuId, load: Load) {
    if needs != Needs::NOTHING {
        averages_of(cpu).add(needs, &doing(cpu, load, time::now_unordered()));
    }
}

/// The opposite.
pub(super) fn goes(needs: Needs, cpu: CpuId, load: Load) {
    if needs != Needs::NOTHING {
        averages_of(cpu).remove(needs, &doing(cpu, load, time::now_unordered()));
    }
}

/// `e`, which is runnable, goes from one CPU to another, which has `load` to do and finds it at once: what [`goes`] from the first one.
///
/// # Safety
/// As [`Entity::attach`].
pub(super) unsafe fn moved(e: NonNull<Entity>, from: CpuId, to: CpuId, load: Load) -> Needs {
    // SAFETY: passed on.
    let needs = unsafe { Entity::attach(e, from.index(), to.index()) };
    comes(needs, to, load);
    needs
}
