//! virtio-console on a device made of code that shares memory with the driver as a real one does.

use super::console::testing::{interrupt_device, start_device};
use super::console::{self, Console, NAME_LEN, Port};
use super::mmio::Transport;
use super::queue::{Direction, Queue};
use crate::char::{CharStream, Stop};
use crate::model::{FakeDevice, Mmio};
use core::sync::atomic::{AtomicU16, Ordering};
use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::vec::Vec;
use vigil_abi::poll::{POLLHUP, POLLIN, POLLOUT};
use vigil_abi::{Errno, poll};
use vigil_mem::{IoBuf, IoBufMut, PhysAddr, phys_to_virt};

/// The device's view of a queue.
#[derive(Default, Clone, Debug)]
struct Ring {
    size: usize,
    desc: usize,
    avail: usize,
    used: usize,
    seen: u16,
    done: u16,
}

fn ptr<T>(phys: usize) -> *mut T {
    phys_to_virt(PhysAddr::new(phys)).as_ptr()
}

fn word(phys: usize) -> &'static AtomicU16 {
    // SAFETY: the address is in the test machine's memory, which is never freed.
    unsafe { &*ptr::<AtomicU16>(phys) }
}

impl Ring {
    /// The next buffer that the driver gave: slot, address, length.
    fn take(&mut self) -> Option<(u16, usize, usize)> {
        if self.size == 0 || word(self.avail + 2).load(Ordering::Acquire) == self.seen {
            return None;
        }
        let slot = word(self.avail + 4 + 2 * (usize::from(self.seen) % self.size)).load(Ordering::Relaxed);
        self.seen = self.seen.wrapping_add(1);
        let desc = ptr::<u64>(self.desc + 16 * usize::from(slot));
        // SAFETY: a descriptor in the test machine's memory.
        let (addr, len) = unsafe { (desc.read_volatile(), desc.add(1).read_volatile() as u32) };
        Some((slot, addr as usize, len as usize))
    }

    fn give_back(&mut self, id: u32, len: u32) {
        let entry = ptr::<u32>(self.used + 4 + 8 * (usize::from(self.done) % self.size));
        // SAFETY: an entry of the used ring in the test machine's memory.
        unsafe {
            entry.write_volatile(id);
            entry.add(1).write_volatile(len);
        }
        self.done = self.done.wrapping_add(1);
        word(self.used + 2).store(self.done, Ordering::Release);
    }
}

#[derive(Default)]
struct State {
    regs: BTreeMap<usize, u32>,
    rings: BTreeMap<usize, Ring>,
    selected: usize,
    /// What was written to each port, and control messages.
    output: BTreeMap<usize, Vec<u8>>,
    messages: Vec<(u32, u16, u16)>,
    to_driver: VecDeque<Vec<u8>>,
    hold_output: bool,
}

struct Device(Mutex<State>);

const QUEUES: usize = 2 * (4 + 1);

