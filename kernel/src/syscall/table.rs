//! The one table of system calls: number, shape, function. To add a call, write its function in the file of its group
//! and add a line here; `serve`, the vector's table and the contract tests' list follow.
//!
//! A number that is not in the table, or that does not exist on arm64, answers ENOSYS, with one rate-limited line.

use super::{
    Args, Stop, SysResult, cred, epoll, event, fd, file, futex, info, lock, membarrier, memory, message, mqueue, numa, path, pidfd, poll,
    prctl, process, rw, sched, seal, sendfile, signal, socket, sysv_msg, sysv_sem, sysv_shm, time, user, xattr,
};
use crate::arch::aarch64::entry::{NOT_YET, UserContext, vigil_el0_no_fast_call, vigil_el0_sigreturn};
use crate::task::thread::Thread;
use vigil_abi::{Errno, nr};
use vigil_executor::apart::apart;

/// Entries of the vector's table: one more than the highest number it serves.
pub const NR_CALLS: usize = 452;

/// A call as the vector makes it: arguments in x0–x5, the context in x6, the result in x0.
pub type FastCall = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64, *const UserContext) -> i64;

#[inline(always)]
fn finish(result: SysResult) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(Stop::Errno(e)) => e.to_ret() as i64,
        Err(Stop::Fault { .. } | Stop::NotYet) => NOT_YET,
    }
}

fn answer(result: Result<usize, Errno>) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(e) => e.to_ret() as i64,
    }
}

macro_rules! fast_entry {
    ($f:path) => {{
        extern "C" fn entry(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, context: *const UserContext) -> i64 {
            // SAFETY: the vectors pass the context of the thread that runs on this stack.
            let thread = unsafe { Thread::of_context(context) };
            finish($f(thread, &[a, b, c, d, e, f]))
        }
        entry as FastCall
    }};
}

/// The size of what an asynchronous call returns.
#[cfg(feature = "selftest")]
fn size_of_call<F>(_: fn(&'static Thread, Args<'static>) -> F) -> usize {
    size_of::<F>()
}

macro_rules! calls {
    (@fast sync $f:path) => { fast_entry!($f) };
    (@fast both $f:path, $slow:path) => { fast_entry!($f) };
    (@fast slow $f:path) => { vigil_el0_no_fast_call };
    (@fast own $entry:path, $slow:path) => { $entry };
    (@serve $t:ident $a:ident sync $f:path) => { apart(user::retry($t, || $f($t, $a))).await };
    (@serve $t:ident $a:ident both $fast:path, $f:path) => { apart($f($t, $a)).await };
    (@serve $t:ident $a:ident own $entry:path, $f:path) => { apart($f($t, $a)).await };
    (@serve $t:ident $a:ident slow $f:path) => { apart($f($t, $a)).await };
    (@size sync $f:path) => { 0 };
    (@size both $fast:path, $f:path) => { size_of_call($f as fn(&'static Thread, Args<'static>) -> _) };
    (@size slow $f:path) => { size_of_call($f as fn(&'static Thread, Args<'static>) -> _) };
    (@size own $entry:path, $f:path) => { size_of_call($f as fn(&'static Thread, Args<'static>) -> _) };
    ($($number:ident: $shape:ident $f:path $(, $slow:path)?;)*) => {
        /// What the vector calls, by number; calls that only the thread's future serves have the way there.
        pub static FAST: [FastCall; NR_CALLS] = {
            let mut table: [FastCall; NR_CALLS] = [vigil_el0_no_fast_call; NR_CALLS];
            $(table[nr::$number] = calls!(@fast $shape $f $(, $slow)?);)*
            table
        };

        /// The numbers that are served, ascending as listed.
        pub static PRESENT: &[usize] = &[$(nr::$number),*];

        /// The bytes of each call's future, by name; 0 for calls that have none of their own.
        #[cfg(feature = "selftest")]
        pub fn future_sizes() -> impl Iterator<Item = (&'static str, usize)> {
            [$((stringify!($number), calls!(@size $shape $f $(, $slow)?))),*].into_iter()
        }

        /// Serves call `number` of `thread` in its future; returns what goes into x0.
        ///
        /// Its size is that of its largest arm: calls with large futures box them, fallibly, before any side effect.
        pub async fn serve(thread: &Thread, number: usize, args: Args<'_>) -> i64 {
            match number {
                $(nr::$number => answer(calls!(@serve thread args $shape $f $(, $slow)?)),)*
                _ => answer(super::info::not_implemented(thread, number)),
            }
        }
    };
}

