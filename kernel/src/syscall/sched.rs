//! Scheduling: policies, priorities, affinity (sched(7)). SCHED_DEADLINE does not exist here yet: EINVAL.

use super::{Args, Stop, SysResult};
use crate::cgroup::cpuset;
use crate::task::{kthread, limits};
use crate::task::process::{find_thread, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::process::*;
use vigil_abi::time::Timespec;
use vigil_abi::{Errno, Pod};
use vigil_executor::class::{Params, Policy};
use vigil_executor::context::Context;
use vigil_executor::cpu::{CpuId, CpuMask, ONLINE};
use vigil_executor::executor::{self, YieldKind, yield_now};
use vigil_mem::{KArc, UserPtr};

/// sched_yield()
pub async fn sched_yield(_: &Thread, _: Args<'_>) -> Result<usize, Errno> {
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

fn policy_number(p: Policy) -> u32 {
    match p {
        Policy::Normal => SCHED_NORMAL,
        Policy::Batch => SCHED_BATCH,
        Policy::Idle => SCHED_IDLE,
        Policy::Fifo | Policy::Stop => SCHED_FIFO,
        Policy::RoundRobin => SCHED_RR,
    }
}

fn policy_of(n: u32) -> Result<Policy, Errno> {
    match n {
        SCHED_NORMAL => Ok(Policy::Normal),
        SCHED_BATCH => Ok(Policy::Batch),
        SCHED_IDLE => Ok(Policy::Idle),
        SCHED_FIFO => Ok(Policy::Fifo),
        SCHED_RR => Ok(Policy::RoundRobin),
        _ => Err(Errno::EINVAL),
    }
}

/// Whether `t` may schedule `who` otherwise at all: same user, or CAP_SYS_NICE (Linux: check_same_owner).
fn same_owner(t: &Thread, who: &Thread) -> Result<bool, Errno> {
    let mine = t.cred()?;
    let theirs = who.share_cred().ok_or(Errno::ESRCH)?;
    Ok(mine.euid == theirs.euid || mine.euid == theirs.uid)
}

/// Linux's `__sched_setscheduler`, the part of the policies that exist here. `tid` < 0: EINVAL before everything.
fn set_scheduler(t: &Thread, who: &Thread, new: Params, reset: bool) -> Result<(), Errno> {
    let realtime = matches!(new.policy, Policy::Fifo | Policy::RoundRobin);
    if realtime != (new.rt_priority != 0) || new.rt_priority > 99 {
        return Err(Errno::EINVAL);
    }
    let old = params_of(who)?;
    let limits = &who.process.limits;
    if !t.cred()?.capable(CAP_SYS_NICE) {
        if !realtime && new.nice < old.nice && !nice_allowed(limits.soft(limits::NICE), new.nice) {
            return Err(Errno::EPERM);
        }
        if realtime {
            let bound = limits.soft(limits::RTPRIO);
            if new.policy != old.policy && bound == 0 {
                return Err(Errno::EPERM);
            }
            if new.rt_priority > old.rt_priority && u64::from(new.rt_priority) > bound {
                return Err(Errno::EPERM);
            }
        }
        // Leaving SCHED_IDLE needs what the nice value would need.
        if old.policy == Policy::Idle && new.policy != Policy::Idle && !nice_allowed(limits.soft(limits::NICE), old.nice) {
            return Err(Errno::EPERM);
        }
        if !same_owner(t, who)? {
            return Err(Errno::EPERM);
        }
        if who.reset_on_fork.load(Relaxed) && !reset {
            return Err(Errno::EPERM);
        }
    }
    who.reset_on_fork.store(reset, Relaxed);
    executor::set_params(who.task().ok_or(Errno::ESRCH)?, new);
    Ok(())
}

/// RLIMIT_NICE: 20 - nice is the highest allowed.
fn nice_allowed(limit: u64, nice: i8) -> bool {
    (20 - i64::from(nice)) as u64 <= limit
}

/// sched_setscheduler(pid, policy, param)
pub fn sched_setscheduler(t: &Thread, a: Args) -> SysResult {
    let (tid, policy) = (a[0] as i32, a[1] as i32);
    if a[2] == 0 || tid < 0 || policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let param = UserPtr::<SchedParam>::new(a[2] as usize).read()?;
    let who = target(t, tid)?;
    let reset = policy as u32 & SCHED_RESET_ON_FORK != 0;
    let policy = policy_of(policy as u32 & !SCHED_RESET_ON_FORK)?;
    let new = Params { policy, nice: params_of(&who)?.nice, rt_priority: priority(param.sched_priority)? };
    set_scheduler(t, &who, new, reset)?;
    Ok(0)
}

fn priority(p: i32) -> Result<u8, Errno> {
    u8::try_from(p).map_err(|_| Errno::EINVAL)
}

/// sched_getscheduler(pid)
pub fn sched_getscheduler(t: &Thread, a: Args) -> SysResult {
    let who = target(t, a[0] as i32)?;
    let mut n = policy_number(params_of(&who)?.policy);
    if who.reset_on_fork.load(Relaxed) {
        n |= SCHED_RESET_ON_FORK;
    }
    Ok(n as usize)
}

/// sched_setparam(pid, param)
pub fn sched_setparam(t: &Thread, a: Args) -> SysResult {
    if a[1] == 0 || (a[0] as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let param = UserPtr::<SchedParam>::new(a[1] as usize).read()?;
    let who = target(t, a[0] as i32)?;
    let new = Params { rt_priority: priority(param.sched_priority)?, ..params_of(&who)? };
    let reset = who.reset_on_fork.load(Relaxed);
    set_scheduler(t, &who, new, reset)?;
    Ok(0)
}

/// sched_getparam(pid, param)
pub fn sched_getparam(t: &Thread, a: Args) -> SysResult {
    if a[1] == 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = target(t, a[0] as i32)?;
    let param = SchedParam { sched_priority: i32::from(params_of(&who)?.rt_priority) };
    UserPtr::new(a[1] as usize).write(&param)?;
    Ok(0)
}

/// sched_setattr(pid, attr, flags)
pub fn sched_setattr(t: &Thread, a: Args) -> SysResult {
    if a[1] == 0 || (a[0] as i32) < 0 || a[2] as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attr = read_attr(a[1] as usize)?;
    let who = target(t, a[0] as i32)?;
    let old = params_of(&who)?;
    if attr.sched_flags & !SCHED_FLAG_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    // Utilisation clamping is not there: as Linux without CONFIG_UCLAMP_TASK.
    if attr.sched_flags & SCHED_FLAG_UTIL_CLAMP != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let policy =
        if attr.sched_flags & SCHED_FLAG_KEEP_POLICY != 0 { old.policy } else { policy_of(attr.sched_policy)? };
    let mut new = Params {
        policy,
        nice: attr.sched_nice.clamp(-20, 19) as i8,
        rt_priority: u8::try_from(attr.sched_priority).map_err(|_| Errno::EINVAL)?,
    };
    if attr.sched_flags & SCHED_FLAG_KEEP_PARAMS != 0 {
        new = Params { policy, ..old };
    } else if matches!(policy, Policy::Fifo | Policy::RoundRobin) {
        new.nice = old.nice;
    }
    set_scheduler(t, &who, new, attr.sched_flags & SCHED_FLAG_RESET_ON_FORK != 0)?;
    Ok(0)
}

/// Reads a sched_attr of the size that it says: E2BIG, with our size written back, when it has more than we know.
fn read_attr(from: usize) -> Result<SchedAttr, Stop> {
    let head = UserPtr::<u32>::new(from);
    let size = match head.read()? {
        0 => SCHED_ATTR_SIZE_VER0,
        size => size,
    } as usize;
    if size < SCHED_ATTR_SIZE_VER0 as usize || size > vigil_mem::addr::PAGE_SIZE {
        head.write(&(size_of::<SchedAttr>() as u32))?;
        return Err(Errno::E2BIG.into());
    }
    let mut attr = SchedAttr::zeroed();
    UserPtr::<u8>::new(from).read_slice(&mut attr.as_bytes_mut()[..size.min(size_of::<SchedAttr>())])?;
    for at in size_of::<SchedAttr>()..size {
        if UserPtr::<u8>::new(from.wrapping_add(at)).read()? != 0 {
            head.write(&(size_of::<SchedAttr>() as u32))?;
            return Err(Errno::E2BIG.into());
        }
    }
    Ok(attr)
}

/// sched_getattr(pid, attr, size, flags)
pub fn sched_getattr(t: &Thread, a: Args) -> SysResult {
    let size = a[2] as u32 as usize;
    let bad_size = size > vigil_mem::addr::PAGE_SIZE || size < SCHED_ATTR_SIZE_VER0 as usize;
    if a[1] == 0 || (a[0] as i32) < 0 || bad_size || a[3] as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = target(t, a[0] as i32)?;
    let p = params_of(&who)?;
    let mut attr = SchedAttr::zeroed();
    let known = size.min(size_of::<SchedAttr>());
    attr.size = known as u32;
    attr.sched_policy = policy_number(p.policy);
    attr.sched_flags = if who.reset_on_fork.load(Relaxed) { SCHED_FLAG_RESET_ON_FORK } else { 0 };
    attr.sched_priority = u32::from(p.rt_priority);
    if !matches!(p.policy, Policy::Fifo | Policy::RoundRobin) {
        attr.sched_nice = i32::from(p.nice);
    }
    UserPtr::<u8>::new(a[1] as usize).write_slice(&attr.as_bytes()[..known])?;
    Ok(0)
}

/// sched_get_priority_max(policy)
pub fn sched_get_priority_max(_: &Thread, a: Args) -> SysResult {
    match a[0] as u32 {
        SCHED_FIFO | SCHED_RR => Ok(99),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sched_get_priority_min(policy)
pub fn sched_get_priority_min(_: &Thread, a: Args) -> SysResult {
    match a[0] as u32 {
        SCHED_FIFO | SCHED_RR => Ok(1),
        SCHED_NORMAL | SCHED_BATCH | SCHED_IDLE | SCHED_DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
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

/// sched_setaffinity(pid, size, mask): in effect before it returns, for the caller.
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
        let Some(process) = tasks().pids.next_process(next) else { break };
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
    if nice < old.nice && !privileged && !nice_allowed(who.process.limits.soft(limits::NICE), nice) {
        return Err(Errno::EACCES);
    }
    executor::set_params(who.task().ok_or(Errno::ESRCH)?, Params { nice, ..old });
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
