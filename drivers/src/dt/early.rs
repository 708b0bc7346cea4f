//! What boot asks of the blob before there is memory to allocate, partly before the MMU is on.
//!
//! Everything here reads the blob in place, allocates nothing, and answers `None` or nothing for what is missing or
//! malformed: a wrong property must not stop a board from booting as far as it can.

use super::cells::{self, Props, as_str};
use super::validate::{Dtb, RawNode, be32, be64};
use super::{DtError, MAX_DEPTH, Region};
use core::ops::Range;

/// `/chosen`: what the boot loader tells the kernel.
#[derive(Clone, Debug, Default)]
pub struct Chosen<'a> {
    /// The command line.
    pub bootargs: Option<&'a str>,
    /// Physical addresses of the initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// Randomness for the kernel's base address. The caller wipes it from the blob.
    pub kaslr_seed: Option<u64>,
    /// Randomness for the random number generator. The caller wipes it from the blob.
    pub rng_seed: Option<&'a [u8]>,
    /// The console's path or alias, with options after a colon.
    pub stdout_path: Option<&'a str>,
}

/// A range that firmware or a device owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    /// Where.
    pub region: Region,
    /// It must not be mapped at all, because even a speculative read would hurt.
    pub no_map: bool,
}

/// How a CPU is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnableMethod {
    /// PSCI `CPU_ON`.
    Psci,
    /// The CPU spins on a word of memory, at this physical address, and jumps to what is written there.
    SpinTable {
        /// Physical address of the word.
        release_addr: u64,
    },
    /// A method that is not known here; the CPU stays off.
    Unknown,
}

impl EnableMethod {
    /// The word of a spin table.
    pub fn release_addr(self) -> Option<u64> {
        match self {
            EnableMethod::SpinTable { release_addr } => Some(release_addr),
            _ => None,
        }
    }
}

/// A CPU of `/cpus`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuNode {
    /// The affinity fields of its MPIDR_EL1.
    pub mpidr: u64,
    /// How it is started.
    pub enable: EnableMethod,
    /// Its `status` allows its use.
    pub available: bool,
}

/// How PSCI is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciMethod {
    /// By HVC, to a hypervisor.
    Hvc,
    /// By SMC, to the secure monitor.
    Smc,
}

/// The console that `/chosen/stdout-path` names, when it is a kind that can be driven early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EarlyUart {
    /// A PL011 at this physical address.
    Pl011(u64),
    /// A BCM2835 mini UART at this physical address.
    Bcm2835Aux(u64),
}

/// Reads `/chosen`.
pub fn chosen<'a>(dtb: &Dtb<'a>) -> Chosen<'a> {
    let Some(node) = child(dtb, "chosen") else { return Chosen::default() };
    let address = |name| match node.prop(name) {
        Some(v) if v.len() == 8 => be64(v, 0),
        Some(v) if v.len() == 4 => be32(v, 0).map(u64::from),
        _ => None,
    };
    let initrd = match (address("linux,initrd-start"), address("linux,initrd-end")) {
        (Some(start), Some(end)) if start < end => Some(start..end),
        _ => None,
    };
    Chosen {
        bootargs: node.prop("bootargs").and_then(as_str),
        initrd,
        kaslr_seed: node.prop("kaslr-seed").and_then(|v| be64(v, 0)),
        rng_seed: node.prop("rng-seed").filter(|v| !v.is_empty()),
        stdout_path: node.prop("stdout-path").or_else(|| node.prop("linux,stdout-path")).and_then(as_str),
    }
}

/// Calls `found` with each range of usable memory, in the tree's order; empty ranges are left out.
pub fn memory(dtb: &Dtb<'_>, mut found: impl FnMut(Region)) {
    let Ok(root) = dtb.root() else { return };
    for node in children(root) {
        if node.prop("device_type").and_then(as_str) != Some("memory") || !cells::is_available(&node) {
            continue;
        }
        let Some(value) = node.prop("linux,usable-memory").or_else(|| node.prop("reg")) else { continue };
        each_region(value, &[root], &mut found);
    }
}

/// Calls `found` with each fixed range of `/reserved-memory`. The reservation block is [`Dtb::reserve_map`].
pub fn reserved_memory(dtb: &Dtb<'_>, mut found: impl FnMut(Reserved)) {
    let (Ok(root), Some(parent)) = (dtb.root(), child(dtb, "reserved-memory")) else { return };
    for node in children(parent) {
        let (Some(value), true) = (node.prop("reg"), cells::is_available(&node)) else { continue };
        let no_map = node.prop("no-map").is_some();
        each_region(value, &[parent, root], |region| found(Reserved { region, no_map }));
    }
}

