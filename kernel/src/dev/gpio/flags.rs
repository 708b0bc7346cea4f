//! What a program's flags mean, and which are refused, in Linux's order.

use vigil_abi::Errno;
use vigil_abi::gpio::*;
use vigil_drivers::gpio::{Bias, Drive, Edges, Settings};

/// How a line is to be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    /// Direction and all else; direction counts if `directed`.
    pub(super) settings: Settings,
    /// Input or output was asked for; else the pin is left as it is.
    pub(super) directed: bool,
    /// What an output begins with.
    pub(super) active: bool,
}

/// At most one resistor, by the flags for none, up and down.
fn bias_of(flags: u64, [off, up, down]: [u64; 3]) -> Result<Option<Bias>, Errno> {
    match (flags & off != 0, flags & up != 0, flags & down != 0) {
        (false, false, false) => Ok(None),
        (true, false, false) => Ok(Some(Bias::Disable)),
        (false, true, false) => Ok(Some(Bias::PullUp)),
        (false, false, true) => Ok(Some(Bias::PullDown)),
        _ => Err(Errno::EINVAL),
    }
}

/// How an output is driven.
fn drive_of(flags: u64, [drain, source]: [u64; 2], output: bool) -> Result<Drive, Errno> {
    match (flags & drain != 0, flags & source != 0) {
        (false, false) => Ok(Drive::PushPull),
        (true, true) => Err(Errno::EINVAL),
        _ if !output => Err(Errno::EINVAL),
        (true, _) => Ok(Drive::OpenDrain),
        _ => Ok(Drive::OpenSource),
    }
}

/// What the flags of a handle's request say (version 1). EINVAL.
pub(super) fn of_handle(flags: u32, active: bool) -> Result<Wish, Errno> {
    const ALL: u32 = 0xff;
    let (input, output) = (flags & GPIOHANDLE_REQUEST_INPUT != 0, flags & GPIOHANDLE_REQUEST_OUTPUT != 0);
    if flags & !ALL != 0 || input && output {
        return Err(Errno::EINVAL);
    }
    let drive = drive_of(flags.into(), [GPIOHANDLE_REQUEST_OPEN_DRAIN, GPIOHANDLE_REQUEST_OPEN_SOURCE].map(u64::from), output)?;
    let resistors = [GPIOHANDLE_REQUEST_BIAS_DISABLE, GPIOHANDLE_REQUEST_BIAS_PULL_UP, GPIOHANDLE_REQUEST_BIAS_PULL_DOWN];
    let bias = bias_of(flags.into(), resistors.map(u64::from))?;
    if bias.is_some() && !input && !output {
        return Err(Errno::EINVAL);
    }
    let settings = Settings { output, active_low: flags & GPIOHANDLE_REQUEST_ACTIVE_LOW != 0, drive, bias, ..Settings::default() };
    Ok(Wish { settings, directed: input || output, active })
}

/// What the flags of a line event's request say (version 1). EINVAL.
pub(super) fn of_event(flags: u32, edges: u32) -> Result<Wish, Errno> {
    const OUTPUTS: u32 = GPIOHANDLE_REQUEST_OUTPUT | GPIOHANDLE_REQUEST_OPEN_DRAIN | GPIOHANDLE_REQUEST_OPEN_SOURCE;
    if flags & OUTPUTS != 0 || edges & !(GPIOEVENT_REQUEST_RISING_EDGE | GPIOEVENT_REQUEST_FALLING_EDGE) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut wish = of_handle(flags | GPIOHANDLE_REQUEST_INPUT, false)?;
    wish.settings.edges = Edges::from_bits_truncate(edges as u8);
    Ok(wish)
}

/// What flags of version 2 say. EINVAL.
fn of_v2(flags: u64, active: bool) -> Result<Wish, Errno> {
    const ALL: u64 = 0xfff & !GPIO_V2_LINE_FLAG_USED;
    let (input, output) = (flags & GPIO_V2_LINE_FLAG_INPUT != 0, flags & GPIO_V2_LINE_FLAG_OUTPUT != 0);
    let edges = flags & (GPIO_V2_LINE_FLAG_EDGE_RISING | GPIO_V2_LINE_FLAG_EDGE_FALLING);
    if flags & !ALL != 0 || input && output || edges != 0 && !input {
        return Err(Errno::EINVAL);
    }
    let drive = drive_of(flags, [GPIO_V2_LINE_FLAG_OPEN_DRAIN, GPIO_V2_LINE_FLAG_OPEN_SOURCE], output)?;
    let bias = bias_of(flags, [GPIO_V2_LINE_FLAG_BIAS_DISABLED, GPIO_V2_LINE_FLAG_BIAS_PULL_UP, GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN])?;
    if bias.is_some() && !input && !output {
        return Err(Errno::EINVAL);
    }
    let settings = Settings {
        output,
        active_low: flags & GPIO_V2_LINE_FLAG_ACTIVE_LOW != 0,
        drive,
        bias,
        edges: Edges::from_bits_truncate((edges >> 4) as u8),
        realtime: flags & GPIO_V2_LINE_FLAG_EVENT_CLOCK_REALTIME != 0,
        debounce_us: 0,
    };
    Ok(Wish { settings, directed: input || output, active })
}

