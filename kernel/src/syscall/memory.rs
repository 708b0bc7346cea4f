//! Memory: thin entries to `crate::mm`.

use super::{Args, user};
use crate::mm::{Limits, Mm, MmapRequest};
use crate::task::limits;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::mm::*;
use vigil_abi::process::{CAP_IPC_LOCK, CAP_SYS_RAWIO};
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::{KArc, KBox, KVec, UserPtr};

fn mm(t: &Thread) -> Result<KArc<Mm>, Errno> {
    t.share_mm().ok_or(Errno::ENOMEM)
}

/// The limits that bound the caller's address space.
pub(crate) fn limits_of(t: &Thread) -> Result<Limits, Errno> {
    let l = &t.process.limits;
    Ok(Limits {
        as_: l.soft(limits::AS),
        data: l.soft(limits::DATA),
        stack: l.soft(limits::STACK),
        memlock: l.soft(limits::MEMLOCK),
        cap_ipc_lock: t.cred()?.capable(CAP_IPC_LOCK),
        cap_sys_rawio: t.cred()?.capable(CAP_SYS_RAWIO),
    })
}

/// brk(address): the break after the call, unchanged when it could not be moved
pub async fn brk(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    Ok(mm.brk(a[0] as usize, &limits).await)
}

/// mmap(address, length, prot, flags, fd, offset)
pub async fn mmap(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[5] as usize % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL);
    }
    let flags = a[3] as u32;
    let file = if flags & MAP_ANONYMOUS == 0 { Some(t.files()?.get(a[4] as i32)?) } else { None };
    let request = MmapRequest { addr: a[0] as usize, len: a[1] as usize, prot: a[2] as u32, flags, file, offset: a[5] };
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    KBox::try_pin_with(|| mm.mmap(request, &limits))?.await
}

/// munmap(address, length)
pub async fn munmap(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    mm.munmap(a[0] as usize, a[1] as usize).await.map(|()| 0)
}

/// mprotect(address, length, prot)
pub async fn mprotect(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    mm.mprotect(a[0] as usize, a[1] as usize, a[2] as u32, &limits).await.map(|()| 0)
}

/// mremap(old, old_length, new_length, flags, new)
pub async fn mremap(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    KBox::try_pin(async move { mm.mremap(a[0] as usize, a[1] as usize, a[2] as usize, a[3] as u32, a[4] as usize, &limits).await })?.await
}

/// madvise(address, length, advice)
pub async fn madvise(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    if a[2] as u32 == MADV_REMOVE {
        return KBox::try_pin(remove(t, mm, a[0] as usize, a[1] as usize))?.await;
    }
    mm.madvise(a[0] as usize, a[1] as usize, a[2] as u32).await.map(|()| 0)
}

/// MADV_REMOVE: punches holes into the files that are mapped shared in the range.
async fn remove(t: &Thread, mm: KArc<Mm>, address: usize, length: usize) -> Result<usize, Errno> {
    use vigil_abi::fcntl::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE};
    let (fs, cred) = (t.share_fs().ok_or(Errno::ENOENT)?, t.share_cred().ok_or(Errno::EPERM)?);
    let ctx = vigil_fs::Ctx { fs: &fs, cred: &cred, fsize_limit: u64::MAX };
    let (mut at, end) = Mm::advised_range(address, length)?;
    let mut holes = false;
    while at < end {
        // mmap_lock comes after the inode's lock, so it is let go for each mapping.
        let Some(piece) = mm.piece_to_remove(at, end).await? else {
            holes = true;
            break;
        };
        holes |= piece.start > at;
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        vigil_fs::fallocate(&ctx, &piece.file, mode, piece.offset as i64, (piece.end - piece.start) as i64).await?;
        at = piece.end;
    }
    if holes { Err(Errno::ENOMEM) } else { Ok(0) }
}

/// msync(address, length, flags)
pub async fn msync(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    KBox::try_pin(async move { mm.msync(a[0] as usize, a[1] as usize, a[2] as u32).await })?.await.map(|()| 0)
}

/// mincore(address, length, vector)
pub async fn mincore(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    let pages = (a[1] as usize).div_ceil(PAGE_SIZE);
    // A page of answers at a time, so that the vector's length bounds no allocation.
    let mut done = 0;
    loop {
        let count = (pages - done).min(PAGE_SIZE);
        let mut answers = KVec::new();
        answers.try_resize(count, 0u8)?;
        let from = (a[0] as usize).wrapping_add(done * PAGE_SIZE);
        let answers = {
            let mm = mm.clone();
            KBox::try_pin(async move { mm.mincore(from, &mut answers).await.map(|()| answers) })?.await?
        };
        let to = UserPtr::<u8>::new((a[2] as usize).wrapping_add(done));
        user::retry(t, || Ok(to.write_slice(&answers)?)).await?;
        done += count;
        if done >= pages {
            return Ok(0);
        }
    }
}

/// mlock(address, length)
pub async fn mlock(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    lock(t, a[0], a[1], false).await
}

async fn lock(t: &Thread, address: u64, length: u64, onfault: bool) -> Result<usize, Errno> {
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    KBox::try_pin(async move { mm.mlock(address as usize, length as usize, onfault, &limits).await })?.await.map(|()| 0)
}

/// mlock2(address, length, flags)
pub async fn mlock2(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let onfault = u64::from(MLOCK_ONFAULT);
    if a[2] & !onfault != 0 {
        return Err(Errno::EINVAL);
    }
    lock(t, a[0], a[1], a[2] == onfault).await
}

/// munlock(address, length)
pub async fn munlock(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    KBox::try_pin(async move { mm.munlock(a[0] as usize, a[1] as usize).await })?.await.map(|()| 0)
}

/// mlockall(flags)
pub async fn mlockall(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (mm, limits) = (mm(t)?, limits_of(t)?);
    KBox::try_pin(async move { mm.mlockall(a[0] as u32, &limits).await })?.await.map(|()| 0)
}

/// munlockall()
pub async fn munlockall(t: &Thread, _: Args<'_>) -> Result<usize, Errno> {
    let mm = mm(t)?;
    KBox::try_pin(async move { mm.munlockall().await })?.await;
    Ok(0)
}
