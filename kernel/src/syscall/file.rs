//! Open files: attributes, size, directory entries.

use super::user::Faulter;
use super::{Args, SysResult};
use crate::task::limits;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_fs::Cred;
use vigil_fs::{Ctx, File, FsStruct};
use vigil_mem::{IoBufMut, KArc, KBox, UserPtr};

/// What path and attribute calls need of the caller, held for the length of one call.
pub(super) struct Caller {
    fs: KArc<FsStruct>,
    cred: KArc<Cred>,
    fsize_limit: u64,
}

impl Caller {
    pub(super) fn of(t: &Thread) -> Result<Caller, Errno> {
        Ok(Caller {
            fs: t.share_fs().ok_or(Errno::ENOENT)?,
            cred: t.share_cred().ok_or(Errno::EPERM)?,
            fsize_limit: t.process.limits.soft(limits::FSIZE),
        })
    }

    /// access(2) asks for the real user, who may be less or more than the effective one.
    pub(super) fn use_real_ids(&mut self) -> Result<(), Errno> {
        let mut cred = self.cred.try_clone()?;
        (cred.fsuid, cred.fsgid) = (cred.uid, cred.gid);
        if cred.uid != 0 {
            cred.cap_effective = 0;
        } else {
            cred.cap_effective = cred.cap_permitted;
        }
        self.cred = KArc::try_new(cred)?;
        Ok(())
    }

    pub(super) fn ctx(&self) -> Ctx<'_> {
        Ctx { fs: &self.fs, cred: &self.cred, fsize_limit: self.fsize_limit }
    }
}

/// Whether the file's bytes are in the page cache: regular files.
pub(super) fn has_pages(file: &File) -> bool {
    file.inode().kind() == vigil_abi::stat::S_IFREG
}

fn file(t: &Thread, fd: u64) -> Result<KArc<File>, Errno> {
    t.files()?.get(fd as i32)
}

/// fstat(fd, buffer)
pub fn fstat(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    let file = unsafe { t.files()?.get_light(a[0] as i32) }?;
    UserPtr::new(a[1] as usize).write(&vigil_fs::file_stat(&file).to_abi())?;
    Ok(0)
}

/// fstatfs(fd, buffer)
pub fn fstatfs(t: &Thread, a: Args) -> SysResult {
    let file = t.files()?.get_raw(a[0] as i32)?;
    UserPtr::new(a[1] as usize).write(&vigil_fs::statfs(file.path()).to_abi())?;
    Ok(0)
}

/// ftruncate(fd, length)
pub async fn ftruncate(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if (a[1] as i64) < 0 {
        return Err(Errno::EINVAL);
    }
    let (caller, file) = (Caller::of(t)?, file(t, a[0])?);
    let result = KBox::try_pin(vigil_fs::ftruncate(&caller.ctx(), &file, a[1]))?.await;
    super::rw::size_signal(t, result).map(|()| 0)
}

/// fallocate(fd, mode, offset, length)
pub async fn fallocate(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (caller, file) = (Caller::of(t)?, file(t, a[0])?);
    let result = vigil_fs::fallocate(&caller.ctx(), &file, a[1] as u32, a[2] as i64, a[3] as i64).await;
    super::rw::size_signal(t, result).map(|()| 0)
}

/// fchmod(fd, mode)
pub async fn fchmod(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (caller, file) = (Caller::of(t)?, file(t, a[0])?);
    vigil_fs::chmod_path(&caller.ctx(), file.path(), a[1] as u32).await.map(|()| 0)
}

/// fchown(fd, user, group)
pub async fn fchown(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (caller, file) = (Caller::of(t)?, file(t, a[0])?);
    KBox::try_pin(vigil_fs::chown_path(&caller.ctx(), file.path(), a[1] as u32, a[2] as u32))?.await.map(|()| 0)
}

/// fchdir(fd)
pub fn fchdir(t: &Thread, a: Args) -> SysResult {
    let file = t.files()?.get_raw(a[0] as i32)?;
    let fs = t.fs()?;
    vigil_fs::may_chdir(t.cred()?, file.path())?;
    fs.set_pwd(file.path().clone());
    Ok(0)
}

/// getdents64(fd, buffer, size)
pub async fn getdents64(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = file(t, a[0])?;
    let mut buf = IoBufMut::user(a[1] as usize, a[2] as u32 as usize).ok_or(Errno::EFAULT)?;
    vigil_fs::getdents64(&file, &mut buf, &Faulter(t)).await
}

/// umask(mask): returns the old one
pub fn umask(t: &Thread, a: Args) -> SysResult {
    Ok(t.fs()?.set_umask(a[0] as u32) as usize)
}
