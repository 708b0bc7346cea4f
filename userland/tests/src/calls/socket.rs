//! Sockets: making, naming, connecting, options. The local family is the one that both kernels have.
use super::message::{DGRAM, SEQ, STREAM};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{
    AF_UNIX, O_PATH, SO_ACCEPTCONN, SO_DOMAIN, SO_ERROR, SO_KEEPALIVE, SO_LINGER, SO_PASSCRED, SO_PEERCRED, SO_PRIORITY, SO_PROTOCOL,
    SO_RCVBUF, SO_RCVLOWAT, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDBUF, SO_SNDTIMEO, SO_TYPE, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET,
};

/// Adds the group.
pub fn add(a: &mut Calls) {
    makes(a);
    names(a);
    super::connect::add(a);
    options(a);
}

/// A new socket.
pub fn socket(kind: i32) -> i32 {
    sys!(socket, AF_UNIX, kind, 0) as i32
}

/// Two connected sockets.
pub fn pair(kind: i32) -> (i32, i32) {
    let mut fds = [-1i32; 2];
    sys!(socketpair, AF_UNIX, kind, 0, &mut fds);
    (fds[0], fds[1])
}

/// An address: the bytes of `sun_path`, and the length of the whole.
pub fn name(path: &[u8]) -> ([u8; 112], usize) {
    let mut bytes = [0u8; 112];
    bytes[0] = AF_UNIX as u8;
    bytes[2..2 + path.len()].copy_from_slice(path);
    (bytes, 2 + path.len())
}

/// A socket bound to `path`.
pub fn bound(kind: i32, path: &[u8]) -> i32 {
    let s = socket(kind);
    let (address, len) = name(path);
    sys!(bind, s, &address, len);
    s
}

/// A listener at `path`.
pub fn listener(kind: i32, path: &[u8], backlog: i32) -> i32 {
    let s = bound(kind, path);
    sys!(listen, s, backlog);
    s
}

/// connect(2) to `path`.
pub fn connect(s: i32, path: &[u8]) -> isize {
    let (address, len) = name(path);
    sys!(connect, s, &address, len)
}

fn own_name(s: i32) -> (isize, u32, String) {
    let (mut address, mut len) = ([0u8; 112], 112u32);
    (sys!(getsockname, s, &mut address, &mut len), len, text(&address[..(len as usize).min(112)]))
}

/// getsockopt(2) of a number: the result, the number, and its length.
pub fn option(s: i32, which: i32) -> (isize, i32, u32) {
    let (mut value, mut len) = (-7i32, 4u32);
    (sys!(getsockopt, s, SOL_SOCKET, which, &mut value, &mut len), value, len)
}

fn set(s: i32, which: i32, value: i32) -> isize {
    sys!(setsockopt, s, SOL_SOCKET, which, &value, 4)
}

