//! Sockets: making, naming, connecting, options. Messages are in [`super::message`].

use super::fd::nofile;
use super::file::Caller;
use super::{Args, user};
use crate::net::sockfs;
use crate::net::unix::name::{self, Address, Key, Name};
use crate::net::unix::{self, Kind, UnixSocket, connect};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::fcntl::{O_CLOEXEC, O_NONBLOCK};
use vigil_abi::process::CAP_NET_ADMIN;
use vigil_abi::socket::*;
use vigil_abi::stat::S_IFSOCK;
use vigil_abi::time::Timeval;
use vigil_abi::{Errno, Pod};
use vigil_executor::time::{Nanos, now};
use vigil_executor::wait::{WaitMode, WaitSite, Waited};
use vigil_executor::wait_site;
use vigil_fs::{Access, At, File, LookupFlags, OpResult, Stop};
use vigil_mem::{Fault, IoBuf, IoBufMut, KArc, KBox, KVec, UserPtr};

const FLAGS: u32 = SOCK_CLOEXEC | SOCK_NONBLOCK;
const _: () = assert!(SOCK_CLOEXEC == O_CLOEXEC && SOCK_NONBLOCK == O_NONBLOCK, "the calls pass these on as they are");

/// The file of descriptor `fd`, which is a socket's. EBADF, ENOTSOCK.
pub(super) fn socket_file(t: &Thread, fd: u64) -> Result<KArc<File>, Errno> {
    let file = t.files()?.get(fd as i32)?;
    if file.flags() & vigil_abi::fcntl::O_PATH != 0 {
        return Err(Errno::EBADF);
    }
    UnixSocket::of(&file)?;
    Ok(file)
}

/// Calls `op` until it completes, at most `timeout` nanoseconds (0: for ever; then EAGAIN). ERESTARTSYS when a signal came,
/// EINTR if there is a timeout (Linux: sock_intr_errno).
pub(super) async fn drive<'a, T: Send>(
    t: &Thread,
    site: &'static WaitSite,
    timeout: Nanos,
    mut op: impl FnMut() -> OpResult<'a, T> + Send,
) -> Result<T, Errno> {
    let deadline = (timeout != 0).then(|| now().saturating_add(timeout));
    let mut result = op();
    loop {
        let queue = match result {
            Ok(value) => return Ok(value),
            Err(Stop::Err(errno)) => return Err(errno),
            Err(Stop::Fault { addr, write }) => {
                user::fault_in(t, Fault { addr, write }).await?;
                result = op();
                continue;
            }
            Err(Stop::Wait(queue, _)) => queue,
        };
        let again = || match op() {
            Err(Stop::Wait(same, _)) if core::ptr::eq(same, queue) => None,
            other => Some(other),
        };
        result = match queue.wait_until_deadline(site, WaitMode::Interruptible, deadline, 0, again).await {
            Waited::Ready(next) => next,
            Waited::TimedOut => return Err(Errno::EAGAIN),
            Waited::Interrupted if timeout != 0 => return Err(Errno::EINTR),
            Waited::Interrupted => return Err(Errno::ERESTARTSYS),
        };
    }
}

