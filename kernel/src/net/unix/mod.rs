//! AF_UNIX (Linux: net/unix/af_unix.c).
//!
//! ```text
//!   sender                                       receiver
//!   copy the bytes in, charge own account        queue (under the receiver's lock)
//!        └──────── push, wake `readers` ───────►   pop or consume; the message's end uncharges the sender
//!   account full: wait on own `writers`  ◄──────── and wakes its `writers`
//! ```
//!
//! A sender waits for its own account, so that everything that an operation waits for belongs to the socket it was
//! called on. Two waits are for somebody else's queue, a listener's backlog and a datagram socket that holds
//! [`MAX_DGRAM_QLEN`] messages: those use two queues for the whole system, [`ROOM`].
//!
//! | file | what is there |
//! |---|---|
//! | `mod.rs` | the socket, its life, its file operations |
//! | [`name`] | addresses and who is bound to them |
//! | [`queue`] | messages |
//! | [`connect`] | bind, listen, connect, accept, shutdown |
//! | [`transfer`] | send and receive |
//! | [`garbage`] | sockets that only their own messages hold |

pub mod connect;
mod garbage;
pub mod name;
pub mod queue;
#[cfg(test)]
mod tests;
pub mod transfer;

use crate::net::caller;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering::*};
use name::Name;
use queue::Queue;
use transfer::{Incoming, Outgoing};
use vigil_abi::Errno;
use vigil_abi::poll::{POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM};
use vigil_abi::socket::{SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, Ucred};
use vigil_abi::termios::{FIONREAD, TIOCOUTQ};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_fs::{File, FileOps, OpResult, PollEvents, PollTable, Stop, TIMED};
use vigil_mem::{IoBuf, IoBufMut, KArc, KVec, KWeak, UserPtr};

/// Bytes that a socket may have sent and not got received (/proc/sys/net/core/wmem_default).
pub const SNDBUF: usize = 212_992;
/// With more messages than this a datagram socket makes its senders wait (/proc/sys/net/unix/max_dgram_qlen).
pub const MAX_DGRAM_QLEN: usize = 10;

/// Senders to full datagram sockets, and connects to full listeners. Woken when one of them has room.
static ROOM: WaitQueue = WaitQueue::new();

/// Kinds of sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_DGRAM, and SOCK_RAW, which is the same here.
    Dgram,
    /// SOCK_SEQPACKET.
    SeqPacket,
}

