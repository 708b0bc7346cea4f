//! Autogroups: the fair tasks of a session share the CPUs as one group, if they are in no group of the controller `cpu`
//! (Linux: kernel/sched/autogroup.c).
//!
//! setsid(2) makes one, fork(2) hands it on. Whether they count is `kernel.sched_autogroup_enabled`, off at first as on Debian; a change
//! takes effect as on Linux when tasks come into being or move. A group gets its part of the scheduler when it first counts.
//!
//! Which autogroup a process has is among its relations, and all moves are made with the process tree locked.

use super::{cpu, parse};
use crate::procfs::possible_cpus;
use crate::task::pid;
use crate::task::process::{Process, Tasks, tasks};
use crate::task::thread::Thread;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_abi::process::{CAP_SYS_ADMIN, CAP_SYS_NICE};
use vigil_executor::class::weight::of_nice;
use vigil_executor::executor::Group;
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, MSEC, Nanos};
use vigil_fs::vnode::SeqBuf;
use vigil_mem::KArc;

/// So long nobody but a superuser changes a nice value after somebody has.
const REST: Nanos = 100 * MSEC;
/// What is looked at of what is written to `/proc/PID/autogroup`.
const LONGEST: usize = 12;

/// An autogroup.
pub struct Autogroup {
    /// From 1; 0: it has none yet.
    number: AtomicU64,
    nice: AtomicI8,
    part: spin::Once<Group>,
}

static ENABLED: AtomicBool = AtomicBool::new(false);
/// Tasks may be in the parts of autogroups: they were enabled once.
static USED: AtomicBool = AtomicBool::new(false);
static LAST: AtomicU64 = AtomicU64::new(0);
/// From when on who is no superuser may change a nice value. Held while a value and what it is for the scheduler change.
static NEXT_CHANGE: SpinLock<Nanos> = SpinLock::new(lock_class!("autogroup"), 0);

/// `kernel.sched_autogroup_enabled`
pub fn enabled() -> bool {
    ENABLED.load(Acquire)
}

/// A write to it. ENOMEM.
pub fn set_enabled(enabled: bool) -> Result<(), Errno> {
    if enabled {
        USED.store(true, Release);
    }
    ENABLED.store(enabled, Release);
    let mut from = 1;
    while enabled {
        let Some(process) = pid::next_process(from) else { break };
        let group = process.relations(&tasks()).autogroup.clone();
        if let Some(group) = group {
            group.prepare()?;
        }
        from = process.pid + 1;
    }
    Ok(())
}

impl Autogroup {
    /// One that is nobody's yet. ENOMEM.
    pub fn try_new() -> Result<KArc<Autogroup>, Errno> {
        let group = KArc::try_new(Autogroup { number: AtomicU64::new(0), nice: AtomicI8::new(0), part: spin::Once::new() })?;
        if enabled() {
            group.prepare()?;
        }
        Ok(group)
    }

    /// It is a process's now: it has a part of the scheduler also if autogroups were enabled meanwhile.
    pub fn follow_switch(&self) {
        if enabled() {
            // Without memory its tasks stay in no group.
            let _ = self.prepare();
        }
    }

    /// Makes its part of the scheduler, with nothing locked. ENOMEM.
    fn prepare(&self) -> Result<(), Errno> {
        if self.part.get().is_some() {
            return Ok(());
        }
        let cpus = possible_cpus().0.count_ones() as usize;
        self.part.try_call_once(|| Group::try_new(None, cpus).ok_or(Errno::ENOMEM))?;
        let _changes = NEXT_CHANGE.lock();
        self.weigh();
        Ok(())
    }

    fn weigh(&self) {
        if let Some(part) = self.part.get() {
            part.set_shares(of_nice(self.nice.load(Relaxed)).weight, false);
        }
    }
}

/// The part of the scheduler that `thread`, which is in no group of the controller `cpu`, belongs to: that of its session, if those
/// count and it is not ending.
pub(super) fn part<'a>(thread: &'a Thread, guard: &'a Tasks) -> Option<&'a Group> {
    if !enabled() || thread.exiting.load(Acquire) || thread.is_gone() {
        return None;
    }
    thread.process.relations(guard).autogroup.as_ref()?.part.get()
}

/// A new thread in no control group.
pub(super) fn fork(child: &Thread, guard: &Tasks) {
    if enabled() {
        cpu::attach(child, None, guard);
    }
}

/// A thread in no control group ends.
pub(super) fn exit(thread: &Thread) {
    if USED.load(Acquire) {
        cpu::detach(thread);
    }
}

/// The session that `process` begins has `group`. The old one is returned, to be dropped with nothing locked.
#[must_use = "dropped with nothing locked"]
pub fn begin(process: &Process, group: Option<KArc<Autogroup>>, guard: &mut Tasks) -> Option<KArc<Autogroup>> {
    if let Some(group) = &group {
        group.number.store(LAST.fetch_add(1, Relaxed) + 1, Relaxed);
    }
    let old = core::mem::replace(&mut process.relations_mut(guard).autogroup, group);
    if USED.load(Acquire) {
        process.living(guard).for_each(|thread| cpu::attach(thread, thread.cgroup.css().as_deref(), guard));
    }
    old
}

/// `/proc/PID/autogroup`: empty if it has none.
pub fn show(process: &Process, out: &mut SeqBuf) {
    if let Some(group) = process.relations(&tasks()).autogroup.clone() {
        let _ = writeln!(out, "/autogroup-{} nice {}", group.number.load(Relaxed), group.nice.load(Relaxed));
    }
}

/// A write to it by `writer`: a nice value. EINVAL: none, or it has no autogroup; ERANGE; EPERM: below 0, and not the writer's to
/// give; EAGAIN: too soon after the last.
pub fn store(process: &Process, data: &[u8], writer: &Thread) -> Result<(), Errno> {
    let nice = parse::int(parse::stripped(&data[..data.len().min(LONGEST)]))?;
    let nice = i8::try_from(nice).ok().filter(|nice| (-20..=19).contains(nice)).ok_or(Errno::EINVAL)?;
    let cred = writer.cred()?;
    if nice < 0 && !writer.process.limits.allows_nice(nice) && !cred.capable(CAP_SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let group = process.relations(&tasks()).autogroup.clone();
    let mut next = NEXT_CHANGE.lock();
    let now = time::now();
    if now < *next && !cred.capable(CAP_SYS_ADMIN) {
        return Err(Errno::EAGAIN);
    }
    *next = now.saturating_add(REST);
    let group = group.as_ref().ok_or(Errno::EINVAL)?;
    group.nice.store(nice, Relaxed);
    group.weigh();
    Ok(())
}
