//! Editing of the kernel's page tables: a pure builder over a [`Tables`] that says how a table is reached.
//!
//! The same code makes the tables at boot (tables reached at their physical address, then through the fixmap) and later
//! (through the linear map); on the host it is tested over an array. Descriptor formats: Arm ARM D8.3.

use super::mmu_layout::{MT_DEVICE_NGNRE, MT_NORMAL, MT_NORMAL_NC, PAGE_SIZE};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Entries of one table.
pub const ENTRIES: usize = 512;
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 2;
const AP_RO: u64 = 1 << 7;
const AP_USER: u64 = 1 << 6;
const SH_INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// Bits of a descriptor that hold the output address.
pub const ADDR_MASK: u64 = 0x0000_ffff_ffff_f000;
/// Pages of one contiguous group (64 KiB with 4 KiB pages).
const CONT_PAGES: usize = 16;

/// Attribute bits of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot(u64);

impl Prot {
    /// Kernel code: read, execute at EL1.
    pub const TEXT: Prot = Prot(AF | SH_INNER | UXN | AP_RO | (MT_NORMAL << 2));
    /// Kernel constants: read.
    pub const RODATA: Prot = Prot(AF | SH_INNER | UXN | PXN | AP_RO | (MT_NORMAL << 2));
    /// Kernel data: read, write.
    pub const DATA: Prot = Prot(AF | SH_INNER | UXN | PXN | (MT_NORMAL << 2));
    /// Registers of a device: Device-nGnRE.
    pub const DEVICE: Prot = Prot(AF | SH_INNER | UXN | PXN | (MT_DEVICE_NGNRE << 2));
    /// Memory that is not cached: frame buffers, coherent DMA.
    pub const NC: Prot = Prot(AF | SH_INNER | UXN | PXN | (MT_NORMAL_NC << 2));

    /// The attributes of a leaf of these rights and this type; not global when the kernel is hidden from EL0.
    pub fn bits(self) -> u64 {
        self.0 | NON_GLOBAL.load(Relaxed)
    }

    /// The same in all address spaces, whatever [`make_non_global`] says: the trampoline.
    pub const fn global_bits(self) -> u64 {
        self.0
    }
}

/// nG for every leaf, or 0.
static NON_GLOBAL: AtomicU64 = AtomicU64::new(0);

/// From now on leaves are not global: a translation that the kernel used is not one that EL0 finds under its own ASID.
/// Before the first mapping.
pub fn make_non_global() {
    NON_GLOBAL.store(NG, Relaxed);
}

/// What a leaf descriptor allows at EL1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The descriptor as it is in the table.
    pub raw: u64,
    /// First physical address that it maps.
    pub phys: u64,
    /// Bytes that it maps.
    pub size: usize,
}

impl Leaf {
    /// Whether EL1 may write through it.
    pub const fn writable(&self) -> bool {
        self.raw & AP_RO == 0
    }
    /// Whether EL1 may execute through it.
    pub const fn executable(&self) -> bool {
        self.raw & PXN == 0
    }
    /// Whether its translation holds under every ASID.
    pub const fn global(&self) -> bool {
        self.raw & NG == 0
    }
    /// Whether EL0 may read or write (AP[1]) or execute (UXN clear) through it.
    pub const fn user(&self) -> bool {
        self.raw & AP_USER != 0 || self.raw & UXN == 0
    }
    /// MAIR index of the memory type.
    pub const fn memory_type(&self) -> u64 {
        (self.raw >> 2) & 7
    }
}

/// How tables are made and reached.
pub trait Tables {
    /// Physical address of a new table, all entries zero and visible to the walker; `None` when there is no memory.
    fn alloc(&mut self) -> Option<u64>;
    /// The entry `index` of the table at `table`.
    fn read(&mut self, table: u64, index: usize) -> u64;
    /// Sets the entry. The caller orders it (DSB) when the tables are live.
    fn write(&mut self, table: u64, index: usize, value: u64);
}

/// Why a mapping could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No memory for a table.
    NoMemory,
    /// Something is mapped there already (a leaf, or a table where a block was wanted).
    Busy,
    /// An address or the size is not a multiple of a page, or wraps around.
    Unaligned,
}

/// The largest leaf that `map` may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Granule {
    /// Only single pages: what may be unmapped page by page.
    Pages,
    /// Pages, contiguous groups of 64 KiB, and blocks of 2 MiB and 1 GiB where both addresses allow it.
    Largest,
}

const fn shift(level: usize) -> usize {
    39 - 9 * level
}

/// The index of `va` in a table of `level` (0 to 3).
pub const fn index(va: usize, level: usize) -> usize {
    (va >> shift(level)) & (ENTRIES - 1)
}

