//! Calls on open files.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{MAP_SHARED, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR};

/// Adds the group.
pub fn add(a: &mut Calls) {
    files(a);
    directories(a);
}

fn files(a: &mut Calls) {
    a.call("fstat", "EBADF", "statbuf", false).not("ENOMEM", "see --nth");
    a.ok("file", || {
        let mut s: libc::stat = zero();
        (sys!(fstat, opened(c"f", "abc"), &mut s), format!("{:o} {} {}", s.st_mode, s.st_nlink, s.st_size))
    })
    .ok("pipe", || {
        let mut s: libc::stat = zero();
        (sys!(fstat, pipe().0, &mut s), format!("{:o} {} {} {}", s.st_mode, s.st_nlink, s.st_size, s.st_blksize))
    })
    .ok("path", || {
        file(c"f", "abc");
        sys!(fstat, open(c"f", O_PATH), pages(1))
    })
    .err("EBADF", || sys!(fstat, 99, pages(1)))
    .bad("statbuf", || sys!(fstat, 1, BAD))
    .bad("statbuf-edge", || sys!(fstat, 1, edge(100)));
    a.call("fstatfs", "EBADF", "buf", false).not("EIO", "no failing device");
    a.ok("tmpfs", || {
        let mut s: libc::statfs = zero();
        (sys!(fstatfs, opened(c"f", ""), &mut s), format!("{:#x}", s.f_type))
    })
    .ok("pipe", || {
        let mut s: libc::statfs = zero();
        (sys!(fstatfs, pipe().0, &mut s), format!("{:#x} {}", s.f_type, s.f_namelen))
    })
    .err("EBADF", || sys!(fstatfs, 99, pages(1)))
    .bad("buf", || sys!(fstatfs, opened(c"f", ""), BAD));
    a.call("ftruncate", "EBADF EINVAL EFBIG EPERM", "", false)
        .not("EINTR", "no file system that waits")
        .not("ETXTBSY", "such a file cannot be opened for writing");
    a.ok("shorter", || (sys!(ftruncate, opened(c"f", "hello"), 2), content(c"f")))
        .ok("longer", || (sys!(ftruncate, opened(c"f", "hello"), 7), content(c"f")))
        .ok("mapping-beyond-end", || {
            let fd = opened(c"f", "hello");
            sys!(ftruncate, fd, 2 * PAGE);
            let at = sys!(mmap, 0, 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, MAP_SHARED, fd, 0) as usize;
            fill(at, 2 * PAGE, b'm');
            (sys!(ftruncate, fd, 10), peek(at + 9), peek(at + 10), in_child(|| i32::from(peek(at + PAGE))))
        })
        .err("EBADF", || sys!(ftruncate, 99, 0))
        .err("EINVAL-read-only", || {
            file(c"f", "");
            sys!(ftruncate, open(c"f", O_RDONLY), 0)
        })
        .err("EINVAL-negative", || sys!(ftruncate, opened(c"f", ""), -1))
        .err("EINVAL-pipe", || sys!(ftruncate, pipe().1, 0))
        .err("EINVAL-directory", || sys!(ftruncate, open(c".", O_DIRECTORY), 0))
        .err("EFBIG", || {
            let fd = opened(c"f", "");
            sys!(prlimit64, 0, libc::RLIMIT_FSIZE, &[10u64, 10], 0);
            handle(libc::SIGXFSZ, 0);
            (sys!(ftruncate, fd, 11), caught())
        })
        .err("EPERM-sealed", || {
            let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING);
            sys!(fcntl, fd, libc::F_ADD_SEALS, libc::F_SEAL_GROW);
            sys!(ftruncate, fd, 1)
        });
    a.call("fallocate", "EBADF EINVAL EFBIG EOPNOTSUPP ESPIPE ENODEV", "", false)
        .not("EIO", "no failing device")
        .not("ENOSPC", "as write")
        .not("ETXTBSY", "as ftruncate");
    a.ok("grow", || {
        let fd = opened(c"f", "ab");
        (sys!(fallocate, fd, 0, 0, 100), stat_text(c"f"))
    })
    .ok("keep-size", || {
        let fd = opened(c"f", "ab");
        (sys!(fallocate, fd, 1, 0, 100), stat_text(c"f"))
    })
    .ok("punch-hole", || {
        let fd = opened(c"f", "abcdef");
        (sys!(fallocate, fd, 3, 1, 3), content(c"f"))
    })
    .err("EBADF", || sys!(fallocate, 99, 0, 0, 1))
    .err("EBADF-read-only", || {
        file(c"f", "");
        sys!(fallocate, open(c"f", O_RDONLY), 0, 0, 1)
    })
    .err("EINVAL-length", || sys!(fallocate, opened(c"f", ""), 0, 0, 0))
    .err("EINVAL-offset", || sys!(fallocate, opened(c"f", ""), 0, -1, 1))
    .err("EFBIG", || sys!(fallocate, opened(c"f", ""), 0, i64::MAX, 1))
    .err("EOPNOTSUPP-mode", || sys!(fallocate, opened(c"f", ""), 0x100, 0, 1))
    .err("EOPNOTSUPP-hole-without-keep-size", || sys!(fallocate, opened(c"f", ""), 2, 0, 1))
    .err("ESPIPE", || sys!(fallocate, pipe().1, 0, 0, 1))
    .err("ENODEV-device", || sys!(fallocate, open(c"/dev/null", O_RDWR), 0, 0, 1));
    a.call("fchmod", "EBADF EPERM", "", false).not("EIO", "no failing device").not("EROFS", "no read-only mount");
    a.ok("file", || (sys!(fchmod, opened(c"f", ""), 0o4711), stat_text(c"f")))
        .ok("pipe", || sys!(fchmod, pipe().0, 0o600))
        .err("EBADF", || sys!(fchmod, 99, 0o600))
        .err("EBADF-path", || {
            file(c"f", "");
            sys!(fchmod, open(c"f", O_PATH), 0o600)
        })
        .err("EPERM", || {
            file(c"f", "");
            let fd = open(c"f", O_RDONLY);
            as_user(|| sys!(fchmod, fd, 0o600))
        });
    a.call("fchown", "EBADF EPERM", "", false).not("EIO", "no failing device").not("EROFS", "no read-only mount");
    a.ok("file", || {
        let fd = opened(c"f", "");
        let mut s: libc::stat = zero();
        (sys!(fchown, fd, 5, 6), sys!(fstat, fd, &mut s), s.st_uid, s.st_gid)
    })
    .err("EBADF", || sys!(fchown, 99, 5, 6))
    .err("EPERM", || {
        let fd = opened(c"f", "");
        as_user(|| sys!(fchown, fd, 1000, -1))
    });
    a.call("fchdir", "EBADF ENOTDIR EACCES", "", false);
    a.ok("directory", || {
        dir(c"d");
        file(c"d/f", "inside");
        (sys!(fchdir, open(c"d", O_RDONLY)), content(c"f"))
    })
    .ok("path", || {
        dir(c"d");
        sys!(fchdir, open(c"d", O_PATH))
    })
    .err("EBADF", || sys!(fchdir, 99))
    .err("ENOTDIR", || sys!(fchdir, opened(c"f", "")))
    .err("EACCES", || {
        dir(c"d");
        sys!(fchmodat, CWD, c"d", 0o600);
        let fd = open(c"d", O_RDONLY);
        as_user(|| sys!(fchdir, fd))
    });
    a.call("umask", "", "", false);
    a.ok("old", || (sys!(umask, 0o77), sys!(umask, 0o7777), sys!(umask, 0))).ok("applies", || {
        sys!(umask, 0o77);
        sys!(openat, CWD, c"f", O_CREAT | O_RDWR, 0o666);
        stat_text(c"f")
    });
}

