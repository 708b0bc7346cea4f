//! Reading and writing: read, write and their vector and positioned forms, lseek.

use super::blocked::{Blocked, Kind, Transfer};
use super::user::Faulter;
use super::{Args, Stop, SysResult, user};
use crate::net::unix::UnixSocket;
use crate::task::limits;
use crate::task::signal::{self, SIGPIPE, SIGXFSZ, SigInfo};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use futures_util::FutureExt;
use vigil_abi::Errno;
use vigil_abi::fcntl::{RWF_APPEND, RWF_DSYNC, RWF_SYNC};
use vigil_abi::process::CAP_FSETID;
use vigil_executor::wait::WaitQueue;
use vigil_fs::{AtOnce, EXCLUSIVE, FdRef, File, Pos, TIMED, WriteLimits};
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::buf::{IovecError, Iovecs};
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, UserPtr, UserRange};

/// The most bytes that one call transfers (Linux: MAX_RW_COUNT).
pub(super) const MAX_COUNT: usize = i32::MAX as usize & !(PAGE_SIZE - 1);

/// What bounds a write of this thread.
pub(super) fn limits_of(t: &Thread, append: bool) -> Result<WriteLimits, Errno> {
    Ok(WriteLimits { fsize: t.process.limits.soft(limits::FSIZE), keep_suid: t.cred()?.capable(CAP_FSETID), append })
}

/// What a failed write to `file` sends besides its error.
pub(super) fn write_signals<T>(t: &Thread, file: &File, result: Result<T, Errno>) -> Result<T, Errno> {
    if let Err(Errno::EPIPE) = result
        && file.ops().sends_sigpipe()
    {
        let _ = signal::send_to_thread(t, SigInfo::kernel(SIGPIPE));
    }
    size_signal(t, result)
}

/// What a file that may not grow so far sends besides the error.
pub(super) fn size_signal<T>(t: &Thread, result: Result<T, Errno>) -> Result<T, Errno> {
    // Beyond the largest file of the file system there is no signal.
    if let Err(Errno::EFBIG) = result
        && t.process.limits.soft(limits::FSIZE) != u64::MAX
    {
        let _ = signal::send_to_thread(t, SigInfo::kernel(SIGXFSZ));
    }
    result
}

/// Why an attempt on `file` in the vector ended after `done` bytes. What was transferred has left the pipe or moved the file's
/// position: the async form, which comes next with the same arguments, must go on behind it, in this file ([`resumed`]).
fn stop(t: &Thread, file: &KArc<File>, stop: vigil_fs::Stop<'_>, done: usize) -> Stop {
    match stop {
        // A terminal has stopped the caller's group: only the async form can start the call over.
        vigil_fs::Stop::Err(e) if e.is_restart() => Stop::NotYet,
        vigil_fs::Stop::Err(e) => Stop::Errno(e),
        // Also for a fault: the async form brings the page in and goes on.
        vigil_fs::Stop::Fault { .. } | vigil_fs::Stop::Wait(..) => {
            if done > 0 {
                t.transferred.store(done, Relaxed);
                t.set_blocked(Blocked::Begun(file.clone()));
            }
            Stop::NotYet
        }
    }
}

/// The file of the asynchronous form of a call on `fd`, and how many bytes the attempt in the vector has transferred. Asked
/// once, before anything that can fail where that attempt has not. What has begun goes on with the file that it began with.
fn resumed(t: &Thread, fd: u64) -> Result<(KArc<File>, usize), Errno> {
    let done = t.transferred.swap(0, Relaxed);
    match t.take_blocked() {
        Some(Blocked::Begun(file)) => Ok((file, done)),
        _ => Ok((t.files()?.get(fd as i32)?, done)),
    }
}

/// The position of a positioned call. EINVAL: it is negative.
pub(super) fn offset(a: u64) -> Result<Pos, Errno> {
    if (a as i64) < 0 { Err(Errno::EINVAL) } else { Ok(Pos::At(a)) }
}

/// The bytes to be transferred. The whole buffer must lie below TASK_SIZE (EFAULT, for a negative count, too), however
/// little of it is used.
fn count(a: Args) -> Result<usize, Errno> {
    let count = a[2] as usize;
    if count <= MAX_COUNT {
        return Ok(count);
    }
    IoBuf::user(a[1] as usize, count).map(|_| MAX_COUNT).ok_or(Errno::EFAULT)
}

/// The buffer of a read.
fn target(a: Args) -> Result<IoBufMut<'static>, Errno> {
    IoBufMut::user(a[1] as usize, count(a)?).ok_or(Errno::EFAULT)
}

/// The buffer of a write, likewise.
fn source(a: Args) -> Result<IoBuf<'static>, Errno> {
    IoBuf::user(a[1] as usize, count(a)?).ok_or(Errno::EFAULT)
}

