//! POSIX message queues and System V IPC: limits, commands, structures (asm-generic/ipcbuf.h and its like, which arm64 uses).

// mq_open(3), linux/mqueue.h.
abi_consts! { u32; unchecked;
    MQ_PRIO_MAX = 32768, NOTIFY_NONE = 0, NOTIFY_WOKENUP = 1, NOTIFY_REMOVED = 2, NOTIFY_COOKIE_LEN = 32,
}

// Commands and flags of all three kinds of System V objects.
abi_consts! { u32; unchecked;
    IPC_CREAT = 0o1000, IPC_EXCL = 0o2000, IPC_NOWAIT = 0o4000, IPC_RMID = 0, IPC_SET = 1, IPC_STAT = 2, IPC_INFO = 3,
    MSG_STAT = 11, MSG_INFO = 12, MSG_STAT_ANY = 13, SHM_LOCK = 11, SHM_UNLOCK = 12, SHM_STAT = 13, SHM_INFO = 14,
    SHM_STAT_ANY = 15, GETPID = 11, GETVAL = 12, GETALL = 13, GETNCNT = 14, GETZCNT = 15, SETVAL = 16, SETALL = 17,
    SEM_STAT = 18, SEM_INFO = 19, SEM_STAT_ANY = 20,
}

// Flags of single calls.
abi_consts! { u32; unchecked;
    MSG_NOERROR = 0o10000, MSG_EXCEPT = 0o20000, MSG_COPY = 0o40000, SEM_UNDO = 0x1000, SHM_RDONLY = 0o10000,
    SHM_RND = 0o20000, SHM_REMAP = 0o40000, SHM_EXEC = 0o100000, SHM_HUGETLB = 0o4000, SHM_NORESERVE = 0o10000,
    SHM_DEST = 0o1000, SHM_LOCKED = 0o2000,
}

abi_struct! {
    /// `struct mq_attr`.
    pub struct MqAttr: 64 {
        /// O_NONBLOCK or nothing.
        pub mq_flags: i64,
        /// Most messages.
        pub mq_maxmsg: i64,
        /// Bytes of the largest message.
        pub mq_msgsize: i64,
        /// Messages in the queue.
        pub mq_curmsgs: i64,
        /// Zero.
        pub __reserved: [i64; 4],
    }
}

abi_struct! {
    /// `struct ipc64_perm`.
    pub struct IpcPerm: 48 {
        /// Key.
        pub key: i32,
        /// Owner.
        pub uid: u32,
        /// Owner's group.
        pub gid: u32,
        /// Maker.
        pub cuid: u32,
        /// Maker's group.
        pub cgid: u32,
        /// Permissions, and SHM_DEST, SHM_LOCKED.
        pub mode: u32,
        /// Which object of this number it is.
        pub seq: u16,
        /// Zero.
        pub __pad2: u16,
        /// Zero: what aligns the rest.
        pub __pad3: u32,
        /// Zero.
        pub __unused: [u64; 2],
    }
}

abi_struct! {
    /// `struct sembuf`.
    pub struct Sembuf: 6 {
        /// Semaphore of the set.
        pub sem_num: u16,
        /// What is added; 0: wait for zero.
        pub sem_op: i16,
        /// IPC_NOWAIT, SEM_UNDO.
        pub sem_flg: i16,
    }
}

abi_struct! {
    /// `struct semid64_ds`.
    pub struct SemidDs: 88 {
        /// Owner and mode.
        pub sem_perm: IpcPerm,
        /// Seconds of the last operation.
        pub sem_otime: i64,
        /// Seconds of the last change.
        pub sem_ctime: i64,
        /// Semaphores.
        pub sem_nsems: u64,
        /// Zero.
        pub __unused: [u64; 2],
    }
}

abi_struct! {
    /// `struct seminfo`.
    pub struct Seminfo: 40 {
        /// Semaphores of all sets, as an old kernel needed it.
        pub semmap: i32,
        /// Sets.
        pub semmni: i32,
        /// Semaphores of all sets.
        pub semmns: i32,
        /// Undo structures.
        pub semmnu: i32,
        /// Semaphores of a set.
        pub semmsl: i32,
        /// Operations of a call.
        pub semopm: i32,
        /// Undo entries of a process.
        pub semume: i32,
        /// Bytes of an undo structure, or sets in use.
        pub semusz: i32,
        /// Largest value.
        pub semvmx: i32,
        /// Largest amount taken back, or semaphores in use.
        pub semaem: i32,
    }
}

abi_struct! {
    /// `struct msqid64_ds`.
    pub struct MsqidDs: 120 {
        /// Owner and mode.
        pub msg_perm: IpcPerm,
        /// Seconds of the last msgsnd.
        pub msg_stime: i64,
        /// Seconds of the last msgrcv.
        pub msg_rtime: i64,
        /// Seconds of the last change.
        pub msg_ctime: i64,
        /// Bytes in the queue.
        pub msg_cbytes: u64,
        /// Messages in the queue.
        pub msg_qnum: u64,
        /// Bytes that there may be.
        pub msg_qbytes: u64,
        /// Who sent last.
        pub msg_lspid: i32,
        /// Who received last.
        pub msg_lrpid: i32,
        /// Zero.
        pub __unused: [u64; 2],
    }
}

abi_struct! {
    /// `struct msginfo`.
    pub struct Msginfo: 32 {
        /// KiB of all messages, or queues in use.
        pub msgpool: i32,
        /// Entries of a map, or messages.
        pub msgmap: i32,
        /// Bytes of a message.
        pub msgmax: i32,
        /// Bytes of a queue.
        pub msgmnb: i32,
        /// Queues.
        pub msgmni: i32,
        /// Bytes of a segment.
        pub msgssz: i32,
        /// Messages, or their bytes.
        pub msgtql: i32,
        /// Segments.
        pub msgseg: u16,
        /// Zero: what aligns the whole.
        pub __pad: u16,
    }
}

abi_struct! {
    /// `struct shmid64_ds`.
    pub struct ShmidDs: 112 {
        /// Owner and mode.
        pub shm_perm: IpcPerm,
        /// Bytes.
        pub shm_segsz: u64,
        /// Seconds of the last shmat.
        pub shm_atime: i64,
        /// Seconds of the last shmdt.
        pub shm_dtime: i64,
        /// Seconds of the last change.
        pub shm_ctime: i64,
        /// Who made it.
        pub shm_cpid: i32,
        /// Who attached or detached it last.
        pub shm_lpid: i32,
        /// Mappings.
        pub shm_nattch: u64,
        /// Zero.
        pub __unused: [u64; 2],
    }
}

abi_struct! {
    /// `struct shminfo64`.
    pub struct Shminfo: 72 {
        /// Bytes of a segment at most.
        pub shmmax: u64,
        /// And at least.
        pub shmmin: u64,
        /// Segments.
        pub shmmni: u64,
        /// Segments of a process.
        pub shmseg: u64,
        /// Pages of all.
        pub shmall: u64,
        /// Zero.
        pub __unused: [u64; 4],
    }
}

abi_struct! {
    /// `struct shm_info`.
    pub struct ShmUsage: 48 {
        /// Segments.
        pub used_ids: i32,
        /// Zero: what aligns the rest.
        pub __pad: i32,
        /// Pages of all segments.
        pub shm_tot: u64,
        /// Those in memory.
        pub shm_rss: u64,
        /// Those in swap.
        pub shm_swp: u64,
        /// Zero.
        pub swap_attempts: u64,
        /// Zero.
        pub swap_successes: u64,
    }
}
