//! Processes: clone, exec, exit, wait, numbers, groups, limits, usage.

use super::{Args, Stop, SysResult, user};
use crate::cgroup::autogroup::{self, Autogroup};
use crate::task::clone::{self, CloneRequest};
use crate::task::limits::{self, INFINITY};
use crate::task::process::{self, Process, tasks};
use crate::task::signal::stop;
use crate::task::thread::Thread;
use crate::task::usage::Used;
use crate::task::wait::{self, Found, Whom};
use crate::task::{execve, exit, pidfd, rttime, signal};
use core::sync::atomic::Ordering::*;
use vigil_abi::fcntl::O_NONBLOCK;
use vigil_abi::process::*;
use vigil_abi::signal::{CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED};
use vigil_abi::time::Timeval;
use vigil_abi::{Errno, Pod};
use vigil_mem::{KArc, KBox, UserPtr};

/// clone(flags, stack, parent_tid, tls, child_tid): arm64's order (CONFIG_CLONE_BACKWARDS).
pub async fn clone(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let request = CloneRequest {
        flags: a[0] & !CSIGNAL & 0xffff_ffff,
        exit_signal: (a[0] & CSIGNAL) as u32,
        stack: a[1],
        parent_tid: a[2] as usize,
        tls: a[3],
        child_tid: a[4] as usize,
        pidfd: a[2] as usize,
        ..CloneRequest::default()
    };
    if request.flags & (CLONE_PIDFD | CLONE_PARENT_SETTID) == CLONE_PIDFD | CLONE_PARENT_SETTID {
        return Err(Errno::EINVAL);
    }
    run_clone(t, request).await
}

async fn run_clone(t: &Thread, request: CloneRequest) -> Result<usize, Errno> {
    KBox::try_pin_with(|| clone::clone(t, request))?.await.map(|tid| tid as usize)
}

/// clone3(args, size)
pub async fn clone3(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let size = a[1] as usize;
    if size > vigil_mem::addr::PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    let args = read_extensible::<CloneArgs>(t, a[0] as usize, size).await?;
    const MAX_PID_NS_LEVEL: u64 = 32;
    if (args.set_tid == 0) != (args.set_tid_size == 0)
        || args.set_tid_size > MAX_PID_NS_LEVEL
        || args.exit_signal > signal::NSIG as u64
        || args.flags & CLONE_INTO_CGROUP != 0 && (args.cgroup > i32::MAX as u64 || size < CLONE_ARGS_SIZE_VER2)
    {
        return Err(Errno::EINVAL);
    }
    // One number for each level of process name spaces: there is one.
    let wanted = match args.set_tid_size {
        0 => 0,
        _ => user::get(t, UserPtr::<i32>::new(args.set_tid as usize)).await?,
    };
    let known = u64::from(u32::MAX) | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    if args.flags & !known != 0 || args.flags & (CSIGNAL & !CLONE_NEWTIME | CLONE_DETACHED) != 0 {
        return Err(Errno::EINVAL);
    }
    if args.flags & CLONE_CLEAR_SIGHAND != 0 && args.flags & CLONE_SIGHAND != 0 {
        return Err(Errno::EINVAL);
    }
    if args.flags & (CLONE_THREAD | CLONE_PARENT) != 0 && args.exit_signal != 0 {
        return Err(Errno::EINVAL);
    }
    // The stack is given as its lowest byte and its size.
    if (args.stack == 0) != (args.stack_size == 0) {
        return Err(Errno::EINVAL);
    }
    let stack = args.stack.checked_add(args.stack_size).ok_or(Errno::EINVAL)?;
    let request = CloneRequest {
        flags: args.flags,
        exit_signal: args.exit_signal as u32,
        stack,
        parent_tid: args.parent_tid as usize,
        tls: args.tls,
        child_tid: args.child_tid as usize,
        pidfd: args.pidfd as usize,
        wanted: if args.set_tid_size > 1 { 0 } else { wanted },
        chooses: args.set_tid_size != 0,
        cgroup: args.cgroup as i32,
    };
    run_clone(t, request).await
}

/// Reads a structure that may be longer or shorter than ours: what is beyond ours must be zero (E2BIG).
pub(super) async fn read_extensible<T: Pod>(t: &Thread, from: usize, size: usize) -> Result<T, Errno> {
    let known = size_of::<T>();
    user::retry(t, || {
        let mut value = T::zeroed();
        UserPtr::<u8>::new(from).read_slice(&mut value.as_bytes_mut()[..size.min(known)])?;
        let mut at = known;
        while at < size {
            let byte = UserPtr::<u8>::new(from.wrapping_add(at)).read()?;
            if byte != 0 {
                return Err(Stop::Errno(Errno::E2BIG));
            }
            at += 1;
        }
        Ok(value)
    })
    .await
}

