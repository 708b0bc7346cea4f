//! The controller `cpuset`: on which CPUs the tasks of a group may run (Linux: kernel/cgroup/cpuset.c). There is one memory
//! node, number 0.

use super::group::{Cgroup, Controller};
use super::membership::CssSet;
use super::{each_thread, hierarchy, parse};
use crate::procfs::format::put_list;
use crate::task::kthread;
use crate::task::thread::Thread;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_executor::cpu::{ACTIVE, CpuId, CpuMask};
use vigil_executor::executor;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// The only memory node.
const NODES: u64 = 1;

/// What a group was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpusetState {
    /// `cpuset.cpus`
    cpus: u64,
    /// `cpuset.mems`
    mems: u64,
    /// `cpuset.cpu_exclusive`, `cpuset.mem_exclusive` (version 1).
    exclusive: [bool; 2],
}

impl CpusetState {
    /// That of a new group below `parent`.
    pub fn of_new(parent: Option<&Cgroup>) -> CpusetState {
        match parent {
            None => CpusetState { cpus: u64::MAX, mems: NODES, exclusive: [true; 2] },
            // Those of an exclusive sibling would not be free.
            Some(p) if !p.root.is_v2() && p.clone_children.load(Relaxed) && !exclusive_child(p) => {
                CpusetState { exclusive: [false; 2], ..*p.cpuset.lock() }
            }
            Some(_) => CpusetState::default(),
        }
    }
}

fn exclusive_child(parent: &Cgroup) -> bool {
    let mut from = 0;
    while let Some(child) = parent.child_from(from) {
        if child.cpuset.lock().exclusive != [false; 2] {
            return true;
        }
        from = child.id + 1;
    }
    false
}

/// CPUs and memory nodes.
type Sets = (u64, u64);

/// What the tasks of `group` get. Version 1: what was written, exactly. Version 2: that within what its parent gets, or all of
/// that if nothing of it is left.
fn effective(group: &Cgroup) -> Sets {
    effective_of(group, ACTIVE.load().0)
}

/// [`effective`] when the CPUs of `online` are active.
fn effective_of(group: &Cgroup, online: u64) -> Sets {
    if !group.root.is_v2() {
        let state = group.cpuset.lock();
        return (state.cpus & online, state.mems);
    }
    let mut sets = (online, NODES);
    // From the root down.
    for level in 1..=group.level {
        let Some(at) = group.ancestors().find(|g| g.level == level).filter(|g| g.has(Controller::Cpuset)) else { continue };
        let state = at.cpuset.lock();
        let narrow = |all: u64, wanted: u64| if all & wanted != 0 { all & wanted } else { all };
        sets = (narrow(sets.0, state.cpus), narrow(sets.1, state.mems));
    }
    sets
}

/// The CPUs that `thread` may be given by sched_setaffinity(2).
pub fn cpus_allowed(thread: &Thread) -> CpuMask {
    match thread.cgroup.css().as_ref().and_then(|css| css.with(Controller::Cpuset)) {
        Some(group) => CpuMask(effective(group).0),
        None => ACTIVE.load(),
    }
}

/// Whether tasks may be moved to `group`. ENOSPC: it has no CPU or no memory yet (version 1).
pub fn may_attach(group: &Cgroup) -> Result<(), Errno> {
    if group.root.is_v2() || group.root.mask.load(Relaxed) & Controller::Cpuset.bit() == 0 {
        return Ok(());
    }
    let (cpus, mems) = effective(group);
    if cpus == 0 || mems == 0 { Err(Errno::ENOSPC) } else { Ok(()) }
}

/// `thread` is in `to` now, and was in the groups of `before`: it gets the CPUs of its new group, whatever it had asked for.
pub(super) fn attach(thread: &Thread, to: &KArc<Cgroup>, before: Option<&CssSet>) {
    if to.root.mask.load(Relaxed) & Controller::Cpuset.bit() == 0 {
        return;
    }
    let new = effective(to);
    let old = before.and_then(|css| css.in_tree(to.root.id)).map_or((ACTIVE.load().0, NODES), |g| effective(g));
    if !to.root.is_v2() || new != old {
        confine(thread, new.0);
    }
}

/// `cpu` has come or gone: the tasks of groups get what is theirs now (Linux: cpuset_hotplug_workfn).
pub fn cpu_changed(cpu: CpuId) {
    let new = ACTIVE.load().0;
    let old = new ^ CpuMask::of(cpu).0;
    each_thread(|thread| {
        let Some(css) = thread.cgroup.css() else { return };
        // Those that are in none but the root may run on all that come.
        let Some(group) = css.with(Controller::Cpuset).filter(|g| !g.is_root()) else { return };
        let cpus = effective_of(group, new).0;
        if cpus != effective_of(group, old).0 {
            confine(thread, cpus);
        }
    });
}

fn confine(thread: &Thread, cpus: u64) {
    if let Some(task) = thread.task().filter(|_| cpus != 0 && !kthread::is_bound(thread)) {
        // All CPUs are those that may come as well.
        let all = cpus == ACTIVE.load().0;
        executor::set_affinity(task, if all { CpuMask::ALL } else { CpuMask(cpus) });
    }
}

