//! A machine for tests on a host: one arena of memory that plays RAM, and the allocators started on it.

use crate::addr::{PAGE_SIZE, PhysAddr, set_linear_offset};
use crate::memblock::MEMBLOCK;
use std::alloc::{Layout, alloc_zeroed};
use std::sync::OnceLock;

/// Where the arena pretends to lie: QEMU virt's RAM.
pub const PHYS_BASE: usize = 0x4000_0000;
/// Its size.
pub const PHYS_SIZE: usize = 256 << 20;

/// Held by a test that compares counts of the shared machine.
pub static EXCLUSIVE: std::sync::Mutex<()> = std::sync::Mutex::new(());

static STARTED: OnceLock<()> = OnceLock::new();

/// Starts memblock, page allocator and slab on an arena of [`PHYS_SIZE`] bytes; only the first call does something. All
/// tests of a process share the machine, so counts may be compared only while nothing else runs.
///
/// # Panics
/// When the host has no memory for the arena.
pub fn start() {
    STARTED.get_or_init(|| {
        let layout = Layout::from_size_align(PHYS_SIZE, 4 << 20).expect("a constant layout");
        // SAFETY: the size is not 0. The arena is never freed.
        let arena = unsafe { alloc_zeroed(layout) };
        assert!(!arena.is_null(), "no memory for the arena");
        set_linear_offset((arena as usize).wrapping_sub(PHYS_BASE));
        {
            let mut m = MEMBLOCK.lock();
            m.add(PhysAddr::new(PHYS_BASE), PHYS_SIZE).expect("an empty list has room");
            // As if an image lay there, so that not all memory is one block.
            m.reserve(PhysAddr::new(PHYS_BASE + 0x20_0000), 3 * PAGE_SIZE).expect("an empty list has room");
        }
        // SAFETY: once, and the arena is "mapped" at the linear offset that was just set.
        unsafe { crate::page_alloc::init() }.expect("256 MiB are enough");
    });
}
