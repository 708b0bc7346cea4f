//! Making and removing groups, switching controllers on and off, and the other files of version 2's core (Linux:
//! kernel/cgroup/cgroup.c).

use super::group::{CONTROLLERS, Cgroup, Controller, put_set};
use super::{cpu, cpuset, each_thread, freezer, hierarchy, migrate, parse, pids, release};
use crate::procfs::wake_ended_triggers;
use crate::task::process::{Life, tasks};
use crate::task::signal::{SIGKILL, SigInfo, send_to_process};
use core::fmt::Write;
use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// Makes a group `name` in `parent`. EINVAL: it would break `/proc/PID/cgroup`; ENOENT: the parent is gone; EAGAIN: a limit of groups;
/// ENOMEM.
pub fn mkdir(parent: &KArc<Cgroup>, name: &[u8]) -> OpResult<'static, KArc<Cgroup>> {
    if name.contains(&b'\n') {
        return Err(Stop::Err(Errno::EINVAL));
    }
    let _trees = hierarchy::lock()?;
    if parent.is_dead() {
        return Err(Stop::Err(Errno::ENOENT));
    }
    if parent.child(name).is_some() {
        return Err(Stop::Err(Errno::EEXIST));
    }
    let mut depth = 1;
    for group in parent.ancestors() {
        if depth > group.max_depth.load(Relaxed) || group.nr_descendants() >= group.max_descendants.load(Relaxed) as usize {
            return Err(Stop::Err(Errno::EAGAIN));
        }
        depth += 1;
    }
    let group = Cgroup::try_new(parent.root.clone(), Some(parent.clone()), name)?;
    if group.has(Controller::Cpu) {
        cpu::prepare(&group)?;
    }
    parent.add_child(group.clone())?;
    Ok(group)
}

/// Removes `group` from `parent`. EBUSY: it has groups or living tasks.
pub fn rmdir(parent: &KArc<Cgroup>, group: &KArc<Cgroup>) -> OpResult<'static, ()> {
    let trees = hierarchy::lock()?;
    if group.is_dead() {
        return Err(Stop::Err(Errno::ENOENT));
    }
    if group.nr_children() != 0 {
        return Err(Stop::Err(Errno::EBUSY));
    }
    let removed = {
        // No fork enters it between the look and the end.
        let _guard = tasks();
        if group.is_populated() {
            return Err(Stop::Err(Errno::EBUSY));
        }
        if group.threaded.load(Relaxed) {
            parent.threaded_children.fetch_sub(1, Relaxed);
        }
        parent.remove_child(group)
    };
    if group.has(Controller::Cpuset) {
        cpuset::removed(group, &trees.top_of(group)?);
    }
    drop(removed);
    wake_ended_triggers();
    release::look(parent);
    Ok(())
}

/// A set as a line; an empty one is none.
fn put_line(set: u32, out: &mut SeqBuf) {
    if set != 0 {
        put_set(set, " ", out);
        out.put(b"\n");
    }
}

/// `cgroup.controllers`
pub fn show_controllers(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put_line(group.controls(), out);
    Ok(())
}

/// `cgroup.subtree_control`
pub fn show_subtree_control(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put_line(group.subtree_control.load(Relaxed), out);
    Ok(())
}

/// A write to `cgroup.subtree_control`: `+name` and `-name`. EINVAL: something else; ENOENT: the group does not have it itself;
/// EBUSY: a child gives it on; EOPNOTSUPP: the group's type has none.
pub fn store_subtree_control(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let (mut enable, mut disable) = (0, 0);
    for word in parse::stripped(data).split(|b| *b == b' ').filter(|w| !w.is_empty()) {
        let (sign, name) = word.split_first().ok_or(Errno::EINVAL)?;
        let bit = Controller::by_name(name).filter(|c| super::group::V2 & c.bit() != 0).ok_or(Errno::EINVAL)?.bit();
        match sign {
            b'+' => (enable, disable) = (enable | bit, disable & !bit),
            b'-' => (enable, disable) = (enable & !bit, disable | bit),
            _ => return Err(Stop::Err(Errno::EINVAL)),
        }
    }
    let trees = hierarchy::lock()?;
    if group.is_dead() {
        return Err(Stop::Err(Errno::ENODEV));
    }
    let now = group.subtree_control.load(Relaxed);
    enable &= !now;
    disable &= now;
    if enable & !group.controls() != 0 {
        return Err(Stop::Err(Errno::ENOENT));
    }
    let mut from = 0;
    while let Some(child) = group.child_from(from) {
        if child.subtree_control.load(Relaxed) & disable != 0 {
            return Err(Stop::Err(Errno::EBUSY));
        }
        from = child.id + 1;
    }
    if enable | disable == 0 {
        return Ok(());
    }
    if enable != 0 && !group.domain().is_valid_domain() {
        return Err(Stop::Err(Errno::EOPNOTSUPP));
    }
    if enable != 0 && group.has_tasks() && !group.may_compete() {
        return Err(Stop::Err(Errno::EBUSY));
    }
    switch(group, &trees.top_of(group)?, enable, disable)?;
    Ok(())
}

/// Switches controllers of the children of `group`. ENOMEM, before any change.
fn switch(group: &KArc<Cgroup>, top: &KArc<Cgroup>, enable: u32, disable: u32) -> Result<(), Errno> {
    let changed = |c: &Controller| (enable | disable) & c.bit() != 0;
    let apply = || {
        // Also against forks, which look at it.
        let _guard = tasks();
        group.subtree_control.store(group.subtree_control.load(Relaxed) & !disable | enable, Relaxed);
    };
    let mut from = 0;
    while let Some(child) = group.child_from(from) {
        from = child.id + 1;
        if enable & Controller::Cpu.bit() != 0 {
            cpu::prepare(&child)?;
        }
    }
    if changed(&Controller::Cpuset) {
        cpuset::switch(group, top, apply);
    } else {
        apply();
    }
    for controller in CONTROLLERS.into_iter().filter(changed) {
        migrate::refresh(group, controller);
    }
    from = 0;
    while let Some(child) = group.child_from(from) {
        from = child.id + 1;
        if changed(&Controller::Pids) {
            pids::forget(&child);
        }
        if changed(&Controller::Cpu) {
            cpu::forget(&child);
        }
    }
    Ok(())
}

