//! Files' attributes: `struct stat`, `statx`, `statfs`, directory entries, mode bits.

// File types and mode bits.
abi_consts! { u32; checked general;
    S_IFMT = 0o170000, S_IFSOCK = 0o140000, S_IFLNK = 0o120000, S_IFREG = 0o100000, S_IFBLK = 0o60000,
    S_IFDIR = 0o40000, S_IFCHR = 0o20000, S_IFIFO = 0o10000, S_ISUID = 0o4000, S_ISGID = 0o2000, S_ISVTX = 0o1000,
    S_IRWXU = 0o700, S_IRUSR = 0o400, S_IWUSR = 0o200, S_IXUSR = 0o100, S_IRWXG = 0o70, S_IRGRP = 0o40,
    S_IWGRP = 0o20, S_IXGRP = 0o10, S_IRWXO = 0o7, S_IROTH = 0o4, S_IWOTH = 0o2, S_IXOTH = 0o1,
}

// Types in a directory entry.
abi_consts! { u8; checked general;
    DT_UNKNOWN = 0, DT_FIFO = 1, DT_CHR = 2, DT_DIR = 4, DT_BLK = 6, DT_REG = 8, DT_LNK = 10, DT_SOCK = 12,
}

// statx(2): which fields.
abi_consts! { u32; checked general;
    STATX_TYPE = 1, STATX_MODE = 2, STATX_NLINK = 4, STATX_UID = 8, STATX_GID = 0x10, STATX_ATIME = 0x20,
    STATX_MTIME = 0x40, STATX_CTIME = 0x80, STATX_INO = 0x100, STATX_SIZE = 0x200, STATX_BLOCKS = 0x400,
    STATX_BASIC_STATS = 0x7ff, STATX_BTIME = 0x800, STATX_MNT_ID = 0x1000, STATX_DIOALIGN = 0x2000,
    STATX__RESERVED = 0x80000000,
}

// statx(2): attributes.
abi_consts! { u64; checked general;
    STATX_ATTR_COMPRESSED = 4, STATX_ATTR_IMMUTABLE = 0x10, STATX_ATTR_APPEND = 0x20, STATX_ATTR_NODUMP = 0x40,
    STATX_ATTR_ENCRYPTED = 0x800, STATX_ATTR_AUTOMOUNT = 0x1000, STATX_ATTR_MOUNT_ROOT = 0x2000,
    STATX_ATTR_VERITY = 0x100000, STATX_ATTR_DAX = 0x200000, STATX_ATTR_WRITE_ATOMIC = 0x400000,
}

// utimensat(2): values of tv_nsec.
abi_consts! { u64; checked general;
    UTIME_NOW = 0x3fffffff, UTIME_OMIT = 0x3ffffffe,
}

// File-system types in statfs.
abi_consts! { u64; checked general;
    TMPFS_MAGIC = 0x1021994, RAMFS_MAGIC = 0x858458f6, PROC_SUPER_MAGIC = 0x9fa0, SYSFS_MAGIC = 0x62656572,
    DEVPTS_SUPER_MAGIC = 0x1cd1, EXT4_SUPER_MAGIC = 0xef53, MSDOS_SUPER_MAGIC = 0x4d44,
    CGROUP2_SUPER_MAGIC = 0x63677270, CGROUP_SUPER_MAGIC = 0x27e0eb, DEBUGFS_MAGIC = 0x64626720, TRACEFS_MAGIC = 0x74726163,
    OVERLAYFS_SUPER_MAGIC = 0x794c7630, ANON_INODE_FS_MAGIC = 0x9041934, PIPEFS_MAGIC = 0x50495045,
    SOCKFS_MAGIC = 0x534f434b, BDEVFS_MAGIC = 0x62646576, NSFS_MAGIC = 0x6e736673,
}
abi_consts! { u64; unchecked; MQUEUE_MAGIC = 0x19800202, }

// Mount flags as statfs shows them.
abi_consts! { u64; unchecked;
    ST_RDONLY = 1, ST_NOSUID = 2, ST_NODEV = 4, ST_NOEXEC = 8, ST_SYNCHRONOUS = 0x10, ST_VALID = 0x20,
    ST_MANDLOCK = 0x40, ST_NOATIME = 0x400, ST_NODIRATIME = 0x800, ST_RELATIME = 0x1000,
}

abi_struct! {
    /// `struct stat` (asm-generic, which is not x86's).
    pub struct Stat: 128 {
        /// Device of the file system, in the kernel's "new" encoding.
        pub st_dev: u64,
        /// Inode number.
        pub st_ino: u64,
        /// Type and mode.
        pub st_mode: u32,
        /// Hard links.
        pub st_nlink: u32,
        /// Owner.
        pub st_uid: u32,
        /// Group.
        pub st_gid: u32,
        /// Device that a node names.
        pub st_rdev: u64,
        /// Zero.
        pub __pad1: u64,
        /// Bytes.
        pub st_size: i64,
        /// Preferred size of a transfer.
        pub st_blksize: i32,
        /// Zero.
        pub __pad2: i32,
        /// Blocks of 512 bytes.
        pub st_blocks: i64,
        /// Last access, seconds.
        pub st_atime: i64,
        /// Last access, nanoseconds.
        pub st_atime_nsec: u64,
        /// Last change of data, seconds.
        pub st_mtime: i64,
        /// Last change of data, nanoseconds.
        pub st_mtime_nsec: u64,
        /// Last change of the inode, seconds.
        pub st_ctime: i64,
        /// Last change of the inode, nanoseconds.
        pub st_ctime_nsec: u64,
        /// Zero.
        pub __unused4: u32,
        /// Zero.
        pub __unused5: u32,
    }
}
check_layout!(
    Stat = linux_raw_sys::general::stat {
        st_dev,
        st_ino,
        st_mode,
        st_nlink,
        st_uid,
        st_gid,
        st_rdev,
        st_size,
        st_blksize,
        st_blocks,
        st_atime,
        st_atime_nsec,
        st_mtime,
        st_mtime_nsec,
        st_ctime,
        st_ctime_nsec,
    }
);

