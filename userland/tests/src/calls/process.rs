//! Processes: clone, exit, identities.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM,
    O_CLOEXEC, SIGCHLD,
};
use std::ffi::{CStr, CString};

/// Adds the group.
pub fn add(a: &mut Calls) {
    clones(a);
    clones_by_structure(a);
    exits(a);
    identities(a);
}

/// The path of this program.
pub fn own() -> CString {
    // SAFETY: AT_EXECFN points to a string that lives as long as the process.
    unsafe { CStr::from_ptr(libc::getauxval(libc::AT_EXECFN) as *const libc::c_char) }.to_owned()
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
            (in_child(|| {
                let seen = i32::from(peek(at));
                fill(at, 1, 4);
                seen
            }), peek(at))
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

/// A child whose leader has ended; another thread of it sleeps.
fn leaderless() -> i32 {
    let pid = child(|| {
        std::thread::spawn(|| sleep_ms(10_000));
        sys!(exit, 5);
        1
    });
    sleep_ms(50);
    pid
}

fn exits(a: &mut Calls) {
    a.call("exit", "", "", false);
    a.ok("status", || {
        in_child(|| {
            sys!(exit, 0x1234);
            1
        })
    })
    .ok("one-thread-of-two", || {
        in_child(|| {
            let t = std::thread::spawn(|| sleep_ms(20));
            drop(t);
            // The thread group lives on until its last thread ends.
            sys!(exit, 5);
            1
        })
    });
    a.ok("leader-first", || {
        let pid = leaderless();
        let found = (sys!(kill, pid, 0), sys!(tgkill, pid, pid, libc::SIGTERM), sys!(getpriority, libc::PRIO_PROCESS, pid), sys!(sched_getscheduler, pid));
        let shown = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = shown.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
        let waited = sys!(wait4, pid, 0, libc::WNOHANG, 0);
        // Although its leader has ended the process can be killed.
        sys!(kill, pid, libc::SIGHUP);
        (found, state.to_string(), waited, wait(pid))
    })
    .ok("number-of-a-zombie", || {
        let pid = child(|| 3);
        sleep_ms(20);
        (sys!(kill, pid, 0), sys!(tgkill, pid, pid, 0), sys!(sched_getscheduler, pid), sys!(getpriority, libc::PRIO_PROCESS, pid), wait(pid), sys!(sched_getscheduler, pid))
    })
    .ok("ended-leader-is-listed-as-a-thread", || {
        // For each entry of /proc/PID/task: whether it is the leader, its state, its name by `comm`.
        let threads = |pid: i32| -> Vec<String> {
            let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return vec!["none".to_string()] };
            let mut tids: Vec<i32> = dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
            tids.sort();
            let read = |tid: i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).map_err(|e| e.raw_os_error());
            let state = |tid| read(tid, "stat").map(|s| s.rsplit(") ").next().and_then(|rest| rest.chars().next()));
            tids.iter().map(|tid| format!("{} {:?} {:?}", *tid == pid, state(*tid), read(*tid, "comm"))).collect()
        };
        let (alone, dead) = (leaderless(), child(|| 3));
        sleep_ms(20);
        let found = (threads(alone).join("; "), threads(dead).join("; "));
        end(alone);
        (found, wait(dead), threads(dead).join("; "))
    })
    .ok("orphans-are-inherited-in-order", || {
        sys!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1);
        let middle = child(|| {
            for n in 1..=3 {
                child(move || n);
            }
            sleep_ms(30);
            child(|| 4);
            0
        });
        let mut statuses = vec![wait(middle)];
        statuses.extend((0..5).map(|_| wait(-1)));
        statuses.join(" ")
    });
    a.call("exit_group", "", "", false);
    a.ok("status", || in_child(|| 0xabcd))
        .ok("negative", || in_child(|| -1))
        .ok("ends-all-threads", || {
            in_child(|| {
                std::thread::spawn(|| sleep_ms(60_000));
                sleep_ms(10);
                6
            })
        });
}

