//! Processes: clone, wait, scheduling, limits, resource usage, prctl, capabilities, ptrace.

// clone(2), clone3(2), unshare(2).
abi_consts! { u64; checked general;
    CLONE_VM = 0x100, CLONE_FS = 0x200, CLONE_FILES = 0x400, CLONE_SIGHAND = 0x800, CLONE_PIDFD = 0x1000,
    CLONE_PTRACE = 0x2000, CLONE_VFORK = 0x4000, CLONE_PARENT = 0x8000, CLONE_THREAD = 0x10000,
    CLONE_NEWNS = 0x20000, CLONE_NEWCGROUP = 0x2000000, CLONE_NEWUTS = 0x4000000, CLONE_NEWIPC = 0x8000000,
    CLONE_NEWUSER = 0x10000000, CLONE_NEWPID = 0x20000000, CLONE_NEWNET = 0x40000000, CLONE_NEWTIME = 0x80,
    CLONE_SYSVSEM = 0x40000, CLONE_SETTLS = 0x80000, CLONE_PARENT_SETTID = 0x100000,
    CLONE_CHILD_CLEARTID = 0x200000, CLONE_DETACHED = 0x400000, CLONE_UNTRACED = 0x800000,
    CLONE_CHILD_SETTID = 0x1000000, CLONE_IO = 0x80000000, CLONE_CLEAR_SIGHAND = 0x100000000,
    CLONE_INTO_CGROUP = 0x200000000,
}

// The exit signal in clone(2)'s flags.
abi_consts! { u64; unchecked;
    CSIGNAL = 0xff,
}

// Sizes of clone_args that were given out.
abi_consts! { usize; checked general;
    CLONE_ARGS_SIZE_VER0 = 64, CLONE_ARGS_SIZE_VER1 = 80, CLONE_ARGS_SIZE_VER2 = 88,
}

// wait4(2), waitid(2).
abi_consts! { u32; checked general;
    WNOHANG = 1, WUNTRACED = 2, WSTOPPED = 2, WEXITED = 4, WCONTINUED = 8, WNOWAIT = 0x1000000,
    __WNOTHREAD = 0x20000000, __WALL = 0x40000000, __WCLONE = 0x80000000,
}

// waitid(2): whom.
abi_consts! { u32; checked general;
    P_ALL = 0, P_PID = 1, P_PGID = 2, P_PIDFD = 3,
}

// Scheduling policies.
abi_consts! { u32; checked general;
    SCHED_NORMAL = 0, SCHED_FIFO = 1, SCHED_RR = 2, SCHED_BATCH = 3, SCHED_IDLE = 5, SCHED_DEADLINE = 6,
    SCHED_RESET_ON_FORK = 0x40000000,
}

// Flags of struct sched_attr.
abi_consts! { u64; checked general;
    SCHED_FLAG_RESET_ON_FORK = 1, SCHED_FLAG_RECLAIM = 2, SCHED_FLAG_DL_OVERRUN = 4, SCHED_FLAG_KEEP_POLICY = 8,
    SCHED_FLAG_KEEP_PARAMS = 0x10, SCHED_FLAG_UTIL_CLAMP_MIN = 0x20, SCHED_FLAG_UTIL_CLAMP_MAX = 0x40,
    SCHED_FLAG_KEEP_ALL = 0x18, SCHED_FLAG_UTIL_CLAMP = 0x60, SCHED_FLAG_ALL = 0x7f,
}

// Sizes of sched_attr; getpriority(2); ioprio.
abi_consts! { u32; unchecked;
    SCHED_ATTR_SIZE_VER0 = 48, SCHED_ATTR_SIZE_VER1 = 56, PRIO_PROCESS = 0, PRIO_PGRP = 1, PRIO_USER = 2,
}

// Resource limits.
abi_consts! { u32; checked general;
    RLIMIT_CPU = 0, RLIMIT_FSIZE = 1, RLIMIT_DATA = 2, RLIMIT_STACK = 3, RLIMIT_CORE = 4, RLIMIT_RSS = 5,
    RLIMIT_NPROC = 6, RLIMIT_NOFILE = 7, RLIMIT_MEMLOCK = 8, RLIMIT_AS = 9, RLIMIT_LOCKS = 10,
    RLIMIT_SIGPENDING = 11, RLIMIT_MSGQUEUE = 12, RLIMIT_NICE = 13, RLIMIT_RTPRIO = 14, RLIMIT_RTTIME = 15,
}

