//! The controller `cpuset`: on which CPUs the tasks of a group may run (Linux: kernel/cgroup/cpuset.c). There is one memory
//! node, number 0.
//!
//! What a group gets (`effective`) is kept, and brought up to date with all that it depends on: what was written to it and to its
//! relatives, which of them are partitions ([`super::partition`]), and which CPUs are there. That is done with the trees locked; at the
//! end [`settle`] gives tasks their CPUs and the machine its root domains.

use super::group::{Cgroup, Controller};
use super::membership::CssSet;
use super::partition::{self, Flaw, Role};
use super::{each_thread, hierarchy, migrate};
use crate::task::kthread;
use crate::task::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::balance::partition::{Part, can_shrink, has_room};
use vigil_executor::cpu::{ACTIVE, CpuMask, MAX_CPUS};
use vigil_executor::executor;
use vigil_mem::KArc;

/// The only memory node.
pub(super) const NODES: u64 = 1;

/// What a group was told, and what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpusetState {
    /// `cpuset.cpus`
    pub(super) cpus: u64,
    /// `cpuset.mems`
    pub(super) mems: u64,
    /// `cpuset.cpu_exclusive`, `cpuset.mem_exclusive` (version 1); a partition has the first.
    pub(super) exclusive: [bool; 2],
    /// `cpuset.sched_load_balance` (version 1)
    pub(super) balanced: bool,
    /// `cpuset.sched_relax_domain_level` (version 1)
    pub(super) relax: i32,
    /// The CPUs of its own tasks.
    pub(super) effective: u64,
    /// Those that partitions below it have.
    pub(super) given: u64,
    /// Whether it is a partition,
    pub(super) role: Role,
    /// and why not.
    pub(super) flaw: Option<Flaw>,
    /// `effective` is another one than its tasks have.
    dirty: bool,
    /// Role and whether it is flawed, as who polls `cpuset.cpus.partition` knows it.
    shown: (Role, bool),
}

impl CpusetState {
    const NEW: CpusetState = CpusetState {
        cpus: 0,
        mems: 0,
        exclusive: [false; 2],
        balanced: true,
        relax: -1,
        effective: 0,
        given: 0,
        role: Role::Member,
        flaw: None,
        dirty: false,
        shown: (Role::Member, false),
    };

    /// That of a new group below `parent`.
    pub fn of_new(parent: Option<&Cgroup>) -> CpusetState {
        match parent {
            None => CpusetState { cpus: u64::MAX, mems: NODES, exclusive: [true; 2], effective: ACTIVE.load().0, ..CpusetState::NEW },
            Some(p) if p.root.is_v2() => CpusetState { effective: p.cpuset.lock().effective, ..CpusetState::NEW },
            // Those of an exclusive sibling would not be free.
            Some(p) if p.clone_children.load(Relaxed) && !p.children().any(|c| c.cpuset.lock().exclusive != [false; 2]) => {
                let theirs = *p.cpuset.lock();
                let cpus = theirs.cpus & ACTIVE.load().0;
                CpusetState { cpus, mems: theirs.mems, effective: cpus, ..CpusetState::NEW }
            }
            Some(_) => CpusetState::NEW,
        }
    }

    /// Its tasks get `cpus`.
    pub(super) fn set_effective(&mut self, cpus: u64) {
        self.dirty |= self.effective != cpus;
        self.effective = cpus;
    }
}

/// CPUs and memory nodes.
pub(super) type Sets = (u64, u64);

/// What the tasks of `group` get. Version 1: what was written, exactly; all at the root.
pub(super) fn effective(group: &Cgroup) -> Sets {
    let at = group.effective(Controller::Cpuset);
    let state = at.cpuset.lock();
    if at.is_root() {
        (ACTIVE.load().0 & !state.given, NODES)
    } else if at.root.is_v2() {
        (state.effective, NODES)
    } else {
        (state.cpus, state.mems)
    }
}

/// The CPUs that the tasks of `group` are told, also those that may come.
fn told(group: &Cgroup) -> CpuMask {
    let at = group.effective(Controller::Cpuset);
    let state = at.cpuset.lock();
    if at.is_root() { CpuMask(CpuMask::ALL.0 & !state.given) } else { CpuMask(state.effective) }
}

/// What tasks in no group but roots may not use: what partitions have.
static GIVEN: AtomicU64 = AtomicU64::new(0);

/// The CPUs that `thread` may be given by sched_setaffinity(2).
pub fn cpus_allowed(thread: &Thread) -> CpuMask {
    match thread.cgroup.css().as_ref().and_then(|css| css.with(Controller::Cpuset)) {
        Some(group) => CpuMask(effective(group).0),
        None => CpuMask(ACTIVE.load().0 & !GIVEN.load(Relaxed)),
    }
}

