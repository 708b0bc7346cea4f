//! Ends of the machine: power off, restart, halt (reboot(2) and the end of a panic).

use crate::arch::aarch64::{cpu, psci};
use crate::debug::console;
use crate::{pr_emerg, trace};
use vigil_drivers::watchdog;

/// Turns the machine off; halts where the firmware cannot. The caller has stopped everything that matters.
pub fn power_off() -> ! {
    trace::last_words();
    pr_emerg!("reboot: Power down");
    console::flush_and_wait();
    psci::system_off();
    watchdog::power_off();
    cpu::park()
}

/// Resets the machine; halts where the firmware cannot.
pub fn restart() -> ! {
    trace::last_words();
    pr_emerg!("reboot: Restarting system");
    console::flush_and_wait();
    reset();
    cpu::park()
}

/// Resets the machine by the firmware or, without one, by the watchdog; returns when nothing can. Any context.
pub fn reset() {
    psci::system_reset();
    watchdog::restart();
}

/// Stops this CPU for ever with the machine on.
pub fn halt() -> ! {
    pr_emerg!("reboot: System halted");
    console::flush_and_wait();
    cpu::park()
}
