//! Counters behind `/proc/meminfo`, `/proc/vmstat`, `/proc/buddyinfo` and `/proc/zoneinfo`.

use super::buddy::MAX_ORDER;
use super::zone::{Watermark, ZONES};
use super::{pcp, reclaim};
use crate::percpu::PerCpuCounter;
use core::sync::atomic::Ordering::Relaxed;

/// What is counted for others, in pages unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Item {
    /// Pages of the page cache, shmem included.
    FilePages,
    /// Anonymous pages that are mapped.
    AnonMapped,
    /// Page cache that is mapped.
    FileMapped,
    /// tmpfs and shared anonymous memory.
    Shmem,
    /// Dirty page cache.
    Dirty,
    /// Under write-back.
    Writeback,
    /// Slab that a shrinker can free.
    SlabReclaimable,
    /// Other slab.
    SlabUnreclaimable,
    /// Page tables.
    PageTables,
    /// Kernel stacks, in KiB.
    KernelStackKb,
    /// Mapped in the vmalloc range.
    Vmalloc,
    /// Locked by mlock.
    Mlock,
    /// On the active LRU, anonymous.
    ActiveAnon,
    /// On the inactive LRU, anonymous.
    InactiveAnon,
    /// On the active LRU, files.
    ActiveFile,
    /// On the inactive LRU, files.
    InactiveFile,
    /// Page faults (events).
    PgFault,
    /// Page faults with I/O (events).
    PgMajFault,
    /// Committed address space (Committed_AS).
    Committed,
}

const ITEMS: usize = Item::Committed as usize + 1;
static COUNTERS: [PerCpuCounter; ITEMS] = [const { PerCpuCounter::new(32) }; ITEMS];

/// Adds `n` to an item. Any context.
#[inline]
pub fn add_item(item: Item, n: isize) {
    COUNTERS[item as usize].add(n);
}

/// An item's value.
pub fn item(item: Item) -> usize {
    COUNTERS[item as usize].sum_positive()
}

/// One zone's figures, in pages.
#[derive(Clone, Copy, Debug)]
pub struct ZoneStat {
    /// "DMA32" or "Normal".
    pub name: &'static str,
    /// First frame.
    pub start_pfn: usize,
    /// Frames from the first to the last, holes included.
    pub spanned: usize,
    /// Under the allocator's care.
    pub managed: usize,
    /// Free.
    pub free: usize,
    /// Watermarks min, low, high.
    pub marks: [usize; 3],
    /// Free blocks of each order.
    pub blocks: [usize; MAX_ORDER],
}

/// The zones that have memory.
pub fn zone_stats() -> impl Iterator<Item = ZoneStat> {
    ZONES.iter().filter(|z| z.managed() != 0).map(|z| {
        let (start, end) = z.range();
        ZoneStat {
            name: z.name,
            start_pfn: start,
            spanned: end - start,
            managed: z.managed(),
            free: z.free(),
            marks: [z.mark(Watermark::Min), z.mark(Watermark::Low), z.mark(Watermark::High)],
            blocks: z.blocks(),
        }
    })
}

/// The whole machine's figures, in pages.
#[derive(Clone, Copy, Debug)]
pub struct MemStat {
    /// Under the allocator's care (MemTotal).
    pub total: usize,
    /// Free, the per-CPU lists included (MemFree; core-leak compares it).
    pub free: usize,
    /// Of these on the per-CPU lists.
    pub pcp: usize,
    /// What a new program could have without swapping (MemAvailable): free, less the reserve, and the half or more of the
    /// page cache and of the reclaimable slab (Linux: si_mem_available).
    pub available: usize,
    /// Requests that had to reclaim by themselves (allocstall).
    pub stalls: usize,
    /// Objects that shrinkers looked at (slabs_scanned).
    pub scanned: usize,
    /// Runs of the reclaimer (pageoutrun).
    pub reclaims: usize,
    /// Whether all zones are at their high marks.
    pub balanced: bool,
}

/// Pages under the allocator's care (MemTotal).
pub fn total_pages() -> usize {
    ZONES.iter().map(|z| z.managed()).sum()
}

/// The whole machine's figures.
pub fn meminfo() -> MemStat {
    let pcp = pcp::total();
    let low: usize = ZONES.iter().map(|z| z.mark(Watermark::Low)).sum();
    let reserve: usize = ZONES.iter().map(|z| z.mark(Watermark::High)).sum();
    let free = ZONES.iter().map(|z| z.free()).sum::<usize>() + pcp;
    let file = item(Item::FilePages).saturating_sub(item(Item::Shmem));
    let slab = item(Item::SlabReclaimable);
    let available = free.saturating_sub(reserve) + (file - (file / 2).min(low)) + (slab - (slab / 2).min(low));
    MemStat {
        total: total_pages(),
        free,
        pcp,
        available,
        stalls: reclaim::STALLS.load(Relaxed),
        scanned: reclaim::SCANNED.load(Relaxed),
        reclaims: reclaim::RUNS.load(Relaxed),
        balanced: reclaim::is_balanced(),
    }
}
