//! `/sys/devices/system/node` (Linux: drivers/base/node.c): the machine's memory is one node, with all CPUs.

use super::format::{put_list, put_mask};
use super::possible_cpus;
use super::sysctl::line;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::cpu::ONLINE;
use vigil_fs::cache::mapping::nr_file_pages;
use vigil_fs::proc::sys_root;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::PAGE_SHIFT;
use vigil_mem::page_alloc::{Item, item, meminfo as totals};

/// What of Linux's figures exists here, KiB.
fn meminfo(out: &mut SeqBuf) -> Result<(), Errno> {
    let memory = totals();
    let kb = |pages: usize| pages << (PAGE_SHIFT - 10);
    let get = |i: Item| kb(item(i));
    let files = kb(nr_file_pages() as usize);
    let (reclaimable, other) = (get(Item::SlabReclaimable), get(Item::SlabUnreclaimable));
    for (name, value) in [
        ("MemTotal", kb(memory.total)),
        ("MemFree", kb(memory.free)),
        ("MemUsed", kb(memory.total.saturating_sub(memory.free))),
        ("Active", get(Item::ActiveAnon) + get(Item::ActiveFile)),
        ("Inactive", get(Item::InactiveAnon) + get(Item::InactiveFile)),
        ("Active(anon)", get(Item::ActiveAnon)),
        ("Inactive(anon)", get(Item::InactiveAnon)),
        ("Active(file)", get(Item::ActiveFile)),
        ("Inactive(file)", get(Item::InactiveFile)),
        ("Mlocked", get(Item::Mlock)),
        ("Dirty", get(Item::Dirty)),
        ("Writeback", get(Item::Writeback)),
        ("FilePages", files),
        ("Mapped", get(Item::FileMapped)),
        ("AnonPages", get(Item::AnonMapped)),
        ("Shmem", files),
        ("KernelStack", item(Item::KernelStackKb)),
        ("PageTables", get(Item::PageTables)),
        ("KReclaimable", reclaimable),
        ("Slab", reclaimable + other),
        ("SReclaimable", reclaimable),
        ("SUnreclaim", other),
    ] {
        // Linux: the name with its colon takes 15 columns, the figure 9.
        let _ = writeln!(out, "Node 0 {name}:{:width$}{value:>9} kB", "", width = 14usize.saturating_sub(name.len()));
    }
    Ok(())
}

/// Adds the directory.
pub(super) fn init() -> Result<(), Errno> {
    let nodes = sys_root()?.subdir("devices/system/node")?;
    for name in ["online", "possible", "has_cpu", "has_memory", "has_normal_memory"] {
        nodes.add_file(name, 0o444, |out| line(out, "0"))?;
    }
    nodes.add_file("has_generic_initiator", 0o444, |out| line(out, ""))?;
    let node = nodes.subdir("node0")?;
    node.add_file("cpumap", 0o444, |out| {
        let _ = put_mask(ONLINE.load().0, possible_cpus().0.count_ones() as usize, out);
        line(out, "")
    })?;
    node.add_file("cpulist", 0o444, |out| {
        let _ = put_list(ONLINE.load().0, out);
        line(out, "")
    })?;
    node.add_file("distance", 0o444, |out| line(out, "10"))?;
    node.add_file("meminfo", 0o444, meminfo)
}
