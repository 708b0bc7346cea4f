//! uname, sysinfo, and other structures that fit nowhere else.

abi_struct! {
    /// `struct new_utsname`: NUL-terminated strings.
    pub struct Utsname: 390 {
        /// "Linux".
        pub sysname: [u8; 65],
        /// Host name.
        pub nodename: [u8; 65],
        /// Release.
        pub release: [u8; 65],
        /// Version.
        pub version: [u8; 65],
        /// "aarch64".
        pub machine: [u8; 65],
        /// NIS domain.
        pub domainname: [u8; 65],
    }
}
check_layout!(Utsname = linux_raw_sys::system::new_utsname { sysname, nodename, release, version, machine, domainname });

abi_struct! {
    /// `struct sysinfo`.
    pub struct Sysinfo: 112 {
        /// Seconds since boot.
        pub uptime: i64,
        /// Load averages, times 65 536.
        pub loads: [u64; 3],
        /// Memory, in units of `mem_unit` bytes.
        pub totalram: u64,
        /// Free memory.
        pub freeram: u64,
        /// Shared memory.
        pub sharedram: u64,
        /// Buffers.
        pub bufferram: u64,
        /// Swap.
        pub totalswap: u64,
        /// Free swap.
        pub freeswap: u64,
        /// Tasks.
        pub procs: u16,
        /// Zero.
        pub pad: u16,
        /// Zero.
        pub __pad2: u32,
        /// Zero.
        pub totalhigh: u64,
        /// Zero.
        pub freehigh: u64,
        /// Bytes of a unit.
        pub mem_unit: u32,
        /// Zero.
        pub __pad3: u32,
    }
}
check_layout!(
    Sysinfo = linux_raw_sys::system::sysinfo {
        uptime,
        loads,
        totalram,
        freeram,
        sharedram,
        bufferram,
        totalswap,
        freeswap,
        procs,
        totalhigh,
        freehigh,
        mem_unit,
    }
);

// syslog(2).
abi_consts! { u32; unchecked;
    SYSLOG_ACTION_CLOSE = 0, SYSLOG_ACTION_OPEN = 1, SYSLOG_ACTION_READ = 2, SYSLOG_ACTION_READ_ALL = 3,
    SYSLOG_ACTION_READ_CLEAR = 4, SYSLOG_ACTION_CLEAR = 5, SYSLOG_ACTION_CONSOLE_OFF = 6,
    SYSLOG_ACTION_CONSOLE_ON = 7, SYSLOG_ACTION_CONSOLE_LEVEL = 8, SYSLOG_ACTION_SIZE_UNREAD = 9,
    SYSLOG_ACTION_SIZE_BUFFER = 10,
}

// Limits of execve(2), bytes of a host name.
abi_consts! { usize; unchecked;
    MAX_ARG_STRLEN = 131072, ARG_MAX = 131072, HOST_NAME_MAX = 64,
}
