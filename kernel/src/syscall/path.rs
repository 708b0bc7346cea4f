//! Paths: opening, naming, linking, attributes, directories, mounts.

use super::fd::nofile;
use super::file::Caller;
use super::{Args, Stop, SysResult, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_abi::process::CAP_SYS_CHROOT;
use vigil_abi::stat::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK, UTIME_NOW, UTIME_OMIT};
use vigil_abi::time::Timespec;
use vigil_fs::vfs::namei::attr::TimeSet;
use vigil_fs::vfs::perm::Access;
use vigil_fs::{At, Ctx, File, LookupFlags, OpenHow, PathName, Time};
use vigil_mem::{KArc, KBox, KVec, UserPtr};

/// The directory of a relative path: kept open for the length of the call.
struct Dir(Option<KArc<File>>);

impl Dir {
    /// EBADF, unless the path is absolute: then the number does not matter.
    fn of(t: &Thread, fd: u64, name: &[u8]) -> Result<Dir, Errno> {
        if name.first() == Some(&b'/') { Ok(Dir(None)) } else { Dir::always(t, fd) }
    }

    /// Where even an absolute path starts from the descriptor (RESOLVE_IN_ROOT). EBADF.
    fn always(t: &Thread, fd: u64) -> Result<Dir, Errno> {
        if fd as i32 == AT_FDCWD {
            return Ok(Dir(None));
        }
        Ok(Dir(Some(t.files()?.get_raw(fd as i32)?)))
    }

    fn at(&self) -> At<'_> {
        match &self.0 {
            Some(file) => At::Dir(file),
            None => At::Cwd,
        }
    }
}

/// A call on one path: the caller, the name, the directory; boxed together, because a name is long.
struct Named {
    caller: Caller,
    name: PathName,
    dir: Dir,
}

impl Named {
    async fn of(t: &Thread, fd: u64, path: u64) -> Result<KBox<Named>, Errno> {
        let name = KBox::try_pin(user::path(t, path))?.await?;
        let dir = Dir::of(t, fd, &name)?;
        Ok(KBox::try_new(Named { caller: Caller::of(t)?, name, dir })?)
    }

    fn ctx(&self) -> Ctx<'_> {
        self.caller.ctx()
    }
}

/// Boxes the future of a call and drives it: futures of path calls are too large for the thread's own.
macro_rules! boxed {
    ($future:expr) => {
        KBox::try_pin($future)?.await
    };
}

fn follow(flags: u32) -> LookupFlags {
    let mut lookup = if flags & AT_SYMLINK_NOFOLLOW != 0 { LookupFlags::empty() } else { LookupFlags::FOLLOW };
    if flags & AT_EMPTY_PATH != 0 {
        lookup |= LookupFlags::EMPTY;
    }
    lookup
}

fn known(flags: u64, allowed: u32) -> Result<u32, Errno> {
    let flags = flags as u32;
    if flags & !allowed != 0 { Err(Errno::EINVAL) } else { Ok(flags) }
}

/// openat's flags as openat2 would have them: unknown ones are ignored, a mode without O_CREAT does not count.
fn how_of(flags: u32, mode: u32) -> OpenHow {
    const VALID: u32 = O_ACCMODE
        | O_CREAT
        | O_EXCL
        | O_NOCTTY
        | O_TRUNC
        | O_APPEND
        | O_NONBLOCK
        | O_SYNC
        | O_DSYNC
        | FASYNC
        | O_DIRECT
        | O_LARGEFILE
        | O_DIRECTORY
        | O_NOFOLLOW
        | O_NOATIME
        | O_CLOEXEC
        | O_PATH
        | O_TMPFILE;
    let mut flags = flags & VALID;
    if flags & O_PATH != 0 {
        flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
    }
    let makes = flags & (O_CREAT | __O_TMPFILE) != 0;
    OpenHow { flags: flags | O_LARGEFILE, mode: if makes { mode & 0o7777 } else { 0 }, resolve: LookupFlags::empty() }
}

