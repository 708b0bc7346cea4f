//! `/proc/pressure`, and the pressure files of control groups: for how much of the time somebody waits for the CPU, memory, or I/O (Linux:
//! kernel/sched/psi.c).
//!
//! CPU time is watched from the first look on, so that nobody pays for it before. Nobody waits for I/O here, as there are no devices to wait
//! for, and reclaim makes nobody wait: those files say so. Who polls one is told as `pressure_trigger` says.

use super::possible_cpus;
use super::pressure_trigger::PressureNode;
use super::stalls::{PERIOD, Stalls, Times};
use crate::cgroup::group::Cgroup;
use crate::cgroup::pressure as of_group;
use vigil_abi::Errno;
use vigil_executor::balance::pressure::{is_watched, stalled, watch};
use vigil_executor::cpu::MAX_CPUS;
use vigil_executor::executor;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, Nanos};
use vigil_executor::work::{DelayedWork, UNBOUND, Work};
use vigil_fs::OpResult;
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_mem::{KArc, unsize};

/// The machine's.
static CPU: SpinLock<Stalls> = SpinLock::new(lock_class!("psi"), Stalls::NEW);

static LATER: DelayedWork = DelayedWork::new(update_and_go_on);

/// What the CPUs say by `now`. Not everybody can wait for the CPU at once: there is somebody who has it.
fn times(now: Nanos) -> [Times; MAX_CPUS] {
    let mut times = [[0; 3]; MAX_CPUS];
    for cpu in possible_cpus().iter() {
        let stat = executor::stat(cpu);
        times[cpu.index()] = [stalled(cpu), 0, now.saturating_sub(stat.idle).saturating_sub(stat.offline)];
    }
    times
}

fn update_and_go_on(_: &Work) {
    with_machine(|_| ());
    LATER.schedule(&UNBOUND, PERIOD);
}

/// Calls `f` on the machine's, up to date.
fn with_machine<R>(f: impl FnOnce(&Stalls) -> R) -> R {
    let mut machine = CPU.lock();
    if !is_watched() {
        watch();
        let now = time::now();
        machine.begin(times(now), now);
        LATER.schedule(&UNBOUND, PERIOD);
    }
    let now = time::now();
    machine.update(times(now), now);
    f(&machine)
}

/// Calls `f` on the machine's, up to date at `now` or later.
fn machine_at<R>(now: Nanos, f: impl FnOnce(&Stalls) -> R) -> R {
    let machine = CPU.lock();
    if machine.is_of(now) {
        return f(&machine);
    }
    drop(machine);
    with_machine(f)
}

/// What one can wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// A CPU.
    Cpu,
    /// I/O, or memory.
    Other,
}

/// What a pressure file is of.
#[derive(Clone)]
pub(crate) struct Source {
    /// What is waited for.
    pub(crate) resource: Resource,
    /// By whom: the group whose file it is; `None` for `/proc/pressure`.
    pub(crate) group: Option<KArc<Cgroup>>,
}

impl Source {
    /// ENODEV: its group is no more, or is not to be watched.
    pub(super) fn check(&self) -> Result<(), Errno> {
        self.group.as_deref().map_or(Ok(()), of_group::check)
    }

    /// Calls `f` on what there is to say of it, up to date; from now on it is watched. ENODEV, ENOMEM.
    pub(super) fn with<R>(&self, f: impl FnOnce(&Stalls) -> R) -> OpResult<'static, R> {
        self.check()?;
        match &self.group {
            _ if self.resource == Resource::Other => Ok(f(&Stalls::NEW)),
            Some(group) if !group.is_root() => of_group::begin(group).map(|watch| watch.with(f)),
            _ => Ok(with_machine(f)),
        }
    }

    /// For how long some of those who are watched already have waited for it by `now` or later, or (`full`) all, ns.
    pub(super) fn waited(&self, full: bool, now: Nanos) -> Nanos {
        match &self.group {
            _ if self.resource == Resource::Other => 0,
            Some(group) if !group.is_root() => of_group::watched(group).map_or(0, |watch| watch.at(now, |s| s.total(full))),
            _ => machine_at(now, |s| s.total(full)),
        }
    }

    /// The file's text. ENODEV, ENOMEM.
    pub(super) fn show(&self, out: &mut SeqBuf) -> OpResult<'static, ()> {
        self.with(|s| s.show(out))
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