/// What socket(2) and socketpair(2) ask for. EINVAL, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT.
fn kind(domain: u64, kind: u64, protocol: u64) -> Result<Kind, Errno> {
    let kind = kind as u32 & SOCK_TYPE_MASK;
    if domain as u32 >= AF_MAX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= SOCK_MAX {
        return Err(Errno::EINVAL);
    }
    if domain as u32 != AF_UNIX {
        return Err(Errno::EAFNOSUPPORT);
    }
    if protocol as u32 != 0 && protocol as u32 != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        SOCK_STREAM => Ok(Kind::Stream),
        SOCK_DGRAM | SOCK_RAW => Ok(Kind::Dgram),
        SOCK_SEQPACKET => Ok(Kind::SeqPacket),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn flags(kind: u64) -> Result<u32, Errno> {
    let flags = kind as u32 & !SOCK_TYPE_MASK;
    if flags & !FLAGS != 0 { Err(Errno::EINVAL) } else { Ok(flags) }
}

fn file_of(socket: &KArc<UnixSocket>, flags: u32) -> Result<KArc<File>, Errno> {
    let ops = vigil_mem::unsize!(KArc, socket.clone() => dyn vigil_fs::FileOps);
    sockfs::file(ops, flags & SOCK_NONBLOCK != 0)
}

/// socket(domain, type, protocol)
pub async fn socket(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = flags(a[1])?;
    let socket = UnixSocket::try_new(kind(a[0], a[1], a[2])?)?;
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let file = file_of(&socket, flags)?;
    Ok(files.install(file, nofile(t), flags & SOCK_CLOEXEC != 0)? as usize)
}

/// socketpair(domain, type, protocol, fds)
pub async fn socketpair(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = flags(a[1])?;
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let cloexec = flags & SOCK_CLOEXEC != 0;
    let first = files.reserve(0, nofile(t), cloexec)?;
    let second = files.reserve(0, nofile(t), cloexec)?;
    // The numbers are stored before anything exists, as on Linux: a fault leaves nothing open.
    user::put(t, UserPtr::<[i32; 2]>::new(a[3] as usize), &[first.fd(), second.fd()]).await?;
    let [one, other] = connect::pair(kind(a[0], a[1], a[2])?)?;
    let files = file_of(&one, flags).and_then(|file| Ok((file, file_of(&other, flags)?)));
    if files.is_err() {
        // Each is the other's peer, and keeps it.
        one.close();
    }
    let (one, other) = files?;
    first.install(one);
    second.install(other);
    Ok(0)
}

/// A `struct sockaddr` of the caller's. EINVAL, EFAULT.
pub(super) async fn address(t: &Thread, from: u64, len: u64) -> Result<KVec<u8>, Errno> {
    let len = len as u32 as i32;
    if !(0..=SOCKADDR_STORAGE as i32).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let mut bytes = KVec::new();
    bytes.try_resize(len as usize, 0u8)?;
    let mut source = IoBuf::user(from as usize, bytes.len()).ok_or(Errno::EFAULT)?;
    loop {
        match source.copy_in_all(&mut bytes) {
            Ok(_) => return Ok(bytes),
            Err(fault) => user::fault_in(t, fault).await?,
        }
    }
}

/// Stores the address of `socket` (unnamed: only the family) at `to`, cut to `*len`, and its true length in `*len`.
pub(super) async fn put_address(t: &Thread, socket: Option<&UnixSocket>, to: u64, len: UserPtr<i32>) -> Result<(), Errno> {
    let room = user::get(t, len).await?;
    let length = store_address(t, socket, to, room).await?;
    user::put(t, len, &(length as i32)).await
}

/// As [`put_address`], for a caller that stores the length itself: returns it. EINVAL for negative room.
pub(super) async fn store_address(t: &Thread, socket: Option<&UnixSocket>, to: u64, room: i32) -> Result<usize, Errno> {
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let name = socket.and_then(UnixSocket::name);
    let mut bytes = KVec::try_from_slice(&(AF_UNIX as u16).to_le_bytes())?;
    bytes.try_extend_from_slice(name.as_ref().map_or(&[], |n| n.bytes()))?;
    let n = bytes.len().min(room);
    let mut sink = IoBufMut::user(to as usize, n).ok_or(Errno::EFAULT)?;
    loop {
        match sink.copy_out_all(&bytes[..n]) {
            Ok(_) => return Ok(bytes.len()),
            Err(fault) => user::fault_in(t, fault).await?,
        }
    }
}

/// The socket that `address` leads to. ECONNREFUSED: nobody; EACCES, ENOENT and what else a path can give.
pub(super) async fn find(t: &Thread, address: &[u8], kind: Kind) -> Result<KArc<UnixSocket>, Errno> {
    match name::parse(address)? {
        Address::Unnamed => Err(Errno::EINVAL),
        Address::Abstract(bytes) => name::find(&Key::Abstract(bytes), kind).ok_or(Errno::ECONNREFUSED),
        Address::Path(path) => {
            let caller = Caller::of(t)?;
            let found = KBox::try_pin(vigil_fs::lookup(&caller.ctx(), At::Cwd, path, LookupFlags::FOLLOW))?.await?;
            let inode = found.inode();
            vigil_fs::vfs::perm::inode_permission(t.cred()?, inode, Access::WRITE)?;
            if inode.kind() != S_IFSOCK {
                return Err(Errno::ECONNREFUSED);
            }
            name::find(&Key::Inode(inode), kind).ok_or(Errno::ECONNREFUSED)
        }
    }
}

/// bind(fd, address, length)
pub async fn bind(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&file)?;
    let bytes = address(t, a[1], a[2]).await?;
    match name::parse(&bytes)? {
        Address::Unnamed => socket.autobind()?,
        Address::Abstract(bytes) => socket.bind(Name::try_abstract(bytes)?)?,
        Address::Path(path) => KBox::try_pin(bind_path(t, socket, path))?.await?,
    }
    Ok(0)
}

