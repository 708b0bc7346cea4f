//! Reading clocks, and where those of programs stand beside the executor's.
//!
//! ```text
//!   counter ─► now(): the executor's time, CLOCK_MONOTONIC_RAW ─► timers, scheduling, accounts
//!      └─► × mult (the counter's pace, or adjtimex's) ─► CLOCK_MONOTONIC, BOOTTIME ─► + offset ─► CLOCK_REALTIME ─► + tai ─► CLOCK_TAI
//! ```
//!
//! The lower row is what the vDSO computes from the same numbers, so that a program sees one clock, however it reads it. A time of it
//! that a program waits for is turned into the executor's by [`when`]. Until adjtimex(2) steers them both rows are the same.

use super::ntp::FRACTION;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use vigil_executor::arch::counter;
use vigil_executor::lock_class;
use vigil_executor::sync::SeqLock;
use vigil_executor::time::{Nanos, SEC, conversion, nanos_to_counter, now, ticks_to_nanos};

/// The clocks: see [`Clocks`], whose fields these are.
static CLOCKS: SeqLock<[u64; 5]> = SeqLock::new(lock_class!("wall_clock"), [0; 5]);
/// Whether CLOCK_MONOTONIC was ever steered: it is not the executor's time any more.
static STEERED: AtomicBool = AtomicBool::new(false);
/// How often the wall clock was set: sleepers on CLOCK_REALTIME look again.
static WALL_CHANGES: AtomicU64 = AtomicU64::new(0);
/// How often any clock was set or got another pace: what was computed from it is out of date.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// What CLOCK_*_COARSE advance by on Linux with HZ=250: their resolution. They are no coarser here.
pub const COARSE_RESOLUTION: Nanos = 4_000_000;

/// A second as rates have it.
const SECOND: i128 = (SEC as i128) << FRACTION;
/// Times so far from now are not converted: they are as good as never.
const FAR: Nanos = 1 << 61;

/// Where the clocks stand.
#[derive(Clone, Copy, Default)]
struct Clocks {
    /// A value of the counter.
    counted: u64,
    /// Nanoseconds of CLOCK_MONOTONIC in a tick since, with 32 bits of fraction.
    mult: u64,
    /// CLOCK_MONOTONIC then.
    monotonic: Nanos,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC.
    offset: u64,
    /// CLOCK_TAI minus CLOCK_REALTIME, nanoseconds.
    tai: i64,
}

impl Clocks {
    #[inline]
    fn read() -> Clocks {
        let [counted, mult, monotonic, offset, tai] = CLOCKS.read();
        Clocks { counted, mult, monotonic, offset, tai: tai as i64 }
    }

    /// CLOCK_MONOTONIC when the counter shows `count`.
    #[inline]
    fn at(&self, count: u64) -> Nanos {
        // As the vDSO: another CPU may have changed the clocks just now.
        let ticks = count.saturating_sub(self.counted);
        self.monotonic.wrapping_add(((u128::from(ticks) * u128::from(self.mult)) >> 32) as u64)
    }

    /// The counter's value at which CLOCK_MONOTONIC shows `t`, or what it was at the last change for what was before.
    fn count_at(&self, t: Nanos) -> u64 {
        let since = u128::from(t.saturating_sub(self.monotonic));
        // Rounded up, so that nobody wakes early.
        let ticks = (since << 32).div_ceil(u128::from(self.mult.max(1)));
        self.counted.saturating_add(ticks.min(i64::MAX as u128) as u64)
    }

    /// From the counter's value `count` on a tick is `mult`.
    fn pace(&mut self, count: u64, mult: u64) {
        self.monotonic = self.at(count);
        (self.counted, self.mult) = (count, mult);
    }
}

/// Nanoseconds in a tick by the counter's frequency, as the executor converts it: not a bit different.
fn nominal() -> u64 {
    let (mult, shift, _) = conversion();
    u64::from(mult) << (32 - shift)
}

