//! The kernel's own page tables (TTBR1): making them at boot, and changing them while the kernel runs.
//!
//! Three ways to reach a table: at its physical address before the jump to the virtual one (`build_kernel_tables`),
//! through the fixmap until the linear map exists, through the linear map afterwards. Rights are those of
//! DESIGN.md 5: text RX, rodata R, everything else NX; `selftest` proves it over all tables.
//!
//! This file has the image, the fixmap and the identity map; [`super::mmu_kernel`] the linear map and what is mapped later.

use super::boot::BootArgs;
use super::mmu_layout::{BLOCK_2M, FIXMAP_BASE, FIXMAP_FDT, FixSlot, PAGE_SIZE};
use super::mmu_tlb as tlb_kernel;
use super::pgtable_kernel::{self as pt, ADDR_MASK, ENTRIES, Granule, MapError, Prot, Tables};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use vigil_executor::stack::STACK_SIZE;

/// Tables of the image, the fixmap and the first part of the linear map.
const POOL_TABLES: usize = 48;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u64; ENTRIES]; POOL_TABLES]>);

// SAFETY: changed by the boot CPU while it is alone, and under the lock of `mmu_kernel` afterwards.
unsafe impl Sync for Pool {}

/// The first table is level 0 (Linux: swapper_pg_dir).
static POOL: Pool = Pool(UnsafeCell::new([[0; ENTRIES]; POOL_TABLES]));
static POOL_USED: AtomicUsize = AtomicUsize::new(0);
/// Physical address of the level-3 table of the fixmap.
static FIXMAP_TABLE: AtomicU64 = AtomicU64::new(0);
/// `virtual - physical` of the image; 0 until the jump.
static KIMAGE_OFFSET: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    static _text: u8;
    static _etext: u8;
    static __start_rodata: u8;
    static __end_rodata: u8;
    static _sdata: u8;
    static _end: u8;
    static boot_stacks_start: u8;
    static __idmap_text_start: u8;
    static __idmap_text_end: u8;
    static __idmap_tables_start: u8;
    static __idmap_tables_end: u8;
}

macro_rules! addr_of_symbol {
    ($($name:ident = $symbol:ident: $doc:literal;)*) => {$(
        #[doc = $doc]
        #[inline]
        pub fn $name() -> usize {
            // Only the address is taken: where the code runs now.
            (&raw const $symbol) as usize
        }
    )*};
}

addr_of_symbol! {
    text_start = _text: "First byte of the image and of its text.";
    text_end = _etext: "End of the text, exclusive.";
    rodata_start = __start_rodata: "First byte of the read-only data.";
    rodata_end = __end_rodata: "End of the read-only data, exclusive.";
    data_start = _sdata: "First byte of the writable data.";
    image_end = _end: "End of the image with .bss, exclusive.";
}

/// Bytes of the image with .bss.
pub fn image_size() -> usize {
    image_end() - text_start()
}

/// Whether `va` is in the image.
pub fn in_image(va: usize) -> bool {
    (text_start()..image_end()).contains(&va)
}

/// The physical address of `va`, which is in the image (a static, not the heap).
pub fn kimage_to_phys(va: usize) -> u64 {
    va.wrapping_sub(KIMAGE_OFFSET.load(Relaxed)) as u64
}

/// Physical address of the kernel's level-0 table.
pub fn kernel_root() -> u64 {
    kimage_to_phys(POOL.0.get() as usize)
}

/// Physical address of a table without entries, for TTBR0 while no user address space is active.
pub fn empty_root() -> u64 {
    kimage_to_phys((&raw const __idmap_tables_start) as usize)
}

/// Physical address of the level-0 table that maps the secondary entry code at its physical address.
pub fn idmap_root() -> u64 {
    empty_root() + PAGE_SIZE as u64
}

/// Takes tables from the pool and reaches them where the code runs now.
pub(super) struct PoolTables;

impl PoolTables {
    /// The entry's address, if the table is in the pool.
    pub(super) fn entry(table: u64, index: usize) -> Option<*mut u64> {
        let base = kimage_to_phys(POOL.0.get() as usize);
        let at = table.checked_sub(base)? as usize;
        if at >= size_of::<Pool>() || index >= ENTRIES {
            return None;
        }
        Some((POOL.0.get() as usize + at + index * 8) as *mut u64)
    }
}

