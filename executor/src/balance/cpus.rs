//! The machine that the executor runs on, and the points at which its loop balances.

use super::choose::{Load, Machine};
use super::spread::{Spread, spread};
use super::topology::Place;
use super::{DOMAIN, MANY, OVERLOADED, RT_OVERLOADED, are_many, has_others};
use crate::class::{Entity, Params, Rank, RunQueue};
use crate::context::{Context, IrqGuard};
use crate::cpu::{AtomicCpuMask, CpuId, CpuMask, MAX_CPUS, PerCpu};
use crate::executor::{CpuExec, EXEC, IDLE, push_to};
use crate::platform;
use crate::task::Task;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::*, fence};

/// Where each CPU is, as [`Place::to_bits`].
static PLACES: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// Says where `cpu` is. Before it joins.
pub fn set_place(cpu: CpuId, place: Place) {
    PLACES.of(cpu).store(place.to_bits(), Relaxed);
}

/// Where `cpu` is.
pub fn place_of(cpu: CpuId) -> Place {
    Place::from_bits(PLACES.of(cpu).load(Relaxed))
}

/// `cpu` takes part in balancing from now on: it is online, and not isolated.
pub fn join(cpu: CpuId) {
    DOMAIN.insert(cpu);
    MANY.store(DOMAIN.load().0.count_ones() > 1, Relaxed);
}

/// `cpu` takes part no more.
pub fn leave(cpu: CpuId) {
    DOMAIN.remove(cpu);
    MANY.store(DOMAIN.load().0.count_ones() > 1, Relaxed);
    OVERLOADED.remove(cpu);
    RT_OVERLOADED.remove(cpu);
}

/// The real machine, as `here` sees it: the CPU on which this runs.
pub(super) struct Cpus {
    pub(super) here: CpuId,
}

fn has(mask: &AtomicCpuMask, cpu: usize) -> bool {
    CpuId::new(cpu).is_some_and(|c| mask.load().contains(c))
}

impl Machine for Cpus {
    fn nr_cpus(&self) -> usize {
        MAX_CPUS
    }

    fn place(&self, cpu: usize) -> Place {
        CpuId::new(cpu).map_or(Place::default(), place_of)
    }

    fn takes_part(&self, cpu: usize) -> bool {
        has(&DOMAIN, cpu)
    }

    fn is_idle(&self, cpu: usize) -> bool {
        has(&IDLE, cpu) && CpuId::new(cpu).is_some_and(|c| EXEC.of(c).inbox.is_empty())
    }

    fn any_idle(&self) -> bool {
        let idle = CpuMask(IDLE.load().0 & DOMAIN.load().0 & !CpuMask::of(self.here).0);
        idle.0 != 0 && idle.iter().any(|c| EXEC.of(c).inbox.is_empty())
    }

    fn rank(&self, cpu: usize) -> Rank {
        CpuId::new(cpu).map_or(Rank::STOP, |c| EXEC.of(c).rank())
    }

    fn load(&self, cpu: usize) -> Load {
        match CpuId::new(cpu) {
            Some(c) if EXEC.of(c).load().nr != 0 => EXEC.of(c).load(),
            // Nobody notes what a CPU with one task or none has to do.
            Some(c) if EXEC.of(c).rank() != Rank::IDLE => Load { nr: 1, weight: u64::from(Params::DEFAULT.weight()) },
            _ => Load::default(),
        }
    }

    fn exact_load(&self, cpu: usize) -> Load {
        let Some(id) = CpuId::new(cpu) else { return Load::default() };
        // Never waited for: the caller holds the lock of its own queue.
        match EXEC.of(id).rq.try_lock_irq() {
            Some(rq) => Load { nr: rq.nr_running() as u32, weight: rq.load() },
            None => self.load(cpu),
        }
    }

    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool {
        // SAFETY: the caller's queue is locked, so the task of an entity on it is alive.
        let task = unsafe { Task::of_entity(e).as_ref() };
        CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c))
    }

    unsafe fn send(&self, e: NonNull<Entity>, cpu: usize) {
        let Some(to) = CpuId::new(cpu) else { return };
        // SAFETY: it is runnable, hence alive, and nobody else's.
        let (task, rank) = unsafe { (Task::of_entity(e).as_ref(), e.as_ref().rank()) };
        if rank.outranks(Rank::FAIR) {
            // The next one does not choose that CPU as well; its next pick says what is true.
            EXEC.of(to).claim(rank);
        }
        task.set_migrating();
        // Its queue is locked: interrupts are masked.
        push_to(task, to, self.here, &IrqGuard::held());
    }
}

