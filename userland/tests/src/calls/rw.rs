//! Reading and writing.
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_APPEND, O_CREAT, O_DIRECTORY, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_WRONLY};
use std::sync::atomic::Ordering;

/// Adds the group.
pub fn add(a: &mut Calls) {
    reads(a);
    writes(a);
}

/// An iovec.
pub fn vec(base: usize, length: usize) -> [usize; 2] {
    [base, length]
}

/// Reads up to 64 bytes: count and text.
pub fn read_text(fd: i32, size: usize) -> (isize, String) {
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

/// Limits files to this size and ignores SIGXFSZ.
pub fn limited(size: u64) {
    let limit = [size, size];
    sys!(prlimit64, 0, libc::RLIMIT_FSIZE, &limit, 0);
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    sys!(rt_sigaction, libc::SIGXFSZ, &ignore, 0, 8);
}

/// Ignores SIGPIPE.
pub fn no_sigpipe() {
    let ignore = SigAction { handler: 1, ..SigAction::default() };
    sys!(rt_sigaction, libc::SIGPIPE, &ignore, 0, 8);
}

fn reads(a: &mut Calls) {
    a.call("read", "EBADF EISDIR EAGAIN", "buf", true)
        .not("EINVAL", "every object here can be read")
        .not("EIO", "no failing device, no background terminal read");
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
        .ok("pipe-closed-while-it-waits", || {
            let p = pipe();
            let other = meanwhile(|| {
                sys!(close, p.0);
                sys!(write, p.1, c"abc", 3);
            });
            // Memory that nobody has touched: the kernel must bring a page in before it can deliver.
            let at = pages(1);
            let n = sys!(read, p.0, at, 64);
            (n, peek(at), wait(other), sys!(read, p.0, at, 1))
        })
        .ok("pipe-replaced-while-it-waits", || {
            let (p, q) = (pipe(), pipe());
            sys!(write, q.1, c"xyz", 3);
            let other = meanwhile(|| {
                sys!(dup3, q.0, p.0, 0);
                sys!(write, p.1, c"abc", 3);
            });
            let at = pages(1);
            let n = sys!(read, p.0, at, 64);
            (n, peek(at), wait(other), read_text(p.0, 64))
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
    .ok("pipe-replaced-while-it-waits", || {
        let p = full_pipe();
        let target = opened(c"f", "");
        let other = meanwhile(|| {
            sys!(dup3, target, p.1, 0);
            // Room for one page, later for the other.
            sys!(read, p.0, pages(1), PAGE);
            sleep_ms(80);
            sys!(read, p.0, pages(1), PAGE);
        });
        let n = sys!(write, p.1, pages(2), 2 * PAGE);
        (n, wait(other), sys!(lseek, target, 0, libc::SEEK_END))
    })
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
