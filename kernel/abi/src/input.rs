//! Input devices: events and the ioctls of `/dev/input/eventN` (uapi `linux/input.h`).

use crate::ioctl::{IOC_READ, IOC_WRITE, ioc};

abi_struct! {
    /// `struct input_event`.
    pub struct InputEvent: 24 {
        /// When, in seconds.
        pub sec: i64,
        /// And microseconds.
        pub usec: i64,
        /// `EV_*`.
        pub kind: u16,
        /// Which key or axis.
        pub code: u16,
        /// Its state.
        pub value: i32,
    }
}

abi_struct! {
    /// `struct input_id`.
    pub struct InputId: 8 {
        /// `BUS_*`.
        pub bustype: u16,
        /// Who made it.
        pub vendor: u16,
        /// What it is.
        pub product: u16,
        /// And which.
        pub version: u16,
    }
}

/// The type of its ioctls.
pub const EVIOC: u8 = b'E';

// Of a fixed size.
abi_consts! { u32; unchecked;
    EVIOCGVERSION = ioc(IOC_READ, EVIOC, 0x01, 4), EVIOCGID = ioc(IOC_READ, EVIOC, 0x02, 8), EVIOCGREP = ioc(IOC_READ, EVIOC, 0x03, 8),
    EVIOCSREP = ioc(IOC_WRITE, EVIOC, 0x03, 8), EVIOCRMFF = ioc(IOC_WRITE, EVIOC, 0x81, 4), EVIOCGEFFECTS = ioc(IOC_READ, EVIOC, 0x84, 4),
    EVIOCGRAB = ioc(IOC_WRITE, EVIOC, 0x90, 4), EVIOCREVOKE = ioc(IOC_WRITE, EVIOC, 0x91, 4), EVIOCSCLOCKID = ioc(IOC_WRITE, EVIOC, 0xa0, 4),
    EV_VERSION = 0x01_0001,
}

// Numbers of those whose size is the buffer's.
abi_consts! { u32; unchecked;
    EVIOC_NR_NAME = 0x06, EVIOC_NR_PHYS = 0x07, EVIOC_NR_UNIQ = 0x08, EVIOC_NR_PROP = 0x09, EVIOC_NR_MTSLOTS = 0x0a, EVIOC_NR_KEY = 0x18,
    EVIOC_NR_LED = 0x19, EVIOC_NR_SND = 0x1a, EVIOC_NR_SW = 0x1b, EVIOC_NR_BIT = 0x20, EVIOC_NR_ABS = 0x40,
}

// Kinds of events, and the highest code of each.
abi_consts! { u16; unchecked;
    EV_SYN = 0, EV_KEY = 1, EV_REL = 2, EV_ABS = 3, EV_MSC = 4, EV_SW = 5, EV_LED = 0x11, EV_SND = 0x12, EV_REP = 0x14, EV_FF = 0x15, EV_MAX = 0x1f,
    KEY_MAX = 0x2ff, REL_MAX = 0x0f, ABS_MAX = 0x3f, MSC_MAX = 0x07, SW_MAX = 0x10, LED_MAX = 0x0f, SND_MAX = 0x07, FF_MAX = 0x7f,
    INPUT_PROP_MAX = 0x1f, SYN_REPORT = 0, SYN_DROPPED = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_uapi() {
        let all = [EVIOCGVERSION, EVIOCGID, EVIOCGREP, EVIOCSREP, EVIOCRMFF, EVIOCGEFFECTS, EVIOCGRAB, EVIOCREVOKE, EVIOCSCLOCKID];
        let want = [0x8004_4501, 0x8008_4502, 0x8008_4503, 0x4008_4503, 0x4004_4581, 0x8004_4584, 0x4004_4590, 0x4004_4591, 0x4004_45a0];
        assert_eq!(all, want);
    }
}
