//! The line discipline N_TTY as a state machine: characters in, actions out; no lock, no device, no clock.
//!
//! ```text
//!   device ─► receive() ─► read buffer ─► read()           what a program reads
//!                │ echo
//!                ▼
//!             output ring ◄─ write() (OPOST) ◄────────────── what a program writes
//!                └─► the device
//! ```
//!
//! Behaviour is Linux's `drivers/tty/n_tty.c` of 6.1: canonical editing with ECHOE, ECHOK, ECHOKE, ECHOCTL, ECHOPRT,
//! literal next, reprint; the input maps; OPOST with column tracking, so that erasing a tab goes back as far as it
//! went; flow control; signals. What it asks of the kernel it returns in [`Received`].
//!
//! The read buffer has 4 096 bytes. Positions run freely; a position modulo the size is an index.

mod echo;
mod input;
mod output;
mod read;
#[cfg(test)]
mod tests;

pub use input::Received;
pub(super) use output::MAX_EXPANSION;

use super::Settings;
use crate::ring::ByteRing;
use vigil_abi::termios::{self as t, Termios2};
use vigil_mem::{AllocError, KVec};

/// Size of the read buffer (Linux: N_TTY_BUF_SIZE). A line has at most one byte less, its end included.
pub(super) const SIZE: usize = 4096;
/// A control character that is switched off (Linux: __DISABLED_CHAR), and the mark that stands for an end of file.
const DISABLED: u8 = 0;
/// What is echoed and not yet taken by the device. A full ring drops echoes, never output.
const ECHO_SIZE: usize = 4096;

/// A mark per byte of the read buffer: an end of line was received there.
#[derive(Clone)]
struct Marks([u64; SIZE / 64]);

impl Marks {
    fn set(&mut self, pos: usize) {
        self.0[pos % SIZE / 64] |= 1 << (pos % 64);
    }

    fn clear(&mut self, pos: usize) {
        self.0[pos % SIZE / 64] &= !(1 << (pos % 64));
    }

    fn get(&self, pos: usize) -> bool {
        self.0[pos % SIZE / 64] & 1 << (pos % 64) != 0
    }
}

/// The line discipline of one terminal.
pub struct NTty {
    settings: Settings,
    buf: KVec<u8>,
    marks: Marks,
    /// Where the next character is stored.
    head: usize,
    /// Where the next read starts.
    tail: usize,
    /// After the last complete line: editing goes back to here, canonical reads up to here.
    canon_head: usize,
    /// The column of the cursor, and where the line that is being edited began.
    column: usize,
    canon_column: usize,
    /// The next character is taken literally.
    lnext: bool,
    /// Between the `\` and the `/` of ECHOPRT.
    erasing: bool,
    /// Output is stopped: by the STOP character, or by TCOOFF, which START does not undo.
    stopped: bool,
    tco_stopped: bool,
    echo: ByteRing<ECHO_SIZE>,
}

