//! debugfs `sched/`: features and times of the scheduling classes (Linux: kernel/sched/debug.c).

use super::format::unsigned_long;
use super::sched_domains::Entry;
use core::fmt::Write;
use vigil_abi::stat::S_IFREG;
use vigil_abi::{Errno, until_nul};
use vigil_executor::class::{Scaling, Tunables};
use vigil_executor::executor;
use vigil_fs::vnode::{Node, SeqBuf};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, unsize};

/// The most that is looked at of what is written to `features`.
const LONGEST: usize = 63;

/// A time in nanoseconds.
struct Time {
    name: &'static str,
    get: fn(&Tunables) -> u64,
    set: fn(&mut Tunables, u64),
}

static TIMES: [Time; 4] = [
    Time { name: "latency_ns", get: |t| t.latency, set: |t, v| t.latency = v },
    Time { name: "min_granularity_ns", get: |t| t.min_granularity, set: |t, v| t.min_granularity = v },
    Time { name: "idle_min_granularity_ns", get: |t| t.idle_min_granularity, set: |t, v| t.idle_min_granularity = v },
    Time { name: "wakeup_granularity_ns", get: |t| t.wakeup_granularity, set: |t, v| t.wakeup_granularity = v },
];

impl Node for &'static Time {
    fn mode(&self) -> u32 {
        S_IFREG | 0o644
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        let _ = writeln!(out, "{}", (self.get)(&executor::tunables()));
        Ok(())
    }

    /// A number of 32 bits, of a longer one the low half (debugfs_create_u32); EINVAL.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let value = low_half(data).map_err(Stop::Err)?;
        executor::tune(|t| (self.set)(t, value.into()));
        Ok(data.len())
    }
}

/// What Linux's files of 32 bits take: of a longer number the low half. EINVAL.
pub(super) fn low_half(data: &[u8]) -> Result<u32, Errno> {
    unsigned_long(data).map(|v| v as u32).ok_or(Errno::EINVAL)
}

/// `features`: what can be switched, off with `NO_` before it.
struct Switches;

impl Node for Switches {
    fn mode(&self) -> u32 {
        S_IFREG | 0o644
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        for (name, on) in executor::tunables().features.iter() {
            let _ = write!(out, "{}{name} ", if on { "" } else { "NO_" });
        }
        out.put(b"\n");
        Ok(())
    }

    /// One word; EINVAL: there is no such feature.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        let data = &data[..data.len().min(LONGEST)];
        let word = core::str::from_utf8(until_nul(data)).ok().map(str::trim_ascii);
        let switched = word.and_then(|word| executor::tunables().features.switched(word));
        let features = switched.ok_or(Stop::Err(Errno::EINVAL))?;
        executor::tune(|t| t.features = features);
        Ok(data.len())
    }
}

/// How times grow with the number of CPUs: 0 not, 1 by its logarithm, 2 by it. EINVAL.
fn set_scaling(data: &[u8]) -> Result<(), Errno> {
    let text = data.get(..15).unwrap_or(data);
    let scaling = match unsigned_long(text).ok_or(Errno::EINVAL)? {
        0 => Scaling::None,
        1 => Scaling::Logarithmic,
        2 => Scaling::Linear,
        _ => return Err(Errno::EINVAL),
    };
    executor::tune(|t| t.scale(scaling));
    Ok(())
}

fn show_scaling(out: &mut SeqBuf) -> Result<(), Errno> {
    super::sysctl::line(out, executor::tunables().scaling as u8)
}

/// Adds the files.
pub(super) fn init() -> Result<(), Errno> {
    let dir = vigil_fs::debug::root()?.subdir("sched")?;
    dir.add("features", unsize!(KArc, KArc::try_new(Switches)? => dyn Node))?;
    for time in &TIMES {
        dir.add(time.name, unsize!(KArc, KArc::try_new(time)? => dyn Node))?;
    }
    dir.add_file("debug", 0o444, super::sched_dump::show)?;
    dir.add("domains", unsize!(KArc, KArc::try_new(Entry::Top)? => dyn Node))?;
    dir.add_file_rw("tunable_scaling", 0o644, show_scaling, set_scaling)?;
    dir.add_file_rw(
        "nr_migrate",
        0o644,
        |out| super::sysctl::line(out, executor::nr_migrate()),
        |data| {
            executor::set_nr_migrate(low_half(data)?);
            Ok(())
        },
    )
}
