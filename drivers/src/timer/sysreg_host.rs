//! The timer on a host: a comparator per thread against the host's counter; it interrupts nobody.

use std::cell::Cell;
use vigil_executor::arch;

std::thread_local! {
    static COMPARE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Sets the compare value, in ticks of [`frequency`].
pub fn set_compare(count: u64) {
    COMPARE.set(Some(count));
}

/// Switches the comparator off.
pub fn stop() {
    COMPARE.set(None);
}

/// Whether the count is past the compare value while the comparator is on.
pub fn is_pending() -> bool {
    COMPARE.get().is_some_and(|c| arch::counter() >= c)
}

/// The counter's frequency in Hz.
pub fn frequency() -> u64 {
    arch::counter_frequency()
}
