//! Time: clocks, sleeping, interval timers, POSIX timers.

use super::blocked::{Blocked, Sleep};
use super::{Args, Stop, SysResult, user};
use crate::task::process::find_thread;
use crate::task::thread::Thread;
use crate::time::clock::{self, COARSE_RESOLUTION};
use crate::time::steer;
use crate::time::timers::Kind;
use core::sync::atomic::Ordering::*;
use vigil_abi::process::CAP_SYS_TIME;
use vigil_abi::time::*;
use vigil_abi::{Errno, Pod};
use vigil_executor::task::Task;
use vigil_executor::time::{Nanos, now};
use vigil_executor::timer;
use vigil_executor::wait::{WaitMode, Waited};
use vigil_executor::wait_site;
use vigil_mem::UserPtr;

/// Reads clock `id`. EINVAL for one that does not exist.
pub fn read_clock(t: &Thread, id: u32) -> Result<Nanos, Errno> {
    // The one that is read most, before the table of the others.
    if id == CLOCK_MONOTONIC {
        return Ok(clock::monotonic());
    }
    match id {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE | CLOCK_REALTIME_ALARM => Ok(clock::realtime()),
        CLOCK_TAI => Ok(clock::tai()),
        CLOCK_MONOTONIC_COARSE | CLOCK_BOOTTIME | CLOCK_BOOTTIME_ALARM => Ok(clock::monotonic()),
        CLOCK_MONOTONIC_RAW => Ok(now()),
        CLOCK_THREAD_CPUTIME_ID => Ok(t.run_time()),
        CLOCK_PROCESS_CPUTIME_ID => Ok(process_time(t)),
        _ if (id as i32) < 0 => cpu_clock(t, id as i32),
        _ => Err(Errno::EINVAL),
    }
}

fn process_time(t: &Thread) -> Nanos {
    let time = super::process::process_times(&t.process);
    time[0].wrapping_add(time[1])
}

/// A clock id made from a pid (clock_getcpuclockid(3)): ~pid << 3 | per-thread bit | kind, kind 2 is run time.
fn cpu_clock(t: &Thread, id: i32) -> Result<Nanos, Errno> {
    const PER_THREAD: i32 = 4;
    const FD: i32 = 3;
    if id & 3 == FD {
        return Err(Errno::EINVAL);
    }
    let pid = !(id >> 3) as u32;
    if pid == 0 {
        return Ok(if id & PER_THREAD != 0 { t.run_time() } else { process_time(t) });
    }
    let who = find_thread(pid).ok_or(Errno::EINVAL)?;
    if id & PER_THREAD != 0 {
        if who.process.pid != t.process.pid {
            return Err(Errno::EINVAL);
        }
        return Ok(who.run_time());
    }
    if !who.is_leader() {
        return Err(Errno::EINVAL);
    }
    Ok(process_time(&who))
}

/// clock_gettime(clock, time)
pub fn clock_gettime(t: &Thread, a: Args) -> SysResult {
    let time = read_clock(t, a[0] as u32)?;
    UserPtr::new(a[1] as usize).write(&Timespec::from_nanos(time))?;
    Ok(0)
}

/// clock_settime(clock, time)
pub fn clock_settime(t: &Thread, a: Args) -> SysResult {
    if a[0] as u32 != CLOCK_REALTIME {
        return Err(Errno::EINVAL.into());
    }
    let ts = UserPtr::<Timespec>::new(a[1] as usize).read()?;
    set_wall_clock(t, ts)
}

fn set_wall_clock(t: &Thread, ts: Timespec) -> SysResult {
    if !ts.can_be_set() {
        return Err(Errno::EINVAL.into());
    }
    if !t.cred()?.capable(CAP_SYS_TIME) {
        return Err(Errno::EPERM.into());
    }
    steer::set(ts.to_nanos())?;
    Ok(0)
}

/// adjtimex(buf)
pub fn adjtimex(t: &Thread, a: Args) -> SysResult {
    adjust(t, UserPtr::new(a[0] as usize))
}

/// clock_adjtime(clock, buf)
pub fn clock_adjtime(t: &Thread, a: Args) -> SysResult {
    let at = UserPtr::<Timex>::new(a[1] as usize);
    match a[0] as u32 {
        CLOCK_REALTIME => adjust(t, at),
        id => {
            at.read()?;
            read_clock_kind(id)?;
            Err(Errno::EOPNOTSUPP.into())
        }
    }
}

/// Whether there is a clock of this kind. EINVAL.
fn read_clock_kind(id: u32) -> Result<(), Errno> {
    let exists = (id as i32) < 0 && id & 3 != 3 || id <= CLOCK_BOOTTIME_ALARM || id == CLOCK_TAI;
    if exists { Ok(()) } else { Err(Errno::EINVAL) }
}