/// Maps `size` bytes at `va` to `pa` below the level-0 table `root`. All three are multiples of a page.
///
/// On an error what was mapped so far stays mapped.
pub fn map<T: Tables>(t: &mut T, root: u64, va: usize, pa: u64, size: usize, prot: Prot, granule: Granule) -> Result<(), MapError> {
    if (va | pa as usize | size) & (PAGE_SIZE - 1) != 0 || va.checked_add(size.saturating_sub(1)).is_none() {
        return Err(MapError::Unaligned);
    }
    let attributes = prot.bits();
    let mut done = 0;
    while done < size {
        let (v, p, left) = (va + done, pa + done as u64, size - done);
        let fits = |bytes: usize| left >= bytes && (v | p as usize) & (bytes - 1) == 0;
        let level = match granule {
            Granule::Largest if fits(1 << shift(1)) => 1,
            Granule::Largest if fits(1 << shift(2)) => 2,
            _ => 3,
        };
        let (table, level) = descend(t, root, v, level)?;
        let slot = index(v, level);
        if level == 3 {
            let group = granule == Granule::Largest && fits(CONT_PAGES * PAGE_SIZE);
            let (n, extra) = if group { (CONT_PAGES, CONTIGUOUS) } else { (1, 0) };
            for i in 0..n {
                put(t, table, slot + i, (p + (i * PAGE_SIZE) as u64) | attributes | extra | VALID | TABLE_OR_PAGE)?;
            }
            done += n * PAGE_SIZE;
        } else {
            put(t, table, slot, p | attributes | VALID)?;
            done += 1 << shift(level);
        }
    }
    Ok(())
}

/// Makes the tables down to level 3 for `va`; returns the physical address of the level-3 table.
pub fn make_tables<T: Tables>(t: &mut T, root: u64, va: usize) -> Result<u64, MapError> {
    descend(t, root, va, 3).map(|(table, _)| table)
}

/// Makes the tables down to level 2 for `va`, so that later blocks of 2 MiB need no table.
pub fn make_block_tables<T: Tables>(t: &mut T, root: u64, va: usize) -> Result<(), MapError> {
    descend(t, root, va, 2).map(|_| ())
}

/// Writes a leaf into an empty entry.
fn put<T: Tables>(t: &mut T, table: u64, slot: usize, value: u64) -> Result<(), MapError> {
    if t.read(table, slot) != 0 {
        return Err(MapError::Busy);
    }
    t.write(table, slot, value);
    Ok(())
}

/// Walks to the table of `level` that covers `va`, making tables on the way. Where a table of a deeper level is already
/// there the answer is that of level 3, so that a block is not wanted where pages are mapped.
fn descend<T: Tables>(t: &mut T, root: u64, va: usize, level: usize) -> Result<(u64, usize), MapError> {
    let mut table = root;
    let mut at = 0;
    let mut target = level;
    loop {
        let entry = t.read(table, index(va, at));
        if at == target {
            if at < 3 && entry & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE {
                target = 3;
            } else {
                return Ok((table, at));
            }
        }
        table = match entry & (VALID | TABLE_OR_PAGE) {
            0 => {
                let new = t.alloc().ok_or(MapError::NoMemory)?;
                t.write(table, index(va, at), new | VALID | TABLE_OR_PAGE);
                new
            }
            e if e == VALID | TABLE_OR_PAGE => entry & ADDR_MASK,
            _ => return Err(MapError::Busy),
        };
        at += 1;
    }
}

/// Clears the single page at `va`; returns what was there. The caller invalidates the TLB. Blocks and contiguous groups
/// are not split: they answer `None`, like a hole.
pub fn unmap_page<T: Tables>(t: &mut T, root: u64, va: usize) -> Option<u64> {
    let mut table = root;
    for level in 0..3 {
        let entry = t.read(table, index(va, level));
        if entry & (VALID | TABLE_OR_PAGE) != VALID | TABLE_OR_PAGE {
            return None;
        }
        table = entry & ADDR_MASK;
    }
    let old = t.read(table, index(va, 3));
    if old & VALID == 0 || old & CONTIGUOUS != 0 {
        return None;
    }
    t.write(table, index(va, 3), 0);
    Some(old & ADDR_MASK)
}

/// The leaf that maps `va`, if any.
pub fn lookup<T: Tables>(t: &mut T, root: u64, va: usize) -> Option<Leaf> {
    let mut table = root;
    for level in 0..4 {
        let entry = t.read(table, index(va, level));
        if entry & VALID == 0 {
            return None;
        }
        if level == 3 || entry & TABLE_OR_PAGE == 0 {
            let size = 1 << shift(level);
            return Some(Leaf { raw: entry, phys: entry & ADDR_MASK & !(size as u64 - 1), size });
        }
        table = entry & ADDR_MASK;
    }
    None
}

