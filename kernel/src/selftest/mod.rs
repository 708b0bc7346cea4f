//! Tests that need the real executor, timers and interrupts: they run inside the kernel, in place of process 1.
//!
//! Only in builds with the feature `selftest`; an image for users holds nothing of this. The word
//! `vigil.test=NAME[:NUMBER][,…]` on the command line starts them, one after the other. Each prints one line,
//! `selftest NAME: ok|FAILED figures`; after the last one the emulator ends with the number of tests that failed.
//!
//! | name | what it shows | number |
//! |---|---|---|
//! | `spin` | a poll that spins does not delay a real-time task ([`latency`]) | wakes |
//! | `parks` | registers, stacks, counts and pools survive parks and migrations ([`parks`]) | parks |
//! | `stages` | instructions from the vector to the waker, and on to the poll ([`stages`]) | wakes |
//! | `stages-user` | the same and on to EL0, beside process 1, which goes on to be started ([`stages`]) | wakes |
//! | `irq-cost` | instructions of interrupts, softirqs, work items and timers ([`irq_cost`]) | times |
//! | `ipi-cost` | the same of a wake from another CPU ([`irq_cost`]) | wakes |
//! | `irq-faults` | lines that scream, handlers that lie, come and go ([`irq_faults`]) | times |
//! | `irq-storm` | a FIFO task beside interrupts and softirqs on every CPU ([`irq_faults`]) | wakes |
//! | `idle-audit` | nobody waits who could run on a CPU that is about to idle, beside process 1; a line as often as asked for ([`idle`]) | ms |
//! | `rcu` | RCU callbacks are softirqs, and a flood of them is ksoftirqd's ([`rcu`]) | callbacks |
//! | `lockdep` | the lock checker finds planted deadlocks; only with checks on (`deadlocks.rs`) | |
//! | `torture`, `torture-rcu`, `torture-locks` | RCU, SRCU and every lock hold under all that a machine can do to them ([`torture`]) | seconds |
//! | `rcu-stall` | a grace period that does not end is told of ([`rcu`]) | |
//! | `pmu` | a counter that overflows interrupts its CPU, once ([`pmu`]) | |
//! | `late-cpus` | CPUs that come too late wait, and run when they are called again; with `maxcpus=1` (`late_cpus.rs`) | |
//! | `sizes` | bytes of what a thread keeps ([`sizes`]) | |

#[cfg(debug_assertions)]
mod deadlocks;
mod idle;
mod irq_cost;
mod irq_faults;
mod late_cpus;
mod latency;
mod parks;
mod pmu;
mod rcu;
mod regs;
mod sizes;
mod stages;
mod torture;

pub use stages::left_user;

use crate::boot::BootInfo;
use crate::debug::semihosting;
use crate::{pr_crit, pr_info};
use core::fmt::Arguments;
use vigil_executor::class::Params;
use vigil_executor::cpu::ONLINE;
use vigil_executor::task::Spawned;
use vigil_executor::time::{self, MSEC};
use vigil_executor::timer::sleep_until;
use vigil_executor::wait::WaitMode;
use vigil_executor::wait_site;

/// The word on the command line.
const OPTION: &[u8] = b"vigil.test=";

/// Starts the tests that the command line asks for. `true` when they run in place of process 1.
pub fn start(info: &'static BootInfo) -> bool {
    let Some(list) = info.cmdline.split(|b| *b == b' ').find_map(|w| w.strip_prefix(OPTION)) else { return false };
    let beside = list.starts_with(b"stages-user") || list.starts_with(b"idle-audit");
    match Spawned::new(run(list, beside, info), Params::DEFAULT, b"selftest", None, core::ptr::null()) {
        Ok(task) => drop(task.start()),
        Err(_) => pr_crit!("selftest: no memory"),
    }
    !beside
}

/// Runs the tests of `list` and ends the emulator, unless they run `beside` process 1. They begin when all CPUs are
/// there, or after a second.
async fn run(list: &'static [u8], beside: bool, info: &'static BootInfo) {
    let mut failed = 0;
    for _ in 0..100 {
        if ONLINE.load().iter().count() == info.cpus().count() {
            break;
        }
        let _ = sleep_until(wait_site!("selftest"), time::now() + 10 * MSEC, 0, WaitMode::Uninterruptible).await;
    }
    for word in list.split(|b| *b == b',') {
        let (name, number) = match word.iter().position(|b| *b == b':') {
            Some(at) => (&word[..at], parse(&word[at + 1..])),
            None => (word, None),
        };
        let ok = match name {
            b"spin" => latency::spin(number.unwrap_or(300)).await,
            b"parks" => parks::run(number.unwrap_or(100_000)).await,
            b"stages" => stages::kernel(number.unwrap_or(300)).await,
            b"stages-user" => stages::user(number.unwrap_or(300)).await,
            b"irq-cost" => irq_cost::run(number.unwrap_or(300)).await,
            b"ipi-cost" => irq_cost::ipi(number.unwrap_or(300)).await,
            b"irq-faults" => irq_faults::run(number.unwrap_or(500)).await,
            b"irq-storm" => irq_faults::storm(number.unwrap_or(200)).await,
            b"idle-audit" => idle::audit(number.unwrap_or(500)).await,
            b"rcu" => rcu::run(number.unwrap_or(5000) as u32).await,
            #[cfg(debug_assertions)]
            b"lockdep" => deadlocks::run().await,
            b"torture" => torture::run(torture::What { rcu: true, locks: true }, number.unwrap_or(10)).await,
            b"torture-rcu" => torture::run(torture::What { rcu: true, locks: false }, number.unwrap_or(10)).await,
            b"torture-locks" => torture::run(torture::What { rcu: false, locks: true }, number.unwrap_or(10)).await,
            b"rcu-stall" => rcu::stall().await,
            b"late-cpus" => late_cpus::run(info).await,
            b"pmu" => pmu::overflow().await,
            b"sizes" => sizes::run(),
            _ => {
                pr_crit!("selftest: no test of the name {}", name.escape_ascii());
                false
            }
        };
        failed += u32::from(!ok);
    }
    if !beside {
        semihosting::exit(failed);
    }
}

fn parse(digits: &[u8]) -> Option<u64> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Prints the line of a test; returns `ok`.
fn report(name: &str, ok: bool, figures: Arguments<'_>) -> bool {
    if ok {
        pr_info!("selftest {name}: ok {figures}");
    } else {
        pr_crit!("selftest {name}: FAILED {figures}");
    }
    ok
}

/// A small generator (xorshift64*): each task has its own, so that a run depends on nothing but timing.
struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in `low..high`.
    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + (self.next() >> 16) % (high - low)
    }
}
