//! unlinkat (Linux: do_unlinkat, do_rmdir).

use super::super::dentry;
use super::super::fs_struct::{At, Ctx};
use super::super::mount::Path;
use super::super::perm::may_delete;
use super::super::wait::wait_for;
use super::walk::{Last, LookupFlags, Walk};
use vigil_abi::Errno;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// Removes a name that is no directory. EISDIR, ENOTDIR (trailing slash), ENOENT, EACCES, EPERM, EBUSY, EROFS.
pub async fn unlink(ctx: &Ctx<'_>, at: At<'_>, name: &[u8]) -> Result<(), Errno> {
    remove(ctx, at, name, false).await
}

/// Removes an empty directory. EINVAL for `.`, ENOTEMPTY for `..`, EBUSY for a root or mount point, and as [`unlink`].
pub async fn rmdir(ctx: &Ctx<'_>, at: At<'_>, name: &[u8]) -> Result<(), Errno> {
    remove(ctx, at, name, true).await
}

async fn remove(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], as_dir: bool) -> Result<(), Errno> {
    let mut walk = Walk::to_parent(ctx, &at, name, LookupFlags::empty())?;
    walk.run().await?;
    match (walk.last(), as_dir) {
        (Last::Name(_), _) => {}
        (_, false) => return Err(Errno::EISDIR),
        (Last::DotDot, true) => return Err(Errno::ENOTEMPTY),
        (Last::Dot, true) => return Err(Errno::EINVAL),
        (Last::Root, true) => return Err(Errno::EBUSY),
    }
    remove_in(ctx, walk.place(), walk.last_name(), as_dir, walk.has_trailing_slash()).await
}

/// Removes `name`, a name and nothing else, from the directory `dir`. `slash`: it was followed by one.
pub(super) async fn remove_in(ctx: &Ctx<'_>, dir: &Path, name: &[u8], as_dir: bool, slash: bool) -> Result<(), Errno> {
    dir.want_write()?;
    let dir_inode = dir.inode();
    let guard = dir_inode.rwsem.write(wait_site!("do_unlinkat")).await;
    let victim = super::lookup_in(&dir.dentry, name).await?.ok_or(Errno::ENOENT)?;
    let Some(inode) = victim.inode_opt() else { return Err(Errno::ENOENT) };
    if slash && !as_dir {
        return Err(if inode.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
    }
    may_delete(ctx.cred, dir_inode, inode, as_dir)?;
    // Parent before child, as in every walk down.
    let victim_guard = inode.rwsem.write(wait_site!("vfs_unlink")).await;
    if victim.is_mountpoint() {
        return Err(Errno::EBUSY);
    }
    let remove = || dir_inode.ops().remove(dir_inode, name, inode);
    wait_for(wait_site!("vfs_unlink"), WaitMode::Uninterruptible, remove).await?;
    if as_dir {
        inode.set_dead();
    }
    drop(victim_guard);
    dentry::unhash(&victim);
    // The last reference may go with `victim`: not under the directory's lock.
    drop(guard);
    Ok(())
}
