//! Descriptors: duplicating, closing, control, pipes, locks, synchronising.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    F_ADD_SEALS, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL, F_GETLK, F_GETOWN, F_GETPIPE_SZ, F_OFD_GETLK, F_OFD_SETLK,
    F_RDLCK, F_SETFD, F_SETFL, F_SETLK, F_SETLKW, F_SETOWN, F_SETPIPE_SZ, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, O_APPEND,
    O_CLOEXEC, O_CREAT, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    duplicates(a);
    controls(a);
    locks(a);
    pipes(a);
    syncs(a);
}

/// Allows so many descriptors.
pub fn few_files(limit: u64) {
    sys!(prlimit64, 0, libc::RLIMIT_NOFILE, &[limit, limit], 0);
}

fn lock(kind: i32, start: i64, length: i64) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: 0, l_start: start, l_len: length, ..zero() }
}

fn duplicates(a: &mut Calls) {
    a.call("dup", "EBADF EMFILE", "", false);
    a.ok("lowest", || (sys!(dup, 1), sys!(dup, 1)))
        .ok("fills-gap", || {
            sys!(dup, 1);
            sys!(dup, 1);
            sys!(close, 3);
            sys!(dup, 1)
        })
        .ok("no-close-on-exec", || {
            file(c"f", "");
            let fd = open(c"f", O_RDONLY | O_CLOEXEC);
            (sys!(fcntl, fd, F_GETFD, 0), sys!(fcntl, sys!(dup, fd), F_GETFD, 0))
        })
        .err("EBADF", || sys!(dup, 99))
        .err("EMFILE", || {
            few_files(4);
            (sys!(dup, 1), sys!(dup, 1))
        });
    a.call("dup3", "EBADF EINVAL", "", false).not("EBUSY", "a race of threads");
    a.ok("to-number", || sys!(dup3, 1, 50, 0))
        .ok("replaces", || {
            let (f, g) = (opened(c"f", "hello"), opened(c"g", "world"));
            let mut b = [0u8; 8];
            (sys!(dup3, f, g, 0), sys!(read, g, &mut b, 8), ctext(&b))
        })
        .ok("close-on-exec", || (sys!(dup3, 1, 50, O_CLOEXEC), sys!(fcntl, 50, F_GETFD, 0)))
        .err("EBADF-old", || sys!(dup3, 99, 50, 0))
        .err("EBADF-new-negative", || sys!(dup3, 1, -1, 0))
        .err("EBADF-new-beyond-limit", || {
            few_files(10);
            sys!(dup3, 1, 10, 0)
        })
        .err("EINVAL-same", || sys!(dup3, 1, 1, 0))
        .err("EINVAL-same-closed", || sys!(dup3, 99, 99, 0))
        .err("EINVAL-flags", || sys!(dup3, 1, 50, O_NONBLOCK))
        .not("EMFILE", "newfd beyond the limit is EBADF on Linux");
    a.call("close", "EBADF", "", false).not("EIO", "no failing device").not("EINTR", "no file whose close waits");
    a.ok("once", || {
        let fd = opened(c"f", "");
        (sys!(close, fd), sys!(close, fd))
    })
    .ok("path", || {
        file(c"f", "");
        sys!(close, open(c"f", O_PATH))
    })
    .err("EBADF", || sys!(close, 99))
    .err("EBADF-negative", || sys!(close, -1))
    .err("EBADF-large", || sys!(close, 0x7fff_ffff));
    a.call("close_range", "EINVAL", "", false)
        .not("EMFILE", "needs CLOSE_RANGE_UNSHARE with a table beyond the limit")
        .not("ENOMEM", "see --nth");
    a.ok("range", || {
        (3..8).for_each(|_| assert!(sys!(dup, 1) > 0));
        (
            sys!(close_range, 4, 6, 0),
            sys!(fcntl, 3, F_GETFD, 0),
            sys!(fcntl, 4, F_GETFD, 0),
            sys!(fcntl, 6, F_GETFD, 0),
            sys!(fcntl, 7, F_GETFD, 0),
        )
    })
    .ok("nothing-there", || sys!(close_range, 40, 50, 0))
    .ok("to-the-end", || {
        sys!(dup, 1);
        (sys!(close_range, 3, !0u32, 0), sys!(fcntl, 3, F_GETFD, 0))
    })
    .ok("close-on-exec", || {
        sys!(dup, 1);
        (sys!(close_range, 3, !0u32, libc::CLOSE_RANGE_CLOEXEC), sys!(fcntl, 3, F_GETFD, 0))
    })
    .ok("unshare", || sys!(close_range, 3, !0u32, libc::CLOSE_RANGE_UNSHARE))
    .err("EINVAL-order", || sys!(close_range, 5, 4, 0))
    .err("EINVAL-flags", || sys!(close_range, 4, 5, 1));
}