/// `nominal`, faster by `rate` in each second.
fn faster(nominal: u64, rate: i64) -> u64 {
    let more = (i128::from(nominal) * i128::from(rate) + SECOND / 2).div_euclid(SECOND);
    (i128::from(nominal) + more) as u64
}

/// CLOCK_MONOTONIC, nanoseconds since boot.
#[inline]
pub fn monotonic() -> Nanos {
    if STEERED.load(Acquire) { steered() } else { now() }
}

#[cold]
fn steered() -> Nanos {
    Clocks::read().at(counter())
}

/// The executor's time at which CLOCK_MONOTONIC shows `t`, if its pace stays; what was before its last change is as it was then.
#[inline]
pub fn when(t: Nanos) -> Nanos {
    if STEERED.load(Acquire) { when_steered(t) } else { t }
}

#[cold]
fn when_steered(t: Nanos) -> Nanos {
    if t >= FAR {
        return t;
    }
    ticks_to_nanos(Clocks::read().count_at(t).wrapping_sub(conversion().2))
}

/// The executor's time `span` of CLOCK_MONOTONIC from now.
#[inline]
pub fn after(span: Nanos) -> Nanos {
    if STEERED.load(Acquire) { when_steered(steered().saturating_add(span)) } else { now().saturating_add(span) }
}

/// Whether CLOCK_MONOTONIC may be another than the executor's time.
#[inline]
pub fn is_steered() -> bool {
    STEERED.load(Acquire)
}

/// CLOCK_REALTIME, nanoseconds since 1970.
#[inline]
pub fn realtime() -> Nanos {
    let clocks = Clocks::read();
    clocks.at(counter()).wrapping_add(clocks.offset)
}

/// CLOCK_REALTIME minus CLOCK_MONOTONIC now.
pub fn realtime_offset() -> Nanos {
    Clocks::read().offset
}

/// CLOCK_MONOTONIC at `t` of the executor's time, a moment ago, by the present pace.
pub fn monotonic_at(t: Nanos) -> Nanos {
    if STEERED.load(Acquire) { Clocks::read().at(nanos_to_counter(t)) } else { t }
}

/// CLOCK_REALTIME at `t` of the executor's time, a moment ago, by the present setting.
pub fn realtime_at(t: Nanos) -> Nanos {
    monotonic_at(t).wrapping_add(realtime_offset())
}

/// CLOCK_TAI, nanoseconds since 1970.
pub fn tai() -> Nanos {
    let clocks = Clocks::read();
    clocks.at(counter()).wrapping_add(clocks.offset).wrapping_add(clocks.tai as u64)
}

/// CLOCK_TAI minus CLOCK_REALTIME, nanoseconds.
pub fn tai_offset() -> i64 {
    Clocks::read().tai
}

/// CLOCK_MONOTONIC at which CLOCK_REALTIME shows `t`, by the present setting; 0 for the past before boot.
#[inline]
pub fn realtime_to_monotonic(t: Nanos) -> Nanos {
    t.saturating_sub(Clocks::read().offset)
}

/// How often the wall clock was set.
pub fn wall_changes() -> u64 {
    WALL_CHANGES.load(Acquire)
}

/// How often a clock was set or got another pace.
pub fn changes() -> u64 {
    CHANGES.load(Acquire)
}

/// Sets CLOCK_REALTIME to `t` nanoseconds since 1970. Earlier than the time since boot: `false` (Linux: EINVAL).
pub fn set_realtime(t: Nanos) -> bool {
    if t < monotonic() {
        return false;
    }
    change(|clocks| clocks.offset = t.saturating_sub(clocks.at(counter())));
    WALL_CHANGES.fetch_add(1, Release);
    true
}

