//! An inode's pages, and who maps them.
//!
//! Truncation against page faults: a truncation first changes the size, then advances `seq`, takes the pages out of the
//! tree and calls [`MmapHook::unmap_some`] of all mappings. A fault reads `seq`, gets the page, takes its page-table lock and
//! enters the page only if `seq` is what it was; else it starts again. Either the fault sees the new `seq`, or the unmap,
//! which takes the same page-table lock later, sees the entry. Who moves entries from one mapping to another holds
//! [`AddressSpace::hold_mappings`], so that no unmap passes between the two.

use super::PAGE;
use super::page::PageExt;
use super::page::PageRef;
use super::tree::Tree;
use crate::vfs::inode::Inode;
use crate::vfs::ops::OpResult;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinGuard, SpinLock};
use vigil_mem::page_alloc::{Item, add_item, item};
use vigil_mem::{KArc, KVec};

/// The pages of one file (Linux: struct address_space).
pub struct AddressSpace {
    pages: SpinLock<Tree>,
    nr_pages: AtomicU64,
    seq: AtomicU32,
    /// How often entries may have moved from one mapping to another. Under the lock of `mappings`.
    moves: AtomicU32,
    mappings: SpinLock<KVec<KArc<dyn MmapHook>>>,
}

/// How often an unmap begins anew before it holds `i_mmap` for as long as it takes.
const PATIENCE: u32 = 8;

static PAGES_CLASS: LockClass = LockClass::new("i_pages");
static MMAP_CLASS: LockClass = LockClass::new("i_mmap");

/// Pages in all page caches (Linux: NR_FILE_PAGES).
pub fn nr_file_pages() -> u64 {
    item(Item::FilePages) as u64
}

/// Counts pages that came or went. All belong to shared memory so far: no file system with a store of its own is there.
fn account(pages: isize) {
    add_item(Item::FilePages, pages);
    add_item(Item::Shmem, pages);
}

/// A mapping of a file, as the cache knows it: the kernel registers one for each VMA.
pub trait MmapHook: Send + Sync {
    /// Takes pages `first..=last` of the file out of the page tables, private copies included, as many as may be done without
    /// preemption; from where on there may be more. Called with `i_mmap` held, a spin lock: may take page-table locks, may not wait.
    fn unmap_some(&self, first: u64, last: u64) -> Option<u64>;

    /// Whether writes through it may reach the file.
    fn is_writable(&self) -> bool;

    /// Where it is among the file's mappings: theirs, under their lock.
    fn place(&self) -> &AtomicU32;
}

/// See [`AddressSpace::hold_mappings`].
#[must_use = "mappings are held only while this lives"]
pub struct MappingsHeld<'a> {
    _guard: SpinGuard<'a, KVec<KArc<dyn MmapHook>>>,
}

impl AddressSpace {
    /// No pages. Only as a part of an inode: see [`AddressSpace::host`].
    pub(crate) const fn new() -> AddressSpace {
        AddressSpace {
            pages: SpinLock::new(&PAGES_CLASS, Tree::new()),
            nr_pages: AtomicU64::new(0),
            seq: AtomicU32::new(0),
            moves: AtomicU32::new(0),
            mappings: SpinLock::new(&MMAP_CLASS, KVec::new()),
        }
    }

    /// The page at `index`, if it is cached.
    #[inline]
    pub fn find(&self, index: u64) -> Option<PageRef> {
        self.pages.lock().get(index)
    }

    /// The first cached page at or after `from`.
    pub fn next(&self, from: u64) -> Option<(u64, PageRef)> {
        self.pages.lock().next(from)
    }

    /// Enters `page` at `index`. If a page is there already, that one is the result and `page` is dropped. ENOMEM.
    pub fn add(&self, index: u64, page: PageRef) -> Result<(PageRef, bool), Errno> {
        let result = self.pages.lock().insert(index, page.clone());
        match result {
            Ok(()) => {
                self.nr_pages.fetch_add(1, Relaxed);
                account(1);
                Ok((page, true))
            }
            Err(Some(present)) => Ok((present, false)),
            Err(None) => Err(Errno::ENOMEM),
        }
    }

