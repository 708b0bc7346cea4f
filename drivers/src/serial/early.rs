//! The early console: a UART driven by polling, with nothing but an address.
//!
//! It may be used before the MMU is on (at the UART's physical address) and in a panic: no lock, no atomic
//! read-modify-write (exclusives do not work before the MMU is on), and every wait is bounded, so that a UART which is
//! not there or does not drain costs time and loses output, but never stops the boot.

use crate::dt::early::EarlyUart as Place;
use crate::model::Mmio;

pub(super) const UARTDR: usize = 0x00;
pub(super) const UARTFR: usize = 0x18;
const FR_BUSY: u32 = 1 << 3;
pub(super) const FR_TXFF: u32 = 1 << 5;
/// The line status of a mini UART.
pub(super) const LSR: usize = 0x14;
pub(super) const LSR_CAN_SEND: u32 = 1 << 5;
const LSR_IDLE: u32 = 1 << 6;

/// How often the flag register is read while waiting for room. At 115200 baud one character takes 87 µs; a read takes
/// 50 ns or more.
const PATIENCE: u32 = 100_000;

/// A UART as the early console. The firmware has set the baud rate and switched it on.
#[derive(Clone, Copy, Debug)]
pub struct EarlyUart {
    io: Mmio,
    /// Its status register.
    status: usize,
    /// The bits of it that are inverted in what follows.
    inverted: u32,
    /// It takes no character while this is set.
    full: u32,
    /// It has characters that are not sent while this is set.
    busy: u32,
}

impl EarlyUart {
    /// The UART of this kind at `base`.
    ///
    /// # Safety
    /// `base` is the address, in whatever translation is in force whenever this is used, of the registers of such a UART.
    pub const unsafe fn new(kind: Place, base: *mut u8) -> Self {
        // SAFETY: the caller's contract; both kinds' registers are in their first 64 bytes.
        EarlyUart::from_mmio(kind, unsafe { Mmio::new(base, 0x40) })
    }

    /// The UART of this kind behind the window `io`.
    pub const fn from_mmio(kind: Place, io: Mmio) -> Self {
        match kind {
            Place::Pl011(_) => EarlyUart { io, status: UARTFR, inverted: 0, full: FR_TXFF, busy: FR_BUSY },
            Place::Bcm2835Aux(_) => EarlyUart { io, status: LSR, inverted: LSR_CAN_SEND | LSR_IDLE, full: LSR_CAN_SEND, busy: LSR_IDLE },
        }
    }

    /// Writes `bytes` as they are. Polls; bounded; any context.
    pub fn write(&self, bytes: &[u8]) {
        for &b in bytes {
            self.wait_while(self.full);
            self.io.write32(UARTDR, u32::from(b));
        }
    }

    /// Waits until the last character has left the UART; before a reset or when a panic ends the machine.
    pub fn drain(&self) {
        self.wait_while(self.busy);
    }

    fn wait_while(&self, flag: u32) {
        for _ in 0..PATIENCE {
            if (self.io.read32(self.status) ^ self.inverted) & flag == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Text: a line feed is sent as carriage return and line feed.
impl core::fmt::Write for EarlyUart {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for line in s.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(text) => {
                    self.write(text.as_bytes());
                    self.write(b"\r\n");
                }
                None => self.write(line.as_bytes()),
            }
        }
        Ok(())
    }
}

/// The UART that an `earlycon=` option names: `pl011,ADDR`, `pl011,mmio,ADDR`, `pl011,mmio32,ADDR`, or the same with
/// `bcm2835aux`, with options after another comma. `None` for anything else, and for `earlycon` without a value, which
/// means the console of `/chosen` ([`crate::dt::early::stdout_uart`]).
pub fn parse_earlycon(option: &str) -> Option<Place> {
    let mut parts = option.split(',');
    let kind = match parts.next()? {
        "pl011" => Place::Pl011,
        "bcm2835aux" => Place::Bcm2835Aux,
        _ => return None,
    };
    let mut address = parts.next()?;
    if matches!(address, "mmio" | "mmio32") {
        address = parts.next()?;
    }
    let address = match address.strip_prefix("0x").or_else(|| address.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => address.parse().ok()?,
    };
    Some(kind(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlycon_options() {
        assert_eq!(parse_earlycon("pl011,0x9000000"), Some(Place::Pl011(0x900_0000)));
        assert_eq!(parse_earlycon("pl011,mmio32,0xfe201000,115200n8"), Some(Place::Pl011(0xfe20_1000)));
        assert_eq!(parse_earlycon("pl011,mmio,4096"), Some(Place::Pl011(4096)));
        assert_eq!(parse_earlycon("bcm2835aux,mmio32,0x3f215040"), Some(Place::Bcm2835Aux(0x3f21_5040)));
        for bad in ["", "pl011", "pl011,", "pl011,mmio32", "uart8250,0x9000000", "pl011,zz"] {
            assert_eq!(parse_earlycon(bad), None, "{bad}");
        }
    }
}