fn adjust(t: &Thread, at: UserPtr<Timex>) -> SysResult {
    let mut timex = at.read()?;
    steer::validate(&timex, t.cred()?.capable(CAP_SYS_TIME))?;
    // Whether the answer can be written is known before anything is changed: what faults is called again.
    at.write(&timex)?;
    let state = steer::adjust(&mut timex)?;
    at.write(&timex).map_err(|_| Errno::EFAULT)?;
    Ok(state as usize)
}

/// clock_getres(clock, resolution)
pub fn clock_getres(t: &Thread, a: Args) -> SysResult {
    let id = a[0] as u32;
    read_clock(t, id)?;
    let nanos = if matches!(id, CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) { COARSE_RESOLUTION } else { 1 };
    if let Some(p) = UserPtr::<Timespec>::new(a[1] as usize).or_null() {
        p.write(&Timespec::from_nanos(nanos))?;
    }
    Ok(0)
}

/// gettimeofday(time, zone)
pub fn gettimeofday(_: &Thread, a: Args) -> SysResult {
    if let Some(p) = UserPtr::<Timeval>::new(a[0] as usize).or_null() {
        p.write(&Timeval::from_nanos(clock::realtime()))?;
    }
    if let Some(p) = UserPtr::<Timezone>::new(a[1] as usize).or_null() {
        let (tz_minuteswest, tz_dsttime) = crate::mm::vdso::timezone();
        p.write(&Timezone { tz_minuteswest, tz_dsttime })?;
    }
    Ok(0)
}

/// settimeofday(time, zone)
pub fn settimeofday(t: &Thread, a: Args) -> SysResult {
    let time = UserPtr::<Timeval>::new(a[0] as usize).or_null().map(|p| p.read()).transpose()?;
    let zone = UserPtr::<Timezone>::new(a[1] as usize).or_null().map(|p| p.read()).transpose()?;
    if time.is_some_and(|tv| tv.tv_sec < 0 || !(0..1_000_000).contains(&tv.tv_usec)) {
        return Err(Errno::EINVAL.into());
    }
    if !t.cred()?.capable(CAP_SYS_TIME) {
        return Err(Errno::EPERM.into());
    }
    if let Some(z) = zone {
        if !(-15 * 60..=15 * 60).contains(&z.tz_minuteswest) {
            return Err(Errno::EINVAL.into());
        }
        crate::mm::vdso::update_timezone(z.tz_minuteswest, z.tz_dsttime);
    }
    match time {
        Some(tv) => set_wall_clock(t, Timespec { tv_sec: tv.tv_sec, tv_nsec: tv.tv_usec * 1000 }),
        None => Ok(0),
    }
}

/// Slack of the thread's sleeps: none for real-time policies.
pub fn slack_of(t: &Thread) -> Nanos {
    if t.task().is_some_and(Task::is_realtime) { 0 } else { t.timer_slack.load(Relaxed) }
}

/// Leaves a sleep to the thread's stay in EL0, unless it is over.
fn begin_sleep(t: &Thread, deadline: Nanos, relative: bool) -> SysResult {
    if now() >= deadline {
        return Ok(0);
    }
    t.set_blocked(Blocked::Sleep(Sleep { deadline, slack: slack_of(t), relative }));
    Err(Stop::NotYet)
}

/// The deadline that an interrupted relative sleep had, 0 for none; asked once, before anything that can fail.
fn deadline_so_far(t: &Thread) -> Nanos {
    t.transferred.swap(0, Relaxed) as Nanos
}

/// The deadline of a sleep of `span`: the one that it had, or the one that it gets now.
fn deadline_of(so_far: Nanos, span: Nanos) -> Nanos {
    if so_far != 0 { so_far } else { clock::after(span) }
}

/// nanosleep in the vector.
pub fn try_nanosleep(t: &Thread, a: Args) -> SysResult {
    let ts = UserPtr::<Timespec>::new(a[0] as usize).read()?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    begin_sleep(t, clock::after(ts.to_nanos()), true)
}

/// nanosleep(time, remaining)
pub async fn nanosleep(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let so_far = deadline_so_far(t);
    let ts = user::get(t, UserPtr::<Timespec>::new(a[0] as usize)).await?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL);
    }
    sleep_until(t, deadline_of(so_far, ts.to_nanos()), a[1] as usize).await
}

