//! What a Raspberry Pi's firmware measures: `/sys/class/thermal/thermal_zone0` (Linux: bcm2835_thermal, of which the firmware's figure
//! is the same sensor's), its twin in `/sys/class/hwmon`, and whether the voltage was too low (Linux: raspberrypi-hwmon). For who measures there are also
//! all flags of throttling, where the Raspberry Pi's own Linux has them, and the counter beside the system timer since the start.

use super::sysfs::{link, text};
use core::fmt::Write;
use vigil_abi::Errno;
use vigil_drivers::{mailbox, systimer};
use vigil_fs::proc::sys_root;
use vigil_fs::vnode::SeqBuf;

/// Under-voltage, since the start: what Linux's driver reports, until it has looked.
const LOW_VOLTAGE: u32 = 1 << 16;

fn show_temperature(out: &mut SeqBuf) -> Result<(), Errno> {
    let thousandths = mailbox::temperature().ok_or(Errno::EIO)?;
    writeln!(out, "{thousandths}").map_err(|_| Errno::ENOMEM)
}

fn show_low_voltage(out: &mut SeqBuf) -> Result<(), Errno> {
    let flags = mailbox::throttled().ok_or(Errno::EIO)?;
    writeln!(out, "{}", u32::from(flags & LOW_VOLTAGE != 0)).map_err(|_| Errno::ENOMEM)
}

fn show_throttled(out: &mut SeqBuf) -> Result<(), Errno> {
    writeln!(out, "{:x}", mailbox::throttled().ok_or(Errno::EIO)?).map_err(|_| Errno::ENOMEM)
}

fn show_counter(out: &mut SeqBuf) -> Result<(), Errno> {
    // A millisecond has not passed yet.
    let (ppm, micros) = systimer::calibration().ok_or(Errno::EAGAIN)?;
    writeln!(out, "{ppm:+} ppm beside the system timer, over {} ms", micros / 1000).map_err(|_| Errno::ENOMEM)
}

/// Makes the files, if there is firmware that answers.
pub(super) fn init() -> Result<(), Errno> {
    let sys = sys_root()?;
    if mailbox::temperature().is_some() {
        let zone = sys.subdir("devices/virtual/thermal/thermal_zone0")?;
        text(&zone, "type", format_args!("cpu-thermal\n"))?;
        zone.add_file("temp", 0o444, show_temperature)?;
        link(&zone, "subsystem", format_args!("../../../../class/thermal"))?;
        link(&sys, "class/thermal/thermal_zone0", format_args!("../../devices/virtual/thermal/thermal_zone0"))?;
        let twin = zone.subdir("hwmon0")?;
        text(&twin, "name", format_args!("cpu_thermal\n"))?;
        twin.add_file("temp1_input", 0o444, show_temperature)?;
        link(&twin, "subsystem", format_args!("../../../../../class/hwmon"))?;
        link(&sys, "class/hwmon/hwmon0", format_args!("../../devices/virtual/thermal/thermal_zone0/hwmon0"))?;
    }
    if mailbox::throttled().is_some() {
        let volt = sys.subdir("devices/platform/soc/soc:firmware/raspberrypi-hwmon/hwmon/hwmon1")?;
        text(&volt, "name", format_args!("rpi_volt\n"))?;
        volt.add_file("in0_lcrit_alarm", 0o444, show_low_voltage)?;
        link(&volt, "subsystem", format_args!("../../../../../../../class/hwmon"))?;
        let firmware = sys.subdir("devices/platform/soc/soc:firmware")?;
        firmware.add_file("get_throttled", 0o444, show_throttled)?;
        firmware.add_file("counter_error", 0o444, show_counter)?;
        link(&sys, "class/hwmon/hwmon1", format_args!("../../devices/platform/soc/soc:firmware/raspberrypi-hwmon/hwmon/hwmon1"))?;
    }
    Ok(())
}
