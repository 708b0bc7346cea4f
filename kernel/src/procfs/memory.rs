//! `/proc/{meminfo,vmstat,buddyinfo,zoneinfo,slabinfo}`.

use crate::mm;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_fs::cache::mapping::nr_file_pages;
use vigil_fs::proc::add_file;
use vigil_fs::vnode::SeqBuf;
use vigil_mem::PAGE_SHIFT;
use vigil_mem::page_alloc::{Item, item, meminfo as totals, zone_stats};
use vigil_mem::slab;

pub(super) fn init() -> Result<(), Errno> {
    add_file("buddyinfo", 0o444, buddyinfo)?;
    add_file("meminfo", 0o444, meminfo)?;
    add_file("slabinfo", 0o400, slabinfo)?;
    add_file("vmstat", 0o444, vmstat)?;
    add_file("zoneinfo", 0o444, zoneinfo)
}

/// The vmalloc area, KiB, as Linux on arm64 with 48 bits has it; ours differs in place, not in order of magnitude.
fn vmalloc_kib() -> usize {
    use crate::arch::aarch64::{mmu_kernel::IOREMAP_START, mmu_layout::VMALLOC_START};
    (IOREMAP_START - VMALLOC_START) >> 10
}

fn meminfo(out: &mut SeqBuf) -> Result<(), Errno> {
    let memory = totals();
    let kb = |pages: usize| pages << (PAGE_SHIFT - 10);
    let get = |i: Item| kb(item(i));
    let active = get(Item::ActiveAnon) + get(Item::ActiveFile);
    let inactive = get(Item::InactiveAnon) + get(Item::InactiveFile);
    // All page cache belongs to tmpfs so far: what Linux counts as cached and as shared.
    let cached = kb(nr_file_pages() as usize);
    let (reclaimable, other) = (get(Item::SlabReclaimable), get(Item::SlabUnreclaimable));
    for (name, value) in [
        ("MemTotal", kb(memory.total)),
        ("MemFree", kb(memory.free)),
        ("MemAvailable", kb(memory.available)),
        ("Buffers", 0),
        ("Cached", cached),
        ("SwapCached", 0),
        ("Active", active),
        ("Inactive", inactive),
        ("Active(anon)", get(Item::ActiveAnon)),
        ("Inactive(anon)", get(Item::InactiveAnon)),
        ("Active(file)", get(Item::ActiveFile)),
        ("Inactive(file)", get(Item::InactiveFile)),
        ("Unevictable", 0),
        ("Mlocked", get(Item::Mlock)),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", get(Item::Dirty)),
        ("Writeback", get(Item::Writeback)),
        ("AnonPages", get(Item::AnonMapped)),
        ("Mapped", get(Item::FileMapped)),
        ("Shmem", cached),
        ("KReclaimable", reclaimable),
        ("Slab", reclaimable + other),
        ("SReclaimable", reclaimable),
        ("SUnreclaim", other),
        ("KernelStack", item(Item::KernelStackKb)),
        ("PageTables", get(Item::PageTables)),
        ("SecPageTables", 0),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", kb(memory.total / 2)),
        ("Committed_AS", kb(mm::committed())),
        ("VmallocTotal", vmalloc_kib()),
        ("VmallocUsed", get(Item::Vmalloc)),
        ("VmallocChunk", 0),
        ("Percpu", 0),
    ] {
        // Linux: the name with its colon takes 16 columns, the figure 8.
        let _ = writeln!(out, "{name}:{:width$}{value:>8} kB", "", width = 15usize.saturating_sub(name.len()));
    }
    Ok(())
}

fn vmstat(out: &mut SeqBuf) -> Result<(), Errno> {
    let memory = totals();
    for (name, value) in [
        ("nr_free_pages", memory.free),
        ("nr_inactive_anon", item(Item::InactiveAnon)),
        ("nr_active_anon", item(Item::ActiveAnon)),
        ("nr_inactive_file", item(Item::InactiveFile)),
        ("nr_active_file", item(Item::ActiveFile)),
        ("nr_mlock", item(Item::Mlock)),
        ("nr_slab_reclaimable", item(Item::SlabReclaimable)),
        ("nr_slab_unreclaimable", item(Item::SlabUnreclaimable)),
        ("nr_anon_pages", item(Item::AnonMapped)),
        ("nr_mapped", item(Item::FileMapped)),
        ("nr_file_pages", nr_file_pages() as usize),
        ("nr_dirty", item(Item::Dirty)),
        ("nr_writeback", item(Item::Writeback)),
        ("nr_shmem", nr_file_pages() as usize),
        ("nr_kernel_stack", item(Item::KernelStackKb)),
        ("nr_page_table_pages", item(Item::PageTables)),
        ("pgfault", item(Item::PgFault)),
        ("pgmajfault", item(Item::PgMajFault)),
        ("allocstall_normal", memory.stalls),
        ("slabs_scanned", memory.scanned),
        ("pageoutrun", memory.reclaims),
        ("oom_kill", mm::oom::kills()),
    ] {
        let _ = writeln!(out, "{name} {value}");
    }
    Ok(())
}

fn buddyinfo(out: &mut SeqBuf) -> Result<(), Errno> {
    for zone in zone_stats() {
        let _ = write!(out, "Node 0, zone {:>8} ", zone.name);
        for blocks in zone.blocks {
            let _ = write!(out, "{blocks:>6} ");
        }
        out.put(b"\n");
    }
    Ok(())
}

fn zoneinfo(out: &mut SeqBuf) -> Result<(), Errno> {
    for zone in zone_stats() {
        let [min, low, high] = zone.marks;
        let _ = write!(
            out,
            "Node 0, zone {:>8}\n  pages free     {}\n        min      {min}\n        low      {low}\n        high     {high}\n        \
             spanned  {}\n        present  {}\n        managed  {}\n",
            zone.name, zone.free, zone.spanned, zone.managed, zone.managed
        );
        let _ = write!(out, "      nr_free_pages {}\n  node_unreclaimable:  0\n  start_pfn:           {}\n", zone.free, zone.start_pfn);
    }
    Ok(())
}

fn slabinfo(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(
        b"slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
          : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
    );
    for cache in slab::caches() {
        let s = cache.info();
        let _ = writeln!(
            out,
            "{:<17} {:>6} {:>6} {:>6} {:>4} {:>4} : tunables {:>4} {:>4} {:>4} : slabdata {:>6} {:>6} {:>6}",
            s.name, s.active_objs, s.num_objs, s.objsize, s.objperslab, s.pagesperslab, 0, 0, 0, s.num_slabs, s.num_slabs, 0
        );
    }
    Ok(())
}
