//! Copying an address space for fork (Linux: `dup_mmap`, `copy_page_range`).
//!
//! Private pages are shared between the two and write-protected in both; the first store on either side copies. Tables
//! that hold nothing but pages of files are not copied: the child faults them in again, which most children never do.

use super::counters::Rss;
use super::page;
use super::pgtable::PMD_SIZE;
use super::space::{Mm, Space};
use super::table::ENTRIES_PER_HOLD;
use super::tlb;
use super::vma::{Backing, VmFlags, Vma};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_mem::{AllocError, KArc};

impl Mm {
    /// A copy of this address space, with one user. ENOMEM: memory, or the overcommit limit; nothing is left behind.
    pub async fn fork(&self) -> Result<KArc<Mm>, Errno> {
        let mut old = self.write().await;
        let new = Mm::new(old.layout)?;
        // Nobody else knows the new one.
        let mut space = new.write().await;
        let copied = self.copy_space(&mut old, &new, &mut space).await;
        drop(space);
        // One flush for all entries that lost the right to write, before a thread of the parent can run on.
        tlb::flush_asid(|| self.asid());
        drop(old);
        match copied {
            Ok(()) => Ok(new),
            Err(e) => {
                new.exit_mmap().await;
                Err(e)
            }
        }
    }

    async fn copy_space(&self, old: &mut Space, new: &Mm, space: &mut Space) -> Result<(), Errno> {
        space.fields = old.fields;
        new.set_exe(self.share_exe());
        space.auxv = old.auxv.try_clone()?;
        new.membarrier.store(self.membarrier.load(Relaxed), Relaxed);
        new.vdso.store(self.vdso.load(Relaxed), Relaxed);
        let mut pos = old.tree.first();
        while let Some(p) = pos {
            let Some(vma) = old.tree.get(p) else { break };
            if !vma.flags.contains(VmFlags::DONTCOPY) {
                self.copy_vma(vma, new, space).await?;
            }
            pos = old.tree.next(p);
        }
        Ok(())
    }

    async fn copy_vma(&self, vma: &Vma, new: &Mm, space: &mut Space) -> Result<(), Errno> {
        if vma.flags.contains(VmFlags::ACCOUNT) && !new.counters.charge(vma.pages()) {
            return Err(Errno::ENOMEM);
        }
        let mut copy = vma.duplicate(new, vma.start, vma.end)?;
        copy.flags -= VmFlags::LOCKED | VmFlags::LOCKONFAULT;
        new.counters.account_vma(&copy);
        space.tree.reserve()?;
        new.insert(space, copy)?;
        let device = matches!(vma.backing, Backing::Device { .. });
        if vma.flags.contains(VmFlags::WIPEONFORK) || !(vma.has_anon() || device) {
            return Ok(());
        }
        let mut at = vma.start;
        let mut holds = 0u32;
        while let Some((table, first)) = self.tables.next_table(at, vma.end) {
            let stop = vma.end.min((first & !(PMD_SIZE - 1)).saturating_add(PMD_SIZE));
            at = self.copy_some(new, vma, table, first, stop)?;
            holds = holds.wrapping_add(1);
            if holds % 16 == 0 {
                page::yield_now().await;
            }
        }
        Ok(())
    }

    /// Copies entries of `[first, stop)`, which lie in one table, as many as one hold of its lock may take; where it stopped.
    fn copy_some(&self, new: &Mm, vma: &Vma, table: vigil_mem::Pfn, first: usize, stop: usize) -> Result<usize, AllocError> {
        let target = new.tables.find_or_alloc(first)?;
        let cow = vma.flags.is_cow();
        let mut delta = Rss::default();
        let mut next = stop;
        let locked = self.tables.lock(table, first);
        for (count, addr) in locked.used(first, stop).enumerate() {
            if count == ENTRIES_PER_HOLD {
                next = addr;
                break;
            }
            let pte = locked.get(addr);
            if !pte.is_present() {
                continue;
            }
            let mut copy = pte;
            if !pte.is_special() {
                let pfn = pte.pfn();
                let anon = page::is_anon(pfn);
                if !anon && !vma.flags.contains(VmFlags::SHARED) {
                    // A clean page of the file: found again by a fault.
                    continue;
                }
                page::get(pfn);
                delta.count(pfn, 1);
                if cow && pte.is_writable() {
                    copy = pte.write_protected();
                    locked.set(addr, copy);
                }
            }
            // Plain stores: the child's tables are walked by nobody before it runs, which the flush's barrier precedes.
            new.tables.set_unlocked(target, addr, copy);
        }
        drop(locked);
        new.counters.add_rss(delta);
        Ok(next)
    }
}
