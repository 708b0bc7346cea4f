//! System-call numbers of arm64 (`asm-generic/unistd.h`) and their names.
//!
//! Numbers that are not in the table (244-259, 295-402 and all above [`NR_MAX`]) were never given out on arm64.

macro_rules! syscalls {
    ($($name:ident = $value:literal,)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`(2).")]
            #[allow(non_upper_case_globals, reason = "a system call is known by its lower-case name")]
            pub const $name: usize = $value;
        )*

        /// The call's name, or `"?"` for a number that was never given out.
        pub const fn name(nr: usize) -> &'static str {
            if nr < NAMES.len() { NAMES[nr] } else { "?" }
        }

        /// Every call, by ascending number.
        pub static ALL: &[(usize, &str)] = &[$(($value, stringify!($name)),)*];

        static NAMES: [&str; NR_MAX + 1] = {
            let mut names = ["?"; NR_MAX + 1];
            $(names[$value] = stringify!($name);)*
            names
        };
    };
}

syscalls! {
    io_setup = 0, io_destroy = 1, io_submit = 2, io_cancel = 3, io_getevents = 4, setxattr = 5, lsetxattr = 6,
    fsetxattr = 7, getxattr = 8, lgetxattr = 9, fgetxattr = 10, listxattr = 11, llistxattr = 12, flistxattr = 13,
    removexattr = 14, lremovexattr = 15, fremovexattr = 16, getcwd = 17, lookup_dcookie = 18, eventfd2 = 19,
    epoll_create1 = 20, epoll_ctl = 21, epoll_pwait = 22, dup = 23, dup3 = 24, fcntl = 25, inotify_init1 = 26,
    inotify_add_watch = 27, inotify_rm_watch = 28, ioctl = 29, ioprio_set = 30, ioprio_get = 31, flock = 32,
    mknodat = 33, mkdirat = 34, unlinkat = 35, symlinkat = 36, linkat = 37, renameat = 38, umount2 = 39,
    mount = 40, pivot_root = 41, nfsservctl = 42, statfs = 43, fstatfs = 44, truncate = 45, ftruncate = 46,
    fallocate = 47, faccessat = 48, chdir = 49, fchdir = 50, chroot = 51, fchmod = 52, fchmodat = 53,
    fchownat = 54, fchown = 55, openat = 56, close = 57, vhangup = 58, pipe2 = 59, quotactl = 60, getdents64 = 61,
    lseek = 62, read = 63, write = 64, readv = 65, writev = 66, pread64 = 67, pwrite64 = 68, preadv = 69,
    pwritev = 70, sendfile = 71, pselect6 = 72, ppoll = 73, signalfd4 = 74, vmsplice = 75, splice = 76, tee = 77,
    readlinkat = 78, newfstatat = 79, fstat = 80, sync = 81, fsync = 82, fdatasync = 83, sync_file_range = 84,
    timerfd_create = 85, timerfd_settime = 86, timerfd_gettime = 87, utimensat = 88, acct = 89, capget = 90,
    capset = 91, personality = 92, exit = 93, exit_group = 94, waitid = 95, set_tid_address = 96, unshare = 97,
    futex = 98, set_robust_list = 99, get_robust_list = 100, nanosleep = 101, getitimer = 102, setitimer = 103,
    kexec_load = 104, init_module = 105, delete_module = 106, timer_create = 107, timer_gettime = 108,
    timer_getoverrun = 109, timer_settime = 110, timer_delete = 111, clock_settime = 112, clock_gettime = 113,
    clock_getres = 114, clock_nanosleep = 115, syslog = 116, ptrace = 117, sched_setparam = 118,
    sched_setscheduler = 119, sched_getscheduler = 120, sched_getparam = 121, sched_setaffinity = 122,
    sched_getaffinity = 123, sched_yield = 124, sched_get_priority_max = 125, sched_get_priority_min = 126,
    sched_rr_get_interval = 127, restart_syscall = 128, kill = 129, tkill = 130, tgkill = 131, sigaltstack = 132,
    rt_sigsuspend = 133, rt_sigaction = 134, rt_sigprocmask = 135, rt_sigpending = 136, rt_sigtimedwait = 137,
    rt_sigqueueinfo = 138, rt_sigreturn = 139, setpriority = 140, getpriority = 141, reboot = 142, setregid = 143,
    setgid = 144, setreuid = 145, setuid = 146, setresuid = 147, getresuid = 148, setresgid = 149, getresgid = 150,
    setfsuid = 151, setfsgid = 152, times = 153, setpgid = 154, getpgid = 155, getsid = 156, setsid = 157,
    getgroups = 158, setgroups = 159, uname = 160, sethostname = 161, setdomainname = 162, getrlimit = 163,
    setrlimit = 164, getrusage = 165, umask = 166, prctl = 167, getcpu = 168, gettimeofday = 169,
    settimeofday = 170, adjtimex = 171, getpid = 172, getppid = 173, getuid = 174, geteuid = 175, getgid = 176,
    getegid = 177, gettid = 178, sysinfo = 179, mq_open = 180, mq_unlink = 181, mq_timedsend = 182,
    mq_timedreceive = 183, mq_notify = 184, mq_getsetattr = 185, msgget = 186, msgctl = 187, msgrcv = 188,
    msgsnd = 189, semget = 190, semctl = 191, semtimedop = 192, semop = 193, shmget = 194, shmctl = 195,
    shmat = 196, shmdt = 197, socket = 198, socketpair = 199, bind = 200, listen = 201, accept = 202,
    connect = 203, getsockname = 204, getpeername = 205, sendto = 206, recvfrom = 207, setsockopt = 208,
    getsockopt = 209, shutdown = 210, sendmsg = 211, recvmsg = 212, readahead = 213, brk = 214, munmap = 215,
    mremap = 216, add_key = 217, request_key = 218, keyctl = 219, clone = 220, execve = 221, mmap = 222,
    fadvise64 = 223, swapon = 224, swapoff = 225, mprotect = 226, msync = 227, mlock = 228, munlock = 229,
    mlockall = 230, munlockall = 231, mincore = 232, madvise = 233, remap_file_pages = 234, mbind = 235,
    get_mempolicy = 236, set_mempolicy = 237, migrate_pages = 238, move_pages = 239, rt_tgsigqueueinfo = 240,
    perf_event_open = 241, accept4 = 242, recvmmsg = 243, wait4 = 260, prlimit64 = 261, fanotify_init = 262,
    fanotify_mark = 263, name_to_handle_at = 264, open_by_handle_at = 265, clock_adjtime = 266, syncfs = 267,
    setns = 268, sendmmsg = 269, process_vm_readv = 270, process_vm_writev = 271, kcmp = 272, finit_module = 273,
    sched_setattr = 274, sched_getattr = 275, renameat2 = 276, seccomp = 277, getrandom = 278, memfd_create = 279,
    bpf = 280, execveat = 281, userfaultfd = 282, membarrier = 283, mlock2 = 284, copy_file_range = 285,
    preadv2 = 286, pwritev2 = 287, pkey_mprotect = 288, pkey_alloc = 289, pkey_free = 290, statx = 291,
    io_pgetevents = 292, rseq = 293, kexec_file_load = 294, pidfd_send_signal = 424, io_uring_setup = 425,
    io_uring_enter = 426, io_uring_register = 427, open_tree = 428, move_mount = 429, fsopen = 430, fsconfig = 431,
    fsmount = 432, fspick = 433, pidfd_open = 434, clone3 = 435, close_range = 436, openat2 = 437,
    pidfd_getfd = 438, faccessat2 = 439, process_madvise = 440, epoll_pwait2 = 441, mount_setattr = 442,
    quotactl_fd = 443, landlock_create_ruleset = 444, landlock_add_rule = 445, landlock_restrict_self = 446,
    memfd_secret = 447, process_mrelease = 448, futex_waitv = 449, set_mempolicy_home_node = 450, cachestat = 451,
    fchmodat2 = 452, map_shadow_stack = 453, futex_wake = 454, futex_wait = 455, futex_requeue = 456,
    statmount = 457, listmount = 458, lsm_get_self_attr = 459, lsm_set_self_attr = 460, lsm_list_modules = 461,
    mseal = 462, setxattrat = 463, getxattrat = 464, listxattrat = 465, removexattrat = 466, open_tree_attr = 467,
    file_getattr = 468, file_setattr = 469,
}

/// The largest number given out.
pub const NR_MAX: usize = 469;

#[cfg(target_arch = "aarch64")]
const _: () = {
    use linux_raw_sys::general as raw;
    macro_rules! check {
        ($($ours:expr => $theirs:ident),* $(,)?) => { $(assert!($ours == raw::$theirs as usize);)* };
    }
    check! {
        io_setup => __NR_io_setup, io_destroy => __NR_io_destroy, io_submit => __NR_io_submit,
        io_cancel => __NR_io_cancel, io_getevents => __NR_io_getevents, setxattr => __NR_setxattr,
        lsetxattr => __NR_lsetxattr, fsetxattr => __NR_fsetxattr, getxattr => __NR_getxattr,
        lgetxattr => __NR_lgetxattr, fgetxattr => __NR_fgetxattr, listxattr => __NR_listxattr,
        llistxattr => __NR_llistxattr, flistxattr => __NR_flistxattr, removexattr => __NR_removexattr,
        lremovexattr => __NR_lremovexattr, fremovexattr => __NR_fremovexattr, getcwd => __NR_getcwd,
        lookup_dcookie => __NR_lookup_dcookie, eventfd2 => __NR_eventfd2, epoll_create1 => __NR_epoll_create1,
        epoll_ctl => __NR_epoll_ctl, epoll_pwait => __NR_epoll_pwait, dup => __NR_dup, dup3 => __NR_dup3,
        fcntl => __NR_fcntl, inotify_init1 => __NR_inotify_init1, inotify_add_watch => __NR_inotify_add_watch,
        inotify_rm_watch => __NR_inotify_rm_watch, ioctl => __NR_ioctl, ioprio_set => __NR_ioprio_set,
        ioprio_get => __NR_ioprio_get, flock => __NR_flock, mknodat => __NR_mknodat, mkdirat => __NR_mkdirat,
        unlinkat => __NR_unlinkat, symlinkat => __NR_symlinkat, linkat => __NR_linkat, renameat => __NR_renameat,
        umount2 => __NR_umount2, mount => __NR_mount, pivot_root => __NR_pivot_root, nfsservctl => __NR_nfsservctl,
        statfs => __NR_statfs, fstatfs => __NR_fstatfs, truncate => __NR_truncate, ftruncate => __NR_ftruncate,
        fallocate => __NR_fallocate, faccessat => __NR_faccessat, chdir => __NR_chdir, fchdir => __NR_fchdir,
        chroot => __NR_chroot, fchmod => __NR_fchmod, fchmodat => __NR_fchmodat, fchownat => __NR_fchownat,
        fchown => __NR_fchown, openat => __NR_openat, close => __NR_close, vhangup => __NR_vhangup,
        pipe2 => __NR_pipe2, quotactl => __NR_quotactl, getdents64 => __NR_getdents64, lseek => __NR_lseek,
        read => __NR_read, write => __NR_write, readv => __NR_readv, writev => __NR_writev,
        pread64 => __NR_pread64, pwrite64 => __NR_pwrite64, preadv => __NR_preadv, pwritev => __NR_pwritev,
        sendfile => __NR_sendfile, pselect6 => __NR_pselect6, ppoll => __NR_ppoll, signalfd4 => __NR_signalfd4,
        vmsplice => __NR_vmsplice, splice => __NR_splice, tee => __NR_tee, readlinkat => __NR_readlinkat,
        newfstatat => __NR_newfstatat, fstat => __NR_fstat, sync => __NR_sync, fsync => __NR_fsync,
        fdatasync => __NR_fdatasync, sync_file_range => __NR_sync_file_range,
        timerfd_create => __NR_timerfd_create, timerfd_settime => __NR_timerfd_settime,
        timerfd_gettime => __NR_timerfd_gettime, utimensat => __NR_utimensat, acct => __NR_acct,
        capget => __NR_capget, capset => __NR_capset, personality => __NR_personality, exit => __NR_exit,
        exit_group => __NR_exit_group, waitid => __NR_waitid, set_tid_address => __NR_set_tid_address,
        unshare => __NR_unshare, futex => __NR_futex, set_robust_list => __NR_set_robust_list,
        get_robust_list => __NR_get_robust_list, nanosleep => __NR_nanosleep, getitimer => __NR_getitimer,
        setitimer => __NR_setitimer, kexec_load => __NR_kexec_load, init_module => __NR_init_module,
        delete_module => __NR_delete_module, timer_create => __NR_timer_create,
        timer_gettime => __NR_timer_gettime, timer_getoverrun => __NR_timer_getoverrun,
        timer_settime => __NR_timer_settime, timer_delete => __NR_timer_delete,
        clock_settime => __NR_clock_settime, clock_gettime => __NR_clock_gettime,
        clock_getres => __NR_clock_getres, clock_nanosleep => __NR_clock_nanosleep, syslog => __NR_syslog,
        ptrace => __NR_ptrace, sched_setparam => __NR_sched_setparam,
        sched_setscheduler => __NR_sched_setscheduler, sched_getscheduler => __NR_sched_getscheduler,
        sched_getparam => __NR_sched_getparam, sched_setaffinity => __NR_sched_setaffinity,
        sched_getaffinity => __NR_sched_getaffinity, sched_yield => __NR_sched_yield,
        sched_get_priority_max => __NR_sched_get_priority_max,
        sched_get_priority_min => __NR_sched_get_priority_min, sched_rr_get_interval => __NR_sched_rr_get_interval,
        restart_syscall => __NR_restart_syscall, kill => __NR_kill, tkill => __NR_tkill, tgkill => __NR_tgkill,
        sigaltstack => __NR_sigaltstack, rt_sigsuspend => __NR_rt_sigsuspend, rt_sigaction => __NR_rt_sigaction,
        rt_sigprocmask => __NR_rt_sigprocmask, rt_sigpending => __NR_rt_sigpending,
        rt_sigtimedwait => __NR_rt_sigtimedwait, rt_sigqueueinfo => __NR_rt_sigqueueinfo,
        rt_sigreturn => __NR_rt_sigreturn, setpriority => __NR_setpriority, getpriority => __NR_getpriority,
        reboot => __NR_reboot, setregid => __NR_setregid, setgid => __NR_setgid, setreuid => __NR_setreuid,
        setuid => __NR_setuid, setresuid => __NR_setresuid, getresuid => __NR_getresuid,
        setresgid => __NR_setresgid, getresgid => __NR_getresgid, setfsuid => __NR_setfsuid,
        setfsgid => __NR_setfsgid, times => __NR_times, setpgid => __NR_setpgid, getpgid => __NR_getpgid,
        getsid => __NR_getsid, setsid => __NR_setsid, getgroups => __NR_getgroups, setgroups => __NR_setgroups,
        uname => __NR_uname, sethostname => __NR_sethostname, setdomainname => __NR_setdomainname,
        getrlimit => __NR_getrlimit, setrlimit => __NR_setrlimit, getrusage => __NR_getrusage, umask => __NR_umask,
        prctl => __NR_prctl, getcpu => __NR_getcpu, gettimeofday => __NR_gettimeofday,
        settimeofday => __NR_settimeofday, adjtimex => __NR_adjtimex, getpid => __NR_getpid,
        getppid => __NR_getppid, getuid => __NR_getuid, geteuid => __NR_geteuid, getgid => __NR_getgid,
        getegid => __NR_getegid, gettid => __NR_gettid, sysinfo => __NR_sysinfo, mq_open => __NR_mq_open,
        mq_unlink => __NR_mq_unlink, mq_timedsend => __NR_mq_timedsend, mq_timedreceive => __NR_mq_timedreceive,
        mq_notify => __NR_mq_notify, mq_getsetattr => __NR_mq_getsetattr, msgget => __NR_msgget,
        msgctl => __NR_msgctl, msgrcv => __NR_msgrcv, msgsnd => __NR_msgsnd, semget => __NR_semget,
        semctl => __NR_semctl, semtimedop => __NR_semtimedop, semop => __NR_semop, shmget => __NR_shmget,
        shmctl => __NR_shmctl, shmat => __NR_shmat, shmdt => __NR_shmdt, socket => __NR_socket,
        socketpair => __NR_socketpair, bind => __NR_bind, listen => __NR_listen, accept => __NR_accept,
        connect => __NR_connect, getsockname => __NR_getsockname, getpeername => __NR_getpeername,
        sendto => __NR_sendto, recvfrom => __NR_recvfrom, setsockopt => __NR_setsockopt,
        getsockopt => __NR_getsockopt, shutdown => __NR_shutdown, sendmsg => __NR_sendmsg, recvmsg => __NR_recvmsg,
        readahead => __NR_readahead, brk => __NR_brk, munmap => __NR_munmap, mremap => __NR_mremap,
        add_key => __NR_add_key, request_key => __NR_request_key, keyctl => __NR_keyctl, clone => __NR_clone,
        execve => __NR_execve, mmap => __NR_mmap, fadvise64 => __NR_fadvise64, swapon => __NR_swapon,
        swapoff => __NR_swapoff, mprotect => __NR_mprotect, msync => __NR_msync, mlock => __NR_mlock,
        munlock => __NR_munlock, mlockall => __NR_mlockall, munlockall => __NR_munlockall, mincore => __NR_mincore,
        madvise => __NR_madvise, remap_file_pages => __NR_remap_file_pages, mbind => __NR_mbind,
        get_mempolicy => __NR_get_mempolicy, set_mempolicy => __NR_set_mempolicy,
        migrate_pages => __NR_migrate_pages, move_pages => __NR_move_pages,
        rt_tgsigqueueinfo => __NR_rt_tgsigqueueinfo, perf_event_open => __NR_perf_event_open,
        accept4 => __NR_accept4, recvmmsg => __NR_recvmmsg, wait4 => __NR_wait4, prlimit64 => __NR_prlimit64,
        fanotify_init => __NR_fanotify_init, fanotify_mark => __NR_fanotify_mark,
        name_to_handle_at => __NR_name_to_handle_at, open_by_handle_at => __NR_open_by_handle_at,
        clock_adjtime => __NR_clock_adjtime, syncfs => __NR_syncfs, setns => __NR_setns, sendmmsg => __NR_sendmmsg,
        process_vm_readv => __NR_process_vm_readv, process_vm_writev => __NR_process_vm_writev, kcmp => __NR_kcmp,
        finit_module => __NR_finit_module, sched_setattr => __NR_sched_setattr,
        sched_getattr => __NR_sched_getattr, renameat2 => __NR_renameat2, seccomp => __NR_seccomp,
        getrandom => __NR_getrandom, memfd_create => __NR_memfd_create, bpf => __NR_bpf, execveat => __NR_execveat,
        userfaultfd => __NR_userfaultfd, membarrier => __NR_membarrier, mlock2 => __NR_mlock2,
        copy_file_range => __NR_copy_file_range, preadv2 => __NR_preadv2, pwritev2 => __NR_pwritev2,
        pkey_mprotect => __NR_pkey_mprotect, pkey_alloc => __NR_pkey_alloc, pkey_free => __NR_pkey_free,
        statx => __NR_statx, io_pgetevents => __NR_io_pgetevents, rseq => __NR_rseq,
        kexec_file_load => __NR_kexec_file_load, pidfd_send_signal => __NR_pidfd_send_signal,
        io_uring_setup => __NR_io_uring_setup, io_uring_enter => __NR_io_uring_enter,
        io_uring_register => __NR_io_uring_register, open_tree => __NR_open_tree, move_mount => __NR_move_mount,
        fsopen => __NR_fsopen, fsconfig => __NR_fsconfig, fsmount => __NR_fsmount, fspick => __NR_fspick,
        pidfd_open => __NR_pidfd_open, clone3 => __NR_clone3, close_range => __NR_close_range,
        openat2 => __NR_openat2, pidfd_getfd => __NR_pidfd_getfd, faccessat2 => __NR_faccessat2,
        process_madvise => __NR_process_madvise, epoll_pwait2 => __NR_epoll_pwait2,
        mount_setattr => __NR_mount_setattr, quotactl_fd => __NR_quotactl_fd,
        landlock_create_ruleset => __NR_landlock_create_ruleset, landlock_add_rule => __NR_landlock_add_rule,
        landlock_restrict_self => __NR_landlock_restrict_self, memfd_secret => __NR_memfd_secret,
        process_mrelease => __NR_process_mrelease, futex_waitv => __NR_futex_waitv,
        set_mempolicy_home_node => __NR_set_mempolicy_home_node, cachestat => __NR_cachestat,
        fchmodat2 => __NR_fchmodat2, map_shadow_stack => __NR_map_shadow_stack, futex_wake => __NR_futex_wake,
        futex_wait => __NR_futex_wait, futex_requeue => __NR_futex_requeue, statmount => __NR_statmount,
        listmount => __NR_listmount, lsm_get_self_attr => __NR_lsm_get_self_attr,
        lsm_set_self_attr => __NR_lsm_set_self_attr, lsm_list_modules => __NR_lsm_list_modules,
        mseal => __NR_mseal, setxattrat => __NR_setxattrat, getxattrat => __NR_getxattrat,
        listxattrat => __NR_listxattrat, removexattrat => __NR_removexattrat,
        open_tree_attr => __NR_open_tree_attr, file_getattr => __NR_file_getattr,
        file_setattr => __NR_file_setattr,
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_numbers() {
        assert_eq!(name(read), "read");
        assert_eq!(name(clone3), "clone3");
        assert_eq!(name(250), "?");
        assert_eq!(name(usize::MAX), "?");
        assert!(ALL.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
