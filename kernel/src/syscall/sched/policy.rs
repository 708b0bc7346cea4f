//! Policies and their parameters: what is asked for, checked as Linux does (`__sched_setscheduler`), with the errors in its order.

use super::{Target, params_of, same_owner, target};
use crate::syscall::{Args, SysResult};
use crate::task::thread::Thread;
use crate::task::{limits, rttime};
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::process::*;
use vigil_abi::{Errno, Pod};
use vigil_executor::balance::partition::root_span;
use vigil_executor::class::{DlParams, Params, Policy};
use vigil_executor::executor::{self, Refused};
use vigil_executor::time::USEC;
use vigil_mem::UserPtr;

/// Flags that the kernel alone may set (SCHED_FLAG_SUGOV): known, and refused.
const SCHED_FLAG_SUGOV: u64 = 0x1000_0000;

/// Bounds of a reservation's period, µs (`sched_deadline_period_min_us`, `sched_deadline_period_max_us`).
pub static PERIOD_MIN_US: AtomicU32 = AtomicU32::new(100);
/// See [`PERIOD_MIN_US`].
pub static PERIOD_MAX_US: AtomicU32 = AtomicU32::new(1 << 22);

/// What is asked for.
pub(super) struct Wanted {
    /// `None`: as it is, and the mark that children are reset with it.
    pub policy: Option<u32>,
    pub flags: u64,
    pub nice: i8,
    pub priority: u32,
    pub deadline: DlParams,
}

impl Wanted {
    /// What sched_setscheduler(2) and sched_setparam(2) can say of `who`.
    fn of(who: &Thread, policy: Option<u32>, priority: i32, flags: u64) -> Result<Wanted, Errno> {
        Ok(Wanted { policy, flags, nice: params_of(who)?.nice, priority: priority as u32, deadline: DlParams::NONE })
    }

    /// Puts the present parameters of `who` in place of those asked for (SCHED_FLAG_KEEP_PARAMS; Linux: get_params).
    pub fn keep_params(&mut self, who: &Thread) -> Result<(), Errno> {
        let old = params_of(who)?;
        match old.policy {
            Policy::Deadline => {
                self.deadline = deadline_of(who)?;
                self.priority = 0;
                self.flags = self.flags & !(SCHED_FLAG_RECLAIM | SCHED_FLAG_DL_OVERRUN) | flags_of(&self.deadline);
            }
            Policy::Fifo | Policy::RoundRobin | Policy::Stop => self.priority = u32::from(old.rt_priority),
            Policy::Normal | Policy::Batch | Policy::Idle => self.nice = old.nice,
        }
        Ok(())
    }
}

/// The reservation of `who`, which is of the deadline class.
pub(super) fn deadline_of(who: &Thread) -> Result<DlParams, Errno> {
    Ok(executor::deadline(who.task().ok_or(Errno::ESRCH)?).unwrap_or(DlParams::NONE))
}

/// Its flags of struct sched_attr.
pub(super) fn flags_of(p: &DlParams) -> u64 {
    let reclaim = if p.reclaim { SCHED_FLAG_RECLAIM } else { 0 };
    reclaim | if p.overrun { SCHED_FLAG_DL_OVERRUN } else { 0 }
}

pub(super) fn policy_number(p: Policy) -> u32 {
    match p {
        Policy::Normal => SCHED_NORMAL,
        Policy::Batch => SCHED_BATCH,
        Policy::Idle => SCHED_IDLE,
        Policy::Fifo | Policy::Stop => SCHED_FIFO,
        Policy::RoundRobin => SCHED_RR,
        Policy::Deadline => SCHED_DEADLINE,
    }
}

fn policy_of(n: u32) -> Result<Policy, Errno> {
    match n {
        SCHED_NORMAL => Ok(Policy::Normal),
        SCHED_BATCH => Ok(Policy::Batch),
        SCHED_IDLE => Ok(Policy::Idle),
        SCHED_FIFO => Ok(Policy::Fifo),
        SCHED_RR => Ok(Policy::RoundRobin),
        SCHED_DEADLINE => Ok(Policy::Deadline),
        _ => Err(Errno::EINVAL),
    }
}

