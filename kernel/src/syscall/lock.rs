//! flock(2) and the lock commands of fcntl(2).

use super::{Args, user};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_fs::vfs::file::Mode;
use vigil_fs::vfs::lock::range::Record;
use vigil_fs::vfs::lock::{Kind, Owner, file_id, flock as whole, record};
use vigil_fs::{FdTable, File};
use vigil_mem::{KArc, KBox, UserPtr};

/// Last byte of a lock that goes to the end of the file.
const TO_THE_END: u64 = i64::MAX as u64;

/// flock(fd, operation)
pub async fn flock(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    const LOCK_MAND: u32 = 32;
    let operation = a[1] as u32;
    // Mandatory locks are gone; the request is still no error.
    if operation & LOCK_MAND != 0 {
        return Ok(0);
    }
    let kind = match operation & !LOCK_NB {
        LOCK_SH => Some(Kind::Read),
        LOCK_EX => Some(Kind::Write),
        LOCK_UN => None,
        _ => return Err(Errno::EINVAL),
    };
    let file = t.files()?.get(a[0] as i32)?;
    if kind.is_some() && !file.mode().intersects(Mode::READ | Mode::WRITE) {
        return Err(Errno::EBADF);
    }
    let wait = operation & LOCK_NB == 0;
    let locked = KBox::try_pin_with(|| whole::flock(&file, kind, wait)).map_err(|_| Errno::ENOLCK)?;
    locked.await.map(|()| 0)
}

/// Where a range begins and ends (Linux: flock64_to_posix_lock). EINVAL, EOVERFLOW.
fn range(file: &File, lock: &Flock) -> Result<(u64, u64), Errno> {
    let base = match lock.l_whence as u32 {
        SEEK_SET => 0,
        SEEK_CUR => file.pos() as i64,
        SEEK_END => file.inode().size() as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(lock.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match lock.l_len {
        _ if start < 0 => return Err(Errno::EINVAL),
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).filter(|first| *first >= 0).ok_or(Errno::EINVAL)?, start - 1),
    };
    Ok((start as u64, end as u64))
}

fn kind(lock: &Flock) -> Result<Option<Kind>, Errno> {
    match lock.l_type {
        F_RDLCK => Ok(Some(Kind::Read)),
        F_WRLCK => Ok(Some(Kind::Write)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

/// Whose lock a command is about, and the number that F_GETLK shows for it.
fn owner(t: &Thread, files: &FdTable, file: &File, command: u32) -> (Owner, i32) {
    match command {
        F_OFD_GETLK | F_OFD_SETLK | F_OFD_SETLKW => (Owner::File(file_id(file)), -1),
        _ => (files.lock_owner(), t.process.pid as i32),
    }
}

/// F_GETLK, F_SETLK, F_SETLKW and their OFD twins on `file`, which is `fd` of `files`.
pub(super) async fn fcntl(t: &Thread, files: &KArc<FdTable>, fd: i32, file: &KArc<File>, command: u32, arg: u64) -> Result<usize, Errno> {
    let p = UserPtr::<Flock>::new(arg as usize);
    let lock = user::get(t, p).await?;
    let (owner, pid) = owner(t, files, file, command);
    let is_ofd = matches!(owner, Owner::File(_));
    if matches!(command, F_GETLK | F_OFD_GETLK) {
        let wanted = kind(&lock)?.ok_or(Errno::EINVAL)?;
        let (start, end) = range(file, &lock)?;
        if is_ofd && lock.l_pid != 0 {
            return Err(Errno::EINVAL);
        }
        let held = record::test(file, &Record { owner, pid, kind: wanted, start, end });
        user::put(t, p, &answer(lock, held)).await?;
        return Ok(0);
    }
    let (start, end) = range(file, &lock)?;
    let wanted = kind(&lock)?;
    let allowed = match wanted {
        Some(Kind::Read) => file.readable(),
        Some(Kind::Write) => file.writable(),
        None => true,
    };
    if !allowed {
        return Err(Errno::EBADF);
    }
    if is_ofd && lock.l_pid != 0 {
        return Err(Errno::EINVAL);
    }
    let Some(kind) = wanted else { return record::unlock(file, owner, start, end).map(|()| 0) };
    files.note_record_lock();
    let wait = matches!(command, F_SETLKW | F_OFD_SETLKW);
    record::lock(file, Record { owner, pid, kind, start, end }, wait).await?;
    // Another thread may have closed the descriptor meanwhile, and with it, before it was there, this lock.
    if !is_ofd && !files.get_raw(fd).is_ok_and(|now| KArc::ptr_eq(&now, file)) {
        record::unlock(file, owner, start, end)?;
        return Err(Errno::EBADF);
    }
    Ok(0)
}

/// What F_GETLK stores: `lock` as free, or the lock that is in the way.
fn answer(lock: Flock, held: Option<Record>) -> Flock {
    let Some(held) = held else { return Flock { l_type: F_UNLCK, ..lock } };
    Flock {
        l_type: if held.kind == Kind::Read { F_RDLCK } else { F_WRLCK },
        l_whence: SEEK_SET as i16,
        l_start: held.start as i64,
        l_len: if held.end == TO_THE_END { 0 } else { (held.end - held.start + 1) as i64 },
        l_pid: held.pid,
        ..lock
    }
}
