//! Zones: ranges of frames with a buddy system, watermarks and counters of their own.

use super::buddy::{Buddy, MAX_ORDER, MigrateType};
use super::gfp::Gfp;
use super::reclaim;
use crate::addr::{PAGE_SHIFT, Pfn};
use crate::page::Page;
use crate::slab::COSTLY_ORDER;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;

/// The levels at which a zone changes its behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Watermark {
    /// Below it only atomic requests are served.
    Min = 0,
    /// Below it the reclaimer is woken.
    Low = 1,
    /// At it the reclaimer stops.
    High = 2,
}

/// One zone.
pub(super) struct Zone {
    pub(super) name: &'static str,
    start: AtomicUsize,
    end: AtomicUsize,
    /// Pages that were given to the buddy system at boot or later.
    managed: AtomicUsize,
    /// Free pages, a copy of the buddy system's count for readers without the lock.
    free: AtomicUsize,
    marks: [AtomicUsize; 3],
    buddy: SpinLock<Buddy>,
}

/// First frame that does not fit 32 bits.
const DMA32_END: usize = 1 << (32 - PAGE_SHIFT);

/// The zones, the lower one first.
pub(super) static ZONES: [Zone; 2] = [Zone::new("DMA32"), Zone::new("Normal")];
static PREFERRED: AtomicPtr<Zone> = AtomicPtr::new(core::ptr::null_mut());

/// The zone that requests without a wish are served from first: the highest that has memory.
#[inline(always)]
pub(super) fn preferred() -> Option<&'static Zone> {
    let p = PREFERRED.load(Relaxed);
    // SAFETY: null or a pointer to a static.
    unsafe { p.as_ref() }
}

/// Whether frame `pfn` is the preferred zone's.
#[inline(always)]
pub(super) fn is_preferred(pfn: usize) -> bool {
    preferred().is_some_and(|z| pfn >= z.start.load(Relaxed))
}

/// The zone of frame `pfn`.
#[inline(always)]
pub(super) fn zone_of(pfn: usize) -> &'static Zone {
    &ZONES[(pfn >= DMA32_END) as usize]
}

impl Zone {
    pub(super) const fn new(name: &'static str) -> Zone {
        Zone {
            name,
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            managed: AtomicUsize::new(0),
            free: AtomicUsize::new(0),
            marks: [const { AtomicUsize::new(0) }; 3],
            buddy: SpinLock::new(lock_class!("zone"), Buddy::new()),
        }
    }

    /// Sets its frames. Once, before any is freed to it.
    pub(super) fn init(&self, start: Pfn, end: Pfn) {
        self.start.store(start.get(), Relaxed);
        self.end.store(end.get(), Relaxed);
        self.buddy.lock_irq().init(start, end);
    }

    /// Its frames: first, and first behind.
    pub(super) fn range(&self) -> (usize, usize) {
        (self.start.load(Relaxed), self.end.load(Relaxed))
    }

    /// Pages under its care.
    pub(super) fn managed(&self) -> usize {
        self.managed.load(Relaxed)
    }

    /// Free pages in its buddy system.
    pub(super) fn free(&self) -> usize {
        self.free.load(Relaxed)
    }

    /// A watermark, in pages.
    pub(super) fn mark(&self, w: Watermark) -> usize {
        self.marks[w as usize].load(Relaxed)
    }

    /// Free blocks of each order.
    pub(super) fn blocks(&self) -> [usize; MAX_ORDER] {
        let buddy = self.buddy.lock_irq();
        core::array::from_fn(|o| buddy.blocks(o))
    }

    /// How far below the free count may fall for `gfp` (Linux: __zone_watermark_ok).
    #[inline]
    fn floor(&self, gfp: Gfp, mark: Watermark) -> usize {
        if gfp.contains(Gfp::MEMALLOC) {
            return 0;
        }
        let mut floor = self.mark(mark);
        if gfp.contains(Gfp::HIGH) {
            floor -= floor / 2;
        }
        if gfp.contains(Gfp::NO_WAIT_RESERVE) {
            floor -= floor / 4;
        }
        floor
    }

    /// Takes up to `n` single pages of type `mt`, down to `min`, handing each to `f`.
    pub(super) fn take_batch(&self, n: usize, mt: MigrateType, mut f: impl FnMut(&'static Page)) {
        let floor = self.mark(Watermark::Min);
        let mut buddy = self.buddy.lock_irq();
        for got in 0..n {
            if buddy.free_pages() <= floor {
                break;
            }
            if let Some(page) = buddy.alloc_typed(0, mt) {
                f(page);
                continue;
            }
            // To search for pages of another type takes long: once, for one page, and not after others.
            if got == 0
                && let Some(page) = buddy.alloc(0, mt)
            {
                f(page);
            }
            break;
        }
        self.publish(&buddy);
    }

    /// Frees the single pages that `next` yields.
    pub(super) fn give_batch(&self, mut next: impl FnMut() -> Option<&'static Page>) {
        let mut buddy = self.buddy.lock_irq();
        while let Some(page) = next() {
            // SAFETY: the caller's lists contain free pages of this zone.
            unsafe { buddy.free(page.pfn().get(), 0) };
        }
        self.publish(&buddy);
    }

    fn publish(&self, buddy: &Buddy) {
        let free = buddy.free_pages();
        self.free.store(free, Relaxed);
    }

    /// Takes a block, if `mark` permits it.
    fn take(&self, order: usize, gfp: Gfp, mark: Watermark) -> Option<&'static Page> {
        let floor = self.floor(gfp, mark);
        let mut buddy = self.buddy.lock_irq();
        if buddy.free_pages() < floor + (1 << order) || !buddy.has_order(order) {
            return None;
        }
        let page = buddy.alloc(order, gfp.migrate_type());
        self.publish(&buddy);
        page
    }

