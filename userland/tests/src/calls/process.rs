//! Processes: clone, exec, exit, wait, groups and sessions, limits, prctl.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use crate::sys::Show;
use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_FILES, CLONE_FS, CLONE_PARENT, CLONE_PARENT_SETTID, CLONE_PIDFD, CLONE_SIGHAND, CLONE_THREAD, CLONE_VFORK, CLONE_VM,
    O_CLOEXEC, O_PATH, O_RDONLY, O_RDWR, P_ALL, P_PGID, P_PID, P_PIDFD, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, WCONTINUED, WEXITED, WNOHANG, WNOWAIT,
    WSTOPPED, WUNTRACED,
};
use std::ffi::{CStr, CString};

/// Adds the group.
pub fn add(a: &mut Calls) {
    clones(a);
    clones_by_structure(a);
    executes(a);
    exits(a);
    waits(a);
    waits_by_id(a);
    identities(a);
    controls(a);
    limits(a);
}

/// The path of this program.
fn own() -> CString {
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

fn clones_by_structure(a: &mut Calls) {
    a.call("clone3", "EINVAL E2BIG EEXIST EPERM EBADF EAGAIN", "cl_args", false)
        .not("EBUSY", "no control groups")
        .not("EOPNOTSUPP", "no control groups")
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
        .bad("cl_args", || sys!(clone3, BAD, 88))
        .bad("cl_args-edge", || sys!(clone3, edge(64), 88));
}

/// How a child ends that executes a path with these arguments.
fn exec_with(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> String {
    in_child(|| {
        let list = |strings: &[&CStr]| strings.iter().map(|s| s.as_ptr() as usize).chain([0]).collect::<Vec<usize>>();
        let (argv, envp) = (list(arguments), list(environment));
        let r = sys!(execve, path, ptr(&argv), ptr(&envp));
        // 100 and the errno: the call came back.
        100 + (-r) as i32
    })
}

/// The errno with which executing a path fails.
fn exec_error(path: &CStr) -> isize {
    sys!(execve, path, &[path.as_ptr() as usize, 0], &[0usize])
}

fn executable(path: &CStr, content: &str) {
    file(path, content);
    sys!(fchmodat, CWD, path, 0o755);
}

fn executes(a: &mut Calls) {
    const ERRNOS: &str = "E2BIG EACCES ELOOP ENAMETOOLONG ENOENT ENOEXEC ENOTDIR ETXTBSY";
    a.call("execve", ERRNOS, "path argv envp", false)
        .not("EAGAIN", "needs RLIMIT_NPROC reached by setuid")
        .not("EINVAL", "a second PT_INTERP is ENOEXEC")
        .not("EIO", "no failing device")
        .not("EMFILE", "an interpreter is opened without a descriptor")
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOMEM", "see --nth")
        .not("EPERM", "needs nosuid and a tracer")
        .not("EISDIR", "an interpreter that is a directory gives EACCES")
        .not("ELIBBAD", "since 2.6 ENOEXEC or EIO, needs a broken interpreter ELF");
    a.ok("status", || exec_with(&own(), &[c"x", c"--role=status", c"42"], &[]))
        .ok("arguments", || exec_with(&own(), &[c"x", c"--role=argc", c"a", c"", c"b"], &[]))
        .ok("environment", || exec_with(&own(), &[c"x", c"--role=env"], &[c"A=1", c"B=2", c"C=3"]))
        .ok("no-arguments-become-one", || exec_with(&own(), &[], &[c"CONTRACT_ROLE=count"]))
        .ok("close-on-exec", || {
            sys!(dup3, 1, 50, O_CLOEXEC);
            sys!(dup3, 1, 51, 0);
            (exec_with(&own(), &[c"x", c"--role=open", c"50"], &[]), exec_with(&own(), &[c"x", c"--role=open", c"51"], &[]))
        })
        .ok("handlers-reset", || {
            handle(libc::SIGUSR1, 0);
            exec_with(&own(), &[c"x", c"--role=disposition", c"10"], &[])
        })
        .ok("ignored-stays", || {
            sys!(rt_sigaction, libc::SIGUSR1, &SigAction { handler: 1, ..SigAction::default() }, 0, 8);
            exec_with(&own(), &[c"x", c"--role=disposition", c"10"], &[])
        })
        .ok("mask-stays", || {
            block(&[libc::SIGUSR1]);
            exec_with(&own(), &[c"x", c"--role=mask", c"10"], &[])
        })
        .ok("pending-stays", || {
            block(&[libc::SIGUSR1]);
            let path = own();
            in_child(|| {
                sys!(kill, sys!(getpid), libc::SIGUSR1);
                let argv = [c"x".as_ptr() as usize, c"--role=pending".as_ptr() as usize, c"10".as_ptr() as usize, 0];
                sys!(execve, &*path, &argv, &[0usize]) as i32
            })
        })
        .ok("same-pid", || {
            let path = own();
            in_child(|| {
                let pid = c(&sys!(getpid).to_string());
                let argv = [c"x".as_ptr() as usize, c"--role=pid".as_ptr() as usize, pid.as_ptr() as usize, 0];
                sys!(execve, &*path, &argv, &[0usize]) as i32
            })
        })
        .ok("script", || {
            executable(c"s", &format!("#!{} --role=argc\n", own().to_string_lossy()));
            exec_with(c"./s", &[c"ignored", c"a", c"b"], &[])
        })
        .ok("script-of-script", || {
            executable(c"s", &format!("#!{} --role=argc\n", own().to_string_lossy()));
            executable(c"t", "#!./s\n");
            exec_with(c"./t", &[c"ignored", c"a"], &[])
        })
        .ok("shell", || exec_with(c"/bin/sh", &[c"sh", c"-c", c"exit 5"], &[]))
        .ok("from-thread", || {
            let path = own();
            in_child(|| {
                let r = std::thread::spawn(move || {
                    let argv = [c"x".as_ptr() as usize, c"--role=status".as_ptr() as usize, c"9".as_ptr() as usize, 0];
                    sys!(execve, &*path, &argv, &[0usize])
                });
                r.join().map_or(1, |r| r as i32)
            })
        })
        .ok("name", || {
            let path = own();
            sys!(prctl, libc::PR_SET_NAME, c"before");
            in_child(|| {
                let argv = [c"x".as_ptr() as usize, c"--role=name".as_ptr() as usize, c"contract".as_ptr() as usize, 0];
                sys!(execve, &*path, &argv, &[0usize]) as i32
            })
        })
        .err("ENOENT", || exec_error(c"none"))
        .err("ENOENT-empty", || exec_error(c""))
        .err("ENOENT-interpreter", || {
            executable(c"s", "#!/none/at/all\n");
            exec_error(c"s")
        })
        .err("EACCES-not-executable", || {
            file(c"f", "#!/bin/sh\n");
            exec_error(c"f")
        })
        .err("EACCES-directory", || exec_error(c"."))
        .err("EACCES-device", || exec_error(c"/dev/null"))
        .err("EACCES-interpreter-is-directory", || {
            executable(c"s", "#!/tmp\n");
            exec_error(c"s")
        })
        .err("EACCES-search", || {
            dir(c"d");
            executable(c"d/s", "#!/bin/sh\n");
            sys!(fchmodat, CWD, c"d", 0o600);
            as_user(|| exec_error(c"d/s"))
        })
        .err("ENOEXEC-text", || {
            executable(c"f", "hello");
            exec_error(c"f")
        })
        .err("ENOEXEC-empty", || {
            executable(c"f", "");
            exec_error(c"f")
        })
        .err("ENOEXEC-elf-header-only", || {
            executable(c"f", "\x7fELF\x02\x01\x01");
            exec_error(c"f")
        })
        .err("ENOEXEC-script-without-name", || {
            executable(c"f", "#!   \n");
            exec_error(c"f")
        })
        .err("ENOTDIR", || {
            file(c"f", "");
            exec_error(c"f/x")
        })
        .err("ELOOP", || {
            sys!(symlinkat, c"l", CWD, c"l");
            exec_error(c"l")
        })
        .err("ELOOP-scripts", || {
            executable(c"s", "#!./s\n");
            exec_error(c"./s")
        })
        .err("ENAMETOOLONG", || exec_error(&long_name(256)))
        .err("ETXTBSY", || {
            executable(c"f", "#!/bin/sh\n");
            open(c"f", O_RDWR);
            exec_error(c"f")
        })
        .err("E2BIG-string", || {
            let long = long_name(128 << 10);
            sys!(execve, &*own(), &[long.as_ptr() as usize, 0], &[0usize])
        })
        .err("E2BIG-total", || {
            let long = long_name((128 << 10) - 1);
            let mut argv = vec![long.as_ptr() as usize; 100];
            argv.push(0);
            sys!(execve, &*own(), ptr(&argv), &[0usize])
        })
        .bad("path", || sys!(execve, BAD, &[0usize], &[0usize]))
        .bad("path-endless", || sys!(execve, endless(), &[0usize], &[0usize]))
        .bad("argv", || sys!(execve, &*own(), BAD, &[0usize]))
        .bad("argv-entry", || sys!(execve, &*own(), &[BAD, 0], &[0usize]))
        .bad("argv-edge", || {
            let at = edge(8);
            // SAFETY: eight mapped bytes.
            unsafe { (at as *mut usize).write_unaligned(c"x".as_ptr() as usize) };
            sys!(execve, &*own(), at, &[0usize])
        })
        .bad("envp", || sys!(execve, &*own(), &[0usize], BAD))
        .bad("envp-entry", || sys!(execve, &*own(), &[0usize], &[BAD, 0]))
        .bad("argv-and-no-environment", exec_null);
    a.call("execveat", "EBADF EINVAL ELOOP ENOENT ENOTDIR EACCES", "path argv envp", false);
    let run = |fd: i32, path: &'static CStr, flags: i32| {
        in_child(move || {
            let argv = [c"x".as_ptr() as usize, c"--role=status".as_ptr() as usize, c"42".as_ptr() as usize, 0];
            100 - sys!(execveat, fd, path, &argv, &[0usize], flags) as i32
        })
    };
    a.ok("descriptor", move || run(open(&own(), O_PATH), c"", libc::AT_EMPTY_PATH))
        .ok("directory-descriptor", move || {
            let path = own();
            let directory = c(path.to_string_lossy().rsplit_once('/').map_or(".", |(d, _)| d));
            let fd = open(&directory, O_RDONLY);
            run(fd, c"contract", 0)
        })
        .ok("script-with-close-on-exec", move || {
            executable(c"s", "#!/bin/sh\nexit 3\n");
            (run(open(c"s", O_RDONLY), c"", libc::AT_EMPTY_PATH), run(open(c"s", O_RDONLY | O_CLOEXEC), c"", libc::AT_EMPTY_PATH))
        })
        .err("EBADF", || sys!(execveat, 99, c"x", &[0usize], &[0usize], 0))
        .err("EINVAL-flags", || sys!(execveat, CWD, c"x", &[0usize], &[0usize], 1))
        .err("ELOOP-nofollow", || {
            sys!(symlinkat, &*own(), CWD, c"l");
            sys!(execveat, CWD, c"l", &[0usize], &[0usize], libc::AT_SYMLINK_NOFOLLOW)
        })
        .err("ENOENT", || sys!(execveat, CWD, c"none", &[0usize], &[0usize], 0))
        .err("ENOENT-empty", || sys!(execveat, CWD, c"", &[0usize], &[0usize], 0))
        .err("ENOTDIR", || sys!(execveat, opened(c"f", ""), c"x", &[0usize], &[0usize], 0))
        .err("EACCES", || sys!(execveat, opened(c"f", ""), c"", &[0usize], &[0usize], libc::AT_EMPTY_PATH))
        .bad("path", || sys!(execveat, CWD, BAD, &[0usize], &[0usize], 0))
        .bad("argv", || sys!(execveat, CWD, &*own(), BAD, &[0usize], 0))
        .bad("envp", || sys!(execveat, CWD, &*own(), &[0usize], BAD, 0));
}

/// The errno, as a status above 100, when the environment is null and the arguments are bad.
fn exec_null() -> String {
    in_child(|| 100 - sys!(execve, &*own(), BAD, 0) as i32)
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

fn waits(a: &mut Calls) {
    a.call("wait4", "ECHILD EINVAL ESRCH", "wstatus rusage", true).not("EAGAIN", "pidfds of waitid only");
    a.ok("exit-status", || wait(child(|| 3)))
        .ok("signal", || {
            let p = sleeper();
            sys!(kill, p, SIGTERM);
            wait(p)
        })
        .ok("any", || {
            let p = child(|| 3);
            let mut s = 0i32;
            (sys!(wait4, -1, &mut s, 0, 0) == p as isize, ending(s))
        })
        .ok("no-status", || {
            let p = child(|| 3);
            sys!(wait4, p, 0, 0, 0) == p as isize
        })
        .ok("WNOHANG-running", || {
            let p = sleeper();
            let r = sys!(wait4, p, 0, WNOHANG, 0);
            end(p);
            r
        })
        .ok("once", || {
            let p = child(|| 3);
            (wait(p), wait(p))
        })
        .ok("group", || {
            let p = child(|| {
                sleep_ms(30);
                4
            });
            sys!(setpgid, p, p);
            let mut s = 0i32;
            (wait(0), sys!(wait4, -p, &mut s, 0, 0) == p as isize, ending(s))
        })
        .ok("stopped-and-continued", || {
            let p = sleeper();
            let mut s = 0i32;
            sys!(kill, p, SIGSTOP);
            let stopped = (sys!(wait4, p, &mut s, WUNTRACED, 0) == p as isize, ending(s));
            sys!(kill, p, SIGCONT);
            let continued = (sys!(wait4, p, &mut s, WCONTINUED, 0) == p as isize, ending(s));
            end(p);
            (stopped, continued)
        })
        .ok("stopped-not-asked-for", || {
            let p = sleeper();
            sys!(kill, p, SIGSTOP);
            sleep_ms(30);
            let r = sys!(wait4, p, 0, WNOHANG, 0);
            end(p);
            r
        })
        .ok("rusage", || {
            let p = child(|| 3);
            let mut u: libc::rusage = zero();
            (sys!(wait4, p, 0, 0, &mut u) == p as isize, u.ru_maxrss > 0, u.ru_utime.tv_sec)
        })
        .ok("ignored-children-vanish", || {
            sys!(rt_sigaction, SIGCHLD, &SigAction { handler: 1, ..SigAction::default() }, 0, 8);
            wait(child(|| 3))
        })
        .ok("SA_NOCLDWAIT", || {
            handle(SIGCHLD, libc::SA_NOCLDWAIT);
            (wait(child(|| 3)), caught())
        })
        .ok("orphan-goes-to-subreaper", || {
            sys!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            let first = in_child(|| {
                child(|| {
                    sleep_ms(30);
                    8
                });
                0
            });
            (first, wait(-1), wait(-1))
        })
        .err("ECHILD", || sys!(wait4, -1, 0, 0, 0))
        .err("ECHILD-not-ours", || sys!(wait4, 1, 0, 0, 0))
        .err("ECHILD-group", || sys!(wait4, -0x3fff_fff0, 0, 0, 0))
        .err("EINVAL", || sys!(wait4, -1, 0, 0x100, 0))
        .err("ESRCH", || sys!(wait4, i32::MIN, 0, 0, 0))
        .bad("wstatus", || {
            let p = child(|| 3);
            // The child is gone all the same.
            (sys!(wait4, p, BAD, 0, 0), sys!(wait4, p, 0, 0, 0))
        })
        .bad("rusage", || {
            let p = child(|| 3);
            (sys!(wait4, p, 0, 0, BAD), sys!(wait4, p, 0, 0, 0))
        })
        .bad("wstatus-nothing-to-report", || {
            let p = sleeper();
            let r = sys!(wait4, p, BAD, WNOHANG, 0);
            end(p);
            r
        });
    a.intr("waiting", || {
        let p = sleeper();
        let r = interrupted(|| sys!(wait4, p, 0, 0, 0));
        end(p);
        r
    })
    .intr("restarts", || {
        let p = child(|| {
            sleep_ms(100);
            3
        });
        let r = restarted(|| (), || wait(p));
        (r, caught() > 0)
    });
}

fn waits_by_id(a: &mut Calls) {
    fn info(i: &libc::siginfo_t) -> String {
        // SAFETY: waitid fills the fields of SIGCHLD.
        format!("signo {} code {} status {}", i.si_signo, i.si_code, unsafe { i.si_status() })
    }
    a.call("waitid", "ECHILD EINVAL EBADF", "infop rusage", true).not("EAGAIN", "needs PIDFD_NONBLOCK, pidfd_open is not present").not("ESRCH", "is ECHILD");
    a.ok("exited", || {
        let p = child(|| 3);
        let mut i: libc::siginfo_t = zero();
        (sys!(waitid, P_PID, p, &mut i, WEXITED, 0), info(&i), wait(p))
    })
    .ok("killed", || {
        let p = sleeper();
        sys!(kill, p, SIGKILL);
        let mut i: libc::siginfo_t = zero();
        (sys!(waitid, P_ALL, 0, &mut i, WEXITED, 0), info(&i))
    })
    .ok("stopped", || {
        let p = sleeper();
        sys!(kill, p, SIGSTOP);
        let mut i: libc::siginfo_t = zero();
        let r = (sys!(waitid, P_PID, p, &mut i, WSTOPPED, 0), info(&i));
        end(p);
        r
    })
    .ok("WNOWAIT", || {
        let p = child(|| 3);
        let mut i: libc::siginfo_t = zero();
        (sys!(waitid, P_PID, p, &mut i, WEXITED | WNOWAIT, 0), info(&i), wait(p))
    })
    .ok("WNOHANG", || {
        let p = sleeper();
        let mut i: libc::siginfo_t = zero();
        i.si_signo = 77;
        let r = (sys!(waitid, P_PID, p, &mut i, WEXITED | WNOHANG, 0), i.si_signo);
        end(p);
        r
    })
    .ok("group", || {
        let p = child(|| 3);
        sys!(setpgid, p, p);
        let mut i: libc::siginfo_t = zero();
        (sys!(waitid, P_PGID, p, &mut i, WEXITED, 0), info(&i))
    })
    .ok("no-info", || {
        let p = child(|| 3);
        (sys!(waitid, P_PID, p, 0, WEXITED, 0), wait(p))
    })
    .ok("pidfd", || {
        let mut fd = -1i32;
        let pid = sys!(clone, SIGCHLD | CLONE_PIDFD, 0, &mut fd, 0, 0);
        if pid == 0 {
            sys!(exit_group, 5);
        }
        let mut i: libc::siginfo_t = zero();
        (sys!(waitid, P_PIDFD, fd, &mut i, WEXITED, 0), info(&i))
    })
    .err("ECHILD", || sys!(waitid, P_ALL, 0, 0, WEXITED, 0))
    .err("EINVAL-no-options", || sys!(waitid, P_ALL, 0, 0, 0, 0))
    .err("EINVAL-options", || sys!(waitid, P_ALL, 0, 0, WEXITED | 0x100, 0))
    .err("EINVAL-type", || sys!(waitid, 9, 0, 0, WEXITED, 0))
    .err("EINVAL-id", || (sys!(waitid, P_PID, 0, 0, WEXITED, 0), sys!(waitid, P_PGID, -1, 0, WEXITED, 0)))
    .err("EBADF-pidfd", || (sys!(waitid, P_PIDFD, 99, 0, WEXITED, 0), sys!(waitid, P_PIDFD, opened(c"f", ""), 0, WEXITED, 0)))
    .bad("infop", || sys!(waitid, P_PID, child(|| 3), BAD, WEXITED, 0))
    .bad("rusage", || sys!(waitid, P_PID, child(|| 3), 0, WEXITED, BAD))
    .intr("waiting", || {
        let p = sleeper();
        let r = interrupted(|| sys!(waitid, P_PID, p, 0, WEXITED, 0));
        end(p);
        r
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

fn controls(a: &mut Calls) {
    a.call("prctl", "EINVAL EPERM", "arg2", false)
        .not("EACCES", "seccomp is not present")
        .not("EBADF", "PR_SET_MM only")
        .not("EBUSY", "PR_SET_MM only")
        .not("ENXIO", "x86 only")
        .not("EOPNOTSUPP", "floating-point emulation only")
        .not("EFAULT", "own column");
    a.ok("name", || {
        let mut b = [9u8; 16];
        (sys!(prctl, libc::PR_SET_NAME, c"a-name-that-is-too-long"), sys!(prctl, libc::PR_GET_NAME, &mut b), ctext(&b))
    })
    .ok("parent-death-signal", || {
        let mut s = 9i32;
        (sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM), sys!(prctl, libc::PR_GET_PDEATHSIG, &mut s), s)
    })
    .ok("parent-death-signal-comes", || {
        let p = pipe();
        in_child(|| {
            child(|| {
                sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM);
                sys!(write, p.1, c"r", 1);
                sleep_ms(60_000);
                0
            });
            sys!(read, p.0, pages(1), 1);
            0
        });
        sys!(close, p.1);
        // End of file when the grandchild is dead, too.
        sys!(read, p.0, pages(1), 1)
    })
    .ok("parent-death-signal-not-inherited", || {
        sys!(prctl, libc::PR_SET_PDEATHSIG, SIGTERM);
        in_child(|| {
            let mut s = 9i32;
            sys!(prctl, libc::PR_GET_PDEATHSIG, &mut s);
            s
        })
    })
    .ok("dumpable", || (sys!(prctl, libc::PR_GET_DUMPABLE), sys!(prctl, libc::PR_SET_DUMPABLE, 0), sys!(prctl, libc::PR_GET_DUMPABLE)))
    .ok("keep-capabilities", || (sys!(prctl, libc::PR_GET_KEEPCAPS), sys!(prctl, libc::PR_SET_KEEPCAPS, 1), sys!(prctl, libc::PR_GET_KEEPCAPS)))
    .ok("timer-slack", || (sys!(prctl, libc::PR_GET_TIMERSLACK), sys!(prctl, libc::PR_SET_TIMERSLACK, 1), sys!(prctl, libc::PR_GET_TIMERSLACK)))
    .ok("timer-slack-zero-is-default", || {
        sys!(prctl, libc::PR_SET_TIMERSLACK, 1);
        (sys!(prctl, libc::PR_SET_TIMERSLACK, 0), sys!(prctl, libc::PR_GET_TIMERSLACK))
    })
    .ok("no-new-privileges", || {
        (sys!(prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), sys!(prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))
    })
    .ok("sub-reaper", || {
        let mut s = 9i32;
        (sys!(prctl, libc::PR_SET_CHILD_SUBREAPER, 1), sys!(prctl, libc::PR_GET_CHILD_SUBREAPER, &mut s), s)
    })
    .ok("bounding-set", || (sys!(prctl, libc::PR_CAPBSET_READ, 0), sys!(prctl, libc::PR_CAPBSET_DROP, 0), sys!(prctl, libc::PR_CAPBSET_READ, 0)))
    .ok("secure-bits", || (sys!(prctl, libc::PR_GET_SECUREBITS), sys!(prctl, libc::PR_SET_SECUREBITS, 1), sys!(prctl, libc::PR_GET_SECUREBITS)))
    .ok("tid-address", || {
        let (mut word, mut got) = (0i32, 0usize);
        sys!(set_tid_address, &mut word);
        (sys!(prctl, libc::PR_GET_TID_ADDRESS, &mut got), got == std::ptr::from_ref(&word) as usize)
    })
    .ok("timing", || sys!(prctl, libc::PR_GET_TIMING))
    .err("EINVAL-option", || sys!(prctl, 9999))
    .err("EINVAL-signal", || sys!(prctl, libc::PR_SET_PDEATHSIG, 65))
    .err("EINVAL-dumpable", || sys!(prctl, libc::PR_SET_DUMPABLE, 2))
    .err("EINVAL-keep-capabilities", || sys!(prctl, libc::PR_SET_KEEPCAPS, 2))
    .err("EINVAL-no-new-privileges", || (sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), sys!(prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0)))
    .err("EINVAL-bounding-set", || sys!(prctl, libc::PR_CAPBSET_READ, 64))
    .err("EPERM-bounding-set", || as_user(|| sys!(prctl, libc::PR_CAPBSET_DROP, 0)))
    .err("EPERM-secure-bits", || as_user(|| sys!(prctl, libc::PR_SET_SECUREBITS, 1)))
    .bad("arg2", || (sys!(prctl, libc::PR_SET_NAME, BAD), sys!(prctl, libc::PR_GET_NAME, BAD), sys!(prctl, libc::PR_GET_PDEATHSIG, BAD)))
    .bad("arg2-name-edge", || {
        let at = edge(3);
        (sys!(prctl, libc::PR_SET_NAME, at), sys!(prctl, libc::PR_GET_NAME, at))
    });
    a.call("personality", "", "", false).not("EINVAL", "never on Linux");
    a.ok("query", || (sys!(personality, 0xffff_ffffu32), sys!(personality, 0x004_0000), sys!(personality, 0xffff_ffffu32)));
}

fn limits(a: &mut Calls) {
    a.call("getrlimit", "EINVAL", "rlim", false);
    a.ok("stack", || {
        let mut l = [0u64; 2];
        (sys!(getrlimit, libc::RLIMIT_STACK, &mut l), l[0], l[1])
    })
    .ok("all", || (0..16).map(|r| sys!(getrlimit, r, pages(1))).collect::<Vec<_>>())
    .err("EINVAL", || sys!(getrlimit, 16, pages(1)))
    .bad("rlim", || sys!(getrlimit, 0, BAD));
    a.call("setrlimit", "EINVAL EPERM", "rlim", false);
    a.ok("lower", || {
        let mut l = [0u64; 2];
        (sys!(setrlimit, libc::RLIMIT_CORE, &[5u64, 10]), sys!(getrlimit, libc::RLIMIT_CORE, &mut l), l[0], l[1])
    })
    .ok("root-raises", || (sys!(setrlimit, libc::RLIMIT_CORE, &[5u64, 10]), sys!(setrlimit, libc::RLIMIT_CORE, &[5u64, 20])))
    .err("EINVAL-resource", || sys!(setrlimit, 16, &[0u64, 0]))
    .err("EINVAL-order", || sys!(setrlimit, libc::RLIMIT_CORE, &[11u64, 10]))
    .err("EPERM-raise", || {
        sys!(setrlimit, libc::RLIMIT_CORE, &[5u64, 10]);
        as_user(|| sys!(setrlimit, libc::RLIMIT_CORE, &[5u64, 11]))
    })
    .err("EPERM-too-many-files", || sys!(setrlimit, libc::RLIMIT_NOFILE, &[2_000_000u64, 2_000_000]))
    .bad("rlim", || sys!(setrlimit, 0, BAD));
    a.call("prlimit64", "EINVAL EPERM ESRCH", "new_limit old_limit", false);
    a.ok("both", || {
        let mut old = [9u64; 2];
        sys!(prlimit64, 0, libc::RLIMIT_CORE, &[5u64, 10], 0);
        (sys!(prlimit64, 0, libc::RLIMIT_CORE, &[4u64, 9], &mut old), old[0], old[1])
    })
    .ok("neither", || sys!(prlimit64, 0, libc::RLIMIT_CORE, 0, 0))
    .ok("child", || {
        let p = sleeper();
        let mut old = [9u64; 2];
        let r = (sys!(prlimit64, p, libc::RLIMIT_CORE, &[4u64, 9], 0), sys!(prlimit64, p, libc::RLIMIT_CORE, 0, &mut old), old[0]);
        end(p);
        r
    })
    .ok("processor-time-kills", || {
        in_child(|| {
            sys!(prlimit64, 0, libc::RLIMIT_CPU, &[1u64, 1], 0);
            loop {
                std::hint::spin_loop();
            }
        })
    })
    .err("EINVAL", || (sys!(prlimit64, 0, 16, 0, 0), sys!(prlimit64, 0, libc::RLIMIT_CORE, &[2u64, 1], 0)))
    .err("EPERM", || as_user(|| sys!(prlimit64, 1, libc::RLIMIT_CORE, 0, pages(1))))
    .err("ESRCH", || sys!(prlimit64, 0x3fff_fff0, libc::RLIMIT_CORE, 0, pages(1)))
    .bad("new_limit", || sys!(prlimit64, 0, 0, BAD, 0))
    .bad("old_limit", || sys!(prlimit64, 0, 0, 0, BAD))
    .bad("old_limit-after-change", || {
        let mut l = [0u64; 2];
        (sys!(prlimit64, 0, libc::RLIMIT_CORE, &[4u64, 9], BAD), sys!(prlimit64, 0, libc::RLIMIT_CORE, 0, &mut l), l[1])
    });
    a.call("getrusage", "EINVAL", "usage", false);
    a.ok("self", || {
        let mut u: libc::rusage = zero();
        (sys!(getrusage, libc::RUSAGE_SELF, &mut u), u.ru_maxrss > 0)
    })
    .ok("thread", || sys!(getrusage, libc::RUSAGE_THREAD, pages(1)))
    .ok("children-none", || {
        let mut u: libc::rusage = zero();
        (sys!(getrusage, libc::RUSAGE_CHILDREN, &mut u), u.ru_maxrss, u.ru_minflt)
    })
    .ok("children-some", || {
        in_child(|| 0);
        let mut u: libc::rusage = zero();
        (sys!(getrusage, libc::RUSAGE_CHILDREN, &mut u), u.ru_maxrss > 0, u.ru_minflt > 0)
    })
    .err("EINVAL", || sys!(getrusage, 5, pages(1)))
    .bad("usage", || sys!(getrusage, 0, BAD));
    a.call("times", "", "buf", false);
    a.ok("null", || sys!(times, 0) != 0).ok("children", || {
        let mut t = [9i64; 4];
        (sys!(times, &mut t) != 0, t[2], t[3])
    })
    .bad("buf", || sys!(times, BAD));
}
