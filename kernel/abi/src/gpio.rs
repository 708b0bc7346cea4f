//! Pins: the structures and ioctls of `/dev/gpiochipN` (uapi `linux/gpio.h`), both versions.

use crate::ioctl::{IOC_READ, IOC_WRITE, ioc};

/// The longest names, with their zero.
pub const GPIO_MAX_NAME_SIZE: usize = 32;
/// Lines of one request.
pub const GPIO_LINES_MAX: usize = 64;
/// Attributes of one configuration.
pub const GPIO_ATTRS_MAX: usize = 10;

abi_struct! {
    /// `struct gpiochip_info`.
    pub struct GpiochipInfo: 68 {
        /// `gpiochipN`.
        pub name: [u8; 32],
        /// What the chip is.
        pub label: [u8; 32],
        /// How many lines it has.
        pub lines: u32,
    }
}

abi_struct! {
    /// `struct gpioline_info`.
    pub struct GpiolineInfo: 72 {
        /// Which line.
        pub line_offset: u32,
        /// `GPIOLINE_FLAG_*`.
        pub flags: u32,
        /// What the board calls it.
        pub name: [u8; 32],
        /// Who has it.
        pub consumer: [u8; 32],
    }
}

abi_struct! {
    /// `struct gpiohandle_request`.
    pub struct GpiohandleRequest: 364 {
        /// Which lines.
        pub lineoffsets: [u32; 64],
        /// `GPIOHANDLE_REQUEST_*`.
        pub flags: u32,
        /// What outputs begin with.
        pub default_values: [u8; 64],
        /// Who wants them.
        pub consumer_label: [u8; 32],
        /// How many.
        pub lines: u32,
        /// The answer: a descriptor.
        pub fd: i32,
    }
}

abi_struct! {
    /// `struct gpiohandle_config`.
    pub struct GpiohandleConfig: 84 {
        /// `GPIOHANDLE_REQUEST_*`.
        pub flags: u32,
        /// What outputs begin with.
        pub default_values: [u8; 64],
        /// Zero.
        pub padding: [u32; 4],
    }
}

abi_struct! {
    /// `struct gpiohandle_data`.
    pub struct GpiohandleData: 64 {
        /// A value for each line.
        pub values: [u8; 64],
    }
}

abi_struct! {
    /// `struct gpioevent_request`.
    pub struct GpioeventRequest: 48 {
        /// Which line.
        pub lineoffset: u32,
        /// `GPIOHANDLE_REQUEST_*`.
        pub handleflags: u32,
        /// `GPIOEVENT_REQUEST_*`.
        pub eventflags: u32,
        /// Who wants it.
        pub consumer_label: [u8; 32],
        /// The answer: a descriptor.
        pub fd: i32,
    }
}

abi_struct! {
    /// `struct gpioevent_data`.
    pub struct GpioeventData: 16 {
        /// CLOCK_MONOTONIC, in nanoseconds.
        pub timestamp: u64,
        /// `GPIOEVENT_EVENT_*`.
        pub id: u32,
        /// Zero.
        pub __pad: u32,
    }
}

abi_struct! {
    /// `struct gpio_v2_line_attribute`.
    pub struct GpioV2LineAttribute: 16 {
        /// `GPIO_V2_LINE_ATTR_ID_*`.
        pub id: u32,
        /// Zero.
        pub padding: u32,
        /// Flags, values, or microseconds in its low half.
        pub value: u64,
    }
}

abi_struct! {
    /// `struct gpio_v2_line_config_attribute`.
    pub struct GpioV2LineConfigAttribute: 24 {
        /// What.
        pub attr: GpioV2LineAttribute,
        /// For which lines of the request, a bit each.
        pub mask: u64,
    }
}

abi_struct! {
    /// `struct gpio_v2_line_config`.
    pub struct GpioV2LineConfig: 272 {
        /// `GPIO_V2_LINE_FLAG_*` of all lines.
        pub flags: u64,
        /// How many attributes count.
        pub num_attrs: u32,
        /// Zero.
        pub padding: [u32; 5],
        /// What differs for some.
        pub attrs: [GpioV2LineConfigAttribute; 10],
    }
}

abi_struct! {
    /// `struct gpio_v2_line_request`.
    pub struct GpioV2LineRequest: 592 {
        /// Which lines.
        pub offsets: [u32; 64],
        /// Who wants them.
        pub consumer: [u8; 32],
        /// How.
        pub config: GpioV2LineConfig,
        /// How many.
        pub num_lines: u32,
        /// How many events are kept; 0: sixteen a line.
        pub event_buffer_size: u32,
        /// Zero.
        pub padding: [u32; 5],
        /// The answer: a descriptor.
        pub fd: i32,
    }
}

abi_struct! {
    /// `struct gpio_v2_line_info`.
    pub struct GpioV2LineInfo: 256 {
        /// What the board calls it.
        pub name: [u8; 32],
        /// Who has it.
        pub consumer: [u8; 32],
        /// Which line.
        pub offset: u32,
        /// How many attributes count.
        pub num_attrs: u32,
        /// `GPIO_V2_LINE_FLAG_*`.
        pub flags: u64,
        /// What the flags do not say.
        pub attrs: [GpioV2LineAttribute; 10],
        /// Zero.
        pub padding: [u32; 4],
    }
}