abi_struct! {
    /// `struct statx_timestamp`.
    pub struct StatxTimestamp: 16 {
        /// Seconds.
        pub tv_sec: i64,
        /// Nanoseconds.
        pub tv_nsec: u32,
        /// Zero.
        pub __reserved: i32,
    }
}
check_layout!(StatxTimestamp = linux_raw_sys::general::statx_timestamp { tv_sec, tv_nsec });

abi_struct! {
    /// `struct statx`, with the fields of Linux 6.1.
    pub struct Statx: 256 {
        /// Which fields are valid (STATX_*).
        pub stx_mask: u32,
        /// Preferred size of a transfer.
        pub stx_blksize: u32,
        /// STATX_ATTR_*.
        pub stx_attributes: u64,
        /// Hard links.
        pub stx_nlink: u32,
        /// Owner.
        pub stx_uid: u32,
        /// Group.
        pub stx_gid: u32,
        /// Type and mode.
        pub stx_mode: u16,
        /// Zero.
        pub __spare0: u16,
        /// Inode number.
        pub stx_ino: u64,
        /// Bytes.
        pub stx_size: u64,
        /// Blocks of 512 bytes.
        pub stx_blocks: u64,
        /// Which attributes the file system knows.
        pub stx_attributes_mask: u64,
        /// Last access.
        pub stx_atime: StatxTimestamp,
        /// Birth.
        pub stx_btime: StatxTimestamp,
        /// Last change of the inode.
        pub stx_ctime: StatxTimestamp,
        /// Last change of data.
        pub stx_mtime: StatxTimestamp,
        /// Device that a node names, major number.
        pub stx_rdev_major: u32,
        /// Device that a node names, minor number.
        pub stx_rdev_minor: u32,
        /// Device of the file system, major number.
        pub stx_dev_major: u32,
        /// Device of the file system, minor number.
        pub stx_dev_minor: u32,
        /// Mount.
        pub stx_mnt_id: u64,
        /// Alignment of memory for direct I/O.
        pub stx_dio_mem_align: u32,
        /// Alignment of offsets for direct I/O.
        pub stx_dio_offset_align: u32,
        /// Zero.
        pub __spare3: [u64; 12],
    }
}
check_layout!(
    Statx = linux_raw_sys::general::statx {
        stx_mask,
        stx_blksize,
        stx_attributes,
        stx_nlink,
        stx_uid,
        stx_gid,
        stx_mode,
        stx_ino,
        stx_size,
        stx_blocks,
        stx_attributes_mask,
        stx_atime,
        stx_btime,
        stx_ctime,
        stx_mtime,
        stx_rdev_major,
        stx_rdev_minor,
        stx_dev_major,
        stx_dev_minor,
        stx_mnt_id,
        stx_dio_mem_align,
        stx_dio_offset_align,
    }
);

abi_struct! {
    /// `struct statfs`.
    pub struct Statfs: 120 {
        /// File-system type (*_MAGIC).
        pub f_type: u64,
        /// Block size.
        pub f_bsize: u64,
        /// Blocks.
        pub f_blocks: u64,
        /// Free blocks.
        pub f_bfree: u64,
        /// Free blocks for anybody.
        pub f_bavail: u64,
        /// Inodes.
        pub f_files: u64,
        /// Free inodes.
        pub f_ffree: u64,
        /// File-system id.
        pub f_fsid: [i32; 2],
        /// Longest name.
        pub f_namelen: u64,
        /// Fragment size.
        pub f_frsize: u64,
        /// ST_* flags.
        pub f_flags: u64,
        /// Zero.
        pub f_spare: [u64; 4],
    }
}
check_layout!(
    Statfs = linux_raw_sys::general::statfs {
        f_type,
        f_bsize,
        f_blocks,
        f_bfree,
        f_bavail,
        f_files,
        f_ffree,
        f_fsid,
        f_namelen,
        f_frsize,
        f_flags,
        f_spare,
    }
);

/// Offset of the name in `struct linux_dirent64`: d_ino (8), d_off (8), d_reclen (2), d_type (1). A record is padded with
/// zero bytes to a multiple of 8.
pub const DIRENT64_NAME_OFFSET: usize = 19;
#[cfg(target_arch = "aarch64")]
const _: () = assert!(core::mem::offset_of!(linux_raw_sys::general::linux_dirent64, d_name) == DIRENT64_NAME_OFFSET);

/// A device number as `stat` shows it (Linux: new_encode_dev): minor bits 0-7, major bits 8-19, minor bits 8-31 above.
pub const fn encode_dev(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | ((major & 0xfff) << 8)) as u64 | (((minor & !0xff) as u64) << 12)
}

/// Major and minor of a device number as `mknod` takes it (Linux: new_decode_dev).
pub const fn decode_dev(dev: u32) -> (u32, u32) {
    ((dev & 0xf_ff00) >> 8, (dev & 0xff) | ((dev >> 12) & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers() {
        assert_eq!(encode_dev(5, 1), 0x501);
        assert_eq!(encode_dev(204, 64), 0xcc40);
        assert_eq!(decode_dev(encode_dev(8, 0x12345) as u32), (8, 0x12345));
    }
}