impl FakeDevice for Device {
    fn read(&self, offset: usize, _: usize) -> u64 {
        let s = self.0.lock().unwrap();
        u64::from(match offset {
            0x000 => 0x7472_6976,
            0x004 => 2,
            0x008 => 3,
            0x010 => [2, 1][*s.regs.get(&0x14).unwrap_or(&0) as usize],
            0x034 => {
                if s.selected < QUEUES {
                    16
                } else {
                    0
                }
            }
            0x044 => 0,
            0x060 => 1,
            0x104 => 4,
            _ => *s.regs.get(&offset).unwrap_or(&0),
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        let mut s = self.0.lock().unwrap();
        s.regs.insert(offset, value as u32);
        let selected = s.selected;
        match offset {
            0x030 => s.selected = value as usize,
            0x044 => {
                let reg = |r| *s.regs.get(&r).unwrap_or(&0) as usize;
                let ring = Ring { size: reg(0x38), desc: reg(0x80), avail: reg(0x90), used: reg(0xa0), ..Ring::default() };
                s.rings.insert(selected, ring);
            }
            0x050 => s.serve(),
            _ => {}
        }
    }
}

impl State {
    fn serve(&mut self) {
        let rings: Vec<usize> = self.rings.keys().copied().filter(|q| q % 2 == 1).collect();
        for q in rings {
            if self.hold_output && q != 3 {
                continue;
            }
            while let Some((slot, addr, len)) = self.rings.get_mut(&q).unwrap().take() {
                // SAFETY: the buffer is in the test machine's memory and the device's until given back.
                let bytes = unsafe { core::slice::from_raw_parts(ptr::<u8>(addr), len) }.to_vec();
                self.rings.get_mut(&q).unwrap().give_back(u32::from(slot), 0);
                if q == 3 {
                    let id = u32::from_le_bytes(bytes[..4].try_into().unwrap());
                    let half = |i: usize| u16::from_le_bytes([bytes[i], bytes[i + 1]]);
                    self.messages.push((id, half(4), half(6)));
                } else {
                    self.output.entry(q / 2 - 1).or_default().extend(bytes);
                }
            }
        }
        while let Some(message) = self.to_driver.pop_front() {
            if !self.deliver(2, &message) {
                self.to_driver.push_front(message);
                break;
            }
        }
    }

    /// Writes `bytes` into the next buffer of receive queue `q`.
    fn deliver(&mut self, q: usize, bytes: &[u8]) -> bool {
        let Some(ring) = self.rings.get_mut(&q) else { return false };
        let Some((slot, addr, len)) = ring.take() else { return false };
        assert!(len >= bytes.len());
        // SAFETY: as in `serve`.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), ptr::<u8>(addr), bytes.len()) };
        ring.give_back(u32::from(slot), bytes.len() as u32);
        true
    }

    fn control(&mut self, id: u32, event: u16, value: u16, name: &[u8]) {
        let mut m = id.to_le_bytes().to_vec();
        m.extend(event.to_le_bytes());
        m.extend(value.to_le_bytes());
        m.extend(name);
        self.to_driver.push_back(m);
        self.serve();
    }
}

fn read(port: &Port, n: usize) -> Result<Vec<u8>, Option<Errno>> {
    let mut bytes = std::vec![0; n];
    match port.try_read(&mut IoBufMut::kernel(&mut bytes)) {
        Ok(n) => Ok(bytes[..n].to_vec()),
        Err(Stop::Wait(..)) => Err(None),
        Err(Stop::Err(e)) => Err(Some(e)),
        Err(Stop::Fault(_)) => unreachable!("a kernel buffer"),
    }
}

fn boot() -> (&'static Device, &'static Console) {
    vigil_mem::host::start();
    let device: &'static Device = Box::leak(Box::new(Device(Mutex::new(State::default()))));
    let console = start_device(Transport::new(Mmio::fake(device, 0x200)).unwrap());
    (device, console)
}

/// All of it on one device: a process has few.
#[test]
fn ports_come_carry_bytes_close_and_go() {
    let (device, console) = boot();
    let irq = || interrupt_device(console);
    let with = |f: &dyn Fn(&mut State)| f(&mut device.0.lock().unwrap());
    assert_eq!(device.0.lock().unwrap().messages, [(u32::MAX, 0, 1)], "DEVICE_READY");
    assert!(console::port(0, 1).is_none());

    with(&|s| {
        s.messages.clear();
        s.control(1, 1, 1, b"");
        s.control(9, 1, 1, b"");
        s.control(1, 7, 1, b"vigil.stdin\0");
        s.control(0, 1, 1, b"");
        s.control(0, 4, 1, b"");
        s.control(77, 6, 1, b"");
    });
    irq();
    assert_eq!(device.0.lock().unwrap().messages, [(1, 3, 1), (9, 3, 0), (0, 3, 1), (0, 6, 1)]);
    let port = console::port(0, 1).unwrap();
    assert_eq!(port.name(&mut [0; NAME_LEN]), b"vigil.stdin");
    assert_eq!(console::port(0, 0).unwrap().open(), Err(Errno::ENXIO), "a console is no stream");
    port.open().unwrap();
    assert_eq!(port.open(), Err(Errno::EBUSY));
    assert_eq!(device.0.lock().unwrap().messages.last(), Some(&(1, 6, 1)));

    // The host is not there: reads end, writes wait.
    assert_eq!(read(port, 10), Ok(Vec::new()));
    assert!(matches!(port.try_write(&mut IoBuf::kernel(b"x")), Err(Stop::Wait(..))));
    assert_eq!(port.poll() & (POLLHUP | POLLOUT), POLLHUP);

    with(&|s| s.control(1, 6, 1, b""));
    irq();
    assert_eq!(read(port, 10), Err(None));
    assert_eq!(port.poll() & (POLLIN | POLLHUP | POLLOUT), POLLOUT);
    with(&|s| assert!(s.deliver(4, b"hello ") && s.deliver(4, b"world")));
    irq();
    assert_eq!(port.poll() & POLLIN, POLLIN);
    assert_eq!(read(port, 3).unwrap(), b"hel");
    assert_eq!(read(port, 100).unwrap(), b"lo world");

    let text: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 251) as u8).collect();
    with(&|s| s.hold_output = true);
    let mut buf = IoBuf::kernel(&text);
    assert_eq!(port.try_write(&mut buf).unwrap(), 16 * 4096, "all slots");
    assert!(matches!(port.try_write(&mut buf), Err(Stop::Wait(..))));
    assert_eq!(port.poll() & POLLOUT, 0);
    with(&|s| {
        s.hold_output = false;
        s.serve();
    });
    assert_eq!(port.try_write(&mut buf).unwrap(), 100_000 - 16 * 4096);
    with(&|s| assert_eq!(s.output[&1], text));

