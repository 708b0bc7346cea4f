//! mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2) (Linux: `mm/mlock.c`).
//!
//! There is no swap, so a locked page differs from another only in that it is brought in beforehand and that discarding
//! it is refused; the accounting is Linux's.

use super::fault::untag;
use super::layout::Limits;
use super::pgtable::{page_down, page_up};
use super::space::Mm;
use super::vma::VmFlags;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::mm::{MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT};
use vigil_mem::{PAGE_SHIFT, PAGE_SIZE};

/// Both bits of a locked mapping.
const LOCK_BITS: VmFlags = VmFlags::LOCKED.union(VmFlags::LOCKONFAULT);

impl Mm {
    /// mlock(2) and mlock2(2). EPERM: no privilege and RLIMIT_MEMLOCK 0; ENOMEM: the limit, or a hole; EAGAIN: pages
    /// could not be brought in; EINVAL: overflow.
    pub async fn mlock(&self, addr: usize, len: usize, on_fault: bool, limits: &Limits) -> Result<(), Errno> {
        if limits.memlock == 0 && !limits.cap_ipc_lock {
            return Err(Errno::EPERM);
        }
        let (start, end) = lock_range(addr, len)?;
        let pages = (end - start) >> PAGE_SHIFT;
        let mut space = self.write().await;
        let already: usize = space
            .tree
            .range(start, end)
            .filter(|v| v.flags.contains(VmFlags::LOCKED))
            .map(|v| (v.end.min(end) - v.start.max(start)) >> PAGE_SHIFT)
            .sum();
        let wanted = self.counters.locked.load(Relaxed).saturating_sub(already).saturating_add(pages);
        if wanted > limits.memlock as usize >> PAGE_SHIFT && !limits.cap_ipc_lock {
            return Err(Errno::ENOMEM);
        }
        let bits = if on_fault { LOCK_BITS } else { VmFlags::LOCKED };
        self.apply_lock(&mut space, start, end, bits)?;
        drop(space);
        if on_fault {
            return Ok(());
        }
        self.populate(start, end).await.map_err(|e| match e {
            Errno::EFAULT => Errno::ENOMEM,
            Errno::ENOMEM => Errno::EAGAIN,
            other => other,
        })
    }

    /// munlock(2). ENOMEM: a hole; EINVAL: overflow.
    pub async fn munlock(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let (start, end) = lock_range(addr, len)?;
        let mut space = self.write().await;
        self.apply_lock(&mut space, start, end, VmFlags::empty())
    }

    /// mlockall(2). EINVAL, EPERM, ENOMEM.
    pub async fn mlockall(&self, flags: u32, limits: &Limits) -> Result<(), Errno> {
        if flags == 0 || flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 || flags == MCL_ONFAULT {
            return Err(Errno::EINVAL);
        }
        if limits.memlock == 0 && !limits.cap_ipc_lock {
            return Err(Errno::EPERM);
        }
        let bits = if flags & MCL_ONFAULT != 0 { LOCK_BITS } else { VmFlags::LOCKED };
        let mut space = self.write().await;
        let current = flags & MCL_CURRENT != 0;
        if current && self.counters.total.load(Relaxed) > limits.memlock as usize >> PAGE_SHIFT && !limits.cap_ipc_lock {
            return Err(Errno::ENOMEM);
        }
        space.def_flags -= LOCK_BITS;
        if flags & MCL_FUTURE != 0 {
            space.def_flags |= bits;
        }
        if !current {
            return Ok(());
        }
        self.lock_all(&mut space, bits);
        drop(space);
        if bits == VmFlags::LOCKED {
            self.populate_locked().await;
        }
        Ok(())
    }

    /// munlockall(2).
    pub async fn munlockall(&self) {
        let mut space = self.write().await;
        space.def_flags -= LOCK_BITS;
        self.lock_all(&mut space, VmFlags::empty());
    }

    fn lock_all(&self, space: &mut super::space::Space, bits: VmFlags) {
        let mut pos = space.tree.first();
        while let Some(p) = pos {
            if let Some(vma) = space.tree.get_mut(p)
                && !vma.flags.intersects(VmFlags::PFNMAP | VmFlags::IO)
            {
                let pages = vma.pages() as isize;
                self.counters.account(vma.flags, -pages);
                vma.flags = (vma.flags - LOCK_BITS) | bits;
                self.counters.account(vma.flags, pages);
            }
            pos = space.tree.next(p);
        }
    }

    async fn populate_locked(&self) {
        let mut at = 0;
        loop {
            let next = {
                let space = self.read().await;
                space.tree.find(at).and_then(|p| space.tree.get(p)).map(|v| (v.start, v.end, v.flags))
            };
            let Some((start, end, flags)) = next else { return };
            if flags.intersects(VmFlags::RWX) {
                // As mlockall(2) on Linux: what cannot be brought in is no error.
                let _ = self.populate(start, end).await;
            }
            at = end;
        }
    }

    /// Sets the lock bits of `[start, end)`. ENOMEM at the first hole; what lies before it is done.
    fn apply_lock(&self, space: &mut super::space::Space, start: usize, end: usize, bits: VmFlags) -> Result<(), Errno> {
        let mut at = start;
        while at < end {
            let vma = space.tree.at(at).ok_or(Errno::ENOMEM)?;
            let stop = vma.end.min(end);
            let flags = (vma.flags - LOCK_BITS) | bits;
            if flags != vma.flags && !vma.flags.intersects(VmFlags::PFNMAP | VmFlags::IO) {
                self.set_flags(space, at, stop, flags)?;
            }
            at = stop;
        }
        Self::merge_range(&mut space.tree, start, end);
        Ok(())
    }
}

/// The pages that `[addr, addr + len)` touches.
fn lock_range(addr: usize, len: usize) -> Result<(usize, usize), Errno> {
    let addr = untag(addr);
    let start = page_down(addr);
    let len = len.checked_add(addr % PAGE_SIZE).and_then(page_up).ok_or(Errno::EINVAL)?;
    Ok((start, start.checked_add(len).ok_or(Errno::EINVAL)?))
}
