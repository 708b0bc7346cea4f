//! Files: open flags (arm64's values differ from x86's), fcntl commands, AT_* flags, locks, and what rename, splice and fallocate take.

// open(2).
abi_consts! { u32; checked general;
    O_ACCMODE = 0o3, O_RDONLY = 0, O_WRONLY = 0o1, O_RDWR = 0o2, O_CREAT = 0o100, O_EXCL = 0o200, O_NOCTTY = 0o400,
    O_TRUNC = 0o1000, O_APPEND = 0o2000, O_NONBLOCK = 0o4000, O_DSYNC = 0o10000, O_DIRECTORY = 0o40000,
    O_NOFOLLOW = 0o100000, O_DIRECT = 0o200000, O_LARGEFILE = 0o400000, O_NOATIME = 0o1000000,
    O_CLOEXEC = 0o2000000, O_SYNC = 0o4010000, O_PATH = 0o10000000, O_TMPFILE = 0o20040000, FASYNC = 0o20000,
}

// Tests inside of O_SYNC and O_TMPFILE.
abi_consts! { u32; unchecked;
    __O_SYNC = 0o4000000, __O_TMPFILE = 0o20000000,
}

// openat2(2).
abi_consts! { u64; checked general;
    RESOLVE_NO_XDEV = 1, RESOLVE_NO_MAGICLINKS = 2, RESOLVE_NO_SYMLINKS = 4, RESOLVE_BENEATH = 8,
    RESOLVE_IN_ROOT = 0x10, RESOLVE_CACHED = 0x20,
}

// fcntl(2).
abi_consts! { u32; checked general;
    F_DUPFD = 0, F_GETFD = 1, F_SETFD = 2, F_GETFL = 3, F_SETFL = 4, F_GETLK = 5, F_SETLK = 6, F_SETLKW = 7,
    F_SETOWN = 8, F_GETOWN = 9, F_SETSIG = 10, F_GETSIG = 11, F_SETOWN_EX = 15, F_GETOWN_EX = 16, F_OFD_GETLK = 36,
    F_OFD_SETLK = 37, F_OFD_SETLKW = 38, F_SETLEASE = 1024, F_GETLEASE = 1025, F_NOTIFY = 1026,
    F_DUPFD_CLOEXEC = 1030, F_SETPIPE_SZ = 1031, F_GETPIPE_SZ = 1032, F_ADD_SEALS = 1033, F_GET_SEALS = 1034,
    F_GET_RW_HINT = 1035, F_SET_RW_HINT = 1036, F_GET_FILE_RW_HINT = 1037, F_SET_FILE_RW_HINT = 1038,
    F_OWNER_TID = 0, F_OWNER_PID = 1, F_OWNER_PGRP = 2, F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4,
    F_SEAL_WRITE = 8, F_SEAL_FUTURE_WRITE = 16, F_SEAL_EXEC = 32, FD_CLOEXEC = 1,
}

// Kinds of a record lock.
abi_consts! { i16; checked general;
    F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2,
}

// flock(2).
abi_consts! { u32; checked general;
    LOCK_SH = 1, LOCK_EX = 2, LOCK_NB = 4, LOCK_UN = 8,
}

// The directory that "relative to the working directory" names.
abi_consts! { i32; checked general;
    AT_FDCWD = -100,
}

// Flags of the *at calls.
abi_consts! { u32; checked general;
    AT_SYMLINK_NOFOLLOW = 0x100, AT_EACCESS = 0x200, AT_REMOVEDIR = 0x200, AT_SYMLINK_FOLLOW = 0x400,
    AT_NO_AUTOMOUNT = 0x800, AT_EMPTY_PATH = 0x1000, AT_STATX_SYNC_TYPE = 0x6000, AT_STATX_SYNC_AS_STAT = 0,
    AT_STATX_FORCE_SYNC = 0x2000, AT_STATX_DONT_SYNC = 0x4000, AT_RECURSIVE = 0x8000,
}

// access(2).
abi_consts! { u32; checked general;
    F_OK = 0, R_OK = 4, W_OK = 2, X_OK = 1,
}

// lseek(2).
abi_consts! { u32; checked general;
    SEEK_SET = 0, SEEK_CUR = 1, SEEK_END = 2, SEEK_DATA = 3, SEEK_HOLE = 4,
}

