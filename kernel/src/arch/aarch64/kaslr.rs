//! Where the image runs: `KIMAGE_VADDR`, plus a random multiple of 2 MiB from the device tree's `/chosen/kaslr-seed`.
//!
//! The offset keeps the image's place within 2 MiB, so that its segments can be mapped by large entries. The seed is wiped
//! from the tree once it was read, as Linux does (arch/arm64/kernel/kaslr.c), so that it shows in no copy of the tree.

use super::boot::BootArgs;
use super::mmu_layout::{BLOCK_2M, KIMAGE_END, KIMAGE_VADDR};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The random part of the image's place, in bytes.
static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// The offset that was chosen: a multiple of 2 MiB, 0 with `nokaslr` or without a seed.
pub fn offset() -> usize {
    OFFSET.load(Relaxed)
}

/// Chooses the virtual address of the image; without a `seed` it is not moved. Runs at the load address.
pub(super) fn choose(args: &BootArgs, seed: Option<u64>) -> usize {
    let within = args.image_phys as usize & (BLOCK_2M - 1);
    let room = KIMAGE_END - KIMAGE_VADDR - super::mmu::image_size().next_multiple_of(BLOCK_2M) - BLOCK_2M;
    let offset = seed.map_or(0, |s| (s as usize % (room / BLOCK_2M)) * BLOCK_2M);
    // `.bss` is not relocated, so the value survives the second relocation.
    OFFSET.store(offset, Relaxed);
    KIMAGE_VADDR + within + offset
}

/// Overwrites each 4-byte aligned big-endian copy of `seed` in the tree of `size` bytes at `dtb`, which is mapped and
/// writable.
pub(super) fn wipe(dtb: *mut u8, size: usize, seed: u64) {
    let mut at = 0;
    while at + 8 <= size {
        // SAFETY: in range of the mapped tree; no reference to it is alive.
        unsafe {
            let p = dtb.add(at).cast::<[u8; 8]>();
            if p.read() == seed.to_be_bytes() {
                p.write([0; 8]);
            }
        }
        at += 4;
    }
}
