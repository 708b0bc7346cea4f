//! Attaching and detaching files whose mappings are counted: System V shared memory (Linux: do_shmat, ksys_shmdt).

use super::fault::untag;
use super::layout::Limits;
use super::mmap::MmapRequest;
use super::pgtable::page_up;
use super::space::Mm;
use super::vma::{VmFlags, Vma};
use vigil_abi::Errno;
use vigil_abi::mm::{MAP_FIXED, MAP_SHARED};
use vigil_fs::File;
use vigil_mem::{KArc, PAGE_SHIFT, PAGE_SIZE, TASK_SIZE};

impl Mm {
    /// Maps all `len` bytes of `file` at `addr`, or anywhere when that is 0. EINVAL when something is there and is not to be
    /// replaced; else as mmap(2).
    pub async fn attach(
        &self,
        file: KArc<File>,
        addr: usize,
        len: usize,
        prot: u32,
        replaces: bool,
        limits: &Limits,
    ) -> Result<usize, Errno> {
        let whole = page_up(len).filter(|l| *l != 0).ok_or(Errno::ENOMEM)?;
        let addr = untag(addr);
        let mut space = self.write().await;
        if addr != 0 && !replaces {
            let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
            if space.tree.first_in(addr, end).is_some() {
                return Err(Errno::EINVAL);
            }
        }
        let flags = if addr != 0 { MAP_SHARED | MAP_FIXED } else { MAP_SHARED };
        let request = MmapRequest { addr, len, prot, flags, file: Some(file), offset: 0 };
        let at = self.do_mmap(&mut space, &request, whole, limits).await?;
        let locked = space.tree.at(at).is_some_and(|v| v.flags.contains(VmFlags::LOCKED));
        drop(space);
        if locked {
            let _ = self.populate(at, at + whole).await;
        }
        Ok(at)
    }

    /// Unmaps what is left of the attachment that began at `addr`. EINVAL when there is nothing.
    pub async fn detach(&self, addr: usize) -> Result<(), Errno> {
        let addr = untag(addr);
        if addr % PAGE_SIZE != 0 || addr >= TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        let belongs = |vma: &Vma| {
            vma.file().is_some_and(|file| file.is_counted()) && (vma.start.wrapping_sub(addr) >> PAGE_SHIFT) as u64 == vma.pgoff
        };
        let mut space = self.write().await;
        let found = space.tree.range(addr, TASK_SIZE).find(|vma| vma.start >= addr && belongs(vma));
        let Some((file, mut at, size)) = found.and_then(|vma| {
            let file = vma.file()?.clone();
            let size = page_up(file.inode().size() as usize)?;
            Some((file, vma.start, size))
        }) else {
            return Err(Errno::EINVAL);
        };
        let end = addr.saturating_add(size).min(TASK_SIZE);
        while at < end {
            let part = space.tree.range(at, end).find(|vma| {
                vma.start >= at && vma.end <= end && belongs(vma) && vma.file().is_some_and(|other| KArc::ptr_eq(other, &file))
            });
            let Some((start, stop)) = part.map(|vma| (vma.start, vma.end)) else { break };
            self.unmap(&mut space, start, stop).await?;
            at = stop;
        }
        Ok(())
    }
}
