//! Sending and receiving.

use super::garbage;
use super::queue::Message;
use super::{Kind, Link, MAX_DGRAM_QLEN, RCV, ROOM, SEND, UnixSocket};
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::poll::{POLLIN, POLLOUT};
use vigil_abi::socket::{MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, Ucred};
use vigil_fs::{EXCLUSIVE, File, OpResult, Stop};
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, KVec};

/// Bytes of a stream in one message.
const CHUNK: usize = 16 * 1024;
/// Bytes of a stream that are copied under the lock at a time.
const PIECE: usize = 4096;

fn same_sender(a: Ucred, b: Ucred) -> bool {
    (a.pid, a.uid, a.gid) == (b.pid, b.uid, b.gid)
}

/// A message to be sent.
pub struct Outgoing<'m, 'b> {
    /// Its bytes. What was sent of a stream is counted in it.
    pub data: &'m mut IoBuf<'b>,
    /// Where to, for datagrams; `None`: the peer.
    pub to: Option<KArc<UnixSocket>>,
    /// EAGAIN instead of waiting.
    pub nonblock: bool,
    /// MSG_*.
    pub flags: u32,
    /// Who sends.
    pub cred: Ucred,
    /// Descriptors to send along; taken by the first message.
    pub files: KVec<KArc<File>>,
}

impl<'m, 'b> Outgoing<'m, 'b> {
    /// Plain bytes to the peer.
    pub fn new(data: &'m mut IoBuf<'b>, nonblock: bool, cred: Ucred) -> Self {
        Outgoing { data, to: None, nonblock, flags: 0, cred, files: KVec::new() }
    }
}

/// Where a message is received to.
pub struct Incoming<'m, 'b> {
    /// Its bytes.
    pub data: &'m mut IoBufMut<'b>,
    /// MSG_* of the call.
    pub flags: u32,
    /// EAGAIN instead of waiting.
    pub nonblock: bool,
    /// Who sent it. Of a stream with SO_PASSCRED, all bytes of one call are from one sender.
    pub cred: Option<Ucred>,
    /// Descriptors that came with it.
    pub files: KVec<KArc<File>>,
    /// Its sender, for the address.
    pub from: Option<KArc<UnixSocket>>,
    /// MSG_* for the caller: MSG_TRUNC.
    pub out_flags: u32,
}

impl<'m, 'b> Incoming<'m, 'b> {
    /// Bytes into `data`, nothing received yet.
    pub fn new(data: &'m mut IoBufMut<'b>, flags: u32, nonblock: bool) -> Self {
        Incoming { data, flags, nonblock, cred: None, files: KVec::new(), from: None, out_flags: 0 }
    }

    fn take_files(&mut self, message: &mut Message) {
        self.files = garbage::land(core::mem::take(&mut message.files));
    }
}

