//! The page allocator: zones, buddy system, per-CPU lists.
//!
//! An allocation of one page comes from this CPU's list under masked interrupts, no lock. The list is refilled from and
//! spilled to the buddy system of a zone in batches, under the zone's lock. A zone keeps pages back by watermarks: `min`
//! is the reserve that only atomic requests may dip into, below `low` the reclaimer is woken, at `high` it stops.
//!
//! | file | subject |
//! |---|---|
//! | `gfp` | what a request asks for |
//! | `buddy` | free blocks by order and migrate type, splitting, merging, stealing |
//! | `pcp` | the per-CPU lists |
//! | `zone` | zones, watermarks, counters |
//! | `boot` | from memblock to a running allocator |
//! | `reclaim` | shrinkers, the awaitable face, the last resort |
//! | `stat` | what `/proc/meminfo`, `vmstat`, `buddyinfo` show |
//!
//! Locks: a zone's lock is the innermost of all; nothing is called under it.

mod boot;
mod buddy;
mod gfp;
mod pcp;
mod reclaim;
mod stat;
mod zone;

pub use boot::{MemInitError, free_reserved_range, init};
pub use buddy::{MAX_ORDER, MigrateType, PAGEBLOCK_ORDER};
pub use gfp::Gfp;
pub use reclaim::{
    Shrinker, TooManyShrinkers, alloc_pages_wait, alloc_wait, balance, register_shrinker, set_drain_hook, set_kswapd_hook, set_oom_hook,
    set_warn_hook,
};
pub(crate) use reclaim::{shrink_here, warn_failed};
pub use stat::{Item, MemStat, ZoneStat, add_item, item, meminfo, total_pages, zone_stats};
pub use zone::{Watermark, set_min_free_kbytes};

use crate::fault;
use crate::page::{Page, PageFlags};

/// Takes `1 << order` pages, contiguous and aligned to their size, with one reference. Never waits; `None` when the
/// watermarks that `gfp` must respect forbid it or there is no such block. Any context, hard interrupts included.
#[inline]
pub fn alloc_pages(order: usize, gfp: Gfp) -> Option<&'static Page> {
    if !gfp.contains(Gfp::NOFAULT) && fault::should_fail() {
        return None;
    }
    let page = if order == 0 { pcp::alloc(gfp) } else { None };
    let page = match page {
        Some(p) => p,
        None => zone::alloc_slow(order, gfp)?,
    };
    page.set_refcount(1);
    if gfp.contains(Gfp::ZERO) {
        // SAFETY: the pages were just allocated: nobody else knows them.
        unsafe { crate::arch::zero_pages(page.as_ptr(), 1 << order) };
    }
    Some(page)
}

/// Frees what [`alloc_pages`] gave, whose only reference the caller has.
#[inline]
pub fn free_pages(page: &'static Page, order: usize) {
    debug_assert_eq!(page.order(), order, "freed with another order than allocated");
    page.put();
}

/// Frees a page whose last reference is gone. [`Page::put`] calls it.
#[inline]
pub(crate) fn free_unreferenced(page: &'static Page) {
    debug_assert!(!page.flags().intersects(PageFlags::CHECK_AT_FREE), "page freed in use: {page:?}");
    debug_assert_eq!(page.mapcount(), 0, "page freed while it is mapped: {page:?}");
    page.reset_flags(PageFlags::empty());
    page.set_mapping(0);
    let order = page.order();
    if order == 0 { pcp::free(page) } else { zone::free_block(page, order) }
}

/// Gives this CPU's lists back to the buddy system: for exact counts, and before a CPU goes down.
pub fn drain_local() {
    while drain_turn() {}
}

/// Gives a few pages of this CPU's lists back; false: there are none.
pub fn drain_turn() -> bool {
    pcp::drain_turn()
}

#[cfg(test)]
mod tests;
