//! mount(2), umount2(2), and the lists of mounts in /proc (Linux: fs/namespace.c, fs/proc_namespace.c).

use super::cred::cap;
use super::dpath::d_path;
use super::fs_struct::{At, Ctx};
use super::mount::{self, Mount, MountFlags, Path};
use super::namei::{LookupFlags, lookup};
use super::stat::{Stat, Statfs, major, minor};
use super::superblock::{self, MountRequest};
use crate::vnode::SeqBuf;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::mount::{
    MNT_DETACH, MNT_EXPIRE, MNT_FORCE, MS_BIND, MS_MGC_MSK, MS_MGC_VAL, MS_MOVE, MS_NOATIME, MS_NODEV, MS_NODIRATIME, MS_NOEXEC, MS_NOSUID,
    MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT, MS_SHARED, MS_SLAVE, MS_STRICTATIME, MS_UNBINDABLE, UMOUNT_NOFOLLOW,
};
use vigil_abi::stat::{ST_NOATIME, ST_NODEV, ST_NODIRATIME, ST_NOEXEC, ST_NOSUID, ST_RDONLY, ST_RELATIME, ST_VALID};

fn flags_of(flags: u64) -> MountFlags {
    let table = [
        (MS_NOSUID, MountFlags::NOSUID),
        (MS_NODEV, MountFlags::NODEV),
        (MS_NOEXEC, MountFlags::NOEXEC),
        (MS_NOATIME, MountFlags::NOATIME),
        (MS_NODIRATIME, MountFlags::NODIRATIME),
        (MS_RDONLY, MountFlags::READONLY),
    ];
    let mut out = MountFlags::empty();
    for (bit, flag) in table {
        if flags & bit != 0 {
            out |= flag;
        }
    }
    if flags & (MS_NOATIME | MS_STRICTATIME) == 0 {
        out |= MountFlags::RELATIME;
    }
    out
}

/// mount(2): a new file system, a bind, a move or a remount. EPERM without CAP_SYS_ADMIN, ENODEV for an unknown type,
/// EINVAL, EBUSY, ENOTDIR, ENOENT.
pub async fn mount(ctx: &Ctx<'_>, source: &[u8], target: &[u8], fstype: &[u8], flags: u64, data: &[u8]) -> Result<(), Errno> {
    // The magic of the last century in the upper half is passed over.
    let flags = if flags & MS_MGC_MSK == MS_MGC_VAL { flags & !MS_MGC_MSK } else { flags };
    let at = lookup(ctx, At::Cwd, target, LookupFlags::FOLLOW).await?;
    if !ctx.cred.capable(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags & (MS_REMOUNT | MS_BIND) == MS_REMOUNT | MS_BIND {
        return mount_root_of(&at)?.mnt.set_flags(flags_of(flags));
    }
    if flags & MS_REMOUNT != 0 {
        let at = mount_root_of(&at)?;
        at.mnt.sb.ops().remount(data)?;
        at.mnt.set_flags(flags_of(flags))?;
        at.mnt.sb.set_readonly(flags & MS_RDONLY != 0);
        return Ok(());
    }
    if flags & MS_BIND != 0 {
        let from = lookup(ctx, At::Cwd, source, LookupFlags::FOLLOW).await?;
        let bound = Mount::try_new(from.dentry.clone(), &from.mnt.sb, &from.mnt.source, from.mnt.flags())?;
        return mount::attach(&bound, at);
    }
    if flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE) != 0 {
        // Every mount is private: to say so is right, to want anything else is not possible here.
        mount_root_of(&at)?;
        return if flags & !(MS_PRIVATE | MS_REC) == 0 { Ok(()) } else { Err(Errno::EINVAL) };
    }
    if flags & MS_MOVE != 0 {
        return Err(Errno::EINVAL);
    }
    new_mount(ctx, source, at, fstype, flags, data)
}

fn new_mount(ctx: &Ctx<'_>, source: &[u8], at: Path, fstype: &[u8], flags: u64, data: &[u8]) -> Result<(), Errno> {
    if fstype.is_empty() {
        return Err(Errno::EINVAL);
    }
    let kind = superblock::find(fstype).ok_or(Errno::ENODEV)?;
    if !kind.user_mount {
        return Err(Errno::EINVAL);
    }
    let root = (kind.mount)(&MountRequest { source, data, uid: ctx.cred.fsuid, gid: ctx.cred.fsgid })?;
    let source = if source.is_empty() { b"none" } else { source };
    let mnt = Mount::of_root(root, source, flags_of(flags))?;
    mount::attach(&mnt, at)
}

/// Mounts a type at a path from inside the kernel.
pub async fn mount_type(ctx: &Ctx<'_>, fstype: &[u8], target: &[u8], flags: u64) -> Result<(), Errno> {
    mount(ctx, fstype, target, fstype, flags, &[]).await
}

/// The path again, if it is the root of a mount; EINVAL if not.
fn mount_root_of(at: &Path) -> Result<&Path, Errno> {
    if at.is_mount_root() { Ok(at) } else { Err(Errno::EINVAL) }
}