impl Tables for PoolTables {
    fn alloc(&mut self) -> Option<u64> {
        let n = POOL_USED.load(Relaxed);
        if n == POOL_TABLES {
            return None;
        }
        POOL_USED.store(n + 1, Relaxed);
        Some(kimage_to_phys(POOL.0.get() as usize) + (n * PAGE_SIZE) as u64)
    }
    fn read(&mut self, table: u64, index: usize) -> u64 {
        // SAFETY: `entry` answers addresses in the pool only; entries are read and written by this CPU alone, and the walker.
        Self::entry(table, index).map_or(0, |p| unsafe { p.read_volatile() })
    }
    fn write(&mut self, table: u64, index: usize, value: u64) {
        if let Some(p) = Self::entry(table, index) {
            // SAFETY: as in `read`.
            unsafe { p.write_volatile(value) };
        }
    }
}

/// Builds the kernel's tables for an image at `image_va`; returns the physical address of the root.
///
/// # Safety
/// Once, at the load address, before anything else uses the pool.
pub(super) unsafe fn build_kernel_tables(args: &BootArgs, image_va: usize) -> u64 {
    let mut t = PoolTables;
    let mapped = map_image(&mut t, args, image_va);
    // There is no console yet: a kernel that does not fit its own pool stops here.
    if mapped.is_err() {
        super::cpu::park();
    }
    let root = POOL.0.get() as u64;
    // From the next relocation on the code runs at `image_va`; `.bss` is not relocated, so this must be set by hand.
    KIMAGE_OFFSET.store(image_va.wrapping_sub(args.image_phys as usize), Relaxed);
    root
}

fn map_image(t: &mut PoolTables, args: &BootArgs, image_va: usize) -> Result<(), MapError> {
    let root = t.alloc().ok_or(MapError::NoMemory)?;
    if super::early::kpti_wanted() {
        super::kpti::map_trampoline(t, root)?;
    }
    // Symbols are physical addresses here.
    let mut segment = |from: usize, to: usize, prot: Prot| {
        let va = from - args.image_phys as usize + image_va;
        pt::map(t, root, va, from as u64, to - from, prot, Granule::Largest)
    };
    segment(text_start(), text_end(), Prot::TEXT)?;
    segment(rodata_start(), rodata_end(), Prot::RODATA)?;
    // Below each of the three boot stacks is a gap of the same size, which stays unmapped.
    let mut from = data_start();
    for guard in boot_stack_gaps() {
        segment(from, guard, Prot::DATA)?;
        from = guard + STACK_SIZE;
    }
    segment(from, image_end(), Prot::DATA)?;
    FIXMAP_TABLE.store(pt::make_tables(t, root, FIXMAP_BASE)?, Relaxed);
    pt::make_block_tables(t, root, FIXMAP_FDT)
}

/// The gaps below the boot stacks, STACK_SIZE bytes each: not mapped in the image, so their memory is free for others.
pub fn boot_stack_gaps() -> [usize; 3] {
    [0, 1, 2].map(|n| (&raw const boot_stacks_start) as usize + n * 2 * STACK_SIZE)
}

/// Forgets the identity map of the boot: TTBR0 points at an empty table, and the identity map's own tables are rebuilt
/// to map only the secondary entry code, read-only and executable.
///
/// # Safety
/// On the boot CPU while it is alone, at the virtual address; nothing may be used through the identity map any more.
pub(super) unsafe fn leave_identity_map() {
    // SAFETY: user addresses are not used yet; the empty table maps nothing.
    unsafe { tlb_kernel::set_ttbr0(empty_root()) };
    let tables = (&raw const __idmap_tables_start) as usize;
    let end = (&raw const __idmap_tables_end) as usize;
    // SAFETY: the tables are in the image's writable part and are not walked any more: TTBR0 was changed, the TLB emptied.
    unsafe { core::ptr::write_bytes((tables + PAGE_SIZE) as *mut u8, 0, end - tables - PAGE_SIZE) };
    let text = (&raw const __idmap_text_start) as usize;
    let size = ((&raw const __idmap_text_end) as usize - text).next_multiple_of(PAGE_SIZE);
    let mut t = IdmapTables { used: 2 };
    // Four tables of the pool's sixteen suffice for a page, or two across a boundary; an error leaves no secondaries.
    let mapped = pt::map(&mut t, idmap_root(), kimage_to_phys(text) as usize, kimage_to_phys(text), size, Prot::TEXT, Granule::Pages);
    IDMAP_READY.store(mapped.is_ok(), Relaxed);
    tlb_kernel::publish();
}

