//! `/sys/devices/system/cpu/cpuN` (Linux: drivers/base/cpu.c): switching a CPU off and on, and, while it is on, where it is.

use super::sysfs::possible;
use super::topology;
use crate::arch::aarch64::smp::can_power_off;
use crate::hotplug::{self, Request};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, S_IFREG};
use vigil_executor::cpu::{CpuId, ONLINE};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::vnode::{self, Node, NodeSink, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Opened, Stop};
use vigil_mem::{KArc, try_format, unsize};

/// The state of a CPU that is on, in `hotplug/state` (Linux: CPUHP_ONLINE); that of one that is off is 0.
const ONLINE_STATE: u32 = 236;

fn is_online(cpu: CpuId) -> bool {
    ONLINE.load().contains(cpu)
}

/// Adds the directory of each possible CPU to `cpus`.
pub(super) fn init(cpus: &StaticDir) -> Result<(), Errno> {
    cpus.add_file("hotplug/states", 0o444, |out| {
        let _ = writeln!(out, "{:3}: offline\n{ONLINE_STATE:3}: online", 0);
        Ok(())
    })?;
    for ((cpu, files), capacity) in possible().iter().zip(topology::FILES).zip(topology::CAPACITIES) {
        let topology = StaticDir::try_new(0o555)?;
        for (name, show) in files {
            topology.add_file(name, 0o444, *show)?;
        }
        let always = StaticDir::try_new(0o555)?;
        always.add_file("cpu_capacity", 0o444, *capacity)?;
        for (path, kind) in [("online", Kind::Online), ("hotplug/state", Kind::State), ("hotplug/target", Kind::Target)] {
            if kind == Kind::Online && !can_power_off(cpu) {
                continue;
            }
            always.add(path, Switch::node(cpu, kind)?)?;
        }
        let dir = KArc::try_new(CpuDir { cpu, always, topology })?;
        cpus.add(try_format!("cpu{}", cpu.index())?.as_str(), unsize!(KArc, dir => dyn Node))?;
    }
    Ok(())
}

/// The directory of a CPU.
struct CpuDir {
    cpu: CpuId,
    always: StaticDir,
    topology: StaticDir,
}

/// What is only there while the CPU is on.
const TOPOLOGY: &[u8] = b"topology";

impl Node for CpuDir {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o755
    }

    fn nlink(&self) -> u32 {
        3 + u32::from(is_online(self.cpu))
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if name != TOPOLOGY {
            return Ok(self.always.find(name));
        }
        let topology = is_online(self.cpu).then(|| KArc::try_new(Topology { cpu: self.cpu, dir: self.topology.clone() }));
        Ok(topology.transpose()?.map(|t| unsize!(KArc, t => dyn Node)))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        let last = self.always.len() as u64;
        if self.always.list_from(from, sink) && from <= last && is_online(self.cpu) {
            sink.entry(TOPOLOGY, S_IFDIR, last + 1);
        }
        Ok(())
    }
}

/// Where a CPU is, while it is on.
struct Topology {
    cpu: CpuId,
    dir: StaticDir,
}

impl Node for Topology {
    fn mode(&self) -> u32 {
        S_IFDIR | 0o755
    }

    fn is_alive(&self) -> bool {
        is_online(self.cpu)
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        Ok(self.dir.find(name))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        self.dir.list_from(from, sink);
        Ok(())
    }
}

/// What a file says, and takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `online`: a truth value.
    Online,
    /// `hotplug/state`.
    State,
    /// `hotplug/target`: the state to go to.
    Target,
}

/// A file that shows whether a CPU is on, and may switch it.
struct Switch {
    cpu: CpuId,
    kind: Kind,
    /// What was asked for by the open file that this node is of.
    request: SpinLock<Option<KArc<Request>>>,
}

impl Switch {
    fn node(cpu: CpuId, kind: Kind) -> Result<KArc<dyn Node>, Errno> {
        let request = SpinLock::new(lock_class!("cpu_request"), None);
        Ok(unsize!(KArc, KArc::try_new(Switch { cpu, kind, request })? => dyn Node))
    }

    /// Whether `data` asks for the CPU to be on. EINVAL.
    fn parse(&self, data: &[u8]) -> Result<bool, Errno> {
        match self.kind {
            Kind::Online => truth(data).ok_or(Errno::EINVAL),
            // Only the ends: states between them are for those who debug Linux's.
            Kind::Target => match super::format::number(data) {
                Some(0) => Ok(false),
                Some(n) if n == i64::from(ONLINE_STATE) => Ok(true),
                _ => Err(Errno::EINVAL),
            },
            Kind::State => Err(Errno::EIO),
        }
    }
}

/// Linux: kstrtobool.
fn truth(data: &[u8]) -> Option<bool> {
    match data {
        [b'y' | b'Y' | b'1', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
        [b'n' | b'N' | b'0', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
        _ => None,
    }
}

impl Node for Switch {
    fn mode(&self) -> u32 {
        S_IFREG | if self.kind == Kind::State { 0o444 } else { 0o644 }
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let on = is_online(self.cpu);
        let _ = writeln!(out, "{}", if self.kind == Kind::Online { u32::from(on) } else { u32::from(on) * ONLINE_STATE });
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let up = self.parse(data).map_err(Stop::Err)?;
        hotplug::change(&self.request, self.cpu, up)?;
        Ok(data.len())
    }

    fn open(&self, _: u32) -> Result<Option<Opened>, Errno> {
        vnode::open_text(Switch::node(self.cpu, self.kind)?).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::truth;

    #[test]
    fn words_for_on_and_off() {
        for (text, meant) in
            [("1\n", Some(true)), ("yes", Some(true)), ("on", Some(true)), ("0", Some(false)), ("oFf", Some(false)), ("N", Some(false))]
        {
            assert_eq!(truth(text.as_bytes()), meant, "{text}");
        }
        for text in ["", " 1", "2", "-1", "o", "true"] {
            assert_eq!(truth(text.as_bytes()), None, "{text}");
        }
    }
}