/// execve(path, argv, envp)
pub async fn execve(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin_with(|| execve::execve(t, vigil_abi::fcntl::AT_FDCWD, a[0], a[1], a[2], 0))?.await
}

/// execveat(dirfd, path, argv, envp, flags)
pub async fn execveat(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    KBox::try_pin_with(|| execve::execve(t, a[0] as i32, a[1], a[2], a[3], a[4] as u32))?.await
}

/// exit(code)
pub async fn exit(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    exit::exit_thread(t, exit::exit_status(a[0]));
    Ok(0)
}

/// exit_group(code)
pub async fn exit_group(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    exit::group_exit(&t.process, exit::exit_status(a[0]));
    Ok(0)
}

fn timeval(nanos: u64) -> Timeval {
    Timeval { tv_sec: (nanos / 1_000_000_000) as i64, tv_usec: (nanos % 1_000_000_000 / 1_000) as i64 }
}

fn usage(used: &Used) -> Rusage {
    let mut r = Rusage::zeroed();
    r.ru_utime = timeval(used.time[0]);
    r.ru_stime = timeval(used.time[1]);
    r.ru_minflt = used.faults[0] as i64;
    r.ru_majflt = used.faults[1] as i64;
    r.ru_maxrss = used.max_rss as i64;
    r
}

/// wait4(pid, status, options, rusage)
pub async fn wait4(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (pid, options) = (a[0] as i32, a[2] as u32);
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) != 0 {
        return Err(Errno::EINVAL);
    }
    // -INT_MIN is no process group.
    if pid == i32::MIN {
        return Err(Errno::ESRCH);
    }
    let whom = match pid {
        -1 => Whom::Any,
        0 => Whom::Group(t.process.pgrp()),
        p if p < 0 => Whom::Group(p.unsigned_abs()),
        p => Whom::Pid(p as u32),
    };
    let Some(found) = wait::wait(t, whom, options | WEXITED).await? else { return Ok(0) };
    if a[1] != 0 {
        user::put(t, UserPtr::new(a[1] as usize), &found.status).await?;
    }
    if a[3] != 0 {
        user::put(t, UserPtr::new(a[3] as usize), &usage(&found.used)).await?;
    }
    Ok(found.pid as usize)
}

/// waitid(type, id, infop, options, rusage)
pub async fn waitid(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let (kind, id, options) = (a[0] as u32, a[1] as i32, a[3] as u32);
    if options & !(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL) != 0
        || options & (WEXITED | WSTOPPED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL);
    }
    // Kept until the wait is over, so that its address means it.
    let mut named = None;
    let mut nonblocking = false;
    let whom = match kind {
        P_ALL => Whom::Any,
        P_PID if id > 0 => Whom::Pid(id as u32),
        P_PGID if id > 0 => Whom::Group(id as u32),
        P_PGID if id == 0 => Whom::Group(t.process.pgrp()),
        P_PIDFD if id >= 0 => {
            let file = t.files()?.get(id)?;
            nonblocking = file.flags() & O_NONBLOCK != 0;
            named = Some(pidfd::process_of(&file)?);
            Whom::This(named.as_ref().map_or(0, |p| KArc::as_ptr(p).addr()))
        }
        _ => return Err(Errno::EINVAL),
    };
    let found = wait::wait(t, whom, options | if nonblocking { WNOHANG } else { 0 }).await?;
    drop(named);
    if found.is_none() && nonblocking && options & WNOHANG == 0 {
        return Err(Errno::EAGAIN);
    }
    if let Some(found) = &found
        && a[4] != 0
    {
        user::put(t, UserPtr::new(a[4] as usize), &usage(&found.used)).await?;
    }
    if a[2] != 0 {
        put_siginfo(t, a[2] as usize, found.as_ref()).await?;
    }
    Ok(0)
}

/// The part of siginfo that waitid fills: signo, errno, code at 0, 4, 8; pid, uid, status at 16, 20, 24.
async fn put_siginfo(t: &Thread, to: usize, found: Option<&Found>) -> Result<(), Errno> {
    let mut words = [0i32; 7];
    if let Some(f) = found {
        let status = f.status;
        let (code, value) = match status {
            0xffff => (CLD_CONTINUED, signal::SIGCONT as i32),
            s if s & 0xff == 0x7f => (CLD_STOPPED, s >> 8 & 0xff),
            s if s & 0x7f == 0 => (CLD_EXITED, s >> 8 & 0xff),
            s if s & 0x80 != 0 => (CLD_DUMPED, s & 0x7f),
            s => (CLD_KILLED, s & 0x7f),
        };
        words = [signal::SIGCHLD as i32, 0, code, 0, f.pid as i32, f.uid as i32, value];
    }
    for (i, word) in words.iter().enumerate() {
        if i != 3 {
            user::put(t, UserPtr::new(to.wrapping_add(4 * i)), word).await?;
        }
    }
    Ok(())
}

