//! Watchdogs, as far as they end the machine: restart and power off where the firmware offers no call for it.

mod bcm2835;

pub use bcm2835::BCM2835_PM_DRIVER;

use crate::model::Mmio;

/// The board's power manager, once it is probed.
static PM: spin::Once<Mmio> = spin::Once::new();

/// Resets the machine; returns when there is nothing that can, or after a moment in which it did not. Any context.
pub fn restart() {
    if let Some(io) = PM.get() {
        bcm2835::restart(io);
    }
}

/// Turns the machine off, as [`restart`].
pub fn power_off() {
    if let Some(io) = PM.get() {
        bcm2835::power_off(io);
    }
}
