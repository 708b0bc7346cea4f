//! Waiting for children, limits.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    CLONE_PIDFD, P_ALL, P_PGID, P_PID, P_PIDFD, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, WCONTINUED, WEXITED, WNOHANG, WNOWAIT,
    WSTOPPED, WUNTRACED,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    waits(a);
    waits_by_id(a);
    limits(a);
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
    a.call("waitid", "ECHILD EINVAL EBADF", "infop rusage", true).not("EAGAIN", "see pidfd_open/waits-not").not("ESRCH", "is ECHILD");
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
    a.ok("null", || sys!(times, 0) != 0)
        .ok("children", || {
            let mut t = [9i64; 4];
            (sys!(times, &mut t) != 0, t[2], t[3])
        })
        .bad("buf", || sys!(times, BAD));
}
