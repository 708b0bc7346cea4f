//! Nice levels, load weights and the fixed-point arithmetic of CFS (Linux 6.1: `sched_prio_to_weight`, `__calc_delta`).

use crate::time::Nanos;

/// The weight of nice 0.
pub const NICE_0_WEIGHT: u32 = 1024;

/// A weight with its inverse, 2^32 / weight, so that dividing by it is a multiplication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadWeight {
    /// The weight; 1024 at nice 0, a factor of about 1.25 for each level.
    pub weight: u32,
    /// 2^32 / weight.
    pub inverse: u32,
}

/// The weight of SCHED_IDLE.
pub const IDLE: LoadWeight = LoadWeight { weight: 3, inverse: 1_431_655_765 };

/// Nice -20 to 19. The values are Linux's interface: shares that users measure follow from them.
const WEIGHTS: [u32; 40] = [
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277, 1024,
    820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
];

/// 2^32 / weight with Linux's rounding, which is up in some places and down in others.
const INVERSES: [u32; 40] = [
    48388, 59856, 76040, 92818, 118348, 147320, 184698, 229616, 287308, 360437, 449829, 563644, 704093, 875809, 1099582, 1376151, 1717300,
    2157191, 2708050, 3363326, 4194304, 5237765, 6557202, 8165337, 10153587, 12820798, 15790321, 19976592, 24970740, 31350126, 39045157,
    49367440, 61356676, 76695844, 95443717, 119304647, 148102320, 186737708, 238609294, 286331153,
];

/// The weight of a nice level; values outside -20..=19 count as the nearest.
pub const fn of_nice(nice: i8) -> LoadWeight {
    let i = if nice < -20 {
        0
    } else if nice > 19 {
        39
    } else {
        (nice + 20) as usize
    };
    LoadWeight { weight: WEIGHTS[i], inverse: INVERSES[i] }
}

/// `delta * weight / total`, where `inverse` is 2^32 / total, rounded as Linux's `__calc_delta` rounds.
#[inline(always)]
pub const fn calc_delta(delta: Nanos, weight: u32, inverse: u32) -> Nanos {
    let mut factor = weight as u64 * inverse as u64;
    let mut shift = 32;
    // Only 32 bits of the factor are kept: its low bits go when it is larger.
    let high = (factor >> 32) as u32;
    if high != 0 {
        let lost = 32 - high.leading_zeros();
        shift -= lost;
        factor >>= lost;
    }
    ((delta as u128 * factor as u128) >> shift) as u64
}

/// Real time to virtual time for a weight: `delta * 1024 / weight` (Linux: `calc_delta_fair`).
#[inline(always)]
pub const fn calc_delta_fair(delta: Nanos, w: LoadWeight) -> Nanos {
    if w.weight == NICE_0_WEIGHT { delta } else { calc_delta(delta, NICE_0_WEIGHT, w.inverse) }
}

/// 2^32 / `total` for a sum of weights (Linux: `__update_inv_weight`).
#[inline(always)]
pub const fn inverse_of(total: u64) -> u32 {
    if total == 0 {
        u32::MAX
    } else if total >= u32::MAX as u64 {
        1
    } else {
        u32::MAX / total as u32
    }
}

/// Virtual time to real time for a weight, rounded up: after this long the virtual clock has moved by `virt` or more,
/// within the rounding of [`calc_delta_fair`].
#[inline]
pub const fn real_of_virtual(virt: u64, weight: u32) -> Nanos {
    let real = (virt as u128 * weight as u128).div_ceil(NICE_0_WEIGHT as u128);
    if real > u64::MAX as u128 { u64::MAX } else { real as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_levels_have_linuxs_weights() {
        for (nice, weight) in [(-20, 88761), (0, 1024), (1, 820), (5, 335), (10, 110), (19, 15)] {
            assert_eq!(of_nice(nice).weight, weight, "nice {nice}");
        }
        assert_eq!(of_nice(-100), of_nice(-20));
        assert_eq!(of_nice(100), of_nice(19));
    }

    #[test]
    fn inverses_belong_to_their_weights() {
        for nice in -20..=19 {
            let w = of_nice(nice);
            let exact = (1u64 << 32) / w.weight as u64;
            assert!((w.inverse as u64).abs_diff(exact) <= 1, "nice {nice}");
        }
        assert_eq!(IDLE.inverse as u64, (1u64 << 32) / 3);
    }

    #[test]
    fn virtual_time_runs_by_weight() {
        assert_eq!(calc_delta_fair(1_000_000, of_nice(0)), 1_000_000);
        // 1 ms at nice 19 is 1024/15 ms of virtual time.
        let v = calc_delta_fair(1_000_000, of_nice(19));
        assert!(v.abs_diff(1_000_000 * 1024 / 15) <= 1_000, "{v}");
        let v = calc_delta_fair(1_000_000, of_nice(-20));
        assert!(v.abs_diff(1_000_000 * 1024 / 88761) <= 10, "{v}");
        // Large spans do not overflow.
        assert!(calc_delta_fair(u64::MAX / 1024, IDLE) > 0);
    }

    #[test]
    fn a_slice_is_the_share_of_the_period() {
        // Two nice-0 entities share 6 ms; Linux's rounding loses a few nanoseconds.
        let slice = calc_delta(6_000_000, 1024, inverse_of(2048));
        assert!((2_999_990..=3_000_000).contains(&slice), "{slice}");
    }

    #[test]
    fn real_of_virtual_is_not_too_short() {
        for nice in -20..=19 {
            let w = of_nice(nice);
            for v in [0, 1, 999, 1_000_000, 51_234_567] {
                let real = real_of_virtual(v, w.weight);
                let back = calc_delta_fair(real, w);
                assert!(back + back / 1_000_000 + 2 >= v, "nice {nice}: {v} -> {real} -> {back}");
            }
        }
    }
}
