//! The MMIO transport (specification 4.2; legacy: 4.2.4).

use super::queue::Queue;
use crate::model::Mmio;
use vigil_abi::Errno;

const MAGIC: usize = 0x000;
const VERSION: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SEL: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SEL: usize = 0x024;
const LEGACY_PAGE_SIZE: usize = 0x028;
const QUEUE_SEL: usize = 0x030;
const QUEUE_NUM_MAX: usize = 0x034;
const QUEUE_NUM: usize = 0x038;
const LEGACY_QUEUE_ALIGN: usize = 0x03c;
const LEGACY_QUEUE_PFN: usize = 0x040;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const INTERRUPT_STATUS: usize = 0x060;
const INTERRUPT_ACK: usize = 0x064;
const STATUS: usize = 0x070;
const QUEUE_DESC: usize = 0x080;
const QUEUE_DRIVER: usize = 0x090;
const QUEUE_DEVICE: usize = 0x0a0;
const CONFIG: usize = 0x100;

const MAGIC_VALUE: u32 = 0x7472_6976;
const STATUS_ACKNOWLEDGE: u32 = 1;
const STATUS_DRIVER: u32 = 2;
const STATUS_DRIVER_OK: u32 = 4;
const STATUS_FEATURES_OK: u32 = 8;
const STATUS_FAILED: u32 = 0x80;
/// VIRTIO_F_VERSION_1: not a legacy device.
const F_VERSION_1: u64 = 1 << 32;
const PAGE: u32 = vigil_mem::PAGE_SIZE as u32;

/// A virtio-mmio slot with a device in it. Its registers may be used by several CPUs: each access is one register,
/// except set-up, which happens in one probe.
#[derive(Clone, Copy, Debug)]
pub struct Transport {
    io: Mmio,
    legacy: bool,
}

impl Transport {
    /// The slot behind `io`. Errors: ENODEV when it is empty or no virtio.
    pub fn new(io: Mmio) -> Result<Transport, Errno> {
        if io.read32(MAGIC) != MAGIC_VALUE || io.read32(DEVICE_ID) == 0 {
            return Err(Errno::ENODEV);
        }
        match io.read32(VERSION) {
            1 => Ok(Transport { io, legacy: true }),
            2 => Ok(Transport { io, legacy: false }),
            _ => Err(Errno::ENODEV),
        }
    }

    /// What device it is (specification 5).
    pub fn device_id(&self) -> u32 {
        self.io.read32(DEVICE_ID)
    }

    /// Resets the device and agrees on those of `wanted` that it has; returns them. Errors: ENODEV when it does not
    /// agree, or is neither legacy nor of version 1.
    pub fn begin(&self, wanted: u64) -> Result<u64, Errno> {
        self.io.write32(STATUS, 0);
        self.io.write32(STATUS, STATUS_ACKNOWLEDGE);
        self.io.write32(STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
        let mut offered = 0u64;
        for sel in [1u32, 0] {
            self.io.write32(DEVICE_FEATURES_SEL, sel);
            offered = offered << 32 | u64::from(self.io.read32(DEVICE_FEATURES));
        }
        let required = if self.legacy { 0 } else { F_VERSION_1 };
        let agreed = offered & (wanted | required);
        for sel in 0..2u32 {
            self.io.write32(DRIVER_FEATURES_SEL, sel);
            self.io.write32(DRIVER_FEATURES, (agreed >> (32 * sel)) as u32);
        }
        if self.legacy {
            self.io.write32(LEGACY_PAGE_SIZE, PAGE);
            return Ok(agreed);
        }
        self.io.write32(STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
        if agreed & required != required || self.io.read32(STATUS) & STATUS_FEATURES_OK == 0 {
            self.fail();
            return Err(Errno::ENODEV);
        }
        Ok(agreed)
    }

    /// Makes queue `index` of at most `size` slots, a power of two. Between [`begin`](Self::begin) and
    /// [`finish`](Self::finish).
    ///
    /// Errors: ENOENT when the device has no such queue, EBUSY when it is in use, ENOMEM.
    pub fn queue(&self, index: u16, size: u16) -> Result<Queue, Errno> {
        self.io.write32(QUEUE_SEL, u32::from(index));
        let in_use = if self.legacy { LEGACY_QUEUE_PFN } else { QUEUE_READY };
        if self.io.read32(in_use) != 0 {
            return Err(Errno::EBUSY);
        }
        let max = self.io.read32(QUEUE_NUM_MAX);
        if max == 0 {
            return Err(Errno::ENOENT);
        }
        // The largest power of two that both sides can do.
        let size = size.min(1 << max.min(0x8000).ilog2());
        let queue = Queue::new(index, size)?;
        let (desc, driver, device) = queue.addresses();
        self.io.write32(QUEUE_NUM, u32::from(size));
        if self.legacy {
            self.io.write32(LEGACY_QUEUE_ALIGN, PAGE);
            let pfn = u32::try_from(desc / u64::from(PAGE)).map_err(|_| Errno::ENOMEM)?;
            self.io.write32(LEGACY_QUEUE_PFN, pfn);
        } else {
            for (reg, address) in [(QUEUE_DESC, desc), (QUEUE_DRIVER, driver), (QUEUE_DEVICE, device)] {
                self.io.write32(reg, address as u32);
                self.io.write32(reg + 4, (address >> 32) as u32);
            }
            self.io.write32(QUEUE_READY, 1);
        }
        Ok(queue)
    }

    /// Ends the set-up: from now on the device uses its queues.
    pub fn finish(&self) {
        let status = self.io.read32(STATUS);
        self.io.write32(STATUS, status | STATUS_DRIVER_OK);
    }

    /// Gives the device up.
    pub fn fail(&self) {
        self.io.write32(STATUS, STATUS_FAILED);
    }

    /// Takes the device back from use, whatever it was doing: it forgets its queues.
    pub fn reset(&self) {
        self.io.write32(STATUS, 0);
    }

    /// Tells the device that queue `index` has new buffers; everything written before is visible to it.
    pub fn notify(&self, index: u16) {
        self.io.write32(QUEUE_NOTIFY, u32::from(index));
    }

    /// Acknowledges the device's interrupt: bit 0: buffers were used, bit 1: the configuration changed; 0: not its own.
    pub fn take_interrupt(&self) -> u32 {
        let status = self.io.read32(INTERRUPT_STATUS);
        if status != 0 {
            self.io.write32(INTERRUPT_ACK, status);
        }
        status
    }

    /// A 32-bit field of the device's configuration.
    pub fn config32(&self, offset: usize) -> u32 {
        self.io.read32(CONFIG + offset)
    }
}
