//! Devices: probing at boot, and the files that programs reach them by.
//!
//! | file | what |
//! |---|---|
//! | [`stream`] | a driver's character stream as operations of a file |
//! | [`irqlat`] | `/dev/irqlat`, interrupt latency |
//! | [`kmsg`] | `/dev/kmsg` |
//! | [`vport`] | `/dev/vportNpM` |
//!
//! Terminals are in [`crate::tty`]; memory devices (`/dev/null` and so on) in `vigil_fs::dev`.

pub mod irqlat;
pub mod kmsg;
pub mod stream;
pub mod vport;

use crate::{pr_info, pr_warn};
use vigil_abi::Errno;
use vigil_drivers::dt::Tree;
use vigil_drivers::{mailbox, model, rtc, serial, systimer, virtio, watchdog};
use vigil_executor::time::SEC;

/// Probes what the tree names: serial ports, the wall clock, virtio devices. The boot CPU, once, interrupts masked,
/// controller and timer up. A device that fails is logged and left out.
pub fn probe(tree: &Tree<'_>) {
    let drivers = [
        &watchdog::BCM2835_PM_DRIVER,
        &mailbox::DRIVER,
        &systimer::DRIVER,
        &serial::PL011_DRIVER,
        &serial::MINIUART_DRIVER,
        &rtc::PL031_DRIVER,
        &virtio::MMIO_DRIVER,
    ];
    if let Err(e) = model::probe_all(tree, &drivers) {
        pr_warn!("devices: probing ended early: {}", e.name());
    }
    crate::tty::console::register();
    if let Some(seconds) = rtc::read()
        && crate::time::clock::set_realtime(seconds.saturating_mul(SEC))
    {
        pr_info!("rtc-pl031: setting system clock to {seconds} seconds since 1970");
    }
    seed();
}

/// Feeds the random number generator from the entropy device, if there is one.
fn seed() {
    let mut seed = [0; virtio::rng::MAX_SEED];
    let n = virtio::rng::seed(&mut seed);
    if n != 0 {
        crate::random::add_entropy(&seed[..n]);
    }
}

/// Registers the device files. Once, in a task, after [`vigil_fs::init`].
pub fn init() -> Result<(), Errno> {
    if let Some((ppm, micros)) = systimer::calibration() {
        pr_info!("arch_timer: {ppm:+} ppm beside the system timer, over {} ms", micros / 1000);
    }
    irqlat::init()?;
    kmsg::init()?;
    vport::init()?;
    crate::tty::init()
}
