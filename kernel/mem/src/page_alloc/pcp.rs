//! The per-CPU lists: single pages by migrate type, taken and given under masked interrupts, without a lock.
//!
//! Last in, first out, so that a page is still in the cache. One set of lists serves all zones: pages of the preferred
//! zone go through it; the others take the slow path. Pages here count as free in the statistics but not for the
//! watermarks, as on Linux.

use super::buddy::{MigrateType, pageblock_type};
use super::gfp::Gfp;
use super::reclaim;
use super::zone::{self, Watermark};
use crate::page::Page;
use crate::page::links::Links;
use crate::percpu::Local;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use vigil_executor::cpu::MAX_CPUS;

/// Pages moved at once. Linux: 63 for zones of 1 GiB and more; less here, to keep the longest section with interrupts
/// masked short.
const BATCH: usize = 16;
/// Above it some are given back.
const HIGH: usize = 186;
/// Pages given back at once: each may be joined with its neighbours in many steps.
const SPILL: usize = 8;

/// One CPU's lists. Changed by its CPU under masked interrupts; `count` is read by anybody.
struct Lists {
    heads: [AtomicPtr<Links>; MigrateType::COUNT],
    count: AtomicUsize,
}

static PCP: Local<Lists> = Local::new(
    [const { Lists { heads: [const { AtomicPtr::new(null_mut()) }; MigrateType::COUNT], count: AtomicUsize::new(0) } }; MAX_CPUS],
);

impl Lists {
    #[inline(always)]
    fn pop(&self, mt: usize) -> Option<&'static Page> {
        let links = self.heads[mt].load(Relaxed);
        if links.is_null() {
            return None;
        }
        // SAFETY: the lists contain pages' links only.
        let page = unsafe { Page::from_links(links) };
        self.heads[mt].store(page.links.single_next(), Relaxed);
        // The owner may use the links for a list of its own, and null says "on none".
        page.links.set_single_next(null_mut());
        Some(page)
    }

    #[inline(always)]
    fn push(&self, mt: usize, page: &'static Page) {
        page.links.set_single_next(self.heads[mt].load(Relaxed));
        self.heads[mt].store(core::ptr::from_ref(&page.links).cast_mut(), Relaxed);
    }

    /// Adds to the count; returns the new one.
    #[inline(always)]
    fn add(&self, change: isize) -> usize {
        let now = self.count.load(Relaxed).wrapping_add_signed(change);
        self.count.store(now, Relaxed);
        now
    }
}

/// Takes a page from this CPU's list, refilling it; `None` when the zone must be asked (another zone is wanted, or it
/// does not give any under its watermark).
#[inline(always)]
pub(super) fn alloc(gfp: Gfp) -> Option<&'static Page> {
    if gfp.contains(Gfp::DMA32) {
        return None;
    }
    let mt = gfp.migrate_type() as usize;
    PCP.with(|l| {
        if let Some(page) = l.pop(mt) {
            l.add(-1);
            return Some(page);
        }
        refill(l, gfp)
    })
}

#[cold]
#[inline(never)]
fn refill(l: &Lists, gfp: Gfp) -> Option<&'static Page> {
    let mt = gfp.migrate_type();
    let zone = zone::preferred()?;
    let mut got = 0;
    // Never from the reserve: what lies on a list is anybody's. Who may use it takes single pages, the slow way.
    zone.take_batch(BATCH, mt, |page| {
        l.push(mt as usize, page);
        got += 1;
    });
    if gfp.contains(Gfp::KSWAPD) && zone.free() < zone.mark(Watermark::Low) {
        reclaim::wake_kswapd();
    }
    let page = l.pop(mt as usize)?;
    l.add(got - 1);
    Some(page)
}

/// Puts a page on this CPU's list, spilling some when it is long.
#[inline(always)]
pub(super) fn free(page: &'static Page) {
    let pfn = page.pfn().get();
    if !zone::is_preferred(pfn) {
        return zone::free_block(page, 0);
    }
    // SAFETY: an allocated page has a descriptor.
    let mt = unsafe { pageblock_type(pfn) } as usize;
    PCP.with(|l| {
        l.push(mt, page);
        if l.add(1) > HIGH {
            spill(l);
        }
    });
}

/// Gives [`SPILL`] pages back, if there are so many; how many it were.
#[cold]
#[inline(never)]
fn spill(l: &Lists) -> usize {
    let Some(zone) = zone::preferred() else { return 0 };
    let mut given = 0;
    // The longest list gives most: take in turn from those that have any.
    zone.give_batch(|| {
        if given == SPILL {
            return None;
        }
        for i in 0..MigrateType::COUNT {
            if let Some(page) = l.pop((given + i) % MigrateType::COUNT) {
                given += 1;
                return Some(page);
            }
        }
        None
    });
    l.add(-(given as isize));
    given
}

/// Gives some pages of this CPU back, if there are any.
pub(super) fn drain_turn() -> bool {
    PCP.with(spill) != 0
}

/// Pages on the lists of all CPUs.
pub(super) fn total() -> usize {
    PCP.iter().map(|l| l.count.load(Relaxed)).sum()
}
