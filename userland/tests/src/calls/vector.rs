//! Reading and writing vectors, seeking, copying between descriptors.
use super::rw::{limited, no_sigpipe, read_text, vec};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_APPEND, O_CREAT, O_NONBLOCK, O_PATH, O_RDONLY, O_WRONLY};

/// Adds the group.
pub fn add(a: &mut Calls) {
    vectors(a);
    positioned_vectors(a);
    seeks(a);
    copies(a);
}

fn vectors(a: &mut Calls) {
    a.call("readv", "EBADF EINVAL EISDIR EAGAIN", "iov base", true);
    a.ok("two", || {
        let fd = opened(c"f", "hello");
        let (mut x, mut y) = ([0u8; 2], [0u8; 8]);
        let v = [vec(x.as_mut_ptr() as usize, 2), vec(y.as_mut_ptr() as usize, 8)];
        (sys!(readv, fd, &v, 2), ctext(&x), ctext(&y))
    })
    .ok("none", || sys!(readv, opened(c"f", "hello"), BAD, 0))
    .ok("empty-vectors", || {
        let v = [vec(0, 0), vec(pages(1), 3), vec(0, 0)];
        sys!(readv, opened(c"f", "hello"), &v, 3)
    })
    .ok("most-vectors", || {
        let v = [vec(pages(1), 1); 1024];
        sys!(readv, opened(c"f", "hello"), &v, 1024)
    })
    .ok("pipe", || {
        let p = pipe();
        sys!(write, p.1, c"abcde", 5);
        let v = [vec(pages(1), 2), vec(pages(1), 2)];
        (sys!(readv, p.0, &v, 2), read_text(p.0, 9))
    })
    .err("EBADF", || sys!(readv, 99, &[vec(pages(1), 1)], 1))
    .err("EINVAL-too-many", || sys!(readv, opened(c"f", "hello"), pages(8), 1025))
    .err("EINVAL-negative-count", || sys!(readv, opened(c"f", "hello"), pages(8), -1))
    .err("EINVAL-negative-length", || sys!(readv, opened(c"f", "hello"), &[vec(pages(1), usize::MAX)], 1))
    .ok("sum-is-capped", || sys!(readv, opened(c"f", "hello"), &[vec(pages(1), 0x7fff_f000), vec(pages(1), 0x7fff_f000)], 2))
    .err("EISDIR", || sys!(readv, open(c".", O_RDONLY), &[vec(pages(1), 1)], 1))
    .err("EAGAIN", || sys!(readv, pipe_with(O_NONBLOCK).0, &[vec(pages(1), 1)], 1))
    .bad("iov", || sys!(readv, opened(c"f", "hello"), BAD, 1))
    .bad("iov-edge", || sys!(readv, opened(c"f", "hello"), edge(16), 2))
    .bad("base", || sys!(readv, opened(c"f", "hello"), &[vec(BAD, 1)], 1))
    .bad("base-kernel", || sys!(readv, opened(c"f", "hello"), &[vec(KERN, 1)], 1))
    .bad("base-second", || sys!(readv, opened(c"f", "hello"), &[vec(pages(1), 2), vec(BAD, 2)], 2))
    .bad("base-second-kernel", || sys!(readv, opened(c"f", "hello"), &[vec(pages(1), 2), vec(KERN, 2)], 2));
    a.intr("pipe", || {
        let p = pipe();
        interrupted(|| sys!(readv, p.0, &[vec(pages(1), 1)], 1))
    });
    a.call("writev", "EBADF EINVAL EAGAIN EPIPE EFBIG", "iov base", true);
    a.ok("two", || {
        let v = [vec(c"hel".as_ptr() as usize, 3), vec(c"lo".as_ptr() as usize, 2)];
        (sys!(writev, opened(c"f", ""), &v, 2), content(c"f"))
    })
    .ok("none", || sys!(writev, opened(c"f", ""), BAD, 0))
    .ok("empty-vectors", || sys!(writev, opened(c"f", ""), &[vec(BAD, 0), vec(c"a".as_ptr() as usize, 1)], 2))
    .ok("pipe", || {
        let p = pipe();
        let v = [vec(c"hel".as_ptr() as usize, 3), vec(c"lo".as_ptr() as usize, 2)];
        (sys!(writev, p.1, &v, 2), read_text(p.0, 9))
    })
    .ok("dev-null", || sys!(writev, open(c"/dev/null", O_WRONLY), &[vec(c"a".as_ptr() as usize, 1)], 1))
    .err("EBADF", || sys!(writev, 99, &[vec(pages(1), 1)], 1))
    .err("EBADF-read-only", || {
        file(c"f", "");
        sys!(writev, open(c"f", O_RDONLY), &[vec(pages(1), 1)], 1)
    })
    .err("EINVAL-too-many", || sys!(writev, opened(c"f", ""), pages(8), 1025))
    .err("EINVAL-negative-length", || sys!(writev, opened(c"f", ""), &[vec(pages(1), usize::MAX)], 1))
    .err("EAGAIN", || {
        let p = full_pipe();
        sys!(fcntl, p.1, libc::F_SETFL, O_NONBLOCK);
        sys!(writev, p.1, &[vec(pages(1), 1)], 1)
    })
    .err("EPIPE", || {
        let p = pipe();
        sys!(close, p.0);
        no_sigpipe();
        sys!(writev, p.1, &[vec(pages(1), 1)], 1)
    })
    .err("EFBIG", || {
        let fd = opened(c"f", "0123456789");
        limited(5);
        sys!(lseek, fd, 5, 0);
        sys!(writev, fd, &[vec(pages(1), 1)], 1)
    })
    .bad("iov", || sys!(writev, opened(c"f", ""), BAD, 1))
    .bad("base", || sys!(writev, opened(c"f", ""), &[vec(BAD, 1)], 1))
    .bad("base-second", || (sys!(writev, opened(c"f", ""), &[vec(c"ab".as_ptr() as usize, 2), vec(BAD, 2)], 2), content(c"f")))
    .bad("base-edge", || (sys!(writev, opened(c"f", ""), &[vec(edge(3), 9), vec(c"ab".as_ptr() as usize, 2)], 2), content(c"f")));
    a.intr("full-pipe", || {
        let p = full_pipe();
        interrupted(|| sys!(writev, p.1, &[vec(pages(1), 1)], 1))
    });
}

