//! Connections of sockets: listen, connect, accept, shutdown, and what either end sees of the other.
use super::message::{DGRAM, SEQ, STREAM};
use super::socket::{bound, connect, listener, name, option, pair, socket};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{O_RDONLY, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_ACCEPTCONN, SOCK_CLOEXEC, SOCK_NONBLOCK};

/// Adds the group.
pub fn add(a: &mut Calls) {
    a.call("listen", "EBADF EINVAL ENOTSOCK EOPNOTSUPP", "", false).not("EADDRINUSE", "a local listener is bound already");
    a.ok("twice", || {
        let s = bound(STREAM, b"s");
        (sys!(listen, s, 1), sys!(listen, s, 5), option(s, SO_ACCEPTCONN))
    })
    .ok("negative", || sys!(listen, bound(SEQ, b"s"), -1))
    .err("EBADF", || sys!(listen, 99, 1))
    .err("EINVAL-unbound", || sys!(listen, socket(STREAM), 1))
    .err("EINVAL-connected", || sys!(listen, pair(STREAM).0, 1))
    .err("ENOTSOCK", || sys!(listen, opened(c"f", ""), 1))
    .err("EOPNOTSUPP", || sys!(listen, bound(DGRAM, b"s"), 1));
    a.call("connect", "EACCES EAGAIN EBADF ECONNREFUSED EINVAL EISCONN ENOENT ENOTSOCK EPERM EPROTOTYPE", "uservaddr", true)
        .not("EADDRINUSE", "not for local sockets")
        .not("ENETUNREACH", "not for local sockets")
        .not("EALREADY", "a local connect is done at once")
        .not("EINPROGRESS", "as EALREADY")
        .not("ETIMEDOUT", "as EALREADY")
        .not("EAFNOSUPPORT", "EINVAL on Linux");
    a.ok("before-accept", || {
        listener(STREAM, b"s", 1);
        let c = socket(STREAM);
        (connect(c, b"s"), sys!(write, c, c"early", 5))
    })
    .ok("datagram-again", || {
        let (x, y) = (bound(DGRAM, b"x"), bound(DGRAM, b"y"));
        let s = socket(DGRAM);
        let mut b = [0u8; 4];
        (
            connect(s, b"x"),
            connect(s, b"y"),
            sys!(write, s, c"to-y", 4),
            sys!(read, y, &mut b, 4),
            sys!(recvfrom, x, &mut b, 4, libc::MSG_DONTWAIT, 0, 0),
        )
    })
    .ok("datagram-dissolved", || {
        bound(DGRAM, b"x");
        let s = socket(DGRAM);
        (connect(s, b"x"), sys!(connect, s, &[0u8; 16], 2), sys!(write, s, c"x", 1))
    })
    .err("EACCES", || {
        listener(STREAM, b"s", 1);
        sys!(fchmodat, CWD, c"s", 0o700);
        as_user(|| connect(socket(STREAM), b"s"))
    })
    .err("EAGAIN-backlog", || {
        listener(STREAM, b"s", 0);
        (connect(socket(STREAM), b"s"), connect(socket(STREAM | SOCK_NONBLOCK), b"s"))
    })
    .err("EBADF", || connect(99, b"s"))
    .err("ECONNREFUSED-nobody", || {
        sys!(close, bound(STREAM, b"s"));
        connect(socket(STREAM), b"s")
    })
    .err("ECONNREFUSED-not-listening", || {
        bound(STREAM, b"s");
        connect(socket(STREAM), b"s")
    })
    .err("ECONNREFUSED-file", || {
        file(c"f", "");
        connect(socket(STREAM), b"f")
    })
    .err("ECONNREFUSED-abstract", || connect(socket(STREAM), b"\0vigil-nobody"))
    .err("EINVAL-listens", || {
        listener(STREAM, b"s", 1);
        connect(listener(STREAM, b"t", 1), b"s")
    })
    .err("EINVAL-itself", || connect(listener(STREAM, b"s", 1), b"s"))
    .err("EINVAL-family", || sys!(connect, socket(STREAM), &[2u8; 16], 16))
    .err("EINVAL-short", || sys!(connect, socket(STREAM), &name(b"s").0, 2))
    .err("EINVAL-unspec-stream", || sys!(connect, pair(STREAM).0, &[0u8; 16], 2))
    .err("EISCONN", || {
        listener(STREAM, b"s", 2);
        let c = socket(STREAM);
        connect(c, b"s");
        connect(c, b"s")
    })
    .err("ENOENT", || connect(socket(STREAM), b"none"))
    .err("ENOTSOCK", || connect(opened(c"f", ""), b"f"))
    .err("EPERM-other-peer", || {
        bound(DGRAM, b"third");
        let s = bound(DGRAM, b"s");
        connect(s, b"third");
        connect(socket(DGRAM), b"s")
    })
    .err("EPROTOTYPE", || {
        listener(STREAM, b"s", 1);
        connect(socket(SEQ), b"s")
    })
    .err("EPROTOTYPE-datagram", || {
        bound(DGRAM, b"s");
        connect(socket(DGRAM), b"s");
        listener(STREAM, b"t", 1);
        connect(socket(DGRAM), b"t")
    })
    .bad("uservaddr", || sys!(connect, socket(STREAM), BAD, 10))
    .intr("full-backlog", || {
        listener(STREAM, b"s", 0);
        connect(socket(STREAM), b"s");
        interrupted(|| connect(socket(STREAM), b"s"))
    });
    a.call("accept", "EAGAIN EBADF EINVAL EMFILE ENOTSOCK EOPNOTSUPP", "upeer_sockaddr upeer_addrlen", true)
        .not("ECONNABORTED", "not for local sockets")
        .not("EPERM", "no firewall")
        .not("EPROTO", "not for local sockets")
        .not("ENFILE", "would disturb other tests")
        .not("ENOBUFS", "see --nth");
    a.ok("with-address", || {
        let s = listener(STREAM, b"s", 1);
        connect(bound(STREAM, b"client"), b"s");
        let (mut address, mut len) = ([0u8; 32], 32u32);
        (sys!(accept, s, &mut address, &mut len), len, text(&address[..10]))
    })
    .ok("unnamed-client", || {
        let s = listener(SEQ, b"s", 1);
        connect(socket(SEQ), b"s");
        let mut len = 32u32;
        (sys!(accept, s, pages(1), &mut len), len)
    })
    .ok("client-gone", || {
        let s = listener(STREAM, b"s", 1);
        let c = socket(STREAM);
        connect(c, b"s");
        sys!(write, c, c"bye", 3);
        sys!(close, c);
        let (n, mut b) = (sys!(accept, s, 0, 0), [0u8; 8]);
        (n, sys!(read, n, &mut b, 8), sys!(read, n, &mut b, 8), ctext(&b))
    })
    .ok("listener-gone", || {
        let s = listener(STREAM, b"s", 1);
        let c = socket(STREAM);
        connect(c, b"s");
        sys!(close, s);
        (sys!(read, c, pages(1), 1), sys!(read, c, pages(1), 1), sys!(recvfrom, c, pages(1), 1, 0, 0, 0))
    })
    .err("EAGAIN", || sys!(accept, listener(STREAM | SOCK_NONBLOCK, b"s", 1), 0, 0))
    .err("EBADF", || sys!(accept, 99, 0, 0))
    .err("EINVAL-not-listening", || sys!(accept, bound(STREAM, b"s"), 0, 0))
    .err("EINVAL-shut", || {
        let s = listener(STREAM, b"s", 1);
        sys!(shutdown, s, SHUT_RDWR);
        sys!(accept, s, 0, 0)
    })
    .err("EMFILE", || {
        let s = listener(STREAM, b"s", 1);
        connect(socket(STREAM), b"s");
        super::fd::few_files(5);
        sys!(accept, s, 0, 0)
    })
    .err("ENOTSOCK", || sys!(accept, opened(c"f", ""), 0, 0))
    .err("EOPNOTSUPP", || sys!(accept, bound(DGRAM, b"s"), 0, 0))
    .bad("upeer_sockaddr", || {
        let s = listener(STREAM, b"s", 1);
        connect(bound(STREAM, b"c"), b"s");
        (sys!(accept, s, BAD, &mut 10u32), sys!(dup, 1))
    })
    .bad("upeer_addrlen", || {
        let s = listener(STREAM, b"s", 1);
        connect(socket(STREAM), b"s");
        sys!(accept, s, pages(1), BAD)
    })
    .intr("nobody-comes", || interrupted(|| sys!(accept, listener(STREAM, b"s", 1), 0, 0)));
    a.call("accept4", "EAGAIN EBADF EINVAL EMFILE ENOTSOCK EOPNOTSUPP", "upeer_sockaddr upeer_addrlen", true)
        .not("ECONNABORTED", "as accept")
        .not("EPERM", "as accept")
        .not("EPROTO", "as accept")
        .not("ENFILE", "as accept")
        .not("ENOBUFS", "as accept");
    a.ok("flags", || {
        let s = listener(STREAM, b"s", 1);
        connect(socket(STREAM), b"s");
        let n = sys!(accept4, s, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
        (sys!(fcntl, n, libc::F_GETFD, 0), sys!(fcntl, n, libc::F_GETFL, 0))
    })
    .err("EAGAIN", || sys!(accept4, listener(STREAM | SOCK_NONBLOCK, b"s", 1), 0, 0, 0))
    .err("EBADF", || sys!(accept4, 99, 0, 0, 0))
    .err("EINVAL-flags", || sys!(accept4, listener(STREAM, b"s", 1), 0, 0, 1))
    .err("EINVAL-flags-first", || sys!(accept4, opened(c"f", ""), 0, 0, 1))
    .err("EMFILE", || {
        let s = listener(STREAM, b"s", 1);
        super::fd::few_files(4);
        sys!(accept4, s, 0, 0, 0)
    })
    .err("ENOTSOCK", || sys!(accept4, opened(c"f", ""), 0, 0, 0))
    .err("EOPNOTSUPP", || sys!(accept4, bound(DGRAM, b"s"), 0, 0, 0))
    .bad("upeer_sockaddr", || {
        let s = listener(STREAM, b"s", 1);
        connect(bound(STREAM, b"c"), b"s");
        sys!(accept4, s, BAD, &mut 10u32, 0)
    })
    .bad("upeer_addrlen", || {
        let s = listener(STREAM, b"s", 1);
        connect(socket(STREAM), b"s");
        sys!(accept4, s, pages(1), 0, 0)
    })
    .intr("nobody-comes", || interrupted(|| sys!(accept4, listener(STREAM, b"s", 1), 0, 0, 0)));
    a.call("shutdown", "EBADF EINVAL ENOTSOCK", "", false).not("ENOTCONN", "a local socket need not be connected");
    a.ok("writing", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"last", 4);
        let mut b = [0u8; 8];
        let ignore = SigAction { handler: 1, ..SigAction::default() };
        sys!(rt_sigaction, libc::SIGPIPE, &ignore, 0, 8);
        (
            sys!(shutdown, one, SHUT_WR),
            sys!(read, other, &mut b, 8),
            sys!(read, other, &mut b, 8),
            sys!(write, one, c"x", 1),
            sys!(write, other, c"y", 1),
        )
    })
    .ok("reading", || {
        let (one, other) = pair(STREAM);
        let ignore = SigAction { handler: 1, ..SigAction::default() };
        sys!(rt_sigaction, libc::SIGPIPE, &ignore, 0, 8);
        (sys!(shutdown, one, SHUT_RD), sys!(read, one, pages(1), 1), sys!(write, other, c"x", 1), sys!(write, one, c"x", 1))
    })
    .ok("unconnected", || sys!(shutdown, socket(STREAM), SHUT_RDWR))
    .err("EBADF", || sys!(shutdown, 99, 0))
    .err("EINVAL-how", || sys!(shutdown, socket(STREAM), 3))
    .err("EINVAL-negative", || sys!(shutdown, socket(STREAM), -1))
    .err("ENOTSOCK", || sys!(shutdown, open(c".", O_RDONLY), 0));
}
