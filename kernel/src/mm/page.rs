//! The pages of user memory, as the rest of `mm` sees them: by frame number, because that is what an entry holds.
//!
//! An entry that is not special owns one reference to its page. Private pages carry the flag ANON; pages of shared memory
//! SWAPBACKED without it; other pages of files neither. The functions on frame numbers may be called for pages whose
//! reference the caller owns, or that a locked table maps.

use super::counters::Overcommit;
use super::tlb;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use vigil_executor::wait::WaitMode;
use vigil_mem::page::{Page as Descriptor, PageFlags, PageRef, page_at, page_of};
use vigil_mem::page_alloc::{Gfp, Item, add_item as add, alloc_pages, alloc_pages_wait, total_pages};
use vigil_mem::{PAGE_SIZE, Pfn, phys_to_virt};

/// A page of one's own that is mapped nowhere yet; freed when dropped.
pub struct Page(PageRef);

impl Page {
    /// Its frame number.
    #[inline(always)]
    pub fn pfn(&self) -> Pfn {
        self.0.pfn()
    }

    /// Marks it private memory and gives its reference to the entry that the caller is about to write.
    #[inline(always)]
    pub fn into_anon(self) -> Pfn {
        let page = self.0.into_counted();
        page.set(PageFlags::ANON | PageFlags::SWAPBACKED);
        account_anon(1);
        page.pfn()
    }
}

/// The descriptor of `pfn`; every page that has a reference count has one.
#[inline(always)]
fn descriptor(pfn: Pfn) -> Option<&'static Descriptor> {
    page_of(pfn)
}

/// A page with undefined contents, without waiting: `spare` if there is one.
#[inline]
pub fn take(spare: &mut Option<Page>) -> Option<Page> {
    match spare.take() {
        Some(page) => Some(page),
        None => PageRef::try_new(Gfp::USER).ok().map(Page),
    }
}

/// A page of zeros, without waiting: `spare` if there is one.
#[inline]
pub fn take_zeroed(spare: &mut Option<Page>) -> Option<Page> {
    if let Some(page) = spare.take() {
        // SAFETY: the page is ours alone.
        unsafe { page.0.zero() };
        return Some(page);
    }
    PageRef::try_new(Gfp::USER | Gfp::ZERO).ok().map(Page)
}

/// A page with undefined contents, reclaiming if need be. `None`: the OOM killer has been called.
pub async fn alloc_wait() -> Option<Page> {
    // SAFETY: the page was just allocated with one reference, which is ours to give away.
    alloc_pages_wait(0, Gfp::USER).await.map(|p| Page(unsafe { PageRef::from_counted(p) }))
}

/// A page of zeros that the kernel keeps for ever.
pub fn alloc_kernel() -> Option<Pfn> {
    alloc_pages(0, Gfp::KERNEL | Gfp::ZERO).map(Descriptor::pfn)
}

/// A zeroed page for a table, accounted as such.
#[inline]
pub fn alloc_table() -> Option<Pfn> {
    let page = alloc_pages(0, Gfp::KERNEL | Gfp::ZERO)?;
    page.set(PageFlags::TABLE);
    page.set_private(0);
    add(Item::PageTables, 1);
    Some(page.pfn())
}

