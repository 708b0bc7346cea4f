//! The virtual file system: what every file system has in common (Linux: fs/).
//!
//! | file | what |
//! |---|---|
//! | [`ops`] | what a file system provides: plain functions that complete or say what to wait for |
//! | [`inode`], [`dentry`], [`superblock`], [`mount`] | the four objects, and the dentry cache |
//! | [`file`], [`fdtable`], [`fs_struct`], [`cred`] | what a process holds |
//! | [`namei`] | calls that take a path |
//! | [`rw`], [`seek`], [`dir`], [`poll`] | calls on an open file |
//! | [`lock`] | flock(2), record locks of fcntl(2) |
//! | [`fasync`] | signals of files (O_ASYNC) |
//! | [`xattr`] | extended attributes in memory |
//! | [`lazy`] | what few inodes and files have |
//! | [`mounting`] | mount(2), umount2(2), /proc/mounts |
//! | [`dpath`], [`path_name`], [`stat`], [`perm`] | path strings, attributes, permissions |
//! | [`wait`] | the loop that turns plain operations into futures |
//!
//! Locks, from the outside in: `s_vfs_rename_mutex` → `i_rwsem` (parents first) → `f_pos_lock` is outside of both for
//! reads and writes → the file system's own spin locks. `rename_lock` → `d_hash` → `d_lock` are spin locks, and
//! `mount_lock` → `mnt_at` as well. Nothing is dropped under a spin lock that could be a last reference.

pub mod cred;
pub mod dentry;
pub mod dir;
pub mod dpath;
pub mod fasync;
pub mod fdtable;
pub mod file;
pub mod fs_struct;
pub mod inode;
pub mod lazy;
pub mod lock;
pub mod mount;
pub mod mounting;
pub mod namei;
pub mod ops;
pub mod path_name;
pub mod perm;
pub mod poll;
pub mod rw;
pub mod seek;
pub mod stat;
pub mod superblock;
#[cfg(test)]
pub(crate) mod tests;
pub mod wait;
pub mod xattr;

pub use dir::getdents64;
pub use mounting::{mount, umount};
pub use namei::attr::{
    access, chmod, chmod_path, chown, chown_path, fallocate, flush, fsync, ftruncate, readlink, truncate, utimens, utimens_path,
};
pub use namei::create::{link, mkdir, mknod, symlink};
pub use namei::open::{OpenHow, open, open_exec, open_path, try_open};
pub use namei::remove::{rmdir, unlink};
pub use namei::rename::rename;
pub use namei::{lookup, try_lookup};
pub use poll::{poll, try_poll};
pub use rw::{Pos, WriteLimits, read, try_read, try_write, write};
pub use seek::llseek;

use vigil_abi::Errno;
use vigil_mem::KArc;

/// Closes one descriptor's reference to `file`, which is out of the table already: flushes, whose error is close(2)'s,
/// and lets go of the record locks that the table's processes have on the file, however many other descriptors they have.
pub async fn close(file: KArc<file::File>, files: &fdtable::FdTable) -> Result<(), Errno> {
    let flushed = namei::attr::flush(&file).await;
    closed(&file, files);
    flushed
}

/// The part of a close that never waits, for a caller that has flushed.
#[inline]
pub fn closed(file: &file::File, files: &fdtable::FdTable) {
    if files.has_record_locks() && !file.mode().contains(file::Mode::PATH) {
        lock::remove_of_table(file.inode(), files.lock_owner());
    }
}
