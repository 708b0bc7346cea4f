//! `/proc/{interrupts,softirqs}`.

use core::fmt::Write;
use vigil_abi::Errno;
use vigil_drivers::irq::{self, Ipi};
use vigil_executor::cpu::{CpuMask, ONLINE};
use vigil_executor::softirq;
use vigil_fs::proc::add_file;
use vigil_fs::vnode::SeqBuf;

pub(super) fn init() -> Result<(), Errno> {
    add_file("interrupts", 0o444, interrupts)?;
    add_file("softirqs", 0o444, softirqs)
}

fn header(indent: usize, cpus: CpuMask, out: &mut SeqBuf) {
    let _ = write!(out, "{:indent$}", "");
    for cpu in cpus.iter() {
        let _ = write!(out, "CPU{:<8}", cpu.index());
    }
    out.put(b"\n");
}

fn interrupts(out: &mut SeqBuf) -> Result<(), Errno> {
    let online = ONLINE.load();
    header(11, online, out);
    irq::for_each_desc(|desc| {
        let _ = write!(out, "{:>3}: ", desc.virq.get());
        for cpu in online.iter() {
            let _ = write!(out, "{:>10} ", desc.counts[cpu.index()]);
        }
        let _ = write!(out, " {:>8} {:>3} {:<8}", desc.chip, desc.hwirq, if desc.trigger.is_edge() { "Edge" } else { "Level" });
        for (i, name) in desc.actions().enumerate() {
            let _ = write!(out, "{}{name}", if i == 0 { "  " } else { ", " });
        }
        out.put(b"\n");
    });
    for (i, ipi) in Ipi::ALL.into_iter().enumerate() {
        let _ = write!(out, "IPI{i}:");
        for cpu in online.iter() {
            let _ = write!(out, "{:>10} ", irq::ipi_count(ipi, cpu));
        }
        let _ = writeln!(out, "      {}", ipi.description());
    }
    let _ = writeln!(out, "Err: {:>10}", irq::spurious_count());
    Ok(())
}

fn softirqs(out: &mut SeqBuf) -> Result<(), Errno> {
    // Those that are off have a column, too, as on Linux.
    let possible = super::possible_cpus();
    header(20, possible, out);
    for (i, name) in softirq::NAMES.iter().enumerate() {
        let _ = write!(out, "{name:>12}:");
        for cpu in possible.iter() {
            let _ = write!(out, " {:>10}", softirq::count(i, cpu));
        }
        out.put(b"\n");
    }
    Ok(())
}