/// After a pick, in the queue's lock, interrupts masked: notes what `here` runs, and sees to what waits. Returns the next event of
/// the queue, given that of its classes.
#[inline(always)]
pub(crate) fn settled(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    if !are_many() {
        return event;
    }
    let rank = rq.current_rank();
    if exec.rank() != rank {
        note_rank(exec, rank);
    }
    if rq.is_crowded() {
        return crowded(exec, rq, here, event, now);
    }
    if exec.load().nr != 0 {
        uncrowded(exec, here);
    }
    event
}

/// After an arrival, likewise.
#[inline(always)]
pub(crate) fn looks_crowded(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    if are_many() && rq.is_crowded() { crowded(exec, rq, here, event, now) } else { event }
}

/// After a choice that was made at an interrupt's exit: the poll that gave way waits. Its stack is left; interrupts masked.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
pub(crate) fn handed_over(exec: &CpuExec) {
    let (here, now) = (CpuId::current(), crate::time::now());
    let mut rq = exec.rq.lock_masked();
    let event = rq.next_event(now);
    let event = settled(exec, &mut rq, here, event, now);
    drop(rq);
    if let Some(event) = event {
        crate::timer::set_slice(here, event);
    }
}

/// The queue is crowded no more.
#[cold]
#[inline(never)]
fn uncrowded(exec: &CpuExec, here: CpuId) {
    exec.set_load(Load::default());
    OVERLOADED.remove(here);
    RT_OVERLOADED.remove(here);
    fence(SeqCst);
    // What lies in the inbox lies there untold: see `lies`.
    if !exec.inbox.is_empty() {
        OVERLOADED.insert(here);
    }
}

#[inline(always)]
fn note_rank(exec: &CpuExec, rank: Rank) {
    let before = exec.set_rank(rank);
    if before.outranks(Rank::FAIR) && before.outranks(rank) {
        less_urgent();
    }
}

/// This CPU runs something less urgent than before: what is more urgent and waits elsewhere may come (Linux: pull_rt_task by
/// way of RT_PUSH_IPI).
#[cold]
#[inline(never)]
fn less_urgent() {
    // The rank was stored before; the other side sets its bit before it reads the ranks.
    fence(SeqCst);
    let waiting = RT_OVERLOADED.load();
    if waiting.0 == 0 {
        return;
    }
    if let Some(p) = platform::get() {
        for cpu in waiting.iter() {
            EXEC.of(cpu).want_spread();
            p.send_reschedule(cpu);
        }
    }
}

#[cold]
#[inline(never)]
fn crowded(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    if !has_others(here) {
        return event;
    }
    if !OVERLOADED.load().contains(here) {
        OVERLOADED.insert(here);
    } else {
        // As the insertion is: before IDLE and the ranks are read.
        fence(SeqCst);
    }
    let cpus = Cpus { here };
    let mut periodic = exec.periodic.get();
    // SAFETY: the queue is locked by our caller.
    let mut done = unsafe { spread(&cpus, rq, here.index(), &mut periodic, now) };
    if done.urgent_waits && RT_OVERLOADED.insert(here) {
        // Its bit was not there when the ranks were read.
        // SAFETY: as above.
        done = unsafe { spread(&cpus, rq, here.index(), &mut periodic, now) };
    }
    if !done.urgent_waits && RT_OVERLOADED.load().contains(here) {
        RT_OVERLOADED.remove(here);
    }
    exec.periodic.set(periodic);
    exec.set_load(Load { nr: rq.nr_running() as u32, weight: rq.load() });
    let Spread { again, .. } = done;
    if rq.is_crowded() { Some(event.map_or(again, |e| e.min(again))) } else { event }
}

/// `task`, which lies in the inbox of `here`, this CPU, stays there because the current task goes on before it.
#[cold]
#[inline(never)]
pub(crate) fn lies(task: &Task, here: CpuId, ctx: &Context) {
    if !has_others(here) {
        return;
    }
    // After the push, against `uncrowded` and `idle::pull_one`, which take the bit out and then look at the inbox.
    fence(SeqCst);
    if !OVERLOADED.load().contains(here) {
        OVERLOADED.insert(here);
    }
    // What is above the fair class may run at once elsewhere: then this CPU has to send it there.
    let cpus = Cpus { here };
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c));
    let elsewhere = super::choose::nearest_idle(&cpus, here.index(), allowed)
        .or_else(|| task.is_realtime().then(|| super::choose::lowest(&cpus, task.rank(), here.index(), allowed))?);
    if elsewhere.is_some() {
        ctx.set_need_resched();
    }
}
