//! mmap(2): the checks in Linux's order, and the new mapping (Linux: `do_mmap`, `mmap_region`).

use super::fault::untag;
use super::layout::Limits;
use super::pgtable::{page_down, page_up};
use super::rmap::RmapNode;
use super::space::{Mm, Space};
use super::vma::{Backing, FileMap, VmFlags, Vma};
use super::{MAX_MAP_COUNT, Overcommit, page};
use vigil_abi::Errno;
use vigil_abi::fcntl::{F_SEAL_FUTURE_WRITE, F_SEAL_WRITE};
use vigil_abi::mm::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_GROWSDOWN, MAP_HUGETLB, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE,
    MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE, MAP_SYNC, MAP_TYPE,
};
use vigil_fs::vfs::mount::MountFlags;
use vigil_fs::{File, MmapTarget, shmem_file};
use vigil_mem::{KArc, PAGE_SHIFT, PAGE_SIZE, TASK_SIZE};

/// Flags that MAP_SHARED_VALIDATE knows (LEGACY_MAP_MASK); MAP_SYNC needs a DAX file.
const KNOWN_FLAGS: u32 = MAP_SHARED
    | MAP_PRIVATE
    | MAP_FIXED
    | MAP_ANONYMOUS
    | 0x800 // MAP_DENYWRITE
    | 0x1000 // MAP_EXECUTABLE
    | MAP_GROWSDOWN
    | MAP_LOCKED
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | 0x20000 // MAP_STACK
    | MAP_HUGETLB
    | MAP_FIXED_NOREPLACE;

/// The arguments of mmap(2).
pub struct MmapRequest {
    /// Wanted address, a hint without MAP_FIXED.
    pub addr: usize,
    /// Bytes.
    pub len: usize,
    /// PROT_*.
    pub prot: u32,
    /// MAP_*.
    pub flags: u32,
    /// The file, already looked up (EBADF is the caller's); `None` with MAP_ANONYMOUS.
    pub file: Option<KArc<File>>,
    /// Offset in it, bytes.
    pub offset: u64,
}

impl Mm {
    /// mmap(2): the address. EINVAL, EACCES, EPERM, ENODEV, ENOMEM, EEXIST, EOVERFLOW, EAGAIN, EOPNOTSUPP, EBADF as
    /// Linux; the file's own errors.
    pub async fn mmap(&self, req: MmapRequest, limits: &Limits) -> Result<usize, Errno> {
        if req.offset % PAGE_SIZE as u64 != 0 || req.flags & MAP_HUGETLB != 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_up(req.len).filter(|l| *l != 0 || req.len == 0).ok_or(Errno::ENOMEM)?;
        let mut space = self.write().await;
        let addr = self.do_mmap(&mut space, &req, len, limits).await?;
        let locked = space.tree.at(addr).is_some_and(|v| v.flags.contains(VmFlags::LOCKED));
        drop(space);
        if locked || req.flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE {
            // Failure to fault in is no failure of mmap.
            let _ = self.populate(addr, addr + len).await;
        }
        Ok(addr)
    }

    /// The part under mmap_lock. `len` is `req.len` in whole pages.
    pub(crate) async fn do_mmap(&self, space: &mut Space, req: &MmapRequest, len: usize, limits: &Limits) -> Result<usize, Errno> {
        if req.len == 0 {
            return Err(Errno::EINVAL);
        }
        let pgoff = req.offset >> PAGE_SHIFT;
        let pages = len >> PAGE_SHIFT;
        if pgoff.checked_add(pages as u64).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        if space.tree.count() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let fixed = req.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
        let addr = Self::place(space, untag(req.addr), len, fixed, limits)?;
        if req.flags & MAP_FIXED_NOREPLACE != 0 && space.tree.first_in(addr, addr + len).is_some() {
            return Err(Errno::EEXIST);
        }
        let mut flags = VmFlags::from_prot(req.prot) | space.def_flags | VmFlags::MAY_ALL;
        if req.flags & MAP_GROWSDOWN != 0 {
            flags |= VmFlags::GROWSDOWN;
        }
        if req.flags & MAP_LOCKED != 0 {
            if limits.memlock == 0 && !limits.cap_ipc_lock {
                return Err(Errno::EPERM);
            }
            flags |= VmFlags::LOCKED;
        }
        self.may_lock_more(flags, pages, limits)?;
        let flags = Self::type_flags(req, flags)?;
        let flags =
            if req.flags & MAP_NORESERVE != 0 && page::overcommit_mode() != Overcommit::Never { flags | VmFlags::NORESERVE } else { flags };
        self.map_region(space, req, addr, len, flags, limits).await?;
        Ok(addr)
    }

