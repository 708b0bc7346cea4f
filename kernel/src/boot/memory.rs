//! Memory at boot: from the device tree to the page allocator.
//!
//! memblock gets what `/memory` describes, less what must not be touched: the image, the device tree, the initrd,
//! `/memreserve/` and `/reserved-memory` (`no-map` ranges are not even mapped), and what `mem=` cuts off. Then the linear map is
//! made, the tables are checked, and the page allocator and the heap take over.

use super::params::Params;
use crate::arch::aarch64::mmu_kernel::{KernelIoMapper, VmallocMapper};
use crate::arch::aarch64::mmu_layout::{LINEAR_BASE, LINEAR_END, PAGE_SIZE, VMALLOC_START};
use crate::arch::aarch64::{mmu, mmu_kernel, selftest};
use crate::{pr_debug, pr_err, pr_info, pr_warn};
use core::ops::Range;
use vigil_drivers::dt::{Dtb, early};
use vigil_drivers::model;
use vigil_executor::stack::STACK_SIZE;
use vigil_mem::{PhysAddr, VirtAddr, vmalloc};
use vigil_mem::memblock::{MEMBLOCK, MemBlock, TooManyRegions};
use vigil_mem::page_alloc::{self, Gfp, alloc_pages};
use vigil_mem::slab::KernelAllocator;

/// The heap: null until the page allocator runs.
#[global_allocator]
static HEAP: KernelAllocator = KernelAllocator;

/// The pages that `base..base + size` touches, clipped to what the linear map can cover.
fn pages(base: u64, size: u64) -> (PhysAddr, usize) {
    let start = base as usize & !(PAGE_SIZE - 1);
    let end = (base as usize).saturating_add(size as usize).min(LINEAR_END - LINEAR_BASE).next_multiple_of(PAGE_SIZE);
    (PhysAddr::new(start), end.saturating_sub(start))
}

/// Fills memblock. Returns the initrd, in whole pages' memory of its own.
fn fill(memory: &mut MemBlock, dtb: &Dtb<'_>, dtb_phys: u64, params: &Params<'_>) -> Result<Option<Range<PhysAddr>>, TooManyRegions> {
    let mut result = Ok(());
    let mut keep = |r: Result<(), TooManyRegions>| result = result.and(r);
    early::memory(dtb, |r| {
        // Whole pages inside the region.
        let start = (r.base as usize).checked_next_multiple_of(PAGE_SIZE).unwrap_or(usize::MAX);
        let end = (r.base as usize).saturating_add(r.size as usize).min(LINEAR_END - LINEAR_BASE) & !(PAGE_SIZE - 1);
        if start < end {
            keep(memory.add(PhysAddr::new(start), end - start));
        }
    });
    if let Some(limit) = params.mem {
        keep(memory.enforce_limit(limit as usize & !(PAGE_SIZE - 1)));
    }
    let image = PhysAddr::new(mmu::kimage_to_phys(mmu::text_start()) as usize);
    keep(memory.reserve(image, mmu::image_size()));
    // With `mem=` the image, the tree and the initrd may lie above the limit: their own pages are mapped all the same
    // (Linux does so for the initrd: arm64_memblock_init).
    let (dtb_start, dtb_len) = pages(dtb_phys, dtb.total_size() as u64);
    keep(memory.add(image, mmu::image_size()));
    keep(memory.add(dtb_start, dtb_len));
    let mut reserve = |base: u64, size: u64| {
        let (start, len) = pages(base, size);
        if len != 0 {
            keep(memory.reserve(start, len));
        }
    };
    reserve(dtb_phys, dtb.total_size() as u64);
    for r in dtb.reserve_map() {
        reserve(r.base, r.size);
    }
    let mut initrd = None;
    if let Some(r) = early::chosen(dtb).initrd.filter(|r| r.start < r.end) {
        let (start, len) = pages(r.start, r.end - r.start);
        reserve(r.start, r.end - r.start);
        if r.end as usize <= LINEAR_END - LINEAR_BASE && memory.add(start, len).is_ok() {
            initrd = Some(PhysAddr::new(r.start as usize)..PhysAddr::new(r.end as usize));
        } else {
            pr_err!("initrd at {:#x} is out of reach: ignored", r.start);
        }
    }
    let mut bad = None;
    early::reserved_memory(dtb, |r| {
        let (start, len) = pages(r.region.base, r.region.size);
        if len != 0 {
            let done = if r.no_map { memory.mark_nomap(start, len) } else { memory.reserve(start, len) };
            bad = bad.or(done.err());
        }
    });
    bad.map_or(result, Err).map(|()| initrd)
}

