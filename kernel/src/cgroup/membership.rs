//! In which groups a task is, from fork to release (Linux: css_set, cgroup_fork, cgroup_exit, cgroup_release).
//!
//! A thread holds a [`CssSet`]: its group in each tree where that is not the root. Most threads have none, and pay for groups with
//! a look at a null pointer when they begin and end. Who is in a group changes with the process tree locked: fork sees either the
//! state before a move or the one after it.
//!
//! CPU time is not counted while tasks run: a thread remembers up to where its time was given to its groups, and the rest is given
//! when it leaves them or ends; what living threads have used since is added by who reads.

use super::group::{Cgroup, Controller};
use super::{autogroup, cpu, cpuset, freezer, pressure};
use crate::task::process::Tasks;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use vigil_abi::Errno;
use vigil_executor::lock_class;
use vigil_executor::sync::{SeqCount, SpinLock};
use vigil_mem::{KArc, KVec};

/// Groups of a task: at most one of each tree, none of them a root.
pub struct CssSet {
    groups: KVec<KArc<Cgroup>>,
}

impl CssSet {
    /// The groups.
    pub fn groups(&self) -> &[KArc<Cgroup>] {
        &self.groups
    }

    /// The group in the tree numbered `root`.
    pub fn in_tree(&self, root: u32) -> Option<&KArc<Cgroup>> {
        self.groups.iter().find(|g| g.root.id == root)
    }

    /// The group in the tree of version 2.
    pub fn in_v2(&self) -> Option<&KArc<Cgroup>> {
        self.groups.iter().find(|g| g.root.is_v2())
    }

    /// The group in the tree that has `controller`.
    pub fn with(&self, controller: Controller) -> Option<&KArc<Cgroup>> {
        self.groups.iter().find(|g| g.root.mask.load(Relaxed) & controller.bit() != 0)
    }

    /// `old` with `to` as the group of its tree. `None`: it is in no group but roots. ENOMEM.
    pub fn with_group(old: Option<&CssSet>, to: &KArc<Cgroup>) -> Result<Option<KArc<CssSet>>, Errno> {
        let mut groups = KVec::new();
        for group in old.map_or(&[][..], CssSet::groups).iter().filter(|g| g.root.id != to.root.id) {
            groups.try_push(group.clone())?;
        }
        if !to.is_root() {
            groups.try_push(to.clone())?;
        }
        Ok(if groups.is_empty() { None } else { Some(KArc::try_new(CssSet { groups })?) })
    }
}

/// A thread's part.
pub struct Membership {
    css: SpinLock<Option<KArc<CssSet>>>,
    /// Who wants it to stand still: [`freezer::V1`], [`freezer::V2`].
    pub(super) freezing: AtomicU32,
    /// It stands still: frozen, stopped, or waiting for its vfork child.
    frozen: AtomicBool,
    /// Its time that was given to its groups: user, system.
    given: [AtomicU64; 2],
}