/// `cgroup.events`
pub fn show_events(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let (populated, frozen) = (u8::from(group.is_populated()), u8::from(freezer::is_frozen(group)));
    let _ = writeln!(out, "populated {populated}\nfrozen {frozen}");
    Ok(())
}

/// `cgroup.stat`
pub fn show_stat(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _trees = hierarchy::lock()?;
    let _ = writeln!(out, "nr_descendants {}\nnr_dying_descendants 0", group.nr_descendants());
    Ok(())
}

/// `cgroup.type`
pub fn show_type(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", group.kind());
    Ok(())
}

/// A write to `cgroup.type`: `threaded`. EINVAL: anything else; EOPNOTSUPP: it has tasks in it or below, or no domain to join.
pub fn store_type(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    if parse::stripped(data) != b"threaded" {
        return Err(Stop::Err(Errno::EINVAL));
    }
    let _trees = hierarchy::lock()?;
    let Some(parent) = group.parent.as_ref().filter(|_| !group.is_dead()) else { return Err(Stop::Err(Errno::ENODEV)) };
    if group.threaded.load(Relaxed) {
        return Ok(());
    }
    let domain = parent.domain();
    if group.is_populated() || !domain.is_valid_domain() || !domain.can_be_thread_root() {
        return Err(Stop::Err(Errno::EOPNOTSUPP));
    }
    group.threaded.store(true, Relaxed);
    parent.threaded_children.fetch_add(1, Relaxed);
    Ok(())
}

fn show_limit(limit: &AtomicI32, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = match limit.load(Relaxed) {
        i32::MAX => out.write_str("max\n"),
        n => writeln!(out, "{n}"),
    };
    Ok(())
}

fn store_limit(limit: &AtomicI32, data: &[u8]) -> OpResult<'static, ()> {
    limit.store(parse::limit(parse::stripped(data))?.unwrap_or(i32::MAX), Relaxed);
    Ok(())
}

/// `cgroup.max.depth`
pub fn show_max_depth(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_limit(&group.max_depth, out)
}

/// A write to it. EINVAL, ERANGE.
pub fn store_max_depth(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_limit(&group.max_depth, data)
}

/// `cgroup.max.descendants`
pub fn show_max_descendants(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_limit(&group.max_descendants, out)
}

/// A write to it. EINVAL, ERANGE.
pub fn store_max_descendants(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_limit(&group.max_descendants, data)
}

/// A write of 1 to `cgroup.kill`: SIGKILL for all processes in it and below. ERANGE: another number; EOPNOTSUPP: processes are not
/// a threaded group's.
pub fn store_kill(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    if parse::int(parse::stripped(data))? != 1 {
        return Err(Stop::Err(Errno::ERANGE));
    }
    let _trees = hierarchy::lock()?;
    if group.threaded.load(Relaxed) {
        return Err(Stop::Err(Errno::EOPNOTSUPP));
    }
    // A process that one of them was just making is found the next time; who is killed makes no more.
    let mut again = true;
    while again {
        again = false;
        each_thread(|thread| {
            let ours = thread.cgroup.css().is_some_and(|css| css.in_tree(group.root.id).is_some_and(|g| g.is_within(group)));
            let process = &thread.process;
            if ours && !process.kernel && !process.is_exiting() {
                // Whether it runs still: init takes no SIGKILL.
                let lives = process.relations(&tasks()).life == Life::Running;
                again |= lives && send_to_process(process, SigInfo::kernel(SIGKILL)).is_ok() && process.is_exiting();
            }
        });
    }
    Ok(())
}

/// The numbers of the tasks that `wanted` takes, ascending, each once.
fn put_tasks(out: &mut SeqBuf, wanted: impl Fn(&crate::task::thread::Thread) -> Option<u32>) -> OpResult<'static, ()> {
    let mut numbers = vigil_mem::KVec::new();
    let mut failed = false;
    each_thread(|thread| {
        if let Some(number) = wanted(thread) {
            failed |= numbers.try_push(number).is_err();
        }
    });
    if failed {
        return Err(Stop::Err(Errno::ENOMEM));
    }
    numbers.sort_unstable();
    let mut last = 0;
    for number in numbers {
        if number != last {
            let _ = writeln!(out, "{number}");
        }
        last = number;
    }
    Ok(())
}

/// `cgroup.procs` of version 2: the processes of the domain. EOPNOTSUPP: threads cannot be listed as processes here.
pub fn show_procs(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    if group.threaded.load(Relaxed) {
        return Err(Stop::Err(Errno::EOPNOTSUPP));
    }
    put_tasks(out, |thread| {
        let css = thread.cgroup.css();
        let at = css.as_ref().and_then(|css| css.in_tree(group.root.id));
        let ours = at.map_or(group.is_root(), |g| core::ptr::eq(g.domain(), &**group));
        ours.then_some(thread.process.pid)
    })
}

/// `cgroup.procs` of version 1: the processes that have a thread in it.
pub fn show_procs_v1(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put_tasks(out, |thread| thread.cgroup.is_in(group).then_some(thread.process.pid))
}

/// `cgroup.threads`, `tasks`
pub fn show_threads(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put_tasks(out, |thread| thread.cgroup.is_in(group).then_some(thread.tid()))
}
