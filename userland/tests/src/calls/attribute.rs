//! Paths: modes, owners, times, sizes; the working directory and the root; mounts.
use super::path::{WALK, link, walk};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_NOFOLLOW, O_CREAT, O_RDWR};
use std::ffi::CStr;

/// Adds the group.
pub fn add(a: &mut Calls) {
    attributes(a);
    directories(a);
    mounts(a);
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
    a.call("fchmodat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EPERM", "path", false)
        .not("EROFS", "no read-only mount")
        .not("EIO", "no failing device");
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
    a.call("fchownat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EPERM EINVAL", "path", false)
        .not("EROFS", "no read-only mount")
        .not("EIO", "no failing device");
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
    a.call("utimensat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EINVAL EPERM", "path times", false)
        .not("EROFS", "no read-only mount")
        .not("ESRCH", "see ENOENT");
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
    a.call("getcwd", "ENOENT ERANGE", "buf", false)
        .not("EINVAL", "is glibc's")
        .not("EACCES", "is glibc's")
        .not("ENAMETOOLONG", "needs a path above PATH_MAX")
        .not("ENOMEM", "see --nth");
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
        (
            sys!(mount, c"none", c"d", c"tmpfs", 0, c"mode=0711,size=1m"),
            stat_text(c"d").split(" links").next().unwrap_or_default().to_string(),
            sys!(umount2, c"d", 0),
        )
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
    .ok("expire-visited", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        let expire = || sys!(umount2, c"d", libc::MNT_EXPIRE);
        let (first, fd) = (expire(), open(c"d", libc::O_RDONLY));
        let busy = expire();
        sys!(close, fd);
        let again = expire();
        stat_text(c"d");
        let r = (first, busy, again, expire(), expire(), expire());
        sys!(umount2, c"d", libc::MNT_DETACH);
        r
    })
    .err("EINVAL-expire-and-force", || {
        dir(c"d");
        sys!(mount, c"none", c"d", c"tmpfs", 0, 0);
        let r = sys!(umount2, c"d", libc::MNT_EXPIRE | libc::MNT_DETACH);
        sys!(umount2, c"d", libc::MNT_DETACH);
        r
    })
    .bad("path", || (sys!(umount2, BAD, 0), sys!(umount2, 0, 0)));
}