/// openat(dirfd, path, flags, mode), for what exists and is cached
pub fn try_openat(t: &Thread, a: Args) -> SysResult {
    let how = how_of(a[2] as u32, a[3] as u32);
    let name = PathName::from_user(UserPtr::new(a[1] as usize)).map_err(path_stop)?;
    let files = t.files()?;
    let ctx = Ctx { fs: t.fs()?, cred: t.cred()?, fsize_limit: u64::MAX };
    let dir = if a[0] as i32 == AT_FDCWD || name.first() == Some(&b'/') {
        None
    } else {
        // SAFETY: the thread's own table; the reference ends before a descriptor is made.
        Some(unsafe { files.get_light(a[0] as i32) }?.to_counted())
    };
    let at = dir.as_ref().map_or(At::Cwd, |file| At::Dir(file));
    let reserved = files.reserve(0, nofile(t), how.flags & O_CLOEXEC != 0)?;
    match vigil_fs::try_open(&ctx, &at, &name, &how) {
        Some(file) => Ok(reserved.install(file?) as usize),
        None => Err(Stop::NotYet),
    }
}

fn path_stop(stop: vigil_fs::Stop<'_>) -> Stop {
    match stop {
        vigil_fs::Stop::Err(e) => Stop::Errno(e),
        vigil_fs::Stop::Fault { addr, write } => Stop::Fault { addr, write },
        vigil_fs::Stop::Wait(..) => Stop::NotYet,
    }
}

/// openat(dirfd, path, flags, mode)
pub async fn openat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    open(t, a[0], a[1], how_of(a[2] as u32, a[3] as u32)).await
}

async fn open(t: &Thread, fd: u64, path: u64, how: OpenHow) -> Result<usize, Errno> {
    let mut n = Named::of(t, fd, path).await?;
    if how.resolve.contains(LookupFlags::IN_ROOT) {
        n.dir = Dir::always(t, fd)?;
    }
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let reserved = files.reserve(0, nofile(t), how.flags & O_CLOEXEC != 0)?;
    let file = boxed!(vigil_fs::open(&n.ctx(), n.dir.at(), &n.name, how))?;
    Ok(reserved.install(file) as usize)
}

/// openat2(dirfd, path, how, size)
pub async fn openat2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let size = a[3] as usize;
    if size < size_of::<vigil_abi::fcntl::OpenHow>() {
        return Err(Errno::EINVAL);
    }
    if size > vigil_mem::addr::PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    let given: vigil_abi::fcntl::OpenHow = super::process::read_extensible(t, a[2] as usize, size).await?;
    let how = how_of(given.flags as u32, given.mode as u32);
    // Strict, unlike openat: nothing unknown, no mode that would not be used.
    if given.flags != u64::from(how.flags & !O_LARGEFILE) && given.flags != u64::from(how.flags) || given.mode != u64::from(how.mode) {
        return Err(Errno::EINVAL);
    }
    let mut resolve = LookupFlags::empty();
    let pairs = [
        (RESOLVE_NO_XDEV, LookupFlags::NO_XDEV),
        (RESOLVE_NO_MAGICLINKS, LookupFlags::NO_MAGICLINKS),
        (RESOLVE_NO_SYMLINKS, LookupFlags::NO_SYMLINKS),
        (RESOLVE_BENEATH, LookupFlags::BENEATH),
        (RESOLVE_IN_ROOT, LookupFlags::IN_ROOT),
        (RESOLVE_CACHED, LookupFlags::CACHED),
    ];
    let mut left = given.resolve;
    for (bit, flag) in pairs {
        if left & u64::from(bit) != 0 {
            resolve |= flag;
            left &= !u64::from(bit);
        }
    }
    if left != 0 || resolve.contains(LookupFlags::BENEATH | LookupFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    open(t, a[0], a[1], OpenHow { resolve, ..how }).await
}

const STAT_FLAGS: u32 = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;

