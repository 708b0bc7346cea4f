//! The page tables of one address space: four levels of pages, found by walking, allocated on demand.
//!
//! Who may touch what:
//! - A table is *added* by whoever holds mmap_lock in any mode: it is filled, then published by one compare-and-exchange.
//! - A table is *taken away* only with mmap_lock held for writing and no file mapping left in its range
//!   ([`PageTables::unhook_tables`]), and freed after the TLB was flushed.
//! - A last-level *entry* changes only under the lock of its table ([`PageTables::lock`]). There are [`LOCKS`] of them
//!   per address space and neighbouring 2 MiB regions use different ones: threads that fault apart do not meet.
//!
//! Lock order: mmap_lock → page-table lock (by ascending index where two are taken) → nothing.

use super::page::{self, PART, TableParts};
use super::pgtable::{LEVELS, PMD_SHIFT, PTRS_PER_TABLE, Pte, TableEntry, entry_size, index_of};
use super::tlb;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use vigil_executor::lock_class;
use vigil_executor::sync::{SpinGuard, SpinLock};
use vigil_mem::{AllocError, PAGE_SHIFT, PAGE_SIZE, Pfn, TASK_SIZE};

/// Locks for last-level tables in one address space.
const LOCKS: usize = 4;

/// Entries that one hold of a table's lock works on: nobody preempts who holds it, so a whole table would delay real-time tasks by
/// as long as 512 entries take, 50 µs and more.
pub const ENTRIES_PER_HOLD: usize = 32;

/// The tables of an address space.
pub struct PageTables {
    root: Pfn,
    /// Pages in use for tables, the root included.
    pages: AtomicUsize,
    locks: [SpinLock<()>; LOCKS],
}

/// A last-level table, its lock held.
pub struct LockedTable<'a> {
    parts: TableParts,
    entries: &'a [AtomicU64; PTRS_PER_TABLE],
    _guard: SpinGuard<'a, ()>,
}

/// The entries of the table in `pfn`.
fn entries<'a>(pfn: Pfn) -> &'a [AtomicU64; PTRS_PER_TABLE] {
    // SAFETY: `pfn` was allocated for a table by `PageTables` and is alive (see the module's rules); the linear map
    // shows it for as long as that, and entries are only ever accessed as atomics.
    unsafe { &*page::data(pfn).cast() }
}

/// The table that `slot` of a table above level 3 points to.
#[inline(always)]
fn child(slot: &AtomicU64) -> Option<Pfn> {
    TableEntry(slot.load(Ordering::Acquire)).table()
}

impl LockedTable<'_> {
    /// The entry for `addr`.
    #[inline(always)]
    pub fn get(&self, addr: usize) -> Pte {
        Pte(self.entries[index_of(addr, 3)].load(Ordering::Relaxed))
    }

    /// The first address from `addr` on, below `stop`, whose entry is not empty; `stop` if there is none. `stop` is at most the
    /// end of the table. What never held an entry is not looked at: most of most tables.
    #[inline(always)]
    pub fn skip_empty(&self, addr: usize, stop: usize) -> usize {
        if addr < stop && self.get(addr).0 == 0 { self.skip_parts(addr, stop) } else { addr.min(stop) }
    }

    fn skip_parts(&self, addr: usize, stop: usize) -> usize {
        let first = index_of(addr, 3);
        let last = (first + ((stop - addr) >> PAGE_SHIFT)).min(PTRS_PER_TABLE);
        let parts = self.parts.get();
        let mut at = first;
        while at < last {
            let left = parts >> (at / PART);
            if left == 0 {
                break;
            }
            if left & 1 == 0 {
                at = (at / PART + left.trailing_zeros() as usize) * PART;
                continue;
            }
            let end = (at / PART + 1) * PART;
            for entry in &self.entries[at..end.min(last)] {
                if entry.load(Ordering::Relaxed) != 0 {
                    return addr + ((at - first) << PAGE_SHIFT);
                }
                at += 1;
            }
        }
        stop
    }

    /// The addresses of `[addr, stop)`, which lie in this table, whose entries are not empty.
    #[inline]
    pub fn used(&self, addr: usize, stop: usize) -> impl Iterator<Item = usize> + use<'_> {
        let mut next = addr;
        core::iter::from_fn(move || {
            let at = if next < stop { self.skip_empty(next, stop) } else { stop };
            next = at + PAGE_SIZE;
            (at < stop).then_some(at)
        })
    }

    /// Replaces the entry for `addr`. When a valid one goes or loses rights, the caller flushes the TLB; between two
    /// valid ones with different pages there must be a flush (break-before-make).
    #[inline(always)]
    pub fn set(&self, addr: usize, pte: Pte) {
        if pte.0 != 0 {
            self.parts.note(index_of(addr, 3));
        }
        self.entries[index_of(addr, 3)].store(pte.0, Ordering::Relaxed);
    }
}

impl PageTables {
    /// An empty root. ENOMEM by [`AllocError`].
    pub fn new() -> Result<PageTables, AllocError> {
        let root = page::alloc_table().ok_or(AllocError)?;
        let locks = [const { () }; LOCKS].map(|()| SpinLock::new(lock_class!("page_table_lock"), ()));
        Ok(PageTables { root, pages: AtomicUsize::new(1), locks })
    }

    /// Physical address of the root, for TTBR0.
    #[inline(always)]
    pub fn root(&self) -> u64 {
        self.root.phys().get() as u64
    }

