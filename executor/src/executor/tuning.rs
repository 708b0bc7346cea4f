//! What an administrator tunes: every CPU's queue has its copy of it.

use super::EXEC;
use crate::balance::set_features;
use crate::balance::spread::NR_MIGRATE;
use crate::class::{RunQueue, Tunables};
use crate::cpu::CpuId;
use crate::time;
use core::sync::atomic::Ordering::Relaxed;

/// The tunables.
pub fn tunables() -> Tunables {
    *EXEC.of(CpuId::BOOT).rq.lock_irq().tunables()
}

/// Changes the tunables of every CPU's queue. The caller has checked what it sets.
pub fn tune(change: impl Fn(&mut Tunables)) {
    for exec in EXEC.iter() {
        let mut rq = exec.rq.lock_irq();
        let mut tunables = *rq.tunables();
        change(&mut tunables);
        set_features(tunables.features);
        rq.set_tunables(tunables, time::now());
    }
}

/// Looks at the queue of `cpu`, in its lock.
pub fn with_queue<R>(cpu: CpuId, look: impl FnOnce(&RunQueue) -> R) -> R {
    look(&EXEC.of(cpu).rq.lock_irq())
}

/// How many tasks a CPU sends away at a time, at most (debugfs `nr_migrate`).
pub fn nr_migrate() -> u32 {
    NR_MIGRATE.load(Relaxed)
}

/// Changes that.
pub fn set_nr_migrate(n: u32) {
    NR_MIGRATE.store(n, Relaxed);
}
