//! Processes that begin: clone, and clone3 with its structure.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SIGHAND,
    CLONE_THREAD, CLONE_VFORK, CLONE_VM, SIGCHLD,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    clones(a);
    clones_by_structure(a);
}

fn raw_clone(flags: i32) -> isize {
    let r = sys!(clone, flags, 0, 0, 0, 0);
    if r == 0 {
        sys!(exit_group, 7);
    }
    r
}

/// How the child ends that `clone` made with these flags.
fn cloned(flags: i32) -> String {
    let r = raw_clone(flags);
    if r < 0 { r.show() } else { wait(r as i32) }
}

fn clones(a: &mut Calls) {
    a.call("clone", "EINVAL EAGAIN EPERM", "parent_tid child_tid", false)
        .not("ENOMEM", "see --nth")
        .not("ENOSPC", "needs nested name spaces")
        .not("EUSERS", "needs nested name spaces");
    a.ok("fork", || cloned(SIGCHLD))
        .ok("fork-copies-memory", || {
            let at = pages(1);
            fill(at, 1, 3);
            (
                in_child(|| {
                    let seen = i32::from(peek(at));
                    fill(at, 1, 4);
                    seen
                }),
                peek(at),
            )
        })
        .ok("fork-shares-position", || {
            let fd = opened(c"f", "hello");
            (in_child(|| sys!(lseek, fd, 3, 0) as i32), sys!(lseek, fd, 0, 1))
        })
        .ok("files-shared", || {
            let pid = sys!(clone, SIGCHLD | CLONE_FILES, 0, 0, 0, 0);
            if pid == 0 {
                sys!(dup3, 1, 60, 0);
                sys!(exit_group, 0);
            }
            (wait(pid as i32), sys!(fcntl, 60, libc::F_GETFD, 0))
        })
        .ok("fs-shared", || {
            let pid = sys!(clone, SIGCHLD | CLONE_FS, 0, 0, 0, 0);
            if pid == 0 {
                sys!(chdir, c"/");
                sys!(umask, 0o77);
                sys!(exit_group, 0);
            }
            let mut b = [0u8; 64];
            (wait(pid as i32), sys!(getcwd, &mut b, 64), ctext(&b), sys!(umask, 0))
        })
        .ok("vfork-waits-for-exit", || {
            let p = pipe_with(libc::O_NONBLOCK);
            let pid = sys!(clone, SIGCHLD | CLONE_VFORK, 0, 0, 0, 0);
            if pid == 0 {
                sleep_ms(50);
                sys!(write, p.1, c"x", 1);
                sys!(exit_group, 0);
            }
            (sys!(read, p.0, pages(1), 1), wait(pid as i32))
        })
        .ok("parent-tid", || {
            let mut tid = 0i32;
            let pid = sys!(clone, SIGCHLD | CLONE_PARENT_SETTID, 0, &mut tid, 0, 0);
            if pid == 0 {
                sys!(exit_group, 0);
            }
            (tid as isize == pid, wait(pid as i32))
        })
        .ok("child-tid", || {
            let word = sys!(mmap, 0, PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) as usize;
            let pid = sys!(clone, SIGCHLD | CLONE_CHILD_SETTID, 0, 0, 0, word);
            if pid == 0 {
                sys!(exit_group, 0);
            }
            let end = wait(pid as i32);
            // SAFETY: a mapped page.
            (end, unsafe { (word as *const i32).read_volatile() } as isize == pid)
        })
        .ok("clear-tid-wakes", || {
            let word = sys!(mmap, 0, PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) as usize;
            fill(word, 1, 9);
            let pid = sys!(clone, SIGCHLD | CLONE_CHILD_CLEARTID, 0, 0, 0, word);
            if pid == 0 {
                // The word is cleared only where somebody else still uses the memory.
                sys!(exit_group, 0);
            }
            (wait(pid as i32), peek(word))
        })
        .ok("other-signal", || {
            handle(libc::SIGUSR1, 0);
            let pid = raw_clone(libc::SIGUSR1);
            let mut s = 0i32;
            (sys!(wait4, pid, &mut s, libc::__WALL, 0) == pid, ending(s), LAST.load(std::sync::atomic::Ordering::Relaxed))
        })
        .ok("parent", || {
            // A sibling: not ours to wait for.
            let pid = sys!(clone, SIGCHLD, 0, 0, 0, 0);
            if pid == 0 {
                let p = raw_clone(SIGCHLD | CLONE_PARENT);
                sys!(exit_group, i32::from(p > 0));
            }
            let end = wait(pid as i32);
            (end, wait(-1), wait(-1))
        })
        .ok("pidfd", || {
            let mut fd = -1i32;
            let pid = sys!(clone, SIGCHLD | CLONE_PIDFD, 0, &mut fd, 0, 0);
            if pid == 0 {
                sys!(exit_group, 0);
            }
            (fd, sys!(fcntl, fd, libc::F_GETFD, 0), wait(pid as i32))
        })
        .ok("thread", || std::thread::spawn(|| sys!(getpid) != sys!(gettid)).join().unwrap_or(false))
        .ok("alarm-not-inherited", || {
            let tick = libc::timeval { tv_sec: 100, tv_usec: 0 };
            sys!(setitimer, 0, &libc::itimerval { it_interval: tick, it_value: tick }, 0);
            in_child(|| {
                let mut t: libc::itimerval = zero();
                sys!(getitimer, 0, &mut t);
                t.it_value.tv_sec as i32
            })
        })
        .ok("pending-not-inherited", || {
            block(&[libc::SIGUSR1]);
            sys!(kill, sys!(getpid), libc::SIGUSR1);
            in_child(|| {
                let mut m = 9u64;
                sys!(rt_sigpending, &mut m, 8);
                m as i32
            })
        })
        .err("EINVAL-sighand-without-vm", || raw_clone(CLONE_SIGHAND | SIGCHLD))
        .err("EINVAL-thread-without-sighand", || raw_clone(CLONE_THREAD | CLONE_VM | SIGCHLD))
        .err("EINVAL-fs-and-newns", || raw_clone(CLONE_FS | libc::CLONE_NEWNS | SIGCHLD))
        .err("EINVAL-pidfd-and-parent-tid", || raw_clone(CLONE_PIDFD | CLONE_PARENT_SETTID | SIGCHLD))
        .ok("signal-number-ignored", || {
            let pid = raw_clone(100);
            let mut s = 0i32;
            (pid > 0, sys!(wait4, pid, &mut s, libc::__WALL, 0) == pid)
        })
        .err("EAGAIN-limit", || {
            sys!(prlimit64, 0, libc::RLIMIT_NPROC, &[0u64, 0], 0);
            as_user(|| raw_clone(SIGCHLD))
        })
        .err("EPERM-name-space", || as_user(|| raw_clone(SIGCHLD | libc::CLONE_NEWUTS)))
        .bad("parent_tid", || {
            let r = sys!(clone, SIGCHLD | CLONE_PARENT_SETTID, 0, BAD, 0, 0);
            if r == 0 {
                sys!(exit_group, 0);
            }
            (r > 0, wait(r as i32))
        })
        .bad("child_tid", || {
            let r = sys!(clone, SIGCHLD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, 0, 0, 0, BAD);
            if r == 0 {
                sys!(exit_group, 0);
            }
            (r > 0, wait(r as i32))
        })
        .bad("parent_tid-pidfd", || {
            let r = sys!(clone, SIGCHLD | CLONE_PIDFD, 0, BAD, 0, 0);
            if r == 0 {
                sys!(exit_group, 0);
            }
            (r, wait(-1))
        });
}

