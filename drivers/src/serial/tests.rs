//! A PL011 port on a register model, behind its terminal.

use super::pl011::Pl011;
use super::port::{Port, SerialPort};
use crate::char::{CharStream, Stop};
use crate::irq::IrqReturn;
use crate::model::{FakeDevice, Mmio};
use crate::tty::{Tty, TtyDriver};
use std::boxed::Box;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::vec::Vec;
use vigil_mem::{IoBuf, IoBufMut};

#[derive(Default)]
struct Model {
    rx: VecDeque<u32>,
    /// Sent and not yet on the line; 16 deep.
    fifo: usize,
    line: Vec<u8>,
    mask: u32,
    ticks_per_char: bool,
}

impl Model {
    /// A character is written to the data register.
    fn send(&mut self, value: u64) {
        self.line.push(value as u8);
        self.fifo += usize::from(self.ticks_per_char);
    }
}

struct Uart(Mutex<Model>);

impl FakeDevice for Uart {
    fn read(&self, offset: usize, _: usize) -> u64 {
        let mut m = self.0.lock().unwrap();
        u64::from(match offset {
            0x00 => m.rx.pop_front().unwrap_or(0),
            0x18 => u32::from(m.rx.is_empty()) << 4 | u32::from(m.fifo >= 16) << 5 | u32::from(m.fifo > 0) << 3,
            0x40 => (u32::from(!m.rx.is_empty()) << 4 | u32::from(m.fifo <= 8) << 5) & m.mask,
            _ => 0,
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        let mut m = self.0.lock().unwrap();
        match offset {
            0x00 => m.send(value),
            0x38 => m.mask = value as u32,
            _ => {}
        }
    }
}

fn setup(slow: bool) -> (&'static Uart, &'static Port<Pl011>, &'static Tty) {
    let uart: &'static Uart = Box::leak(Box::new(Uart(Mutex::new(Model { ticks_per_char: slow, ..Model::default() }))));
    let port: &'static Port<Pl011> = Box::leak(Box::new(Port::try_new(Pl011::new(Mmio::fake(uart, 0x1000), 24_000_000)).unwrap()));
    let tty = Tty::try_new("ttyT0", port).unwrap();
    port.start(tty);
    (uart, port, tty)
}

fn type_in(uart: &Uart, port: &Port<Pl011>, text: &[u8]) {
    uart.0.lock().unwrap().rx.extend(text.iter().map(|&b| u32::from(b)));
    assert_eq!(port.interrupt(), IrqReturn::Handled);
}

fn read(tty: &Tty, n: usize) -> Option<Vec<u8>> {
    let mut bytes = std::vec![0; n];
    match tty.try_read(&mut IoBufMut::kernel(&mut bytes)) {
        Ok(n) => Some(bytes[..n].to_vec()),
        Err(Stop::Wait(..)) => None,
        Err(e) => panic!("{e:?}"),
    }
}

#[test]
fn a_line_travels_from_the_wire_to_a_reader_and_its_echo_back() {
    let (uart, port, tty) = setup(false);
    assert_eq!(port.interrupt(), IrqReturn::None);
    assert_eq!(read(tty, 100), None);
    type_in(uart, port, b"helo\x7flo\r");
    assert_eq!(read(tty, 100).unwrap(), b"hello\n");
    assert_eq!(uart.0.lock().unwrap().line, b"helo\x08 \x08lo\r\n");
    assert_eq!(tty.try_write(&mut IoBuf::kernel(b"a\tb\n")).unwrap(), 4);
    assert!(uart.0.lock().unwrap().line.ends_with(b"a\tb\r\n"));
}

#[test]
fn slow_line_fills_the_ring_and_drains_by_interrupt() {
    let (uart, port, tty) = setup(true);
    let text: Vec<u8> = (0..6000u32).map(|i| b'a' + (i % 26) as u8).collect();
    let mut buf = IoBuf::kernel(&text);
    let taken = tty.try_write(&mut buf).unwrap();
    assert!((4000..6000).contains(&taken), "{taken}");
    assert!(matches!(tty.try_write(&mut buf), Err(Stop::Wait(..))));
    assert!(matches!(tty.try_drain(), Err(Stop::Wait(..))));
    assert_eq!(tty.poll() & vigil_abi::poll::POLLOUT, 0);
    let mut rounds = 0;
    while uart.0.lock().unwrap().line.len() < text.len() {
        uart.0.lock().unwrap().fifo = 0;
        port.interrupt();
        if !buf.is_empty() {
            let _ = tty.try_write(&mut buf);
        }
        rounds += 1;
        assert!(rounds < 1000);
    }
    assert_eq!(uart.0.lock().unwrap().line, text);
    assert!(tty.try_drain().is_ok());
    assert_eq!(uart.0.lock().unwrap().mask & 1 << 5, 0, "nothing left: the transmit interrupt is off");
    assert_ne!(tty.poll() & vigil_abi::poll::POLLOUT, 0);
}

#[test]
fn console_writes_while_the_port_is_locked_and_while_the_fifo_is_stuck() {
    let (uart, port, _) = setup(false);
    port.console_write(b"one\ntwo\n");
    assert_eq!(uart.0.lock().unwrap().line, b"one\r\ntwo\r\n");
    let (uart, port, _) = setup(true);
    port.console_write(&[b'x'; 20]);
    assert_eq!(uart.0.lock().unwrap().line.len(), 20, "a stuck UART costs time, no more");
}

#[test]
fn a_full_ring_holds_the_line_up_and_loses_nothing() {
    let (uart, port, tty) = setup(false);
    let mut raw = tty.settings().to_termios();
    raw.c_lflag = 0;
    raw.c_iflag = 0;
    tty.set_settings(tty.settings().with_termios(&raw)).unwrap();
    let text: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    uart.0.lock().unwrap().rx.extend(text.iter().map(|&b| u32::from(b)));
    let mut got = Vec::new();
    while got.len() < text.len() {
        while port.interrupt() == IrqReturn::Handled {}
        got.extend(read(tty, 777).unwrap());
    }
    assert_eq!(got, text);
    assert_eq!(port.overruns(), 0);
    assert_eq!(port.chars_in_buffer(), 0);
}

/// A mini UART: line status, interrupt identification, eight characters of FIFO.
struct Mini(Mutex<Model>);

impl FakeDevice for Mini {
    fn read(&self, offset: usize, _: usize) -> u64 {
        let mut m = self.0.lock().unwrap();
        let ready = u32::from(!m.rx.is_empty());
        let room = u32::from(m.fifo < 8);
        let raised = (m.mask & 5 == 5 && ready == 1) || (m.mask & 2 != 0 && room == 1);
        u64::from(match offset {
            0x00 => m.rx.pop_front().unwrap_or(0),
            0x04 => m.mask,
            0x08 => 0xc0 | u32::from(!raised),
            0x14 => ready | room << 5 | u32::from(m.fifo == 0) << 6,
            _ => 0,
        })
    }

    fn write(&self, offset: usize, _: usize, value: u64) {
        let mut m = self.0.lock().unwrap();
        match offset {
            0x00 => m.send(value),
            0x04 => m.mask = value as u32,
            _ => {}
        }
    }
}

#[test]
fn a_mini_uart_echoes_sends_by_interrupt_and_says_what_it_cannot() {
    let model = Model { ticks_per_char: true, ..Model::default() };
    let uart: &'static Mini = Box::leak(Box::new(Mini(Mutex::new(model))));
    let mini = super::miniuart::MiniUart::new(Mmio::fake(uart, 0x40), 250_000_000);
    let port: &'static Port<_> = Box::leak(Box::new(Port::try_new(mini).unwrap()));
    let tty = Tty::try_new("ttyT1", port).unwrap();
    port.start(tty);
    assert_eq!(port.interrupt(), IrqReturn::None);
    uart.0.lock().unwrap().rx.extend(b"ok\r".iter().map(|&b| u32::from(b)));
    assert_eq!(port.interrupt(), IrqReturn::Handled);
    assert_eq!(read(tty, 10).unwrap(), b"ok\n");
    assert_eq!(tty.try_write(&mut IoBuf::kernel(b"0123456789")).unwrap(), 10);
    assert_eq!(uart.0.lock().unwrap().line, b"ok\r\n0123", "the FIFO is full");
    uart.0.lock().unwrap().fifo = 0;
    assert_eq!(port.interrupt(), IrqReturn::Handled);
    assert_eq!(uart.0.lock().unwrap().line, b"ok\r\n0123456789");
    uart.0.lock().unwrap().fifo = 0;
    assert_eq!(port.interrupt(), IrqReturn::None, "nothing to send, nothing to say");
    port.console_write(b"x\n");
    assert!(uart.0.lock().unwrap().line.ends_with(b"9x\r\n"));
    let mut termios = tty.settings().to_termios();
    termios.c_cflag |= vigil_abi::termios::PARENB | vigil_abi::termios::CSTOPB;
    tty.set_settings(tty.settings().with_termios(&termios)).unwrap();
    assert_eq!(tty.settings().cflag() & (vigil_abi::termios::PARENB | vigil_abi::termios::CSTOPB), 0);
}
