//! Character devices by number (Linux: fs/char_dev.c).

use crate::vfs::inode::Inode;
use crate::vfs::ops::Opened;
use crate::vfs::stat::{major, minor};
use crate::vnode::SeqBuf;
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::KVec;

/// Opens the device behind an inode (whose `rdev` says which) with `O_*` flags.
pub type OpenFn = fn(&Inode, u32) -> Result<Opened, Errno>;

#[derive(Clone, Copy)]
struct Range {
    major: u32,
    first: u32,
    count: u32,
    name: &'static str,
    open: OpenFn,
}

static CLASS: LockClass = LockClass::new("chrdevs");
static RANGES: SpinLock<KVec<Range>> = SpinLock::new(&CLASS, KVec::new());

/// Gives `count` minor numbers from `first` on to `open`. EBUSY if one is taken, EINVAL, ENOMEM.
pub fn register(major: u32, first: u32, count: u32, name: &'static str, open: OpenFn) -> Result<(), Errno> {
    let end = first.checked_add(count).filter(|&end| end <= 1 << 20 && major < 1 << 12 && count > 0).ok_or(Errno::EINVAL)?;
    let mut ranges = RANGES.lock();
    if ranges.iter().any(|range| range.major == major && range.first < end && first < range.first + range.count) {
        return Err(Errno::EBUSY);
    }
    Ok(ranges.try_push(Range { major, first, count, name, open })?)
}

/// Opens the device that `inode` stands for. ENXIO: nobody has that number.
pub fn open(inode: &Inode, flags: u32) -> Result<Opened, Errno> {
    let (major, minor) = (major(inode.rdev), minor(inode.rdev));
    let is_it = |range: &&Range| range.major == major && minor >= range.first && minor - range.first < range.count;
    let open = RANGES.lock().iter().find(is_it).map(|range| range.open).ok_or(Errno::ENXIO)?;
    open(inode, flags)
}

/// The first half of /proc/devices.
pub fn show(out: &mut SeqBuf) {
    out.put(b"Character devices:\n");
    let ranges = RANGES.lock();
    let mut last = None;
    loop {
        // By number, each major once with its first name.
        let next = ranges.iter().filter(|range| last.is_none_or(|last| range.major > last)).min_by_key(|range| range.major);
        let Some(next) = next else { break };
        last = Some(next.major);
        let _ = writeln!(out, "{:3} {}", next.major, next.name);
    }
}
