//! Paths: making, removing, linking, renaming.
use super::path::{link, walk};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{AT_EMPTY_PATH, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, O_RDWR, O_TMPFILE, O_WRONLY};

/// Adds the group.
pub fn add(a: &mut Calls) {
    makes(a);
    removes(a);
    links(a);
    renames(a);
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
            (
                before.split(" size").next().unwrap_or_default().to_string(),
                stat_text(c"d").split(" size").next().unwrap_or_default().to_string(),
            )
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
    a.call("mknodat", "ENOENT ENOTDIR ELOOP ENAMETOOLONG EACCES EBADF EEXIST EINVAL EPERM", "path", false)
        .not("ENOSPC", "needs a small file system")
        .not("EROFS", "no read-only mount");
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
    a.call("renameat2", "ENOENT EEXIST EINVAL EBADF", "oldpath path", false)
        .not("EINVAL-whiteout", "RENAME_WHITEOUT needs a union file system");
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