/// newfstatat(dirfd, path, buffer, flags), for what is cached
pub fn try_newfstatat(t: &Thread, a: Args) -> SysResult {
    let flags = known(a[3], STAT_FLAGS)?;
    let name = PathName::from_user(UserPtr::new(a[1] as usize)).map_err(path_stop)?;
    let ctx = Ctx { fs: t.fs()?, cred: t.cred()?, fsize_limit: u64::MAX };
    let relative = a[0] as i32 != AT_FDCWD && name.first() != Some(&b'/');
    let stat = if relative {
        // SAFETY: the thread's own table; nothing below changes it.
        let dir = unsafe { t.files()?.get_light(a[0] as i32) }?;
        if name.is_empty() && flags & AT_EMPTY_PATH != 0 {
            vigil_fs::file_stat(&dir)
        } else {
            let path = vigil_fs::try_lookup(&ctx, &At::Dir(&dir), &name, follow(flags)).ok_or(Stop::NotYet)??;
            vigil_fs::stat(&path)
        }
    } else {
        let path = vigil_fs::try_lookup(&ctx, &At::Cwd, &name, follow(flags)).ok_or(Stop::NotYet)??;
        vigil_fs::stat(&path)
    };
    UserPtr::new(a[2] as usize).write(&stat.to_abi())?;
    Ok(0)
}

/// newfstatat(dirfd, path, buffer, flags)
pub async fn newfstatat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = known(a[3], STAT_FLAGS)?;
    let n = Named::of(t, a[0], a[1]).await?;
    let path = boxed!(vigil_fs::lookup(&n.ctx(), n.dir.at(), &n.name, follow(flags)))?;
    let stat = KBox::try_new(vigil_fs::stat(&path).to_abi())?;
    user::put(t, UserPtr::new(a[2] as usize), &*stat).await?;
    Ok(0)
}

/// statx(dirfd, path, flags, mask, buffer)
pub async fn statx(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mask = a[3] as u32;
    if mask & vigil_abi::stat::STATX__RESERVED != 0 || a[2] as u32 & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE {
        return Err(Errno::EINVAL);
    }
    let flags = known(a[2], STAT_FLAGS)?;
    let n = Named::of(t, a[0], a[1]).await?;
    let path = boxed!(vigil_fs::lookup(&n.ctx(), n.dir.at(), &n.name, follow(flags)))?;
    let answer = KBox::try_new(vigil_fs::stat(&path).to_statx())?;
    user::put(t, UserPtr::new(a[4] as usize), &*answer).await?;
    Ok(0)
}

async fn access(t: &Thread, a: Args<'_>, flags: u32) -> Result<usize, Errno> {
    let mode = a[2] as u32;
    if mode & !(R_OK | W_OK | X_OK) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut n = Named::of(t, a[0], a[1]).await?;
    if flags & AT_EACCESS == 0 {
        n.caller.use_real_ids()?;
    }
    let wanted = Access::from_bits_truncate(mode);
    boxed!(vigil_fs::access(&n.ctx(), n.dir.at(), &n.name, wanted, follow(flags))).map(|()| 0)
}

/// faccessat(dirfd, path, mode)
pub async fn faccessat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    access(t, a, 0).await
}

/// faccessat2(dirfd, path, mode, flags)
pub async fn faccessat2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = known(a[3], AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    access(t, a, flags).await
}

/// mkdirat(dirfd, path, mode)
pub async fn mkdirat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, a[0], a[1]).await?;
    boxed!(vigil_fs::mkdir(&n.ctx(), n.dir.at(), &n.name, a[2] as u32)).map(|()| 0)
}

/// mknodat(dirfd, path, mode, device)
pub async fn mknodat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mut mode = a[2] as u32;
    match mode & S_IFMT {
        0 => mode |= S_IFREG,
        S_IFREG | S_IFCHR | S_IFBLK | S_IFIFO | S_IFSOCK => {}
        S_IFDIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    let n = Named::of(t, a[0], a[1]).await?;
    boxed!(vigil_fs::mknod(&n.ctx(), n.dir.at(), &n.name, mode, a[3] as u32)).map(|()| 0)
}

/// unlinkat(dirfd, path, flags)
pub async fn unlinkat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = known(a[2], AT_REMOVEDIR)?;
    let n = Named::of(t, a[0], a[1]).await?;
    if flags & AT_REMOVEDIR != 0 {
        boxed!(vigil_fs::rmdir(&n.ctx(), n.dir.at(), &n.name))?;
    } else {
        boxed!(vigil_fs::unlink(&n.ctx(), n.dir.at(), &n.name))?;
    }
    Ok(0)
}

