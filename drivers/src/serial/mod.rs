//! Serial ports: the early console, and PL011 ports.
//!
//! | module | runs |
//! |---|---|
//! | [`early`] | from the first instructions on, MMU off, polled; and in a panic |
//! | [`pl011`] | by interrupt, behind a tty |
//!
//! [`PL011_DRIVER`] goes into [`crate::model::probe_all`]; each port becomes `ttyAMAn`, where n is that of its alias
//! `serialN`, else the next free one.

pub mod early;
pub mod pl011;
#[cfg(test)]
mod tests;

pub use early::{EarlyPl011, parse_earlycon};
pub use pl011::{Pl011, set_sysrq_handler};

use crate::dt::Node;
use crate::irq::{self, IrqAction, IrqFlags};
use crate::model::{Driver, ioremap};
use crate::tty::Tty;
use core::sync::atomic::{AtomicPtr, Ordering};
use vigil_abi::Errno;
use vigil_mem::{KBox, PhysAddr};

/// How many ports there can be.
pub const MAX_PORTS: usize = 4;
const NAMES: [&str; MAX_PORTS] = ["ttyAMA0", "ttyAMA1", "ttyAMA2", "ttyAMA3"];
const ALIASES: [&str; MAX_PORTS] = ["serial0", "serial1", "serial2", "serial3"];

static PORTS: [AtomicPtr<Pl011>; MAX_PORTS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_PORTS];

/// The driver of PL011 ports.
pub static PL011_DRIVER: Driver =
    Driver { name: "uart-pl011", compatible: &["arm,pl011", "arm,sbsa-uart"], priority: 20, probe: probe_pl011 };

/// Port `index`: `ttyAMA{index}`.
pub fn port(index: usize) -> Option<&'static Pl011> {
    // SAFETY: a slot is null or points to a leaked, started port.
    unsafe { PORTS.get(index)?.load(Ordering::Acquire).as_ref() }
}

fn probe_pl011(node: Node<'_>) -> Result<(), Errno> {
    let region = node.reg(0).ok_or(Errno::EINVAL)?;
    let virq = irq::map_dt(node, 0)?;
    let io = ioremap(PhysAddr::new(region.base as usize), region.size as usize)?;
    let index = index_of(node).ok_or(Errno::ENOSPC)?;
    let port: &'static Pl011 = KBox::leak(KBox::try_new(Pl011::try_new(io, clock_of(node))?)?);
    let tty = Tty::try_new(NAMES[index], port)?;
    let action: &'static IrqAction =
        KBox::leak(KBox::try_new(IrqAction::for_device("uart-pl011", pl011::handler, port, IrqFlags::SHARED))?);
    irq::request_irq(virq, action)?;
    port.start(tty);
    PORTS[index].store(core::ptr::from_ref(port).cast_mut(), Ordering::Release);
    log::info!("{node}: {} at MMIO {:#x} (irq = {}) is a PL011", NAMES[index], region.base, virq.get());
    Ok(())
}

/// The number of the port at `node`: its alias's, or the first that neither a port nor another alias has.
fn index_of(node: Node<'_>) -> Option<usize> {
    let alias_of = |i: usize| node.tree().find(ALIASES[i]).map(|n| n.id());
    let free = |i: &usize| PORTS[*i].load(Ordering::Acquire).is_null();
    (0..MAX_PORTS)
        .find(|&i| alias_of(i) == Some(node.id()))
        .filter(free)
        .or_else(|| (0..MAX_PORTS).filter(free).find(|&i| alias_of(i).is_none()))
}

/// The UART's clock in Hz when the tree says it as a fixed clock; 0 otherwise.
fn clock_of(node: Node<'_>) -> u32 {
    let clock = node.prop_u32("clocks").and_then(|phandle| node.tree().by_phandle(phandle));
    clock.filter(|c| c.is_compatible("fixed-clock")).and_then(|c| c.prop_u32("clock-frequency")).unwrap_or(0)
}
