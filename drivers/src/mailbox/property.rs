//! What the firmware knows: its own version, the board's, memory, clocks, temperature, and whether it throttled the CPU.

use super::property as ask;
use crate::dt::Node;

const FIRMWARE_REVISION: u32 = 0x0000_0001;
const BOARD_REVISION: u32 = 0x0001_0002;
const BOARD_SERIAL: u32 = 0x0001_0004;
const ARM_MEMORY: u32 = 0x0001_0005;
const CLOCK_RATE: u32 = 0x0003_0002;
const TEMPERATURE: u32 = 0x0003_0006;
const THROTTLED: u32 = 0x0003_0046;

/// A clock, by the firmware's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Clock {
    /// The PL011's.
    Uart = 2,
    /// The CPUs'.
    Arm = 3,
    /// The peripherals': the mini UART's speed follows it.
    Core = 4,
}

/// What the firmware says now; 0 or `None` for what it does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// When the firmware was built, in seconds since 1970.
    pub firmware: u32,
    /// The board's revision code.
    pub revision: u32,
    /// The board's serial number.
    pub serial: u64,
    /// Where the ARM's memory begins, and how much there is, in bytes.
    pub memory: (u32, u32),
    /// The CPUs' clock in Hz.
    pub arm_hz: u32,
    /// The peripherals' clock in Hz.
    pub core_hz: u32,
    /// Thousandths of a degree Celsius.
    pub temperature: Option<u32>,
    /// Under-voltage, capped, throttled, soft limit: now in bits 3:0, since the start in bits 19:16.
    pub throttled: Option<u32>,
}

/// The rate of `clock` in Hz; 0: unknown.
pub fn rate(clock: Clock) -> u32 {
    let mut values = [clock as u32, 0];
    if ask(CLOCK_RATE, &mut values).is_ok() { values[1] } else { 0 }
}

fn one(tag: u32) -> Option<u32> {
    let mut values = [0];
    ask(tag, &mut values).ok().map(|_| values[0])
}

fn two(tag: u32) -> Option<[u32; 2]> {
    let mut values = [0; 2];
    ask(tag, &mut values).ok().map(|_| values)
}

/// The SoC's temperature in thousandths of a degree Celsius. As [`facts`].
pub fn temperature() -> Option<u32> {
    two(TEMPERATURE).map(|v| v[1])
}

/// Whether the firmware has seen too low a voltage, capped or throttled the CPUs, or met the soft limit: now in bits 3:0, since the start
/// in bits 19:16. As [`facts`].
pub fn throttled() -> Option<u32> {
    one(THROTTLED)
}

/// Asks for everything; `None` without a mailbox. Polls for a millisecond at most; not for interrupt context.
pub fn facts() -> Option<Facts> {
    let firmware = one(FIRMWARE_REVISION)?;
    let [low, high] = two(BOARD_SERIAL).unwrap_or_default();
    let [base, size] = two(ARM_MEMORY).unwrap_or_default();
    Some(Facts {
        firmware,
        revision: one(BOARD_REVISION).unwrap_or(0),
        serial: u64::from(high) << 32 | u64::from(low),
        memory: (base, size),
        arm_hz: rate(Clock::Arm),
        core_hz: rate(Clock::Core),
        temperature: temperature(),
        throttled: throttled(),
    })
}

/// Says at boot who is there.
pub(super) fn introduce(node: Node<'_>) {
    let Some(f) = facts() else {
        log::warn!("{node}: the firmware does not answer");
        return;
    };
    log::info!("{node}: firmware {}, board revision {:#x}, serial number {:016x}", f.firmware, f.revision, f.serial);
    let mhz = |hz: u32| hz / 1_000_000;
    log::info!("{node}: {} MiB for the ARM, {} MHz, peripherals {} MHz", f.memory.1 >> 20, mhz(f.arm_hz), mhz(f.core_hz));
    if let Some(t) = f.temperature {
        log::info!("{node}: {}.{} degrees, throttled {:#x}", t / 1000, t % 1000 / 100, f.throttled.unwrap_or(0));
    }
}
