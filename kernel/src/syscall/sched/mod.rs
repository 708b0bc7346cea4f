//! Scheduling (sched(7)): policies and reservations (`policy`, `attr`); here, priorities by nice value, and affinity.

mod attr;
mod policy;

pub use policy::*;

use super::{Args, SysResult};
use crate::cgroup::cpuset;
use crate::task::kthread;
use crate::task::pid;
use crate::task::process::{find_thread, tasks};
use crate::task::thread::Thread;
use crate::trace::schedstat;
use vigil_abi::Errno;
use vigil_abi::process::*;
use vigil_abi::time::Timespec;
use vigil_executor::balance::partition::root_span;
use vigil_executor::class::{Params, Policy};
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_executor::time::{self, Nanos, USEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;
use vigil_mem::{KArc, UserPtr};

/// sched_yield()
pub async fn sched_yield(_: &Thread, _: Args<'_>) -> Result<usize, Errno> {
    schedstat::yields();
    yield_now(YieldKind::Yield).await;
    Ok(0)
}

/// A thread by number; 0 is the caller.
enum Target<'a> {
    Own(&'a Thread),
    Other(KArc<Thread>),
}

impl core::ops::Deref for Target<'_> {
    type Target = Thread;
    fn deref(&self) -> &Thread {
        match self {
            Target::Own(t) => t,
            Target::Other(t) => t,
        }
    }
}

fn target(t: &Thread, tid: i32) -> Result<Target<'_>, Errno> {
    match tid {
        0 => Ok(Target::Own(t)),
        n if n == t.tid() as i32 => Ok(Target::Own(t)),
        n if n > 0 => find_thread(n as u32).map(Target::Other).ok_or(Errno::ESRCH),
        _ => Err(Errno::EINVAL),
    }
}

fn params_of(t: &Thread) -> Result<Params, Errno> {
    Ok(executor::params(t.task().ok_or(Errno::ESRCH)?))
}

/// Whether `t` may schedule `who` otherwise at all: same user, or CAP_SYS_NICE (Linux: check_same_owner).
fn same_owner(t: &Thread, who: &Thread) -> Result<bool, Errno> {
    let mine = t.cred()?;
    let theirs = who.share_cred().ok_or(Errno::ESRCH)?;
    Ok(mine.euid == theirs.euid || mine.euid == theirs.uid)
}

/// sched_rr_get_interval(pid, interval)
pub fn sched_rr_get_interval(t: &Thread, a: Args) -> SysResult {
    let who = target(t, a[0] as i32)?;
    let task = who.task().ok_or(Errno::ESRCH)?;
    // SAFETY: the entity is read under its queue's lock.
    let nanos = executor::with_entity(task, |rq, e, _| rq.rr_interval(unsafe { e.as_ref() }));
    let ts = Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 };
    UserPtr::new(a[1] as usize).write(&ts)?;
    Ok(0)
}

/// How long sched_setaffinity waits before it looks again whether a task that runs has left its CPU.
const LEAVING: Nanos = 20 * USEC;

