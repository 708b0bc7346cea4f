//! Descriptors: dup, close, fcntl, ioctl, pipes, sync.

use super::file::has_pages;
use super::user::Faulter;
use super::{Args, Stop, SysResult, lock, owner, seal, user};
use crate::task::limits;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_abi::termios::{FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_fs::vfs::perm::owner_or_capable;
use vigil_fs::{FdTable, File, pipe};
use vigil_mem::{KArc, KBox, UserPtr};

/// RLIMIT_NOFILE: one more than the highest number that a new descriptor may get.
pub(crate) fn nofile(t: &Thread) -> usize {
    t.process.limits.soft(limits::NOFILE).min(usize::MAX as u64) as usize
}

fn table(t: &Thread) -> Result<KArc<FdTable>, Errno> {
    t.share_files().ok_or(Errno::EBADF)
}

/// dup(fd)
pub fn dup(t: &Thread, a: Args) -> SysResult {
    let files = t.files()?;
    let file = files.get_raw(a[0] as i32)?;
    Ok(files.install(file, nofile(t), false)? as usize)
}

/// dup3(old, new, flags)
pub async fn dup3(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (old, new, flags) = (a[0] as i32, a[1] as i32, a[2] as u32);
    if flags & !O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    if new < 0 || new as usize >= nofile(t) {
        return Err(Errno::EBADF);
    }
    let files = table(t)?;
    let file = files.get_raw(old)?;
    let replaced = files.replace(file, new, nofile(t), flags & O_CLOEXEC != 0)?;
    if let Some(file) = replaced {
        // The error of this close is lost, as on Linux.
        let _ = vigil_fs::close(file, &files).await;
    }
    Ok(new as usize)
}

/// close(fd), when nothing is to be flushed
pub fn try_close(t: &Thread, a: Args) -> SysResult {
    let files = t.files()?;
    // SAFETY: the thread's own table; the reference ends before the descriptor is removed.
    let flushed = {
        let file = unsafe { files.get_light(a[0] as i32) }?;
        if file.flags() & O_PATH != 0 { Ok(()) } else { file.ops().flush(&file).map_err(|s| !matches!(s, vigil_fs::Stop::Err(_))) }
    };
    if flushed == Err(true) {
        return Err(Stop::NotYet);
    }
    vigil_fs::vfs::closed(&*files.remove(a[0] as i32)?, files);
    Ok(0)
}

/// close(fd)
pub async fn close(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let files = table(t)?;
    let file = files.remove(a[0] as i32)?;
    // A restart would close another file: Linux's filp_close turns these into EINTR.
    match vigil_fs::close(file, &files).await {
        Err(e) if e.is_restart() => Err(Errno::EINTR),
        result => result.map(|()| 0),
    }
}

/// close_range(first, last, flags)
pub async fn close_range(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (first, last, flags) = (a[0] as u32 as usize, a[1] as u32 as usize, a[2] as u32);
    if flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    let mut files = table(t)?;
    if flags & CLOSE_RANGE_UNSHARE != 0 && files.is_shared() {
        let own = KArc::try_new(files.fork(usize::MAX)?)?;
        t.replace_files(Some(own.clone()));
        crate::task::exit::close_all(&files).await;
        files = own;
    }
    if flags & CLOSE_RANGE_CLOEXEC != 0 {
        let mut next = first;
        while let Some((fd, _)) = files.next(next).filter(|(fd, _)| *fd as usize <= last) {
            // Another thread may have closed it since: as if it had done so before.
            let _ = files.set_cloexec(fd, true);
            next = fd as usize + 1;
        }
        return Ok(0);
    }
    let mut next = first;
    while let Some((fd, file)) = files.remove_next(next, last) {
        next = fd as usize + 1;
        let _ = vigil_fs::close(file, &files).await;
    }
    Ok(0)
}

/// pipe2(fds, flags)
pub async fn pipe2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[1] as u32;
    if flags & !(O_CLOEXEC | O_NONBLOCK | O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let files = table(t)?;
    let (read, write) = pipe::pipe(flags & !O_CLOEXEC)?;
    let cloexec = flags & O_CLOEXEC != 0;
    let first = files.reserve(0, nofile(t), cloexec)?;
    let second = files.reserve(0, nofile(t), cloexec)?;
    // Both numbers are in user memory before either descriptor exists: a fault leaves nothing open.
    user::put(t, UserPtr::<[i32; 2]>::new(a[0] as usize), &[first.fd(), second.fd()]).await?;
    first.install(read);
    second.install(write);
    Ok(0)
}

/// fcntl(fd, command, argument)
pub async fn fcntl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (fd, command, arg) = (a[0] as i32, a[1] as u32, a[2]);
    let files = table(t)?;
    let file = files.get_raw(fd)?;
    if file.flags() & O_PATH != 0 && !matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_GETFD | F_SETFD | F_GETFL) {
        return Err(Errno::EBADF);
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            if (arg as i32) < 0 || arg as usize >= nofile(t) {
                return Err(Errno::EINVAL);
            }
            let reserved = files.reserve(arg as usize, nofile(t), command == F_DUPFD_CLOEXEC)?;
            Ok(reserved.install(file) as usize)
        }
        F_GETFD => Ok(files.cloexec(fd)? as usize),
        F_SETFD => {
            files.set_cloexec(fd, arg as u32 & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(file.flags() as usize),
        F_SETFL => {
            let (old, new) = (file.flags(), arg as u32);
            if new & !old & O_NOATIME != 0 && !owner_or_capable(t.cred()?, file.inode()) {
                return Err(Errno::EPERM);
            }
            if (old ^ new) & FASYNC != 0 && file.ops().fasync().is_some() {
                File::set_async(&file, fd, new & FASYNC != 0)?;
            }
            file.set_flags(new)?;
            Ok(0)
        }
        F_SETPIPE_SZ => Ok(pipe::of(&file)?.set_size(arg as u32 as usize, t.cred()?)?),
        F_GETPIPE_SZ => Ok(pipe::of(&file)?.size()),
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX | F_SETSIG | F_GETSIG => owner::fcntl(t, &file, command, arg).await,
        F_GETLK | F_SETLK | F_SETLKW | F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => {
            let locked = KBox::try_pin_with(|| lock::fcntl(t, &files, fd, &file, command, arg)).map_err(|_| Errno::ENOLCK)?;
            locked.await
        }
        F_ADD_SEALS => seal::add(&file, arg).await.map(|()| 0),
        F_GET_SEALS => Ok(seal::of(&file)?.seals() as usize),
        // Leases and notification: not there, as on a Linux without these options.
        _ => Err(Errno::EINVAL),
    }
}

