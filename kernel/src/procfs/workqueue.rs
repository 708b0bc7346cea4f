//! `/sys/devices/virtual/workqueue`: which CPUs the work queues use that are bound to none, and a directory for each queue that asks
//! for one (Linux: WQ_SYSFS in kernel/workqueue.c).

use super::format::put_mask;
use super::possible_cpus;
use crate::cgroup::parse;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_ACCMODE;
use vigil_abi::stat::S_IFREG;
use vigil_executor::cpu::CpuMask;
use vigil_executor::work::{self, WorkQueue};
use vigil_fs::vnode::{Node, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Opened, Stop, proc};
use vigil_mem::{KArc, unsize};

/// Nice values that a task can have.
const NICE: core::ops::RangeInclusive<i32> = -20..=19;

/// Adds the directories. After the system's queues were started.
pub(super) fn init() -> Result<(), Errno> {
    let all = StaticDir::try_new(0o755)?;
    all.add("cpumask", File::node(None, Kind::Cpus)?)?;
    let mut result = Ok(());
    work::for_each_queue(|queue| {
        if queue.in_sysfs() && result.is_ok() {
            result = queue_files(queue, &all);
        }
    });
    result?;
    proc::sys_root()?.add("devices/virtual/workqueue", all.node())
}

fn queue_files(queue: &'static WorkQueue, all: &StaticDir) -> Result<(), Errno> {
    let dir = StaticDir::try_new(0o755)?;
    dir.add("per_cpu", File::node(Some(queue), Kind::PerCpu)?)?;
    dir.add("max_active", File::node(Some(queue), Kind::MaxActive)?)?;
    if queue.is_unbound() {
        dir.add("pool_ids", File::node(Some(queue), Kind::Pools)?)?;
        dir.add("nice", File::node(Some(queue), Kind::Nice)?)?;
        dir.add("cpumask", File::node(Some(queue), Kind::Cpus)?)?;
    }
    all.add(queue.name(), dir.node())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PerCpu,
    MaxActive,
    /// The pool of each memory node: there is one.
    Pools,
    Nice,
    Cpus,
}

/// A file of a queue, or of all that are bound to no CPU.
struct File {
    queue: Option<&'static WorkQueue>,
    kind: Kind,
}

impl File {
    fn node(queue: Option<&'static WorkQueue>, kind: Kind) -> Result<KArc<dyn Node>, Errno> {
        Ok(unsize!(KArc, KArc::try_new(File { queue, kind })? => dyn Node))
    }
}

impl Node for File {
    fn mode(&self) -> u32 {
        S_IFREG | if matches!(self.kind, Kind::PerCpu | Kind::Pools) { 0o444 } else { 0o644 }
    }

    /// What cannot be written cannot be opened for it, by root either (Linux: kernfs).
    fn open(&self, flags: u32) -> Result<Option<Opened>, Errno> {
        if flags & O_ACCMODE != 0 && matches!(self.kind, Kind::PerCpu | Kind::Pools) { Err(Errno::EACCES) } else { Ok(None) }
    }

    fn size(&self) -> u64 {
        4096
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let possible = possible_cpus();
        let _ = match (self.kind, self.queue) {
            (Kind::PerCpu, Some(queue)) => writeln!(out, "{}", u32::from(!queue.is_unbound())),
            (Kind::MaxActive, Some(queue)) => writeln!(out, "{}", queue.max_active()),
            (Kind::Pools, Some(queue)) => writeln!(out, "0:{}", queue.pool_number()),
            (Kind::Nice, Some(queue)) => writeln!(out, "{}", queue.nice()),
            (_, queue) => {
                let cpus = queue.map_or_else(work::unbound_cpus, WorkQueue::cpus);
                let _ = put_mask(cpus.0 & possible.0, possible.0.count_ones() as usize, out);
                writeln!(out)
            }
        };
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let invalid = Stop::Err(Errno::EINVAL);
        match (self.kind, self.queue) {
            (Kind::MaxActive, Some(queue)) => {
                let n = parse::leading_int(data).filter(|n| *n > 0).ok_or(invalid)?;
                queue.set_max_active(n.unsigned_abs());
            }
            (Kind::Nice, Some(queue)) => {
                let nice = parse::leading_int(data).filter(|n| NICE.contains(n)).ok_or(invalid)?;
                queue.set_attributes(nice, queue.cpus());
            }
            (Kind::Cpus, queue) => {
                let cpus = CpuMask(parse::mask(data, possible_cpus().0.count_ones())?);
                match queue {
                    Some(queue) => queue.set_attributes(queue.nice(), cpus),
                    None if cpus.0 == 0 => return Err(invalid),
                    None => work::set_unbound_cpus(cpus),
                }
            }
            _ => return Err(Stop::Err(Errno::EIO)),
        }
        Ok(data.len())
    }
}
