//! Virtually contiguous kernel memory: areas in one range of addresses, each mapped page by page, with unmapped guard pages
//! around it. For kernel stacks, tables that are too large for contiguous pages, and device registers.
//!
//! The areas form a list by address. There are few (a waiting task owns no stack), so first fit over the list is enough.
//! Mapping needs the kernel's page tables: [`KernelMapper`].

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PhysAddr, VirtAddr, align_down, align_up};
use crate::error::AllocError;
use crate::kbox::KBox;
use crate::kvec::KVec;
use crate::page::Page;
use crate::page_alloc::{self, Gfp, Item};
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use vigil_executor::context::in_interrupt;
use vigil_executor::sync::SpinLock;
use vigil_executor::{arch, lock_class};

/// How a kernel page is mapped. Never executable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelProt {
    /// Normal memory, read and write.
    ReadWrite,
    /// Normal memory, read only.
    ReadOnly,
    /// Device-nGnRE registers.
    Device,
    /// Normal memory that is not cached, for devices that do not look into caches.
    WriteCombine,
}

/// The kernel's page tables. Set at boot.
pub trait KernelMapper: Sync {
    /// Maps the page at `virt`, which is not mapped, to `phys`. May allocate tables; does not wait. Visible to all CPUs when it
    /// returns.
    fn map(&self, virt: VirtAddr, phys: PhysAddr, prot: KernelProt) -> Result<(), AllocError>;
    /// Takes the mapping of the page at `virt` away. Stale TLB entries may live on until [`KernelMapper::flush`].
    fn unmap(&self, virt: VirtAddr);
    /// Removes TLB entries for the range on all CPUs.
    fn flush(&self, range: Range<VirtAddr>);
}

struct Area {
    start: usize,
    size: usize,
    /// The pages that it owns; none for device registers.
    pages: KVec<&'static Page>,
    next: Option<KBox<Area>>,
}

struct Areas {
    start: usize,
    end: usize,
    first: Option<KBox<Area>>,
}

struct Handle(&'static dyn KernelMapper);

static AREAS: SpinLock<Areas> = SpinLock::new(lock_class!("vmalloc"), Areas { start: 0, end: 0, first: None });
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
static MAPPER: AtomicPtr<Handle> = AtomicPtr::new(core::ptr::null_mut());

/// Starts with the addresses `range` (page-aligned, nothing mapped in it). Once at boot, after the page allocator.
pub fn init(range: Range<VirtAddr>, mapper: &'static dyn KernelMapper) -> Result<(), AllocError> {
    let handle = KBox::leak(KBox::try_new(Handle(mapper))?);
    let mut a = AREAS.lock();
    a.start = range.start.get();
    a.end = range.end.get();
    START.store(a.start, Ordering::Relaxed);
    END.store(a.end, Ordering::Relaxed);
    MAPPER.store(handle, Ordering::Release);
    Ok(())
}

fn mapper() -> Option<&'static dyn KernelMapper> {
    // SAFETY: null or the handle that `init` leaked.
    unsafe { MAPPER.load(Ordering::Acquire).as_ref() }.map(|h| h.0)
}

/// Whether `addr` lies in the range of addresses.
#[inline]
pub fn contains(addr: VirtAddr) -> bool {
    addr.get() >= START.load(Ordering::Relaxed) && addr.get() < END.load(Ordering::Relaxed)
}

impl Areas {
    /// The lowest address for `size` bytes aligned to `align`, with an unmapped page before and behind.
    fn place(&self, size: usize, align: usize) -> Option<usize> {
        let mut at = self.start;
        let mut area = self.first.as_deref();
        loop {
            let base = align_up(at.checked_add(PAGE_SIZE)?, align)?;
            let top = base.checked_add(size)?.checked_add(PAGE_SIZE)?;
            let limit = area.map_or(self.end, |a| a.start);
            if top <= limit {
                return Some(base);
            }
            let a = area?;
            at = a.start + a.size;
            area = a.next.as_deref();
        }
    }

    fn insert(&mut self, mut area: KBox<Area>) {
        let mut slot = &mut self.first;
        while slot.as_ref().is_some_and(|a| a.start < area.start) {
            match slot {
                Some(a) => slot = &mut a.next,
                None => return,
            }
        }
        area.next = slot.take();
        *slot = Some(area);
    }

    fn remove(&mut self, start: usize) -> Option<KBox<Area>> {
        let mut slot = &mut self.first;
        while slot.as_ref().is_some_and(|a| a.start != start) {
            match slot {
                Some(a) => slot = &mut a.next,
                None => return None,
            }
        }
        let mut area = slot.take()?;
        *slot = area.next.take();
        Some(area)
    }
}

