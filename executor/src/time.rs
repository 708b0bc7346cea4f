//! Instants and spans of the monotonic clock, in nanoseconds.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Nanoseconds: a point of CLOCK_MONOTONIC or a length of time, in 1 ns, 64 bits (584 years).
pub type Nanos = u64;

/// Nanoseconds in a millisecond.
pub const MSEC: Nanos = 1_000_000;
/// Nanoseconds in a microsecond.
pub const USEC: Nanos = 1_000;
/// Nanoseconds in a second.
pub const SEC: Nanos = 1_000_000_000;

/// The conversion between the counter and nanoseconds: together, as most readers want several of them.
struct Clock {
    /// The counter's value that is time zero.
    base: AtomicU64,
    /// Counter ticks to nanoseconds: `((ticks << LEAD) * SCALE) >> 64`. That is exactly `(ticks * mult) >> shift`
    /// (Linux's clocksource mult/shift) in one multiplication: `SCALE` is `mult << 32` and `LEAD` is `32 - shift`.
    scale: AtomicU64,
    lead: AtomicU32,
    /// log2 of the counter ticks in a coarse tick.
    coarse_shift: AtomicU32,
    /// Nanoseconds to counter ticks: `(nanos * INVERSE) >> 64`, at most one too small within [`INVERSE_RANGE`].
    inverse: AtomicU64,
}

static CLOCK: Clock = Clock {
    base: AtomicU64::new(0),
    // A tick is a nanosecond until `init`.
    scale: AtomicU64::new(1 << 63),
    lead: AtomicU32::new(1),
    coarse_shift: AtomicU32::new(0),
    inverse: AtomicU64::new(0),
};

/// Beyond so many nanoseconds (52 days) a deadline is converted by division.
const INVERSE_RANGE: Nanos = 1 << 52;

/// Fixes the conversion for a counter of `hz`, and time zero at counter value `base`. Called once, by the boot CPU.
pub fn init(hz: u64, base: u64) {
    // The largest shift for which `mult` stays in 32 bits keeps the most precision.
    let mut shift = 32;
    let mut mult = (SEC as u128) << shift;
    mult /= hz.max(1) as u128;
    while mult > u32::MAX as u128 {
        mult >>= 1;
        shift -= 1;
    }
    // A counter of a whole number of nanoseconds a tick (62.5 MHz: 16) loses nothing.
    CLOCK.scale.store((mult as u64) << 32, Relaxed);
    CLOCK.lead.store(32 - shift, Relaxed);
    // ticks per nanosecond, times 2^64. A counter as fast as a nanosecond, or faster, has no such factor below 2^64.
    CLOCK.inverse.store(if shift == 0 || mult <= 1 << shift { 0 } else { ((1u128 << (64 + shift)) / mult) as u64 }, Relaxed);
    CLOCK.base.store(base, Relaxed);
    CLOCK.coarse_shift.store((hz / 250).max(1).ilog2(), Relaxed);
}

/// The number of the present coarse tick, a span of 2 to 4 ms (Linux's tick at HZ=250, in which its coarse clock stands
/// still); never 0. Cheaper than [`now`].
#[inline]
pub fn coarse_tick() -> u64 {
    crate::arch::counter_unordered() >> (CLOCK.coarse_shift.load(Relaxed) & 63) | 1 << 63
}

/// The factor, shift and base of the conversion, for the vDSO's copy.
pub fn conversion() -> (u32, u32, u64) {
    ((CLOCK.scale.load(Relaxed) >> 32) as u32, 32 - CLOCK.lead.load(Relaxed), CLOCK.base.load(Relaxed))
}

/// Nanoseconds to counter ticks: the factor and shift by which events of the comparator are converted; 0 when they are divided.
pub fn inverse_conversion() -> (u64, u32) {
    let inverse = CLOCK.inverse.load(Relaxed);
    let spare = inverse.trailing_zeros().min(63);
    (inverse >> spare, 64 - spare)
}

/// CLOCK_MONOTONIC now. Any context, no lock.
#[inline]
pub fn now() -> Nanos {
    ticks_to_nanos(crate::arch::counter().wrapping_sub(CLOCK.base.load(Relaxed)))
}

/// The same, but the read may be done earlier or later than what stands around it, by what the CPU has in flight.
#[inline(always)]
pub(crate) fn now_unordered() -> Nanos {
    ticks_to_nanos(crate::arch::counter_unordered().wrapping_sub(CLOCK.base.load(Relaxed)))
}

/// Converts a count of counter ticks to nanoseconds.
#[inline]
pub fn ticks_to_nanos(ticks: u64) -> Nanos {
    // The shift loses nothing for as long as a run lasts: at 62.5 MHz it is by 5.
    ((u128::from(ticks.wrapping_shl(CLOCK.lead.load(Relaxed))) * u128::from(CLOCK.scale.load(Relaxed))) >> 64) as u64
}

/// Converts a point of CLOCK_MONOTONIC to the counter value at which it is reached, rounded up.
#[inline]
pub fn nanos_to_counter(t: Nanos) -> u64 {
    let inverse = CLOCK.inverse.load(Relaxed);
    if inverse == 0 || t >= INVERSE_RANGE {
        return nanos_to_counter_slow(t);
    }
    // Every event of the comparator comes through here: no division.
    let mut ticks = ((t as u128 * inverse as u128) >> 64) as u64;
    while ticks_to_nanos(ticks) < t {
        ticks = ticks.wrapping_add(1);
    }
    CLOCK.base.load(Relaxed).saturating_add(ticks)
}

#[cold]
fn nanos_to_counter_slow(t: Nanos) -> u64 {
    let (mult, shift, _) = conversion();
    let mult = u128::from(mult.max(1));
    let ticks = ((t as u128) << shift).div_ceil(mult);
    CLOCK.base.load(Relaxed).saturating_add(ticks.min(i64::MAX as u128) as u64).min(i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_is_exact_for_62_5_mhz() {
        init(62_500_000, 1000);
        assert_eq!(ticks_to_nanos(1), 16);
        assert_eq!(ticks_to_nanos(62_500_000 * 1000), 1000 * SEC);
        assert_eq!(nanos_to_counter(16), 1001);
        assert_eq!(nanos_to_counter(17), 1002);
        init(SEC, 0);
        assert_eq!(ticks_to_nanos(5), 5);
        // The one multiplication is the vDSO's `mult` and `shift`, to the last bit.
        for hz in [62_500_000, 19_200_000, 54_000_000, 24_000_000, 1_000_000, SEC] {
            init(hz, 7);
            let (mult, shift, _) = conversion();
            for ticks in [0, 1, 2, 3, 1_000_003, 1 << 40, (1 << 52) + 12_345] {
                assert_eq!(u128::from(ticks_to_nanos(ticks)), (u128::from(ticks) * u128::from(mult)) >> shift, "{ticks} at {hz} Hz");
            }
        }
        // The short way answers as the long one: the counter's first value at which the time is reached.
        for hz in [62_500_000, 19_200_000, 54_000_000, 24_000_000, SEC] {
            init(hz, 7);
            for t in [0, 1, 15, 16, 17, 999_999, SEC, SEC + 1, 86_400 * SEC + 3, INVERSE_RANGE - 1, INVERSE_RANGE] {
                let at = nanos_to_counter(t);
                assert_eq!(at, nanos_to_counter_slow(t), "{t} ns at {hz} Hz");
                assert!(ticks_to_nanos(at - 7) >= t);
            }
        }
    }
}
