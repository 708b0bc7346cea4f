//! The little of `/sys` that programs ask for: which CPUs there are, and what they suffer from (Linux: drivers/base/cpu.c).

use super::cpu_dir;
use super::format::put_list;
use super::sysctl::line;
use crate::arch::aarch64::hardening;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuMask, MAX_CPUS, ONLINE};
use vigil_fs::proc::sys_root;
use vigil_fs::vnode::SeqBuf;

/// The CPUs that the machine has and the command line allows.
pub(super) fn possible() -> CpuMask {
    let count = crate::boot::info().map_or(1, |i| i.cpus().count()).clamp(1, 64);
    CpuMask(u64::MAX >> (64 - count))
}

fn show(mask: CpuMask, out: &mut SeqBuf) -> Result<(), Errno> {
    let _ = put_list(mask.0, out);
    out.put(b"\n");
    Ok(())
}

/// Writes one file's content.
pub(super) type Show = fn(&mut SeqBuf) -> Result<(), Errno>;

fn not_affected(out: &mut SeqBuf) -> Result<(), Errno> {
    line(out, "Not affected")
}

/// The files of `vulnerabilities`, those of other architectures included, as in Linux 6.1.
const VULNERABILITIES: &[(&str, Show)] = &[
    ("meltdown", |out| line(out, hardening::meltdown())),
    ("spectre_v1", |out| line(out, "Mitigation: __user pointer sanitization")),
    ("spectre_v2", |out| line(out, hardening::spectre_v2())),
    ("spec_store_bypass", |out| line(out, hardening::spec_store_bypass())),
    ("gather_data_sampling", not_affected),
    ("indirect_target_selection", not_affected),
    ("itlb_multihit", not_affected),
    ("l1tf", not_affected),
    ("mds", not_affected),
    ("mmio_stale_data", not_affected),
    ("reg_file_data_sampling", not_affected),
    ("retbleed", not_affected),
    ("spec_rstack_overflow", not_affected),
    ("srbds", not_affected),
    ("tsa", not_affected),
    ("tsx_async_abort", not_affected),
    ("vmscape", not_affected),
];

pub(super) fn init() -> Result<(), Errno> {
    let cpus = sys_root()?.subdir("devices/system/cpu")?;
    cpus.add_file("online", 0o444, |out| show(ONLINE.load(), out))?;
    cpus.add_file("possible", 0o444, |out| show(possible(), out))?;
    cpus.add_file("present", 0o444, |out| show(possible(), out))?;
    cpus.add_file("offline", 0o444, |out| show(CpuMask(possible().0 & !ONLINE.load().0), out))?;
    cpus.add_file("kernel_max", 0o444, |out| {
        use core::fmt::Write;
        let _ = writeln!(out, "{}", MAX_CPUS - 1);
        Ok(())
    })?;
    let vulnerabilities = cpus.subdir("vulnerabilities")?;
    for (name, show) in VULNERABILITIES {
        vulnerabilities.add_file(name, 0o444, *show)?;
    }
    cpus.add_file("isolated", 0o444, |out| show(CpuMask(crate::boot::info().map_or(0, |i| i.params.isolcpus) & possible().0), out))?;
    cpus.add_file("nohz_full", 0o444, |out| show(CpuMask(crate::boot::info().map_or(0, |i| i.params.nohz_full) & possible().0), out))?;
    cpu_dir::init(&cpus)
}
