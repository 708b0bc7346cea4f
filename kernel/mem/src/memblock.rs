//! memblock: which physical memory there is, and who has taken some of it before the page allocator runs.
//!
//! Two sorted lists of disjoint regions, as on Linux: `memory` (what the device tree describes, some of it `no-map`) and
//! `reserved` (image, initrd, device tree, page tables, early allocations). The page allocator gets the difference.
//! Used by the boot CPU alone, hence a value with `&mut` methods behind one lock.

use crate::addr::{PhysAddr, align_down, align_up};
use core::fmt;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// The most regions of each list (Linux: INIT_MEMBLOCK_REGIONS).
pub const MAX_REGIONS: usize = 128;

/// One region.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Region {
    /// First byte.
    pub base: usize,
    /// Bytes.
    pub size: usize,
    /// Not to be mapped: firmware's, not for us to read.
    pub nomap: bool,
}

impl Region {
    /// The first byte behind it.
    pub const fn end(&self) -> usize {
        self.base + self.size
    }
}

/// The list is full; the region was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyRegions;

/// A sorted list of disjoint regions; neighbours of one kind are merged.
#[derive(Clone)]
pub struct Regions {
    list: [Region; MAX_REGIONS],
    len: usize,
}

impl Regions {
    const fn new() -> Self {
        Regions { list: [Region { base: 0, size: 0, nomap: false }; MAX_REGIONS], len: 0 }
    }

    /// The regions, ascending.
    pub fn as_slice(&self) -> &[Region] {
        &self.list[..self.len]
    }

    /// Bytes of all regions.
    pub fn total(&self) -> usize {
        self.as_slice().iter().map(|r| r.size).sum()
    }

    fn insert(&mut self, at: usize, r: Region) -> Result<(), TooManyRegions> {
        if self.len == MAX_REGIONS {
            return Err(TooManyRegions);
        }
        self.list.copy_within(at..self.len, at + 1);
        self.list[at] = r;
        self.len += 1;
        Ok(())
    }

    fn delete(&mut self, at: usize) {
        self.list.copy_within(at + 1..self.len, at);
        self.len -= 1;
    }

    /// Cuts the regions at `point`, so that none contains it inside.
    fn split_at(&mut self, point: usize) -> Result<(), TooManyRegions> {
        let Some(i) = self.as_slice().iter().position(|r| r.base < point && point < r.end()) else { return Ok(()) };
        let whole = self.list[i];
        self.insert(i + 1, Region { base: point, size: whole.end() - point, ..whole })?;
        self.list[i].size = point - whole.base;
        Ok(())
    }

    fn merge(&mut self) {
        let mut i = 1;
        while i < self.len {
            let (a, b) = (self.list[i - 1], self.list[i]);
            if a.end() == b.base && a.nomap == b.nomap {
                self.list[i - 1].size += b.size;
                self.delete(i);
            } else {
                i += 1;
            }
        }
    }

    /// Adds `base..base + size`; what is there already keeps its kind.
    fn add(&mut self, base: usize, size: usize) -> Result<(), TooManyRegions> {
        let end = base.saturating_add(size);
        let mut at = base;
        let mut i = 0;
        while at < end {
            while i < self.len && self.list[i].end() <= at {
                i += 1;
            }
            let next = if i < self.len { self.list[i].base } else { usize::MAX };
            if next > at {
                let stop = next.min(end);
                self.insert(i, Region { base: at, size: stop - at, nomap: false })?;
                at = stop;
            } else {
                at = self.list[i].end();
            }
        }
        self.merge();
        Ok(())
    }

    /// Takes `base..base + size` out.
    fn remove(&mut self, base: usize, size: usize) -> Result<(), TooManyRegions> {
        let end = base.saturating_add(size);
        self.split_at(base)?;
        self.split_at(end)?;
        let mut i = 0;
        while i < self.len {
            if self.list[i].base >= base && self.list[i].end() <= end {
                self.delete(i);
            } else {
                i += 1;
            }
        }
        Ok(())
    }

    /// The region that contains `addr`.
    pub fn find(&self, addr: usize) -> Option<&Region> {
        self.as_slice().iter().find(|r| r.base <= addr && addr < r.end())
    }

    /// The lowest region that overlaps `base..end`.
    fn overlap(&self, base: usize, end: usize) -> Option<&Region> {
        self.as_slice().iter().find(|r| r.base < end && base < r.end())
    }
}

