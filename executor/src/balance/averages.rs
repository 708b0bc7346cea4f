//! The averages of each CPU, for choices of where something goes: noted by its queue ([`crate::class::cpu_avg`]), read without its lock.

use crate::class::CpuAvg;
use crate::cpu::{CpuId, MAX_CPUS};
use crate::executor::EXEC;
use crate::time;

static AVERAGES: [CpuAvg; MAX_CPUS] = [const { CpuAvg::new() }; MAX_CPUS];

/// Those of all CPUs, by their numbers.
pub(crate) fn averages() -> &'static [CpuAvg] {
    &AVERAGES
}

/// Those of `cpu`.
pub(super) fn averages_of(cpu: CpuId) -> &'static CpuAvg {
    &AVERAGES[cpu.index()]
}

/// `cpu` begins with nothing.
pub(super) fn begin(cpu: CpuId) {
    let now = time::now();
    averages_of(cpu).begin(now, EXEC.of(cpu).idle.total(|| now));
}