// Limits: how many there are, and no limit.
abi_consts! { u64; unchecked;
    RLIM_NLIMITS = 16, RLIM_INFINITY = u64::MAX,
}

// getrusage(2).
abi_consts! { i32; checked general;
    RUSAGE_SELF = 0, RUSAGE_CHILDREN = -1, RUSAGE_THREAD = 1,
}

// prctl(2).
abi_consts! { u32; checked prctl;
    PR_SET_PDEATHSIG = 1, PR_GET_PDEATHSIG = 2, PR_GET_DUMPABLE = 3, PR_SET_DUMPABLE = 4, PR_GET_UNALIGN = 5,
    PR_SET_UNALIGN = 6, PR_GET_KEEPCAPS = 7, PR_SET_KEEPCAPS = 8, PR_GET_FPEMU = 9, PR_SET_FPEMU = 0xa,
    PR_GET_FPEXC = 0xb, PR_SET_FPEXC = 0xc, PR_GET_TIMING = 0xd, PR_SET_TIMING = 0xe, PR_SET_NAME = 0xf,
    PR_GET_NAME = 0x10, PR_GET_ENDIAN = 0x13, PR_SET_ENDIAN = 0x14, PR_GET_SECCOMP = 0x15, PR_SET_SECCOMP = 0x16,
    PR_GET_TSC = 0x19, PR_SET_TSC = 0x1a, PR_GET_SECUREBITS = 0x1b, PR_SET_SECUREBITS = 0x1c,
    PR_SET_TIMERSLACK = 0x1d, PR_GET_TIMERSLACK = 0x1e, PR_SET_CHILD_SUBREAPER = 0x24,
    PR_GET_CHILD_SUBREAPER = 0x25, PR_SET_NO_NEW_PRIVS = 0x26, PR_GET_NO_NEW_PRIVS = 0x27,
    PR_SET_THP_DISABLE = 0x29, PR_GET_THP_DISABLE = 0x2a, PR_SET_FP_MODE = 0x2d, PR_GET_FP_MODE = 0x2e,
    PR_GET_SPECULATION_CTRL = 0x34, PR_SET_SPECULATION_CTRL = 0x35, PR_SET_TAGGED_ADDR_CTRL = 0x37,
    PR_GET_TAGGED_ADDR_CTRL = 0x38, PR_SET_IO_FLUSHER = 0x39, PR_GET_IO_FLUSHER = 0x3a,
    PR_SET_SYSCALL_USER_DISPATCH = 0x3b, PR_GET_TID_ADDRESS = 0x28, PR_CAPBSET_READ = 0x17, PR_CAPBSET_DROP = 0x18,
    PR_TASK_PERF_EVENTS_DISABLE = 0x1f, PR_TASK_PERF_EVENTS_ENABLE = 0x20, PR_MCE_KILL = 0x21,
    PR_MCE_KILL_CLEAR = 0, PR_MCE_KILL_SET = 1, PR_MCE_KILL_LATE = 0, PR_MCE_KILL_EARLY = 1,
    PR_MCE_KILL_DEFAULT = 2, PR_MCE_KILL_GET = 0x22, PR_SET_MM = 0x23, PR_SET_MM_START_CODE = 1,
    PR_SET_MM_END_CODE = 2, PR_SET_MM_START_DATA = 3, PR_SET_MM_END_DATA = 4, PR_SET_MM_START_STACK = 5,
    PR_SET_MM_START_BRK = 6, PR_SET_MM_BRK = 7, PR_SET_MM_ARG_START = 8, PR_SET_MM_ARG_END = 9,
    PR_SET_MM_ENV_START = 0xa, PR_SET_MM_ENV_END = 0xb, PR_SET_MM_AUXV = 0xc, PR_SET_MM_EXE_FILE = 0xd,
    PR_SET_MM_MAP = 0xe, PR_SET_MM_MAP_SIZE = 0xf, PR_SET_PTRACER = 0x59616d61, PR_CAP_AMBIENT = 0x2f,
    PR_CAP_AMBIENT_IS_SET = 1, PR_CAP_AMBIENT_RAISE = 2, PR_CAP_AMBIENT_LOWER = 3, PR_CAP_AMBIENT_CLEAR_ALL = 4,
    PR_SVE_SET_VL = 0x32, PR_SVE_SET_VL_ONEXEC = 0x40000, PR_SVE_GET_VL = 0x33, PR_SVE_VL_LEN_MASK = 0xffff,
    PR_SVE_VL_INHERIT = 0x20000, PR_SPEC_STORE_BYPASS = 0, PR_SPEC_INDIRECT_BRANCH = 1, PR_SPEC_L1D_FLUSH = 2,
    PR_SPEC_NOT_AFFECTED = 0, PR_SPEC_PRCTL = 1, PR_SPEC_ENABLE = 2, PR_SPEC_DISABLE = 4,
    PR_SPEC_FORCE_DISABLE = 8, PR_SPEC_DISABLE_NOEXEC = 0x10, PR_PAC_RESET_KEYS = 0x36, PR_PAC_APIAKEY = 1,
    PR_PAC_APIBKEY = 2, PR_PAC_APDAKEY = 4, PR_PAC_APDBKEY = 8, PR_PAC_APGAKEY = 0x10,
    PR_PAC_SET_ENABLED_KEYS = 0x3c, PR_PAC_GET_ENABLED_KEYS = 0x3d, PR_TAGGED_ADDR_ENABLE = 1, PR_MTE_TCF_NONE = 0,
    PR_MTE_TCF_SYNC = 2, PR_MTE_TCF_ASYNC = 4, PR_MTE_TCF_MASK = 6, PR_MTE_TAG_SHIFT = 3,
    PR_MTE_TAG_MASK = 0x7fff8, PR_MTE_TCF_SHIFT = 1, PR_MTE_STORE_ONLY = 0x80000, PR_SCHED_CORE = 0x3e,
    PR_SCHED_CORE_GET = 0, PR_SCHED_CORE_CREATE = 1, PR_SCHED_CORE_SHARE_TO = 2, PR_SCHED_CORE_SHARE_FROM = 3,
    PR_SCHED_CORE_MAX = 4, PR_SCHED_CORE_SCOPE_THREAD = 0, PR_SCHED_CORE_SCOPE_THREAD_GROUP = 1,
    PR_SCHED_CORE_SCOPE_PROCESS_GROUP = 2, PR_SME_SET_VL = 0x3f, PR_SME_SET_VL_ONEXEC = 0x40000,
    PR_SME_GET_VL = 0x40, PR_SME_VL_LEN_MASK = 0xffff, PR_SME_VL_INHERIT = 0x20000, PR_SET_VMA = 0x53564d41,
    PR_SET_VMA_ANON_NAME = 0,
}

