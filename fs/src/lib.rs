//! # vigil-fs: the virtual file system and the file systems that live in memory
//!
//! Principles:
//!
//! 1. **Operations complete or say what to wait for.** What a file system provides are plain functions behind `dyn`; one
//!    generic loop per call awaits ([`vfs::ops`], [`vfs::wait`]). Nothing is allocated to wait.
//! 2. **What is in memory is found without waiting.** Path walk, open, stat, read and write finish in the first poll if
//!    nobody holds a lock that they need; the hottest of them exist as plain functions, too (`try_*`).
//! 3. **Caches can be dropped.** A dentry or page that nobody holds is only there for speed; each file system keeps its
//!    own directories.
//! 4. **Errors come in Linux's order**, and short counts are Linux's.
//! 5. **No recursion over what a user builds**: paths, links, directory trees and radix trees are walked with explicit
//!    state.
//!
//! | module | what is there |
//! |---|---|
//! | [`vfs`] | inodes, dentries, mounts, paths, files, descriptor tables, polls |
//! | [`cache`] | the page cache |
//! | [`tmpfs`] | tmpfs, ramfs, rootfs, shared anonymous memory |
//! | [`pipe`] | pipes and FIFOs |
//! | [`vnode`], [`proc`], [`mod@debug`] | generated files: procfs, sysfs, debugfs |
//! | [`dev`] | device numbers, memory devices, devtmpfs |
//! | [`epoll`], [`eventfd`] | files to wait for files, and for nothing but a counter |
//! | [`anon`] | files over objects without a place in a tree |
//! | [`initramfs`] | unpacking the initial file system |
//! | [`mod@host`] | what all of them need of the kernel |
#![no_std]

#[cfg(test)]
extern crate std;

pub mod anon;
pub mod cache;
pub mod debug;
pub mod dev;
pub mod epoll;
pub mod eventfd;
pub mod host;
pub mod initramfs;
pub mod pipe;
pub mod proc;
pub mod tmpfs;
pub mod vfs;
pub mod vnode;

pub use host::{Host, Time};
pub use initramfs::populate::{UnpackReport, unpack};
pub use tmpfs::shmem::shmem_file;
pub use vfs::cred::Cred;
pub use vfs::dpath::{d_path, getcwd};
pub use vfs::fdtable::{FdRef, FdTable, Reserved};
pub use vfs::file::File;
pub use vfs::fs_struct::{At, Ctx, FsStruct};
pub use vfs::inode::Inode;
pub use vfs::mount::{Mount, Path};
pub use vfs::mounting::{file_stat, stat, statfs};
pub use vfs::namei::LookupFlags;
pub use vfs::namei::attr::TimeSet;
pub use vfs::ops::{AtOnce, FileOps, MmapRequest, MmapTarget, OpResult, Opened, Stop};
pub use vfs::path_name::PathName;
pub use vfs::perm::{Access, may_chdir};
pub use vfs::poll::{PollEvents, PollSlot, PollTable};
pub use vfs::rw::{check_read, check_write, read_at_once, write_at_once};
pub use vfs::stat::{Stat, Statfs};
pub use vfs::wait::{EXCLUSIVE, KernelMem, Mem, TIMED};
pub use vfs::wait::{drive, is_again, wait_for};
pub use vfs::{
    OpenHow, Pos, WriteLimits, access, chmod, chmod_path, chown, chown_path, close, fallocate, fsync, ftruncate, getdents64, link, llseek,
    lookup, mkdir, mknod, mount, open, open_exec, open_path, poll, read, readlink, rename, rmdir, symlink, truncate, try_lookup, try_open,
    try_poll, try_read, try_write, umount, unlink, utimens, utimens_path, write,
};

use vigil_abi::Errno;

/// Makes everything that exists from the start: the dentry cache, the internal file systems, the types that can be
/// mounted, rootfs with Linux's default tree. Returns the root. Once, at boot, when memory can be allocated and tasks
/// run; `host` is a static that holds the kernel's side.
pub fn init(host: &'static &'static dyn Host) -> Result<Path, Errno> {
    host::set(host);
    vfs::dentry::init(host.ram_pages());
    // The table has places for more than there are; a second start, of a test, finds it registered.
    let _ = vigil_mem::page_alloc::register_shrinker(&vfs::dentry::SHRINKER);
    let mount = Mount::of_root(tmpfs::make_rootfs()?, b"rootfs", vfs::mount::MountFlags::empty())?;
    vfs::mount::set_root(&mount)?;
    tmpfs::init()?;
    tmpfs::shmem::init()?;
    pipe::init()?;
    anon::init()?;
    proc::init()?;
    debug::init()?;
    dev::devtmpfs::init()?;
    dev::mem::init()?;
    let root = Mount::root_path(&mount);
    initramfs::populate::default_tree(&root)?;
    Ok(root)
}
