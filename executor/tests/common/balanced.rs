//! CPUs that balance their tasks, as threads of the host.

use crate::run_cpu::{bring_up, run_cpu};
use std::sync::{Arc, Barrier};
use vigil_executor::balance;
use vigil_executor::cpu::CpuId;
use vigil_executor::sync::rcu;

/// CPUs 0 to `n` - 1 run for as long as the test program does.
pub fn boot(n: usize) {
    for cpu in (0..n).filter_map(CpuId::new) {
        let up = Arc::new(Barrier::new(2));
        let there = up.clone();
        run_cpu(cpu, move || {
            rcu::idle_exit(cpu);
            bring_up(cpu);
            balance::join(cpu);
            there.wait();
        });
        up.wait();
    }
}
