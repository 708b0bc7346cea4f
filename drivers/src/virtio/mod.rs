//! virtio devices behind the MMIO transport (Virtual I/O Device specification 1.2).
//!
//! | module | is |
//! |---|---|
//! | [`mmio`] | the transport: registers, feature negotiation, queue set-up; version 2 and the legacy version 1 |
//! | [`queue`] | a split virtqueue whose slots have a buffer each |
//! | [`console`] | virtio-console with ports: character streams `vportNpM` |
//! | [`rng`] | the entropy device: a seed at boot |
//!
//! The device is not trusted: what it writes into a ring is checked against what was submitted, and a buffer is read
//! by raw copies of at most the length that it was submitted with.
//!
//! Why not the crate `virtio-drivers`: its queue takes `&mut [u8]` for what the device writes (DESIGN.md rule 11), its
//! devices own their transport by `&mut` (one lock for all queues), its console has no ports, and it panics where a
//! chain is not what it expects.

pub mod console;
pub mod mmio;
pub mod queue;
pub mod rng;
#[cfg(test)]
mod tests;

use crate::dt::Node;
use crate::irq;
use crate::model::{Driver, ioremap};
use mmio::Transport;
use vigil_abi::Errno;
use vigil_mem::PhysAddr;

const DEVICE_CONSOLE: u32 = 3;
const DEVICE_RNG: u32 = 4;

/// The driver of virtio-mmio slots; an empty slot and a device that is not known here answer ENODEV.
pub static MMIO_DRIVER: Driver = Driver { name: "virtio-mmio", compatible: &["virtio,mmio"], priority: 50, probe };

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let transport = Transport::new(io)?;
    match transport.device_id() {
        DEVICE_CONSOLE => console::probe(transport, irq::map_dt(node, 0)?),
        DEVICE_RNG => rng::probe(transport),
        _ => Err(Errno::ENODEV),
    }
}
