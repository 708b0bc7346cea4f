//! Page-table descriptors of the 4 KiB granule with 48-bit addresses (Arm ARM D8.3), and their software bits.
//!
//! Plain values: nothing here touches memory or a system register, so the file is compiled and tested on every host (it
//! is included from `mm/mod.rs`). The software bits are those of Linux's arm64 (`pgtable-prot.h`), so that a dump of a
//! table reads the same: bit 51 (DBM's place) says "may be written", bit 55 "dirty", bit 56 "special", bit 58
//! "PROT_NONE". The hardware's own access-flag and dirty updates stay off: entries change only under the table's lock.

use vigil_mem::{PAGE_SIZE, Pfn};

/// Levels of the walk: 0 (512 GiB per entry) to 3 (4 KiB per entry).
pub const LEVELS: usize = 4;
/// Entries in one table.
pub const PTRS_PER_TABLE: usize = 512;
/// Bits of the address that one entry of the last table but one covers (2 MiB).
pub const PMD_SHIFT: usize = 21;
/// Bytes that one page of last-level entries covers.
pub const PMD_SIZE: usize = 1 << PMD_SHIFT;

/// MAIR index of Normal write-back memory. The boot code programs MAIR_EL1 in this order.
pub const MT_NORMAL: u64 = 0;
/// MAIR index of Device-nGnRnE memory.
pub const MT_DEVICE_NGNRNE: u64 = 1;
/// MAIR index of Device-nGnRE memory.
pub const MT_DEVICE_NGNRE: u64 = 2;
/// MAIR index of Normal non-cacheable memory.
pub const MT_NORMAL_NC: u64 = 3;

/// The index of `addr` in the table of `level`.
#[inline(always)]
pub const fn index_of(addr: usize, level: usize) -> usize {
    (addr >> (39 - 9 * level)) & (PTRS_PER_TABLE - 1)
}

/// Bytes that one entry of a table of `level` covers.
#[inline(always)]
pub const fn entry_size(level: usize) -> usize {
    1 << (39 - 9 * level)
}

const VALID: u64 = 1;
const TYPE_PAGE: u64 = 1 << 1;
const ATTR_SHIFT: u32 = 2;
const AP_USER: u64 = 1 << 6;
const AP_RDONLY: u64 = 1 << 7;
const SH_INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const WRITE: u64 = 1 << 51;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const DIRTY: u64 = 1 << 55;
const SPECIAL: u64 = 1 << 56;
const PROT_NONE: u64 = 1 << 58;
const ADDR_MASK: u64 = 0x0000_ffff_ffff_f000;

/// The attribute part of a last-level entry: what [`Pte::new`] adds the page number to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PteProt(u64);

impl PteProt {
    /// The attributes of a user page. Writable only when `write`; without any of the three the entry is PROT_NONE,
    /// which the hardware sees as invalid. Readable whenever it is present (execute-only needs EPAN, which we leave off).
    #[inline(always)]
    pub const fn user(read: bool, write: bool, exec: bool) -> PteProt {
        let mut bits = TYPE_PAGE | (MT_NORMAL << ATTR_SHIFT) | SH_INNER | AF | NG | PXN;
        if !exec {
            bits |= UXN;
        }
        if read || write || exec {
            bits |= VALID | AP_USER;
        } else {
            bits |= PROT_NONE;
        }
        if write {
            bits |= WRITE;
        } else {
            bits |= AP_RDONLY;
        }
        PteProt(bits)
    }

    /// The same with another memory type ([`MT_DEVICE_NGNRE`] and its like), for device mappings.
    #[inline(always)]
    pub const fn with_memory_type(self, mt: u64) -> PteProt {
        PteProt((self.0 & !(7 << ATTR_SHIFT)) | (mt << ATTR_SHIFT))
    }

    /// The same for a page without a reference count: the zero page, the vDSO, device memory.
    #[inline(always)]
    pub const fn special(self) -> PteProt {
        PteProt(self.0 | SPECIAL)
    }

    /// The same without the right to write: copy on write, dirty tracking.
    #[inline(always)]
    pub const fn read_only(self) -> PteProt {
        PteProt((self.0 & !WRITE) | AP_RDONLY)
    }

    /// The same, marked as written to.
    #[inline(always)]
    pub const fn dirty(self) -> PteProt {
        PteProt(self.0 | DIRTY)
    }
}

/// A last-level entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Pte(pub u64);

impl Pte {
    /// No mapping.
    pub const NONE: Pte = Pte(0);

    /// An entry that maps `pfn`.
    #[inline(always)]
    pub const fn new(pfn: Pfn, prot: PteProt) -> Pte {
        Pte(((pfn.get() as u64) << 12) & ADDR_MASK | prot.0)
    }

