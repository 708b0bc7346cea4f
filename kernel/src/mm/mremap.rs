//! mremap(2) (Linux: `mm/mremap.c`).

use super::fault::untag;
use super::layout::Limits;
use super::pgtable::{PMD_SIZE, Pte, page_up};
use super::space::{Mm, Space};
use super::table::ENTRIES_PER_HOLD;
use super::tlb;
use super::vma::{FileMap, VmFlags, Vma};
use super::{MAX_MAP_COUNT, STACK_GUARD_GAP, page};
use vigil_abi::Errno;
use vigil_abi::mm::{MREMAP_DONTUNMAP, MREMAP_FIXED, MREMAP_MAYMOVE};
use vigil_mem::{AllocError, KBox, PAGE_SHIFT, PAGE_SIZE, TASK_SIZE};

/// The arguments, checked and rounded to pages.
struct Move {
    old: usize,
    old_len: usize,
    new_len: usize,
    /// MREMAP_FIXED: where to.
    fixed: Option<usize>,
    may_move: bool,
    keep_old: bool,
}

impl Move {
    /// EINVAL for what makes no sense whatever is mapped.
    fn new(old: usize, old_len: usize, new_len: usize, flags: u32, new: usize) -> Result<Move, Errno> {
        let old = untag(old);
        let fixed = flags & MREMAP_FIXED != 0;
        let keep_old = flags & MREMAP_DONTUNMAP != 0;
        let may_move = flags & MREMAP_MAYMOVE != 0;
        if flags & !(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP) != 0
            || ((fixed || keep_old) && !may_move)
            || (keep_old && old_len != new_len)
            || old % PAGE_SIZE != 0
        {
            return Err(Errno::EINVAL);
        }
        let old_len = page_up(old_len).ok_or(Errno::EINVAL)?;
        let new_len = page_up(new_len).filter(|l| *l != 0).ok_or(Errno::EINVAL)?;
        Ok(Move { old, old_len, new_len, fixed: fixed.then_some(new), may_move, keep_old })
    }
}

impl Mm {
    /// mremap(2): the new address. EINVAL, EFAULT (no mapping of that length there), ENOMEM, EAGAIN (RLIMIT_MEMLOCK).
    pub async fn mremap(
        &self,
        old: usize,
        old_len: usize,
        new_len: usize,
        flags: u32,
        new: usize,
        limits: &Limits,
    ) -> Result<usize, Errno> {
        let mut mv = Move::new(old, old_len, new_len, flags, new)?;
        let mut space = self.write().await;
        if space.tree.at(mv.old).is_none() {
            return Err(Errno::EFAULT);
        }
        let grown = mv.new_len.saturating_sub(mv.old_len);
        let at = if mv.fixed.is_some() || mv.keep_old {
            self.remap_to(&mut space, &mut mv, limits).await?
        } else if mv.old_len >= mv.new_len {
            if mv.old_len > mv.new_len {
                self.unmap(&mut space, mv.old + mv.new_len, mv.old + mv.old_len).await?;
            }
            return Ok(mv.old);
        } else {
            self.check_resize(&space, &mv, limits)?;
            if self.grow_in_place(&mut space, &mv)? {
                mv.old
            } else if mv.may_move {
                let to = Self::get_unmapped_area(&space.tree, &space.layout, 0, mv.new_len)?;
                self.move_vma(&mut space, &mv, to).await?
            } else {
                return Err(Errno::ENOMEM);
            }
        };
        let locked = space.tree.at(at).is_some_and(|v| v.flags.contains(VmFlags::LOCKED));
        drop(space);
        if locked && grown > 0 {
            // That pages cannot be had is no failure of mremap; a box, because this is rare and large.
            let end = at + mv.new_len;
            if let Ok(populate) = KBox::try_pin(self.populate(end - grown, end)) {
                let _ = populate.await;
            }
        }
        Ok(at)
    }