/// Whether secondaries can be started.
static IDMAP_READY: AtomicBool = AtomicBool::new(false);

/// Whether the identity map for secondaries could be made.
pub fn idmap_ready() -> bool {
    IDMAP_READY.load(Relaxed)
}

/// The pool of the identity map, by its virtual address.
struct IdmapTables {
    used: usize,
}

impl Tables for IdmapTables {
    fn alloc(&mut self) -> Option<u64> {
        let table = empty_root() + (self.used * PAGE_SIZE) as u64;
        self.used += 1;
        let end = kimage_to_phys((&raw const __idmap_tables_end) as usize);
        (table < end).then_some(table)
    }
    fn read(&mut self, table: u64, index: usize) -> u64 {
        // SAFETY: tables come from `alloc` or are the root: all in the image's writable part.
        unsafe { (phys_to_kimage(table) as *const u64).add(index).read_volatile() }
    }
    fn write(&mut self, table: u64, index: usize, value: u64) {
        // SAFETY: as in `read`; no other CPU runs.
        unsafe { (phys_to_kimage(table) as *mut u64).add(index).write_volatile(value) };
    }
}

/// The image's virtual address of `pa`, which is in the image.
fn phys_to_kimage(pa: u64) -> usize {
    (pa as usize).wrapping_add(KIMAGE_OFFSET.load(Relaxed))
}

/// Maps the page at `phys` (rounded down) in `slot`; returns the virtual address of `phys` itself.
///
/// # Safety
/// While the boot CPU is alone, or other CPUs are held ([`FixSlot::Text`]). What the slot mapped before is gone; the caller must be the slot's only user, and `phys`
/// must be something that may be accessed with `prot`.
pub unsafe fn set_fixmap(slot: FixSlot, phys: u64, prot: Prot) -> usize {
    let entry = phys & ADDR_MASK | prot.bits() | 3;
    // SAFETY: the fixmap's table is in the pool; by the caller's contract nobody else changes it.
    unsafe {
        let p = (phys_to_kimage(FIXMAP_TABLE.load(Relaxed)) as *mut u64).add((slot.addr() - FIXMAP_BASE) / PAGE_SIZE);
        if p.read_volatile() == entry {
            return slot.addr() + (phys as usize & (PAGE_SIZE - 1));
        }
        // Break before make.
        p.write_volatile(0);
        tlb_kernel::flush_page(slot.addr());
        p.write_volatile(entry);
    }
    tlb_kernel::publish();
    slot.addr() + (phys as usize & (PAGE_SIZE - 1))
}

/// Maps nothing in `slot` any more.
///
/// # Safety
/// As [`set_fixmap`]; nobody uses what it maps.
pub unsafe fn clear_fixmap(slot: FixSlot) {
    // SAFETY: as in `set_fixmap`.
    unsafe {
        let p = (phys_to_kimage(FIXMAP_TABLE.load(Relaxed)) as *mut u64).add((slot.addr() - FIXMAP_BASE) / PAGE_SIZE);
        p.write_volatile(0);
    }
    tlb_kernel::flush_page(slot.addr());
}

/// Maps the 4 MiB around the device tree at `dtb` read-only in the fixmap; returns the tree's virtual address.
pub fn map_fdt(dtb: u64) -> Option<usize> {
    let base = dtb & !(BLOCK_2M as u64 - 1);
    let mut t = PoolTables;
    pt::map(&mut t, kernel_root(), FIXMAP_FDT, base, 2 * BLOCK_2M, Prot::RODATA, Granule::Largest).ok()?;
    tlb_kernel::publish();
    Some(FIXMAP_FDT + (dtb - base) as usize)
}