impl NTty {
    /// A terminal with Linux's initial settings. Allocates its buffers.
    pub fn try_new() -> Result<Self, AllocError> {
        let mut buf = KVec::new();
        buf.try_resize(SIZE, 0)?;
        Ok(NTty {
            settings: Settings::INITIAL,
            buf,
            marks: Marks([0; SIZE / 64]),
            head: 0,
            tail: 0,
            canon_head: 0,
            column: 0,
            canon_column: 0,
            lnext: false,
            erasing: false,
            stopped: false,
            tco_stopped: false,
            echo: ByteRing::try_new()?,
        })
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings (Linux `n_tty_set_termios`): entering or leaving canonical mode makes what was typed
    /// readable, and switching IXON off starts output. Returns whether readers should look again.
    pub fn set_settings(&mut self, new: Settings) -> bool {
        let old = self.settings;
        self.settings = new;
        let changed = old.lflag() ^ new.lflag();
        if changed & (t::ICANON | t::EXTPROC) != 0 {
            self.marks = Marks([0; SIZE / 64]);
            if new.lflag() & t::ICANON == 0 || self.count() == 0 {
                self.canon_head = self.tail;
            } else {
                // What is there already counts as a line without an end.
                self.marks.set(self.head.wrapping_sub(1));
                self.canon_head = self.head;
            }
            self.erasing = false;
            self.lnext = false;
        }
        if new.iflag() & t::IXON == 0 && old.iflag() & t::IXON != 0 && !self.tco_stopped {
            self.stopped = false;
        }
        changed & t::ICANON != 0
    }

    /// Bytes in the read buffer.
    fn count(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    /// Bytes that `FIONREAD` reports: complete lines in canonical mode, end-of-file marks not counted.
    pub fn readable(&self) -> usize {
        if !self.canonical() {
            return self.count();
        }
        let mut n = self.canon_head.wrapping_sub(self.tail);
        let mut pos = self.tail;
        while pos != self.canon_head {
            if self.marks.get(pos) && self.at(pos) == DISABLED {
                n -= 1;
            }
            pos = pos.wrapping_add(1);
        }
        n
    }

    /// Whether a read would not wait: a line in canonical mode, else `min` bytes (at least one).
    pub fn input_available(&self, min: usize) -> bool {
        if self.canonical() { self.canon_head != self.tail } else { self.count() >= min.max(1) }
    }

    /// Drops what was received and not read (TCIFLUSH).
    pub fn flush_input(&mut self) {
        self.head = 0;
        self.tail = 0;
        self.canon_head = 0;
        self.marks = Marks([0; SIZE / 64]);
        self.erasing = false;
        self.lnext = false;
    }

    /// Drops echoes that the device has not taken (TCOFLUSH).
    pub fn flush_output(&mut self) {
        self.echo.clear();
    }

    /// Whether output is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped || self.tco_stopped
    }

    /// TCOOFF and TCOON: stops and starts output by the program's wish.
    pub fn set_tco_stopped(&mut self, stopped: bool) {
        self.tco_stopped = stopped;
        if !stopped {
            self.stopped = false;
        }
    }

    /// Echoes that wait for the device.
    pub(super) fn pending_echo(&mut self) -> &mut ByteRing<ECHO_SIZE> {
        &mut self.echo
    }

    fn canonical(&self) -> bool {
        self.settings.lflag() & (t::ICANON | t::EXTPROC) == t::ICANON
    }

    fn l(&self, flags: u32) -> bool {
        self.settings.lflag() & flags != 0
    }

    fn i(&self, flags: u32) -> bool {
        self.settings.iflag() & flags != 0
    }

    fn o(&self, flags: u32) -> bool {
        self.settings.oflag() & flags != 0
    }

    /// Whether `c` is the control character at `index` of c_cc.
    fn is_cc(&self, c: u8, index: usize) -> bool {
        let cc = self.settings.cc(index);
        cc != DISABLED && cc == c
    }

    fn at(&self, pos: usize) -> u8 {
        self.buf[pos % SIZE]
    }

    /// A byte that continues a UTF-8 character.
    fn is_continuation(&self, c: u8) -> bool {
        self.i(t::IUTF8) && c & 0xc0 == 0x80
    }
}

/// Whether `c` is echoed as `^` and a letter.
fn is_control(c: u8) -> bool {
    c < 0x20 || c == 0x7f
}

/// The speeds that the B* constants of c_cflag mean, in their order; from index 15 on with CBAUDEX.
const SPEEDS: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115_200, 230_400, 460_800, 500_000,
    576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// The output speed in baud that `termios` asks for (Linux `tty_termios_baud_rate`).
pub(super) fn speed_of(termios: &Termios2) -> u32 {
    let code = termios.c_cflag & t::CBAUD;
    if code == t::BOTHER {
        return termios.c_ospeed;
    }
    let index = if code & t::CBAUDEX != 0 { (code & !t::CBAUDEX) as usize + 15 } else { code as usize };
    SPEEDS.get(index).copied().unwrap_or(0)
}
