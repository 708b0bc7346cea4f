//! From one file to another through the kernel: sendfile, copy_file_range.

use super::Args;
use super::rw::{MAX_COUNT, limits_of, offset, size_signal, write_signals};
use super::user::{self, Faulter};
use crate::task::limits;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_APPEND;
use vigil_fs::{File, Pos};
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::{IoBuf, IoBufMut, KArc, KBox, KVec, UserPtr};

/// Bytes that sendfile and copy_file_range move at a time.
const CHUNK: usize = 16 * PAGE_SIZE;

/// Moves up to `count` bytes from one file to another through the kernel; stops at the first short transfer.
async fn splice(t: &Thread, from: &KArc<File>, at: Pos, to: &KArc<File>, to_at: Pos, count: usize) -> Result<usize, Errno> {
    let mut buffer = KVec::new();
    buffer.try_resize(count.clamp(1, CHUNK), 0u8)?;
    let mut done = 0;
    while done < count {
        let n = (count - done).min(buffer.len());
        let moved = |pos: Pos| match pos {
            Pos::At(p) => Pos::At(p.saturating_add(done as u64)),
            shared => shared,
        };
        let read = vigil_fs::read(from, &mut IoBufMut::kernel(&mut buffer[..n]), moved(at), &Faulter(t)).await;
        let read = match read {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        };
        let mut written = 0;
        while written < read {
            let limits = limits_of(t, false)?;
            let pos = match moved(to_at) {
                Pos::At(p) => Pos::At(p.saturating_add(written as u64)),
                shared => shared,
            };
            let result = vigil_fs::write(to, &mut IoBuf::kernel(&buffer[written..read]), pos, &limits, &Faulter(t)).await;
            match write_signals(t, to, result) {
                Ok(n) => written += n,
                Err(e) if done + written == 0 => {
                    unread(from, at, read);
                    return Err(e);
                }
                Err(_) => break,
            }
        }
        done += written;
        if written < read {
            unread(from, at, read - written);
            break;
        }
    }
    Ok(done)
}

/// What was read and could not be written goes back, for a source with a position.
fn unread(from: &File, at: Pos, n: usize) {
    if at == Pos::Shared {
        from.set_pos(from.pos().saturating_sub(n as u64));
    }
}

/// sendfile(out, in, offset, count)
pub async fn sendfile(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let from = t.files()?.get(a[1] as i32)?;
    let count = (a[3] as usize).min(MAX_COUNT);
    let pointer = UserPtr::<u64>::new(a[2] as usize).or_null();
    let at = match pointer {
        Some(p) => offset(user::get(t, p).await?)?,
        None => Pos::Shared,
    };
    vigil_fs::check_read(&from, at)?;
    let to = t.files()?.get(a[0] as i32)?;
    vigil_fs::check_write(&to, Pos::Shared)?;
    // The source must have pages: sockets and pipes are not sent from. Nothing is appended, but to a pipe, where it means nothing.
    if !super::file::has_pages(&from) || (to.flags() & O_APPEND != 0 && vigil_fs::pipe::of(&to).is_err()) {
        return Err(Errno::EINVAL);
    }
    let n = KBox::try_pin_with(|| splice(t, &from, at, &to, Pos::Shared, count))?.await?;
    if let (Some(p), Pos::At(start)) = (pointer, at) {
        user::put(t, p, &(start + n as u64)).await?;
    }
    Ok(n)
}

/// copy_file_range(in, in offset, out, out offset, count, flags)
pub async fn copy_file_range(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[5] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let from = t.files()?.get(a[0] as i32)?;
    let to = t.files()?.get(a[2] as i32)?;
    let (from_pointer, to_pointer) = (UserPtr::<u64>::new(a[1] as usize).or_null(), UserPtr::<u64>::new(a[3] as usize).or_null());
    let position = async |p: Option<UserPtr<u64>>| match p {
        Some(p) => offset(user::get(t, p).await?),
        None => Ok(Pos::Shared),
    };
    let (at, to_at) = (position(from_pointer).await?, position(to_pointer).await?);
    let count = copy_range(&from, at, &to, to_at, a[4], t.process.limits.soft(limits::FSIZE));
    let count = size_signal(t, count)?.min(MAX_COUNT as u64) as usize;
    let n = KBox::try_pin_with(|| splice(t, &from, at, &to, to_at, count))?.await?;
    for (p, pos) in [(from_pointer, at), (to_pointer, to_at)] {
        if let (Some(p), Pos::At(start)) = (p, pos) {
            user::put(t, p, &(start + n as u64)).await?;
        }
    }
    Ok(n)
}

/// How many bytes copy_file_range may copy (Linux: generic_copy_file_checks), up to the end of the source. EISDIR, EINVAL
/// for what is no regular file or for ranges that overlap, EBADF, EXDEV, EOVERFLOW, EFBIG.
fn copy_range(from: &File, at: Pos, to: &File, to_at: Pos, count: u64, fsize: u64) -> Result<u64, Errno> {
    if from.inode().is_dir() || to.inode().is_dir() {
        return Err(Errno::EISDIR);
    }
    if !super::file::has_pages(from) || !super::file::has_pages(to) {
        return Err(Errno::EINVAL);
    }
    if !from.readable() || !to.writable() || to.flags() & O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    if !KArc::ptr_eq(from.inode().sb(), to.inode().sb()) {
        return Err(Errno::EXDEV);
    }
    let start = |file: &File, pos| match pos {
        Pos::At(at) => at,
        Pos::Shared => file.pos(),
    };
    let (at, to_at) = (start(from, at), start(to, to_at));
    if at.checked_add(count).is_none() || to_at.checked_add(count).is_none() {
        return Err(Errno::EOVERFLOW);
    }
    let mut count = count.min(from.inode().size().saturating_sub(at));
    let max = to.inode().sb().info.max_bytes.min(fsize);
    if to_at >= max {
        return Err(Errno::EFBIG);
    }
    count = count.min(max - to_at);
    if KArc::ptr_eq(from.inode(), to.inode()) && to_at + count > at && to_at < at + count {
        return Err(Errno::EINVAL);
    }
    Ok(count)
}
