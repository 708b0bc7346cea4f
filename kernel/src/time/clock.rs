//! Reading clocks, and where the wall clock stands beside CLOCK_MONOTONIC.

use super::ntp::FRACTION;
use core::sync::atomic::{AtomicU64, Ordering::*};
use vigil_executor::lock_class;
use vigil_executor::sync::SeqLock;
use vigil_executor::time::{Nanos, SEC, now};

/// The wall clock, by CLOCK_MONOTONIC: see [`Wall`], whose fields these are.
static WALL: SeqLock<[i64; 4]> = SeqLock::new(lock_class!("wall_clock"), [0; 4]);
/// How often the wall clock was set: sleepers on CLOCK_REALTIME look again.
static WALL_CHANGES: AtomicU64 = AtomicU64::new(0);

/// What CLOCK_*_COARSE advance by on Linux with HZ=250: their resolution. They are no coarser here.
pub const COARSE_RESOLUTION: Nanos = 4_000_000;

/// Where CLOCK_REALTIME stands.
#[derive(Clone, Copy)]
struct Wall {
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC at `since`, nanoseconds.
    offset: i64,
    /// A time of CLOCK_MONOTONIC.
    since: i64,
    /// What it gains in a second, nanoseconds with [`FRACTION`] bits of fraction.
    rate: i64,
    /// CLOCK_TAI minus CLOCK_REALTIME, nanoseconds.
    tai: i64,
}

/// A second as rates have it.
const SECOND: i128 = (SEC as i128) << FRACTION;

impl Wall {
    #[inline]
    fn read() -> Wall {
        let [offset, since, rate, tai] = WALL.read();
        Wall { offset, since, rate, tai }
    }

    /// CLOCK_REALTIME at `t` of CLOCK_MONOTONIC.
    #[inline]
    fn at(&self, t: Nanos) -> Nanos {
        let even = t.wrapping_add(self.offset as u64);
        if self.rate == 0 { even } else { even.wrapping_add(self.gained(t)) }
    }

    #[cold]
    fn gained(&self, t: Nanos) -> u64 {
        (i128::from(t as i64 - self.since) * i128::from(self.rate)).div_euclid(SECOND) as u64
    }

    /// CLOCK_MONOTONIC at which it shows `t`; 0 for what was before boot.
    fn when(&self, t: Nanos) -> Nanos {
        let even = i128::from(t) - i128::from(self.offset);
        if self.rate == 0 {
            return even.max(0) as Nanos;
        }
        let (after, since) = (even - i128::from(self.since), i128::from(self.since));
        // Rounded up, so that nobody wakes early. Beyond 2^62 ns the product would not fit.
        let after = after.min(1 << 62);
        let paced = (after * (SECOND >> 16) + (SECOND >> 16) - 1).div_euclid((SECOND + i128::from(self.rate)) >> 16);
        (paced + since).clamp(0, i128::from(i64::MAX)) as Nanos
    }
}

/// CLOCK_REALTIME, nanoseconds since 1970.
#[inline]
pub fn realtime() -> Nanos {
    Wall::read().at(now())
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC now.
pub fn realtime_offset() -> Nanos {
    let t = now();
    Wall::read().at(t).wrapping_sub(t)
}

/// CLOCK_TAI, nanoseconds since 1970.
pub fn tai() -> Nanos {
    let wall = Wall::read();
    wall.at(now()).wrapping_add(wall.tai as u64)
}

/// CLOCK_TAI minus CLOCK_REALTIME, nanoseconds.
pub fn tai_offset() -> i64 {
    Wall::read().tai
}

/// CLOCK_MONOTONIC at which CLOCK_REALTIME shows `t`, by the present setting; 0 for the past before boot.
#[inline]
pub fn realtime_to_monotonic(t: Nanos) -> Nanos {
    Wall::read().when(t)
}

/// How often the wall clock was set.
pub fn wall_changes() -> u64 {
    WALL_CHANGES.load(Acquire)
}

/// Sets CLOCK_REALTIME to `t` nanoseconds since 1970. Earlier than the time since boot: `false` (Linux: EINVAL).
pub fn set_realtime(t: Nanos) -> bool {
    let now = now();
    let Some(offset) = t.checked_sub(now) else { return false };
    change(|wall| (wall.offset, wall.since) = (offset as i64, now as i64));
    WALL_CHANGES.fetch_add(1, Release);
    true
}

/// From now on the wall clock gains `rate` in each second ([`FRACTION`] bits of fraction), and CLOCK_TAI is `tai` seconds later; `leap`
/// seconds are left out, or put in when negative.
pub fn steer(rate: i64, tai: i32, leap: i32) {
    let tai = i64::from(tai) * SEC as i64;
    let old = Wall::read();
    if (old.rate, old.tai, leap) == (rate, tai, 0) {
        return;
    }
    change(|wall| {
        let now = now();
        wall.offset = wall.at(now).wrapping_sub(now) as i64 + i64::from(leap) * SEC as i64;
        (wall.since, wall.rate, wall.tai) = (now as i64, rate, tai);
    });
    if leap != 0 || old.tai != tai {
        WALL_CHANGES.fetch_add(1, Release);
    }
}

fn change(f: impl FnOnce(&mut Wall)) {
    let mut guard = WALL.write();
    let [offset, since, rate, tai] = *guard;
    let mut wall = Wall { offset, since, rate, tai };
    f(&mut wall);
    *guard = [wall.offset, wall.since, wall.rate, wall.tai];
    drop(guard);
    update_vdso();
}

/// CLOCK_REALTIME at boot, in seconds since 1970 (`btime` of /proc/stat).
pub fn boot_time() -> u64 {
    Wall::read().offset as u64 / SEC
}

/// Publishes the clocks to user space. At boot, and when one of them was changed.
pub fn update_vdso() {
    use crate::mm::vdso;
    let counter = vigil_executor::arch::counter();
    let (_, _, base) = vigil_executor::time::conversion();
    let monotonic = vigil_executor::time::ticks_to_nanos(counter.wrapping_sub(base));
    let wall = Wall::read();
    let realtime = wall.at(monotonic);
    vdso::update_time(&vdso::VdsoTime {
        cycle_last: counter,
        mult: vdso::mult_of_frequency(vigil_executor::arch::counter_frequency()),
        realtime,
        monotonic,
        boottime: monotonic,
        tai: realtime.wrapping_add(wall.tai as u64),
        coarse_resolution: COARSE_RESOLUTION,
        wall_is_even: wall.rate == 0,
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

    #[test]
    fn a_slewed_clock_is_read_and_awaited_by_the_same_rate() {
        for rate in [1i64 << FRACTION, 500_000 << FRACTION, -(500_000 << FRACTION), 100_000_000 << FRACTION] {
            let wall = Wall { offset: 1_700_000_000 * SEC as i64, since: 5 * SEC as i64, rate, tai: 0 };
            let gained = wall.at(6 * SEC) - wall.at(5 * SEC);
            assert_eq!(gained as i64, SEC as i64 + (rate >> FRACTION));
            for t in [5 * SEC, 5 * SEC + 1, 7 * SEC + 123, 100_000 * SEC] {
                let when = wall.when(wall.at(t));
                assert!(when.abs_diff(t) <= t / 1_000_000 + 2, "{rate}: {t} {when}");
                assert!(wall.at(when) >= wall.at(t).saturating_sub(1));
            }
        }
    }
}
