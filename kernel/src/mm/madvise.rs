//! madvise(2) (Linux: `mm/madvise.c`).

use super::fault::untag;
use super::gather::Gather;
use super::page;
use super::pgtable::page_up;
use super::space::{Mm, Space};
use super::vma::VmFlags;
use vigil_abi::Errno;
use vigil_abi::mm::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE, MADV_HUGEPAGE,
    MADV_KEEPONFORK, MADV_MERGEABLE, MADV_NOHUGEPAGE, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_RANDOM,
    MADV_SEQUENTIAL, MADV_UNMERGEABLE, MADV_WILLNEED, MADV_WIPEONFORK,
};
use vigil_fs::File;
use vigil_mem::{KArc, KBox, PAGE_SHIFT, PAGE_SIZE};

/// A part of a range that one file backs, for MADV_REMOVE.
pub struct Piece {
    /// First address, in the range.
    pub start: usize,
    /// Address after the last.
    pub end: usize,
    /// The file.
    pub file: KArc<File>,
    /// Where `start` is in it, bytes.
    pub offset: u64,
}

impl Mm {
    /// madvise(2). EINVAL: unaligned, unknown advice, or advice that does not fit the mapping; ENOMEM: part of the range
    /// is not mapped (the rest was advised); EBADF, EAGAIN, EFAULT as Linux. Advice about huge pages and page merging is
    /// kept with the mapping; neither exists. MADV_REMOVE is the caller's: see [`Mm::piece_to_remove`].
    pub async fn madvise(&self, addr: usize, len: usize, advice: u32) -> Result<(), Errno> {
        let known = matches!(
            advice,
            MADV_NORMAL
                | MADV_RANDOM
                | MADV_SEQUENTIAL
                | MADV_WILLNEED
                | MADV_DONTNEED
                | MADV_DONTNEED_LOCKED
                | MADV_FREE
                | MADV_DONTFORK
                | MADV_DOFORK
                | MADV_DONTDUMP
                | MADV_DODUMP
                | MADV_WIPEONFORK
                | MADV_KEEPONFORK
                | MADV_COLD
                | MADV_PAGEOUT
                | MADV_POPULATE_READ
                | MADV_POPULATE_WRITE
                | MADV_HUGEPAGE
                | MADV_NOHUGEPAGE
                | MADV_MERGEABLE
                | MADV_UNMERGEABLE
        );
        if !known {
            return Err(Errno::EINVAL);
        }
        let (start, end) = Self::advised_range(addr, len)?;
        if end == start {
            return Ok(());
        }
        match advice {
            // Boxed: every thread's future has room for the largest call.
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => KBox::try_pin(self.populate(start, end))?.await,
            MADV_DONTNEED | MADV_DONTNEED_LOCKED | MADV_FREE => self.discard(start, end, advice).await,
            _ => self.advise_flags(start, end, advice).await,
        }
    }

