//! Extended attributes (Linux: fs/xattr.c). tmpfs keeps `security.*` and `trusted.*`; other file systems here keep none. There
//! are no POSIX ACLs (`system.*`) and, as on Linux 6.1's tmpfs, no `user.*`: EOPNOTSUPP.
//!
//! `security.capability` is refused as well: what it grants at exec does not exist. Other `security.*` attributes are set by
//! CAP_SYS_ADMIN only, as Linux means it; Debian's kernel, with the BPF security module, forgets to ask.

use super::file::Caller;
use super::{Args, path, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::XATTR_SIZE_MAX;
use vigil_abi::process::CAP_SYS_ADMIN;
use vigil_abi::stat::S_ISVTX;
use vigil_executor::wait_site;
use vigil_fs::vfs::perm::inode_permission;
use vigil_fs::vfs::xattr::{self, Set};
use vigil_fs::{Access, Inode, LookupFlags, Path};
use vigil_mem::{KBox, KVec, UserPtr};

const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;
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
const FD: Which = Which::Fd;

/// Finds the file of argument 0.
async fn object(t: &Thread, a: Args<'_>, which: Which) -> Result<Path, Errno> {
    match which {
        Which::Path(flags) => KBox::try_pin(path::lookup(t, a[0], flags))?.await,
        Which::Fd => Ok(t.files()?.get(a[0] as i32)?.path().clone()),
    }
}

/// The name of argument 1.
struct Name {
    bytes: KBox<[u8; NAME_SIZE]>,
    len: usize,
}

impl Name {
    /// ERANGE when it is empty or too long.
    async fn of(t: &Thread, a: Args<'_>) -> Result<Name, Errno> {
        let mut bytes = KBox::try_new([0; NAME_SIZE])?;
        loop {
            match UserPtr::<u8>::new(a[1] as usize).read_str(&mut bytes[..]) {
                Ok(0 | NAME_SIZE) => return Err(Errno::ERANGE),
                Ok(len) => return Ok(Name { bytes, len }),
                Err(fault) => user::fault_in(t, fault).await?,
            }
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// Whether the caller may read or write attribute `name` (Linux: xattr_permission, cap_inode_setxattr).
fn permission(t: &Thread, inode: &Inode, name: &[u8], access: Access) -> Result<(), Errno> {
    let caller = Caller::of(t)?;
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

async fn set(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    let path = object(t, a, which).await?;
    path.want_write()?;
    let how = match a[4] as u32 {
        0 => Set::Any,
        XATTR_CREATE => Set::Create,
        XATTR_REPLACE => Set::Replace,
        flags if flags & !(XATTR_CREATE | XATTR_REPLACE) != 0 => return Err(Errno::EINVAL),
        // Neither can be fulfilled.
        _ => Set::Create,
    };
    let name = Name::of(t, a).await?;
    let size = a[3] as usize;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut value = KVec::new();
    value.try_resize(size, 0u8)?;
    user::retry(t, || Ok(UserPtr::<u8>::new(a[2] as usize).read_slice(&mut value)?)).await?;
    let inode = path.inode();
    let _guard = inode.rwsem.write(wait_site!("vfs_setxattr")).await;
    permission(t, inode, name.get(), Access::WRITE)?;
    if name.get() == b"security.capability" {
        return Err(Errno::EOPNOTSUPP);
    }
    xattr::set(inode, name.get(), &value, how).map(|()| 0)
}

async fn get(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    let path = object(t, a, which).await?;
    let name = Name::of(t, a).await?;
    permission(t, path.inode(), name.get(), Access::READ)?;
    let value = xattr::get(path.inode(), name.get())?;
    store(t, a[2], a[3], &value).await
}

async fn remove(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    let path = object(t, a, which).await?;
    path.want_write()?;
    let name = Name::of(t, a).await?;
    let inode = path.inode();
    let _guard = inode.rwsem.write(wait_site!("vfs_removexattr")).await;
    permission(t, inode, name.get(), Access::WRITE)?;
    xattr::remove(inode, name.get()).map(|()| 0)
}

async fn list(t: &Thread, a: Args<'_>, which: Which) -> Result<usize, Errno> {
    let path = object(t, a, which).await?;
    let names = xattr::list(path.inode(), t.cred()?.capable(CAP_SYS_ADMIN))?;
    store(t, a[1], a[2], &names).await
}

/// Gives `bytes` to a buffer of `size` bytes; of size 0: only says how many they are. ERANGE, EFAULT.
async fn store(t: &Thread, to: u64, size: u64, bytes: &[u8]) -> Result<usize, Errno> {
    if size != 0 {
        if bytes.len() as u64 > size {
            return Err(Errno::ERANGE);
        }
        user::retry(t, || Ok(UserPtr::<u8>::new(to as usize).write_slice(bytes)?)).await?;
    }
    Ok(bytes.len())
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $f:ident $which:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
            KBox::try_pin($f(t, a, $which))?.await
        })*
    };
}

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