    /// Checks a fixed address or searches one (`get_unmapped_area`).
    fn place(space: &Space, addr: usize, len: usize, fixed: bool, limits: &Limits) -> Result<usize, Errno> {
        if len > TASK_SIZE {
            return Err(Errno::ENOMEM);
        }
        if !fixed {
            return Self::get_unmapped_area(&space.tree, &space.layout, page_down(addr), len);
        }
        if addr > TASK_SIZE - len {
            return Err(Errno::ENOMEM);
        }
        if addr % PAGE_SIZE != 0 {
            return Err(Errno::EINVAL);
        }
        limits.check_low(addr)?;
        Ok(addr)
    }

    /// EAGAIN when a mapping of `pages` that will be locked exceeds RLIMIT_MEMLOCK (`mlock_future_check`).
    pub(super) fn may_lock_more(&self, flags: VmFlags, pages: usize, limits: &Limits) -> Result<(), Errno> {
        use core::sync::atomic::Ordering::Relaxed;
        let locked = self.counters.locked.load(Relaxed).saturating_add(pages);
        if flags.contains(VmFlags::LOCKED) && locked > limits.memlock as usize >> PAGE_SHIFT && !limits.cap_ipc_lock {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// What the sharing type and the file's mode make of the flags.
    fn type_flags(req: &MmapRequest, mut flags: VmFlags) -> Result<VmFlags, Errno> {
        let kind = req.flags & MAP_TYPE;
        let Some(file) = &req.file else {
            return match kind {
                MAP_SHARED if flags.contains(VmFlags::GROWSDOWN) => Err(Errno::EINVAL),
                MAP_SHARED => Ok(flags | VmFlags::SHARED | VmFlags::MAYSHARE),
                MAP_PRIVATE => Ok(flags),
                _ => Err(Errno::EINVAL),
            };
        };
        match kind {
            MAP_SHARED | MAP_SHARED_VALIDATE => {
                if kind == MAP_SHARED_VALIDATE && req.flags & !(KNOWN_FLAGS | MAP_SHARED_VALIDATE) != 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                if flags.contains(VmFlags::WRITE) && !file.writable() {
                    return Err(Errno::EACCES);
                }
                flags |= VmFlags::SHARED | VmFlags::MAYSHARE;
                if !file.writable() {
                    flags -= VmFlags::MAYWRITE | VmFlags::SHARED;
                }
            }
            MAP_PRIVATE => (),
            _ => return Err(Errno::EINVAL),
        }
        if !file.readable() {
            return Err(Errno::EACCES);
        }
        if file.path().mnt.flags().contains(MountFlags::NOEXEC) {
            if flags.contains(VmFlags::EXEC) {
                return Err(Errno::EPERM);
            }
            flags -= VmFlags::MAYEXEC;
        }
        if flags.contains(VmFlags::GROWSDOWN) {
            return Err(Errno::EINVAL);
        }
        Ok(flags)
    }

    /// Replaces whatever is at `[addr, addr + len)` by the new mapping (`mmap_region`).
    async fn map_region(
        &self,
        space: &mut Space,
        req: &MmapRequest,
        addr: usize,
        len: usize,
        mut flags: VmFlags,
        limits: &Limits,
    ) -> Result<(), Errno> {
        let end = addr + len;
        let pages = len >> PAGE_SHIFT;
        // What a fixed mapping replaces does not count twice.
        let replaced: usize = space.tree.range(addr, end).map(|v| (v.end.min(end) - v.start.max(addr)) >> PAGE_SHIFT).sum();
        if !self.may_expand(flags, pages.saturating_sub(replaced), limits) {
            return Err(Errno::ENOMEM);
        }
        self.unmap(space, addr, end).await?;
        space.tree.reserve()?;
        let charged = flags.is_accountable();
        if charged {
            if !self.counters.charge(pages) {
                return Err(Errno::ENOMEM);
            }
            flags |= VmFlags::ACCOUNT;
        }
        match self.make_vma(req, addr, end, flags).and_then(|vma| self.insert(space, vma)) {
            Ok(()) => (),
            Err(e) => {
                if charged {
                    self.counters.uncharge(pages);
                }
                return Err(e);
            }
        }
        if let Some(vma) = space.tree.at(addr) {
            self.counters.account_vma(vma);
        }
        Self::merge_range(&mut space.tree, addr, end);
        Ok(())
    }

    /// The mapping itself, by what the file says that it is.
    fn make_vma(&self, req: &MmapRequest, addr: usize, end: usize, flags: VmFlags) -> Result<Vma, Errno> {
        let shared = flags.intersects(VmFlags::SHARED | VmFlags::MAYSHARE);
        let Some(file) = &req.file else {
            if !shared {
                return Ok(Vma::anonymous(addr, end, flags));
            }
            let file = shmem_file(b"dev/zero", (end - addr) as u64)?;
            return self.file_vma(file.clone(), file.inode().clone(), addr, end, flags, 0);
        };
        let pgoff = req.offset >> PAGE_SHIFT;
        let fs_req = vigil_fs::MmapRequest {
            offset: req.offset,
            len: (end - addr) as u64,
            shared,
            write: flags.contains(VmFlags::WRITE),
            exec: flags.contains(VmFlags::EXEC),
        };
        match file.ops().mmap(file, &fs_req)? {
            MmapTarget::Cache(inode) => self.file_vma(file.clone(), inode, addr, end, flags, pgoff),
            MmapTarget::Anonymous => Ok(Vma::anonymous(addr, end, flags)),
            MmapTarget::Device { pfn, device_attr: device } => {
                let flags = flags | VmFlags::PFNMAP | VmFlags::IO | VmFlags::DONTEXPAND | VmFlags::DONTDUMP;
                let backing = Backing::Device { file: file.clone(), pfn, device };
                Ok(Vma::new(addr, end, flags, pgoff, backing))
            }
        }
    }

    /// A mapping of `inode`'s pages, entered among its mappers.
    fn file_vma(
        &self,
        file: KArc<File>,
        inode: KArc<vigil_fs::Inode>,
        addr: usize,
        end: usize,
        mut flags: VmFlags,
        pgoff: u64,
    ) -> Result<Vma, Errno> {
        let sealed = || inode.seals() & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0;
        let writable = flags.contains(VmFlags::SHARED) && !sealed();
        let rmap = RmapNode::register(self, &inode, addr, end, pgoff, writable)?;
        // Looked at again now that the mapping is entered: a seal that comes after this look finds it.
        let sealed = flags.contains(VmFlags::SHARED) && sealed();
        let vma = |flags| Vma::new(addr, end, flags, pgoff, Backing::File(FileMap::new(file, inode, rmap)));
        if sealed && flags.contains(VmFlags::WRITE) {
            drop(vma(flags));
            return Err(Errno::EPERM);
        }
        if sealed {
            flags -= VmFlags::MAYWRITE;
        }
        Ok(vma(flags))
    }
}

/// MAP_SYNC is refused by MAP_SHARED_VALIDATE: there is no DAX.
const _: () = assert!(KNOWN_FLAGS & MAP_SYNC == 0);
