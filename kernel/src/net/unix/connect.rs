//! The life of a connection: bind, listen, connect, accept, pairs, shutdown.

use super::name::{self, Name};
use super::queue::Queue;
use super::{Kind, Link, RCV, ROOM, SEND, State, UnixSocket};
use crate::net::caller;
use vigil_abi::Errno;
use vigil_abi::poll::POLLOUT;
use vigil_abi::socket::{SHUT_RD, SHUT_RDWR, SHUT_WR};
use vigil_executor::sync::LockClass;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// The lock of the second of two sockets.
static SECOND: LockClass = LockClass::new("unix_state/2");

/// Two connected sockets of `kind` (Linux: unix_socketpair). ENOMEM.
pub fn pair(kind: Kind) -> Result<[KArc<UnixSocket>; 2], Errno> {
    let (a, b) = (UnixSocket::try_new(kind)?, UnixSocket::try_new(kind)?);
    for (one, other) in [(&a, &b), (&b, &a)] {
        let mut state = one.state.lock();
        state.peer = Some(other.clone());
        state.peer_cred = Some(caller());
        if kind != Kind::Dgram {
            state.link = Link::Connected;
        }
    }
    Ok([a, b])
}

impl UnixSocket {
    /// Gives the socket `name`. EINVAL: it has one; EADDRINUSE, ENOMEM.
    pub fn bind(&self, name: KArc<Name>) -> Result<(), Errno> {
        if self.state.lock().name.is_some() {
            return Err(Errno::EINVAL);
        }
        name::enter(&name, self.me()?)?;
        let mut state = self.state.lock();
        if state.name.is_some() {
            drop(state);
            name::leave(&name, self);
            return Err(Errno::EINVAL);
        }
        state.name = Some(name);
        Ok(())
    }

    /// Gives the socket an abstract name of five hexadecimal digits that nobody has (Linux: unix_autobind). A socket that
    /// has a name keeps it. ENOSPC, ENOMEM.
    pub fn autobind(&self) -> Result<(), Errno> {
        use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const ALL: u32 = 1 << 20;
        for _ in 0..ALL {
            let number = NEXT.fetch_add(1, Relaxed) % ALL;
            let digit = |i: u32| b"0123456789abcdef"[(number >> (4 * i) & 15) as usize];
            let bytes = [0, digit(4), digit(3), digit(2), digit(1), digit(0)];
            if self.state.lock().name.is_some() {
                return Ok(());
            }
            match self.bind(Name::try_abstract(&bytes)?) {
                Err(Errno::EADDRINUSE) => {}
                // Another thread was faster.
                Err(Errno::EINVAL) => return Ok(()),
                result => return result,
            }
        }
        Err(Errno::ENOSPC)
    }

