//! futex(2): operations, bits of the word, robust lists, rseq.

// Operations.
abi_consts! { u32; checked general;
    FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_FD = 2, FUTEX_REQUEUE = 3, FUTEX_CMP_REQUEUE = 4, FUTEX_WAKE_OP = 5,
    FUTEX_LOCK_PI = 6, FUTEX_UNLOCK_PI = 7, FUTEX_TRYLOCK_PI = 8, FUTEX_WAIT_BITSET = 9, FUTEX_WAKE_BITSET = 10,
    FUTEX_WAIT_REQUEUE_PI = 11, FUTEX_CMP_REQUEUE_PI = 12, FUTEX_LOCK_PI2 = 13, FUTEX_PRIVATE_FLAG = 128,
    FUTEX_CLOCK_REALTIME = 256,
}

// Bits of the word, FUTEX_WAKE_OP.
abi_consts! { u32; checked general;
    FUTEX_WAITERS = 0x80000000, FUTEX_OWNER_DIED = 0x40000000, FUTEX_TID_MASK = 0x3fffffff, FUTEX_OP_SET = 0,
    FUTEX_OP_ADD = 1, FUTEX_OP_OR = 2, FUTEX_OP_ANDN = 3, FUTEX_OP_XOR = 4, FUTEX_OP_OPARG_SHIFT = 8,
    FUTEX_OP_CMP_EQ = 0, FUTEX_OP_CMP_NE = 1, FUTEX_OP_CMP_LT = 2, FUTEX_OP_CMP_LE = 3, FUTEX_OP_CMP_GT = 4,
    FUTEX_OP_CMP_GE = 5, ROBUST_LIST_LIMIT = 0x800, FUTEX_WAITV_MAX = 0x80, FUTEX_32 = 2,
}

// Command without its flags; a bit set that matches all.
abi_consts! { u32; unchecked;
    FUTEX_CMD_MASK = !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), FUTEX_BITSET_MATCH_ANY = u32::MAX,
}

// rseq(2).
abi_consts! { u32; unchecked;
    RSEQ_FLAG_UNREGISTER = 1, RSEQ_CS_FLAG_NO_RESTART_ON_PREEMPT = 1, RSEQ_CS_FLAG_NO_RESTART_ON_SIGNAL = 2,
    RSEQ_CS_FLAG_NO_RESTART_ON_MIGRATE = 4,
}

abi_struct! {
    /// `struct robust_list_head`.
    pub struct RobustListHead: 24 {
        /// First element, or the head itself when empty.
        pub list: u64,
        /// From an element to its futex word.
        pub futex_offset: i64,
        /// Element that is being locked or unlocked.
        pub list_op_pending: u64,
    }
}
check_layout!(RobustListHead = linux_raw_sys::general::robust_list_head { list, futex_offset, list_op_pending });

abi_struct! {
    /// `struct futex_waitv`.
    pub struct FutexWaitv: 24 {
        /// Expected value.
        pub val: u64,
        /// Address.
        pub uaddr: u64,
        /// FUTEX_32, FUTEX_PRIVATE_FLAG.
        pub flags: u32,
        /// Zero.
        pub __reserved: u32,
    }
}
check_layout!(FutexWaitv = linux_raw_sys::general::futex_waitv { val, uaddr, flags });

abi_struct! {
    /// `struct rseq`, as of Linux 6.1 (32 bytes, aligned to 32 by the user).
    pub struct Rseq: 32 {
        /// CPU at the section's start.
        pub cpu_id_start: u32,
        /// CPU, or -1 uninitialised, -2 failed.
        pub cpu_id: u32,
        /// The section that runs, or 0.
        pub rseq_cs: u64,
        /// Flags.
        pub flags: u32,
        /// Unused.
        pub __pad: [u32; 3],
    }
}

abi_struct! {
    /// `struct rseq_cs`: a restartable section.
    pub struct RseqCs: 32 {
        /// 0.
        pub version: u32,
        /// RSEQ_CS_FLAG_*.
        pub flags: u32,
        /// First instruction.
        pub start_ip: u64,
        /// Bytes behind it.
        pub post_commit_offset: u64,
        /// Where to go when it is interrupted.
        pub abort_ip: u64,
    }
}
