//! Who maps a file's pages (Linux: `i_mmap`): a truncated page must vanish from every address space.
//!
//! Each VMA of a file owns a node that is registered with the inode's page cache. The node repeats the VMA's range under
//! a lock of its own, so that the cache can walk its mappers without their mmap_locks. The lock is held while entries
//! are cleared; whoever unmaps takes the node out first, and frees page tables only then.

use super::gather::Gather;
use super::space::Mm;
use core::sync::atomic::AtomicU32;
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_fs::Inode;
use vigil_fs::cache::mapping::MmapHook;
use vigil_mem::{KArc, PAGE_SHIFT, unsize};

struct Range {
    start: usize,
    end: usize,
    pgoff: u64,
    live: bool,
}

/// One mapping's entry in its inode's list.
pub struct RmapNode {
    mm: *const Mm,
    inode: KArc<Inode>,
    writable: bool,
    place: AtomicU32,
    range: SpinLock<Range>,
}

// SAFETY: `mm` is only dereferenced under the range lock while `live`; `unregister` ends that before the Mm is dropped.
unsafe impl Send for RmapNode {}
// SAFETY: as above.
unsafe impl Sync for RmapNode {}

impl RmapNode {
    /// Registers the mapping `[start, end)` of `inode` from page `pgoff` on in `mm`; `writable`: writes through it may reach
    /// the file. ENOMEM.
    ///
    /// The caller [`unregister`](Self::unregister)s it before `mm` goes.
    pub fn register(mm: &Mm, inode: &KArc<Inode>, start: usize, end: usize, pgoff: u64, writable: bool) -> Result<KArc<RmapNode>, Errno> {
        let range = SpinLock::new(lock_class!("i_mmap_node"), Range { start, end, pgoff, live: true });
        let node = KArc::try_new(RmapNode { mm, inode: inode.clone(), writable, place: AtomicU32::new(0), range })?;
        inode.mapping().register(unsize!(KArc, node.clone() => dyn MmapHook))?;
        Ok(node)
    }

    /// Follows the VMA's new range.
    pub fn set_range(&self, start: usize, end: usize, pgoff: u64) {
        let mut range = self.range.lock();
        (range.start, range.end, range.pgoff) = (start, end, pgoff);
    }

    /// Takes the mapping off the inode's list. When it returns, nobody walks the mapping's tables through it.
    pub fn unregister(this: &KArc<RmapNode>) {
        this.range.lock().live = false;
        this.inode.mapping().unregister(&**this);
    }
}

impl MmapHook for RmapNode {
    fn is_writable(&self) -> bool {
        self.writable
    }

    fn place(&self) -> &AtomicU32 {
        &self.place
    }

    /// Clears the entries of the file's pages `[first, last]`, private copies included (Linux: `unmap_mapping_range`
    /// with even_cows).
    fn unmap_some(&self, first: u64, last: u64) -> Option<u64> {
        let range = self.range.lock();
        let pages = ((range.end - range.start) >> PAGE_SHIFT) as u64;
        let (from, to) = (first.max(range.pgoff), last.min(range.pgoff.saturating_add(pages - 1)));
        if !range.live || from > to {
            return None;
        }
        let at = |index: u64| range.start + (((index - range.pgoff) as usize) << PAGE_SHIFT);
        let (start, end) = (at(from), at(to) + (1 << PAGE_SHIFT));
        // SAFETY: `live`, and the lock is held, so `unregister` has not returned and the Mm is alive.
        let mm = unsafe { &*self.mm };
        let stopped = Gather::new(mm).zap_some(start, end, false);
        (stopped < end).then(|| from + ((stopped - start) >> PAGE_SHIFT) as u64)
    }
}