impl Kind {
    /// SOCK_*.
    pub fn number(self) -> u32 {
        match self {
            Kind::Stream => SOCK_STREAM,
            Kind::Dgram => SOCK_DGRAM,
            Kind::SeqPacket => SOCK_SEQPACKET,
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Closed,
    Listening { backlog: usize },
    Connected,
}

/// It receives no more; the values of Linux's RCV_SHUTDOWN and SEND_SHUTDOWN.
const RCV: u8 = 1;
/// It sends no more.
const SEND: u8 = 2;

struct State {
    link: Link,
    shutdown: u8,
    /// Closed: nothing reaches it any more.
    dead: bool,
    /// To be reported once (SO_ERROR, the next receive).
    error: Option<Errno>,
    peer: Option<KArc<UnixSocket>>,
    peer_cred: Option<Ucred>,
    name: Option<KArc<Name>>,
    queue: Queue,
    /// Connections that wait for accept(2).
    backlog: KVec<KArc<UnixSocket>>,
}

impl State {
    /// Whether a datagram socket makes `sender` wait. The two ends of a pair have only the sender's account.
    fn is_full_for(&self, sender: &UnixSocket) -> bool {
        self.queue.len() > MAX_DGRAM_QLEN && !self.peer.as_ref().is_some_and(|peer| core::ptr::eq(KArc::as_ptr(peer), sender))
    }
}

static CLASS: LockClass = LockClass::new("unix_state");

/// A socket of the local family.
pub struct UnixSocket {
    /// What it carries.
    pub kind: Kind,
    me: KWeak<UnixSocket>,
    state: SpinLock<State>,
    readers: WaitQueue,
    writers: WaitQueue,
    /// Bytes sent and not received yet.
    sent: AtomicUsize,
    /// Receivers want to know who sent (SO_PASSCRED).
    pub pass_cred: AtomicBool,
    /// Nanoseconds that a receive waits (SO_RCVTIMEO); 0: for ever.
    pub receive_timeout: AtomicU64,
    /// Nanoseconds that a send waits (SO_SNDTIMEO); 0: for ever.
    pub send_timeout: AtomicU64,
    /// Least bytes that a receive waits for (SO_RCVLOWAT).
    pub low_water: AtomicI32,
    /// Bytes that it may have sent and not got received (SO_SNDBUF).
    pub send_buffer: AtomicUsize,
    /// SO_RCVBUF: shown; receivers of this family have no limit of their own, as on Linux.
    pub receive_buffer: AtomicUsize,
    /// SO_PRIORITY: for queues of packets that this family does not have.
    pub priority: AtomicI32,
    /// SO_LINGER in seconds, -1 for off: close never waits here.
    pub linger: AtomicI32,
    /// Options that are on or off, a bit each.
    switches: AtomicU64,
    /// How often its file is in messages that were not received.
    in_flight: AtomicUsize,
    /// Its entry in the collector's table.
    flight: AtomicUsize,
}

impl UnixSocket {
    /// A socket that is neither bound nor connected. ENOMEM.
    pub fn try_new(kind: Kind) -> Result<KArc<UnixSocket>, Errno> {
        let state = State {
            link: Link::Closed,
            shutdown: 0,
            dead: false,
            error: None,
            peer: None,
            peer_cred: None,
            name: None,
            queue: Queue::new(),
            backlog: KVec::new(),
        };
        Ok(KArc::try_new_cyclic(|me| UnixSocket {
            kind,
            me: me.clone(),
            state: SpinLock::new(&CLASS, state),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            sent: AtomicUsize::new(0),
            pass_cred: AtomicBool::new(false),
            receive_timeout: AtomicU64::new(0),
            send_timeout: AtomicU64::new(0),
            low_water: AtomicI32::new(1),
            send_buffer: AtomicUsize::new(SNDBUF),
            receive_buffer: AtomicUsize::new(SNDBUF),
            priority: AtomicI32::new(0),
            linger: AtomicI32::new(-1),
            switches: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            flight: AtomicUsize::new(garbage::NONE),
        })?)
    }

    /// Itself, counted.
    fn me(&self) -> Result<KArc<UnixSocket>, Errno> {
        self.me.upgrade().ok_or(Errno::EBADF)
    }

    /// The socket behind `file`. ENOTSOCK.
    pub fn of(file: &File) -> Result<&UnixSocket, Errno> {
        file.private().ok_or(Errno::ENOTSOCK)
    }

    fn charge(&self, bytes: usize) {
        self.sent.fetch_add(bytes, Relaxed);
    }

    fn uncharge(&self, bytes: usize) {
        self.sent.fetch_sub(bytes, AcqRel);
        self.writers.wake(POLLOUT | POLLWRNORM | POLLWRBAND, 0);
    }

    /// Whether more may be sent now.
    fn has_credit(&self) -> bool {
        self.sent.load(Acquire) < self.send_buffer.load(Relaxed)
    }

    /// SO_SNDBUF: there may be room now.
    pub fn set_send_buffer(&self, bytes: usize) {
        self.send_buffer.store(bytes, Relaxed);
        self.writers.wake_all();
    }

    /// Turns the option `number` (SO_*) on or off.
    pub fn switch(&self, number: u32, on: bool) {
        let bit = 1u64 << (number % 64);
        if on {
            self.switches.fetch_or(bit, Relaxed)
        } else {
            self.switches.fetch_and(!bit, Relaxed)
        };
    }

    /// Whether the option `number` is on.
    pub fn is_switched(&self, number: u32) -> bool {
        self.switches.load(Relaxed) & 1 << (number % 64) != 0
    }

    fn wake_reader(&self) {
        self.readers.wake(POLLIN | POLLRDNORM, 1);
    }

    /// Everything about the connection changed: everybody looks again.
    fn wake_everybody(&self) {
        self.readers.wake_all();
        self.writers.wake_all();
    }

    /// The error that is to be reported, once (SO_ERROR).
    pub fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    /// Whether it listens (SO_ACCEPTCONN).
    pub fn is_listening(&self) -> bool {
        matches!(self.state.lock().link, Link::Listening { .. })
    }

    /// Who is at the other end, as of connect, listen or socketpair (SO_PEERCRED).
    pub fn peer_cred(&self) -> Option<Ucred> {
        self.state.lock().peer_cred
    }

    /// Its own address.
    pub fn name(&self) -> Option<KArc<Name>> {
        self.state.lock().name.clone()
    }

    /// The other end. ENOTCONN.
    pub fn peer(&self) -> Result<KArc<UnixSocket>, Errno> {
        self.state.lock().peer.clone().ok_or(Errno::ENOTCONN)
    }

    /// It goes: who talks to it gets to know, what it did not receive is thrown away (Linux: unix_release_sock).
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.dead = true;
        state.shutdown = RCV | SEND;
        let name = state.name.clone();
        let peer = state.peer.take();
        let queue = core::mem::replace(&mut state.queue, Queue::new());
        let waiting = core::mem::take(&mut state.backlog);
        state.link = Link::Closed;
        drop(state);
        if let Some(name) = &name {
            name::leave(name, self);
        }
        if let Some(peer) = peer.filter(|_| self.kind != Kind::Dgram) {
            let mut other = peer.state.lock();
            other.shutdown = RCV | SEND;
            if !queue.is_empty() {
                other.error = Some(Errno::ECONNRESET);
            }
            drop(other);
            peer.wake_everybody();
        }
        self.wake_everybody();
        ROOM.wake_all();
        for embryo in waiting {
            // Whoever connected and was never accepted: reset.
            if let Ok(client) = embryo.peer() {
                client.state.lock().error = Some(Errno::ECONNRESET);
            }
            embryo.close();
        }
        garbage::discard(queue);
    }
}

/// Marks a wait that `timeout` limits.
fn timed<'a>(timeout: &AtomicU64, result: OpResult<'a, usize>) -> OpResult<'a, usize> {
    match result {
        Err(Stop::Wait(queue, key)) if timeout.load(Relaxed) != 0 => Err(Stop::Wait(queue, key | TIMED)),
        other => other,
    }
}