/// Names and types in a directory, sorted.
fn names(fd: i32, size: usize) -> String {
    let mut all = Vec::new();
    loop {
        let mut b = [0u8; 2048];
        let n = sys!(getdents64, fd, &mut b, size);
        if n <= 0 {
            all.sort();
            return format!("{} {n}", all.join(","));
        }
        let mut at = 0;
        while at < n as usize {
            let length = usize::from(u16::from_le_bytes([b[at + 16], b[at + 17]]));
            all.push(format!("{}:{}", ctext(&b[at + 19..at + length]), b[at + 18]));
            at += length;
        }
    }
}

fn directories(a: &mut Calls) {
    a.call("getdents64", "EBADF EINVAL ENOENT ENOTDIR", "dirp", false);
    a.ok("all-types", || {
        dir(c"d");
        file(c"f", "");
        sys!(symlinkat, c"f", CWD, c"l");
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        names(open(c".", O_RDONLY), 2048)
    })
    .ok("small-buffer", || {
        (0..20).for_each(|i| file(&c(&format!("file{i}")), ""));
        names(open(c".", O_RDONLY), 64)
    })
    .ok("again-after-seek", || {
        file(c"f", "");
        let fd = open(c".", O_RDONLY);
        names(fd, 2048);
        (sys!(lseek, fd, 0, 0), names(fd, 2048))
    })
    .ok("at-end", || {
        let fd = open(c".", O_RDONLY);
        names(fd, 2048);
        sys!(getdents64, fd, pages(1), PAGE)
    })
    .ok("removing-while-reading", || {
        (0..50).for_each(|i| file(&c(&format!("f{i}")), ""));
        let fd = open(c".", O_RDONLY);
        let mut removed = 0;
        loop {
            let mut b = [0u8; 256];
            let n = sys!(getdents64, fd, &mut b, 256);
            if n <= 0 {
                break;
            }
            let mut at = 0;
            while at < n as usize {
                let length = usize::from(u16::from_le_bytes([b[at + 16], b[at + 17]]));
                let name = ctext(&b[at + 19..at + length]);
                removed += usize::from(sys!(unlinkat, CWD, &*c(&name), 0) == 0);
                at += length;
            }
        }
        removed
    })
    .err("EBADF", || sys!(getdents64, 99, pages(1), PAGE))
    .err("EBADF-path", || sys!(getdents64, open(c".", O_PATH), pages(1), PAGE))
    .err("ENOTDIR", || sys!(getdents64, opened(c"f", ""), pages(1), PAGE))
    .err("EINVAL-small", || sys!(getdents64, open(c".", O_RDONLY), pages(1), 10))
    .err("ENOENT-removed", || {
        dir(c"d");
        let fd = open(c"d", O_RDONLY);
        sys!(unlinkat, CWD, c"d", libc::AT_REMOVEDIR);
        sys!(getdents64, fd, pages(1), PAGE)
    })
    .bad("dirp", || sys!(getdents64, open(c".", O_RDONLY), BAD, PAGE))
    .bad("dirp-edge", || {
        (0..20).for_each(|i| file(&c(&format!("file{i}")), ""));
        sys!(getdents64, open(c".", O_RDONLY), edge(60), PAGE)
    });
}
