//! One mapping of an address space: the VMA (Linux: `vm_area_struct`), its flags, and when two are one.

use super::pgtable::PteProt;
use super::policy::Policy;
use super::rmap::RmapNode;
use super::special::SpecialMapping;
use core::sync::atomic::{AtomicU32, Ordering};
use vigil_abi::Errno;
use vigil_fs::{File, Inode};
use vigil_mem::{KArc, PAGE_SHIFT};

bitflags::bitflags! {
    /// Rights and kind of a mapping, with Linux's values (`VM_*` in `include/linux/mm.h`).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct VmFlags: u32 {
        /// PROT_READ.
        const READ = 1;
        /// PROT_WRITE.
        const WRITE = 2;
        /// PROT_EXEC.
        const EXEC = 4;
        /// MAP_SHARED.
        const SHARED = 8;
        /// mprotect may grant READ.
        const MAYREAD = 0x10;
        /// mprotect may grant WRITE.
        const MAYWRITE = 0x20;
        /// mprotect may grant EXEC.
        const MAYEXEC = 0x40;
        /// Writes through it may reach the file (MAP_SHARED of a file opened for writing, or shared memory).
        const MAYSHARE = 0x80;
        /// Grows towards lower addresses on a fault below it.
        const GROWSDOWN = 0x100;
        /// Pages without descriptors: device memory.
        const PFNMAP = 0x400;
        /// mlocked.
        const LOCKED = 0x2000;
        /// Device memory with side effects.
        const IO = 0x4000;
        /// MADV_SEQUENTIAL.
        const SEQ_READ = 0x8000;
        /// MADV_RANDOM.
        const RAND_READ = 0x1_0000;
        /// MADV_DONTFORK.
        const DONTCOPY = 0x2_0000;
        /// mremap may not enlarge it.
        const DONTEXPAND = 0x4_0000;
        /// Pages are locked when they come in, not before.
        const LOCKONFAULT = 0x8_0000;
        /// Its size counts in Committed_AS.
        const ACCOUNT = 0x10_0000;
        /// MAP_NORESERVE.
        const NORESERVE = 0x20_0000;
        /// MADV_WIPEONFORK.
        const WIPEONFORK = 0x200_0000;
        /// MADV_DONTDUMP.
        const DONTDUMP = 0x400_0000;
        /// MADV_HUGEPAGE: a wish that is kept and shown; there are no huge pages.
        const HUGEPAGE = 0x2000_0000;
        /// MADV_NOHUGEPAGE.
        const NOHUGEPAGE = 0x4000_0000;
        /// MADV_MERGEABLE: may be merged with equal pages, which nobody does (Linux with `ksm/run` 0).
        const MERGEABLE = 0x8000_0000;
    }
}

impl VmFlags {
    /// The flags of the three PROT bits.
    pub fn from_prot(prot: u32) -> VmFlags {
        VmFlags::from_bits_truncate(prot & 7)
    }

    /// Read, write and execute.
    pub const RWX: VmFlags = VmFlags::READ.union(VmFlags::WRITE).union(VmFlags::EXEC);
    /// What a mapping that mprotect may make anything of has.
    pub const MAY_ALL: VmFlags = VmFlags::MAYREAD.union(VmFlags::MAYWRITE).union(VmFlags::MAYEXEC);

    /// Whether writes to its pages make private copies.
    #[inline(always)]
    pub fn is_cow(self) -> bool {
        self.intersection(VmFlags::SHARED | VmFlags::MAYWRITE) == VmFlags::MAYWRITE
    }

    /// Whether it counts as "data" for RLIMIT_DATA: private, writable, no stack (`is_data_mapping`).
    pub fn is_data(self) -> bool {
        self.intersection(VmFlags::WRITE | VmFlags::SHARED | VmFlags::GROWSDOWN) == VmFlags::WRITE
    }

    /// Whether it is reserved for in Committed_AS (`accountable_mapping`).
    pub fn is_accountable(self) -> bool {
        self.intersection(VmFlags::NORESERVE | VmFlags::SHARED | VmFlags::WRITE) == VmFlags::WRITE
    }
}

/// A mapping of a file's page cache.
pub struct FileMap {
    /// What was mapped; keeps the file open, and names the mapping in `/proc/PID/maps`.
    pub file: KArc<File>,
    /// Whose pages are mapped.
    pub inode: KArc<Inode>,
    /// Our entry among those who map the inode.
    pub rmap: KArc<RmapNode>,
}

impl FileMap {
    /// A mapping that is entered as `rmap`.
    pub fn new(file: KArc<File>, inode: KArc<Inode>, rmap: KArc<RmapNode>) -> FileMap {
        if file.is_counted() {
            file.ops().mapped();
        }
        FileMap { file, inode, rmap }
    }
}

