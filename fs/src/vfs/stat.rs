//! Attributes as the stat family and statfs report them, and device numbers.

use crate::host::Time;

/// A device number in the kernel's own 32-bit form: 12 bits major, 20 bits minor (Linux: MKDEV).
pub const fn mkdev(major: u32, minor: u32) -> u32 {
    major << 20 | (minor & 0xf_ffff)
}

/// Major number of a kernel-form device number.
pub const fn major(dev: u32) -> u32 {
    dev >> 20
}

/// Minor number of a kernel-form device number.
pub const fn minor(dev: u32) -> u32 {
    dev & 0xf_ffff
}

/// A device number as user space sees it in `st_dev` and gives it to mknod(2) (Linux: new_encode_dev).
pub const fn encode_dev(dev: u32) -> u32 {
    let (major, minor) = (major(dev), minor(dev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The inverse of [`encode_dev`] (Linux: new_decode_dev).
pub const fn decode_dev(dev: u32) -> u32 {
    mkdev((dev & 0xf_ff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

/// An inode's attributes (Linux: struct kstat).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Device of the file system, kernel form.
    pub dev: u32,
    /// Inode number.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that a node stands for, kernel form.
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// Preferred I/O size.
    pub blksize: u32,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of anything.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// Number of the mount, for statx's STATX_MNT_ID.
    pub mnt_id: u64,
    /// The path is the root of a mount, for statx's STATX_ATTR_MOUNT_ROOT.
    pub mount_root: bool,
}

/// A file system's state (Linux: struct kstatfs).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Statfs {
    /// Magic number of the type (`*_MAGIC`).
    pub kind: u64,
    /// Block size in bytes.
    pub bsize: u64,
    /// Blocks in all; 0 without a limit.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for an unprivileged user.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Identity of the file system.
    pub fsid: u64,
    /// Longest name.
    pub namelen: u64,
    /// Fragment size.
    pub frsize: u64,
    /// ST_* flags of the mount.
    pub flags: u64,
}