/// From now on the clocks gain `rate` in each second ([`FRACTION`] bits of fraction), and CLOCK_TAI is `tai` seconds later; `leap`
/// seconds are left out of CLOCK_REALTIME, or put in when negative.
pub fn steer(rate: i64, tai: i32, leap: i32) {
    let tai = i64::from(tai) * SEC as i64;
    let mult = faster(nominal(), rate);
    let old = Clocks::read();
    if (old.mult, old.tai, leap) == (mult, tai, 0) || (old.mult, rate, tai, leap) == (0, 0, 0, 0) {
        return;
    }
    if old.mult != mult {
        // First, so that who reads the old numbers reads them as they are, not the executor's time.
        STEERED.store(true, Release);
    }
    change(|clocks| {
        if clocks.mult != mult {
            clocks.pace(counter(), mult);
        }
        clocks.offset = clocks.offset.wrapping_add_signed(i64::from(leap) * SEC as i64);
        clocks.tai = tai;
    });
    if leap != 0 || old.tai != tai {
        WALL_CHANGES.fetch_add(1, Release);
    }
}

fn change(f: impl FnOnce(&mut Clocks)) {
    let mut guard = CLOCKS.write();
    let [counted, mult, monotonic, offset, tai] = *guard;
    let mut clocks = Clocks { counted, mult, monotonic, offset, tai: tai as i64 };
    if mult == 0 {
        // The first time: as the executor counts, from its time zero.
        (clocks.counted, clocks.mult) = (conversion().2, nominal());
    }
    f(&mut clocks);
    *guard = [clocks.counted, clocks.mult, clocks.monotonic, clocks.offset, clocks.tai as u64];
    drop(guard);
    CHANGES.fetch_add(1, Release);
    publish();
}

/// CLOCK_REALTIME at boot, in seconds since 1970 (`btime` of /proc/stat).
pub fn boot_time() -> u64 {
    realtime_offset() / SEC
}

/// Publishes the clocks to user space, at boot.
pub fn update_vdso() {
    change(|_| {});
}

fn publish() {
    use crate::mm::vdso;
    let clocks = Clocks::read();
    let realtime = clocks.monotonic.wrapping_add(clocks.offset);
    vdso::update_time(&vdso::VdsoTime {
        cycle_last: clocks.counted,
        mult: clocks.mult,
        realtime,
        monotonic: clocks.monotonic,
        boottime: clocks.monotonic,
        tai: realtime.wrapping_add(clocks.tai as u64),
        coarse_resolution: COARSE_RESOLUTION,
        raw_is_monotonic: !is_steered(),
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
    fn a_steered_clock_is_read_and_awaited_by_the_same_pace() {
        // 62.5 and 54 MHz.
        for nominal in [16 << 32, 79_536_431_407] {
            for rate in [0, 1i64 << FRACTION, 500_000 << FRACTION, -(500_000 << FRACTION), 100_000_000 << FRACTION] {
                let mut clocks = Clocks { counted: 1000, mult: nominal, ..Clocks::default() };
                let even = clocks.at(1_000_001_000);
                clocks.pace(1_000_001_000, faster(nominal, rate));
                // No step at the change.
                assert_eq!(clocks.at(1_000_001_000), even);
                let ticks = ((u128::from(SEC) << 32) / u128::from(nominal)) as u64;
                let gained = clocks.at(1_000_001_000 + ticks) - even;
                assert!((gained as i64 - (SEC as i64 + (rate >> FRACTION))).abs() <= 20, "{nominal} {rate}: {gained}");
                for t in [even, even + 1, even + SEC + 123, even + 100_000 * SEC] {
                    let count = clocks.count_at(t);
                    // Not early, and not a tick late.
                    assert!(clocks.at(count) >= t && (count == clocks.counted || clocks.at(count - 1) < t));
                }
            }
        }
    }

    #[test]
    fn a_clock_of_any_frequency_is_the_executors_until_it_is_steered() {
        for (mult, shift) in [(1u64 << 31, 27), (2_485_513_481, 27), (0xfe50_2ab1, 26)] {
            let clocks = Clocks { counted: 7, mult: mult << (32 - shift), ..Clocks::default() };
            for ticks in [0, 1, 12_345, 1 << 40, (1 << 52) + 3] {
                assert_eq!(u128::from(clocks.at(7 + ticks)), (u128::from(ticks) * u128::from(mult)) >> shift);
            }
        }
    }
}
