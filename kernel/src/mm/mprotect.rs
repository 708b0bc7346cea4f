//! mprotect(2) (Linux: `do_mprotect_pkey`, `mprotect_fixup`).

use super::fault::untag;
use super::layout::Limits;
use super::page;
use super::pgtable::{PMD_SIZE, PteProt, page_up};
use super::space::{Mm, Space};
use super::table::ENTRIES_PER_HOLD;
use super::tlb;
use super::vma::VmFlags;
use vigil_abi::Errno;
use vigil_abi::mm::{PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE};
use vigil_mem::{PAGE_SHIFT, PAGE_SIZE};

impl Mm {
    /// mprotect(2). EINVAL, ENOMEM (holes, too many mappings, overcommit, RLIMIT_DATA), EACCES (the file's mode). As on
    /// Linux, what lies before the place of an error keeps its new rights.
    pub async fn mprotect(&self, addr: usize, len: usize, prot: u32, limits: &Limits) -> Result<(), Errno> {
        let start = untag(addr);
        let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
        let prot = prot & !grows;
        if grows == PROT_GROWSDOWN | PROT_GROWSUP || start % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        let end = page_up(len).and_then(|l| start.checked_add(l)).filter(|e| *e > start).ok_or(Errno::ENOMEM)?;
        if prot & !(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0 {
            return Err(Errno::EINVAL);
        }
        let mut space = self.write().await;
        let first = space.tree.find(start).and_then(|p| space.tree.get(p)).ok_or(Errno::ENOMEM)?;
        let mut at = start;
        if grows == PROT_GROWSDOWN {
            if first.start >= end {
                return Err(Errno::ENOMEM);
            }
            if !first.flags.contains(VmFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            at = first.start;
        } else if first.start > start {
            return Err(Errno::ENOMEM);
        } else if grows == PROT_GROWSUP {
            return Err(Errno::EINVAL);
        }
        let from = at;
        let mut result = Ok(());
        while at < end && result.is_ok() {
            match self.protect_one(&mut space, at, end, VmFlags::from_prot(prot), limits) {
                Ok(next) => at = next,
                Err(e) => result = Err(e),
            }
            if at < end && ((at - from) >> PAGE_SHIFT) > 4096 {
                page::yield_now().await;
            }
        }
        Self::merge_range(&mut space.tree, from, at);
        result
    }

    /// Gives the part of one mapping that lies in `[at, end)` the rights `rwx`; where it ended.
    fn protect_one(&self, space: &mut Space, at: usize, end: usize, rwx: VmFlags, limits: &Limits) -> Result<usize, Errno> {
        let vma = space.tree.at(at).ok_or(Errno::ENOMEM)?;
        let stop = end.min(vma.end);
        let old = vma.flags;
        let mut new = (old - VmFlags::RWX) | rwx;
        let may = VmFlags::from_bits_truncate((new & VmFlags::MAY_ALL).bits() >> 4);
        if !may.contains(rwx) {
            return Err(Errno::EACCES);
        }
        if new == old {
            return Ok(stop);
        }
        let pages = (stop - at) >> PAGE_SHIFT;
        if new.is_data() && !old.is_data() && !self.may_expand(new, pages, limits) {
            return Err(Errno::ENOMEM);
        }
        let charge = new.is_accountable() && !old.intersects(VmFlags::ACCOUNT | VmFlags::WRITE);
        if charge && !self.counters.charge(pages) {
            return Err(Errno::ENOMEM);
        }
        if charge {
            new |= VmFlags::ACCOUNT;
        }
        let split = self.split_at(space, at).and_then(|()| self.split_at(space, stop));
        if let Err(e) = split {
            if charge {
                self.counters.uncharge(pages);
            }
            return Err(e);
        }
        let pos = space.tree.find(at);
        if let Some(vma) = pos.and_then(|p| space.tree.get_mut(p)) {
            vma.flags = new;
            self.counters.account(old, -(pages as isize));
            self.counters.account(new, pages as isize);
            self.change_protection(at, stop, vma.pte_prot(), new.contains(VmFlags::EXEC));
        }
        Ok(stop)
    }

    /// Gives the entries of `[start, end)` the rights `prot`; an entry without the right to write does not get it here,
    /// for its page may be shared or clean: the first store sees to that.
    fn change_protection(&self, start: usize, end: usize, prot: PteProt, exec: bool) {
        let mut at = start;
        let mut changed = false;
        while let Some((table, first)) = self.tables.next_table(at, end) {
            let mut stop = end.min((first & !(PMD_SIZE - 1)).saturating_add(PMD_SIZE));
            let locked = self.tables.lock(table, first);
            for (count, addr) in locked.used(first, stop).enumerate() {
                if count == ENTRIES_PER_HOLD {
                    stop = addr;
                    break;
                }
                let pte = locked.get(addr);
                if !pte.is_present() {
                    continue;
                }
                if exec && !pte.is_special() {
                    page::sync_icache(pte.pfn());
                }
                let new = pte.with_prot(if pte.is_writable() { prot } else { prot.read_only() });
                if new != pte {
                    locked.set(addr, new);
                    changed = true;
                }
            }
            at = stop;
        }
        if changed {
            tlb::flush_range(|| self.asid(), start, end, false);
        }
    }
}
