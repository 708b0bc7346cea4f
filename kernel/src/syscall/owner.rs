//! Who gets the signals of a file: F_SETOWN, F_SETSIG and their kin (Linux: f_setown).

use super::user;
use crate::task::process::tasks;
use crate::task::signal;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::*;
use vigil_fs::File;
use vigil_mem::UserPtr;

/// Makes number `pid` of the kind `kind` the owner; 0: nobody. ESRCH.
fn set(t: &Thread, file: &File, kind: u32, pid: u32) -> Result<(), Errno> {
    if pid != 0 && !tasks().pids.is_known(pid) {
        return Err(Errno::ESRCH);
    }
    let cred = t.cred()?;
    file.set_signal_owner(|owner| (owner.kind, owner.pid, owner.uid, owner.euid) = (kind, pid, cred.uid, cred.euid))
}

/// The owner, as kind and number; 0 if it is gone.
fn get(file: &File) -> (u32, u32) {
    let owner = file.signal_owner();
    let guard = tasks();
    let lives = match owner.kind {
        F_OWNER_TID => guard.pids.thread(owner.pid).is_some(),
        F_OWNER_PGRP => guard.pids.is_group(owner.pid),
        _ => guard.pids.process(owner.pid).is_some(),
    };
    (owner.kind, if lives { owner.pid } else { 0 })
}

/// F_SETOWN, F_GETOWN, F_SETOWN_EX, F_GETOWN_EX, F_SETSIG, F_GETSIG.
pub(super) async fn fcntl(t: &Thread, file: &File, command: u32, arg: u64) -> Result<usize, Errno> {
    let ex = UserPtr::<FOwnerEx>::new(arg as usize);
    match command {
        F_SETOWN => {
            let who = arg as i32;
            match who {
                i32::MIN => return Err(Errno::EINVAL),
                ..0 => set(t, file, F_OWNER_PGRP, who.unsigned_abs())?,
                _ => set(t, file, F_OWNER_PID, who as u32)?,
            }
        }
        F_GETOWN => {
            let (kind, pid) = get(file);
            // A group is negative, and no error.
            return Ok(if kind == F_OWNER_PGRP { (pid as usize).wrapping_neg() } else { pid as usize });
        }
        F_SETOWN_EX => {
            let owner = user::get(t, ex).await?;
            let kind = owner.type_ as u32;
            if !matches!(kind, F_OWNER_TID | F_OWNER_PID | F_OWNER_PGRP) {
                return Err(Errno::EINVAL);
            }
            set(t, file, kind, owner.pid as u32)?;
        }
        F_GETOWN_EX => {
            let (kind, pid) = get(file);
            user::put(t, ex, &FOwnerEx { type_: kind as i32, pid: pid as i32 }).await?;
        }
        F_SETSIG => {
            let signal = u32::try_from(arg).ok().filter(|&signal| signal as usize <= signal::NSIG).ok_or(Errno::EINVAL)?;
            file.set_signal_owner(|owner| owner.signal = signal)?;
        }
        _ => return Ok(file.signal_owner().signal as usize),
    }
    Ok(0)
}