    /// With MREMAP_FIXED or MREMAP_DONTUNMAP (`mremap_to`).
    async fn remap_to(&self, space: &mut Space, mv: &mut Move, limits: &Limits) -> Result<usize, Errno> {
        if let Some(new) = mv.fixed {
            let apart = mv.old.saturating_add(mv.old_len) <= new || new.saturating_add(mv.new_len) <= mv.old;
            if new % PAGE_SIZE != 0 || mv.new_len > TASK_SIZE || new > TASK_SIZE - mv.new_len || !apart {
                return Err(Errno::EINVAL);
            }
            limits.check_low(new)?;
        }
        if space.tree.count() + 5 >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        if let Some(new) = mv.fixed {
            self.unmap(space, new, new + mv.new_len).await?;
        }
        if mv.old_len > mv.new_len {
            self.unmap(space, mv.old + mv.new_len, mv.old + mv.old_len).await?;
            mv.old_len = mv.new_len;
        }
        self.check_resize(space, mv, limits)?;
        let to = match mv.fixed {
            Some(new) => new,
            None => Self::get_unmapped_area(&space.tree, &space.layout, 0, mv.new_len)?,
        };
        self.move_vma(space, mv, to).await
    }

    /// Whether the mapping at `mv.old` may get its new size (`vma_to_resize`).
    fn check_resize(&self, space: &Space, mv: &Move, limits: &Limits) -> Result<(), Errno> {
        let vma = space.tree.at(mv.old).ok_or(Errno::EFAULT)?;
        let fixed_size = vma.flags.intersects(VmFlags::DONTEXPAND | VmFlags::PFNMAP);
        if mv.old_len == 0 && !vma.flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE) {
            return Err(Errno::EINVAL);
        }
        if mv.keep_old && fixed_size {
            return Err(Errno::EINVAL);
        }
        if mv.old_len > vma.end - mv.old {
            return Err(Errno::EFAULT);
        }
        if mv.new_len == mv.old_len {
            if mv.keep_old && !self.may_expand(vma.flags, mv.new_len >> PAGE_SHIFT, limits) {
                return Err(Errno::ENOMEM);
            }
            return Ok(());
        }
        let index = vma.page_index(mv.old);
        if index.checked_add((mv.new_len >> PAGE_SHIFT) as u64).is_none() {
            return Err(Errno::EINVAL);
        }
        if fixed_size {
            return Err(Errno::EFAULT);
        }
        let more = mv.new_len.saturating_sub(mv.old_len) >> PAGE_SHIFT;
        self.may_lock_more(vma.flags, more, limits)?;
        if !self.may_expand(vma.flags, more, limits) {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    /// Lengthens the mapping where it is, if it ends there and room follows.
    fn grow_in_place(&self, space: &mut Space, mv: &Move) -> Result<bool, Errno> {
        let end = mv.old + mv.new_len;
        let Some(pos) = space.tree.find(mv.old) else { return Ok(false) };
        let next = space.tree.next(pos).and_then(|p| space.tree.get(p));
        let room = next.is_none_or(|n| end <= n.guard_start(STACK_GUARD_GAP)) && end <= TASK_SIZE;
        let Some(vma) = space.tree.get_mut(pos) else { return Ok(false) };
        if !room || vma.end != mv.old + mv.old_len {
            return Ok(false);
        }
        let more = (mv.new_len - mv.old_len) >> PAGE_SHIFT;
        if vma.flags.contains(VmFlags::ACCOUNT) && !self.counters.charge(more) {
            return Err(Errno::ENOMEM);
        }
        vma.set_end(end);
        self.counters.account(vma.flags, more as isize);
        Self::merge_range(&mut space.tree, mv.old, end);
        Ok(true)
    }

    /// Moves the mapping's pages to `to` and makes a mapping of the new length there (`move_vma`).
    async fn move_vma(&self, space: &mut Space, mv: &Move, to: usize) -> Result<usize, Errno> {
        let flags = self.move_pages(space, mv, to)?;
        if mv.keep_old {
            // The old range stays mapped, empty, and is not locked any more.
            if flags.contains(VmFlags::LOCKED) {
                self.split_at(space, mv.old)?;
                self.split_at(space, mv.old + mv.old_len)?;
                if let Some(old) = space.tree.find(mv.old).and_then(|p| space.tree.get_mut(p)) {
                    self.counters.account(old.flags, -(old.pages() as isize));
                    old.flags -= VmFlags::LOCKED;
                    self.counters.account(old.flags, old.pages() as isize);
                }
            }
        } else if mv.old_len != 0 {
            self.unmap(space, mv.old, mv.old + mv.old_len).await?;
        }
        Self::merge_range(&mut space.tree, to, to + mv.new_len);
        Ok(to)
    }

    /// The part of a move that makes the new mapping; its flags. What fails leaves everything as it was.
    fn move_pages(&self, space: &mut Space, mv: &Move, to: usize) -> Result<VmFlags, Errno> {
        if space.tree.count() + 3 >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        space.tree.reserve()?;
        let vma = space.tree.at(mv.old).ok_or(Errno::EFAULT)?;
        let pages = mv.new_len >> PAGE_SHIFT;
        let charged = vma.flags.contains(VmFlags::ACCOUNT);
        if charged && !self.counters.charge(pages) {
            return Err(Errno::ENOMEM);
        }
        let moved = self.moved_copy(vma, mv, to).and_then(|new| {
            let map = new.file_map();
            if let Err(e) = self.move_tables(mv.old, to, mv.old_len, map) {
                // The pages that did move go back; their tables are there.
                let _ = self.move_tables(to, mv.old, mv.old_len, map);
                return Err(Errno::from(e));
            }
            Ok(new)
        });
        match moved {
            Ok(new) => {
                let flags = new.flags;
                self.insert(space, new)?;
                self.counters.account(flags, pages as isize);
                Ok(flags)
            }
            Err(e) => {
                self.free_tables(&space.tree, to, to + mv.new_len);
                if charged {
                    self.counters.uncharge(pages);
                }
                Err(e)
            }
        }
    }

    /// The mapping as it will be at its new place.
    fn moved_copy(&self, vma: &Vma, mv: &Move, to: usize) -> Result<Vma, Errno> {
        let mut new = vma.duplicate(self, mv.old, mv.old + mv.old_len.max(PAGE_SIZE).min(vma.end - mv.old))?;
        if new.is_anonymous() && !new.has_anon() {
            // Nothing remembers the old offset: take the new place's, so that it merges with its neighbours.
            new.pgoff = (to >> PAGE_SHIFT) as u64;
        }
        (new.start, new.end) = (to, to + mv.new_len);
        new.sync_rmap();
        Ok(new)
    }

    /// Moves the entries of `len` bytes from `from` to `to`: the tables' contents, not the pages'. `map`: the file that they
    /// are of; both ranges are in its list of mappings. While some entries move, no truncation walks that list:
    /// it would look for the entry here before it has come and there after it has gone (Linux: need_rmap_locks).
    fn move_tables(&self, from: usize, to: usize, len: usize, map: Option<&FileMap>) -> Result<(), AllocError> {
        let (end, mut at) = (from + len, from);
        let mut result = Ok(());
        while let Some((source, first)) = self.tables.next_table(at, end) {
            let target_first = first - from + to;
            // As far as both sides stay in one table each, and as the list of mappings may be held.
            let room = (PMD_SIZE - first % PMD_SIZE).min(PMD_SIZE - target_first % PMD_SIZE).min(ENTRIES_PER_HOLD * PAGE_SIZE);
            let stop = end.min(first + room);
            let target = match self.tables.find_or_alloc(target_first) {
                Ok(t) => t,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            };
            let mut taken = 0;
            let held = map.map(|m| m.inode.mapping().hold_mappings());
            for addr in (first..stop).step_by(PAGE_SIZE) {
                let pte = {
                    let locked = self.tables.lock(source, first);
                    let pte = locked.get(addr);
                    if pte.is_none() {
                        continue;
                    }
                    locked.set(addr, Pte::NONE);
                    pte
                };
                // No other CPU can fault here: mmap_lock is ours. So the two locks need not be held together.
                self.tables.lock(target, target_first).set(addr - from + to, pte);
                taken += 1;
            }
            // Before a truncation can free what is still reached through the old addresses.
            if taken != 0 {
                tlb::flush_range(|| self.asid(), first, stop, false);
            }
            drop(held);
            at = stop;
        }
        page::table_writes_done();
        result
    }
}
