//! What shmctl(2) asks and changes.

use super::segment::LOCKED;
use super::{SEGMENTS, SHMALL, SHMMAX, TOTAL};
use crate::ipc::sysv::seconds;
use crate::task::limits;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::{IpcPerm, SHM_LOCKED, SHM_STAT_ANY, ShmUsage, ShmidDs, Shminfo};
use vigil_abi::process::CAP_IPC_LOCK;
use vigil_mem::PAGE_SHIFT;

/// IPC_INFO, and the highest index.
pub fn info() -> (Shminfo, usize) {
    let most = SEGMENTS.limit.load(Relaxed) as u64;
    let info =
        Shminfo { shmmax: SHMMAX.load(Relaxed), shmmin: 1, shmmni: most, shmseg: most, shmall: SHMALL.load(Relaxed), ..Shminfo::default() };
    (info, SEGMENTS.count().1)
}

/// SHM_INFO, and the highest index.
pub fn usage() -> (ShmUsage, usize) {
    let (used, highest) = SEGMENTS.count();
    let resident = SEGMENTS.objects().map(|(_, segment)| segment.resident()).sum();
    (ShmUsage { used_ids: used as i32, shm_tot: TOTAL.get(), shm_rss: resident, ..ShmUsage::default() }, highest)
}

/// IPC_STAT, SHM_STAT, SHM_STAT_ANY: with the call's result. EINVAL, EACCES, EIDRM.
pub fn stat(thread: &Thread, id: i32, command: u32) -> Result<(ShmidDs, usize), Errno> {
    let (segment, result) = SEGMENTS.asked(thread, id, command, SHM_STAT_ANY)?;
    let state = segment.lock()?;
    let ds = ShmidDs {
        shm_perm: segment.perm.show(),
        shm_segsz: segment.size,
        shm_atime: state.atime,
        shm_dtime: state.dtime,
        shm_ctime: state.ctime,
        shm_cpid: segment.cpid as i32,
        shm_lpid: state.lpid as i32,
        shm_nattch: state.attached,
        ..ShmidDs::default()
    };
    Ok((ds, result))
}

/// IPC_SET. EINVAL, EPERM, EIDRM.
pub fn set_perm(thread: &Thread, id: i32, new: &IpcPerm) -> Result<(), Errno> {
    let segment = SEGMENTS.find_owned(thread, id)?;
    let mut state = segment.lock()?;
    segment.perm.set(new)?;
    state.ctime = seconds();
    Ok(())
}

/// IPC_RMID. EINVAL, EPERM, EIDRM.
pub fn remove(thread: &Thread, id: i32) -> Result<(), Errno> {
    let segment = SEGMENTS.find_owned(thread, id)?;
    segment.kill()
}

/// SHM_LOCK and SHM_UNLOCK: pages that are never written out are only counted. EINVAL, EPERM, ENOMEM, EIDRM.
pub fn lock(thread: &Thread, id: i32, on: bool) -> Result<(), Errno> {
    let segment = SEGMENTS.find(id)?;
    let mut state = segment.lock()?;
    let cred = thread.cred()?;
    let limit = thread.process.limits.soft(limits::MEMLOCK);
    let privileged = cred.capable(CAP_IPC_LOCK);
    if !privileged && (!segment.perm.is_own(cred) || on && limit == 0) {
        return Err(Errno::EPERM);
    }
    if on && state.locked.is_none() {
        let limit = if privileged || limit == limits::INFINITY { u64::MAX } else { limit >> PAGE_SHIFT };
        if !LOCKED.charge(cred.uid, segment.pages(), limit)? {
            return Err(Errno::ENOMEM);
        }
        state.locked = Some(cred.uid);
        segment.perm.mark(SHM_LOCKED, true);
    } else if !on && let Some(uid) = state.locked.take() {
        LOCKED.uncharge(uid, segment.pages());
        segment.perm.mark(SHM_LOCKED, false);
    }
    Ok(())
}
