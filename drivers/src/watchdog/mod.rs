//! Watchdogs: programs feed them (`/dev/watchdog`), and they end the machine: restart and power off where the firmware offers no call for it.

mod bcm2835;
mod device;

pub use bcm2835::{BCM2835_PM_DRIVER, PowerManager};
pub use device::{Watchdog, WatchdogChip};

/// The board's power manager, once it is probed.
static PM: spin::Once<Watchdog<PowerManager>> = spin::Once::new();

/// The watchdog, if the board has one.
pub fn get() -> Option<&'static Watchdog<PowerManager>> {
    PM.get()
}

/// Resets the machine; returns when there is nothing that can, or after a moment in which it did not. Any context.
pub fn restart() {
    if let Some(w) = PM.get() {
        bcm2835::restart(w.chip());
    }
}

/// Turns the machine off, as [`restart`].
pub fn power_off() {
    if let Some(w) = PM.get() {
        bcm2835::power_off(w.chip());
    }
}