// Capabilities.
abi_consts! { u32; checked general;
    CAP_CHOWN = 0, CAP_DAC_OVERRIDE = 1, CAP_DAC_READ_SEARCH = 2, CAP_FOWNER = 3, CAP_FSETID = 4, CAP_KILL = 5,
    CAP_SETGID = 6, CAP_SETUID = 7, CAP_SETPCAP = 8, CAP_LINUX_IMMUTABLE = 9, CAP_NET_BIND_SERVICE = 10,
    CAP_NET_BROADCAST = 11, CAP_NET_ADMIN = 12, CAP_NET_RAW = 13, CAP_IPC_LOCK = 14, CAP_IPC_OWNER = 15,
    CAP_SYS_MODULE = 16, CAP_SYS_RAWIO = 17, CAP_SYS_CHROOT = 18, CAP_SYS_PTRACE = 19, CAP_SYS_PACCT = 20,
    CAP_SYS_ADMIN = 21, CAP_SYS_BOOT = 22, CAP_SYS_NICE = 23, CAP_SYS_RESOURCE = 24, CAP_SYS_TIME = 25,
    CAP_SYS_TTY_CONFIG = 26, CAP_MKNOD = 27, CAP_LEASE = 28, CAP_AUDIT_WRITE = 29, CAP_AUDIT_CONTROL = 30,
    CAP_SETFCAP = 31, CAP_MAC_OVERRIDE = 32, CAP_MAC_ADMIN = 33, CAP_SYSLOG = 34, CAP_WAKE_ALARM = 35,
    CAP_BLOCK_SUSPEND = 36, CAP_AUDIT_READ = 37, CAP_PERFMON = 38, CAP_BPF = 39, CAP_CHECKPOINT_RESTORE = 40,
    CAP_LAST_CAP = 40,
}

// Versions of struct __user_cap_header.
abi_consts! { u32; checked general;
    _LINUX_CAPABILITY_VERSION_1 = 0x19980330, _LINUX_CAPABILITY_VERSION_2 = 0x20071026,
    _LINUX_CAPABILITY_VERSION_3 = 0x20080522, _LINUX_CAPABILITY_U32S_3 = 2,
}

