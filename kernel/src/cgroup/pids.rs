//! The controller `pids`: how many tasks a group may have (Linux: kernel/cgroup/pids.c).

use super::group::{Cgroup, Controller};
use super::parse;
use core::fmt::Write;
use core::sync::atomic::Ordering::*;
use vigil_abi::Errno;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// No limit can be higher than the number of process numbers that Linux can have.
const LIMIT_MAX: i64 = (4 << 20) + 1;

/// Whether one more task fits into `group` and all above it. EAGAIN. With the process tree locked, so that it holds until the task
/// is counted.
pub fn may_fork(group: &KArc<Cgroup>) -> Result<(), Errno> {
    let full = |g: &Cgroup| !g.is_root() && g.has(Controller::Pids) && g.pids.load(Relaxed) >= g.pids_max.load(Relaxed);
    if group.ancestors().any(full) {
        let group = group.effective(Controller::Pids);
        group.pids_events.fetch_add(1, Relaxed);
        group.pids_changes.tell();
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// The controller goes from `group`: what it was told is forgotten.
pub fn forget(group: &Cgroup) {
    group.pids_max.store(i64::MAX, Relaxed);
    group.pids_events.store(0, Relaxed);
    group.pids_peak.store(group.pids.load(Relaxed), Relaxed);
}

/// `pids.max`
pub fn show_max(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = match group.pids_max.load(Relaxed) {
        i64::MAX => out.write_str("max\n"),
        n => writeln!(out, "{n}"),
    };
    Ok(())
}

/// A write to `pids.max`: more tasks than that may be there already. EINVAL, ERANGE.
pub fn store_max(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let max = match parse::stripped(data) {
        b"max" => i64::MAX,
        text => parse::long(text)?,
    };
    if max != i64::MAX && !(0..LIMIT_MAX).contains(&max) {
        return Err(Stop::Err(Errno::EINVAL));
    }
    group.pids_max.store(max, Relaxed);
    Ok(())
}

/// `pids.current`
pub fn show_current(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", group.pids.load(Relaxed));
    Ok(())
}

/// `pids.peak`
pub fn show_peak(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", group.pids_peak.load(Relaxed));
    Ok(())
}

/// `pids.events`
pub fn show_events(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "max {}", group.pids_events.load(Relaxed));
    Ok(())
}
