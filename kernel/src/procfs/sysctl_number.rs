//! Files of `/proc/sys` that hold one number, or 0 or 1.

use super::sysctl::{line, value};
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vigil_abi::Errno;
use vigil_abi::stat::S_IFREG;
use vigil_fs::vnode::{Node, SeqBuf, StaticDir};
use vigil_fs::{OpResult, Stop};
use vigil_mem::{KArc, unsize};

/// A number in `range`, which is read by `get` and changed by `set`.
struct Number {
    range: RangeInclusive<i64>,
    get: fn() -> i64,
    set: fn(i64),
}

impl Node for Number {
    fn mode(&self) -> u32 {
        S_IFREG | 0o644
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        line(out, (self.get)()).map_err(Stop::Err)
    }

    /// EINVAL: no number, or one out of the range.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        (self.set)(value(data, *self.range.start(), *self.range.end())?);
        Ok(data.len())
    }
}

/// What is on or off.
struct Switch(&'static AtomicBool);

impl Node for Switch {
    fn mode(&self) -> u32 {
        S_IFREG | 0o644
    }

    fn show<'a>(&'a self, out: &mut SeqBuf) -> OpResult<'a, ()> {
        line(out, u8::from(self.0.load(Relaxed))).map_err(Stop::Err)
    }

    /// EINVAL: neither 0 nor 1.
    fn store<'a>(&'a self, data: &[u8]) -> OpResult<'a, usize> {
        self.0.store(value(data, 0, 1)? != 0, Relaxed);
        Ok(data.len())
    }
}

/// Adds a file for a number in `range`, which root may change. ENOMEM.
pub(super) fn add_number(dir: &StaticDir, path: &str, range: RangeInclusive<i64>, get: fn() -> i64, set: fn(i64)) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(Number { range, get, set })? => dyn Node))
}

/// Adds a file for `on`: 0 or 1, which root may change. ENOMEM.
pub(super) fn add_switch(dir: &StaticDir, path: &str, on: &'static AtomicBool) -> Result<(), Errno> {
    dir.add(path, unsize!(KArc, KArc::try_new(Switch(on))? => dyn Node))
}
