//! The system timer of a Raspberry Pi: a counter of microseconds that no clock change slows down, beside which the generic
//! counter is looked at. A Raspberry Pi 4's loses ticks when the ARM's clock is low (raspberrypi/linux issue 6016).

use crate::dt::Node;
use crate::model::{Driver, Mmio, ioremap};
use vigil_abi::Errno;
use vigil_executor::arch::{counter, counter_frequency};
use vigil_mem::PhysAddr;

/// The lower and the upper word of the count.
const CLO: usize = 0x04;
const CHI: usize = 0x08;
const MICROS: u64 = 1_000_000;

/// The driver.
pub static DRIVER: Driver = Driver { name: "bcm2835-system-timer", compatible: &["brcm,bcm2835-system-timer"], priority: 10, probe };

/// Both counters at one moment.
#[derive(Clone, Copy)]
struct Sample {
    micros: u64,
    ticks: u64,
}

struct SystemTimer {
    io: Mmio,
    first: Sample,
}

static TIMER: spin::Once<SystemTimer> = spin::Once::new();

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    TIMER.call_once(|| SystemTimer { io, first: sample(&io) });
    Ok(())
}

/// Reads both when the microsecond changes, so that neither is off by a part of one. Bounded.
fn sample(io: &Mmio) -> Sample {
    let before = io.read32(CLO);
    for _ in 0..10_000 {
        if io.read32(CLO) != before {
            break;
        }
    }
    let ticks = counter();
    loop {
        let (high, low) = (io.read32(CHI), io.read32(CLO));
        if io.read32(CHI) == high {
            return Sample { micros: u64::from(high) << 32 | u64::from(low), ticks };
        }
    }
}

/// How much faster than it says the generic counter runs, in millionths, and over how many microseconds that was seen; `None`
/// without a system timer or when too little time has passed to say. Any context.
pub fn calibration() -> Option<(i64, u64)> {
    let timer = TIMER.get()?;
    let now = sample(&timer.io);
    let micros = now.micros.wrapping_sub(timer.first.micros);
    difference(now.ticks.wrapping_sub(timer.first.ticks), micros, counter_frequency()).map(|ppm| (ppm, micros))
}

/// `ticks` of a counter of `frequency` beside `micros`, as millionths.
fn difference(ticks: u64, micros: u64, frequency: u64) -> Option<i64> {
    // A microsecond more or less is a part in a thousand of the shortest time.
    if micros < 1000 || frequency == 0 {
        return None;
    }
    let expected = i128::from(frequency) * i128::from(micros);
    let seen = i128::from(ticks) * i128::from(MICROS);
    i64::try_from((seen - expected) * i128::from(MICROS) / expected).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_loses_ticks_is_slow() {
        assert_eq!(difference(19_200_000, 1_000_000, 19_200_000), Some(0));
        assert_eq!(difference(53_946_000, 1_000_000, 54_000_000), Some(-1000));
        assert_eq!(difference(27_000_000, 1_000_000, 54_000_000), Some(-500_000));
        assert_eq!(difference(54_054, 1000, 54_000_000), Some(1000));
        assert_eq!(difference(100, 999, 54_000_000), None);
        assert_eq!(difference(u64::MAX, u64::MAX, 1), Some(999_999_000_000));
    }
}
