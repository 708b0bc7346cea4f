//! Permission checks on inodes (Linux: fs/namei.c, generic_permission and its callers).

use super::cred::{Cred, cap};
use super::inode::Inode;
use super::mount::Path;
use vigil_abi::Errno;
use vigil_abi::stat::S_ISVTX;

bitflags::bitflags! {
    /// What is asked for.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Access: u32 {
        /// Execute a file, search a directory.
        const EXEC = 1;
        /// Write.
        const WRITE = 2;
        /// Read.
        const READ = 4;
    }
}

/// Whether `cred` may do `access` to `inode`. EACCES; EROFS for writing to files of a read-only file system.
pub fn inode_permission(cred: &Cred, inode: &Inode, access: Access) -> Result<(), Errno> {
    if access.contains(Access::WRITE) && inode.sb().is_readonly() && !inode.is_special() {
        return Err(Errno::EROFS);
    }
    generic_permission(cred, inode, access)
}

/// The check of mode bits and capabilities alone.
#[inline]
pub fn generic_permission(cred: &Cred, inode: &Inode, access: Access) -> Result<(), Errno> {
    let mode = inode.mode();
    let wanted = access.bits();
    // What everybody may do needs no look at who asks.
    if mode & mode >> 3 & mode >> 6 & wanted == wanted {
        return Ok(());
    }
    let granted = if cred.fsuid == inode.uid() {
        mode >> 6
    } else if cred.in_group(inode.gid()) {
        mode >> 3
    } else {
        mode
    };
    if granted & wanted == wanted {
        return Ok(());
    }
    by_capability(cred, inode, access, mode)
}

#[cold]
fn by_capability(cred: &Cred, inode: &Inode, access: Access, mode: u32) -> Result<(), Errno> {
    let reads = !access.contains(Access::WRITE);
    let allowed = if inode.is_dir() {
        (reads && cred.capable(cap::DAC_READ_SEARCH)) || cred.capable(cap::DAC_OVERRIDE)
    } else {
        // Nobody executes what nobody may execute.
        (access == Access::READ && cred.capable(cap::DAC_READ_SEARCH))
            || ((!access.contains(Access::EXEC) || mode & 0o111 != 0) && cred.capable(cap::DAC_OVERRIDE))
    };
    if allowed { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether `cred` owns `inode` or may act so (Linux: inode_owner_or_capable).
pub fn owner_or_capable(cred: &Cred, inode: &Inode) -> bool {
    cred.fsuid == inode.uid() || cred.capable(cap::FOWNER)
}

/// Whether something may be made in `dir` (Linux: may_create). ENOENT in a removed directory, EACCES, EROFS.
pub fn may_create(cred: &Cred, dir: &Inode) -> Result<(), Errno> {
    if dir.is_dead() {
        return Err(Errno::ENOENT);
    }
    inode_permission(cred, dir, Access::WRITE | Access::EXEC)
}

/// Whether `victim` may be taken out of `dir` (Linux: may_delete): EACCES, EPERM by the sticky bit, ENOTDIR, EISDIR,
/// EBUSY for a root, ENOENT in a removed directory; in that order.
pub fn may_delete(cred: &Cred, dir: &Inode, victim: &Inode, as_dir: bool) -> Result<(), Errno> {
    inode_permission(cred, dir, Access::WRITE | Access::EXEC)?;
    let sticky = dir.mode() & S_ISVTX != 0;
    if sticky && cred.fsuid != victim.uid() && cred.fsuid != dir.uid() && !cred.capable(cap::FOWNER) {
        return Err(Errno::EPERM);
    }
    match (as_dir, victim.is_dir()) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if dir.is_dead() { Err(Errno::ENOENT) } else { Ok(()) }
}

/// Whether `path` may become a working or root directory. ENOTDIR, EACCES.
pub fn may_chdir(cred: &Cred, path: &Path) -> Result<(), Errno> {
    let inode = path.inode();
    if !inode.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    inode_permission(cred, inode, Access::EXEC)
}
