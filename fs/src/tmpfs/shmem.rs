//! Files without a name in any tree: shared anonymous memory, memfd (Linux: shmem_file_setup).

use super::inode::new_inode;
use super::options::Options;
use crate::vfs::dentry::Dentry;
use crate::vfs::file::File;
use crate::vfs::mount::{Mount, MountFlags, Path};
use crate::vfs::superblock::SuperFlags;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_LARGEFILE, O_RDWR};
use vigil_abi::stat::{S_IFREG, TMPFS_MAGIC};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;

static CLASS: LockClass = LockClass::new("shm_mnt");
/// The internal mount of such files, without limits.
static MOUNT: SpinLock<Option<KArc<Mount>>> = SpinLock::new(&CLASS, None);

/// Makes the internal mount. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let options = Options { max_pages: 0, max_inodes: 0, mode: 0o777, uid: 0, gid: 0 };
    let root = super::make_super("tmpfs", TMPFS_MAGIC, SuperFlags::INTERNAL | SuperFlags::XATTR, &options)?;
    let mount = Mount::of_root(root, b"tmpfs", MountFlags::empty())?;
    *MOUNT.lock() = Some(mount);
    Ok(())
}

/// A file of `size` bytes that /proc shows as `/name (deleted)`. ENOMEM, ENODEV before [`init`].
pub fn shmem_file(name: &[u8], size: u64) -> Result<KArc<File>, Errno> {
    let mnt = MOUNT.lock().clone().ok_or(Errno::ENODEV)?;
    let inode = new_inode(&mnt.sb, S_IFREG | 0o777, 0, &[])?;
    inode.set_nlink(0);
    inode.set_size(size);
    let dentry = Dentry::try_root(inode, name)?;
    let path = Path { mnt, dentry };
    let file = File::open(&path, O_RDWR | O_LARGEFILE, true).map_err(|stop| stop.errno());
    file
}
