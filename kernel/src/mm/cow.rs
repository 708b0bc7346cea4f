//! Stores to pages that are mapped without the right to write although the mapping has it (Linux: `do_wp_page`).
//!
//! Private: the page is shared with a parent, a child or a file, and gets copied, unless nobody else holds it any more.
//! Shared: it is a file's page that was clean, and becomes dirty.

use super::counters::Rss;
use super::fault::{Cause, Fault, Step};
use super::page::{self, Page};
use super::pgtable::{Pte, page_down};
use super::space::Mm;
use super::tlb;
use super::vma::{Backing, VmFlags, Vma};
use vigil_mem::Pfn;

impl Mm {
    /// A store hit `pte`, which is present and not writable.
    pub(super) fn write_protect_fault(
        &self,
        vma: &Vma,
        table: Pfn,
        cause: Cause,
        pte: Pte,
        spare: &mut Option<Page>,
    ) -> Result<Fault, Step> {
        let here = page_down(cause.addr);
        if vma.flags.contains(VmFlags::SHARED) {
            return match &vma.backing {
                Backing::File(map) => self.shared_write_fault(vma, map, table, cause, pte),
                // Device memory is mapped with all its rights from the start.
                _ => {
                    self.upgrade(table, here, pte);
                    Ok(Fault { major: false })
                }
            };
        }
        let old = pte.pfn();
        if !pte.is_special() && page::is_anon(old) && page::is_sole_owner(old) && self.upgrade(table, here, pte) {
            return Ok(Fault { major: false });
        }
        let zero = pte.is_special() && old == page::zero_pfn();
        let fresh = if zero { page::take_zeroed(spare) } else { page::take(spare) }.ok_or(Step::Memory)?;
        vma.set_anon();
        let locked = self.tables.lock(table, here);
        if locked.get(here) != pte {
            // Somebody was faster; the access is tried again and faults again if it must.
            return Ok(Fault { major: false });
        }
        if !zero {
            // Under the lock: it keeps the old page mapped, hence alive.
            page::copy(fresh.pfn(), old);
        }
        if vma.flags.contains(VmFlags::EXEC) {
            page::sync_icache(fresh.pfn());
        }
        // Another page at the same address: break before make (Arm ARM D8.13.1).
        locked.set(here, Pte::NONE);
        tlb::flush_page(|| self.asid(), here);
        let mut delta = Rss { anon: 1, ..Rss::default() };
        if !pte.is_special() {
            delta.count(old, -1);
        }
        locked.set(here, Pte::new(fresh.into_anon(), vma.pte_prot().dirty()));
        drop(locked);
        tlb::table_store_barrier();
        self.counters.add_rss(delta);
        if !pte.is_special() && page::put(old) {
            page::account_anon(-1);
        }
        Ok(Fault { major: false })
    }

    /// Gives the entry the right to write if it still is `pte`.
    pub(super) fn upgrade(&self, table: Pfn, here: usize, pte: Pte) -> bool {
        let locked = self.tables.lock(table, here);
        let same = locked.get(here) == pte;
        if same {
            locked.set(here, pte.made_writable());
            // More rights for the same page: old entries in TLBs only cause another fault, but here, at once.
            tlb::flush_page(|| self.asid(), here);
        }
        same
    }
}