/// symlinkat(target, dirfd, path)
pub async fn symlinkat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let target = KBox::try_new(KBox::try_pin(user::path(t, a[0]))?.await?)?;
    let n = Named::of(t, a[1], a[2]).await?;
    boxed!(vigil_fs::symlink(&n.ctx(), &target, n.dir.at(), &n.name)).map(|()| 0)
}

/// linkat(old dirfd, old path, new dirfd, new path, flags)
pub async fn linkat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = known(a[4], AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)?;
    let old = Named::of(t, a[0], a[1]).await?;
    let new = Named::of(t, a[2], a[3]).await?;
    boxed!(vigil_fs::link(&old.ctx(), old.dir.at(), &old.name, new.dir.at(), &new.name, flags)).map(|()| 0)
}

async fn rename(t: &Thread, a: Args<'_>, flags: u32) -> Result<usize, Errno> {
    let old = Named::of(t, a[0], a[1]).await?;
    let new = Named::of(t, a[2], a[3]).await?;
    boxed!(vigil_fs::rename(&old.ctx(), old.dir.at(), &old.name, new.dir.at(), &new.name, flags)).map(|()| 0)
}

/// renameat(old dirfd, old path, new dirfd, new path)
pub async fn renameat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    rename(t, a, 0).await
}

/// renameat2(old dirfd, old path, new dirfd, new path, flags)
pub async fn renameat2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    rename(t, a, a[4] as u32).await
}

/// readlinkat(dirfd, path, buffer, size)
pub async fn readlinkat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let size = a[3] as i32;
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    let n = Named::of(t, a[0], a[1]).await?;
    let target = boxed!(vigil_fs::readlink(&n.ctx(), n.dir.at(), &n.name))?;
    let count = target.len().min(size as usize);
    user::retry(t, || Ok(UserPtr::<u8>::new(a[2] as usize).write_slice(&target[..count])?)).await?;
    Ok(count)
}

/// truncate(path, length)
pub async fn truncate(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if (a[1] as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let n = Named::of(t, AT_FDCWD as u64, a[0]).await?;
    let result = boxed!(vigil_fs::truncate(&n.ctx(), At::Cwd, &n.name, a[1]));
    super::rw::size_signal(t, result).map(|()| 0)
}

/// fchmodat(dirfd, path, mode)
pub async fn fchmodat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, a[0], a[1]).await?;
    boxed!(vigil_fs::chmod(&n.ctx(), n.dir.at(), &n.name, a[2] as u32, LookupFlags::FOLLOW)).map(|()| 0)
}

/// fchownat(dirfd, path, user, group, flags)
pub async fn fchownat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = known(a[4], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let n = Named::of(t, a[0], a[1]).await?;
    boxed!(vigil_fs::chown(&n.ctx(), n.dir.at(), &n.name, a[2] as u32, a[3] as u32, follow(flags))).map(|()| 0)
}

fn time_set(ts: Timespec) -> Result<TimeSet, Errno> {
    match ts.tv_nsec as u64 {
        UTIME_NOW => Ok(TimeSet::Now),
        UTIME_OMIT => Ok(TimeSet::Omit),
        n if n < 1_000_000_000 => Ok(TimeSet::At(Time { sec: ts.tv_sec, nsec: n as u32 })),
        _ => Err(Errno::EINVAL),
    }
}

