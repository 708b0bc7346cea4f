//! Which CPU runs what: placing of what wakes and begins, and moving of what waits.
//!
//! | file | subject |
//! |---|---|
//! | [`topology`] | where CPUs are, and how far apart: the levels of scheduling domains |
//! | [`domains`] | the domains of each CPU, and what is tuned of them |
//! | [`partition`] | root domains: parts of the machine between which nothing is balanced |
//! | [`pressure`] | for how long somebody waits for each CPU |
//! | [`choose`] | which CPU for what is woken: idle, lowest, idlest, nearest, over any [`choose::Machine`] |
//! | [`begin`] | which CPU for what begins, by room in the parts of each domain |
//! | [`averages`](self) | how much of each CPU is used, and wanted, on average |
//! | [`spread`] | what a crowded CPU does: fills idle CPUs, pushes real-time, evens out load |
//! | [`place`](self) | the CPU for what wakes or begins |
//! | [`idle`](self) | what a CPU does before it idles |
//! | [`active`](self) | a task that runs and would be better off on a CPU that idles |
//! | [`cpus`](self) | the machine that the executor runs on |
//! | `audit` | whether that holds what is said below, at each idle entry (tests only) |
//!
//! [`choose`], [`begin`] and [`spread`] are pure: the executor calls them for the real machine, [`crate::sim`] for one of up to a thousand
//! simulated CPUs.
//!
//! **Moving.** Only who waits is moved, a parked poll included. Its queue's lock is held, and that alone: it is taken off,
//! [`set_migrating`](crate::task::Task), and pushed on the inbox of the CPU that it goes to, like a wake. Two queues are
//! never locked at once, and between the two it is in exactly one list: nobody else pushes a task that is runnable.
//!
//! **Nobody idles beside a waiter.** A CPU becomes crowded under its queue's lock; a CPU that idles looks at crowded queues under
//! their locks. Whoever comes second sees the other:
//!
//! ```text
//!   crowded CPU, in its lock             CPU about to idle
//!   OVERLOADED |= me                     IDLE |= me
//!   read IDLE: send them who waits       read OVERLOADED: lock their queues, take who waits
//! ```

mod active;
#[cfg(feature = "audit")]
pub mod audit;
mod averages;
mod cpus;
mod idle;
mod place;

pub mod begin;
pub mod choose;
pub mod domains;
pub mod partition;
pub mod pressure;
pub mod spread;
pub mod topology;

pub(crate) use active::sent;
pub use active::{better, patience};
pub(crate) use averages::averages;
#[cfg(target_os = "none")]
pub(crate) use cpus::handed_over;
pub(crate) use cpus::{ask_to_spread, lies, looks_crowded, set_features, settled};
pub use cpus::{capacity_of, join, leave, place_of, set_capacity, set_place};
pub(crate) use idle::pull;
pub use place::exec;
pub(crate) use place::{place_evicted, place_new, place_woken};

use crate::cpu::{AtomicCpuMask, CpuId, CpuMask};
use crate::executor::{EXEC, IDLE};
use crate::lock_class;
use crate::sync::SpinLock;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// CPUs with more than one runnable task, or with one that lies in their inbox. A bit may be out of date: set too long. Who sees
/// that takes it out.
static OVERLOADED: AtomicCpuMask = AtomicCpuMask::new();
/// Of these, those on which something above the fair class waits that may run elsewhere (Linux: rto_mask).
static RT_OVERLOADED: AtomicCpuMask = AtomicCpuMask::new();
/// CPUs in the scheduling domains: online, and not isolated.
static DOMAIN: AtomicCpuMask = AtomicCpuMask::new();

/// Whether there are two of them at least, or they are watched: on one CPU nothing here costs more than this look.
static MANY: AtomicBool = AtomicBool::new(false);

/// Brings [`MANY`], and what is watched, up to date: which CPUs there are, or who watches, has changed.
fn follow() {
    static FOLLOW: SpinLock<()> = SpinLock::new(lock_class!("balance"), ());
    // The last one sees what all have changed before.
    let _one_at_a_time = FOLLOW.lock_irq();
    let watched = pressure::is_anything_watched();
    active::set_watched(watched);
    MANY.store(DOMAIN.load().0.count_ones() > 1 || watched, Relaxed);
}

/// Whether there is more than one CPU to choose from, or somebody watches how crowded they are.
#[inline(always)]
pub(crate) fn are_many() -> bool {
    MANY.load(Relaxed)
}

/// Whether `cpu` idles, and nobody is on the way to it.
fn is_idle_now(cpu: CpuId) -> bool {
    IDLE.load().contains(cpu) && EXEC.of(cpu).inbox.is_empty()
}

/// Whether there is anybody to whom `here` could give something.
#[inline(always)]
fn has_others(here: CpuId) -> bool {
    partition::span(here).0 & !CpuMask::of(here).0 != 0
}
