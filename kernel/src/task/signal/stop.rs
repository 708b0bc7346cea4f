//! Job control: stopping and continuing processes.

use super::deliver;
use super::many::send_to_group;
use super::pending::SigInfo;
use super::send::{send_to_process_locked, wake};
use crate::cgroup::membership;
use crate::task::pid;
use crate::task::process::{Life, Process, Tasks, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use vigil_abi::process::{WAIT_CONTINUED, wait_stopped};
use vigil_abi::signal::*;
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

const STOP_SIGNALS: Sigset = sigmask(SIGSTOP) | sigmask(SIGTSTP) | sigmask(SIGTTIN) | sigmask(SIGTTOU);

/// What a signal does when it is generated, blocked or not: SIGCONT and SIGKILL continue a stopped process, and stop
/// signals and SIGCONT cancel each other (Linux: prepare_signal).
#[inline(always)]
pub fn prepare(process: &Process, signo: u32, guard: &Tasks) {
    if sigmask(signo) & (STOP_SIGNALS | sigmask(SIGCONT) | sigmask(SIGKILL)) != 0 {
        prepare_jobs(process, signo, guard);
    }
}

#[inline(never)]
fn prepare_jobs(process: &Process, signo: u32, guard: &Tasks) {
    let bit = sigmask(signo);
    if bit & STOP_SIGNALS != 0 {
        flush(process, sigmask(SIGCONT), guard);
    } else if signo == SIGCONT {
        flush(process, STOP_SIGNALS, guard);
        process.signals.continues.fetch_add(1, SeqCst);
        resume(process, true, guard);
    } else if signo == SIGKILL {
        process.signals.continues.fetch_add(1, SeqCst);
        resume(process, false, guard);
    }
}

fn flush(process: &Process, mask: Sigset, guard: &Tasks) {
    process.signals.queue.with(|p| p.flush(mask));
    for thread in process.living(guard) {
        thread.signals.queue.with(|p| p.flush(mask));
    }
}

/// Ends a stop. The parent learns of a SIGCONT.
fn resume(process: &Process, tell_parent: bool, guard: &Tasks) {
    if !forget(process) {
        return;
    }
    process.signals.cont_wait.wake_all();
    if tell_parent {
        process.continued.store(true, Release);
        for thread in process.living(guard) {
            // One of them tells the parent, outside of the sender's lock.
            wake(thread, false);
        }
    }
}

/// Processes that are stopped: while there is none, the end of a process need not look for orphaned groups.
static STOPPED: AtomicUsize = AtomicUsize::new(0);

/// The process is not stopped any more; `true` if it was. With the tree locked.
pub fn forget(process: &Process) -> bool {
    let was = process.signals.stop_signal.swap(0, SeqCst) != 0;
    if was {
        STOPPED.fetch_sub(1, Relaxed);
    }
    was
}

/// Stops the calling thread's process by `signo`, and waits until it continues. Not if a SIGCONT or SIGKILL came after
/// the signal was taken, when `continues` was read.
pub async fn stop(thread: &Thread, signo: u32, continues: u32) {
    let process = &thread.process;
    // Something else has come since: it goes on, or ends.
    let overtaken = || process.signals.continues.load(SeqCst) != continues || process.is_exiting();
    let first = {
        let _guard = tasks();
        if overtaken() {
            return;
        }
        let first = process.signals.stop_signal.swap(signo, SeqCst) == 0;
        if first {
            STOPPED.fetch_add(1, Relaxed);
        }
        first
    };
    if first && !stays(thread, signo, overtaken) {
        process.signals.cont_wait.wake_all();
        return;
    }
    wait(thread).await;
}

/// The process was marked as stopped by `signo`: whether it is to stay so. An orphaned group has nobody to continue it: only SIGSTOP stops its
/// members.
///
/// The mark comes before the look, and who ends a process marks that as ending before it looks for marks of this kind: if the last
/// one who could continue the group ends meanwhile, either that is seen here, or the mark is seen there, and a SIGCONT comes.
fn stays(thread: &Thread, signo: u32, overtaken: impl Fn() -> bool) -> bool {
    let process = &thread.process;
    let alone = signo != SIGSTOP && is_orphaned(process.pgrp());
    let mut guard = tasks();
    if overtaken() {
        return true;
    }
    // A SIGSTOP may have come to another thread meanwhile.
    let signo = process.signals.stop_signal.load(SeqCst);
    if alone && signo != SIGSTOP {
        forget(process);
        return false;
    }
    report(process, CLD_STOPPED, signo as i32, wait_stopped(signo) as i32, &mut guard);
    for other in process.living(&guard) {
        if other.tid() != thread.tid() {
            wake(other, false);
        }
    }
    true
}

/// Waits while the process is stopped: until SIGCONT, SIGKILL, or the end of the process. What else is sent meanwhile stays
/// pending, also if its default is to end the process (Linux: wants_signal).
pub async fn wait(thread: &Thread) {
    let process = &thread.process;
    let go = || {
        let go = process.signals.stop_signal.load(SeqCst) == 0 || process.is_exiting() || thread.exiting.load(Relaxed);
        go.then_some(())
    };
    membership::set_frozen(thread, true);
    while process.signals.cont_wait.wait_until(wait_site!("do_signal_stop"), WaitMode::Killable, go).await.is_err() {
        // Clear, then look: an exit sets its mark before the flag.
        if let Some(task) = thread.task() {
            task.clear_interrupt(INTERRUPT_SIGNAL | INTERRUPT_KILL);
        }
        if go().is_some() {
            break;
        }
    }
    membership::set_frozen(thread, false);
    deliver::recalc(thread);
}

/// Tells the parent of a SIGCONT that has not been told yet.
pub fn report_continued(process: &Process) {
    if process.continued.swap(false, AcqRel) {
        report(process, CLD_CONTINUED, SIGCONT as i32, WAIT_CONTINUED as i32, &mut tasks());
    }
}

fn report(process: &Process, code: i32, value: i32, event: i32, guard: &mut Tasks) {
    let relations = process.relations_mut(guard);
    relations.wait_event = event;
    let Some(parent) = relations.parent.clone() else { return };
    if parent.sighand().get(SIGCHLD).flags & SA_NOCLDSTOP == 0 {
        send_to_process_locked(&parent, SigInfo::child(code, process.pid, process.uid(), value, [0; 2]), guard);
    }
    parent.child_wait.wake_all();
}

/// How often a group may have come to be kept by somebody: by setpgid(2), setsid(2), or a new parent.
static CHANGES: AtomicUsize = AtomicUsize::new(0);
/// How often [`is_orphaned`] looks again.
const LOOKS: usize = 8;

/// A process that others may continue is in another group, or has another parent than the first process. With the tree locked.
pub fn groups_changed(_guard: &Tasks) {
    CHANGES.fetch_add(1, Relaxed);
}

/// Whether no member of the group has a parent in another group of the same session. Who ends, zombies and children of the first process
/// are not counted.
///
/// The tree's lock is let go of between some and the next. A member that keeps the group from being orphaned is one when it is
/// met, so a "no" was true then. A "yes" could miss one that came to be such after its number was passed, if the last
/// one before it ended ahead of us: [`groups_changed`] tells, and we look again. Who changes groups all the time is believed at last.
pub fn is_orphaned(pgrp: u32) -> bool {
    for _ in 0..LOOKS {
        let before = CHANGES.load(Acquire);
        let kept = |guard: &Tasks, p: &KArc<Process>| {
            let r = p.relations(guard);
            let keeps = |parent: &KArc<Process>| parent.pid != 1 && may_continue(parent, pgrp, r.session, guard);
            r.pgrp == pgrp && r.life == Life::Running && r.parent.as_ref().is_some_and(keeps)
        };
        if pid::any_process(kept) {
            return false;
        }
        if CHANGES.load(Acquire) == before {
            break;
        }
    }
    true
}

/// Whether `parent` is one that job control counts on to continue a group: of the same session, and not of the group.
fn may_continue(parent: &Process, pgrp: u32, session: u32, guard: &Tasks) -> bool {
    let r = parent.relations(guard);
    r.pgrp != pgrp && r.session == session
}

/// Whether somebody is stopped, so that the end of a process may concern its group.
pub fn may_orphan() -> bool {
    STOPPED.load(Relaxed) != 0
}

/// A process ends: if it alone kept its group from being orphaned, and the group has stopped members, they get SIGHUP and
/// SIGCONT (POSIX; Linux: kill_orphaned_pgrp).
pub fn orphaned_group_check(process: &Process) {
    let parent = process.relations(&tasks()).parent.clone();
    if let Some(parent) = parent {
        hang_up_orphans(process, &parent);
    }
}

/// The same for the group of `child`, which is stopped and has a new parent because `father` ends.
pub fn child_orphaned(father: &Process, child: &Process) {
    hang_up_orphans(child, father);
}

fn hang_up_orphans(member: &Process, parent: &Process) {
    let (pgrp, kept) = {
        let guard = tasks();
        let r = member.relations(&guard);
        (r.pgrp, may_continue(parent, r.pgrp, r.session, &guard))
    };
    let stopped = |guard: &Tasks, p: &KArc<Process>| p.relations(guard).pgrp == pgrp && p.signals.stop_signal.load(Relaxed) != 0;
    if kept && is_orphaned(pgrp) && pid::any_process(stopped) {
        for signo in [SIGHUP, SIGCONT] {
            // ESRCH: the last member has ended.
            let _ = send_to_group(pgrp, SigInfo::kernel(signo));
        }
    }
}
