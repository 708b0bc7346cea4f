//! Paths: opening and looking.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR,
    O_TMPFILE, O_TRUNC, O_WRONLY,
};
use std::ffi::CStr;

/// Adds the group.
pub fn add(a: &mut Calls) {
    opens(a);
    opens_by_structure(a);
    looks(a);
}

/// Makes a symbolic link.
pub fn link(target: &CStr, path: &CStr) {
    sys!(symlinkat, target, CWD, path);
}

/// The errors that every path walk has, for a call as `f(path)`. Names begin with the errno.
pub fn walk(a: &mut Calls, f: fn(usize) -> isize) {
    a.err("ENOENT-directory", move || f(c"none/f".as_ptr() as usize))
        .err("ENOENT-empty", move || f(c"".as_ptr() as usize))
        .err("ENOTDIR", move || {
            file(c"plain", "");
            f(c"plain/f".as_ptr() as usize)
        })
        .err("ELOOP", move || {
            link(c"b", c"a");
            link(c"a", c"b");
            f(c"a/f".as_ptr() as usize)
        })
        .err("ENAMETOOLONG-name", move || f(long_name(256).as_ptr() as usize))
        .err("ENAMETOOLONG-path", move || f(c(&"./".repeat(2048)).as_ptr() as usize))
        .err("EACCES-search", move || {
            dir(c"closed");
            file(c"closed/f", "");
            sys!(fchmodat, CWD, c"closed", 0o600);
            as_user(|| f(c"closed/f".as_ptr() as usize))
        })
        .bad("path", move || f(BAD))
        .bad("path-null", move || f(0))
        .bad("path-kernel", move || f(KERN))
        .bad("path-endless", move || f(endless()));
}

/// The errnos of [`walk`].
pub const WALK: &str = "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES";

