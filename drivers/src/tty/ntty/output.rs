//! Output processing (OPOST) with the cursor's column.

use super::NTty;
use vigil_abi::termios as t;

/// The most bytes that one byte of output becomes: a tab as eight spaces.
pub(in crate::tty) const MAX_EXPANSION: usize = 8;

impl NTty {
    /// Turns the byte `c` of a program's output into what the device gets and returns how many bytes that is, 0 to 8.
    /// The cursor's column follows. The caller has room for [`MAX_EXPANSION`] bytes at the device.
    pub(in crate::tty) fn process_output(&mut self, c: u8, out: &mut [u8; MAX_EXPANSION]) -> usize {
        if self.o(t::OPOST) {
            self.process(c, out)
        } else {
            out[0] = c;
            1
        }
    }

    /// How many of the first bytes of a program's output the device gets as they are; the cursor's column follows. With OPOST.
    pub(in crate::tty) fn pass_plain(&mut self, bytes: &[u8]) -> usize {
        if self.o(t::OLCUC) {
            return 0;
        }
        let plain = bytes.iter().position(|&c| super::is_control(c)).unwrap_or(bytes.len());
        let continuations = bytes[..plain].iter().filter(|&&c| self.is_continuation(c)).count();
        self.column += plain - continuations;
        plain
    }

    /// Whether output goes through unchanged and without being looked at.
    pub(in crate::tty) fn output_is_raw(&self) -> bool {
        !self.o(t::OPOST)
    }

    /// The most bytes that a byte of a program's output becomes.
    pub(in crate::tty) fn expansion(&self) -> usize {
        match self.settings.oflag() & t::TABDLY {
            _ if self.output_is_raw() => 1,
            t::XTABS => MAX_EXPANSION,
            _ => 2,
        }
    }

    pub(super) fn process(&mut self, c: u8, out: &mut [u8; MAX_EXPANSION]) -> usize {
        out[0] = c;
        match c {
            b'\n' => {
                if self.o(t::ONLRET) {
                    self.column = 0;
                }
                if self.o(t::ONLCR) {
                    self.column = 0;
                    self.canon_column = 0;
                    out[0] = b'\r';
                    out[1] = b'\n';
                    return 2;
                }
                self.canon_column = self.column;
            }
            b'\r' => {
                if self.o(t::ONOCR) && self.column == 0 {
                    return 0;
                }
                if self.o(t::OCRNL) {
                    out[0] = b'\n';
                    if self.o(t::ONLRET) {
                        self.column = 0;
                        self.canon_column = 0;
                    }
                } else {
                    self.column = 0;
                    self.canon_column = 0;
                }
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if self.settings.oflag() & t::TABDLY == t::XTABS {
                    out[..spaces].fill(b' ');
                    return spaces;
                }
            }
            b'\x08' => self.column = self.column.saturating_sub(1),
            c if !super::is_control(c) => {
                if self.o(t::OLCUC) {
                    out[0] = c.to_ascii_uppercase();
                }
                if !self.is_continuation(c) {
                    self.column += 1;
                }
            }
            _ => {}
        }
        1
    }
}