/// The buffer of a transfer that nothing cuts short; `None`: the long way says what is wrong with it.
#[inline(always)]
fn range(a: Args) -> Option<UserRange> {
    if a[2] as usize <= MAX_COUNT { UserRange::new(a[1] as usize, a[2] as usize) } else { None }
}

/// The short way of a call of `kind` on a file that it can be made on.
#[inline(always)]
pub(super) fn at_once<'f>(file: &'f File, kind: Kind, a: Args) -> AtOnce<'f> {
    match kind {
        Kind::Read => vigil_fs::read_at_once(file, || range(a)),
        Kind::Write => vigil_fs::write_at_once(file, || range(a)),
    }
}

/// The arguments once more, from where the vector has put them: so the short way need not keep them.
#[inline(always)]
fn again(t: &Thread) -> Args<'_> {
    // SAFETY: the thread itself, in its own call; they stay as they are until it is over.
    unsafe { t.context().arguments() }
}

/// One attempt at read(2) on a file that can be read from; and how many bytes it has moved.
#[inline]
pub(super) fn read_once<'f>(file: &'f File, a: Args) -> (vigil_fs::OpResult<'f, usize>, usize) {
    match target(a) {
        Ok(mut buf) => (vigil_fs::try_read(file, &mut buf, Pos::Shared), buf.done()),
        Err(e) => (Err(vigil_fs::Stop::Err(e)), 0),
    }
}

/// One attempt at write(2) on a file that can be written to; and how many bytes it has moved.
#[inline]
pub(super) fn write_once<'f>(t: &Thread, file: &'f File, a: Args) -> (vigil_fs::OpResult<'f, usize>, usize) {
    match source(a) {
        Ok(mut buf) => (vigil_fs::try_write(file, &mut buf, Pos::Shared, || limits_of(t, false)), buf.done()),
        Err(e) => (Err(vigil_fs::Stop::Err(e)), 0),
    }
}

/// What a call of `kind` that failed with `e` answers; a write sends its signal.
pub(super) fn failed(t: &Thread, file: &File, kind: Kind, e: Errno) -> i64 {
    if kind == Kind::Write {
        let _ = write_signals::<()>(t, file, Err(e));
    }
    e.to_ret() as i64
}

/// An attempt in the vector has ended with `e` after `done` bytes. With none moved, and a queue to wait for without a time limit, the
/// thread waits for it the short way.
#[inline]
fn stop_or_block(t: &Thread, file: &KArc<File>, kind: Kind, e: vigil_fs::Stop<'_>, done: usize) -> Stop {
    if let vigil_fs::Stop::Wait(queue, key) = e
        && done == 0
        && key & TIMED == 0
        && !vigil_fs::is_again(queue)
    {
        return block(t, file, kind, queue, key & EXCLUSIVE != 0);
    }
    stop(t, file, e, done)
}

/// Leaves a call that has moved nothing and must wait for `queue`, as an operation of `file` says.
#[inline(always)]
fn block(t: &Thread, file: &KArc<File>, kind: Kind, queue: &WaitQueue, exclusive: bool) -> Stop {
    // SAFETY: an operation of `file` has named the queue: it is the file's.
    t.set_blocked(Blocked::Transfer(unsafe { Transfer::new(file.clone(), queue, exclusive, kind) }));
    Stop::NotYet
}

fn try_read_at(t: &Thread, a: Args, pos: Pos) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    let file = unsafe { t.files()?.get_light(a[0] as i32) }?;
    vigil_fs::check_read(&file, pos)?;
    let mut buf = target(a)?;
    vigil_fs::try_read(&file, &mut buf, pos).map_err(|e| stop(t, &file, e, buf.done()))
}

fn try_write_at(t: &Thread, a: Args, pos: Pos) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    let file = unsafe { t.files()?.get_light(a[0] as i32) }?;
    vigil_fs::check_write(&file, pos)?;
    let mut buf = source(a)?;
    match vigil_fs::try_write(&file, &mut buf, pos, || limits_of(t, false)).map_err(|e| stop(t, &file, e, buf.done())) {
        Err(Stop::Errno(e)) => Ok(write_signals(t, &file, Err(e))?),
        other => other,
    }
}

async fn read_at(t: &Thread, file: &File, buf: &mut IoBufMut<'_>, pos: Pos) -> Result<usize, Errno> {
    vigil_fs::check_read(file, pos)?;
    match UnixSocket::of(file) {
        Ok(socket) if socket.receive_timeout.load(Relaxed) != 0 => KBox::try_pin(super::message::read(t, file, buf))?.await,
        _ => vigil_fs::read(file, buf, pos, &Faulter(t)).await,
    }
}