    /// Cached pages.
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages.load(Relaxed)
    }

    /// Changes with each removal of pages; see the module. Read it before [`super::file::fault`].
    #[inline]
    pub fn seq(&self) -> u32 {
        self.seq.load(SeqCst)
    }

    /// Removes all pages from `index` on, from page tables, too. The size must say so already. Returns how many went.
    pub fn truncate(&self, index: u64) -> u64 {
        self.remove_range(index, u64::MAX)
    }

    /// Removes pages `first..=last`, from page tables, too. Returns how many went.
    pub fn remove_range(&self, first: u64, last: u64) -> u64 {
        if self.nr_pages() == 0 && !self.is_mapped() {
            return 0;
        }
        self.seq.fetch_add(1, SeqCst);
        let mut removed = 0;
        let mut at = first;
        loop {
            // One page a time under the lock: it is taken often rather than long.
            let page = {
                let mut pages = self.pages.lock();
                let Some((index, _)) = pages.next(at).filter(|&(index, _)| index <= last) else { break };
                at = index;
                pages.remove(index)
            };
            removed += u64::from(page.is_some());
            drop(page);
        }
        self.nr_pages.fetch_sub(removed, Relaxed);
        account(-(removed as isize));
        self.unmap(first, last);
        removed
    }

    /// Zeroes the bytes of a cached page from `offset` (in the file) to the page's end.
    pub fn zero_tail(&self, offset: u64) {
        let within = (offset % PAGE) as usize;
        if within != 0
            && let Some(page) = self.find(offset / PAGE)
        {
            page.zero_range(within, PAGE as usize - within);
        }
    }

    /// Takes pages `first..=last` out of all page tables; the pages stay. The lock is let go of between turns: which mappings there
    /// are may change, but what one of them has of a page is there or here while its turn comes, and what is gone stays away.
    pub fn unmap(&self, first: u64, last: u64) {
        let mut next = Some(first);
        while let Some(from) = next {
            // Elsewhere mappings come and go as fast as this looks at them: then all at once, which is what always ends.
            next = (0..PATIENCE).find_map(|_| self.unmap_turn(from, last, 1)).or_else(|| self.unmap_turn(from, last, usize::MAX)).flatten();
        }
    }

    /// Takes pages from `first` on out of all mappings, `step` of them at a time under the lock; from where on there may be more.
    /// `None`: entries may have moved from a mapping that was still to come to one that had been looked at. New mappings come
    /// last: they are looked at.
    fn unmap_turn(&self, first: u64, last: u64, step: usize) -> Option<Option<u64>> {
        let (mut next, mut at, mut moves) = (None, 0usize, None);
        loop {
            let hooks = self.mappings.lock();
            let now = self.moves.load(Relaxed);
            if *moves.get_or_insert(now) != now {
                return None;
            }
            let end = hooks.len().min(at.saturating_add(step));
            let some = hooks.get(at..end).unwrap_or_default().iter().filter_map(|hook| hook.unmap_some(first, last));
            next = some.chain(next).min();
            at = end;
            if at == hooks.len() {
                return Some(next);
            }
        }
    }

    /// Entries may have moved between mappings, whose lock is held.
    fn count_move(&self) {
        self.moves.store(self.moves.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Keeps removals of pages from walking the mappings, for as long as the result lives: a spin lock, `i_mmap`.
    pub fn hold_mappings(&self) -> MappingsHeld<'_> {
        let guard = self.mappings.lock();
        self.count_move();
        MappingsHeld { _guard: guard }
    }

    /// Whether somebody maps the file.
    pub fn is_mapped(&self) -> bool {
        !self.mappings.lock().is_empty()
    }

    /// Enters a mapping. ENOMEM.
    pub fn register(&self, hook: KArc<dyn MmapHook>) -> Result<(), Errno> {
        let mut list = self.mappings.lock();
        hook.place().store(list.len() as u32, Relaxed);
        Ok(list.try_push(hook)?)
    }

    /// Takes out the mapping of `hook`, which was entered once. However many there are, it knows where it is.
    pub fn unregister(&self, hook: &dyn MmapHook) {
        let gone = {
            let mut list = self.mappings.lock();
            // Another mapping may have taken its range over; and the last one takes its place.
            self.count_move();
            let at = hook.place().load(Relaxed) as usize;
            let is_it = list.get(at).is_some_and(|known| core::ptr::addr_eq(KArc::as_ptr(known), hook));
            let gone = is_it.then(|| list.swap_remove(at)).flatten();
            if let Some(moved) = list.get(at) {
                moved.place().store(at as u32, Relaxed);
            }
            gone
        };
        // It may be the last reference: not under the lock.
        drop(gone);
    }

    /// Whether there is a mapping through which writes may reach the file (Linux: i_mmap_writable).
    pub fn is_mapped_writable(&self) -> bool {
        self.mappings.lock().iter().any(|mapping| mapping.is_writable())
    }

    /// The inode that this is a part of.
    fn host(&self) -> &Inode {
        // SAFETY: `new` is for `Inode` only, so `self` is the `mapping` of an inode, which lives as long.
        unsafe { &*core::ptr::from_ref(self).byte_sub(Inode::MAPPING_OFFSET).cast::<Inode>() }
    }

    /// The page at `index` for a page fault, for writing through a shared mapping or not. EFAULT beyond the end of the
    /// file and ENOSPC are SIGBUS; ENOMEM; [`Stop::Wait`](crate::vfs::ops::Stop::Wait) while it is read. Read
    /// [`AddressSpace::seq`] before.
    pub fn get_for_fault(&self, index: u64, write: bool) -> OpResult<'_, PageRef> {
        let inode = self.host();
        inode.ops().fault_page(inode, index, write)
    }

    /// The pages from `first` on that are cached and within the file, each in its slot: to be mapped together with a
    /// neighbour.
    pub fn find_range_for_map(&self, first: u64, slots: &mut [Option<PageRef>]) {
        let end = self.host().size().div_ceil(PAGE);
        let wanted = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX).min(slots.len());
        self.pages.lock().get_range(first, &mut slots[..wanted]);
    }

    /// A store was made to the page.
    pub fn mark_dirty(&self, page: &PageRef) {
        page.note_dirty();
    }
}
