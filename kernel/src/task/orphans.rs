//! The end of a process: its children get another parent, its own parent learns (Linux: `exit_notify`, `forget_original_parent`).
//!
//! A process may have any number of children, so they go some at a time, and the tree's lock is let go of in between. Meanwhile the process
//! is [`Life::Ending`]: it runs no more and takes no signal, nobody can wait for it, and it is nobody's heir. A child may fork
//! a sibling with CLONE_PARENT: that comes last, and is handed over in its turn. So the process is a zombie exactly when, under one
//! hold of the lock, it has no child left.

use super::exit::{Reaped, reap};
use super::process::{Life, Process, Tasks, tasks};
use super::signal::{self, SigInfo};
use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_executor::sync::SpinGuard;
use vigil_mem::KArc;

/// Children that are given away under one hold of the lock.
const TURN: usize = 4;

/// Some process has said that it adopts orphans.
static SUBREAPERS: AtomicBool = AtomicBool::new(false);

/// PR_SET_CHILD_SUBREAPER.
pub fn set_subreaper(process: &Process, on: bool) {
    process.relations_mut(&mut tasks()).subreaper = on;
    if on {
        SUBREAPERS.store(true, Relaxed);
    }
}

/// The last thread is gone: orphans go to a reaper, the parent learns. The result is dropped by the caller.
pub(super) fn end_process(process: &KArc<Process>, mut guard: SpinGuard<'static, Tasks>) -> Option<Reaped> {
    if process.pid == 1 {
        let status = process.relations(&guard).status;
        crate::task::init::init_exited(status);
    }
    process.relations_mut(&mut guard).life = Life::Ending;
    signal::stop::forget(process);
    if signal::stop::may_orphan() {
        drop(guard);
        signal::orphaned_group_check(process);
        guard = tasks();
    }
    let mut guard = hand_over_children(process, guard);
    process.relations_mut(&mut guard).life = Life::Zombie;
    let parent = process.relations(&guard).parent.clone()?;
    let relations = process.relations(&guard);
    let (exit_signal, status) = (relations.exit_signal, relations.status);
    // A number beyond the signals is allowed, and tells nobody.
    if (1..=signal::NSIG as u32).contains(&exit_signal) {
        signal::send_to_process_locked(&parent, SigInfo::child_exit(exit_signal, process, status), &guard);
    }
    let reaped = is_unwanted(&parent, exit_signal).then(|| reap(process, &mut guard));
    drop(guard);
    parent.child_wait.wake_all();
    reaped
}

/// Whether a zombie that tells of itself by `exit_signal` is not kept for a wait: SIGCHLD ignored, or SA_NOCLDWAIT.
fn is_unwanted(parent: &Process, exit_signal: u32) -> bool {
    exit_signal == signal::SIGCHLD && parent.sighand().ignores_children()
}

/// The nearest subreaper above `process`, or the first process.
fn heir_of(process: &Process, guard: &Tasks) -> Option<KArc<Process>> {
    if !SUBREAPERS.load(Relaxed) {
        return guard.pids.process(1);
    }
    let mut heir = process.relations(guard).parent.as_ref()?;
    loop {
        let relations = heir.relations(guard);
        match &relations.parent {
            Some(next) if !(relations.subreaper && relations.life == Life::Running) => heir = next,
            _ => return Some(heir.clone()),
        }
    }
}

/// Hands the children of `process` to its heir. It has none when the lock's guard comes back.
fn hand_over_children(process: &KArc<Process>, mut guard: SpinGuard<'static, Tasks>) -> SpinGuard<'static, Tasks> {
    while process.first_child(&guard).is_some() {
        let Some(heir) = heir_of(process, &guard) else { return guard };
        let (mut tell, mut end) = (false, End::default());
        for _ in 0..TURN {
            let Some(child) = process.first_child(&guard) else { break };
            tell |= hand_over(process, child, &heir, &mut guard, &mut end);
            if end.is_some() {
                break;
            }
        }
        drop(guard);
        if tell {
            heir.child_wait.wake_all();
        }
        end.finish(process);
        // They may be the last references: not under the lock.
        drop(heir);
        guard = tasks();
    }
    guard
}

/// What is done for a child outside the lock.
#[derive(Default)]
struct End {
    /// It is stopped, and its group may have become orphaned.
    stopped: Option<KArc<Process>>,
    /// Nobody wants to know of it.
    reaped: Option<Reaped>,
}

impl End {
    fn is_some(&self) -> bool {
        self.stopped.is_some() || self.reaped.is_some()
    }

    fn finish(self, father: &Process) {
        if let Some(child) = self.stopped {
            signal::child_orphaned(father, &child);
        }
    }
}

/// `child` of `process` becomes the youngest of `heir`'s; whether that must be told of a zombie.
fn hand_over(process: &Process, child: KArc<Process>, heir: &KArc<Process>, guard: &mut Tasks, end: &mut End) -> bool {
    child.leave_family(guard);
    child.join_family(heir.clone(), guard);
    if heir.pid != 1 {
        signal::stop::groups_changed(guard);
    }
    let relations = child.relations_mut(guard);
    relations.exit_signal = signal::SIGCHLD;
    let zombie = relations.life == Life::Zombie;
    if zombie {
        // The heir has not heard of it yet.
        let info = SigInfo::child_exit(signal::SIGCHLD, &child, relations.status);
        signal::send_to_process_locked(heir, info, guard);
        if is_unwanted(heir, signal::SIGCHLD) {
            end.reaped = Some(reap(&child, guard));
        }
    }
    death_signal(&child, guard);
    // Stopped groups are looked at through their stopped members only.
    if child.signals.stop_signal.load(Relaxed) != 0 {
        end.stopped = Some(child);
    }
    debug_assert!(process.relations(guard).life == Life::Ending);
    zombie
}

/// PR_SET_PDEATHSIG of a child whose parent has ended.
fn death_signal(child: &KArc<Process>, guard: &Tasks) {
    let number = child.pdeath_signal.load(Relaxed);
    if number != 0 {
        signal::send_to_process_locked(child, SigInfo::kernel(number), guard);
    }
}
