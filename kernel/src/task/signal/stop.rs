//! Job control: stopping and continuing processes.

use super::deliver;
use super::pending::SigInfo;
use super::send::{send_to_process_locked, wake};
use crate::cgroup::membership;
use crate::task::process::{Life, Process, Tasks, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use vigil_abi::process::{WAIT_CONTINUED, wait_stopped};
use vigil_abi::signal::*;
use vigil_executor::task::{INTERRUPT_KILL, INTERRUPT_SIGNAL};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

const STOP_SIGNALS: Sigset = sigmask(SIGSTOP) | sigmask(SIGTSTP) | sigmask(SIGTTIN) | sigmask(SIGTTOU);

/// What a signal does when it is generated, blocked or not: SIGCONT and SIGKILL continue a stopped process, and stop
/// signals and SIGCONT cancel each other (Linux: prepare_signal).
pub fn prepare(process: &Process, signo: u32, guard: &Tasks) {
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
    {
        let mut guard = tasks();
        if thread.process.signals.continues.load(SeqCst) != continues || thread.process.is_exiting() {
            return;
        }
        // An orphaned group has nobody to continue it: only SIGSTOP stops its members.
        if signo != SIGSTOP && is_orphaned(thread.process.relations(&guard).pgrp, &guard, None) {
            return;
        }
        if thread.process.signals.stop_signal.swap(signo, SeqCst) == 0 {
            STOPPED.fetch_add(1, Relaxed);
            report(&thread.process, CLD_STOPPED, signo as i32, wait_stopped(signo) as i32, &mut guard);
            for other in thread.process.living(&guard) {
                if other.tid() != thread.tid() {
                    wake(other, false);
                }
            }
        }
    }
    wait(thread).await;
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

/// Whether no member of the group has a parent in another group of the same session. `leaving`, zombies and children of
/// the first process are not counted.
pub fn is_orphaned(pgrp: u32, guard: &Tasks, leaving: Option<u32>) -> bool {
    !guard.pids.processes().any(|p| {
        let r = p.relations(guard);
        r.pgrp == pgrp
            && r.life == Life::Running
            && Some(p.pid) != leaving
            && r.parent.as_ref().is_some_and(|parent| parent.pid != 1 && may_continue(parent, pgrp, r.session, guard))
    })
}

/// Whether `parent` is one that job control counts on to continue a group: of the same session, and not of the group.
fn may_continue(parent: &Process, pgrp: u32, session: u32, guard: &Tasks) -> bool {
    let r = parent.relations(guard);
    r.pgrp != pgrp && r.session == session
}

/// A process ends: if it alone kept its group from being orphaned, and the group has stopped members, they get SIGHUP and
/// SIGCONT (POSIX; Linux: kill_orphaned_pgrp).
pub fn orphaned_group_check(process: &Process, guard: &mut Tasks) {
    if STOPPED.load(Relaxed) == 0 {
        return;
    }
    if let Some(parent) = process.relations(guard).parent.clone() {
        hang_up_orphans(process, &parent, Some(process.pid), guard);
    }
}

/// The same for the group of `child`, which has a new parent because `father` ends.
pub fn child_orphaned(father: &Process, child: &Process, guard: &mut Tasks) {
    // Stopped groups are looked at through their stopped members only.
    if child.signals.stop_signal.load(Relaxed) != 0 {
        hang_up_orphans(child, father, None, guard);
    }
}

fn hang_up_orphans(member: &Process, parent: &Process, leaving: Option<u32>, guard: &mut Tasks) {
    let (pgrp, session) = {
        let r = member.relations(guard);
        (r.pgrp, r.session)
    };
    if may_continue(parent, pgrp, session, guard) && is_orphaned(pgrp, guard, leaving) {
        let stopped = guard.pids.processes().any(|p| {
            let r = p.relations(guard);
            r.pgrp == pgrp && Some(p.pid) != leaving && p.signals.stop_signal.load(Relaxed) != 0
        });
        if stopped {
            hang_up(pgrp, guard);
        }
    }
}

fn hang_up(pgrp: u32, guard: &Tasks) {
    for process in guard.pids.processes() {
        if process.relations(guard).pgrp == pgrp {
            send_to_process_locked(process, SigInfo::kernel(SIGHUP), guard);
            send_to_process_locked(process, SigInfo::kernel(SIGCONT), guard);
        }
    }
}
