//! The mini UART of a Raspberry Pi (BCM2835 ARM Peripherals, 2.2): the registers of a [`Port`](super::Port).
//!
//! Laid out as a 16550 with four bytes between registers, it has eight characters of FIFO each way, seven or eight bits,
//! no parity, no framing errors and no break in its input. Its speed follows the core's clock.

use super::early::{EarlyUart, LSR, LSR_CAN_SEND};
use super::port::{Interrupts, OVERRUN, Uart};
use crate::dt::early::EarlyUart as Place;
use crate::model::Mmio;
use crate::tty::Settings;
use vigil_abi::termios as t;

const IO: usize = 0x00;
const IER: usize = 0x04;
/// Interrupt identification when read, FIFO control when written.
const IIR: usize = 0x08;
const LCR: usize = 0x0c;
const CNTL: usize = 0x20;
const BAUD: usize = 0x28;
/// Receive interrupts; bit 2 must be set as well for any to come (the manual's errata).
const IER_RECEIVE: u32 = 0x5;
const IER_TRANSMIT: u32 = 0x2;
const IIR_NONE: u32 = 1;
const FIFO_CLEAR: u32 = 0x6;
const FIFO_ENABLE: u32 = 0x1;
const LCR_SEVEN: u32 = 0x2;
const LCR_EIGHT: u32 = 0x3;
const LCR_BREAK: u32 = 0x40;
const LSR_READY: u32 = 0x1;
const LSR_OVERRUN: u32 = 0x2;
/// Receiver and transmitter on, no automatic flow control.
const CNTL_ON: u32 = 0x3;

/// A mini UART.
pub struct MiniUart {
    io: Mmio,
    /// The core's clock in Hz; 0: unknown, the speed stays as the firmware set it.
    clock: u32,
}

impl MiniUart {
    /// The UART behind the window `io`; `clock` is the core's in Hz, 0 if unknown.
    pub const fn new(io: Mmio, clock: u32) -> Self {
        MiniUart { io, clock }
    }

    /// The divisor register for `baud`: an eighth of the clock, less one, rounded.
    fn divisor(&self, baud: u32) -> Option<u32> {
        let eighths = u64::from(baud) * 8;
        let d = (u64::from(self.clock) + eighths / 2).checked_div(eighths)?;
        d.checked_sub(1).and_then(|d| u32::try_from(d).ok()).filter(|&d| d <= 0xffff)
    }
}

impl Uart for MiniUart {
    const DRIVER: &'static str = "ttyS";

    fn start(&self) {
        self.io.write32(IER, 0);
        self.io.write32(LCR, LCR_EIGHT);
        self.io.write32(IIR, FIFO_ENABLE | FIFO_CLEAR);
        self.io.write32(CNTL, CNTL_ON);
    }

    fn set_interrupts(&self, on: Interrupts) {
        let receive = if on.receive { IER_RECEIVE } else { 0 };
        self.io.write32(IER, receive | if on.transmit { IER_TRANSMIT } else { 0 });
    }

    fn pending(&self) -> Interrupts {
        // It says one at a time; the line status says both, and the mask what of it is wanted.
        if self.io.read32(IIR) & IIR_NONE != 0 {
            return Interrupts { receive: false, transmit: false };
        }
        let (status, on) = (self.io.read32(LSR), self.io.read32(IER));
        let receive = status & LSR_READY != 0 && on & IER_RECEIVE != 0;
        Interrupts { receive, transmit: status & LSR_CAN_SEND != 0 && on & IER_TRANSMIT != 0 }
    }

    fn receive(&self) -> Option<u16> {
        // Reading the status forgets an overrun.
        let status = self.io.read32(LSR);
        let overrun = if status & LSR_OVERRUN != 0 { OVERRUN } else { 0 };
        (status & LSR_READY != 0).then(|| self.io.read32(IO) as u16 & 0xff | overrun)
    }

    fn can_send(&self) -> bool {
        self.io.read32(LSR) & LSR_CAN_SEND != 0
    }

    fn send(&self, c: u8) {
        self.io.write32(IO, u32::from(c));
    }

    fn write_polled(&self, bytes: &[u8]) {
        EarlyUart::from_mmio(Place::Bcm2835Aux(0), self.io).write(bytes);
    }

    fn set_line(&self, new: &mut Settings, old: &Settings, breaking: bool) {
        // No parity, one stop bit, no flow control, seven bits at least.
        let size = if new.cflag() & t::CSIZE == t::CS7 { t::CS7 } else { t::CS8 };
        new.set_cflag(t::PARENB | t::PARODD | t::CMSPAR | t::CSTOPB | t::CRTSCTS | t::CSIZE, size);
        if new.speed() != old.speed() && new.speed() != 0 {
            match self.divisor(new.speed()) {
                Some(d) => {
                    EarlyUart::from_mmio(Place::Bcm2835Aux(0), self.io).drain();
                    self.io.write32(BAUD, d);
                }
                None => new.set_speed(old.speed()),
            }
        }
        let length = if size == t::CS7 { LCR_SEVEN } else { LCR_EIGHT };
        self.io.write32(LCR, length | if breaking { LCR_BREAK } else { 0 });
    }

    fn set_break(&self, on: bool) {
        let lcr = self.io.read32(LCR);
        self.io.write32(LCR, if on { lcr | LCR_BREAK } else { lcr & !LCR_BREAK });
    }
}
