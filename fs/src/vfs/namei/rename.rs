//! renameat2 (Linux: do_renameat2, vfs_rename).
//!
//! Locks: the file system's rename mutex if the directories differ, so that the tree's shape stands still; then the
//! directories, an ancestor before its descendant and otherwise by address.

use super::super::dentry::{self, Dentry, NewPlace};
use super::super::fs_struct::{At, Ctx};
use super::super::inode::Inode;
use super::super::ops::Rename;
use super::super::perm::{Access, inode_permission, may_create, may_delete};
use super::super::wait::wait_for;
use super::walk::{Last, LookupFlags, Walk};
use vigil_abi::Errno;
use vigil_abi::fcntl::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use vigil_executor::sync::RwSemWriteGuard;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

/// Renames `old` to `new`. EINVAL for unknown flags, moving a directory into itself or RENAME_WHITEOUT; EXDEV, EBUSY,
/// EEXIST, ENOTEMPTY, ENOTDIR, EISDIR, ENOENT, EACCES, EPERM, EROFS.
pub async fn rename(ctx: &Ctx<'_>, old_at: At<'_>, old: &[u8], new_at: At<'_>, new: &[u8], flags: u32) -> Result<(), Errno> {
    let exchange = flags & RENAME_EXCHANGE != 0;
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || (exchange && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0)
        || flags & RENAME_WHITEOUT != 0
    {
        return Err(Errno::EINVAL);
    }
    let mut from = Walk::to_parent(ctx, &old_at, old, LookupFlags::empty())?;
    from.run().await?;
    let mut to = Walk::to_parent(ctx, &new_at, new, LookupFlags::empty())?;
    to.run().await?;
    let (old_dir, new_dir) = (from.place(), to.place());
    if !super::create::same_mount(old_dir, new_dir) {
        return Err(Errno::EXDEV);
    }
    if !matches!(from.last(), Last::Name(_)) {
        return Err(Errno::EBUSY);
    }
    if !matches!(to.last(), Last::Name(_)) {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    }
    old_dir.want_write()?;
    let same_dir = KArc::ptr_eq(old_dir.inode(), new_dir.inode());
    let _tree = match same_dir {
        true => None,
        false => Some(old_dir.mnt.sb.rename_mutex.lock(wait_site!("lock_rename")).await),
    };
    let guards = lock_dirs(&old_dir.dentry, &new_dir.dentry).await;
    let source = super::lookup_in(&old_dir.dentry, from.last_name()).await?.ok_or(Errno::ENOENT)?;
    let target = super::lookup_in(&new_dir.dentry, to.last_name()).await?;
    let (Some(inode), victim) = (source.inode_opt(), target.as_ref().and_then(|t| t.inode_opt())) else {
        return Err(Errno::ENOENT);
    };
    if flags & RENAME_NOREPLACE != 0 && victim.is_some() {
        return Err(Errno::EEXIST);
    }
    if exchange {
        let victim = victim.ok_or(Errno::ENOENT)?;
        if !victim.is_dir() && to.has_trailing_slash() {
            return Err(Errno::ENOTDIR);
        }
    }
    if !inode.is_dir() && (from.has_trailing_slash() || (!exchange && to.has_trailing_slash())) {
        return Err(Errno::ENOTDIR);
    }
    if !same_dir {
        if dentry::is_ancestor(&source, &new_dir.dentry) {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &target
            && dentry::is_ancestor(target, &old_dir.dentry)
        {
            return Err(if exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
    }
    if victim.is_some_and(|victim| KArc::ptr_eq(victim, inode)) {
        // Two names of one file: nothing to be done.
        return Ok(());
    }
    check(ctx, old_dir.inode(), new_dir.inode(), inode, victim, exchange)?;
    if source.is_mountpoint() || target.as_ref().is_some_and(|target| target.is_mountpoint()) {
        return Err(Errno::EBUSY);
    }
    let new_place = NewPlace::try_new(&new_dir.dentry, to.last_name())?;
    let swapped = match &target {
        Some(target) if exchange => Some((target, NewPlace::try_new(&old_dir.dentry, from.last_name())?)),
        _ => None,
    };
    let operation = Rename {
        old_dir: old_dir.inode(),
        old_name: from.last_name(),
        inode,
        new_dir: new_dir.inode(),
        new_name: to.last_name(),
        victim,
        exchange,
    };
    let ops = old_dir.inode().ops();
    wait_for(wait_site!("vfs_rename"), WaitMode::Uninterruptible, || ops.rename(&operation)).await?;
    if let Some(target) = &target {
        dentry::unhash(target);
    }
    dentry::rename(&source, new_place);
    if let Some((target, place)) = swapped {
        dentry::rename(target, place);
    } else if let Some(victim) = victim.filter(|victim| victim.is_dir()) {
        victim.set_dead();
    }
    drop(guards);
    Ok(())
}

/// Permissions and types (Linux: the head of vfs_rename).
fn check(
    ctx: &Ctx<'_>,
    old_dir: &KArc<Inode>,
    new_dir: &KArc<Inode>,
    inode: &KArc<Inode>,
    victim: Option<&KArc<Inode>>,
    exchange: bool,
) -> Result<(), Errno> {
    let is_dir = inode.is_dir();
    may_delete(ctx.cred, old_dir, inode, is_dir)?;
    match victim {
        None => may_create(ctx.cred, new_dir)?,
        Some(victim) if exchange => may_delete(ctx.cred, new_dir, victim, victim.is_dir())?,
        Some(victim) => may_delete(ctx.cred, new_dir, victim, is_dir)?,
    }
    if KArc::ptr_eq(old_dir, new_dir) {
        return Ok(());
    }
    // Its `..` changes.
    if is_dir {
        inode_permission(ctx.cred, inode, Access::WRITE)?;
    }
    match victim {
        Some(victim) if exchange && victim.is_dir() => inode_permission(ctx.cred, victim, Access::WRITE),
        _ => Ok(()),
    }
}

type Guard<'a> = RwSemWriteGuard<'a, ()>;

async fn lock_dirs<'a>(a: &'a KArc<Dentry>, b: &'a KArc<Dentry>) -> (Option<Guard<'a>>, Option<Guard<'a>>) {
    let (Some(first), Some(second)) = (a.inode_opt(), b.inode_opt()) else { return (None, None) };
    let site = wait_site!("lock_rename");
    if KArc::ptr_eq(first, second) {
        return (Some(first.rwsem.write(site).await), None);
    }
    let by_address = (KArc::as_ptr(first) as usize) < (KArc::as_ptr(second) as usize);
    let first_goes_first = dentry::is_ancestor(a, b) || (!dentry::is_ancestor(b, a) && by_address);
    let (x, y) = if first_goes_first { (first, second) } else { (second, first) };
    let outer = x.rwsem.write(site).await;
    let inner = y.rwsem.write(site).await;
    (Some(outer), Some(inner))
}
