//! What the boot code found out, for `kernel_main` and everyone after it. Written once, constant afterwards.

use super::params::Params;
use core::ops::Range;
use vigil_drivers::dt::Dtb;
use vigil_drivers::dt::early::EnableMethod;
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS};
use vigil_mem::PhysAddr;

/// One CPU of the device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuInfo {
    /// Its affinity, as in MPIDR_EL1.
    pub mpidr: u64,
    /// How it is started.
    pub enable: EnableMethod,
}

/// The result of booting.
#[derive(Debug)]
pub struct BootInfo {
    /// The command line as the boot loader gave it (`/proc/cmdline`).
    pub cmdline: &'static [u8],
    /// The parameters in it.
    pub params: Params<'static>,
    /// Physical bytes of the initrd; reserved until `free_initrd`.
    pub initrd: Option<Range<PhysAddr>>,
    /// The device tree, in the linear map, reserved for ever.
    pub dtb: Dtb<'static>,
    /// The exception level at entry: 1 or 2.
    pub boot_el: u64,
    /// The machine's name.
    pub model: &'static str,
    /// Bytes from the boot loader for the random number generator.
    pub rng_seed: Option<[u8; 32]>,
    pub(super) cpus: [Option<CpuInfo>; MAX_CPUS],
}

impl BootInfo {
    /// The CPUs by their logical number: the boot CPU first, the others in the tree's order; at most as many as
    /// `nr_cpus=` allows.
    pub fn cpus(&self) -> impl Iterator<Item = CpuInfo> + '_ {
        self.cpus.iter().map_while(|c| *c)
    }
}

static INFO: spin::Once<BootInfo> = spin::Once::new();

/// Stores the result.
pub(super) fn set(info: BootInfo) -> &'static BootInfo {
    INFO.call_once(|| info)
}

/// What the boot code found out; `None` only in code that runs before it is done.
pub fn get() -> Option<&'static BootInfo> {
    INFO.get()
}

/// The command line's parameters; `None` only in code that runs before they are known.
pub fn params() -> Option<&'static Params<'static>> {
    INFO.get().map(|i| &i.params)
}

/// The CPUs that nothing keeps the kernel off; the boot CPU, if there is none (Linux: housekeeping_cpumask).
fn housekeeping(kept_free: impl Fn(&Params<'_>) -> u64) -> CpuMask {
    let Some(info) = get() else { return CpuMask::ALL };
    let mask = CpuMask(CpuMask::ALL.0 & !kept_free(&info.params));
    if mask.iter().any(|cpu| cpu.index() < info.cpus().count()) { mask } else { CpuMask::of(CpuId::BOOT) }
}

/// Where kernel tasks run that belong to no CPU, and coarse timers (Linux: HK_TYPE_KTHREAD, HK_TYPE_TIMER): not on those of `nohz_full=`.
pub fn kthread_cpus() -> CpuMask {
    housekeeping(|p| p.nohz_full)
}

/// Where work is done that belongs to no CPU (Linux: wq_unbound_cpumask): not on those of `isolcpus=`, either.
pub fn unbound_work_cpus() -> CpuMask {
    housekeeping(|p| p.nohz_full | p.isolcpus)
}