impl Membership {
    /// Of a thread in no group.
    pub const fn new() -> Membership {
        Membership {
            css: SpinLock::new(lock_class!("css_set"), None),
            freezing: AtomicU32::new(0),
            frozen: AtomicBool::new(false),
            given: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Its groups.
    pub fn css(&self) -> Option<KArc<CssSet>> {
        self.css.lock().clone()
    }

    /// Its group in the tree of `top`, which is the root of it.
    pub fn in_tree(&self, top: &KArc<Cgroup>) -> KArc<Cgroup> {
        let css = self.css();
        css.as_ref().and_then(|css| css.in_tree(top.root.id)).unwrap_or(top).clone()
    }

    /// Whether it is in `group` itself.
    pub fn is_in(&self, group: &KArc<Cgroup>) -> bool {
        match &*self.css.lock() {
            Some(css) => css.in_tree(group.root.id).map_or(group.is_root(), |g| KArc::ptr_eq(g, group)),
            None => group.is_root(),
        }
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Acquire)
    }

    /// CPU time that its groups have not been given yet, as of `now`.
    pub fn not_given(&self, now: [u64; 2]) -> [u64; 2] {
        core::array::from_fn(|i| now[i].saturating_sub(self.given[i].load(Relaxed)))
    }
}

impl Default for Membership {
    fn default() -> Self {
        Membership::new()
    }
}

/// A group that a new thread begins in instead of its parent's (CLONE_INTO_CGROUP).
pub struct Into {
    /// The group.
    pub group: KArc<Cgroup>,
    /// It, and its parent's in other trees; `None`: no group but roots.
    pub css: Option<KArc<CssSet>>,
}

/// Enters the new thread `child` into the groups of `parent`, or `into` instead of its group in that tree. Last before it is in the
/// tables, with the process tree locked. EAGAIN: one of them has as many tasks as it may.
pub fn fork(parent: &Thread, child: &Thread, into: Option<Into>, guard: &Tasks) -> Result<(), Errno> {
    let (css, to) = match into {
        Some(into) => (into.css, Some(into.group)),
        None => (parent.cgroup.css(), None),
    };
    // It has its parent's CPUs, which may not be its group's.
    let confine = || to.iter().for_each(|to| cpuset::attach(child, to, parent.cgroup.css().as_deref()));
    let Some(css) = css else {
        autogroup::fork(child, guard);
        confine();
        return Ok(());
    };
    if let Some(group) = css.with(Controller::Pids) {
        super::pids::may_fork(group)?;
    }
    for group in css.groups() {
        group.charge_pid(true);
        group.count_task(true, false);
    }
    freezer::update(child, &css);
    cpu::attach(child, Some(&css), guard);
    pressure::attach(child, Some(&css), guard);
    confine();
    *child.cgroup.css.lock() = Some(css);
    Ok(())
}

/// The thread ends: its groups have a living task less. With the process tree locked.
pub fn exit(thread: &Thread, guard: &Tasks) {
    let Some(css) = thread.cgroup.css() else { return autogroup::exit(thread) };
    give_time(thread, &css);
    cpu::detach(thread);
    pressure::attach(thread, None, guard);
    let frozen = thread.cgroup.frozen.swap(false, AcqRel);
    for group in css.groups() {
        group.count_task(false, frozen);
    }
}

/// The thread's number goes: nobody can wait for it any more. With the process tree locked.
pub fn release(thread: &Thread) {
    if let Some(css) = &*thread.cgroup.css.lock() {
        css.groups().iter().for_each(|group| group.charge_pid(false));
    }
}

/// Moves a living thread to `to`; `css` is [`CssSet::with_group`] of what it has. The old set is returned, to be dropped with
/// nothing locked. With the trees and the process tree locked.
pub fn attach(thread: &Thread, to: &KArc<Cgroup>, css: Option<KArc<CssSet>>, guard: &Tasks) -> Option<KArc<CssSet>> {
    let old = thread.cgroup.css();
    match &old {
        Some(old) => give_time(thread, old),
        // What it has used so far is the roots'.
        None => skip_time(thread),
    }
    // With the lock of its groups: the thread itself may begin or end to stand still meanwhile, and is counted where it is.
    let mut held = thread.cgroup.css.lock();
    let frozen = thread.cgroup.is_frozen();
    if let Some(from) = old.as_ref().and_then(|css| css.in_tree(to.root.id)) {
        from.charge_pid(false);
        from.count_task(false, frozen);
    }
    if !to.is_root() {
        to.charge_pid(true);
        to.count_task(true, frozen);
    }
    let before = core::mem::replace(&mut *held, css.clone());
    drop(held);
    freezer::update_moved(thread, css.as_deref());
    if to.root.mask.load(Relaxed) & Controller::Cpu.bit() != 0 {
        cpu::attach(thread, css.as_deref(), guard);
    }
    if to.root.is_v2() {
        pressure::attach(thread, css.as_deref(), guard);
    }
    cpuset::attach(thread, to, before.as_deref());
    before
}

/// Time goes from a thread to its groups: who adds up both in the middle of that looks again. Written with the process tree locked.
pub(super) static GIVING: SeqCount = SeqCount::new();

fn give_time(thread: &Thread, css: &CssSet) {
    let now = thread.times();
    let spent = thread.cgroup.not_given(now);
    GIVING.write_begin();
    css.groups().iter().for_each(|group| group.add_time(spent));
    set_given(thread, now);
    GIVING.write_end();
}

fn skip_time(thread: &Thread) {
    set_given(thread, thread.times());
}

fn set_given(thread: &Thread, now: [u64; 2]) {
    for (given, now) in thread.cgroup.given.iter().zip(now) {
        given.store(now, Relaxed);
    }
}

/// The calling thread stands still, or (`false`) goes on.
pub fn set_frozen(thread: &Thread, stands: bool) {
    // With the lock of its groups: a move counts it once.
    let css = thread.cgroup.css.lock();
    if thread.cgroup.frozen.swap(stands, AcqRel) != stands
        && let Some(css) = &*css
    {
        css.groups().iter().for_each(|group| group.count_frozen(stands));
    }
}
