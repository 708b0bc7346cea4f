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

/// Children that are looked at under one hold of the lock.
const TURN: usize = 32;

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

/// Whether something has happened to `child` that `options` ask for.
fn has_news(child: &Process, options: u32, guard: &Tasks) -> bool {
    let relations = child.relations(guard);
    let event = relations.wait_event;
    if relations.life == Life::Zombie {
        options & WEXITED != 0
    } else if event == 0xffff {
        options & WCONTINUED != 0
    } else {
        event != 0 && options & WSTOPPED != 0
    }
}

/// What a look at some of the children came to.
enum Turn {
    /// Something has happened to this one.
    Hit(KArc<Process>),
    /// There are no more.
    End,
    /// This was the last one that was looked at.
    More(KArc<Process>),
}

/// Looks at the children behind `place`, at [`TURN`] of them at most; `any`: there are such as are asked for.
#[inline(always)]
fn some(process: &KArc<Process>, place: Option<&Process>, whom: Whom, options: u32, guard: &Tasks, any: &mut bool) -> Turn {
    let mut left = TURN;
    for child in process.children_after(place, guard) {
        if matches(child, whom, options, guard) {
            *any = true;
            if has_news(child, options, guard) {
                return Turn::Hit(child.clone());
            }
        }
        left -= 1;
        if left == 0 {
            return Turn::More(child.clone());
        }
    }
    Turn::End
}

/// One look at the children. What is reaped is dropped by the caller, outside the lock.
fn look(process: &KArc<Process>, whom: Whom, options: u32) -> Look {
    let (mut guard, mut any) = (tasks(), false);
    match some(process, None, whom, options, &guard, &mut any) {
        Turn::Hit(child) => found(&child, options, &mut guard),
        Turn::End => none(any),
        Turn::More(last) => {
            drop(guard);
            look_on(process, whom, options, any, last)
        }
    }
}

fn none(any: bool) -> Look {
    if any { Look::Nothing } else { Look::None }
}

/// The rest of a look, behind `last`.
///
/// There may be any number of children, so the lock is let go of between some and the next. The place in the list is the child that was
/// looked at last; if another thread has reaped that meanwhile, we begin anew. To whom something happens after he was looked
/// at wakes the caller, who looks again.
#[cold]
#[inline(never)]
fn look_on(process: &KArc<Process>, whom: Whom, options: u32, mut any: bool, mut last: KArc<Process>) -> Look {
    loop {
        let mut guard = tasks();
        let is_ours = last.relations(&guard).parent.as_ref().is_some_and(|p| KArc::ptr_eq(p, process));
        any &= is_ours;
        match some(process, is_ours.then_some(&*last), whom, options, &guard, &mut any) {
            Turn::Hit(child) => return found(&child, options, &mut guard),
            Turn::End => return none(any),
            Turn::More(next) => {
                let old = core::mem::replace(&mut last, next);
                drop(guard);
                // It may be the last reference: not under the lock.
                drop(old);
            }
        }
    }
}

/// What is told of `child`, which is reaped if it has ended and `options` do not forbid it.
fn found(child: &KArc<Process>, options: u32, guard: &mut Tasks) -> Look {
    let used = exit::totals(child, guard);
    let relations = child.relations_mut(guard);
    let zombie = relations.life == Life::Zombie;
    let status = if zombie { relations.status } else { relations.wait_event };
    let keep = options & WNOWAIT != 0;
    if !zombie && !keep {
        relations.wait_event = 0;
    }
    let uid = child.uid();
    let found = Found { pid: child.pid, status, uid, used };
    let reaped = (zombie && !keep).then(|| exit::reap(child, guard));
    Look::Found(found, reaped)
}
