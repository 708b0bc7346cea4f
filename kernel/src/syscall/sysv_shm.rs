//! System V shared memory: shmget, shmat, shmdt, shmctl.

use super::memory::limits_of;
use super::{Args, user};
use crate::ipc::sysv::perm::{READ, WRITE};
use crate::ipc::sysv::shm::segment::Attaching;
use crate::ipc::sysv::shm::{self, SEGMENTS, control};
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::{O_RDONLY, O_RDWR};
use vigil_abi::ipc::*;
use vigil_abi::mm::{PROT_EXEC, PROT_READ, PROT_WRITE};
use vigil_mem::addr::PAGE_SIZE;
use vigil_mem::{KBox, UserPtr};

/// shmget(key, size, flags)
pub async fn shmget(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    shm::get(t, a[0] as i32, a[1], a[2] as u32).map(|id| id as usize)
}

/// shmat(segment, address, flags)
pub async fn shmat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(attach(t, a[0] as i32, a[1] as usize, a[2] as u32))?.await
}

async fn attach(t: &Thread, id: i32, mut addr: usize, flags: u32) -> Result<usize, Errno> {
    let replaces = flags & SHM_REMAP != 0;
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    if addr % PAGE_SIZE != 0 {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        addr -= addr % PAGE_SIZE;
    }
    if addr == 0 && replaces {
        return Err(Errno::EINVAL);
    }
    let (mut prot, mut wanted, open) =
        if flags & SHM_RDONLY != 0 { (PROT_READ, READ, O_RDONLY) } else { (PROT_READ | PROT_WRITE, READ | WRITE, O_RDWR) };
    if flags & SHM_EXEC != 0 {
        prot |= PROT_EXEC;
        wanted |= 0o111;
    }
    let segment = SEGMENTS.find(id)?;
    segment.perm.check(t, wanted)?;
    let size = segment.size as usize;
    let attaching = Attaching::new(segment)?;
    let file = attaching.file(open)?;
    let mm = t.share_mm().ok_or(Errno::ENOMEM)?;
    mm.attach(file, addr, size, prot, replaces, &limits_of(t)?).await
}

/// shmdt(address)
pub async fn shmdt(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let mm = t.share_mm().ok_or(Errno::ENOMEM)?;
    KBox::try_pin(mm.detach(a[0] as usize))?.await.map(|()| 0)
}

/// shmctl(segment, command, buffer)
pub async fn shmctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(ctl(t, a[0] as i32, a[1] as i32, a[2] as usize))?.await
}

async fn ctl(t: &Thread, id: i32, command: i32, at: usize) -> Result<usize, Errno> {
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL);
    }
    match command as u32 {
        IPC_INFO => {
            let (info, highest) = control::info();
            user::put(t, UserPtr::new(at), &info).await?;
            Ok(highest)
        }
        SHM_INFO => {
            let (usage, highest) = control::usage();
            user::put(t, UserPtr::new(at), &usage).await?;
            Ok(highest)
        }
        command @ (IPC_STAT | SHM_STAT | SHM_STAT_ANY) => {
            let (ds, result) = control::stat(t, id, command)?;
            user::put(t, UserPtr::new(at), &ds).await?;
            Ok(result)
        }
        IPC_SET => {
            let new = user::get(t, UserPtr::<ShmidDs>::new(at)).await?;
            control::set_perm(t, id, &new.shm_perm).map(|()| 0)
        }
        IPC_RMID => control::remove(t, id).map(|()| 0),
        command @ (SHM_LOCK | SHM_UNLOCK) => control::lock(t, id, command == SHM_LOCK).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