async fn bind_path(t: &Thread, socket: &UnixSocket, path: &[u8]) -> Result<(), Errno> {
    if socket.name().is_some() {
        return Err(Errno::EINVAL);
    }
    let caller = Caller::of(t)?;
    let made = vigil_fs::mknod(&caller.ctx(), At::Cwd, path, S_IFSOCK | 0o777, 0).await;
    made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
    let node = vigil_fs::lookup(&caller.ctx(), At::Cwd, path, LookupFlags::empty()).await?;
    let bound = socket.bind(Name::try_path(path, node.inode().clone())?);
    if bound.is_err() {
        // Another thread gave it a name meanwhile: the node that was made for it goes.
        vigil_fs::unlink(&caller.ctx(), At::Cwd, path).await?;
    }
    bound
}

/// connect(fd, address, length)
pub async fn connect(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&file)?;
    let bytes = address(t, a[1], a[2]).await?;
    let family = bytes.first_chunk::<2>().map(|f| u32::from(u16::from_le_bytes(*f)));
    if socket.kind == Kind::Dgram {
        let to = match family {
            Some(AF_UNSPEC) => None,
            _ => Some(KBox::try_pin(find(t, &bytes, socket.kind))?.await?),
        };
        return socket.connect_datagram(to).map(|()| 0);
    }
    let to = KBox::try_pin(find(t, &bytes, socket.kind))?.await?;
    let timeout = socket.send_timeout.load(Relaxed);
    drive(t, wait_site!("unix_wait_for_peer"), timeout, || socket.connect(&to, file.is_nonblocking())).await.map(|()| 0)
}

/// listen(fd, backlog)
pub async fn listen(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    // Negative numbers are large ones, as in Linux's comparison.
    UnixSocket::of(&file)?.listen((a[1] as u32).min(SOMAXCONN) as usize).map(|()| 0)
}

/// accept(fd, address, length)
pub async fn accept(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    accept_with(t, a, 0).await
}

/// accept4(fd, address, length, flags)
pub async fn accept4(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    accept_with(t, a, a[3] as u32).await
}

async fn accept_with(t: &Thread, a: Args<'_>, flags: u32) -> Result<usize, Errno> {
    // Linux looks at the descriptor only after the flags.
    if flags & !FLAGS != 0 {
        return Err(Errno::EINVAL);
    }
    let listener = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&listener)?;
    let files = t.share_files().ok_or(Errno::EBADF)?;
    let reserved = files.reserve(0, nofile(t), flags & SOCK_CLOEXEC != 0)?;
    let timeout = socket.receive_timeout.load(Relaxed);
    let new = drive(t, wait_site!("unix_accept"), timeout, || socket.accept(listener.is_nonblocking())).await?;
    let file = match file_of(&new, flags) {
        Ok(file) => file,
        Err(e) => {
            new.refuse();
            return Err(e);
        }
    };
    if a[1] != 0 {
        put_address(t, new.peer().ok().as_deref(), a[1], UserPtr::new(a[2] as usize)).await?;
    }
    Ok(reserved.install(file) as usize)
}

