//! Memory at boot: from the device tree to the page allocator.
//!
//! memblock is filled by [`super::layout`], the linear map is made, the tables are checked, and the page allocator and the
//! heap take over.

use super::layout::fill;
use super::params::Params;
use crate::arch::aarch64::mmu_kernel::{KernelIoMapper, VmallocMapper};
use crate::arch::aarch64::mmu_layout::{PAGE_SIZE, VMALLOC_START};
use crate::arch::aarch64::{mmu, mmu_kernel, selftest};
use crate::{pr_debug, pr_err, pr_info, pr_warn};
use core::ops::Range;
use vigil_drivers::dt::{Dtb, early};
use vigil_drivers::model;
use vigil_executor::stack::STACK_SIZE;
use vigil_mem::memblock::{MEMBLOCK, TooManyRegions};
use vigil_mem::page_alloc::{self, Gfp, alloc_pages};
use vigil_mem::slab::KernelAllocator;
use vigil_mem::{PhysAddr, VirtAddr, vmalloc};

/// The heap: null until the page allocator runs.
#[global_allocator]
static HEAP: KernelAllocator = KernelAllocator;

/// Brings memory up to the heap. Returns where the initrd is. A machine whose memory cannot be used stops here: there is
/// nothing to fall back on.
pub fn init(dtb: &Dtb<'_>, dtb_phys: u64, params: &Params<'_>) -> Option<Range<PhysAddr>> {
    let image = mmu::kimage_to_phys(mmu::text_start()) as usize;
    let image = image..image + mmu::image_size();
    let mut memory = MEMBLOCK.lock();
    let initrd = match fill(&mut memory, dtb, dtb_phys, image, params.mem) {
        Ok(initrd) => initrd,
        Err(TooManyRegions) => {
            pr_warn!("more memory regions than memblock holds: some memory is not used");
            None
        }
    };
    if early::chosen(dtb).initrd.is_some() && initrd.is_none() {
        pr_err!("the initrd is not in memory: ignored");
    }
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
        Ok(r) => pr_info!(
            "Checked W+X mappings: passed, no W+X pages found ({} leaves, linear map {} KiB in {})",
            r.leaves,
            r.linear >> 10,
            r.linear_leaves
        ),
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