fn controls(a: &mut Calls) {
    a.call("fcntl", "EBADF EINVAL EMFILE EAGAIN EPERM EBUSY ESRCH EDEADLK", "arg", true)
        .not("ENOLCK", "no lock limit")
        .not("EACCES", "Linux gives EAGAIN");
    a.ok("F_DUPFD", || (sys!(fcntl, 1, F_DUPFD, 20), sys!(fcntl, 1, F_DUPFD, 20)))
        .ok("F_DUPFD_CLOEXEC", || (sys!(fcntl, 1, F_DUPFD_CLOEXEC, 20), sys!(fcntl, 20, F_GETFD, 0)))
        .ok("F_SETFD", || {
            sys!(dup, 1);
            (sys!(fcntl, 3, F_SETFD, 1), sys!(fcntl, 3, F_GETFD, 0), sys!(fcntl, 3, F_SETFD, 2), sys!(fcntl, 3, F_GETFD, 0))
        })
        .ok("F_GETFL-read-write", || sys!(fcntl, opened(c"f", ""), F_GETFL, 0))
        .ok("F_GETFL-path", || {
            file(c"f", "");
            sys!(fcntl, open(c"f", O_PATH), F_GETFL, 0)
        })
        .ok("F_GETFL-pipe", || {
            let p = pipe_with(O_NONBLOCK);
            (sys!(fcntl, p.0, F_GETFL, 0), sys!(fcntl, p.1, F_GETFL, 0))
        })
        .ok("F_SETFL-keeps-mode", || {
            let fd = opened(c"f", "");
            (sys!(fcntl, fd, F_SETFL, O_WRONLY | O_APPEND | O_NONBLOCK | O_CREAT), sys!(fcntl, fd, F_GETFL, 0))
        })
        .ok("F_GETPIPE_SZ", || sys!(fcntl, pipe().0, F_GETPIPE_SZ, 0))
        .ok("F_SETPIPE_SZ", || {
            let p = pipe();
            (sys!(fcntl, p.0, F_SETPIPE_SZ, 5000), sys!(fcntl, p.1, F_GETPIPE_SZ, 0), sys!(fcntl, p.1, F_SETPIPE_SZ, 1))
        })
        .ok("F_SETOWN", || {
            let p = pipe();
            let me = sys!(getpid);
            (sys!(fcntl, p.0, F_SETOWN, me), sys!(fcntl, p.0, F_GETOWN, 0) == me)
        })
        .ok("F_ADD_SEALS", || {
            let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING);
            (sys!(fcntl, fd, F_ADD_SEALS, libc::F_SEAL_GROW), sys!(fcntl, fd, F_GET_SEALS, 0), sys!(ftruncate, fd, 10))
        })
        .ok("F_GETLK-free", || {
            let mut l = lock(F_WRLCK, 0, 10);
            (sys!(fcntl, opened(c"f", ""), F_GETLK, &mut l), i32::from(l.l_type))
        })
        .ok("F_SETLK-own-again", || {
            let fd = opened(c"f", "");
            (
                sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, 0, 10)),
                sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 5, 10)),
                sys!(fcntl, fd, F_SETLK, &lock(F_UNLCK, 0, 0)),
            )
        })
        .ok("F_GETLK-held", || {
            let fd = opened(c"f", "");
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 5, 10));
            in_child(|| {
                let mut l = lock(F_RDLCK, 0, 100);
                let r = sys!(fcntl, fd, F_GETLK, &mut l);
                i32::from(r == 0 && i32::from(l.l_type) == F_WRLCK && l.l_start == 5 && l.l_len == 10 && l.l_pid as isize == sys!(getppid))
            })
        })
        .ok("F_SETLK-gone-with-close", || {
            let fd = opened(c"f", "");
            let other = open(c"f", O_RDWR);
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 10));
            sys!(close, other);
            in_child(|| sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 10)) as i32)
        })
        .ok("F_OFD_SETLK", || {
            let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
            (sys!(fcntl, f, F_OFD_SETLK, &lock(F_WRLCK, 0, 10)), sys!(fcntl, g, F_OFD_SETLK, &lock(F_WRLCK, 0, 10)), {
                let mut l = lock(F_WRLCK, 0, 10);
                (sys!(fcntl, g, F_OFD_GETLK, &mut l), l.l_pid)
            })
        })
        .err("EBADF", || sys!(fcntl, 99, F_GETFD, 0))
        .err("EBADF-path", || {
            file(c"f", "");
            sys!(fcntl, open(c"f", O_PATH), F_SETFL, 0)
        })
        .err("EBADF-lock-mode", || {
            file(c"f", "");
            sys!(fcntl, open(c"f", O_RDONLY), F_SETLK, &lock(F_WRLCK, 0, 0))
        })
        .err("EINVAL-command", || sys!(fcntl, 1, 9999, 0))
        .err("EINVAL-F_DUPFD-beyond-limit", || {
            few_files(10);
            sys!(fcntl, 1, F_DUPFD, 10)
        })
        .err("EINVAL-F_DUPFD-negative", || sys!(fcntl, 1, F_DUPFD, -1))
        .err("EINVAL-lock-type", || sys!(fcntl, opened(c"f", ""), F_SETLK, &lock(9, 0, 0)))
        .err("EINVAL-lock-start", || sys!(fcntl, opened(c"f", ""), F_SETLK, &lock(F_RDLCK, -5, 1)))
        .err("EINVAL-ofd-pid", || {
            let l = libc::flock { l_pid: 1, ..lock(F_RDLCK, 0, 0) };
            sys!(fcntl, opened(c"f", ""), F_OFD_SETLK, &l)
        })
        .ok("F_GET_SEALS-of-file", || sys!(fcntl, opened(c"f", ""), F_GET_SEALS, 0))
        .err("EINVAL-seals-of-pipe", || sys!(fcntl, pipe().0, F_GET_SEALS, 0))
        .err("EBADF-pipe-size-of-file", || sys!(fcntl, opened(c"f", ""), F_GETPIPE_SZ, 0))
        .err("EINVAL-pipe-size", || sys!(fcntl, pipe().0, F_SETPIPE_SZ, -1))
        .err("EBUSY-pipe-size-below-content", || {
            let p = pipe_with(O_NONBLOCK);
            for _ in 0..4 {
                sys!(write, p.1, pages(1), PAGE);
            }
            sys!(fcntl, p.1, F_SETPIPE_SZ, PAGE)
        })
        .err("EPERM-pipe-size-of-user", || {
            let p = pipe();
            user();
            sys!(fcntl, p.1, F_SETPIPE_SZ, 2 << 20)
        })
        .err("EPERM-sealed", || {
            let fd = sys!(memfd_create, c"m", 0);
            (sys!(fcntl, fd, F_ADD_SEALS, libc::F_SEAL_GROW), sys!(fcntl, fd, F_GET_SEALS, 0))
        })
        .err("ESRCH-owner", || sys!(fcntl, pipe().0, F_SETOWN, 0x3fff_ffff))
        .err("EMFILE", || {
            few_files(3);
            sys!(fcntl, 1, F_DUPFD, 0)
        })
        .err("EAGAIN-lock-held", || {
            let fd = opened(c"f", "");
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 10));
            ("EAGAIN", in_child(|| -sys!(fcntl, fd, F_SETLK, &lock(F_RDLCK, 9, 1)) as i32))
        })
        .err("EDEADLK", || {
            let fd = opened(c"f", "");
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 1));
            let other = child(|| {
                sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 1, 1));
                sys!(fcntl, fd, F_SETLKW, &lock(F_WRLCK, 0, 1)) as i32
            });
            sleep_ms(100);
            let r = sys!(fcntl, fd, F_SETLKW, &lock(F_WRLCK, 1, 1));
            end(other);
            r
        })
        .bad("arg", || sys!(fcntl, opened(c"f", ""), F_SETLK, BAD))
        .bad("arg-getlk", || sys!(fcntl, opened(c"f", ""), F_GETLK, BAD))
        .bad("arg-getlk-read-only", || sys!(fcntl, opened(c"f", ""), F_GETLK, read_only()))
        .intr("F_SETLKW", || {
            let fd = opened(c"f", "");
            sys!(fcntl, fd, F_SETLK, &lock(F_WRLCK, 0, 10));
            ("child", in_child(|| interrupted(|| -sys!(fcntl, fd, F_SETLKW, &lock(F_WRLCK, 0, 10)) as i32)))
        });
    super::lock::records(a);
    a.call("ioctl", "EBADF ENOTTY", "arg", false);
    a.ok("FIONREAD-pipe", || {
        let (p, mut n) = (pipe(), 0i32);
        sys!(write, p.1, c"abc", 3);
        (sys!(ioctl, p.0, libc::FIONREAD, &mut n), n)
    })
    .ok("FIONREAD-file", || {
        let mut n = 0i32;
        (sys!(ioctl, opened(c"f", "hello"), libc::FIONREAD, &mut n), n)
    })
    .ok("FIONBIO", || {
        let p = pipe();
        (sys!(ioctl, p.0, libc::FIONBIO, &1i32), sys!(fcntl, p.0, F_GETFL, 0), sys!(read, p.0, pages(1), 1))
    })
    .ok("FIOCLEX", || {
        let p = pipe();
        (
            sys!(ioctl, p.0, libc::FIOCLEX, 0),
            sys!(fcntl, p.0, F_GETFD, 0),
            sys!(ioctl, p.0, libc::FIONCLEX, 0),
            sys!(fcntl, p.0, F_GETFD, 0),
        )
    })
    .ok("TCGETS-console", || {
        let mut t = [0u8; 64];
        sys!(ioctl, open(c"/dev/console", O_RDWR | libc::O_NOCTTY), libc::TCGETS, &mut t)
    })
    .err("EBADF", || sys!(ioctl, 99, libc::FIONREAD, pages(1)))
    .err("EBADF-path", || {
        file(c"f", "");
        sys!(ioctl, open(c"f", O_PATH), libc::FIONREAD, pages(1))
    })
    .err("ENOTTY-file", || sys!(ioctl, opened(c"f", ""), libc::TCGETS, pages(1)))
    .err("ENOTTY-pipe", || sys!(ioctl, pipe().0, libc::TIOCGWINSZ, pages(1)))
    .err("ENOTTY-null", || sys!(ioctl, open(c"/dev/null", O_RDONLY), libc::TCGETS, pages(1)))
    .err("ENOTTY-directory", || sys!(ioctl, open(c".", O_DIRECTORY), libc::FIONREAD, pages(1)))
    .err("ENOTTY-unknown", || sys!(ioctl, pipe().0, 0x1234_5678, 0))
    .not("EINVAL", "depends on the device")
    .bad("arg", || {
        let p = pipe();
        sys!(ioctl, p.0, libc::FIONREAD, BAD)
    })
    .bad("arg-FIONBIO", || sys!(ioctl, pipe().0, libc::FIONBIO, BAD))
    .bad("arg-TCGETS", || sys!(ioctl, open(c"/dev/console", O_RDWR | libc::O_NOCTTY), libc::TCGETS, BAD));
    super::rtc::add(a);
}

