//! What of the scheduling classes can be switched on and off (Linux: kernel/sched/features.h, debugfs `sched/features`).
//!
//! Only what exists here has a name: a switch that would change nothing is refused like an unknown one.

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features(u32);

/// Names in the order of Linux's list.
const NAMES: [(&str, Features); 14] = [
    ("GENTLE_FAIR_SLEEPERS", Features::GENTLE_FAIR_SLEEPERS),
    ("START_DEBIT", Features::START_DEBIT),
    ("NEXT_BUDDY", Features::NEXT_BUDDY),
    ("LAST_BUDDY", Features::LAST_BUDDY),
    ("WAKEUP_PREEMPTION", Features::WAKEUP_PREEMPTION),
    ("HRTICK", Features::HRTICK),
    ("HRTICK_DL", Features::HRTICK_DL),
    ("WA_IDLE", Features::WA_IDLE),
    ("WA_WEIGHT", Features::WA_WEIGHT),
    ("WA_BIAS", Features::WA_BIAS),
    ("UTIL_EST", Features::UTIL_EST),
    ("UTIL_EST_FASTUP", Features::UTIL_EST_FASTUP),
    ("ALT_PERIOD", Features::ALT_PERIOD),
    ("BASE_SLICE", Features::BASE_SLICE),
];

impl Features {
    /// A sleeper's credit is half a period, not a whole one.
    pub const GENTLE_FAIR_SLEEPERS: Features = Features(1);
    /// A new task waits for the end of the running period.
    pub const START_DEBIT: Features = Features(1 << 1);
    /// Who was woken is preferred although it did not preempt.
    pub const NEXT_BUDDY: Features = Features(1 << 2);
    /// Who was preempted by a wake is preferred when that ends.
    pub const LAST_BUDDY: Features = Features(1 << 3);
    /// Wakes preempt.
    pub const WAKEUP_PREEMPTION: Features = Features(1 << 4);
    /// Fair slices end when they are over; otherwise at the next multiple of [`super::TICK`].
    pub const HRTICK: Features = Features(1 << 5);
    /// The same for budgets of reservations.
    pub const HRTICK_DL: Features = Features(1 << 6);
    /// Slices shrink with the number of tasks of the CPU, not of the group.
    pub const ALT_PERIOD: Features = Features(1 << 7);
    /// Slices are no shorter than the minimum.
    pub const BASE_SLICE: Features = Features(1 << 8);

    /// What a task needs is estimated when it goes to sleep.
    pub const UTIL_EST: Features = Features(1 << 9);
    /// The estimate grows at once.
    pub const UTIL_EST_FASTUP: Features = Features(1 << 10);

    /// Who is woken by a CPU that idles, and was last on one near it that does not, stays with its waker.
    pub const WA_IDLE: Features = Features(1 << 11);
    /// When both are busy, it goes to the one that has less to do.
    pub const WA_WEIGHT: Features = Features(1 << 12);
    /// Its waker's is taken for less busy by half of what domains tolerate.
    pub const WA_BIAS: Features = Features(1 << 13);

    /// Linux's defaults, but for the two that make ends exact: a CPU has no periodic tick here, so they cost nothing.
    pub const DEFAULT: Features = Features::GENTLE_FAIR_SLEEPERS
        .with(Features::START_DEBIT)
        .with(Features::LAST_BUDDY)
        .with(Features::WAKEUP_PREEMPTION)
        .with(Features::HRTICK)
        .with(Features::HRTICK_DL)
        .with(Features::WA_IDLE)
        .with(Features::WA_WEIGHT)
        .with(Features::WA_BIAS)
        .with(Features::UTIL_EST)
        .with(Features::UTIL_EST_FASTUP)
        .with(Features::ALT_PERIOD)
        .with(Features::BASE_SLICE);

    /// These and `other`.
    pub const fn with(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// These without `other`.
    pub const fn without(self, other: Features) -> Features {
        Features(self.0 & !other.0)
    }

    /// Whether all of `other` are on.
    pub const fn has(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// All that there are, with whether they are on.
    pub fn iter(self) -> impl Iterator<Item = (&'static str, bool)> {
        NAMES.into_iter().map(move |(name, feature)| (name, self.has(feature)))
    }

    /// From [`Features::bits`].
    pub(crate) const fn from_bits(bits: u32) -> Features {
        Features(bits)
    }

    /// As a number (`sysctl_sched_features`).
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// With `NAME` on or `NO_NAME` off; `None`: there is no such feature.
    pub fn switched(self, word: &str) -> Option<Features> {
        let (name, on) = word.strip_prefix("NO_").map_or((word, true), |name| (name, false));
        let (_, feature) = NAMES.into_iter().find(|(known, _)| *known == name)?;
        Some(if on { self.with(feature) } else { self.without(feature) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_switch_what_they_name() {
        let off = Features::DEFAULT.switched("NO_HRTICK_DL").unwrap();
        assert!(!off.has(Features::HRTICK_DL) && off.has(Features::HRTICK));
        assert_eq!(off.switched("HRTICK_DL"), Some(Features::DEFAULT));
        assert_eq!([Features::DEFAULT.switched("NO_"), off.switched("hrtick"), off.switched("NO_NO_HRTICK")], [None; 3]);
        assert_eq!(off.iter().filter(|(_, on)| !on).map(|(name, _)| name).collect::<std::vec::Vec<_>>(), ["NEXT_BUDDY", "HRTICK_DL"]);
    }
}
