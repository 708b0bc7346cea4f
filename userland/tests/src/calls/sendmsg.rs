//! Messages with headers: sendmsg, recvmsg, sendmmsg, recvmmsg, control messages.
use super::message::{DGRAM, SEQ, STREAM, full};
use super::socket::{name, pair, socket};
use crate::case::Calls;
use crate::help::*;
use crate::sys;
use libc::{MSG_CMSG_CLOEXEC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, SCM_CREDENTIALS, SCM_RIGHTS, SO_PASSCRED, SOL_SOCKET};

/// Adds the group.
pub fn add(a: &mut Calls) {
    messages(a);
    many(a);
}

/// Room for control messages, aligned as they must be.
type Room = [u64; 32];

/// A message header over one piece of data and control messages.
fn header(iov: &[libc::iovec], control: *const Room, len: usize) -> libc::msghdr {
    let mut m: libc::msghdr = zero();
    m.msg_iov = iov.as_ptr().cast_mut();
    m.msg_iovlen = iov.len();
    m.msg_control = control.cast_mut().cast();
    m.msg_controllen = len;
    m
}

fn piece(at: usize, len: usize) -> libc::iovec {
    libc::iovec { iov_base: at as *mut libc::c_void, iov_len: len }
}

/// One control message of these words; and its length.
fn control(level: i32, kind: i32, words: &[i32]) -> (Room, usize) {
    let mut room: Room = [0; 32];
    let len = 16 + 4 * words.len();
    room[0] = len as u64;
    room[1] = level as u32 as u64 | (kind as u32 as u64) << 32;
    for (i, word) in words.iter().enumerate() {
        room[2 + i / 2] |= (*word as u32 as u64) << (32 * (i % 2));
    }
    (room, len)
}

/// Sends one byte with `words` as a control message.
fn send_with(s: i32, kind: i32, words: &[i32]) -> isize {
    let (room, len) = control(SOL_SOCKET, kind, words);
    let data = [piece(c"d".as_ptr() as usize, 1)];
    sys!(sendmsg, s, &header(&data, &room, len), 0)
}

/// Receives up to 8 bytes with room for so many bytes of control messages: result, bytes, flags, length and head of the control messages.
fn receive(s: i32, control: usize, flags: i32) -> (isize, String, i32, usize, u64, u64) {
    let (mut b, room): ([u8; 8], Room) = ([0; 8], [0; 32]);
    let data = [piece(b.as_mut_ptr() as usize, 8)];
    let mut m = header(&data, &room, control);
    let r = sys!(recvmsg, s, &mut m, flags);
    // SAFETY: `room` is ours; the kernel has written to it.
    let (len, kind) = unsafe { (core::ptr::from_ref(&room[0]).read_volatile(), core::ptr::from_ref(&room[1]).read_volatile()) };
    (r, ctext(&b), m.msg_flags, m.msg_controllen, len, kind)
}

fn shown(r: (isize, String, i32, usize, u64, u64)) -> String {
    format!("{} {} flags {:#x} control {} head {} {:#x}", r.0, r.1, r.2, r.3, r.4, r.5)
}

