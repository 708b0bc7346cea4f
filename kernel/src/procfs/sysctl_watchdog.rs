//! `/proc/sys/kernel` of the watchdogs: lockups soft and hard, hung tasks, polls that do not give way.

use super::sysctl_number::{add_number, add_switch};
use crate::debug::{hard_lockup, hung_task, long_poll, watchdog};
use vigil_abi::Errno;
use vigil_fs::vnode::StaticDir;

/// Linux's LONG_MAX / HZ, with Debian's HZ.
const MAX_SECONDS: i64 = i64::MAX / 250;

/// Adds the files.
pub(super) fn init(sys: &StaticDir) -> Result<(), Errno> {
    add_number(sys, "kernel/watchdog", 0..=1, || watchdog::is_enabled().into(), |n| watchdog::set_enabled(n != 0))?;
    add_number(sys, "kernel/soft_watchdog", 0..=1, || watchdog::is_soft_enabled().into(), |n| watchdog::set_soft_enabled(n != 0))?;
    add_number(sys, "kernel/nmi_watchdog", 0..=1, || hard_lockup::is_enabled().into(), |n| watchdog::set_hard_enabled(n != 0))?;
    add_number(sys, "kernel/watchdog_thresh", 0..=60, || watchdog::thresh().into(), |n| watchdog::set_thresh(n as u32))?;
    add_switch(sys, "kernel/softlockup_panic", &watchdog::PANICS)?;
    add_switch(sys, "kernel/softlockup_all_cpu_backtrace", &watchdog::SHOWS_ALL_CPUS)?;
    add_switch(sys, "kernel/hardlockup_panic", &hard_lockup::PANICS)?;
    add_switch(sys, "kernel/hardlockup_all_cpu_backtrace", &hard_lockup::SHOWS_ALL_CPUS)?;
    add_number(sys, "kernel/long_poll_warn_ms", 0..=1_000_000, || long_poll::thresh().into(), |n| long_poll::set_thresh(n as u32))?;
    let (get, set) = (|| hung_task::timeout() as i64, |n| hung_task::set_timeout(n as u64));
    add_number(sys, "kernel/hung_task_timeout_secs", 0..=MAX_SECONDS, get, set)?;
    let (get, set) = (|| hung_task::interval() as i64, |n| hung_task::set_interval(n as u64));
    add_number(sys, "kernel/hung_task_check_interval_secs", 0..=MAX_SECONDS, get, set)?;
    let (get, set) = (|| hung_task::check_count().into(), |n| hung_task::set_check_count(n as u32));
    add_number(sys, "kernel/hung_task_check_count", 0..=i32::MAX.into(), get, set)?;
    add_number(sys, "kernel/hung_task_warnings", -1..=i32::MAX.into(), hung_task::warnings, hung_task::set_warnings)?;
    add_switch(sys, "kernel/hung_task_panic", &hung_task::PANICS)?;
    add_switch(sys, "kernel/hung_task_all_cpu_backtrace", &hung_task::SHOWS_ALL_CPUS)
}
