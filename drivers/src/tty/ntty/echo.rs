//! Echo, and the editing of a line: ERASE, WERASE, KILL, REPRINT.

use super::{NTty, is_control};
use vigil_abi::termios as t;

impl NTty {
    /// Sends one byte to the device as output, with OPOST if it is on. Dropped when the ring is full.
    pub(super) fn echo_raw(&mut self, c: u8) {
        if self.o(t::OPOST) {
            let mut bytes = [0; 8];
            let n = self.process(c, &mut bytes);
            for &b in bytes.iter().take(n) {
                self.echo.push(b);
            }
        } else {
            self.echo.push(c);
        }
    }

    /// Echoes `c` as it was typed: a control character as `^X` with ECHOCTL, except a tab.
    pub(super) fn echo_char(&mut self, c: u8) {
        if self.l(t::ECHOCTL) && is_control(c) && c != b'\t' {
            self.echo.push(b'^');
            self.echo.push(c ^ 0o100);
            self.column += 2;
        } else {
            self.echo_raw(c);
        }
    }

    /// Ends a stretch of characters that ECHOPRT shows between `\` and `/`.
    pub(super) fn finish_erasing(&mut self) {
        if self.erasing {
            self.echo_raw(b'/');
            self.erasing = false;
        }
    }

    /// Remembers where the line that is being typed starts, before its first echo.
    pub(super) fn note_line_start(&mut self) {
        if self.canon_head == self.head {
            self.canon_column = self.column;
        }
    }

    /// REPRINT: shows the line as it is.
    pub(super) fn reprint(&mut self, c: u8) {
        self.finish_erasing();
        self.echo_char(c);
        self.echo_raw(b'\n');
        let mut pos = self.canon_head;
        while pos != self.head {
            self.echo_char(self.at(pos));
            pos = pos.wrapping_add(1);
        }
    }

    /// KILL: forgets the line, showing it as ECHOK and ECHOKE say.
    pub(super) fn kill(&mut self, c: u8) {
        if self.head == self.canon_head {
            return;
        }
        if !self.l(t::ECHO) {
            self.head = self.canon_head;
        } else if self.l(t::ECHOK) && self.l(t::ECHOKE) && self.l(t::ECHOE) {
            while self.erase_one().is_some() {}
            self.finish_erasing();
        } else {
            self.head = self.canon_head;
            self.finish_erasing();
            self.echo_char(c);
            if self.l(t::ECHOK) {
                self.echo_raw(b'\n');
            }
        }
    }

    /// ERASE: forgets the last character.
    pub(super) fn erase(&mut self, c: u8) {
        let Some((last, from)) = self.cut() else { return };
        if self.l(t::ECHO) {
            if !self.l(t::ECHOPRT | t::ECHOE) {
                self.echo_char(c);
            } else {
                self.show_erased(last, from);
            }
        }
        self.end_if_line_is_empty();
    }

    /// WERASE: forgets the last word and what follows it.
    pub(super) fn erase_word(&mut self) {
        let mut seen_word = false;
        while let Some(first) = self.last_char_start() {
            let c = self.at(first);
            // Latin-1 letters count, as in Linux's ctype; so does what starts a UTF-8 character.
            if c.is_ascii_alphanumeric() || c == b'_' || (c >= 0xc0 && !matches!(c, 0xd7 | 0xf7)) {
                seen_word = true;
            } else if seen_word {
                break;
            }
            self.erase_one();
        }
        self.end_if_line_is_empty();
    }

    fn erase_one(&mut self) -> Option<u8> {
        let (c, from) = self.cut()?;
        if self.l(t::ECHO) {
            self.show_erased(c, from);
        }
        Some(c)
    }

    fn end_if_line_is_empty(&mut self) {
        if self.head == self.canon_head && self.l(t::ECHO) {
            self.finish_erasing();
        }
    }

    /// Where the last character of the line starts; `None` when the line is empty or begins inside a character.
    fn last_char_start(&self) -> Option<usize> {
        let mut pos = self.head;
        while pos != self.canon_head {
            pos = pos.wrapping_sub(1);
            if !self.is_continuation(self.at(pos)) {
                return Some(pos);
            }
        }
        None
    }

    /// Takes the last character off the line: its first byte, and where it started.
    fn cut(&mut self) -> Option<(u8, usize)> {
        let start = self.last_char_start()?;
        let old_head = self.head;
        self.head = start;
        Some((self.at(start), old_head))
    }

    /// Shows that the character `c`, whose bytes reach up to `end`, is gone.
    fn show_erased(&mut self, c: u8, end: usize) {
        if self.l(t::ECHOPRT) {
            if !self.erasing {
                self.echo_raw(b'\\');
                self.erasing = true;
            }
            self.echo_char(c);
            let mut pos = self.head.wrapping_add(1);
            while pos != end {
                self.echo_raw(self.at(pos));
                pos = pos.wrapping_add(1);
            }
        } else if c == b'\t' {
            self.erase_tab();
        } else {
            let control = is_control(c);
            if control && self.l(t::ECHOCTL) {
                self.rub_out();
            }
            if !control || self.l(t::ECHOCTL) {
                self.rub_out();
            }
        }
    }

    fn rub_out(&mut self) {
        self.echo_raw(b'\x08');
        self.echo_raw(b' ');
        self.echo_raw(b'\x08');
    }

    /// Goes back as far as the tab went: to the end of what stands before it, counted from the last tab stop.
    fn erase_tab(&mut self) {
        let mut width = 0usize;
        let mut after_tab = false;
        let mut pos = self.head;
        while pos != self.canon_head {
            pos = pos.wrapping_sub(1);
            let c = self.at(pos);
            if c == b'\t' {
                after_tab = true;
                break;
            } else if is_control(c) {
                width += if self.l(t::ECHOCTL) { 2 } else { 0 };
            } else if !self.is_continuation(c) {
                width += 1;
            }
        }
        if !after_tab {
            width += self.canon_column;
        }
        for _ in 0..8 - width % 8 {
            self.echo.push(b'\x08');
            self.column = self.column.saturating_sub(1);
        }
    }
}