fn messages(a: &mut Calls) {
    a.call("sendmsg", "EAGAIN EBADF EINVAL EISCONN EMSGSIZE ENOBUFS ENOTCONN ENOTSOCK EPERM EPIPE ESRCH", "msg iov control name", true);
    a.ok("pieces", || {
        let (one, other) = pair(DGRAM);
        let data = [piece(c"ab".as_ptr() as usize, 2), piece(0, 0), piece(c"cde".as_ptr() as usize, 3)];
        let mut b = [0u8; 8];
        (sys!(sendmsg, one, &header(&data, core::ptr::null(), 0), 0), sys!(read, other, &mut b, 8), ctext(&b))
    })
    .ok("descriptor", || {
        let (one, other) = pair(STREAM);
        let p = pipe();
        let sent = send_with(one, SCM_RIGHTS, &[p.1]);
        sys!(close, p.1);
        let got = shown(receive(other, 24, 0));
        let mut b = [0u8; 4];
        // The lowest free number: the one that was closed.
        (sent, got, sys!(write, p.1, c"via", 3), sys!(read, p.0, &mut b, 4), ctext(&b))
    })
    .ok("other-level-ignored", || {
        let (room, len) = control(77, 1, &[1]);
        let data = [piece(c"d".as_ptr() as usize, 1)];
        sys!(sendmsg, pair(STREAM).0, &header(&data, &room, len), 0)
    })
    .ok("no-descriptors", || send_with(pair(STREAM).0, SCM_RIGHTS, &[]))
    .ok("credentials", || {
        let (one, other) = pair(STREAM);
        sys!(setsockopt, other, SOL_SOCKET, SO_PASSCRED, &1, 4);
        let pid = sys!(getpid) as i32;
        (send_with(one, SCM_CREDENTIALS, &[pid, 5, 6]), shown(receive(other, 64, 0)))
    })
    .err("EAGAIN", || {
        let data = [piece(pages(1), PAGE)];
        sys!(sendmsg, full(STREAM).0, &header(&data, core::ptr::null(), 0), MSG_DONTWAIT)
    })
    .err("EBADF", || sys!(sendmsg, 99, &header(&[], core::ptr::null(), 0), 0))
    .err("EBADF-passed", || send_with(pair(STREAM).0, SCM_RIGHTS, &[99]))
    .err("EINVAL-control-type", || send_with(pair(STREAM).0, 99, &[1]))
    .err("EINVAL-control-length", || {
        let (mut room, len) = control(SOL_SOCKET, SCM_RIGHTS, &[1]);
        room[0] = 8;
        let data = [piece(c"d".as_ptr() as usize, 1)];
        sys!(sendmsg, pair(STREAM).0, &header(&data, &room, len), 0)
    })
    .err("EINVAL-control-too-long", || {
        let (mut room, len) = control(SOL_SOCKET, SCM_RIGHTS, &[1]);
        room[0] = 100;
        let data = [piece(c"d".as_ptr() as usize, 1)];
        sys!(sendmsg, pair(STREAM).0, &header(&data, &room, len), 0)
    })
    .err("EINVAL-credentials-length", || send_with(pair(STREAM).0, SCM_CREDENTIALS, &[1, 2]))
    .err("EISCONN", || {
        let data = [piece(c"d".as_ptr() as usize, 1)];
        let mut m = header(&data, core::ptr::null(), 0);
        let to = name(b"s").0;
        m.msg_name = to.as_ptr().cast_mut().cast();
        m.msg_namelen = 3;
        sys!(sendmsg, pair(STREAM).0, &m, 0)
    })
    .err("EMSGSIZE-pieces", || {
        let mut m = header(&[], core::ptr::null(), 0);
        m.msg_iovlen = 1025;
        sys!(sendmsg, pair(STREAM).0, &m, 0)
    })
    .err("ENOBUFS-control", || {
        let mut m = header(&[], core::ptr::null(), 0);
        m.msg_control = pages(8) as *mut libc::c_void;
        m.msg_controllen = 30_000;
        sys!(sendmsg, pair(STREAM).0, &m, 0)
    })
    .err("ENOTCONN", || sys!(sendmsg, socket(STREAM), &header(&[piece(c"d".as_ptr() as usize, 1)], core::ptr::null(), 0), 0))
    .err("ENOTSOCK", || sys!(sendmsg, opened(c"f", ""), &header(&[], core::ptr::null(), 0), 0))
    .err("EPERM-credentials", || as_user(|| send_with(pair(STREAM).0, SCM_CREDENTIALS, &[1, 1000, 1000])))
    .err("EPERM-credentials-user", || as_user(|| send_with(pair(STREAM).0, SCM_CREDENTIALS, &[sys!(getpid) as i32, 0, 1000])))
    .err("EPIPE", || {
        let (one, other) = pair(STREAM);
        sys!(close, other);
        sys!(sendmsg, one, &header(&[piece(c"d".as_ptr() as usize, 1)], core::ptr::null(), 0), MSG_NOSIGNAL)
    })
    .err("ESRCH-credentials", || send_with(pair(STREAM).0, SCM_CREDENTIALS, &[4_000_000, 0, 0]))
    .bad("msg", || sys!(sendmsg, pair(STREAM).0, BAD, 0))
    .bad("msg-edge", || sys!(sendmsg, pair(STREAM).0, edge(20), 0))
    .bad("iov", || {
        let mut m = header(&[], core::ptr::null(), 0);
        (m.msg_iov, m.msg_iovlen) = (BAD as *mut libc::iovec, 1);
        sys!(sendmsg, pair(STREAM).0, &m, 0)
    })
    .bad("control", || sys!(sendmsg, pair(STREAM).0, &header(&[piece(c"d".as_ptr() as usize, 1)], BAD as *const Room, 24), 0))
    .bad("name", || {
        let mut m = header(&[], core::ptr::null(), 0);
        (m.msg_name, m.msg_namelen) = (BAD as *mut libc::c_void, 10);
        sys!(sendmsg, socket(DGRAM), &m, 0)
    })
    .intr("full", || {
        let p = full(STREAM);
        interrupted(|| sys!(sendmsg, p.0, &header(&[piece(c"d".as_ptr() as usize, 1)], core::ptr::null(), 0), 0))
    });
    a.call("recvmsg", "EAGAIN EBADF EINVAL EMSGSIZE ENOTCONN ENOTSOCK", "msg iov control", true);
    a.ok("plain", || {
        let (one, other) = pair(DGRAM);
        sys!(write, one, c"0123456789", 10);
        shown(receive(other, 0, 0))
    })
    .ok("close-on-exec", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0]);
        let got = shown(receive(other, 24, MSG_CMSG_CLOEXEC));
        (got, sys!(fcntl, 5, libc::F_GETFD, 0))
    })
    .ok("room-for-one", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0, 1, 2]);
        (shown(receive(other, 20, 0)), sys!(dup, 1))
    })
    .ok("no-room", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0, 1, 2]);
        (shown(receive(other, 0, 0)), sys!(dup, 1))
    })
    .ok("no-numbers-left", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0, 1, 2]);
        super::fd::few_files(6);
        shown(receive(other, 64, 0))
    })
    .ok("descriptors-end-a-read", || {
        let (one, other) = pair(STREAM);
        sys!(write, one, c"a", 1);
        send_with(one, SCM_RIGHTS, &[0]);
        sys!(write, one, c"b", 1);
        (shown(receive(other, 64, 0)), shown(receive(other, 64, 0)))
    })
    .ok("peek-copies", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0]);
        (shown(receive(other, 64, MSG_PEEK)), shown(receive(other, 64, 0)), sys!(dup, 1))
    })
    .ok("credentials-without-room", || {
        let (one, other) = pair(STREAM);
        sys!(setsockopt, other, SOL_SOCKET, SO_PASSCRED, &1, 4);
        sys!(write, one, c"a", 1);
        shown(receive(other, 0, 0))
    })
    .ok("credentials-cut", || {
        let (one, other) = pair(STREAM);
        sys!(setsockopt, other, SOL_SOCKET, SO_PASSCRED, &1, 4);
        sys!(write, one, c"a", 1);
        shown(receive(other, 20, 0))
    })
    .ok("itself-in-flight", || {
        // Only its own messages hold the pair: the kernel must find out.
        let (one, other) = pair(STREAM);
        let sent = (send_with(one, SCM_RIGHTS, &[one, other]), send_with(other, SCM_RIGHTS, &[one, other]));
        sys!(close, one);
        sys!(close, other);
        let (x, y) = pair(STREAM);
        (sent, sys!(close, x), sys!(close, y))
    })
    .err("EAGAIN", || receive(pair(STREAM).0, 0, MSG_DONTWAIT).0)
    .err("EBADF", || receive(99, 0, 0).0)
    .err("EINVAL-unconnected", || receive(socket(STREAM), 0, 0).0)
    .err("EMSGSIZE-pieces", || {
        let mut m = header(&[], core::ptr::null(), 0);
        m.msg_iovlen = 1025;
        sys!(recvmsg, pair(STREAM).0, &m, 0)
    })
    .err("ENOTCONN", || receive(socket(SEQ), 0, 0).0)
    .err("ENOTSOCK", || receive(opened(c"f", ""), 0, 0).0)
    .bad("msg", || sys!(recvmsg, pair(STREAM).0, BAD, 0))
    .bad("iov", || {
        let mut m = header(&[], core::ptr::null(), 0);
        (m.msg_iov, m.msg_iovlen) = (BAD as *mut libc::iovec, 1);
        sys!(recvmsg, pair(STREAM).0, &m, 0)
    })
    .bad("control", || {
        let (one, other) = pair(STREAM);
        send_with(one, SCM_RIGHTS, &[0]);
        let data = [piece(pages(1), 8)];
        let mut m = header(&data, BAD as *const Room, 24);
        (sys!(recvmsg, other, &mut m, 0), m.msg_flags, sys!(dup, 1))
    })
    .intr("stream", || interrupted(|| receive(pair(STREAM).0, 0, 0).0));
}

