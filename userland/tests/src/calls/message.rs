//! Bytes through sockets: send and receive with and without addresses.
use super::socket::{bound, connect, listener, name, pair, socket};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{MSG_DONTWAIT, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL};

/// SOCK_STREAM.
pub const STREAM: i32 = libc::SOCK_STREAM;
/// SOCK_DGRAM.
pub const DGRAM: i32 = libc::SOCK_DGRAM;
/// SOCK_SEQPACKET.
pub const SEQ: i32 = libc::SOCK_SEQPACKET;

/// Adds the group.
pub fn add(a: &mut Calls) {
    sends(a);
    receives(a);
}

/// A pair whose first end takes no more.
pub fn full(kind: i32) -> (i32, i32) {
    let p = pair(kind | libc::SOCK_NONBLOCK);
    let at = pages(1);
    while sys!(write, p.0, at, PAGE) > 0 {}
    sys!(fcntl, p.0, libc::F_SETFL, 0);
    sys!(fcntl, p.1, libc::F_SETFL, 0);
    p
}

fn sends(a: &mut Calls) {
    a.call(
        "sendto",
        "EAGAIN EBADF ECONNREFUSED EISCONN EMSGSIZE ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE EINVAL ENOENT EPERM EPROTOTYPE",
        "buff addr",
        true,
    )
    .not("EALREADY", "not for local sockets")
    .not("ECONNRESET", "see recvfrom")
    .not("EDESTADDRREQ", "ENOTCONN on Linux")
    .not("ENOBUFS", "see --nth")
    .not("EACCES", "as connect");
    a.ok("stream", || {
        let (one, other) = pair(STREAM);
        let mut b = [0u8; 8];
        (sys!(sendto, one, c"abc", 3, 0, 0, 0), sys!(read, other, &mut b, 8), ctext(&b))
    })
    .ok("datagram-by-name", || {
        let s = bound(DGRAM, b"s");
        let (to, len) = name(b"s");
        let mut b = [0u8; 8];
        (sys!(sendto, socket(DGRAM), c"abc", 3, 0, &to, len), sys!(read, s, &mut b, 8), ctext(&b))
    })
    .ok("empty-datagram", || {
        let (one, other) = pair(DGRAM);
        (
            sys!(sendto, one, 0, 0, 0, 0, 0),
            sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0),
            sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0),
        )
    })
    .ok("empty-stream", || {
        let (one, other) = pair(STREAM);
        (sys!(sendto, one, 0, 0, 0, 0, 0), sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0))
    })
    .ok("packets-ignore-names", || sys!(sendto, pair(SEQ).0, c"x", 1, 0, &[9u8; 16], 16))
    .ok("sigpipe", || {
        in_child(|| {
            let (one, other) = pair(STREAM);
            sys!(close, other);
            sys!(sendto, one, c"x", 1, 0, 0, 0);
            0
        })
    })
    .ok("no-sigpipe-for-packets", || {
        in_child(|| {
            let (one, other) = pair(SEQ);
            sys!(close, other);
            (sys!(sendto, one, c"x", 1, 0, 0, 0) == -(libc::EPIPE as isize)).into()
        })
    })
    .ok("no-sigpipe-write-packets", || {
        in_child(|| {
            let (one, other) = pair(SEQ);
            sys!(close, other);
            (sys!(write, one, c"x", 1) == -(libc::EPIPE as isize)).into()
        })
    })
    .err("EAGAIN-full", || sys!(sendto, full(STREAM).0, pages(1), PAGE, MSG_DONTWAIT, 0, 0))
    .err("EAGAIN-queue", || {
        bound(DGRAM, b"s");
        let c = socket(DGRAM);
        connect(c, b"s");
        (0..20).map(|_| sys!(sendto, c, c"x", 1, MSG_DONTWAIT, 0, 0)).find(|r| *r < 0).unwrap_or(0)
    })
    .err("EBADF", || sys!(sendto, 99, c"x", 1, 0, 0, 0))
    .err("ECONNREFUSED", || {
        let s = bound(DGRAM, b"s");
        let c = socket(DGRAM);
        connect(c, b"s");
        sys!(close, s);
        (sys!(sendto, c, c"x", 1, 0, 0, 0), sys!(sendto, c, c"x", 1, 0, 0, 0))
    })
    .err("EISCONN", || sys!(sendto, pair(STREAM).0, c"x", 1, 0, &name(b"s").0, 3))
    .err("EMSGSIZE", || sys!(sendto, pair(DGRAM).0, pages(60), 60 * PAGE, 0, 0, 0))
    .err("ENOTCONN", || sys!(sendto, socket(STREAM), c"x", 1, 0, 0, 0))
    .err("ENOTCONN-datagram", || sys!(sendto, socket(DGRAM), c"x", 1, 0, 0, 0))
    .err("ENOTCONN-packets", || sys!(sendto, socket(SEQ), c"x", 1, 0, 0, 0))
    .err("ENOTSOCK", || sys!(sendto, opened(c"f", ""), c"x", 1, 0, 0, 0))
    .err("EOPNOTSUPP-oob", || sys!(sendto, pair(DGRAM).0, c"x", 1, MSG_OOB, 0, 0))
    .err("EOPNOTSUPP-stream-by-name", || sys!(sendto, socket(STREAM), c"x", 1, 0, &name(b"s").0, 3))
    .err("EPIPE", || {
        let (one, other) = pair(STREAM);
        sys!(close, other);
        sys!(sendto, one, c"x", 1, MSG_NOSIGNAL, 0, 0)
    })
    .err("EPIPE-datagram-shut", || {
        let (one, other) = pair(DGRAM);
        sys!(shutdown, other, libc::SHUT_RD);
        sys!(sendto, one, c"x", 1, 0, 0, 0)
    })
    .err("EINVAL-address", || sys!(sendto, socket(DGRAM), c"x", 1, 0, &[9u8; 16], 16))
    .err("EINVAL-length", || sys!(sendto, socket(DGRAM), c"x", 1, 0, &[1u8; 200], 129))
    .err("ENOENT", || sys!(sendto, socket(DGRAM), c"x", 1, 0, &name(b"no").0, 4))
    .err("EPERM-other-peer", || {
        bound(DGRAM, b"t");
        connect(bound(DGRAM, b"s"), b"t");
        sys!(sendto, socket(DGRAM), c"x", 1, 0, &name(b"s").0, 3)
    })
    .err("EPROTOTYPE", || {
        listener(STREAM, b"s", 1);
        sys!(sendto, socket(DGRAM), c"x", 1, 0, &name(b"s").0, 3)
    })
    .bad("buff", || sys!(sendto, pair(STREAM).0, BAD, 1, 0, 0, 0))
    .bad("buff-kernel", || sys!(sendto, pair(STREAM).0, KERN, 1, 0, 0, 0))
    .bad("buff-datagram-edge", || {
        let (one, other) = pair(DGRAM);
        (sys!(sendto, one, edge(4), 8, 0, 0, 0), sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0))
    })
    .bad("buff-stream-edge", || {
        let (one, other) = pair(STREAM);
        (sys!(sendto, one, edge(4), 8, 0, 0, 0), sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0))
    })
    .bad("addr", || sys!(sendto, socket(DGRAM), c"x", 1, 0, BAD, 4))
    .intr("full-stream", || {
        let p = full(STREAM);
        interrupted(|| sys!(sendto, p.0, c"x", 1, 0, 0, 0))
    })
    .intr("full-queue", || {
        bound(DGRAM, b"s");
        let c = socket(DGRAM);
        connect(c, b"s");
        while sys!(sendto, c, c"x", 1, MSG_DONTWAIT, 0, 0) > 0 {}
        interrupted(|| sys!(sendto, c, c"x", 1, 0, 0, 0))
    });
}