/// The CPUs in the tree's order, also those that are not available.
pub fn cpus<'a>(dtb: &Dtb<'a>) -> impl Iterator<Item = CpuNode> + use<'a> {
    let parent = child(dtb, "cpus");
    let cells = parent.and_then(|p| p.prop_u32("#address-cells")).unwrap_or(1).clamp(1, 2) as usize;
    let nodes = parent.into_iter().flat_map(children);
    nodes.filter(|n| n.prop("device_type").and_then(as_str) == Some("cpu")).filter_map(move |node| {
        let release = |v: &[u8]| if v.len() == 8 { be64(v, 0) } else { be32(v, 0).map(u64::from) };
        let enable = match node.prop("enable-method").and_then(as_str) {
            Some("psci") => EnableMethod::Psci,
            Some("spin-table") => match node.prop("cpu-release-addr").and_then(release) {
                Some(release_addr) => EnableMethod::SpinTable { release_addr },
                None => EnableMethod::Unknown,
            },
            _ => EnableMethod::Unknown,
        };
        let mpidr = cells::number(node.prop("reg")?, 0, cells)?;
        Some(CpuNode { mpidr, enable, available: cells::is_available(&node) })
    })
}

/// How PSCI is called, if the firmware has it.
pub fn psci(dtb: &Dtb<'_>) -> Option<PsciMethod> {
    let node = child(dtb, "psci")?;
    let mut compatible = cells::strings(node.prop("compatible")?);
    if !compatible.any(|c| matches!(c, "arm,psci" | "arm,psci-0.2" | "arm,psci-1.0")) {
        return None;
    }
    match node.prop("method").and_then(as_str)? {
        "hvc" => Some(PsciMethod::Hvc),
        "smc" => Some(PsciMethod::Smc),
        _ => None,
    }
}

/// The board's name.
pub fn model<'a>(dtb: &Dtb<'a>) -> Option<&'a str> {
    dtb.root().ok()?.prop("model").and_then(as_str)
}

/// The UART that is the console by `/chosen/stdout-path`, with its physical address.
pub fn stdout_uart(dtb: &Dtb<'_>) -> Option<EarlyUart> {
    let path = chosen(dtb).stdout_path?;
    let path = path.split(':').next()?;
    let path = if path.starts_with('/') { path } else { child(dtb, "aliases")?.prop(path).and_then(as_str)? };

    // The nodes on the way, innermost first in `chain` from `used` on.
    let root = dtb.root().ok()?;
    let mut chain = [root; MAX_DEPTH];
    let mut used = MAX_DEPTH;
    let mut node = root;
    for part in path.split('/').filter(|p| !p.is_empty()) {
        used = used.checked_sub(1)?;
        *chain.get_mut(used)? = node;
        node = children(node).find(|n| has_name(n, part))?;
    }
    let base = cells::reg(node, chain.get(used..)?, 0)?.base;
    let kind = |c: &str| match c {
        "arm,pl011" | "arm,sbsa-uart" => Some(EarlyUart::Pl011(base)),
        "brcm,bcm2835-aux-uart" => Some(EarlyUart::Bcm2835Aux(base)),
        _ => None,
    };
    cells::strings(node.prop("compatible")?).find_map(kind)
}

fn each_region(value: &[u8], chain: &[RawNode<'_>], mut found: impl FnMut(Region)) {
    let mut index = 0;
    while let Some(region) = cells::reg_on_bus(value, chain, index) {
        if region.size != 0 && region.base.checked_add(region.size).is_some() {
            found(region);
        }
        index += 1;
        if index > value.len() {
            // Zero cells per entry: the same entry for ever.
            break;
        }
    }
}

fn child<'a>(dtb: &Dtb<'a>, name: &str) -> Option<RawNode<'a>> {
    children(dtb.root().ok()?).find(|n| has_name(n, name))
}

fn children<'a>(node: RawNode<'a>) -> impl Iterator<Item = RawNode<'a>> + use<'a> {
    node.children().into_iter().flat_map(|c| c.iter()).map_while(|n: Result<_, fdt::FdtError>| n.ok())
}

/// Whether `node` is called `name`, which may leave the unit address out.
fn has_name(node: &RawNode<'_>, name: &str) -> bool {
    let Ok(have) = node.name() else { return false };
    match name.split_once('@') {
        Some((base, unit)) => have.name == base && have.unit_address == Some(unit),
        None => have.name == name,
    }
}

/// Checks that the whole tree can be walked; used by boot's self-test and the fuzz test.
///
/// Errors: [`DtError::Structure`], which [`super::validate()`] excludes.
pub fn count_nodes(dtb: &Dtb<'_>) -> Result<usize, DtError> {
    let mut count = 0usize;
    super::tree::walk(dtb, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}
