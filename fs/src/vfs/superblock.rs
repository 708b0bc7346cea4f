//! A mounted file system as a whole (Linux: struct super_block), and the types that can be mounted.

use super::dentry::Dentry;
use super::ops::SuperOps;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, Mutex, SpinLock};
use vigil_mem::{KArc, KBox, KVec};

bitflags::bitflags! {
    /// What holds for a whole file system.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct SuperFlags: u32 {
        /// Cached entries are asked whether they still stand for something ([`super::ops::InodeOps::is_alive`]).
        const REVALIDATE = 1 << 0;
        /// Absent names are cached, too: a lookup costs I/O.
        const CACHE_NEGATIVE = 1 << 1;
        /// Its files have no time of last access to be kept (pseudo file systems).
        const NOATIME = 1 << 2;
        /// User space may not mount it (Linux: SB_NOUSER).
        const INTERNAL = 1 << 3;
        /// No executables here (Linux: SB_I_NOEXEC).
        const NOEXEC = 1 << 4;
        /// Device nodes mean nothing here (Linux: SB_I_NODEV).
        const NODEV = 1 << 5;
        /// Its inodes keep extended attributes ([`super::xattr`]).
        const XATTR = 1 << 6;
    }
}

/// Constant facts of a file system.
#[derive(Clone, Copy, Debug)]
pub struct SuperInfo {
    /// Name of the type, as in /proc/filesystems.
    pub fstype: &'static str,
    /// Magic number (`*_MAGIC`).
    pub magic: u64,
    /// Flags.
    pub flags: SuperFlags,
    /// Largest file size.
    pub max_bytes: u64,
}

/// A mounted file system.
pub struct SuperBlock {
    /// Constant facts.
    pub info: SuperInfo,
    /// Device number, kernel form; anonymous (major 0) without a device.
    pub dev: u32,
    /// Taken by renames between directories (Linux: s_vfs_rename_mutex): the shape of the tree stands still.
    pub rename_mutex: Mutex<()>,
    ops: KBox<dyn SuperOps>,
    readonly: AtomicU32,
    next_ino: AtomicU64,
}

/// Numbers of file systems without a device.
static NEXT_ANON_DEV: AtomicU32 = AtomicU32::new(1);

impl SuperBlock {
    /// A file system without a device (Linux: get_anon_bdev).
    pub fn try_new(info: SuperInfo, ops: KBox<dyn SuperOps>) -> Result<KArc<SuperBlock>, Errno> {
        let dev = super::stat::mkdev(0, NEXT_ANON_DEV.fetch_add(1, Relaxed));
        let rename_mutex = Mutex::new(&RENAME_CLASS, ());
        let (readonly, next_ino) = (AtomicU32::new(0), AtomicU64::new(1));
        Ok(KArc::try_new(SuperBlock { info, dev, rename_mutex, ops, readonly, next_ino })?)
    }

    /// Its operations.
    pub fn ops(&self) -> &dyn SuperOps {
        &*self.ops
    }

    /// A fresh inode number.
    pub fn new_ino(&self) -> u64 {
        self.next_ino.fetch_add(1, Relaxed)
    }

    /// Whether nothing of it may be changed (SB_RDONLY).
    #[inline]
    pub fn is_readonly(&self) -> bool {
        self.readonly.load(Relaxed) != 0
    }

    /// Sets or clears SB_RDONLY.
    pub fn set_readonly(&self, readonly: bool) {
        self.readonly.store(u32::from(readonly), Relaxed);
    }
}

/// What mounting a type needs to know.
pub struct MountRequest<'a> {
    /// First argument of mount(2).
    pub source: &'a [u8],
    /// Options, comma-separated.
    pub data: &'a [u8],
    /// Whoever mounts.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
}

/// A type of file system.
#[derive(Clone, Copy)]
pub struct FsType {
    /// Its name.
    pub name: &'static str,
    /// Whether it needs a block device (no `nodev` in /proc/filesystems).
    pub needs_device: bool,
    /// Whether mount(2) may mount it.
    pub user_mount: bool,
    /// Makes the file system, or finds the only one, and gives its root.
    pub mount: fn(&MountRequest<'_>) -> Result<KArc<Dentry>, Errno>,
}

static TYPES_CLASS: LockClass = LockClass::new("file_systems");
static RENAME_CLASS: LockClass = LockClass::new("s_vfs_rename_mutex");
static TYPES: SpinLock<KVec<FsType>> = SpinLock::new(&TYPES_CLASS, KVec::new());

/// Makes a type mountable. EBUSY: the name is taken (Linux: register_filesystem).
pub fn register(fstype: FsType) -> Result<(), Errno> {
    let mut types = TYPES.lock();
    if types.iter().any(|known| known.name == fstype.name) {
        return Err(Errno::EBUSY);
    }
    Ok(types.try_push(fstype)?)
}

/// The type called `name`.
pub fn find(name: &[u8]) -> Option<FsType> {
    TYPES.lock().iter().find(|known| known.name.as_bytes() == name).copied()
}

/// The `n`-th registered type, for /proc/filesystems.
pub fn nth(n: usize) -> Option<FsType> {
    TYPES.lock().get(n).copied()
}
