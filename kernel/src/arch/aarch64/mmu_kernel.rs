//! The kernel's mappings beyond the image: the linear map, ioremap, and pages for vmalloc.
//!
//! Locks: every change after the linear map holds `LOCK` (a leaf but for the allocator of table pages, which may be called
//! under it). Mappings are added to empty entries or removed, never changed in place, so break-before-make holds by
//! construction; a removal invalidates on all CPUs before it returns. Tables are never freed: the vmalloc area's are few and
//! are used again.

use super::mmu::{self, PoolTables, kernel_root, set_fixmap};
use super::mmu_layout::{FixSlot, LINEAR_BASE, LINEAR_END, PAGE_SIZE, VMALLOC_END};
use super::mmu_tlb;
use super::pgtable_kernel::{self as pt, ENTRIES, Granule, Leaf, MapError, Prot, Tables};
use core::ops::Range;
use core::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use vigil_abi::Errno;
use vigil_drivers::model::{IoMapper, Mmio};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_mem::memblock::{MEMBLOCK, MemBlock, Region};
use vigil_mem::vmalloc::{KernelMapper, KernelProt};
use vigil_mem::{AllocError, PhysAddr, VirtAddr, phys_to_virt};

/// Whether the linear map covers all tables.
static LINEAR: AtomicBool = AtomicBool::new(false);
/// Where table pages come from once the page allocator runs; before, from memblock.
static ALLOC: spin::Once<fn() -> Option<PhysAddr>> = spin::Once::new();
static LOCK: SpinLock<()> = SpinLock::new(lock_class!("kernel_tables"), ());

/// From now on table pages come from `f`, which gives one zeroed page. Any context that `map_kernel_pages` is called in.
pub fn set_table_allocator(f: fn() -> Option<PhysAddr>) {
    ALLOC.call_once(|| f);
}

/// Reaches tables through the fixmap, takes them from the pool and then from memblock. The boot CPU alone.
struct EarlyTables<'a> {
    memory: &'a mut MemBlock,
}

/// The entry's address while the linear map does not exist.
fn early_entry(table: u64, index: usize) -> *mut u64 {
    PoolTables::entry(table, index).unwrap_or_else(|| {
        // SAFETY: the boot CPU is alone, `Table` is used by this function only, and tables are ours to read and write.
        (unsafe { set_fixmap(FixSlot::Table, table, Prot::DATA) } + index * 8) as *mut u64
    })
}

impl Tables for EarlyTables<'_> {
    fn alloc(&mut self) -> Option<u64> {
        if let Some(table) = PoolTables.alloc() {
            return Some(table);
        }
        let page = self.memory.alloc(PAGE_SIZE, PAGE_SIZE)?.get() as u64;
        // SAFETY: as above, for `Scratch`; the page was just reserved for us.
        unsafe { (set_fixmap(FixSlot::Scratch, page, Prot::DATA) as *mut [u64; ENTRIES]).write_volatile([0; ENTRIES]) };
        Some(page)
    }
    fn read(&mut self, table: u64, index: usize) -> u64 {
        // SAFETY: `early_entry` answers a mapped entry.
        unsafe { early_entry(table, index).read_volatile() }
    }
    fn write(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as in `read`; the boot CPU is alone.
        unsafe { early_entry(table, index).write_volatile(value) };
    }
}

/// Reaches tables through the linear map.
struct LinearTables;

impl LinearTables {
    fn entry(table: u64, index: usize) -> *mut u64 {
        (phys_to_virt(PhysAddr::new(table as usize)).get() + index * 8) as *mut u64
    }
}