// ptrace(2).
abi_consts! { u32; checked ptrace;
    PTRACE_TRACEME = 0, PTRACE_PEEKTEXT = 1, PTRACE_PEEKDATA = 2, PTRACE_PEEKUSR = 3, PTRACE_POKETEXT = 4,
    PTRACE_POKEDATA = 5, PTRACE_POKEUSR = 6, PTRACE_CONT = 7, PTRACE_KILL = 8, PTRACE_SINGLESTEP = 9,
    PTRACE_ATTACH = 0x10, PTRACE_DETACH = 0x11, PTRACE_SYSCALL = 0x18, PTRACE_SETOPTIONS = 0x4200,
    PTRACE_GETEVENTMSG = 0x4201, PTRACE_GETSIGINFO = 0x4202, PTRACE_SETSIGINFO = 0x4203, PTRACE_GETREGSET = 0x4204,
    PTRACE_SETREGSET = 0x4205, PTRACE_SEIZE = 0x4206, PTRACE_INTERRUPT = 0x4207, PTRACE_LISTEN = 0x4208,
    PTRACE_PEEKSIGINFO = 0x4209, PTRACE_GETSIGMASK = 0x420a, PTRACE_SETSIGMASK = 0x420b,
    PTRACE_SECCOMP_GET_FILTER = 0x420c, PTRACE_SECCOMP_GET_METADATA = 0x420d, PTRACE_GET_SYSCALL_INFO = 0x420e,
    PTRACE_SYSCALL_INFO_NONE = 0, PTRACE_SYSCALL_INFO_ENTRY = 1, PTRACE_SYSCALL_INFO_EXIT = 2,
    PTRACE_SYSCALL_INFO_SECCOMP = 3, PTRACE_GET_RSEQ_CONFIGURATION = 0x420f,
    PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210, PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211,
    PTRACE_EVENTMSG_SYSCALL_ENTRY = 1, PTRACE_EVENTMSG_SYSCALL_EXIT = 2, PTRACE_EVENT_FORK = 1,
    PTRACE_EVENT_VFORK = 2, PTRACE_EVENT_CLONE = 3, PTRACE_EVENT_EXEC = 4, PTRACE_EVENT_VFORK_DONE = 5,
    PTRACE_EVENT_EXIT = 6, PTRACE_EVENT_SECCOMP = 7, PTRACE_EVENT_STOP = 0x80, PTRACE_O_TRACESYSGOOD = 1,
    PTRACE_O_TRACEFORK = 2, PTRACE_O_TRACEVFORK = 4, PTRACE_O_TRACECLONE = 8, PTRACE_O_TRACEEXEC = 0x10,
    PTRACE_O_TRACEVFORKDONE = 0x20, PTRACE_O_TRACEEXIT = 0x40, PTRACE_O_TRACESECCOMP = 0x80,
    PTRACE_O_EXITKILL = 0x100000, PTRACE_O_SUSPEND_SECCOMP = 0x200000, PTRACE_O_MASK = 0x3000ff,
    PTRACE_SYSEMU = 0x1f, PTRACE_SYSEMU_SINGLESTEP = 0x20, PTRACE_PEEKMTETAGS = 0x21, PTRACE_POKEMTETAGS = 0x22,
}

// membarrier(2): commands and the flag.
abi_consts! { u32; unchecked;
    MEMBARRIER_CMD_QUERY = 0, MEMBARRIER_CMD_GLOBAL = 1, MEMBARRIER_CMD_GLOBAL_EXPEDITED = 2,
    MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED = 4, MEMBARRIER_CMD_PRIVATE_EXPEDITED = 8,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED = 0x10, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 0x20,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 0x40, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ = 0x80,
    MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ = 0x100, MEMBARRIER_CMD_FLAG_CPU = 1,
}

abi_struct! {
    /// `struct clone_args` of clone3(2), version 2.
    pub struct CloneArgs: 88 {
        /// CLONE_*.
        pub flags: u64,
        /// Where the pidfd goes.
        pub pidfd: u64,
        /// Where the child's tid goes in the child.
        pub child_tid: u64,
        /// Where the child's tid goes in the parent.
        pub parent_tid: u64,
        /// Signal at the child's end.
        pub exit_signal: u64,
        /// Lowest address of the child's stack.
        pub stack: u64,
        /// Its bytes.
        pub stack_size: u64,
        /// TPIDR_EL0 of the child.
        pub tls: u64,
        /// Tids to be chosen.
        pub set_tid: u64,
        /// How many.
        pub set_tid_size: u64,
        /// Cgroup.
        pub cgroup: u64,
    }
}
check_layout!(
    CloneArgs = linux_raw_sys::general::clone_args {
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        cgroup,
    }
);

