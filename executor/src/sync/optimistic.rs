//! Optimistic spinning: who finds a lock held waits in its poll as long as the holder is being polled on another CPU, because
//! a section that runs is mostly over sooner than a wake would take (Linux: mutex_optimistic_spin, rwsem_optimistic_spin).
//!
//! A lock's word names its holder by the address of the task. Nobody follows that address: the guard may have moved to another
//! task, and the task may be gone. It is compared with what the run queues say is current on their CPUs, by `try_lock`, once at
//! first and then every [`PROBE`] looks at the word. So a word that is out of date makes a waiter spin too long or not at all, and
//! nothing worse.
//!
//! The spinning poll has everything on: it is parked for what is more urgent, and it gives up as soon as anybody should run in its
//! place, so it delays nobody by more than a section without locks would. On a single CPU nobody spins.

use super::grant::AsyncLock;
#[cfg(not(loom))]
use crate::{
    arch,
    context::Context,
    cpu::{CpuId, ONLINE},
    executor::EXEC,
    task::Task,
    time::{Nanos, USEC, now},
};

/// Who holds a lock, as far as its word tells somebody who wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// Nobody: it can be tried.
    Nobody,
    /// The task at this address, if it still is one.
    Task(usize),
    /// So many readers, nobody knows which.
    Readers(u32),
    /// Nobody knows, or it would be wrong to overtake those who wait.
    Unknown,
}

/// What names the current flow as the holder of a lock; 0 where there is no task. The low three bits are clear.
#[inline(always)]
pub(crate) fn me() -> u64 {
    #[cfg(not(loom))]
    return Context::here().current().addr() as u64;
    #[cfg(loom)]
    0
}

/// How often the word is looked at between two looks at the holder's CPU.
#[cfg(not(loom))]
const PROBE: u32 = 64;
/// How long a writer spins for readers, and how much longer for two more of them; at most [`READERS_MOST`] (Linux:
/// rwsem_rspin_threshold).
#[cfg(not(loom))]
const READERS_LEAST: Nanos = 10 * USEC;
#[cfg(not(loom))]
const READERS_MOST: Nanos = 25 * USEC;

/// The CPU on which the task at `address` is being polled.
#[cfg(not(loom))]
fn runs_on(address: usize) -> Option<CpuId> {
    ONLINE.load().iter().find(|cpu| EXEC.of(*cpu).rq.try_lock_irq().is_some_and(|rq| rq.is_current(Task::entity_at(address))))
}

/// Tries to take `want` of `lock` while its holder runs. `false`: it has to be waited for.
#[cfg(not(loom))]
#[inline]
pub(super) fn spin<L: AsyncLock>(lock: &L, want: u32) -> bool {
    let online = ONLINE.load().0;
    online & online.wrapping_sub(1) != 0 && spin_many(lock, want)
}

/// Threads of a model wait for each other by its means only.
#[cfg(loom)]
pub(super) fn spin<L: AsyncLock>(_lock: &L, _want: u32) -> bool {
    false
}

/// [`spin`] on a machine with several CPUs.
#[cfg(not(loom))]
#[cold]
#[inline(never)]
fn spin_many<L: AsyncLock>(lock: &L, want: u32) -> bool {
    let mut runs: Option<(usize, CpuId)> = None;
    let mut readers_until = None;
    for look in 0u32.. {
        if Context::here().resched_wanted() {
            return false;
        }
        match lock.holder(want) {
            Holder::Nobody => {
                if lock.try_acquire(want) {
                    return true;
                }
            }
            Holder::Task(address) => match runs {
                Some((same, cpu)) if same == address => {
                    // A queue that is locked is that of a CPU that does something.
                    let gone = || EXEC.of(cpu).rq.try_lock_irq().is_some_and(|rq| !rq.is_current(Task::entity_at(address)));
                    if look % PROBE == 0 && gone() {
                        return false;
                    }
                }
                _ => match runs_on(address) {
                    Some(cpu) => runs = Some((address, cpu)),
                    None => return false,
                },
            },
            Holder::Readers(n) => {
                let limit = (READERS_LEAST + Nanos::from(n) * USEC / 2).min(READERS_MOST);
                if now() >= *readers_until.get_or_insert_with(|| now().saturating_add(limit)) {
                    return false;
                }
            }
            Holder::Unknown => return false,
        }
        arch::relax();
    }
    false
}
