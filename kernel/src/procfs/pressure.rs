//! `/proc/pressure`: for how much of the time somebody waits for the CPU, memory, or I/O (Linux: kernel/sched/psi.c).
//!
//! CPU time is watched from the first look on, so that nobody pays for it before. Nobody waits for I/O here, as there are no devices to wait
//! for, and reclaim makes nobody wait: those files say so. Who polls one is told as `pressure_trigger` says.

use super::average::{Average, ONE, SHIFT};
use super::possible_cpus;
use super::pressure_trigger::PressureNode;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::balance::pressure::{is_watched, stalled, watch};
use vigil_executor::cpu::MAX_CPUS;
use vigil_executor::executor;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, Nanos, USEC};
use vigil_executor::work::{DelayedWork, UNBOUND, Work};
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_mem::{KArc, unsize};

/// From one bringing up to date of the averages to the next (Linux: PSI_FREQ, 2 s and a tick).
const PERIOD: Nanos = 2_004_000_000;

/// What was seen of a CPU.
#[derive(Clone, Copy)]
struct Seen {
    stalled: Nanos,
    busy: Nanos,
}

struct Pressure {
    cpus: [Seen; MAX_CPUS],
    /// For how long somebody waited, ns: each CPU's time counts by how busy it was.
    total: Nanos,
    average: Average,
}

static CPU: SpinLock<Pressure> =
    SpinLock::new(lock_class!("psi"), Pressure { cpus: [Seen { stalled: 0, busy: 0 }; MAX_CPUS], total: 0, average: Average::NEW });

static LATER: DelayedWork = DelayedWork::new(update_and_go_on);

impl Pressure {
    /// Adds what has passed since the last look (Linux: collect_percpu_times).
    fn collect(&mut self, now: Nanos) {
        let (mut weighted, mut weights) = (0u128, 0u128);
        for cpu in possible_cpus().iter() {
            let stat = executor::stat(cpu);
            let seen = Seen { stalled: stalled(cpu), busy: now.saturating_sub(stat.idle).saturating_sub(stat.offline) };
            let Some(last) = self.cpus.get_mut(cpu.index()) else { continue };
            let busy = seen.busy.saturating_sub(last.busy);
            weighted += u128::from(seen.stalled.saturating_sub(last.stalled)) * u128::from(busy);
            weights += u128::from(busy);
            *last = seen;
        }
        self.total = self.total.wrapping_add(weighted.checked_div(weights).unwrap_or(0) as u64);
    }

    fn update(&mut self) {
        let now = time::now();
        self.collect(now);
        self.average.update(self.total, now, PERIOD);
    }
}

fn update_and_go_on(_: &Work) {
    CPU.lock().update();
    LATER.schedule(&UNBOUND, PERIOD);
}

fn line(out: &mut SeqBuf, what: &str, averages: [u64; 3], total: Nanos) {
    let [a, b, c] = averages.map(|v| (v >> SHIFT, ((v & (ONE - 1)) * 100) >> SHIFT));
    let _ = writeln!(out, "{what} avg10={}.{:02} avg60={}.{:02} avg300={}.{:02} total={}", a.0, a.1, b.0, b.1, c.0, c.1, total / USEC);
}

/// What one can wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    /// A CPU. Not everybody can wait for it at once: there is somebody who has it.
    Cpu,
    /// I/O, or memory.
    Other,
}

impl Resource {
    /// Averages, and for how long somebody has waited for it, ns.
    fn look(self) -> ([u64; 3], Nanos) {
        if self == Resource::Other {
            return ([0; 3], 0);
        }
        let mut pressure = CPU.lock();
        if !is_watched() {
            watch();
            let now = time::now();
            pressure.collect(now);
            (pressure.total, pressure.average) = (0, Average::begun(now));
            LATER.schedule(&UNBOUND, PERIOD);
        }
        pressure.update();
        (pressure.average.values(), pressure.total)
    }

    /// For how long somebody has waited for it, ns.
    pub(super) fn waited(self) -> Nanos {
        self.look().1
    }

    /// The file's text.
    pub(super) fn show(self, out: &mut SeqBuf) {
        let (averages, total) = self.look();
        line(out, "some", averages, total);
        line(out, "full", [0; 3], 0);
    }
}

/// Adds the files.
pub(super) fn init() -> Result<(), Errno> {
    let dir = vigil_fs::proc::root()?.subdir("pressure")?;
    for (name, resource) in [("cpu", Resource::Cpu), ("io", Resource::Other), ("memory", Resource::Other)] {
        dir.add(name, unsize!(KArc, KArc::try_new(PressureNode(resource))? => dyn Node))?;
    }
    Ok(())
}