fn positioned_vectors(a: &mut Calls) {
    a.call("preadv", "EBADF EINVAL ESPIPE EISDIR", "iov base", false);
    a.ok("middle", || {
        let fd = opened(c"f", "hello");
        let mut b = [0u8; 8];
        (sys!(preadv, fd, &[vec(b.as_mut_ptr() as usize, 3)], 1, 1, 0), ctext(&b), sys!(lseek, fd, 0, 1))
    })
    .err("EBADF", || sys!(preadv, 99, &[vec(pages(1), 1)], 1, 0, 0))
    .err("EINVAL-negative-offset", || sys!(preadv, opened(c"f", "x"), &[vec(pages(1), 1)], 1, -1, 0))
    .err("EINVAL-too-many", || sys!(preadv, opened(c"f", "x"), pages(8), 1025, 0, 0))
    .err("ESPIPE", || sys!(preadv, pipe().0, &[vec(pages(1), 1)], 1, 0, 0))
    .err("EISDIR", || sys!(preadv, open(c".", O_RDONLY), &[vec(pages(1), 1)], 1, 0, 0))
    .bad("iov", || sys!(preadv, opened(c"f", "x"), BAD, 1, 0, 0))
    .bad("base", || sys!(preadv, opened(c"f", "x"), &[vec(BAD, 1)], 1, 0, 0));
    a.call("pwritev", "EBADF EINVAL ESPIPE EFBIG", "iov base", false);
    a.ok("middle", || {
        let fd = opened(c"f", "hello");
        (sys!(pwritev, fd, &[vec(c"XY".as_ptr() as usize, 2)], 1, 1, 0), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .err("EBADF", || sys!(pwritev, 99, &[vec(pages(1), 1)], 1, 0, 0))
    .err("EINVAL-negative-offset", || sys!(pwritev, opened(c"f", "x"), &[vec(pages(1), 1)], 1, -1, 0))
    .err("ESPIPE", || sys!(pwritev, pipe().1, &[vec(pages(1), 1)], 1, 0, 0))
    .err("EFBIG", || {
        let fd = opened(c"f", "");
        limited(10);
        sys!(pwritev, fd, &[vec(pages(1), 1)], 1, 10, 0)
    })
    .bad("iov", || sys!(pwritev, opened(c"f", "x"), BAD, 1, 0, 0))
    .bad("base", || sys!(pwritev, opened(c"f", "x"), &[vec(BAD, 1)], 1, 0, 0));
    a.call("preadv2", "EBADF EINVAL ESPIPE EOPNOTSUPP", "iov base", false);
    a.ok("current-position", || {
        let fd = opened(c"f", "hello");
        (sys!(preadv2, fd, &[vec(pages(1), 3)], 1, -1, 0, 0), sys!(lseek, fd, 0, 1))
    })
    .ok("offset", || {
        let fd = opened(c"f", "hello");
        (sys!(preadv2, fd, &[vec(pages(1), 9)], 1, 3, 0, 0), sys!(lseek, fd, 0, 1))
    })
    .ok("pipe-current-position", || {
        let p = pipe();
        sys!(write, p.1, c"abc", 3);
        sys!(preadv2, p.0, &[vec(pages(1), 9)], 1, -1, 0, 0)
    })
    .err("EBADF", || sys!(preadv2, 99, &[vec(pages(1), 1)], 1, 0, 0, 0))
    .err("EINVAL-offset", || sys!(preadv2, opened(c"f", "x"), &[vec(pages(1), 1)], 1, -2, 0, 0))
    .err("ESPIPE", || sys!(preadv2, pipe().0, &[vec(pages(1), 1)], 1, 0, 0, 0))
    .err("EOPNOTSUPP-flags", || sys!(preadv2, opened(c"f", "x"), &[vec(pages(1), 1)], 1, 0, 0, 0x8000))
    .err("EOPNOTSUPP-nowait-pipe", || sys!(preadv2, pipe().0, &[vec(pages(1), 1)], 1, -1, 0, libc::RWF_NOWAIT))
    .bad("iov", || sys!(preadv2, opened(c"f", "x"), BAD, 1, 0, 0, 0))
    .bad("base", || sys!(preadv2, opened(c"f", "x"), &[vec(BAD, 1)], 1, 0, 0, 0));
    a.not("EAGAIN", "RWF_NOWAIT needs a file that can be slow");
    a.call("pwritev2", "EBADF EINVAL ESPIPE EOPNOTSUPP", "iov base", false);
    a.ok("current-position", || {
        let fd = opened(c"f", "hello");
        (sys!(pwritev2, fd, &[vec(c"XY".as_ptr() as usize, 2)], 1, -1, 0, 0), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .ok("append-flag", || {
        let fd = opened(c"f", "hello");
        (sys!(pwritev2, fd, &[vec(c"XY".as_ptr() as usize, 2)], 1, 0, 0, libc::RWF_APPEND), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .ok("dsync-flag", || sys!(pwritev2, opened(c"f", "x"), &[vec(c"XY".as_ptr() as usize, 2)], 1, 0, 0, libc::RWF_DSYNC))
    .err("EBADF", || sys!(pwritev2, 99, &[vec(pages(1), 1)], 1, 0, 0, 0))
    .err("EINVAL-offset", || sys!(pwritev2, opened(c"f", "x"), &[vec(pages(1), 1)], 1, -2, 0, 0))
    .err("ESPIPE", || sys!(pwritev2, pipe().1, &[vec(pages(1), 1)], 1, 0, 0, 0))
    .err("EOPNOTSUPP-flags", || sys!(pwritev2, opened(c"f", "x"), &[vec(pages(1), 1)], 1, 0, 0, 0x8000))
    .bad("iov", || sys!(pwritev2, opened(c"f", "x"), BAD, 1, 0, 0, 0))
    .bad("base", || sys!(pwritev2, opened(c"f", "x"), &[vec(BAD, 1)], 1, 0, 0, 0));
}

fn seeks(a: &mut Calls) {
    a.call("lseek", "EBADF EINVAL ESPIPE ENXIO", "", false).not("EOVERFLOW", "offsets are 64-bit");
    a.ok("set-current-end", || {
        let fd = opened(c"f", "hello");
        (sys!(lseek, fd, 2, 0), sys!(lseek, fd, 1, 1), sys!(lseek, fd, -1, 2), sys!(lseek, fd, 0, 1))
    })
    .ok("beyond-end", || (sys!(lseek, opened(c"f", "hello"), 100, 0), stat_text(c"f")))
    .ok("data-and-hole", || {
        let fd = opened(c"f", "");
        sys!(pwrite64, fd, c"x", 1, 3 * PAGE);
        (sys!(lseek, fd, 0, libc::SEEK_DATA), sys!(lseek, fd, 0, libc::SEEK_HOLE), sys!(lseek, fd, 3 * PAGE, libc::SEEK_HOLE))
    })
    .ok("shared-by-dup", || {
        let fd = opened(c"f", "hello");
        let other = sys!(dup, fd);
        (sys!(lseek, fd, 3, 0), sys!(lseek, other, 0, 1))
    })
    .ok("dev-null", || sys!(lseek, open(c"/dev/null", O_RDONLY), 100, 0))
    .ok("dev-zero", || sys!(lseek, open(c"/dev/zero", O_RDONLY), 100, 0))
    .ok("largest", || sys!(lseek, opened(c"f", ""), i64::MAX, 0))
    .err("EBADF", || sys!(lseek, 99, 0, 0))
    .err("EBADF-path", || {
        file(c"f", "x");
        sys!(lseek, open(c"f", O_PATH), 0, 0)
    })
    .err("EINVAL-whence", || sys!(lseek, opened(c"f", ""), 0, 9))
    .err("EINVAL-negative", || sys!(lseek, opened(c"f", ""), -1, 0))
    .err("EINVAL-negative-result", || sys!(lseek, opened(c"f", "hello"), -6, 2))
    .err("ESPIPE-pipe", || sys!(lseek, pipe().0, 0, 0))
    .err("EINVAL-whence-before-ESPIPE", || sys!(lseek, pipe().0, 0, 9))
    .err("ENXIO-data", || sys!(lseek, opened(c"f", "hello"), 5, libc::SEEK_DATA))
    .err("ENXIO-hole", || sys!(lseek, opened(c"f", "hello"), 6, libc::SEEK_HOLE));
}

fn copies(a: &mut Calls) {
    a.call("sendfile", "EBADF EINVAL ESPIPE EAGAIN", "offset", true).not("EIO", "no failing device").not("EOVERFLOW", "offsets are 64-bit");
    a.ok("file-to-pipe", || {
        let (fd, p) = (opened(c"f", "hello"), pipe());
        (sys!(sendfile, p.1, fd, 0, 10), read_text(p.0, 9), sys!(lseek, fd, 0, 1))
    })
    .ok("offset", || {
        let (fd, p, mut at) = (opened(c"f", "hello"), pipe(), 2i64);
        (sys!(sendfile, p.1, fd, &mut at, 2), read_text(p.0, 9), at, sys!(lseek, fd, 0, 1))
    })
    .ok("file-to-file", || (sys!(sendfile, opened(c"g", ""), opened(c"f", "hello"), 0, 10), content(c"g")))
    .ok("at-end", || sys!(sendfile, pipe().1, opened(c"f", ""), 0, 10))
    .ok("zero", || sys!(sendfile, pipe().1, opened(c"f", "x"), 0, 0))
    .err("EBADF-in", || sys!(sendfile, pipe().1, 99, 0, 1))
    .err("EBADF-out", || sys!(sendfile, 99, opened(c"f", "x"), 0, 1))
    .err("EBADF-in-write-only", || sys!(sendfile, pipe().1, open(c"f", O_CREAT | O_WRONLY), 0, 1))
    .err("EBADF-out-read-only", || sys!(sendfile, pipe().0, opened(c"f", "x"), 0, 1))
    .err("EINVAL-out-append", || {
        file(c"g", "");
        sys!(sendfile, open(c"g", O_WRONLY | O_APPEND), opened(c"f", "x"), 0, 1)
    })
    .err("EINVAL-in-pipe", || sys!(sendfile, opened(c"f", ""), pipe_with(O_NONBLOCK).0, 0, 1))
    .err("ESPIPE-offset-of-pipe", || sys!(sendfile, opened(c"f", ""), pipe().0, &mut 0i64, 1))
    .err("EINVAL-negative-offset", || sys!(sendfile, pipe().1, opened(c"f", "x"), &mut -1i64, 1))
    .err("EAGAIN", || {
        let p = full_pipe();
        sys!(fcntl, p.1, libc::F_SETFL, O_NONBLOCK);
        sys!(sendfile, p.1, opened(c"f", "hello"), 0, 5)
    })
    .bad("offset", || sys!(sendfile, pipe().1, opened(c"f", "x"), BAD, 1))
    .bad("offset-read-only", || sys!(sendfile, pipe().1, opened(c"f", "x"), read_only(), 1))
    .intr("full-pipe", || {
        let p = full_pipe();
        interrupted(|| sys!(sendfile, p.1, opened(c"f", "x"), 0, 1))
    });
    a.call("copy_file_range", "EBADF EINVAL EISDIR EFBIG", "off_in off_out", false)
        .not("EIO", "no failing device")
        .not("ENOSPC", "needs a small file system")
        .not("EOVERFLOW", "wrapping ends are EINVAL first on a small file")
        .not("EPERM", "needs an immutable file")
        .not("ETXTBSY", "needs a swap file")
        .not("EXDEV", "since 5.19 tmpfs falls back to a copy only within one file system");
    a.ok("positions", || {
        let (f, g) = (opened(c"f", "hello"), opened(c"g", ""));
        (sys!(copy_file_range, f, 0, g, 0, 3, 0), content(c"g"), sys!(lseek, f, 0, 1), sys!(lseek, g, 0, 1))
    })
    .ok("offsets", || {
        let (f, g, mut i, mut o) = (opened(c"f", "hello"), opened(c"g", "...."), 1i64, 2i64);
        (sys!(copy_file_range, f, &mut i, g, &mut o, 2, 0), content(c"g"), i, o)
    })
    .ok("beyond-end", || sys!(copy_file_range, opened(c"f", "hello"), &mut 9i64, opened(c"g", ""), 0, 3, 0))
    .ok("same-file", || {
        let fd = opened(c"f", "hello");
        (sys!(copy_file_range, fd, &mut 0i64, fd, &mut 5i64, 5, 0), content(c"f"))
    })
    .err("EBADF", || sys!(copy_file_range, 99, 0, opened(c"g", ""), 0, 1, 0))
    .err("EBADF-out", || sys!(copy_file_range, opened(c"g", ""), 0, 99, 0, 1, 0))
    .err("EBADF-append", || sys!(copy_file_range, opened(c"f", "x"), 0, open(c"g", O_CREAT | O_WRONLY | O_APPEND), 0, 1, 0))
    .err("EBADF-out-read-only", || {
        file(c"g", "");
        sys!(copy_file_range, opened(c"f", "x"), 0, open(c"g", O_RDONLY), 0, 1, 0)
    })
    .err("EINVAL-flags", || sys!(copy_file_range, opened(c"f", "x"), 0, opened(c"g", ""), 0, 1, 1))
    .err("EINVAL-pipe", || sys!(copy_file_range, pipe().0, 0, opened(c"g", ""), 0, 1, 0))
    .err("EINVAL-overlap", || {
        let fd = opened(c"f", "hello");
        sys!(copy_file_range, fd, &mut 0i64, fd, &mut 1i64, 3, 0)
    })
    .err("EISDIR", || sys!(copy_file_range, open(c".", O_RDONLY), 0, opened(c"g", ""), 0, 1, 0))
    .err("EFBIG-limit", || {
        let (f, g) = (opened(c"f", "hello"), opened(c"g", ""));
        limited(3);
        sys!(copy_file_range, f, 0, g, &mut 3i64, 1, 0)
    })
    .bad("off_in", || sys!(copy_file_range, opened(c"f", "x"), BAD, opened(c"g", ""), 0, 1, 0))
    .bad("off_out", || sys!(copy_file_range, opened(c"f", "x"), 0, opened(c"g", ""), BAD, 1, 0));
}
