//! Reading, writing, seeking, and copying between descriptors.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_APPEND, O_CREAT, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY};
use std::sync::atomic::Ordering;

/// An iovec.
fn vec(base: usize, length: usize) -> [usize; 2] {
    [base, length]
}

fn read_text(fd: i32, size: usize) -> (isize, String) {
    let mut b = [0u8; 64];
    let n = sys!(read, fd, &mut b, size);
    (n, text(&b[..n.clamp(0, 64) as usize]))
}

/// A file's number that is the writing end of a full pipe, or the reading end of an empty one, for handlers.
fn remember(fd: i32) -> i32 {
    FD.store(fd, Ordering::Relaxed);
    fd
}

fn read_fd() {
    let mut b = [0u8; 4096];
    sys!(read, FD.load(Ordering::Relaxed), &mut b, 4096);
}

fn limited(size: u64) {
    let limit = [size, size];
    sys!(prlimit64, 0, libc::RLIMIT_FSIZE, &limit, 0);
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    sys!(rt_sigaction, libc::SIGXFSZ, &ignore, 0, 8);
}

fn no_sigpipe() {
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    sys!(rt_sigaction, libc::SIGPIPE, &ignore, 0, 8);
}

/// Adds the group.
pub fn add(a: &mut Calls) {
    reads(a);
    writes(a);
    vectors(a);
    positioned_vectors(a);
    seeks(a);
    copies(a);
}

