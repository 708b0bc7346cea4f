//! What the scheduler knows: `/proc/PID/{sched,schedstat}`, `/proc/schedstat` (Linux: kernel/sched/debug.c, kernel/sched/stats.c).

use super::format::put_mask;
use super::possible_cpus;
use super::process::Who;
use super::status::policy_number;
use crate::task::process::tasks;
use crate::trace::schedstat;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::{Errno, until_nul};
use vigil_executor::balance::domains::domains;
use vigil_executor::class::Policy;
use vigil_executor::coarse;
use vigil_executor::cpu::ONLINE;
use vigil_executor::executor;
use vigil_executor::time;
use vigil_fs::OpResult;
use vigil_fs::vnode::SeqBuf;

/// Figures of a domain in version 15 of `/proc/schedstat`.
const DOMAIN_FIGURES: usize = 36;

/// `schedstat`: time on a CPU and time waiting for one in nanoseconds, and how often it ran.
pub(super) fn schedstat(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let thread = who.thread()?;
    let run = thread.run_time();
    let (delay, slices) = thread.task().map_or((0, 0), |task| {
        executor::with_entity(task, |_, entity, _| {
            // SAFETY: the entity is read under its queue's lock.
            let entity = unsafe { entity.as_ref() };
            (entity.stats().run_delay, entity.timeslices())
        })
    });
    let _ = writeln!(out, "{run} {delay} {slices}");
    Ok(())
}

fn number(out: &mut SeqBuf, name: &str, value: impl core::fmt::Display) {
    let _ = writeln!(out, "{name:<45}:{value:>21}");
}

/// A time, in milliseconds.
fn millis(out: &mut SeqBuf, name: &str, nanos: u64) {
    let _ = writeln!(out, "{name:<45}:{:>14}.{:06}", nanos / 1_000_000, nanos % 1_000_000);
}

/// What is there only while `kernel.sched_schedstats` is on.
fn put_schedstats(out: &mut SeqBuf, figures: &[u64], ran: u64, switches: u64, migrations: u64) {
    for ((name, is_time), value) in schedstat::NAMES.iter().zip(figures) {
        if *is_time { millis(out, name, *value) } else { number(out, name, value) }
    }
    // Without any Linux has -1, which it shows like this.
    millis(out, "avg_atom", ran.checked_div(switches).unwrap_or(1));
    millis(out, "avg_per_cpu", ran.checked_div(migrations).unwrap_or(1));
}

/// `sched`: what the scheduler knows (Linux: proc_sched_show_task, without NUMA balancing).
pub(super) fn sched(who: &Who, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let thread = who.thread()?;
    let task = thread.task().ok_or(Errno::ESRCH)?;
    let (exec_start, vruntime, ran, stats, weight, avg, budget) = executor::with_entity(task, |rq, entity, now| {
        if rq.current() == Some(entity) {
            rq.update_current(now);
        }
        // SAFETY: the entity is read under its queue's lock.
        let entity = unsafe { entity.as_ref() };
        let budget = entity.reservation().map(|r| (r.remaining(), r.absolute_deadline()));
        let ran = entity.sum_exec_runtime();
        (entity.exec_start(), entity.vruntime(), ran, *entity.stats(), entity.weight(), entity.averages(rq, now), budget)
    });
    let params = executor::params(task);
    let threads = thread.process.relations(&tasks()).threads.len();
    out.put(until_nul(&thread.comm()));
    let _ = writeln!(out, " ({}, #threads: {threads})", thread.tid());
    out.put(b"-------------------------------------------------------------------\n");
    for (name, nanos) in [("se.exec_start", exec_start), ("se.vruntime", vruntime), ("se.sum_exec_runtime", ran)] {
        millis(out, name, nanos);
    }
    let [load_sum, runnable_sum, util_sum] = avg.sums;
    let switches = stats.nvcsw.wrapping_add(stats.nivcsw);
    number(out, "se.nr_migrations", stats.migrations);
    if schedstat::enabled() {
        put_schedstats(out, &schedstat::of(task), ran, switches, stats.migrations);
    }
    for (name, value) in [
        ("nr_switches", switches),
        ("nr_voluntary_switches", stats.nvcsw),
        ("nr_involuntary_switches", stats.nivcsw),
        ("se.load.weight", u64::from(weight) << 10),
        ("se.avg.load_sum", load_sum),
        ("se.avg.runnable_sum", runnable_sum),
        ("se.avg.util_sum", util_sum),
        ("se.avg.load_avg", avg.load),
        ("se.avg.runnable_avg", avg.runnable),
        ("se.avg.util_avg", avg.util),
        ("se.avg.last_update_time", avg.last_update),
        ("se.avg.util_est.ewma", avg.util_est_ewma.into()),
        ("se.avg.util_est.enqueued", avg.util_est_enqueued.into()),
        ("policy", u64::from(policy_number(params.policy))),
    ] {
        number(out, name, value);
    }
    number(out, "prio", params.prio());
    if let (Policy::Deadline, Some((left, at))) = (params.policy, budget) {
        number(out, "dl.runtime", left);
        number(out, "dl.deadline", at);
    }
    let start = time::now();
    number(out, "clock-delta", time::now().saturating_sub(start));
    Ok(())
}

/// A write to `sched` begins the statistics of `kernel.sched_schedstats` anew, whatever it says.
pub(super) fn restart(who: &Who, _: &[u8]) -> Result<(), Errno> {
    schedstat::forget(who.thread()?.task().ok_or(Errno::ESRCH)?);
    Ok(())
}

/// `/proc/schedstat`, version 15. Of what Linux counts only with `kernel.sched_schedstats` there are yields, choices and wakes.
fn show(out: &mut SeqBuf) -> Result<(), Errno> {
    let now = time::now();
    let _ = writeln!(out, "version 15\ntimestamp {}", coarse::at(now));
    let possible = possible_cpus();
    let n = possible.0.count_ones() as usize;
    let online = ONLINE.load();
    for cpu in possible.iter().filter(|cpu| online.contains(*cpu)) {
        let stat = executor::stat(cpu);
        let busy = now.saturating_sub(stat.idle);
        let counted = schedstat::of_cpu(cpu);
        let [yields, scheds, idles] = [&counted.yields, &counted.scheds, &counted.idles].map(|n| n.load(Relaxed));
        let [wakes, local] = [&counted.wakes, &counted.local_wakes].map(|n| n.load(Relaxed));
        let at = cpu.index();
        let _ = writeln!(out, "cpu{at} {yields} 0 {scheds} {idles} {wakes} {local} {busy} {} {}", stat.run_delay, stat.switches);
        for (i, domain) in domains(cpu).enumerate() {
            let _ = write!(out, "domain{i} ");
            let _ = put_mask(domain.span.0, n, out);
            for _ in 0..DOMAIN_FIGURES {
                out.put(b" 0");
            }
            out.put(b"\n");
        }
    }
    Ok(())
}

/// Adds `/proc/schedstat`.
pub(super) fn init() -> Result<(), Errno> {
    vigil_fs::proc::add_file("schedstat", 0o444, show)
}