fn opens(a: &mut Calls) {
    a.call(
        "openat",
        "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST EINVAL EISDIR EMFILE ENXIO EPERM ETXTBSY EOPNOTSUPP",
        "path",
        true,
    )
    .not("EROFS", "no read-only mount")
    .not("EBUSY", "no exclusive device")
    .not("EFBIG", "files are opened with O_LARGEFILE")
    .not("ENFILE", "needs the whole system's limit")
    .not("ENODEV", "no device without a driver is made")
    .not("EWOULDBLOCK", "no leases")
    .not("EOVERFLOW", "files are opened with O_LARGEFILE");
    walk(a, |p| sys!(openat, CWD, p, O_RDONLY, 0));
    a.ok("read", || {
        file(c"f", "x");
        open(c"f", O_RDONLY)
    })
    .ok("create", || (open(c"f", O_CREAT | O_RDWR), stat_text(c"f")))
    .ok("create-mode-and-umask", || (sys!(openat, CWD, c"f", O_CREAT | O_RDWR, 0o7777), stat_text(c"f")))
    .ok("create-read-only-mode-writable", || sys!(write, sys!(openat, CWD, c"f", O_CREAT | O_WRONLY, 0o400), c"x", 1))
    .ok("truncate", || {
        file(c"f", "hello");
        (open(c"f", O_WRONLY | O_TRUNC), stat_text(c"f"))
    })
    .ok("truncate-read-only", || {
        file(c"f", "hello");
        (open(c"f", O_RDONLY | O_TRUNC), stat_text(c"f"))
    })
    .ok("directory", || open(c".", O_RDONLY))
    .ok("relative-to-descriptor", || {
        dir(c"d");
        file(c"d/f", "inside");
        let d = open(c"d", O_RDONLY);
        let fd = sys!(openat, d, c"f", O_RDONLY, 0);
        let mut b = [0u8; 9];
        (sys!(read, fd, &mut b, 9), ctext(&b))
    })
    .ok("absolute-ignores-descriptor", || sys!(openat, 99, c"/dev/null", O_RDONLY, 0))
    .ok("symlink", || {
        file(c"f", "x");
        link(c"f", c"l");
        open(c"l", O_RDONLY)
    })
    .ok("create-through-dangling-symlink", || {
        link(c"f", c"l");
        (open(c"l", O_CREAT | O_RDWR), stat_text(c"f"))
    })
    .ok("path-of-symlink", || {
        link(c"none", c"l");
        open(c"l", O_PATH | O_NOFOLLOW)
    })
    .ok("dot-dot-of-root", || open(c"/../../dev/null", O_RDONLY))
    .ok("slashes", || open(c"//dev///null", O_RDONLY))
    .ok("temporary", || {
        let fd = open(c".", O_TMPFILE | O_RDWR);
        let mut s: libc::stat = zero();
        (fd, sys!(fstat, fd, &mut s), s.st_nlink, sys!(write, fd, c"x", 1))
    })
    .ok("fifo-nonblocking-read", || {
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        open(c"p", O_RDONLY | O_NONBLOCK)
    })
    .ok("fifo-read-write", || {
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        open(c"p", O_RDWR)
    })
    .ok("forty-symlinks", || {
        file(c"l0", "x");
        for i in 1..=41 {
            link(&c(&format!("l{}", i - 1)), &c(&format!("l{i}")));
        }
        (open(c"l40", O_RDONLY), sys!(openat, CWD, c"l41", O_RDONLY, 0))
    })
    .err("ENOENT", || sys!(openat, CWD, c"none", O_RDONLY, 0))
    .err("ENOENT-dangling", || {
        link(c"none", c"l");
        sys!(openat, CWD, c"l", O_RDONLY, 0)
    })
    .err("EBADF", || sys!(openat, 99, c"f", O_RDONLY, 0))
    .err("ENOTDIR-descriptor", || sys!(openat, opened(c"f", ""), c"x", O_RDONLY, 0))
    .err("ENOTDIR-wanted", || {
        file(c"f", "");
        sys!(openat, CWD, c"f", O_DIRECTORY, 0)
    })
    .err("ENOTDIR-trailing-slash", || {
        file(c"f", "");
        sys!(openat, CWD, c"f/", O_RDONLY, 0)
    })
    .err("EEXIST", || {
        file(c"f", "");
        sys!(openat, CWD, c"f", O_CREAT | O_EXCL | O_RDWR, 0o644)
    })
    .err("EEXIST-dangling-symlink", || {
        link(c"none", c"l");
        sys!(openat, CWD, c"l", O_CREAT | O_EXCL | O_RDWR, 0o644)
    })
    .err("ELOOP-nofollow", || {
        file(c"f", "");
        link(c"f", c"l");
        sys!(openat, CWD, c"l", O_NOFOLLOW, 0)
    })
    .err("EISDIR-write", || sys!(openat, CWD, c".", O_WRONLY, 0))
    .err("EISDIR-create", || {
        dir(c"d");
        sys!(openat, CWD, c"d", O_CREAT | O_RDONLY, 0o644)
    })
    .err("EISDIR-create-trailing-slash", || sys!(openat, CWD, c"new/", O_CREAT | O_RDWR, 0o644))
    .err("EINVAL-create-directory", || sys!(openat, CWD, c"d", O_CREAT | O_DIRECTORY | O_RDWR, 0o644))
    .err("EINVAL-temporary-read-only", || sys!(openat, CWD, c".", O_TMPFILE | O_RDONLY, 0o644))
    .ok("access-mode-3", || {
        file(c"f", "abc");
        let fd = open(c"f", 3);
        (fd, sys!(read, fd, pages(1), 1), sys!(write, fd, c"x", 1))
    })
    .ok("unknown-flags-ignored", || {
        file(c"f", "");
        sys!(openat, CWD, c"f", 0x4000_0000, 0)
    })
    .err("EMFILE", || {
        file(c"f", "");
        sys!(prlimit64, 0, libc::RLIMIT_NOFILE, &[3u64, 3], 0);
        sys!(openat, CWD, c"f", O_RDONLY, 0)
    })
    .err("EMFILE-before-ENOENT", || {
        sys!(prlimit64, 0, libc::RLIMIT_NOFILE, &[3u64, 3], 0);
        sys!(openat, CWD, c"none", O_RDONLY, 0)
    })
    .err("ENXIO-fifo", || {
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        sys!(openat, CWD, c"p", O_WRONLY | O_NONBLOCK, 0)
    })
    .err("ENXIO-device", || {
        sys!(mknodat, CWD, c"d", libc::S_IFCHR | 0o600, libc::makedev(240, 77));
        sys!(openat, CWD, c"d", O_RDONLY, 0)
    })
    .err("ENXIO-socket-file", || {
        sys!(mknodat, CWD, c"s", libc::S_IFSOCK | 0o600, 0);
        sys!(openat, CWD, c"s", O_RDONLY, 0)
    })
    .err("EACCES-read", || {
        file(c"f", "");
        sys!(fchmodat, CWD, c"f", 0o200);
        as_user(|| sys!(openat, CWD, c"f", O_RDONLY, 0))
    })
    .err("EACCES-write", || {
        file(c"f", "");
        as_user(|| sys!(openat, CWD, c"f", O_WRONLY, 0))
    })
    .err("EACCES-create", || {
        dir(c"d");
        as_user(|| sys!(openat, CWD, c"d/f", O_CREAT | O_RDWR, 0o644))
    })
    .err("EPERM-noatime", || {
        file(c"f", "");
        as_user(|| sys!(openat, CWD, c"f", libc::O_NOATIME, 0))
    })
    .err("ETXTBSY", || {
        sys!(linkat, CWD, c"/proc/self/exe", CWD, c"x", AT_SYMLINK_FOLLOW);
        sys!(openat, CWD, c"/proc/self/exe", O_WRONLY, 0)
    })
    .err("EOPNOTSUPP-temporary", || sys!(openat, CWD, c"/proc", O_TMPFILE | O_RDWR, 0o644))
    .intr("fifo", || {
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        interrupted(|| sys!(openat, CWD, c"p", O_RDONLY, 0))
    });
}