impl Tables for LinearTables {
    fn alloc(&mut self) -> Option<u64> {
        if let Some(f) = ALLOC.get() {
            return Some(f()?.get() as u64);
        }
        let page = MEMBLOCK.lock().alloc(PAGE_SIZE, PAGE_SIZE)?;
        // SAFETY: memblock gave the page to us, and the linear map covers it.
        unsafe { (phys_to_virt(page).get() as *mut [u64; ENTRIES]).write_volatile([0; ENTRIES]) };
        mmu_tlb::publish();
        Some(page.get() as u64)
    }
    fn read(&mut self, table: u64, index: usize) -> u64 {
        // SAFETY: tables are memory, which the linear map covers; they are never freed.
        unsafe { Self::entry(table, index).read_volatile() }
    }
    fn write(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as in `read`; changes hold `LOCK`.
        unsafe { Self::entry(table, index).write_volatile(value) };
    }
}

/// Maps all memory of `memory` that may be mapped at `LINEAR_BASE` + physical address: the image's text and read-only data
/// read-only, everything else writable, nothing executable; in the largest blocks that cover nothing else.
///
/// # Safety
/// Once, on the boot CPU while it is alone.
pub unsafe fn map_linear(memory: &mut MemBlock) -> Result<(), MapError> {
    let mut regions = [Region::default(); vigil_mem::memblock::MAX_REGIONS];
    let list = memory.memory().as_slice();
    let count = list.len();
    regions[..count].copy_from_slice(list);
    let read_only = mmu::kimage_to_phys(mmu::text_start()) as usize..mmu::kimage_to_phys(mmu::rodata_end()) as usize;
    let mut tables = EarlyTables { memory };
    for r in regions[..count].iter().filter(|r| !r.nomap) {
        let page = r.base.next_multiple_of(PAGE_SIZE)..r.end() & !(PAGE_SIZE - 1);
        map_piece(&mut tables, page.start..page.end.min(read_only.start), Prot::DATA)?;
        map_piece(&mut tables, page.start.max(read_only.start)..page.end.min(read_only.end), Prot::RODATA)?;
        map_piece(&mut tables, page.start.max(read_only.end)..page.end, Prot::DATA)?;
    }
    mmu_tlb::publish();
    vigil_mem::addr::set_linear_offset(LINEAR_BASE);
    LINEAR.store(true, Release);
    Ok(())
}

fn map_piece(t: &mut EarlyTables<'_>, phys: Range<usize>, prot: Prot) -> Result<(), MapError> {
    let end = phys.end.min(LINEAR_END - LINEAR_BASE);
    if phys.start >= end {
        return Ok(());
    }
    pt::map(t, kernel_root(), LINEAR_BASE + phys.start, phys.start as u64, end - phys.start, prot, Granule::Largest)
}

/// Maps `size` bytes of physical memory at `phys` as single pages at `va`, both multiples of a page. May be called in any
/// context in which the page allocator may be. On an error nothing stays mapped.
pub fn map_kernel_pages(va: usize, phys: PhysAddr, size: usize, prot: Prot) -> Result<(), MapError> {
    let _lock = LOCK.lock_irq();
    let before = va;
    let result = pt::map(&mut LinearTables, kernel_root(), va, phys.get() as u64, size, prot, Granule::Pages);
    if result == Err(MapError::NoMemory) {
        // Pages below the one that failed are ours; a second look-up finds where to stop.
        let mut at = before;
        while at < before + size && pt::unmap_page(&mut LinearTables, kernel_root(), at).is_some() {
            at += PAGE_SIZE;
        }
        mmu_tlb::flush_range(before, (at - before) / PAGE_SIZE);
    }
    mmu_tlb::publish();
    result
}

/// Removes the single pages in `size` bytes at `va` and their translations on all CPUs. Holes are skipped.
pub fn unmap_kernel_pages(va: usize, size: usize) {
    let _lock = LOCK.lock_irq();
    for i in 0..size / PAGE_SIZE {
        pt::unmap_page(&mut LinearTables, kernel_root(), va + i * PAGE_SIZE);
    }
    mmu_tlb::flush_range(va, size / PAGE_SIZE);
}

