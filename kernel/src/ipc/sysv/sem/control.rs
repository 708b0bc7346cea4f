//! What semctl(2) asks and changes.

use super::set::Set;
use super::{SEMMNS, SEMMSL, SEMOPM, SEMVMX, SETS, USED};
use crate::ipc::sysv::perm::{READ, WRITE};
use crate::ipc::sysv::seconds;
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::ipc::{GETNCNT, GETPID, GETVAL, GETZCNT, IpcPerm, SEM_STAT_ANY, SemidDs, Seminfo};
use vigil_mem::{KArc, KVec};

/// IPC_INFO, or SEM_INFO when `in_use`; and the highest index.
pub fn info(in_use: bool) -> (Seminfo, usize) {
    let (sets, highest) = SETS.count();
    let most = SEMMNS.load(Relaxed);
    let info = Seminfo {
        semmap: 1_024_000_000,
        semmni: SETS.limit.load(Relaxed),
        semmns: most,
        semmnu: 1_024_000_000,
        semmsl: SEMMSL.load(Relaxed),
        semopm: SEMOPM.load(Relaxed),
        semume: 500,
        semusz: if in_use { sets as i32 } else { 20 },
        semvmx: SEMVMX,
        semaem: if in_use { USED.get() as i32 } else { super::SEMAEM },
    };
    (info, highest)
}

/// IPC_STAT, SEM_STAT, SEM_STAT_ANY: with the call's result. EINVAL, EACCES, EIDRM.
pub fn stat(thread: &Thread, id: i32, command: u32) -> Result<(SemidDs, usize), Errno> {
    let (set, result) = SETS.asked(thread, id, command, SEM_STAT_ANY)?;
    let state = set.lock()?;
    let ds = SemidDs {
        sem_perm: set.perm.show(),
        sem_otime: state.otime,
        sem_ctime: state.ctime,
        sem_nsems: set.nsems as u64,
        ..SemidDs::default()
    };
    Ok((ds, result))
}

/// Whether `thread` may read the set's semaphores, or change them. EACCES.
pub fn check(thread: &Thread, set: &Set, change: bool) -> Result<(), Errno> {
    set.perm.check(thread, if change { WRITE } else { READ })
}

/// Finds a set for reading its semaphores, or for changing them. EINVAL, EACCES.
pub fn find(thread: &Thread, id: i32, change: bool) -> Result<KArc<Set>, Errno> {
    let set = SETS.find(id)?;
    check(thread, &set, change)?;
    Ok(set)
}

/// GETALL. EIDRM, ENOMEM.
pub fn values(set: &Set) -> Result<KVec<u16>, Errno> {
    let mut values = KVec::try_with_capacity(set.nsems)?;
    for sem in set.lock()?.sems.iter() {
        let _ = values.push_reserved(sem.value as u16);
    }
    Ok(values)
}

/// GETVAL, GETPID, GETNCNT, GETZCNT of one semaphore. EINVAL, EIDRM.
pub fn value(set: &Set, number: i32, command: u32) -> Result<usize, Errno> {
    let number = set.index(number)?;
    let state = set.lock()?;
    Ok(match command {
        GETVAL => state.sems[number].value as usize,
        GETPID => state.sems[number].pid as usize,
        GETNCNT => state.count_waiting(number, false),
        GETZCNT => state.count_waiting(number, true),
        _ => return Err(Errno::EINVAL),
    })
}

/// SETALL. ERANGE, EIDRM.
pub fn set_all(thread: &Thread, set: &Set, values: &[u16]) -> Result<(), Errno> {
    if values.iter().any(|&v| i32::from(v) > SEMVMX) {
        return Err(Errno::ERANGE);
    }
    let mut state = set.lock()?;
    for (number, &value) in values.iter().enumerate() {
        state.sems[number] = super::set::Sem { value: i32::from(value), pid: thread.process.pid };
        state.forget_undo(number);
    }
    state.ctime = seconds();
    state.update();
    Ok(())
}

/// SETVAL. ERANGE, EINVAL, EACCES, EIDRM.
pub fn set_value(thread: &Thread, id: i32, number: i32, value: i32) -> Result<(), Errno> {
    if !(0..=SEMVMX).contains(&value) {
        return Err(Errno::ERANGE);
    }
    let set = SETS.find(id)?;
    let number = set.index(number)?;
    set.perm.check(thread, WRITE)?;
    let mut state = set.lock()?;
    state.sems[number] = super::set::Sem { value, pid: thread.process.pid };
    state.forget_undo(number);
    state.ctime = seconds();
    state.update();
    Ok(())
}

/// IPC_SET. EINVAL, EPERM, EIDRM.
pub fn set_perm(thread: &Thread, id: i32, new: &IpcPerm) -> Result<(), Errno> {
    let set = SETS.find_owned(thread, id)?;
    let mut state = set.lock()?;
    set.perm.set(new)?;
    state.ctime = seconds();
    Ok(())
}

/// IPC_RMID. EINVAL, EPERM, EIDRM.
pub fn remove(thread: &Thread, id: i32) -> Result<(), Errno> {
    let set = SETS.find_owned(thread, id)?;
    set.kill()?;
    SETS.remove(id);
    Ok(())
}
