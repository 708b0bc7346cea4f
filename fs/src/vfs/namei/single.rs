//! One name in a directory that the kernel knows (Linux: lookup_one_len and who calls it): objects with a file system of
//! their own, whose calls take a name and no path.

use super::super::cred::cap;
use super::super::file::File;
use super::super::fs_struct::Ctx;
use super::super::inode::Inode;
use super::super::mount::Path;
use super::super::ops::{NewNode, OpResult};
use super::super::perm::{Access, inode_permission};
use super::open::create_with;
use super::remove::remove_in;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_ACCMODE, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY};
use vigil_executor::wait_site;
use vigil_mem::KArc;

/// A name that is none: EACCES.
fn check(name: &[u8]) -> Result<(), Errno> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') { Err(Errno::EACCES) } else { Ok(()) }
}

/// Opens `name` in `dir` with `flags`, or has `make` make it when O_CREAT is among them; `mode` is of what is made (Linux:
/// do_mq_open). EACCES, ENOENT, EEXIST, EINVAL, ENAMETOOLONG, EROFS, and what `make` and the open answer.
pub async fn open_single<'a>(
    ctx: &Ctx<'_>,
    dir: &'a Path,
    name: &[u8],
    flags: u32,
    mode: u32,
    make: impl Fn(&NewNode<'_>) -> OpResult<'a, KArc<Inode>> + Send + Sync,
) -> Result<KArc<File>, Errno> {
    let guard = dir.inode().rwsem.write(wait_site!("open_single")).await;
    check(name)?;
    let dentry = match super::lookup_in(&dir.dentry, name).await? {
        Some(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(Errno::EEXIST),
        Some(found) => {
            let access = match flags & O_ACCMODE {
                O_RDONLY => Access::READ,
                O_WRONLY => Access::WRITE,
                O_ACCMODE => return Err(Errno::EINVAL),
                _ => Access::READ | Access::WRITE,
            };
            inode_permission(ctx.cred, found.inode_opt().ok_or(Errno::ENOENT)?, access)?;
            found
        }
        None if flags & O_CREAT == 0 => return Err(Errno::ENOENT),
        None => create_with(ctx, dir, name, mode, make).await?,
    };
    drop(guard);
    let path = Path { mnt: dir.mnt.clone(), dentry };
    let file = File::open(&path, flags, ctx.cred.capable(cap::SYS_ADMIN)).map_err(|stop| stop.errno());
    file
}

/// Removes `name` from `dir`. EACCES, ENOENT, EPERM, ENAMETOOLONG, EROFS.
pub async fn unlink_single(ctx: &Ctx<'_>, dir: &Path, name: &[u8]) -> Result<(), Errno> {
    check(name)?;
    remove_in(ctx, dir, name, false, false).await
}