/// Takes addresses for `size` bytes, a multiple of the page size, and notes them with `pages`.
fn reserve(size: usize, align: usize, pages: KVec<&'static Page>) -> Result<VirtAddr, KVec<&'static Page>> {
    let Ok(mut area) = KBox::try_new(Area { start: 0, size, pages: KVec::new(), next: None }) else { return Err(pages) };
    area.pages = pages;
    let mut areas = AREAS.lock();
    let Some(start) = areas.place(size, align.max(PAGE_SIZE)) else {
        drop(areas);
        return Err(KBox::into_inner(area).pages);
    };
    area.start = start;
    areas.insert(area);
    Ok(VirtAddr::new(start))
}

/// Unmaps `bytes` from `start` and gives the area's addresses and pages back.
fn release(mapper: &dyn KernelMapper, start: VirtAddr, bytes: usize) {
    for off in (0..bytes).step_by(PAGE_SIZE) {
        mapper.unmap(start.offset(off));
    }
    if bytes != 0 {
        mapper.flush(start..start.offset(bytes));
    }
    // Only now may the addresses and the pages be used again.
    let area = AREAS.lock().remove(start.get());
    if let Some(area) = area {
        page_alloc::add_item(Item::Vmalloc, -(area.pages.len() as isize));
        free_all(&area.pages);
    }
}

fn free_all(pages: &[&'static Page]) {
    for p in pages {
        page_alloc::free_pages(p, 0);
    }
}

/// `size` bytes (rounded up to pages) of memory, mapped in one piece at a multiple of `align`, a power of two, with a guard page
/// on both sides. `None` when memory, addresses or tables run out. Does not wait; not in an interrupt.
pub fn vmalloc_aligned(size: usize, align: usize, gfp: Gfp) -> Option<VirtAddr> {
    purge();
    let mapper = mapper()?;
    let size = align_up(size, PAGE_SIZE).filter(|s| *s != 0)?;
    let mut pages = KVec::new();
    pages.try_reserve_exact(size >> PAGE_SHIFT).ok()?;
    while pages.len() < size >> PAGE_SHIFT {
        let got = page_alloc::alloc_pages(0, gfp & !Gfp::MOVABLE).filter(|p| pages.push_reserved(*p).is_ok());
        if got.is_none() {
            free_all(&pages);
            return None;
        }
    }
    let count = pages.len();
    let mut frames = KVec::new();
    if frames.try_extend(pages.iter().map(|p| p.phys())).is_err() {
        free_all(&pages);
        return None;
    }
    let start = match reserve(size, align, pages) {
        Ok(start) => start,
        Err(pages) => {
            free_all(&pages);
            return None;
        }
    };
    page_alloc::add_item(Item::Vmalloc, count as isize);
    for (i, phys) in frames.iter().enumerate() {
        if mapper.map(start.offset(i << PAGE_SHIFT), *phys, KernelProt::ReadWrite).is_err() {
            release(mapper, start, i << PAGE_SHIFT);
            return None;
        }
    }
    Some(start)
}

/// As [`vmalloc_aligned`], at any page.
pub fn vmalloc(size: usize, gfp: Gfp) -> Option<VirtAddr> {
    vmalloc_aligned(size, PAGE_SIZE, gfp)
}

/// Maps `size` bytes of physical addresses from `phys` on, which nobody here owns: device registers, firmware tables. The
/// result has `phys`'s offset in its page.
pub fn vmap_phys(phys: PhysAddr, size: usize, prot: KernelProt) -> Option<VirtAddr> {
    let mapper = mapper()?;
    let end = align_up(phys.get().checked_add(size)?, PAGE_SIZE)?;
    let first = align_down(phys.get(), PAGE_SIZE);
    let bytes = end.checked_sub(first).filter(|b| *b != 0)?;
    let start = reserve(bytes, PAGE_SIZE, KVec::new()).ok()?;
    for off in (0..bytes).step_by(PAGE_SIZE) {
        if mapper.map(start.offset(off), PhysAddr::new(first + off), prot).is_err() {
            release(mapper, start, off);
            return None;
        }
    }
    Some(start.offset(phys.page_offset()))
}

/// Unmaps what [`vmalloc`] or [`vmap_phys`] gave and frees its pages. Waits for no one but the TLBs; not in an interrupt.
///
/// # Safety
/// `addr` came from there (for `vmap_phys` any address in its first page) and nobody uses the area any more.
pub unsafe fn vfree(addr: VirtAddr) {
    let start = addr.page_start();
    let size = {
        let areas = AREAS.lock();
        let mut area = areas.first.as_deref();
        while let Some(a) = area.filter(|a| a.start != start.get()) {
            area = a.next.as_deref();
        }
        area.map(|a| a.size)
    };
    if let (Some(size), Some(mapper)) = (size, mapper()) {
        release(mapper, start, size);
    }
}

/// Areas whose owners let go of them where areas cannot be unmapped; each is linked through its own first word.
static DEFERRED: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// As [`vfree`], in any context: where interrupts are masked or one is being served, the area is only noted, and unmapped by
/// the next [`purge`] (Linux: vfree_atomic).
///
/// # Safety
/// As [`vfree`], for an area of [`vmalloc`].
pub unsafe fn vfree_any_context(addr: VirtAddr) {
    if !(in_interrupt() || arch::irqs_disabled()) {
        // SAFETY: by the caller's contract.
        return unsafe { vfree(addr) };
    }
    let node = addr.as_ptr::<usize>();
    let mut head = DEFERRED.load(Ordering::Relaxed);
    loop {
        // SAFETY: the area is mapped, at least a page, and nobody else uses it any more.
        unsafe { node.write(head as usize) };
        match DEFERRED.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(seen) => head = seen,
        }
    }
}

/// Unmaps the areas that were let go of in interrupts. Called by [`vmalloc`] and by reclaim; not in an interrupt.
pub fn purge() {
    if DEFERRED.load(Ordering::Relaxed).is_null() {
        return;
    }
    let mut node = DEFERRED.swap(core::ptr::null_mut(), Ordering::Acquire);
    while !node.is_null() {
        let area = VirtAddr::from_ptr(node);
        // SAFETY: the list was taken whole, so the area and its link are ours; it is freed once, after the link was read.
        unsafe {
            node = node.read() as *mut usize;
            vfree(area);
        }
    }
}

/// Calls `f(start, bytes, pages)` with each area, by ascending address (`/proc/vmallocinfo`). Under the lock: no waiting, no
/// allocation through vmalloc.
pub fn for_each_area(mut f: impl FnMut(VirtAddr, usize, usize)) {
    let areas = AREAS.lock();
    let mut area = areas.first.as_deref();
    while let Some(a) = area {
        f(VirtAddr::new(a.start), a.size, a.pages.len());
        area = a.next.as_deref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;
    use std::collections::BTreeMap;
    use std::sync::Mutex;
    use std::vec::Vec;

    struct Tables(Mutex<BTreeMap<usize, PhysAddr>>, Mutex<Vec<Range<VirtAddr>>>);
    impl KernelMapper for Tables {
        fn map(&self, virt: VirtAddr, phys: PhysAddr, _: KernelProt) -> Result<(), AllocError> {
            if crate::fault::should_fail() {
                return Err(AllocError);
            }
            assert!(self.0.lock().unwrap().insert(virt.get(), phys).is_none(), "mapped twice");
            Ok(())
        }
        fn unmap(&self, virt: VirtAddr) {
            assert!(self.0.lock().unwrap().remove(&virt.get()).is_some(), "not mapped");
        }
        fn flush(&self, range: Range<VirtAddr>) {
            self.1.lock().unwrap().push(range);
        }
    }
    static TABLES: Tables = Tables(Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    const BYTES: usize = 1 << 20;

    /// A range of real memory, so that areas can be written to without page tables.
    fn range() -> Range<VirtAddr> {
        let layout = std::alloc::Layout::from_size_align(BYTES, 64 << 10).unwrap();
        // SAFETY: the size is not 0. Never freed.
        let p = VirtAddr::from_ptr(unsafe { std::alloc::alloc(layout) });
        p..p.offset(BYTES)
    }

    #[test]
    fn areas_are_aligned_guarded_and_give_everything_back_whatever_fails() {
        host::start();
        let _alone = host::EXCLUSIVE.lock().unwrap_or_else(|e| e.into_inner());
        let before = page_alloc::meminfo().free;
        init(range(), &TABLES).unwrap();
        let a = vmalloc_aligned(16 << 10, 16 << 10, Gfp::KERNEL).unwrap();
        let b = vmalloc_aligned(16 << 10, 16 << 10, Gfp::KERNEL).unwrap();
        assert!(a.is_aligned(16 << 10) && b.is_aligned(16 << 10));
        let mapped = |v: VirtAddr| TABLES.0.lock().unwrap().contains_key(&v.get());
        for s in [a, b] {
            assert!((0..4).all(|i| mapped(s.offset(i * PAGE_SIZE))));
            assert!(!mapped(s.offset(4 * PAGE_SIZE)) && !mapped(VirtAddr::new(s.get() - PAGE_SIZE)));
        }
        assert_eq!(page_alloc::meminfo().free, before - 8);
        let dev = vmap_phys(PhysAddr::new(0x900_0018), 0x1000, KernelProt::Device).unwrap();
        assert_eq!(dev.page_offset(), 0x18);
        assert!(vmalloc(BYTES, Gfp::KERNEL).is_none(), "no room in the range");
        for n in 1..30 {
            assert!(crate::fault::set(n));
            match vmalloc(5 * PAGE_SIZE, Gfp::KERNEL) {
                Some(v) => {
                    // SAFETY: just allocated.
                    unsafe { vfree(v) };
                    assert!(n > 5, "fewer than five failures can be injected?");
                }
                None => assert_eq!(page_alloc::meminfo().free, before - 8, "leak at allocation {n}"),
            }
        }
        assert!(crate::fault::set(0));
        // SAFETY: allocated above, not used.
        unsafe {
            vfree(a);
            vfree(dev);
            let irqs_off = vigil_executor::context::IrqGuard::new();
            vfree_any_context(b);
            assert!(mapped(b), "no unmapping, which waits for other CPUs, with interrupts masked");
            drop(irqs_off);
        }
        purge();
        assert!(TABLES.0.lock().unwrap().is_empty());
        assert!(TABLES.1.lock().unwrap().iter().any(|r| r.start == a));
        assert_eq!(page_alloc::meminfo().free, before);
        let mut left = 0;
        for_each_area(|_, _, _| left += 1);
        assert_eq!(left, 0);
    }
}