/// umount2(2). EINVAL for unknown flags or what is no mount point, EPERM, EBUSY.
pub async fn umount(ctx: &Ctx<'_>, target: &[u8], flags: u32) -> Result<(), Errno> {
    if flags & !(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let follow = if flags & UMOUNT_NOFOLLOW == 0 { LookupFlags::FOLLOW } else { LookupFlags::empty() };
    let at = lookup(ctx, At::Cwd, target, follow).await?;
    mount_root_of(&at)?;
    if !ctx.cred.capable(cap::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let Path { mnt, dentry } = at;
    drop(dentry);
    if flags & MNT_EXPIRE != 0 {
        if mnt.mountpoint().is_none() || flags & (MNT_FORCE | MNT_DETACH) != 0 {
            return Err(Errno::EINVAL);
        }
        mount::expire(&mnt)?;
    }
    mount::detach(&mnt, flags & MNT_DETACH != 0)
}

/// The options of a mount, as in /proc/mounts.
fn show_flags(mnt: &Mount, out: &mut SeqBuf) {
    let flags = mnt.flags();
    out.put(if flags.contains(MountFlags::READONLY) { b"ro" } else { b"rw" });
    let names: [(MountFlags, &[u8]); 6] = [
        (MountFlags::NOSUID, b",nosuid"),
        (MountFlags::NODEV, b",nodev"),
        (MountFlags::NOEXEC, b",noexec"),
        (MountFlags::NOATIME, b",noatime"),
        (MountFlags::NODIRATIME, b",nodiratime"),
        (MountFlags::RELATIME, b",relatime"),
    ];
    for (flag, name) in names {
        if flags.contains(flag) {
            out.put(name);
        }
    }
}

const SPECIAL: &[u8] = b" \t\n\\#";

fn put_path(path: &Path, root: &Path, out: &mut SeqBuf) -> Result<(), Errno> {
    let mut buf = vigil_mem::KVec::new();
    buf.try_resize(vigil_abi::fcntl::PATH_MAX, 0)?;
    out.put_escaped(d_path(path, root, &mut buf)?, SPECIAL);
    Ok(())
}

/// /proc/PID/mounts: a line for each mount, as seen from `root`.
pub fn show_mounts(out: &mut SeqBuf, root: &Path) -> Result<(), Errno> {
    let mut n = 0;
    while let Some(mnt) = mount::nth(n) {
        n += 1;
        out.put_escaped(&mnt.source, SPECIAL);
        out.put(b" ");
        put_path(&Mount::root_path(&mnt), root, out)?;
        let _ = write!(out, " {} ", mnt.sb.info.fstype);
        show_flags(&mnt, out);
        mnt.sb.ops().show_options(out);
        out.put(b" 0 0\n");
    }
    Ok(())
}

/// /proc/PID/mountinfo.
pub fn show_mountinfo(out: &mut SeqBuf, root: &Path) -> Result<(), Errno> {
    let mut n = 0;
    while let Some(mnt) = mount::nth(n) {
        n += 1;
        let parent = mnt.mountpoint().map_or(mnt.id, |at| at.mnt.id);
        let (major, minor) = (major(mnt.sb.dev), minor(mnt.sb.dev));
        let _ = write!(out, "{} {parent} {major}:{minor} ", mnt.id);
        // The part of the file system that is shown: a path within it.
        let mut inner = vigil_mem::KVec::new();
        inner.try_resize(vigil_abi::fcntl::PATH_MAX, 0)?;
        out.put_escaped(within(&mnt.root, &mut inner)?, SPECIAL);
        out.put(b" ");
        put_path(&Mount::root_path(&mnt), root, out)?;
        out.put(b" ");
        show_flags(&mnt, out);
        let _ = write!(out, " - {} ", mnt.sb.info.fstype);
        out.put_escaped(&mnt.source, SPECIAL);
        out.put(if mnt.sb.is_readonly() { b" ro" } else { b" rw" });
        mnt.sb.ops().show_options(out);
        out.put(b"\n");
    }
    Ok(())
}

/// The path of a dentry within its file system.
fn within<'b>(dentry: &vigil_mem::KArc<super::dentry::Dentry>, buf: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let mut start = buf.len();
    let mut at = dentry.clone();
    while let Some(parent) = at.parent() {
        start = at.prepend_name(buf, start).and_then(|start| start.checked_sub(1)).ok_or(Errno::ENAMETOOLONG)?;
        buf[start] = b'/';
        at = parent;
    }
    if start == buf.len() {
        start = start.checked_sub(1).ok_or(Errno::ENAMETOOLONG)?;
        buf[start] = b'/';
    }
    Ok(&buf[start..])
}

/// Attributes of what `path` names.
#[inline]
pub fn stat(path: &Path) -> Stat {
    Stat { mnt_id: path.mnt.id, mount_root: path.is_mount_root(), ..path.inode().stat() }
}

/// Attributes of an open file.
#[inline]
pub fn file_stat(file: &super::file::File) -> Stat {
    stat(file.path())
}

/// statfs(2) of the file system that `path` is in.
pub fn statfs(path: &Path) -> Statfs {
    let info = path.mnt.sb.info;
    let mut out = Statfs { kind: info.magic, bsize: 4096, frsize: 4096, namelen: 255, ..Statfs::default() };
    path.mnt.sb.ops().statfs(&mut out);
    out.fsid = u64::from(path.mnt.sb.dev);
    let flags = path.mnt.flags();
    let table = [
        (MountFlags::NOSUID, ST_NOSUID),
        (MountFlags::NODEV, ST_NODEV),
        (MountFlags::NOEXEC, ST_NOEXEC),
        (MountFlags::NOATIME, ST_NOATIME),
        (MountFlags::NODIRATIME, ST_NODIRATIME),
        (MountFlags::RELATIME, ST_RELATIME),
        (MountFlags::READONLY, ST_RDONLY),
    ];
    out.flags = ST_VALID;
    for (flag, bit) in table {
        if flags.contains(flag) {
            out.flags |= bit;
        }
    }
    if path.mnt.sb.is_readonly() {
        out.flags |= ST_RDONLY;
    }
    out
}