/// The first attribute `id` that is for line `index` of the request.
fn attribute(config: &GpioV2LineConfig, id: u32, index: usize) -> Option<(u64, u64)> {
    let known = config.attrs.iter().take(config.num_attrs as usize);
    known
        .map(|a| (a.attr.id, a.attr.value, a.mask))
        .find(|&(i, _, mask)| i == id && mask >> index & 1 != 0)
        .map(|(_, value, mask)| (value, mask))
}

/// How line `index` of a request of version 2 is to be used. EINVAL.
pub(super) fn of_config(config: &GpioV2LineConfig, index: usize) -> Result<Wish, Errno> {
    let flags = attribute(config, GPIO_V2_LINE_ATTR_ID_FLAGS, index).map_or(config.flags, |(value, _)| value);
    let active = attribute(config, GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, index).is_some_and(|(value, _)| value >> index & 1 != 0);
    let mut wish = of_v2(flags, active)?;
    if let Some((period, _)) = attribute(config, GPIO_V2_LINE_ATTR_ID_DEBOUNCE, index) {
        if wish.settings.output || !wish.directed {
            return Err(Errno::EINVAL);
        }
        wish.settings.debounce_us = period as u32;
    }
    Ok(wish)
}

/// Whether a configuration can be one at all, for `lines` lines. EINVAL.
pub(super) fn check_config(config: &GpioV2LineConfig, lines: usize) -> Result<(), Errno> {
    if config.num_attrs as usize > GPIO_ATTRS_MAX || config.padding.iter().any(|&p| p != 0) {
        return Err(Errno::EINVAL);
    }
    (0..lines).try_for_each(|index| of_config(config, index).map(|_| ()))
}

/// A line's flags, version 1.
pub(super) fn to_v1(used: bool, s: &Settings) -> u32 {
    let bias = match s.bias {
        None => 0,
        Some(Bias::Disable) => GPIOLINE_FLAG_BIAS_DISABLE,
        Some(Bias::PullUp) => GPIOLINE_FLAG_BIAS_PULL_UP,
        Some(Bias::PullDown) => GPIOLINE_FLAG_BIAS_PULL_DOWN,
    };
    // An output that is left to a resistor is told as an output alone.
    let drive = match s.drive {
        Drive::PushPull => 0,
        Drive::OpenDrain => GPIOLINE_FLAG_OPEN_DRAIN | GPIOLINE_FLAG_IS_OUT,
        Drive::OpenSource => GPIOLINE_FLAG_OPEN_SOURCE | GPIOLINE_FLAG_IS_OUT,
    };
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    flag(used, GPIOLINE_FLAG_KERNEL) | flag(s.output, GPIOLINE_FLAG_IS_OUT) | flag(s.active_low, GPIOLINE_FLAG_ACTIVE_LOW) | bias | drive
}

/// A line's flags, version 2.
pub(super) fn to_v2(used: bool, s: &Settings) -> u64 {
    let bias = match s.bias {
        None => 0,
        Some(Bias::Disable) => GPIO_V2_LINE_FLAG_BIAS_DISABLED,
        Some(Bias::PullUp) => GPIO_V2_LINE_FLAG_BIAS_PULL_UP,
        Some(Bias::PullDown) => GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN,
    };
    let drive = match s.drive {
        Drive::PushPull => 0,
        Drive::OpenDrain => GPIO_V2_LINE_FLAG_OPEN_DRAIN,
        Drive::OpenSource => GPIO_V2_LINE_FLAG_OPEN_SOURCE,
    };
    let flag = |on: bool, flag: u64| if on { flag } else { 0 };
    flag(used, GPIO_V2_LINE_FLAG_USED)
        | flag(s.active_low, GPIO_V2_LINE_FLAG_ACTIVE_LOW)
        | if s.output { GPIO_V2_LINE_FLAG_OUTPUT } else { GPIO_V2_LINE_FLAG_INPUT }
        | u64::from(s.edges.bits()) << 4
        | flag(s.realtime, GPIO_V2_LINE_FLAG_EVENT_CLOCK_REALTIME)
        | bias
        | drive
}
