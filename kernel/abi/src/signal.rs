//! Signals: numbers, codes, `sigaction`, `siginfo`, alternate stacks. What a handler finds on its stack is in [`sigframe`](crate::sigframe).

// Signal numbers.
abi_consts! { u32; checked general;
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGIOT = 6, SIGBUS = 7, SIGFPE = 8,
    SIGKILL = 9, SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15,
    SIGSTKFLT = 16, SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22,
    SIGURG = 23, SIGXCPU = 24, SIGXFSZ = 25, SIGVTALRM = 26, SIGPROF = 27, SIGWINCH = 28, SIGIO = 29, SIGPOLL = 29,
    SIGPWR = 30, SIGSYS = 31, SIGRTMIN = 32,
}

/// The number of signals; they are numbered 1 to 64.
pub const NSIG: u32 = 64;
/// The last real-time signal.
pub const SIGRTMAX: u32 = NSIG;

/// A set of signals: bit n - 1 is signal n.
pub type Sigset = u64;

/// The bit of signal `sig` (1 to 64) in a [`Sigset`]; 0 for any other number.
pub const fn sigmask(sig: u32) -> Sigset {
    if sig >= 1 && sig <= NSIG { 1 << (sig - 1) } else { 0 }
}

// sa_flags.
abi_consts! { u64; checked general;
    SA_NOCLDSTOP = 1, SA_NOCLDWAIT = 2, SA_SIGINFO = 4, SA_UNSUPPORTED = 0x400, SA_EXPOSE_TAGBITS = 0x800,
    SA_RESTORER = 0x4000000, SA_ONSTACK = 0x8000000, SA_RESTART = 0x10000000, SA_NODEFER = 0x40000000,
    SA_RESETHAND = 0x80000000,
}

// Handlers that are no address.
abi_consts! { u64; unchecked;
    SIG_DFL = 0, SIG_IGN = 1,
}

// rt_sigprocmask(2), sigaltstack(2).
abi_consts! { u32; checked general;
    SIG_BLOCK = 0, SIG_UNBLOCK = 1, SIG_SETMASK = 2, SS_ONSTACK = 1, SS_DISABLE = 2, SS_AUTODISARM = 0x80000000,
}

// signalfd4(2).
abi_consts! { u32; unchecked;
    SFD_CLOEXEC = 0o2000000, SFD_NONBLOCK = 0o4000,
}

// Stack sizes.
abi_consts! { usize; checked general;
    MINSIGSTKSZ = 5120, SIGSTKSZ = 16384,
}

// si_code: who sent it.
abi_consts! { i32; checked general;
    SI_USER = 0, SI_KERNEL = 128, SI_QUEUE = -1, SI_TIMER = -2, SI_MESGQ = -3, SI_ASYNCIO = -4, SI_SIGIO = -5,
    SI_TKILL = -6, SI_DETHREAD = -7, SI_ASYNCNL = -60,
}

// si_code of SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP, SIGCHLD, SIGPOLL, SIGSYS.
abi_consts! { i32; checked general;
    ILL_ILLOPC = 1, ILL_ILLOPN = 2, ILL_ILLADR = 3, ILL_ILLTRP = 4, ILL_PRVOPC = 5, ILL_PRVREG = 6, ILL_COPROC = 7,
    ILL_BADSTK = 8, FPE_INTDIV = 1, FPE_INTOVF = 2, FPE_FLTDIV = 3, FPE_FLTOVF = 4, FPE_FLTUND = 5, FPE_FLTRES = 6,
    FPE_FLTINV = 7, FPE_FLTSUB = 8, FPE_FLTUNK = 14, SEGV_MAPERR = 1, SEGV_ACCERR = 2, SEGV_BNDERR = 3,
    SEGV_PKUERR = 4, SEGV_MTEAERR = 8, SEGV_MTESERR = 9, BUS_ADRALN = 1, BUS_ADRERR = 2, BUS_OBJERR = 3,
    BUS_MCEERR_AR = 4, BUS_MCEERR_AO = 5, TRAP_BRKPT = 1, TRAP_TRACE = 2, TRAP_BRANCH = 3, TRAP_HWBKPT = 4,
    TRAP_UNK = 5, TRAP_PERF = 6, CLD_EXITED = 1, CLD_KILLED = 2, CLD_DUMPED = 3, CLD_TRAPPED = 4, CLD_STOPPED = 5,
    CLD_CONTINUED = 6, POLL_IN = 1, POLL_OUT = 2, POLL_MSG = 3, POLL_ERR = 4, POLL_PRI = 5, POLL_HUP = 6,
    SYS_SECCOMP = 1,
}

