//! `/proc`: what it shows, in Linux's formats (proc(5); Linux: fs/proc).
//!
//! `vigil_fs::proc` has the file system; here are the contents. A file is generated when it is read from its beginning,
//! by a plain function; where that needs a lock that only an `async` function can wait for, the function is polled once
//! and the read is tried again if it had to wait (`at_once`).
//!
//! | file | what |
//! |---|---|
//! | `format` | texts that need nothing of the kernel |
//! | `process` | which processes there are; the directories `/proc/PID` and `/proc/PID/task` |
//! | `status` | `stat`, `status`, `statm` |
//! | `pressure`, `pressure_trigger`, `stalls`, `average` | `/proc/pressure`, and the pressure files of control groups |
//! | `sched` | `sched`, `schedstat`; `/proc/schedstat` |
//! | `space` | what is in or about an address space: `maps`, `smaps`, `cmdline`, `environ`, `auxv` |
//! | `links` | `exe`, `cwd`, `root`, `fd`, `fdinfo` |
//! | `inject` | `fail-nth`, `fail-await` |
//! | `misc` | everything else of a process |
//! | `node` | `/sys/devices/system/node` |
//! | `system` | `/proc/{stat,uptime,loadavg,version,cpuinfo,cmdline,consoles,kallsyms}` |
//! | `cputime` | CPU time by kind, for `/proc/stat` |
//! | `memory` | `/proc/{meminfo,vmstat,buddyinfo,zoneinfo,slabinfo}` |
//! | `interrupts` | `/proc/{interrupts,softirqs}` |
//! | `irq_dir` | `/proc/irq`, `/sys/kernel/irq` |
//! | `sched_debug`, `sched_dump`, `sched_domains` | `/sys/kernel/debug/sched` |
//! | `sysctl`, `sysctl_number`, `sysctl_sched`, `sysctl_watchdog` | `/proc/sys` |
//! | `workqueue` | `/sys/devices/virtual/workqueue` |
//! | `sysfs` | the little of `/sys` that programs ask for: CPUs |

#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "only the tests use it on a host"))]
mod average;
#[cfg(target_os = "none")]
mod clocks;
#[cfg(target_os = "none")]
mod cpu_dir;
#[cfg(target_os = "none")]
mod cputime;
#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "only the tests use it on a host"))]
pub(crate) mod format;
#[cfg(target_os = "none")]
mod inject;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod irq_dir;
#[cfg(target_os = "none")]
mod links;
#[cfg(debug_assertions)]
mod lockdep;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod misc;
#[cfg(target_os = "none")]
mod node;
#[cfg(target_os = "none")]
mod pressure;
#[cfg(target_os = "none")]
mod pressure_trigger;
#[cfg(target_os = "none")]
mod process;
#[cfg(target_os = "none")]
mod rcu;
#[cfg(target_os = "none")]
mod rtc;
#[cfg(target_os = "none")]
mod sched;
#[cfg(target_os = "none")]
mod sched_debug;
#[cfg(target_os = "none")]
mod sched_domains;
#[cfg(target_os = "none")]
mod sched_dump;
#[cfg(target_os = "none")]
mod space;
#[cfg_attr(not(any(test, target_os = "none")), expect(dead_code, reason = "only the tests use it on a host"))]
mod stalls;
#[cfg(target_os = "none")]
mod status;
#[cfg(target_os = "none")]
mod sysctl;
#[cfg(target_os = "none")]
mod sysctl_number;
#[cfg(target_os = "none")]
mod sysctl_sched;
#[cfg(target_os = "none")]
mod sysctl_watchdog;
#[cfg(target_os = "none")]
mod sysfs;
#[cfg(target_os = "none")]
mod system;
#[cfg(target_os = "none")]
mod topology;
#[cfg(target_os = "none")]
mod workqueue;

#[cfg(target_os = "none")]
pub(crate) use pressure::{Resource, Source};
#[cfg(target_os = "none")]
pub(crate) use pressure_trigger::{open as open_pressure, wake_ended as wake_ended_triggers};
#[cfg(target_os = "none")]
pub(crate) use process::process_of_dir;
#[cfg(target_os = "none")]
pub(crate) use stalls::{PERIOD, Stalls};
#[cfg(target_os = "none")]
pub(crate) use sysctl::{line as sysctl_line, numbers as sysctl_numbers, value as sysctl_value};
#[cfg(target_os = "none")]
use vigil_abi::Errno;
#[cfg(target_os = "none")]
use vigil_fs::OpResult;

/// Fills `/proc` and `/sys`. Once, in a task, after [`vigil_fs::init`].
#[cfg(target_os = "none")]
pub fn init() -> Result<(), Errno> {
    process::init();
    system::init()?;
    memory::init()?;
    interrupts::init()?;
    #[cfg(debug_assertions)]
    lockdep::init()?;
    irq_dir::init()?;
    sysctl::init()?;
    sysfs::init()?;
    node::init()?;
    rcu::init()?;
    rtc::init()?;
    clocks::init()?;
    workqueue::init()?;
    sched::init()?;
    pressure::init()?;
    sched_debug::init()?;
    crate::cgroup::init()?;
    crate::debug::lkdtm::init()?;
    crate::debug::sysrq::init()?;
    crate::trace::init()?;
    crate::debug::hung_task::init()
}

/// The CPUs that the machine has and the command line allows.
#[cfg(target_os = "none")]
pub(crate) fn possible_cpus() -> vigil_executor::cpu::CpuMask {
    sysfs::possible()
}

/// User and system time of the whole machine, nanoseconds.
#[cfg(target_os = "none")]
pub(crate) fn cpu_time() -> [u64; 2] {
    let mut sum = [0u64; 2];
    cputime::all(sysfs::possible().iter(), |_, time| {
        sum = [sum[0].wrapping_add(time.user), sum[1].wrapping_add(time.system).wrapping_add(time.softirq)];
    });
    sum
}

/// The result of `future` if it need not wait; "try again" if it must.
#[cfg(target_os = "none")]
fn at_once<T>(future: impl core::future::Future<Output = T>) -> OpResult<'static, T> {
    futures_util::FutureExt::now_or_never(future).ok_or_else(vigil_fs::vfs::wait::again)
}

/// For functions that generate text and that cannot fail by themselves: a failed allocation is remembered by the buffer.
#[cfg(target_os = "none")]
fn written(result: core::fmt::Result) -> OpResult<'static, ()> {
    result.map_err(|_| vigil_fs::Stop::Err(Errno::ENOMEM))
}
