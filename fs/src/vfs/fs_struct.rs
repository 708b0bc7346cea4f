//! A process's view of the tree: root, working directory, umask (Linux: struct fs_struct).

use super::cred::Cred;
use super::file::File;
use super::mount::Path;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};

struct Places {
    root: Path,
    pwd: Path,
}

/// Shared by the threads of a process, and by processes made with CLONE_FS.
pub struct FsStruct {
    places: SpinLock<Places>,
    umask: AtomicU32,
}

static CLASS: LockClass = LockClass::new("fs_struct");

impl FsStruct {
    /// Root and working directory at `root`, umask 022.
    pub fn new(root: Path) -> FsStruct {
        let places = Places { pwd: root.clone(), root };
        FsStruct { places: SpinLock::new(&CLASS, places), umask: AtomicU32::new(0o022) }
    }

    /// A copy for a new process.
    pub fn fork(&self) -> FsStruct {
        let places = self.places.lock();
        let copy = Places { root: places.root.clone(), pwd: places.pwd.clone() };
        FsStruct { places: SpinLock::new(&CLASS, copy), umask: AtomicU32::new(self.umask()) }
    }

    /// The root directory.
    #[inline]
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }

    /// The working directory.
    #[inline]
    pub fn pwd(&self) -> Path {
        self.places.lock().pwd.clone()
    }

    /// Changes the root (chroot(2); the checks are the caller's).
    pub fn set_root(&self, root: Path) {
        let old = core::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }

    /// Changes the working directory.
    pub fn set_pwd(&self, pwd: Path) {
        let old = core::mem::replace(&mut self.places.lock().pwd, pwd);
        drop(old);
    }

    /// The mask of permissions that new files do not get.
    pub fn umask(&self) -> u32 {
        self.umask.load(Relaxed)
    }

    /// Sets it; returns the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Relaxed)
    }
}

/// Who calls, and from where: passed to every call that takes a path.
#[derive(Clone, Copy)]
pub struct Ctx<'c> {
    /// Root, working directory, umask.
    pub fs: &'c FsStruct,
    /// Credentials.
    pub cred: &'c Cred,
    /// RLIMIT_FSIZE in bytes; `u64::MAX` without a limit.
    pub fsize_limit: u64,
}

/// Where a relative path starts.
#[derive(Clone, Copy)]
pub enum At<'c> {
    /// In the working directory (AT_FDCWD).
    Cwd,
    /// In the directory that is open as this file. The number is the kernel's business (EBADF).
    Dir(&'c File),
}

impl At<'_> {
    /// The place that it names.
    pub fn path(&self, ctx: &Ctx<'_>) -> Path {
        match self {
            At::Cwd => ctx.fs.pwd(),
            At::Dir(file) => file.path().clone(),
        }
    }
}

/// Longest name of one entry.
pub const NAME_MAX: usize = 255;

/// A name's length is checked where Linux's file systems do it: at the lookup.
pub(super) fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}
