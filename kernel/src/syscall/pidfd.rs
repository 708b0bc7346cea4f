//! Calls that name a process by a file (pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)).

use super::signal::{check_code, kill_process_with};
use super::{Args, fd, user};
use crate::task::pidfd;
use crate::task::process::{Life, find_process, find_thread, tasks};
use crate::task::signal::SigInfo;
use crate::task::thread::Thread;
use vigil_abi::Errno;
use vigil_abi::fcntl::O_NONBLOCK;
use vigil_abi::signal::Siginfo;
use vigil_mem::UserPtr;

/// pidfd_open(pid, flags)
pub async fn pidfd_open(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (pid, flags) = (a[0] as i32, a[1] as u32);
    if flags & !O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let process = match find_process(pid as u32) {
        Some(process) => process,
        // A thread that leads no process has a number, but no file.
        None => return Err(if find_thread(pid as u32).is_some() { Errno::EINVAL } else { Errno::ESRCH }),
    };
    let reserved = t.files()?.reserve(0, fd::nofile(t), true)?;
    Ok(reserved.install(pidfd::file_of(process, flags)?) as usize)
}

/// pidfd_send_signal(pidfd, signal, info, flags)
pub async fn pidfd_send_signal(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let signo = a[1] as u32;
    if a[3] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    // As on Linux, the directory of a process in /proc serves, too (it did before pidfd_open existed), for this call alone.
    let file = t.files()?.get(a[0] as i32)?;
    let process = pidfd::process_of(&file).or_else(|_| crate::procfs::process_of_dir(&file))?;
    let info = match UserPtr::<Siginfo>::new(a[2] as usize).or_null() {
        None => None,
        Some(p) => {
            let abi = user::get(t, p).await?;
            if abi.si_signo as u32 != signo {
                return Err(Errno::EINVAL);
            }
            let info = SigInfo::from_abi(signo, &abi);
            check_code(t, &info, process.pid)?;
            Some(info)
        }
    };
    if process.relations(&tasks()).life == Life::Reaped {
        return Err(Errno::ESRCH);
    }
    kill_process_with(t, &process, signo, info)?;
    Ok(0)
}

/// pidfd_getfd(pidfd, fd, flags): a copy of a descriptor of another process
pub async fn pidfd_getfd(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    if a[2] as u32 != 0 {
        return Err(Errno::EINVAL);
    }
    let process = pidfd::process_of(&*t.files()?.get(a[0] as i32)?)?;
    let target = process.any_thread().ok_or(Errno::ESRCH)?;
    if !super::cred::may_attach(t, &target)? {
        return Err(Errno::EPERM);
    }
    let file = target.share_files().ok_or(Errno::EBADF)?.get_raw(a[1] as i32)?;
    Ok(t.files()?.install(file, fd::nofile(t), true)? as usize)
}
