//! Waiting for readiness.
use super::fd::few_files;
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR};

/// Adds the group.
pub fn add(a: &mut Calls) {
    polls(a);
}

fn pfd(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0x55 }
}

fn polled(entries: &mut [libc::pollfd]) -> String {
    let n = sys!(ppoll, ptr(entries), entries.len(), &ms(0), 0, 8);
    entries.iter().fold(n.to_string(), |s, e| format!("{s} {:#x}", e.revents))
}

fn polls(a: &mut Calls) {
    const ANY: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDNORM | libc::POLLWRNORM | libc::POLLRDHUP;
    a.call("ppoll", "EINVAL", "fds tmo_p sigmask", true).not("ENOMEM", "see --nth");
    a.ok("none-ready", || polled(&mut [pfd(pipe().0, ANY)]))
        .ok("readable", || {
            let p = pipe();
            sys!(write, p.1, c"x", 1);
            polled(&mut [pfd(p.0, ANY), pfd(p.1, ANY)])
        })
        .ok("writer-gone", || {
            let p = pipe();
            sys!(close, p.1);
            polled(&mut [pfd(p.0, ANY), pfd(p.0, 0)])
        })
        .ok("writer-gone-with-data", || {
            let p = pipe();
            sys!(write, p.1, c"x", 1);
            sys!(close, p.1);
            polled(&mut [pfd(p.0, ANY)])
        })
        .ok("reader-gone", || {
            let p = pipe();
            sys!(close, p.0);
            polled(&mut [pfd(p.1, ANY)])
        })
        .ok("full-pipe", || polled(&mut [pfd(full_pipe().1, ANY)]))
        .ok("file", || polled(&mut [pfd(opened(c"f", ""), ANY)]))
        .ok("directory", || polled(&mut [pfd(open(c".", O_DIRECTORY), ANY)]))
        .ok("null-zero", || polled(&mut [pfd(open(c"/dev/null", O_RDWR), ANY), pfd(open(c"/dev/zero", O_RDONLY), ANY)]))
        .ok("bad-descriptor", || polled(&mut [pfd(99, ANY)]))
        .ok("negative-descriptor", || polled(&mut [pfd(-1, ANY)]))
        .ok("path-descriptor", || {
            file(c"f", "");
            polled(&mut [pfd(open(c"f", O_PATH), ANY)])
        })
        .ok("no-entries", || sys!(ppoll, 0, 0, &ms(1), 0, 8))
        .ok("many", || {
            let p = pipe();
            sys!(write, p.1, c"x", 1);
            let mut e = [pfd(p.0, libc::POLLIN); 600];
            sys!(ppoll, &mut e, 600, 0, 0, 8)
        })
        .ok("timeout-passes", || {
            let (start, mut e) = (now_ms(), [pfd(pipe().0, libc::POLLIN)]);
            (sys!(ppoll, &mut e, 1, &ms(50), 0, 8), now_ms() - start >= 50, i32::from(e[0].revents))
        })
        .ok("timeout-is-updated", || {
            let mut t = ms(20);
            (sys!(ppoll, 0, 0, &mut t, 0, 8), t.tv_sec, t.tv_nsec)
        })
        .ok("woken", || {
            let p = pipe();
            let w = child(|| {
                sleep_ms(30);
                sys!(write, p.1, c"x", 1);
                0
            });
            let mut e = [pfd(p.0, libc::POLLIN)];
            (sys!(ppoll, &mut e, 1, 0, 0, 8), i32::from(e[0].revents), wait(w))
        })
        .err("EINVAL-timeout", || sys!(ppoll, 0, 0, &libc::timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }, 0, 8))
        .err("EINVAL-negative-timeout", || sys!(ppoll, 0, 0, &libc::timespec { tv_sec: -1, tv_nsec: 0 }, 0, 8))
        .err("EINVAL-mask-size", || sys!(ppoll, 0, 0, &ms(0), &0u64, 4))
        .err("EINVAL-too-many", || {
            few_files(10);
            sys!(ppoll, pages(1), 11, &ms(0), 0, 8)
        })
        .bad("fds", || sys!(ppoll, BAD, 1, &ms(0), 0, 8))
        .bad("fds-edge", || sys!(ppoll, edge(8), 2, &ms(0), 0, 8))
        .bad("fds-read-only", || sys!(ppoll, read_only(), 1, &ms(0), 0, 8))
        .bad("tmo_p", || sys!(ppoll, 0, 0, BAD, 0, 8))
        .bad("tmo_p-read-only", || sys!(ppoll, 0, 0, read_only(), 0, 8))
        .bad("sigmask", || sys!(ppoll, 0, 0, &ms(0), BAD, 8));
    a.intr("no-timeout", || interrupted(|| sys!(ppoll, 0, 0, 0, 0, 8)))
        .intr("not-restarted", || restarted(|| (), || sys!(ppoll, 0, 0, 0, 0, 8)))
        .intr("mask-lets-in", || {
            block(&[libc::SIGALRM]);
            let r = interrupted(|| sys!(ppoll, 0, 0, 0, &0u64, 8));
            let mut m = 0u64;
            sys!(rt_sigprocmask, 0, 0, &mut m, 8);
            (r, caught() > 0, m)
        })
        .intr("time-left", || {
            let mut t = ms(5000);
            let r = interrupted(|| sys!(ppoll, 0, 0, &mut t, 0, 8));
            (r, t.tv_sec < 5)
        });
    a.call("pselect6", "EBADF EINVAL", "readfds writefds exceptfds timeout sigmask", true).not("ENOMEM", "see --nth");
    let ready = || {
        let p = pipe();
        sys!(write, p.1, c"x", 1);
        p
    };
    a.ok("readable-writable", move || {
        let p = ready();
        let (mut r, mut w) = ([1u64 << p.0, 0], [1u64 << p.1, 0]);
        (sys!(pselect6, 64, &mut r, &mut w, 0, &ms(0), 0), r[0], w[0])
    })
    .ok("none-ready", || {
        let mut r = [1u64 << pipe().0, 0];
        (sys!(pselect6, 64, &mut r, 0, 0, &ms(0), 0), r[0])
    })
    .ok("no-sets", || sys!(pselect6, 0, 0, 0, 0, &ms(1), 0))
    .ok("exceptions", || {
        let p = pipe();
        sys!(close, p.1);
        let (mut r, mut e) = ([1u64 << p.0, 0], [1u64 << p.0, 0]);
        (sys!(pselect6, 64, &mut r, 0, &mut e, &ms(0), 0), r[0], e[0])
    })
    .ok("bits-beyond-n", || {
        let mut r = [!0u64, !0];
        (sys!(pselect6, 0, &mut r, 0, 0, &ms(0), 0), r[0] == !0)
    })
    .ok("large-n", || {
        let mut r = [0u64; 16];
        sys!(pselect6, 1024, &mut r, 0, 0, &ms(0), 0)
    })
    .ok("timeout-is-updated", || {
        let mut t = ms(20);
        (sys!(pselect6, 0, 0, 0, 0, &mut t, 0), t.tv_sec, t.tv_nsec)
    })
    .err("EBADF", || sys!(pselect6, 64, &mut [1u64 << 50, 0], 0, 0, &ms(0), 0))
    .err("EINVAL-n", || sys!(pselect6, -1, 0, 0, 0, &ms(0), 0))
    .err("EINVAL-timeout", || sys!(pselect6, 0, 0, 0, 0, &libc::timespec { tv_sec: 0, tv_nsec: -1 }, 0))
    .err("EINVAL-mask-size", || sys!(pselect6, 0, 0, 0, 0, &ms(0), &[ptr(&[0u64]), 4]))
    .bad("readfds", || sys!(pselect6, 64, BAD, 0, 0, &ms(0), 0))
    .bad("writefds", || sys!(pselect6, 64, 0, BAD, 0, &ms(0), 0))
    .bad("exceptfds", || sys!(pselect6, 64, 0, 0, BAD, &ms(0), 0))
    .bad("readfds-read-only", || sys!(pselect6, 64, read_only(), 0, 0, &ms(0), 0))
    .bad("timeout", || sys!(pselect6, 0, 0, 0, 0, BAD, 0))
    .bad("sigmask", || sys!(pselect6, 0, 0, 0, 0, &ms(0), BAD))
    .bad("sigmask-inner", || sys!(pselect6, 0, 0, 0, 0, &ms(0), &[BAD, 8]));
    a.intr("no-timeout", || interrupted(|| sys!(pselect6, 0, 0, 0, 0, 0, 0)))
        .intr("not-restarted", || restarted(|| (), || sys!(pselect6, 0, 0, 0, 0, 0, 0)))
        .intr("mask-lets-in", || {
            block(&[libc::SIGALRM]);
            let open = 0u64;
            interrupted(|| sys!(pselect6, 0, 0, 0, 0, 0, &[ptr(&[open]), 8]))
        });
}
