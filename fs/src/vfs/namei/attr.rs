//! Changing and asking attributes by path or by open file (Linux: fs/attr.c, fs/open.c, fs/utimes.c, fs/stat.c).

use super::super::cred::cap;
use super::super::file::{File, Mode};
use super::super::fs_struct::{At, Ctx};
use super::super::inode::{Inode, Setattr};
use super::super::mount::{MountFlags, Path};
use super::super::ops::Stop;
use super::super::perm::{Access, inode_permission, owner_or_capable};
use super::super::superblock::SuperFlags;
use super::super::wait::wait_for;
use super::walk::LookupFlags;
use crate::host::{Time, now};
use vigil_abi::Errno;
use vigil_abi::stat::{S_ISGID, S_ISUID, S_IXGRP};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{KArc, KVec};

/// One of the two times of utimensat(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeSet {
    /// UTIME_NOW.
    Now,
    /// UTIME_OMIT.
    Omit,
    /// This time.
    At(Time),
}

async fn setattr(inode: &KArc<Inode>, change: Setattr) -> Result<(), Errno> {
    wait_for(wait_site!("notify_change"), WaitMode::Uninterruptible, || inode.ops().setattr(inode, &change)).await
}

/// truncate(2). EISDIR, EINVAL for what is no regular file, EACCES, EROFS, ETXTBSY, EFBIG (with SIGXFSZ).
pub async fn truncate(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], size: u64) -> Result<(), Errno> {
    let path = super::lookup(ctx, at, name, LookupFlags::FOLLOW).await?;
    let inode = path.inode();
    if inode.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !inode.is_regular() {
        return Err(Errno::EINVAL);
    }
    path.want_write()?;
    inode_permission(ctx.cred, inode, Access::WRITE)?;
    inode.get_write_access()?;
    let result = truncate_inode(ctx, inode, size).await;
    inode.put_write_access();
    result
}

/// ftruncate(2). EINVAL for what is no regular file or not open for writing.
pub async fn ftruncate(ctx: &Ctx<'_>, file: &File, size: u64) -> Result<(), Errno> {
    if file.mode().contains(Mode::PATH) {
        return Err(Errno::EBADF);
    }
    if !file.inode().is_regular() || !file.writable() {
        return Err(Errno::EINVAL);
    }
    truncate_inode(ctx, file.inode(), size).await
}

/// Changes the size of a regular file; the set-id bits go. EFBIG.
pub(super) async fn truncate_inode(ctx: &Ctx<'_>, inode: &KArc<Inode>, size: u64) -> Result<(), Errno> {
    if size > inode.sb().info.max_bytes || (size > ctx.fsize_limit && size > inode.size()) {
        return Err(Errno::EFBIG);
    }
    let _guard = inode.rwsem.write(wait_site!("do_truncate")).await;
    let mode = if ctx.cred.capable(cap::FSETID) { None } else { inode.mode_without_suid() };
    setattr(inode, Setattr { mode, ..super::open::size_change(size) }).await
}

/// fchmodat(2). EPERM, EROFS. EOPNOTSUPP for a symbolic link itself.
pub async fn chmod(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], mode: u32, flags: LookupFlags) -> Result<(), Errno> {
    let path = super::lookup(ctx, at, name, flags).await?;
    chmod_path(ctx, &path, mode).await
}

/// fchmod(2), and the end of [`chmod`].
pub async fn chmod_path(ctx: &Ctx<'_>, path: &Path, mode: u32) -> Result<(), Errno> {
    path.want_write()?;
    let inode = path.inode();
    let _guard = inode.rwsem.write(wait_site!("chmod_common")).await;
    if !owner_or_capable(ctx.cred, inode) {
        return Err(Errno::EPERM);
    }
    if inode.is_symlink() {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mode = mode & 0o7777;
    if !ctx.cred.in_group(inode.gid()) && !ctx.cred.capable(cap::FSETID) {
        mode &= !S_ISGID;
    }
    setattr(inode, Setattr { mode: Some(mode), ..Setattr::default() }).await
}

/// fchownat(2); `u32::MAX` leaves owner or group. EPERM, EROFS.
pub async fn chown(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], uid: u32, gid: u32, flags: LookupFlags) -> Result<(), Errno> {
    let path = super::lookup(ctx, at, name, flags).await?;
    chown_path(ctx, &path, uid, gid).await
}

/// fchown(2), and the end of [`chown`].
pub async fn chown_path(ctx: &Ctx<'_>, path: &Path, uid: u32, gid: u32) -> Result<(), Errno> {
    path.want_write()?;
    let inode = path.inode();
    let _guard = inode.rwsem.write(wait_site!("chown_common")).await;
    let uid = (uid != u32::MAX).then_some(uid);
    let gid = (gid != u32::MAX).then_some(gid);
    let owner = ctx.cred.fsuid == inode.uid();
    let may_change_owner = uid.is_none_or(|uid| owner && uid == inode.uid());
    let may_change_group = gid.is_none_or(|gid| owner && (gid == inode.gid() || ctx.cred.in_group(gid)));
    if !(may_change_owner && may_change_group) && !ctx.cred.capable(cap::CHOWN) {
        return Err(Errno::EPERM);
    }
    // A program that changes hands does not keep running as somebody (Linux does so even for root).
    let old = inode.mode();
    let mut mode = old & !S_ISUID;
    if old & S_IXGRP != 0 || !(ctx.cred.in_group(inode.gid()) || ctx.cred.capable(cap::FSETID)) {
        mode &= !S_ISGID;
    }
    let mode = (!inode.is_dir() && mode != old).then_some(mode);
    setattr(inode, Setattr { uid, gid, mode, ..Setattr::default() }).await
}

