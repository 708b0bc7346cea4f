//! Controlling terminals and job control (Linux: drivers/tty/tty_jobctrl.c; POSIX, "General Terminal Interface").

use super::{Terminal, by_dev};
use crate::task::process::{Process, Tasks, find_process, tasks};
use crate::task::signal::{self, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SigInfo, stop};
use crate::task::thread::Thread;
use crate::task::walk::{Errand, walk};
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_abi::process::CAP_SYS_ADMIN;
use vigil_abi::signal::{SIG_IGN, SIGCONT, sigmask};
use vigil_drivers::tty::{Received, Tty};
use vigil_fs::File;

/// Sends the signals of special characters to the foreground group.
pub(super) fn signal_foreground(tty: &Tty, received: Received) {
    let table = [(received.interrupt(), SIGINT), (received.quit(), SIGQUIT), (received.suspend(), SIGTSTP)];
    for (_, signo) in table.into_iter().filter(|(came, _)| *came) {
        send(tty.pgrp(), signo);
    }
}

/// Sends `signo` to every process of group `pgrp`; nothing if there is none.
pub(super) fn send(pgrp: u32, signo: u32) {
    if pgrp != 0 {
        // ESRCH: the group's last process has ended.
        let _ = signal::send_to_group(pgrp, SigInfo::kernel(signo));
    }
}

/// Whether the caller may use or change its controlling terminal now (Linux: __tty_check_change). A process in the
/// background is sent `signo` with its whole group: ERESTARTSYS. If it blocks or ignores the signal, SIGTTOU lets it go on
/// and SIGTTIN is EIO; EIO also if nobody could continue its group.
pub(super) fn check_change(terminal: &Terminal, signo: u32) -> Result<(), Errno> {
    let Some(thread) = Thread::current() else { return Ok(()) };
    let Some(tty) = terminal.tty() else { return Ok(()) };
    let pgrp = {
        let guard = tasks();
        let relations = thread.process.relations(&guard);
        let foreground = tty.pgrp();
        if relations.tty != terminal.dev() || foreground == 0 || foreground == relations.pgrp {
            return Ok(());
        }
        let pgrp = relations.pgrp;
        let blocked = thread.signals.blocked() & sigmask(signo) != 0;
        if blocked || thread.process.sighand().get(signo).handler == SIG_IGN {
            return if signo == SIGTTIN { Err(Errno::EIO) } else { Ok(()) };
        }
        pgrp
    };
    if stop::is_orphaned(pgrp) {
        return Err(Errno::EIO);
    }
    send(pgrp, signo);
    Err(Errno::ERESTARTSYS)
}

/// Makes `terminal` the controlling terminal of `process`'s session.
fn set(terminal: &Terminal, tty: &Tty, process: &Process, guard: &mut Tasks) {
    let relations = process.relations_mut(guard);
    relations.tty = terminal.dev();
    tty.set_session(relations.session);
    tty.set_pgrp(relations.pgrp);
}

/// Opening a terminal: a session leader without one gets it, if no other session has it (Linux: tty_open_proc_set_tty).
pub(super) fn take_if_leader(terminal: &Terminal) {
    let (Some(thread), Some(tty)) = (Thread::current(), terminal.tty()) else { return };
    let process = &thread.process;
    let mut guard = tasks();
    let relations = process.relations(&guard);
    if relations.session == process.pid && relations.tty == 0 && tty.session() == 0 {
        set(terminal, tty, process, &mut guard);
    }
}

/// TIOCSCTTY. EPERM: the caller leads no session, has a terminal, or another session has this one (`force`, from a
/// privileged caller, takes it away); or the file is not open for reading.
pub(super) fn take(terminal: &Terminal, file: &File, force: bool) -> Result<(), Errno> {
    let thread = Thread::current().ok_or(Errno::EPERM)?;
    let tty = terminal.tty().ok_or(Errno::EIO)?;
    let privileged = thread.cred()?.capable(CAP_SYS_ADMIN);
    let process = &thread.process;
    let mut guard = loop {
        let guard = tasks();
        let relations = process.relations(&guard);
        let (leads, session) = (relations.session == process.pid, tty.session());
        if leads && session == process.pid {
            return Ok(());
        }
        if !leads || relations.tty != 0 {
            return Err(Errno::EPERM);
        }
        if session == 0 {
            break guard;
        }
        if !(force && privileged) {
            return Err(Errno::EPERM);
        }
        tty.set_session(0);
        tty.set_pgrp(0);
        drop(guard);
        clear_session(session);
    };
    if !file.readable() && !privileged {
        return Err(Errno::EPERM);
    }
    set(terminal, tty, process, &mut guard);
    Ok(())
}

