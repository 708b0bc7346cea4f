//! The early console: a PL011 driven by polling, with nothing but an address.
//!
//! It may be used before the MMU is on (at the UART's physical address) and in a panic: no lock, no atomic
//! read-modify-write (exclusives do not work before the MMU is on), and every wait is bounded, so that a UART which is
//! not there or does not drain costs time and loses output, but never stops the boot.

use crate::model::Mmio;

pub(super) const UARTDR: usize = 0x00;
pub(super) const UARTFR: usize = 0x18;
pub(super) const FR_BUSY: u32 = 1 << 3;
pub(super) const FR_TXFF: u32 = 1 << 5;

/// How often the flag register is read while waiting for room. At 115200 baud one character takes 87 µs; a read takes
/// 50 ns or more.
const PATIENCE: u32 = 100_000;

/// A PL011 as the early console. The firmware has set the baud rate and switched it on.
#[derive(Clone, Copy, Debug)]
pub struct EarlyPl011 {
    io: Mmio,
}

impl EarlyPl011 {
    /// The UART at `base`.
    ///
    /// # Safety
    /// `base` is the address, in whatever translation is in force whenever this is used, of a PL011's registers.
    pub const unsafe fn new(base: *mut u8) -> Self {
        // SAFETY: the caller's contract; 4 KiB is the size of a PrimeCell's window.
        EarlyPl011 { io: unsafe { Mmio::new(base, 0x1000) } }
    }

    /// The UART behind the window `io`.
    pub const fn from_mmio(io: Mmio) -> Self {
        EarlyPl011 { io }
    }

    /// Writes `bytes` as they are. Polls; bounded; any context.
    pub fn write(&self, bytes: &[u8]) {
        for &b in bytes {
            self.wait_while(FR_TXFF);
            self.io.write32(UARTDR, u32::from(b));
        }
    }

    /// Waits until the last character has left the UART; before a reset or when a panic ends the machine.
    pub fn drain(&self) {
        self.wait_while(FR_BUSY);
    }

    fn wait_while(&self, flag: u32) {
        for _ in 0..PATIENCE {
            if self.io.read32(UARTFR) & flag == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }
}

/// Text: a line feed is sent as carriage return and line feed.
impl core::fmt::Write for EarlyPl011 {
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

/// The physical address in an `earlycon=` option that names a PL011: `pl011,ADDR`, `pl011,mmio,ADDR` or
/// `pl011,mmio32,ADDR`, with options after another comma. `None` for anything else, and for `earlycon` without a
/// value, which means the console of `/chosen` ([`crate::dt::early::stdout_uart`]).
pub fn parse_earlycon(option: &str) -> Option<u64> {
    let mut parts = option.split(',');
    if parts.next()? != "pl011" {
        return None;
    }
    let mut address = parts.next()?;
    if matches!(address, "mmio" | "mmio32") {
        address = parts.next()?;
    }
    match address.strip_prefix("0x").or_else(|| address.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => address.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlycon_options() {
        assert_eq!(parse_earlycon("pl011,0x9000000"), Some(0x900_0000));
        assert_eq!(parse_earlycon("pl011,mmio32,0xfe201000,115200n8"), Some(0xfe20_1000));
        assert_eq!(parse_earlycon("pl011,mmio,4096"), Some(4096));
        for bad in ["", "pl011", "pl011,", "pl011,mmio32", "uart8250,0x9000000", "pl011,zz"] {
            assert_eq!(parse_earlycon(bad), None, "{bad}");
        }
    }
}
