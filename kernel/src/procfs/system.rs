//! The machine as a whole: `/proc/{stat,uptime,loadavg,version,cpuinfo,cmdline,consoles,kallsyms}`.

use super::cputime::{self, CpuTime};
use super::status::TICK;
use crate::arch::aarch64::features;
use crate::debug::{console, kallsyms};
use crate::task::pid;
use crate::task::process::tasks;
use crate::{time, uts};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_drivers::irq::{self, Ipi};
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::executor;
use vigil_executor::softirq;
use vigil_executor::time::{SEC, now};
use vigil_executor::wait::WaitMode;
use vigil_fs::proc::add_file;
use vigil_fs::vnode::SeqBuf;

pub(super) fn init() -> Result<(), Errno> {
    add_file("cmdline", 0o444, cmdline)?;
    add_file("consoles", 0o444, consoles)?;
    add_file("cpuinfo", 0o444, cpuinfo)?;
    add_file("loadavg", 0o444, loadavg)?;
    add_file("stat", 0o444, stat)?;
    add_file("uptime", 0o444, uptime)?;
    add_file("version", 0o444, version)?;
    add_file("kallsyms", 0o400, symbols)
}

fn cmdline(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(crate::boot::info().map_or(b"", |i| i.cmdline));
    out.put(b"\n");
    Ok(())
}

fn consoles(out: &mut SeqBuf) -> Result<(), Errno> {
    let preferred = crate::tty::console::terminal();
    console::for_each(|c, kind| {
        let terminal = preferred.filter(|t| t.tty().is_some_and(|tty| tty.name() == c.name()));
        let boot = if kind == console::Kind::Boot { 'B' } else { ' ' };
        let first = if terminal.is_some() { 'C' } else { ' ' };
        let _ = write!(out, "{:<21}-W- (E{first}{boot}  p a)", c.name());
        if let Some(t) = terminal {
            let _ = write!(out, " {:4}:{}", t.dev() >> 8 & 0xfff, t.dev() & 0xff);
        }
        out.put(b"\n");
    });
    Ok(())
}

fn cpuinfo(out: &mut SeqBuf) -> Result<(), Errno> {
    let (hwcap, hwcap2) = (features::hwcap(), features::hwcap2());
    let midr = features::midr();
    let hz = vigil_executor::arch::counter_frequency();
    for cpu in ONLINE.load().iter() {
        // As Linux with a timer-based delay loop: two loops per tick of the counter.
        let _ = write!(out, "processor\t: {}\nBogoMIPS\t: {}.{:02}\nFeatures\t:", cpu.index(), hz / 500_000, hz / 5_000 % 100);
        for (bits, names) in [(hwcap, features::NAMES), (hwcap2, features::NAMES2)] {
            for (_, name) in names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0) {
                let _ = write!(out, " {name}");
            }
        }
        let _ = write!(
            out,
            "\nCPU implementer\t: 0x{:02x}\nCPU architecture: 8\nCPU variant\t: 0x{:x}\nCPU part\t: 0x{:03x}\nCPU revision\t: {}\n\n",
            midr >> 24 & 0xff,
            midr >> 20 & 0xf,
            midr >> 4 & 0xfff,
            midr & 0xf
        );
    }
    Ok(())
}

/// Runnable entities on all CPUs.
fn running() -> usize {
    ONLINE.load().iter().map(executor::nr_running).sum()
}

fn loadavg(out: &mut SeqBuf) -> Result<(), Errno> {
    // Linux rounds up by half a hundredth: FIXED_1/200.
    for load in time::load::averages().map(|v| v + (1 << 11) / 200) {
        let _ = write!(out, "{}.{:02} ", load >> 11, (load & 0x7ff) * 100 >> 11);
    }
    let (threads, last) = (pid::threads(), tasks().pids.last());
    let _ = writeln!(out, "{}/{threads} {last}", running());
    Ok(())
}

fn uptime(out: &mut SeqBuf) -> Result<(), Errno> {
    let idle = super::possible_cpus().iter().fold(0u64, |sum, cpu| sum.wrapping_add(executor::stat(cpu).idle));
    let up = now();
    let hundredths = |t: u64| t % SEC / (SEC / 100);
    let _ = writeln!(out, "{}.{:02} {}.{:02}", up / SEC, hundredths(up), idle / SEC, hundredths(idle));
    Ok(())
}

