//! The files of the controller [`cpuset`].

use super::cpuset::{self, CpusetState, NODES, effective, validate};
use super::group::Cgroup;
use super::partition::{self, Role};
use super::{hierarchy, parse};
use crate::procfs::format::put_list;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::balance::partition::highest_relax;
use vigil_executor::cpu::ACTIVE;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// Changes what `group` was told by `new`; as [`validate`].
fn set(group: &KArc<Cgroup>, new: impl FnOnce(&mut CpusetState) -> Result<(), Errno>) -> OpResult<'static, ()> {
    let trees = hierarchy::lock()?;
    let mut state = *group.cpuset.lock();
    new(&mut state)?;
    validate(group, &state)?;
    if !group.root.is_v2() {
        state.set_effective(state.cpus);
    }
    *group.cpuset.lock() = state;
    cpuset::settle(&trees.top_of(group)?);
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
    let cpus = group.cpuset.lock().cpus;
    put(possible(if group.is_root() { cpus & ACTIVE.load().0 } else { cpus }), out)
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
    if !group.root.is_v2() {
        if cpus & ACTIVE.load().0 != cpus {
            return Err(Stop::Err(Errno::EINVAL));
        }
        return set(group, |state| {
            state.cpus = cpus;
            Ok(())
        });
    }
    let trees = hierarchy::lock()?;
    let old = *group.cpuset.lock();
    if cpus == old.cpus {
        return Ok(());
    }
    let mut new = old;
    new.cpus = cpus;
    let shared = match validate(group, &new) {
        Err(Errno::EINVAL) => true,
        other => other.map(|()| false)?,
    };
    changing(group, &trees, || partition::set_cpus(group, cpus, shared))
}

/// Does what may make partitions of version 2 of groups or the reverse, and tells who watches them.
fn changing(group: &KArc<Cgroup>, trees: &hierarchy::Trees, f: impl FnOnce()) -> OpResult<'static, ()> {
    let top = trees.top_of(group)?;
    f();
    cpuset::settle(&top);
    cpuset::tell(&top);
    Ok(())
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

/// `cpuset.cpus.partition`
pub fn show_partition(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let state = *group.cpuset.lock();
    let _ = match state.flaw {
        None => writeln!(out, "{}", state.role.name()),
        Some(why) => writeln!(out, "{} invalid ({})", state.role.name(), why.text()),
    };
    Ok(())
}

/// A write to it: the name of a role, which the group has after that, but perhaps not in effect. EINVAL.
pub fn store_partition(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let role = Role::by_name(parse::stripped(data)).ok_or(Errno::EINVAL)?;
    let trees = hierarchy::lock()?;
    if group.is_dead() {
        return Err(Stop::Err(Errno::ENODEV));
    }
    changing(group, &trees, || partition::set_role(group, role))
}

fn show_flag(on: bool, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", u8::from(on));
    Ok(())
}

fn store_flag(group: &KArc<Cgroup>, data: &[u8], set_flag: impl FnOnce(&mut CpusetState, bool)) -> OpResult<'static, ()> {
    let on = parse::unsigned(parse::line(data))? != 0;
    set(group, |state| {
        set_flag(state, on);
        Ok(())
    })
}

/// `cpuset.cpu_exclusive`
pub fn show_cpu_exclusive(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(group.cpuset.lock().exclusive[0], out)
}

/// A write to it.
pub fn store_cpu_exclusive(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(group, data, |state, on| state.exclusive[0] = on)
}

/// `cpuset.mem_exclusive`
pub fn show_mem_exclusive(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(group.cpuset.lock().exclusive[1], out)
}

/// A write to it.
pub fn store_mem_exclusive(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(group, data, |state, on| state.exclusive[1] = on)
}

/// `cpuset.sched_load_balance`
pub fn show_load_balance(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(group.cpuset.lock().balanced, out)
}

/// A write to it.
pub fn store_load_balance(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(group, data, |state, on| state.balanced = on)
}

/// `cpuset.sched_relax_domain_level`
pub fn show_relax_level(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", group.cpuset.lock().relax);
    Ok(())
}

/// A write to it. EINVAL: no level.
pub fn store_relax_level(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let level = i32::try_from(parse::long(parse::line(data))?).unwrap_or(i32::MAX);
    if !(-1..=highest_relax()).contains(&level) {
        return Err(Stop::Err(Errno::EINVAL));
    }
    set(group, |state| {
        state.relax = level;
        Ok(())
    })
}
