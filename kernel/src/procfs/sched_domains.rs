//! debugfs `sched/domains/cpuN/domainM`: the scheduling domains of each CPU, and how often it balances them (Linux: register_sd).

use super::format::parse_number;
use super::possible_cpus;
use super::sched_debug::low_half;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, S_IFREG};
use vigil_executor::balance::domains::{Domain, Knob, domains, tune, tuning};
use vigil_executor::balance::topology::Level;
use vigil_executor::cpu::CpuId;
use vigil_fs::vnode::{Node, NodeSink, SeqBuf};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, try_format, unsize};

/// What a file of a domain shows.
#[derive(Clone, Copy)]
pub(super) enum What {
    Name,
    Flags,
    Tuned(Knob),
}

const FILES: [(&str, What); 6] = [
    ("busy_factor", What::Tuned(Knob::BusyFactor)),
    ("flags", What::Flags),
    ("imbalance_pct", What::Tuned(Knob::ImbalancePct)),
    ("max_interval", What::Tuned(Knob::MaxInterval)),
    ("min_interval", What::Tuned(Knob::MinInterval)),
    ("name", What::Name),
];

/// Directories and files, from the top down. Domains come and go with CPUs: who is looked up is found anew.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    Top,
    Cpu(CpuId),
    Domain(CpuId, usize),
    File(CpuId, usize, What),
}

impl Entry {
    fn node(self) -> Result<KArc<dyn Node>, Errno> {
        Ok(unsize!(KArc, KArc::try_new(self)? => dyn Node))
    }

    /// The domain, if there is such a one now.
    fn domain(cpu: CpuId, index: usize) -> Result<Domain, Stop<'static>> {
        domains(cpu).nth(index).ok_or(Stop::Err(Errno::ENOENT))
    }

    /// What is below it: the `i`-th entry and its name.
    fn with_child<R>(self, i: usize, f: impl FnOnce(&[u8], Entry) -> R) -> Result<Option<R>, Errno> {
        Ok(match self {
            Entry::Top => match possible_cpus().iter().nth(i) {
                Some(cpu) => Some(f(try_format!("cpu{}", cpu.index())?.as_str().as_bytes(), Entry::Cpu(cpu))),
                None => None,
            },
            Entry::Cpu(cpu) if domains(cpu).nth(i).is_some() => {
                Some(f(try_format!("domain{i}")?.as_str().as_bytes(), Entry::Domain(cpu, i)))
            }
            Entry::Domain(cpu, index) => FILES.get(i).map(|(name, what)| f(name.as_bytes(), Entry::File(cpu, index, *what))),
            _ => None,
        })
    }
}

/// What Linux calls the level: the topmost is the whole machine, whatever it consists of.
fn name_of(domain: &Domain) -> &'static str {
    match domain.level {
        Level::Smt => "SMT",
        _ if domain.is_top => "DIE",
        Level::Cluster => "CLS",
        Level::Package => "MC",
        Level::Machine => "DIE",
    }
}

fn put_flags(domain: &Domain, out: &mut SeqBuf) {
    out.put(b"SD_BALANCE_NEWIDLE SD_BALANCE_EXEC SD_BALANCE_FORK SD_WAKE_AFFINE ");
    if domain.level == Level::Smt {
        out.put(b"SD_SHARE_CPUCAPACITY SD_SHARE_PKG_RESOURCES ");
    }
    out.put(b"SD_PREFER_SIBLING \n");
}

impl Node for Entry {
    fn mode(&self) -> u32 {
        match self {
            Entry::File(_, _, What::Tuned(_)) => S_IFREG | 0o644,
            Entry::File(..) => S_IFREG | 0o444,
            _ => S_IFDIR | 0o755,
        }
    }

    fn may_cache(&self) -> bool {
        matches!(self, Entry::Top | Entry::Cpu(_))
    }

    fn is_alive(&self) -> bool {
        match self {
            Entry::Domain(cpu, index) | Entry::File(cpu, index, _) => domains(*cpu).nth(*index).is_some(),
            _ => true,
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        let numbered = |prefix: &[u8]| name.strip_prefix(prefix).and_then(parse_number).map(|n| n as usize);
        let found = match self {
            Entry::Top => numbered(b"cpu").and_then(CpuId::new).filter(|cpu| possible_cpus().contains(*cpu)).map(Entry::Cpu),
            Entry::Cpu(cpu) => numbered(b"domain").filter(|i| domains(*cpu).nth(*i).is_some()).map(|i| Entry::Domain(*cpu, i)),
            Entry::Domain(cpu, index) => FILES.iter().find(|(n, _)| n.as_bytes() == name).map(|(_, what)| Entry::File(*cpu, *index, *what)),
            Entry::File(..) => return Err(Errno::ENOTDIR),
        };
        found.map(Entry::node).transpose()
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        let mut at = from;
        while let Ok(i) = usize::try_from(at)
            && let Some(true) = self.with_child(i, |name, entry| sink.entry(name, entry.mode(), at + 1))?
        {
            at += 1;
        }
        Ok(())
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let Entry::File(cpu, index, what) = *self else { return Err(Stop::Err(Errno::EISDIR)) };
        let domain = Entry::domain(cpu, index)?;
        match what {
            What::Name => {
                let _ = writeln!(out, "{}", name_of(&domain));
            }
            What::Flags => put_flags(&domain, out),
            What::Tuned(knob) => {
                let tuning = tuning(cpu, domain.level, domain.span.0.count_ones() as usize);
                let value = match knob {
                    Knob::MinInterval => tuning.min_interval,
                    Knob::MaxInterval => tuning.max_interval,
                    Knob::BusyFactor => tuning.busy_factor,
                    Knob::ImbalancePct => tuning.imbalance_pct,
                };
                let _ = writeln!(out, "{value}");
            }
        }
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let Entry::File(cpu, index, What::Tuned(knob)) = *self else { return Err(Stop::Err(Errno::EINVAL)) };
        tune(cpu, Entry::domain(cpu, index)?.level, knob, low_half(data).map_err(Stop::Err)?);
        Ok(data.len())
    }
}