impl UnixSocket {
    /// Sends. EPIPE (the caller sends SIGPIPE for streams), ENOTCONN, ECONNREFUSED, EMSGSIZE, EAGAIN, ENOMEM and what
    /// each kind adds. Without side effects when it stops, except for what `data` counts.
    pub fn send<'a>(&'a self, out: &mut Outgoing<'_, '_>) -> OpResult<'a, usize> {
        if out.flags & MSG_OOB != 0 {
            return Err(Stop::Err(Errno::EOPNOTSUPP));
        }
        if self.kind == Kind::Stream { self.send_stream(out) } else { self.send_datagram(out) }
    }

    /// What a stream answers when it is told where to send to.
    pub fn addressed_stream(&self) -> Errno {
        if self.state.lock().link == Link::Connected { Errno::EISCONN } else { Errno::EOPNOTSUPP }
    }

    fn send_stream<'a>(&'a self, out: &mut Outgoing<'_, '_>) -> OpResult<'a, usize> {
        let mut total = 0;
        loop {
            let peer = {
                let state = self.state.lock();
                // A peer that has closed leaves its mark in `shutdown`.
                match &state.peer {
                    _ if state.shutdown & SEND != 0 => Err(Errno::EPIPE),
                    None => Err(Errno::ENOTCONN),
                    Some(peer) => Ok(peer.clone()),
                }
            };
            let sent = peer.and_then(|peer| {
                if out.data.is_empty() {
                    return Ok(None);
                }
                if !self.has_credit() {
                    return Ok(Some(Err(self.would_block(out.nonblock))));
                }
                Ok(Some(self.send_chunk(&peer, out)))
            });
            match sent {
                Ok(None) => return Ok(total),
                Ok(Some(Ok(n))) => total += n,
                Ok(Some(Err(Stop::Err(_)))) | Err(_) if total > 0 => return Ok(total),
                Ok(Some(Err(stop))) => return Err(stop),
                Err(errno) => return Err(Stop::Err(errno)),
            }
        }
    }

    fn would_block(&self, nonblock: bool) -> Stop<'_> {
        if nonblock { Stop::Err(Errno::EAGAIN) } else { Stop::Wait(&self.writers, POLLOUT) }
    }

    fn send_chunk<'a>(&'a self, peer: &KArc<UnixSocket>, out: &mut Outgoing<'_, '_>) -> OpResult<'a, usize> {
        let n = out.data.remaining().min(CHUNK);
        let message = self.message(out, n)?;
        let mut theirs = peer.state.lock();
        if theirs.dead || theirs.shutdown & RCV != 0 {
            drop(theirs);
            return Err(Stop::Err(Errno::EPIPE));
        }
        theirs.queue.push(message);
        drop(theirs);
        peer.wake_reader();
        Ok(n)
    }

    fn send_datagram<'a>(&'a self, out: &mut Outgoing<'_, '_>) -> OpResult<'a, usize> {
        let n = out.data.remaining();
        let (peer, link) = {
            let state = self.state.lock();
            if state.shutdown & SEND != 0 {
                return Err(Stop::Err(Errno::EPIPE));
            }
            (state.peer.clone(), state.link)
        };
        if self.kind == Kind::SeqPacket && link != Link::Connected {
            return Err(Stop::Err(Errno::ENOTCONN));
        }
        let connected = peer.clone();
        let to = match (self.kind, &out.to) {
            (Kind::Dgram, Some(to)) => to.clone(),
            _ => peer.ok_or(Errno::ENOTCONN)?,
        };
        if n + 32 > self.send_buffer.load(Relaxed) {
            return Err(Stop::Err(Errno::EMSGSIZE));
        }
        if !self.has_credit() {
            return Err(self.would_block(out.nonblock));
        }
        if to.kind != self.kind {
            return Err(Stop::Err(Errno::EPROTOTYPE));
        }
        self.check_receiver(&to, connected.as_ref(), out.nonblock)?;
        let message = self.message(out, n)?;
        let mut theirs = to.state.lock();
        if theirs.dead {
            drop(theirs);
            return Err(Stop::Err(Errno::ECONNREFUSED));
        }
        theirs.queue.push(message);
        drop(theirs);
        to.wake_reader();
        Ok(n)
    }

    /// The next `n` bytes and the descriptors of `out`; on a fault or without memory nothing was taken.
    fn message<'a>(&self, out: &mut Outgoing<'_, '_>, n: usize) -> Result<KBox<Message>, Stop<'a>> {
        let mut data = KVec::new();
        data.try_resize(n, 0u8)?;
        let mut message = KBox::try_new(Message::new(data, out.cred, self.me()?))?;
        out.data.copy_in_all(message.room())?;
        message.files = garbage::take_off(core::mem::take(&mut out.files));
        Ok(message)
    }

    /// Whether `to` can take a datagram now.
    ///
    /// Senders that look at the same time may each find the last place: the limit is kept up to their number.
    fn check_receiver<'a>(&'a self, to: &KArc<UnixSocket>, connected: Option<&KArc<UnixSocket>>, nonblock: bool) -> Result<(), Stop<'a>> {
        let theirs = to.state.lock();
        if theirs.dead {
            drop(theirs);
            // Linux: the connection is given up with the first refusal.
            if connected.is_some_and(|peer| KArc::ptr_eq(peer, to)) && self.kind == Kind::Dgram {
                self.connect_datagram(None)?;
            }
            return Err(Stop::Err(Errno::ECONNREFUSED));
        }
        if theirs.shutdown & RCV != 0 {
            return Err(Stop::Err(Errno::EPIPE));
        }
        if theirs.peer.as_ref().is_some_and(|peer| !core::ptr::eq(KArc::as_ptr(peer), self)) {
            return Err(Stop::Err(Errno::EPERM));
        }
        let full = self.kind == Kind::Dgram && theirs.is_full_for(self) && !core::ptr::eq(KArc::as_ptr(to), self);
        match full {
            true if nonblock => Err(Stop::Err(Errno::EAGAIN)),
            true => Err(Stop::Wait(&ROOM, POLLOUT)),
            false => Ok(()),
        }
    }

    /// Receives. `Ok(0)`: the end of a stream. EAGAIN, ENOTCONN, EINVAL (a stream that is not connected), ECONNRESET.
    pub fn receive<'a>(&'a self, into: &mut Incoming<'_, '_>) -> OpResult<'a, usize> {
        if into.flags & MSG_OOB != 0 {
            return Err(Stop::Err(Errno::EOPNOTSUPP));
        }
        if self.kind == Kind::Stream { self.receive_stream(into) } else { self.receive_datagram(into) }
    }

    /// What a receive answers that finds nothing; `had`: bytes that it has already.
    fn nothing<'a>(&'a self, into: &Incoming<'_, '_>, had: usize) -> OpResult<'a, usize> {
        let mut state = self.state.lock();
        if !state.queue.is_empty() {
            // It came in between: the caller looks again.
            return Err(Stop::Wait(&self.readers, POLLIN));
        }
        if had > 0 && into.nonblock {
            return Ok(had);
        }
        match state.error.take() {
            Some(error) if had > 0 => {
                state.error = Some(error);
                Ok(had)
            }
            Some(error) => Err(Stop::Err(error)),
            None if state.shutdown & RCV != 0 => Ok(had),
            None if into.nonblock => Err(Stop::Err(Errno::EAGAIN)),
            None => Err(Stop::Wait(&self.readers, POLLIN | EXCLUSIVE)),
        }
    }

    fn receive_stream<'a>(&'a self, into: &mut Incoming<'_, '_>) -> OpResult<'a, usize> {
        if self.state.lock().link != Link::Connected {
            return Err(Stop::Err(Errno::EINVAL));
        }
        if into.flags & MSG_PEEK != 0 {
            return self.peek_stream(into);
        }
        let wanted = into.data.done() + into.data.remaining();
        let low_water = self.low_water.load(Relaxed).max(1) as usize;
        let target = if into.flags & MSG_WAITALL != 0 { wanted } else { low_water.min(wanted) }.max(1);
        loop {
            let mut state = self.state.lock();
            let Some(message) = state.queue.front() else {
                drop(state);
                let had = into.data.done();
                return if had >= target { Ok(had) } else { self.nothing(into, had) };
            };
            let same = into.cred.is_none_or(|c| same_sender(c, message.cred));
            if !same && self.pass_cred.load(Relaxed) {
                return Ok(into.data.done());
            }
            let piece = message.bytes().len().min(PIECE);
            let n = into.data.copy_out(&message.bytes()[..piece])?;
            into.cred = Some(message.cred);
            message.consume(n);
            let gone = if message.bytes().is_empty() { state.queue.pop() } else { None };
            let left = !state.queue.is_empty();
            drop(state);
            let mut last = false;
            if let Some(mut message) = gone {
                if into.from.is_none() {
                    into.from = Some(message.from.clone());
                }
                if !message.files.is_empty() {
                    into.take_files(&mut message);
                    last = true;
                }
            }
            if last || into.data.is_empty() {
                if left {
                    self.wake_reader();
                }
                return Ok(into.data.done());
            }
        }
    }

    /// MSG_PEEK of a stream: nothing is consumed, so all of it is one look.
    fn peek_stream<'a>(&'a self, into: &mut Incoming<'_, '_>) -> OpResult<'a, usize> {
        let peeking = garbage::hold();
        let state = self.state.lock();
        let mut files = None;
        for message in state.queue.iter() {
            if into.data.is_empty() || into.cred.is_some_and(|c| self.pass_cred.load(Relaxed) && !same_sender(c, message.cred)) {
                break;
            }
            let before = into.data.done();
            into.data.copy_out(&message.bytes()[..message.bytes().len().min(into.data.remaining())])?;
            into.cred = Some(message.cred);
            if !message.files.is_empty() {
                files = Some(garbage::copy(&message.files)?);
                break;
            }
            if into.data.done() - before < message.bytes().len() {
                break;
            }
        }
        let empty = state.queue.is_empty();
        drop(state);
        drop(peeking);
        into.files = files.unwrap_or_default();
        if empty { self.nothing(into, 0) } else { Ok(into.data.done()) }
    }

    fn receive_datagram<'a>(&'a self, into: &mut Incoming<'_, '_>) -> OpResult<'a, usize> {
        let mut state = self.state.lock();
        if self.kind == Kind::SeqPacket && state.link != Link::Connected {
            return Err(Stop::Err(Errno::ENOTCONN));
        }
        let was_full = state.queue.len() > MAX_DGRAM_QLEN;
        let Some(mut message) = state.queue.pop() else {
            drop(state);
            return self.nothing(into, 0);
        };
        drop(state);
        let len = message.bytes().len();
        let n = len.min(into.data.remaining());
        let peek = into.flags & MSG_PEEK != 0;
        let copied = into.data.copy_out_all(&message.bytes()[..n]);
        let files = if peek && copied.is_ok() { Some(garbage::copy(&message.files)) } else { None };
        if copied.is_err() || peek {
            into.cred = Some(message.cred);
            into.from = Some(message.from.clone());
            self.put_back(message);
            copied?;
            into.files = files.unwrap_or(Ok(KVec::new()))?;
        } else {
            into.cred = Some(message.cred);
            into.from = Some(message.from.clone());
            into.take_files(&mut message);
            if was_full {
                ROOM.wake_all();
            }
        }
        if n < len {
            into.out_flags |= MSG_TRUNC;
        }
        Ok(if into.flags & MSG_TRUNC != 0 { len } else { n })
    }

    /// A datagram that was only looked at goes back, unless the socket was closed meanwhile.
    fn put_back(&self, message: KBox<Message>) {
        let mut state = self.state.lock();
        if state.dead {
            drop(state);
            return garbage::discard_one(message);
        }
        state.queue.push_front(message);
        drop(state);
        self.wake_reader();
    }
}
