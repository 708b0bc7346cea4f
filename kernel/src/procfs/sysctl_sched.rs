//! `/proc/sys/kernel/sched_*`: how much real-time and deadline tasks may use, the quantum of SCHED_RR, bounds of periods.

use super::sysctl::{line, value};
use crate::cgroup::autogroup;
use crate::syscall::sched::{PERIOD_MAX_US, PERIOD_MIN_US};
use crate::trace::{self, schedstat};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::class::BANDWIDTH_SLICE;
use vigil_executor::executor;
use vigil_executor::sync::rt_mutex::MAX_LOCK_DEPTH;
use vigil_executor::time::{MSEC, Nanos, USEC};
use vigil_fs::vnode::StaticDir;

/// The largest runtime of real-time, ns: Linux's bandwidth arithmetic has 44 bits for it.
const MAX_RT_RUNTIME: Nanos = (1 << 44) - 1;
/// `sched_rr_timeslice_ms` when something that is no time is written.
const RR_TIMESLICE_MS: i64 = 100;

/// Adds the files.
pub(super) fn init(sys: &StaticDir) -> Result<(), Errno> {
    sys.add_file_rw(
        "kernel/sched_rt_period_us",
        0o644,
        |o| line(o, executor::rt_bandwidth().0 / USEC),
        |d| set_bandwidth(Some(value(d, i32::MIN.into(), i32::MAX.into())?), None),
    )?;
    let show_runtime = |o: &mut _| line(o, executor::rt_bandwidth().1.map_or(-1, |r| (r / USEC) as i64));
    sys.add_file_rw("kernel/sched_rt_runtime_us", 0o644, show_runtime, |d| {
        set_bandwidth(None, Some(value(d, i32::MIN.into(), i32::MAX.into())?))
    })?;
    sys.add_file_rw(
        "kernel/sched_rr_timeslice_ms",
        0o644,
        |o| line(o, executor::tunables().rr_timeslice / MSEC),
        |d| {
            let ms = value(d, i32::MIN.into(), i32::MAX.into())?;
            let ms = if ms <= 0 { RR_TIMESLICE_MS } else { ms } as u64;
            executor::tune(|t| t.rr_timeslice = ms * MSEC);
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "kernel/max_lock_depth",
        0o644,
        |o| line(o, MAX_LOCK_DEPTH.load(Relaxed)),
        |d| {
            MAX_LOCK_DEPTH.store(value(d, i32::MIN.into(), i32::MAX.into())? as i32, Relaxed);
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "kernel/sched_cfs_bandwidth_slice_us",
        0o644,
        |o| line(o, BANDWIDTH_SLICE.load(Relaxed) / USEC),
        |d| {
            BANDWIDTH_SLICE.store(value(d, 1, u32::MAX.into())? as u64 * USEC, Relaxed);
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "kernel/sched_autogroup_enabled",
        0o644,
        |o| line(o, u8::from(autogroup::enabled())),
        |d| autogroup::set_enabled(value(d, 0, 1)? != 0),
    )?;
    sys.add_file_rw(
        "kernel/sched_schedstats",
        0o644,
        |o| line(o, u8::from(schedstat::enabled())),
        |d| trace::count_tasks(value(d, 0, 1)? != 0),
    )?;
    sys.add_file_rw(
        "kernel/sched_deadline_period_max_us",
        0o644,
        |o| line(o, PERIOD_MAX_US.load(Relaxed)),
        |d| set_bound(&PERIOD_MAX_US, d, PERIOD_MIN_US.load(Relaxed), u32::MAX),
    )?;
    sys.add_file_rw(
        "kernel/sched_deadline_period_min_us",
        0o644,
        |o| line(o, PERIOD_MIN_US.load(Relaxed)),
        |d| set_bound(&PERIOD_MIN_US, d, 0, PERIOD_MAX_US.load(Relaxed)),
    )
}

fn set_bound(bound: &AtomicU32, data: &[u8], min: u32, max: u32) -> Result<(), Errno> {
    bound.store(value(data, min.into(), max.into())? as u32, Relaxed);
    Ok(())
}

/// Changes the period or the runtime, in µs (Linux: sched_rt_handler). EINVAL, EBUSY when more is promised to deadline tasks.
fn set_bandwidth(period: Option<i64>, runtime: Option<i64>) -> Result<(), Errno> {
    let (old_period, old_runtime) = executor::rt_bandwidth();
    let in_ns = |us: i64| u64::try_from(us).map(|us| us * USEC).map_err(|_| Errno::EINVAL);
    let period = period.map_or(Ok(old_period), in_ns)?;
    let runtime = match runtime {
        None => old_runtime,
        Some(-1) => None,
        Some(us) => Some(in_ns(us)?),
    };
    if period == 0 || runtime.is_some_and(|r| r > period || r > MAX_RT_RUNTIME) {
        return Err(Errno::EINVAL);
    }
    executor::set_rt_bandwidth(period, runtime).map_err(|_| Errno::EBUSY)
}
