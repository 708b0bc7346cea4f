//! The little of `/sys` that programs ask for: which CPUs there are (Linux: drivers/base/cpu.c).

use super::format::put_list;
use vigil_abi::Errno;
use vigil_executor::cpu::{CpuMask, MAX_CPUS, ONLINE};
use vigil_fs::proc::sys_root;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::try_format;

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
    for cpu in possible().iter() {
        cpus.subdir(try_format!("cpu{}", cpu.index())?.as_str())?;
    }
    Ok(())
}
