//! Reading and setting clocks.

use core::sync::atomic::{AtomicU64, Ordering::*};
use vigil_executor::time::{Nanos, SEC, now};

/// CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
static WALL_OFFSET: AtomicU64 = AtomicU64::new(0);
/// How often the wall clock was set: sleepers on CLOCK_REALTIME look again.
static WALL_CHANGES: AtomicU64 = AtomicU64::new(0);

/// What CLOCK_*_COARSE advance by on Linux with HZ=250: their resolution. They are no coarser here.
pub const COARSE_RESOLUTION: Nanos = 4_000_000;

/// CLOCK_REALTIME, nanoseconds since 1970.
#[inline]
pub fn realtime() -> Nanos {
    now().wrapping_add(WALL_OFFSET.load(Relaxed))
}

/// CLOCK_MONOTONIC at which CLOCK_REALTIME shows `t`, by the present setting; 0 for the past before boot.
#[inline]
pub fn realtime_to_monotonic(t: Nanos) -> Nanos {
    t.saturating_sub(WALL_OFFSET.load(Relaxed))
}

/// How often the wall clock was set.
pub fn wall_changes() -> u64 {
    WALL_CHANGES.load(Relaxed)
}

/// Sets CLOCK_REALTIME to `t` nanoseconds since 1970. Earlier than the time since boot: `false` (Linux: EINVAL).
pub fn set_realtime(t: Nanos) -> bool {
    let Some(offset) = t.checked_sub(now()) else { return false };
    WALL_OFFSET.store(offset, Relaxed);
    WALL_CHANGES.fetch_add(1, Relaxed);
    update_vdso();
    true
}

/// CLOCK_REALTIME at boot, in seconds since 1970 (`btime` of /proc/stat).
pub fn boot_time() -> u64 {
    WALL_OFFSET.load(Relaxed) / SEC
}

/// Publishes the clocks to user space. At boot, and when one of them was set.
pub fn update_vdso() {
    use crate::mm::vdso;
    let counter = vigil_executor::arch::counter();
    let (_, _, base) = vigil_executor::time::conversion();
    let monotonic = vigil_executor::time::ticks_to_nanos(counter.wrapping_sub(base));
    let wall = monotonic.wrapping_add(WALL_OFFSET.load(Relaxed));
    vdso::update_time(&vdso::VdsoTime {
        cycle_last: counter,
        mult: vdso::mult_of_frequency(vigil_executor::arch::counter_frequency()),
        realtime: wall,
        monotonic,
        boottime: monotonic,
        tai: wall,
        coarse_resolution: COARSE_RESOLUTION,
        raw_is_monotonic: true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_its_setting() {
        let t = 1_700_000_000 * SEC;
        assert!(set_realtime(t));
        let read = realtime();
        assert!(read >= t && read < t + 10 * SEC);
        assert!(realtime_to_monotonic(t + 5) <= now() + 5);
    }
}