/// utimensat(2); `[atime, mtime]`. EACCES (for the present time, without write permission), EPERM, EROFS.
pub async fn utimens(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], times: [TimeSet; 2], flags: LookupFlags) -> Result<(), Errno> {
    if times == [TimeSet::Omit; 2] {
        return Ok(());
    }
    let path = super::lookup(ctx, at, name, flags).await?;
    utimens_path(ctx, &path, times).await
}

/// utimensat(2) without a path, and the end of [`utimens`].
pub async fn utimens_path(ctx: &Ctx<'_>, path: &Path, times: [TimeSet; 2]) -> Result<(), Errno> {
    if times == [TimeSet::Omit; 2] {
        return Ok(());
    }
    path.want_write()?;
    let inode = path.inode();
    let _guard = inode.rwsem.write(wait_site!("vfs_utimes")).await;
    if !owner_or_capable(ctx.cred, inode) {
        // Whoever may write may at least say "now", to both.
        if times != [TimeSet::Now; 2] {
            return Err(Errno::EPERM);
        }
        inode_permission(ctx.cred, inode, Access::WRITE)?;
    }
    let present = now();
    let pick = |time| match time {
        TimeSet::Now => Some(present),
        TimeSet::Omit => None,
        TimeSet::At(time) => Some(time),
    };
    setattr(inode, Setattr { atime: pick(times[0]), mtime: pick(times[1]), ..Setattr::default() }).await
}

/// faccessat(2): whether `access` is granted to `ctx.cred`, which the caller has made from the real ids if need be.
/// EACCES, EROFS.
pub async fn access(ctx: &Ctx<'_>, at: At<'_>, name: &[u8], access: Access, flags: LookupFlags) -> Result<(), Errno> {
    let path = super::lookup(ctx, at, name, flags).await?;
    let inode = path.inode();
    if access.contains(Access::EXEC) && inode.is_regular() {
        let noexec = path.mnt.flags().contains(MountFlags::NOEXEC) || inode.sb().info.flags.contains(SuperFlags::NOEXEC);
        if noexec {
            return Err(Errno::EACCES);
        }
    }
    inode_permission(ctx.cred, inode, access)?;
    // Special files are written to on read-only mounts, too.
    if access.contains(Access::WRITE) && !inode.is_special() {
        path.want_write()?;
    }
    Ok(())
}

/// readlinkat(2): the text of a symbolic link. EINVAL for anything else (ENOENT for an empty name on a non-link).
pub async fn readlink(ctx: &Ctx<'_>, at: At<'_>, name: &[u8]) -> Result<KVec<u8>, Errno> {
    let path = super::lookup(ctx, at, name, LookupFlags::EMPTY).await?;
    let inode = path.inode();
    if !inode.is_symlink() {
        return Err(if name.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    inode.touch_atime();
    wait_for(wait_site!("readlink"), WaitMode::Uninterruptible, || inode.ops().read_link(inode)).await
}

/// fallocate(2) on an open file. EBADF, EINVAL, ENODEV for what is no regular file, EISDIR, EFBIG, EOPNOTSUPP, ENOSPC.
pub async fn fallocate(ctx: &Ctx<'_>, file: &File, mode: u32, offset: i64, len: i64) -> Result<(), Errno> {
    use vigil_abi::fcntl::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};
    let (Ok(offset), Ok(len)) = (u64::try_from(offset), u64::try_from(len)) else { return Err(Errno::EINVAL) };
    if len == 0 {
        return Err(Errno::EINVAL);
    }
    let known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    let both = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if mode & !known != 0 || mode & both == both || (mode & FALLOC_FL_PUNCH_HOLE != 0 && mode & FALLOC_FL_KEEP_SIZE == 0) {
        return Err(Errno::EOPNOTSUPP);
    }
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    let inode = file.inode();
    match () {
        () if inode.is_dir() => return Err(Errno::EISDIR),
        () if inode.kind() == vigil_abi::stat::S_IFIFO => return Err(Errno::ESPIPE),
        () if !inode.is_regular() => return Err(Errno::ENODEV),
        () => {}
    }
    let end = offset.checked_add(len).filter(|&end| end <= inode.sb().info.max_bytes).ok_or(Errno::EFBIG)?;
    let _guard = inode.rwsem.write(wait_site!("vfs_fallocate")).await;
    if mode & FALLOC_FL_KEEP_SIZE == 0 && end > ctx.fsize_limit && end > inode.size() {
        return Err(Errno::EFBIG);
    }
    wait_for(wait_site!("vfs_fallocate"), WaitMode::Killable, || file.ops().fallocate(file, mode, offset, len)).await
}

/// fsync(2), fdatasync(2). EBADF, EINVAL for what has nothing to sync.
pub async fn fsync(file: &File, datasync: bool) -> Result<(), Errno> {
    if file.mode().contains(Mode::PATH) {
        return Err(Errno::EBADF);
    }
    wait_for(wait_site!("fsync"), WaitMode::Uninterruptible, || file.ops().fsync(file, datasync)).await
}

/// What a close of one descriptor does before the reference goes: flush. Its error is close(2)'s result.
pub async fn flush(file: &File) -> Result<(), Errno> {
    if file.mode().contains(Mode::PATH) {
        return Ok(());
    }
    match file.ops().flush(file) {
        Ok(()) => Ok(()),
        Err(Stop::Err(errno)) => Err(errno),
        Err(_) => wait_for(wait_site!("filp_close"), WaitMode::Killable, || file.ops().flush(file)).await,
    }
}
