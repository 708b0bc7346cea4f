//! Sets of tasks that are watched for how long they wait for CPUs: making, reading, entering them ([`crate::class::psi`]).

use super::{EXEC, with_entity};
use crate::balance::pressure;
use crate::class::{OwnedPsi, PsiTimes};
use crate::cpu::{CpuId, MAX_CPUS};
use crate::task::Task;
use crate::time;

/// A set. It is dropped when no task is in it and no set below it.
pub struct Psi(OwnedPsi);

impl Psi {
    /// A set below `parent`, which must outlive it; it is watched as long as it lives. `None`: no memory, or there are too many.
    pub fn try_new(parent: Option<&Psi>) -> Option<Psi> {
        let set = OwnedPsi::try_new(parent.map(|p| &*p.0))?;
        pressure::watch_sets(true);
        Some(Psi(set))
    }

    /// For how long its tasks have waited for `cpu`, and have been runnable there.
    pub fn times(&self, cpu: CpuId) -> PsiTimes {
        let rq = EXEC.of(cpu).rq.lock_irq();
        rq.psi_times(&self.0, time::now())
    }
}

impl Drop for Psi {
    fn drop(&mut self) {
        for cpu in (0..MAX_CPUS).filter_map(CpuId::new) {
            EXEC.of(cpu).rq.lock_irq().forget_psi(&self.0, time::now());
        }
        pressure::watch_sets(false);
    }
}

/// Puts `task` into `set`, or into none. The caller sees to it that the set lives as long as a task is in it: who ends leaves it.
pub fn set_psi(task: &Task, set: Option<&Psi>) {
    let number = set.map_or(0, |set| set.0.number());
    with_entity(task, |rq, entity, now| {
        // SAFETY: the entity belongs to this queue, whose lock is held; the set lives by the caller's contract.
        unsafe {
            if entity.as_ref().psi() == number {
                return;
            }
            rq.set_psi(entity, number);
        }
        rq.note_psi(now);
    });
}
