//! Job control: stopping and continuing processes.

use super::pending::SigInfo;
use super::send::{send_to_process_locked, wake};
use crate::task::process::{Process, Tasks, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::*;
use vigil_abi::process::{WAIT_CONTINUED, wait_stopped};
use vigil_abi::signal::*;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

const STOP_SIGNALS: Sigset = sigmask(SIGSTOP) | sigmask(SIGTSTP) | sigmask(SIGTTIN) | sigmask(SIGTTOU);

/// What a signal does when it is generated, blocked or not: SIGCONT and SIGKILL continue a stopped process, and stop
/// signals and SIGCONT cancel each other (Linux: prepare_signal).
pub fn prepare(process: &Process, signo: u32, guard: &Tasks) {
    let bit = sigmask(signo);
    if bit & STOP_SIGNALS != 0 {
        flush(process, sigmask(SIGCONT), guard);
    } else if signo == SIGCONT {
        flush(process, STOP_SIGNALS, guard);
        resume(process, true, guard);
    } else if signo == SIGKILL {
        resume(process, false, guard);
    }
}

fn flush(process: &Process, mask: Sigset, guard: &Tasks) {
    process.signals.queue.with(|p| p.flush(mask));
    for thread in process.relations(guard).threads.iter() {
        thread.signals.queue.with(|p| p.flush(mask));
    }
}

/// Ends a stop. The parent learns of a SIGCONT.
fn resume(process: &Process, tell_parent: bool, guard: &Tasks) {
    if process.signals.stop_signal.swap(0, SeqCst) == 0 {
        return;
    }
    process.signals.cont_wait.wake_all();
    if tell_parent {
        process.continued.store(true, Release);
        for thread in process.relations(guard).threads.iter() {
            // One of them tells the parent, outside of the sender's lock.
            wake(thread, false);
        }
    }
}

/// Stops the calling thread's process by `signo`, and waits until it continues.
pub async fn stop(thread: &Thread, signo: u32) {
    {
        let mut guard = tasks();
        // An orphaned group has nobody to continue it: only SIGSTOP stops its members.
        if signo != SIGSTOP && is_orphaned(thread.process.relations(&guard).pgrp, &guard, None) {
            return;
        }
        if thread.process.signals.stop_signal.swap(signo, SeqCst) == 0 {
            report(&thread.process, CLD_STOPPED, signo as i32, wait_stopped(signo) as i32, &mut guard);
            for other in thread.process.relations(&guard).threads.iter() {
                if other.tid != thread.tid {
                    wake(other, false);
                }
            }
        }
    }
    wait(thread).await;
}

/// Waits while the process is stopped. A kill ends it.
pub async fn wait(thread: &Thread) {
    let process = &thread.process;
    let go = || {
        let go = process.signals.stop_signal.load(SeqCst) == 0 || process.is_exiting() || thread.exiting.load(Relaxed);
        go.then_some(())
    };
    let _ = process.signals.cont_wait.wait_until(wait_site!("do_signal_stop"), WaitMode::Killable, go).await;
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

/// Whether no member of the group has a parent in another group of the same session (`leaving` is not counted).
pub fn is_orphaned(pgrp: u32, guard: &Tasks, leaving: Option<u32>) -> bool {
    !guard.pids.processes().any(|p| {
        let r = p.relations(guard);
        r.pgrp == pgrp
            && Some(p.pid) != leaving
            && r.parent.as_ref().is_some_and(|parent| {
                let of_parent = parent.relations(guard);
                of_parent.pgrp != pgrp && of_parent.session == r.session && Some(parent.pid) != leaving
            })
    })
}

/// A process ends: groups that it alone kept from being orphaned, and that have stopped members, get SIGHUP and SIGCONT
/// (POSIX; Linux: kill_orphaned_pgrp).
pub fn orphaned_group_check(process: &KArc<Process>, guard: &mut Tasks) {
    let (own, session) = {
        let r = process.relations(guard);
        (r.pgrp, r.session)
    };
    let stopped = |pgrp: u32, guard: &Tasks| {
        guard.pids.processes().any(|p| {
            let r = p.relations(guard);
            r.pgrp == pgrp && r.session == session && p.signals.stop_signal.load(Relaxed) != 0
        })
    };
    // Its own group, and those of its children, which have been reparented already.
    if is_orphaned(own, guard, Some(process.pid)) && stopped(own, guard) {
        hang_up(own, guard);
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
