//! Receiving: from characters and line errors to the read buffer, echoes and signals.

use super::{DISABLED, NTty, SIZE};
use crate::tty::Condition;
use vigil_abi::termios as t;

/// A signal for the foreground process group, as a bit.
const SIG_INT: u32 = 1 << 0;
const SIG_QUIT: u32 = 1 << 1;
const SIG_TSTP: u32 = 1 << 2;

/// What receiving asks of the terminal.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[must_use = "signals must be sent and readers woken"]
pub struct Received {
    signals: u32,
    /// Readers have something to read, or less than before.
    pub wake_readers: bool,
    /// Drop the output that the device still has, because a signal character came without NOFLSH.
    pub flush_output: bool,
    /// Output was stopped or started.
    pub flow_changed: bool,
}

impl Received {
    /// An interrupt character came: SIGINT to the foreground group.
    pub fn interrupt(&self) -> bool {
        self.signals & SIG_INT != 0
    }

    /// A quit character came: SIGQUIT.
    pub fn quit(&self) -> bool {
        self.signals & SIG_QUIT != 0
    }

    /// A suspend character came: SIGTSTP.
    pub fn suspend(&self) -> bool {
        self.signals & SIG_TSTP != 0
    }

    /// Adds what `other` asks.
    pub fn merge(&mut self, other: Received) {
        self.signals |= other.signals;
        self.wake_readers |= other.wake_readers;
        self.flush_output |= other.flush_output;
        self.flow_changed |= other.flow_changed;
    }
}

impl NTty {
    /// Whether one more character can be taken: there is room, or none of the line is complete, in which case the
    /// last place is kept for its end. When not, the device keeps it until a read made room.
    pub fn can_receive(&self) -> bool {
        // A marked parity error takes three places.
        self.count() + 3 < SIZE || (self.canonical() && self.canon_head == self.tail)
    }

    /// Takes one character with its line condition.
    pub fn receive(&mut self, c: u8, condition: Condition) -> Received {
        let mut r = Received::default();
        match condition {
            Condition::Normal => self.receive_char(c, &mut r),
            Condition::Break => self.receive_break(&mut r),
            Condition::Parity | Condition::Frame => self.receive_error(c, &mut r),
            // The character before was lost; this one is good.
            Condition::Overrun => self.receive_char(c, &mut r),
        }
        if !self.canonical() && self.count() != 0 {
            r.wake_readers = true;
        }
        r
    }

    fn receive_break(&mut self, r: &mut Received) {
        if self.i(t::IGNBRK) {
            return;
        }
        if self.i(t::BRKINT) {
            self.signal(SIG_INT, r);
            return;
        }
        if self.i(t::PARMRK) {
            self.put(0xff);
            self.put(0);
        }
        self.put(0);
    }

    fn receive_error(&mut self, c: u8, r: &mut Received) {
        if !self.i(t::INPCK) {
            return self.receive_char(c, r);
        }
        if self.i(t::IGNPAR) {
            return;
        }
        if self.i(t::PARMRK) {
            self.put(0xff);
            self.put(0);
            self.put(c);
        } else {
            self.put(0);
        }
    }