    // What came before the host closed is read before the end.
    with(&|s| {
        assert!(s.deliver(4, b"last"));
        s.control(1, 6, 0, b"");
    });
    irq();
    assert_eq!(port.poll() & (poll::POLLIN | POLLHUP), poll::POLLIN | POLLHUP);
    assert_eq!(read(port, 100).unwrap(), b"last");
    assert_eq!(read(port, 100).unwrap(), b"");

    port.close();
    port.open().unwrap();
    with(&|s| s.control(1, 2, 1, b""));
    irq();
    assert_eq!(read(port, 1), Err(Some(Errno::ENODEV)));
    assert!(console::port(0, 1).is_none());
    a_lying_device_is_survived(device, console);
}

fn a_lying_device_is_survived(device: &Device, console: &'static Console) {
    let mut s = device.0.lock().unwrap();
    s.control(2, 1, 1, b"");
    s.control(2, 6, 1, b"");
    drop(s);
    interrupt_device(console);
    let port = console::port(0, 2).unwrap();
    port.open().unwrap();
    let mut s = device.0.lock().unwrap();
    let ring = s.rings.get_mut(&6).unwrap();
    for (id, len) in [(u32::MAX, 4), (16, 4), (3, u32::MAX), (3, 5), (0x1_0003, 1)] {
        ring.give_back(id, len);
    }
    // Too short a message, one with a huge length, and an index that runs away.
    s.deliver(2, b"abc");
    let control = s.rings.get_mut(&2).unwrap();
    let (slot, ..) = control.take().unwrap();
    control.give_back(u32::from(slot), u32::MAX);
    drop(s);
    interrupt_device(console);
    // Slot 3 came back twice, but it was given again in between: one full buffer and five bytes, and nothing of the rest.
    assert_eq!(read(port, 10_000).unwrap().len(), 4096 + 5);
    assert_eq!(read(port, 10), Err(None));
    let s = device.0.lock().unwrap();
    word(s.rings[&6].used + 2).store(40_000, Ordering::Release);
    drop(s);
    for _ in 0..10 {
        let _ = read(port, 10_000);
        interrupt_device(console);
    }
}

#[test]
fn a_slot_is_the_devices_until_it_comes_back() {
    vigil_mem::host::start();
    let mut q = Queue::new(0, 4).unwrap();
    let (_, _, used) = q.addresses();
    let mut device = Ring { size: 4, used: used as usize, ..Ring::default() };
    for slot in 0..4 {
        assert_eq!(q.free_slot(), Some(slot));
        // SAFETY: nobody writes to the buffers: the device is this test.
        unsafe { q.submit(slot, 0x4000_0000, 100, Direction::FromDevice) }.unwrap();
    }
    assert_eq!(q.free_slot(), None);
    // SAFETY: as above.
    assert_eq!(unsafe { q.submit(2, 0, 1, Direction::ToDevice) }, Err(Errno::EBUSY));
    // SAFETY: as above.
    assert_eq!(unsafe { q.submit(4, 0, 1, Direction::ToDevice) }, Err(Errno::EINVAL));
    assert_eq!(q.pop(), None);
    device.give_back(2, 7);
    device.give_back(2, 8);
    device.give_back(0, 1000);
    assert_eq!((q.pop(), q.pop(), q.pop()), (Some((2, 7)), Some((0, 100)), None));
    assert_eq!(q.free_slot(), Some(0));
    assert!(Queue::new(0, 3).is_err());
    q.free();
}

#[test]
fn slots_without_a_device_are_refused() {
    struct Slot(u32, u32, u32);
    impl FakeDevice for Slot {
        fn read(&self, offset: usize, _: usize) -> u64 {
            u64::from([self.0, self.1, self.2].get(offset / 4).copied().unwrap_or(0))
        }
        fn write(&self, _: usize, _: usize, _: u64) {}
    }
    static EMPTY: Slot = Slot(0x7472_6976, 2, 0);
    static OTHER: Slot = Slot(1, 2, 3);
    static FUTURE: Slot = Slot(0x7472_6976, 3, 3);
    static MUTE: Slot = Slot(0x7472_6976, 2, 3);
    for slot in [&EMPTY, &OTHER, &FUTURE] {
        assert_eq!(Transport::new(Mmio::fake(slot, 0x200)).err(), Some(Errno::ENODEV));
    }
    let mute = Transport::new(Mmio::fake(&MUTE, 0x200)).unwrap();
    assert_eq!(mute.begin(2), Err(Errno::ENODEV), "it does not speak version 1");
    assert_eq!(mute.queue(0, 16).err(), Some(Errno::ENOENT));
}