fn receives(a: &mut Calls) {
    a.call("recvfrom", "EAGAIN EBADF ECONNRESET EINVAL ENOTCONN ENOTSOCK EOPNOTSUPP", "ubuf addr addr_len", true)
        .not("ECONNREFUSED", "not for local sockets")
        .not("ENOMEM", "see --nth");
    a.ok("stream-joins", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"ab", 2);
        sys!(write, one, c"cd", 2);
        let mut b = [0u8; 8];
        (sys!(recvfrom, other, &mut b, 3, 0, 0, 0), sys!(recvfrom, other, &mut b, 8, 0, 0, 0), ctext(&b))
    })
    .ok("datagram-cut", || {
        let (one, other) = pair(DGRAM);
        sys!(write, one, c"abcdef", 6);
        sys!(write, one, c"xyz", 3);
        let mut b = [0u8; 8];
        (sys!(recvfrom, other, &mut b, 2, MSG_TRUNC, 0, 0), sys!(recvfrom, other, &mut b, 8, 0, 0, 0), ctext(&b))
    })
    .ok("sender", || {
        let s = bound(DGRAM, b"s");
        sys!(sendto, bound(DGRAM, b"from"), c"x", 1, 0, &name(b"s").0, 3);
        let (mut from, mut len) = ([0u8; 16], 16u32);
        (sys!(recvfrom, s, pages(1), 8, 0, &mut from, &mut len), len, text(&from))
    })
    .ok("sender-unnamed", || {
        let s = bound(DGRAM, b"s");
        sys!(sendto, socket(DGRAM), c"x", 1, 0, &name(b"s").0, 3);
        let mut len = 16u32;
        (sys!(recvfrom, s, pages(1), 8, 0, pages(1), &mut len), len)
    })
    .ok("peek", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"ab", 2);
        sys!(write, one, c"cd", 2);
        let mut b = [0u8; 8];
        (sys!(recvfrom, other, &mut b, 8, MSG_PEEK, 0, 0), ctext(&b), sys!(recvfrom, other, &mut b, 8, 0, 0, 0))
    })
    .ok("peek-datagram", || {
        let (one, other) = pair(DGRAM);
        sys!(write, one, c"ab", 2);
        (sys!(recvfrom, other, pages(1), 8, MSG_PEEK, 0, 0), sys!(recvfrom, other, pages(1), 8, 0, 0, 0))
    })
    .ok("waitall", || {
        let (one, other) = pair(STREAM);
        let writer = child(|| {
            sys!(write, one, c"ab", 2);
            sleep_ms(30);
            sys!(write, one, c"cd", 2);
            0
        });
        let mut b = [0u8; 8];
        (sys!(recvfrom, other, &mut b, 4, MSG_WAITALL, 0, 0), ctext(&b), wait(writer))
    })
    .ok("end", || {
        let (one, other) = pair(STREAM);
        sys!(close, one);
        sys!(recvfrom, other, pages(1), 8, 0, 0, 0)
    })
    .err("EAGAIN", || sys!(recvfrom, pair(STREAM).0, pages(1), 8, MSG_DONTWAIT, 0, 0))
    .err("EBADF", || sys!(recvfrom, 99, pages(1), 8, 0, 0, 0))
    .err("ECONNRESET", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"unread", 6);
        sys!(close, other);
        (sys!(recvfrom, one, pages(1), 8, 0, 0, 0), sys!(recvfrom, one, pages(1), 8, 0, 0, 0))
    })
    .err("EINVAL-unconnected", || sys!(recvfrom, socket(STREAM), pages(1), 8, 0, 0, 0))
    .err("ENOTCONN-packets", || sys!(recvfrom, socket(SEQ), pages(1), 8, 0, 0, 0))
    .err("ENOTSOCK", || sys!(recvfrom, opened(c"f", ""), pages(1), 8, 0, 0, 0))
    .err("EOPNOTSUPP-oob", || sys!(recvfrom, pair(DGRAM).0, pages(1), 8, MSG_OOB, 0, 0))
    .bad("ubuf", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"ab", 2);
        (sys!(recvfrom, other, BAD, 8, 0, 0, 0), sys!(recvfrom, other, pages(1), 8, MSG_DONTWAIT, 0, 0))
    })
    .bad("ubuf-kernel", || sys!(recvfrom, pair(STREAM).0, KERN, 8, 0, 0, 0))
    .bad("addr", || {
        let s = bound(DGRAM, b"s");
        sys!(sendto, bound(DGRAM, b"from"), c"x", 1, 0, &name(b"s").0, 3);
        sys!(recvfrom, s, pages(1), 8, 0, BAD, &mut 16u32)
    })
    .bad("addr_len", || {
        let s = bound(DGRAM, b"s");
        sys!(sendto, bound(DGRAM, b"from"), c"x", 1, 0, &name(b"s").0, 3);
        sys!(recvfrom, s, pages(1), 8, 0, pages(1), BAD)
    })
    .intr("stream", || interrupted(|| sys!(recvfrom, pair(STREAM).0, pages(1), 8, 0, 0, 0)))
    .intr("datagram", || interrupted(|| sys!(recvfrom, socket(DGRAM), pages(1), 8, 0, 0, 0)))
    .intr("after-some", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"ab", 2);
        interrupted(|| sys!(recvfrom, other, pages(1), 8, MSG_WAITALL, 0, 0))
    })
    .intr("restarts", || {
        let (one, other) = pair(STREAM);
        FD.store(one, core::sync::atomic::Ordering::Relaxed);
        restarted(write_fd, || sys!(recvfrom, other, pages(1), 8, 0, 0, 0))
    });
}
