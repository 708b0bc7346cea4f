//! The internal file system of sockets (Linux: sockfs): each socket's file has an inode of its own, `socket:[N]`.

use vigil_abi::Errno;
use vigil_abi::fcntl::{O_NONBLOCK, O_RDWR};
use vigil_abi::stat::{S_IFDIR, S_IFSOCK, SOCKFS_MAGIC};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_fs::vfs::dentry::Dentry;
use vigil_fs::vfs::inode::OpsRef;
use vigil_fs::vfs::mount::MountFlags;
use vigil_fs::vfs::ops::{InodeOps, SuperOps};
use vigil_fs::vfs::superblock::{SuperBlock, SuperFlags, SuperInfo};
use vigil_fs::{File, FileOps, Inode, Mount, Path};
use vigil_mem::{KArc, KBox};

struct SockFs;

impl SuperOps for SockFs {}
// A socket's inode cannot be opened again: `File::open` answers ENXIO for every inode of the type.
impl InodeOps for SockFs {}

static SOCK_FS: SockFs = SockFs;
static CLASS: LockClass = LockClass::new("sock_mnt");
static MOUNT: SpinLock<Option<KArc<Mount>>> = SpinLock::new(&CLASS, None);

/// Makes the file system. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let info =
        SuperInfo { fstype: "sockfs", magic: SOCKFS_MAGIC, flags: SuperFlags::INTERNAL | SuperFlags::NOATIME, max_bytes: i64::MAX as u64 };
    let sb = SuperBlock::try_new(info, vigil_mem::unsize!(KBox, KBox::try_new(SockFs)? => dyn SuperOps))?;
    let root = Inode::try_new(&sb, sb.new_ino(), S_IFDIR | 0o600, 0, OpsRef::Static(&SOCK_FS))?;
    *MOUNT.lock() = Some(Mount::of_root(Dentry::try_root(root, b"socket:")?, b"sockfs", MountFlags::empty())?);
    Ok(())
}

/// A file over a socket. ENOMEM; ENFILE before [`init`].
pub fn file(ops: KArc<dyn FileOps>, nonblocking: bool) -> Result<KArc<File>, Errno> {
    let mnt = MOUNT.lock().clone().ok_or(Errno::ENFILE)?;
    let inode = Inode::try_new(&mnt.sb, mnt.sb.new_ino(), S_IFSOCK | 0o777, 0, OpsRef::Static(&SOCK_FS))?;
    let path = Path { mnt, dentry: Dentry::try_root(inode, b"")? };
    File::pseudo(path, ops, O_RDWR | if nonblocking { O_NONBLOCK } else { 0 })
}
