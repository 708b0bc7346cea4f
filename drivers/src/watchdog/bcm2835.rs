//! The power manager of a Raspberry Pi (BCM2835, also 2711 and 2712): its watchdog resets the machine, and the partition
//! number that the boot code finds afterwards says whether to boot again or to halt.

use super::{PM, Watchdog, WatchdogChip};
use crate::dt::Node;
use crate::model::{Driver, Mmio, ioremap};
use vigil_abi::Errno;
use vigil_executor::arch::{counter, counter_frequency};
use vigil_mem::PhysAddr;

/// Reset control.
const RSTC: usize = 0x1c;
/// Reset status: kept over a reset.
const RSTS: usize = 0x20;
/// The watchdog's count, in 1/65536 s.
const WDOG: usize = 0x24;
/// Every write has this in its upper byte.
const PASSWORD: u32 = 0x5a00_0000;
const RSTC_CONFIG_MASK: u32 = 0x30;
/// What stops the watchdog.
const RSTC_RESET: u32 = 0x102;
/// The count has twenty bits.
const WDOG_MASK: u32 = 0xf_ffff;
const TICKS_PER_SECOND: u32 = 1 << 16;
const RSTC_FULL_RESET: u32 = 0x20;
/// Partition 63, scattered over the even bits: the boot code halts.
const RSTS_HALT: u32 = 0x555;
/// Long enough for the writes to arrive, short for a user.
const TICKS: u32 = 10;

/// The driver of the power manager.
pub static BCM2835_PM_DRIVER: Driver = Driver {
    name: "bcm2835-wdt",
    compatible: &["brcm,bcm2835-pm", "brcm,bcm2835-pm-wdt", "brcm,bcm2711-pm", "brcm,bcm2712-pm"],
    priority: 10,
    probe,
};

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let chip = PowerManager(io);
    if chip.is_running() {
        // What the firmware has started nobody would feed.
        chip.stop();
    }
    PM.call_once(|| Watchdog::new(chip));
    log::info!("{node}: Broadcom BCM2835 watchdog timer");
    Ok(())
}

/// The registers.
pub struct PowerManager(Mmio);

impl PowerManager {
    fn is_running(&self) -> bool {
        self.0.read32(RSTC) & RSTC_CONFIG_MASK == RSTC_FULL_RESET
    }
}

impl WatchdogChip for PowerManager {
    fn identity(&self) -> &'static str {
        "Broadcom BCM2835 Watchdog timer"
    }

    fn longest(&self) -> u32 {
        WDOG_MASK / TICKS_PER_SECOND
    }

    fn start(&self, seconds: u32) {
        start(&self.0, seconds.saturating_mul(TICKS_PER_SECOND) & WDOG_MASK);
    }

    fn stop(&self) {
        self.0.write32(RSTC, PASSWORD | RSTC_RESET);
    }

    fn time_left(&self) -> u32 {
        (self.0.read32(WDOG) & WDOG_MASK) / TICKS_PER_SECOND
    }
}

pub(super) fn restart(PowerManager(io): &PowerManager) {
    start(io, TICKS);
    // A full reset comes 150 µs after the start; nothing may be done meanwhile.
    let from = counter();
    while counter().wrapping_sub(from) < counter_frequency() / 100 {
        core::hint::spin_loop();
    }
}

fn start(io: &Mmio, ticks: u32) {
    io.write32(WDOG, PASSWORD | ticks);
    let control = io.read32(RSTC) & !(PASSWORD | 0xff00_0000 | RSTC_CONFIG_MASK);
    io.write32(RSTC, PASSWORD | control | RSTC_FULL_RESET);
}

pub(super) fn power_off(chip: &PowerManager) {
    let io = &chip.0;
    let status = io.read32(RSTS) & 0x00ff_ffff;
    io.write32(RSTS, PASSWORD | status | RSTS_HALT);
    restart(chip);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FakeDevice;
    use std::sync::Mutex;
    use std::vec::Vec;

    struct Registers(Mutex<Vec<(usize, u64)>>);

    impl FakeDevice for Registers {
        fn read(&self, offset: usize, _: usize) -> u64 {
            match offset {
                RSTC => 0x102,
                WDOG => 0xa_8000,
                _ => 0x1000,
            }
        }

        fn write(&self, offset: usize, _: usize, value: u64) {
            self.0.lock().unwrap().push((offset, value));
        }
    }

    #[test]
    fn a_reset_is_armed_with_the_password_and_a_halt_marks_the_partition() {
        let registers = std::boxed::Box::leak(std::boxed::Box::new(Registers(Mutex::new(Vec::new()))));
        let io = Mmio::fake(registers, 0x114);
        start(&io, TICKS);
        assert_eq!(*registers.0.lock().unwrap(), [(WDOG, 0x5a00_000a), (RSTC, 0x5a00_0122)]);
        registers.0.lock().unwrap().clear();
        power_off(&PowerManager(io));
        assert_eq!(registers.0.lock().unwrap()[0], (RSTS, 0x5a00_1555));
    }

    #[test]
    fn seconds_are_counted_in_twenty_bits() {
        let registers = std::boxed::Box::leak(std::boxed::Box::new(Registers(Mutex::new(Vec::new()))));
        let chip = PowerManager(Mmio::fake(registers, 0x114));
        assert_eq!((chip.longest(), chip.time_left(), chip.is_running()), (15, 10, false));
        chip.start(15);
        chip.stop();
        assert_eq!(*registers.0.lock().unwrap(), [(WDOG, 0x5a0f_0000), (RSTC, 0x5a00_0122), (RSTC, 0x5a00_0102)]);
    }
}
