//! Time: clocks, timers and their structures.

// Clocks.
abi_consts! { u32; checked general;
    CLOCK_REALTIME = 0, CLOCK_MONOTONIC = 1, CLOCK_PROCESS_CPUTIME_ID = 2, CLOCK_THREAD_CPUTIME_ID = 3,
    CLOCK_MONOTONIC_RAW = 4, CLOCK_REALTIME_COARSE = 5, CLOCK_MONOTONIC_COARSE = 6, CLOCK_BOOTTIME = 7,
    CLOCK_REALTIME_ALARM = 8, CLOCK_BOOTTIME_ALARM = 9, CLOCK_TAI = 11, TIMER_ABSTIME = 1, ITIMER_REAL = 0,
    ITIMER_VIRTUAL = 1, ITIMER_PROF = 2, TFD_TIMER_ABSTIME = 1, TFD_TIMER_CANCEL_ON_SET = 2, TFD_CLOEXEC = 524288,
    TFD_NONBLOCK = 2048, SIGEV_SIGNAL = 0, SIGEV_NONE = 1, SIGEV_THREAD = 2, SIGEV_THREAD_ID = 4,
}

/// Clock ticks per second in `times` and `/proc` (USER_HZ).
pub const USER_HZ: u64 = 100;

abi_struct! {
    /// `struct timespec` (`__kernel_timespec`).
    pub struct Timespec: 16 {
        /// Seconds.
        pub tv_sec: i64,
        /// Nanoseconds, below 1 000 000 000.
        pub tv_nsec: i64,
    }
}
check_layout!(Timespec = linux_raw_sys::general::timespec { tv_sec, tv_nsec });

impl Timespec {
    /// Whether Linux takes it as a point in time or an interval: not negative, nanoseconds below a second
    /// (timespec64_valid).
    pub const fn is_valid(&self) -> bool {
        self.tv_sec >= 0 && self.tv_nsec >= 0 && self.tv_nsec < 1_000_000_000
    }

    /// In nanoseconds, saturating at Linux's KTIME_MAX; 0 for a negative one.
    pub const fn to_nanos(&self) -> u64 {
        if self.tv_sec < 0 {
            return 0;
        }
        let n = (self.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(self.tv_nsec as u64);
        if n > i64::MAX as u64 { i64::MAX as u64 } else { n }
    }

    /// From nanoseconds.
    pub const fn from_nanos(n: u64) -> Timespec {
        Timespec { tv_sec: (n / 1_000_000_000) as i64, tv_nsec: (n % 1_000_000_000) as i64 }
    }
}

abi_struct! {
    /// `struct timeval`.
    pub struct Timeval: 16 {
        /// Seconds.
        pub tv_sec: i64,
        /// Microseconds, below 1 000 000.
        pub tv_usec: i64,
    }
}
check_layout!(Timeval = linux_raw_sys::general::timeval { tv_sec, tv_usec });

impl Timeval {
    /// From nanoseconds, rounded down.
    pub const fn from_nanos(n: u64) -> Timeval {
        Timeval { tv_sec: (n / 1_000_000_000) as i64, tv_usec: (n % 1_000_000_000 / 1_000) as i64 }
    }
}

abi_struct! {
    /// `struct itimerspec`.
    pub struct Itimerspec: 32 {
        /// Period; zero for a single shot.
        pub it_interval: Timespec,
        /// First expiry; zero disarms.
        pub it_value: Timespec,
    }
}
check_layout!(Itimerspec = linux_raw_sys::general::itimerspec { it_interval, it_value });

abi_struct! {
    /// `struct itimerval` of setitimer(2).
    pub struct Itimerval: 32 {
        /// Period; zero for a single shot.
        pub it_interval: Timeval,
        /// First expiry; zero disarms.
        pub it_value: Timeval,
    }
}
check_layout!(Itimerval = linux_raw_sys::general::itimerval { it_interval, it_value });

abi_struct! {
    /// `struct timezone` of gettimeofday(2).
    pub struct Timezone: 8 {
        /// Minutes west of Greenwich.
        pub tz_minuteswest: i32,
        /// Kind of daylight saving.
        pub tz_dsttime: i32,
    }
}
check_layout!(Timezone = linux_raw_sys::general::timezone { tz_minuteswest, tz_dsttime });

abi_struct! {
    /// `struct tms` of times(2), in ticks of USER_HZ.
    pub struct Tms: 32 {
        /// Own time in user mode.
        pub tms_utime: i64,
        /// Own time in the kernel.
        pub tms_stime: i64,
        /// Waited-for children's time in user mode.
        pub tms_cutime: i64,
        /// Waited-for children's time in the kernel.
        pub tms_cstime: i64,
    }
}

abi_struct! {
    /// `struct sigevent` of timer_create(2).
    pub struct Sigevent: 64 {
        /// Goes into si_value.
        pub sigev_value: u64,
        /// Signal.
        pub sigev_signo: i32,
        /// SIGEV_*.
        pub sigev_notify: i32,
        /// Thread, for SIGEV_THREAD_ID.
        pub sigev_notify_thread_id: i32,
        /// Unused.
        pub __pad: [i32; 11],
    }
}
check_layout!(Sigevent = linux_raw_sys::general::sigevent { sigev_value, sigev_signo, sigev_notify });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_saturate() {
        assert_eq!(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }.to_nanos(), i64::MAX as u64);
        assert_eq!(Timespec::from_nanos(1_500_000_001).tv_nsec, 500_000_001);
        assert!(!Timespec { tv_sec: 0, tv_nsec: 1_000_000_000 }.is_valid());
        assert_eq!(Timeval::from_nanos(2_000_001_999).tv_usec, 1);
    }
}