/// `struct clone_args`.
fn arguments(flags: u64, signal: i32) -> [u64; 11] {
    let mut args = [0u64; 11];
    (args[0], args[4]) = (flags, signal as u64);
    args
}

fn clone3(args: &[u64; 11], size: usize) -> String {
    let r = sys!(clone3, args, size);
    if r == 0 {
        sys!(exit_group, 7);
    }
    if r < 0 { r.show() } else { wait(r as i32) }
}

/// Runs `f` with the directory of a group of version 2, which is called `here`.
fn in_group<R>(f: impl FnOnce(i32) -> R) -> R {
    sys!(mkdirat, CWD, c"groups", 0o755);
    sys!(mount, c"none", c"groups", c"cgroup2", 0, 0);
    sys!(mkdirat, CWD, c"groups/here", 0o755);
    let fd = open(c"groups/here", libc::O_RDONLY | libc::O_DIRECTORY);
    let r = f(fd);
    sys!(close, fd);
    sys!(unlinkat, CWD, c"groups/here", libc::AT_REMOVEDIR);
    file(c"groups/cgroup.subtree_control", "-pids");
    sys!(umount2, c"groups", libc::MNT_DETACH);
    r
}

/// A child that begins in the group whose directory is `fd`: whether it finds itself there.
fn born_in(fd: i32, flags: u64) -> String {
    let mut args = arguments(0x2_0000_0000 | flags, if flags == 0 { SIGCHLD } else { 0 });
    args[10] = fd as u64;
    let r = sys!(clone3, &args, 88);
    if r == 0 {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        sys!(exit_group, i32::from(groups.lines().any(|l| l == "0::/here")));
    }
    if r < 0 { r.show() } else { wait(r as i32) }
}