/// Takes the controlling terminal from every process of a session, which is the terminal's no more.
fn clear_session(session: u32) {
    walk(Errand::NoTerminal(session), |_| {});
}

/// TIOCNOTTY: the caller gives its controlling terminal up; a session leader gives it up for its whole session, whose
/// foreground group gets SIGHUP and SIGCONT. ENOTTY: it is not the caller's.
pub(super) fn give_up(terminal: &Terminal) -> Result<(), Errno> {
    let thread = Thread::current().ok_or(Errno::ENOTTY)?;
    let tty = terminal.tty().ok_or(Errno::ENOTTY)?;
    let foreground = {
        let mut guard = tasks();
        let relations = thread.process.relations_mut(&mut guard);
        if relations.tty != terminal.dev() {
            return Err(Errno::ENOTTY);
        }
        relations.tty = 0;
        let session = relations.session;
        if session != thread.process.pid {
            return Ok(());
        }
        let foreground = tty.pgrp();
        tty.set_session(0);
        tty.set_pgrp(0);
        drop(guard);
        clear_session(session);
        foreground
    };
    send(foreground, SIGHUP);
    send(foreground, SIGCONT);
    Ok(())
}

/// The last thread of `process` ends. If it led a session with a terminal, that is hung up (Linux: disassociate_ctty).
pub fn leader_exit(process: &Process) {
    let terminal = {
        let guard = tasks();
        let relations = process.relations(&guard);
        if relations.session != process.pid {
            return;
        }
        by_dev(relations.tty)
    };
    if let Some(terminal) = terminal {
        hang_up(terminal, true);
    }
}

/// Hangs a terminal up: open files are dead, its session has no terminal any more; the session's leader gets SIGHUP and
/// SIGCONT, and, when the leader is ending (`exiting`), the foreground group gets SIGHUP (Linux: __tty_hangup).
pub(super) fn hang_up(terminal: &Terminal, exiting: bool) {
    let Some(tty) = terminal.tty() else { return };
    let (session, foreground) = {
        let _guard = tasks();
        let of = (tty.session(), tty.pgrp());
        tty.set_session(0);
        tty.set_pgrp(0);
        of
    };
    if session != 0 {
        clear_session(session);
    }
    let leader = find_process(session);
    terminal.generation.fetch_add(1, AcqRel);
    tty.hangup();
    // The device itself is still there: files opened from now on, and `/dev/console`, can use it.
    tty.reopen();
    if exiting {
        send(foreground, SIGHUP);
    } else if let Some(leader) = leader {
        for signo in [SIGHUP, SIGCONT] {
            // Standard signals are never refused.
            let _ = signal::send_to_process(&leader, SigInfo::kernel(signo));
        }
    }
}

/// The foreground group, for TIOCGPGRP. ENOTTY: not the caller's controlling terminal.
pub(super) fn foreground(terminal: &Terminal, tty: &Tty) -> Result<u32, Errno> {
    own(terminal).map(|_| tty.pgrp())
}

/// The session, for TIOCGSID. ENOTTY as above.
pub(super) fn session(terminal: &Terminal, tty: &Tty) -> Result<u32, Errno> {
    own(terminal)?;
    match tty.session() {
        0 => Err(Errno::ENOTTY),
        session => Ok(session),
    }
}

/// ENOTTY unless `terminal` is the caller's controlling terminal.
fn own(terminal: &Terminal) -> Result<(), Errno> {
    let thread = Thread::current().ok_or(Errno::ENOTTY)?;
    let dev = thread.process.relations(&tasks()).tty;
    if dev == terminal.dev() { Ok(()) } else { Err(Errno::ENOTTY) }
}

/// TIOCSPGRP. EINVAL: a negative number; ENOTTY: not the caller's terminal or session; ESRCH: no such group; EPERM: it is
/// of another session.
pub(super) fn set_foreground(terminal: &Terminal, tty: &Tty, pgrp: i32) -> Result<(), Errno> {
    let pgrp = u32::try_from(pgrp).map_err(|_| Errno::EINVAL)?;
    let thread = Thread::current().ok_or(Errno::ENOTTY)?;
    let guard = tasks();
    let relations = thread.process.relations(&guard);
    if relations.tty != terminal.dev() || tty.session() != relations.session {
        return Err(Errno::ENOTTY);
    }
    if guard.pids.session_of(pgrp).ok_or(Errno::ESRCH)? != relations.session {
        return Err(Errno::EPERM);
    }
    tty.set_pgrp(pgrp);
    Ok(())
}
