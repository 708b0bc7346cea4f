//! The settings of a terminal, and their layouts in the ABI.

use super::ntty::speed_of;
use vigil_abi::termios::{self as t, NCCS, Termios, Termios2};

/// The settings: `struct termios2`, with the speeds kept right.
#[derive(Clone, Copy, Debug)]
pub struct Settings(Termios2);

/// Control characters of a new terminal (Linux INIT_C_CC).
const INITIAL_CC: [u8; NCCS] = {
    let mut cc = [0; NCCS];
    cc[t::VINTR] = 0o3;
    cc[t::VQUIT] = 0o34;
    cc[t::VERASE] = 0o177;
    cc[t::VKILL] = 0o25;
    cc[t::VEOF] = 0o4;
    cc[t::VMIN] = 1;
    cc[t::VSTART] = 0o21;
    cc[t::VSTOP] = 0o23;
    cc[t::VSUSP] = 0o32;
    cc[t::VREPRINT] = 0o22;
    cc[t::VDISCARD] = 0o17;
    cc[t::VWERASE] = 0o27;
    cc[t::VLNEXT] = 0o26;
    cc
};

impl Settings {
    /// What a new terminal has (Linux `tty_std_termios`), on a serial line at 115200 baud.
    pub const INITIAL: Settings = Settings(Termios2 {
        c_iflag: t::ICRNL | t::IXON,
        c_oflag: t::OPOST | t::ONLCR,
        c_cflag: t::B115200 | t::CS8 | t::CREAD | t::HUPCL | t::CLOCAL,
        c_lflag: t::ISIG | t::ICANON | t::ECHO | t::ECHOE | t::ECHOK | t::ECHOCTL | t::ECHOKE | t::IEXTEN,
        c_line: 0,
        c_cc: INITIAL_CC,
        c_ispeed: 115_200,
        c_ospeed: 115_200,
    });

    /// Those of a `struct termios2` (TCSETS2).
    pub fn from_termios2(mut termios: Termios2) -> Settings {
        termios.c_line = 0;
        termios.c_ospeed = speed_of(&termios);
        let input_code = termios.c_cflag & t::CIBAUD;
        if input_code == 0 || termios.c_cflag & t::CBAUD != t::BOTHER {
            termios.c_ispeed = termios.c_ospeed;
        }
        Settings(termios)
    }

    /// These with what a `struct termios` says (TCSETS); speeds by their codes.
    pub fn with_termios(&self, new: &Termios) -> Settings {
        Settings::from_termios2(Termios2 {
            c_iflag: new.c_iflag,
            c_oflag: new.c_oflag,
            c_cflag: new.c_cflag,
            c_lflag: new.c_lflag,
            c_line: new.c_line,
            c_cc: new.c_cc,
            ..self.0
        })
    }

    /// As a `struct termios2`.
    pub fn to_termios2(&self) -> Termios2 {
        self.0
    }

    /// As a `struct termios`.
    pub fn to_termios(&self) -> Termios {
        let Termios2 { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc, .. } = self.0;
        Termios { c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc }
    }

    /// Input modes.
    pub fn iflag(&self) -> u32 {
        self.0.c_iflag
    }

    /// Output modes.
    pub fn oflag(&self) -> u32 {
        self.0.c_oflag
    }

    /// Control modes.
    pub fn cflag(&self) -> u32 {
        self.0.c_cflag
    }

    /// Local modes.
    pub fn lflag(&self) -> u32 {
        self.0.c_lflag
    }

    /// Control character `index` (V*).
    pub fn cc(&self, index: usize) -> u8 {
        self.0.c_cc.get(index).copied().unwrap_or(0)
    }

    /// Output speed in baud; 0: hang up.
    pub fn speed(&self) -> u32 {
        self.0.c_ospeed
    }

    /// Puts `set` in the place of `mask` in the control modes: a device corrects what it cannot do.
    pub fn set_cflag(&mut self, mask: u32, set: u32) {
        self.0.c_cflag = self.0.c_cflag & !mask | set & mask;
    }

    /// Sets both speeds to `baud`, and their codes where there is one.
    pub fn set_speed(&mut self, baud: u32) {
        self.0.c_ospeed = baud;
        self.0.c_ispeed = baud;
        if speed_of(&Termios2 { c_ospeed: 0, ..self.0 }) != baud {
            self.set_cflag(t::CBAUD, t::BOTHER);
        }
    }
}