fn many(a: &mut Calls) {
    let ours = |b: &mut [[u8; 4]; 3]| -> [libc::iovec; 3] { [0, 1, 2].map(|i| piece(b[i].as_mut_ptr() as usize, 4)) };
    let headers = |v: &[libc::iovec; 3]| -> [libc::mmsghdr; 3] {
        [0, 1, 2].map(|i| libc::mmsghdr { msg_hdr: header(&v[i..=i], core::ptr::null(), 0), msg_len: 9 })
    };
    a.call("sendmmsg", "EBADF ENOTCONN ENOTSOCK", "mmsg", false);
    a.ok("three", move || {
        let (one, other) = pair(DGRAM);
        let mut b = [*b"1111", *b"2222", *b"3333"];
        let v = ours(&mut b);
        let mut m = headers(&v);
        let mut c = [0u8; 8];
        (sys!(sendmmsg, one, &mut m, 3, 0), m[2].msg_len, sys!(read, other, &mut c, 8), ctext(&c))
    })
    .ok("none", || sys!(sendmmsg, pair(DGRAM).0, pages(1), 0, 0))
    .ok("until-full", move || {
        let (one, _) = pair(DGRAM);
        let mut b = [[b'x'; 4]; 3];
        let v = ours(&mut b);
        let mut m = headers(&v);
        let mut sent = 0;
        for _ in 0..10 {
            let r = sys!(sendmmsg, one, &mut m, 3, MSG_DONTWAIT);
            if r < 0 {
                return (sent, r);
            }
            sent += r;
        }
        (sent, 0)
    })
    .err("EBADF", || sys!(sendmmsg, 99, pages(1), 1, 0))
    .err("ENOTCONN", || sys!(sendmmsg, socket(DGRAM), pages(1), 1, 0))
    .err("ENOTSOCK", || sys!(sendmmsg, opened(c"f", ""), pages(1), 1, 0))
    .bad("mmsg", || sys!(sendmmsg, pair(DGRAM).0, BAD, 1, 0));
    let two_come = || {
        let (one, other) = pair(DGRAM);
        sys!(write, one, c"ab", 2);
        sys!(write, one, c"cde", 3);
        other
    };
    a.call("recvmmsg", "EAGAIN EBADF EINVAL ENOTSOCK", "mmsg timeout", true);
    a.ok("two-of-three", move || {
        let other = two_come();
        let mut b = [[0u8; 4]; 3];
        let v = ours(&mut b);
        let mut m = headers(&v);
        (sys!(recvmmsg, other, &mut m, 3, libc::MSG_WAITFORONE, 0), m[0].msg_len, m[1].msg_len, m[2].msg_len)
    })
    .ok("timeout-after-one", move || {
        let other = two_come();
        let mut b = [[0u8; 4]; 3];
        let v = ours(&mut b);
        let mut m = headers(&v);
        let mut none = ms(0);
        (sys!(recvmmsg, other, &mut m, 3, 0, &mut none), none.tv_sec, none.tv_nsec)
    })
    .err("EAGAIN", move || {
        let mut b = [[0u8; 4]; 3];
        let v = ours(&mut b);
        sys!(recvmmsg, pair(DGRAM).0, &mut headers(&v), 3, MSG_DONTWAIT, 0)
    })
    .err("EBADF", || sys!(recvmmsg, 99, pages(1), 1, 0, 0))
    .err("EINVAL-timeout", || sys!(recvmmsg, pair(DGRAM).0, pages(1), 1, 0, &libc::timespec { tv_sec: 0, tv_nsec: -1 }))
    .err("ENOTSOCK", || sys!(recvmmsg, opened(c"f", ""), pages(1), 1, 0, 0))
    .bad("mmsg", || sys!(recvmmsg, pair(DGRAM).0, BAD, 1, MSG_DONTWAIT, 0))
    .bad("timeout", || sys!(recvmmsg, pair(DGRAM).0, pages(1), 1, MSG_DONTWAIT, BAD))
    .intr("nothing-comes", move || {
        let mut b = [[0u8; 4]; 3];
        let v = ours(&mut b);
        interrupted(|| sys!(recvmmsg, pair(DGRAM).0, &mut headers(&v), 3, 0, 0))
    });
}
