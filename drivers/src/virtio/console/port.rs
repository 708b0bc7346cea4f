//! A port: a stream in each direction through slots of one page.

use super::{Console, devices};
use crate::char::{CharStream, KEY_IN, KEY_OUT, Stop};
use crate::virtio::mmio::Transport;
use crate::virtio::queue::{Direction, Queue};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize};
use vigil_abi::Errno;
use vigil_abi::poll::{POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use vigil_executor::sync::{LockClass, SpinLock};
use vigil_executor::wait::WaitQueue;
use vigil_mem::page::Page;
use vigil_mem::page_alloc::{Gfp, alloc_pages};
use vigil_mem::{IoBuf, IoBufMut, PAGE_SIZE};

/// The longest name that is kept.
pub const NAME_LEN: usize = 64;
const MAX_SLOTS: usize = 16;

static RX_CLASS: LockClass = LockClass::new("virtio_console_rx");
static TX_CLASS: LockClass = LockClass::new("virtio_console_tx");

/// One direction: a queue and the buffers of its slots.
struct Half {
    queue: Queue,
    pages: [Option<&'static Page>; MAX_SLOTS],
    /// Receiving: the slot that is being read, how much of it was, and how much there is.
    current: Option<(u16, usize, usize)>,
}

/// A port of a virtio-console.
pub struct Port {
    transport: Transport,
    device: usize,
    number: usize,
    present: AtomicBool,
    console: AtomicBool,
    host_connected: AtomicBool,
    opened: AtomicBool,
    name: [AtomicU8; NAME_LEN],
    name_len: AtomicUsize,
    rx: SpinLock<Half>,
    tx: SpinLock<Half>,
    read_wait: WaitQueue,
    write_wait: WaitQueue,
}

impl Port {
    pub(super) fn new(transport: Transport, device: usize, number: usize, rx: Queue, mut tx: Queue) -> Port {
        tx.set_interrupts(false);
        let half = |queue| Half { queue, pages: [None; MAX_SLOTS], current: None };
        Port {
            transport,
            device,
            number,
            present: AtomicBool::new(false),
            console: AtomicBool::new(false),
            host_connected: AtomicBool::new(false),
            opened: AtomicBool::new(false),
            name: [const { AtomicU8::new(0) }; NAME_LEN],
            name_len: AtomicUsize::new(0),
            rx: SpinLock::new(&RX_CLASS, half(rx)),
            tx: SpinLock::new(&TX_CLASS, half(tx)),
            read_wait: WaitQueue::new(),
            write_wait: WaitQueue::new(),
        }
    }

    pub(super) fn set_present(&self, present: bool) {
        self.present.store(present, SeqCst);
        if !present {
            self.host_connected.store(false, SeqCst);
            self.wake();
        }
    }

    pub(super) fn set_console(&self, console: bool) {
        self.console.store(console, Relaxed);
    }

    pub(super) fn set_host_connected(&self, connected: bool) {
        self.host_connected.store(connected, SeqCst);
    }

    pub(super) fn set_name(&self, name: &[u8]) {
        let name = name.split(|&b| b == 0).next().unwrap_or(&[]);
        let len = name.len().min(NAME_LEN);
        for (slot, &b) in self.name.iter().zip(name) {
            slot.store(b, Relaxed);
        }
        self.name_len.store(len, Release);
    }

    /// Something happened to the device: whoever waits looks again.
    pub(super) fn wake(&self) {
        self.read_wait.wake(KEY_IN, 0);
        self.write_wait.wake(KEY_OUT, 0);
    }

    /// The device and port numbers of its node, `vport{device}p{port}`.
    pub fn numbers(&self) -> (usize, usize) {
        (self.device, self.number)
    }

    /// The name that the host gave it (`/sys/class/virtio-ports/…/name`), cut to fit; empty if none.
    pub fn name<'b>(&self, buf: &'b mut [u8; NAME_LEN]) -> &'b [u8] {
        let len = self.name_len.load(Acquire).min(NAME_LEN);
        for (b, slot) in buf.iter_mut().zip(&self.name) {
            *b = slot.load(Relaxed);
        }
        &buf[..len]
    }

    /// Whether the device has it.
    pub fn is_present(&self) -> bool {
        self.present.load(SeqCst)
    }

    fn is_connected(&self) -> bool {
        self.host_connected.load(SeqCst)
    }

    /// Opens it and tells the host so. Errors: EBUSY when it is open, ENXIO when it is a console or is gone, ENOMEM.
    pub fn open(&self) -> Result<(), Errno> {
        if !self.is_present() || self.console.load(Relaxed) {
            return Err(Errno::ENXIO);
        }
        if self.opened.swap(true, SeqCst) {
            return Err(Errno::EBUSY);
        }
        if let Err(e) = self.allocate() {
            self.opened.store(false, SeqCst);
            return Err(e);
        }
        self.tell(true);
        // Once more, now that the host knows that somebody reads: QEMU looks for input of the host when it is told of
        // buffers, and found nobody to read it when it was told of them before. A sleeping main loop looks no sooner.
        let half = self.rx.lock();
        self.transport.notify(half.queue.index());
        Ok(())
    }

    /// Closes it, drops what was not read, and tells the host so. What was written is on its way and arrives.
    pub fn close(&self) {
        self.tell(false);
        let mut half = self.rx.lock();
        if let Some((slot, ..)) = half.current.take() {
            half.give(slot);
        }
        for _ in 0..MAX_SLOTS {
            let Some((slot, _)) = half.queue.pop() else { break };
            half.give(slot);
        }
        half.notify(&self.transport);
        drop(half);
        self.opened.store(false, SeqCst);
    }

    fn tell(&self, open: bool) {
        if let Some(console) = self.console() {
            console.tell_open(self.number, open);
        }
    }

    fn console(&self) -> Option<&'static Console> {
        devices().nth(self.device)
    }

    /// Gives every slot a page, those of the receiving half to the device. Pages that are there already stay.
    fn allocate(&self) -> Result<(), Errno> {
        for (lock, receive) in [(&self.rx, true), (&self.tx, false)] {
            for slot in 0..MAX_SLOTS {
                let half = lock.lock();
                let missing = half.pages[slot].is_none() && slot < usize::from(half.queue.size());
                drop(half);
                if !missing {
                    continue;
                }
                let page = alloc_pages(0, Gfp::KERNEL | Gfp::ZERO).ok_or(Errno::ENOMEM)?;
                let mut half = lock.lock();
                half.pages[slot] = Some(page);
                if receive {
                    half.give(slot as u16);
                }
            }
        }
        self.rx.lock().notify(&self.transport);
        Ok(())
    }

    /// Copies from one buffer; `None` when there is none.
    fn read_some(&self, buf: &mut IoBufMut<'_>) -> Option<Result<usize, Stop<'static>>> {
        let mut half = self.rx.lock();
        let (slot, done, len) = half.next_input()?;
        let Some(page) = half.page(slot) else { return Some(Err(Stop::Err(Errno::EIO))) };
        let want = (len - done).min(buf.remaining());
        // SAFETY: `done + want` is at most `len`, which `Queue::pop` keeps within the page that was submitted; the
        // page is never freed, and the copy is a raw one.
        let n = match unsafe { buf.copy_out_raw(page.as_ptr().wrapping_add(done), want) } {
            Ok(n) => n,
            Err(fault) => return Some(Err(Stop::Fault(fault))),
        };
        if done + n < len {
            half.current = Some((slot, done + n, len));
        } else {
            half.current = None;
            half.give(slot);
            half.notify(&self.transport);
        }
        Some(Ok(n))
    }

    /// Sends at most a page; `None` when the device has all slots.
    fn write_some(&self, buf: &mut IoBuf<'_>) -> Option<Result<usize, Stop<'static>>> {
        let mut half = self.tx.lock();
        let slot = half.free_output(true)?;
        let Some(page) = half.page(slot) else { return Some(Err(Stop::Err(Errno::EIO))) };
        // SAFETY: the page is this slot's, which is the driver's; it is as long as the limit.
        let n = match unsafe { buf.copy_in_raw(page.as_ptr(), PAGE_SIZE.min(buf.remaining())) } {
            Ok(n) => n,
            Err(fault) => return Some(Err(Stop::Fault(fault))),
        };
        // SAFETY: the page is never freed, and written again only when the slot is the driver's again.
        let sent = unsafe { half.queue.submit(slot, page.phys().get() as u64, n as u32, Direction::ToDevice) };
        half.notify(&self.transport);
        Some(sent.map(|()| n).map_err(Stop::Err))
    }

    fn has_input(&self) -> bool {
        self.rx.lock().next_input().is_some()
    }

    fn has_room(&self) -> bool {
        self.tx.lock().free_output(true).is_some()
    }
}

impl Half {
    fn page(&self, slot: u16) -> Option<&'static Page> {
        *self.pages.get(usize::from(slot))?
    }

    /// Gives the device receive buffer `slot`.
    fn give(&mut self, slot: u16) {
        let Some(page) = self.page(slot) else { return };
        let at = page.phys().get() as u64;
        // SAFETY: the page is this slot's alone, is never freed, and is only read by raw copies.
        let result = unsafe { self.queue.submit(slot, at, PAGE_SIZE as u32, Direction::FromDevice) };
        debug_assert!(result.is_ok(), "the slot was popped or never submitted");
    }

    fn notify(&mut self, transport: &Transport) {
        if self.queue.wants_notify() {
            transport.notify(self.queue.index());
        }
    }

    /// The buffer to read from: slot, what was read of it, its length. Empty ones go back.
    fn next_input(&mut self) -> Option<(u16, usize, usize)> {
        while self.current.is_none() {
            match self.queue.pop()? {
                (slot, 0) => self.give(slot),
                (slot, len) => self.current = Some((slot, 0, len as usize)),
            }
        }
        self.current
    }

    /// A slot to send with. When there is none and `arm` is set, the device interrupts when it returns one.
    fn free_output(&mut self, arm: bool) -> Option<u16> {
        while self.queue.pop().is_some() {}
        let mut slot = self.queue.free_slot();
        if slot.is_none() && arm {
            self.queue.set_interrupts(true);
            // It may have returned one before it saw the wish.
            while self.queue.pop().is_some() {}
            slot = self.queue.free_slot();
        }
        if slot.is_some() {
            self.queue.set_interrupts(false);
        }
        slot
    }
}

