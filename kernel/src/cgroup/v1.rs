//! The files that only groups of version 1 have, of no controller (Linux: cgroup1_base_files).

use super::group::Cgroup;
use super::parse;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, KVec};

fn show_flag(flag: &AtomicBool, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", u8::from(flag.load(Relaxed)));
    Ok(())
}

fn store_flag(flag: &AtomicBool, data: &[u8]) -> OpResult<'static, ()> {
    flag.store(parse::unsigned(parse::line(data))? != 0, Relaxed);
    Ok(())
}

/// `cgroup.clone_children`
pub fn show_clone_children(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(&group.clone_children, out)
}

/// A write to it.
pub fn store_clone_children(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(&group.clone_children, data)
}

/// `cgroup.sane_behavior`
pub fn show_sane_behavior(_: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    out.put(b"0\n");
    Ok(())
}

/// `notify_on_release`
pub fn show_notify(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    show_flag(&group.notify_on_release, out)
}

/// A write to it.
pub fn store_notify(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    store_flag(&group.notify_on_release, data)
}

/// `release_agent`
pub fn show_agent(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    out.put(&group.root.release_agent.lock());
    out.put(b"\n");
    Ok(())
}

/// A write to it. EINVAL: longer than a path; ENOMEM.
pub fn store_agent(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let path = parse::stripped(data);
    if path.len() >= vigil_abi::fcntl::PATH_MAX {
        return Err(Stop::Err(Errno::EINVAL));
    }
    let new = KVec::try_from_slice(path)?;
    let old = core::mem::replace(&mut *group.root.release_agent.lock(), new);
    drop(old);
    Ok(())
}
