//! Control groups, versions 1 and 2 (Linux: kernel/cgroup; Documentation/admin-guide/cgroup-{v1,v2}).
//!
//! | file | what |
//! |---|---|
//! | [`group`] | a group: tree, counts, rules of types |
//! | [`hierarchy`] | the trees, and which has which controller |
//! | [`membership`] | in which groups a task is: fork, move, exit, release |
//! | [`migrate`] | moving tasks by writing their numbers |
//! | [`control`] | mkdir, rmdir, and the core's files of version 2; `v1`: of version 1 |
//! | `nodes`, `tables`, `options`, `attr` | the file systems: directories and files, which there are, mount options, owners |
//! | [`autogroup`] | groups of sessions, for who is in no other |
//! | [`cpu`], [`cpuset`], [`freezer`], [`pids`], [`time`] | the controllers |
//! | [`pressure`] | pressure files |
//! | `release` | the program that hears of groups of version 1 that are empty |
//! | `partition` | the part of `cpuset` that gives groups CPUs of their own |
//! | `parse` | numbers and lists |
//!
//! Locks: the trees' shape and all moves are under `cgroup_mutex` ([`hierarchy::lock`]), which is held in plain functions only, with
//! preemption on; inside it `tasklist`, under which every task's membership changes, inside that the leaves `css_set`, `cgroup_children`,
//! `cgroup_name`, `cpuset`, `cgroup_attr`, `cgroup_owner`, `release_agent`.

pub mod parse;

#[cfg(target_os = "none")]
mod attr;
#[cfg(target_os = "none")]
pub mod autogroup;
#[cfg(target_os = "none")]
pub mod control;
#[cfg(target_os = "none")]
pub mod cpu;
#[cfg(target_os = "none")]
pub mod cpuset;
#[cfg(target_os = "none")]
mod cpuset_files;
#[cfg(target_os = "none")]
pub mod freezer;
#[cfg(target_os = "none")]
pub mod group;
#[cfg(target_os = "none")]
pub mod hierarchy;
#[cfg(target_os = "none")]
pub mod membership;
#[cfg(target_os = "none")]
pub mod migrate;
#[cfg(target_os = "none")]
mod nodes;
#[cfg(target_os = "none")]
mod options;
#[cfg(target_os = "none")]
pub mod partition;
#[cfg(target_os = "none")]
pub mod pids;
#[cfg(target_os = "none")]
pub mod pressure;
#[cfg(target_os = "none")]
mod release;
#[cfg(target_os = "none")]
mod show;
#[cfg(target_os = "none")]
mod tables;
#[cfg(target_os = "none")]
pub mod time;
#[cfg(target_os = "none")]
mod v1;

#[cfg(target_os = "none")]
pub use show::{show_cpuset, show_membership};

#[cfg(target_os = "none")]
use crate::task::pid::{self, PID_MAX};
#[cfg(target_os = "none")]
#[cfg(target_os = "none")]
use crate::task::thread::Thread;
#[cfg(target_os = "none")]
use vigil_abi::Errno;

/// Makes the tree of version 2, the two file systems, `/sys/fs/cgroup` and `/proc/cgroups`. Once, at boot.
#[cfg(target_os = "none")]
pub fn init() -> Result<(), Errno> {
    hierarchy::init()?;
    nodes::register()?;
    vigil_fs::proc::sys_root()?.subdir("fs/cgroup")?;
    show::init()
}

/// Calls `f` for each living thread, by number, with nothing locked.
#[cfg(target_os = "none")]
fn each_thread(mut f: impl FnMut(&Thread)) {
    let mut from = 1;
    while from < PID_MAX {
        let Some((n, thread)) = pid::next_thread(from) else { break };
        if !thread.is_gone() {
            f(&thread);
        }
        from = n + 1;
    }
}