/// The two lists.
pub struct MemBlock {
    memory: Regions,
    reserved: Regions,
}

impl Default for MemBlock {
    fn default() -> Self {
        Self::new()
    }
}

impl MemBlock {
    /// Nothing known.
    pub const fn new() -> Self {
        MemBlock { memory: Regions::new(), reserved: Regions::new() }
    }

    /// There is memory at `base`.
    pub fn add(&mut self, base: PhysAddr, size: usize) -> Result<(), TooManyRegions> {
        self.memory.add(base.get(), size)
    }

    /// Somebody uses memory at `base` (whether or not it is known as memory).
    pub fn reserve(&mut self, base: PhysAddr, size: usize) -> Result<(), TooManyRegions> {
        self.reserved.add(base.get(), size)
    }

    /// Memory at `base` is free again.
    pub fn free(&mut self, base: PhysAddr, size: usize) -> Result<(), TooManyRegions> {
        self.reserved.remove(base.get(), size)
    }

    /// Forgets memory at `base`.
    pub fn remove(&mut self, base: PhysAddr, size: usize) -> Result<(), TooManyRegions> {
        self.memory.remove(base.get(), size)
    }

    /// Memory at `base` may not be mapped.
    pub fn mark_nomap(&mut self, base: PhysAddr, size: usize) -> Result<(), TooManyRegions> {
        let (base, end) = (base.get(), base.get().saturating_add(size));
        self.memory.split_at(base)?;
        self.memory.split_at(end)?;
        for r in &mut self.memory.list[..self.memory.len] {
            if r.base >= base && r.end() <= end {
                r.nomap = true;
            }
        }
        self.memory.merge();
        Ok(())
    }

    /// Keeps the lowest `limit` bytes of memory only (`mem=`).
    pub fn enforce_limit(&mut self, limit: usize) -> Result<(), TooManyRegions> {
        let mut left = limit;
        for i in 0..self.memory.len {
            let r = self.memory.list[i];
            if r.size >= left {
                let cut = r.base + left;
                return self.memory.remove(cut, usize::MAX - cut);
            }
            left -= r.size;
        }
        Ok(())
    }

    /// What there is.
    pub fn memory(&self) -> &Regions {
        &self.memory
    }

    /// What is taken.
    pub fn reserved(&self) -> &Regions {
        &self.reserved
    }

    /// Whether `addr` is memory that may be mapped.
    pub fn is_map_memory(&self, addr: PhysAddr) -> bool {
        self.memory.find(addr.get()).is_some_and(|r| !r.nomap)
    }

    /// Takes `size` bytes aligned to `align` (a power of two) from the highest free memory in `low..high`. Not zeroed.
    pub fn alloc_range(&mut self, size: usize, align: usize, low: PhysAddr, high: PhysAddr) -> Option<PhysAddr> {
        if size == 0 {
            return None;
        }
        for i in (0..self.memory.len).rev() {
            let r = self.memory.list[i];
            let (from, to) = (r.base.max(low.get()), r.end().min(high.get()));
            let mut top = to;
            while !r.nomap && top > from && top - from >= size {
                let base = align_down(top - size, align);
                if base < from {
                    break;
                }
                match self.reserved.overlap(base, base + size) {
                    None => {
                        self.reserved.add(base, size).ok()?;
                        return Some(PhysAddr::new(base));
                    }
                    // Below the lowest obstacle; each round ends lower than the one before.
                    Some(taken) => top = taken.base,
                }
            }
        }
        None
    }

    /// Takes `size` bytes aligned to `align` from the highest free memory.
    pub fn alloc(&mut self, size: usize, align: usize) -> Option<PhysAddr> {
        self.alloc_range(size, align, PhysAddr::new(0), PhysAddr::new(usize::MAX))
    }

    /// Calls `f(start, end)` with each free, mappable piece of whole pages, ascending.
    pub fn for_each_free_pages(&self, mut f: impl FnMut(PhysAddr, PhysAddr)) {
        let page = crate::addr::PAGE_SIZE;
        for m in self.memory.as_slice().iter().filter(|m| !m.nomap) {
            let mut at = m.base;
            while at < m.end() {
                let (stop, next) = match self.reserved.overlap(at, m.end()) {
                    Some(r) => (r.base.max(at), r.end()),
                    None => (m.end(), m.end()),
                };
                if let Some(start) = align_up(at, page) {
                    let end = align_down(stop, page);
                    if start < end {
                        f(PhysAddr::new(start), PhysAddr::new(end));
                    }
                }
                at = next;
            }
        }
    }
}

