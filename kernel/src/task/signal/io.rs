//! Signals of files (Linux: send_sigio): SIGIO, or what F_SETSIG asked for, to the owner that F_SETOWN named.

use super::many::send_to_group;
use super::pending::SigInfo;
use super::send::{send_to_process, send_to_thread};
use crate::task::process::{find_process, find_thread};
use crate::task::thread::Thread;
use vigil_abi::fcntl::{F_OWNER_PGRP, F_OWNER_TID};
use vigil_abi::poll::{POLLIN, POLLOUT, POLLRDNORM, POLLWRBAND, POLLWRNORM};
use vigil_abi::signal::{SI_SIGIO, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGSEGV, SIGSYS, SIGTRAP};
use vigil_fs::File;
use vigil_fs::vfs::fasync::Band;
use vigil_fs::vfs::file::SignalOwner;

const POLL_IN: i32 = 1;
const POLL_OUT: i32 = 2;

/// What the owner is sent: with F_SETSIG, which descriptor is ready for what.
fn info_of(owner: &SignalOwner, fd: i32, band: Band) -> SigInfo {
    if owner.signal == 0 {
        return SigInfo::kernel(SIGIO);
    }
    let (code, bits) = match band {
        Band::In => (POLL_IN, POLLIN | POLLRDNORM),
        Band::Out => (POLL_OUT, POLLOUT | POLLWRNORM | POLLWRBAND),
    };
    // Of signals whose codes mean something else, the code says only where it comes from.
    let own_codes = matches!(owner.signal, SIGSEGV | SIGBUS | SIGILL | SIGFPE | SIGTRAP | SIGCHLD | SIGSYS);
    let code = if own_codes { SI_SIGIO } else { code };
    SigInfo { signo: owner.signal, errno: 0, code, fields: [u64::from(bits), fd as u32 as u64, 0, 0] }
}

/// Whether whoever named the owner might have sent it a signal (Linux: sigio_perm).
fn may_send(owner: &SignalOwner, to: &Thread) -> bool {
    let Some(theirs) = to.share_cred() else { return false };
    let same = |mine: u32| mine == theirs.uid || mine == theirs.suid;
    owner.euid == 0 || same(owner.euid) || same(owner.uid)
}

/// `file`, whose descriptor was `fd`, is ready for `band`: tells its owner.
pub fn signal_file(file: &File, fd: i32, band: Band) {
    let owner = file.signal_owner();
    if owner.pid == 0 {
        return;
    }
    let info = info_of(&owner, fd, band);
    let send = |info: SigInfo| match owner.kind {
        F_OWNER_TID => {
            find_thread(owner.pid).filter(|thread| may_send(&owner, thread)).map_or(Ok(()), |thread| send_to_thread(&thread, info))
        }
        F_OWNER_PGRP => {
            let leader = find_process(owner.pid).and_then(|process| process.any_thread());
            if leader.is_none_or(|thread| may_send(&owner, &thread)) { send_to_group(owner.pid, info) } else { Ok(()) }
        }
        _ => match find_process(owner.pid) {
            Some(process) if process.any_thread().is_some_and(|thread| may_send(&owner, &thread)) => send_to_process(&process, info),
            _ => Ok(()),
        },
    };
    // A full queue of real-time signals is told of by SIGIO, which cannot be lost.
    if send(info).is_err() {
        let _ = send(SigInfo::kernel(SIGIO));
    }
}