async fn write_at(t: &Thread, file: &File, buf: &mut IoBuf<'_>, pos: Pos, append: bool) -> Result<usize, Errno> {
    vigil_fs::check_write(file, pos)?;
    let limits = limits_of(t, append)?;
    let result = match UnixSocket::of(file) {
        Ok(socket) if socket.send_timeout.load(Relaxed) != 0 => KBox::try_pin(super::message::write(t, file, buf))?.await,
        _ => vigil_fs::write(file, buf, pos, &limits, &Faulter(t)).await,
    };
    write_signals(t, file, result)
}

/// read(fd, buffer, count)
#[inline(always)]
pub fn try_read(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    match unsafe { t.files()?.get_light(a[0] as i32) }? {
        FdRef::Borrowed(file) => read_file(t, file, a),
        FdRef::Counted(file) => read_counted(t, file, a),
    }
}

#[inline(never)]
fn read_counted(t: &Thread, file: KArc<File>, a: Args) -> SysResult {
    read_file(t, &file, a)
}

#[inline(always)]
fn read_file(t: &Thread, file: &KArc<File>, a: Args) -> SysResult {
    vigil_fs::check_read(file, Pos::Shared)?;
    match at_once(file, Kind::Read, a) {
        AtOnce::Done(n) => return Ok(n),
        AtOnce::Wait(queue) => return Err(block(t, file, Kind::Read, queue, true)),
        AtOnce::No => {}
    }
    let (result, done) = read_once(file, again(t));
    result.map_err(|e| stop_or_block(t, file, Kind::Read, e, done))
}

/// read, when it must wait
pub async fn read(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (file, done) = resumed(t, a[0])?;
    vigil_fs::check_read(&file, Pos::Shared)?;
    let mut buf = target(a)?;
    buf.skip(done);
    read_at(t, &file, &mut buf, Pos::Shared).await
}

/// write(fd, buffer, count)
#[inline(always)]
pub fn try_write(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    match unsafe { t.files()?.get_light(a[0] as i32) }? {
        FdRef::Borrowed(file) => write_file(t, file, a),
        FdRef::Counted(file) => write_counted(t, file, a),
    }
}

#[inline(never)]
fn write_counted(t: &Thread, file: KArc<File>, a: Args) -> SysResult {
    write_file(t, &file, a)
}

#[inline(always)]
fn write_file(t: &Thread, file: &KArc<File>, a: Args) -> SysResult {
    vigil_fs::check_write(file, Pos::Shared)?;
    match at_once(file, Kind::Write, a) {
        AtOnce::Done(n) => return Ok(n),
        AtOnce::Wait(queue) => return Err(block(t, file, Kind::Write, queue, true)),
        AtOnce::No => {}
    }
    let (result, done) = write_once(t, file, again(t));
    match result {
        Ok(n) => Ok(n),
        Err(e) => write_stopped(t, file, e, done),
    }
}

#[inline(never)]
fn write_stopped(t: &Thread, file: &KArc<File>, e: vigil_fs::Stop<'_>, done: usize) -> SysResult {
    match stop_or_block(t, file, Kind::Write, e, done) {
        Stop::Errno(e) => Ok(write_signals(t, file, Err(e))?),
        other => Err(other),
    }
}

/// write, when it must wait
pub async fn write(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (file, done) = resumed(t, a[0])?;
    vigil_fs::check_write(&file, Pos::Shared)?;
    let mut buf = source(a)?;
    buf.skip(done);
    write_at(t, &file, &mut buf, Pos::Shared, false).await
}

/// pread64(fd, buffer, count, offset)
pub fn try_pread(t: &Thread, a: Args) -> SysResult {
    try_read_at(t, a, offset(a[3])?)
}

/// pread64, when it must wait
pub async fn pread(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let pos = offset(a[3])?;
    let (file, done) = resumed(t, a[0])?;
    vigil_fs::check_read(&file, pos)?;
    let mut buf = target(a)?;
    buf.skip(done);
    read_at(t, &file, &mut buf, pos).await
}

/// pwrite64(fd, buffer, count, offset)
pub fn try_pwrite(t: &Thread, a: Args) -> SysResult {
    try_write_at(t, a, offset(a[3])?)
}

/// pwrite64, when it must wait
pub async fn pwrite(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let pos = offset(a[3])?;
    let (file, done) = resumed(t, a[0])?;
    vigil_fs::check_write(&file, pos)?;
    let mut buf = source(a)?;
    buf.skip(done);
    write_at(t, &file, &mut buf, pos, false).await
}

