//! Processes named by files.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_NONBLOCK, P_PIDFD, SIGTERM, SIGUSR1, WEXITED};
use std::ffi::{CStr, CString};

/// A number that no process has.
const NOBODY: i32 = 0x3fff_fff0;

/// Adds the group.
pub fn add(a: &mut Calls) {
    opens(a);
    sends(a);
    copies(a);
}

fn opened_for(pid: i32) -> i32 {
    sys!(pidfd_open, pid, 0) as i32
}

/// What poll says about a descriptor within `ms`.
fn ready(fd: i32, ms: i32) -> (isize, i32) {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: i64::from(ms) * 1_000_000 };
    (sys!(ppoll, &mut entry, 1, &timeout, 0, 8), i32::from(entry.revents))
}

fn opens(a: &mut Calls) {
    a.call("pidfd_open", "EINVAL ESRCH EMFILE", "", false)
        .not("ENFILE", "needs the whole system's limit")
        .not("ENODEV", "needs a system without anonymous inodes")
        .not("ENOMEM", "see --nth");
    a.ok("close-on-exec", || sys!(fcntl, opened_for(sys!(getpid) as i32), libc::F_GETFD, 0))
        .ok("readable-when-it-ends", || {
            let pid = child(|| {
                sleep_ms(50);
                3
            });
            let fd = opened_for(pid);
            (ready(fd, 0), ready(fd, 900), wait(pid), ready(fd, 0))
        })
        .ok("not-the-next-of-that-number", || {
            let pid = child(|| 3);
            let fd = opened_for(pid);
            (wait(pid), sys!(pidfd_send_signal, fd, 0, 0, 0), sys!(waitid, P_PIDFD, fd, 0, WEXITED, 0))
        })
        .ok("waits-not", || {
            let pid = sleeper();
            let fd = sys!(pidfd_open, pid, O_NONBLOCK) as i32;
            let r = sys!(waitid, P_PIDFD, fd, 0, WEXITED, 0);
            end(pid);
            r
        })
        .ok("zombie", || {
            let pid = child(|| 3);
            sleep_ms(20);
            (sys!(pidfd_open, pid, 0) >= 0, wait(pid))
        })
        .ok("not-to-be-read", || {
            let fd = opened_for(sys!(getpid) as i32);
            let mut b = [0u8; 8];
            (sys!(read, fd, &mut b, 8), sys!(write, fd, &b, 8))
        })
        .err("EINVAL-flags", || sys!(pidfd_open, sys!(getpid), 1))
        .err("EINVAL-number", || (sys!(pidfd_open, 0, 0), sys!(pidfd_open, -1, 0)))
        .err("EINVAL-thread", || std::thread::spawn(|| sys!(pidfd_open, sys!(gettid), 0)).join().unwrap_or(1))
        .err("ESRCH", || sys!(pidfd_open, NOBODY, 0))
        .err("EMFILE", || {
            sys!(prlimit64, 0, libc::RLIMIT_NOFILE, &[0u64, 0], 0);
            sys!(pidfd_open, sys!(getpid), 0)
        });
}

