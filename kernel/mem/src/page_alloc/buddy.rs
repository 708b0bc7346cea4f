//! The buddy system of one zone: free blocks of 2^order pages, by order and migrate type.
//!
//! A free block's head has BUDDY set and its order noted. A freed block merges with its buddy (the block whose frame
//! number differs in bit `order`) as long as that one is free and as large. Pageblocks of 2 MiB carry a migrate type, so
//! that what cannot be moved gathers in few of them; a request whose type has run out takes the largest block of
//! another type and, when it is large enough, the pageblock with it (Linux: __rmqueue_fallback).

use crate::addr::Pfn;
use crate::page::links::PageList;
use crate::page::{Page, PageFlags, page_at};
use core::sync::atomic::Ordering::Relaxed;

/// The largest order plus one: blocks go up to 4 MiB (Linux 6.1: MAX_ORDER is 11).
pub const MAX_ORDER: usize = 11;
/// log2 of the pages of a pageblock: 2 MiB.
pub const PAGEBLOCK_ORDER: usize = 9;

/// Whether and how a page can be got back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MigrateType {
    /// Not at all: the kernel's own.
    Unmovable = 0,
    /// By moving its bytes elsewhere.
    Movable = 1,
    /// By asking its owner.
    Reclaimable = 2,
}

impl MigrateType {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All, in the order of their numbers.
    pub const ALL: [MigrateType; Self::COUNT] = [Self::Unmovable, Self::Movable, Self::Reclaimable];

    /// Whom to take from when there is none of this type, the best first.
    const fn fallbacks(self) -> [MigrateType; 2] {
        match self {
            Self::Unmovable => [Self::Reclaimable, Self::Movable],
            Self::Movable => [Self::Reclaimable, Self::Unmovable],
            Self::Reclaimable => [Self::Unmovable, Self::Movable],
        }
    }

    #[inline(always)]
    const fn from_raw(raw: u8) -> MigrateType {
        match raw {
            0 => Self::Unmovable,
            2 => Self::Reclaimable,
            _ => Self::Movable,
        }
    }
}

/// The type of the pageblock that frame `pfn` lies in.
///
/// # Safety
/// `pfn` has a descriptor.
#[inline(always)]
pub(super) unsafe fn pageblock_type(pfn: usize) -> MigrateType {
    // SAFETY: the map's ends are aligned to more than a pageblock.
    let head = unsafe { page_at(pfn & !((1 << PAGEBLOCK_ORDER) - 1)) };
    // Stored exclusive-or 1, so that a map of zero bytes is all movable.
    MigrateType::from_raw(head.block_type.load(Relaxed) ^ 1)
}

/// Sets the type of a pageblock, under the zone's lock.
///
/// # Safety
/// `pfn` has a descriptor.
unsafe fn set_pageblock_type(pfn: usize, mt: MigrateType) {
    // SAFETY: as above.
    let head = unsafe { page_at(pfn & !((1 << PAGEBLOCK_ORDER) - 1)) };
    head.block_type.store(mt as u8 ^ 1, Relaxed);
}

/// A pageblock whose free pages lie in more blocks than that does not change its type as a whole: it would take too long with
/// interrupts masked.
const MOST_PIECES: usize = 32;

struct FreeArea {
    lists: [PageList; MigrateType::COUNT],
    /// Blocks on all three lists.
    count: usize,
}

/// The free blocks of a zone, under its lock. Must not move once [`Buddy::init`] has run.
pub(super) struct Buddy {
    areas: [FreeArea; MAX_ORDER],
    /// Frames of the zone: first and first behind.
    start: usize,
    end: usize,
    free_pages: usize,
}

impl Buddy {
    pub(super) const fn new() -> Self {
        Buddy {
            areas: [const { FreeArea { lists: [const { PageList::new() }; MigrateType::COUNT], count: 0 } }; MAX_ORDER],
            start: 0,
            end: 0,
            free_pages: 0,
        }
    }

    /// Makes it the empty system of the frames `start..end`, where it stands.
    pub(super) fn init(&mut self, start: Pfn, end: Pfn) {
        self.start = start.get();
        self.end = end.get();
        for list in self.areas.iter().flat_map(|a| &a.lists) {
            list.init();
        }
    }

    /// Free pages of all orders.
    pub(super) fn free_pages(&self) -> usize {
        self.free_pages
    }

    /// Free blocks of `order`.
    pub(super) fn blocks(&self, order: usize) -> usize {
        self.areas[order].count
    }

    /// Whether there is a block of at least `order`.
    pub(super) fn has_order(&self, order: usize) -> bool {
        self.areas[order..].iter().any(|a| a.count != 0)
    }

    /// # Safety
    /// `page` is the head of a block of `order` that is on no list.
    #[inline(always)]
    unsafe fn link(&mut self, page: &'static Page, order: usize, mt: MigrateType, back: bool) {
        page.reset_flags(PageFlags::BUDDY);
        page.set_order(order);
        let area = &mut self.areas[order];
        // SAFETY: on no list; the zone's lock is held by whoever has `&mut self`.
        unsafe { if back { area.lists[mt as usize].push_back(page) } else { area.lists[mt as usize].push_front(page) } }
        area.count += 1;
    }

    /// # Safety
    /// `page` is the head of a free block of `order` on one of our lists.
    #[inline(always)]
    unsafe fn unlink(&mut self, page: &'static Page, order: usize) {
        // SAFETY: by the caller's contract.
        unsafe { page.links().unlink() };
        page.reset_flags(PageFlags::empty());
        self.areas[order].count -= 1;
    }

