//! What an address space counts: resident pages by kind, sizes of mappings by kind; and the sums over all of them.

use super::page;
use super::vma::{VmFlags, Vma};
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};
use vigil_mem::Pfn;

/// A change of the resident set, in pages.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Rss {
    /// Private pages.
    pub anon: isize,
    /// Pages of files.
    pub file: isize,
    /// Pages of shared memory and tmpfs.
    pub shmem: isize,
}

impl Rss {
    /// Counts `n` mappings of the page `pfn` under its kind.
    #[inline(always)]
    pub fn count(&mut self, pfn: Pfn, n: isize) {
        if page::is_anon(pfn) {
            self.anon += n;
        } else if page::is_shmem(pfn) {
            self.shmem += n;
        } else {
            self.file += n;
        }
    }
}

/// The counters of one address space. Pages, except where said. Readable at any time; the sizes change under mmap_lock.
#[derive(Default)]
pub struct Counters {
    anon: AtomicIsize,
    file: AtomicIsize,
    shmem: AtomicIsize,
    hiwater_rss: AtomicUsize,
    /// All mappings.
    pub total: AtomicUsize,
    hiwater_vm: AtomicUsize,
    /// mlocked mappings.
    pub locked: AtomicUsize,
    /// Private writable mappings.
    pub data: AtomicUsize,
    /// Executable, unwritable mappings.
    pub exec: AtomicUsize,
    /// Mappings that grow down.
    pub stack: AtomicUsize,
    /// What Committed_AS counts for us.
    pub committed: AtomicUsize,
}

impl Counters {
    /// Adds a change of the resident set.
    #[inline]
    pub fn add_rss(&self, d: Rss) {
        if d.anon + d.file + d.shmem < 0 {
            self.update_hiwater();
        }
        for (counter, n) in [(&self.anon, d.anon), (&self.file, d.file), (&self.shmem, d.shmem)] {
            if n != 0 {
                counter.fetch_add(n, Relaxed);
            }
        }
    }

    /// One more private page: the commonest fault.
    #[inline(always)]
    pub fn inc_anon(&self) {
        self.anon.fetch_add(1, Relaxed);
    }

    /// Resident pages now: private, file, shared memory.
    pub fn rss(&self) -> [usize; 3] {
        [&self.anon, &self.file, &self.shmem].map(|c| c.load(Relaxed).max(0) as usize)
    }

    /// Remembers the resident set before it shrinks (Linux: `update_hiwater_rss`).
    pub fn update_hiwater(&self) {
        let now: usize = self.rss().iter().sum();
        if now > self.hiwater_rss.load(Relaxed) {
            self.hiwater_rss.store(now, Relaxed);
        }
    }

    /// The largest resident set so far.
    pub fn hiwater_rss(&self) -> usize {
        self.hiwater_rss.load(Relaxed).max(self.rss().iter().sum())
    }

    /// The largest size so far.
    pub fn hiwater_vm(&self) -> usize {
        self.hiwater_vm.load(Relaxed).max(self.total.load(Relaxed))
    }

    /// Counts `pages` of a mapping with `flags` in, or out when negative (Linux: `vm_stat_account`). mmap_lock is held
    /// for writing.
    pub fn account(&self, flags: VmFlags, pages: isize) {
        let add = |c: &AtomicUsize| c.store(c.load(Relaxed).saturating_add_signed(pages), Relaxed);
        if pages < 0 {
            let total = self.total.load(Relaxed);
            if total > self.hiwater_vm.load(Relaxed) {
                self.hiwater_vm.store(total, Relaxed);
            }
        }
        add(&self.total);
        if flags.contains(VmFlags::EXEC) && !flags.intersects(VmFlags::WRITE | VmFlags::GROWSDOWN) {
            add(&self.exec);
        } else if flags.contains(VmFlags::GROWSDOWN) {
            add(&self.stack);
        } else if flags.is_data() {
            add(&self.data);
        }
        if flags.contains(VmFlags::LOCKED) {
            add(&self.locked);
        }
    }

    /// Counts a whole mapping in.
    pub fn account_vma(&self, vma: &Vma) {
        self.account(vma.flags, vma.pages() as isize);
    }
}

/// Pages that all address spaces have reserved: Committed_AS.
static COMMITTED: AtomicUsize = AtomicUsize::new(0);

/// Committed_AS, in pages.
pub fn committed() -> usize {
    COMMITTED.load(Relaxed)
}

/// How `/proc/sys/vm/overcommit_memory` decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overcommit {
    /// 0: refuse what could not even be had on an idle machine.
    Guess,
    /// 1: refuse nothing.
    Always,
    /// 2: refuse what exceeds the limit.
    Never,
}

/// Whether `pages` more may be reserved on a machine with `ram` pages of memory and `committed` reserved already
/// (Linux 6.1: `__vm_enough_memory`; there is no swap). `ratio` is `vm.overcommit_ratio`, per cent.
pub fn enough_memory(mode: Overcommit, pages: usize, committed: usize, ram: usize, ratio: usize) -> bool {
    match mode {
        Overcommit::Always => true,
        Overcommit::Guess => pages <= ram,
        Overcommit::Never => committed.saturating_add(pages) <= ram.saturating_mul(ratio) / 100,
    }
}

impl Counters {
    /// Reserves `pages`, or says that they cannot be had.
    pub fn charge(&self, pages: usize) -> bool {
        if !enough_memory(page::overcommit_mode(), pages, committed(), page::total_ram(), 50) {
            return false;
        }
        COMMITTED.fetch_add(pages, Relaxed);
        self.committed.fetch_add(pages, Relaxed);
        true
    }

    /// Gives `pages` of the reservation back.
    pub fn uncharge(&self, pages: usize) {
        COMMITTED.fetch_sub(pages, Relaxed);
        self.committed.fetch_sub(pages, Relaxed);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        COMMITTED.fetch_sub(self.committed.load(Relaxed), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overcommit_modes_decide_as_linux_does() {
        let ram = 131072;
        assert!(enough_memory(Overcommit::Always, 1 << 40, 0, ram, 50));
        assert!(enough_memory(Overcommit::Guess, ram, ram * 10, ram, 50));
        assert!(!enough_memory(Overcommit::Guess, ram + 1, 0, ram, 50));
        assert!(enough_memory(Overcommit::Never, ram / 4, ram / 4, ram, 50));
        assert!(!enough_memory(Overcommit::Never, ram / 4 + 1, ram / 4, ram, 50));
    }

    #[test]
    fn sizes_go_to_the_counter_of_their_kind() {
        let c = Counters::default();
        let rw = VmFlags::READ | VmFlags::WRITE | VmFlags::MAY_ALL;
        c.account(rw, 10);
        c.account(VmFlags::READ | VmFlags::EXEC, 5);
        c.account(rw | VmFlags::GROWSDOWN, 33);
        c.account(rw, -4);
        let get = |a: &AtomicUsize| a.load(Relaxed);
        assert_eq!((get(&c.total), get(&c.data), get(&c.exec), get(&c.stack)), (44, 6, 5, 33));
        assert_eq!(c.hiwater_vm(), 48);
    }
}
