//! `/proc/irq` and `/sys/kernel/irq`: a directory for each line (Linux: kernel/irq/proc.c, irqdesc.c).
//!
//! Both are made when they are looked at: lines are mapped while drivers are probed.

use super::format::{put_list, put_mask};
use super::possible_cpus;
use crate::cgroup::parse;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, S_IFREG};
use vigil_drivers::irq::{self, IrqInfo, NR_IRQS, Virq};
use vigil_executor::cpu::CpuMask;
use vigil_fs::vnode::{Node, NodeSink, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, try_format, unsize};

pub(super) fn init() -> Result<(), Errno> {
    let lines = KArc::try_new(Lines { tree: Tree::Proc })?;
    vigil_fs::proc::add("irq", unsize!(KArc, lines => dyn Node))?;
    let lines = KArc::try_new(Lines { tree: Tree::Sys })?;
    vigil_fs::proc::sys_root()?.add("kernel/irq", unsize!(KArc, lines => dyn Node))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Proc,
    Sys,
}

impl Tree {
    const fn mode(self) -> u32 {
        match self {
            Tree::Proc => S_IFDIR | 0o555,
            Tree::Sys => S_IFDIR | 0o755,
        }
    }

    const fn files(self) -> &'static [(&'static str, Kind)] {
        match self {
            Tree::Proc => &[
                ("smp_affinity", Kind::Affinity(false)),
                ("affinity_hint", Kind::Hint),
                ("smp_affinity_list", Kind::Affinity(true)),
                ("node", Kind::Node),
                ("effective_affinity", Kind::Effective(false)),
                ("effective_affinity_list", Kind::Effective(true)),
                ("spurious", Kind::Spurious),
            ],
            Tree::Sys => &[
                ("per_cpu_count", Kind::Counts),
                ("chip_name", Kind::Chip),
                ("hwirq", Kind::Hwirq),
                ("type", Kind::Type),
                ("wakeup", Kind::Wakeup),
                ("name", Kind::FlowName),
                ("actions", Kind::Actions),
            ],
        }
    }
}

/// A file of a line; `true`: as a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Affinity(bool),
    Effective(bool),
    Hint,
    Node,
    Spurious,
    Counts,
    Chip,
    Hwirq,
    Type,
    Wakeup,
    FlowName,
    Actions,
}

/// The directory of all lines.
struct Lines {
    tree: Tree,
}

const DEFAULT: &str = "default_smp_affinity";

fn lines() -> impl Iterator<Item = Virq> {
    (1..NR_IRQS as u32).filter_map(Virq::new).filter(|virq| irq::info(*virq).is_some())
}

fn line_called(name: &[u8]) -> Option<Virq> {
    super::format::parse_number(name).and_then(Virq::new)
}

impl Node for Lines {
    fn mode(&self) -> u32 {
        self.tree.mode()
    }

    fn nlink(&self) -> u32 {
        2 + lines().count() as u32
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if self.tree == Tree::Proc && name == DEFAULT.as_bytes() {
            let file = KArc::try_new(DefaultAffinity)?;
            return Ok(Some(unsize!(KArc, file => dyn Node)));
        }
        let Some(virq) = line_called(name).filter(|virq| irq::info(*virq).is_some()) else { return Ok(None) };
        let dir = KArc::try_new(Line { tree: self.tree, virq })?;
        Ok(Some(unsize!(KArc, dir => dyn Node)))
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        if from == 0 && self.tree == Tree::Proc && !sink.entry(DEFAULT.as_bytes(), S_IFREG, 1) {
            return Ok(());
        }
        for virq in lines().filter(|virq| u64::from(virq.get()) >= from) {
            let name = try_format!("{}", virq.get())?;
            if !sink.entry(name.as_str().as_bytes(), S_IFDIR, u64::from(virq.get()) + 1) {
                break;
            }
        }
        Ok(())
    }
}

/// The directory of a line; in `/proc` with one for each of its handlers, which is empty.
struct Line {
    tree: Tree,
    virq: Virq,
}

impl Line {
    fn info(&self) -> Result<IrqInfo, Errno> {
        irq::info(self.virq).ok_or(Errno::ENOENT)
    }

    fn handlers<'i>(&self, info: &'i IrqInfo) -> impl Iterator<Item = &'static str> + use<'i> {
        let names = (self.tree == Tree::Proc).then(|| info.actions());
        names.into_iter().flatten()
    }
}

impl Node for Line {
    fn mode(&self) -> u32 {
        self.tree.mode()
    }

    fn nlink(&self) -> u32 {
        2 + self.info().map_or(0, |info| self.handlers(&info).count() as u32)
    }

    /// Handlers come and go.
    fn may_cache(&self) -> bool {
        false
    }

