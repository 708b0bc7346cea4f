//! The real-time clock's device file: `<linux/rtc.h>`.

// Requests of ioctl(2).
abi_consts! { u32; checked ioctl;
    RTC_AIE_ON = 0x7001, RTC_AIE_OFF = 0x7002, RTC_UIE_ON = 0x7003, RTC_UIE_OFF = 0x7004, RTC_PIE_ON = 0x7005,
    RTC_PIE_OFF = 0x7006, RTC_ALM_SET = 0x40247007, RTC_ALM_READ = 0x80247008, RTC_RD_TIME = 0x80247009,
    RTC_SET_TIME = 0x4024700a, RTC_IRQP_READ = 0x8008700b, RTC_IRQP_SET = 0x4008700c, RTC_EPOCH_SET = 0x4008700e,
    RTC_WKALM_SET = 0x4028700f, RTC_WKALM_RD = 0x80287010,
}

// What linux-raw-sys does not have: parameters, and the bits of what a read gives.
abi_consts! { u32; unchecked;
    RTC_PARAM_GET = 0x40187013, RTC_PARAM_SET = 0x40187014, RTC_PARAM_FEATURES = 0, RTC_PARAM_CORRECTION = 1,
    RTC_IRQF = 0x80, RTC_PF = 0x40, RTC_AF = 0x20, RTC_UF = 0x10, RTC_FEATURE_ALARM = 0, RTC_FEATURE_UPDATE_INTERRUPT = 4,
}

abi_struct! {
    /// `struct rtc_time`: a date, UTC or local time, as who sets the clock has it.
    pub struct RtcTime: 36 {
        /// 0 to 59.
        pub tm_sec: i32,
        /// 0 to 59.
        pub tm_min: i32,
        /// 0 to 23.
        pub tm_hour: i32,
        /// 1 to 31.
        pub tm_mday: i32,
        /// 0 to 11.
        pub tm_mon: i32,
        /// Since 1900.
        pub tm_year: i32,
        /// 0: Sunday.
        pub tm_wday: i32,
        /// Of the year; Linux 6.1 counts from 1.
        pub tm_yday: i32,
        /// Not used.
        pub tm_isdst: i32,
    }
}

abi_struct! {
    /// `struct rtc_wkalrm`: an alarm with its date.
    pub struct RtcWkalrm: 40 {
        /// Whether it will be told of.
        pub enabled: u8,
        /// Whether it has come and nobody was told.
        pub pending: u8,
        /// Not used.
        pub pad: [u8; 2],
        /// When.
        pub time: RtcTime,
    }
}

abi_struct! {
    /// `struct rtc_param`.
    pub struct RtcParam: 24 {
        /// RTC_PARAM_*.
        pub param: u64,
        /// Its value.
        pub value: u64,
        /// Which, of several.
        pub index: u32,
        /// Not used.
        pub pad: u32,
    }
}