fn locks(a: &mut Calls) {
    a.call("flock", "EBADF EINVAL EAGAIN", "", true).not("ENOLCK", "no lock limit").not("EWOULDBLOCK", "is EAGAIN");
    a.ok("exclusive", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        (sys!(flock, f, LOCK_EX), sys!(flock, g, LOCK_SH | LOCK_NB), sys!(flock, f, LOCK_UN), sys!(flock, g, LOCK_SH | LOCK_NB))
    })
    .ok("shared", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        (sys!(flock, f, LOCK_SH), sys!(flock, g, LOCK_SH), sys!(flock, f, LOCK_EX | LOCK_NB))
    })
    .ok("shared-by-dup", || {
        let f = opened(c"f", "");
        (sys!(flock, f, LOCK_EX), sys!(flock, sys!(dup, f), LOCK_EX | LOCK_NB))
    })
    .ok("gone-with-last-close", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(flock, f, LOCK_EX);
        sys!(close, f);
        sys!(flock, g, LOCK_EX | LOCK_NB)
    })
    .ok("unlock-unlocked", || sys!(flock, opened(c"f", ""), LOCK_UN))
    .err("EBADF", || sys!(flock, 99, LOCK_EX))
    .err("EBADF-path", || {
        file(c"f", "");
        sys!(flock, open(c"f", O_PATH), LOCK_EX)
    })
    .err("EINVAL", || sys!(flock, opened(c"f", ""), 0))
    .err("EINVAL-both", || sys!(flock, opened(c"f", ""), LOCK_SH | LOCK_EX))
    .err("EAGAIN", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(flock, f, LOCK_EX);
        sys!(flock, g, LOCK_EX | LOCK_NB)
    })
    .intr("held", || {
        let (f, g) = (opened(c"f", ""), open(c"f", O_RDWR));
        sys!(flock, f, LOCK_EX);
        interrupted(|| sys!(flock, g, LOCK_EX))
    });
    super::lock::whole(a);
}

