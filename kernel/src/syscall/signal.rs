//! Signals: actions, masks, sending, waiting, returning (signal(7)).

use super::{Args, Stop, SysResult, user};
use crate::task::process::{Process, find_process, find_thread, tasks};
use crate::task::signal::frame;
use crate::task::signal::many::{Permit, To, kill_many};
use crate::task::signal::state::{AltStack, UNBLOCKABLE, pending_of, take};
use crate::task::signal::{self, Action, SigInfo, recalc};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_abi::signal::*;
use vigil_abi::time::Timespec;
use vigil_executor::time::now;
use vigil_executor::wait::{WaitMode, WaitQueue, Waited};
use vigil_executor::wait_site;
use vigil_mem::UserPtr;

const SET: u64 = 8;

fn check_size(size: u64) -> Result<(), Errno> {
    if size == SET { Ok(()) } else { Err(Errno::EINVAL) }
}

fn valid(signo: u64) -> bool {
    (1..=signal::NSIG as u64).contains(&(signo & 0xffff_ffff))
}

/// A disposition as rt_sigaction(2) takes it.
fn action_of(n: Sigaction) -> Action {
    const KNOWN: u64 =
        SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_EXPOSE_TAGBITS | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND;
    Action { handler: n.sa_handler, flags: n.sa_flags & KNOWN, restorer: n.sa_restorer, mask: n.sa_mask & !UNBLOCKABLE }
}

fn abi_action(o: Action) -> Sigaction {
    Sigaction { sa_handler: o.handler, sa_flags: o.flags, sa_restorer: o.restorer, sa_mask: o.mask }
}

/// Sets the action of `signo`; returns the one before.
fn set_action(t: &Thread, signo: u32, new: Sigaction) -> Action {
    let sighand = t.process.sighand();
    let old = sighand.set(signo, action_of(new));
    if sighand.ignores(signo) {
        // POSIX: what is pending and now ignored is forgotten.
        let guard = tasks();
        t.process.signals.queue.with(|p| p.flush(sigmask(signo)));
        for thread in t.process.living(&guard) {
            thread.signals.queue.with(|p| p.flush(sigmask(signo)));
        }
    }
    old
}

fn check_action(a: Args, changes: bool) -> Result<u32, Errno> {
    let signo = a[0] as u32;
    if valid(a[0]) && !(changes && sigmask(signo) & UNBLOCKABLE != 0) { Ok(signo) } else { Err(Errno::EINVAL) }
}

/// rt_sigaction(signal, new, old, size)
pub fn try_rt_sigaction(t: &Thread, a: Args) -> SysResult {
    check_size(a[3])?;
    let new = UserPtr::<Sigaction>::new(a[1] as usize).or_null().map(|p| p.read()).transpose()?;
    let signo = check_action(a, new.is_some())?;
    // Out first: a fault there must not find the action changed, because the call is made again.
    if let Some(old) = UserPtr::<Sigaction>::new(a[2] as usize).or_null() {
        old.write(&abi_action(t.process.sighand().get(signo)))?;
    }
    if let Some(new) = new {
        set_action(t, signo, new);
    }
    Ok(0)
}

/// The same when user memory is missing: the action is changed although the old one cannot be told (EFAULT).
pub async fn rt_sigaction(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    check_size(a[3])?;
    let new = match UserPtr::<Sigaction>::new(a[1] as usize).or_null() {
        Some(p) => Some(user::get(t, p).await?),
        None => None,
    };
    let signo = check_action(a, new.is_some())?;
    let old = match new {
        Some(new) => set_action(t, signo, new),
        None => t.process.sighand().get(signo),
    };
    if let Some(p) = UserPtr::<Sigaction>::new(a[2] as usize).or_null() {
        user::put(t, p, &abi_action(old)).await?;
    }
    Ok(0)
}