    /// The range in whole pages. EINVAL: unaligned, or it wraps.
    pub fn advised_range(addr: usize, len: usize) -> Result<(usize, usize), Errno> {
        let start = untag(addr);
        if start % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::EINVAL)?;
        Ok((start, end))
    }

    /// The first part of `[at, end)` that is mapped, for MADV_REMOVE. `None`: nothing is. EINVAL: locked, or no file;
    /// EACCES: not a shared, writable mapping.
    pub async fn piece_to_remove(&self, at: usize, end: usize) -> Result<Option<Piece>, Errno> {
        let space = self.read().await;
        let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p)) else { return Ok(None) };
        if vma.flags.contains(VmFlags::LOCKED) {
            return Err(Errno::EINVAL);
        }
        let Some(map) = vma.file_map() else { return Err(Errno::EINVAL) };
        if !vma.flags.contains(VmFlags::SHARED | VmFlags::WRITE) {
            return Err(Errno::EACCES);
        }
        let start = at.max(vma.start);
        let offset = vma.page_index(start) << PAGE_SHIFT;
        Ok(Some(Piece { start, end: vma.end.min(end), file: map.file.clone(), offset }))
    }

    /// Advice that throws pages away. MADV_FREE does it at once, which its contract allows.
    async fn discard(&self, start: usize, end: usize, advice: u32) -> Result<(), Errno> {
        let space = self.read().await;
        let mut at = start;
        let mut holes = false;
        while at < end {
            let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p)) else {
                holes = true;
                break;
            };
            holes |= vma.start > at;
            let refused = match advice {
                MADV_FREE => !vma.is_anonymous(),
                MADV_DONTNEED => vma.flags.intersects(VmFlags::LOCKED | VmFlags::PFNMAP),
                _ => vma.flags.contains(VmFlags::PFNMAP),
            };
            if refused {
                return Err(Errno::EINVAL);
            }
            let stop = vma.end.min(end);
            at = at.max(vma.start);
            while at < stop {
                at = self.discard_turn(at, stop);
                if at < stop {
                    page::yield_now().await;
                }
            }
        }
        if holes { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Takes pages out for a bounded time; where it stopped.
    fn discard_turn(&self, at: usize, stop: usize) -> usize {
        let mut gather = Gather::new(self);
        let mut at = at;
        for _ in 0..16 {
            if at >= stop {
                break;
            }
            at = gather.zap_some(at, stop, false);
            if gather.is_full() {
                gather.flush();
            }
        }
        at
    }

    /// Advice that only changes what the mapping says.
    async fn advise_flags(&self, start: usize, end: usize, advice: u32) -> Result<(), Errno> {
        let mut space = self.write().await;
        let mut at = start;
        let mut holes = false;
        let mut result = Ok(());
        while at < end {
            let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p)) else {
                holes = true;
                break;
            };
            holes |= vma.start > at;
            at = at.max(vma.start);
            let stop = vma.end.min(end);
            match advised(vma.flags, vma.is_anonymous(), advice) {
                Ok(flags) if flags == vma.flags => (),
                Ok(flags) => {
                    if let Err(e) = self.set_flags(&mut space, at, stop, flags) {
                        // Out of memory for the split: try again later.
                        result = Err(if e == Errno::ENOMEM { Errno::EAGAIN } else { e });
                        break;
                    }
                }
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
            at = stop;
        }
        Self::merge_range(&mut space.tree, start, end);
        result.and(if holes { Err(Errno::ENOMEM) } else { Ok(()) })
    }

    /// Gives `[start, end)` of one mapping other flags; sizes are accounted anew.
    pub(super) fn set_flags(&self, space: &mut Space, start: usize, end: usize, flags: VmFlags) -> Result<(), Errno> {
        self.split_at(space, start)?;
        self.split_at(space, end)?;
        if let Some(vma) = space.tree.find(start).and_then(|p| space.tree.get_mut(p)) {
            let pages = vma.pages() as isize;
            self.counters.account(vma.flags, -pages);
            vma.flags = flags;
            self.counters.account(flags, pages);
        }
        Ok(())
    }
}

/// What page merging leaves alone.
const NOT_MERGEABLE: VmFlags =
    VmFlags::SHARED.union(VmFlags::MAYSHARE).union(VmFlags::PFNMAP).union(VmFlags::IO).union(VmFlags::DONTEXPAND);

/// The flags of a mapping after `advice`.
fn advised(flags: VmFlags, anonymous: bool, advice: u32) -> Result<VmFlags, Errno> {
    let pattern = VmFlags::SEQ_READ | VmFlags::RAND_READ;
    match advice {
        MADV_NORMAL => Ok(flags - pattern),
        MADV_RANDOM => Ok((flags - pattern) | VmFlags::RAND_READ),
        MADV_SEQUENTIAL => Ok((flags - pattern) | VmFlags::SEQ_READ),
        MADV_DONTFORK => Ok(flags | VmFlags::DONTCOPY),
        MADV_DOFORK if flags.contains(VmFlags::IO) => Err(Errno::EINVAL),
        MADV_DOFORK => Ok(flags - VmFlags::DONTCOPY),
        MADV_WIPEONFORK if !anonymous || flags.contains(VmFlags::SHARED) => Err(Errno::EINVAL),
        MADV_WIPEONFORK => Ok(flags | VmFlags::WIPEONFORK),
        MADV_KEEPONFORK => Ok(flags - VmFlags::WIPEONFORK),
        MADV_DONTDUMP => Ok(flags | VmFlags::DONTDUMP),
        MADV_DODUMP if flags.intersects(VmFlags::IO | VmFlags::PFNMAP | VmFlags::DONTEXPAND) => Err(Errno::EINVAL),
        MADV_DODUMP => Ok(flags - VmFlags::DONTDUMP),
        MADV_HUGEPAGE => Ok((flags - VmFlags::NOHUGEPAGE) | VmFlags::HUGEPAGE),
        MADV_NOHUGEPAGE => Ok((flags - VmFlags::HUGEPAGE) | VmFlags::NOHUGEPAGE),
        // Shared memory and device memory are left out, silently (Linux: ksm_madvise).
        MADV_MERGEABLE if flags.intersects(NOT_MERGEABLE) => Ok(flags),
        MADV_MERGEABLE => Ok(flags | VmFlags::MERGEABLE),
        MADV_UNMERGEABLE => Ok(flags - VmFlags::MERGEABLE),
        MADV_COLD | MADV_PAGEOUT if flags.intersects(VmFlags::LOCKED | VmFlags::PFNMAP) => Err(Errno::EINVAL),
        // Pages of files are in memory or come at the first touch; there is no swap to bring anything back from.
        MADV_COLD | MADV_PAGEOUT | MADV_WILLNEED => Ok(flags),
        _ => Err(Errno::EINVAL),
    }
}
