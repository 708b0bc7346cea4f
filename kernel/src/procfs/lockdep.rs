//! `/proc/{lockdep,lockdep_stats,lock_stat}`: what the lock checker knows. In builds with the checker only, as on Linux.
//!
//! Differences from Linux: chains are not kept, so there is no `lockdep_chains`; `lock_stat` counts a change of CPU from one lock of
//! a class to the next, not of one lock, and names no places.

use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::sync::lockdep::stat::{self, Times};
use vigil_executor::sync::lockdep::{MAX_CLASSES, for_each_class, totals};
use vigil_fs::proc::{add_file, add_file_rw};
use vigil_fs::vnode::SeqBuf;

pub(super) fn init() -> Result<(), Errno> {
    add_file("lockdep", 0o400, classes)?;
    add_file("lockdep_stats", 0o444, stats)?;
    add_file_rw("lock_stat", 0o600, lock_stat, clear)
}

fn classes(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"all lock classes:\n");
    for_each_class(|class| {
        let usage = core::str::from_utf8(&class.usage).unwrap_or("????");
        let _ = writeln!(out, "{:016x} FD:{:5} BD:{:5} {usage}: {}", class.address, class.after, class.before, class.name);
        class.for_each_after(|name, address| _ = writeln!(out, " -> [{address:016x}] {name}"));
        out.put(b"\n");
    });
    Ok(())
}

fn stats(out: &mut SeqBuf) -> Result<(), Errno> {
    let totals = totals();
    let (mut indirect, mut most) = (0, 0);
    for_each_class(|class| {
        indirect += class.after;
        most = most.max(class.after);
    });
    let [in_hardirq, hardirqs_on, in_softirq, softirqs_on] = totals.uses;
    let mut line = |what: &str, n: usize| _ = writeln!(out, " {:<38}{n:11}", format_args!("{what}:"));
    line("lock-classes", totals.classes);
    line("direct dependencies", totals.direct);
    line("indirect dependencies", indirect);
    line("hardirq-safe locks", in_hardirq);
    line("hardirq-unsafe locks", hardirqs_on);
    line("softirq-safe locks", in_softirq);
    line("softirq-unsafe locks", softirqs_on);
    line("max locking depth", vigil_executor::context::MAX_HELD);
    line("max lock classes", MAX_CLASSES - 1);
    line("max forward dependencies", most);
    line("debug_locks", 1);
    Ok(())
}

/// Microseconds with two decimals.
struct Micros(u64);

impl core::fmt::Display for Micros {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (whole, cents) = (self.0 / 1000, self.0 % 1000 / 10);
        let digits = whole.checked_ilog10().unwrap_or(0) as usize + 4;
        write!(f, "{:pad$}{whole}.{cents:02}", "", pad = 14usize.saturating_sub(digits))
    }
}

fn put_times(out: &mut SeqBuf, times: &Times) {
    let average = times.total.checked_div(times.count).unwrap_or(0);
    let _ = write!(out, " {:14} {:14}", times.bounces, times.count);
    for time in [times.min, times.max, times.total, average] {
        let _ = write!(out, " {}", Micros(time));
    }
}

fn lock_stat(out: &mut SeqBuf) -> Result<(), Errno> {
    out.put(b"lock_stat version 0.4\n");
    let _ = write!(out, "{:>40}", "class name");
    for column in [
        "con-bounces", "contentions", "waittime-min", "waittime-max", "waittime-total", "waittime-avg", "acq-bounces", "acquisitions",
        "holdtime-min", "holdtime-max", "holdtime-total", "holdtime-avg",
    ] {
        let _ = write!(out, " {column:>14}");
    }
    out.put(b"\n\n");
    stat::for_each(|class| {
        let shared = class.readers.1.count != 0;
        for ((waits, holds), suffix) in [(&class.writers, if shared { "-W" } else { "" }), (&class.readers, "-R")] {
            if holds.count != 0 {
                let name = class.name.len() + suffix.len();
                let _ = write!(out, "{:pad$}{}{suffix}:", "", class.name, pad = 39usize.saturating_sub(name));
                put_times(out, waits);
                put_times(out, holds);
                out.put(b"\n");
            }
        }
    });
    Ok(())
}

/// `0` forgets what was counted (Linux: lock_stat_write).
fn clear(text: &[u8]) -> Result<(), Errno> {
    if text.first() == Some(&b'0') {
        stat::clear();
    }
    Ok(())
}
