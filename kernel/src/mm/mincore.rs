//! mincore(2) and msync(2).

use super::fault::untag;
use super::pgtable::page_up;
use super::space::Mm;
use super::vma::{Backing, VmFlags};
use vigil_abi::Errno;
use vigil_abi::mm::{MS_ASYNC, MS_INVALIDATE, MS_SYNC};
use vigil_fs::File;
use vigil_mem::{KArc, KVec, PAGE_SHIFT, PAGE_SIZE, TASK_SIZE};

impl Mm {
    /// One turn of mincore(2): fills `out` for the pages from `start` on, a byte each, 1 when the page is in memory.
    /// EINVAL: `start` is no page; ENOMEM: a hole in the range. The caller copies `out` to the user and calls again for
    /// the next pages, for copying may fault and this holds mmap_lock.
    pub async fn mincore(&self, start: usize, out: &mut [u8]) -> Result<(), Errno> {
        let start = untag(start);
        if start % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        if (out.len() << PAGE_SHIFT) > TASK_SIZE || start > TASK_SIZE - (out.len() << PAGE_SHIFT) {
            return Err(Errno::ENOMEM);
        }
        let space = self.read().await;
        let mut addr = start;
        for slot in out {
            let vma = space.tree.at(addr).ok_or(Errno::ENOMEM)?;
            let mapped = self.tables.peek(addr).is_present();
            *slot = match &vma.backing {
                Backing::File(map) => u8::from(mapped || map.inode.mapping().find(vma.page_index(addr)).is_some()),
                _ => u8::from(mapped),
            };
            addr += PAGE_SIZE;
        }
        Ok(())
    }

    /// msync(2). EINVAL, EBUSY, ENOMEM (a hole; the files before and behind it are written all the same), and what
    /// writing back gives.
    pub async fn msync(&self, addr: usize, len: usize, flags: u32) -> Result<(), Errno> {
        let (files, holes) = self.msync_files(addr, len, flags).await?;
        for file in files.iter() {
            vigil_fs::vfs::fsync(file, false).await?;
        }
        holes
    }

    /// The checks of msync, and the files that are to be written back; a hole is reported beside them.
    async fn msync_files(&self, addr: usize, len: usize, flags: u32) -> Result<(KVec<KArc<File>>, Result<(), Errno>), Errno> {
        let start = untag(addr);
        let both = MS_ASYNC | MS_SYNC;
        if flags & !(both | MS_INVALIDATE) != 0 || start % PAGE_SIZE != 0 || flags & both == both {
            return Err(Errno::EINVAL);
        }
        let end = page_up(len).and_then(|l| start.checked_add(l)).ok_or(Errno::ENOMEM)?;
        let mut files: KVec<KArc<File>> = KVec::new();
        let space = self.read().await;
        let mut at = start;
        let mut holes = Ok(());
        while at < end {
            let Some(vma) = space.tree.first_in(at, end).and_then(|p| space.tree.get(p)) else {
                holes = Err(Errno::ENOMEM);
                break;
            };
            if vma.start > at {
                holes = Err(Errno::ENOMEM);
            }
            if flags & MS_INVALIDATE != 0 && vma.flags.contains(VmFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            if let Some(map) = vma.file_map()
                && flags & MS_SYNC != 0
                && vma.flags.contains(VmFlags::SHARED)
                && files.last().is_none_or(|f| !KArc::ptr_eq(f, &map.file))
            {
                files.try_push(map.file.clone())?;
            }
            at = vma.end;
        }
        Ok((files, holes))
    }
}