abi_struct! {
    /// `struct sigaction` as rt_sigaction(2) takes it on arm64.
    pub struct Sigaction: 32 {
        /// SIG_DFL, SIG_IGN or the handler's address.
        pub sa_handler: u64,
        /// SA_*.
        pub sa_flags: u64,
        /// Where the handler returns to, with SA_RESTORER.
        pub sa_restorer: u64,
        /// What is blocked while it runs.
        pub sa_mask: Sigset,
    }
}
check_layout!(Sigaction = linux_raw_sys::general::sigaction { sa_handler, sa_flags, sa_restorer, sa_mask });

abi_struct! {
    /// `stack_t` of sigaltstack(2).
    pub struct StackT: 24 {
        /// Lowest address.
        pub ss_sp: u64,
        /// SS_*.
        pub ss_flags: i32,
        /// Zero.
        pub __pad: u32,
        /// Bytes.
        pub ss_size: u64,
    }
}
check_layout!(StackT = linux_raw_sys::general::sigaltstack { ss_sp, ss_flags, ss_size });

abi_struct! {
    /// `siginfo_t`: a header of 16 bytes and a body whose meaning depends on signal and code.
    pub struct Siginfo: 128 {
        /// Signal.
        pub si_signo: i32,
        /// Error number, or 0.
        pub si_errno: i32,
        /// Who sent it, or why.
        pub si_code: i32,
        /// Zero.
        pub __pad0: i32,
        /// The union; see the functions that make one.
        pub fields: [u64; 14],
    }
}
check_layout!(Siginfo = linux_raw_sys::general::siginfo {});

