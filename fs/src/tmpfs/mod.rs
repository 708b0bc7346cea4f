//! tmpfs and ramfs: files in memory (Linux: mm/shmem.c, fs/ramfs). Also what rootfs, devtmpfs, shared anonymous memory
//! and memfd are made of.
//!
//! File contents are page-cache pages ([`crate::cache::file`]); a directory is a table of names ([`dir`]); the limits of
//! a mount are in its [`TmpSuper`]. Nothing here waits.
//!
//! | file | what |
//! |---|---|
//! | [`dir`] | a directory's table |
//! | [`inode`] | inodes: making, linking, removing, renaming |
//! | [`file`] | operations on open files and directories |
//! | [`options`] | `size=`, `nr_inodes=`, `mode=`, `uid=`, `gid=` |
//! | [`shmem`] | files without a name in any tree |

mod chunks;
pub mod dir;
pub mod file;
pub mod inode;
pub mod options;
pub mod shmem;
#[cfg(test)]
mod tests;

use crate::cache::PAGE;
use crate::cache::file::Store;
use crate::vfs::dentry::Dentry;
use crate::vfs::inode::Inode;
use crate::vfs::ops::SuperOps;
use crate::vfs::stat::Statfs;
use crate::vfs::superblock::{FsType, MountRequest, SuperBlock, SuperFlags, SuperInfo};
use crate::vnode::SeqBuf;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use options::Options;
use vigil_abi::Errno;
use vigil_abi::stat::{RAMFS_MAGIC, S_IFDIR, TMPFS_MAGIC};
use vigil_executor::sync::PerCpuCounter;
use vigil_mem::{KArc, KBox};

/// Largest file (Linux: MAX_LFS_FILESIZE).
pub const MAX_BYTES: u64 = i64::MAX as u64;

/// The limits of one tmpfs and what is used of them. A limit of 0 is none.
pub struct TmpSuper {
    max_pages: AtomicU64,
    pages: AtomicU64,
    max_inodes: AtomicU64,
    inodes: AtomicU64,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl TmpSuper {
    /// The state of the tmpfs that `inode` is in.
    pub(crate) fn of(inode: &Inode) -> Option<&TmpSuper> {
        inode.sb().ops().as_any()?.downcast_ref()
    }

    fn add(counter: &AtomicU64, limit: &AtomicU64, n: u64) -> Result<(), Errno> {
        let limit = limit.load(Relaxed);
        let step = |used: u64| used.checked_add(n).filter(|&sum| limit == 0 || sum <= limit);
        counter.fetch_update(Relaxed, Relaxed, step).map_or(Err(Errno::ENOSPC), |_| Ok(()))
    }

    /// Pages in use.
    pub fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }

    pub(crate) fn add_inode(&self) -> Result<(), Errno> {
        TmpSuper::add(&self.inodes, &self.max_inodes, 1)
    }

    pub(crate) fn sub_inode(&self) {
        self.inodes.fetch_sub(1, Relaxed);
    }
}

/// Pages in all tmpfs mounts, for `Shmem` in /proc/meminfo.
static SHMEM_PAGES: PerCpuCounter = PerCpuCounter::new();

/// Pages in all tmpfs mounts (Linux: NR_SHMEM).
pub fn nr_shmem() -> u64 {
    SHMEM_PAGES.sum().max(0) as u64
}

/// Charges pages to the mount of their inode.
pub struct TmpStore;

impl Store for TmpStore {
    fn charge(&self, inode: &Inode) -> Result<(), Errno> {
        if let Some(sb) = TmpSuper::of(inode) {
            TmpSuper::add(&sb.pages, &sb.max_pages, 1)?;
        }
        inode.add_blocks((PAGE / 512) as i64);
        SHMEM_PAGES.add(1);
        Ok(())
    }

    fn uncharge(&self, inode: &Inode, pages: u64) {
        if let Some(sb) = TmpSuper::of(inode) {
            sb.pages.fetch_sub(pages, Relaxed);
        }
        inode.add_blocks(-((pages * (PAGE / 512)) as i64));
        SHMEM_PAGES.add(-(pages as i64));
    }
}

/// The only [`TmpStore`].
pub static STORE: TmpStore = TmpStore;

