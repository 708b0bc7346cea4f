//! The mailbox between the ARM and the firmware of a Raspberry Pi, and what the firmware is asked through it.
//!
//! Channel 8 carries the address of a buffer of tags; the firmware answers in place. One request is under way at a time; it is
//! waited for by polling, bounded, which takes some tens of microseconds. Source: the wiki of raspberrypi/firmware, "Mailboxes"
//! and "Mailbox property interface".

mod property;
#[cfg(test)]
mod tests;

pub use property::{Clock, Facts, facts, rate, temperature, throttled};

use crate::dt::Node;
use crate::model::{Driver, Mmio, clean_invalidate_poc, ioremap};
use core::ptr::NonNull;
use vigil_abi::Errno;
use vigil_executor::arch::{counter, counter_frequency};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::page_alloc::{Gfp, alloc_pages};
use vigil_mem::{PhysAddr, phys_to_virt};

const READ: usize = 0x00;
const READ_STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const WRITE_STATUS: usize = 0x38;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;
/// The channel of tags.
const PROPERTY: u32 = 8;
/// The firmware sees memory here, past its caches.
const BUS: u32 = 0xc000_0000;
/// It reaches the first gigabyte.
const REACH: usize = 1 << 30;
/// Words of the buffer.
const WORDS: usize = 64;
/// In the second word of a buffer that was answered.
const ANSWERED: u32 = 0x8000_0000;
/// How long the firmware may take: a second, in shares of the counter's frequency.
const PATIENCE_SECONDS: u64 = 1;

/// The driver of the mailbox.
pub static DRIVER: Driver = Driver { name: "bcm2835-mbox", compatible: &["brcm,bcm2835-mbox"], priority: 10, probe };

struct Mailbox {
    io: Mmio,
    /// The buffer, a page for ever, as we see it and as the firmware does.
    buffer: NonNull<u32>,
    bus: u32,
}

// SAFETY: the buffer is the mailbox's own memory, which no CPU keeps a reference to.
unsafe impl Send for Mailbox {}

static CLASS: LockClass = LockClass::new("mailbox");
static MAILBOX: SpinLock<Option<Mailbox>> = SpinLock::new(&CLASS, None);

fn probe(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let page = alloc_pages(0, Gfp::KERNEL | Gfp::ZERO | Gfp::DMA32).ok_or(Errno::ENOMEM)?;
    let phys = page.phys();
    if phys.get() + 4 * WORDS > REACH {
        return Err(Errno::ENOMEM);
    }
    start(io, NonNull::new(phys_to_virt(phys).get() as *mut u32).ok_or(Errno::EINVAL)?, BUS | phys.get() as u32);
    property::introduce(node);
    Ok(())
}

/// Uses the mailbox behind `io` with this buffer.
fn start(io: Mmio, buffer: NonNull<u32>, bus: u32) {
    *MAILBOX.lock_irq() = Some(Mailbox { io, buffer, bus });
}

/// Asks for `tag` with `values`, which are replaced by the answer; how many bytes the firmware answered.
///
/// Errors: ENODEV without a mailbox; ETIMEDOUT; EINVAL when the firmware does not know the tag or there are too many values.
pub fn property(tag: u32, values: &mut [u32]) -> Result<usize, Errno> {
    let mailbox = MAILBOX.lock_irq();
    let mailbox = mailbox.as_ref().ok_or(Errno::ENODEV)?;
    let bytes = u32::try_from(4 * values.len()).map_err(|_| Errno::EINVAL)?;
    if values.len() + 6 > WORDS {
        return Err(Errno::EINVAL);
    }
    mailbox.put(0, bytes + 24);
    mailbox.put(1, 0);
    mailbox.put(2, tag);
    mailbox.put(3, bytes);
    mailbox.put(4, 0);
    for (i, value) in values.iter().enumerate() {
        mailbox.put(5 + i, *value);
    }
    mailbox.put(5 + values.len(), 0);
    mailbox.exchange()?;
    let answer = mailbox.get(4);
    if mailbox.get(1) != ANSWERED || answer & ANSWERED == 0 {
        return Err(Errno::EINVAL);
    }
    for (i, value) in values.iter_mut().enumerate() {
        *value = mailbox.get(5 + i);
    }
    Ok((answer & !ANSWERED) as usize)
}

impl Mailbox {
    fn put(&self, at: usize, value: u32) {
        // SAFETY: callers stay below WORDS, which is less than a page.
        unsafe { self.buffer.add(at).write_volatile(value) };
    }

    fn get(&self, at: usize) -> u32 {
        // SAFETY: as in `put`.
        unsafe { self.buffer.add(at).read_volatile() }
    }

    /// Hands the buffer over and waits until it comes back.
    fn exchange(&self) -> Result<(), Errno> {
        let sync = || clean_invalidate_poc(self.buffer.as_ptr() as usize, 4 * WORDS);
        sync();
        self.wait_while(WRITE_STATUS, FULL)?;
        self.io.write32(WRITE, self.bus | PROPERTY);
        loop {
            self.wait_while(READ_STATUS, EMPTY)?;
            // What other channels say is for nobody here.
            if self.io.read32(READ) == self.bus | PROPERTY {
                break;
            }
        }
        sync();
        Ok(())
    }

    fn wait_while(&self, register: usize, flag: u32) -> Result<(), Errno> {
        let begin = counter();
        while self.io.read32(register) & flag != 0 {
            if counter().wrapping_sub(begin) > PATIENCE_SECONDS * counter_frequency() {
                return Err(Errno::ETIMEDOUT);
            }
            core::hint::spin_loop();
        }
        Ok(())
    }
}