fn opens_by_structure(a: &mut Calls) {
    fn how(flags: i32, mode: u64, resolve: u64) -> [u64; 3] {
        [flags as u64, mode, resolve]
    }
    a.call("openat2", "E2BIG EINVAL ELOOP EXDEV ENOENT EBADF", "path how", false).not("EAGAIN", "needs a rename at the same moment");
    a.ok("plain", || {
        file(c"f", "");
        sys!(openat2, CWD, c"f", &how(O_RDWR, 0, 0), 24)
    })
    .ok("larger-structure-of-zeros", || sys!(openat2, CWD, c".", &[0u64; 5], 40))
    .ok("in-root", || {
        dir(c"d");
        file(c"d/f", "");
        let d = open(c"d", O_RDONLY);
        (sys!(openat2, d, c"/f", &how(O_RDONLY, 0, 0x10), 24), sys!(openat2, d, c"../../f", &how(O_RDONLY, 0, 0x10), 24))
    })
    .ok("beneath", || {
        dir(c"d");
        file(c"d/f", "");
        sys!(openat2, CWD, c"d/../d/f", &how(O_RDONLY, 0, 8), 24)
    })
    .err("E2BIG", || sys!(openat2, CWD, c".", &[0, 0, 0, 1u64], 32))
    .err("EINVAL-size", || sys!(openat2, CWD, c".", &how(0, 0, 0), 16))
    .err("EINVAL-flags", || sys!(openat2, CWD, c".", &[1u64 << 40, 0, 0], 24))
    .err("EINVAL-mode-without-create", || sys!(openat2, CWD, c".", &how(0, 0o644, 0), 24))
    .err("EINVAL-mode-bits", || sys!(openat2, CWD, c"f", &how(O_CREAT | O_RDWR, 0o200_000, 0), 24))
    .err("EINVAL-resolve", || sys!(openat2, CWD, c".", &how(0, 0, 1 << 20), 24))
    .err("EINVAL-beneath-and-in-root", || sys!(openat2, CWD, c".", &how(0, 0, 0x18), 24))
    .err("ELOOP-no-symlinks", || {
        file(c"f", "");
        link(c"f", c"l");
        sys!(openat2, CWD, c"l", &how(0, 0, 4), 24)
    })
    .err("EXDEV-beneath", || (sys!(openat2, CWD, c"..", &how(0, 0, 8), 24), sys!(openat2, CWD, c"/dev/null", &how(0, 0, 8), 24)))
    .err("EXDEV-no-mount-crossing", || sys!(openat2, CWD, c"/proc/version", &how(0, 0, 1), 24))
    .err("ENOENT", || sys!(openat2, CWD, c"none", &how(0, 0, 0), 24))
    .err("EBADF", || sys!(openat2, 99, c"f", &how(0, 0, 0), 24))
    .bad("path", || sys!(openat2, CWD, BAD, &how(0, 0, 0), 24))
    .bad("how", || sys!(openat2, CWD, c".", BAD, 24))
    .bad("how-edge", || sys!(openat2, CWD, c".", edge(16), 24));
}