/// utimensat(dirfd, path, times, flags)
pub async fn utimensat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let times = match UserPtr::<[u64; 4]>::new(a[2] as usize).or_null() {
        None => [TimeSet::Now, TimeSet::Now],
        Some(p) => {
            let w = user::get(t, p).await?;
            let ts = |i: usize| Timespec { tv_sec: w[i] as i64, tv_nsec: w[i + 1] as i64 };
            [time_set(ts(0))?, time_set(ts(2))?]
        }
    };
    if matches!(times, [TimeSet::Omit, TimeSet::Omit]) {
        return Ok(0);
    }
    if a[1] == 0 && a[0] as i32 != AT_FDCWD {
        // futimens(3).
        if a[3] as u32 != 0 {
            return Err(Errno::EINVAL);
        }
        let (caller, file) = (Caller::of(t)?, t.files()?.get(a[0] as i32)?);
        return boxed!(vigil_fs::utimens_path(&caller.ctx(), file.path(), times)).map(|()| 0);
    }
    let flags = known(a[3], AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
    let n = Named::of(t, a[0], a[1]).await?;
    boxed!(vigil_fs::utimens(&n.ctx(), n.dir.at(), &n.name, times, follow(flags))).map(|()| 0)
}

/// chdir(path)
pub async fn chdir(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, AT_FDCWD as u64, a[0]).await?;
    let flags = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let path = boxed!(vigil_fs::lookup(&n.ctx(), At::Cwd, &n.name, flags))?;
    vigil_fs::may_chdir(n.ctx().cred, &path)?;
    n.ctx().fs.set_pwd(path);
    Ok(0)
}

/// chroot(path)
pub async fn chroot(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, AT_FDCWD as u64, a[0]).await?;
    let flags = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let path = boxed!(vigil_fs::lookup(&n.ctx(), At::Cwd, &n.name, flags))?;
    vigil_fs::may_chdir(n.ctx().cred, &path)?;
    if !n.ctx().cred.capable(CAP_SYS_CHROOT) {
        return Err(Errno::EPERM);
    }
    n.ctx().fs.set_root(path);
    Ok(0)
}

/// getcwd(buffer, size): bytes with the NUL
pub async fn getcwd(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let fs = t.share_fs().ok_or(Errno::ENOENT)?;
    let mut buffer = KVec::new();
    buffer.try_resize(PATH_MAX, 0u8)?;
    let (pwd, root) = (fs.pwd(), fs.root());
    let mut text = KVec::try_from_slice(vigil_fs::getcwd(&pwd, &root, &mut buffer)?)?;
    text.try_push(0)?;
    if text.len() > a[1] as usize {
        return Err(Errno::ERANGE);
    }
    user::retry(t, || Ok(UserPtr::<u8>::new(a[0] as usize).write_slice(&text)?)).await?;
    Ok(text.len())
}

/// statfs(path, buffer)
pub async fn statfs(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, AT_FDCWD as u64, a[0]).await?;
    let path = boxed!(vigil_fs::lookup(&n.ctx(), At::Cwd, &n.name, LookupFlags::FOLLOW))?;
    let answer = KBox::try_new(vigil_fs::statfs(&path).to_abi())?;
    user::put(t, UserPtr::new(a[1] as usize), &*answer).await?;
    Ok(0)
}

/// The file that the path at user address `path` names.
pub(super) async fn lookup(t: &Thread, path: u64, flags: LookupFlags) -> Result<vigil_fs::Path, Errno> {
    let n = Named::of(t, AT_FDCWD as u64, path).await?;
    boxed!(vigil_fs::lookup(&n.ctx(), At::Cwd, &n.name, flags))
}

/// A string argument that may be NULL: empty then.
async fn string(t: &Thread, at: u64) -> Result<KBox<PathName>, Errno> {
    let name = if at == 0 { PathName::from_bytes(b"")? } else { KBox::try_pin(user::path(t, at))?.await? };
    Ok(KBox::try_new(name)?)
}

/// mount(source, target, type, flags, data)
pub async fn mount(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let kind = string(t, a[2]).await?;
    let source = string(t, a[0]).await?;
    let data = string(t, a[4]).await?;
    let n = Named::of(t, AT_FDCWD as u64, a[1]).await?;
    boxed!(vigil_fs::mount(&n.ctx(), &source, &n.name, &kind, a[3], &data)).map(|()| 0)
}

/// umount2(target, flags)
pub async fn umount2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let n = Named::of(t, AT_FDCWD as u64, a[0]).await?;
    boxed!(vigil_fs::umount(&n.ctx(), &n.name, a[1] as u32)).map(|()| 0)
}
