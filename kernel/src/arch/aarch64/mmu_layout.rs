//! The kernel's virtual address plan (48 bits, 4 KiB granule) and the memory types of MAIR_EL1.
//!
//! | from | to | what |
//! |---|---|---|
//! | `0x0000_0000_0000_0000` | `0x0000_ffff_ffff_f000` | user space (TTBR0) |
//! | `0xffff_0000_0000_0000` | `0xffff_8000_0000_0000` | linear map: all memory, at `LINEAR_BASE` + physical address |
//! | `0xffff_8000_8000_0000` | `0xffff_8001_0000_0000` | the kernel image, at `KIMAGE_VADDR` + KASLR offset |
//! | `0xffff_8001_0000_0000` | `0xffff_bfff_0000_0000` | vmalloc, stacks, ioremap |
//! | `0xffff_bfff_fe00_0000` | `0xffff_bfff_fe60_0000` | fixmap: early mappings of tables, UART, device tree |

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;
/// Bytes that one last-but-one-level entry maps.
pub const BLOCK_2M: usize = 2 << 20;

/// Start of the linear map: physical address 0 is here.
pub const LINEAR_BASE: usize = 0xffff_0000_0000_0000;
/// End of the linear map, exclusive. Memory above 2^47 cannot be used.
pub const LINEAR_END: usize = 0xffff_8000_0000_0000;

/// Where the image is linked, and where it runs without KASLR when it was loaded at a multiple of 2 MiB.
pub const KIMAGE_VADDR: usize = 0xffff_8000_8000_0000;
/// End of the range in which KASLR places the image, exclusive.
pub const KIMAGE_END: usize = 0xffff_8001_0000_0000;

/// Start of the vmalloc area (ioremap is in there as well).
pub const VMALLOC_START: usize = 0xffff_8001_0000_0000;
/// End of the vmalloc area, exclusive.
pub const VMALLOC_END: usize = 0xffff_bfff_0000_0000;

/// Start of the fixmap: one page table's worth of single pages.
pub const FIXMAP_BASE: usize = 0xffff_bfff_fe00_0000;
/// Start of the window through which the device tree is read before the linear map exists: two 2 MiB blocks.
pub const FIXMAP_FDT: usize = 0xffff_bfff_fe20_0000;

/// Slots of the fixmap, each a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum FixSlot {
    /// A page table that is being edited before the linear map covers it.
    Table = 0,
    /// A frame that is being cleared before the linear map covers it.
    Scratch = 1,
    /// The early console's registers.
    Earlycon = 2,
    /// A page of the kernel's text that is being changed.
    Text = 3,
}

/// Where the trampoline is, in the kernel's tables and in those that EL0 runs with: slots 16 and following of the fixmap.
pub const TRAMPOLINE: usize = FIXMAP_BASE + 16 * PAGE_SIZE;
/// Pages of its text.
pub const TRAMPOLINE_PAGES: usize = 3;
/// Its data, which only the kernel's tables map: the page behind its text.
pub const TRAMPOLINE_DATA: usize = TRAMPOLINE + TRAMPOLINE_PAGES * PAGE_SIZE;

impl FixSlot {
    /// The slot's virtual address.
    pub const fn addr(self) -> usize {
        FIXMAP_BASE + self as usize * PAGE_SIZE
    }
}

/// MAIR index of normal write-back memory; index 0, so that user and generic code need not set it.
pub const MT_NORMAL: u64 = 0;
/// MAIR index of Device-nGnRnE.
pub const MT_DEVICE_NGNRNE: u64 = 1;
/// MAIR index of Device-nGnRE: what ioremap gives.
pub const MT_DEVICE_NGNRE: u64 = 2;
/// MAIR index of normal non-cacheable memory: write-combining, coherent DMA.
pub const MT_NORMAL_NC: u64 = 3;

/// MAIR_EL1 for the indices above (Arm ARM D17.2.97).
pub const MAIR: u64 = 0xff << (8 * MT_NORMAL) | 0x04 << (8 * MT_DEVICE_NGNRE) | 0x44 << (8 * MT_NORMAL_NC);