/// ioctl(fd, command, argument)
pub async fn ioctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (fd, command, arg) = (a[0] as i32, a[1] as u32, a[2] as usize);
    let files = table(t)?;
    let file = files.get(fd)?;
    match command {
        FIOCLEX | FIONCLEX => {
            files.set_cloexec(fd, command == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO => {
            let on = user::get(t, UserPtr::<i32>::new(arg)).await? != 0;
            let flags = file.flags() & !O_NONBLOCK;
            file.set_flags(if on { flags | O_NONBLOCK } else { flags })?;
            Ok(0)
        }
        FIOASYNC => {
            let on = user::get(t, UserPtr::<i32>::new(arg)).await? != 0;
            if on != (file.flags() & FASYNC != 0) {
                File::set_async(&file, fd, on)?;
            }
            Ok(0)
        }
        FIONREAD if has_pages(&file) => {
            let left = vigil_fs::file_stat(&file).size.saturating_sub(file.pos());
            user::put(t, UserPtr::<i32>::new(arg), &(left.min(i32::MAX as u64) as i32)).await?;
            Ok(0)
        }
        _ => device_ioctl(t, &file, command, arg).await,
    }
}

async fn device_ioctl(t: &Thread, file: &KArc<File>, command: u32, arg: usize) -> Result<usize, Errno> {
    let mem = Faulter(t);
    let op = || file.ops().ioctl(file, command, arg);
    vigil_fs::drive(wait_site!("do_vfs_ioctl"), WaitMode::Interruptible, &mem, op).await.map(|r| r as usize)
}

/// fsync(fd)
pub async fn fsync(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = t.files()?.get(a[0] as i32)?;
    vigil_fs::fsync(&file, false).await.map(|()| 0)
}

/// fdatasync(fd)
pub async fn fdatasync(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = t.files()?.get(a[0] as i32)?;
    vigil_fs::fsync(&file, true).await.map(|()| 0)
}

/// sync(): every file system lives in memory; there is nothing behind it to write to
pub async fn sync(_: &Thread, _: Args<'_>) -> Result<usize, Errno> {
    Ok(0)
}

/// syncfs(fd)
pub async fn syncfs(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    t.files()?.get(a[0] as i32).map(|_| 0)
}

/// fadvise64(fd, offset, length, advice)
pub fn fadvise64(t: &Thread, a: Args) -> SysResult {
    const NOREUSE: u32 = 5;
    let file = t.files()?.get(a[0] as i32)?;
    if !has_pages(&file) {
        return Err(Errno::ESPIPE.into());
    }
    if (a[2] as i64) < 0 || a[3] as u32 > NOREUSE {
        return Err(Errno::EINVAL.into());
    }
    // Pages of these file systems are their only copy: no advice changes what is kept.
    Ok(0)
}

/// readahead(fd, offset, count)
pub fn readahead(t: &Thread, a: Args) -> SysResult {
    let file = t.files()?.get(a[0] as i32)?;
    if !file.readable() {
        return Err(Errno::EBADF.into());
    }
    if !has_pages(&file) {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}
