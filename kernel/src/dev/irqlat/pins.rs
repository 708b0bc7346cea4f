//! Pins that are toggled where a stage is passed, for a logic analyser (`irqlat.pins=`): one store each, at sites that are changed while
//! somebody measures and are what they were otherwise (`vigil_executor::trace`, `KEY_PINS`).

use crate::boot::params::LatencyPins;
use crate::pr_warn;
use crate::trace::PINNED;
use core::array::from_fn;
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, Release},
};
use vigil_abi::Errno;
use vigil_drivers::gpio::{Settings, controller};
use vigil_executor::cpu::{CpuId, local_of};
use vigil_executor::trace::{Pin, STAGES, Store};
use vigil_mem::KBox;

/// Where the store of a stage without a pin goes.
static NOWHERE: AtomicU32 = AtomicU32::new(0);

/// Takes a line, for ever, low.
fn take(chip: u32, line: u32) -> Result<[Store; 2], Errno> {
    let pins = controller(chip as usize).ok_or(Errno::ENODEV)?;
    let stores = pins.chip.stores(line)?;
    pins.request(line, b"irqlat.pins")?;
    pins.configure(line, Settings { output: true, ..Settings::default() }, false)?;
    Ok(stores)
}

fn prepare(wanted: &LatencyPins) -> Result<(), Errno> {
    let cpu = CpuId::new(wanted.cpu as usize).ok_or(Errno::ENXIO)?;
    let mut stores = [[Store { register: NOWHERE.as_ptr() as usize, value: 0 }; 2]; STAGES];
    for (to, pin) in stores.iter_mut().zip(wanted.pins) {
        if let Some((chip, line)) = pin {
            *to = take(chip, line)?;
        }
    }
    // SAFETY: each store sets a pin that is this file's for ever, or a word that nobody reads.
    let pins = KBox::try_new(from_fn(|stage| unsafe { Pin::new(stores[stage]) }))?;
    local_of(cpu).pins.store(KBox::leak(pins), Release);
    PINNED.store(true, Relaxed);
    Ok(())
}

/// Takes the pins of the command line. What cannot be is said in the log.
pub(super) fn init() {
    if let Some(wanted) = crate::boot::params().and_then(|p| p.irqlat_pins.as_ref())
        && let Err(e) = prepare(wanted)
    {
        pr_warn!("irqlat.pins: {}", e.name());
    }
}
