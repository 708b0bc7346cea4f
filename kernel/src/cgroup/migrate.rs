//! Moving tasks between groups: writes to `cgroup.procs`, `cgroup.threads` and `tasks` (Linux: cgroup_attach_task, __cgroup_procs_write).

use super::group::{Cgroup, Controller};
use super::hierarchy::Trees;
use super::membership::{self, CssSet, Into};
use super::{cpuset, hierarchy, nodes, parse};
use crate::task::kthread;
use crate::task::process::{find_process, find_thread, tasks};
use crate::task::thread::Thread;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_fs::vfs::cred::cap;
use vigil_fs::{Cred, OpResult, Stop};
use vigil_mem::KArc;

/// What a write names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A process with all its threads.
    Process,
    /// One thread.
    Thread,
}

/// Moves the task whose number was written to `to`. `cred`: who has opened the file. ENODEV: the group is gone; EINVAL: no number, or a
/// task that stays where it is; ESRCH; EACCES: not the writer's to move; EOPNOTSUPP: not into this type of group; and what a
/// controller says.
pub fn store(to: &KArc<Cgroup>, what: What, data: &[u8], cred: &Cred) -> OpResult<'static, ()> {
    let number = parse::int(parse::stripped(data)).ok().and_then(|n| u32::try_from(n).ok()).ok_or(Errno::EINVAL)?;
    let trees = hierarchy::lock()?;
    if to.is_dead() {
        return Err(Stop::Err(Errno::ENODEV));
    }
    let named = match number {
        0 => Thread::current().and_then(|t| find_thread(t.tid())),
        n => find_thread(n).or_else(|| find_process(n)?.any_thread()),
    };
    let named = named.ok_or(Errno::ESRCH)?;
    // The second process and its children that are bound to a CPU stay in the root.
    if named.process.kernel && (named.process.pid == kthread::KTHREADD || kthread::is_bound(&named)) {
        return Err(Stop::Err(Errno::EINVAL));
    }
    let top = trees.top_of(to)?;
    let from = named.cgroup.in_tree(&top);
    if to.root.is_v2() {
        may_move(&from, to, what, cred)?
    } else {
        may_move_v1(&named, cred)?
    };
    match what {
        What::Thread => cpuset::may_attach(to, &from, core::iter::once(&named))?,
        What::Process => {
            let guard = tasks();
            cpuset::may_attach(to, &from, named.process.living(&guard).filter(|t| !t.cgroup.is_in(to)))?;
        }
    }
    match what {
        What::Thread => move_thread(&named, to)?,
        What::Process => move_process(&named, to)?,
    }
    Ok(())
}

/// Version 1: the superuser's, or one's own (Linux: __cgroup1_procs_write).
fn may_move_v1(thread: &Thread, cred: &Cred) -> Result<(), Errno> {
    let target = thread.share_cred().ok_or(Errno::ESRCH)?;
    if cred.euid == 0 || cred.euid == target.uid || cred.euid == target.suid { Ok(()) } else { Err(Errno::EACCES) }
}

/// Version 2 (Linux: cgroup_attach_permissions).
pub fn may_move(from: &KArc<Cgroup>, to: &KArc<Cgroup>, what: What, cred: &Cred) -> Result<(), Errno> {
    let common = to.ancestors().find(|g| from.is_within(g)).unwrap_or(to);
    if !may_write(common, "cgroup.procs", cred) {
        return Err(Errno::EACCES);
    }
    if !to.domain().is_valid_domain() {
        return Err(Errno::EOPNOTSUPP);
    }
    if to.subtree_control.load(Relaxed) != 0 && !to.may_compete() {
        return Err(Errno::EBUSY);
    }
    if what == What::Thread && !core::ptr::eq(from.domain(), to.domain()) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// Where a child of `parent`, a thread of its own or not, begins that clone3(2) puts into the group whose directory is open as
/// `file` (Linux: cgroup_css_set_fork). EBADF: no group of version 2; ENOENT: it was removed; EACCES: the caller may not write its
/// `cgroup.procs`; what a move says; ENOMEM.
pub fn for_clone(trees: &mut Trees, parent: &Thread, file: &vigil_fs::File, what: What) -> Result<Into, Errno> {
    let group = nodes::group_of(file, trees)?;
    let cred = parent.cred()?;
    if !may_write(&group, "cgroup.procs", cred) {
        return Err(Errno::EACCES);
    }
    may_move(&parent.cgroup.in_tree(&trees.v2()?.top), &group, what, cred)?;
    let css = CssSet::with_group(parent.cgroup.css().as_deref(), &group)?;
    Ok(Into { group, css })
}

/// Whether `cred` may write the file `name` of `group`.
fn may_write(group: &Cgroup, name: &str, cred: &Cred) -> bool {
    let attr = group.attributes.get(name, 0o644);
    let granted = if cred.fsuid == attr.uid {
        attr.mode >> 6
    } else if cred.in_group(attr.gid) {
        attr.mode >> 3
    } else {
        attr.mode
    };
    granted & 2 != 0 || cred.capable(cap::DAC_OVERRIDE)
}

pub(super) fn move_thread(thread: &Thread, to: &KArc<Cgroup>) -> Result<(), Errno> {
    if thread.cgroup.is_in(to) {
        return Ok(());
    }
    // Only who has the trees locked changes it, and the caller does.
    let css = CssSet::with_group(thread.cgroup.css().as_deref(), to)?;
    let guard = tasks();
    // Who has begun to end stays where it is.
    let old = if thread.is_gone() { None } else { membership::attach(thread, to, css, &guard) };
    drop(guard);
    drop(old);
    Ok(())
}

/// Moves all threads of the process of `named`: also those that others of them make meanwhile.
fn move_process(named: &KArc<Thread>, to: &KArc<Cgroup>) -> Result<(), Errno> {
    let process = &named.process;
    loop {
        let next = {
            let guard = tasks();
            process.living(&guard).find(|t| !t.cgroup.is_in(to)).cloned()
        };
        match next {
            Some(thread) => move_thread(&thread, to)?,
            None => return Ok(()),
        }
    }
}

/// Lets the effect of a controller on the tasks below `group` follow a change of which groups have it.
pub fn refresh(group: &KArc<Cgroup>, controller: Controller) {
    if controller != Controller::Cpu {
        return;
    }
    super::each_thread(|thread| {
        if let Some(css) = thread.cgroup.css()
            && css.in_tree(group.root.id).is_some_and(|g| g.root.mask.load(Relaxed) & controller.bit() != 0 && g.is_within(group))
        {
            let guard = tasks();
            if !thread.is_gone() {
                super::cpu::attach(thread, Some(&css), &guard);
            }
        }
    });
}
