//! The pressure files of groups of version 2: for how much of the time tasks of a group wait (Linux: psi_cgroup_alloc,
//! cgroup_pressure_write).
//!
//! A group is watched from the first look at one of its files on, so that nobody pays for it before: it gets a set of tasks for the
//! scheduler ([`Psi`]), and so do the groups above it, that they can be watched one day. A task is put into the set of the nearest
//! group, from its own up, that is watched; with that it is in the sets above.

use super::group::Cgroup;
use super::membership::CssSet;
use super::{each_thread, hierarchy, parse};
use crate::procfs::{PERIOD, Stalls, possible_cpus, wake_ended_triggers};
use crate::task::process::{Tasks, tasks};
use crate::task::thread::Thread;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::cpu::MAX_CPUS;
use vigil_executor::executor::{Psi, set_psi};
use vigil_executor::lock_class;
use vigil_executor::sync::SpinLock;
use vigil_executor::time::{self, Nanos};
use vigil_executor::work::{DelayedWork, UNBOUND, Work};
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, KBox, KVec, KWeak};

/// A group's part.
pub struct Pressure {
    watch: spin::Once<KBox<Watch>>,
    /// It was told not to keep count.
    off: AtomicBool,
}

/// What is kept of a group that is watched, or is above one.
pub struct Watch {
    set: Psi,
    /// It is watched itself.
    on: AtomicBool,
    /// It is in [`WATCHED`], under whose lock this is.
    listed: AtomicBool,
    stalls: SpinLock<Stalls>,
}

/// Some group was watched once: tasks may be in sets.
static USED: AtomicBool = AtomicBool::new(false);
/// The groups that are watched, perhaps some that were.
static WATCHED: SpinLock<KVec<KWeak<Cgroup>>> = SpinLock::new(lock_class!("psi_groups"), KVec::new());
static LATER: DelayedWork = DelayedWork::new(update_all);

impl Pressure {
    /// Of a new group.
    pub const fn new() -> Pressure {
        Pressure { watch: spin::Once::new(), off: AtomicBool::new(false) }
    }

    /// Whether its group has pressure files.
    pub fn is_shown(&self) -> bool {
        !self.off.load(Acquire)
    }
}

impl Default for Pressure {
    fn default() -> Self {
        Pressure::new()
    }
}

impl Watch {
    fn times(&self) -> [[u64; 3]; MAX_CPUS] {
        let mut times = [[0; 3]; MAX_CPUS];
        possible_cpus().iter().for_each(|cpu| times[cpu.index()] = self.set.times(cpu));
        times
    }

    /// Calls `f` on what there is to say, up to date.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Stalls) -> R) -> R {
        let mut stalls = self.stalls.lock();
        stalls.update(self.times(), time::now());
        f(&stalls)
    }

    /// The same, up to date at `now` or later.
    pub(crate) fn at<R>(&self, now: Nanos, f: impl FnOnce(&Stalls) -> R) -> R {
        let stalls = self.stalls.lock();
        if stalls.is_of(now) {
            return f(&stalls);
        }
        drop(stalls);
        self.with(f)
    }
}

/// ENODEV: the group is no more, or is told not to keep count.
pub fn check(group: &Cgroup) -> Result<(), Errno> {
    if group.is_dead() || !group.pressure.is_shown() { Err(Errno::ENODEV) } else { Ok(()) }
}

/// What is kept of `group`, if it is watched.
pub fn watched(group: &Cgroup) -> Option<&Watch> {
    group.pressure.watch.get().map(|watch| &**watch).filter(|watch| watch.on.load(Acquire))
}

