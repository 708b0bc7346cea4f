//! What must be known before the kernel's tables are made: the device tree's seed, the command line's switches, the CPU's
//! needs. Runs at the load address; the tree is reached through the identity map.

use super::alternative::{self, FLUSH_PREDICTOR, HVC, KPTI};
use super::boot::BootArgs;
use super::features_mitigation::{ARCH_WORKAROUND_1, Kpti, Switches, decide_kpti};
use super::{cpu, features, kaslr, pgtable_kernel, psci};
use crate::boot::params::{Mitigate, Params};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use vigil_drivers::dt;
use vigil_drivers::dt::early::PsciMethod;

/// Whether the trampoline's tables are to be made. `.bss` is not relocated, so it survives the second relocation.
static KPTI_ON: AtomicBool = AtomicBool::new(false);

/// Whether the kernel is unmapped while EL0 runs, as decided here.
pub(super) fn kpti_wanted() -> bool {
    KPTI_ON.load(Relaxed)
}

/// What the tree says.
#[derive(Default)]
struct Found {
    seed: Option<u64>,
    switches: Switches,
    psci: Option<PsciMethod>,
}

/// What the command line says about mitigations.
pub fn switches_of(params: &Params<'_>) -> Switches {
    Switches {
        off: params.mitigations == Mitigate::Off,
        nospectre_v2: params.nospectre_v2,
        nospectre_bhb: params.nospectre_bhb,
        ssbd: params.ssbd,
        kpti: params.kpti,
    }
}

/// Decides about KPTI, once more when the boot says why.
pub fn kpti_reason(switches: &Switches) -> Kpti {
    decide_kpti(&features::read_this_cpu(), cpu::midr(), switches, kaslr::offset() != 0)
}

/// Chooses the image's virtual address, which is returned, and turns on the alternatives that this machine needs.
///
/// # Safety
/// Once, on the boot CPU, at the load address.
pub(super) unsafe fn prepare(args: &BootArgs) -> usize {
    let found = read_tree(args.x[0]).unwrap_or_default();
    let image_va = kaslr::choose(args, found.seed);
    psci::init(found.psci);
    let mut on = 0;
    if kpti_reason(&found.switches).is_on() {
        KPTI_ON.store(true, Relaxed);
        pgtable_kernel::make_non_global();
        on |= KPTI;
    }
    if psci::uses_hvc() == Some(true) {
        on |= HVC;
    }
    // Any answer: which of the CPUs need it, each finds out when it starts.
    if !found.switches.off && !found.switches.nospectre_v2 && psci::arch_features(ARCH_WORKAROUND_1).is_some() {
        on |= FLUSH_PREDICTOR;
    }
    // SAFETY: by the caller's contract.
    unsafe { alternative::apply(on) };
    image_va
}

/// Reads the tree at `dtb` and wipes the seed in it.
fn read_tree(dtb: u64) -> Option<Found> {
    if dtb == 0 {
        return None;
    }
    // SAFETY: the entry code mapped the 2 MiB block of `dtb` and the next one, writable; nothing else refers to them.
    let head = unsafe { core::slice::from_raw_parts(dtb as *const u8, 40) };
    let size = dt::Dtb::peek_size(head).ok()?;
    // SAFETY: as above; `peek_size` answers at most 2 MiB.
    let blob = unsafe { core::slice::from_raw_parts(dtb as *const u8, size) };
    let tree = dt::validate(blob).ok()?;
    let chosen = dt::early::chosen(&tree);
    let params = Params::parse(chosen.bootargs.unwrap_or("").as_bytes(), |_, _| {});
    let found = Found {
        seed: chosen.kaslr_seed.filter(|s| *s != 0 && !params.nokaslr),
        switches: switches_of(&params),
        psci: dt::early::psci(&tree),
    };
    let wipe = chosen.kaslr_seed.filter(|s| *s != 0);
    // No reference into the tree is used below.
    if let Some(seed) = wipe {
        kaslr::wipe(dtb as *mut u8, size, seed);
    }
    Some(found)
}
