//! read(2), write(2) and their kin: checks, position, limits, and the loop that waits (Linux: fs/read_write.c).
//!
//! Each call comes twice. The `try_` form is a plain function for the system call's fast path: it completes or says why
//! it stopped. The `async` form takes the same buffer on from there: what was transferred is counted in the buffer, so
//! the short counts at the end are Linux's whichever form did the work.
//!
//! Writing to a regular file takes its inode's `rwsem` exclusively (Linux: inode_lock in write_iter), which orders
//! appends, size changes and limits. Order of locks: `f_pos_lock`, `i_rwsem`, then whatever a page fault takes.

use super::file::{File, Mode};
use super::inode::Setattr;
use super::ops::{AtOnce, OpResult, Stop};
use super::wait::{Mem, again, drive, drive_past};
use vigil_abi::Errno;
use vigil_abi::fcntl::O_APPEND;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{IoBuf, IoBufMut, UserRange};

/// Where a transfer starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pos {
    /// At the file's position, which moves.
    Shared,
    /// At this offset of the buffer's first byte; the file's position stays (pread, pwrite).
    At(u64),
}

/// What a write is subject to besides the file.
#[derive(Clone, Copy, Debug)]
pub struct WriteLimits {
    /// RLIMIT_FSIZE; `u64::MAX` for none.
    pub fsize: u64,
    /// The writer has CAP_FSETID: set-id bits stay.
    pub keep_suid: bool,
    /// Append wherever the position is (RWF_APPEND).
    pub append: bool,
}

impl WriteLimits {
    /// Without limits: the kernel's own writes.
    pub const NONE: WriteLimits = WriteLimits { fsize: u64::MAX, keep_suid: true, append: false };
}

/// Whether `file` can be read from at `pos`. EBADF, ESPIPE for an offset in a stream, EINVAL beyond the largest offset.
#[inline]
pub fn check_read(file: &File, pos: Pos) -> Result<(), Errno> {
    if !file.readable() {
        return Err(Errno::EBADF);
    }
    check_pos(file, pos)
}

/// Whether `file` can be written to at `pos`. EBADF, ESPIPE, EINVAL.
#[inline]
pub fn check_write(file: &File, pos: Pos) -> Result<(), Errno> {
    if !file.writable() {
        return Err(Errno::EBADF);
    }
    check_pos(file, pos)
}