    /// The buddy of the block at `pfn`, if it is free and as large.
    #[inline(always)]
    fn free_buddy(&self, pfn: usize, order: usize) -> Option<(usize, &'static Page)> {
        let other = pfn ^ (1 << order);
        if other < self.start || other + (1 << order) > self.end {
            return None;
        }
        // SAFETY: inside of the zone, and all frames of a zone have descriptors.
        let page = unsafe { page_at(other) };
        (page.flags() == PageFlags::BUDDY && page.order() == order).then_some((other, page))
    }

    /// Puts the block of `order` at `pfn` back, merging it.
    ///
    /// # Safety
    /// The block lies in the zone, is aligned to its size, and nobody uses it.
    pub(super) unsafe fn free(&mut self, pfn: usize, order: usize) {
        let (mut pfn, mut order) = (pfn, order);
        self.free_pages += 1 << order;
        while order + 1 < MAX_ORDER {
            let Some((other, buddy)) = self.free_buddy(pfn, order) else { break };
            // SAFETY: a free block of this order.
            unsafe { self.unlink(buddy, order) };
            pfn &= other;
            order += 1;
        }
        // A block whose parent may soon be whole is used last (Linux: buddy_merge_likely).
        let back = order + 2 < MAX_ORDER && self.free_buddy(pfn & !(1 << order), order + 1).is_some();
        // SAFETY: in the zone, so both have descriptors; on no list.
        unsafe { self.link(page_at(pfn), order, pageblock_type(pfn), back) };
    }

    /// Takes a block of `order` for `mt`, splitting larger ones.
    pub(super) fn alloc(&mut self, order: usize, mt: MigrateType) -> Option<&'static Page> {
        if let Some(page) = self.alloc_typed(order, mt) {
            return Some(page);
        }
        // Stealing a pageblock refills our own lists; taking a single block returns it.
        match self.steal(order, mt)? {
            Some(page) => Some(page),
            None => self.alloc_typed(order, mt),
        }
    }

    /// As [`alloc`](Self::alloc), from the lists of `mt` alone.
    #[inline]
    pub(super) fn alloc_typed(&mut self, order: usize, mt: MigrateType) -> Option<&'static Page> {
        for have in order..MAX_ORDER {
            if let Some(page) = self.areas[have].lists[mt as usize].front() {
                return Some(self.take(page, have, order, mt));
            }
        }
        None
    }

    /// Takes the free block `page` of order `have`, keeps the first 2^order pages and puts the rest back as `mt`.
    fn take(&mut self, page: &'static Page, have: usize, order: usize, mt: MigrateType) -> &'static Page {
        let pfn = page.pfn().get();
        // SAFETY: a free block on one of our lists; its upper halves are ours until they are linked.
        unsafe {
            self.unlink(page, have);
            for o in (order..have).rev() {
                self.link(page_at(pfn + (1 << o)), o, mt, false);
            }
        }
        page.set_order(order);
        self.free_pages -= 1 << order;
        page
    }

    /// Finds a block of another type for `mt`. `Some(None)`: a whole pageblock changed its type, look again.
    #[cold]
    fn steal(&mut self, order: usize, mt: MigrateType) -> Option<Option<&'static Page>> {
        for have in (order..MAX_ORDER).rev() {
            for other in mt.fallbacks() {
                let Some(page) = self.areas[have].lists[other as usize].front() else { continue };
                if have >= PAGEBLOCK_ORDER {
                    // All of it changes sides.
                    let pfn = page.pfn().get();
                    // SAFETY: a free block on our lists; its frames are in the zone.
                    unsafe {
                        self.unlink(page, have);
                        for block in (pfn..pfn + (1 << have)).step_by(1 << PAGEBLOCK_ORDER) {
                            set_pageblock_type(block, mt);
                        }
                        self.link(page, have, mt, false);
                    }
                    return Some(None);
                }
                // A large piece, or a request that would otherwise scatter unmovable pages: try for the whole block.
                if (have >= PAGEBLOCK_ORDER / 2 || mt != MigrateType::Movable) && self.claim_block(page, mt) {
                    return Some(None);
                }
                return Some(Some(self.take(page, have, order, other)));
            }
        }
        None
    }

    /// Turns the pageblock of `page` over to `mt` if at least half of it is free, in few enough pieces: its free blocks change lists.
    fn claim_block(&mut self, page: &'static Page, mt: MigrateType) -> bool {
        let first = page.pfn().get() & !((1 << PAGEBLOCK_ORDER) - 1);
        let (from, to) = (first.max(self.start), (first + (1 << PAGEBLOCK_ORDER)).min(self.end));
        let (mut heads, mut pieces, mut used) = ([from; MOST_PIECES], 0, (1 << PAGEBLOCK_ORDER) - (to - from));
        let mut pfn = from;
        while pfn < to {
            // SAFETY: inside of the zone.
            let p = unsafe { page_at(pfn) };
            if p.flags() == PageFlags::BUDDY {
                let Some(slot) = heads.get_mut(pieces) else { return false };
                *slot = pfn;
                pieces += 1;
                pfn += 1 << p.order();
            } else {
                used += 1;
                pfn += 1;
                if used > 1 << (PAGEBLOCK_ORDER - 1) {
                    return false;
                }
            }
        }
        for &pfn in &heads[..pieces] {
            // SAFETY: a free block on one of our lists, relinked to another list of its order.
            unsafe {
                let p = page_at(pfn);
                let order = p.order();
                self.unlink(p, order);
                self.link(p, order, mt, false);
            }
        }
        // SAFETY: the pageblock has a descriptor: it contains `page`.
        unsafe { set_pageblock_type(first, mt) };
        true
    }
}
