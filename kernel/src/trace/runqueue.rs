//! How long tasks wait for their CPU: from the wake to the poll, a histogram for each class (`runqueue_latency`), and the
//! wakes that the tracers `wakeup`, `wakeup_rt` and `wakeup_dl` follow.

use super::latency::Tracer;
use super::stamps::{BUCKETS, Histogram, Stamps};
use super::state;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vigil_executor::task::Task;

/// When tasks were woken that have not run since.
static WOKEN: Stamps<2048> = Stamps::new();
/// How long polls that are parked had run when they were.
pub static PARKED: Stamps<64> = Stamps::new();
/// Whether the histograms count.
pub static COUNTING: AtomicBool = AtomicBool::new(false);

const CLASSES: [&str; 4] = ["stop", "deadline", "realtime", "fair"];
static HISTOGRAMS: [Histogram; 4] = [const { Histogram::new() }; 4];

fn class_of(task: &Task) -> usize {
    match task.rank().0 {
        0 => 0,
        1 | 2 => 1,
        rank if rank < vigil_executor::class::Rank::FAIR.0 => 2,
        _ => 3,
    }
}

/// A wait for the CPU that has ended.
pub struct Waited {
    /// Nanoseconds.
    pub length: u64,
    /// Where it began.
    pub from: usize,
}

/// `task` was made runnable at `now`.
pub fn woken(task: &Task, now: u64) {
    if COUNTING.load(Relaxed) || matches!(state::tracer(), Tracer::Wakeup | Tracer::WakeupRt | Tracer::WakeupDl) {
        WOKEN.put(core::ptr::from_ref(task) as usize, now.max(1));
    }
}

/// `task` runs.
pub fn ran(task: &Task, now: u64) -> Option<Waited> {
    let length = now.saturating_sub(WOKEN.take(core::ptr::from_ref(task) as usize)?);
    if COUNTING.load(Relaxed) {
        HISTOGRAMS[class_of(task)].add(length);
    }
    Some(Waited { length, from: Task::wake as *const () as usize })
}

/// Forgets what was counted.
pub fn clear() {
    HISTOGRAMS.iter().for_each(Histogram::clear);
    WOKEN.clear();
}

/// Writes the file.
pub fn show(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "# run-queue latency (wake to poll), nanoseconds; lost: {}", WOKEN.lost())?;
    writeln!(out, "# counting: {}", u8::from(COUNTING.load(Relaxed)))?;
    for (name, h) in CLASSES.iter().zip(&HISTOGRAMS) {
        let counts = h.counts();
        let n = counts.iter().sum::<u64>();
        let (sum, max) = h.sum_and_max();
        writeln!(out, "class {name}: count {n} mean {} max {max}", sum.checked_div(n).unwrap_or(0))?;
        for (i, count) in counts.into_iter().enumerate().filter(|(_, count)| *count != 0) {
            let low = if i == 0 { 0 } else { 1u64 << (i - 1) };
            if i == BUCKETS - 1 {
                writeln!(out, "  [{low}, ...) {count}")?;
            } else {
                writeln!(out, "  [{low}, {}) {count}", 1u64 << i)?;
            }
        }
    }
    Ok(())
}
