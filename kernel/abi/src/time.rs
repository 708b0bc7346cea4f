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

    /// Whether Linux sets a clock to it: valid, and thirty years of running before the last nanosecond that it can tell
    /// (timespec64_valid_settod).
    pub const fn can_be_set(&self) -> bool {
        self.is_valid() && self.tv_sec < i64::MAX / 1_000_000_000 - 30 * 365 * 86_400
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

// adjtimex(2): modes, status bits and states.
abi_consts! { u32; unchecked;
    ADJ_OFFSET = 1, ADJ_FREQUENCY = 2, ADJ_MAXERROR = 4, ADJ_ESTERROR = 8, ADJ_STATUS = 0x10, ADJ_TIMECONST = 0x20,
    ADJ_TAI = 0x80, ADJ_SETOFFSET = 0x100, ADJ_MICRO = 0x1000, ADJ_NANO = 0x2000, ADJ_TICK = 0x4000, ADJ_ADJTIME = 0x8000,
    ADJ_OFFSET_SINGLESHOT = 0x8001, ADJ_OFFSET_SS_READ = 0xa001,
}
abi_consts! { i32; unchecked;
    STA_PLL = 1, STA_PPSFREQ = 2, STA_PPSTIME = 4, STA_FLL = 8, STA_INS = 0x10, STA_DEL = 0x20, STA_UNSYNC = 0x40,
    STA_FREQHOLD = 0x80, STA_PPSSIGNAL = 0x100, STA_PPSJITTER = 0x200, STA_PPSWANDER = 0x400, STA_PPSERROR = 0x800,
    STA_CLOCKERR = 0x1000, STA_NANO = 0x2000, STA_MODE = 0x4000, STA_CLK = 0x8000, STA_RONLY = 0xff00,
    TIME_OK = 0, TIME_INS = 1, TIME_DEL = 2, TIME_OOP = 3, TIME_WAIT = 4, TIME_ERROR = 5,
}

abi_struct! {
    /// `struct timex` of adjtimex(2).
    pub struct Timex: 208 {
        /// What to set: ADJ_*.
        pub modes: u32,
        /// Not used.
        pub pad0: i32,
        /// Microseconds, or nanoseconds with STA_NANO.
        pub offset: i64,
        /// Parts in a million with 16 bits of fraction.
        pub freq: i64,
        /// Microseconds.
        pub maxerror: i64,
        /// Microseconds.
        pub esterror: i64,
        /// STA_*.
        pub status: i32,
        /// Not used.
        pub pad1: i32,
        /// The loop's time constant; with ADJ_TAI the offset of TAI.
        pub constant: i64,
        /// Microseconds.
        pub precision: i64,
        /// As `freq`.
        pub tolerance: i64,
        /// The time; `tv_usec` holds nanoseconds with STA_NANO.
        pub time: Timeval,
        /// Microseconds of a tick.
        pub tick: i64,
        /// Of pulses per second, which do not exist: 0, to the last of them.
        pub ppsfreq: i64,
        /// 0.
        pub jitter: i64,
        /// 0.
        pub shift: i32,
        /// Not used.
        pub pad2: i32,
        /// 0.
        pub stabil: i64,
        /// 0.
        pub jitcnt: i64,
        /// 0.
        pub calcnt: i64,
        /// 0.
        pub errcnt: i64,
        /// 0.
        pub stbcnt: i64,
        /// CLOCK_TAI minus CLOCK_REALTIME, seconds.
        pub tai: i32,
        /// Not used.
        pub pad3: [i32; 11],
    }
}