calls! {
    // Descriptors and streams.
    read: both rw::try_read, rw::read;
    write: both rw::try_write, rw::write;
    pread64: both rw::try_pread, rw::pread;
    pwrite64: both rw::try_pwrite, rw::pwrite;
    readv: slow rw::readv;
    writev: both rw::try_writev, rw::writev;
    preadv: slow rw::preadv;
    pwritev: slow rw::pwritev;
    preadv2: slow rw::preadv2;
    pwritev2: slow rw::pwritev2;
    lseek: both rw::try_lseek, rw::lseek;
    sendfile: slow sendfile::sendfile;
    copy_file_range: slow sendfile::copy_file_range;
    ioctl: slow fd::ioctl;
    fcntl: slow fd::fcntl;
    flock: slow lock::flock;
    dup: sync fd::dup;
    dup3: slow fd::dup3;
    close: both fd::try_close, fd::close;
    close_range: slow fd::close_range;
    pipe2: slow fd::pipe2;
    fsync: slow fd::fsync;
    fdatasync: slow fd::fdatasync;
    sync: slow fd::sync;
    syncfs: slow fd::syncfs;
    fadvise64: sync fd::fadvise64;
    readahead: sync fd::readahead;
    memfd_create: slow seal::memfd_create;
    // Polling.
    ppoll: both poll::try_ppoll, poll::ppoll;
    pselect6: slow poll::pselect6;
    // Sockets.
    socket: slow socket::socket;
    socketpair: slow socket::socketpair;
    bind: slow socket::bind;
    listen: slow socket::listen;
    accept: slow socket::accept;
    accept4: slow socket::accept4;
    connect: slow socket::connect;
    getsockname: slow socket::getsockname;
    getpeername: slow socket::getpeername;
    sendto: slow message::sendto;
    recvfrom: slow message::recvfrom;
    sendmsg: slow message::sendmsg;
    recvmsg: slow message::recvmsg;
    sendmmsg: slow message::sendmmsg;
    recvmmsg: slow message::recvmmsg;
    setsockopt: slow socket::setsockopt;
    getsockopt: slow socket::getsockopt;
    shutdown: slow socket::shutdown;
    eventfd2: slow event::eventfd2;
    timerfd_create: slow event::timerfd_create;
    timerfd_settime: slow event::timerfd_settime;
    timerfd_gettime: slow event::timerfd_gettime;
    signalfd4: slow event::signalfd4;
    epoll_create1: slow epoll::epoll_create1;
    epoll_ctl: slow epoll::epoll_ctl;
    epoll_pwait: slow epoll::epoll_pwait;
    epoll_pwait2: slow epoll::epoll_pwait2;
    // Paths.
    openat: both path::try_openat, path::openat;
    openat2: slow path::openat2;
    newfstatat: both path::try_newfstatat, path::newfstatat;
    statx: slow path::statx;
    faccessat: slow path::faccessat;
    faccessat2: slow path::faccessat2;
    mkdirat: slow path::mkdirat;
    mknodat: slow path::mknodat;
    unlinkat: slow path::unlinkat;
    symlinkat: slow path::symlinkat;
    linkat: slow path::linkat;
    renameat: slow path::renameat;
    renameat2: slow path::renameat2;
    readlinkat: slow path::readlinkat;
    truncate: slow path::truncate;
    fchmodat: slow path::fchmodat;
    fchownat: slow path::fchownat;
    utimensat: slow path::utimensat;
    chdir: slow path::chdir;
    chroot: slow path::chroot;
    getcwd: slow path::getcwd;
    statfs: slow path::statfs;
    mount: slow path::mount;
    umount2: slow path::umount2;
    setxattr: slow xattr::setxattr;
    lsetxattr: slow xattr::lsetxattr;
    fsetxattr: slow xattr::fsetxattr;
    getxattr: slow xattr::getxattr;
    lgetxattr: slow xattr::lgetxattr;
    fgetxattr: slow xattr::fgetxattr;
    listxattr: slow xattr::listxattr;
    llistxattr: slow xattr::llistxattr;
    flistxattr: slow xattr::flistxattr;
    removexattr: slow xattr::removexattr;
    lremovexattr: slow xattr::lremovexattr;
    fremovexattr: slow xattr::fremovexattr;
    // Open files.
    fstat: sync file::fstat;
    fstatfs: sync file::fstatfs;
    ftruncate: slow file::ftruncate;
    fallocate: slow file::fallocate;
    fchmod: slow file::fchmod;
    fchown: slow file::fchown;
    fchdir: sync file::fchdir;
    getdents64: slow file::getdents64;
    umask: sync file::umask;
    // Memory.
    brk: slow memory::brk;
    mmap: slow memory::mmap;
    munmap: slow memory::munmap;
    mprotect: slow memory::mprotect;
    mremap: slow memory::mremap;
    madvise: slow memory::madvise;
    msync: slow memory::msync;
    mincore: slow memory::mincore;
    mlock: slow memory::mlock;
    mlock2: slow memory::mlock2;
    munlock: slow memory::munlock;
    mlockall: slow memory::mlockall;
    munlockall: slow memory::munlockall;
    membarrier: slow membarrier::membarrier;
    get_mempolicy: slow numa::get_mempolicy;
    set_mempolicy: slow numa::set_mempolicy;
    mbind: slow numa::mbind;
    migrate_pages: slow numa::migrate_pages;
    move_pages: slow numa::move_pages;
    // Processes.
    clone: slow process::clone;
    clone3: slow process::clone3;
    execve: slow process::execve;
    execveat: slow process::execveat;
    exit: slow process::exit;
    exit_group: slow process::exit_group;
    wait4: slow process::wait4;
    waitid: slow process::waitid;
    pidfd_open: slow pidfd::pidfd_open;
    pidfd_send_signal: slow pidfd::pidfd_send_signal;
    pidfd_getfd: slow pidfd::pidfd_getfd;
    getpid: sync process::getpid;
    getppid: sync process::getppid;
    gettid: sync process::gettid;
    set_tid_address: sync process::set_tid_address;
    setpgid: sync process::setpgid;
    getpgid: sync process::getpgid;
    setsid: sync process::setsid;
    getsid: sync process::getsid;
    prctl: slow prctl::prctl;
    personality: sync prctl::personality;
    getrlimit: sync process::getrlimit;
    setrlimit: sync process::setrlimit;
    prlimit64: both process::try_prlimit64, process::prlimit64;
    getrusage: sync process::getrusage;
    times: sync process::times;
    // Identity.
    getuid: sync cred::getuid;
    geteuid: sync cred::geteuid;
    getgid: sync cred::getgid;
    getegid: sync cred::getegid;
    getresuid: sync cred::getresuid;
    getresgid: sync cred::getresgid;
    setuid: sync cred::setuid;
    setgid: sync cred::setgid;
    setreuid: sync cred::setreuid;
    setregid: sync cred::setregid;
    setresuid: sync cred::setresuid;
    setresgid: sync cred::setresgid;
    setfsuid: sync cred::setfsuid;
    setfsgid: sync cred::setfsgid;
    getgroups: sync cred::getgroups;
    setgroups: sync cred::setgroups;
    capget: sync cred::capget;
    capset: sync cred::capset;
    // Signals.
    rt_sigaction: both signal::try_rt_sigaction, signal::rt_sigaction;
    rt_sigprocmask: both signal::try_rt_sigprocmask, signal::rt_sigprocmask;
    rt_sigpending: sync signal::rt_sigpending;
    rt_sigsuspend: slow signal::rt_sigsuspend;
    rt_sigtimedwait: slow signal::rt_sigtimedwait;
    rt_sigqueueinfo: sync signal::rt_sigqueueinfo;
    rt_tgsigqueueinfo: sync signal::rt_tgsigqueueinfo;
    rt_sigreturn: own vigil_el0_sigreturn, signal::rt_sigreturn;
    sigaltstack: sync signal::sigaltstack;
    kill: sync signal::kill;
    tkill: sync signal::tkill;
    tgkill: sync signal::tgkill;
    restart_syscall: slow signal::restart_syscall;
    // Futexes.
    futex: both futex::try_futex, futex::futex;
    set_robust_list: sync futex::set_robust_list;
    get_robust_list: sync futex::get_robust_list;
    // POSIX message queues.
    mq_open: slow mqueue::mq_open;
    mq_unlink: slow mqueue::mq_unlink;
    mq_timedsend: slow mqueue::mq_timedsend;
    mq_timedreceive: slow mqueue::mq_timedreceive;
    mq_notify: slow mqueue::mq_notify;
    mq_getsetattr: slow mqueue::mq_getsetattr;
    // System V IPC.
    semget: slow sysv_sem::semget;
    semop: slow sysv_sem::semop;
    semtimedop: slow sysv_sem::semtimedop;
    semctl: slow sysv_sem::semctl;
    msgget: slow sysv_msg::msgget;
    msgsnd: slow sysv_msg::msgsnd;
    msgrcv: slow sysv_msg::msgrcv;
    msgctl: slow sysv_msg::msgctl;
    shmget: slow sysv_shm::shmget;
    shmat: slow sysv_shm::shmat;
    shmdt: slow sysv_shm::shmdt;
    shmctl: slow sysv_shm::shmctl;
    // Time.
    clock_gettime: sync time::clock_gettime;
    clock_settime: sync time::clock_settime;
    clock_adjtime: sync time::clock_adjtime;
    adjtimex: sync time::adjtimex;
    clock_getres: sync time::clock_getres;
    clock_nanosleep: both time::try_clock_nanosleep, time::clock_nanosleep;
    nanosleep: both time::try_nanosleep, time::nanosleep;
    gettimeofday: sync time::gettimeofday;
    settimeofday: sync time::settimeofday;
    getitimer: sync time::getitimer;
    setitimer: sync time::setitimer;
    timer_create: sync time::timer_create;
    timer_settime: sync time::timer_settime;
    timer_gettime: sync time::timer_gettime;
    timer_getoverrun: sync time::timer_getoverrun;
    timer_delete: sync time::timer_delete;
    // Scheduling.
    sched_yield: slow sched::sched_yield;
    sched_setscheduler: sync sched::sched_setscheduler;
    sched_getscheduler: sync sched::sched_getscheduler;
    sched_setparam: sync sched::sched_setparam;
    sched_getparam: sync sched::sched_getparam;
    sched_setattr: sync sched::sched_setattr;
    sched_getattr: sync sched::sched_getattr;
    sched_get_priority_max: sync sched::sched_get_priority_max;
    sched_get_priority_min: sync sched::sched_get_priority_min;
    sched_rr_get_interval: sync sched::sched_rr_get_interval;
    sched_setaffinity: slow sched::sched_setaffinity;
    sched_getaffinity: sync sched::sched_getaffinity;
    setpriority: sync sched::setpriority;
    getpriority: sync sched::getpriority;
    getcpu: sync sched::getcpu;
    // The system.
    uname: sync info::uname;
    sysinfo: sync info::sysinfo;
    getrandom: slow info::getrandom;
    sethostname: sync info::sethostname;
    setdomainname: sync info::setdomainname;
    syslog: slow info::syslog;
    reboot: slow info::reboot;
}

/// Whether `number` is served.
pub fn is_present(number: usize) -> bool {
    PRESENT.contains(&number)
}