/// Calls `f(va, leaf)` for each leaf below `root`, ascending. `base` is the first address that the root covers
/// (0 for TTBR0, `0xffff_0000_0000_0000` for TTBR1). Stops and returns the error of the first call that fails.
pub fn walk<T: Tables, E>(t: &mut T, root: u64, base: usize, f: &mut dyn FnMut(usize, Leaf) -> Result<(), E>) -> Result<(), E> {
    // An explicit stack of (table, next index): a corrupted table must not make us recurse without end.
    let mut stack = [(root, 0usize); 4];
    let mut depth = 0;
    let mut va = [base; 4];
    loop {
        let (table, i) = stack[depth];
        if i == ENTRIES {
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
            continue;
        }
        stack[depth].1 = i + 1;
        let here = va[depth] + (i << shift(depth));
        let entry = t.read(table, i);
        if entry & VALID == 0 {
            continue;
        }
        if depth < 3 && entry & TABLE_OR_PAGE != 0 {
            depth += 1;
            stack[depth] = (entry & ADDR_MASK, 0);
            va[depth] = here;
        } else {
            let size = 1 << shift(depth);
            f(here, Leaf { raw: entry, phys: entry & ADDR_MASK & !(size as u64 - 1), size })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Tables in a vector; table n is at "physical" address (n + 1) << 12.
    struct Arena(Vec<[u64; ENTRIES]>, usize);

    impl Tables for Arena {
        fn alloc(&mut self) -> Option<u64> {
            if self.0.len() == self.1 {
                return None;
            }
            self.0.push([0; ENTRIES]);
            Some((self.0.len() as u64) << 12)
        }
        fn read(&mut self, table: u64, index: usize) -> u64 {
            self.0[(table >> 12) as usize - 1][index]
        }
        fn write(&mut self, table: u64, index: usize, value: u64) {
            self.0[(table >> 12) as usize - 1][index] = value;
        }
    }

    const BASE: usize = 0xffff_0000_0000_0000;

    fn arena(limit: usize) -> (Arena, u64) {
        let mut a = Arena(Vec::new(), limit);
        let root = a.alloc().unwrap();
        (a, root)
    }

    #[test]
    fn the_largest_leaves_are_used_and_every_address_is_reached() {
        let (mut a, root) = arena(64);
        let (va, pa, size) = (BASE + 0x4020_1000, 0x4020_1000u64, (2 << 30) + 0x1f_f000);
        map(&mut a, root, va, pa, size, Prot::DATA, Granule::Largest).unwrap();
        assert_eq!(lookup(&mut a, root, va - 1), None);
        assert_eq!(lookup(&mut a, root, va + size), None);
        let mut at = va;
        let mut sizes = Vec::new();
        walk(&mut a, root, BASE, &mut |v, leaf| {
            assert_eq!((v, leaf.phys), (at, pa + (at - va) as u64));
            assert!(leaf.writable() && !leaf.executable() && !leaf.user());
            at += leaf.size;
            sizes.push(leaf.size);
            Ok::<(), ()>(())
        })
        .unwrap();
        assert_eq!(at, va + size);
        assert!(sizes.contains(&(1 << 30)) && sizes.contains(&(2 << 20)) && sizes.contains(&4096));
    }

    #[test]
    fn a_second_mapping_of_the_same_place_is_refused() {
        let (mut a, root) = arena(64);
        map(&mut a, root, BASE, 0, 2 << 20, Prot::TEXT, Granule::Largest).unwrap();
        assert_eq!(map(&mut a, root, BASE + 4096, 0, 4096, Prot::DATA, Granule::Pages), Err(MapError::Busy));
        map(&mut a, root, BASE + (4 << 20), 0, 4096, Prot::DATA, Granule::Pages).unwrap();
        assert_eq!(map(&mut a, root, BASE + (4 << 20), 0, 2 << 20, Prot::DATA, Granule::Largest), Err(MapError::Busy));
        assert_eq!(map(&mut a, root, BASE + 1, 0, 4096, Prot::DATA, Granule::Pages), Err(MapError::Unaligned));
    }

    #[test]
    fn running_out_of_tables_is_an_error() {
        let (mut a, root) = arena(3);
        assert_eq!(map(&mut a, root, BASE, 0, 4096, Prot::DATA, Granule::Pages), Err(MapError::NoMemory));
    }

    #[test]
    fn single_pages_come_off_and_groups_do_not() {
        let (mut a, root) = arena(64);
        map(&mut a, root, BASE, 0x10_0000, 16 * 4096, Prot::DATA, Granule::Pages).unwrap();
        assert_eq!(unmap_page(&mut a, root, BASE + 4096), Some(0x10_1000));
        assert_eq!(unmap_page(&mut a, root, BASE + 4096), None);
        map(&mut a, root, BASE + (2 << 20), 0x20_0000, 16 * 4096, Prot::DATA, Granule::Largest).unwrap();
        assert_eq!(unmap_page(&mut a, root, BASE + (2 << 20)), None);
        assert!(lookup(&mut a, root, BASE + (2 << 20)).is_some());
    }
}