const fn is_fair(p: Policy) -> bool {
    matches!(p, Policy::Normal | Policy::Batch | Policy::Idle)
}

const fn is_realtime(p: Policy) -> bool {
    matches!(p, Policy::Fifo | Policy::RoundRobin)
}

/// Gives `who` what is `wanted`, on behalf of `t`.
pub(super) fn set_scheduler(t: &Thread, who: &Thread, wanted: &Wanted) -> Result<(), Errno> {
    let old = params_of(who)?;
    let (policy, reset) = match wanted.policy {
        None => (old.policy, who.reset_on_fork.load(Relaxed)),
        Some(n) => (policy_of(n)?, wanted.flags & SCHED_FLAG_RESET_ON_FORK != 0),
    };
    if wanted.flags & !(SCHED_FLAG_ALL | SCHED_FLAG_SUGOV) != 0 {
        return Err(Errno::EINVAL);
    }
    let priority = u8::try_from(wanted.priority).ok().filter(|p| *p <= 99).ok_or(Errno::EINVAL)?;
    let deadline = policy == Policy::Deadline;
    let bound = |us: &AtomicU32| u64::from(us.load(Relaxed)) * USEC;
    if deadline && !wanted.deadline.is_valid(bound(&PERIOD_MIN_US), bound(&PERIOD_MAX_US)) || is_realtime(policy) != (priority != 0) {
        return Err(Errno::EINVAL);
    }
    let new = Params { policy, nice: if is_fair(policy) { wanted.nice } else { old.nice }, rt_priority: priority };
    if needs_privilege(t, who, &old, &new, reset)? && !t.cred()?.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    if wanted.flags & SCHED_FLAG_SUGOV != 0 {
        return Err(Errno::EINVAL);
    }
    // Utilisation clamping is not there: as Linux without CONFIG_UCLAMP_TASK.
    if wanted.flags & SCHED_FLAG_UTIL_CLAMP != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if old.policy == Policy::Stop {
        return Err(Errno::EINVAL);
    }
    let task = who.task().ok_or(Errno::ESRCH)?;
    if wanted.flags & SCHED_FLAG_KEEP_PARAMS != 0 {
        // As Linux 6.1: the policy stays with the parameters.
    } else if deadline {
        let p = DlParams { period: wanted.deadline.period(), ..wanted.deadline };
        if old.policy != Policy::Deadline || deadline_of(who)? != p {
            // A reservation is one on all CPUs of a root domain; and there are none while real-time is given nothing. Nobody asks while
            // it is given everything.
            if executor::rt_bandwidth().1.is_some_and(|runtime| runtime == 0 || root_span(task.cpu()).0 & !task.affinity().0 != 0) {
                return Err(Errno::EPERM);
            }
            executor::set_deadline(task, old.nice, p).map_err(|refused| match refused {
                Refused::NoMemory => Errno::ENOMEM,
                Refused::Busy => Errno::EBUSY,
            })?;
            rttime::leaves(who, &old);
        }
    } else if new != old {
        if is_realtime(policy) && !is_realtime(old.policy) {
            rttime::comes_back(who);
        }
        executor::set_params(task, new);
        match is_realtime(policy) {
            true => rttime::begins(who),
            false => rttime::leaves(who, &old),
        }
    }
    who.reset_on_fork.store(reset, Relaxed);
    Ok(())
}