    /// Gives a block back.
    ///
    /// # Safety
    /// The block is the zone's, aligned, and used by nobody.
    unsafe fn give(&self, pfn: usize, order: usize) {
        let mut buddy = self.buddy.lock_irq();
        // SAFETY: by the caller's contract.
        unsafe { buddy.free(pfn, order) };
        self.publish(&buddy);
    }

    /// Gives frames to the zone that it did not have: from boot, from the initrd.
    ///
    /// # Safety
    /// The frames lie in the zone, nobody uses them, and their descriptors are zero.
    pub(super) unsafe fn adopt(&self, start: usize, end: usize) {
        let mut buddy = self.buddy.lock_irq();
        let mut pfn = start;
        while pfn < end {
            let fits = usize::BITS - 1 - (end - pfn).leading_zeros();
            let order = (pfn.trailing_zeros().min(fits) as usize).min(MAX_ORDER - 1);
            // SAFETY: aligned to its size by the choice of the order, inside of the range.
            unsafe { buddy.free(pfn, order) };
            pfn += 1 << order;
        }
        self.publish(&buddy);
        drop(buddy);
        self.managed.fetch_add(end - start, Relaxed);
    }
}

/// Takes a block from the zones, in the order of preference: with the `low` mark first, then waking the reclaimer and with
/// `min` and what `gfp` may take of the reserve.
#[cold]
#[inline(never)]
pub(super) fn alloc_slow(order: usize, gfp: Gfp) -> Option<&'static Page> {
    if order >= MAX_ORDER {
        return None;
    }
    let zones = if gfp.contains(Gfp::DMA32) { &ZONES[..1] } else { &ZONES[..] };
    let take = |mark| zones.iter().rev().filter(|z| z.managed() != 0).find_map(|z| z.take(order, gfp, mark));
    if let Some(page) = take(Watermark::Low) {
        return Some(page);
    }
    if gfp.contains(Gfp::KSWAPD) {
        reclaim::wake_kswapd();
    }
    if let Some(page) = take(Watermark::Min) {
        return Some(page);
    }
    // What is missing may lie on this CPU's own lists.
    super::drain_local();
    let mut page = take(Watermark::Min);
    // For a large block the caller has another way, which costs less than all caches.
    if page.is_none() && order <= COSTLY_ORDER {
        page = reclaim::shrink_here(gfp, || take(Watermark::Min));
    }
    if page.is_none() {
        reclaim::warn_failed(order, gfp);
    }
    page
}

/// Frees the unused block at `page`.
#[inline(never)]
pub(super) fn free_block(page: &'static Page, order: usize) {
    let pfn = page.pfn().get();
    // SAFETY: an allocated block whose last reference is gone.
    unsafe { zone_of(pfn).give(pfn, order) };
}

/// Gives the frames `start..end`, which no zone manages, to theirs.
///
/// # Safety
/// Nobody uses the frames, they have descriptors, and those are zero.
pub(super) unsafe fn adopt(start: usize, end: usize) {
    let cut = DMA32_END.clamp(start, end);
    for (from, to) in [(start, cut), (cut, end)] {
        if from < to {
            // SAFETY: by the caller's contract; the cut keeps each part in one zone.
            unsafe { zone_of(from).adopt(from, to) };
        }
    }
}

/// Initialises the zones for the frames `start..end`.
pub(super) fn init_zones(start: usize, end: usize) {
    let cut = DMA32_END.clamp(start, end);
    for (zone, from, to) in [(&ZONES[0], start, cut), (&ZONES[1], cut, end)] {
        zone.init(Pfn::new(from), Pfn::new(to));
    }
}

/// Chooses the preferred zone. After the boot memory was given to the zones.
pub(super) fn choose_preferred() {
    if let Some(z) = ZONES.iter().rev().find(|z| z.managed() != 0) {
        PREFERRED.store(core::ptr::from_ref(z).cast_mut(), Relaxed);
    }
}

/// Sets `vm.min_free_kbytes` and with it all watermarks; `None` computes Linux's default: the square root of 16 times the
/// memory in KiB, between 128 KiB and 256 MiB (init_per_zone_wmark_min). Returns what was set, in KiB.
pub fn set_min_free_kbytes(kib: Option<usize>) -> usize {
    let managed: usize = ZONES.iter().map(Zone::managed).sum();
    let kib = kib.unwrap_or_else(|| (managed * 4 * 16).isqrt().clamp(128, 262_144));
    let min_pages = kib / 4;
    for z in &ZONES {
        let min = (min_pages * z.managed()).checked_div(managed).unwrap_or(0);
        // watermark_scale_factor 10: the distance is at least a thousandth of the zone.
        let gap = (min / 4).max(z.managed() / 1000);
        for (i, m) in z.marks.iter().enumerate() {
            m.store(min + i * gap, Relaxed);
        }
    }
    kib
}

/// Whether all zones together are above their marks `w`: the reclaimer's goal.
pub(super) fn above(w: Watermark) -> bool {
    ZONES.iter().all(|z| z.managed() == 0 || z.free() >= z.mark(w))
}
