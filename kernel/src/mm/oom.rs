//! The out-of-memory killer (Linux: `mm/oom_kill.c`; spec seed 000 §3.17).
//!
//! When reclaim cannot find a page, the process whose end frees most is killed. Its points are its resident and
//! page-table pages, plus `oom_score_adj` thousandths of all memory. One victim at a time: until it has given its memory
//! back, whoever else runs out of memory waits for it instead of choosing another.

use super::page;
use crate::task::pid;
use crate::task::process::{Life, Process, tasks};
use crate::task::signal::{SigInfo, send_to_process};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use vigil_abi::signal::SIGKILL;
use vigil_abi::until_nul;
use vigil_executor::time::now;
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{KArc, PAGE_SHIFT};

/// `oom_score_adj` of a process that is never chosen.
const NEVER: i32 = -1000;
/// How long one waits for a victim to end before looking again.
const PATIENCE_NS: u64 = 10_000_000;

/// The process that was killed last and may still hold memory; 0: none.
static VICTIM: AtomicU32 = AtomicU32::new(0);

/// How many were killed (`oom_kill` of `/proc/vmstat`).
static KILLS: AtomicUsize = AtomicUsize::new(0);

/// How many processes were killed since boot.
pub fn kills() -> usize {
    KILLS.load(Relaxed)
}

/// Registers the killer with the page allocator. Once at boot.
pub fn init() {
    vigil_mem::page_alloc::set_oom_hook(|_order| kill_one());
}

/// The points of a process, for `/proc/PID/oom_score`; `None` when it is not eligible.
pub fn badness(process: &Process) -> Option<usize> {
    let adj = process.oom_score_adj.load(Relaxed);
    if process.pid == 1 || adj == NEVER {
        return None;
    }
    let mm = process.share_mm()?;
    let [anon, file, shmem] = mm.rss();
    let points = anon + file + shmem + (mm.page_table_bytes() >> PAGE_SHIFT);
    let share = page::total_ram() as i64 / 1000 * i64::from(adj);
    Some((points as i64).saturating_add(share).max(1) as usize)
}

/// A fault found no memory: kills a process, or waits a while for the last victim. The caller then lets the access fault
/// again; if it is the victim itself, its signal ends it on the way.
pub async fn out_of_memory(_thread: &Thread) {
    kill_one();
    let deadline = now().saturating_add(PATIENCE_NS);
    // Ended early by the signal that kills us.
    let _ = sleep_until(wait_site!("out_of_memory"), deadline, 0, WaitMode::Killable).await;
}

/// Kills the process with most points. `true`: some process is dying, so that trying again makes sense.
pub fn kill_one() -> bool {
    let last = VICTIM.load(Relaxed);
    if last != 0 && holds_memory(last) {
        return true;
    }
    let Some((victim, points)) = choose() else {
        VICTIM.store(0, Relaxed);
        return false;
    };
    VICTIM.store(victim.pid, Relaxed);
    KILLS.fetch_add(1, Relaxed);
    report(&victim, points);
    send_to_process(&victim, SigInfo::kernel(SIGKILL)).is_ok()
}

/// One line, as Linux words it.
fn report(victim: &Process, points: usize) {
    let Some(thread) = victim.any_thread() else { return };
    let comm = thread.comm();
    let name = until_nul(&comm);
    let name = core::str::from_utf8(name).unwrap_or("?");
    let kb = |pages: usize| pages << (PAGE_SHIFT - 10);
    let (total, [anon, file, shmem], tables) =
        victim.share_mm().map_or((0, [0; 3], 0), |mm| (mm.total_vm(), mm.rss(), mm.page_table_bytes()));
    crate::pr_err!(
        "Out of memory: Killed process {} ({}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB, UID:{} pgtables:{}kB oom_score_adj:{} ({} points)",
        victim.pid,
        name,
        total >> 10,
        kb(anon),
        kb(file),
        kb(shmem),
        victim.uid(),
        tables >> 10,
        victim.oom_score_adj.load(Relaxed),
        points
    );
}

/// Whether the process still runs with memory of its own.
fn holds_memory(pid: u32) -> bool {
    let process = tasks().pids.process(pid);
    process.is_some_and(|p| {
        let running = p.relations(&tasks()).life == Life::Running;
        running && p.share_mm().is_some()
    })
}

/// The process with most points.
fn choose() -> Option<(KArc<Process>, usize)> {
    let mut best: Option<(KArc<Process>, usize)> = None;
    let mut from = 1;
    loop {
        // One at a time: points take the tree's lock themselves.
        let Some(process) = pid::next_process(from) else { return best };
        from = process.pid + 1;
        if let Some(points) = badness(&process)
            && best.as_ref().is_none_or(|b| points > b.1)
        {
            best = Some((process, points));
        }
    }
}