/// The mask that `how` makes of `old` and `set`.
fn new_mask(how: u64, old: Sigset, set: Sigset) -> Result<Sigset, Errno> {
    match how as u32 {
        SIG_BLOCK => Ok(old | set),
        SIG_UNBLOCK => Ok(old & !set),
        SIG_SETMASK => Ok(set),
        _ => Err(Errno::EINVAL),
    }
}

/// rt_sigprocmask(how, new, old, size)
pub fn try_rt_sigprocmask(t: &Thread, a: Args) -> SysResult {
    check_size(a[3])?;
    let old = t.signals.blocked();
    let new = match UserPtr::<u64>::new(a[1] as usize).or_null() {
        None => None,
        Some(p) => Some(new_mask(a[0], old, p.read()?)?),
    };
    if let Some(p) = UserPtr::<u64>::new(a[2] as usize).or_null() {
        p.write(&old)?;
    }
    if let Some(mask) = new {
        t.signals.set_blocked(mask);
        recalc(t);
    }
    Ok(0)
}

/// The same when user memory is missing: the mask is changed although the old one cannot be told (EFAULT).
pub async fn rt_sigprocmask(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    check_size(a[3])?;
    let old = t.signals.blocked();
    if let Some(p) = UserPtr::<u64>::new(a[1] as usize).or_null() {
        t.signals.set_blocked(new_mask(a[0], old, user::get(t, p).await?)?);
        recalc(t);
    }
    if let Some(p) = UserPtr::<u64>::new(a[2] as usize).or_null() {
        user::put(t, p, &old).await?;
    }
    Ok(0)
}

/// rt_sigpending(set, size)
pub fn rt_sigpending(t: &Thread, a: Args) -> SysResult {
    if a[1] > SET {
        return Err(Errno::EINVAL.into());
    }
    let set = pending_of(t) & t.signals.blocked();
    UserPtr::<u8>::new(a[0] as usize).write_slice(&set.to_le_bytes()[..a[1] as usize])?;
    Ok(0)
}

/// rt_sigsuspend(mask, size)
pub async fn rt_sigsuspend(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    check_size(a[1])?;
    let mask = user::get(t, UserPtr::<u64>::new(a[0] as usize)).await?;
    t.signals.set_blocked_until_handled(mask);
    recalc(t);
    let nobody = WaitQueue::new();
    let forever = || None::<()>;
    let _ = nobody.wait_until(wait_site!("sigsuspend"), WaitMode::Interruptible, forever).await;
    Err(Errno::ERESTARTNOHAND)
}

