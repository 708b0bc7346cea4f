//! Attributes as the stat family and statfs report them, and device numbers.

use crate::host::Time;
use vigil_abi::{Pod, stat as abi};

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

fn timestamp(time: Time) -> abi::StatxTimestamp {
    abi::StatxTimestamp { tv_sec: time.sec, tv_nsec: time.nsec, ..abi::StatxTimestamp::zeroed() }
}

impl Stat {
    /// As `struct stat`.
    pub fn to_abi(&self) -> abi::Stat {
        abi::Stat {
            st_dev: u64::from(encode_dev(self.dev)),
            st_ino: self.ino,
            st_mode: self.mode,
            st_nlink: self.nlink,
            st_uid: self.uid,
            st_gid: self.gid,
            st_rdev: u64::from(encode_dev(self.rdev)),
            st_size: self.size as i64,
            st_blksize: self.blksize as i32,
            st_blocks: self.blocks as i64,
            st_atime: self.atime.sec,
            st_atime_nsec: u64::from(self.atime.nsec),
            st_mtime: self.mtime.sec,
            st_mtime_nsec: u64::from(self.mtime.nsec),
            st_ctime: self.ctime.sec,
            st_ctime_nsec: u64::from(self.ctime.nsec),
            ..abi::Stat::zeroed()
        }
    }

    /// As `struct statx`, with everything that is known. The mask that was asked for does not take anything away, as in
    /// Linux.
    pub fn to_statx(&self) -> abi::Statx {
        let root = if self.mount_root { abi::STATX_ATTR_MOUNT_ROOT } else { 0 };
        abi::Statx {
            stx_mask: abi::STATX_BASIC_STATS | abi::STATX_BTIME | abi::STATX_MNT_ID,
            stx_blksize: self.blksize,
            stx_attributes: root,
            stx_nlink: self.nlink,
            stx_uid: self.uid,
            stx_gid: self.gid,
            stx_mode: self.mode as u16,
            stx_ino: self.ino,
            stx_size: self.size,
            stx_blocks: self.blocks,
            stx_attributes_mask: abi::STATX_ATTR_MOUNT_ROOT | abi::STATX_ATTR_AUTOMOUNT,
            stx_atime: timestamp(self.atime),
            stx_btime: timestamp(self.btime),
            stx_ctime: timestamp(self.ctime),
            stx_mtime: timestamp(self.mtime),
            stx_rdev_major: major(self.rdev),
            stx_rdev_minor: minor(self.rdev),
            stx_dev_major: major(self.dev),
            stx_dev_minor: minor(self.dev),
            stx_mnt_id: self.mnt_id,
            ..abi::Statx::zeroed()
        }
    }
}

impl Statfs {
    /// As `struct statfs`.
    pub fn to_abi(&self) -> abi::Statfs {
        abi::Statfs {
            f_type: self.kind,
            f_bsize: self.bsize,
            f_blocks: self.blocks,
            f_bfree: self.bfree,
            f_bavail: self.bavail,
            f_files: self.files,
            f_ffree: self.ffree,
            f_fsid: [self.fsid as i32, (self.fsid >> 32) as i32],
            f_namelen: self.namelen,
            f_frsize: self.frsize,
            f_flags: self.flags,
            ..abi::Statfs::zeroed()
        }
    }
}
