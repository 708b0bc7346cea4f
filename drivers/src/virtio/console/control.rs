//! The control queues: messages about ports, in both directions.

use super::{MAX_PORTS, Port};
use crate::virtio::mmio::Transport;
use crate::virtio::queue::{Direction, Queue};
use vigil_abi::Errno;
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_mem::page::Page;
use vigil_mem::page_alloc::{Gfp, alloc_pages};

/// Messages in flight, each way.
pub(super) const SLOTS: u16 = 32;
/// A message is 8 bytes; a name follows in PORT_NAME's.
const HEADER: usize = 8;
/// A buffer of the receive queue; a longer name is cut by the device.
const RX_BUFFER: usize = 128;
const TX_BUFFER: usize = HEADER;
const _: () = assert!(RX_BUFFER * SLOTS as usize <= vigil_mem::PAGE_SIZE);

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_REMOVE: u16 = 2;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
pub(super) const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;
/// The id of messages about the device.
const NO_PORT: u32 = u32::MAX;

static CONTROL_CLASS: LockClass = LockClass::new("virtio_console_control");

pub(super) struct Control(SpinLock<Queues>);

struct Queues {
    rx: Queue,
    tx: Queue,
    rx_page: &'static Page,
    tx_page: &'static Page,
}

impl Control {
    pub(super) fn new(rx: Queue, tx: Queue) -> Result<Control, Errno> {
        let page = || alloc_pages(0, Gfp::KERNEL | Gfp::ZERO).ok_or(Errno::ENOMEM);
        let queues = Queues { rx, tx, rx_page: page()?, tx_page: page()? };
        Ok(Control(SpinLock::new(&CONTROL_CLASS, queues)))
    }

    /// Gives the device buffers for its messages.
    pub(super) fn start(&self, transport: &Transport) {
        let mut q = self.0.lock_irq();
        // Sending waits for nobody: slots are taken back when the next message is sent.
        q.tx.set_interrupts(false);
        for slot in 0..q.rx.size() {
            q.give(slot);
        }
        q.notify_rx(transport);
    }

    /// Tells the device that the driver is ready: it announces its ports.
    pub(super) fn announce(&self, transport: &Transport) {
        self.send(transport, NO_PORT, DEVICE_READY, 1);
    }

    /// Sends a message. Any context. Lost, with a log line, when the device takes none.
    pub(super) fn send(&self, transport: &Transport, id: u32, event: u16, value: u16) {
        self.0.lock_irq().send(transport, id, event, value);
    }

    /// Reads what the device has said, in the hard interrupt; whether ports came, went or were named.
    pub(super) fn receive(&self, transport: &Transport, ports: &[Option<&'static Port>; MAX_PORTS]) -> bool {
        let mut q = self.0.lock_irq();
        let mut changed = false;
        // As many as there are buffers: a device that keeps answering is served in the next interrupt.
        for _ in 0..SLOTS {
            let Some((slot, len)) = q.rx.pop() else { break };
            let mut message = [0u8; RX_BUFFER];
            let len = (len as usize).min(RX_BUFFER);
            q.read(slot, message.get_mut(..len).unwrap_or(&mut []));
            q.give(slot);
            if len >= HEADER {
                changed |= q.handle(transport, ports, &message[..len]);
            }
        }
        q.notify_rx(transport);
        changed
    }
}

impl Queues {
    /// Gives the device receive buffer `slot`.
    fn give(&mut self, slot: u16) {
        let at = self.rx_page.phys().get() + usize::from(slot) * RX_BUFFER;
        // SAFETY: each slot has a part of its own of a page that is never freed, and that is only read by raw copies.
        let result = unsafe { self.rx.submit(slot, at as u64, RX_BUFFER as u32, Direction::FromDevice) };
        debug_assert!(result.is_ok(), "the slot was popped or never submitted");
    }

    fn notify_rx(&mut self, transport: &Transport) {
        if self.rx.wants_notify() {
            transport.notify(self.rx.index());
        }
    }

    fn read(&self, slot: u16, message: &mut [u8]) {
        let from = self.rx_page.as_ptr().wrapping_add(usize::from(slot) * RX_BUFFER);
        // SAFETY: the source is this slot's part of the page, at least as long as `message`; the slot is the driver's
        // now. A device that writes still makes the copy's content arbitrary, no more.
        unsafe { core::ptr::copy_nonoverlapping(from.cast_const(), message.as_mut_ptr(), message.len()) };
    }

    fn send(&mut self, transport: &Transport, id: u32, event: u16, value: u16) {
        while self.tx.pop().is_some() {}
        let Some(slot) = self.tx.free_slot() else {
            log::warn!("virtio-console: the device takes no control messages");
            return;
        };
        let mut message = [0; HEADER];
        message[..4].copy_from_slice(&id.to_le_bytes());
        message[4..6].copy_from_slice(&event.to_le_bytes());
        message[6..].copy_from_slice(&value.to_le_bytes());
        let offset = usize::from(slot) * TX_BUFFER;
        // SAFETY: the destination is this slot's part of a page that is never freed; the slot is the driver's.
        unsafe { core::ptr::copy_nonoverlapping(message.as_ptr(), self.tx_page.as_ptr().wrapping_add(offset), HEADER) };
        let at = (self.tx_page.phys().get() + offset) as u64;
        // SAFETY: as above; it is written again only when it is the driver's again.
        let result = unsafe { self.tx.submit(slot, at, HEADER as u32, Direction::ToDevice) };
        if result.is_ok() && self.tx.wants_notify() {
            transport.notify(self.tx.index());
        }
    }

    fn handle(&mut self, transport: &Transport, ports: &[Option<&'static Port>; MAX_PORTS], message: &[u8]) -> bool {
        let half = |i: usize| u16::from_le_bytes([message[i], message[i + 1]]);
        let id = u32::from(half(0)) | u32::from(half(2)) << 16;
        let (event, value) = (half(4), half(6));
        let Some(port) = ports.get(id as usize).copied().flatten() else {
            if event == PORT_ADD {
                self.send(transport, id, PORT_READY, 0);
            }
            return false;
        };
        match event {
            PORT_ADD => {
                port.set_present(true);
                self.send(transport, id, PORT_READY, 1);
                true
            }
            PORT_REMOVE => {
                port.set_present(false);
                true
            }
            CONSOLE_PORT => {
                port.set_console(value != 0);
                self.send(transport, id, PORT_OPEN, 1);
                true
            }
            PORT_OPEN => {
                port.set_host_connected(value != 0);
                false
            }
            PORT_NAME => {
                port.set_name(&message[HEADER..]);
                true
            }
            _ => false,
        }
    }
}