/// Whether `threads` may be moved from `from` to `to`. ENOSPC: it has no CPU, or no memory yet (version 1); EBUSY: its CPUs cannot keep what is
/// promised to them.
pub fn may_attach<'a>(to: &Cgroup, from: &Cgroup, threads: impl Iterator<Item = &'a KArc<Thread>>) -> Result<(), Errno> {
    if to.root.mask.load(Relaxed) & Controller::Cpuset.bit() == 0 {
        return Ok(());
    }
    let ((cpus, mems), (old, _)) = (effective(to), effective(from));
    if cpus == 0 || mems == 0 {
        return Err(Errno::ENOSPC);
    }
    if cpus & old != 0 {
        return Ok(());
    }
    let promised = threads.filter_map(|t| executor::deadline(t.task()?)).map(|p| p.bandwidth()).sum::<u64>();
    let first = CpuMask(cpus & ACTIVE.load().0).first().ok_or(Errno::EINVAL)?;
    if promised != 0 && !has_room(first, promised) { Err(Errno::EBUSY) } else { Ok(()) }
}

/// `thread` is in `to` now, and was in the groups of `before`: it gets the CPUs of its new group, whatever it had asked for.
pub(super) fn attach(thread: &Thread, to: &KArc<Cgroup>, before: Option<&CssSet>) {
    if to.root.mask.load(Relaxed) & Controller::Cpuset.bit() == 0 {
        return;
    }
    let new = effective(to);
    let old = match before.and_then(|css| css.in_tree(to.root.id)) {
        Some(group) => effective(group),
        None => (ACTIVE.load().0 & !GIVEN.load(Relaxed), NODES),
    };
    if !to.root.is_v2() || new != old {
        // As on Linux who comes to the root may use what partitions have, until these change.
        confine(thread, if to.effective(Controller::Cpuset).is_root() { CpuMask::ALL } else { told(to) });
    }
}

fn confine(thread: &Thread, cpus: CpuMask) {
    if let Some(task) = thread.task().filter(|_| cpus.0 != 0 && !kthread::is_bound(thread)) {
        executor::set_affinity(task, cpus);
    }
}

/// Gives tasks the CPUs that are theirs now, in the tree of `top`, which has this controller; and makes the root domains that follow.
pub fn settle(top: &KArc<Cgroup>) {
    let mut any = false;
    Cgroup::for_each(top, |group| any |= group.cpuset.lock().dirty);
    if any {
        each_thread(|thread| {
            let css = thread.cgroup.css();
            let group = css.as_ref().and_then(|css| css.in_tree(top.root.id)).unwrap_or(top);
            if group.effective(Controller::Cpuset).cpuset.lock().dirty {
                confine(thread, told(group));
            }
        });
        Cgroup::for_each(top, |group| group.cpuset.lock().dirty = false);
    }
    GIVEN.store(if top.root.is_v2() { top.cpuset.lock().given } else { 0 }, Relaxed);
    let (parts, n) = domains(top);
    vigil_executor::balance::partition::partition(&parts[..n]);
}

/// The root domains of the machine: of version 2 those of partitions that are balanced, and what is left; of version 1 the balanced groups nearest to
/// the root, those that share CPUs together (Linux: generate_sched_domains).
fn domains(top: &KArc<Cgroup>) -> ([Part; MAX_CPUS], usize) {
    let mut parts = [Part { cpus: CpuMask(0), relax: -1 }; MAX_CPUS];
    let mut n = 0;
    let mut add = |cpus: u64, relax: i32| {
        let mut new = Part { cpus: CpuMask(cpus), relax };
        let mut i = 0;
        while i < n {
            if parts[i].cpus.0 & new.cpus.0 == 0 {
                i += 1;
                continue;
            }
            new = Part { cpus: CpuMask(parts[i].cpus.0 | new.cpus.0), relax: parts[i].relax.max(new.relax) };
            n -= 1;
            parts.swap(i, n);
        }
        if new.cpus.0 != 0 && n < MAX_CPUS {
            parts[n] = new;
            n += 1;
        }
    };
    let v2 = top.root.is_v2();
    let whole = *top.cpuset.lock();
    let mut at = Some(top.clone());
    while let Some(group) = at {
        let state = *group.cpuset.lock();
        let balanced = if v2 { partition::is_valid(&group) && state.role != Role::Isolated } else { state.balanced };
        let all_cpus = if v2 { CpuMask::ALL.0 & !whole.given } else { CpuMask::ALL.0 };
        if balanced {
            add(if group.is_root() { all_cpus } else { state.effective }, state.relax);
        }
        let goes_on = if v2 { group.has(Controller::Cpuset) && partition::is_valid(&group) } else { !balanced };
        // Of version 1 the levels of groups below count for the domain, too.
        if !v2 && balanced {
            Cgroup::for_each(&group, |below| {
                let below = *below.cpuset.lock();
                if below.balanced && below.cpus != 0 && below.relax > state.relax {
                    add(if group.is_root() { all_cpus } else { state.effective }, below.relax);
                }
            });
        }
        at = if goes_on { Cgroup::next_below(&group, top) } else { Cgroup::next_beside(&group, top) };
    }
    (parts, n)
}