/// The vector of a call. EINVAL: too many entries or bytes; EFAULT.
async fn vector(t: &Thread, a: Args<'_>) -> Result<Iovecs, Errno> {
    loop {
        match Iovecs::import(UserPtr::new(a[1] as usize), a[2] as usize) {
            Ok(v) => return Ok(v),
            Err(IovecError::Errno(e)) => return Err(e),
            Err(IovecError::Fault(fault)) => user::fault_in(t, fault).await?,
        }
    }
}

async fn readv_at(t: &Thread, a: Args<'_>, pos: Pos) -> Result<usize, Errno> {
    let file = t.files()?.get(a[0] as i32)?;
    vigil_fs::check_read(&file, pos)?;
    let v = vector(t, a).await?;
    let mut buf = IoBufMut::iovec(v.ranges());
    buf.limit(MAX_COUNT);
    // In a box: with the vector beside it the call's future would be too large for the thread's slot.
    KBox::try_pin_with(|| read_at(t, &file, &mut buf, pos))?.await
}

async fn writev_at(t: &Thread, a: Args<'_>, pos: Pos, append: bool) -> Result<usize, Errno> {
    let (file, done) = resumed(t, a[0])?;
    vigil_fs::check_write(&file, pos)?;
    let v = vector(t, a).await?;
    let mut buf = IoBuf::iovec(v.ranges());
    buf.limit(MAX_COUNT);
    buf.skip(done);
    // In a box, as above; what the vector has written counts whether there is memory for it or not.
    match KBox::try_pin_with(|| write_at(t, &file, &mut buf, pos, append)) {
        Ok(written) => written.await,
        Err(_) if done > 0 => Ok(done),
        Err(e) => Err(e.into()),
    }
}

/// readv(fd, vector, count)
pub async fn readv(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    readv_at(t, a, Pos::Shared).await
}

/// writev(fd, vector, count)
pub fn try_writev(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    let file = unsafe { t.files()?.get_light(a[0] as i32) }?;
    vigil_fs::check_write(&file, Pos::Shared)?;
    let v = match Iovecs::import(UserPtr::new(a[1] as usize), a[2] as usize) {
        Ok(v) => v,
        Err(IovecError::Errno(e)) => return Err(e.into()),
        Err(IovecError::Fault(fault)) => return Err(fault.into()),
    };
    let mut buf = IoBuf::iovec(v.ranges());
    buf.limit(MAX_COUNT);
    match vigil_fs::try_write(&file, &mut buf, Pos::Shared, || limits_of(t, false)).map_err(|e| stop(t, &file, e, buf.done())) {
        Err(Stop::Errno(e)) => Ok(write_signals(t, &file, Err(e))?),
        other => other,
    }
}

/// writev, when it must wait
pub async fn writev(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    writev_at(t, a, Pos::Shared, false).await
}

/// preadv(fd, vector, count, low, high): on 64 bits the offset is `low`
pub async fn preadv(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    readv_at(t, a, offset(a[3])?).await
}

/// pwritev(fd, vector, count, low, high)
pub async fn pwritev(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    writev_at(t, a, offset(a[3])?, false).await
}

/// The position and flags of preadv2 and pwritev2; offset -1 is the file's own. EOPNOTSUPP: flags that nothing here has.
fn extended(a: Args) -> Result<Pos, Errno> {
    if a[5] as u32 & !(RWF_DSYNC | RWF_SYNC | RWF_APPEND) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if a[3] as i64 == -1 { Ok(Pos::Shared) } else { offset(a[3]) }
}

/// preadv2(fd, vector, count, low, high, flags)
pub async fn preadv2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    readv_at(t, a, extended(a)?).await
}

/// pwritev2(fd, vector, count, low, high, flags)
pub async fn pwritev2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let pos = extended(a)?;
    let n = writev_at(t, a, pos, a[5] as u32 & RWF_APPEND != 0).await?;
    if a[5] as u32 & (RWF_DSYNC | RWF_SYNC) != 0 {
        let file = t.files()?.get(a[0] as i32)?;
        vigil_fs::fsync(&file, a[5] as u32 & RWF_SYNC == 0).await?;
    }
    Ok(n)
}

/// lseek(fd, offset, whence)
pub fn try_lseek(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread's own table; nothing below changes it.
    let file = unsafe { t.files()?.get_light(a[0] as i32) }?;
    match vigil_fs::llseek(&file, a[1] as i64, a[2] as u32).now_or_never() {
        Some(result) => Ok(result? as usize),
        // Another user of the file holds its position for the moment.
        None => Err(Stop::NotYet),
    }
}

/// lseek, when it must wait for another user of the position
pub async fn lseek(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let file = t.files()?.get(a[0] as i32)?;
    vigil_fs::llseek(&file, a[1] as i64, a[2] as u32).await.map(|at| at as usize)
}
