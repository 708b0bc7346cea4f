//! [`Gfp`]: what a request for memory asks for and may do.

use super::buddy::MigrateType;

bitflags::bitflags! {
    /// Flags of a request (Linux: gfp_t). The atomic face never waits whatever is set; what a flag lets the awaitable
    /// face do is said there.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gfp: u32 {
        /// The page can be moved: user memory, page cache. Bits 0 and 1 are the migrate type.
        const MOVABLE = 1 << 0;
        /// Kernel memory that a shrinker can free.
        const RECLAIMABLE = 1 << 1;
        /// Physical address below 4 GiB.
        const DMA32 = 1 << 2;
        /// Filled with zeroes.
        const ZERO = 1 << 3;
        /// May use half of the reserve (Linux: __GFP_HIGH).
        const HIGH = 1 << 4;
        /// Cannot wait, and may use more of the reserve.
        const NO_WAIT_RESERVE = 1 << 5;
        /// May use all of the reserve: frees more than it takes (Linux: __GFP_MEMALLOC).
        const MEMALLOC = 1 << 6;
        /// Wakes the reclaimer when memory runs low.
        const KSWAPD = 1 << 7;
        /// The awaitable face reclaims.
        const DIRECT = 1 << 8;
        /// Reclaim may start I/O.
        const IO = 1 << 9;
        /// Reclaim may call file systems.
        const FS = 1 << 10;
        /// No report when it fails.
        const NOWARN = 1 << 11;
        /// The awaitable face gives up early instead of killing somebody.
        const NORETRY = 1 << 12;
        /// Not counted by the fault injector: what is allocated only to tell of a failure.
        const NOFAULT = 1 << 13;

        /// For code that cannot wait and whose failure would be felt: interrupts.
        const ATOMIC = Self::HIGH.bits() | Self::NO_WAIT_RESERVE.bits() | Self::KSWAPD.bits();
        /// For code that cannot wait but has a way out.
        const NOWAIT = Self::KSWAPD.bits();
        /// For the kernel's own data.
        const KERNEL = Self::KSWAPD.bits() | Self::DIRECT.bits() | Self::IO.bits() | Self::FS.bits();
        /// As KERNEL where a file system must not be entered again.
        const NOFS = Self::KSWAPD.bits() | Self::DIRECT.bits() | Self::IO.bits();
        /// As KERNEL below a block device.
        const NOIO = Self::KSWAPD.bits() | Self::DIRECT.bits();
        /// For pages that a process sees.
        const USER = Self::KERNEL.bits() | Self::MOVABLE.bits();
    }
}

impl Gfp {
    /// The migrate type that it asks for.
    #[inline(always)]
    pub(crate) const fn migrate_type(self) -> MigrateType {
        match self.bits() & 3 {
            0 => MigrateType::Unmovable,
            1 => MigrateType::Movable,
            _ => MigrateType::Reclaimable,
        }
    }
}
