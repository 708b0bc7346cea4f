//! Taking pages out of an address space: clear the entries, flush the TLB, free the pages, in this order, in batches
//! (Linux: `mmu_gather`).

use super::Mm;
use super::counters::Rss;
use super::page;
use super::pgtable::{PMD_SIZE, Pte};
use super::tlb;
use core::mem::MaybeUninit;
use vigil_mem::{PAGE_SIZE, Pfn};

/// Pages that wait for one flush.
const BATCH: usize = 64;

/// Pages whose entries are cleared and which other CPUs may still reach through their TLBs.
pub struct Gather<'m> {
    mm: &'m Mm,
    /// The first `len` are there.
    pages: [MaybeUninit<Pfn>; BATCH],
    len: usize,
    start: usize,
    end: usize,
    tables: bool,
    anon_freed: isize,
    /// Nobody runs in the address space: one flush at the end is enough, see [`Gather::new_exit`].
    exiting: bool,
}

impl<'m> Gather<'m> {
    /// For pages of `mm`.
    pub fn new(mm: &'m Mm) -> Self {
        Gather {
            mm,
            pages: [const { MaybeUninit::uninit() }; BATCH],
            len: 0,
            start: usize::MAX,
            end: 0,
            tables: false,
            anon_freed: 0,
            exiting: false,
        }
    }

    /// For the end of `mm`: no CPU runs in it nor ever will. Its ASID is not given to another address space before a
    /// roll-over has flushed every TLB, so pages need no flush; tables do, because walks may be cached.
    pub fn new_exit(mm: &'m Mm) -> Self {
        Gather { exiting: true, ..Gather::new(mm) }
    }

    /// Notes that entries in `[start, end)` changed.
    pub fn touch(&mut self, start: usize, end: usize) {
        self.start = self.start.min(start);
        self.end = self.end.max(end);
    }

    /// Whether [`Self::flush`] is due before the next page.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    #[inline(always)]
    fn push(&mut self, pfn: Pfn) {
        if let Some(slot) = self.pages.get_mut(self.len) {
            slot.write(pfn);
            self.len += 1;
        }
    }

    /// Adds a page table that was unhooked. Flushes when the batch is full.
    pub fn push_table(&mut self, pfn: Pfn) {
        if self.is_full() {
            self.flush();
        }
        self.tables = true;
        page::forget_table(pfn);
        self.push(pfn);
    }

    /// Flushes the TLB and frees what was gathered.
    pub fn flush(&mut self) {
        if self.tables || (self.start < self.end && !self.exiting) {
            let asid = || self.mm.asid();
            if self.tables {
                tlb::flush_asid(asid);
            } else {
                tlb::flush_range(asid, self.start, self.end, false);
            }
        }
        for pfn in &self.pages[..self.len] {
            // SAFETY: `push` has written all below `len`.
            self.anon_freed += page::put(unsafe { pfn.assume_init_read() }) as isize;
        }
        if self.anon_freed != 0 {
            page::account_anon(-self.anon_freed);
            self.anon_freed = 0;
        }
        (self.len, self.start, self.end, self.tables) = (0, usize::MAX, 0, false);
    }

    /// Clears the entries of `[start, end)`. `keep_private`: private copies stay (a file's pages
    /// alone are taken away). Stops when the batch is full or a table is done, and says where it stopped:
    /// the caller calls again, and can yield between. Needs mmap_lock in any mode, or the rmap node's lock.
    pub fn zap_some(&mut self, start: usize, end: usize, keep_private: bool) -> usize {
        let tables = &self.mm.tables;
        let Some((table, first)) = tables.next_table(start, end) else { return end };
        let stop = end.min((first & !(PMD_SIZE - 1)).saturating_add(PMD_SIZE));
        let mut addr = first;
        let mut delta = Rss::default();
        let locked = tables.lock(table, first);
        while !self.is_full() {
            addr = locked.skip_empty(addr, stop);
            if addr >= stop {
                break;
            }
            let pte = locked.get(addr);
            if pte.is_present() && !(keep_private && !pte.is_special() && page::is_anon(pte.pfn())) {
                locked.set(addr, Pte::NONE);
                self.touch(addr, addr + PAGE_SIZE);
                if !pte.is_special() {
                    delta.count(pte.pfn(), -1);
                    self.push(pte.pfn());
                }
            }
            addr += PAGE_SIZE;
        }
        drop(locked);
        self.mm.counters.add_rss(delta);
        addr
    }
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
