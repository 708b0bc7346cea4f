//! PL011 (Arm DDI 0183): the registers of a [`Port`](super::Port).

use super::early::{EarlyUart, FR_TXFF, UARTDR, UARTFR};
use super::port::{Interrupts, Uart};
use crate::dt::early::EarlyUart as Place;
use crate::model::Mmio;
use crate::tty::Settings;
use vigil_abi::termios as t;

const UARTIBRD: usize = 0x24;
const UARTFBRD: usize = 0x28;
const UARTLCR_H: usize = 0x2c;
const UARTCR: usize = 0x30;
const UARTIMSC: usize = 0x38;
const UARTMIS: usize = 0x40;
const UARTICR: usize = 0x44;
const FR_RXFE: u32 = 1 << 4;
const INT_RX: u32 = 1 << 4;
const INT_TX: u32 = 1 << 5;
const INT_RX_TIMEOUT: u32 = 1 << 6;
const INT_RECEIVE: u32 = INT_RX | INT_RX_TIMEOUT;
const ALL_INTS: u32 = 0x7ff;
const LCR_BRK: u32 = 1 << 0;
const LCR_PEN: u32 = 1 << 1;
const LCR_EPS: u32 = 1 << 2;
const LCR_STP2: u32 = 1 << 3;
const LCR_FEN: u32 = 1 << 4;
const LCR_SPS: u32 = 1 << 7;
const CR_UARTEN: u32 = 1 << 0;
const CR_TXE: u32 = 1 << 8;
const CR_RXE: u32 = 1 << 9;
const CR_DTR: u32 = 1 << 10;
const CR_RTS: u32 = 1 << 11;
const CR_RTSEN: u32 = 1 << 14;
const CR_CTSEN: u32 = 1 << 15;
/// A received character with its errors; these are where [`super::port`] has them.
const DR_MASK: u32 = 0xfff;
const _: () = {
    use super::port::{BREAK, FRAME_ERROR, OVERRUN, PARITY_ERROR};
    assert!(FRAME_ERROR == 1 << 8 && PARITY_ERROR == 1 << 9 && BREAK == 1 << 10 && OVERRUN == 1 << 11);
};

/// A PL011.
pub struct Pl011 {
    io: Mmio,
    /// The UART's clock in Hz; 0: unknown, the speed stays as the firmware set it.
    clock: u32,
}

impl Pl011 {
    /// The UART behind the window `io`; `clock` is its own in Hz, 0 if unknown.
    pub const fn new(io: Mmio, clock: u32) -> Self {
        Pl011 { io, clock }
    }

    /// The divisor registers for `baud`: a sixteenth of the clock in 1/64 steps, rounded.
    fn divisor(&self, baud: u32) -> Option<(u32, u32)> {
        let d = (u64::from(self.clock) * 4 + u64::from(baud) / 2).checked_div(u64::from(baud))?;
        let (int, frac) = ((d >> 6) as u32, (d & 63) as u32);
        (self.clock != 0 && (1..=0xffff).contains(&int)).then_some((int, frac))
    }
}

impl Uart for Pl011 {
    const DRIVER: &'static str = "uart-pl011";

    fn start(&self) {
        self.io.write32(UARTIMSC, 0);
        self.io.write32(UARTICR, ALL_INTS);
        self.io.write32(UARTLCR_H, 3 << 5 | LCR_FEN);
        self.io.write32(UARTCR, CR_UARTEN | CR_TXE | CR_RXE | CR_DTR | CR_RTS);
    }

    fn set_interrupts(&self, on: Interrupts) {
        let receive = if on.receive { INT_RECEIVE } else { 0 };
        self.io.write32(UARTIMSC, receive | if on.transmit { INT_TX } else { 0 });
    }

    fn pending(&self) -> Interrupts {
        let pending = self.io.read32(UARTMIS);
        // Receive and transmit interrupts end when their FIFO is served.
        if pending & !(INT_RECEIVE | INT_TX) != 0 {
            self.io.write32(UARTICR, pending & !(INT_RECEIVE | INT_TX));
        }
        Interrupts { receive: pending & INT_RECEIVE != 0, transmit: pending & INT_TX != 0 }
    }

    fn receive(&self) -> Option<u16> {
        (self.io.read32(UARTFR) & FR_RXFE == 0).then(|| (self.io.read32(UARTDR) & DR_MASK) as u16)
    }

    fn can_send(&self) -> bool {
        self.io.read32(UARTFR) & FR_TXFF == 0
    }

    fn send(&self, c: u8) {
        self.io.write32(UARTDR, u32::from(c));
    }

    fn write_polled(&self, bytes: &[u8]) {
        EarlyUart::from_mmio(Place::Pl011(0), self.io).write(bytes);
    }

    fn set_line(&self, new: &mut Settings, old: &Settings, breaking: bool) {
        let c = new.cflag();
        let mut lcr = ((c & t::CSIZE) >> 4) << 5 | LCR_FEN;
        for (flag, bit) in [(t::CSTOPB, LCR_STP2), (t::PARENB, LCR_PEN)] {
            lcr |= if c & flag != 0 { bit } else { 0 };
        }
        if c & t::PARENB != 0 {
            lcr |= if c & t::PARODD == 0 { LCR_EPS } else { 0 };
            lcr |= if c & t::CMSPAR != 0 { LCR_SPS } else { 0 };
        }
        let flow = if c & t::CRTSCTS != 0 { CR_RTSEN | CR_CTSEN } else { 0 };
        let speed = (new.speed() != old.speed() && new.speed() != 0).then(|| self.divisor(new.speed()));
        if speed == Some(None) {
            new.set_speed(old.speed());
        }
        let same = c & !t::CBAUD == old.cflag() & !t::CBAUD;
        if same && !matches!(speed, Some(Some(_))) {
            return;
        }
        lcr |= if breaking { LCR_BRK } else { 0 };
        // What is in the FIFO is lost when the UART is switched off: it is given time to leave.
        EarlyUart::from_mmio(Place::Pl011(0), self.io).drain();
        let cr = self.io.read32(UARTCR) & !(CR_RTSEN | CR_CTSEN);
        self.io.write32(UARTCR, 0);
        if let Some(Some((int, frac))) = speed {
            self.io.write32(UARTIBRD, int);
            self.io.write32(UARTFBRD, frac);
        }
        // Latches the divisor as well.
        self.io.write32(UARTLCR_H, lcr);
        self.io.write32(UARTCR, cr | flow);
    }

    fn set_break(&self, on: bool) {
        let lcr = self.io.read32(UARTLCR_H);
        self.io.write32(UARTLCR_H, if on { lcr | LCR_BRK } else { lcr & !LCR_BRK });
    }
}