/// getsockname(fd, address, length)
pub async fn getsockname(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    put_address(t, Some(UnixSocket::of(&file)?), a[1], UserPtr::new(a[2] as usize)).await.map(|()| 0)
}

/// getpeername(fd, address, length)
pub async fn getpeername(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    let peer = UnixSocket::of(&file)?.peer()?;
    put_address(t, Some(&peer), a[1], UserPtr::new(a[2] as usize)).await.map(|()| 0)
}

/// shutdown(fd, how)
pub async fn shutdown(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = socket_file(t, a[0])?;
    UnixSocket::of(&file)?.shut_down(a[1] as u32).map(|()| 0)
}

/// Options that are switches which Linux stores for every family and AF_UNIX does not ask for.
const SWITCHES: &[u32] = &[SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEPORT];
/// Linux's smallest buffers (SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF), as getsockopt(2) shows them.
const MIN_SEND_BUFFER: u32 = 4608;
const MIN_RECEIVE_BUFFER: u32 = 2304;
const MAX_BUFFER: u32 = unix::SNDBUF as u32;

/// setsockopt(fd, level, option, value, length)
pub async fn setsockopt(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (level, option, value, len) = (a[1] as u32, a[2] as u32, a[3] as usize, a[4] as u32 as i32);
    if len < 0 {
        return Err(Errno::EINVAL);
    }
    let file = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&file)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    if (len as usize) < size_of::<i32>() {
        return Err(Errno::EINVAL);
    }
    let number = user::get(t, UserPtr::<i32>::new(value)).await?;
    let buffer = |minimum: u32| (number as u32).min(MAX_BUFFER).saturating_mul(2).max(minimum) as usize;
    let forced = |minimum: u32| (number.max(0) as u32).saturating_mul(2).max(minimum) as usize;
    let admin = t.cred()?.capable(CAP_NET_ADMIN);
    match option {
        SO_DEBUG if number != 0 && !admin => return Err(Errno::EACCES),
        SO_PRIORITY if !(0..=6).contains(&number) && !admin => return Err(Errno::EPERM),
        SO_PRIORITY => socket.priority.store(number, Relaxed),
        SO_SNDBUF => socket.set_send_buffer(buffer(MIN_SEND_BUFFER)),
        SO_RCVBUF => socket.receive_buffer.store(buffer(MIN_RECEIVE_BUFFER), Relaxed),
        SO_SNDBUFFORCE | SO_RCVBUFFORCE if !admin => return Err(Errno::EPERM),
        SO_SNDBUFFORCE => socket.set_send_buffer(forced(MIN_SEND_BUFFER)),
        SO_RCVBUFFORCE => socket.receive_buffer.store(forced(MIN_RECEIVE_BUFFER), Relaxed),
        SO_PASSCRED => socket.pass_cred.store(number != 0, Relaxed),
        SO_RCVLOWAT => socket.low_water.store(if number < 0 { i32::MAX } else { number.max(1) }, Relaxed),
        SO_LINGER => {
            if (len as usize) < size_of::<Linger>() {
                return Err(Errno::EINVAL);
            }
            let linger = user::get(t, UserPtr::<Linger>::new(value)).await?;
            socket.linger.store(if linger.onoff != 0 { linger.linger } else { -1 }, Relaxed);
        }
        SO_RCVTIMEO | SO_SNDTIMEO => {
            let nanos = timeout(t, value, len as usize).await?;
            (if option == SO_RCVTIMEO { &socket.receive_timeout } else { &socket.send_timeout }).store(nanos, Relaxed);
        }
        SO_DEBUG => socket.switch(option, number != 0),
        _ if SWITCHES.contains(&option) => socket.switch(option, number != 0),
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(0)
}

