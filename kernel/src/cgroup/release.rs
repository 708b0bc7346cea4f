//! `notify_on_release`: a group of version 1 that has nobody and no groups any more is reported to the program `release_agent` of its
//! tree (Linux: cgroup1_release_agent).
//!
//! Who notices leaves a mark in the group, in any context; a work item starts the programs.

use super::group::Cgroup;
use super::hierarchy;
use crate::task::usermode;
use core::sync::atomic::Ordering::*;
use vigil_executor::time::{MSEC, Nanos};
use vigil_executor::work::{DelayedWork, UNBOUND, Work};
use vigil_fs::vnode::SeqBuf;
use vigil_mem::KVec;

/// What an agent finds in its environment.
const ENVIRONMENT: [&[u8]; 2] = [b"HOME=/", b"PATH=/sbin:/bin:/usr/sbin:/usr/bin"];
/// When somebody has the trees locked it is tried again.
const AGAIN: Nanos = 10 * MSEC;

static LATER: DelayedWork = DelayedWork::new(start_agents);

/// A task has left `group`, or one of its groups: if that was the last one, its agent is to be told.
pub(super) fn look(group: &Cgroup) {
    if group.notify_on_release.load(Relaxed) && !group.root.is_v2() && !group.is_populated() && group.nr_children() == 0 && !group.is_dead()
    {
        group.released.store(true, Release);
        LATER.schedule(&UNBOUND, 0);
    }
}

fn start_agents(_: &Work) {
    let Ok(trees) = hierarchy::lock() else {
        LATER.schedule(&UNBOUND, AGAIN);
        return;
    };
    for tree in trees.all().filter(|t| !t.root.is_v2()) {
        Cgroup::for_each(&tree.top, |group| {
            if group.released.swap(false, AcqRel) && start_agent(group).is_err() {
                crate::pr_warn!("cgroup: a release agent was not started for want of memory");
            }
        });
    }
}

fn start_agent(group: &Cgroup) -> Result<(), vigil_abi::Errno> {
    let agent = KVec::try_from_slice(&group.root.release_agent.lock())?;
    if agent.is_empty() {
        return Ok(());
    }
    let mut path = SeqBuf::new();
    group.put_path(&mut path)?;
    path.finish()?;
    usermode::start(&[&agent, path.as_bytes()], &ENVIRONMENT)
}