/// Two 32-bit fields, the first at the lower address.
const fn pair(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

impl Siginfo {
    /// Signal and code with an empty body.
    pub const fn new(signo: u32, code: i32) -> Siginfo {
        Siginfo { si_signo: signo as i32, si_errno: 0, si_code: code, __pad0: 0, fields: [0; 14] }
    }

    /// Sent by a process (`_kill`; with a value `_rt`): si_pid, si_uid, si_value.
    pub const fn from_process(signo: u32, code: i32, pid: i32, uid: u32, value: u64) -> Siginfo {
        let mut s = Siginfo::new(signo, code);
        s.fields[0] = pair(pid as u32, uid);
        s.fields[1] = value;
        s
    }

    /// A fault (`_sigfault`): si_addr.
    pub const fn fault(signo: u32, code: i32, addr: u64) -> Siginfo {
        let mut s = Siginfo::new(signo, code);
        s.fields[0] = addr;
        s
    }

    /// A child changed its state (`_sigchld`): si_pid, si_uid, si_status, si_utime, si_stime (ticks of USER_HZ).
    pub const fn child(code: i32, pid: i32, uid: u32, status: i32, utime: i64, stime: i64) -> Siginfo {
        let mut s = Siginfo::new(SIGCHLD, code);
        s.fields[0] = pair(pid as u32, uid);
        s.fields[1] = status as u32 as u64;
        s.fields[2] = utime as u64;
        s.fields[3] = stime as u64;
        s
    }

    /// A POSIX timer expired (`_timer`): si_timerid, si_overrun, si_value.
    pub const fn timer(signo: u32, id: i32, overrun: i32, value: u64) -> Siginfo {
        let mut s = Siginfo::new(signo, SI_TIMER);
        s.fields[0] = pair(id as u32, overrun as u32);
        s.fields[1] = value;
        s
    }

    /// I/O is possible (`_sigpoll`): si_band, si_fd.
    pub const fn poll(signo: u32, code: i32, band: i64, fd: i32) -> Siginfo {
        let mut s = Siginfo::new(signo, code);
        s.fields[0] = band as u64;
        s.fields[1] = fd as u32 as u64;
        s
    }

    /// A system call was refused (`_sigsys`): si_call_addr, si_syscall, si_arch.
    pub const fn syscall(call_addr: u64, nr: i32, arch: u32) -> Siginfo {
        let mut s = Siginfo::new(SIGSYS, SYS_SECCOMP);
        s.fields[0] = call_addr;
        s.fields[1] = pair(nr as u32, arch);
        s
    }

    /// si_pid of a signal from a process or about a child.
    pub const fn pid(&self) -> i32 {
        self.fields[0] as u32 as i32
    }

    /// si_uid of a signal from a process or about a child.
    pub const fn uid(&self) -> u32 {
        (self.fields[0] >> 32) as u32
    }

    /// si_addr of a fault.
    pub const fn addr(&self) -> u64 {
        self.fields[0]
    }

    /// si_value of a queued signal or a timer.
    pub const fn value(&self) -> u64 {
        self.fields[1]
    }

    /// si_status of a child.
    pub const fn status(&self) -> i32 {
        self.fields[1] as u32 as i32
    }
}

abi_struct! {
    /// `struct signalfd_siginfo`: what a signalfd is read as.
    pub struct SignalfdSiginfo: 128 {
        /// Signal.
        pub ssi_signo: u32,
        /// Error number.
        pub ssi_errno: i32,
        /// si_code.
        pub ssi_code: i32,
        /// si_pid.
        pub ssi_pid: u32,
        /// si_uid.
        pub ssi_uid: u32,
        /// si_fd.
        pub ssi_fd: i32,
        /// Timer.
        pub ssi_tid: u32,
        /// si_band.
        pub ssi_band: u32,
        /// si_overrun.
        pub ssi_overrun: u32,
        /// Trap number.
        pub ssi_trapno: u32,
        /// si_status.
        pub ssi_status: i32,
        /// si_int.
        pub ssi_int: i32,
        /// si_ptr.
        pub ssi_ptr: u64,
        /// si_utime.
        pub ssi_utime: u64,
        /// si_stime.
        pub ssi_stime: u64,
        /// si_addr.
        pub ssi_addr: u64,
        /// Least significant bit of the address.
        pub ssi_addr_lsb: u16,
        /// Zero.
        pub __pad2: u16,
        /// si_syscall.
        pub ssi_syscall: i32,
        /// si_call_addr.
        pub ssi_call_addr: u64,
        /// si_arch.
        pub ssi_arch: u32,
        /// Zero.
        pub __pad: [u8; 28],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_siginfo() {
        let s = Siginfo::child(CLD_EXITED, 42, 1000, 7, 3, 4);
        let b = crate::Pod::as_bytes(&s);
        assert_eq!(u32::from_le_bytes(b[16..20].try_into().unwrap()), 42);
        assert_eq!(u32::from_le_bytes(b[20..24].try_into().unwrap()), 1000);
        assert_eq!(u32::from_le_bytes(b[24..28].try_into().unwrap()), 7);
        assert_eq!(b[32], 3);
        assert_eq!((s.pid(), s.uid(), s.status()), (42, 1000, 7));
        assert_eq!(sigmask(SIGKILL), 0x100);
        assert_eq!(sigmask(0) | sigmask(65), 0);
    }
}