    /// Whether nothing is there.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether a page is there, accessible or PROT_NONE.
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.0 & (VALID | PROT_NONE) != 0
    }

    /// Whether the hardware may use it.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Whether EL0 may write through it.
    #[inline(always)]
    pub const fn is_writable(self) -> bool {
        self.0 & WRITE != 0 && self.0 & VALID != 0
    }

    /// Whether a write may have gone through it.
    #[inline(always)]
    pub const fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// Whether the page has no reference count.
    #[inline(always)]
    pub const fn is_special(self) -> bool {
        self.0 & SPECIAL != 0
    }

    /// Whether EL0 may execute it.
    #[inline(always)]
    pub const fn is_exec(self) -> bool {
        self.0 & UXN == 0
    }

    /// The page that it maps.
    #[inline(always)]
    pub const fn pfn(self) -> Pfn {
        Pfn::new(((self.0 & ADDR_MASK) >> 12) as usize)
    }

    /// The same entry without the right to write.
    #[inline(always)]
    pub const fn write_protected(self) -> Pte {
        Pte((self.0 & !WRITE) | AP_RDONLY)
    }

    /// The same entry, writable and dirty.
    #[inline(always)]
    pub const fn made_writable(self) -> Pte {
        Pte((self.0 & !AP_RDONLY) | WRITE | DIRTY)
    }

    /// The same entry, no longer dirty.
    #[inline(always)]
    pub const fn cleaned(self) -> Pte {
        Pte(self.0 & !DIRTY)
    }

    /// The same page with other rights; dirty and special stay.
    #[inline(always)]
    pub const fn with_prot(self, prot: PteProt) -> Pte {
        Pte(self.0 & (ADDR_MASK | DIRTY | SPECIAL) | prot.0)
    }
}

/// An entry of levels 0 to 2: a pointer to the next table. User space has no block entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct TableEntry(pub u64);

impl TableEntry {
    /// A pointer to the table in page `pfn`. PXNTable: nothing below is executable at EL1, whatever it says itself.
    #[inline(always)]
    pub const fn new(pfn: Pfn) -> TableEntry {
        TableEntry(((pfn.get() as u64) << 12) & ADDR_MASK | (1 << 59) | TYPE_PAGE | VALID)
    }

    /// The table, or `None` when there is none.
    #[inline(always)]
    pub const fn table(self) -> Option<Pfn> {
        if self.0 & VALID == 0 { None } else { Some(Pfn::new(((self.0 & ADDR_MASK) >> 12) as usize)) }
    }
}

/// `addr` rounded down to its page.
#[inline(always)]
pub const fn page_down(addr: usize) -> usize {
    addr & !(PAGE_SIZE - 1)
}

/// `len` rounded up to whole pages, or `None` when that overflows.
#[inline(always)]
pub const fn page_up(len: usize) -> Option<usize> {
    match len.checked_add(PAGE_SIZE - 1) {
        Some(x) => Some(x & !(PAGE_SIZE - 1)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_page_is_never_kernel_executable_and_prot_none_is_invalid_to_hardware() {
        for r in [false, true] {
            for w in [false, true] {
                for x in [false, true] {
                    let pte = Pte::new(Pfn::new(0x12345), PteProt::user(r, w, x));
                    assert!(pte.is_present());
                    assert_eq!(pte.is_valid(), r | w | x);
                    assert_eq!(pte.is_writable(), w);
                    assert_ne!(pte.0 & PXN, 0);
                    assert_ne!(pte.0 & NG, 0);
                    assert_eq!(pte.0 & AP_USER != 0, r | w | x);
                    assert_eq!(pte.pfn(), Pfn::new(0x12345));
                    assert_eq!(pte.is_exec(), x);
                }
            }
        }
    }

    #[test]
    fn changing_rights_keeps_the_page_and_the_dirty_bit() {
        let pte = Pte::new(Pfn::new(7), PteProt::user(true, true, false).dirty());
        let ro = pte.with_prot(PteProt::user(true, false, false));
        assert!(ro.is_dirty() && !ro.is_writable());
        assert_eq!(ro.pfn(), Pfn::new(7));
        assert!(pte.write_protected().made_writable().is_writable());
    }

    #[test]
    fn the_walk_splits_an_address_in_nine_bit_indices() {
        let addr = (5 << 39) | (6 << 30) | (7 << 21) | (8 << 12) | 0x123;
        assert_eq!([0, 1, 2, 3].map(|l| index_of(addr, l)), [5, 6, 7, 8]);
        assert_eq!(entry_size(2), PMD_SIZE);
        assert_eq!(page_up(usize::MAX), None);
        assert_eq!(page_up(1), Some(PAGE_SIZE));
    }
}
