//! What identifies a futex: the word in memory, not its address (Linux: `get_futex_key`).

use super::fault::{FaultStop, untag};
use super::space::Mm;
use super::vma::VmFlags;
use vigil_mem::{KArc, PAGE_SIZE};

/// A word of memory that tasks wait for. Words of private memory are told apart by address space and address, words of
/// shared mappings by inode, page and offset: two processes that map the file at different addresses meet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FutexKey {
    object: usize,
    place: u64,
}

/// Set in `place` for shared words, whose offset is a multiple of four.
const SHARED: u64 = 1;

impl FutexKey {
    /// The key of the word at `addr`, a multiple of four, in private memory of `mm`.
    #[inline(always)]
    pub fn private(mm: &Mm, addr: usize) -> FutexKey {
        FutexKey { object: core::ptr::from_ref(mm) as usize, place: untag(addr) as u64 }
    }

    /// Two words for hashing.
    #[inline(always)]
    pub fn words(&self) -> [u64; 2] {
        [self.object as u64, self.place]
    }
}

impl Mm {
    /// The key of the word at `addr`, which need not be private. [`FaultStop::Retry`]: await [`Mm::fault_in`] for it, which
    /// also says that there is no such memory, and try again.
    ///
    /// The object behind a shared key is kept by the mapping only. If it is unmapped while somebody waits, the worst is that
    /// a later object at the same address wakes him for nothing, which futexes allow.
    pub fn try_futex_key(&self, addr: usize, write: bool) -> Result<FutexKey, FaultStop> {
        let addr = untag(addr);
        let space = self.space.try_read().ok_or(FaultStop::Retry)?;
        let needed = if write { VmFlags::WRITE } else { VmFlags::RWX };
        let vma = self.find_vma(&space, addr).filter(|v| v.start <= addr && v.flags.intersects(needed));
        let vma = vma.ok_or(FaultStop::Retry)?;
        match vma.file_map() {
            Some(map) if vma.flags.contains(VmFlags::MAYSHARE) => {
                let page = vma.page_index(addr) * PAGE_SIZE as u64;
                let place = page | (addr % PAGE_SIZE) as u64 | SHARED;
                Ok(FutexKey { object: KArc::as_ptr(&map.inode) as usize, place })
            }
            _ => Ok(FutexKey::private(self, addr)),
        }
    }
}
