//! `/proc`: what it shows, in Linux's formats (proc(5); Linux: fs/proc).
//!
//! `vigil_fs::proc` has the file system; here are the contents. A file is generated when it is read from its beginning,
//! by a plain function; where that needs a lock that only an `async` function can wait for, the function is polled once
//! and the read is tried again if it had to wait ([`at_once`]).
//!
//! | file | what |
//! |---|---|
//! | [`process`] | which processes there are; the directories `/proc/PID` and `/proc/PID/task` |
//! | [`status`] | `stat`, `status`, `statm`, `sched`, `schedstat` |
//! | [`space`] | what is in or about an address space: `maps`, `smaps`, `cmdline`, `environ`, `auxv` |
//! | [`links`] | `exe`, `cwd`, `root`, `fd`, `fdinfo` |
//! | [`misc`] | everything else of a process |
//! | [`system`] | `/proc/{stat,uptime,loadavg,version,cpuinfo,cmdline,consoles,kallsyms}` |
//! | [`cputime`] | CPU time by kind, for `/proc/stat` |
//! | [`memory`] | `/proc/{meminfo,vmstat,buddyinfo,zoneinfo,slabinfo}` |
//! | [`interrupts`] | `/proc/{interrupts,softirqs}` |
//! | [`sysctl`] | `/proc/sys` |
//! | [`sysfs`] | the little of `/sys` that programs ask for: CPUs |

mod cputime;
mod interrupts;
mod links;
mod memory;
mod misc;
mod process;
mod space;
mod status;
mod sysctl;
mod sysfs;
mod system;

use core::future::Future;
use vigil_abi::Errno;
use vigil_fs::vfs::wait::{again, now_or_never};
use vigil_fs::{OpResult, Stop};

/// Fills `/proc` and `/sys`. Once, in a task, after [`vigil_fs::init`].
pub fn init() -> Result<(), Errno> {
    process::init();
    system::init()?;
    memory::init()?;
    interrupts::init()?;
    sysctl::init()?;
    sysfs::init()
}

/// The result of `future` if it need not wait; "try again" if it must.
fn at_once<T>(future: impl Future<Output = T>) -> OpResult<'static, T> {
    now_or_never(future).ok_or_else(again)
}

/// For functions that generate text and that cannot fail by themselves: a failed allocation is remembered by the buffer.
fn written(result: core::fmt::Result) -> OpResult<'static, ()> {
    result.map_err(|_| Stop::Err(Errno::ENOMEM))
}