/// Whether a change from `old` to `new` takes CAP_SYS_NICE (Linux: `user_check_sched_setscheduler`).
fn needs_privilege(t: &Thread, who: &Thread, old: &Params, new: &Params, reset: bool) -> Result<bool, Errno> {
    let limits = &who.process.limits;
    if is_fair(new.policy) && new.nice < old.nice && !limits.allows_nice(new.nice) {
        return Ok(true);
    }
    if is_realtime(new.policy) {
        let bound = limits.soft(limits::RTPRIO);
        if new.policy != old.policy && bound == 0 || new.rt_priority > old.rt_priority && u64::from(new.rt_priority) > bound {
            return Ok(true);
        }
    }
    // Leaving SCHED_IDLE needs what the nice value would need.
    let leaves_idle = old.policy == Policy::Idle && new.policy != Policy::Idle && !limits.allows_nice(old.nice);
    Ok(new.policy == Policy::Deadline || leaves_idle || !same_owner(t, who)? || who.reset_on_fork.load(Relaxed) && !reset)
}

/// sched_setscheduler(pid, policy, param)
pub fn sched_setscheduler(t: &Thread, a: Args) -> SysResult {
    let (tid, policy) = (a[0] as i32, a[1] as i32);
    if a[2] == 0 || tid < 0 || policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let param = UserPtr::<SchedParam>::new(a[2] as usize).read()?;
    let who = target(t, tid)?;
    let flags = if policy as u32 & SCHED_RESET_ON_FORK != 0 { SCHED_FLAG_RESET_ON_FORK } else { 0 };
    let policy = Some(policy as u32 & !SCHED_RESET_ON_FORK);
    set_scheduler(t, &who, &Wanted::of(&who, policy, param.sched_priority, flags)?)?;
    Ok(0)
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
    set_scheduler(t, &who, &Wanted::of(&who, None, param.sched_priority, 0)?)?;
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

/// sched_get_priority_max(policy)
pub fn sched_get_priority_max(_: &Thread, a: Args) -> SysResult {
    bound_of(a[0] as u32, 99)
}

/// sched_get_priority_min(policy)
pub fn sched_get_priority_min(_: &Thread, a: Args) -> SysResult {
    bound_of(a[0] as u32, 1)
}

fn bound_of(policy: u32, realtime: usize) -> SysResult {
    Ok(if is_realtime(policy_of(policy)?) { realtime } else { 0 })
}

/// sched_setattr(pid, attr, flags)
pub fn sched_setattr(t: &Thread, a: Args) -> SysResult {
    if a[1] == 0 || (a[0] as i32) < 0 || a[2] as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attr = super::attr::read(a[1] as usize)?;
    if (attr.sched_policy as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let who: Target<'_> = target(t, a[0] as i32)?;
    let mut wanted = Wanted {
        policy: (attr.sched_flags & SCHED_FLAG_KEEP_POLICY == 0).then_some(attr.sched_policy),
        flags: attr.sched_flags,
        nice: attr.sched_nice.clamp(-20, 19) as i8,
        priority: attr.sched_priority,
        deadline: DlParams {
            runtime: attr.sched_runtime,
            deadline: attr.sched_deadline,
            period: attr.sched_period,
            reclaim: attr.sched_flags & SCHED_FLAG_RECLAIM != 0,
            overrun: attr.sched_flags & SCHED_FLAG_DL_OVERRUN != 0,
        },
    };
    if attr.sched_flags & SCHED_FLAG_KEEP_PARAMS != 0 {
        wanted.keep_params(&who)?;
    }
    set_scheduler(t, &who, &wanted)?;
    Ok(0)
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
    match p.policy {
        Policy::Deadline => {
            let p = deadline_of(&who)?;
            attr.sched_flags |= flags_of(&p);
            (attr.sched_runtime, attr.sched_deadline, attr.sched_period) = (p.runtime, p.deadline, p.period);
        }
        Policy::Fifo | Policy::RoundRobin | Policy::Stop => attr.sched_priority = u32::from(p.rt_priority),
        Policy::Normal | Policy::Batch | Policy::Idle => attr.sched_nice = i32::from(p.nice),
    }
    UserPtr::<u8>::new(a[1] as usize).write_slice(&attr.as_bytes()[..known])?;
    Ok(0)
}