abi_struct! {
    /// `struct gpio_v2_line_event`.
    pub struct GpioV2LineEvent: 48 {
        /// In nanoseconds of the clock that was asked for.
        pub timestamp_ns: u64,
        /// `GPIOEVENT_EVENT_*`.
        pub id: u32,
        /// Which line.
        pub offset: u32,
        /// Counts the request's events.
        pub seqno: u32,
        /// Counts the line's.
        pub line_seqno: u32,
        /// Zero.
        pub padding: [u32; 6],
    }
}

abi_struct! {
    /// `struct gpio_v2_line_values`.
    pub struct GpioV2LineValues: 16 {
        /// A bit for each line of the request: active.
        pub bits: u64,
        /// Which count.
        pub mask: u64,
    }
}

// Ioctls.
abi_consts! { u32; unchecked;
    GPIO_GET_CHIPINFO_IOCTL = ioc(IOC_READ, 0xb4, 0x01, 68), GPIO_GET_LINEINFO_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x02, 72),
    GPIO_GET_LINEHANDLE_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x03, 364), GPIO_GET_LINEEVENT_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x04, 48),
    GPIO_V2_GET_LINEINFO_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x05, 256), GPIO_V2_GET_LINE_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x07, 592),
    GPIOHANDLE_GET_LINE_VALUES_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x08, 64),
    GPIOHANDLE_SET_LINE_VALUES_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x09, 64), GPIOHANDLE_SET_CONFIG_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x0a, 84),
    GPIO_V2_LINE_SET_CONFIG_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x0d, 272), GPIO_V2_LINE_GET_VALUES_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x0e, 16),
    GPIO_V2_LINE_SET_VALUES_IOCTL = ioc(IOC_READ | IOC_WRITE, 0xb4, 0x0f, 16),
}

// Version 1.
abi_consts! { u32; unchecked;
    GPIOLINE_FLAG_KERNEL = 1, GPIOLINE_FLAG_IS_OUT = 2, GPIOLINE_FLAG_ACTIVE_LOW = 4, GPIOLINE_FLAG_OPEN_DRAIN = 8, GPIOLINE_FLAG_OPEN_SOURCE = 0x10,
    GPIOLINE_FLAG_BIAS_PULL_UP = 0x20, GPIOLINE_FLAG_BIAS_PULL_DOWN = 0x40, GPIOLINE_FLAG_BIAS_DISABLE = 0x80,
    GPIOHANDLE_REQUEST_INPUT = 1, GPIOHANDLE_REQUEST_OUTPUT = 2, GPIOHANDLE_REQUEST_ACTIVE_LOW = 4, GPIOHANDLE_REQUEST_OPEN_DRAIN = 8,
    GPIOHANDLE_REQUEST_OPEN_SOURCE = 0x10, GPIOHANDLE_REQUEST_BIAS_PULL_UP = 0x20, GPIOHANDLE_REQUEST_BIAS_PULL_DOWN = 0x40,
    GPIOHANDLE_REQUEST_BIAS_DISABLE = 0x80, GPIOEVENT_REQUEST_RISING_EDGE = 1, GPIOEVENT_REQUEST_FALLING_EDGE = 2,
    GPIOEVENT_EVENT_RISING_EDGE = 1, GPIOEVENT_EVENT_FALLING_EDGE = 2,
}

// Version 2.
abi_consts! { u64; unchecked;
    GPIO_V2_LINE_FLAG_USED = 1, GPIO_V2_LINE_FLAG_ACTIVE_LOW = 2, GPIO_V2_LINE_FLAG_INPUT = 4, GPIO_V2_LINE_FLAG_OUTPUT = 8,
    GPIO_V2_LINE_FLAG_EDGE_RISING = 0x10, GPIO_V2_LINE_FLAG_EDGE_FALLING = 0x20, GPIO_V2_LINE_FLAG_OPEN_DRAIN = 0x40,
    GPIO_V2_LINE_FLAG_OPEN_SOURCE = 0x80, GPIO_V2_LINE_FLAG_BIAS_PULL_UP = 0x100, GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN = 0x200,
    GPIO_V2_LINE_FLAG_BIAS_DISABLED = 0x400, GPIO_V2_LINE_FLAG_EVENT_CLOCK_REALTIME = 0x800,
}

// Attributes.
abi_consts! { u32; unchecked;
    GPIO_V2_LINE_ATTR_ID_FLAGS = 1, GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES = 2, GPIO_V2_LINE_ATTR_ID_DEBOUNCE = 3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_uapi() {
        let one = [
            GPIO_GET_CHIPINFO_IOCTL, GPIO_GET_LINEINFO_IOCTL, GPIO_GET_LINEHANDLE_IOCTL, GPIO_GET_LINEEVENT_IOCTL,
            GPIOHANDLE_SET_CONFIG_IOCTL,
        ];
        assert_eq!(one, [0x8044_b401, 0xc048_b402, 0xc16c_b403, 0xc030_b404, 0xc054_b40a]);
        let two = [GPIO_V2_GET_LINEINFO_IOCTL, GPIO_V2_GET_LINE_IOCTL, GPIO_V2_LINE_SET_CONFIG_IOCTL, GPIO_V2_LINE_GET_VALUES_IOCTL];
        assert_eq!(two, [0xc100_b405, 0xc250_b407, 0xc110_b40d, 0xc010_b40e]);
    }
}
