//! Drivers and the devices they take: matching by `compatible`, in order of priority, with deferred probing.

use crate::dt::{Node, Tree};
use vigil_abi::Errno;
use vigil_mem::KVec;

/// What a probe answers when something that it needs (an interrupt controller, a clock) is not there yet.
pub const EPROBE_DEFER: Errno = Errno::EPROBE_DEFER;

/// A driver for devices of the device tree.
pub struct Driver {
    /// Its name in messages.
    pub name: &'static str,
    /// What it drives, as in `compatible`.
    pub compatible: &'static [&'static str],
    /// Drivers with a lower number are probed first: 0 for interrupt controllers, 10 timers, 20 consoles, 50 others.
    pub priority: u8,
    /// Takes one device. Process context at boot; may allocate, may not wait.
    ///
    /// Errors: [`EPROBE_DEFER`] to be asked again after another driver succeeded; any other error is final.
    pub probe: fn(Node<'_>) -> Result<(), Errno>,
}

/// What [`probe_all`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProbeReport {
    /// Devices that a driver took.
    pub bound: usize,
    /// Devices whose probe failed for good.
    pub failed: usize,
    /// Devices that still wait for something that never came.
    pub deferred: usize,
}

impl Driver {
    /// Whether `names`, with commas between, has the name of the driver's module: its own, with `_` for `-`.
    pub fn is_in(&self, names: &[u8]) -> bool {
        let same = |name: &[u8]| {
            name.len() == self.name.len() && name.iter().zip(self.name.bytes()).all(|(&a, b)| a == if b == b'-' { b'_' } else { b })
        };
        names.split(|&byte| byte == b',').any(same)
    }
}

/// Offers every available device to the driver for its most specific `compatible` string, drivers of lower priority
/// numbers first, and asks those that deferred again until a round brings nothing new. Each device's pins are set before its probe.
/// Drivers in `left_out` ([`Driver::is_in`]) take nothing.
///
/// Errors: ENOMEM. A device that fails is logged and does not stop the others.
pub fn probe_all(tree: &Tree<'_>, drivers: &[&Driver], left_out: &[u8]) -> Result<ProbeReport, Errno> {
    let mut waiting: KVec<(u8, &Driver, Node<'_>)> = KVec::new();
    for node in tree.nodes().filter(|n| n.is_available()) {
        let best = node.compatible().find_map(|c| drivers.iter().find(|d| d.compatible.contains(&c) && !d.is_in(left_out)));
        if let Some(driver) = best {
            waiting.try_push((driver.priority, driver, node)).map_err(|_| Errno::ENOMEM)?;
        }
    }
    // Stable: devices of one priority stay in the tree's order.
    insertion_sort(&mut waiting);
    let mut report = ProbeReport::default();
    loop {
        let bound_before = report.bound;
        let mut still = KVec::new();
        for &(priority, driver, node) in waiting.iter() {
            match crate::gpio::pinctrl::select_default(node).and_then(|()| (driver.probe)(node)) {
                Ok(()) => report.bound += 1,
                Err(EPROBE_DEFER) => still.try_push((priority, driver, node)).map_err(|_| Errno::ENOMEM)?,
                // The device is not there, or is nothing for this driver: no news (Linux `call_driver_probe`).
                Err(Errno::ENODEV | Errno::ENXIO) => {}
                Err(e) => {
                    log::warn!("{}: {}: probe failed: {}", driver.name, node, e.name());
                    report.failed += 1;
                }
            }
        }
        waiting = still;
        if waiting.is_empty() || report.bound == bound_before {
            break;
        }
    }
    for (_, driver, node) in waiting.iter() {
        log::info!("{}: {}: deferred probe pending", driver.name, node);
    }
    report.deferred = waiting.len();
    Ok(report)
}

/// Sorts by priority without allocating; the lists are short.
fn insertion_sort(list: &mut [(u8, &Driver, Node<'_>)]) {
    for i in 1..list.len() {
        let mut j = i;
        while j > 0 && list[j - 1].0 > list[j].0 {
            list.swap(j - 1, j);
            j -= 1;
        }
    }
}