#[inline]
fn check_pos(file: &File, pos: Pos) -> Result<(), Errno> {
    match pos {
        Pos::At(_) if file.mode().intersects(Mode::STREAM | Mode::NO_PREAD) => Err(Errno::ESPIPE),
        Pos::At(at) if at > i64::MAX as u64 => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

#[inline]
fn start(file: &File, pos: Pos, done: usize) -> u64 {
    match pos {
        Pos::Shared => file.pos(),
        Pos::At(at) => at.saturating_add(done as u64),
    }
}

/// Whether a transfer of `count` bytes from `at` on stays within the largest offset (Linux: rw_verify_area). EINVAL.
#[inline]
fn verify_area(file: &File, at: u64, count: usize) -> Result<(), Errno> {
    match at.wrapping_add(count as u64) as i64 {
        end if end < 0 && !file.mode().contains(Mode::STREAM) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

#[inline]
fn finish(file: &File, pos: Pos, at: u64) {
    if pos == Pos::Shared && !file.mode().contains(Mode::STREAM) {
        file.set_pos(at);
    }
}

#[inline]
fn locks_pos(file: &File, pos: Pos) -> bool {
    pos == Pos::Shared && file.mode().contains(Mode::ATOMIC_POS)
}

/// Whether a write holds the inode's lock: data files, not those that act when they are written to (/proc, /sys).
#[inline]
fn locks_inode(file: &File) -> bool {
    file.inode().is_regular() && !file.mode().contains(Mode::SELF_ORDERED)
}

/// The short way of a read(2) into `to`, of a file that can be read from; see [`FileOps::read_at_once`](super::ops::FileOps::read_at_once).
#[inline(always)]
pub fn read_at_once(file: &File, to: impl FnOnce() -> Option<UserRange>) -> AtOnce<'_> {
    if file.mode().contains(Mode::STREAM)
        && let Some(to) = to()
    {
        return file.ops().read_at_once(file, to);
    }
    AtOnce::No
}

/// The short way of a write(2) from `from`, of a file that can be written to.
#[inline(always)]
pub fn write_at_once(file: &File, from: impl FnOnce() -> Option<UserRange>) -> AtOnce<'_> {
    if file.mode().contains(Mode::STREAM)
        && let Some(from) = from()
    {
        return file.ops().write_at_once(file, from);
    }
    AtOnce::No
}

/// One attempt to read. On `Err` other than [`Stop::Err`], go on with [`read`] and the same buffer.
#[inline(always)]
pub fn try_read<'a>(file: &'a File, buf: &mut IoBufMut<'_>, pos: Pos) -> OpResult<'a, usize> {
    check_read(file, pos)?;
    if locks_pos(file, pos) { try_read_locked(file, buf, pos) } else { read_now(file, buf, pos) }
}

#[inline(never)]
fn try_read_locked<'a>(file: &'a File, buf: &mut IoBufMut<'_>, pos: Pos) -> OpResult<'a, usize> {
    let _guard = file.pos_lock.try_lock().ok_or_else(again)?;
    read_now(file, buf, pos)
}

#[inline(always)]
fn read_now<'a>(file: &'a File, buf: &mut IoBufMut<'_>, pos: Pos) -> OpResult<'a, usize> {
    let mut at = start(file, pos, buf.done());
    verify_area(file, at, buf.remaining())?;
    let before = buf.done();
    let result = file.ops().read(file, buf, &mut at);
    finish(file, pos, at);
    total(result, before, buf.done())
}

/// One attempt to write. On `Err` other than [`Stop::Err`], go on with [`write`] and the same buffer. `limits` are asked
/// for only by files that have a size.
#[inline]
pub fn try_write<'a>(
    file: &'a File,
    buf: &mut IoBuf<'_>,
    pos: Pos,
    limits: impl FnOnce() -> Result<WriteLimits, Errno>,
) -> OpResult<'a, usize> {
    check_write(file, pos)?;
    // A stream has neither a position nor a size.
    if file.mode().contains(Mode::STREAM) { write_now(file, buf, pos) } else { try_write_sized(file, buf, pos, &limits()?) }
}

#[inline(never)]
fn try_write_sized<'a>(file: &'a File, buf: &mut IoBuf<'_>, pos: Pos, limits: &WriteLimits) -> OpResult<'a, usize> {
    let _pos_guard = match locks_pos(file, pos) {
        true => Some(file.pos_lock.try_lock().ok_or_else(again)?),
        false => None,
    };
    if !locks_inode(file) {
        verify_area(file, start(file, pos, buf.done()), buf.remaining())?;
        return write_now(file, buf, pos);
    }
    let _guard = file.inode().rwsem.try_write().ok_or_else(again)?;
    let before = buf.done();
    let mut at = start(file, pos, before);
    verify_area(file, at, buf.remaining())?;
    prepare_regular(file, buf, &mut at, limits)?;
    let result = file.ops().write(file, buf, &mut at);
    finish(file, pos, at);
    total(result, before, buf.done())
}

#[inline(always)]
fn write_now<'a>(file: &'a File, buf: &mut IoBuf<'_>, pos: Pos) -> OpResult<'a, usize> {
    let before = buf.done();
    let mut at = start(file, pos, before);
    let result = file.ops().write(file, buf, &mut at);
    finish(file, pos, at);
    total(result, before, buf.done())
}

