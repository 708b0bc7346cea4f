//! The hard-lockup watchdog: says which CPU takes no interrupt any more (Linux since 6.5: kernel/watchdog_buddy.c).
//!
//! Nothing runs on such a CPU, so the next lower one looks after it: at each third look of its own [watchdog](super::watchdog) it asks
//! whether the other has looked at all since it asked before. The stuck CPU cannot say where it is: there is no interrupt that it
//! would take (Debian's 6.1 for arm64 has no such watchdog at all). A machine with one CPU has nobody who could look.

use super::backtrace;
use super::panic;
use crate::pr_emerg;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::*};
use vigil_executor::cpu::{CpuId, CpuMask, MAX_CPUS, PerCpu};

/// `kernel.nmi_watchdog`, by the name of how Linux did it first.
static ENABLED: AtomicBool = AtomicBool::new(true);
/// `kernel.hardlockup_panic`: whether a hard lockup is the end of the machine.
pub static PANICS: AtomicBool = AtomicBool::new(false);
/// `kernel.hardlockup_all_cpu_backtrace`: whether a report is followed by what each other CPU does.
pub static SHOWS_ALL_CPUS: AtomicBool = AtomicBool::new(false);

/// Whether CPUs are looked after.
pub fn is_enabled() -> bool {
    ENABLED.load(Relaxed)
}

/// Sets that, for the next look.
pub(super) fn set_enabled(on: bool) {
    ENABLED.store(on, Relaxed);
}

/// Of each CPU: its looks, and what it knows of the one that it looks after.
struct Looks {
    own: AtomicU32,
    /// The number of that one, plus 1.
    buddy: AtomicU32,
    /// How often it had looked.
    seen: AtomicU32,
    reported: AtomicBool,
}

const NONE: Looks = Looks { own: AtomicU32::new(0), buddy: AtomicU32::new(0), seen: AtomicU32::new(0), reported: AtomicBool::new(false) };
static LOOKS: PerCpu<Looks> = PerCpu::new([NONE; MAX_CPUS]);

/// Looks between two questions: the other, whose timer has the same period, looks twice meanwhile at least.
const LOOKS_PER_QUESTION: u32 = 3;

/// Whom `cpu` looks after: the next one of `watched`, in a ring.
fn buddy_of(cpu: CpuId, watched: CpuMask) -> Option<CpuId> {
    watched.iter().find(|other| other.index() > cpu.index()).or(watched.first()).filter(|other| *other != cpu)
}

/// `cpu`, this one, has looked at itself; `watched` are all that do. Hard interrupt.
pub(super) fn looked(cpu: CpuId, watched: CpuMask) {
    let looks = LOOKS.of(cpu);
    let count = looks.own.load(Relaxed).wrapping_add(1);
    looks.own.store(count, Relaxed);
    if count % LOOKS_PER_QUESTION != 0 || !is_enabled() {
        return;
    }
    let Some(other) = buddy_of(cpu, watched) else { return };
    let has = LOOKS.of(other).own.load(Relaxed);
    let number = other.index() as u32 + 1;
    let same = looks.buddy.swap(number, Relaxed) == number;
    let moved = looks.seen.swap(has, Relaxed) != has;
    if !same || moved {
        looks.reported.store(false, Relaxed);
    } else if !looks.reported.swap(true, Relaxed) {
        report(other);
    }
}

fn report(cpu: CpuId) {
    pr_emerg!("watchdog: Watchdog detected hard LOCKUP on cpu {}", cpu.index());
    if SHOWS_ALL_CPUS.load(Relaxed) {
        backtrace::show_others();
    }
    if PANICS.load(Relaxed) {
        panic::panic_at(format_args!("Hard LOCKUP"), 0, 0);
    }
}
