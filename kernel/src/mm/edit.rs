//! Changing the set of mappings: split, merge, insert, remove (Linux: `split_vma`, `vma_merge`, `do_munmap`).
//!
//! Everything here runs with mmap_lock held for writing. An operation that can fail does so before it changed anything.

use super::MAX_MAP_COUNT;
use super::gather::Gather;
use super::page;
use super::space::{Mm, Space};
use super::tree::VmaTree;
use super::vma::{VmFlags, Vma};
use vigil_abi::Errno;
use vigil_mem::TASK_SIZE;

/// Page-table regions (2 MiB each) that one hold of the CPU takes pages out of.
const REGIONS_PER_TURN: usize = 16;

impl Mm {
    /// Makes `addr` a border between mappings. ENOMEM: too many mappings, or no memory.
    pub(super) fn split_at(&self, space: &mut Space, addr: usize) -> Result<(), Errno> {
        let Some(pos) = space.tree.find(addr) else { return Ok(()) };
        let Some(vma) = space.tree.get(pos).filter(|v| v.start < addr) else { return Ok(()) };
        if space.tree.count() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let upper = vma.duplicate(self, addr, vma.end)?;
        space.tree.reserve()?;
        if let Some(lower) = space.tree.get_mut(pos) {
            lower.set_end(addr);
        }
        self.insert(space, upper)
    }

    /// Adds a mapping where there is none. ENOMEM only without a reservation.
    pub(super) fn insert(&self, space: &mut Space, vma: Vma) -> Result<(), Errno> {
        space.tree.insert(vma).map_err(|_| Errno::ENOMEM)
    }

    /// Makes one of each two neighbours within `[start, end]` that can be one.
    pub(super) fn merge_range(tree: &mut VmaTree, start: usize, end: usize) {
        let mut pos = tree.before(start).or_else(|| tree.find(start));
        while let Some(at) = pos {
            let Some(next) = tree.next(at) else { return };
            let (Some(left), Some(right)) = (tree.get(at), tree.get(next)) else { return };
            if left.start > end || right.start > end {
                return;
            }
            if !left.can_merge_with(right) {
                pos = Some(next);
                continue;
            }
            let from = left.start;
            let Some(right) = tree.remove(next) else { return };
            // The removal may have moved the left one, too.
            pos = tree.find(from);
            if let Some(left) = pos.and_then(|p| tree.get_mut(p)) {
                left.absorb(&right);
            }
        }
    }

    /// Whether `[start, end)` can be unmapped without exceeding the number of mappings by the splits.
    pub(super) fn may_unmap(tree: &VmaTree, start: usize, end: usize) -> bool {
        let splits_two = tree.at(start).is_some_and(|v| v.start < start && end < v.end);
        !splits_two || tree.count() < MAX_MAP_COUNT
    }

    /// Unmaps `[start, end)` whatever is there, with yield points. ENOMEM: a mapping cannot be split; then nothing changed.
    pub(crate) async fn unmap(&self, space: &mut Space, start: usize, end: usize) -> Result<(), Errno> {
        if space.tree.first_in(start, end).is_none() {
            return Ok(());
        }
        if !Self::may_unmap(&space.tree, start, end) {
            return Err(Errno::ENOMEM);
        }
        self.split_at(space, start)?;
        if let Err(e) = self.split_at(space, end) {
            Self::merge_range(&mut space.tree, start, start);
            return Err(e);
        }
        while let Some(pos) = space.tree.first_in(start, end) {
            let Some(vma) = space.tree.remove(pos) else { break };
            self.forget_vma(&vma);
            let mut at = vma.start;
            while at < vma.end {
                at = self.zap_turn(at, vma.end);
                if at < vma.end {
                    page::yield_now().await;
                }
            }
            // Here the rmap node goes, before the tables below.
            drop(vma);
        }
        self.free_tables(&space.tree, start, end);
        Ok(())
    }

    /// Takes `vma`, which leaves the tree, out of the counters.
    pub(super) fn forget_vma(&self, vma: &Vma) {
        self.counters.account(vma.flags, -(vma.pages() as isize));
        if vma.flags.contains(VmFlags::ACCOUNT) {
            self.counters.uncharge(vma.pages());
        }
    }

    /// Clears entries from `at` on for a bounded time; where it stopped.
    pub(super) fn zap_turn(&self, at: usize, end: usize) -> usize {
        let mut gather = Gather::new(self);
        let mut at = at;
        for _ in 0..REGIONS_PER_TURN {
            if at >= end {
                break;
            }
            at = gather.zap_some(at, end, false);
            if gather.is_full() {
                gather.flush();
            }
        }
        at
    }

    /// Frees the page tables that only the hole around `[start, end)` used.
    pub(super) fn free_tables(&self, tree: &VmaTree, start: usize, end: usize) {
        let floor = tree.before(start).and_then(|p| tree.get(p)).map_or(0, |v| v.end.min(start));
        let ceiling = tree.find(end).and_then(|p| tree.get(p)).map_or(TASK_SIZE, |v| v.start);
        let mut gather = Gather::new(self);
        self.tables.unhook_tables(start, end, floor, ceiling, &mut |pfn| gather.push_table(pfn));
    }
}
