//! Serial ports: the early console, and ports behind a terminal.
//!
//! | module | runs |
//! |---|---|
//! | [`early`] | from the first instructions on, MMU off, polled; and in a panic |
//! | [`port`] | by interrupt, behind a tty |
//! | [`pl011`], [`miniuart`] | the registers |
//!
//! The drivers go into [`crate::model::probe_all`]. Ports are numbered by family, `ttyAMAn` and `ttySn`, where n is that of
//! the alias `serialN`, else the next free one; [`port`](fn@port) finds them.

pub mod early;
pub mod miniuart;
pub mod pl011;
pub mod port;
#[cfg(test)]
mod tests;

pub use early::{EarlyUart, parse_earlycon};
pub use port::{Port, SerialPort, set_sysrq_handler};

use crate::dt::Node;
use crate::irq::{self, IrqAction, IrqFlags};
use crate::mailbox::{self, Clock};
use crate::model::{Driver, Mmio, ioremap};
use crate::tty::Tty;
use miniuart::MiniUart;
use pl011::Pl011;
use port::Uart;
use vigil_abi::Errno;
use vigil_mem::{KBox, PhysAddr};

/// How many ports a family can have.
pub const MAX_PORTS: usize = 4;
const ALIASES: [&str; MAX_PORTS] = ["serial0", "serial1", "serial2", "serial3"];

/// Ports that share a name and a major number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// PL011.
    Ama = 0,
    /// 16550 and its like, the mini UART.
    S = 1,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 2] = [Family::Ama, Family::S];

    /// The names of its ports, without `/dev/`.
    pub const fn names(self) -> &'static [&'static str; MAX_PORTS] {
        match self {
            Family::Ama => &["ttyAMA0", "ttyAMA1", "ttyAMA2", "ttyAMA3"],
            Family::S => &["ttyS0", "ttyS1", "ttyS2", "ttyS3"],
        }
    }
}

static PORTS: [[spin::Once<&'static dyn SerialPort>; MAX_PORTS]; Family::ALL.len()] =
    [const { [const { spin::Once::new() }; MAX_PORTS] }; Family::ALL.len()];

/// The driver of PL011 ports.
pub static PL011_DRIVER: Driver =
    Driver { name: "uart-pl011", compatible: &["arm,pl011", "arm,sbsa-uart"], priority: 20, probe: probe_pl011 };

/// The driver of mini UARTs.
pub static MINIUART_DRIVER: Driver =
    Driver { name: "bcm2835-aux-uart", compatible: &["brcm,bcm2835-aux-uart"], priority: 20, probe: probe_miniuart };

/// Port `index` of `family`.
pub fn port(family: Family, index: usize) -> Option<&'static dyn SerialPort> {
    PORTS[family as usize].get(index)?.get().copied()
}

/// The port that `/chosen/stdout-path` names, once it is there.
pub fn stdout_port() -> Option<(Family, usize)> {
    STDOUT.get().copied()
}

static STDOUT: spin::Once<(Family, usize)> = spin::Once::new();

fn is_stdout(node: Node<'_>) -> bool {
    let path = node.tree().find("/chosen").and_then(|c| c.prop_str("stdout-path"));
    let path = path.and_then(|p| p.split(':').next());
    path.and_then(|p| node.tree().find(p)).is_some_and(|n| n.id() == node.id())
}

fn probe_pl011(node: Node<'_>) -> Result<(), Errno> {
    let clock = clock_of(node).unwrap_or_else(|| mailbox::rate(Clock::Uart));
    add(node, Family::Ama, "PL011", |io| Pl011::new(io, clock))
}

fn probe_miniuart(node: Node<'_>) -> Result<(), Errno> {
    // It is one of three devices behind a switch, which is its clock's.
    let switch = node.prop_u32("clocks").and_then(|phandle| node.tree().by_phandle(phandle));
    if let Some(region) = switch.filter(|s| s.is_compatible("brcm,bcm2835-aux")).and_then(|s| s.reg(0)) {
        let aux = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
        aux.write32(AUX_ENABLES, aux.read32(AUX_ENABLES) | AUX_MINI_UART);
    }
    add(node, Family::S, "mini UART", |io| MiniUart::new(io, mailbox::rate(Clock::Core)))
}

/// Which of the devices beside the mini UART are on.
const AUX_ENABLES: usize = 0x4;
const AUX_MINI_UART: u32 = 1;

/// Makes a port of the UART at `node`.
fn add<U: Uart>(node: Node<'_>, family: Family, kind: &str, uart: impl FnOnce(Mmio) -> U) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let virq = irq::map_dt(node, 0)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let index = index_of(node, family).ok_or(Errno::ENOSPC)?;
    let name = family.names()[index];
    let port: &'static Port<U> = KBox::leak(KBox::try_new(Port::try_new(uart(io))?)?);
    let tty = Tty::try_new(name, port)?;
    let action: &'static IrqAction =
        KBox::leak(KBox::try_new(IrqAction::for_device(U::DRIVER, port::handler::<U>, port, IrqFlags::SHARED))?);
    irq::request_irq(virq, action)?;
    port.start(tty);
    PORTS[family as usize][index].call_once(|| port);
    if is_stdout(node) {
        STDOUT.call_once(|| (family, index));
    }
    log::info!("{node}: {name} at MMIO {:#x} (irq = {}) is a {kind}", region.base, virq.get());
    Ok(())
}

/// The number of the port at `node`: its alias's, or the first that neither a port nor another alias has.
fn index_of(node: Node<'_>, family: Family) -> Option<usize> {
    let alias_of = |i: usize| node.tree().find(ALIASES[i]).map(|n| n.id());
    let free = |i: &usize| port(family, *i).is_none();
    (0..MAX_PORTS)
        .find(|&i| alias_of(i) == Some(node.id()))
        .filter(free)
        .or_else(|| (0..MAX_PORTS).filter(free).find(|&i| alias_of(i).is_none()))
}

/// The UART's clock in Hz when the tree says it as a fixed clock.
fn clock_of(node: Node<'_>) -> Option<u32> {
    let clock = node.prop_u32("clocks").and_then(|phandle| node.tree().by_phandle(phandle));
    clock.filter(|c| c.is_compatible("fixed-clock")).and_then(|c| c.prop_u32("clock-frequency"))
}