/// The leaf that maps `va` in the kernel's tables. Any context; a mapping that is removed meanwhile may still show.
pub fn lookup(va: usize) -> Option<Leaf> {
    if LINEAR.load(Acquire) { pt::lookup(&mut LinearTables, kernel_root(), va) } else { pt::lookup(&mut PoolTables, kernel_root(), va) }
}

/// Calls `f` with each leaf of the kernel's tables, ascending. Nothing may be mapped meanwhile.
pub fn walk<E>(f: &mut dyn FnMut(usize, Leaf) -> Result<(), E>) -> Result<(), E> {
    pt::walk(&mut LinearTables, kernel_root(), LINEAR_BASE, f)
}

/// Bytes at the end of the vmalloc area that belong to ioremap.
const IOREMAP_SIZE: usize = 4 << 30;
/// Start of ioremap's part; vmalloc's own ends here.
pub const IOREMAP_START: usize = VMALLOC_END - IOREMAP_SIZE;
/// The next free address. Registers stay mapped for ever, so a counter is all the bookkeeping.
static IOREMAP_NEXT: AtomicUsize = AtomicUsize::new(IOREMAP_START);

/// Maps `size` bytes of registers at `phys` as Device-nGnRE; returns the virtual address of `phys`. EINVAL: empty, wraps
/// around, or memory (which must not have two memory types). ENOMEM: no address space or table page.
pub fn ioremap(phys: u64, size: usize) -> Result<*mut u8, Errno> {
    let offset = phys as usize & (PAGE_SIZE - 1);
    let start = phys as usize - offset;
    let end = (phys as usize).checked_add(size).and_then(|e| e.checked_next_multiple_of(PAGE_SIZE)).ok_or(Errno::EINVAL)?;
    if size == 0 || end > 1 << 48 {
        return Err(Errno::EINVAL);
    }
    if MEMBLOCK.lock().memory().as_slice().iter().any(|r| r.base < end && start < r.end()) {
        return Err(Errno::EINVAL);
    }
    // A page between two windows stays unmapped.
    let span = end - start + PAGE_SIZE;
    let va =
        IOREMAP_NEXT.fetch_update(Relaxed, Relaxed, |v| v.checked_add(span).filter(|e| *e <= VMALLOC_END)).map_err(|_| Errno::ENOMEM)?;
    map_kernel_pages(va, PhysAddr::new(start), end - start, Prot::DEVICE).map_err(|_| Errno::ENOMEM)?;
    Ok((va + offset) as *mut u8)
}

/// vmalloc's way to the kernel's tables.
#[derive(Debug)]
pub struct VmallocMapper;

impl KernelMapper for VmallocMapper {
    fn map(&self, virt: VirtAddr, phys: PhysAddr, prot: KernelProt) -> Result<(), AllocError> {
        let prot = match prot {
            KernelProt::ReadWrite => Prot::DATA,
            KernelProt::ReadOnly => Prot::RODATA,
            KernelProt::Device => Prot::DEVICE,
            KernelProt::WriteCombine => Prot::NC,
        };
        map_kernel_pages(virt.get(), phys, PAGE_SIZE, prot).map_err(|_| AllocError)
    }

    fn unmap(&self, virt: VirtAddr) {
        let _lock = LOCK.lock_irq();
        // A hole is not vmalloc's doing: there is nothing to take away.
        let _ = pt::unmap_page(&mut LinearTables, kernel_root(), virt.get());
    }

    fn flush(&self, range: Range<VirtAddr>) {
        mmu_tlb::flush_range(range.start.get(), range.end.get().saturating_sub(range.start.get()) / PAGE_SIZE);
    }
}

/// The drivers' way to [`ioremap`].
#[derive(Debug)]
pub struct KernelIoMapper;

impl IoMapper for KernelIoMapper {
    fn ioremap(&self, phys: PhysAddr, size: usize) -> Result<Mmio, Errno> {
        let base = ioremap(phys.get() as u64, size)?;
        // SAFETY: the window was just mapped, `size` bytes long, and is never unmapped.
        Ok(unsafe { Mmio::new(base, size) })
    }
}