/// getpid()
pub fn getpid(t: &Thread, _: Args) -> SysResult {
    Ok(t.process.pid as usize)
}

/// gettid()
pub fn gettid(t: &Thread, _: Args) -> SysResult {
    Ok(t.tid() as usize)
}

/// getppid()
pub fn getppid(t: &Thread, _: Args) -> SysResult {
    Ok(t.process.parent_pid() as usize)
}

/// set_tid_address(address)
pub fn set_tid_address(t: &Thread, a: Args) -> SysResult {
    t.clear_child_tid.store(a[0] as usize, Relaxed);
    Ok(t.tid() as usize)
}

/// The process of a pid argument; 0 is the caller's. ESRCH.
fn target(t: &Thread, pid: i32) -> Result<KArc<Process>, Errno> {
    match pid {
        0 => Ok(t.process.clone()),
        p if p > 0 => process::find_process(p as u32).ok_or(Errno::ESRCH),
        _ => Err(Errno::ESRCH),
    }
}

/// setpgid(pid, pgid)
pub fn setpgid(t: &Thread, a: Args) -> SysResult {
    let (pid, pgid) = (a[0] as i32, a[1] as i32);
    if pgid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let who = target(t, pid)?;
    let group = if pgid == 0 { who.pid } else { pgid as u32 };
    let mut guard = tasks();
    let caller_session = t.process.relations(&guard).session;
    let own_child = who.relations(&guard).parent.as_ref().is_some_and(|p| KArc::ptr_eq(p, &t.process));
    if own_child {
        if who.relations(&guard).session != caller_session {
            return Err(Errno::EPERM.into());
        }
        if who.relations(&guard).did_exec {
            return Err(Errno::EACCES.into());
        }
    } else if !KArc::ptr_eq(&who, &t.process) {
        return Err(Errno::ESRCH.into());
    }
    if who.relations(&guard).session == who.pid {
        return Err(Errno::EPERM.into());
    }
    if group != who.pid {
        if guard.pids.session_of(group) != Some(caller_session) {
            return Err(Errno::EPERM.into());
        }
    }
    let old = core::mem::replace(&mut who.relations_mut(&mut guard).pgrp, group);
    guard.pids.join_group(group, caller_session);
    guard.pids.leave_group(old);
    stop::groups_changed(&guard);
    Ok(0)
}

/// getpgid(pid)
pub fn getpgid(t: &Thread, a: Args) -> SysResult {
    Ok(target(t, a[0] as i32)?.pgrp() as usize)
}

/// getsid(pid)
pub fn getsid(t: &Thread, a: Args) -> SysResult {
    Ok(target(t, a[0] as i32)?.session() as usize)
}

/// setsid()
pub fn setsid(t: &Thread, _: Args) -> SysResult {
    let pid = t.process.pid;
    // Without memory the session has none, as on Linux.
    let group = Autogroup::try_new().ok();
    let mut guard = tasks();
    // A group leader keeps its group: its number could otherwise name two groups.
    if guard.pids.session_of(pid).is_some() {
        return Err(Errno::EPERM.into());
    }
    let relations = t.process.relations_mut(&mut guard);
    let (pgrp, session) = (relations.pgrp, relations.session);
    relations.pgrp = pid;
    relations.session = pid;
    relations.tty = 0;
    guard.pids.join_group(pid, pid);
    guard.pids.join_session(pid);
    guard.pids.leave_group(pgrp);
    guard.pids.leave_session(session);
    stop::groups_changed(&guard);
    let old = autogroup::begin(&t.process, group.clone(), &mut guard);
    drop(guard);
    drop(old);
    if let Some(group) = group {
        group.follow_switch();
    }
    Ok(pid as usize)
}

fn read_limit(process: &Process, resource: usize) -> Rlimit {
    Rlimit { rlim_cur: process.limits.soft(resource), rlim_max: process.limits.hard(resource) }
}

