//! The kernel's console on serial ports: `console=` of the command line, and which terminal `/dev/console` is.

use super::Terminal;
use crate::debug::console::{self, Console, Kind};
use core::sync::atomic::{AtomicUsize, Ordering::*};
use vigil_drivers::serial::{self, MAX_PORTS};

struct SerialConsole {
    index: usize,
    name: &'static str,
}

static CONSOLES: [SerialConsole; MAX_PORTS] = [
    SerialConsole { index: 0, name: "ttyAMA0" },
    SerialConsole { index: 1, name: "ttyAMA1" },
    SerialConsole { index: 2, name: "ttyAMA2" },
    SerialConsole { index: 3, name: "ttyAMA3" },
];

/// The port of `/dev/console`; `MAX_PORTS`: none.
static PREFERRED: AtomicUsize = AtomicUsize::new(MAX_PORTS);

impl Console for SerialConsole {
    fn name(&self) -> &str {
        self.name
    }

    fn write(&self, bytes: &[u8]) {
        if let Some(port) = serial::port(self.index) {
            port.console_write(bytes);
        }
    }
}

/// Makes consoles of the ports that `console=` names, or of the first one if there is no such word (Linux takes
/// stdout-path then). The last one named is `/dev/console`.
pub fn register() {
    let Some(params) = crate::boot::params() else { return };
    let named = params.consoles.iter().flatten().count() != 0;
    for console in &CONSOLES {
        if serial::port(console.index).is_none() {
            continue;
        }
        let position = params.consoles.iter().flatten().any(|(name, _)| *name == console.name.as_bytes());
        if position || (!named && console.index == 0) {
            console::register(console, Kind::Normal);
        }
    }
    let is = |name: &[u8]| CONSOLES.iter().find(|c| c.name.as_bytes() == name && serial::port(c.index).is_some());
    let last = params.consoles.iter().flatten().rev().find_map(|(name, _)| is(name));
    let preferred = match last {
        Some(console) => console.index,
        None if !named && serial::port(0).is_some() => 0,
        None => MAX_PORTS,
    };
    PREFERRED.store(preferred, Release);
}

/// The terminal that `/dev/console` is.
pub fn terminal() -> Option<&'static Terminal> {
    super::TERMINALS.get(PREFERRED.load(Acquire)).filter(|t| t.tty().is_some())
}
