//! debugfs `sched/debug`: the tunables, what is on each CPU's queue, and the tasks that were there last (Linux: sched_debug_show).
//!
//! Of Linux's fields those that exist here. Times are in milliseconds.

use super::possible_cpus;
use crate::debug::report_tasks::each_thread;
use crate::task::thread::Thread;
use crate::trace::schedstat;
use core::fmt::Write;
use vigil_abi::{Errno, until_nul};
use vigil_executor::class::Scaling;
use vigil_executor::coarse;
use vigil_executor::cpu::{CpuId, ONLINE};
use vigil_executor::executor;
use vigil_executor::time::now;
use vigil_fs::vnode::SeqBuf;

const COLUMNS: &str = "\nrunnable tasks:\n S            task   PID         tree-key  switches  prio     wait-time             sum-exec        sum-sleep\n\
    -------------------------------------------------------------------------------------------------------------\n";

fn field(out: &mut SeqBuf, name: &str, value: impl core::fmt::Display) {
    let _ = writeln!(out, "  .{name:<30}: {value}");
}

/// A time in nanoseconds, as milliseconds.
struct Millis(u64);

impl core::fmt::Display for Millis {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let digits = whole.checked_ilog10().unwrap_or(0) as usize + 1;
        for _ in digits + 7..f.width().unwrap_or(0) {
            f.write_char(' ')?;
        }
        write!(f, "{whole}.{rest:06}")
    }
}

fn first_word(text: &[u8; 65]) -> &[u8] {
    text.split(|b| matches!(b, 0 | b' ')).next().unwrap_or_default()
}

fn head(out: &mut SeqBuf) {
    let uts = crate::uts::get();
    out.put(b"Sched Debug Version: v0.11, ");
    out.put(first_word(&uts.release));
    out.put(b" ");
    out.put(first_word(&uts.version));
    let time = now();
    let _ = writeln!(out, "\nktime                                   : {}", Millis(time));
    let _ = writeln!(out, "jiffies                                 : {}\n\nsysctl_sched", coarse::at(time));
    let t = executor::tunables();
    field(out, "sysctl_sched_latency", Millis(t.latency));
    field(out, "sysctl_sched_min_granularity", Millis(t.min_granularity));
    field(out, "sysctl_sched_idle_min_granularity", Millis(t.idle_min_granularity));
    field(out, "sysctl_sched_wakeup_granularity", Millis(t.wakeup_granularity));
    let scaling = match t.scaling {
        Scaling::None => "none",
        Scaling::Logarithmic => "logarithmic",
        Scaling::Linear => "linear",
    };
    let _ = writeln!(out, "  .{:<30}: {} ({scaling})", "sysctl_sched_tunable_scaling", t.scaling as u8);
}

fn queue(cpu: CpuId, out: &mut SeqBuf) {
    let pid = executor::current_of(cpu).map_or(0, |task| task.number());
    let (nr, load, switches, min_vruntime) =
        executor::with_queue(cpu, |rq| (rq.nr_running(), rq.load(), rq.nr_switches(), rq.min_vruntime()));
    let n = cpu.index();
    let _ = writeln!(out, "\ncpu#{n}");
    field(out, "nr_running", nr);
    field(out, "nr_switches", switches);
    field(out, "curr->pid", pid);
    field(out, "clock", Millis(now()));
    let _ = writeln!(out, "\ncfs_rq[{n}]:/");
    field(out, "min_vruntime", Millis(min_vruntime));
    field(out, "load", load << 10);
    if let (period, Some(runtime)) = executor::rt_bandwidth() {
        let _ = writeln!(out, "\nrt_rq[{n}]:");
        field(out, "rt_runtime", Millis(runtime));
        let _ = writeln!(out, "\ndl_rq[{n}]:");
        // Linux's fractions of a CPU: 20 bits behind the point.
        field(out, "dl_bw->bw", (runtime << 20).checked_div(period).unwrap_or(0));
    }
}

fn task(thread: &Thread, cpu: CpuId, out: &mut SeqBuf) {
    let Some(task) = thread.task().filter(|task| task.cpu() == cpu) else { return };
    let runs = executor::current_of(cpu).is_some_and(|current| core::ptr::eq(&*current, task));
    let state = if runs {
        ">R"
    } else if task.is_sleeping() {
        " S"
    } else {
        " R"
    };
    let (vruntime, ran, stats) = executor::with_entity(task, |_, entity, _| {
        // SAFETY: the entity is read under its queue's lock.
        let entity = unsafe { entity.as_ref() };
        (entity.vruntime(), entity.sum_exec_runtime(), *entity.stats())
    });
    let figures = if schedstat::enabled() { schedstat::of(task) } else { Default::default() };
    let named = |name: &str| schedstat::NAMES.iter().position(|(n, _)| *n == name).and_then(|i| figures.get(i)).copied().unwrap_or(0);
    let name = thread.comm();
    let _ = write!(out, "{state} ");
    for _ in until_nul(&name).len()..15 {
        out.put(b" ");
    }
    out.put(until_nul(&name));
    let switches = stats.nvcsw.wrapping_add(stats.nivcsw);
    let _ = writeln!(
        out,
        " {:>5} {:>16} {switches:>9} {:>5} {:>13} {:>20} {:>16}",
        thread.tid(),
        Millis(vruntime),
        task.prio(),
        Millis(named("wait_sum")),
        Millis(ran),
        Millis(named("sum_sleep_runtime"))
    );
}

/// Writes the file.
pub(super) fn show(out: &mut SeqBuf) -> Result<(), Errno> {
    head(out);
    let online = ONLINE.load();
    for cpu in possible_cpus().iter().filter(|cpu| online.contains(*cpu)) {
        queue(cpu, out);
        out.put(COLUMNS.as_bytes());
        each_thread(|thread| task(thread, cpu, out));
    }
    out.put(b"\n");
    Ok(())
}