/// Brings memory up to the heap. Returns where the initrd is. A machine whose memory cannot be used stops here: there is
/// nothing to fall back on.
pub fn init(dtb: &Dtb<'_>, dtb_phys: u64, params: &Params<'_>) -> Option<Range<PhysAddr>> {
    let mut memory = MEMBLOCK.lock();
    let initrd = match fill(&mut memory, dtb, dtb_phys, params) {
        Ok(initrd) => initrd,
        Err(TooManyRegions) => {
            pr_warn!("more memory regions than memblock holds: some memory is not used");
            None
        }
    };
    if memory.memory().total() == 0 {
        panic!("the device tree describes no memory");
    }
    // SAFETY: the boot CPU is alone, and this is the only call.
    if let Err(e) = unsafe { mmu_kernel::map_linear(&mut memory) } {
        panic!("cannot map memory: {e:?}");
    }
    for r in memory.memory().as_slice() {
        pr_info!("memory: [mem {:#018x}-{:#018x}]{}", r.base, r.end() - 1, if r.nomap { " no-map" } else { "" });
    }
    pr_info!("memory: {} KiB, {} KiB reserved", memory.memory().total() >> 10, memory.reserved().total() >> 10);
    drop(memory);
    match selftest::check_tables() {
        Ok(r) => pr_info!("Checked W+X mappings: passed, no W+X pages found ({} leaves, linear map {} KiB in {})", r.leaves, r.linear >> 10, r.linear_leaves),
        Err((va, flaw)) => panic!("page tables: {flaw:?} at {va:#x}"),
    }
    // SAFETY: memblock is complete, and the linear map covers what it calls memory; the boot CPU is alone.
    if let Err(e) = unsafe { page_alloc::init() } {
        panic!("cannot start the page allocator: {e:?}");
    }
    mmu_kernel::set_table_allocator(|| alloc_pages(0, Gfp::ATOMIC | Gfp::ZERO).map(|p| p.phys()));
    // SAFETY: the gaps are mapped nowhere but in the linear map, and nothing is in them.
    let gaps = mmu::boot_stack_gaps().map(|va| unsafe {
        let start = PhysAddr::new(mmu::kimage_to_phys(va) as usize);
        page_alloc::free_reserved_range(start, start.offset(STACK_SIZE))
    });
    let area = VirtAddr::new(VMALLOC_START)..VirtAddr::new(mmu_kernel::IOREMAP_START);
    if vmalloc::init(area, &VmallocMapper).is_err() {
        panic!("no memory for vmalloc");
    }
    model::set_io_mapper(&KernelIoMapper);
    let stat = page_alloc::meminfo();
    pr_debug!("boot stacks: {}K of gaps freed", gaps.iter().sum::<usize>() * PAGE_SIZE >> 10);
    pr_info!("Memory: {}K/{}K available", stat.free * PAGE_SIZE >> 10, stat.total * PAGE_SIZE >> 10);
    initrd
}

/// Gives the initrd's memory to the page allocator once it was unpacked; returns its bytes. `BootInfo::initrd` must not be
/// read any more.
///
/// # Safety
/// Once, and nothing refers to the initrd's bytes.
pub unsafe fn free_initrd(initrd: &Range<PhysAddr>) -> usize {
    let start = PhysAddr::new(initrd.start.get().next_multiple_of(PAGE_SIZE));
    let end = initrd.end.page_start();
    if start >= end {
        return 0;
    }
    // SAFETY: the range was reserved for the initrd alone, whose user is gone by the caller's contract. Partial pages at its
    // ends stay reserved: something else may be in them.
    let pages = unsafe { page_alloc::free_reserved_range(start, end) };
    pr_info!("Freeing initrd memory: {}K", pages * PAGE_SIZE >> 10);
    pages * PAGE_SIZE
}