/// A stop after some bytes is a stop still (the caller goes on); an error is a count if an earlier attempt did something.
/// What the failed attempt took out of the buffer does not count: it went nowhere.
#[inline]
fn total<'a>(result: OpResult<'a, usize>, before: usize, done: usize) -> OpResult<'a, usize> {
    match result {
        Ok(_) => Ok(done),
        Err(Stop::Err(_)) if before > 0 => Ok(before),
        Err(stop) => Err(stop),
    }
}

/// Reads, waiting as the file says. ERESTARTSYS when a signal came before the first byte.
pub async fn read<M: Mem>(file: &File, buf: &mut IoBufMut<'_>, pos: Pos, mem: &M) -> Result<usize, Errno> {
    check_read(file, pos)?;
    let _guard = match locks_pos(file, pos) {
        true => Some(file.pos_lock.lock(wait_site!("f_pos_lock")).await),
        false => None,
    };
    let mut at = start(file, pos, buf.done());
    verify_area(file, at, buf.remaining())?;
    let mut failed = None;
    let read = || {
        let before = buf.done();
        let result = file.ops().read(file, buf, &mut at);
        failed = matches!(result, Err(Stop::Err(_))).then_some(before);
        result
    };
    let result = drive_past(|| file.ops().obstacle(), wait_site!("read"), WaitMode::Interruptible, mem, read).await;
    finish(file, pos, at);
    counted(result, failed.unwrap_or(buf.done()))
}

/// Writes, waiting as the file says. EPIPE and EFBIG are to be followed by their signals (SIGPIPE, SIGXFSZ) if nothing
/// was written, ERESTARTSYS when a signal came before the first byte.
pub async fn write<M: Mem>(file: &File, buf: &mut IoBuf<'_>, pos: Pos, limits: &WriteLimits, mem: &M) -> Result<usize, Errno> {
    check_write(file, pos)?;
    let _pos_guard = match locks_pos(file, pos) {
        true => Some(file.pos_lock.lock(wait_site!("f_pos_lock")).await),
        false => None,
    };
    let mut at = start(file, pos, buf.done());
    verify_area(file, at, buf.remaining())?;
    let regular = locks_inode(file);
    let _guard = match regular {
        true => Some(file.inode().rwsem.write(wait_site!("inode_lock")).await),
        false => None,
    };
    if regular {
        match prepare_regular(file, buf, &mut at, limits) {
            Err(_) if buf.done() > 0 => return Ok(buf.done()),
            prepared => prepared?,
        }
    }
    let mode = if regular { WaitMode::Killable } else { WaitMode::Interruptible };
    let mut failed = None;
    let write = || {
        let before = buf.done();
        let result = file.ops().write(file, buf, &mut at);
        failed = matches!(result, Err(Stop::Err(_))).then_some(before);
        result
    };
    let result = drive(wait_site!("write"), mode, mem, write).await;
    finish(file, pos, at);
    counted(result, failed.unwrap_or(buf.done()))
}

fn counted(result: Result<usize, Errno>, done: usize) -> Result<usize, Errno> {
    match result {
        Err(errno) if done == 0 => Err(errno),
        _ => Ok(done),
    }
}

/// Checks and cuts a write to a regular file whose inode is locked (Linux: generic_write_checks, file_remove_privs).
fn prepare_regular(file: &File, buf: &mut IoBuf<'_>, at: &mut u64, limits: &WriteLimits) -> Result<(), Errno> {
    if buf.is_empty() {
        return Ok(());
    }
    let inode = file.inode();
    if limits.append || file.flags() & O_APPEND != 0 {
        *at = inode.size();
    }
    let max = inode.sb().info.max_bytes.min(limits.fsize);
    if *at >= max {
        return Err(Errno::EFBIG);
    }
    buf.limit(usize::try_from(max - *at).unwrap_or(usize::MAX));
    if !limits.keep_suid
        && let Some(mode) = inode.mode_without_suid()
    {
        inode.apply(&Setattr { mode: Some(mode), ..Setattr::default() });
    }
    Ok(())
}