/// rt_sigtimedwait(set, info, timeout, size)
pub async fn rt_sigtimedwait(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    check_size(a[3])?;
    let wanted = user::get(t, UserPtr::<u64>::new(a[0] as usize)).await? & !UNBLOCKABLE;
    let deadline = match UserPtr::<Timespec>::new(a[2] as usize).or_null() {
        None => None,
        Some(p) => {
            let ts = user::get(t, p).await?;
            if ts.tv_sec < 0 || !(0..1_000_000_000).contains(&ts.tv_nsec) {
                return Err(Errno::EINVAL);
            }
            let span = (ts.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(ts.tv_nsec as u64);
            Some(now().saturating_add(span))
        }
    };
    let take = || take(t, wanted);
    let mut info = take();
    if info.is_none() && deadline.is_none_or(|d| d > now()) {
        // While it waits the signals are unblocked, so that senders wake it; none is delivered before it has looked.
        let blocked = t.signals.begin_await(wanted);
        recalc(t);
        let queue = WaitQueue::new();
        let slack = t.timer_slack.load(Relaxed);
        let site = wait_site!("sigtimedwait");
        let waited = queue.wait_until_deadline(site, WaitMode::Interruptible, deadline, slack, take).await;
        t.signals.end_await(blocked);
        info = match waited {
            Waited::Ready(info) => Some(info),
            Waited::TimedOut | Waited::Interrupted => take(),
        };
        recalc(t);
        if info.is_none() && matches!(waited, Waited::Interrupted) {
            return Err(Errno::EINTR);
        }
    }
    let info = info.ok_or(Errno::EAGAIN)?;
    if let Some(p) = UserPtr::<Siginfo>::new(a[1] as usize).or_null() {
        user::put(t, p, &info.to_abi()).await?;
    }
    Ok(info.signo as usize)
}

/// rt_sigreturn(): for the future, when the vector's [`try_sigreturn`] had to give up
pub async fn rt_sigreturn(t: &Thread, _: Args<'_>) -> Result<usize, Errno> {
    if user::retry(t, || frame::pop(t)).await.is_err() {
        // SAFETY: the thread itself, outside EL0.
        let context = unsafe { t.context() };
        context.syscall.set(-1);
        frame::pop_what_is_there(t, context.sp.get() as usize);
        // Linux asks for a mapping at or above SP, and there nearly always is one.
        signal::force_fault(t, SIGSEGV, SEGV_ACCERR, context.sp.get() as usize);
        t.signals.fault_address.store(0, Relaxed);
        t.signals.fault_esr.store(0, Relaxed);
    }
    Ok(0)
}

/// The same in the vector. `false`: the future does it, also when the frame is bad. Without arguments and result, and all
/// registers change: it has a way of its own through the vector's table.
pub fn try_sigreturn(t: &Thread) -> bool {
    frame::pop(t).is_ok()
}

/// sigaltstack(new, old)
pub fn sigaltstack(t: &Thread, a: Args) -> SysResult {
    // SAFETY: the thread itself, outside EL0.
    let sp = unsafe { t.context() }.sp.get();
    let new = UserPtr::<StackT>::new(a[0] as usize).or_null().map(|p| p.read()).transpose()?;
    let old = frame::altstack_for_user(t, sp);
    if let Some(n) = new {
        let flags = n.ss_flags as u32;
        let on_stack = t.signals.altstack().contains(sp);
        if on_stack {
            return Err(Errno::EPERM.into());
        }
        let mode = flags & !SS_AUTODISARM;
        if mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE {
            return Err(Errno::EINVAL.into());
        }
        if mode != SS_DISABLE && n.ss_size < MINSIGSTKSZ as u64 {
            return Err(Errno::ENOMEM.into());
        }
    }
    if let Some(p) = UserPtr::<StackT>::new(a[1] as usize).or_null() {
        p.write(&old)?;
    }
    if let Some(n) = new {
        let flags = n.ss_flags as u32;
        t.signals.set_altstack(if flags & SS_DISABLE != 0 {
            AltStack::NONE
        } else {
            AltStack { sp: n.ss_sp, size: n.ss_size, flags: flags & SS_AUTODISARM }
        });
    }
    Ok(0)
}

/// Whether `t` may send `signo` to `to` (kill(2)).
#[inline]
fn may_send(t: &Thread, to: &Process, signo: u32) -> Result<bool, Errno> {
    if core::ptr::eq(&*t.process, to) {
        return Ok(true);
    }
    let guard = tasks();
    Ok(Permit::of(t, &guard)?.allows(to, signo, &guard))
}

fn from_caller(t: &Thread, signo: u32, code: i32) -> Result<SigInfo, Errno> {
    Ok(SigInfo::from_process(signo, code, t.process.pid, t.cred()?.uid, 0))
}

fn kill_process(t: &Thread, to: &Process, signo: u32) -> Result<(), Errno> {
    kill_process_with(t, to, signo, None)
}

/// Sends `signo` to `to`, with `info` or as kill(2). EINVAL: no signal, once there is a process to send it to; EPERM.
pub(super) fn kill_process_with(t: &Thread, to: &Process, signo: u32, info: Option<SigInfo>) -> Result<(), Errno> {
    check_signal(signo)?;
    if !may_send(t, to, signo)? {
        return Err(Errno::EPERM);
    }
    if signo == 0 {
        return Ok(());
    }
    let info = match info {
        Some(info) => info,
        None => from_caller(t, signo, SI_USER)?,
    };
    signal::send_to_process(to, info)
}

fn check_signal(signo: u32) -> Result<(), Errno> {
    if signo as usize <= signal::NSIG { Ok(()) } else { Err(Errno::EINVAL) }
}

/// kill(pid, signal)
pub fn kill(t: &Thread, a: Args) -> SysResult {
    let (pid, signo) = (a[0] as i32, a[1] as u32);
    if pid == t.process.pid as i32 {
        kill_process(t, &t.process, signo)?;
        return Ok(0);
    }
    if pid > 0 {
        let to = find_process(pid as u32).or_else(|| Some(find_thread(pid as u32)?.process.clone()));
        kill_process(t, &*to.ok_or(Errno::ESRCH)?, signo)?;
        return Ok(0);
    }
    if pid == i32::MIN {
        return Err(Errno::ESRCH.into());
    }
    let to = match pid {
        0 => To::Group(t.process.pgrp()),
        -1 => To::AllBut(t.process.pid),
        p => To::Group(p.unsigned_abs()),
    };
    let permit = Permit::of(t, &tasks())?;
    kill_many(to, from_caller(t, signo, SI_USER)?, permit)?;
    Ok(0)
}

fn send_thread(t: &Thread, tgid: Option<u32>, tid: i32, signo: u32, info: SigInfo) -> SysResult {
    let to = find_thread(tid as u32).filter(|x| tgid.is_none_or(|g| x.process.pid == g)).ok_or(Errno::ESRCH)?;
    check_signal(signo)?;
    if !may_send(t, &to.process, signo)? {
        return Err(Errno::EPERM.into());
    }
    if signo != 0 {
        signal::send_to_thread(&to, info)?;
    }
    Ok(0)
}

/// tkill(tid, signal)
pub fn tkill(t: &Thread, a: Args) -> SysResult {
    if a[0] as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signo = a[1] as u32;
    send_thread(t, None, a[0] as i32, signo, from_caller(t, signo, SI_TKILL)?)
}

/// tgkill(tgid, tid, signal)
pub fn tgkill(t: &Thread, a: Args) -> SysResult {
    if a[0] as i32 <= 0 || a[1] as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let signo = a[2] as u32;
    send_thread(t, Some(a[0] as u32), a[1] as i32, signo, from_caller(t, signo, SI_TKILL)?)
}

/// Only the kernel may claim a signal to come from the kernel, or from kill: EPERM.
pub(super) fn check_code(t: &Thread, info: &SigInfo, to: u32) -> Result<(), Errno> {
    if (info.code >= 0 || info.code == SI_TKILL) && to != t.process.pid { Err(Errno::EPERM) } else { Ok(()) }
}

/// Reads the siginfo of sigqueue(3).
fn read_info(t: &Thread, from: u64, signo: u32, to: u32) -> Result<SigInfo, Stop> {
    let info = SigInfo::from_abi(signo, &UserPtr::<Siginfo>::new(from as usize).read()?);
    check_code(t, &info, to)?;
    Ok(info)
}

/// rt_sigqueueinfo(pid, signal, info)
pub fn rt_sigqueueinfo(t: &Thread, a: Args) -> SysResult {
    let signo = a[1] as u32;
    let info = read_info(t, a[2], signo, a[0] as u32)?;
    let to = find_process(a[0] as u32).or_else(|| Some(find_thread(a[0] as u32)?.process.clone()));
    kill_process_with(t, &*to.ok_or(Errno::ESRCH)?, signo, Some(info))?;
    Ok(0)
}

/// rt_tgsigqueueinfo(tgid, tid, signal, info)
pub fn rt_tgsigqueueinfo(t: &Thread, a: Args) -> SysResult {
    let signo = a[2] as u32;
    let info = read_info(t, a[3], signo, a[0] as u32)?;
    if a[0] as i32 <= 0 || a[1] as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_thread(t, Some(a[0] as u32), a[1] as i32, signo, info)
}

/// restart_syscall(): what a stopped call with a timeout goes on with
pub async fn restart_syscall(t: &Thread, _: Args<'_>) -> Result<usize, Errno> {
    super::time::restart(t).await
}
