//! Sockets without system calls: what is queued, refused, reset, and what the collector finds.

use super::transfer::{Incoming, Outgoing};
use super::*;
use crate::net::sockfs;
use std::sync::Once;
use std::vec::Vec;

fn machine() -> impl Drop {
    static START: Once = Once::new();
    let guard = crate::mm::tests::machine();
    START.call_once(|| sockfs::init().unwrap());
    guard
}

fn send(s: &UnixSocket, bytes: &[u8]) -> Result<usize, Errno> {
    s.send(&mut Outgoing::new(&mut IoBuf::kernel(bytes), true, Ucred::default())).map_err(|stop| stop.errno())
}

fn send_file(s: &UnixSocket, file: &KArc<File>) -> Result<usize, Errno> {
    let mut data = IoBuf::kernel(b"f");
    let mut out = Outgoing::new(&mut data, true, Ucred::default());
    out.files.try_push(file.clone())?;
    s.send(&mut out).map_err(|stop| stop.errno())
}

fn receive(s: &UnixSocket, room: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = std::vec![0; room];
    let mut data = IoBufMut::kernel(&mut bytes);
    let n = s.receive(&mut Incoming::new(&mut data, 0, true)).map_err(|stop| stop.errno())?;
    bytes.truncate(n);
    Ok(bytes)
}

fn file(socket: &KArc<UnixSocket>) -> KArc<File> {
    sockfs::file(vigil_mem::unsize!(KArc, socket.clone() => dyn FileOps), false).unwrap()
}

/// Two connected sockets behind files.
fn files(kind: Kind) -> [KArc<File>; 2] {
    let [a, b] = connect::pair(kind).unwrap();
    [file(&a), file(&b)]
}

#[test]
fn a_stream_joins_what_was_written_and_ends_when_the_writer_goes() {
    let _machine = machine();
    let [a, b] = connect::pair(Kind::Stream).unwrap();
    send(&a, b"ab").unwrap();
    send(&a, b"cd").unwrap();
    assert_eq!(receive(&b, 3).unwrap(), b"abc");
    assert_eq!(receive(&b, 3).unwrap(), b"d");
    assert_eq!(receive(&b, 3), Err(Errno::EAGAIN));
    a.close();
    assert_eq!(receive(&b, 3).unwrap(), b"");
    assert_eq!(send(&b, b"x"), Err(Errno::EPIPE));
}

#[test]
fn what_a_closed_peer_did_not_read_is_a_reset_once() {
    let _machine = machine();
    let [a, b] = connect::pair(Kind::Stream).unwrap();
    send(&a, b"unread").unwrap();
    b.close();
    assert_eq!(receive(&a, 3), Err(Errno::ECONNRESET));
    assert_eq!(receive(&a, 3).unwrap(), b"");
}

#[test]
fn packets_keep_their_ends() {
    let _machine = machine();
    let [a, b] = connect::pair(Kind::SeqPacket).unwrap();
    send(&a, b"12345").unwrap();
    send(&a, b"6").unwrap();
    assert_eq!(receive(&b, 2).unwrap(), b"12");
    assert_eq!(receive(&b, 9).unwrap(), b"6");
}

#[test]
fn an_account_is_full_at_the_limit_and_free_after_the_read() {
    let _machine = machine();
    let [a, b] = connect::pair(Kind::Stream).unwrap();
    let mut sent = 0;
    let error = loop {
        match send(&a, &[7; 4096]) {
            Ok(n) => sent += n,
            Err(e) => break e,
        }
    };
    assert_eq!(error, Errno::EAGAIN);
    assert!((SNDBUF / 2..=SNDBUF + 8192).contains(&sent), "{sent}");
    assert_eq!(receive(&b, sent).unwrap().len(), sent);
    assert_eq!(a.sent.load(Relaxed), 0);
    assert_eq!(send(&a, b"x"), Ok(1));
}

#[test]
fn a_connection_that_nobody_accepted_is_reset_when_the_listener_goes() {
    let _machine = machine();
    let listener = UnixSocket::try_new(Kind::Stream).unwrap();
    listener.bind(Name::try_abstract(b"\0reset").unwrap()).unwrap();
    listener.listen(1).unwrap();
    let client = UnixSocket::try_new(Kind::Stream).unwrap();
    let found = name::find(&name::Key::Abstract(b"\0reset"), Kind::Stream).unwrap();
    assert!(client.connect(&found, true).is_ok());
    send(&client, b"early").unwrap();
    listener.close();
    assert_eq!(receive(&client, 1), Err(Errno::ECONNRESET));
    assert!(name::find(&name::Key::Abstract(b"\0reset"), Kind::Stream).is_none());
}

#[test]
fn sockets_that_only_their_own_messages_hold_are_found() {
    let _machine = machine();
    let watched: Vec<KWeak<UnixSocket>> = {
        let [a, b] = files(Kind::Stream);
        let (one, other) = (UnixSocket::of(&a).unwrap(), UnixSocket::of(&b).unwrap());
        send_file(one, &a).unwrap();
        send_file(one, &b).unwrap();
        send_file(other, &a).unwrap();
        [one, other].map(|s| s.me.clone()).into()
    };
    assert!(watched.iter().all(|s| s.upgrade().is_some()), "in flight, and not looked for yet");
    // Any socket that closes makes the collector look.
    drop(files(Kind::Stream));
    assert!(watched.iter().all(|s| s.upgrade().is_none()));
}

#[test]
fn sockets_in_flight_that_can_still_be_received_stay() {
    let _machine = machine();
    let [outer, way_in] = files(Kind::Stream);
    let inner = {
        let [a, b] = files(Kind::Stream);
        // `a` waits in `outer`'s queue, `b` in `a`'s: reachable through it.
        send_file(UnixSocket::of(&b).unwrap(), &b).unwrap();
        send_file(UnixSocket::of(&way_in).unwrap(), &a).unwrap();
        UnixSocket::of(&b).unwrap().me.clone()
    };
    drop(files(Kind::Stream));
    assert!(inner.upgrade().is_some());
    drop(outer);
    drop(files(Kind::Stream));
    assert!(inner.upgrade().is_none());
    drop(way_in);
}

#[test]
fn a_deep_nest_of_sockets_in_sockets_is_dropped_without_a_deep_stack() {
    let _machine = machine();
    let run = || {
        let mut innermost = None;
        for _ in 0..3000 {
            let [a, b] = files(Kind::Stream);
            if let Some(previous) = innermost.replace(b) {
                send_file(UnixSocket::of(&a).unwrap(), &previous).unwrap();
            }
        }
        drop(innermost);
    };
    std::thread::Builder::new().stack_size(128 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn addresses() {
    assert!(matches!(name::parse(&[1, 0]), Ok(name::Address::Unnamed)));
    assert!(matches!(name::parse(&[1, 0, 0, b'a']), Ok(name::Address::Abstract(b"\0a"))));
    assert!(matches!(name::parse(&[1, 0, b'a', b'b', 0, b'c']), Ok(name::Address::Path(b"ab"))));
    for bad in [&[][..], &[1], &[2, 0, b'a'], &[1; 111]] {
        assert!(matches!(name::parse(bad), Err(Errno::EINVAL)), "{bad:?}");
    }
}
