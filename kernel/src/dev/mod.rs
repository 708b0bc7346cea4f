//! Devices: probing at boot, and the files that programs reach them by.
//!
//! | file | what |
//! |---|---|
//! | [`stream`] | a driver's character stream as operations of a file |
//! | [`gpio`] | `/dev/gpiochipN` |
//! | [`input`] | `/dev/input/eventN` |
//! | [`irqlat`] | `/dev/irqlat`, interrupt latency |
//! | [`kmsg`] | `/dev/kmsg` |
//! | [`rtc`] | `/dev/rtc0`, the real-time clock |
//! | [`latency`] | `/dev/cpu_dma_latency` |
//! | [`sysfs`] | what does not change in `/sys` |
//! | [`thermal`] | temperature and voltage of a Raspberry Pi in `/sys` |
//! | [`watchdog`] | `/dev/watchdog` |
//! | [`vport`] | `/dev/vportNpM` |
//!
//! Terminals are in [`crate::tty`]; memory devices (`/dev/null` and so on) in `vigil_fs::dev`.

mod gpio;
mod input;
pub mod irqlat;
pub mod kmsg;
pub mod latency;
pub mod rtc;
pub mod stream;
mod sysfs;
mod thermal;
pub mod vport;
mod watchdog;

use crate::{pr_info, pr_warn};
use vigil_abi::Errno;
use vigil_drivers::dt::Tree;
use vigil_drivers::rtc::PL031_DRIVER;
use vigil_drivers::rtc::calendar::to_date;
use vigil_drivers::watchdog::BCM2835_PM_DRIVER;
use vigil_drivers::{gpio as pins, mailbox, model, serial, systimer, virtio};

/// Probes what the tree names: serial ports, the wall clock, virtio devices. The boot CPU, once, interrupts masked,
/// controller and timer up. A device that fails is logged and left out.
pub fn probe(tree: &Tree<'_>) {
    let drivers = [
        &BCM2835_PM_DRIVER,
        &mailbox::DRIVER,
        &systimer::DRIVER,
        &pins::pl061::DRIVER,
        &pins::bcm2835::DRIVER,
        &pins::keys::DRIVER,
        &serial::PL011_DRIVER,
        &serial::MINIUART_DRIVER,
        &PL031_DRIVER,
        &virtio::MMIO_DRIVER,
    ];
    if let Err(e) = model::probe_all(tree, &drivers, crate::boot::params().map_or(&[], |p| p.module_blacklist)) {
        pr_warn!("devices: probing ended early: {}", e.name());
    }
    crate::tty::console::register();
    if let (Some(seconds), Some(name)) = (rtc::to_wall_clock(), vigil_drivers::rtc::name()) {
        let d = to_date(seconds);
        let (date, time) = (rtc::Date(&d), rtc::Clock(&d));
        pr_info!("rtc-pl031 {name}: setting system clock to {date}T{time} UTC ({seconds})");
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
    gpio::init()?;
    input::init()?;
    irqlat::init()?;
    kmsg::init()?;
    rtc::init()?;
    latency::init()?;
    vport::init()?;
    watchdog::init()?;
    thermal::init()?;
    crate::tty::init()
}