/// Watches `group`, which is not the root. ENODEV, ENOMEM.
pub fn begin(group: &KArc<Cgroup>) -> OpResult<'static, &Watch> {
    if let Some(watch) = watched(group) {
        return Ok(watch);
    }
    let _trees = hierarchy::lock()?;
    check(group)?;
    // From the nearest that has a set down to the group: not each level from the root, which in a deep tree took the square of its depth.
    let bare = KVec::try_from_iter(group.ancestors().take_while(|g| g.level > 0 && g.pressure.watch.get().is_none()))?;
    bare.iter().rev().try_for_each(|group| prepare(group))?;
    let watch = group.pressure.watch.get().ok_or(Errno::ENOMEM)?;
    if watch.on.load(Acquire) {
        return Ok(watch);
    }
    watch.stalls.lock().begin(watch.times(), time::now());
    USED.store(true, Release);
    {
        let mut list = WATCHED.lock();
        if !watch.listed.load(Relaxed) {
            list.try_push(KArc::downgrade(group))?;
            watch.listed.store(true, Relaxed);
        }
        watch.on.store(true, Release);
    }
    // Whoever has been put into groups by what was true before is among the threads after this.
    drop(tasks());
    each_thread(|thread| {
        if let Some(css) = thread.cgroup.css()
            && css.in_tree(group.root.id).is_some_and(|g| g.is_within(group))
        {
            let guard = tasks();
            if !thread.is_gone() {
                attach(thread, thread.cgroup.css().as_deref(), &guard);
            }
        }
    });
    LATER.schedule(&UNBOUND, PERIOD);
    Ok(watch)
}

/// Makes sure that `group` has a set; those above it have theirs. ENOMEM.
fn prepare(group: &Cgroup) -> Result<(), Errno> {
    let parent = group.parent.as_deref().and_then(|p| p.pressure.watch.get());
    group.pressure.watch.try_call_once(|| {
        let set = Psi::try_new(parent.map(|p| &p.set)).ok_or(Errno::ENOMEM)?;
        let stalls = SpinLock::new(lock_class!("psi_group"), Stalls::NEW);
        Ok::<_, Errno>(KBox::try_new(Watch { set, on: AtomicBool::new(false), listed: AtomicBool::new(false), stalls })?)
    })?;
    Ok(())
}

/// Brings the averages up to date, and goes on while there are any.
fn update_all(_: &Work) {
    let mut at = 0;
    loop {
        let Some(group) = WATCHED.lock().get(at).map(KWeak::upgrade) else { break };
        let group = group.as_deref().filter(|g| !g.is_dead());
        if let Some(watch) = group.and_then(watched) {
            watch.with(|_| ());
            at += 1;
            continue;
        }
        // Others only add to the end; the last one takes its place.
        let mut list = WATCHED.lock();
        if group.and_then(watched).is_some() {
            continue;
        }
        if let Some(watch) = group.and_then(|g| g.pressure.watch.get()) {
            watch.listed.store(false, Relaxed);
        }
        let gone = list.swap_remove(at);
        drop(list);
        drop(gone);
    }
    if !WATCHED.lock().is_empty() {
        LATER.schedule(&UNBOUND, PERIOD);
    }
}

/// `thread` is in the groups of `css` now. With the process tree locked.
pub(super) fn attach(thread: &Thread, css: Option<&CssSet>, _: &Tasks) {
    if !USED.load(Acquire) {
        return;
    }
    if let Some(task) = thread.task() {
        let group = css.and_then(CssSet::in_v2);
        set_psi(task, group.and_then(|g| g.ancestors().find_map(watched)).map(|watch| &watch.set));
    }
}

/// `cgroup.pressure`
pub fn show_switch(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", u8::from(group.pressure.is_shown()));
    Ok(())
}

/// A write to it: with 0 nothing is kept of the group, and its pressure files go. EINVAL, ERANGE.
pub fn store_switch(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let on = match parse::int(parse::stripped(data))? {
        n @ 0..=1 => n == 1,
        _ => return Err(Stop::Err(Errno::ERANGE)),
    };
    let _trees = hierarchy::lock()?;
    if group.is_dead() {
        return Err(Stop::Err(Errno::ENOENT));
    }
    group.pressure.off.store(!on, Release);
    if !on {
        if let Some(watch) = group.pressure.watch.get() {
            watch.on.store(false, Release);
        }
        wake_ended_triggers();
    }
    Ok(())
}
