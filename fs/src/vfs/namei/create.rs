//! mkdirat, mknodat, symlinkat, linkat (Linux: filename_create, vfs_mkdir, vfs_mknod, vfs_symlink, vfs_link).

use super::super::cred::cap;
use super::super::fs_struct::{At, Ctx};
use super::super::mount::Path;
use super::super::perm::may_create;
use super::super::stat::decode_dev;
use super::super::wait::wait_for;
use super::super::{dentry, dentry::Dentry};
use super::walk::{Last, LookupFlags, Walk};
use vigil_abi::Errno;
use vigil_abi::fcntl::{AT_EMPTY_PATH, AT_SYMLINK_FOLLOW};
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// Makes a directory. EEXIST, EACCES, ENOENT, EROFS, EPERM (no directories here), ENOSPC, EMLINK.
pub async fn mkdir(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    make(ctx, at, name, S_IFDIR | (mode & 0o1777 & !ctx.fs.umask()), 0, &[]).await
}

/// Makes a node of any type but a directory; `dev` as user space encodes it. EPERM for a directory, or a device without
/// CAP_MKNOD; EINVAL for an unknown type; and as [`mkdir`].
pub async fn mknod(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], mode: u32, dev: u32) -> Result<(), Errno> {
    let kind = match mode & S_IFMT {
        0 => S_IFREG,
        S_IFDIR => return Err(Errno::EPERM),
        kind @ (S_IFREG | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK) => kind,
        _ => return Err(Errno::EINVAL),
    };
    let rdev = if matches!(kind, S_IFCHR | S_IFBLK) { decode_dev(dev) } else { 0 };
    make(ctx, at, name, kind | (mode & 0o7777 & !ctx.fs.umask()), rdev, &[]).await
}

/// Makes a symbolic link to `target`. ENOENT for an empty target, ENAMETOOLONG, and as [`mkdir`].
pub async fn symlink(ctx: &Ctx<'_>, target: &[u8], at: At<'_>, name: &[u8]) -> Result<(), Errno> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    make(ctx, at, name, S_IFLNK | 0o777, 0, target).await
}

async fn make(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], mode: u32, rdev: u32, target: &[u8]) -> Result<(), Errno> {
    let mut walk = Walk::to_parent(ctx, &at, name, LookupFlags::empty())?;
    walk.run().await?;
    let is_dir = mode & S_IFMT == S_IFDIR;
    let dir = absent(&walk)?;
    let dir_inode = dir.inode();
    let _guard = dir_inode.rwsem.write(wait_site!("filename_create")).await;
    check_absent(&walk, is_dir).await?;
    may_create(ctx.cred, dir_inode)?;
    if matches!(mode & S_IFMT, S_IFCHR | S_IFBLK) && !ctx.cred.capable(cap::MKNOD) {
        return Err(Errno::EPERM);
    }
    let node = super::open::new_node(ctx, dir_inode, mode, rdev, target);
    let make = || dir_inode.ops().make(dir_inode, walk.last_name(), &node);
    let dentry = Dentry::try_new(&dir.dentry, walk.last_name(), None)?;
    let inode = wait_for(wait_site!("vfs_create"), WaitMode::Uninterruptible, make).await?;
    dentry::insert(Dentry::instantiate(dentry, inode));
    Ok(())
}

/// The directory in which the last component of `walk` is to be made; EEXIST if that is no name.
fn absent<'w>(walk: &'w Walk<'_>) -> Result<&'w Path, Errno> {
    match walk.last() {
        Last::Name(_) => Ok(walk.place()),
        _ => Err(Errno::EEXIST),
    }
}

/// That the name is free, in the locked directory, and its mount writable. EEXIST before ENOENT (for a trailing slash)
/// before EROFS.
async fn check_absent(walk: &Walk<'_>, is_dir: bool) -> Result<(), Errno> {
    let dir = walk.place();
    if super::lookup_in(&dir.dentry, walk.last_name()).await?.is_some() {
        return Err(Errno::EEXIST);
    }
    if walk.has_trailing_slash() && !is_dir {
        return Err(Errno::ENOENT);
    }
    dir.want_write()
}

/// Makes `new` another name of what `old` names. EXDEV, EPERM for directories, EEXIST, ENOENT, EINVAL for unknown flags.
pub async fn link(ctx: &Ctx<'_>, old_at: At<'_>, old: &[u8], new_at: At<'_>, new: &[u8], flags: u32) -> Result<(), Errno> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut lookup = LookupFlags::empty();
    if flags & AT_EMPTY_PATH != 0 {
        // Names for files that one was only handed a descriptor of.
        if !ctx.cred.capable(cap::DAC_READ_SEARCH) {
            return Err(Errno::ENOENT);
        }
        lookup |= LookupFlags::EMPTY;
    }
    if flags & AT_SYMLINK_FOLLOW != 0 {
        lookup |= LookupFlags::FOLLOW;
    }
    let source = super::lookup(ctx, old_at, old, lookup).await?;
    let mut walk = Walk::to_parent(ctx, &new_at, new, LookupFlags::empty())?;
    walk.run().await?;
    let dir = absent(&walk)?;
    let dir_inode = dir.inode();
    let _guard = dir_inode.rwsem.write(wait_site!("filename_create")).await;
    check_absent(&walk, false).await?;
    if !same_mount(&source, dir) {
        return Err(Errno::EXDEV);
    }
    may_create(ctx.cred, dir_inode)?;
    let inode = source.inode();
    if inode.is_dir() {
        return Err(Errno::EPERM);
    }
    let tmpfile = inode.nlink() == 0 && source.dentry.has_name(b"#tmpfile");
    if inode.nlink() == 0 && !tmpfile {
        return Err(Errno::ENOENT);
    }
    let link = || dir_inode.ops().link(dir_inode, walk.last_name(), inode);
    let dentry = Dentry::try_new(&dir.dentry, walk.last_name(), None)?;
    wait_for(wait_site!("vfs_link"), WaitMode::Uninterruptible, link).await?;
    dentry::insert(Dentry::instantiate(dentry, inode.clone()));
    Ok(())
}

/// Whether both are reached through one mount: links and renames do not cross mounts, even of one file system.
pub(super) fn same_mount(a: &Path, b: &Path) -> bool {
    vigil_mem::KArc::ptr_eq(&a.mnt, &b.mnt)
}
