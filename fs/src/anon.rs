//! Files over objects that have no place in any tree: eventfd, epoll, signalfd (Linux: fs/anon_inodes.c). All of them
//! share one inode.

use crate::vfs::dentry::Dentry;
use crate::vfs::file::File;
use crate::vfs::inode::{Inode, OpsRef};
use crate::vfs::mount::{Mount, MountFlags, Path};
use crate::vfs::ops::{FileOps, InodeOps, SuperOps};
use crate::vfs::superblock::{SuperBlock, SuperFlags, SuperInfo};
use vigil_abi::Errno;
use vigil_abi::stat::ANON_INODE_FS_MAGIC;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::{KArc, KBox};

struct Anon;

impl InodeOps for Anon {}
impl SuperOps for Anon {}

static ANON: Anon = Anon;
static CLASS: LockClass = LockClass::new("anon_inode");
static STATE: SpinLock<Option<(KArc<Mount>, KArc<Inode>)>> = SpinLock::new(&CLASS, None);

/// Makes the file system. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let info = SuperInfo {
        fstype: "anon_inodefs",
        magic: ANON_INODE_FS_MAGIC,
        flags: SuperFlags::INTERNAL | SuperFlags::NOATIME,
        max_bytes: i64::MAX as u64,
    };
    let sb = SuperBlock::try_new(info, vigil_mem::unsize!(KBox, KBox::try_new(Anon)? => dyn SuperOps))?;
    let root = Inode::try_new(&sb, sb.new_ino(), vigil_abi::stat::S_IFDIR | 0o600, 0, OpsRef::Static(&ANON))?;
    // Linux's anonymous inodes have permissions and no type.
    let inode = Inode::try_new(&sb, sb.new_ino(), 0o600, 0, OpsRef::Static(&ANON))?;
    let mount = Mount::of_root(Dentry::try_root(root, b"anon_inode:")?, b"anon_inodefs", MountFlags::empty())?;
    *STATE.lock() = Some((mount, inode));
    Ok(())
}

/// A file over `ops` that /proc shows as `anon_inode:NAME`. ENOMEM, ENFILE before [`init`].
pub fn anon_file(name: &[u8], ops: KArc<dyn FileOps>, flags: u32) -> Result<KArc<File>, Errno> {
    let (mnt, inode) = STATE.lock().clone().ok_or(Errno::ENFILE)?;
    let path = Path { mnt, dentry: Dentry::try_root(inode, name)? };
    File::pseudo(path, ops, flags)
}