    fn lookup(&self, name: &[u8]) -> Result<Option<KArc<dyn Node>>, Errno> {
        if let Some((_, kind)) = self.tree.files().iter().find(|(file, _)| file.as_bytes() == name) {
            let file = KArc::try_new(File { tree: self.tree, virq: self.virq, kind: *kind })?;
            return Ok(Some(unsize!(KArc, file => dyn Node)));
        }
        let info = self.info()?;
        let handler = self.handlers(&info).any(|handler| handler.as_bytes() == name);
        Ok(if handler { Some(StaticDir::try_new(0o555)?.node()) } else { None })
    }

    fn list(&self, from: u64, sink: &mut dyn NodeSink) -> Result<(), Errno> {
        let info = self.info()?;
        let files = self.tree.files().iter().map(|(name, _)| (*name, S_IFREG));
        let all = files.chain(self.handlers(&info).map(|name| (name, S_IFDIR)));
        for (i, (name, mode)) in all.enumerate().skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            if !sink.entry(name.as_bytes(), mode, i as u64 + 1) {
                break;
            }
        }
        Ok(())
    }
}

struct File {
    tree: Tree,
    virq: Virq,
    kind: Kind,
}

fn put(mask: CpuMask, list: bool, out: &mut SeqBuf) {
    let possible = possible_cpus();
    let mask = mask.0 & possible.0;
    let _ = if list { put_list(mask, out) } else { put_mask(mask, possible.0.count_ones() as usize, out) };
    out.put(b"\n");
}

/// The CPUs that were written. EINVAL, ERANGE, EOVERFLOW.
fn cpus(data: &[u8], list: bool) -> Result<CpuMask, Errno> {
    let bits = possible_cpus().0.count_ones();
    let mask = if list { parse::list(parse::stripped(data), bits)? } else { parse::mask(data, bits)? };
    Ok(CpuMask(mask))
}

/// A moment as Linux counts it in ticks of 4 ms, which begin five minutes before zero, in milliseconds.
fn tick_ms(moment: u64) -> u32 {
    if moment == 0 { 0 } else { ((moment / 4_000_000 * 4) as u32).wrapping_sub(300_000) }
}

impl Node for File {
    fn mode(&self) -> u32 {
        S_IFREG | if matches!(self.kind, Kind::Affinity(_)) { 0o644 } else { 0o444 }
    }

    fn size(&self) -> u64 {
        if self.tree == Tree::Sys { 4096 } else { 0 }
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let info = irq::info(self.virq).ok_or(Stop::Err(Errno::ENOENT))?;
        let _ = match self.kind {
            Kind::Affinity(list) => {
                put(info.affinity, list, out);
                Ok(())
            }
            Kind::Effective(list) => {
                put(info.effective, list, out);
                Ok(())
            }
            // No driver gives one.
            Kind::Hint => {
                put(CpuMask(0), false, out);
                Ok(())
            }
            Kind::Node => writeln!(out, "-1"),
            Kind::Spurious => {
                let total = info.counts.iter().fold(0u32, |n, c| n.wrapping_add(*c));
                let (count, last) = (irq::in_window(total), tick_ms(info.last_unhandled));
                // Those of per-CPU lines are not counted.
                let count = if info.movable { count } else { 0 };
                writeln!(out, "count {count}\nunhandled {}\nlast_unhandled {last} ms", info.unhandled)
            }
            Kind::Counts => {
                for (i, cpu) in possible_cpus().iter().enumerate() {
                    let _ = write!(out, "{}{}", if i == 0 { "" } else { "," }, info.counts[cpu.index()]);
                }
                writeln!(out)
            }
            Kind::Chip => writeln!(out, "{}", info.chip),
            Kind::Hwirq => writeln!(out, "{}", info.hwirq),
            Kind::Type => writeln!(out, "{}", if info.trigger.is_edge() { "edge" } else { "level" }),
            Kind::Wakeup => writeln!(out, "disabled"),
            // Linux's flow handlers of these controllers have no name of their own, either.
            Kind::FlowName => Ok(()),
            Kind::Actions => {
                let mut any = false;
                for name in info.actions() {
                    let _ = write!(out, "{}{name}", if any { "," } else { "" });
                    any = true;
                }
                if any { writeln!(out) } else { Ok(()) }
            }
        };
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let Kind::Affinity(list) = self.kind else { return Err(Stop::Err(Errno::EIO)) };
        let info = irq::info(self.virq).ok_or(Stop::Err(Errno::ENOENT))?;
        if !info.movable {
            return Err(Stop::Err(Errno::EIO));
        }
        irq::set_affinity(self.virq, cpus(data, list)?)?;
        Ok(data.len())
    }
}

/// `default_smp_affinity`.
struct DefaultAffinity;

impl Node for DefaultAffinity {
    fn mode(&self) -> u32 {
        S_IFREG | 0o644
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        put(irq::default_affinity(), false, out);
        Ok(())
    }

    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        irq::set_default_affinity(cpus(data, false)?)?;
        Ok(data.len())
    }
}
