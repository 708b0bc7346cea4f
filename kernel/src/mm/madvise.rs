//! madvise(2) (Linux: `mm/madvise.c`).

use super::fault::untag;
use super::gather::Gather;
use super::page;
use super::pgtable::page_up;
use super::space::{Mm, Space};
use super::vma::VmFlags;
use vigil_abi::Errno;
use vigil_abi::mm::{
    MADV_COLD, MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_DONTNEED_LOCKED, MADV_FREE,
    MADV_KEEPONFORK, MADV_NORMAL, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_RANDOM, MADV_SEQUENTIAL,
    MADV_WILLNEED, MADV_WIPEONFORK,
};
use vigil_mem::PAGE_SIZE;

impl Mm {
    /// madvise(2). EINVAL: unaligned, unknown advice, or advice that does not fit the mapping; ENOMEM: part of the range
    /// is not mapped (the rest was advised); EBADF, EAGAIN, EFAULT as Linux. Huge pages and page merging do not exist:
    /// their advice is unknown, as in a kernel without them.
    pub async fn madvise(&self, addr: usize, len: usize, advice: u32) -> Result<(), Errno> {
        let start = untag(addr);
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
        );
        if !known || start % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::EINVAL)?;
        if end == start {
            return Ok(());
        }
        match advice {
            MADV_POPULATE_READ | MADV_POPULATE_WRITE => self.populate(start, end).await,
            MADV_DONTNEED | MADV_DONTNEED_LOCKED | MADV_FREE => self.discard(start, end, advice).await,
            _ => self.advise_flags(start, end, advice).await,
        }
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
    pub(super) fn set_flags(
        &self,
        space: &mut Space,
        start: usize,
        end: usize,
        flags: VmFlags,
    ) -> Result<(), Errno> {
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
        MADV_COLD | MADV_PAGEOUT if flags.intersects(VmFlags::LOCKED | VmFlags::PFNMAP) => Err(Errno::EINVAL),
        // Pages of files are in memory or come at the first touch; there is no swap to bring anything back from.
        MADV_COLD | MADV_PAGEOUT | MADV_WILLNEED => Ok(flags),
        _ => Err(Errno::EINVAL),
    }
}