/// SO_RCVTIMEO and SO_SNDTIMEO: nanoseconds, 0 for no limit. EINVAL, EDOM.
async fn timeout(t: &Thread, at: usize, len: usize) -> Result<Nanos, Errno> {
    const SECOND: u64 = 1_000_000_000;
    if len < size_of::<Timeval>() {
        return Err(Errno::EINVAL);
    }
    let tv = user::get(t, UserPtr::<Timeval>::new(at)).await?;
    if !(0..1_000_000).contains(&tv.tv_usec) {
        return Err(Errno::EDOM);
    }
    // Negative: do not wait at all, which the shortest wait comes to.
    if tv.tv_sec < 0 {
        return Ok(1);
    }
    Ok((tv.tv_sec as u64).saturating_mul(SECOND).saturating_add(tv.tv_usec as u64 * 1000))
}

/// getsockopt(fd, level, option, value, length)
pub async fn getsockopt(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (level, option, value, length) = (a[1] as u32, a[2] as u32, a[3] as usize, UserPtr::<i32>::new(a[4] as usize));
    let file = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&file)?;
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let room = usize::try_from(user::get(t, length).await?).map_err(|_| Errno::EINVAL)?;
    let timeval = |nanos: Nanos| Timeval::from_nanos(if nanos == 1 { 0 } else { nanos });
    match option {
        SO_PEERCRED => {
            let nobody = Ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
            put_option(t, value, length, room, &socket.peer_cred().unwrap_or(nobody)).await
        }
        SO_LINGER => {
            let seconds = socket.linger.load(Relaxed);
            put_option(t, value, length, room, &Linger { onoff: i32::from(seconds >= 0), linger: seconds.max(0) }).await
        }
        SO_RCVTIMEO => put_option(t, value, length, room, &timeval(socket.receive_timeout.load(Relaxed))).await,
        SO_SNDTIMEO => put_option(t, value, length, room, &timeval(socket.send_timeout.load(Relaxed))).await,
        _ => {
            let number = number_option(socket, option)?;
            put_option(t, value, length, room, &number).await
        }
    }
    .map(|()| 0)
}

fn number_option(socket: &UnixSocket, option: u32) -> Result<i32, Errno> {
    Ok(match option {
        SO_TYPE => socket.kind.number() as i32,
        SO_DOMAIN => AF_UNIX as i32,
        SO_PROTOCOL => 0,
        SO_ERROR => socket.take_error().map_or(0, |e| -(e.to_ret() as i32)),
        SO_ACCEPTCONN => i32::from(socket.is_listening()),
        SO_PASSCRED => i32::from(socket.pass_cred.load(Relaxed)),
        SO_SNDBUF => socket.send_buffer.load(Relaxed) as i32,
        SO_RCVBUF => socket.receive_buffer.load(Relaxed) as i32,
        SO_RCVLOWAT => socket.low_water.load(Relaxed),
        SO_SNDLOWAT => 1,
        SO_PRIORITY => socket.priority.load(Relaxed),
        SO_DEBUG => i32::from(socket.is_switched(option)),
        _ if SWITCHES.contains(&option) => i32::from(socket.is_switched(option)),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// Stores an option's value, cut to `room`, and its length.
async fn put_option<T: Pod>(t: &Thread, at: usize, length: UserPtr<i32>, room: usize, value: &T) -> Result<(), Errno> {
    let n = room.min(size_of::<T>());
    let mut sink = IoBufMut::user(at, n).ok_or(Errno::EFAULT)?;
    loop {
        match sink.copy_out_all(&value.as_bytes()[..n]) {
            Ok(_) => break,
            Err(fault) => user::fault_in(t, fault).await?,
        }
    }
    user::put(t, length, &(n as i32)).await
}
