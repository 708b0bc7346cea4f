//! The flags of a page (Linux: enum pageflags).

bitflags::bitflags! {
    /// What is known about a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u32 {
        /// Somebody has the page lock.
        const LOCKED = 1 << 0;
        /// Was used lately.
        const REFERENCED = 1 << 1;
        /// Its bytes are valid.
        const UPTODATE = 1 << 2;
        /// Its bytes are newer than those on the disk.
        const DIRTY = 1 << 3;
        /// On an LRU list.
        const LRU = 1 << 4;
        /// On the active LRU list.
        const ACTIVE = 1 << 5;
        /// Is being written to the disk.
        const WRITEBACK = 1 << 6;
        /// `private` is in use.
        const PRIVATE = 1 << 7;
        /// Belongs to the slab allocator.
        const SLAB = 1 << 8;
        /// Never in the page allocator's hands: image, firmware, a hole.
        const RESERVED = 1 << 9;
        /// Head of a block of several pages that is used as one.
        const HEAD = 1 << 10;
        /// Backed by swap rather than by a file: anonymous memory and shmem.
        const SWAPBACKED = 1 << 11;
        /// `mapping` is an anonymous VMA's.
        const ANON = 1 << 12;
        /// May not be reclaimed.
        const UNEVICTABLE = 1 << 13;
        /// Locked by mlock.
        const MLOCKED = 1 << 14;
        /// An I/O error happened.
        const ERROR = 1 << 15;
        /// Read ahead: reading it starts the next read.
        const READAHEAD = 1 << 16;
        /// A page table.
        const TABLE = 1 << 17;
        /// Somebody waits for LOCKED or WRITEBACK to go.
        const WAITERS = 1 << 18;
        /// Executable bytes were made visible to the instruction cache (arm64: PG_dcache_clean).
        const DCACHE_CLEAN = 1 << 19;
        /// A free block of the buddy system starts here.
        const BUDDY = 1 << 31;
    }
}

impl PageFlags {
    /// What must not be set on a page that is freed (Linux: PAGE_FLAGS_CHECK_AT_FREE).
    pub(crate) const CHECK_AT_FREE: PageFlags = PageFlags::LOCKED
        .union(PageFlags::LRU)
        .union(PageFlags::ACTIVE)
        .union(PageFlags::WRITEBACK)
        .union(PageFlags::SLAB)
        .union(PageFlags::RESERVED)
        .union(PageFlags::UNEVICTABLE)
        .union(PageFlags::BUDDY);
}