    /// listen(2). EOPNOTSUPP for datagrams; EINVAL: not bound, or connected.
    pub fn listen(&self, backlog: usize) -> Result<(), Errno> {
        if self.kind == Kind::Dgram {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.name.is_none() || state.link == Link::Connected {
            return Err(Errno::EINVAL);
        }
        let grows = matches!(state.link, Link::Listening { backlog: old } if backlog > old);
        state.link = Link::Listening { backlog };
        state.peer_cred = Some(caller());
        drop(state);
        if grows {
            ROOM.wake_all();
        }
        Ok(())
    }

    /// Connects a stream or sequenced-packet socket to the listener `to`. ECONNREFUSED, EPROTOTYPE, EISCONN, EINVAL (it
    /// listens itself), EAGAIN when the backlog is full and `nonblock`; otherwise that is waited for.
    pub fn connect<'a>(&'a self, to: &KArc<UnixSocket>, nonblock: bool) -> OpResult<'a, ()> {
        // Everything is allocated before anything is seen.
        let embryo = UnixSocket::try_new(self.kind)?;
        let me = self.me()?;
        let mut theirs = to.state.lock();
        let Link::Listening { backlog } = theirs.link else { return Err(Stop::Err(Errno::ECONNREFUSED)) };
        if theirs.dead || theirs.shutdown & RCV != 0 {
            return Err(Stop::Err(Errno::ECONNREFUSED));
        }
        if theirs.backlog.len() > backlog {
            return Err(if nonblock { Stop::Err(Errno::EAGAIN) } else { Stop::Wait(&ROOM, POLLOUT) });
        }
        if to.kind != self.kind {
            return Err(Stop::Err(Errno::EPROTOTYPE));
        }
        // A listener is never a client, so the order of the two locks is fixed; a socket that connects to itself listens.
        if core::ptr::eq(KArc::as_ptr(to), self) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        let mut mine = self.state.lock_nested(&SECOND);
        match mine.link {
            Link::Closed => {}
            Link::Connected => return Err(Stop::Err(Errno::EISCONN)),
            Link::Listening { .. } => return Err(Stop::Err(Errno::EINVAL)),
        }
        theirs.backlog.try_reserve(1)?;
        static EMBRYO: LockClass = LockClass::new("unix_state/new");
        {
            let mut new = embryo.state.lock_nested(&EMBRYO);
            new.link = Link::Connected;
            new.peer = Some(me);
            new.peer_cred = Some(caller());
            new.name = theirs.name.clone();
        }
        embryo.pass_cred.store(to.pass_cred.load(core::sync::atomic::Ordering::Relaxed), core::sync::atomic::Ordering::Relaxed);
        mine.link = Link::Connected;
        mine.peer_cred = theirs.peer_cred;
        let old = mine.peer.replace(embryo.clone());
        let _ = theirs.backlog.push_reserved(embryo);
        drop(mine);
        drop(theirs);
        drop(old);
        to.wake_reader();
        self.writers.wake_all();
        Ok(())
    }

    /// Sets where a datagram socket sends to; `None` (AF_UNSPEC): nowhere. What others sent before is thrown away, as on
    /// Linux. EPERM: `to` is connected to somebody else; ECONNREFUSED, EPROTOTYPE.
    pub fn connect_datagram(&self, to: Option<KArc<UnixSocket>>) -> Result<(), Errno> {
        if let Some(to) = &to {
            if to.kind != self.kind {
                return Err(Errno::EPROTOTYPE);
            }
            to.admits(self)?;
        }
        let mut state = self.state.lock();
        let changes = state.peer.as_ref().map(KArc::as_ptr) != to.as_ref().map(KArc::as_ptr);
        let stale = if changes && state.peer.is_some() { core::mem::replace(&mut state.queue, Queue::new()) } else { Queue::new() };
        let old = core::mem::replace(&mut state.peer, to);
        drop(state);
        drop(old);
        super::garbage::discard(stale);
        ROOM.wake_all();
        self.wake_everybody();
        Ok(())
    }

    /// Whether `from` may send datagrams here (Linux: unix_may_send). ECONNREFUSED, EPERM.
    pub(super) fn admits(&self, from: &UnixSocket) -> Result<(), Errno> {
        let state = self.state.lock();
        match &state.peer {
            _ if state.dead => Err(Errno::ECONNREFUSED),
            Some(peer) if !core::ptr::eq(KArc::as_ptr(peer), from) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// The next connection of a listener. EINVAL: it does not listen, or was shut down; EOPNOTSUPP for datagrams; EAGAIN.
    pub fn accept<'a>(&'a self, nonblock: bool) -> OpResult<'a, KArc<UnixSocket>> {
        if self.kind == Kind::Dgram {
            return Err(Stop::Err(Errno::EOPNOTSUPP));
        }
        let mut state = self.state.lock();
        if !matches!(state.link, Link::Listening { .. }) {
            return Err(Stop::Err(Errno::EINVAL));
        }
        if state.backlog.is_empty() {
            return Err(if state.shutdown & RCV != 0 {
                Stop::Err(Errno::EINVAL)
            } else if nonblock {
                Stop::Err(Errno::EAGAIN)
            } else {
                Stop::Wait(&self.readers, vigil_abi::poll::POLLIN | vigil_fs::EXCLUSIVE)
            });
        }
        let next = state.backlog.remove(0);
        let more = !state.backlog.is_empty();
        drop(state);
        ROOM.wake_all();
        if more {
            self.wake_reader();
        }
        next.ok_or(Stop::Err(Errno::EINVAL))
    }

    /// An accepted socket that never got a descriptor: its client sees the connection end.
    pub fn refuse(&self) {
        self.close();
    }

    /// shutdown(2). EINVAL.
    pub fn shut_down(&self, how: u32) -> Result<(), Errno> {
        let mine = match how {
            SHUT_RD => RCV,
            SHUT_WR => SEND,
            SHUT_RDWR => RCV | SEND,
            _ => return Err(Errno::EINVAL),
        };
        let shut = |state: &mut State, bits: u8| state.shutdown |= bits;
        let peer = {
            let mut state = self.state.lock();
            shut(&mut state, mine);
            state.peer.clone()
        };
        // What one end does not receive the other cannot send, and the other way round.
        if let Some(peer) = peer.filter(|_| self.kind != Kind::Dgram) {
            let theirs = (if mine & RCV != 0 { SEND } else { 0 }) | (if mine & SEND != 0 { RCV } else { 0 });
            shut(&mut peer.state.lock(), theirs);
            peer.wake_everybody();
        }
        self.wake_everybody();
        Ok(())
    }
}
