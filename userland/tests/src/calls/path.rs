//! Paths: opening, looking, making, removing, renaming, owners, times, directories, mounts.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR,
    O_TMPFILE, O_TRUNC, O_WRONLY,
};
use std::ffi::CStr;

/// Adds the group.
pub fn add(a: &mut Calls) {
    opens(a);
    opens_by_structure(a);
    looks(a);
    makes(a);
    removes(a);
    links(a);
    renames(a);
    attributes(a);
    directories(a);
    mounts(a);
}

fn link(target: &CStr, path: &CStr) {
    sys!(symlinkat, target, CWD, path);
}

/// The errors that every path walk has, for a call as `f(path)`. Names begin with the errno.
fn walk(a: &mut Calls, f: fn(usize) -> isize) {
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

const WALK: &str = "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES";

fn opens(a: &mut Calls) {
    a.call("openat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST EINVAL EISDIR EMFILE ENXIO EPERM ETXTBSY EOPNOTSUPP", "path", true)
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
    a.call("newfstatat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL", "path statbuf", false).not("ENOMEM", "see --nth").not("EOVERFLOW", "64-bit");
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
    a.call("faccessat", WALK, "path", false).not("EROFS", "no read-only mount").not("EIO", "no failing device").not("ETXTBSY", "tested by openat");
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

fn makes(a: &mut Calls) {
    a.call("mkdirat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST", "path", false)
        .not("EMLINK", "tmpfs has no limit")
        .not("ENOSPC", "needs a small file system")
        .not("EROFS", "no read-only mount")
        .not("EINVAL", "tmpfs takes every name");
    walk(a, |p| sys!(mkdirat, CWD, p, 0o755));
    a.ok("mode-and-umask", || (sys!(mkdirat, CWD, c"d", 0o7777), stat_text(c"d").split(" size").next().unwrap_or_default().to_string()))
        .ok("trailing-slash", || sys!(mkdirat, CWD, c"d/", 0o755))
        .ok("links-of-parent", || {
            dir(c"d");
            let before = stat_text(c"d");
            dir(c"d/e");
            (before.split(" size").next().unwrap_or_default().to_string(), stat_text(c"d").split(" size").next().unwrap_or_default().to_string())
        })
        .ok("set-group-id-inherited", || {
            dir(c"d");
            sys!(fchmodat, CWD, c"d", 0o2755);
            sys!(fchownat, CWD, c"d", -1, 77, 0);
            sys!(fchmodat, CWD, c"d", 0o2755);
            dir(c"d/e");
            let mut s: libc::stat = zero();
            (sys!(newfstatat, CWD, c"d/e", &mut s, 0), s.st_gid, format!("{:o}", s.st_mode))
        })
        .err("EEXIST", || {
            dir(c"d");
            (sys!(mkdirat, CWD, c"d", 0o755), sys!(mkdirat, CWD, c".", 0o755), sys!(mkdirat, CWD, c"/", 0o755))
        })
        .err("EEXIST-dangling", || {
            link(c"none", c"l");
            sys!(mkdirat, CWD, c"l", 0o755)
        })
        .err("EBADF", || sys!(mkdirat, 99, c"d", 0o755))
        .err("EACCES", || {
            dir(c"d");
            as_user(|| sys!(mkdirat, CWD, c"d/e", 0o755))
        });
    a.call("mknodat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST EINVAL EPERM", "path", false).not("ENOSPC", "needs a small file system").not("EROFS", "no read-only mount");
    walk(a, |p| sys!(mknodat, CWD, p, libc::S_IFIFO | 0o600, 0));
    a.ok("fifo", || (sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o666, 0), stat_text(c"p")))
        .ok("file", || (sys!(mknodat, CWD, c"f", 0o644, 0), stat_text(c"f")))
        .ok("null-device", || {
            let r = sys!(mknodat, CWD, c"n", libc::S_IFCHR | 0o666, libc::makedev(1, 3));
            (r, sys!(write, open(c"n", O_WRONLY), c"x", 1))
        })
        .ok("block-device", || (sys!(mknodat, CWD, c"b", libc::S_IFBLK | 0o600, libc::makedev(7, 0)), stat_text(c"b")))
        .err("EEXIST", || {
            file(c"f", "");
            sys!(mknodat, CWD, c"f", libc::S_IFIFO | 0o600, 0)
        })
        .err("EINVAL-type", || sys!(mknodat, CWD, c"x", 0o170_000, 0))
        .err("EPERM-directory", || sys!(mknodat, CWD, c"x", libc::S_IFDIR | 0o755, 0))
        .err("EPERM-device-by-user", || as_user(|| sys!(mknodat, CWD, c"x", libc::S_IFCHR | 0o600, 0x103)))
        .err("EBADF", || sys!(mknodat, 99, c"p", libc::S_IFIFO, 0));
    a.call("symlinkat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST", "target path", false)
        .not("ENOSPC", "needs a small file system")
        .not("EROFS", "no read-only mount")
        .not("EPERM", "tmpfs has symbolic links")
        .not("EIO", "no failing device");
    walk(a, |p| sys!(symlinkat, c"target", CWD, p));
    a.ok("plain", || (sys!(symlinkat, c"target", CWD, c"l"), stat_text(c"l")))
        .ok("long-target", || (sys!(symlinkat, &*c(&"t/".repeat(1000)), CWD, c"l"), stat_text(c"l")))
        .err("ENOENT-empty-target", || sys!(symlinkat, c"", CWD, c"l"))
        .err("EEXIST", || {
            file(c"f", "");
            sys!(symlinkat, c"t", CWD, c"f")
        })
        .err("ENAMETOOLONG-target", || sys!(symlinkat, &*c(&"t/".repeat(2048)), CWD, c"l"))
        .err("EBADF", || sys!(symlinkat, c"t", 99, c"l"))
        .bad("target", || sys!(symlinkat, BAD, CWD, c"l"));
}

fn removes(a: &mut Calls) {
    a.call("unlinkat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EBUSY EINVAL EISDIR ENOTEMPTY EPERM", "path", false)
        .not("EROFS", "no read-only mount")
        .not("EIO", "no failing device");
    walk(a, |p| sys!(unlinkat, CWD, p, 0));
    a.ok("file", || {
        file(c"f", "");
        (sys!(unlinkat, CWD, c"f", 0), stat_text(c"f"))
    })
    .ok("open-file-lives-on", || {
        let fd = opened(c"f", "hello");
        let mut s: libc::stat = zero();
        (sys!(unlinkat, CWD, c"f", 0), sys!(read, fd, pages(1), 9), sys!(fstat, fd, &mut s), s.st_nlink)
    })
    .ok("directory", || {
        dir(c"d");
        (sys!(unlinkat, CWD, c"d", AT_REMOVEDIR), stat_text(c"d"))
    })
    .ok("symlink-not-target", || {
        file(c"f", "");
        link(c"f", c"l");
        (sys!(unlinkat, CWD, c"l", 0), stat_text(c"f"))
    })
    .ok("one-of-two-names", || {
        file(c"f", "x");
        sys!(linkat, CWD, c"f", CWD, c"g", 0);
        (sys!(unlinkat, CWD, c"f", 0), stat_text(c"g"))
    })
    .err("ENOENT", || (sys!(unlinkat, CWD, c"none", 0), sys!(unlinkat, CWD, c"none", AT_REMOVEDIR)))
    .err("EBADF", || sys!(unlinkat, 99, c"f", 0))
    .err("EINVAL-flags", || sys!(unlinkat, CWD, c"f", 1))
    .err("EINVAL-dot", || {
        dir(c"d");
        sys!(unlinkat, CWD, c"d/.", AT_REMOVEDIR)
    })
    .err("ENOTEMPTY", || {
        dir(c"d");
        file(c"d/f", "");
        sys!(unlinkat, CWD, c"d", AT_REMOVEDIR)
    })
    .err("ENOTEMPTY-dot-dot", || {
        dir(c"d");
        sys!(unlinkat, CWD, c"d/..", AT_REMOVEDIR)
    })
    .err("EISDIR", || {
        dir(c"d");
        (sys!(unlinkat, CWD, c"d", 0), sys!(unlinkat, CWD, c".", 0), sys!(unlinkat, CWD, c"/", 0))
    })
    .err("ENOTDIR-file", || {
        file(c"f", "");
        (sys!(unlinkat, CWD, c"f", AT_REMOVEDIR), sys!(unlinkat, CWD, c"f/", 0))
    })
    .err("EBUSY-root", || sys!(unlinkat, CWD, c"/", AT_REMOVEDIR))
    .err("EBUSY-mount-point", || sys!(unlinkat, CWD, c"/proc", AT_REMOVEDIR))
    .err("EACCES", || {
        dir(c"d");
        file(c"d/f", "");
        as_user(|| sys!(unlinkat, CWD, c"d/f", 0))
    })
    .err("EPERM-sticky", || {
        dir(c"d");
        sys!(fchmodat, CWD, c"d", 0o1777);
        file(c"d/f", "");
        as_user(|| sys!(unlinkat, CWD, c"d/f", 0))
    });
}

fn links(a: &mut Calls) {
    a.call("linkat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST EINVAL EPERM EXDEV", "oldpath path", false)
        .not("EMLINK", "tmpfs has no limit")
        .not("ENOSPC", "needs a small file system")
        .not("EROFS", "no read-only mount")
        .not("EIO", "no failing device");
    walk(a, |p| {
        file(c"old", "");
        sys!(linkat, CWD, c"old", CWD, p, 0)
    });
    a.ok("second-name", || {
        file(c"f", "x");
        (sys!(linkat, CWD, c"f", CWD, c"g", 0), stat_text(c"g"))
    })
    .ok("symlink-itself", || {
        file(c"f", "x");
        link(c"f", c"l");
        (sys!(linkat, CWD, c"l", CWD, c"g", 0), stat_text(c"g"))
    })
    .ok("follow", || {
        file(c"f", "x");
        link(c"f", c"l");
        (sys!(linkat, CWD, c"l", CWD, c"g", AT_SYMLINK_FOLLOW), stat_text(c"g"))
    })
    .ok("descriptor", || {
        let fd = open(c".", O_TMPFILE | O_RDWR);
        (sys!(linkat, fd, c"", CWD, c"g", AT_EMPTY_PATH), stat_text(c"g"))
    })
    .err("ENOENT-old", || sys!(linkat, CWD, c"none", CWD, c"g", 0))
    .err("ENOENT-deleted", || {
        let fd = opened(c"f", "x");
        sys!(unlinkat, CWD, c"f", 0);
        sys!(linkat, fd, c"", CWD, c"g", AT_EMPTY_PATH)
    })
    .err("EEXIST", || {
        file(c"f", "");
        file(c"g", "");
        (sys!(linkat, CWD, c"f", CWD, c"g", 0), sys!(linkat, CWD, c"f", CWD, c"f", 0))
    })
    .err("EPERM-directory", || {
        dir(c"d");
        sys!(linkat, CWD, c"d", CWD, c"g", 0)
    })
    .err("EINVAL-flags", || sys!(linkat, CWD, c"f", CWD, c"g", 1))
    .err("EXDEV", || {
        file(c"f", "");
        sys!(linkat, CWD, c"f", CWD, c"/run/contract-link", 0)
    })
    .err("EBADF-old", || sys!(linkat, 99, c"f", CWD, c"g", 0))
    .err("EBADF-new", || {
        file(c"f", "");
        sys!(linkat, CWD, c"f", 99, c"g", 0)
    })
    .bad("oldpath", || sys!(linkat, CWD, BAD, CWD, c"g", 0));
}

fn renames(a: &mut Calls) {
    a.call("renameat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EBUSY EINVAL EISDIR ENOTEMPTY EXDEV EPERM", "oldpath path", false)
        .not("EMLINK", "tmpfs has no limit")
        .not("ENOSPC", "needs a small file system")
        .not("EROFS", "no read-only mount");
    walk(a, |p| {
        file(c"old", "");
        sys!(renameat, CWD, c"old", CWD, p)
    });
    a.ok("file", || {
        file(c"f", "hello");
        (sys!(renameat, CWD, c"f", CWD, c"g"), stat_text(c"f"), content(c"g"))
    })
    .ok("replaces", || {
        file(c"f", "new");
        file(c"g", "old");
        (sys!(renameat, CWD, c"f", CWD, c"g"), content(c"g"))
    })
    .ok("onto-itself", || {
        file(c"f", "x");
        (sys!(renameat, CWD, c"f", CWD, c"f"), content(c"f"))
    })
    .ok("onto-other-name-of-same", || {
        file(c"f", "x");
        sys!(linkat, CWD, c"f", CWD, c"g", 0);
        (sys!(renameat, CWD, c"f", CWD, c"g"), stat_text(c"f"))
    })
    .ok("directory-into-other", || {
        dir(c"d");
        dir(c"e");
        let r = sys!(renameat, CWD, c"d", CWD, c"e/d");
        (r, stat_text(c"e").split(" size").next().unwrap_or_default().to_string())
    })
    .ok("directory-over-empty", || {
        dir(c"d");
        dir(c"e");
        sys!(renameat, CWD, c"d", CWD, c"e")
    })
    .ok("symlink-itself", || {
        link(c"none", c"l");
        (sys!(renameat, CWD, c"l", CWD, c"m"), stat_text(c"m"))
    })
    .err("ENOENT-old", || sys!(renameat, CWD, c"none", CWD, c"g"))
    .err("ENOTEMPTY", || {
        dir(c"d");
        dir(c"e");
        file(c"e/f", "");
        sys!(renameat, CWD, c"d", CWD, c"e")
    })
    .err("EISDIR", || {
        file(c"f", "");
        dir(c"d");
        sys!(renameat, CWD, c"f", CWD, c"d")
    })
    .err("ENOTDIR-directory-over-file", || {
        file(c"f", "");
        dir(c"d");
        sys!(renameat, CWD, c"d", CWD, c"f")
    })
    .err("ENOTDIR-trailing-slash", || {
        file(c"f", "");
        sys!(renameat, CWD, c"f", CWD, c"g/")
    })
    .err("EINVAL-into-itself", || {
        dir(c"d");
        sys!(renameat, CWD, c"d", CWD, c"d/e")
    })
    .err("EBUSY-dot", || {
        dir(c"d");
        (sys!(renameat, CWD, c".", CWD, c"e"), sys!(renameat, CWD, c"d", CWD, c"d/.."))
    })
    .err("EBUSY-mount-point", || sys!(renameat, CWD, c"/run", CWD, c"/elsewhere"))
    .err("EXDEV", || {
        file(c"f", "");
        sys!(renameat, CWD, c"f", CWD, c"/run/contract-moved")
    })
    .err("EBADF", || sys!(renameat, 99, c"f", CWD, c"g"))
    .err("EACCES", || {
        dir(c"d");
        file(c"d/f", "");
        as_user(|| sys!(renameat, CWD, c"d/f", CWD, c"d/g"))
    })
    .err("EPERM-sticky", || {
        dir(c"d");
        sys!(fchmodat, CWD, c"d", 0o1777);
        file(c"d/f", "");
        as_user(|| sys!(renameat, CWD, c"d/f", CWD, c"d/g"))
    })
    .bad("oldpath", || sys!(renameat, CWD, BAD, CWD, c"g"));
    a.call("renameat2", "ENOENT EEXIST EINVAL EBADF", "oldpath path", false).not("EINVAL-whiteout", "RENAME_WHITEOUT needs a union file system");
    a.ok("exchange", || {
        file(c"f", "one");
        file(c"g", "two");
        (sys!(renameat2, CWD, c"f", CWD, c"g", 2), content(c"f"), content(c"g"))
    })
    .ok("exchange-file-and-directory", || {
        file(c"f", "one");
        dir(c"d");
        (sys!(renameat2, CWD, c"f", CWD, c"d", 2), content(c"d"))
    })
    .ok("noreplace", || {
        file(c"f", "one");
        (sys!(renameat2, CWD, c"f", CWD, c"g", 1), content(c"g"))
    })
    .err("EEXIST-noreplace", || {
        file(c"f", "one");
        file(c"g", "two");
        sys!(renameat2, CWD, c"f", CWD, c"g", 1)
    })
    .err("ENOENT-exchange", || {
        file(c"f", "one");
        sys!(renameat2, CWD, c"f", CWD, c"g", 2)
    })
    .err("EINVAL-both", || sys!(renameat2, CWD, c"f", CWD, c"g", 3))
    .err("EINVAL-flags", || sys!(renameat2, CWD, c"f", CWD, c"g", 0x80))
    .err("EBADF", || sys!(renameat2, CWD, c".", 99, c"g", 0))
    .bad("oldpath", || sys!(renameat2, CWD, BAD, CWD, c"g", 0))
    .bad("path", || sys!(renameat2, CWD, c"f", CWD, BAD, 0));
}

fn attributes(a: &mut Calls) {
    a.call("truncate", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EFBIG EINVAL EISDIR ETXTBSY", "path", false)
        .not("EPERM", "needs a sealed file without a path")
        .not("EROFS", "no read-only mount")
        .not("EINTR", "no file system that waits")
        .not("EIO", "no failing device");
    walk(a, |p| sys!(truncate, p, 0));
    a.ok("shorter-longer", || {
        file(c"f", "hello");
        (sys!(truncate, c"f", 2), content(c"f"), sys!(truncate, c"f", 4), content(c"f"))
    })
    .err("EINVAL-negative", || sys!(truncate, c"f", -1))
    .err("EINVAL-fifo", || {
        sys!(mknodat, CWD, c"p", libc::S_IFIFO | 0o600, 0);
        sys!(truncate, c"p", 0)
    })
    .err("EISDIR", || sys!(truncate, c".", 0))
    .err("EFBIG", || {
        file(c"f", "");
        sys!(prlimit64, 0, libc::RLIMIT_FSIZE, &[10u64, 10], 0);
        handle(libc::SIGXFSZ, 0);
        (sys!(truncate, c"f", 11), caught())
    })
    .err("EACCES", || {
        file(c"f", "");
        as_user(|| sys!(truncate, c"f", 0))
    })
    .err("ETXTBSY", || sys!(truncate, c"/proc/self/exe", 0));
    a.call("fchmodat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EPERM", "path", false).not("EROFS", "no read-only mount").not("EIO", "no failing device");
    walk(a, |p| sys!(fchmodat, CWD, p, 0o600));
    a.ok("bits", || {
        file(c"f", "");
        (sys!(fchmodat, CWD, c"f", 0o6711), stat_text(c"f"))
    })
    .ok("upper-bits-ignored", || {
        file(c"f", "");
        (sys!(fchmodat, CWD, c"f", 0o177_600), stat_text(c"f"))
    })
    .ok("set-group-id-of-other-group", || {
        user();
        file(c"f", "");
        sys!(fchmodat, CWD, c"f", 0o2755);
        stat_text(c"f")
    })
    .err("EPERM", || {
        file(c"f", "");
        as_user(|| sys!(fchmodat, CWD, c"f", 0o600))
    })
    .err("EBADF", || sys!(fchmodat, 99, c"f", 0o600));
    a.call("fchownat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EPERM EINVAL", "path", false).not("EROFS", "no read-only mount").not("EIO", "no failing device");
    walk(a, |p| sys!(fchownat, CWD, p, 1, 1, 0));
    let owner = |path: &CStr| {
        let mut s: libc::stat = zero();
        sys!(newfstatat, CWD, path, &mut s, AT_SYMLINK_NOFOLLOW);
        (s.st_uid, s.st_gid, format!("{:o}", s.st_mode))
    };
    a.ok("both", move || {
        file(c"f", "");
        (sys!(fchownat, CWD, c"f", 5, 6, 0), owner(c"f"))
    })
    .ok("minus-one-keeps", move || {
        file(c"f", "");
        (sys!(fchownat, CWD, c"f", -1, 6, 0), sys!(fchownat, CWD, c"f", 5, -1, 0), owner(c"f"))
    })
    .ok("clears-set-user-id", move || {
        file(c"f", "");
        sys!(fchmodat, CWD, c"f", 0o6755);
        (sys!(fchownat, CWD, c"f", 5, 6, 0), owner(c"f"))
    })
    .ok("symlink-itself", move || {
        file(c"f", "");
        link(c"f", c"l");
        (sys!(fchownat, CWD, c"l", 5, 6, AT_SYMLINK_NOFOLLOW), owner(c"f").0, owner(c"l").0)
    })
    .ok("descriptor", move || (sys!(fchownat, opened(c"f", ""), c"", 5, 6, AT_EMPTY_PATH), owner(c"f")))
    .ok("user-to-own-group", move || {
        user();
        file(c"f", "");
        (sys!(fchownat, CWD, c"f", 1000, 1000, 0), owner(c"f"))
    })
    .err("EPERM", || {
        file(c"f", "");
        as_user(|| sys!(fchownat, CWD, c"f", 1000, -1, 0))
    })
    .err("EPERM-foreign-group", || {
        user();
        file(c"f", "");
        sys!(fchownat, CWD, c"f", -1, 6, 0)
    })
    .err("EINVAL-flags", || sys!(fchownat, CWD, c".", 1, 1, 1))
    .err("EBADF", || sys!(fchownat, 99, c"f", 1, 1, 0));
    a.call("utimensat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL EPERM", "path times", false).not("EROFS", "no read-only mount").not("ESRCH", "see ENOENT");
    walk(a, |p| if p == 0 { sys!(utimensat, CWD, BAD, 0, 0) } else { sys!(utimensat, CWD, p, 0, 0) });
    let at = |sec: i64, nsec: i64| libc::timespec { tv_sec: sec, tv_nsec: nsec };
    let times = |path: &CStr| {
        let mut s: libc::stat = zero();
        sys!(newfstatat, CWD, path, &mut s, AT_SYMLINK_NOFOLLOW);
        format!("{}.{} {}.{}", s.st_atime, s.st_atime_nsec, s.st_mtime, s.st_mtime_nsec)
    };
    a.ok("set", move || {
        file(c"f", "");
        (sys!(utimensat, CWD, c"f", &[at(100, 5), at(200, 7)], 0), times(c"f"))
    })
    .ok("omit", move || {
        file(c"f", "");
        sys!(utimensat, CWD, c"f", &[at(100, 5), at(200, 7)], 0);
        (sys!(utimensat, CWD, c"f", &[at(1, libc::UTIME_OMIT), at(2, 0)], 0), times(c"f"))
    })
    .ok("descriptor", move || (sys!(utimensat, opened(c"f", ""), 0, &[at(100, 5), at(200, 7)], 0), times(c"f")))
    .ok("before-1970", move || {
        file(c"f", "");
        (sys!(utimensat, CWD, c"f", &[at(-100, 5), at(-200, 7)], 0), times(c"f"))
    })
    .ok("symlink-itself", move || {
        link(c"none", c"l");
        (sys!(utimensat, CWD, c"l", &[at(100, 5), at(200, 7)], AT_SYMLINK_NOFOLLOW), times(c"l"))
    })
    .ok("both-omitted-checks-nothing", move || sys!(utimensat, CWD, c"none", &[at(0, libc::UTIME_OMIT), at(0, libc::UTIME_OMIT)], 0))
    .err("EINVAL-nanoseconds", move || {
        file(c"f", "");
        sys!(utimensat, CWD, c"f", &[at(0, 1_000_000_000), at(0, 0)], 0)
    })
    .err("EINVAL-flags", move || sys!(utimensat, CWD, c".", 0, 1))
    .err("EBADF", || (sys!(utimensat, 99, c"f", 0, 0), sys!(utimensat, 99, 0, 0, 0)))
    .err("EACCES-now", || {
        file(c"f", "");
        as_user(|| sys!(utimensat, CWD, c"f", 0, 0))
    })
    .err("EPERM-set", move || {
        file(c"f", "");
        as_user(|| sys!(utimensat, CWD, c"f", &[at(1, 0), at(1, 0)], 0))
    })
    .bad("times", || sys!(utimensat, CWD, c".", BAD, 0));
}

fn directories(a: &mut Calls) {
    let here = || {
        let mut b = [0u8; 256];
        sys!(getcwd, &mut b, 256);
        ctext(&b)
    };
    a.call("chdir", WALK, "path", false).not("EIO", "no failing device");
    walk(a, |p| sys!(chdir, p));
    a.ok("relative", move || {
        dir(c"d");
        (sys!(chdir, c"d"), here())
    })
    .ok("dot-dot", move || (sys!(chdir, c".."), here()))
    .ok("symlink", move || {
        dir(c"d");
        link(c"d", c"l");
        (sys!(chdir, c"l"), here())
    })
    .err("ENOTDIR-file", || {
        file(c"f", "");
        sys!(chdir, c"f")
    })
    .err("EACCES", || {
        dir(c"d");
        sys!(fchmodat, CWD, c"d", 0o600);
        as_user(|| sys!(chdir, c"d"))
    });
    a.call("chroot", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EPERM", "path", false).not("EIO", "no failing device");
    walk(a, |p| sys!(chroot, p));
    a.ok("hides-outside", || {
        dir(c"d");
        file(c"d/f", "inside");
        (sys!(chroot, c"d"), content(c"/f"), content(c"/../f"))
    })
    .ok("cwd-stays-outside", move || {
        dir(c"d");
        (sys!(chroot, c"d"), here())
    })
    .err("EPERM", || as_user(|| sys!(chroot, c".")));
    a.call("getcwd", "ENOENT ERANGE", "buf", false).not("EINVAL", "is glibc's").not("EACCES", "is glibc's").not("ENAMETOOLONG", "needs a path above PATH_MAX").not("ENOMEM", "see --nth");
    a.ok("here", move || (sys!(getcwd, pages(1), PAGE), here()))
        .ok("root", || {
            sys!(chdir, c"/");
            let mut b = [0u8; 9];
            (sys!(getcwd, &mut b, 9), ctext(&b))
        })
        .ok("exact-size", || {
            sys!(chdir, c"/tmp");
            (sys!(getcwd, pages(1), 5), sys!(getcwd, pages(1), 4))
        })
        .err("ERANGE", || (sys!(getcwd, pages(1), 3), sys!(getcwd, pages(1), 0)))
        .err("ENOENT", || {
            dir(c"d");
            sys!(chdir, c"d");
            sys!(unlinkat, CWD, c"../d", AT_REMOVEDIR);
            sys!(getcwd, pages(1), PAGE)
        })
        .bad("buf", || (sys!(getcwd, BAD, 100), sys!(getcwd, 0, 100)))
        .bad("buf-edge", || sys!(getcwd, edge(4), 100));
}

fn mounts(a: &mut Calls) {
    a.call("statfs", WALK, "path buf", false).not("ENOSYS", "tmpfs has it").not("EIO", "no failing device");
    walk(a, |p| sys!(statfs, p, pages(1)));
    a.ok("tmpfs", || {
        let mut s: libc::statfs = zero();
        (sys!(statfs, c".", &mut s), format!("{:#x} {} {}", s.f_type, s.f_bsize, s.f_namelen))
    })
    .ok("proc", || {
        let mut s: libc::statfs = zero();
        (sys!(statfs, c"/proc", &mut s), format!("{:#x} {} {}", s.f_type, s.f_bsize, s.f_blocks))
    })
    .err("ENOENT", || sys!(statfs, c"none", pages(1)))
    .bad("buf", || sys!(statfs, c".", BAD))
    .bad("buf-edge", || sys!(statfs, c".", edge(64)));
    a.call("mount", "ENOENT ENOTDIR EBUSY EINVAL ENODEV EPERM ELOOP ENAMETOOLONG", "source path type data", false)
        .not("EACCES", "search permission comes after EPERM")
        .not("ENXIO", "needs a block file system")
        .not("EMFILE", "no pseudo device limit here")
        .not("EROFS", "no read-only device");
    a.ok("tmpfs", || {
        dir(c"d");
        let r = sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        file(c"d/f", "x");
        (r, sys!(umount2, c"d", 0), stat_text(c"d/f"))
    })
    .ok("options", || {
        dir(c"d");
        (sys!(mount, c"none", c"d", c"tmpfs", 0, c"mode=0711,size=1m"), stat_text(c"d").split(" links").next().unwrap_or_default().to_string(), sys!(umount2, c"d", 0))
    })
    .ok("read-only", || {
        dir(c"d");
        (sys!(mount, c"none", c"d", c"tmpfs", libc::MS_RDONLY, 0), open(c"d/f", O_CREAT | O_RDWR) as isize, sys!(umount2, c"d", 0))
    })
    .ok("small-is-full", || {
        dir(c"d");
        let r = sys!(mount, c"none", c"d", c"tmpfs", 0, c"size=8k");
        let fd = open(c"d/f", O_CREAT | O_RDWR);
        let w = sys!(write, fd, pages(4), 4 * PAGE);
        (r, w, sys!(write, fd, c"x", 1), sys!(close, fd), sys!(umount2, c"d", 0))
    })
    .ok("bind", || {
        dir(c"d");
        dir(c"e");
        file(c"d/f", "bound");
        (sys!(mount, c"d", c"e", 0, libc::MS_BIND, 0), content(c"e/f"), sys!(umount2, c"e", 0))
    })
    .err("ENOENT", || sys!(mount, c"none", c"nowhere", c"tmpfs", 0, 0))
    .err("ENOTDIR", || {
        file(c"f", "");
        sys!(mount, c"none", c"f", c"tmpfs", 0, 0)
    })
    .err("ENODEV", || sys!(mount, c"none", c".", c"nosuchfs", 0, 0))
    .err("EINVAL-no-type", || sys!(mount, c"none", c".", 0, 0, 0))
    .err("EINVAL-option", || sys!(mount, c"none", c".", c"tmpfs", 0, c"nonsense=1"))
    .err("EINVAL-remount-of-no-mount", || sys!(mount, c"none", c".", 0, libc::MS_REMOUNT, 0))
    .err("EBUSY", || {
        dir(c"d");
        (sys!(mount, c"dev", c"d", c"devtmpfs", 0, 0), sys!(mount, c"dev", c"d", c"devtmpfs", 0, 0), sys!(umount2, c"d", 0))
    })
    .err("EPERM", || as_user(|| sys!(mount, c"none", c".", c"tmpfs", 0, 0)))
    .err("ELOOP", || {
        link(c"l", c"l");
        sys!(mount, c"none", c"l", c"tmpfs", 0, 0)
    })
    .err("ENAMETOOLONG", || sys!(mount, c"none", &*long_name(256), c"tmpfs", 0, 0))
    .not("ENOTBLK", "needs a block file system")
    .bad("source", || sys!(mount, BAD, c".", c"tmpfs", 0, 0))
    .bad("path", || sys!(mount, c"none", BAD, c"tmpfs", 0, 0))
    .bad("type", || sys!(mount, c"none", c".", BAD, 0, 0))
    .bad("data", || sys!(mount, c"none", c".", c"tmpfs", 0, BAD));
    a.call("umount2", "ENOENT EBUSY EINVAL EPERM ENAMETOOLONG EAGAIN", "path", false).not("ENOMEM", "see --nth");
    a.ok("lazy-while-busy", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        let fd = open(c"d/f", O_CREAT | O_RDWR);
        (sys!(umount2, c"d", libc::MNT_DETACH), sys!(write, fd, c"x", 1), stat_text(c"d/f"))
    })
    .err("EBUSY", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        let fd = open(c"d/f", O_CREAT | O_RDWR);
        (sys!(umount2, c"d", 0), sys!(close, fd), sys!(umount2, c"d", 0))
    })
    .err("EBUSY-cwd", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        sys!(chdir, c"d");
        let r = sys!(umount2, c".", 0);
        sys!(chdir, c"/");
        (r, sys!(umount2, c"/tmp/contract/w/d", 0))
    })
    .err("EINVAL-no-mount", || sys!(umount2, c".", 0))
    .err("EINVAL-flags", || sys!(umount2, c".", 0x100))
    .err("ENOENT", || sys!(umount2, c"none", 0))
    .err("ENAMETOOLONG", || sys!(umount2, &*long_name(256), 0))
    .err("EPERM", || as_user(|| sys!(umount2, c"/proc", 0)))
    .err("EAGAIN-expire", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        let r = (sys!(umount2, c"d", libc::MNT_EXPIRE), sys!(umount2, c"d", libc::MNT_EXPIRE));
        // Nothing may stay mounted where the next case works.
        sys!(umount2, c"d", libc::MNT_DETACH);
        r
    })
    .bad("path", || (sys!(umount2, BAD, 0), sys!(umount2, 0, 0)));

}
