//! Waiting for children (wait4(2), waitid(2)); seed_003_part2.md "exit and wait".

use super::exit::{self, Reaped};
use super::process::{Life, Process, Tasks, tasks};
use super::signal::SIGCHLD;
use super::thread::Thread;
use super::usage::Used;
use vigil_abi::Errno;
use vigil_abi::process::{__WALL, __WCLONE, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::KArc;

/// Which children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whom {
    /// Any child.
    Any,
    /// The one with this pid.
    Pid(u32),
    /// Those in this process group.
    Group(u32),
    /// The process at this address, which the caller keeps.
    This(usize),
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The child.
    pub pid: u32,
    /// Wait status as wait4 returns it.
    pub status: i32,
    /// Its user.
    pub uid: u32,
    /// What it used, with its own children.
    pub used: Used,
}

enum Look {
    /// There is no such child (ECHILD).
    None,
    /// There is, and nothing has happened to it.
    Nothing,
    Found(Found, Option<Reaped>),
}

/// Waits for an event of a child that `options` ask for (`WEXITED`, `WSTOPPED`, `WCONTINUED`, `WNOHANG`, `WNOWAIT`,
/// `__WCLONE`, `__WALL`).
///
/// `Ok(None)`: WNOHANG and nothing has happened. ECHILD: no such child; ERESTARTSYS: a signal came.
pub async fn wait(thread: &Thread, whom: Whom, options: u32) -> Result<Option<Found>, Errno> {
    let process = thread.process.clone();
    if options & WNOHANG != 0 {
        return match look(&process, whom, options) {
            Look::None => Err(Errno::ECHILD),
            Look::Nothing => Ok(None),
            Look::Found(found, _reaped) => Ok(Some(found)),
        };
    }
    let outcome = process
        .child_wait
        .wait_until(wait_site!("do_wait"), WaitMode::Interruptible, || match look(&process, whom, options) {
            Look::None => Some(Err(Errno::ECHILD)),
            Look::Nothing => None,
            Look::Found(found, _reaped) => Some(Ok(Some(found))),
        })
        .await;
    outcome.unwrap_or(Err(Errno::ERESTARTSYS))
}

fn matches(child: &Process, whom: Whom, options: u32, tasks: &Tasks) -> bool {
    // A child that tells of its end by another signal than SIGCHLD is waited for only by those who ask for such.
    let by_clone = child.relations(tasks).exit_signal != SIGCHLD;
    if options & __WALL == 0 && by_clone != (options & __WCLONE != 0) {
        return false;
    }
    match whom {
        Whom::Any => true,
        Whom::Pid(pid) => child.pid == pid,
        Whom::Group(pgrp) => child.relations(tasks).pgrp == pgrp,
        Whom::This(address) => core::ptr::from_ref(child).addr() == address,
    }
}

/// One look at the children. What is reaped is dropped by the caller, outside the lock.
fn look(process: &KArc<Process>, whom: Whom, options: u32) -> Look {
    let mut guard = tasks();
    let mut any = false;
    let mut hit = None;
    for child in process.children(&guard).filter(|c| matches(c, whom, options, &guard)) {
        any = true;
        let relations = child.relations(&guard);
        let event = relations.wait_event;
        let wanted = if relations.life == Life::Zombie {
            options & WEXITED != 0
        } else if event == 0xffff {
            options & WCONTINUED != 0
        } else {
            event != 0 && options & WSTOPPED != 0
        };
        if wanted {
            hit = Some(child.clone());
            break;
        }
    }
    let Some(child) = hit else { return if any { Look::Nothing } else { Look::None } };
    let used = exit::totals(&child, &guard);
    let relations = child.relations_mut(&mut guard);
    let zombie = relations.life == Life::Zombie;
    let status = if zombie { relations.status } else { relations.wait_event };
    let keep = options & WNOWAIT != 0;
    if !zombie && !keep {
        relations.wait_event = 0;
    }
    let uid = child.uid();
    let found = Found { pid: child.pid, status, uid, used };
    let reaped = (zombie && !keep).then(|| exit::reap(&child, &mut guard));
    Look::Found(found, reaped)
}
