//! Where the image runs: `KIMAGE_VADDR`, plus a random multiple of 2 MiB from the device tree's `/chosen/kaslr-seed`.
//!
//! The offset keeps the image's place within 2 MiB, so that its segments can be mapped by large entries. The seed is wiped
//! from the tree once it was read, as Linux does (arch/arm64/kernel/kaslr.c), so that it shows in no copy of the tree.

use super::boot::BootArgs;
use super::mmu_layout::{BLOCK_2M, KIMAGE_END, KIMAGE_VADDR};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use vigil_drivers::dt;

/// The random part of the image's place, in bytes.
static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// The offset that was chosen: a multiple of 2 MiB, 0 with `nokaslr` or without a seed.
pub fn offset() -> usize {
    OFFSET.load(Relaxed)
}

/// Chooses the virtual address of the image. Runs at the load address; the tree is reached through the identity map.
pub(super) fn choose(args: &BootArgs) -> usize {
    let within = args.image_phys as usize & (BLOCK_2M - 1);
    let room = KIMAGE_END - KIMAGE_VADDR - super::mmu::image_size().next_multiple_of(BLOCK_2M) - BLOCK_2M;
    let offset = seed(args.x[0]).map_or(0, |s| (s as usize % (room / BLOCK_2M)) * BLOCK_2M);
    // `.bss` is not relocated, so the value survives the second relocation.
    OFFSET.store(offset, Relaxed);
    KIMAGE_VADDR + within + offset
}

/// The seed, wiped from the tree at `dtb`; `None` when there is none, or it is 0, or `nokaslr` is on the command line.
fn seed(dtb: u64) -> Option<u64> {
    if dtb == 0 {
        return None;
    }
    // SAFETY: the entry code mapped the 2 MiB block of `dtb` and the next one, writable; nothing else refers to them.
    let head = unsafe { core::slice::from_raw_parts(dtb as *const u8, 40) };
    let size = dt::Dtb::peek_size(head).ok()?;
    // SAFETY: as above; `peek_size` answers at most 2 MiB.
    let blob = unsafe { core::slice::from_raw_parts(dtb as *const u8, size) };
    let tree = dt::validate(blob).ok()?;
    let chosen = dt::early::chosen(&tree);
    let disabled = chosen.bootargs.is_some_and(|c| c.split_ascii_whitespace().any(|w| w == "nokaslr"));
    let seed = chosen.kaslr_seed.filter(|s| *s != 0)?;
    wipe(dtb as *mut u8, size, seed);
    if disabled { None } else { Some(seed) }
}

/// Overwrites each 4-byte aligned big-endian copy of `seed` in the tree.
fn wipe(dtb: *mut u8, size: usize, seed: u64) {
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