impl SuperOps for TmpSuper {
    fn statfs(&self, out: &mut Statfs) {
        out.bsize = PAGE;
        out.frsize = PAGE;
        out.blocks = self.max_pages.load(Relaxed);
        if out.blocks != 0 {
            out.bfree = out.blocks.saturating_sub(self.pages());
            out.bavail = out.bfree;
        }
        out.files = self.max_inodes.load(Relaxed);
        if out.files != 0 {
            out.ffree = out.files.saturating_sub(self.inodes.load(Relaxed));
        }
    }

    fn show_options(&self, out: &mut SeqBuf) {
        let default = Options::default_for_ram();
        let (pages, inodes) = (self.max_pages.load(Relaxed), self.max_inodes.load(Relaxed));
        if pages != default.max_pages && pages != 0 {
            let _ = write!(out, ",size={}k", pages * (PAGE / 1024));
        }
        if inodes != default.max_inodes && inodes != 0 {
            let _ = write!(out, ",nr_inodes={inodes}");
        }
        if self.mode != 0o1777 && pages != 0 {
            let _ = write!(out, ",mode={:03o}", self.mode);
        }
        if self.uid != 0 {
            let _ = write!(out, ",uid={}", self.uid);
        }
        if self.gid != 0 {
            let _ = write!(out, ",gid={}", self.gid);
        }
    }

    fn remount(&self, data: &[u8]) -> Result<(), Errno> {
        let mut options =
            Options { max_pages: self.max_pages.load(Relaxed), max_inodes: self.max_inodes.load(Relaxed), ..Options::default_for_ram() };
        options.parse(data)?;
        let too_small = |max: u64, used: u64| max != 0 && max < used;
        if too_small(options.max_pages, self.pages()) || too_small(options.max_inodes, self.inodes.load(Relaxed)) {
            return Err(Errno::EINVAL);
        }
        self.max_pages.store(options.max_pages, Relaxed);
        self.max_inodes.store(options.max_inodes, Relaxed);
        Ok(())
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}

/// A new tmpfs: its root directory.
pub fn make_super(name: &'static str, magic: u64, flags: SuperFlags, options: &Options) -> Result<KArc<Dentry>, Errno> {
    let sb = TmpSuper {
        max_pages: AtomicU64::new(options.max_pages),
        pages: AtomicU64::new(0),
        max_inodes: AtomicU64::new(options.max_inodes),
        inodes: AtomicU64::new(0),
        mode: options.mode,
        uid: options.uid,
        gid: options.gid,
    };
    let ops = vigil_mem::unsize!(KBox, KBox::try_new(sb)? => dyn SuperOps);
    let sb = SuperBlock::try_new(SuperInfo { fstype: name, magic, flags, max_bytes: MAX_BYTES }, ops)?;
    let root = inode::new_inode(&sb, S_IFDIR | options.mode, 0, &[])?;
    root.set_owner(options.uid, options.gid);
    Dentry::try_root(root, b"/")
}

fn mount_tmpfs(request: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    let mut options = Options { uid: request.uid, gid: request.gid, ..Options::default_for_ram() };
    options.parse(request.data)?;
    make_super("tmpfs", TMPFS_MAGIC, SuperFlags::XATTR, &options)
}

fn mount_ramfs(request: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    let mut options = Options { max_pages: 0, max_inodes: 0, mode: 0o755, uid: 0, gid: 0 };
    options.parse_mode_only(request.data);
    make_super("ramfs", RAMFS_MAGIC, SuperFlags::empty(), &options)
}

/// The root file system before anything is mounted: a tmpfs of half of RAM.
pub fn make_rootfs() -> Result<KArc<Dentry>, Errno> {
    let options = Options { mode: 0o755, ..Options::default_for_ram() };
    make_super("rootfs", TMPFS_MAGIC, SuperFlags::INTERNAL | SuperFlags::XATTR, &options)
}

/// Registers both types.
pub fn init() -> Result<(), Errno> {
    use crate::vfs::superblock::register;
    register(FsType { name: "tmpfs", needs_device: false, user_mount: true, mount: mount_tmpfs })?;
    register(FsType { name: "ramfs", needs_device: false, user_mount: true, mount: mount_ramfs })
}