// renameat2(2), fallocate(2), memfd_create(2), eventfd2(2).
abi_consts! { u32; checked general;
    RENAME_NOREPLACE = 1, RENAME_EXCHANGE = 2, RENAME_WHITEOUT = 4, FALLOC_FL_ALLOCATE_RANGE = 0,
    FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_NO_HIDE_STALE = 4, FALLOC_FL_COLLAPSE_RANGE = 8,
    FALLOC_FL_ZERO_RANGE = 0x10, FALLOC_FL_INSERT_RANGE = 0x20, FALLOC_FL_UNSHARE_RANGE = 0x40,
    FALLOC_FL_WRITE_ZEROES = 0x80, MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2, MFD_HUGETLB = 4, MFD_NOEXEC_SEAL = 8,
    MFD_EXEC = 0x10, MFD_HUGE_SHIFT = 0x1a, MFD_HUGE_MASK = 0x3f, MFD_HUGE_64KB = 0x40000000,
    MFD_HUGE_512KB = 0x4c000000, MFD_HUGE_1MB = 0x50000000, MFD_HUGE_2MB = 0x54000000, MFD_HUGE_8MB = 0x5c000000,
    MFD_HUGE_16MB = 0x60000000, MFD_HUGE_32MB = 0x64000000, MFD_HUGE_256MB = 0x70000000,
    MFD_HUGE_512MB = 0x74000000, MFD_HUGE_1GB = 0x78000000, MFD_HUGE_2GB = 0x7c000000, MFD_HUGE_16GB = 0x88000000,
    EFD_SEMAPHORE = 1, EFD_CLOEXEC = 0x80000, EFD_NONBLOCK = 0x800, SYNC_FILE_RANGE_WAIT_BEFORE = 1,
    SYNC_FILE_RANGE_WRITE = 2, SYNC_FILE_RANGE_WAIT_AFTER = 4, SYNC_FILE_RANGE_WRITE_AND_WAIT = 7,
    POSIX_FADV_NORMAL = 0, POSIX_FADV_RANDOM = 1, POSIX_FADV_SEQUENTIAL = 2, POSIX_FADV_WILLNEED = 3,
    POSIX_FADV_DONTNEED = 4, POSIX_FADV_NOREUSE = 5, IN_CLOEXEC = 0x80000, IN_NONBLOCK = 0x800,
}

// splice(2), preadv2(2), close_range(2).
abi_consts! { u32; unchecked;
    SPLICE_F_MOVE = 1, SPLICE_F_NONBLOCK = 2, SPLICE_F_MORE = 4, SPLICE_F_GIFT = 8, RWF_HIPRI = 1, RWF_DSYNC = 2,
    RWF_SYNC = 4, RWF_NOWAIT = 8, RWF_APPEND = 0x10, CLOSE_RANGE_UNSHARE = 2, CLOSE_RANGE_CLOEXEC = 4,
}

// Limits.
abi_consts! { usize; checked general;
    PATH_MAX = 4096, NAME_MAX = 255, PIPE_BUF = 4096, NGROUPS_MAX = 65536, XATTR_NAME_MAX = 255,
    XATTR_SIZE_MAX = 65536,
}

abi_struct! {
    /// `struct flock` of F_SETLK and its kin.
    pub struct Flock: 32 {
        /// F_RDLCK, F_WRLCK or F_UNLCK.
        pub l_type: i16,
        /// SEEK_SET, SEEK_CUR or SEEK_END.
        pub l_whence: i16,
        /// Zero.
        pub __pad1: u32,
        /// First byte, relative to `l_whence`.
        pub l_start: i64,
        /// Bytes; 0 is up to the end of the file.
        pub l_len: i64,
        /// The holder, for F_GETLK.
        pub l_pid: i32,
        /// Zero.
        pub __pad2: u32,
    }
}
check_layout!(Flock = linux_raw_sys::general::flock { l_type, l_whence, l_start, l_len, l_pid });

abi_struct! {
    /// `struct open_how` of openat2(2), its first version.
    pub struct OpenHow: 24 {
        /// O_* flags.
        pub flags: u64,
        /// Mode of a file that is made.
        pub mode: u64,
        /// RESOLVE_* flags.
        pub resolve: u64,
    }
}
check_layout!(OpenHow = linux_raw_sys::general::open_how { flags, mode, resolve });

abi_struct! {
    /// `struct f_owner_ex` of F_SETOWN_EX.
    pub struct FOwnerEx: 8 {
        /// F_OWNER_TID, F_OWNER_PID or F_OWNER_PGRP.
        pub type_: i32,
        /// Its number.
        pub pid: i32,
    }
}
check_layout!(FOwnerEx = linux_raw_sys::general::f_owner_ex { type_, pid });

abi_struct! {
    /// `struct iovec`: one piece of a scattered buffer.
    pub struct Iovec: 16 {
        /// User address.
        pub iov_base: u64,
        /// Bytes.
        pub iov_len: u64,
    }
}
check_layout!(Iovec = linux_raw_sys::general::iovec { iov_base, iov_len });
