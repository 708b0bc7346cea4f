//! From memblock to a running page allocator.

use super::buddy::MAX_ORDER;
use super::zone;
use crate::addr::{PAGE_SIZE, Pfn, PhysAddr, align_down, align_up, phys_to_virt};
use crate::memblock::MEMBLOCK;
use crate::page::{Page, PageFlags, init_mem_map, mem_map_range, page_at, page_of};

/// Why the allocator could not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemInitError {
    /// memblock knows of no memory.
    NoMemory,
    /// There is no room for the memory map (64 bytes a page, contiguous).
    NoRoomForMap,
}

/// Starts the page allocator with what memblock says. Afterwards memblock is a record only.
///
/// Costs about two instructions a page of RAM (the memory map is zeroed by blocks) and some more for each reserved one.
///
/// # Safety
/// Once, by the boot CPU, with the linear map set and all mappable memory mapped in it as normal memory.
pub unsafe fn init() -> Result<(), MemInitError> {
    crate::arch::detect();
    let mut memblock = MEMBLOCK.lock();
    let block = PAGE_SIZE << (MAX_ORDER - 1);
    let regions = memblock.memory().as_slice();
    let (Some(lowest), Some(highest)) = (regions.first(), regions.last()) else { return Err(MemInitError::NoMemory) };
    let start = align_down(lowest.base, block) / PAGE_SIZE;
    let end = align_up(highest.end(), block).ok_or(MemInitError::NoMemory)? / PAGE_SIZE;
    let bytes = align_up((end - start) * size_of::<Page>(), PAGE_SIZE).ok_or(MemInitError::NoRoomForMap)?;
    let map = memblock.alloc(bytes, PAGE_SIZE).ok_or(MemInitError::NoRoomForMap)?;
    let virt = phys_to_virt(map).as_ptr::<u8>();
    // SAFETY: fresh from memblock and mapped (the caller's contract); page-aligned. It becomes the memory map once.
    unsafe {
        crate::arch::zero_pages(virt, bytes / PAGE_SIZE);
        init_mem_map(virt.cast(), Pfn::new(start), end - start);
    }
    zone::init_zones(start, end);
    let mut at = start;
    memblock.for_each_free_pages(|from, to| {
        mark_reserved(at, from.pfn().get(), &memblock);
        // SAFETY: memory that nobody has taken, in the map, its descriptors zero.
        unsafe { zone::adopt(from.pfn().get(), to.pfn().get()) };
        at = to.pfn().get();
    });
    mark_reserved(at, end, &memblock);
    zone::choose_preferred();
    zone::set_min_free_kbytes(None);
    Ok(())
}

/// Marks the frames that the allocator does not get. Memory that somebody uses has a reference; a hole has none.
fn mark_reserved(from: usize, to: usize, memblock: &crate::memblock::MemBlock) {
    let mut pfn = from;
    while pfn < to {
        // A whole run of the same kind at once: the lists are searched once a region, not once a page.
        let addr = Pfn::new(pfn).phys().get();
        let (is_memory, stop) = match memblock.memory().find(addr) {
            Some(r) => (!r.nomap, r.end()),
            None => {
                let next = memblock.memory().as_slice().iter().map(|r| r.base).find(|b| *b > addr);
                (false, next.unwrap_or(usize::MAX))
            }
        };
        let stop = (stop / PAGE_SIZE).clamp(pfn + 1, to);
        for p in pfn..stop {
            // SAFETY: inside of the map.
            let page = unsafe { page_at(p) };
            page.reset_flags(PageFlags::RESERVED);
            page.set_refcount(is_memory as u32);
        }
        pfn = stop;
    }
}

/// Gives reserved memory to the allocator: the initrd after it was unpacked, `.init`, the device tree. Whole pages inside of
/// `start..end` only. Returns how many.
///
/// # Safety
/// The memory was reserved in memblock, is mapped, and nobody uses it any more.
pub unsafe fn free_reserved_range(start: PhysAddr, end: PhysAddr) -> usize {
    let (first, last) = mem_map_range();
    let Some(from) = align_up(start.get(), PAGE_SIZE) else { return 0 };
    let (from, to) = ((from / PAGE_SIZE).max(first.get()), (end.get() / PAGE_SIZE).min(last.get()));
    let mut freed = 0;
    let mut run = from;
    for pfn in from..to.max(from) {
        let ours = page_of(Pfn::new(pfn)).is_some_and(|p| p.has(PageFlags::RESERVED) && p.refcount() == 1);
        if ours {
            // SAFETY: inside of the map.
            let page = unsafe { page_at(pfn) };
            page.reset_flags(PageFlags::empty());
            page.set_refcount(0);
            freed += 1;
        } else {
            // SAFETY: the run up to here was reserved, is not used (the caller's contract) and was reset above.
            unsafe { adopt_run(run, pfn) };
            run = pfn + 1;
        }
    }
    // SAFETY: as above.
    unsafe { adopt_run(run, to) };
    freed
}

/// # Safety
/// As `zone::adopt`.
unsafe fn adopt_run(from: usize, to: usize) {
    if from < to {
        // SAFETY: by the caller's contract.
        unsafe { zone::adopt(from, to) }
    }
}