fn pipes(a: &mut Calls) {
    a.call("pipe2", "EINVAL EMFILE", "pipefd", false)
        .not("ENFILE", "needs the whole system's limit")
        .not("ENOPKG", "needs CONFIG_WATCH_QUEUE");
    a.ok("plain", || pipe())
        .ok("flags", || {
            let p = pipe_with(O_CLOEXEC | O_NONBLOCK);
            (sys!(fcntl, p.0, F_GETFD, 0), sys!(fcntl, p.1, F_GETFL, 0))
        })
        .ok("packets", || {
            let p = pipe_with(libc::O_DIRECT);
            sys!(write, p.1, c"abc", 3);
            sys!(write, p.1, c"de", 2);
            (sys!(read, p.0, pages(1), 2), sys!(read, p.0, pages(1), 9))
        })
        .err("EINVAL", || sys!(pipe2, pages(1), O_APPEND))
        .err("EMFILE", || {
            few_files(4);
            (sys!(pipe2, pages(1), 0), sys!(dup, 1))
        })
        .bad("pipefd", || (sys!(pipe2, BAD, 0), sys!(dup, 1)))
        .bad("pipefd-edge", || (sys!(pipe2, edge(4), 0), sys!(dup, 1)))
        .bad("pipefd-read-only", || sys!(pipe2, read_only(), 0));
}