impl fmt::Debug for MemBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, list) in [("memory", &self.memory), ("reserved", &self.reserved)] {
            writeln!(f, "{name}: {} regions, {} KiB", list.len, list.total() >> 10)?;
            for r in list.as_slice() {
                writeln!(f, "  [{:#014x}-{:#014x}]{}", r.base, r.end() - 1, if r.nomap { " nomap" } else { "" })?;
            }
        }
        Ok(())
    }
}

/// The machine's.
pub static MEMBLOCK: SpinLock<MemBlock> = SpinLock::new(lock_class!("memblock"), MemBlock::new());

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(a: usize) -> PhysAddr {
        PhysAddr::new(a)
    }

    #[test]
    fn merges_splits_and_limits() {
        let mut m = MemBlock::new();
        m.add(p(0x2000), 0x1000).unwrap();
        m.add(p(0x1000), 0x1000).unwrap();
        m.add(p(0x1800), 0x2000).unwrap();
        assert_eq!(m.memory().as_slice(), &[Region { base: 0x1000, size: 0x2800, nomap: false }]);
        m.mark_nomap(p(0x2000), 0x800).unwrap();
        assert_eq!(m.memory().as_slice().len(), 3);
        assert!(!m.is_map_memory(p(0x2400)) && m.is_map_memory(p(0x1fff)));
        m.reserve(p(0x1000), 0x1).unwrap();
        let mut free = std::vec::Vec::new();
        m.for_each_free_pages(|a, b| free.push((a.get(), b.get())));
        assert!(free.is_empty(), "0x2800-0x3800 contains no whole page");
        m.add(p(0x3800), 0x1900).unwrap();
        m.for_each_free_pages(|a, b| free.push((a.get(), b.get())));
        assert_eq!(free, [(0x3000, 0x5000)]);
        m.enforce_limit(0x1000).unwrap();
        assert_eq!(m.memory().total(), 0x1000);
    }

    #[test]
    fn allocates_from_the_top_around_obstacles() {
        let mut m = MemBlock::new();
        m.add(p(0x4000_0000), 0x10_0000).unwrap();
        m.reserve(p(0x400f_f000), 0x1000).unwrap();
        assert_eq!(m.alloc(0x1000, 0x1000), Some(p(0x400f_e000)));
        assert_eq!(m.alloc(0x2000, 0x10000), Some(p(0x400f_0000)));
        assert_eq!(m.alloc(0xe000, 0x10000), Some(p(0x400e_0000)));
        assert_eq!(m.alloc(0x20_0000, 1), None);
        assert!(m.alloc_range(0x1000, 1, p(0), p(0x4000_0800)).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_a_byte_map(ops in prop::collection::vec((0..6u8, 0..64usize, 1..24usize), 1..60)) {
            let mut m = MemBlock::new();
            let mut map = [(false, false, false); 128];
            for (op, base, size) in ops {
                let range = base..base + size;
                match op {
                    0 | 1 => { m.add(p(base), size).unwrap(); map[range].iter_mut().for_each(|b| b.0 = true); }
                    2 => { m.reserve(p(base), size).unwrap(); map[range].iter_mut().for_each(|b| b.1 = true); }
                    3 => { m.free(p(base), size).unwrap(); map[range].iter_mut().for_each(|b| b.1 = false); }
                    4 => { m.mark_nomap(p(base), size).unwrap(); map[range].iter_mut().for_each(|b| b.2 |= b.0); }
                    _ => { m.remove(p(base), size).unwrap(); map[range].iter_mut().for_each(|b| { b.0 = false; b.2 = false }); }
                }
                for (i, b) in map.iter().enumerate() {
                    prop_assert_eq!(m.memory().find(i).is_some(), b.0);
                    prop_assert_eq!(m.reserved().find(i).is_some(), b.1);
                    prop_assert_eq!(m.is_map_memory(p(i)), b.0 && !b.2);
                }
                for l in [m.memory(), m.reserved()] {
                    prop_assert!(l.as_slice().windows(2).all(|w| w[0].end() < w[1].base || w[0].nomap != w[1].nomap && w[0].end() == w[1].base));
                }
            }
            if let Some(a) = m.alloc(8, 4) {
                prop_assert!(a.get() % 4 == 0);
                for b in &map[a.get()..a.get() + 8] { prop_assert!(b.0 && !b.1 && !b.2); }
            }
        }
    }
}