impl FileOps for UnixSocket {
    fn read<'a>(&'a self, file: &'a File, buf: &mut IoBufMut<'_>, _: &mut u64) -> OpResult<'a, usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        timed(&self.receive_timeout, self.receive(&mut Incoming::new(buf, 0, file.is_nonblocking())))
    }

    fn write<'a>(&'a self, file: &'a File, buf: &mut IoBuf<'_>, _: &mut u64) -> OpResult<'a, usize> {
        timed(&self.send_timeout, self.send(&mut Outgoing::new(buf, file.is_nonblocking(), caller())))
    }

    fn sends_sigpipe(&self) -> bool {
        self.kind == Kind::Stream
    }

    fn can_poll(&self) -> bool {
        true
    }

    fn poll(&self, _: &File, table: &mut PollTable<'_>) -> PollEvents {
        table.add(&self.readers);
        table.add(&self.writers);
        let full = |peer: &KArc<UnixSocket>| self.kind == Kind::Dgram && peer.state.lock().is_full_for(self);
        let state = self.state.lock();
        let mut events = PollEvents::empty();
        if state.error.is_some() {
            events |= PollEvents::ERR;
        }
        if state.shutdown == RCV | SEND {
            events |= PollEvents::HUP;
        }
        if state.shutdown & RCV != 0 {
            events |= PollEvents::RDHUP | PollEvents::IN | PollEvents::RDNORM;
        }
        if !state.queue.is_empty() || !state.backlog.is_empty() {
            events |= PollEvents::IN | PollEvents::RDNORM;
        }
        if self.kind != Kind::Dgram && state.link == Link::Closed {
            events |= PollEvents::HUP;
        }
        let listening = matches!(state.link, Link::Listening { .. });
        let peer = state.peer.clone();
        drop(state);
        if peer.as_ref().is_some_and(full) {
            table.add(&ROOM);
        }
        if !listening && self.sent.load(Acquire) * 4 <= self.send_buffer.load(Relaxed) && !peer.as_ref().is_some_and(full) {
            events |= PollEvents::OUT | PollEvents::WRNORM | PollEvents::from_bits_retain(POLLWRBAND);
        }
        events
    }

    fn ioctl<'a>(&'a self, _: &'a File, cmd: u32, arg: usize) -> OpResult<'a, isize> {
        let value = match cmd {
            FIONREAD => {
                let mut state = self.state.lock();
                if matches!(state.link, Link::Listening { .. }) {
                    return Err(Stop::Err(Errno::EINVAL));
                }
                match self.kind {
                    Kind::Dgram => state.queue.front().map_or(0, |m| m.bytes().len()),
                    _ => state.queue.iter().map(|m| m.bytes().len()).sum(),
                }
            }
            TIOCOUTQ => self.sent.load(Relaxed),
            _ => return Err(Stop::Err(Errno::ENOTTY)),
        };
        UserPtr::<u32>::new(arg).write(&(value as u32))?;
        Ok(0)
    }

    fn llseek(&self, _: &File, _: u64, _: i64, _: u32) -> Result<u64, Errno> {
        Err(Errno::ESPIPE)
    }

    fn release(&self, _: &File) {
        self.close();
    }

    fn is_stream(&self) -> bool {
        true
    }

    fn as_any(&self) -> Option<&dyn core::any::Any> {
        Some(self)
    }
}
