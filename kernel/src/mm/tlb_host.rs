//! The host's twin of `arch/aarch64/tlb.rs`: there is no TLB; invalidations are counted, so that tests see that they
//! happen.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many invalidations were asked for.
pub static FLUSHES: AtomicU64 = AtomicU64::new(0);

fn count() {
    FLUSHES.fetch_add(1, Ordering::Relaxed);
}

/// Nothing to order.
pub fn table_store_barrier() {}

/// Counts.
pub fn flush_asid(_asid: impl FnOnce() -> u64) {
    count();
}

/// Counts.
pub fn flush_page(_asid: impl FnOnce() -> u64, _addr: usize) {
    count();
}

/// Counts.
pub fn flush_range(_asid: impl FnOnce() -> u64, _start: usize, _end: usize, _tables: bool) {
    count();
}

/// Counts.
pub fn flush_local_all() {
    count();
}

/// There is no TTBR0.
///
/// # Safety
/// None needed; the signature is the target's.
pub unsafe fn set_ttbr0(_root: u64, _asid: u64) {}

/// Nothing to keep apart.
pub fn new_address_space() {}

/// Hosts have coherent instruction caches, and do not run what is written here.
pub fn sync_icache(_addr: usize, _len: usize) {}

/// 16.
pub fn asid_bits() -> u32 {
    16
}