fn reads(a: &mut Calls) {
    a.call("read", "EBADF EISDIR EAGAIN", "buf", true).not("EINVAL", "every object here can be read").not("EIO", "no failing device, no background terminal read");
    a.ok("file", || read_text(opened(c"f", "hello"), 64))
        .ok("file-short", || read_text(opened(c"f", "hello"), 3))
        .ok("end-of-file", || read_text(opened(c"f", ""), 9))
        .ok("zero-bytes", || read_text(opened(c"f", "hello"), 0))
        .ok("zero-bytes-null", || sys!(read, opened(c"f", "hello"), 0, 0))
        .ok("dev-null", || read_text(open(c"/dev/null", O_RDONLY), 9))
        .ok("dev-zero", || read_text(open(c"/dev/zero", O_RDONLY), 5))
        .ok("pipe", || {
            let p = pipe();
            sys!(write, p.1, c"abc", 3);
            read_text(p.0, 64)
        })
        .ok("pipe-writer-gone", || {
            let p = pipe();
            sys!(close, p.1);
            read_text(p.0, 64)
        })
        .ok("pipe-zero-bytes-empty", || sys!(read, pipe().0, 0, 0))
        .ok("huge-count", || {
            let fd = opened(c"f", "hello");
            let p = pages(1);
            sys!(read, fd, p, 0x7fff_ffff_ffff_u64)
        })
        .ok("position-moves", || {
            let fd = opened(c"f", "hello");
            (read_text(fd, 2), read_text(fd, 2), read_text(fd, 2), read_text(fd, 2))
        })
        .ok("across-pages", || {
            let fd = opened(c"f", "");
            let page = [b'q'; PAGE];
            sys!(write, fd, &page, PAGE);
            sys!(write, fd, &page, PAGE);
            let p = pages(3);
            (sys!(pread64, fd, p, 3 * PAGE, 100), peek(p), peek(p + 2 * PAGE - 101), peek(p + 2 * PAGE - 100))
        })
        .err("EBADF", || sys!(read, 99, pages(1), 1))
        .err("EBADF-negative", || sys!(read, -1, pages(1), 1))
        .err("EBADF-write-only", || sys!(read, open(c"f", O_CREAT | O_WRONLY), pages(1), 1))
        .err("EBADF-path", || {
            file(c"f", "x");
            sys!(read, open(c"f", O_PATH), pages(1), 1)
        })
        .err("EBADF-pipe-write-end", || sys!(read, pipe().1, pages(1), 1))
        .err("EBADF-before-EFAULT", || sys!(read, 99, BAD, 1))
        .err("EISDIR", || sys!(read, open(c".", O_DIRECTORY), pages(1), 1))
        .bad("buf-negative-count", || sys!(read, opened(c"f", "x"), pages(1), -1))
        .err("EAGAIN", || sys!(read, pipe_with(O_NONBLOCK).0, pages(1), 1))
        .bad("buf", || sys!(read, opened(c"f", "hello"), BAD, 5))
        .bad("buf-null", || sys!(read, opened(c"f", "hello"), 0, 5))
        .bad("buf-kernel", || sys!(read, opened(c"f", "hello"), KERN, 5))
        .bad("buf-read-only", || sys!(read, opened(c"f", "hello"), read_only(), 5))
        .bad("buf-at-end-of-file", || sys!(read, opened(c"f", ""), BAD, 5))
        .bad("buf-dev-null", || sys!(read, open(c"/dev/null", O_RDONLY), BAD, 5))
        .bad("buf-dev-zero", || sys!(read, open(c"/dev/zero", O_RDONLY), BAD, 5))
        .bad("buf-dev-zero-edge", || sys!(read, open(c"/dev/zero", O_RDONLY), edge(10), 50))
        .bad("buf-edge-file", || {
            let fd = opened(c"f", "0123456789abcdef");
            let at = edge(10);
            (sys!(read, fd, at, 16), peek(at), peek(at + 9), sys!(lseek, fd, 0, 1))
        })
        .bad("buf-edge-pipe", || {
            let p = pipe();
            sys!(write, p.1, c"0123456789abcdef", 16);
            (sys!(read, p.0, edge(10), 16), read_text(p.0, 64))
        })
        .bad("buf-pipe-nothing-lost", || {
            let p = pipe();
            sys!(write, p.1, c"abc", 3);
            (sys!(read, p.0, BAD, 3), read_text(p.0, 64))
        })
        .bad("buf-wraps", || sys!(read, opened(c"f", "hello"), usize::MAX - 2, 5));
    a.intr("pipe", || {
        let p = pipe();
        interrupted(|| sys!(read, p.0, pages(1), 1))
    })
    .intr("pipe-restarts", || {
        let p = pipe();
        remember(p.1);
        (restarted(write_fd, || sys!(read, p.0, pages(1), 1)), caught() > 0)
    })
    .intr("pipe-data-first", || {
        let p = pipe();
        sys!(write, p.1, c"abc", 3);
        interrupted(|| sys!(read, p.0, pages(1), 64))
    })
    .intr("pipe-ignored-signal", || {
        let p = pipe();
        let ignore = SigAction { handler: 1, ..SigAction::default() };
        sys!(rt_sigaction, libc::SIGALRM, &ignore, 0, 8);
        alarm();
        let writer = child(|| {
            sleep_ms(120);
            sys!(write, p.1, c"z", 1);
            0
        });
        let n = sys!(read, p.0, pages(1), 1);
        (n, wait(writer))
    });
    a.call("pread64", "EBADF EINVAL EISDIR ESPIPE", "buf", false).not("EIO", "no failing device").not("EOVERFLOW", "offsets are 64-bit");
    a.ok("middle", || {
        let fd = opened(c"f", "hello");
        let mut b = [0u8; 8];
        (sys!(pread64, fd, &mut b, 3, 1), ctext(&b), sys!(lseek, fd, 0, 1))
    })
    .ok("beyond-end", || sys!(pread64, opened(c"f", "hello"), pages(1), 3, 100))
    .ok("largest-offset", || sys!(pread64, opened(c"f", "hello"), pages(1), 3, i64::MAX))
    .ok("dev-zero", || sys!(pread64, open(c"/dev/zero", O_RDONLY), pages(1), 3, 100))
    .err("EBADF", || sys!(pread64, 99, pages(1), 1, 0))
    .err("EBADF-write-only", || sys!(pread64, open(c"f", O_CREAT | O_WRONLY), pages(1), 1, 0))
    .err("EINVAL-negative-offset", || sys!(pread64, opened(c"f", "hello"), pages(1), 3, -1))
    .err("EINVAL-before-EBADF", || sys!(pread64, 99, pages(1), 3, -1))
    .err("EISDIR", || sys!(pread64, open(c".", O_DIRECTORY), pages(1), 3, 0))
    .err("ESPIPE", || sys!(pread64, pipe().0, pages(1), 3, 0))
    .bad("buf", || sys!(pread64, opened(c"f", "hello"), BAD, 3, 0))
    .bad("buf-edge", || sys!(pread64, opened(c"f", "0123456789"), edge(4), 10, 0));
}