fn version(out: &mut SeqBuf) -> Result<(), Errno> {
    let _ = writeln!(out, "{} version {} (vigil@localhost) ({}) {}", uts::SYSNAME, uts::RELEASE, env!("VIGIL_COMPILER"), uts::VERSION);
    Ok(())
}

fn put_cpu(name: core::fmt::Arguments<'_>, t: &CpuTime, out: &mut SeqBuf) {
    // user nice system idle iowait irq softirq steal guest guest_nice
    let _ = writeln!(out, "{name} {} 0 {} {} 0 0 {} 0 0 0", t.user / TICK, t.system / TICK, t.idle / TICK, t.softirq / TICK);
}

fn stat(out: &mut SeqBuf) -> Result<(), Errno> {
    let online = ONLINE.load();
    let mut sum = CpuTime::default();
    let mut lines = SeqBuf::new();
    // Sums are over all that were ever there.
    let possible = super::possible_cpus();
    cputime::all(possible.iter(), |cpu, t| {
        sum.user = sum.user.wrapping_add(t.user);
        sum.system = sum.system.wrapping_add(t.system);
        sum.idle = sum.idle.wrapping_add(t.idle);
        sum.softirq = sum.softirq.wrapping_add(t.softirq);
        if online.contains(cpu) {
            put_cpu(format_args!("cpu{}", cpu.index()), &t, &mut lines);
        }
    });
    put_cpu(format_args!("cpu "), &sum, out);
    out.put(lines.as_bytes());
    put_interrupts(possible, out);
    let switches = possible.iter().fold(0u64, |n, cpu| n.wrapping_add(executor::stat(cpu).polls));
    let uninterruptible =
        |t: &vigil_executor::task::Task| t.is_sleeping() && matches!(t.waiting_at(), Some((_, WaitMode::Uninterruptible)));
    let mut blocked = 0;
    pid::for_each_thread(|_, t| blocked += usize::from(t.task().is_some_and(uninterruptible)));
    let forks = pid::forks();
    let _ = write!(
        out,
        "ctxt {switches}\nbtime {}\nprocesses {forks}\nprocs_running {}\nprocs_blocked {blocked}\n",
        time::clock::boot_time(),
        running().max(1)
    );
    put_softirqs(possible, out);
    Ok(())
}

fn put_interrupts(possible: CpuMask, out: &mut SeqBuf) {
    let mut each = SeqBuf::new();
    let mut total = 0u64;
    let mut next = 0;
    irq::for_each_desc(|desc| {
        let sum = desc.counts.iter().fold(0u64, |n, c| n + u64::from(*c));
        total = total.wrapping_add(sum);
        // A figure for each number, used or not.
        while next < desc.virq.get() {
            each.put(b" 0");
            next += 1;
        }
        let _ = write!(each, " {sum}");
        next += 1;
    });
    for ipi in Ipi::ALL {
        total = possible.iter().fold(total, |n, cpu| n.wrapping_add(u64::from(irq::ipi_count(ipi, cpu))));
    }
    let _ = write!(out, "intr {total}");
    out.put(each.as_bytes());
    out.put(b"\n");
}

fn put_softirqs(possible: CpuMask, out: &mut SeqBuf) {
    let sum = |i: usize| possible.iter().fold(0u64, |n, cpu: CpuId| n + u64::from(softirq::count(i, cpu)));
    let _ = write!(out, "softirq {}", (0..softirq::COUNT).map(sum).sum::<u64>());
    for i in 0..softirq::COUNT {
        let _ = write!(out, " {}", sum(i));
    }
    out.put(b"\n");
}

fn symbols(out: &mut SeqBuf) -> Result<(), Errno> {
    let base = crate::arch::aarch64::mmu::text_start();
    for (offset, name) in kallsyms::kernel().iter().flat_map(|s| s.iter()) {
        let _ = writeln!(out, "{:016x} T {name}", base + offset as usize);
    }
    Ok(())
}
