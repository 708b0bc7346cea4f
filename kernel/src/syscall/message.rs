//! Messages of sockets: send, receive, and the control messages that travel with them (Linux: net/socket.c, core/scm.c).

use super::fd::nofile;
use super::socket::{address, drive, find, put_address, socket_file, store_address};
use super::{Args, user};
use crate::net::caller;
use crate::net::unix::transfer::{Incoming, Outgoing};
use crate::net::unix::{Kind, UnixSocket};
use crate::task::process::find_process;
use crate::task::signal::{self, SIGPIPE, SigInfo};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::process::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN};
use vigil_abi::socket::*;
use vigil_abi::time::Timespec;
use vigil_abi::{Errno, Pod};
use vigil_executor::time::now;
use vigil_executor::wait_site;
use vigil_fs::File;
use vigil_mem::buf::{IovecError, Iovecs, MAX_RW_COUNT, UIO_MAXIOV};
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, KVec, UserPtr};

/// Most bytes of control messages (/proc/sys/net/core/optmem_max).
const OPTMEM_MAX: usize = 20_480;
/// Control messages lie at multiples of this.
const CMSG_ALIGN: usize = 8;
const HEADER: usize = size_of::<CmsgHdr>();

/// What travels with a message to be sent.
struct Control {
    files: KVec<KArc<File>>,
    cred: Ucred,
}

impl Control {
    fn none() -> Control {
        Control { files: KVec::new(), cred: caller() }
    }

    /// Reads the control messages at `at`. EINVAL, EBADF, EPERM, ESRCH, ENOBUFS, EFAULT.
    async fn read(t: &Thread, at: u64, len: u64) -> Result<Control, Errno> {
        let mut control = Control::none();
        let len = usize::try_from(len).map_err(|_| Errno::ENOBUFS)?;
        if len > i32::MAX as usize || len > OPTMEM_MAX {
            return Err(Errno::ENOBUFS);
        }
        let mut bytes = KVec::new();
        bytes.try_resize(len, 0u8)?;
        let mut source = IoBuf::user(at as usize, len).ok_or(Errno::EFAULT)?;
        while let Err(fault) = source.copy_in_all(&mut bytes) {
            user::fault_in(t, fault).await?;
        }
        let mut rest = &bytes[..];
        while let Some(header) = CmsgHdr::from_bytes(rest) {
            let len = usize::try_from(header.len).ok().filter(|len| (HEADER..=rest.len()).contains(len)).ok_or(Errno::EINVAL)?;
            if header.level == SOL_SOCKET {
                control.take(t, header.kind, &rest[HEADER..len])?;
            }
            rest = rest.get(len.next_multiple_of(CMSG_ALIGN)..).unwrap_or(&[]);
        }
        Ok(control)
    }