fn looks(a: &mut Calls) {
    a.call("newfstatat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL", "path statbuf", false)
        .not("ENOMEM", "see --nth")
        .not("EOVERFLOW", "64-bit");
    walk(a, |p| sys!(newfstatat, CWD, p, pages(1), 0));
    a.ok("file", || {
        file(c"f", "hello");
        stat_text(c"f")
    })
    .ok("directory", || {
        dir(c"d");
        dir(c"d/e");
        stat_text(c"d").split(" size").next().unwrap_or_default().to_string()
    })
    .ok("symlink-itself", || {
        link(c"target", c"l");
        stat_text(c"l")
    })
    .ok("follows", || {
        file(c"f", "hello");
        link(c"f", c"l");
        let mut s: libc::stat = zero();
        (sys!(newfstatat, CWD, c"l", &mut s, 0), s.st_size)
    })
    .ok("empty-path", || {
        let mut s: libc::stat = zero();
        (sys!(newfstatat, opened(c"f", "abc"), c"", &mut s, AT_EMPTY_PATH), s.st_size)
    })
    .ok("empty-path-cwd", || sys!(newfstatat, CWD, c"", pages(1), AT_EMPTY_PATH))
    .ok("device", || {
        let mut s: libc::stat = zero();
        (sys!(newfstatat, CWD, c"/dev/null", &mut s, 0), format!("{:o} {:#x}", s.st_mode, s.st_rdev))
    })
    .ok("blocks", || {
        file(c"f", "hello");
        let mut s: libc::stat = zero();
        (sys!(newfstatat, CWD, c"f", &mut s, 0), s.st_blocks, s.st_blksize)
    })
    .ok("owner", || {
        user();
        file(c"f", "");
        let mut s: libc::stat = zero();
        (sys!(newfstatat, CWD, c"f", &mut s, 0), s.st_uid, s.st_gid)
    })
    .err("ENOENT", || sys!(newfstatat, CWD, c"none", pages(1), 0))
    .err("EBADF", || sys!(newfstatat, 99, c"f", pages(1), 0))
    .err("EBADF-empty-path", || sys!(newfstatat, 99, c"", pages(1), AT_EMPTY_PATH))
    .err("ENOTDIR-descriptor", || sys!(newfstatat, opened(c"f", ""), c"x", pages(1), 0))
    .err("EINVAL-flags", || sys!(newfstatat, CWD, c".", pages(1), 0x4000_0000))
    .bad("statbuf", || sys!(newfstatat, CWD, c".", BAD, 0))
    .bad("statbuf-edge", || sys!(newfstatat, CWD, c".", edge(64), 0))
    .bad("statbuf-read-only", || sys!(newfstatat, CWD, c".", read_only(), 0))
    .bad("statbuf-after-ENOENT", || sys!(newfstatat, CWD, c"none", BAD, 0));
    a.call("statx", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL", "path statxbuf", false).not("ENOMEM", "see --nth");
    walk(a, |p| sys!(statx, CWD, p, 0, 0x7ff, pages(1)));
    a.ok("basic", || {
        file(c"f", "hello");
        let mut s: libc::statx = zero();
        (sys!(statx, CWD, c"f", 0, 0x7ff, &mut s), format!("{:#x} {:o} {} {}", s.stx_mask & 0x7ff, s.stx_mode, s.stx_size, s.stx_nlink))
    })
    .ok("empty-path", || sys!(statx, opened(c"f", ""), c"", AT_EMPTY_PATH, 0x7ff, pages(1)))
    .ok("no-mask", || sys!(statx, CWD, c".", 0, 0, pages(1)))
    .err("ENOENT", || sys!(statx, CWD, c"none", 0, 0x7ff, pages(1)))
    .err("EBADF", || sys!(statx, 99, c"f", 0, 0x7ff, pages(1)))
    .err("EINVAL-flags", || sys!(statx, CWD, c".", 0x4000_0000, 0x7ff, pages(1)))
    .err("EINVAL-sync-flags", || sys!(statx, CWD, c".", 0x6000, 0x7ff, pages(1)))
    .err("EINVAL-mask", || sys!(statx, CWD, c".", 0, 0x8000_0000u32, pages(1)))
    .bad("statxbuf", || sys!(statx, CWD, c".", 0, 0x7ff, BAD))
    .bad("statxbuf-edge", || sys!(statx, CWD, c".", 0, 0x7ff, edge(64)));
    a.call("faccessat", WALK, "path", false)
        .not("EROFS", "no read-only mount")
        .not("EIO", "no failing device")
        .not("ETXTBSY", "tested by openat");
    walk(a, |p| sys!(faccessat, CWD, p, 0));
    a.ok("root", || {
        file(c"f", "");
        (sys!(faccessat, CWD, c"f", 0), sys!(faccessat, CWD, c"f", 6), sys!(faccessat, CWD, c"f", 1))
    })
    .ok("real-ids", || {
        file(c"f", "");
        sys!(fchmodat, CWD, c"f", 0o600);
        sys!(setresuid, 1000, 0, 0);
        sys!(faccessat, CWD, c"f", 4)
    })
    .err("EACCES", || {
        file(c"f", "");
        as_user(|| sys!(faccessat, CWD, c"f", 2))
    })
    .err("ENOENT", || sys!(faccessat, CWD, c"none", 0))
    .err("EBADF", || sys!(faccessat, 99, c"f", 0))
    .err("EINVAL-mode", || sys!(faccessat, CWD, c".", 8));
    a.call("faccessat2", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL", "path", false);
    walk(a, |p| sys!(faccessat2, CWD, p, 0, 0));
    a.ok("effective-ids", || {
        file(c"f", "");
        sys!(fchmodat, CWD, c"f", 0o600);
        sys!(setresuid, 1000, 0, 0);
        (sys!(faccessat2, CWD, c"f", 4, 0), sys!(faccessat2, CWD, c"f", 4, libc::AT_EACCESS))
    })
    .ok("dangling-nofollow", || {
        link(c"none", c"l");
        (sys!(faccessat2, CWD, c"l", 0, AT_SYMLINK_NOFOLLOW), sys!(faccessat2, CWD, c"l", 0, 0))
    })
    .ok("empty-path", || sys!(faccessat2, opened(c"f", ""), c"", 4, AT_EMPTY_PATH))
    .err("EBADF", || sys!(faccessat2, 99, c"f", 0, 0))
    .err("EINVAL-flags", || sys!(faccessat2, CWD, c".", 0, 0x4000_0000))
    .err("EINVAL-mode", || sys!(faccessat2, CWD, c".", 8, 0));
    a.call("readlinkat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL", "path buf", false).not("EIO", "no failing device");
    walk(a, |p| sys!(readlinkat, CWD, p, pages(1), 99));
    a.ok("target", || {
        link(c"target", c"l");
        let mut b = [0u8; 16];
        (sys!(readlinkat, CWD, c"l", &mut b, 16), ctext(&b))
    })
    .ok("truncated", || {
        link(c"target", c"l");
        let mut b = [0u8; 16];
        (sys!(readlinkat, CWD, c"l", &mut b, 3), ctext(&b))
    })
    .ok("descriptor", || {
        link(c"target", c"l");
        sys!(readlinkat, open(c"l", O_PATH | O_NOFOLLOW), c"", pages(1), 99)
    })
    .err("ENOENT", || sys!(readlinkat, CWD, c"none", pages(1), 9))
    .err("EBADF", || sys!(readlinkat, 99, c"l", pages(1), 9))
    .err("EINVAL-file", || {
        file(c"f", "");
        sys!(readlinkat, CWD, c"f", pages(1), 9)
    })
    .err("EINVAL-size", || {
        link(c"target", c"l");
        sys!(readlinkat, CWD, c"l", pages(1), 0)
    })
    .bad("buf", || {
        link(c"target", c"l");
        sys!(readlinkat, CWD, c"l", BAD, 9)
    })
    .bad("buf-edge", || {
        link(c"target", c"l");
        sys!(readlinkat, CWD, c"l", edge(3), 9)
    });
}
