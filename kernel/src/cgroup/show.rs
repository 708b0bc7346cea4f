//! Groups in `/proc`: `/proc/cgroups`, `/proc/PID/cgroup`, `/proc/PID/cpuset`.

use super::group::Controller;
use super::hierarchy;
use crate::task::thread::Thread;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_abi::stat::S_IFREG;
use vigil_fs::OpResult;
use vigil_fs::proc;
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_mem::{KArc, unsize};

/// `/proc/cgroups`
struct Controllers;

impl Node for Controllers {
    fn mode(&self) -> u32 {
        S_IFREG | 0o444
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        hierarchy::lock()?.put_controllers(out);
        Ok(())
    }
}

pub(super) fn init() -> Result<(), Errno> {
    proc::add("cgroups", unsize!(KArc, KArc::try_new(Controllers)? => dyn Node))
}

/// `/proc/PID/cgroup`: a line for each tree.
pub fn show_membership(thread: &Thread, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let mut trees = hierarchy::lock()?;
    for tree in trees.shown() {
        let _ = write!(out, "{}:", tree.root.id);
        if !tree.root.is_v2() {
            tree.root.put_title(out);
        }
        out.put(b":");
        let group = thread.cgroup.in_tree(&tree.top);
        // In version 1 who has ended is in no group.
        if thread.is_gone() && !tree.root.is_v2() {
            out.put(b"/");
        } else {
            group.put_path(out)?;
        }
        if tree.root.is_v2() && group.is_dead() {
            out.put(b" (deleted)");
        }
        out.put(b"\n");
    }
    Ok(())
}

/// `/proc/PID/cpuset`: the path of its group in the tree with that controller.
pub fn show_cpuset(thread: &Thread, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let css = thread.cgroup.css();
    match css.as_ref().and_then(|css| css.with(Controller::Cpuset)) {
        Some(group) => group.effective(Controller::Cpuset).put_path(out)?,
        None => out.put(b"/"),
    }
    out.put(b"\n");
    Ok(())
}
