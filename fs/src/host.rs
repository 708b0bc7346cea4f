//! What the file systems need of the kernel around them: the wall clock, random bytes, who is calling.
//!
//! The kernel gives one [`Host`] to [`crate::vfs::init`]; before that, and in tests that need no clock, the epoch and
//! zeros are answered.

use crate::vfs::fasync::Band;
use crate::vfs::file::File;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A time of CLOCK_REALTIME, as inodes keep it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time {
    /// Seconds since 1970, negative before it.
    pub sec: i64,
    /// Nanoseconds, 0–999 999 999.
    pub nsec: u32,
}

/// The kernel's side. All functions are called in task context, never block and may be called with spin locks held.
pub trait Host: Sync {
    /// CLOCK_REALTIME_COARSE: what Linux stamps inodes with (current_time).
    fn now(&self) -> Time;
    /// Fills `out` from the kernel's random generator.
    fn random(&self, out: &mut [u8]);
    /// Pages of RAM, for tmpfs's default limits and the size of the dentry cache.
    fn ram_pages(&self) -> u64;
    /// The caller's process id, for `/proc/self`; 0 when no process calls.
    fn current_tgid(&self) -> u32;
    /// The caller's thread id, for `/proc/thread-self`.
    fn current_tid(&self) -> u32;
    /// Sends the signal of `file`, whose descriptor is `fd`, to its owner: it is ready for `band`. With nothing locked.
    fn signal_file(&self, file: &File, fd: i32, band: Band);
}

struct NoHost;

impl Host for NoHost {
    fn now(&self) -> Time {
        Time::default()
    }
    fn random(&self, out: &mut [u8]) {
        out.fill(0);
    }
    fn ram_pages(&self) -> u64 {
        32 << 10
    }
    fn current_tgid(&self) -> u32 {
        0
    }
    fn current_tid(&self) -> u32 {
        0
    }
    fn signal_file(&self, _: &File, _: i32, _: Band) {}
}

/// The address of the `&'static dyn Host` that was set: a thin pointer to a fat one, so that it fits one atomic word.
static HOST: AtomicPtr<&'static dyn Host> = AtomicPtr::new(core::ptr::null_mut());
static NO_HOST: &dyn Host = &NoHost;

/// Sets the kernel's side. `host` is a static that holds the reference.
pub fn set(host: &'static &'static dyn Host) {
    HOST.store(core::ptr::from_ref(host).cast_mut(), Ordering::Release);
}

/// The kernel's side.
#[inline]
pub fn host() -> &'static dyn Host {
    // SAFETY: only addresses of statics are stored.
    match unsafe { HOST.load(Ordering::Acquire).cast_const().as_ref() } {
        Some(host) => *host,
        None => NO_HOST,
    }
}

/// The time to stamp an inode with.
#[inline]
pub fn now() -> Time {
    host().now()
}