    /// Bytes in tables (VmPTE).
    pub fn bytes(&self) -> usize {
        self.pages.load(Ordering::Relaxed) << PAGE_SHIFT
    }

    #[inline(always)]
    fn lock_index(addr: usize) -> usize {
        (addr >> PMD_SHIFT) % LOCKS
    }

    /// The last-level table for `addr`, if there is one.
    #[inline]
    pub fn find(&self, addr: usize) -> Option<Pfn> {
        let l1 = child(&entries(self.root)[index_of(addr, 0)])?;
        let l2 = child(&entries(l1)[index_of(addr, 1)])?;
        child(&entries(l2)[index_of(addr, 2)])
    }

    /// The last-level table for `addr`, made if need be. Allocates without waiting.
    #[inline]
    pub fn find_or_alloc(&self, addr: usize) -> Result<Pfn, AllocError> {
        let mut table = self.root;
        for level in 0..LEVELS - 1 {
            let slot = &entries(table)[index_of(addr, level)];
            table = match child(slot) {
                Some(t) => t,
                None => self.alloc_child(slot)?,
            };
        }
        Ok(table)
    }

    #[cold]
    fn alloc_child(&self, slot: &AtomicU64) -> Result<Pfn, AllocError> {
        let fresh = page::alloc_table().ok_or(AllocError)?;
        // The walker may see the pointer as soon as it is stored, so the zeros must be there before (P15).
        tlb::table_store_barrier();
        match slot.compare_exchange(0, TableEntry::new(fresh).0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.pages.fetch_add(1, Ordering::Relaxed);
                tlb::table_store_barrier();
                Ok(fresh)
            }
            Err(other) => {
                page::free_table(fresh);
                TableEntry(other).table().ok_or(AllocError)
            }
        }
    }

    /// Locks `table`, the last-level table for `addr`. Preemption is off while the result lives.
    #[inline]
    pub fn lock(&self, table: Pfn, addr: usize) -> LockedTable<'_> {
        let guard = self.locks[Self::lock_index(addr)].lock();
        // SAFETY: a table in use is an allocated page.
        LockedTable { parts: unsafe { TableParts::of(table) }, entries: entries(table), _guard: guard }
    }

    /// Sets the entry for `addr` in `table` of an address space that nobody else can reach yet.
    #[inline(always)]
    pub fn set_unlocked(&self, table: Pfn, addr: usize, pte: Pte) {
        // SAFETY: a table in use is an allocated page.
        unsafe { TableParts::of(table) }.note(index_of(addr, 3));
        entries(table)[index_of(addr, 3)].store(pte.0, Ordering::Relaxed);
    }

    /// The entries of `table` without its lock, for a look that may be out of date.
    #[inline]
    pub fn unlocked(&self, table: Pfn) -> &[AtomicU64; PTRS_PER_TABLE] {
        entries(table)
    }

    /// The entry for `addr` as it is now; it may change at once.
    pub fn peek(&self, addr: usize) -> Pte {
        self.find(addr).map_or(Pte::NONE, |t| Pte(entries(t)[index_of(addr, 3)].load(Ordering::Relaxed)))
    }

    /// The next last-level table at or above `addr` and below `end`, with the first address of `[addr, end)` in it.
    pub fn next_table(&self, addr: usize, end: usize) -> Option<(Pfn, usize)> {
        let mut addr = addr;
        while addr < end {
            let mut table = self.root;
            let mut level = 0;
            loop {
                match child(&entries(table)[index_of(addr, level)]) {
                    Some(t) if level == LEVELS - 2 => return Some((t, addr)),
                    Some(t) => {
                        table = t;
                        level += 1;
                    }
                    None => break,
                }
            }
            // Nothing below this entry: on to the next one of its level.
            addr = (addr & !(entry_size(level) - 1)).checked_add(entry_size(level))?;
        }
        None
    }

    /// Takes the tables away that served `[start, end)` and nothing else: no mapping is in `[floor, ceiling)`. Each is
    /// given to `free`, which flushes the TLB before it frees the page. mmap_lock is held for writing.
    pub fn unhook_tables(&self, start: usize, end: usize, floor: usize, ceiling: usize, free: &mut impl FnMut(Pfn)) {
        self.unhook_level(self.root, 0, start, end, (floor, ceiling), free);
    }

    /// At most three deep.
    fn unhook_level(&self, table: Pfn, level: usize, start: usize, end: usize, hole: (usize, usize), free: &mut impl FnMut(Pfn)) {
        let size = entry_size(level);
        let mut at = start & !(size - 1);
        while at < end {
            let next = at.saturating_add(size);
            let slot = &entries(table)[index_of(at, level)];
            if let Some(below) = child(slot) {
                if level < LEVELS - 2 {
                    self.unhook_level(below, level + 1, at.max(start), next.min(end), hole, free);
                }
                if at >= hole.0 && next <= hole.1 {
                    slot.store(0, Ordering::Relaxed);
                    self.pages.fetch_sub(1, Ordering::Relaxed);
                    free(below);
                }
            }
            at = next;
        }
    }
}

impl Drop for PageTables {
    /// Frees the root and whatever tables are left. No CPU uses the root any more.
    fn drop(&mut self) {
        if *self.pages.get_mut() > 1 {
            self.unhook_tables(0, TASK_SIZE, 0, TASK_SIZE, &mut page::free_table);
        }
        page::free_table(self.root);
    }
}