/// What of POLLPRI and POLLERR a poll finds at once.
fn urgent(fd: i32) -> i32 {
    let mut of = libc::pollfd { fd, events: libc::POLLPRI, revents: 0 };
    sys!(ppoll, &mut of, 1, &[0u64, 0], 0, 8);
    of.revents.into()
}

/// The text of a file from its beginning.
fn read_all(fd: i32) -> String {
    let mut text = [0u8; 256];
    let n = sys!(pread64, fd, &mut text, 256, 0);
    String::from_utf8_lossy(&text[..n.max(0) as usize]).trim_end().replace('\n', ", ")
}

fn clones_by_structure(a: &mut Calls) {
    a.call("clone3", "EINVAL E2BIG EEXIST EPERM EBADF EAGAIN ENOENT EACCES EOPNOTSUPP", "cl_args", false)
        .not("EBUSY", "all controllers are threaded")
        .not("ENOMEM", "see --nth");
    a.ok("fork", || clone3(&arguments(0, SIGCHLD), 88))
        .ok("smallest-structure", || clone3(&arguments(0, SIGCHLD), 64))
        .ok("pidfd", || {
            let mut fd = -1i32;
            let mut args = arguments(CLONE_PIDFD as u64, SIGCHLD);
            args[1] = std::ptr::from_mut(&mut fd) as u64;
            (clone3(&args, 88), fd)
        })
        .ok("chosen-pid", || {
            let want = [0x7abci32];
            let mut args = arguments(0, SIGCHLD);
            (args[8], args[9]) = (ptr(&want) as u64, 1);
            let r = sys!(clone3, &args, 88);
            if r == 0 {
                sys!(exit_group, 0);
            }
            (r, wait(r as i32))
        })
        .ok("clear-signal-handlers", || {
            handle(libc::SIGUSR1, 0);
            let r = sys!(clone3, &arguments(0x1_0000_0000, SIGCHLD), 88);
            if r == 0 {
                let mut old = SigAction::default();
                sys!(rt_sigaction, libc::SIGUSR1, 0, &mut old, 8);
                sys!(exit_group, i32::from(old.handler == 0));
            }
            wait(r as i32)
        })
        .err("EINVAL-size", || clone3(&arguments(0, SIGCHLD), 56))
        .err("EINVAL-signal", || clone3(&arguments(0, 100), 88))
        .err("EINVAL-signal-in-flags", || clone3(&arguments(SIGCHLD as u64, 0), 88))
        .err("EINVAL-detached", || clone3(&arguments(0x0040_0000, SIGCHLD), 88))
        .err("EINVAL-stack-without-size", || {
            let mut args = arguments(0, SIGCHLD);
            args[5] = pages(1) as u64;
            clone3(&args, 88)
        })
        .err("EINVAL-size-without-stack", || {
            let mut args = arguments(0, SIGCHLD);
            args[6] = 4096;
            clone3(&args, 88)
        })
        .err("EINVAL-set-tid-count", || {
            let mut args = arguments(0, SIGCHLD);
            args[9] = 33;
            clone3(&args, 88)
        })
        .err("EINVAL-unknown-flags", || clone3(&arguments(1 << 40, SIGCHLD), 88))
        .err("E2BIG", || {
            let big = [1u64; 600];
            sys!(clone3, &big, 4800)
        })
        .err("E2BIG-non-zero-rest", || {
            let mut big = [0u64; 12];
            (big[4], big[11]) = (SIGCHLD as u64, 1);
            sys!(clone3, &big, 96)
        })
        .err("EEXIST", || {
            let want = [sys!(getpid) as i32];
            let mut args = arguments(0, SIGCHLD);
            (args[8], args[9]) = (ptr(&want) as u64, 1);
            clone3(&args, 88)
        })
        .err("EPERM-chosen-pid", || {
            user();
            let want = [0x7abci32];
            let mut args = arguments(0, SIGCHLD);
            (args[8], args[9]) = (ptr(&want) as u64, 1);
            clone3(&args, 88)
        })
        .err("EAGAIN-limit", || {
            sys!(prlimit64, 0, libc::RLIMIT_NPROC, &[0u64, 0], 0);
            as_user(|| clone3(&arguments(0, SIGCHLD), 88))
        })
        .err("EBADF-cgroup", || {
            let mut args = arguments(0x2_0000_0000, SIGCHLD);
            args[10] = 99;
            clone3(&args, 88)
        })
        .ok("cgroup", || in_group(|fd| born_in(fd, 0)))
        .err("EOPNOTSUPP-cgroup-thread", || in_group(|fd| born_in(fd, (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) as u64)))
        .ok("cgroup-tells-its-events", || {
            in_group(|fd| {
                let events = sys!(openat, fd, c"cgroup.events", libc::O_RDONLY) as i32;
                let new = urgent(events);
                let text = read_all(events);
                let seen = urgent(events);
                let born = born_in(fd, 0);
                (new, text, seen, born, urgent(events), read_all(events), urgent(events))
            })
        })
        .ok("cgroup-that-is-full", || {
            in_group(|fd| {
                file(c"groups/cgroup.subtree_control", "+pids");
                file(c"groups/here/pids.max", "0");
                let events = sys!(openat, fd, c"pids.events", libc::O_RDONLY) as i32;
                (read_all(events), urgent(events), born_in(fd, 0), urgent(events), read_all(events))
            })
        })
        .err("ENOENT-cgroup-removed", || {
            in_group(|fd| {
                sys!(unlinkat, CWD, c"groups/here", libc::AT_REMOVEDIR);
                born_in(fd, 0)
            })
        })
        .err("EBADF-cgroup-no-group", || born_in(open(c".", libc::O_RDONLY), 0))
        .err("EBADF-cgroup-file", || in_group(|_| born_in(open(c"groups/here/cgroup.procs", libc::O_RDONLY), 0)))
        .err("EACCES-cgroup", || in_group(|fd| as_user(|| born_in(fd, 0))))
        .ok("cgroup-threaded", || {
            in_group(|fd| {
                file(c"groups/here/cgroup.type", "threaded");
                born_in(fd, 0)
            })
        })
        .bad("cl_args", || sys!(clone3, BAD, 88))
        .bad("cl_args-edge", || sys!(clone3, edge(64), 88));
}
