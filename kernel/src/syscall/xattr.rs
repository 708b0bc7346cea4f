//! Extended attributes. No file system here keeps any: a call finds its file, checks its arguments and permissions as
//! Linux does, and answers what Linux answers for a file system without them (fs/xattr.c): EOPNOTSUPP, or an empty list.

use super::file::Caller;
use super::{Args, path, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::process::CAP_SYS_ADMIN;
use vigil_abi::stat::S_ISVTX;
use vigil_fs::vfs::perm::inode_permission;
use vigil_fs::{Access, Inode, LookupFlags};
use vigil_mem::{KBox, UserPtr};

/// XATTR_CREATE | XATTR_REPLACE.
const FLAGS: u64 = 3;
/// The longest value (XATTR_SIZE_MAX).
const SIZE_MAX: u64 = 65536;
/// The longest name with its NUL (XATTR_NAME_MAX + 1).
const NAME_SIZE: usize = 256;

/// The file of a call: by path, with or without following a last symbolic link, or by descriptor.
#[derive(Clone, Copy)]
enum Which {
    Path(LookupFlags),
    Fd,
}

const FOLLOW: Which = Which::Path(LookupFlags::FOLLOW);
const LINK: Which = Which::Path(LookupFlags::empty());

/// Finds the file of argument 0 and calls `f` on it.
async fn with_inode<R>(t: &Thread, a: Args<'_>, which: Which, f: impl FnOnce(&Inode) -> R) -> Result<R, Errno> {
    match which {
        Which::Path(flags) => Ok(f(path::lookup(t, a[0], flags).await?.inode())),
        Which::Fd => Ok(f(t.files()?.get(a[0] as i32)?.inode())),
    }
}

/// The name of argument 1. ERANGE when it is empty or too long.
async fn name(t: &Thread, a: Args<'_>) -> Result<KBox<[u8; NAME_SIZE]>, Errno> {
    let mut name = KBox::try_new([0; NAME_SIZE])?;
    loop {
        match UserPtr::<u8>::new(a[1] as usize).read_str(&mut name[..]) {
            Ok(0 | NAME_SIZE) => return Err(Errno::ERANGE),
            Ok(_) => return Ok(name),
            Err(fault) => user::fault_in(t, fault).await?,
        }
    }
}

/// Whether the caller may read or write attribute `name` (Linux: xattr_permission).
fn permission(t: &Thread, caller: &Caller, inode: &Inode, name: &[u8], access: Access) -> Result<(), Errno> {
    let write = access.contains(Access::WRITE);
    let denied = Err(if write { Errno::EPERM } else { Errno::ENODATA });
    let admin = t.cred()?.capable(CAP_SYS_ADMIN);
    if name.starts_with(b"security.") {
        return if write && !admin { Err(Errno::EPERM) } else { Ok(()) };
    }
    if name.starts_with(b"system.") {
        return Ok(());
    }
    if name.starts_with(b"trusted.") {
        return if admin { Ok(()) } else { denied };
    }
    let cred = caller.ctx().cred;
    if name.starts_with(b"user.") {
        if !inode.is_regular() && !inode.is_dir() {
            return denied;
        }
        if inode.is_dir() && inode.mode() & S_ISVTX != 0 && write && cred.fsuid != inode.uid() && !admin {
            return Err(Errno::EPERM);
        }
    }
    inode_permission(cred, inode, access)
}

/// What get, set and remove answer once their arguments are known.
async fn refuse(t: &Thread, a: Args<'_>, which: Which, name: &[u8], access: Access) -> Result<usize, Errno> {
    let caller = Caller::of(t)?;
    KBox::try_pin(with_inode(t, a, which, |inode| permission(t, &caller, inode, name, access)))?.await??;
    Err(Errno::EOPNOTSUPP)
}

async fn exists(t: &Thread, a: Args<'_>, which: Which) -> Result<(), Errno> {
    KBox::try_pin(with_inode(t, a, which, |_| ()))?.await
}

async fn set(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    exists(t, a, which).await?;
    if a[4] & 0xffff_ffff & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let name = name(t, a).await?;
    if a[3] > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    // The value goes nowhere, but it must be there.
    let mut at = a[2];
    while at < a[2].saturating_add(a[3]) {
        user::get(t, UserPtr::<u8>::new(at as usize)).await?;
        at = (at | 0xfff).saturating_add(1);
    }
    refuse(t, a, which, &name[..], Access::WRITE).await
}

async fn get(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    exists(t, a, which).await?;
    let name = name(t, a).await?;
    refuse(t, a, which, &name[..], Access::READ).await
}

async fn remove(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    exists(t, a, which).await?;
    let name = name(t, a).await?;
    refuse(t, a, which, &name[..], Access::WRITE).await
}

async fn list(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    exists(t, a, which).await.map(|()| 0)
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $f:ident $which:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
            KBox::try_pin($f(t, a, $which))?.await
        })*
    };
}

const FD: Which = Which::Fd;

calls! {
    /// setxattr(path, name, value, size, flags)
    setxattr = set FOLLOW;
    /// lsetxattr(path, name, value, size, flags)
    lsetxattr = set LINK;
    /// fsetxattr(fd, name, value, size, flags)
    fsetxattr = set FD;
    /// getxattr(path, name, value, size)
    getxattr = get FOLLOW;
    /// lgetxattr(path, name, value, size)
    lgetxattr = get LINK;
    /// fgetxattr(fd, name, value, size)
    fgetxattr = get FD;
    /// listxattr(path, list, size)
    listxattr = list FOLLOW;
    /// llistxattr(path, list, size)
    llistxattr = list LINK;
    /// flistxattr(fd, list, size)
    flistxattr = list FD;
    /// removexattr(path, name)
    removexattr = remove FOLLOW;
    /// lremovexattr(path, name)
    lremovexattr = remove LINK;
    /// fremovexattr(fd, name)
    fremovexattr = remove FD;
}