impl CharStream for Port {
    fn try_read<'a>(&'a self, buf: &mut IoBufMut<'_>) -> Result<usize, Stop<'a>> {
        // Looked at before the data: what the host sent before it closed is read first.
        let connected = self.is_connected();
        let mut total = 0;
        while !buf.is_empty() {
            match self.read_some(buf) {
                Some(Ok(n)) => total += n,
                Some(Err(stop)) if total == 0 => return Err(stop),
                None if total == 0 && !self.is_present() => return Err(Stop::Err(Errno::ENODEV)),
                None if total == 0 && connected => return Err(Stop::Wait(&self.read_wait, KEY_IN)),
                Some(Err(_)) | None => break,
            }
        }
        Ok(total)
    }

    fn try_write<'a>(&'a self, buf: &mut IoBuf<'_>) -> Result<usize, Stop<'a>> {
        let mut total = 0;
        while !buf.is_empty() {
            if !self.is_present() {
                return if total == 0 { Err(Stop::Err(Errno::ENODEV)) } else { Ok(total) };
            }
            let room = if self.is_connected() { self.write_some(buf) } else { None };
            match room {
                Some(Ok(n)) => total += n,
                Some(Err(stop)) if total == 0 => return Err(stop),
                None if total == 0 => return Err(Stop::Wait(&self.write_wait, KEY_OUT)),
                Some(Err(_)) | None => break,
            }
        }
        Ok(total)
    }

    fn poll(&self) -> u32 {
        let connected = self.is_connected();
        let mut events = if connected { 0 } else { POLLHUP };
        if !connected || self.has_input() {
            events |= POLLIN | POLLRDNORM;
        }
        if connected && self.has_room() {
            events |= POLLOUT | POLLWRNORM;
        }
        events
    }

    fn read_queue(&self) -> &WaitQueue {
        &self.read_wait
    }

    fn write_queue(&self) -> &WaitQueue {
        &self.write_wait
    }
}