fn writes(a: &mut Calls) {
    a.call("write", "EBADF EINVAL EAGAIN EPIPE EFBIG EPERM ENOSPC", "buf", true)
        .not("EIO", "no failing device")
        .not("EDQUOT", "no quota")
        .not("EDESTADDRREQ", "sockets are not present");
    a.ok("file", || {
        let fd = opened(c"f", "");
        (sys!(write, fd, c"hello", 5), content(c"f"))
    })
    .ok("over", || {
        let fd = opened(c"f", "hello");
        (sys!(write, fd, c"HE", 2), content(c"f"))
    })
    .ok("append", || {
        let fd = opened(c"f", "hello");
        sys!(fcntl, fd, libc::F_SETFL, O_APPEND);
        (sys!(write, fd, c"!!", 2), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .ok("hole", || {
        let fd = opened(c"f", "ab");
        sys!(lseek, fd, 5, 0);
        (sys!(write, fd, c"c", 1), content(c"f"))
    })
    .ok("zero-bytes", || sys!(write, opened(c"f", ""), c"x", 0))
    .ok("zero-bytes-bad-pointer", || sys!(write, opened(c"f", ""), BAD, 0))
    .ok("dev-null", || sys!(write, open(c"/dev/null", O_WRONLY), c"hello", 5))
    .ok("dev-null-bad-pointer", || sys!(write, open(c"/dev/null", O_WRONLY), BAD, 5))
    .ok("dev-zero", || sys!(write, open(c"/dev/zero", O_WRONLY), c"hello", 5))
    .err("ENOSPC-dev-full", || sys!(write, open(c"/dev/full", O_WRONLY), c"hello", 5))
    .ok("pipe-short-when-nonblocking", || {
        let p = pipe_with(O_NONBLOCK);
        sys!(write, p.1, pages(20), 20 * PAGE)
    })
    .ok("pipe-atomic-below-PIPE_BUF", || {
        let p = pipe_with(O_NONBLOCK);
        let page = pages(1);
        let mut last = 0;
        for _ in 0..15 {
            last = sys!(write, p.1, page, PAGE);
        }
        (last, sys!(write, p.1, page, 100), sys!(write, p.1, page, PAGE), sys!(write, p.1, page, 100))
    })
    .ok("limit-short", || {
        let fd = opened(c"f", "");
        limited(10);
        (sys!(write, fd, c"0123456789abcdef", 16), content(c"f"))
    })
    .ok("clears-set-user-id", || {
        let fd = opened(c"f", "x");
        sys!(fchmod, fd, 0o4755);
        as_user(|| ());
        (sys!(write, fd, c"y", 1), stat_text(c"f"))
    })
    .err("EBADF", || sys!(write, 99, c"x", 1))
    .err("EBADF-read-only", || {
        file(c"f", "");
        sys!(write, open(c"f", O_RDONLY), c"x", 1)
    })
    .err("EBADF-directory", || sys!(write, open(c".", O_DIRECTORY), c"x", 1))
    .err("EBADF-pipe-read-end", || sys!(write, pipe().0, c"x", 1))
    .bad("buf-negative-count", || sys!(write, opened(c"f", ""), pages(1), -1))
    .err("EAGAIN", || {
        let p = full_pipe();
        sys!(fcntl, p.1, libc::F_SETFL, O_NONBLOCK);
        sys!(write, p.1, c"x", 1)
    })
    .err("EPIPE", || {
        let p = pipe();
        sys!(close, p.0);
        no_sigpipe();
        sys!(write, p.1, c"x", 1)
    })
    .err("EPIPE-signal", || {
        let p = pipe();
        sys!(close, p.0);
        handle(libc::SIGPIPE, 0);
        (sys!(write, p.1, c"x", 1), caught())
    })
    .err("EPIPE-kills", || {
        let p = pipe();
        sys!(close, p.0);
        ("EPIPE", in_child(|| sys!(write, p.1, c"x", 1) as i32))
    })
    .err("EFBIG-limit", || {
        let fd = opened(c"f", "0123456789");
        limited(10);
        sys!(lseek, fd, 10, 0);
        sys!(write, fd, c"x", 1)
    })
    .err("EFBIG-signal", || {
        let fd = opened(c"f", "0123456789");
        limited(10);
        handle(libc::SIGXFSZ, 0);
        sys!(lseek, fd, 10, 0);
        (sys!(write, fd, c"x", 1), caught())
    })
    .err("EINVAL-largest-offset", || {
        let fd = opened(c"f", "");
        sys!(lseek, fd, i64::MAX, 0);
        sys!(write, fd, c"x", 1)
    })
    .err("EPERM-sealed", || {
        let fd = sys!(memfd_create, c"m", libc::MFD_ALLOW_SEALING);
        sys!(fcntl, fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE);
        sys!(write, fd, c"x", 1)
    })
    .bad("buf", || sys!(write, opened(c"f", ""), BAD, 5))
    .bad("buf-kernel", || sys!(write, opened(c"f", ""), KERN, 5))
    .bad("buf-edge-file", || {
        let fd = opened(c"f", "");
        (sys!(write, fd, edge(10), 50), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .bad("buf-edge-pipe", || {
        let p = pipe_with(O_NONBLOCK);
        (sys!(write, p.1, edge(10), 50), read_text(p.0, 64))
    })
    .bad("buf-pipe", || {
        let p = pipe_with(O_NONBLOCK);
        (sys!(write, p.1, BAD, 5), read_text(p.0, 64))
    })
    .bad("buf-file-second-page", || {
        let fd = opened(c"f", "");
        let p = pages(3);
        sys!(munmap, p + 2 * PAGE, PAGE);
        (sys!(write, fd, p + 100, 2 * PAGE), sys!(lseek, fd, 0, 2))
    });
    a.intr("full-pipe", || {
        let p = full_pipe();
        interrupted(|| sys!(write, p.1, c"x", 1))
    })
    .intr("partly-written", || {
        let p = pipe();
        interrupted(|| sys!(write, p.1, pages(20), 20 * PAGE))
    })
    .intr("full-pipe-restarts", || {
        let p = full_pipe();
        remember(p.0);
        restarted(read_fd, || sys!(write, p.1, c"x", 1))
    });
    a.call("pwrite64", "EBADF EINVAL ESPIPE EFBIG", "buf", false).not("EIO", "no failing device").not("ENOSPC", "as write");
    a.ok("middle", || {
        let fd = opened(c"f", "hello");
        (sys!(pwrite64, fd, c"XY", 2, 1), content(c"f"), sys!(lseek, fd, 0, 1))
    })
    .ok("beyond-end", || {
        let fd = opened(c"f", "a");
        (sys!(pwrite64, fd, c"XY", 2, 4), content(c"f"))
    })
    .ok("append-ignores-offset", || {
        file(c"f", "hello");
        let fd = open(c"f", O_RDWR | O_APPEND);
        (sys!(pwrite64, fd, c"XY", 2, 0), content(c"f"))
    })
    .err("EBADF", || sys!(pwrite64, 99, c"x", 1, 0))
    .err("EINVAL-negative-offset", || sys!(pwrite64, opened(c"f", ""), c"x", 1, -1))
    .err("ESPIPE", || sys!(pwrite64, pipe().1, c"x", 1, 0))
    .err("EINVAL-largest-offset", || sys!(pwrite64, opened(c"f", ""), c"x", 1, i64::MAX))
    .err("EFBIG-limit", || {
        let fd = opened(c"f", "");
        limited(10);
        sys!(pwrite64, fd, c"x", 1, 10)
    })
    .bad("buf", || sys!(pwrite64, opened(c"f", ""), BAD, 1, 0))
    .bad("buf-edge", || (sys!(pwrite64, opened(c"f", ""), edge(3), 9, 2), content(c"f")));
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
