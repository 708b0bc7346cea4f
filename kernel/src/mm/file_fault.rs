//! Faults on mappings of files: the page cache's page, a private copy of it, or a signal (Linux: `do_read_fault`,
//! `do_cow_fault`, `do_shared_fault`, `do_fault_around`).

use super::counters::Rss;
use super::fault::{Cause, Fault, FaultSignal, Step};
use super::page::{self, Page};
use super::pgtable::{PMD_SIZE, Pte, PteProt, page_down};
use super::space::Mm;
use super::tlb;
use super::vma::{FileMap, VmFlags, Vma};
use vigil_abi::Errno;
use vigil_fs::Stop;
use vigil_mem::{PAGE_SIZE, PageRef, Pfn};

/// Bytes around a fault whose pages are mapped with it when they are in the cache (`fault_around_bytes`).
const AROUND: usize = 16 * PAGE_SIZE;

impl Mm {
    /// The first touch of a page of a file mapping.
    pub(super) fn file_fault(&self, vma: &Vma, map: &FileMap, table: Pfn, cause: Cause, spare: &mut Option<Page>) -> Result<Fault, Step> {
        let here = page_down(cause.addr);
        let shared = vma.flags.contains(VmFlags::SHARED);
        let write = cause.access.is_write();
        let seq = map.inode.mapping().seq();
        let cached = self.cached_page(map, vma.page_index(here), write && shared, cause.addr)?;
        if write && !shared {
            let fresh = page::take(spare).ok_or(Step::Memory)?;
            page::copy(fresh.pfn(), cached.pfn());
            if vma.flags.contains(VmFlags::EXEC) {
                page::sync_icache(fresh.pfn());
            }
            vma.set_anon();
            let locked = self.tables.lock(table, here);
            if locked.get(here).is_none() && map.inode.mapping().seq() == seq {
                locked.set(here, Pte::new(fresh.into_anon(), vma.pte_prot().dirty()));
                drop(locked);
                self.counters.inc_anon();
            }
        } else if write {
            map.inode.mapping().mark_dirty(&cached);
            let prot = vma.pte_prot().dirty();
            self.map_cached(vma, map, seq, (table, here), cached, prot);
        } else {
            // A shared page becomes writable by its first store, which makes it dirty; a private one is copied then.
            let prot = vma.pte_prot().read_only();
            self.map_cached(vma, map, seq, (table, here), cached, prot);
            self.map_around(vma, map, seq, table, here);
        }
        tlb::table_store_barrier();
        Ok(Fault { major: false })
    }

    /// A store to a clean page of a shared mapping: asks the file system, and makes the entry writable.
    pub(super) fn shared_write_fault(&self, vma: &Vma, map: &FileMap, table: Pfn, cause: Cause, pte: Pte) -> Result<Fault, Step> {
        let here = page_down(cause.addr);
        let cached = self.cached_page(map, vma.page_index(here), true, cause.addr)?;
        map.inode.mapping().mark_dirty(&cached);
        // If the file was truncated and grew again, the entry is another page's or none: then the access faults again.
        if cached.pfn() == pte.pfn() {
            self.upgrade(table, here, pte);
        }
        Ok(Fault { major: false })
    }

    /// The file's page `index`, if it can be had without waiting.
    fn cached_page(&self, map: &FileMap, index: u64, write: bool, addr: usize) -> Result<PageRef, Step> {
        match map.inode.mapping().get_for_fault(index, write) {
            Ok(page) => Ok(page),
            Err(Stop::Err(Errno::ENOMEM)) => Err(Step::Memory),
            Err(Stop::Err(_)) => Err(Step::Signal(FaultSignal::bus(addr))),
            Err(_) => Err(Step::FilePage(map.inode.clone(), index, write)),
        }
    }

    /// Maps the cached page at `at`, a table and an address; the entry keeps the reference. `seq` was read before the page
    /// was looked up: if the file was truncated since, nothing is done and the access faults again. The truncation counts
    /// up first and clears entries under our lock afterwards, so one of the two sees the other.
    fn map_cached(&self, vma: &Vma, map: &FileMap, seq: u32, at: (Pfn, usize), cached: PageRef, prot: PteProt) {
        let (table, here) = at;
        let pfn = cached.pfn();
        if vma.flags.contains(VmFlags::EXEC) {
            page::sync_icache(pfn);
        }
        let mut delta = Rss::default();
        delta.count(pfn, 1);
        let locked = self.tables.lock(table, here);
        if locked.get(here).is_none() && map.inode.mapping().seq() == seq {
            locked.set(here, Pte::new(page::leak(cached), prot));
            drop(locked);
            self.counters.add_rss(delta);
        }
    }

    /// Maps what is in the cache around `here`, within the mapping and within one table.
    fn map_around(&self, vma: &Vma, map: &FileMap, seq: u32, table: Pfn, here: usize) {
        if vma.flags.contains(VmFlags::RAND_READ) {
            return;
        }
        let low = (here & !(AROUND - 1)).max(vma.start).max(here & !(PMD_SIZE - 1));
        let high = (here & !(AROUND - 1)).saturating_add(AROUND).min(vma.end);
        if low >= high {
            return;
        }
        let prot = vma.pte_prot().read_only();
        let mapping = map.inode.mapping();
        let mut pages = [const { None }; AROUND / PAGE_SIZE];
        let found = &mut pages[..(high - low) / PAGE_SIZE];
        mapping.find_range_for_map(vma.page_index(low), found);
        if vma.flags.contains(VmFlags::EXEC) {
            for cached in found.iter().flatten() {
                page::sync_icache(cached.pfn());
            }
        }
        let mut delta = Rss::default();
        let locked = self.tables.lock(table, here);
        if mapping.seq() == seq {
            for (slot, addr) in found.iter_mut().zip((low..high).step_by(PAGE_SIZE)) {
                if locked.get(addr).is_none()
                    && let Some(cached) = slot.take()
                {
                    delta.count(cached.pfn(), 1);
                    locked.set(addr, Pte::new(page::leak(cached), prot));
                }
            }
        }
        drop(locked);
        self.counters.add_rss(delta);
    }
}