fn check_limit(t: &Thread, process: &Process, resource: usize, new: Rlimit) -> Result<(), Errno> {
    if new.rlim_cur > new.rlim_max {
        return Err(Errno::EINVAL);
    }
    // Linux: sysctl nr_open bounds RLIMIT_NOFILE.
    if resource == limits::NOFILE && new.rlim_max > 1_048_576 {
        return Err(Errno::EPERM);
    }
    if new.rlim_max > process.limits.hard(resource) && !t.cred()?.capable(CAP_SYS_RESOURCE) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

fn write_limit(t: &Thread, process: &KArc<Process>, resource: usize, new: Rlimit) -> Result<(), Errno> {
    check_limit(t, process, resource, new)?;
    process.limits.set(resource, new.rlim_cur, new.rlim_max);
    if resource == limits::CPU && new.rlim_cur != INFINITY {
        process.timers.arm_cpu_limit(process, new.rlim_cur);
    }
    if resource == limits::RTTIME {
        rttime::changed(process);
    }
    Ok(())
}

/// getrlimit(resource, limit)
pub fn getrlimit(t: &Thread, a: Args) -> SysResult {
    let resource = resource(a[0])?;
    UserPtr::new(a[1] as usize).write(&read_limit(&t.process, resource))?;
    Ok(0)
}

fn resource(n: u64) -> Result<usize, Errno> {
    let n = n as u32 as usize;
    if n < limits::COUNT { Ok(n) } else { Err(Errno::EINVAL) }
}

/// setrlimit(resource, limit)
pub fn setrlimit(t: &Thread, a: Args) -> SysResult {
    let new = UserPtr::<Rlimit>::new(a[1] as usize).read()?;
    write_limit(t, &t.process, resource(a[0])?, new)?;
    Ok(0)
}

/// The process whose limits prlimit64(2) asks for. ESRCH, EPERM.
fn limits_target(t: &Thread, pid: i32) -> Result<KArc<Process>, Errno> {
    let who = match pid {
        0 => return Ok(t.process.clone()),
        pid => process::find_thread(pid as u32).ok_or(Errno::ESRCH)?.process.clone(),
    };
    let allowed = KArc::ptr_eq(&who, &t.process) || super::cred::may_change_limits(t, &who)?;
    if allowed { Ok(who) } else { Err(Errno::EPERM) }
}

/// prlimit64(pid, resource, new, old)
pub fn try_prlimit64(t: &Thread, a: Args) -> SysResult {
    let resource = resource(a[1])?;
    let new = UserPtr::<Rlimit>::new(a[2] as usize).or_null().map(|p| p.read()).transpose()?;
    let who = limits_target(t, a[0] as i32)?;
    // The old limits go out first: a fault there must not find the new ones set, because the call is made again.
    if let Some(old) = UserPtr::<Rlimit>::new(a[3] as usize).or_null() {
        if let Some(new) = new {
            check_limit(t, &who, resource, new)?;
        }
        old.write(&read_limit(&who, resource))?;
    }
    if let Some(new) = new {
        write_limit(t, &who, resource, new)?;
    }
    Ok(0)
}

/// The same when user memory is missing: the limit is set although the old one cannot be told (EFAULT).
pub async fn prlimit64(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let resource = resource(a[1])?;
    let new = match UserPtr::<Rlimit>::new(a[2] as usize).or_null() {
        Some(p) => Some(user::get(t, p).await?),
        None => None,
    };
    let who = limits_target(t, a[0] as i32)?;
    let old = read_limit(&who, resource);
    if let Some(new) = new {
        write_limit(t, &who, resource, new)?;
    }
    if let Some(p) = UserPtr::<Rlimit>::new(a[3] as usize).or_null() {
        user::put(t, p, &old).await?;
    }
    Ok(0)
}

/// What a whole process has used: living and dead threads.
pub(super) fn process_usage(process: &Process) -> Used {
    let guard = tasks();
    let mut used = process.relations(&guard).dead;
    for thread in process.living(&guard) {
        let one = Used::of(thread);
        used.add(&one);
    }
    used
}

/// CPU time of a process: user, system, nanoseconds.
pub fn process_times(process: &Process) -> [u64; 2] {
    process_usage(process).time
}

/// getrusage(who, usage)
pub fn getrusage(t: &Thread, a: Args) -> SysResult {
    let mut used = match a[0] as i32 {
        RUSAGE_SELF => process_usage(&t.process),
        RUSAGE_CHILDREN => t.process.relations(&tasks()).children,
        RUSAGE_THREAD => Used { max_rss: t.process.relations(&tasks()).dead.max_rss, ..Used::of(t) },
        _ => return Err(Errno::EINVAL.into()),
    };
    if a[0] as i32 != RUSAGE_CHILDREN {
        used.max_rss = used.max_rss.max(t.mm().map_or(0, |mm| mm.max_rss_kib()) as u64);
    }
    UserPtr::new(a[1] as usize).write(&usage(&used))?;
    Ok(0)
}

/// times(buffer): in ticks of 10 ms
pub fn times(t: &Thread, a: Args) -> SysResult {
    const TICK: u64 = 10_000_000;
    if a[0] != 0 {
        let own = process_times(&t.process);
        let children = t.process.relations(&tasks()).children.time;
        let ticks = [own[0] / TICK, own[1] / TICK, children[0] / TICK, children[1] / TICK];
        UserPtr::<u64>::new(a[0] as usize).write_slice(&ticks)?;
    }
    Ok((vigil_executor::time::now() / TICK) as usize)
}