/// A relative sleep: interrupted, it stores what remains and is restarted to its deadline when no handler ran.
async fn sleep_until(t: &Thread, deadline: Nanos, remaining: usize) -> Result<usize, Errno> {
    let slept = timer::sleep_until(wait_site!("hrtimer_nanosleep"), deadline, slack_of(t), WaitMode::Interruptible).await;
    if slept.is_ok() {
        return Ok(0);
    }
    let left = deadline.saturating_sub(now());
    if left == 0 {
        return Ok(0);
    }
    if let Some(p) = UserPtr::<Timespec>::new(remaining).or_null() {
        user::put(t, p, &Timespec::from_nanos(left)).await?;
    }
    t.restart_deadline.store(deadline, Relaxed);
    t.restart_remaining.store(remaining, Relaxed);
    Err(Errno::ERESTART_RESTARTBLOCK)
}

/// restart_syscall(2): goes on with the sleep that a stop or an ignored signal interrupted.
pub async fn restart(t: &Thread) -> Result<usize, Errno> {
    let deadline = t.restart_deadline.swap(0, Relaxed);
    if deadline == 0 {
        return Err(Errno::EINTR);
    }
    sleep_until(t, deadline, t.restart_remaining.load(Relaxed)).await
}

/// clock_nanosleep in the vector: on the clocks that pass as CLOCK_MONOTONIC does.
pub fn try_clock_nanosleep(t: &Thread, a: Args) -> SysResult {
    let absolute = a[1] as u32 & TIMER_ABSTIME != 0;
    match a[0] as u32 {
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => {}
        // To a point of a clock that can be set: its sleeper looks again.
        CLOCK_REALTIME | CLOCK_TAI if !absolute => {}
        _ => return Err(Stop::NotYet),
    }
    let ts = UserPtr::<Timespec>::new(a[2] as usize).read()?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match absolute {
        // As above: its pace may change.
        true if clock::is_steered() => return Err(Stop::NotYet),
        true => ts.to_nanos(),
        false => clock::after(ts.to_nanos()),
    };
    begin_sleep(t, deadline, !absolute)
}

