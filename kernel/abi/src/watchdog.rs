//! Watchdog devices: `<linux/watchdog.h>`.

// Requests of ioctl(2).
abi_consts! { u32; checked ioctl;
    WDIOC_GETSUPPORT = 0x8028_5700, WDIOC_GETSTATUS = 0x8004_5701, WDIOC_GETBOOTSTATUS = 0x8004_5702,
    WDIOC_SETOPTIONS = 0x8004_5704, WDIOC_KEEPALIVE = 0x8004_5705, WDIOC_SETTIMEOUT = 0xc004_5706, WDIOC_GETTIMEOUT = 0x8004_5707,
    WDIOC_SETPRETIMEOUT = 0xc004_5708, WDIOC_GETPRETIMEOUT = 0x8004_5709, WDIOC_GETTIMELEFT = 0x8004_570a,
}

// What linux-raw-sys does not have: what a watchdog can do and has seen, and WDIOC_SETOPTIONS' argument.
abi_consts! { u32; unchecked;
    WDIOF_SETTIMEOUT = 0x80, WDIOF_MAGICCLOSE = 0x100, WDIOF_KEEPALIVEPING = 0x8000, WDIOS_DISABLECARD = 1, WDIOS_ENABLECARD = 2,
}

abi_struct! {
    /// `struct watchdog_info`.
    pub struct WatchdogInfo: 40 {
        /// `WDIOF_*`.
        pub options: u32,
        /// 0.
        pub firmware_version: u32,
        /// Its name, with zeros behind it.
        pub identity: [u8; 32],
    }
}