    fn receive_char(&mut self, mut c: u8, r: &mut Received) {
        if self.i(t::ISTRIP) {
            c &= 0x7f;
        }
        if self.i(t::IUCLC) && self.l(t::IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if self.l(t::EXTPROC) {
            self.put(c);
            return;
        }
        if self.lnext {
            self.lnext = false;
            self.restart_if_any(r);
            return self.ordinary(c);
        }
        if self.flow_char(c, r) || self.signal_char(c, r) {
            return;
        }
        self.restart_if_any(r);
        match c {
            b'\r' if self.i(t::IGNCR) => return,
            b'\r' if self.i(t::ICRNL) => c = b'\n',
            b'\n' if self.i(t::INLCR) => c = b'\r',
            _ => {}
        }
        if !(self.canonical() && self.edit(c, r)) {
            self.ordinary(c);
        }
    }

    /// START and STOP.
    fn flow_char(&mut self, c: u8, r: &mut Received) -> bool {
        if !self.i(t::IXON) {
            return false;
        }
        // When both are the same character, it starts.
        if self.is_cc(c, t::VSTART) {
            self.stopped = false;
        } else if self.is_cc(c, t::VSTOP) {
            self.stopped = true;
        } else {
            return false;
        }
        r.flow_changed = true;
        true
    }

    /// IXANY: any character starts output again.
    fn restart_if_any(&mut self, r: &mut Received) {
        if self.stopped && self.i(t::IXON) && self.i(t::IXANY) {
            self.stopped = false;
            r.flow_changed = true;
        }
    }

    /// INTR, QUIT and SUSP.
    fn signal_char(&mut self, c: u8, r: &mut Received) -> bool {
        if !self.l(t::ISIG) {
            return false;
        }
        let signal = if self.is_cc(c, t::VINTR) {
            SIG_INT
        } else if self.is_cc(c, t::VQUIT) {
            SIG_QUIT
        } else if self.is_cc(c, t::VSUSP) {
            SIG_TSTP
        } else {
            return false;
        };
        self.signal(signal, r);
        if self.i(t::IXON) && self.stopped {
            self.stopped = false;
            r.flow_changed = true;
        }
        if self.l(t::ECHO) {
            self.echo_char(c);
        }
        true
    }

    fn signal(&mut self, signal: u32, r: &mut Received) {
        r.signals |= signal;
        if !self.l(t::NOFLSH) {
            self.flush_input();
            self.flush_output();
            r.flush_output = true;
            r.wake_readers = true;
        }
    }

    /// Canonical mode's own characters; `false` for one that is none.
    fn edit(&mut self, c: u8, r: &mut Received) -> bool {
        let extended = self.l(t::IEXTEN);
        if self.is_cc(c, t::VERASE) {
            self.erase(c);
        } else if self.is_cc(c, t::VKILL) {
            self.kill(c);
        } else if extended && self.is_cc(c, t::VWERASE) {
            self.erase_word();
        } else if extended && self.is_cc(c, t::VLNEXT) {
            self.lnext = true;
            if self.l(t::ECHO) {
                self.finish_erasing();
                if self.l(t::ECHOCTL) {
                    self.echo_raw(b'^');
                    self.echo_raw(b'\x08');
                }
            }
        } else if extended && self.l(t::ECHO) && self.is_cc(c, t::VREPRINT) {
            self.reprint(c);
        } else if c == b'\n' {
            if self.l(t::ECHO | t::ECHONL) {
                self.finish_erasing();
                self.echo_raw(b'\n');
            }
            self.end_line(c, r);
        } else if self.is_cc(c, t::VEOF) {
            self.end_line(DISABLED, r);
        } else if self.is_cc(c, t::VEOL) || (extended && self.is_cc(c, t::VEOL2)) {
            if self.l(t::ECHO) {
                self.note_line_start();
                self.echo_char(c);
            }
            self.end_line(c, r);
        } else {
            return false;
        }
        true
    }

    fn end_line(&mut self, c: u8, r: &mut Received) {
        if self.count() >= SIZE - 1 {
            if self.head == self.canon_head {
                return;
            }
            // The line is too long: its end takes the place of its last character.
            self.head = self.head.wrapping_sub(1);
        }
        self.marks.set(self.head);
        self.put(c);
        self.canon_head = self.head;
        r.wake_readers = true;
    }

    /// A character that means itself.
    fn ordinary(&mut self, c: u8) {
        if self.l(t::ECHO) {
            self.finish_erasing();
            if c == b'\n' {
                self.echo_raw(b'\n');
            } else {
                self.note_line_start();
                self.echo_char(c);
            }
        }
        if c == 0xff && self.i(t::PARMRK) {
            self.put(c);
        }
        self.put(c);
    }

    fn put(&mut self, c: u8) {
        // One place stays free, so that a full buffer and an empty one differ and a long line can still end.
        if self.count() >= SIZE - 1 {
            return;
        }
        self.buf[self.head % SIZE] = c;
        self.head = self.head.wrapping_add(1);
    }
}
