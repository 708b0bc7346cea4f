//! brk(2).

use super::layout::Limits;
use super::pgtable::page_up;
use super::space::{Mm, Space};
use super::vma::{VmFlags, Vma};
use super::{MAX_MAP_COUNT, STACK_GUARD_GAP};
use vigil_abi::Errno;
use vigil_mem::{KBox, PAGE_SHIFT, TASK_SIZE};

/// Rights of the heap (VM_DATA_DEFAULT_FLAGS).
const HEAP: VmFlags = VmFlags::READ.union(VmFlags::WRITE).union(VmFlags::MAY_ALL);

impl Mm {
    /// brk(2): moves the heap's end to `addr` if that is possible, and gives the end as it then is. Never an error.
    pub async fn brk(&self, addr: usize, limits: &Limits) -> usize {
        let mut space = self.write().await;
        let old = space.fields.brk;
        match self.set_brk(&mut space, addr, limits).await {
            Ok(Some((start, end))) => {
                drop(space);
                // In a box, as few heaps are locked; as on Linux nobody is told when it fails.
                if let Ok(populated) = KBox::try_pin_with(|| self.populate(start, end)) {
                    let _ = populated.await;
                }
                addr
            }
            Ok(None) => addr,
            Err(_) => old,
        }
    }

    /// `Some`: a range that is to be brought in, for the heap is locked.
    async fn set_brk(&self, space: &mut Space, addr: usize, limits: &Limits) -> Result<Option<(usize, usize)>, Errno> {
        let f = space.fields;
        if addr < f.start_brk || addr > TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        let data = (addr - f.start_brk).saturating_add(f.end_data.saturating_sub(f.start_data));
        if data > limits.data as usize {
            return Err(Errno::ENOSPC);
        }
        let new = page_up(addr).ok_or(Errno::ENOMEM)?;
        let old = page_up(f.brk).ok_or(Errno::ENOMEM)?;
        if new == old {
            space.fields.brk = addr;
            return Ok(None);
        }
        if new < old {
            self.unmap(space, new, old).await?;
            space.fields.brk = addr;
            return Ok(None);
        }
        // The heap keeps a page and a stack's guard away from what follows.
        let next = space.tree.find(old).and_then(|p| space.tree.get(p));
        if next.is_some_and(|n| new.saturating_add(1 << PAGE_SHIFT) > n.guard_start(STACK_GUARD_GAP)) {
            return Err(Errno::ENOMEM);
        }
        self.map_anonymous(space, old, new, HEAP, limits)?;
        space.fields.brk = addr;
        let locked = space.def_flags.contains(VmFlags::LOCKED) && !space.def_flags.contains(VmFlags::LOCKONFAULT);
        Ok(locked.then_some((old, new)))
    }

    /// Maps `[start, end)`, where nothing is, as private memory with `flags` (`do_brk_flags`). EAGAIN, ENOMEM.
    pub(crate) fn map_anonymous(&self, space: &mut Space, start: usize, end: usize, flags: VmFlags, limits: &Limits) -> Result<(), Errno> {
        let pages = (end - start) >> PAGE_SHIFT;
        let flags = flags | space.def_flags;
        self.may_lock_more(flags, pages, limits)?;
        if !self.may_expand(flags, pages, limits) || space.tree.count() > MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        space.tree.reserve()?;
        let charged = flags.is_accountable();
        if charged && !self.counters.charge(pages) {
            return Err(Errno::ENOMEM);
        }
        let vma = Vma::anonymous(start, end, if charged { flags | VmFlags::ACCOUNT } else { flags });
        self.counters.account_vma(&vma);
        self.insert(space, vma)?;
        Self::merge_range(&mut space.tree, start, end);
        Ok(())
    }
}