/// sched_setaffinity(pid, size, mask): in effect before it returns.
pub async fn sched_setaffinity(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let size = (a[1] as u32 as usize).min(8);
    let mask = super::user::retry(t, || {
        let mut bytes = [0u8; 8];
        UserPtr::<u8>::new(a[2] as usize).read_slice(&mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    })
    .await?;
    let who = target(t, a[0] as i32).map_err(|e| if e == Errno::EINVAL { Errno::ESRCH } else { e })?;
    if !t.cred()?.capable(CAP_SYS_NICE) && !same_owner(t, &who)? {
        return Err(Errno::EPERM);
    }
    let allowed = CpuMask(mask & cpuset::cpus_allowed(&who).0);
    // A reservation is one on all CPUs of a root domain (Linux: dl_task_check_affinity).
    if params_of(&who)?.policy == Policy::Deadline
        && executor::rt_bandwidth().1.is_some()
        && root_span(who.task().ok_or(Errno::ESRCH)?.cpu()).0 & !allowed.0 != 0
    {
        return Err(Errno::EBUSY);
    }
    if allowed.0 == 0 {
        return Err(Errno::EINVAL);
    }
    if kthread::is_bound(&who) {
        return Err(Errno::EINVAL);
    }
    let task = who.task().ok_or(Errno::ESRCH)?;
    executor::set_affinity(task, allowed);
    if who.tid() == t.tid() && Context::here().resched_wanted() {
        yield_now(YieldKind::Preempted).await;
    }
    // Who runs in EL0, or in a poll, leaves at once; a poll that has preemption off takes a moment.
    while !executor::has_left(task) {
        let _ = sleep_until(wait_site!("affine_move_task"), time::now().saturating_add(LEAVING), 0, WaitMode::Uninterruptible).await;
    }
    Ok(0)
}

/// sched_getaffinity(pid, size, mask): returns the bytes written
pub fn sched_getaffinity(t: &Thread, a: Args) -> SysResult {
    let size = a[1] as u32 as usize;
    if size * 8 < vigil_executor::cpu::MAX_CPUS || size % 8 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = target(t, a[0] as i32).map_err(|e| if e == Errno::EINVAL { Errno::ESRCH } else { e })?;
    let mask = who.task().ok_or(Errno::ESRCH)?.affinity().0 & ONLINE.load().0;
    UserPtr::new(a[2] as usize).write(&mask)?;
    Ok(8)
}

/// Calls `f` for each thread that `which` and `who` of getpriority(2) name; ESRCH when there is none.
fn for_each_named(t: &Thread, which: u32, who: i32, mut f: impl FnMut(&Thread)) -> Result<(), Errno> {
    if which > PRIO_USER {
        return Err(Errno::EINVAL);
    }
    if which == PRIO_PROCESS {
        f(&*target(t, who).map_err(|_| Errno::ESRCH)?);
        return Ok(());
    }
    let group = if who == 0 { t.process.pgrp() } else { who as u32 };
    let uid = if who == 0 { t.cred()?.uid } else { who as u32 };
    let mut any = false;
    // One process at a time, so that `f` runs without the lock of the tree.
    let mut next = 1;
    loop {
        let Some(process) = pid::next_process(next) else { break };
        next = process.pid + 1;
        let hit = if which == PRIO_PGRP { process.pgrp() == group } else { process.uid() == uid };
        if hit {
            let mut index = 0;
            loop {
                let thread = process.relations(&tasks()).threads.get(index).cloned();
                let Some(thread) = thread else { break };
                index += 1;
                any = true;
                f(&thread);
            }
        }
    }
    if any { Ok(()) } else { Err(Errno::ESRCH) }
}

/// setpriority(which, who, nice)
pub fn setpriority(t: &Thread, a: Args) -> SysResult {
    let nice = (a[2] as i32).clamp(-20, 19) as i8;
    let mut result = Ok(0);
    for_each_named(t, a[0] as u32, a[1] as i32, |who| {
        let one = set_nice(t, who, nice);
        if one.is_err() {
            result = one;
        }
    })?;
    Ok(result?)
}

fn set_nice(t: &Thread, who: &Thread, nice: i8) -> Result<usize, Errno> {
    let old = params_of(who)?;
    let privileged = t.cred()?.capable(CAP_SYS_NICE);
    if !privileged && !same_owner(t, who)? {
        return Err(Errno::EPERM);
    }
    if nice < old.nice && !privileged && !who.process.limits.allows_nice(nice) {
        return Err(Errno::EACCES);
    }
    executor::set_nice(who.task().ok_or(Errno::ESRCH)?, nice);
    Ok(0)
}

/// getpriority(which, who): 20 - nice, so that no result looks like an error
pub fn getpriority(t: &Thread, a: Args) -> SysResult {
    let mut best = None;
    for_each_named(t, a[0] as u32, a[1] as i32, |who| {
        if let Ok(p) = params_of(who) {
            let value = (20 - i32::from(p.nice)) as usize;
            best = Some(best.map_or(value, |b: usize| b.max(value)));
        }
    })?;
    Ok(best.ok_or(Errno::ESRCH)?)
}

/// getcpu(cpu, node)
pub fn getcpu(_: &Thread, a: Args) -> SysResult {
    let cpu = CpuId::current().index() as u32;
    for (to, value) in [(a[0], cpu), (a[1], 0)] {
        if let Some(p) = UserPtr::<u32>::new(to as usize).or_null() {
            p.write(&value)?;
        }
    }
    Ok(0)
}
