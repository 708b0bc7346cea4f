//! The controller `cpu`: weights and limits of groups in the fair class (Linux: kernel/sched/core.c, cpu_legacy_files and cpu_files).
//!
//! A group gets its part of the scheduler ([`Group`]) when it first has the controller, and keeps it as long as it lives.

use super::group::{Cgroup, Controller};
use super::membership::CssSet;
use super::{autogroup, hierarchy, parse, time};
use crate::procfs::possible_cpus;
use crate::task::process::Tasks;
use crate::task::thread::Thread;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::class::weight::{IDLE, of_nice};
use vigil_executor::executor::{Group, set_group};
use vigil_executor::time::{MSEC, Nanos, SEC, USEC};
use vigil_fs::vnode::SeqBuf;
use vigil_fs::{OpResult, Stop};
use vigil_mem::KArc;

/// The weight of a group that was told none.
const DEFAULT: u32 = 1024;
/// Weights of version 1.
const SHARES: core::ops::RangeInclusive<u64> = 2..=1 << 18;
/// Quota and period are no shorter than this,
const SHORTEST: Nanos = MSEC;
/// and a period no longer than this.
const LONGEST: Nanos = SEC;
/// Quota and burst together are no longer than this (Linux: max_cfs_runtime).
const MOST: Nanos = ((1 << 44) - 1) * USEC;

/// The scheduler's part of `group`; `None`: the root.
fn part(group: &Cgroup) -> Option<&Group> {
    group.cpu.get()
}

/// Makes sure that `group`, which is to have the controller, has its part. ENOMEM.
pub(super) fn prepare(group: &Cgroup) -> Result<(), Errno> {
    let Some(parent) = group.parent.as_deref() else { return Ok(()) };
    let cpus = possible_cpus().0.count_ones() as usize;
    group.cpu.try_call_once(|| Group::try_new(part(parent), cpus).ok_or(Errno::ENOMEM))?;
    Ok(())
}

/// The controller goes from `group`: what it was told is forgotten.
pub(super) fn forget(group: &Cgroup) {
    if let Some(part) = part(group) {
        part.set_shares(DEFAULT, false);
        part.set_bandwidth(None, 100 * MSEC, 0);
    }
}

/// `thread` is in the groups of `css` now. With the process tree locked, as its autogroup is found by that.
pub(super) fn attach(thread: &Thread, css: Option<&CssSet>, guard: &Tasks) {
    if let Some(task) = thread.task() {
        let group = css.and_then(|css| css.with(Controller::Cpu)).map(|g| g.effective(Controller::Cpu));
        set_group(task, group.and_then(part).or_else(|| autogroup::part(thread, guard)));
    }
}

/// `thread`, which ends, is in no group any more.
pub(super) fn detach(thread: &Thread) {
    if let Some(task) = thread.task() {
        set_group(task, None);
    }
}

/// The part of `group`, to be changed. EINVAL: the root's weight and limit cannot be.
fn part_of(group: &Cgroup) -> Result<&Group, Errno> {
    part(group).ok_or(Errno::EINVAL)
}

fn shares(group: &Cgroup) -> u64 {
    part(group).map_or(DEFAULT.into(), |p| if p.is_idle() { IDLE.weight.into() } else { p.shares().into() })
}

fn set_shares(group: &KArc<Cgroup>, shares: u64) -> OpResult<'static, ()> {
    let _trees = hierarchy::lock()?;
    let part = part_of(group)?;
    if part.is_idle() {
        return Err(Stop::Err(Errno::EINVAL));
    }
    part.set_shares(shares.clamp(*SHARES.start(), *SHARES.end()) as u32, false);
    Ok(())
}

fn line(value: impl core::fmt::Display, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let _ = writeln!(out, "{value}");
    Ok(())
}

/// `cpu.shares`
pub fn show_shares(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line(shares(group), out)
}

/// A write to it. EINVAL: the root, or an idle group.
pub fn store_shares(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    set_shares(group, parse::unsigned(parse::line(data))?)
}

/// `cpu.weight`
pub fn show_weight(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line((shares(group) * 100 + 512) / 1024, out)
}

/// A write to it. ERANGE: not within 1 and 10 000.
pub fn store_weight(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    match parse::unsigned(parse::line(data))? {
        weight @ 1..=10_000 => set_shares(group, (weight * 1024 + 50) / 100),
        _ => Err(Stop::Err(Errno::ERANGE)),
    }
}

/// `cpu.weight.nice`: the nice value whose weight is nearest, the lower one of two.
pub fn show_weight_nice(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let shares = shares(group);
    let distance = |nice: i8| u64::from(of_nice(nice).weight).abs_diff(shares);
    let mut nearest = -20;
    while nearest < 19 && distance(nearest + 1) < distance(nearest) {
        nearest += 1;
    }
    line(nearest, out)
}

/// A write to it. ERANGE.
pub fn store_weight_nice(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    match parse::long(parse::line(data))? {
        nice @ -20..=19 => set_shares(group, of_nice(nice as i8).weight.into()),
        _ => Err(Stop::Err(Errno::ERANGE)),
    }
}

/// `cpu.idle`
pub fn show_idle(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line(u8::from(part(group).is_some_and(Group::is_idle)), out)
}

/// A write to it: its weight is that of SCHED_IDLE, and the default when it is idle no more. EINVAL.
pub fn store_idle(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let idle = parse::long(parse::line(data))?;
    let _trees = hierarchy::lock()?;
    let part = part_of(group)?;
    if !(0..=1).contains(&idle) {
        return Err(Stop::Err(Errno::EINVAL));
    }
    if part.is_idle() != (idle == 1) {
        part.set_shares(DEFAULT, idle == 1);
    }
    Ok(())
}

