//! Signals to many processes, and who may send one (Linux: `kill_something_info`, `__kill_pgrp_info`, `kill_ok_by_cred`).

use super::pending::SigInfo;
use super::send::send_to_process_checked;
use super::{NSIG, SIGCONT};
use crate::task::process::{Process, Tasks};
use crate::task::thread::Thread;
use crate::task::walk::{Errand, walk};
use vigil_abi::Errno;
use vigil_abi::process::CAP_KILL;
use vigil_fs::Cred;

/// Which processes.
#[derive(Clone, Copy)]
pub enum To {
    /// Those of a group.
    Group(u32),
    /// All but the first one and this.
    AllBut(u32),
}

/// What a sender may do, as far as it is the same for all receivers.
#[derive(Clone, Copy)]
pub struct Permit {
    ids: [u32; 2],
    all: bool,
    pid: u32,
    session: u32,
}

impl Permit {
    /// The caller's.
    pub fn of(t: &Thread, guard: &Tasks) -> Result<Permit, Errno> {
        let mine = t.cred()?;
        let session = t.process.relations(guard).session;
        Ok(Permit { ids: [mine.euid, mine.uid], all: mine.capable(CAP_KILL), pid: t.process.pid, session })
    }

    /// Whether it allows `signo` to be sent to `to` (kill(2)).
    pub fn allows(&self, to: &Process, signo: u32, guard: &Tasks) -> bool {
        if self.all || to.pid == self.pid || signo == SIGCONT && to.relations(guard).session == self.session {
            return true;
        }
        let is_theirs = |theirs: &Cred| self.ids.iter().any(|me| *me == theirs.uid || *me == theirs.suid);
        let of_thread = to.living(guard).next().and_then(|thread| thread.with_cred(|theirs| theirs.map(is_theirs)));
        of_thread.unwrap_or_else(|| self.ids.contains(&to.uid()))
    }
}

/// A signal to many.
#[derive(Clone, Copy)]
pub struct Signal {
    /// To whom.
    pub to: To,
    /// What is sent; signal 0 asks only whether it might be.
    pub info: SigInfo,
    /// By whom; `None`: the kernel.
    pub permit: Option<Permit>,
}

impl Signal {
    /// To one process, if that is one of them. EINVAL: no signal, EPERM, EAGAIN.
    pub fn send(&self, process: &Process, guard: &Tasks) -> Option<Result<(), Errno>> {
        let meant = match self.to {
            To::Group(pgrp) => process.relations(guard).pgrp == pgrp,
            To::AllBut(pid) => process.pid != 1 && process.pid != pid,
        };
        meant.then(|| {
            if self.info.signo as usize > NSIG {
                return Err(Errno::EINVAL);
            }
            if self.permit.is_some_and(|permit| !permit.allows(process, self.info.signo, guard)) {
                return Err(Errno::EPERM);
            }
            if self.info.signo == 0 { Ok(()) } else { send_to_process_checked(process, self.info, guard) }
        })
    }
}

/// Sends to every process of a group; ESRCH when it has none.
pub fn send_to_group(pgrp: u32, info: SigInfo) -> Result<(), Errno> {
    let mut result = Err(Errno::ESRCH);
    walk(Errand::Signal(Signal { to: To::Group(pgrp), info, permit: None }), |one| result = one);
    result
}

/// kill(2) to many: succeeds for a group if it does for one of it, and for all if only one of them is not to be killed by the caller. ESRCH:
/// there is none.
pub fn kill_many(to: To, info: SigInfo, permit: Permit) -> Result<(), Errno> {
    let (mut found, mut sent, mut error) = (false, false, Errno::ESRCH);
    walk(Errand::Signal(Signal { to, info, permit: Some(permit) }), |one| {
        found = true;
        match one {
            Ok(()) => sent = true,
            Err(e) => error = e,
        }
    });
    if sent || matches!(to, To::AllBut(_)) && found && error != Errno::EPERM { Ok(()) } else { Err(error) }
}
