//! What is done to the tasks that torture: they become urgent and ordinary again, are moved, get signals; CPUs go and come.

use super::{Rng, pause, start as start_task, stopped};
use crate::{hotplug, pr_crit};
use core::sync::atomic::{AtomicU64, Ordering::*};
use vigil_executor::class::Params;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::executor;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::task::{INTERRUPT_SIGNAL, TaskRef};
use vigil_executor::time::MSEC;
use vigil_fs::Stop;

/// Tasks, at most.
const MAX: usize = 160;

/// All tasks, and whether they are disturbed.
static TASKS: SpinLock<[Option<(TaskRef, bool)>; MAX]> = SpinLock::new(lock_class!("torture_tasks"), [const { None }; MAX]);
static BOOSTS: AtomicU64 = AtomicU64::new(0);
static SIGNALS: AtomicU64 = AtomicU64::new(0);
static GOINGS: AtomicU64 = AtomicU64::new(0);

/// How much was done.
pub(super) struct Noise {
    pub(super) boosts: u64,
    pub(super) signals: u64,
    pub(super) goings: u64,
}

impl Noise {
    pub(super) fn here() -> Noise {
        Noise { boosts: BOOSTS.load(Relaxed), signals: SIGNALS.load(Relaxed), goings: GOINGS.load(Relaxed) }
    }
}

/// Keeps a task for the time of the torture.
pub(super) fn remember(task: TaskRef, disturbed: bool) {
    let mut tasks = TASKS.lock();
    if let Some(slot) = tasks.iter_mut().find(|slot| slot.is_none()) {
        *slot = Some((task, disturbed));
    }
}

/// Urgent for a moment, ordinary again; sometimes bound to some CPUs, sometimes signalled.
async fn booster() {
    let mut rng = Rng::new(7);
    while !stopped() {
        pause(rng.range(MSEC / 10, 2 * MSEC)).await;
        let task = TASKS.lock()[rng.range(0, MAX as u64) as usize].clone();
        let Some((task, true)) = task else { continue };
        match rng.range(0, 8) {
            0..3 => {
                executor::set_params(&task, Params::fifo(rng.range(1, 50) as u8));
                pause(rng.range(MSEC / 10, MSEC)).await;
                executor::set_params(&task, Params::DEFAULT);
                BOOSTS.fetch_add(1, Relaxed);
            }
            3..6 => {
                task.interrupt(INTERRUPT_SIGNAL);
                SIGNALS.fetch_add(1, Relaxed);
            }
            _ => {
                let mask = rng.next() & ONLINE.load().0;
                if mask != 0 {
                    executor::set_affinity(&task, CpuMask(mask));
                }
            }
        }
    }
}

/// CPUs other than the first go and come, as if by `/sys/devices/system/cpu/cpuN/online`.
async fn plugger(cpus: usize) {
    let mut rng = Rng::new(8);
    loop {
        pause(rng.range(20 * MSEC, 400 * MSEC)).await;
        if stopped() {
            return;
        }
        let Some(cpu) = CpuId::new(rng.range(1, cpus as u64) as usize) else { continue };
        for up in [false, true] {
            let slot = SpinLock::new(lock_class!("torture_cpu"), None);
            // What it waits for is looked at every millisecond.
            while let Err(Stop::Wait(..)) = hotplug::change(&slot, cpu, up) {
                pause(MSEC).await;
            }
            pause(rng.range(0, 20 * MSEC)).await;
        }
        GOINGS.fetch_add(1, Relaxed);
    }
}

pub(super) fn start(cpus: usize) -> bool {
    // Process 1, in whose place this runs, would come after it.
    if cpus > 1 && hotplug::start().is_err() {
        return false;
    }
    // Above them all, or it would wait behind whom it has just made urgent.
    let started = start_task("booster", booster(), Params::fifo(60), false);
    started && (cpus == 1 || start_task("plugger", plugger(cpus), Params::DEFAULT, false))
}

/// Forgets the tasks; says of those that have not ended where they wait, if that is `wanted`.
pub(super) fn end(wanted: bool) {
    for i in 0..MAX {
        // The reference goes after the lock.
        let Some((task, _)) = TASKS.lock()[i].take() else { continue };
        if wanted && !task.is_dead() {
            let place = task.waiting_at().map_or(("does not wait", 0), |(site, _)| (site.file, site.line));
            pr_crit!("torture: {} of CPU {}: {}:{}", task.name().escape_ascii(), task.cpu().index(), place.0, place.1);
        }
    }
}