/// A limit: quota, period, burst.
type Limit = (Option<Nanos>, Nanos, Nanos);

fn limit(group: &Cgroup) -> Limit {
    part(group).map_or((None, 100 * MSEC, 0), |p| {
        let b = p.bandwidth();
        (b.quota, b.period, b.burst)
    })
}

/// What part of a CPU a limit allows, in 2^-20.
fn ratio(limit: Limit) -> Option<u128> {
    limit.0.map(|quota| (u128::from(quota) << 20) / u128::from(limit.1.max(1)))
}

/// Limits `group` to what `change` makes of its limit (Linux: tg_set_cfs_bandwidth). EINVAL: the root; too short or too long; more than
/// the parent has, or less than a child (version 1).
fn set_limit(group: &KArc<Cgroup>, change: impl FnOnce(&mut Limit) -> Result<(), Errno>) -> OpResult<'static, ()> {
    let _trees = hierarchy::lock()?;
    let part = part_of(group)?;
    let mut new = limit(group);
    change(&mut new)?;
    let (quota, period, burst) = new;
    let too_short = quota.is_some_and(|q| q < SHORTEST) || period < SHORTEST;
    let too_long = period > LONGEST || quota.is_some_and(|q| q > MOST || burst > q || burst.saturating_add(q) > MOST);
    if too_short || too_long || !group.root.is_v2() && !fits(group, new) {
        return Err(Stop::Err(Errno::EINVAL));
    }
    part.set_bandwidth(quota, period, burst);
    Ok(())
}

/// Whether nobody has more than the nearest above it that is limited, if `group` has `new`.
fn fits(group: &KArc<Cgroup>, new: Limit) -> bool {
    let of = |g: &Cgroup| ratio(if core::ptr::eq(g, &**group) { new } else { limit(g) });
    let mut fits = true;
    Cgroup::for_each(group, |g| {
        let above = g.ancestors().skip(1).find_map(of);
        fits &= match (of(g), above) {
            (Some(own), Some(above)) => own <= above,
            _ => true,
        };
    });
    fits
}

fn micros(text: &[u8]) -> Result<Nanos, Errno> {
    parse::unsigned(text)?.checked_mul(USEC).ok_or(Errno::EINVAL)
}

/// `cpu.max`
pub fn show_max(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    let (quota, period, _) = limit(group);
    match quota {
        Some(quota) => line(format_args!("{} {}", quota / USEC, period / USEC), out),
        None => line(format_args!("max {}", period / USEC), out),
    }
}

/// A write to it: a quota in µs or `max`, and perhaps a period (Linux: sscanf with "%20s %llu", and "%llu" of the first word: what
/// follows the digits does not count). EINVAL.
pub fn store_max(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let mut words = parse::stripped(data).split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    let number = |w: &[u8]| parse::leading(w)?.map(|us| us.checked_mul(USEC).ok_or(Errno::EINVAL)).transpose();
    let quota = match words.next().ok_or(Errno::EINVAL)? {
        b"max" => None,
        text => Some(number(text)?.ok_or(Errno::EINVAL)?),
    };
    let period = words.next().map_or(Ok(None), number)?;
    set_limit(group, |limit| {
        *limit = (quota, period.unwrap_or(limit.1), limit.2);
        Ok(())
    })
}

/// `cpu.max.burst`, `cpu.cfs_burst_us`
pub fn show_burst(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line(limit(group).2 / USEC, out)
}

/// A write to it. EINVAL: more than the quota.
pub fn store_burst(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let burst = micros(parse::line(data))?;
    set_limit(group, |limit| {
        limit.2 = burst;
        Ok(())
    })
}

/// `cpu.cfs_quota_us`
pub fn show_quota(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line(limit(group).0.map_or(-1, |quota| (quota / USEC) as i64), out)
}

/// A write to it; a negative number: no limit. EINVAL.
pub fn store_quota(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let quota = match u64::try_from(parse::long(parse::line(data))?) {
        Ok(us) => Some(us.checked_mul(USEC).ok_or(Errno::EINVAL)?),
        Err(_) => None,
    };
    set_limit(group, |limit| {
        limit.0 = quota;
        Ok(())
    })
}

/// `cpu.cfs_period_us`
pub fn show_period(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    line(limit(group).1 / USEC, out)
}

/// A write to it. EINVAL.
pub fn store_period(group: &KArc<Cgroup>, data: &[u8]) -> OpResult<'static, ()> {
    let period = micros(parse::line(data))?;
    set_limit(group, |limit| {
        limit.1 = period;
        Ok(())
    })
}

/// Periods, and how long it was held back; `unit` of time and its `suffix`.
fn put_stat(group: &Cgroup, unit: Nanos, suffix: &str, out: &mut SeqBuf) {
    let b = part(group).map(Group::bandwidth).unwrap_or_default();
    let _ = writeln!(
        out,
        "nr_periods {}\nnr_throttled {}\nthrottled_{suffix} {}\nnr_bursts {}\nburst_{suffix} {}",
        b.nr_periods,
        b.nr_throttled,
        b.throttled_time / unit,
        b.nr_bursts,
        b.burst_time / unit
    );
}

/// `cpu.stat` of version 2: CPU time in every group, the rest where the controller is.
pub fn show_stat(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    time::put_stat(group, out);
    if group.has(Controller::Cpu) {
        put_stat(group, USEC, "usec", out);
    }
    Ok(())
}

/// `cpu.stat` of version 1.
pub fn show_stat_v1(group: &KArc<Cgroup>, out: &mut SeqBuf) -> OpResult<'static, ()> {
    put_stat(group, 1, "time", out);
    Ok(())
}
