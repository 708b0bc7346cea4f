//! What RCU can be told: `/sys/kernel/rcu_*`, `/sys/module/{rcupdate,rcutree}/parameters`, `kernel.panic_on_rcu_stall` (Linux: ksysfs.c, update.c,
//! tree_stall.h). Bounds are Linux's: a time is brought into its range, other numbers out of theirs are EINVAL.

use super::sysctl::{line, value};
use crate::debug::rcu_stall;
use core::sync::atomic::{AtomicI32, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_executor::sync::rcu::{self, limits, stall};
use vigil_fs::proc;
use vigil_fs::vnode::{SeqBuf, StaticDir};
use vigil_mem::try_format;

type Show = fn(&mut SeqBuf) -> Result<(), Errno>;
type Store = fn(&[u8]) -> Result<(), Errno>;

static SUPPRESS: AtomicI32 = AtomicI32::new(0);

/// The number in `data`, which is at least `least`.
fn int(data: &[u8], least: i32) -> Result<i32, Errno> {
    Ok(value(data, least.into(), i32::MAX.into())? as i32)
}

/// Adds the files.
pub fn init() -> Result<(), Errno> {
    let sys = proc::sys_root()?;
    sys.add_file_rw(
        "kernel/rcu_expedited",
        0o644,
        |o| line(o, rcu::preferences()[0].load(Relaxed)),
        |d| {
            rcu::preferences()[0].store(int(d, i32::MIN)?, Relaxed);
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "kernel/rcu_normal",
        0o644,
        |o| line(o, rcu::preferences()[1].load(Relaxed)),
        |d| {
            rcu::preferences()[1].store(int(d, i32::MIN)?, Relaxed);
            Ok(())
        },
    )?;
    sys.add_file("module/rcupdate/parameters/rcu_expedited", 0o444, |o| line(o, rcu::preferences()[0].load(Relaxed)))?;
    sys.add_file("module/rcupdate/parameters/rcu_normal", 0o444, |o| line(o, rcu::preferences()[1].load(Relaxed)))?;
    sys.add_file_rw(
        "module/rcupdate/parameters/rcu_cpu_stall_timeout",
        0o644,
        |o| line(o, stall::timeout()),
        |d| {
            stall::set_timeout(u64::try_from(int(d, i32::MIN)?).unwrap_or(0));
            Ok(())
        },
    )?;
    sys.add_file_rw(
        "module/rcupdate/parameters/rcu_cpu_stall_suppress",
        0o644,
        |o| line(o, SUPPRESS.load(Relaxed)),
        |d| {
            let suppress = int(d, i32::MIN)?;
            SUPPRESS.store(suppress, Relaxed);
            stall::set_suppressed(suppress != 0);
            Ok(())
        },
    )?;
    tree(&sys)?;
    proc::add_file_rw(
        "sys/kernel/panic_on_rcu_stall",
        0o644,
        |o| line(o, rcu_stall::PANIC.load(Relaxed)),
        |d| {
            rcu_stall::PANIC.store(value(d, 0, 1)? as i32, Relaxed);
            Ok(())
        },
    )?;
    proc::add_file_rw(
        "sys/kernel/max_rcu_stall_to_panic",
        0o644,
        |o| line(o, rcu_stall::FIRST_TO_PANIC.load(Relaxed)),
        |d| {
            rcu_stall::FIRST_TO_PANIC.store(int(d, 1)?, Relaxed);
            Ok(())
        },
    )
}

/// `/sys/module/rcutree/parameters`: those that steer something here.
fn tree(sys: &StaticDir) -> Result<(), Errno> {
    const DIR: &str = "module/rcutree/parameters";
    let fixed: [(&str, Show); 4] = [
        ("blimit", |o| line(o, limits::BLIMIT.load(Relaxed))),
        ("qhimark", |o| line(o, limits::QHIMARK.load(Relaxed))),
        ("qlowmark", |o| line(o, limits::QLOWMARK.load(Relaxed))),
        // Callbacks run in softirqs, not in tasks of their own.
        ("use_softirq", |o| line(o, 'Y')),
    ];
    for (name, show) in fixed {
        sys.add_file(&try_format!("{DIR}/{name}")?, 0o444, show)?;
    }
    let others: [(&str, Show, Store); 4] = [
        (
            "jiffies_till_first_fqs",
            |o| line(o, limits::force_after().0),
            |d| {
                limits::set_force_first(value(d, 0, i64::MAX)? as u64);
                Ok(())
            },
        ),
        (
            "jiffies_till_next_fqs",
            |o| line(o, limits::force_after().1),
            |d| {
                limits::set_force_next(value(d, 0, i64::MAX)? as u64);
                Ok(())
            },
        ),
        (
            "rcu_divisor",
            |o| line(o, limits::DIVISOR.load(Relaxed)),
            |d| {
                limits::DIVISOR.store(int(d, i32::MIN)?, Relaxed);
                Ok(())
            },
        ),
        (
            "rcu_resched_ns",
            |o| line(o, limits::RESCHED_NS.load(Relaxed)),
            |d| {
                limits::RESCHED_NS.store(value(d, i64::MIN, i64::MAX)?, Relaxed);
                Ok(())
            },
        ),
    ];
    for (name, show, store) in others {
        sys.add_file_rw(&try_format!("{DIR}/{name}")?, 0o644, show, store)?;
    }
    Ok(())
}