/// Gives the tasks of `top` and below the CPUs that are theirs now, in the groups whose sets `f` changes.
pub fn change(top: &KArc<Cgroup>, f: impl FnOnce()) {
    let before = effective(top);
    f();
    if effective(top) == before {
        return;
    }
    each_thread(|thread| {
        if let Some(css) = thread.cgroup.css()
            && let Some(group) = css.in_tree(top.root.id).filter(|g| g.is_within(top))
        {
            confine(thread, effective(group).0);
        }
    });
}

/// What is written to a group of version 1 must fit its relatives (Linux: validate_change). EBUSY: a child has more; EACCES: the
/// parent has less; EINVAL: an exclusive sibling has it; ENOSPC: it has tasks, and would have nothing.
fn validate(group: &Cgroup, new: &CpusetState) -> Result<(), Errno> {
    let Some(parent) = &group.parent else { return Ok(()) };
    let within = |a: &CpusetState, b: &CpusetState| {
        a.cpus & !b.cpus == 0 && a.mems & !b.mems == 0 && (0..2).all(|i| !a.exclusive[i] || b.exclusive[i])
    };
    let mut from = 0;
    while let Some(child) = group.child_from(from) {
        if !within(&child.cpuset.lock(), new) {
            return Err(Errno::EBUSY);
        }
        from = child.id + 1;
    }
    if !within(new, &parent.cpuset.lock()) {
        return Err(Errno::EACCES);
    }
    from = 0;
    while let Some(sibling) = parent.child_from(from) {
        from = sibling.id + 1;
        if core::ptr::eq(&*sibling, group) {
            continue;
        }
        let other = *sibling.cpuset.lock();
        if (new.exclusive[0] || other.exclusive[0]) && new.cpus & other.cpus != 0
            || (new.exclusive[1] || other.exclusive[1]) && new.mems & other.mems != 0
        {
            return Err(Errno::EINVAL);
        }
    }
    let old = *group.cpuset.lock();
    if group.has_tasks() && (old.cpus != 0 && new.cpus == 0 || old.mems != 0 && new.mems == 0) {
        return Err(Errno::ENOSPC);
    }
    Ok(())
}

fn set(group: &KArc<Cgroup>, new: impl FnOnce(&mut CpusetState) -> Result<(), Errno>) -> OpResult<'static, ()> {
    let _trees = hierarchy::lock()?;
    let mut state = *group.cpuset.lock();
    new(&mut state)?;
    if !group.root.is_v2() {
        validate(group, &state)?;
    }
    change(group, || *group.cpuset.lock() = state);
    Ok(())
}

fn put(set: u64, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = put_list(set, out);
    let _ = out.write_str("\n");
    Ok(())
}

fn possible(set: u64) -> u64 {
    set & crate::procfs::possible_cpus().0
}

/// `cpuset.cpus`
pub fn show_cpus(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put(possible(group.cpuset.lock().cpus), out)
}

/// A write to `cpuset.cpus`. EACCES for the root; ERANGE and EINVAL for what is no list; else as [`validate`].
pub fn store_cpus(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    if group.is_root() {
        return Err(Stop::Err(Errno::EACCES));
    }
    let cpus = parse::list(parse::stripped(data), possible(u64::MAX).count_ones())?;
    if possible(cpus) != cpus {
        return Err(Stop::Err(Errno::ERANGE));
    }
    if !group.root.is_v2() && cpus & ACTIVE.load().0 != cpus {
        return Err(Stop::Err(Errno::EINVAL));
    }
    set(group, |state| {
        state.cpus = cpus;
        Ok(())
    })
}

/// `cpuset.mems`
pub fn show_mems(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put(group.cpuset.lock().mems, out)
}

/// A write to `cpuset.mems`, as to `cpuset.cpus`; EINVAL for a node without memory.
pub fn store_mems(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    if group.is_root() {
        return Err(Stop::Err(Errno::EACCES));
    }
    let mems = parse::list(parse::stripped(data), 4)?;
    if mems & !NODES != 0 {
        return Err(Stop::Err(Errno::EINVAL));
    }
    set(group, |state| {
        state.mems = mems;
        Ok(())
    })
}

/// `cpuset.cpus.effective`, `cpuset.effective_cpus`
pub fn show_effective_cpus(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put(effective(group).0, out)
}

/// `cpuset.mems.effective`, `cpuset.effective_mems`
pub fn show_effective_mems(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put(effective(group).1, out)
}

fn show_flag(group: &KArc<Cgroup>, which: usize, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", u8::from(group.cpuset.lock().exclusive[which]));
    Ok(())
}

fn store_flag(group: &KArc<Cgroup>, which: usize, data: &[u8]) -> OpResult<'static, ()> {
    let on = parse::unsigned(parse::stripped(data))? != 0;
    set(group, |state| {
        state.exclusive[which] = on;
        Ok(())
    })
}

/// `cpuset.cpu_exclusive`
pub fn show_cpu_exclusive(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(group, 0, out)
}

/// A write to it.
pub fn store_cpu_exclusive(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(group, 0, data)
}

/// `cpuset.mem_exclusive`
pub fn show_mem_exclusive(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(group, 1, out)
}

/// A write to it.
pub fn store_mem_exclusive(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(group, 1, data)
}