abi_struct! {
    /// `struct sched_param`.
    pub struct SchedParam: 4 {
        /// 1 to 99 for FIFO and RR, 0 otherwise.
        pub sched_priority: i32,
    }
}

abi_struct! {
    /// `struct sched_attr`, version 1.
    pub struct SchedAttr: 56 {
        /// Bytes that the caller knows.
        pub size: u32,
        /// SCHED_*.
        pub sched_policy: u32,
        /// SCHED_FLAG_*.
        pub sched_flags: u64,
        /// Nice value of NORMAL and BATCH.
        pub sched_nice: i32,
        /// Priority of FIFO and RR.
        pub sched_priority: u32,
        /// Deadline: run time in ns.
        pub sched_runtime: u64,
        /// Deadline: relative deadline in ns.
        pub sched_deadline: u64,
        /// Deadline: period in ns.
        pub sched_period: u64,
        /// Least utilisation.
        pub sched_util_min: u32,
        /// Greatest utilisation.
        pub sched_util_max: u32,
    }
}

abi_struct! {
    /// `struct rlimit64` (and `struct rlimit`, which is the same on arm64).
    pub struct Rlimit: 16 {
        /// Soft limit.
        pub rlim_cur: u64,
        /// Hard limit.
        pub rlim_max: u64,
    }
}
check_layout!(Rlimit = linux_raw_sys::general::rlimit64 { rlim_cur, rlim_max });

abi_struct! {
    /// `struct rusage`.
    pub struct Rusage: 144 {
        /// Time in user mode.
        pub ru_utime: crate::time::Timeval,
        /// Time in the kernel.
        pub ru_stime: crate::time::Timeval,
        /// Most resident memory, in KiB.
        pub ru_maxrss: i64,
        /// Unused.
        pub ru_ixrss: i64,
        /// Unused.
        pub ru_idrss: i64,
        /// Unused.
        pub ru_isrss: i64,
        /// Faults without I/O.
        pub ru_minflt: i64,
        /// Faults with I/O.
        pub ru_majflt: i64,
        /// Unused.
        pub ru_nswap: i64,
        /// Blocks read.
        pub ru_inblock: i64,
        /// Blocks written.
        pub ru_oublock: i64,
        /// Unused.
        pub ru_msgsnd: i64,
        /// Unused.
        pub ru_msgrcv: i64,
        /// Unused.
        pub ru_nsignals: i64,
        /// Voluntary switches.
        pub ru_nvcsw: i64,
        /// Involuntary switches.
        pub ru_nivcsw: i64,
    }
}
check_layout!(
    Rusage =
        linux_raw_sys::general::rusage { ru_utime, ru_stime, ru_maxrss, ru_minflt, ru_majflt, ru_inblock, ru_oublock, ru_nvcsw, ru_nivcsw }
);

abi_struct! {
    /// `struct __user_cap_header_struct`.
    pub struct CapHeader: 8 {
        /// _LINUX_CAPABILITY_VERSION_*.
        pub version: u32,
        /// Whose; 0 is the caller.
        pub pid: i32,
    }
}
check_layout!(CapHeader = linux_raw_sys::general::__user_cap_header_struct { version, pid });

abi_struct! {
    /// `struct __user_cap_data_struct`: 32 capabilities; version 3 takes two.
    pub struct CapData: 12 {
        /// In effect.
        pub effective: u32,
        /// Permitted.
        pub permitted: u32,
        /// Inheritable.
        pub inheritable: u32,
    }
}
check_layout!(CapData = linux_raw_sys::general::__user_cap_data_struct { effective, permitted, inheritable });

/// Status of wait4 for a process that called exit with `code`.
pub const fn wait_exited(code: u32) -> u32 {
    (code & 0xff) << 8
}

/// Status of wait4 for a process that was killed by `sig`.
pub const fn wait_signaled(sig: u32, core_dumped: bool) -> u32 {
    (sig & 0x7f) | if core_dumped { 0x80 } else { 0 }
}

/// Status of wait4 for a process that was stopped by `sig`.
pub const fn wait_stopped(sig: u32) -> u32 {
    (sig & 0xff) << 8 | 0x7f
}

/// Status of wait4 for a process that was continued.
pub const WAIT_CONTINUED: u32 = 0xffff;
