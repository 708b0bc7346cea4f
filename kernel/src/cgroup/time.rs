//! CPU time of groups: `cpu.stat` of version 2 and the controller `cpuacct` (Linux: kernel/cgroup/rstat.c, kernel/sched/cpuacct.c).

use super::group::Cgroup;
use super::membership::GIVING;
use super::{each_thread, parse};
use crate::procfs::cpu_time;
use core::fmt::Write;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// Nanoseconds in a tick of USER_HZ.
const TICK: u64 = 10_000_000;

/// So often time is added up until nobody has ended or moved meanwhile.
const TRIES: usize = 4;

/// User and system time that was used in `group` and below, by whoever was in it, nanoseconds. That of a root is the machine's.
pub fn total(group: &KArc<Cgroup>) -> [u64; 2] {
    if group.is_root() {
        return cpu_time();
    }
    // Threads end and move all the time: what cannot be added up undisturbed is at least not less than it was.
    let mut sum = [0; 2];
    for _ in 0..TRIES {
        let seq = GIVING.read_begin();
        sum = [0, 1].map(|i: usize| group.time[i].load(Relaxed));
        each_thread(|thread| {
            let Some(css) = thread.cgroup.css() else { return };
            if css.in_tree(group.root.id).is_some_and(|g| g.is_within(group)) {
                let own = thread.cgroup.not_given(thread.times());
                sum = [sum[0].wrapping_add(own[0]), sum[1].wrapping_add(own[1])];
            }
        });
        if !GIVING.read_retry(seq) {
            break;
        }
    }
    core::array::from_fn(|i| sum[i].max(group.time_seen[i].fetch_max(sum[i], Relaxed)))
}

/// What is shown by cpuacct: since it was last set to 0.
fn shown(group: &KArc<Cgroup>) -> [u64; 2] {
    let now = total(group);
    core::array::from_fn(|i| now[i].saturating_sub(group.time_base[i].load(Relaxed)))
}

/// The first three lines of `cpu.stat` (version 2).
pub fn put_stat(group: &KArc<Cgroup>, out: &mut SeqBuf) {
    let [user, system] = total(group).map(|t| t / 1000);
    let _ = writeln!(out, "usage_usec {}\nuser_usec {user}\nsystem_usec {system}", user + system);
}

/// `cpuacct.usage`
pub fn show_usage(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", shown(group).iter().sum::<u64>());
    Ok(())
}

/// A write of 0 to it. EINVAL: anything else.
pub fn store_usage(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    if parse::unsigned(parse::line(data))? != 0 {
        return Err(Stop::Err(Errno::EINVAL));
    }
    for (base, now) in group.time_base.iter().zip(total(group)) {
        base.store(now, Relaxed);
    }
    Ok(())
}

/// `cpuacct.usage_user`
pub fn show_user(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", shown(group)[0]);
    Ok(())
}

/// `cpuacct.usage_sys`
pub fn show_system(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{}", shown(group)[1]);
    Ok(())
}

/// `cpuacct.stat`
pub fn show_stat(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let [user, system] = shown(group).map(|t| t / TICK);
    let _ = writeln!(out, "user {user}\nsystem {system}");
    Ok(())
}
