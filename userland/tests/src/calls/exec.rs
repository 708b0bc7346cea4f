//! Executing programs.
use super::process::own;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_CLOEXEC, O_PATH, O_RDONLY, O_RDWR};
use std::ffi::CStr;

/// Adds the group.
pub fn add(a: &mut Calls) {
    executes(a);
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
        .ok("by-a-thread", || {
            let path = own();
            in_child(|| {
                let pid = c(&sys!(getpid).to_string());
                // The caller becomes the leader, whose number it gets.
                std::thread::spawn(move || {
                    let argv = [c"x".as_ptr() as usize, c"--role=leader".as_ptr() as usize, pid.as_ptr() as usize, 0];
                    sys!(execve, &*path, &argv, &[0usize])
                });
                sleep_ms(10_000);
                9
            })
        })
        .ok("by-a-thread-that-outlived-the-leader", || {
            let path = own();
            in_child(|| {
                let pid = c(&sys!(getpid).to_string());
                std::thread::spawn(move || {
                    sleep_ms(20);
                    let argv = [c"x".as_ptr() as usize, c"--role=leader".as_ptr() as usize, pid.as_ptr() as usize, 0];
                    sys!(execve, &*path, &argv, &[0usize])
                });
                sys!(exit, 9);
                9
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