/// Gives the children of `group` this controller, or takes it from them, by `apply` (version 2). What they had been told is forgotten.
pub fn switch(group: &KArc<Cgroup>, top: &KArc<Cgroup>, apply: impl FnOnce()) {
    group.children().for_each(|child| partition::set_role(&child, Role::Member));
    let differs = |child: &Cgroup| effective(child).0 != effective(group).0;
    let moves = group.children().any(|child| differs(&child));
    apply();
    if group.is_root() {
        // CPUs may have come at boot.
        let now = effective(group).0;
        group.cpuset.lock().effective = now;
    }
    for child in group.children() {
        *child.cpuset.lock() = CpusetState::of_new(Some(group));
    }
    settle(top);
    if moves {
        each_thread(|thread| {
            if let Some(css) = thread.cgroup.css()
                && let Some(at) = css.in_tree(top.root.id).filter(|g| g.is_within(group) && !KArc::ptr_eq(g, group))
            {
                confine(thread, told(at));
            }
        });
    }
}

/// `group`, which had this controller, is in the tree of `top` no more: its CPUs are its parent's again.
pub fn removed(group: &KArc<Cgroup>, top: &KArc<Cgroup>) {
    if group.root.is_v2() {
        partition::set_role(group, Role::Member);
    }
    settle(top);
}

/// A CPU has come or gone: groups and their tasks get what is theirs now (Linux: cpuset_hotplug_workfn).
pub async fn cpus_changed() {
    let trees = hierarchy::lock_later().await;
    let Some(top) = trees.top_with(Controller::Cpuset) else { return };
    if top.root.is_v2() {
        partition::cpus_changed(top);
    } else {
        cpus_changed_v1(top);
    }
    settle(top);
    tell(top);
}

/// Version 1: a group loses the CPU for ever, and with its last one its tasks, to the nearest group above that has one.
fn cpus_changed_v1(top: &KArc<Cgroup>) {
    let active = ACTIVE.load().0;
    Cgroup::for_each(top, |group| {
        let empty = {
            let mut state = group.cpuset.lock();
            let left = state.cpus & active;
            if group.is_root() || left == state.cpus {
                return;
            }
            state.cpus = left;
            state.set_effective(left);
            left == 0
        };
        let above = core::iter::successors(group.parent.as_ref(), |g| g.parent.as_ref()).find(|g| effective(g).0 != 0);
        if let Some(above) = above.filter(|_| empty) {
            each_thread(|thread| {
                if thread.cgroup.is_in(group) && migrate::move_thread(thread, above).is_err() {
                    crate::pr_warn!("cpuset: no memory to move {} out of a group without CPUs", thread.tid());
                }
            });
        }
    });
}

/// What is written to a group must fit its relatives (Linux: validate_change). Version 1 alone: EBUSY: a child has more; EACCES: the
/// parent has less. Both: ENOSPC: it has tasks, and would have nothing; EBUSY: those of them with reservations would not fit; EINVAL: an exclusive sibling has it.
pub(super) fn validate(group: &Cgroup, new: &CpusetState) -> Result<(), Errno> {
    let within = |a: &CpusetState, b: &CpusetState| {
        a.cpus & !b.cpus == 0 && a.mems & !b.mems == 0 && (0..2).all(|i| !a.exclusive[i] || b.exclusive[i])
    };
    let v1 = !group.root.is_v2();
    if v1 && group.children().any(|child| !within(&child.cpuset.lock(), new)) {
        return Err(Errno::EBUSY);
    }
    let Some(parent) = &group.parent else { return Ok(()) };
    if v1 && !within(new, &parent.cpuset.lock()) {
        return Err(Errno::EACCES);
    }
    let old = *group.cpuset.lock();
    if group.is_populated() && (old.cpus != 0 && new.cpus == 0 || old.mems != 0 && new.mems == 0) {
        return Err(Errno::ENOSPC);
    }
    if old.exclusive[0] && !can_shrink(CpuMask(old.cpus), CpuMask(new.cpus)) {
        return Err(Errno::EBUSY);
    }
    let meets = |other: &CpusetState| {
        (new.exclusive[0] || other.exclusive[0]) && new.cpus & other.cpus != 0
            || (new.exclusive[1] || other.exclusive[1]) && new.mems & other.mems != 0
    };
    let shared = parent.children().any(|c| !core::ptr::eq(&*c, group) && meets(&c.cpuset.lock()));
    if shared { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Tells who polls `cpuset.cpus.partition` of a group below `top` that became a partition, or is one no more.
pub(super) fn tell(top: &KArc<Cgroup>) {
    Cgroup::for_each(top, |group| {
        let mut state = group.cpuset.lock();
        let now = (state.role, state.flaw.is_some());
        let changed = core::mem::replace(&mut state.shown, now) != now;
        drop(state);
        if changed {
            group.partition_changes.tell();
        }
    });
}