/// What is known of a last-level table: which of its parts have ever held an entry. Bit `n` is entries `8 * n` to `8 * n + 7`.
/// Changed under the table's lock.
#[derive(Clone, Copy)]
pub struct TableParts(&'static Descriptor);

/// Entries in a part.
pub const PART: usize = 8;

impl TableParts {
    /// Of the table in `pfn`.
    ///
    /// # Safety
    /// `pfn` is an allocated page.
    #[inline(always)]
    pub unsafe fn of(pfn: Pfn) -> TableParts {
        // SAFETY: an allocated page has a descriptor.
        TableParts(unsafe { page_at(pfn.get()) })
    }

    /// The parts.
    #[inline(always)]
    pub fn get(self) -> u64 {
        self.0.private() as u64
    }

    /// Entry `index` is about to be used.
    #[inline(always)]
    pub fn note(self, index: usize) {
        let parts = self.0.private();
        let part = 1 << (index / PART);
        if parts & part == 0 {
            self.0.set_private(parts | part);
        }
    }
}

/// A table is no table any more, but its page is not free yet.
pub fn forget_table(pfn: Pfn) {
    if let Some(page) = descriptor(pfn) {
        page.clear(PageFlags::TABLE);
    }
    add(Item::PageTables, -1);
}

/// Frees the page of a table that nobody can reach.
pub fn free_table(pfn: Pfn) {
    forget_table(pfn);
    put(pfn);
}

/// Where the linear map shows the page.
#[inline(always)]
pub fn data(pfn: Pfn) -> *mut u8 {
    phys_to_virt(pfn.phys()).as_ptr()
}

/// Takes a further reference.
#[inline(always)]
pub fn get(pfn: Pfn) {
    if let Some(page) = descriptor(pfn) {
        page.get();
    }
}

/// Gives a reference back. `true`: that freed a private page, which the caller takes out of [`account_anon`].
#[inline(always)]
pub fn put(pfn: Pfn) -> bool {
    let Some(page) = descriptor(pfn) else { return false };
    if !page.has(PageFlags::ANON) {
        page.put();
        return false;
    }
    let last = page.put_testzero();
    if last {
        // Nobody looks private pages up, so nobody sees the count come back for the allocator to take.
        page.get();
        page.put();
    }
    last
}

/// Whether the page is private memory.
#[inline(always)]
pub fn is_anon(pfn: Pfn) -> bool {
    descriptor(pfn).is_some_and(|p| p.has(PageFlags::ANON))
}

/// Whether the page is shared memory's or tmpfs's.
#[inline(always)]
pub fn is_shmem(pfn: Pfn) -> bool {
    descriptor(pfn).is_some_and(|p| p.flags() & (PageFlags::SWAPBACKED | PageFlags::ANON) == PageFlags::SWAPBACKED)
}

/// How many entries map the page, at least one: its references, but for the page cache's. Who looks at it at the moment counts, too.
pub fn mappers(pfn: Pfn) -> u64 {
    descriptor(pfn).map_or(1, |p| u64::from(p.refcount()).saturating_sub(u64::from(!p.has(PageFlags::ANON))).max(1))
}

/// Whether nobody but one entry holds the page.
#[inline(always)]
pub fn is_sole_owner(pfn: Pfn) -> bool {
    descriptor(pfn).is_some_and(|p| p.refcount() == 1)
}

/// Copies a page that is mapped or referenced to one of our own.
#[inline]
pub fn copy(to: Pfn, from: Pfn) {
    if let (Some(to), Some(from)) = (descriptor(to), descriptor(from)) {
        // SAFETY: `to` is ours and mapped nowhere; `from` is kept alive by the caller.
        unsafe { to.copy_from(from) };
        return;
    }
    // A special page without a descriptor.
    // SAFETY: as above; both are pages of the linear map.
    unsafe { core::ptr::copy_nonoverlapping(data(from), data(to), PAGE_SIZE) };
}

/// The page cache's page, its reference now the caller's.
#[inline(always)]
pub fn leak(page: PageRef) -> Pfn {
    page.into_counted().pfn()
}

/// Makes the page's bytes fetchable as instructions, once after they were written (Linux: `__sync_icache_dcache`).
#[inline]
pub fn sync_icache(pfn: Pfn) {
    let Some(page) = descriptor(pfn) else { return };
    if !page.has(PageFlags::DCACHE_CLEAN) {
        tlb::sync_icache(data(pfn) as usize, PAGE_SIZE);
        page.set(PageFlags::DCACHE_CLEAN);
    }
}

/// Counts `n` private pages (AnonPages).
#[inline(always)]
pub fn account_anon(n: isize) {
    add(Item::AnonMapped, n);
}

/// All memory, in pages.
pub fn total_ram() -> usize {
    total_pages()
}

static OVERCOMMIT: AtomicU8 = AtomicU8::new(0);

/// `vm.overcommit_memory`.
pub fn overcommit_mode() -> Overcommit {
    match OVERCOMMIT.load(Ordering::Relaxed) {
        1 => Overcommit::Always,
        2 => Overcommit::Never,
        _ => Overcommit::Guess,
    }
}

/// Sets `vm.overcommit_memory`.
pub fn set_overcommit_mode(mode: Overcommit) {
    OVERCOMMIT.store(mode as u8, Ordering::Relaxed);
}

static ZERO: AtomicUsize = AtomicUsize::new(0);
static EMPTY_ROOT: AtomicUsize = AtomicUsize::new(0);

/// Makes the zero page and the empty root. Once at boot, before the first address space; `false` without memory.
pub fn init() -> bool {
    let (Some(zero), Some(root)) = (alloc_kernel(), alloc_kernel()) else { return false };
    ZERO.store(zero.get(), Ordering::Release);
    EMPTY_ROOT.store(root.get(), Ordering::Release);
    true
}

/// The page of zeros that loads from untouched memory see.
#[inline(always)]
pub fn zero_pfn() -> Pfn {
    Pfn::new(ZERO.load(Ordering::Relaxed))
}

/// Physical address of a table that maps nothing.
pub fn empty_root() -> u64 {
    Pfn::new(EMPTY_ROOT.load(Ordering::Relaxed)).phys().get() as u64
}

/// Lets other tasks run when a loop over user-controlled sizes goes on for long.
pub async fn yield_now() {
    vigil_executor::executor::cond_resched().await;
}

/// Orders table writes before whatever walks the tables next.
pub fn table_writes_done() {
    tlb::table_store_barrier();
}

/// Whether the caller's task is being killed: then a failed allocation is no reason to kill somebody else.
pub fn is_dying() -> bool {
    let task = vigil_executor::task::current();
    task.is_some_and(|t| WaitMode::Killable.is_ended_by(t.interrupt_flags()))
}