/// clock_nanosleep(clock, flags, time, remaining)
pub async fn clock_nanosleep(t: &Thread, a: Args<'_>) -> Result<usize, Errno> {
    let so_far = deadline_so_far(t);
    let (id, flags) = (a[0] as u32, a[1] as u32);
    match id {
        CLOCK_REALTIME | CLOCK_MONOTONIC | CLOCK_BOOTTIME | CLOCK_TAI => {}
        CLOCK_REALTIME_ALARM | CLOCK_BOOTTIME_ALARM => return Err(Errno::EOPNOTSUPP),
        CLOCK_PROCESS_CPUTIME_ID => {}
        CLOCK_THREAD_CPUTIME_ID | CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE => return Err(Errno::EOPNOTSUPP),
        _ if (id as i32) < 0 => {
            read_clock(t, id)?;
        }
        _ => return Err(Errno::EINVAL),
    }
    let ts = user::get(t, UserPtr::<Timespec>::new(a[2] as usize)).await?;
    if !ts.is_valid() {
        return Err(Errno::EINVAL);
    }
    let absolute = flags & TIMER_ABSTIME != 0;
    if id == CLOCK_PROCESS_CPUTIME_ID || (id as i32) < 0 {
        return cpu_sleep(t, id, ts.to_nanos(), absolute).await;
    }
    if !absolute {
        return sleep_until(t, deadline_of(so_far, ts.to_nanos()), a[3] as usize).await;
    }
    let site = wait_site!("hrtimer_nanosleep");
    let on_wall = matches!(id, CLOCK_REALTIME | CLOCK_TAI);
    if !on_wall && !clock::is_steered() {
        return match timer::sleep_until(site, ts.to_nanos(), slack_of(t), WaitMode::Interruptible).await {
            Ok(()) => Ok(0),
            Err(_) => Err(Errno::ERESTARTNOHAND),
        };
    }
    loop {
        let changes = clock::changes();
        let target = if id == CLOCK_TAI { ts.to_nanos().saturating_add_signed(-clock::tai_offset()) } else { ts.to_nanos() };
        let target = if on_wall { clock::realtime_to_monotonic(target) } else { target };
        if clock::monotonic() >= target {
            return Ok(0);
        }
        // Whoever sets or steers the clock wakes it, and then it is another time to sleep to.
        let set = || (clock::changes() != changes).then_some(());
        let deadline = Some(clock::when(target));
        if let Waited::Interrupted = steer::SLEEPERS.wait_until_deadline(site, WaitMode::Interruptible, deadline, slack_of(t), set).await {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
}

/// A sleep on CPU time: looks when, at the earliest, the time can be used up.
async fn cpu_sleep(t: &Thread, id: u32, time: Nanos, absolute: bool) -> Result<usize, Errno> {
    let start = read_clock(t, id)?;
    let target = if absolute { time } else { start.saturating_add(time) };
    loop {
        let used = read_clock(t, id)?;
        if used >= target {
            return Ok(0);
        }
        let cpus = u64::from(vigil_executor::cpu::ONLINE.load().0.count_ones().max(1));
        let wait = ((target - used) / cpus).max(1_000_000);
        let site = wait_site!("do_cpu_nanosleep");
        if timer::sleep_until(site, now().saturating_add(wait), 0, WaitMode::Interruptible).await.is_err() {
            return Err(Errno::ERESTARTNOHAND);
        }
    }
}

fn kind(which: u64) -> Result<Kind, Errno> {
    match which as u32 {
        ITIMER_REAL => Ok(Kind::Real),
        ITIMER_VIRTUAL => Ok(Kind::Virtual),
        ITIMER_PROF => Ok(Kind::Prof),
        _ => Err(Errno::EINVAL),
    }
}

fn timeval_nanos(tv: Timeval) -> Result<Nanos, Errno> {
    if tv.tv_sec < 0 || !(0..1_000_000).contains(&tv.tv_usec) {
        return Err(Errno::EINVAL);
    }
    Ok((tv.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(tv.tv_usec as u64 * 1_000))
}

fn to_itimerval((value, interval): (Nanos, Nanos)) -> Itimerval {
    Itimerval { it_interval: Timeval::from_nanos(interval), it_value: Timeval::from_nanos(value) }
}

/// getitimer(which, value)
pub fn getitimer(t: &Thread, a: Args) -> SysResult {
    let value = t.process.timers.get_interval(&t.process, kind(a[0])?);
    UserPtr::new(a[1] as usize).write(&to_itimerval(value))?;
    Ok(0)
}

/// setitimer(which, new, old)
pub fn setitimer(t: &Thread, a: Args) -> SysResult {
    let new = match UserPtr::<Itimerval>::new(a[1] as usize).or_null() {
        Some(p) => p.read()?,
        None => Itimerval::zeroed(),
    };
    let kind = kind(a[0])?;
    let (value, interval) = (timeval_nanos(new.it_value)?, timeval_nanos(new.it_interval)?);
    // The old value goes out first: nothing is set when that faults.
    if let Some(p) = UserPtr::<Itimerval>::new(a[2] as usize).or_null() {
        p.write(&to_itimerval(t.process.timers.get_interval(&t.process, kind)))?;
    }
    t.process.timers.set_interval(&t.process, kind, value, interval)?;
    Ok(0)
}

/// timer_create(clock, event, id)
pub fn timer_create(t: &Thread, a: Args) -> SysResult {
    let event = UserPtr::<Sigevent>::new(a[1] as usize).or_null().map(|p| p.read()).transpose()?;
    let clock = a[0] as u32;
    read_clock(t, clock)?;
    if matches!(clock, CLOCK_MONOTONIC_RAW | CLOCK_REALTIME_COARSE | CLOCK_MONOTONIC_COARSE) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    // The number goes out before the timer exists, so that a fault leaves nothing behind.
    let id = t.process.timers.reserve()?;
    if let Err(fault) = UserPtr::new(a[2] as usize).write(&(id as i32)) {
        t.process.timers.unreserve(id);
        return Err(fault.into());
    }
    t.process.timers.create(t, id, clock, event)?;
    Ok(0)
}

/// timer_settime(id, flags, new, old)
pub fn timer_settime(t: &Thread, a: Args) -> SysResult {
    if a[2] == 0 {
        return Err(Errno::EINVAL.into());
    }
    let new = UserPtr::<Itimerspec>::new(a[2] as usize).read()?;
    if !new.it_value.is_valid() || !new.it_interval.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    let id = a[0] as u32;
    if let Some(p) = UserPtr::<Itimerspec>::new(a[3] as usize).or_null() {
        p.write(&to_itimerspec(t.process.timers.get(t, id)?))?;
    }
    let absolute = a[1] as u32 & TIMER_ABSTIME != 0;
    t.process.timers.set(t, id, new.it_value.to_nanos(), new.it_interval.to_nanos(), absolute)?;
    Ok(0)
}

fn to_itimerspec((value, interval): (Nanos, Nanos)) -> Itimerspec {
    Itimerspec { it_interval: Timespec::from_nanos(interval), it_value: Timespec::from_nanos(value) }
}

/// timer_gettime(id, value)
pub fn timer_gettime(t: &Thread, a: Args) -> SysResult {
    let value = t.process.timers.get(t, a[0] as u32)?;
    UserPtr::new(a[1] as usize).write(&to_itimerspec(value))?;
    Ok(0)
}

/// timer_getoverrun(id)
pub fn timer_getoverrun(t: &Thread, a: Args) -> SysResult {
    Ok(t.process.timers.overrun(a[0] as u32)? as usize)
}

/// timer_delete(id)
pub fn timer_delete(t: &Thread, a: Args) -> SysResult {
    t.process.timers.delete(a[0] as u32)?;
    Ok(0)
}