impl Drop for FileMap {
    /// The mapping goes: the inode must not reach its page tables any more.
    fn drop(&mut self) {
        RmapNode::unregister(&self.rmap);
        if self.file.is_counted() {
            self.file.ops().unmapped();
        }
    }
}

/// Where a mapping's pages come from.
pub enum Backing {
    /// Zeroed memory.
    Anon,
    /// A file's page cache.
    File(FileMap),
    /// Kernel pages: vDSO, vvar.
    Special(&'static SpecialMapping),
    /// A device's memory from this page frame on.
    Device {
        /// What was mapped.
        file: KArc<File>,
        /// Frame of the mapping's page offset 0.
        pfn: u64,
        /// Device-nGnRE rather than Normal.
        device: bool,
    },
}

/// In [`Vma::more`], beside the policy: private pages may be in its tables.
const ANON: u32 = 1 << 31;

/// A half-open range `[start, end)` of user addresses with one set of rights and one origin.
pub struct Vma {
    /// First address, page-aligned.
    pub start: usize,
    /// Address after the last, page-aligned, above `start`.
    pub end: usize,
    /// Rights and kind.
    pub flags: VmFlags,
    /// Whether private pages may be in its tables (Linux: `anon_vma` is set): fork must copy them. Set by faults, which
    /// hold mmap_lock for reading only.
    /// Besides, where its pages shall come from ([`Vma::policy`]).
    more: AtomicU32,
    /// Offset of `start` in the backing, in pages. For anonymous memory the page number of the address at which it was
    /// first mapped, so that it does not change who can merge when it moves.
    pub pgoff: u64,
    /// Where pages come from.
    pub backing: Backing,
}

impl Vma {
    /// An anonymous private mapping.
    pub fn anonymous(start: usize, end: usize, flags: VmFlags) -> Vma {
        Vma::new(start, end, flags, (start >> PAGE_SHIFT) as u64, Backing::Anon)
    }

    /// A mapping of `backing` without private pages yet.
    pub fn new(start: usize, end: usize, flags: VmFlags, pgoff: u64, backing: Backing) -> Vma {
        Vma { start, end, flags, more: AtomicU32::new(0), pgoff, backing }
    }

    /// Whether private pages may be in its tables.
    #[inline(always)]
    pub fn has_anon(&self) -> bool {
        self.more.load(Ordering::Relaxed) & ANON != 0
    }

    /// Notes that a private page is about to be mapped.
    #[inline(always)]
    pub fn set_anon(&self) {
        // A plain load first: the word is shared by all faulting CPUs, and set after the first fault.
        let more = self.more.load(Ordering::Relaxed);
        if more & ANON == 0 {
            // The rest of it changes only while nobody faults.
            self.more.store(more | ANON, Ordering::Relaxed);
        }
    }

    /// Where its pages shall come from (mbind).
    pub fn policy(&self) -> Policy {
        Policy::from_word(self.more.load(Ordering::Relaxed) & !ANON)
    }

    /// Changes that; mmap_lock is held for writing.
    pub fn set_policy(&mut self, policy: Policy) {
        let more = self.more.get_mut();
        *more = *more & ANON | policy.to_word();
    }

    /// Bytes.
    #[inline(always)]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Pages.
    #[inline(always)]
    pub fn pages(&self) -> usize {
        self.len() >> PAGE_SHIFT
    }

    /// Whether `addr` lies in it.
    #[inline(always)]
    pub fn contains(&self, addr: usize) -> bool {
        self.start <= addr && addr < self.end
    }

    /// The backing's page for `addr`.
    #[inline(always)]
    pub fn page_index(&self, addr: usize) -> u64 {
        self.pgoff.wrapping_add(((addr - self.start) >> PAGE_SHIFT) as u64)
    }