    fn take(&mut self, t: &Thread, kind: u32, data: &[u8]) -> Result<(), Errno> {
        match kind {
            SCM_RIGHTS => {
                let count = data.len() / size_of::<i32>();
                if self.files.len() + count > SCM_MAX_FD {
                    return Err(Errno::EINVAL);
                }
                self.files.try_reserve(count)?;
                for fd in data.as_chunks::<4>().0 {
                    let _ = self.files.push_reserved(t.files()?.get(i32::from_le_bytes(*fd))?);
                }
                Ok(())
            }
            SCM_CREDENTIALS => {
                let cred = Ucred::from_bytes(data).filter(|_| data.len() == size_of::<Ucred>()).ok_or(Errno::EINVAL)?;
                self.cred = checked(t, cred)?;
                Ok(())
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Whether the caller may say that it is `claimed` (Linux: scm_check_creds). EPERM, ESRCH.
fn checked(t: &Thread, claimed: Ucred) -> Result<Ucred, Errno> {
    let cred = t.cred()?;
    let own_uid = [cred.uid, cred.euid, cred.suid].contains(&claimed.uid) || cred.capable(CAP_SETUID);
    let own_gid = [cred.gid, cred.egid, cred.sgid].contains(&claimed.gid) || cred.capable(CAP_SETGID);
    let own_pid = claimed.pid == t.process.pid || cred.capable(CAP_SYS_ADMIN);
    if !own_uid || !own_gid || !own_pid {
        return Err(Errno::EPERM);
    }
    if claimed.pid != t.process.pid && find_process(claimed.pid).is_none() {
        return Err(Errno::ESRCH);
    }
    Ok(claimed)
}

/// Sends `data` with `control` to `to`, which is empty for the peer.
async fn send(t: &Thread, file: &File, data: &mut IoBuf<'_>, to: &[u8], flags: u32, control: Control) -> Result<usize, Errno> {
    let socket = UnixSocket::of(file)?;
    let nonblock = file.is_nonblocking() || flags & MSG_DONTWAIT != 0;
    let mut out = Outgoing::new(data, nonblock, control.cred);
    out.files = control.files;
    out.flags = flags;
    if !to.is_empty() && socket.kind == Kind::Dgram {
        out.to = Some(KBox::try_pin(find(t, to, socket.kind))?.await?);
    }
    // A stream with an address fails whatever the address is; a sequence of packets ignores it.
    let addressed = !to.is_empty() && socket.kind == Kind::Stream;
    let result = if addressed {
        Err(socket.addressed_stream())
    } else {
        let timeout = socket.send_timeout.load(Relaxed);
        let result = drive(t, wait_site!("sock_alloc_send_pskb"), timeout, || socket.send(&mut out)).await;
        // What went out counts, whatever ended the call.
        match (socket.kind, out.data.done()) {
            (Kind::Stream, done) if done > 0 => Ok(done),
            _ => result,
        }
    };
    if result == Err(Errno::EPIPE) && socket.kind == Kind::Stream && flags & MSG_NOSIGNAL == 0 {
        let _ = signal::send_to_thread(t, SigInfo::kernel(SIGPIPE));
    }
    result
}

/// write(2) to a socket with a time limit; the caller sends the signal.
pub(super) async fn write(t: &Thread, file: &File, data: &mut IoBuf<'_>) -> Result<usize, Errno> {
    send(t, file, data, &[], MSG_NOSIGNAL, Control::none()).await
}

/// read(2) from a socket with a time limit.
pub(super) async fn read(t: &Thread, file: &File, data: &mut IoBufMut<'_>) -> Result<usize, Errno> {
    receive(t, UnixSocket::of(file)?, &mut incoming(file, data, 0)).await
}

/// sendto(fd, buffer, length, flags, address, length)
pub async fn sendto(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mut data = IoBuf::user(a[1] as usize, (a[2] as usize).min(MAX_RW_COUNT)).ok_or(Errno::EFAULT)?;
    let file = socket_file(t, a[0])?;
    let to = if a[4] == 0 { KVec::new() } else { address(t, a[4], a[5]).await? };
    KBox::try_pin(send(t, &file, &mut data, &to, a[3] as u32, Control::none()))?.await
}

/// recvfrom(fd, buffer, length, flags, address, length)
pub async fn recvfrom(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mut data = IoBufMut::user(a[1] as usize, (a[2] as usize).min(MAX_RW_COUNT)).ok_or(Errno::EFAULT)?;
    let file = socket_file(t, a[0])?;
    let socket = UnixSocket::of(&file)?;
    let (n, from) = {
        let mut into = incoming(&file, &mut data, a[3] as u32);
        let n = receive(t, socket, &mut into).await?;
        (n, into.from.take())
    };
    if a[4] != 0 {
        let length = UserPtr::new(a[5] as usize);
        // Only a datagram says who sent it; a stream has one peer, whom getpeername names.
        match from.filter(|from| from.name().is_some()) {
            Some(from) => put_address(t, Some(&from), a[4], length).await?,
            None => user::put(t, length, &0).await?,
        }
    }
    Ok(n)
}

fn incoming<'m, 'b>(file: &File, data: &'m mut IoBufMut<'b>, flags: u32) -> Incoming<'m, 'b> {
    Incoming::new(data, flags, file.is_nonblocking() || flags & MSG_DONTWAIT != 0)
}

/// Receives into `into`; a short count when a signal or the timeout ended a wait after some bytes.
async fn receive(t: &Thread, socket: &UnixSocket, into: &mut Incoming<'_, '_>) -> Result<usize, Errno> {
    let timeout = socket.receive_timeout.load(Relaxed);
    let result = drive(t, wait_site!("unix_stream_read_generic"), timeout, || socket.receive(into)).await;
    match (socket.kind, into.data.done()) {
        (Kind::Stream, done) if done > 0 => Ok(done),
        _ => result,
    }
}

/// The vector of a message. EMSGSIZE: too many entries; EINVAL, EFAULT, ENOMEM.
async fn vector(t: &Thread, hdr: &MsgHdr) -> Result<Iovecs, Errno> {
    let count = usize::try_from(hdr.iovlen).ok().filter(|&n| n <= UIO_MAXIOV).ok_or(Errno::EMSGSIZE)?;
    loop {
        match Iovecs::import(UserPtr::new(hdr.iov as usize), count) {
            Ok(v) => return Ok(v),
            Err(IovecError::Errno(e)) => return Err(e),
            Err(IovecError::Fault(fault)) => user::fault_in(t, fault).await?,
        }
    }
}

/// The header of a message, checked. EINVAL for a negative length of the address; longer ones are cut (Linux:
/// __copy_msghdr).
async fn header(t: &Thread, at: u64) -> Result<MsgHdr, Errno> {
    let mut hdr = user::get(t, UserPtr::<MsgHdr>::new(at as usize)).await?;
    if hdr.name == 0 {
        hdr.namelen = 0;
    }
    if (hdr.namelen as i32) < 0 {
        return Err(Errno::EINVAL);
    }
    hdr.namelen = hdr.namelen.min(SOCKADDR_STORAGE as u32);
    Ok(hdr)
}

async fn send_one(t: &Thread, file: &File, at: u64, flags: u32) -> Result<usize, Errno> {
    let hdr = header(t, at).await?;
    let to = if hdr.namelen == 0 { KVec::new() } else { address(t, hdr.name, u64::from(hdr.namelen)).await? };
    let v = vector(t, &hdr).await?;
    let mut data = IoBuf::iovec(v.ranges());
    data.limit(MAX_RW_COUNT);
    let control = if hdr.controllen == 0 { Control::none() } else { Control::read(t, hdr.control, hdr.controllen).await? };
    send(t, file, &mut data, &to, flags, control).await
}

/// sendmsg(fd, message, flags)
pub async fn sendmsg(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[2] as u32;
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let file = socket_file(t, a[0])?;
    KBox::try_pin(send_one(t, &file, a[1], flags))?.await
}

/// sendmmsg(fd, messages, count, flags)
pub async fn sendmmsg(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[3] as u32;
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let file = socket_file(t, a[0])?;
    let messages = UserPtr::<MMsgHdr>::new(a[1] as usize);
    let count = (a[2] as u32 as usize).min(UIO_MAXIOV);
    for i in 0..count {
        let at = messages.index(i);
        let sent = KBox::try_pin(send_one(t, &file, at.addr() as u64, flags))?.await;
        let stored = match sent {
            Ok(n) => user::put(t, at.byte_add::<u32>(size_of::<MsgHdr>()), &(n as u32)).await,
            Err(e) => Err(e),
        };
        match stored {
            Ok(()) => {}
            Err(e) if i == 0 => return Err(e),
            Err(_) => return Ok(i),
        }
    }
    Ok(count)
}

/// Where the control messages of a received message go.
struct Sink {
    at: usize,
    room: usize,
    used: usize,
    flags: u32,
}

impl Sink {
    /// Stores one control message; cut, with MSG_CTRUNC, when there is not room for it (Linux: put_cmsg).
    async fn put(&mut self, t: &Thread, kind: u32, data: &[u8]) -> Result<(), Errno> {
        let left = self.room - self.used;
        if left < HEADER {
            self.flags |= MSG_CTRUNC;
            return Ok(());
        }
        let whole = HEADER + data.len();
        let len = if left < whole {
            self.flags |= MSG_CTRUNC;
            left
        } else {
            whole
        };
        let header = CmsgHdr { len: len as u64, level: SOL_SOCKET, kind };
        let at = self.at + self.used;
        user::put(t, UserPtr::new(at), &header).await?;
        let n = len - HEADER;
        let mut sink = IoBufMut::user(at + HEADER, n).ok_or(Errno::EFAULT)?;
        while let Err(fault) = sink.copy_out_all(&data[..n]) {
            user::fault_in(t, fault).await?;
        }
        self.used += len.next_multiple_of(CMSG_ALIGN).min(left);
        Ok(())
    }

    /// Gives the caller descriptors for `files`, as many as there is room for (Linux: scm_detach_fds).
    async fn put_files(&mut self, t: &Thread, files: KVec<KArc<File>>, cloexec: bool) -> Result<(), Errno> {
        let table = t.share_files().ok_or(Errno::EBADF)?;
        let left = self.room - self.used;
        let fits = left.saturating_sub(HEADER) / size_of::<i32>();
        let (at, count) = (self.at + self.used, files.len());
        let mut done = 0;
        for file in files.iter().take(fits) {
            let Ok(reserved) = table.reserve(0, nofile(t), cloexec) else { break };
            let number = UserPtr::<i32>::new(at + HEADER + done * size_of::<i32>());
            if user::put(t, number, &reserved.fd()).await.is_err() {
                break;
            }
            reserved.install(file.clone());
            done += 1;
        }
        if done > 0 {
            let len = HEADER + done * size_of::<i32>();
            user::put(t, UserPtr::new(at), &CmsgHdr { len: len as u64, level: SOL_SOCKET, kind: SCM_RIGHTS }).await?;
            self.used += len.next_multiple_of(CMSG_ALIGN).min(left);
        }
        if done < count {
            self.flags |= MSG_CTRUNC;
        }
        Ok(())
    }
}

async fn receive_one(t: &Thread, file: &File, at: u64, flags: u32) -> Result<usize, Errno> {
    let socket = UnixSocket::of(file)?;
    let hdr = header(t, at).await?;
    let v = vector(t, &hdr).await?;
    let mut data = IoBufMut::iovec(v.ranges());
    data.limit(MAX_RW_COUNT);
    let (n, files, cred, from, out_flags) = {
        let mut into = incoming(file, &mut data, flags);
        let n = receive(t, socket, &mut into).await?;
        (n, core::mem::take(&mut into.files), into.cred, into.from.take(), into.out_flags)
    };
    let mut sink = Sink { at: hdr.control as usize, room: hdr.controllen.min(i32::MAX as u64) as usize, used: 0, flags: out_flags };
    let wants_cred = socket.pass_cred.load(Relaxed);
    if hdr.control == 0 {
        if wants_cred || !files.is_empty() {
            sink.flags |= MSG_CTRUNC;
        }
        sink.room = 0;
    } else {
        if wants_cred {
            sink.put(t, SCM_CREDENTIALS, cred.unwrap_or_default().as_bytes()).await?;
        }
        if !files.is_empty() {
            sink.put_files(t, files, flags & MSG_CMSG_CLOEXEC != 0).await?;
        }
    }
    let pointer = UserPtr::<MsgHdr>::new(at as usize);
    if hdr.name != 0 {
        let length = match from.filter(|from| from.name().is_some()) {
            Some(from) => store_address(t, Some(&from), hdr.name, hdr.namelen as i32).await?,
            None => 0,
        };
        user::put(t, pointer.byte_add(core::mem::offset_of!(MsgHdr, namelen)), &(length as u32)).await?;
    }
    let shown = sink.flags | flags & MSG_CMSG_CLOEXEC;
    user::put(t, pointer.byte_add(core::mem::offset_of!(MsgHdr, flags)), &shown).await?;
    user::put(t, pointer.byte_add(core::mem::offset_of!(MsgHdr, controllen)), &(sink.used as u64)).await?;
    Ok(n)
}

/// recvmsg(fd, message, flags)
pub async fn recvmsg(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let flags = a[2] as u32;
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let file = socket_file(t, a[0])?;
    KBox::try_pin(receive_one(t, &file, a[1], flags))?.await
}

/// recvmmsg(fd, messages, count, flags, timeout): the timeout is looked at after each message, as on Linux
pub async fn recvmmsg(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mut flags = a[3] as u32;
    if flags & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let timeout = UserPtr::<Timespec>::new(a[4] as usize).or_null();
    let deadline = match timeout {
        Some(p) => {
            let limit = user::get(t, p).await?;
            if !limit.is_valid() {
                return Err(Errno::EINVAL);
            }
            Some(now().saturating_add(limit.to_nanos()))
        }
        None => None,
    };
    let file = socket_file(t, a[0])?;
    let messages = UserPtr::<MMsgHdr>::new(a[1] as usize);
    let count = (a[2] as u32 as usize).min(UIO_MAXIOV);
    let mut done = 0;
    while done < count {
        let at = messages.index(done);
        let received = KBox::try_pin(receive_one(t, &file, at.addr() as u64, flags & !MSG_WAITFORONE))?.await;
        let stored = match received {
            Ok(n) => user::put(t, at.byte_add::<u32>(size_of::<MsgHdr>()), &(n as u32)).await,
            Err(e) => Err(e),
        };
        match stored {
            Ok(()) => done += 1,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
        if flags & MSG_WAITFORONE != 0 {
            flags |= MSG_DONTWAIT;
        }
        if deadline.is_some_and(|deadline| now() >= deadline) {
            break;
        }
    }
    if let (Some(p), Some(deadline)) = (timeout, deadline) {
        user::put(t, p, &Timespec::from_nanos(deadline.saturating_sub(now()))).await?;
    }
    Ok(done)
}