fn identities(a: &mut Calls) {
    a.call("getpid", "", "", false);
    a.ok("is-tid", || sys!(getpid) == sys!(gettid)).ok("in-thread", || {
        let pid = sys!(getpid);
        std::thread::spawn(move || sys!(getpid) == pid).join().unwrap_or(false)
    });
    a.call("getppid", "", "", false);
    a.ok("of-child", || {
        let me = sys!(getpid);
        in_child(|| i32::from(sys!(getppid) == me))
    })
    .ok("of-orphan", || {
        let p = pipe();
        in_child(|| {
            child(|| {
                sleep_ms(30);
                sys!(write, p.1, &[sys!(getppid) as u8], 1);
                0
            });
            0
        });
        let mut b = [0u8; 1];
        (sys!(read, p.0, &mut b, 1), b[0])
    });
    a.call("gettid", "", "", false);
    a.ok("of-thread", || std::thread::spawn(|| sys!(gettid) > sys!(getpid)).join().unwrap_or(false));
    a.call("set_tid_address", "", "", false);
    a.ok("gives-tid", || sys!(set_tid_address, 0) == sys!(gettid)).ok("bad-pointer-at-exit", || {
        in_child(|| {
            sys!(set_tid_address, BAD);
            3
        })
    });
    a.call("setpgid", "EACCES EINVAL EPERM ESRCH", "", false);
    a.ok("own", || {
        in_child(|| {
            sys!(setpgid, 0, 0);
            i32::from(sys!(getpgid, 0) == sys!(getpid))
        })
    })
    .ok("child", || {
        let p = sleeper();
        let r = (sys!(setpgid, p, 0), sys!(getpgid, p) == p as isize);
        end(p);
        r
    })
    .ok("join", || {
        let p = sleeper();
        sys!(setpgid, p, p);
        let q = sleeper();
        let r = (sys!(setpgid, q, p), sys!(getpgid, q) == p as isize);
        end(p);
        end(q);
        r
    })
    .err("EINVAL", || sys!(setpgid, 0, -1))
    .err("ESRCH", || (sys!(setpgid, 0x3fff_fff0, 0), sys!(setpgid, 1, 0)))
    .err("EPERM-no-such-group", || sys!(setpgid, 0, 0x3fff_fff0))
    .err("EPERM-session-leader", || {
        ("EPERM", in_child(|| {
            sys!(setsid);
            -sys!(setpgid, 0, 0) as i32
        }))
    })
    .err("EACCES-child-has-executed", || {
        let p = pipe_with(O_CLOEXEC);
        let path = own();
        let q = child(|| {
            let argv = [c"x".as_ptr() as usize, c"--role=sleep".as_ptr() as usize, 0];
            sys!(execve, &*path, &argv, &[0usize]) as i32
        });
        sys!(close, p.1);
        // End of file: the other end was closed by exec.
        sys!(read, p.0, pages(1), 1);
        let r = sys!(setpgid, q, 0);
        end(q);
        r
    });
    a.call("getpgid", "ESRCH", "", false).not("EPERM", "never on Linux");
    a.ok("own", || sys!(getpgid, 0) == sys!(getpgid, sys!(getpid))).err("ESRCH", || (sys!(getpgid, 0x3fff_fff0), sys!(getpgid, -1)));
    a.call("setsid", "EPERM", "", false);
    a.ok("child", || {
        in_child(|| {
            let pid = sys!(getpid);
            i32::from(sys!(setsid) == pid && sys!(getsid, 0) == pid && sys!(getpgid, 0) == pid)
        })
    })
    .err("EPERM", || sys!(setsid));
    a.call("getsid", "ESRCH", "", false).not("EPERM", "never on Linux");
    a.ok("own", || sys!(getsid, 0) == sys!(getsid, sys!(getppid))).err("ESRCH", || sys!(getsid, 0x3fff_fff0));
}
