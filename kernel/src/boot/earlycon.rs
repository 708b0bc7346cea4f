//! The early console: a polled UART in the fixmap, shown from the first message on with `earlycon`, or by a panic that
//! finds no console at all.

use super::params::Params;
use crate::arch::aarch64::mmu;
use crate::arch::aarch64::mmu_layout::FixSlot;
use crate::arch::aarch64::pgtable_kernel::Prot;
use crate::debug::console::{self, Console, Kind};
use core::fmt::Write;
use vigil_drivers::dt::Dtb;
use vigil_drivers::dt::early::{EarlyUart as Place, stdout_uart};
use vigil_drivers::serial::early::{EarlyUart, parse_earlycon};

struct Early {
    name: &'static str,
    uart: EarlyUart,
}

impl Console for Early {
    fn name(&self) -> &str {
        self.name
    }

    fn write(&self, bytes: &[u8]) {
        let mut uart = self.uart;
        for part in bytes.utf8_chunks() {
            // The writer polls with a bound and does not fail.
            let _ = uart.write_str(part.valid());
            uart.write(part.invalid());
        }
    }
}

static EARLY: spin::Once<Early> = spin::Once::new();

/// Finds the UART of `earlycon=` or of `/chosen/stdout-path`, maps it, and shows the log there if the command line asks.
pub fn init(params: &Params<'_>, dtb: &Dtb<'_>) {
    let named = params.earlycon.and_then(|v| core::str::from_utf8(v).ok()).filter(|v| !v.is_empty());
    let Some(place) = named.and_then(parse_earlycon).or_else(|| stdout_uart(dtb)) else { return };
    let (name, phys) = match place {
        Place::Pl011(phys) => ("pl11", phys),
        Place::Bcm2835Aux(phys) => ("bcm2835aux0", phys),
    };
    let early = EARLY.call_once(|| {
        // SAFETY: the boot CPU is alone and the slot is for this; the tree or the command line says that such a UART is there.
        let uart = unsafe { EarlyUart::new(place, mmu::set_fixmap(FixSlot::Earlycon, phys, Prot::DEVICE) as *mut u8) };
        Early { name, uart }
    });
    if params.earlycon.is_some() {
        console::register(early, Kind::Boot);
    }
}

/// A panic without a console: shows the log on the early one, if the tree named one.
pub fn show_if_no_console() {
    let mut any = false;
    console::for_each(|_, _| any = true);
    if let Some(early) = EARLY.get().filter(|_| !any) {
        console::register(early, Kind::Boot);
    }
}
