//! Running tasks that would be better off elsewhere (Linux: active balance): one of a core whose threads are all busy beside a core
//! that idles, or of a cluster that has much to do beside one that has not; and one that never sleeps on a CPU that is too slow for it.
//!
//! A CPU that runs such a task is not crowded, and those that idle sleep. So the CPU that runs it looks, on machines where one idle
//! CPU is not as good as another: when the task is where it is for some time.

use super::averages;
use super::choose::{Machine, distance};
use super::cpus::Cpus;
use super::partition::span;
use super::topology::{CAPACITY, Level};
use super::{IDLE, has_others, is_idle_now, pressure};
use crate::class::{Rank, RunQueue};
use crate::cpu::{CpuId, CpuMask};
use crate::executor::{CpuExec, EXEC};
use crate::platform;
use crate::task::Task;
use crate::time::{MSEC, Nanos};
use core::cmp::Reverse;
use core::sync::atomic::{AtomicU8, Ordering::*};

/// Why the loop calls [`look`] when it has chosen whom to run.
static LOOKS: AtomicU8 = AtomicU8::new(0);
/// The machine has parts, or CPUs of different capacities.
const UNEVEN: u8 = 1;
/// Capacities do differ (Linux: sched_asym_cpucapacity).
const ASYMMETRIC: u8 = 4;
/// It is watched for how long somebody waits ([`super::pressure`]).
const WATCHED: u8 = 2;

/// So many looks of Linux's idle CPUs, a millisecond apart for each CPU of the machine, find a task in the same place before it is
/// moved (nr_balance_failed > cache_nice_tries + 2).
const TRIES: Nanos = 4;

/// Notes that CPUs differ in what is near them, or in their capacity. At boot.
pub(super) fn set_uneven() {
    LOOKS.fetch_or(UNEVEN, Relaxed);
}

/// Notes whether anything is watched.
pub(super) fn set_watched(watched: bool) {
    if watched {
        LOOKS.fetch_or(WATCHED, Relaxed);
    } else {
        LOOKS.fetch_and(!WATCHED, Relaxed);
    }
}

/// Notes that they do in their capacity. At boot.
pub(super) fn set_asymmetric() {
    LOOKS.fetch_or(ASYMMETRIC, Relaxed);
}

/// Whether they do in their capacity.
#[inline(always)]
pub(super) fn is_asymmetric() -> bool {
    LOOKS.load(Relaxed) & ASYMMETRIC != 0
}

/// Whether they do.
#[inline(always)]
pub(super) fn is_uneven() -> bool {
    LOOKS.load(Relaxed) & UNEVEN != 0
}

/// Whether [`look`] is to be called.
#[inline(always)]
pub(super) fn looks() -> bool {
    LOOKS.load(Relaxed) != 0
}

/// For how long a task runs where it is before it is moved.
pub fn patience(m: &impl Machine) -> Nanos {
    (m.nr_cpus() as Nanos).saturating_mul(TRIES * MSEC)
}

/// The idle CPU, of those `allowed`, where the fair task that `here` has to itself would be better off; `None` if all is well.
///
/// A stronger one (Linux: misfit tasks); else, level by level, one in a part of the domain with at least two busy CPUs less than that
/// of `here` (Linux: the imbalance of SD_PREFER_SIBLING, and of idle CPUs), unless it is weaker.
pub fn better(m: &impl Machine, here: usize, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let capacity = m.capacity(here);
    let idle = || (0..m.nr_cpus()).filter(|c| *c != here && m.takes_part(*c) && m.is_idle(*c) && allowed(*c));
    let stronger = idle().filter(|c| is_greater(m.capacity(*c), capacity));
    if let Some(cpu) = stronger.min_by_key(|c| (Reverse(m.capacity(*c)), distance(m, here, *c))) {
        return Some(cpu);
    }
    Level::ALL.into_iter().find_map(|level| {
        let mine = m.busy_near(here, level);
        let level_of = |cpu: usize| m.place(cpu).level(m.place(here));
        idle()
            .filter(|c| level_of(*c) == level && !is_greater(capacity, m.capacity(*c)) && m.busy_near(*c, level) + 1 < mine)
            .min_by_key(|c| (m.busy_near(*c, level), distance(m, here, *c)))
    })
}

/// Whether a capacity is so much larger that it matters (Linux: capacity_greater).
const fn is_greater(a: u32, b: u32) -> bool {
    a as u64 * CAPACITY as u64 > b as u64 * 1078
}

/// `here`, this CPU, has chosen whom to run, and one task at most could: notes that for who watches, and sends the task to where it is
/// better off, if it is here for long. Returns the next event of the queue, given that of its classes: when it should look again at the
/// latest. In the queue's lock, interrupts masked.
#[cold]
#[inline(never)]
pub(super) fn look(exec: &CpuExec, rq: &RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    pressure::note(rq, here, now);
    if !is_uneven() {
        return event;
    }
    let cpus = Cpus { here };
    let Some(current) = rq.current().filter(|_| rq.current_rank() == Rank::FAIR && has_others(here)) else { return event };
    let patience = patience(&cpus);
    // SAFETY: what is current on a locked queue is alive.
    let (task, stay) = unsafe { (Task::of_entity(current).as_ref(), current.as_ref().stay(now)) };
    if stay >= patience && IDLE.load().0 & task.affinity().0 & !CpuMask::of(here).0 != 0 {
        let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c));
        if let Some(to) = better(&cpus, here.index(), allowed).and_then(CpuId::new) {
            exec.ask_to_send(to);
            if let Some(p) = platform::get() {
                p.send_reschedule(here);
            }
        }
    }
    // The same for all choices of a while: the timer is not set for each. Each CPU at its own time: two that look at once would leave
    // for the same part.
    let again = (now / patience + 2).saturating_mul(patience).saturating_add(here.index() as Nanos * TRIES * MSEC);
    Some(event.map_or(again, |e| e.min(again)))
}

/// Where `task`, which is current on this CPU and gives it up, was asked to go, if it may. In the queue's lock, interrupts masked.
#[cold]
#[inline(never)]
pub(crate) fn sent(exec: &CpuExec, task: &Task) -> Option<CpuId> {
    let to = exec.take_send()?;
    // What was true when it was asked may not be any more.
    let has_room = span(CpuId::current()).contains(to) && (is_idle_now(to) || EXEC.of(to).load().nr < exec.load().nr);
    let goes = task.rank() == Rank::FAIR && task.affinity().contains(to) && has_room;
    if goes {
        let (here, cpus) = (CpuId::current(), Cpus { here: to });
        // SAFETY: it is current here, and the queue is locked by our caller.
        let left = unsafe { averages::moved(task.entity_ptr(), here, to, cpus.load(to.index())) };
        averages::goes(left, here, cpus.load(here.index()));
    }
    goes.then_some(to)
}
