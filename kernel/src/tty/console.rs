//! The kernel's console on serial ports: `console=` of the command line, and which terminal `/dev/console` is.

use super::{TERMINALS, Terminal};
use crate::debug::console::{self, Console, Kind};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use vigil_drivers::serial::{self, Family, SerialPort};

/// The index of the terminal that is `/dev/console`; `TERMINALS.len()`: none.
static PREFERRED: AtomicUsize = AtomicUsize::new(TERMINALS.len());

impl Terminal {
    fn port(&self) -> Option<&'static dyn SerialPort> {
        serial::port(self.family, self.index)
    }
}

impl Console for Terminal {
    fn name(&self) -> &str {
        Terminal::name(self)
    }

    fn write(&self, bytes: &[u8]) {
        if let Some(port) = self.port() {
            port.console_write(bytes);
        }
    }
}

/// Makes consoles of the ports that `console=` names; if there is no such word, of the one that stdout-path names, else of
/// the first PL011. The last one named is `/dev/console`.
pub fn register() {
    let Some(params) = crate::boot::params() else { return };
    let named = || params.consoles.iter().flatten().map(|(name, _)| *name);
    let (family, index) = serial::stdout_port().unwrap_or((Family::Ama, 0));
    let default = |t: &Terminal| named().count() == 0 && (t.family, t.index) == (family, index);
    for terminal in TERMINALS.iter().filter(|t| t.port().is_some()) {
        if default(terminal) || named().any(|name| name == terminal.name().as_bytes()) {
            console::register(terminal, Kind::Normal);
        }
    }
    let is = |name: &[u8]| TERMINALS.iter().position(|t| t.name().as_bytes() == name && t.port().is_some());
    // `named` is in order: the last one that is there.
    let last = named().filter_map(is).last();
    let preferred = last.or_else(|| TERMINALS.iter().position(|t| default(t) && t.port().is_some()));
    PREFERRED.store(preferred.unwrap_or(TERMINALS.len()), Release);
}

/// The terminal that `/dev/console` is.
pub fn terminal() -> Option<&'static Terminal> {
    TERMINALS.get(PREFERRED.load(Acquire)).filter(|t| t.tty().is_some())
}
