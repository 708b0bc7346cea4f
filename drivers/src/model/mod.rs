//! The device model: register windows, and drivers matched with nodes of the device tree.

mod dma;
mod driver;
mod mmio;

pub use dma::clean_invalidate_poc;
pub use driver::{Driver, EPROBE_DEFER, ProbeReport, probe_all};
#[cfg(not(all(target_arch = "aarch64", target_os = "none")))]
pub use mmio::FakeDevice;
pub use mmio::{IoMapper, Mmio, Window, ioremap, set_io_mapper};