fn sends(a: &mut Calls) {
    a.call("pidfd_send_signal", "EBADF EINVAL EPERM ESRCH", "info", false);
    a.ok("self", || {
        handle(SIGUSR1, 0);
        (sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), SIGUSR1, 0, 0), caught())
    })
    .ok("directory-in-proc", || {
        let send = |path: &CStr| sys!(pidfd_send_signal, open(path, libc::O_RDONLY | libc::O_DIRECTORY), SIGUSR1, 0, 0);
        handle(SIGUSR1, 0);
        let gone = child(|| 3);
        let dir = open(&CString::new(format!("/proc/{gone}")).unwrap_or_default(), libc::O_RDONLY);
        wait(gone);
        let sent = (send(c"/proc/self"), caught(), send(c"/proc/self/task"), send(c"/proc/thread-self"), send(c"/proc"), send(c"/tmp"));
        (sent, sys!(pidfd_send_signal, dir, 0, 0, 0), sys!(pidfd_getfd, open(c"/proc/self", libc::O_RDONLY), 0, 0))
    })
    .ok("child", || {
        let pid = sleeper();
        (sys!(pidfd_send_signal, opened_for(pid), SIGTERM, 0, 0), wait(pid))
    })
    .ok("with-information", || {
        let mut info: libc::siginfo_t = zero();
        (info.si_signo, info.si_code) = (SIGUSR1, -1);
        block(&[SIGUSR1]);
        let r = sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), SIGUSR1, &info, 0);
        let mut got: libc::siginfo_t = zero();
        (r, sys!(rt_sigtimedwait, &mask(&[SIGUSR1]), &mut got, 0, 8), got.si_code)
    })
    .err("EBADF", || (sys!(pidfd_send_signal, 99, 0, 0, 0), sys!(pidfd_send_signal, opened(c"f", ""), 0, 0, 0)))
    .err("EINVAL-flags", || sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), 0, 0, 1))
    .err("EINVAL-signal", || sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), 65, 0, 0))
    .err("EINVAL-other-number-in-info", || {
        let info: libc::siginfo_t = zero();
        sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), SIGUSR1, &info, 0)
    })
    .err("EPERM", || {
        let fd = opened_for(1);
        as_user(|| sys!(pidfd_send_signal, fd, SIGTERM, 0, 0))
    })
    .err("EPERM-forged", || {
        let pid = sleeper();
        let mut info: libc::siginfo_t = zero();
        info.si_signo = SIGUSR1;
        let r = sys!(pidfd_send_signal, opened_for(pid), SIGUSR1, &info, 0);
        end(pid);
        r
    })
    .err("ESRCH", || {
        let pid = child(|| 0);
        let fd = opened_for(pid);
        wait(pid);
        sys!(pidfd_send_signal, fd, SIGTERM, 0, 0)
    })
    .bad("info", || sys!(pidfd_send_signal, opened_for(sys!(getpid) as i32), SIGUSR1, BAD, 0));
}

fn copies(a: &mut Calls) {
    a.call("pidfd_getfd", "EBADF EINVAL EMFILE EPERM ESRCH", "", false).not("ENFILE", "needs the whole system's limit");
    a.ok("shares-the-position", || {
        let fd = opened(c"f", "hello");
        let copy = sys!(pidfd_getfd, opened_for(sys!(getpid) as i32), fd, 0) as i32;
        sys!(lseek, fd, 3, 0);
        (sys!(lseek, copy, 0, 1), sys!(fcntl, copy, libc::F_GETFD, 0))
    })
    .ok("of-a-child", || {
        let pid = sleeper();
        let copy = sys!(pidfd_getfd, opened_for(pid), 1, 0) as i32;
        end(pid);
        sys!(fcntl, copy, libc::F_GETFD, 0)
    })
    .err("EBADF", || {
        (sys!(pidfd_getfd, 99, 0, 0), sys!(pidfd_getfd, opened(c"f", ""), 0, 0), sys!(pidfd_getfd, opened_for(sys!(getpid) as i32), 99, 0))
    })
    .err("EINVAL", || sys!(pidfd_getfd, opened_for(sys!(getpid) as i32), 0, 1))
    .err("EMFILE", || {
        let fd = opened_for(sys!(getpid) as i32);
        sys!(prlimit64, 0, libc::RLIMIT_NOFILE, &[0u64, 0], 0);
        sys!(pidfd_getfd, fd, fd, 0)
    })
    .err("EPERM", || {
        let fd = opened_for(1);
        as_user(|| sys!(pidfd_getfd, fd, 0, 0))
    })
    .err("ESRCH", || {
        let pid = child(|| 0);
        let fd = opened_for(pid);
        wait(pid);
        sys!(pidfd_getfd, fd, 0, 0)
    });
}