fn syncs(a: &mut Calls) {
    a.call("fsync", "EBADF EINVAL", "", false).not("EIO", "no failing device").not("EROFS", "is EINVAL");
    a.ok("file", || sys!(fsync, opened(c"f", "x")))
        .ok("directory", || sys!(fsync, open(c".", O_DIRECTORY)))
        .err("EBADF", || sys!(fsync, 99))
        .err("EINVAL-pipe", || sys!(fsync, pipe().0))
        .err("EINVAL-null", || sys!(fsync, open(c"/dev/null", O_RDWR)));
    a.call("fdatasync", "EBADF EINVAL", "", false).not("EIO", "no failing device");
    a.ok("file", || sys!(fdatasync, opened(c"f", "x")))
        .err("EBADF", || sys!(fdatasync, 99))
        .err("EINVAL-pipe", || sys!(fdatasync, pipe().1));
    a.call("sync", "", "", false);
    a.ok("all", || sys!(sync));
    a.call("syncfs", "EBADF", "", false).not("EIO", "no failing device");
    a.ok("file", || sys!(syncfs, opened(c"f", "x"))).ok("pipe", || sys!(syncfs, pipe().0)).err("EBADF", || sys!(syncfs, 99));
    a.call("fadvise64", "EBADF EINVAL ESPIPE", "", false);
    a.ok("all-advice", || {
        let fd = opened(c"f", "x");
        (0..6).map(|advice| sys!(fadvise64, fd, 0, 0, advice)).collect::<Vec<_>>()
    })
    .err("EBADF", || sys!(fadvise64, 99, 0, 0, 0))
    .err("EINVAL", || sys!(fadvise64, opened(c"f", "x"), 0, 0, 99))
    .err("EINVAL-length", || sys!(fadvise64, opened(c"f", "x"), 0, -1, 0))
    .err("ESPIPE", || sys!(fadvise64, pipe().0, 0, 0, 0));
    a.call("readahead", "EBADF EINVAL", "", false);
    a.ok("file", || sys!(readahead, opened(c"f", "x"), 0, 10))
        .err("EBADF", || sys!(readahead, 99, 0, 10))
        .err("EBADF-write-only", || sys!(readahead, open(c"f", O_CREAT | O_WRONLY), 0, 10))
        .err("EINVAL-pipe", || sys!(readahead, pipe().0, 0, 10))
        .err("EINVAL-directory", || sys!(readahead, open(c".", O_DIRECTORY), 0, 10));
    a.call("memfd_create", "EINVAL EMFILE", "name", false).not("ENFILE", "needs the whole system's limit").not("ENOMEM", "see --nth");
    a.ok("file", || {
        let fd = sys!(memfd_create, c"m", 0);
        let mut s: libc::stat = zero();
        (fd, sys!(write, fd, c"abc", 3), sys!(fstat, fd, &mut s), format!("{:o} {} {}", s.st_mode, s.st_size, s.st_nlink))
    })
    .ok("close-on-exec", || sys!(fcntl, sys!(memfd_create, c"m", libc::MFD_CLOEXEC), F_GETFD, 0))
    .ok("flags-of-file", || sys!(fcntl, sys!(memfd_create, c"m", 0), F_GETFL, 0))
    .ok("longest-name", || sys!(memfd_create, &*long_name(249), 0))
    .err("EINVAL-name", || sys!(memfd_create, &*long_name(250), 0))
    .err("EINVAL-flags", || sys!(memfd_create, c"m", 0x100))
    .err("EMFILE", || {
        few_files(3);
        sys!(memfd_create, c"m", 0)
    })
    .bad("name", || sys!(memfd_create, BAD, 0))
    .bad("name-endless", || sys!(memfd_create, endless(), 0));
}
