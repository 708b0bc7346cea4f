//! Processes: exit, identities.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::O_CLOEXEC;
use std::ffi::{CStr, CString};

/// Adds the group.
pub fn add(a: &mut Calls) {
    exits(a);
    identities(a);
}

/// The path of this program.
pub fn own() -> CString {
    // SAFETY: AT_EXECFN points to a string that lives as long as the process.
    unsafe { CStr::from_ptr(libc::getauxval(libc::AT_EXECFN) as *const libc::c_char) }.to_owned()
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
        let found = (
            sys!(kill, pid, 0),
            sys!(tgkill, pid, pid, libc::SIGTERM),
            sys!(getpriority, libc::PRIO_PROCESS, pid),
            sys!(sched_getscheduler, pid),
        );
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
        (
            sys!(kill, pid, 0),
            sys!(tgkill, pid, pid, 0),
            sys!(sched_getscheduler, pid),
            sys!(getpriority, libc::PRIO_PROCESS, pid),
            wait(pid),
            sys!(sched_getscheduler, pid),
        )
    })
    .ok("ended-leader-is-listed-as-a-thread", || {
        // For each entry of /proc/PID/task: whether it is the leader, its state, its name by `comm`.
        let threads = |pid: i32| -> Vec<String> {
            let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return vec!["none".to_string()] };
            let mut tids: Vec<i32> = dir.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
            tids.sort();
            let read =
                |tid: i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).map_err(|e| e.raw_os_error());
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
    a.ok("status", || in_child(|| 0xabcd)).ok("negative", || in_child(|| -1)).ok("ends-all-threads", || {
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
        (
            "EPERM",
            in_child(|| {
                sys!(setsid);
                -sys!(setpgid, 0, 0) as i32
            }),
        )
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
