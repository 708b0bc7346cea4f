//! devtmpfs: a tmpfs whose device nodes the kernel makes (Linux: drivers/base/devtmpfs.c). There is one; every mount
//! shows it.

use crate::tmpfs::inode::TmpDir;
use crate::tmpfs::options::Options;
use crate::vfs::dentry::{self, Dentry};
use crate::vfs::inode::Inode;
use crate::vfs::ops::NewNode;
use crate::vfs::stat::mkdev;
use crate::vfs::superblock::{FsType, MountRequest, SuperFlags, register};
use vigil_abi::Errno;
use vigil_abi::stat::{S_IFDIR, TMPFS_MAGIC};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KArc;

static CLASS: LockClass = LockClass::new("devtmpfs");
static ROOT: SpinLock<Option<KArc<Dentry>>> = SpinLock::new(&CLASS, None);

fn mount(_: &MountRequest<'_>) -> Result<KArc<Dentry>, Errno> {
    root()
}

fn root() -> Result<KArc<Dentry>, Errno> {
    ROOT.lock().clone().ok_or(Errno::ENODEV)
}

/// Makes the file system. Once, at boot.
pub fn init() -> Result<(), Errno> {
    let options = Options { mode: 0o755, ..Options::default_for_ram() };
    let made = crate::tmpfs::make_super("devtmpfs", TMPFS_MAGIC, SuperFlags::XATTR, &options)?;
    *ROOT.lock() = Some(made);
    register(FsType { name: "devtmpfs", needs_device: false, user_mount: true, mount })
}

/// Makes the node `name` (directories in it are made, too) of a device; `mode` includes S_IFCHR or S_IFBLK. EEXIST,
/// ENOMEM, ENOSPC.
pub fn device_node(name: &str, mode: u32, major: u32, minor: u32) -> Result<(), Errno> {
    let mut dir = root()?.inode_opt().cloned().ok_or(Errno::ENODEV)?;
    let mut rest = name.as_bytes();
    while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
        dir = subdirectory(&dir, &rest[..slash])?;
        rest = &rest[slash + 1..];
    }
    make(&dir, rest, mode, mkdev(major, minor)).map(drop)
}

/// Removes the node `name` of a device that is gone. ENOENT.
pub fn remove_node(name: &str) -> Result<(), Errno> {
    let mut at = root()?;
    for part in name.split('/') {
        let dir = at.inode_opt().cloned().ok_or(Errno::ENOENT)?;
        let found = dir.ops().lookup(&dir, part.as_bytes()).map_err(|stop| stop.errno())?.ok_or(Errno::ENOENT)?;
        if found.is_dir() {
            at = match dentry::lookup(&at, part.as_bytes()) {
                Some(cached) => cached,
                None => Dentry::try_new(&at, part.as_bytes(), Some(found))?,
            };
            continue;
        }
        if let Some(cached) = dentry::lookup(&at, part.as_bytes()) {
            dentry::unhash(&cached);
        }
        return dir.ops().remove(&dir, part.as_bytes(), &found).map_err(|stop| stop.errno());
    }
    Err(Errno::ENOENT)
}

fn subdirectory(dir: &KArc<Inode>, name: &[u8]) -> Result<KArc<Inode>, Errno> {
    let found = TmpDir::of(dir).ok_or(Errno::ENOTDIR)?.with(|table| table.get(name).cloned());
    match found {
        Some(found) => Ok(found),
        None => make(dir, name, S_IFDIR | 0o755, 0),
    }
}

fn make(dir: &KArc<Inode>, name: &[u8], mode: u32, rdev: u32) -> Result<KArc<Inode>, Errno> {
    if TmpDir::of(dir).ok_or(Errno::ENOTDIR)?.with(|table| table.get(name).is_some()) {
        return Err(Errno::EEXIST);
    }
    let node = NewNode { mode, uid: 0, gid: 0, rdev, target: &[] };
    dir.ops().make(dir, name, &node).map_err(|stop| stop.errno())
}
