//! System V semaphores: semget, semop, semtimedop, semctl.

use super::{Args, user};
use crate::ipc::sysv::sem::set::Request;
use crate::ipc::sysv::sem::{self, SEMOPM, SETS, control, undo};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::ipc::*;
use vigil_abi::time::Timespec;
use vigil_abi::{Errno, Pod};
use vigil_executor::time::now;
use vigil_mem::{KBox, KVec, UserPtr};

/// semget(key, semaphores, flags)
pub async fn semget(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    sem::get(t, a[0] as i32, a[1] as i32, a[2] as u32).map(|id| id as usize)
}

/// semop(set, operations, count)
pub async fn semop(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(operate(t, a[0] as i32, a[1], a[2] as u32, 0))?.await
}

/// semtimedop(set, operations, count, timeout)
pub async fn semtimedop(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(operate(t, a[0] as i32, a[1], a[2] as u32, a[3]))?.await
}

async fn operate(t: &Thread, id: i32, at: u64, count: u32, timeout: u64) -> Result<usize, Errno> {
    let timeout = match UserPtr::<Timespec>::new(timeout as usize).or_null() {
        Some(from) => Some(user::get(t, from).await?),
        None => None,
    };
    if count > SEMOPM.load(Relaxed) as u32 {
        return Err(Errno::E2BIG);
    }
    if count < 1 {
        return Err(Errno::EINVAL);
    }
    let mut ops = KVec::new();
    ops.try_resize(count as usize, Sembuf::default())?;
    user::retry(t, || Ok(UserPtr::<Sembuf>::new(at as usize).read_slice(&mut ops)?)).await?;
    if id < 0 || timeout.is_some_and(|timeout| !timeout.is_valid()) {
        return Err(Errno::EINVAL);
    }
    let highest = ops.iter().map(|op| usize::from(op.sem_num)).max().unwrap_or(0);
    let undoes = ops.iter().any(|op| op.sem_flg as u16 as u32 & SEM_UNDO != 0);
    let alters = ops.iter().any(|op| op.sem_op != 0);
    let set = SETS.find(id)?;
    let undo = if undoes { Some(undo::entry_of(t, &set)?) } else { None };
    if highest >= set.nsems {
        return Err(Errno::EFBIG);
    }
    control::check(t, &set, alters)?;
    let deadline = timeout.map(|timeout| now().saturating_add(timeout.to_nanos()));
    set.operate(Request::new(t, ops, undo), deadline, super::time::slack_of(t)).await.map(|()| 0)
}

async fn put<T: Pod>(t: &Thread, to: u64, value: &T) -> Result<(), Errno> {
    user::put(t, UserPtr::new(to as usize), value).await
}

/// semctl(set, number, command, argument)
pub async fn semctl(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin(ctl(t, a[0] as i32, a[1] as i32, a[2] as u32, a[3]))?.await
}

async fn ctl(t: &Thread, id: i32, number: i32, command: u32, arg: u64) -> Result<usize, Errno> {
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    match command {
        IPC_INFO | SEM_INFO => {
            let (info, highest) = control::info(command == SEM_INFO);
            put(t, arg, &info).await?;
            Ok(highest)
        }
        IPC_STAT | SEM_STAT | SEM_STAT_ANY => {
            let (ds, result) = control::stat(t, id, command)?;
            put(t, arg, &ds).await?;
            Ok(result)
        }
        GETALL => {
            let values = control::values(&*control::find(t, id, false)?)?;
            user::retry(t, || Ok(UserPtr::<u16>::new(arg as usize).write_slice(&values)?)).await?;
            Ok(0)
        }
        SETALL => {
            let set = control::find(t, id, true)?;
            let mut values = KVec::new();
            values.try_resize(set.nsems, 0u16)?;
            user::retry(t, || Ok(UserPtr::<u16>::new(arg as usize).read_slice(&mut values)?)).await?;
            control::set_all(t, &set, &values)?;
            Ok(0)
        }
        GETVAL | GETPID | GETNCNT | GETZCNT => control::value(&*control::find(t, id, false)?, number, command),
        SETVAL => control::set_value(t, id, number, arg as i32).map(|()| 0),
        IPC_SET => {
            let new = user::get(t, UserPtr::<SemidDs>::new(arg as usize)).await?;
            control::set_perm(t, id, &new.sem_perm).map(|()| 0)
        }
        IPC_RMID => control::remove(t, id).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