    /// The file that it maps, for `/proc` and for the fs layer.
    pub fn file(&self) -> Option<&KArc<File>> {
        match &self.backing {
            Backing::File(f) => Some(&f.file),
            Backing::Device { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The page cache behind it.
    pub fn file_map(&self) -> Option<&FileMap> {
        match &self.backing {
            Backing::File(f) => Some(f),
            _ => None,
        }
    }

    /// Whether it is anonymous memory.
    pub fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anon)
    }

    /// The rights of its entries as the flags say; whoever maps a page takes the right to write away where the first
    /// write must be noticed.
    #[inline(always)]
    pub fn pte_prot(&self) -> PteProt {
        PteProt::user(self.flags.contains(VmFlags::READ), self.flags.contains(VmFlags::WRITE), self.flags.contains(VmFlags::EXEC))
    }

    /// The gap that must stay free below it: a stack's guard.
    pub fn guard_start(&self, guard: usize) -> usize {
        if self.flags.contains(VmFlags::GROWSDOWN) { self.start.saturating_sub(guard) } else { self.start }
    }

    /// Whether a mapping of `flags` from the same origin that begins at `pgoff` could be one with us. The addresses
    /// are the caller's to check.
    fn same_origin(&self, other: &Vma) -> bool {
        let backing = match (&self.backing, &other.backing) {
            (Backing::Anon, Backing::Anon) => true,
            (Backing::File(a), Backing::File(b)) => {
                // Mappings that somebody counts stay as many as they were made.
                KArc::ptr_eq(&a.file, &b.file) && KArc::ptr_eq(&a.inode, &b.inode) && !a.file.is_counted()
            }
            _ => false,
        };
        backing
            && self.flags == other.flags
            && (self.more.load(Ordering::Relaxed) ^ other.more.load(Ordering::Relaxed)) & !ANON == 0
            && !self.flags.intersects(VmFlags::PFNMAP | VmFlags::DONTEXPAND)
    }

    /// Whether `next`, which begins where we end, continues us: then the two can be one.
    pub fn can_merge_with(&self, next: &Vma) -> bool {
        if self.end != next.start || !self.same_origin(next) {
            return false;
        }
        // Untouched anonymous memory has no page that remembers its offset, so it takes ours.
        let offsets_free = self.is_anonymous() && (!self.has_anon() || !next.has_anon());
        offsets_free || self.pgoff.wrapping_add(self.pages() as u64) == next.pgoff
    }

    /// Takes over the range of `next` (see [`Self::can_merge_with`]); the caller drops it from the tree.
    pub fn absorb(&mut self, next: &Vma) {
        if self.is_anonymous() && !self.has_anon() && next.has_anon() {
            self.pgoff = next.pgoff.wrapping_sub(self.pages() as u64);
        }
        self.end = next.end;
        if next.has_anon() {
            self.set_anon();
        }
        self.sync_rmap();
    }

    /// A second mapping of the same origin for `[start, end)` within us, with its own entry among the inode's mappers
    /// (`mm` is the owner). ENOMEM.
    pub fn duplicate(&self, mm: &super::Mm, start: usize, end: usize) -> Result<Vma, Errno> {
        let pgoff = self.page_index(start);
        let backing = match &self.backing {
            Backing::Anon => Backing::Anon,
            Backing::Special(s) => Backing::Special(s),
            Backing::Device { file, pfn, device } => Backing::Device { file: file.clone(), pfn: *pfn, device: *device },
            Backing::File(f) => {
                let rmap = RmapNode::register(mm, &f.inode, start, end, pgoff, self.flags.contains(VmFlags::SHARED | VmFlags::MAYWRITE))?;
                Backing::File(FileMap::new(f.file.clone(), f.inode.clone(), rmap))
            }
        };
        Ok(Vma { start, end, flags: self.flags, more: AtomicU32::new(self.more.load(Ordering::Relaxed)), pgoff, backing })
    }

    /// Moves the lower end to `start`, keeping which page is where.
    pub fn set_start(&mut self, start: usize) {
        let delta = (start >> PAGE_SHIFT).wrapping_sub(self.start >> PAGE_SHIFT) as u64;
        self.pgoff = self.pgoff.wrapping_add(delta);
        self.start = start;
        self.sync_rmap();
    }

    /// Moves the upper end to `end`.
    pub fn set_end(&mut self, end: usize) {
        self.end = end;
        self.sync_rmap();
    }

    /// Tells the inode's list of mappers our range.
    pub fn sync_rmap(&self) {
        if let Backing::File(f) = &self.backing {
            f.rmap.set_range(self.start, self.end, self.pgoff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vma(start: usize, end: usize, flags: VmFlags) -> Vma {
        Vma::anonymous(start, end, flags)
    }

    #[test]
    fn neighbours_merge_only_with_equal_flags_and_fitting_offsets() {
        let rw = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY_ALL;
        let mut a = vma(0x1000, 0x3000, rw);
        let b = vma(0x3000, 0x4000, rw);
        assert!(a.can_merge_with(&b));
        assert!(!a.can_merge_with(&vma(0x4000, 0x5000, rw)), "a hole is between");
        assert!(!a.can_merge_with(&vma(0x3000, 0x4000, VmFlags::READ)));
        // Both touched, offsets that do not follow: a moved mapping beside another.
        let mut moved = vma(0x3000, 0x4000, rw);
        moved.pgoff = 77;
        moved.set_anon();
        a.set_anon();
        assert!(!a.can_merge_with(&moved));
        a.absorb(&b);
        assert_eq!((a.start, a.end), (0x1000, 0x4000));
    }

    #[test]
    fn a_private_writable_mapping_is_data_and_accounted_unless_noreserve() {
        let rw = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY_ALL;
        assert!(rw.is_data() && rw.is_accountable() && rw.is_cow());
        assert!(!(rw | VmFlags::NORESERVE).is_accountable());
        assert!(!(rw | VmFlags::SHARED).is_data());
        assert!(!(rw | VmFlags::GROWSDOWN).is_data());
    }
}