fn makes(a: &mut Calls) {
    a.call("socket", "EAFNOSUPPORT EINVAL EMFILE EPROTONOSUPPORT ESOCKTNOSUPPORT", "", false)
        .not("EACCES", "no family here asks for a right")
        .not("ENOBUFS", "see --nth")
        .not("ENFILE", "would disturb other tests");
    a.ok("types", || (socket(STREAM), socket(DGRAM), socket(SEQ)))
        .ok("raw-is-datagram", || option(socket(libc::SOCK_RAW), SO_TYPE))
        .ok("flags", || {
            let s = socket(STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
            (sys!(fcntl, s, libc::F_GETFD, 0), sys!(fcntl, s, libc::F_GETFL, 0))
        })
        .ok("protocol-of-family", || sys!(socket, AF_UNIX, STREAM, AF_UNIX))
        .ok("mode", || {
            let mut s: libc::stat = zero();
            (sys!(fstat, socket(STREAM), &mut s), s.st_mode)
        })
        .ok("is-no-file", || {
            let s = socket(STREAM);
            (
                sys!(lseek, s, 0, 0),
                sys!(pread64, s, pages(1), 1, 0),
                sys!(fsync, s),
                sys!(ftruncate, s, 0),
                sys!(getdents64, s, pages(1), PAGE),
            )
        })
        .err("EAFNOSUPPORT-large", || sys!(socket, 46, STREAM, 0))
        .err("EAFNOSUPPORT-negative", || sys!(socket, -1, STREAM, 0))
        .err("EAFNOSUPPORT-0", || sys!(socket, 0, STREAM, 0))
        .err("EINVAL-flag", || sys!(socket, AF_UNIX, STREAM | 0x10, 0))
        .err("EINVAL-type", || sys!(socket, AF_UNIX, 12, 0))
        .err("EMFILE", || {
            super::fd::few_files(3);
            sys!(socket, AF_UNIX, STREAM, 0)
        })
        .err("EPROTONOSUPPORT", || sys!(socket, AF_UNIX, STREAM, 7))
        .err("ESOCKTNOSUPPORT-type", || sys!(socket, AF_UNIX, 4, 0));
    a.call("socketpair", "EAFNOSUPPORT EMFILE EPROTONOSUPPORT EINVAL ESOCKTNOSUPPORT", "usockvec", false)
        .not("EOPNOTSUPP", "no family without pairs in both")
        .not("ENFILE", "would disturb other tests");
    a.ok("both-ways", || {
        let (one, other) = pair(STREAM);
        let mut b = [0u8; 8];
        (sys!(write, one, c"ping", 4), sys!(read, other, &mut b, 8), sys!(write, other, c"pong", 4), sys!(read, one, &mut b, 8), ctext(&b))
    })
    .ok("unnamed", || own_name(pair(SEQ).0))
    .err("EAFNOSUPPORT", || sys!(socketpair, 46, STREAM, 0, pages(1)))
    .err("EMFILE", || {
        super::fd::few_files(4);
        (sys!(socketpair, AF_UNIX, STREAM, 0, pages(1)), sys!(dup, 1))
    })
    .err("EPROTONOSUPPORT", || sys!(socketpair, AF_UNIX, STREAM, 7, pages(1)))
    .err("EINVAL-flag", || sys!(socketpair, AF_UNIX, STREAM | 0x20, 0, pages(1)))
    .err("ESOCKTNOSUPPORT", || sys!(socketpair, AF_UNIX, 4, 0, pages(1)))
    .bad("usockvec", || (sys!(socketpair, AF_UNIX, STREAM, 0, BAD), sys!(dup, 1)))
    .bad("usockvec-edge", || sys!(socketpair, AF_UNIX, STREAM, 0, edge(4)))
    .bad("usockvec-read-only", || sys!(socketpair, AF_UNIX, STREAM, 0, read_only()));
}

fn names(a: &mut Calls) {
    a.call("bind", "EACCES EADDRINUSE EBADF EINVAL ENOTSOCK ELOOP ENOENT ENOTDIR", "umyaddr", false)
        .not("EADDRNOTAVAIL", "a local family has no interfaces")
        .not("EROFS", "no read-only file system")
        .not("ENOMEM", "see --nth");
    a.ok("path", || (own_name(bound(STREAM, b"sock")), stat_text(c"sock")))
        .ok("umask", || {
            sys!(umask, 0o77);
            bound(DGRAM, b"sock");
            stat_text(c"sock")
        })
        .ok("abstract", || own_name(bound(STREAM, b"\0vigil-abstract")))
        .ok("abstract-with-nul", || own_name(bound(DGRAM, b"\0a\0b\0")))
        .ok("empty-chooses-one", || {
            let s = socket(DGRAM);
            let (address, _) = name(b"");
            let r = sys!(bind, s, &address, 2);
            let (got, len, _) = own_name(s);
            (r, got, len)
        })
        .ok("longest", || {
            let s = socket(STREAM);
            let (address, len) = name(&[b'p'; 108]);
            (sys!(bind, s, &address, len), own_name(s).1)
        })
        .ok("abstract-per-type", || {
            let (s, d) = (bound(STREAM, b"\0vigil-two"), bound(DGRAM, b"\0vigil-two"));
            (own_name(s).1, own_name(d).1)
        })
        .err("EACCES", || {
            dir(c"d");
            as_user(|| {
                let (address, len) = name(b"d/s");
                sys!(bind, socket(STREAM), &address, len)
            })
        })
        .err("EADDRINUSE-path", || {
            file(c"f", "");
            let (address, len) = name(b"f");
            sys!(bind, socket(STREAM), &address, len)
        })
        .err("EADDRINUSE-abstract", || {
            bound(STREAM, b"\0vigil-used");
            let (address, len) = name(b"\0vigil-used");
            sys!(bind, socket(STREAM), &address, len)
        })
        .err("EADDRINUSE-after-close", || {
            sys!(close, bound(STREAM, b"s"));
            let (address, len) = name(b"s");
            sys!(bind, socket(STREAM), &address, len)
        })
        .err("EBADF", || sys!(bind, 99, &name(b"x").0, 5))
        .err("EBADF-path-only", || {
            file(c"f", "");
            sys!(bind, open(c"f", O_PATH), &name(b"x").0, 5)
        })
        .err("EINVAL-twice", || {
            let (address, len) = name(b"t");
            sys!(bind, bound(STREAM, b"s"), &address, len)
        })
        .err("EINVAL-family", || {
            let mut address = name(b"s").0;
            address[0] = 2;
            sys!(bind, socket(STREAM), &address, 5)
        })
        .err("EINVAL-short", || sys!(bind, socket(STREAM), &name(b"s").0, 1))
        .err("EINVAL-long", || sys!(bind, socket(STREAM), &[1u8; 200], 111))
        .err("EINVAL-longer-than-any", || sys!(bind, socket(STREAM), &[1u8; 200], 129))
        .err("EINVAL-negative", || sys!(bind, socket(STREAM), &name(b"s").0, -1))
        .err("ENOTSOCK", || sys!(bind, opened(c"f", ""), &name(b"s").0, 5))
        .err("ENOENT-directory", || sys!(bind, socket(STREAM), &name(b"no/s").0, 6))
        .err("ENOTDIR", || {
            file(c"f", "");
            sys!(bind, socket(STREAM), &name(b"f/s").0, 5)
        })
        .err("ELOOP", || {
            sys!(symlinkat, c"l", CWD, c"l");
            sys!(bind, socket(STREAM), &name(b"l/s").0, 5)
        })
        .not("ENAMETOOLONG", "108 bytes hold no name of 256")
        .bad("umyaddr", || sys!(bind, socket(STREAM), BAD, 10))
        .bad("umyaddr-edge", || sys!(bind, socket(STREAM), edge(4), 10));
    a.call("getsockname", "EBADF EINVAL ENOTSOCK", "usockaddr usockaddr_len", false).not("ENOBUFS", "nothing is allocated on Linux");
    a.ok("cut", || {
        let s = bound(STREAM, b"socket-name");
        let (mut address, mut len) = ([b'-'; 16], 6u32);
        (sys!(getsockname, s, &mut address, &mut len), len, text(&address))
    })
    .ok("none-asked", || {
        let mut len = 0u32;
        (sys!(getsockname, bound(STREAM, b"s"), 0, &mut len), len)
    })
    .err("EBADF", || own_name(99).0)
    .err("EINVAL-negative", || {
        let mut len = -1i32;
        sys!(getsockname, socket(STREAM), pages(1), &mut len)
    })
    .err("ENOTSOCK", || own_name(opened(c"f", "")).0)
    .bad("usockaddr", || {
        let mut len = 10u32;
        sys!(getsockname, socket(STREAM), BAD, &mut len)
    })
    .bad("usockaddr_len", || sys!(getsockname, socket(STREAM), pages(1), BAD))
    .bad("usockaddr_len-null", || sys!(getsockname, socket(STREAM), pages(1), 0));
    a.call("getpeername", "EBADF EINVAL ENOTCONN ENOTSOCK", "usockaddr usockaddr_len", false)
        .not("ENOBUFS", "nothing is allocated on Linux");
    a.ok("pair", || {
        let (mut address, mut len) = ([0u8; 16], 16u32);
        (sys!(getpeername, pair(STREAM).0, &mut address, &mut len), len, text(&address[..2]))
    })
    .ok("client-sees-listener", || {
        listener(STREAM, b"s", 1);
        let c = socket(STREAM);
        connect(c, b"s");
        let (mut address, mut len) = ([0u8; 16], 16u32);
        (sys!(getpeername, c, &mut address, &mut len), len, text(&address[..4]))
    })
    .ok("peer-closed", || {
        let (one, other) = pair(STREAM);
        sys!(close, other);
        let mut len = 16u32;
        (sys!(getpeername, one, pages(1), &mut len), len)
    })
    .err("EBADF", || sys!(getpeername, 99, pages(1), &16u32))
    .err("EINVAL-negative", || sys!(getpeername, pair(STREAM).0, pages(1), &-1i32))
    .err("ENOTCONN", || sys!(getpeername, socket(STREAM), pages(1), &16u32))
    .err("ENOTSOCK", || sys!(getpeername, opened(c"f", ""), pages(1), &16u32))
    .bad("usockaddr", || sys!(getpeername, pair(STREAM).0, BAD, &mut 16u32))
    .bad("usockaddr_len", || sys!(getpeername, pair(STREAM).0, pages(1), BAD));
}

fn options(a: &mut Calls) {
    a.call("getsockopt", "EBADF EINVAL ENOPROTOOPT ENOTSOCK EOPNOTSUPP", "optval optlen", false);
    a.ok("numbers", || {
        let s = socket(SEQ);
        [
            SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN, SO_PASSCRED, SO_SNDBUF, SO_RCVBUF, SO_RCVLOWAT, SO_REUSEADDR,
            SO_KEEPALIVE, SO_PRIORITY, SO_LINGER,
        ]
        .map(|o| option(s, o).1)
        .map(|v| v.to_string())
        .join(" ")
    })
    .ok("short-room", || {
        let (mut value, mut len) = (-1i32, 2u32);
        (sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_TYPE, &mut value, &mut len), value, len)
    })
    .ok("more-room", || {
        let mut len = 100u32;
        (sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_TYPE, pages(1), &mut len), len)
    })
    .ok("peer-credentials", || {
        let (mut cred, mut len) = ([9i32; 3], 12u32);
        let r = sys!(getsockopt, pair(STREAM).0, SOL_SOCKET, SO_PEERCRED, &mut cred, &mut len);
        (r, cred[0] as isize == sys!(getpid), cred[1], cred[2])
    })
    .ok("peer-credentials-none", || {
        let (mut cred, mut len) = ([9i32; 3], 12u32);
        (sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_PEERCRED, &mut cred, &mut len), cred[0], cred[1], cred[2])
    })
    .ok("error-once", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"x", 1);
        sys!(close, other);
        (option(one, SO_ERROR).1, option(one, SO_ERROR).1)
    })
    .err("EBADF", || option(99, SO_TYPE).0)
    .err("EINVAL-negative", || sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_TYPE, pages(1), &-1i32))
    .err("ENOPROTOOPT", || option(socket(STREAM), 999).0)
    .err("ENOTSOCK", || option(opened(c"f", ""), SO_TYPE).0)
    .err("EOPNOTSUPP-level", || sys!(getsockopt, socket(STREAM), 6, 1, pages(1), &4u32))
    .bad("optval", || sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_TYPE, BAD, &mut 4u32))
    .bad("optlen", || sys!(getsockopt, socket(STREAM), SOL_SOCKET, SO_TYPE, pages(1), BAD));
    a.call("setsockopt", "EBADF EDOM EINVAL ENOPROTOOPT ENOTSOCK EOPNOTSUPP EPERM", "optval", false);
    a.ok("switches", || {
        let s = socket(STREAM);
        (
            set(s, SO_KEEPALIVE, 5),
            option(s, SO_KEEPALIVE).1,
            set(s, SO_KEEPALIVE, 0),
            option(s, SO_KEEPALIVE).1,
            set(s, SO_PASSCRED, 1),
            option(s, SO_PASSCRED).1,
        )
    })
    .ok("buffers-double", || {
        let s = socket(STREAM);
        (set(s, SO_SNDBUF, 10_000), option(s, SO_SNDBUF).1, set(s, SO_RCVBUF, 10_000), option(s, SO_RCVBUF).1)
    })
    .ok("buffers-bounds", || {
        let s = socket(STREAM);
        (
            set(s, SO_SNDBUF, 1),
            option(s, SO_SNDBUF).1,
            set(s, SO_SNDBUF, 1 << 30),
            option(s, SO_SNDBUF).1,
            set(s, SO_RCVBUF, 1),
            option(s, SO_RCVBUF).1,
        )
    })
    .ok("timeout-receive", || {
        let (one, _) = pair(STREAM);
        let tv = libc::timeval { tv_sec: 0, tv_usec: 40_000 };
        let set = sys!(setsockopt, one, SOL_SOCKET, SO_RCVTIMEO, &tv, 16);
        let before = now_ms();
        let r = sys!(recvfrom, one, pages(1), 1, 0, 0, 0);
        (set, r, (30..1000).contains(&(now_ms() - before)))
    })
    .ok("timeout-read", || {
        let (one, _) = pair(STREAM);
        sys!(setsockopt, one, SOL_SOCKET, SO_RCVTIMEO, &libc::timeval { tv_sec: 0, tv_usec: 40_000 }, 16);
        sys!(read, one, pages(1), 1)
    })
    .ok("timeout-shown", || {
        let s = socket(STREAM);
        let (tv, mut out, mut len) = (libc::timeval { tv_sec: 3, tv_usec: 500_000 }, [0i64; 2], 16u32);
        (
            sys!(setsockopt, s, SOL_SOCKET, SO_SNDTIMEO, &tv, 16),
            sys!(getsockopt, s, SOL_SOCKET, SO_SNDTIMEO, &mut out, &mut len),
            out[0],
            out[1],
            len,
        )
    })
    .ok("low-water", || {
        let s = socket(STREAM);
        (set(s, SO_RCVLOWAT, 0), option(s, SO_RCVLOWAT).1, set(s, SO_RCVLOWAT, 7), option(s, SO_RCVLOWAT).1)
    })
    .ok("linger", || {
        let s = socket(STREAM);
        let (mut out, mut len) = ([0i32; 2], 8u32);
        (
            sys!(setsockopt, s, SOL_SOCKET, SO_LINGER, &[1i32, 5], 8),
            sys!(getsockopt, s, SOL_SOCKET, SO_LINGER, &mut out, &mut len),
            out[0],
            out[1],
        )
    })
    .err("EBADF", || set(99, SO_KEEPALIVE, 1))
    .err("EDOM", || sys!(setsockopt, socket(STREAM), SOL_SOCKET, SO_RCVTIMEO, &[0i64, 1_000_000], 16))
    .err("EINVAL-short", || sys!(setsockopt, socket(STREAM), SOL_SOCKET, SO_KEEPALIVE, &1, 3))
    .err("EINVAL-negative", || sys!(setsockopt, socket(STREAM), SOL_SOCKET, SO_KEEPALIVE, &1, -1))
    .err("EINVAL-short-linger", || sys!(setsockopt, socket(STREAM), SOL_SOCKET, SO_LINGER, &[1, 1], 4))
    .err("ENOPROTOOPT", || set(socket(STREAM), 999, 1))
    .err("ENOPROTOOPT-read-only", || set(socket(STREAM), SO_TYPE, 1))
    .err("ENOTSOCK", || set(opened(c"f", ""), SO_KEEPALIVE, 1))
    .err("EOPNOTSUPP-level", || sys!(setsockopt, socket(STREAM), 6, 1, &1, 4))
    .err("EPERM-priority", || as_user(|| set(socket(STREAM), SO_PRIORITY, 7)))
    .err("EPERM-force", || as_user(|| set(socket(STREAM), libc::SO_SNDBUFFORCE, 1000)))
    .bad("optval", || sys!(setsockopt, socket(STREAM), SOL_SOCKET, SO_KEEPALIVE, BAD, 4));
}
