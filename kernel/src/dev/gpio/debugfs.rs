//! `/sys/kernel/debug/gpio`: the lines that somebody has or that have a name, with their levels (Linux: gpiolib_seq_show).

use core::fmt::{self, Write};
use vigil_abi::Errno;
use vigil_drivers::gpio::{Controller, controllers};

/// The number that Linux has for the first line of the first chip there is no more; chips get theirs downwards from here.
const END: u32 = 512;

fn show_line(out: &mut dyn Write, pins: &Controller, line: u32, number: u32) -> fmt::Result {
    let name = pins.name(line);
    let irq = pins.irq(line).is_some();
    let state = pins.with(line, |state| {
        let mut user = [0; vigil_drivers::gpio::controller::NAME_MAX + 1];
        let length = state.user().map(|name| {
            user.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
            name.len()
        });
        (length.map(|n| (user, n)), state.settings)
    });
    match state {
        Ok((Some((user, length)), settings)) => {
            let user = core::str::from_utf8(&user[..length]).unwrap_or("?");
            let direction = if pins.chip.is_output(line) { "out" } else { "in " };
            let level = if pins.chip.get(line) { "hi" } else { "lo" };
            let (irq, low) = (if irq { "IRQ " } else { "" }, if settings.active_low { "ACTIVE LOW" } else { "" });
            writeln!(out, " gpio-{number:<3} ({name:<20.20}|{user:<20.20}) {direction} {level} {irq}{low}")
        }
        _ if !name.is_empty() => writeln!(out, " gpio-{number:<3} ({name:<20.20})"),
        _ => Ok(()),
    }
}

fn show(out: &mut dyn Write) -> fmt::Result {
    let mut first = END;
    for pins in controllers() {
        let lines = pins.chip.lines();
        first -= lines;
        let (n, parent, label) = (pins.number, pins.parent, pins.chip.label());
        let before = if n == 0 { "" } else { "\n" };
        writeln!(out, "{before}gpiochip{n}: GPIOs {first}-{}, parent: {}/{parent}, {label}:", first + lines - 1, pins.bus)?;
        (0..lines).try_for_each(|line| show_line(out, pins, line, first + line))?;
    }
    Ok(())
}

/// Adds the file, if there are pins.
pub(super) fn init() -> Result<(), Errno> {
    if controllers().next().is_none() {
        return Ok(());
    }
    vigil_fs::debug::root()?.add_file("gpio", 0o444, |out| show(out).map_err(|_| Errno::ENOMEM))
}
