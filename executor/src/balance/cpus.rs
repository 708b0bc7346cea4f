//! The machine that the executor runs on, and the points at which its loop balances.

use super::active::{look, looks};
use super::averages::{self, needs};
use super::choose::{Load, Machine};
use super::domains::tuning;
use super::partition;
use super::pressure;
use super::spread::{Spread, Tuning, own_load, spread};
use super::topology::{CAPACITY, Level, Place};
use super::{DOMAIN, OVERLOADED, RT_OVERLOADED, are_many, has_others};
use crate::class::{Average, Entity, Features, Needs, Params, Rank, RunQueue, Urgency};
use crate::context::{Context, IrqGuard};
use crate::cpu::{AtomicCpuMask, CpuId, CpuMask, MAX_CPUS, PerCpu, local_of};
use crate::executor::{CpuExec, EXEC, IDLE, push_to};
use crate::pending::DUE_SPREAD;
use crate::platform;
use crate::task::Task;
use crate::time::Nanos;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*, fence};

/// Where each CPU is, as [`Place::to_bits`].
static PLACES: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// Says where `cpu` is. Before it joins.
pub fn set_place(cpu: CpuId, place: Place) {
    PLACES.of(cpu).store(place.to_bits(), Relaxed);
}

/// Says how much `cpu` gets done, of [`CAPACITY`]. Before it joins.
pub fn set_capacity(cpu: CpuId, capacity: u32) {
    averages::averages_of(cpu).set_capacity(capacity.min(CAPACITY));
}

/// How much `cpu` gets done, of [`CAPACITY`].
pub fn capacity_of(cpu: CpuId) -> u32 {
    averages::averages_of(cpu).capacity()
}

/// Where `cpu` is.
pub fn place_of(cpu: CpuId) -> Place {
    Place::from_bits(PLACES.of(cpu).load(Relaxed))
}

/// By CPU, who is nearer to it than each of [`Level::ALL`], itself included.
static NEAR: PerCpu<[AtomicU64; Level::ALL.len()]> = PerCpu::new([const { [const { AtomicU64::new(0) }; Level::ALL.len()] }; MAX_CPUS]);

/// One more than the highest CPU that ever took part.
static HIGHEST: AtomicUsize = AtomicUsize::new(1);

/// `cpu` takes part in balancing from now on: it is online, and not isolated.
pub fn join(cpu: CpuId) {
    HIGHEST.fetch_max(cpu.index() + 1, Relaxed);
    averages::begin(cpu);
    DOMAIN.insert(cpu);
    for other in DOMAIN.load().iter() {
        let distance = place_of(cpu).level(place_of(other));
        for (i, level) in Level::ALL.into_iter().enumerate() {
            if other == cpu || distance < level {
                NEAR.of(cpu)[i].fetch_or(CpuMask::of(other).0, Relaxed);
                NEAR.of(other)[i].fetch_or(CpuMask::of(cpu).0, Relaxed);
            }
        }
        if capacity_of(cpu) != capacity_of(other) {
            super::active::set_asymmetric();
        }
        // Cores of one cluster are as near to each other as those of a machine without parts.
        if other != cpu && (distance != Level::Cluster || capacity_of(cpu) != capacity_of(other)) {
            super::active::set_uneven();
        }
    }
    partition::cpus_changed();
    super::follow();
}

/// `cpu` takes part no more.
pub fn leave(cpu: CpuId) {
    DOMAIN.remove(cpu);
    partition::cpus_changed();
    super::follow();
    OVERLOADED.remove(cpu);
    RT_OVERLOADED.remove(cpu);
}

/// What of placing is switched on: as [`Features::bits`], read by wakes without any queue's lock.
static FEATURES: AtomicU32 = AtomicU32::new(Features::DEFAULT.bits());

/// Says what is.
pub(crate) fn set_features(features: Features) {
    FEATURES.store(features.bits(), Relaxed);
}

/// The real machine, as `here` sees it: the CPU on which this runs, or another one whose root domain is asked about.
pub(super) struct Cpus {
    pub(super) here: CpuId,
}

impl Cpus {
    /// Those that take part and are nearer to `cpu` than `level`, or all that take part, as a mask.
    fn near(&self, cpu: usize, level: Option<Level>) -> u64 {
        let all = partition::span(self.here).0;
        match (CpuId::new(cpu), level) {
            (Some(c), Some(level)) => NEAR.of(c)[level as usize].load(Relaxed) & all,
            (_, None) => all,
            _ => 0,
        }
    }
}

fn has(mask: &AtomicCpuMask, cpu: usize) -> bool {
    CpuId::new(cpu).is_some_and(|c| mask.load().contains(c))
}

impl Machine for Cpus {
    fn nr_cpus(&self) -> usize {
        HIGHEST.load(Relaxed)
    }

    fn capacity(&self, cpu: usize) -> u32 {
        CpuId::new(cpu).map_or(CAPACITY, capacity_of)
    }

    fn features(&self) -> Features {
        Features::from_bits(FEATURES.load(Relaxed))
    }

    fn place(&self, cpu: usize) -> Place {
        CpuId::new(cpu).map_or(Place::default(), place_of)
    }

    fn tuning(&self, cpu: usize, level: Level, cpus: usize) -> Tuning {
        CpuId::new(cpu).map_or(Tuning::of(level, cpus), |c| tuning(c, level, cpus))
    }

    fn takes_part(&self, cpu: usize) -> bool {
        CpuId::new(cpu).is_some_and(|c| partition::span(self.here).contains(c))
    }

    fn is_idle(&self, cpu: usize) -> bool {
        has(&IDLE, cpu) && CpuId::new(cpu).is_some_and(|c| EXEC.of(c).inbox.is_empty())
    }

    fn busy_near(&self, cpu: usize, level: Level) -> usize {
        let near = CpuId::new(cpu).map_or(0, |c| NEAR.of(c)[level as usize].load(Relaxed) & partition::span(c).0);
        (near & !IDLE.load().0).count_ones() as usize
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        CpuId::new(to).is_none_or(|c| partition::may_pull(c, self.place(from).level(self.place(to))))
    }

    fn any_idle(&self) -> bool {
        let idle = CpuMask(IDLE.load().0 & partition::span(self.here).0 & !CpuMask::of(self.here).0);
        idle.0 != 0 && idle.iter().any(|c| EXEC.of(c).inbox.is_empty())
    }

    fn urgency(&self, cpu: usize) -> Urgency {
        CpuId::new(cpu).map_or(Urgency::of(Rank::STOP), |c| EXEC.of(c).urgency())
    }

    fn load(&self, cpu: usize) -> Load {
        let Some(exec) = CpuId::new(cpu).map(|c| EXEC.of(c)) else { return Load::default() };
        match exec.load() {
            // Nobody notes how many run on a CPU with one task or none.
            Load { nr: 0, weight } => match exec.rank() {
                Rank::IDLE => Load::default(),
                Rank::FAIR if weight != 0 => Load { nr: 1, weight },
                _ => Load { nr: 1, weight: u64::from(Params::DEFAULT.weight()) },
            },
            load => load,
        }
    }

    fn average(&self, cpu: usize) -> Average {
        CpuId::new(cpu).map_or(Average::default(), |c| averages::of(c, self.load(cpu)))
    }

    fn average_load(&self, cpu: usize) -> u64 {
        CpuId::new(cpu).map_or(0, |c| averages::load_of(c, self.load(cpu)))
    }

    fn each_near(&self, cpu: usize, level: Option<Level>, mut f: impl FnMut(usize)) {
        let near = self.near(cpu, level);
        let behind = u64::MAX.checked_shl(cpu as u32).unwrap_or(0);
        for mut left in [near & behind, near & !behind] {
            while left != 0 {
                f(left.trailing_zeros() as usize);
                left &= left.wrapping_sub(1);
            }
        }
    }

    fn count_near(&self, cpu: usize, level: Option<Level>) -> usize {
        self.near(cpu, level).count_ones() as usize
    }

    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool {
        // SAFETY: the caller's queue is locked, so the task of an entity on it is alive.
        let task = unsafe { Task::of_entity(e).as_ref() };
        CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c))
    }

    unsafe fn send(&self, e: NonNull<Entity>, here: usize, cpu: usize) -> Needs {
        let (Some(here), Some(to)) = (CpuId::new(here), CpuId::new(cpu)) else { return Needs::NOTHING };
        // SAFETY: it is runnable, hence alive, and nobody else's.
        let (task, urgency) = unsafe { (Task::of_entity(e).as_ref(), e.as_ref().urgency()) };
        if urgency.rank.outranks(Rank::FAIR) {
            // The next one does not choose that CPU as well; its next pick says what is true.
            EXEC.of(to).claim(urgency);
        }
        // SAFETY: as above.
        let left = unsafe { averages::moved(e, here, to, self.load(cpu)) };
        task.set_migrating();
        // Its queue is locked: interrupts are masked.
        push_to(task, to, here, &IrqGuard::held());
        left
    }

    fn gone(&self, here: usize, needs: Needs) {
        if let Some(cpu) = CpuId::new(here) {
            averages::goes(needs, cpu, self.load(here));
        }
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
    let before = exec.rank();
    if before != rank || rank == Rank::DEADLINE {
        note_rank(exec, rq, before, rank);
    }
    if rq.is_crowded() {
        return crowded(exec, rq, here, event, now);
    }
    if exec.load().nr != 0 {
        uncrowded(exec, rq, here, now);
    } else if rank == Rank::FAIR && exec.load().weight != rq.load() {
        // What it weighs who has the CPU to himself, perhaps for long: mostly as much as the one before.
        exec.set_load(Load { nr: 0, weight: rq.load() });
    }
    if looks() { look(exec, rq, here, event, now) } else { event }
}

/// After an arrival, likewise.
#[inline(always)]
pub(crate) fn looks_crowded(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    if !are_many() {
        event
    } else if rq.is_crowded() {
        crowded(exec, rq, here, event, now)
    } else if looks() {
        look(exec, rq, here, event, now)
    } else {
        event
    }
}

/// After a choice that was made at an interrupt's exit: the poll that gave way waits. Its stack is left; interrupts masked, `rq` is
/// still locked.
#[cfg(target_os = "none")]
#[cold]
#[inline(never)]
pub(crate) fn handed_over(exec: &CpuExec, rq: &mut RunQueue) -> Option<Nanos> {
    let now = crate::time::now();
    let event = rq.next_event(now);
    settled(exec, rq, CpuId::current(), event, now)
}

/// The queue is crowded no more.
#[cold]
#[inline(never)]
fn uncrowded(exec: &CpuExec, rq: &RunQueue, here: CpuId, now: Nanos) {
    pressure::note(rq, here, now);
    exec.set_load(Load { nr: 0, weight: rq.load() });
    OVERLOADED.remove(here);
    RT_OVERLOADED.remove(here);
    fence(SeqCst);
    // What lies in the inbox lies there untold: see `lies`.
    if !exec.inbox.is_empty() {
        OVERLOADED.insert(here);
        RT_OVERLOADED.insert(here);
    }
}

#[inline(always)]
fn note_rank(exec: &CpuExec, rq: &RunQueue, before: Rank, rank: Rank) {
    exec.set_rank(rank);
    let later = rank == Rank::DEADLINE && note_deadline(exec, rq) && before == rank;
    if before.outranks(Rank::FAIR) && before.outranks(rank) || later {
        less_urgent();
    }
}

/// Notes by when what `rq` runs is due (Linux: cpudl_set). Whether that is later than before, so that what waits elsewhere may
/// come before it (Linux: pull_dl_task).
#[cold]
#[inline(never)]
fn note_deadline(exec: &CpuExec, rq: &RunQueue) -> bool {
    let deadline = rq.current_urgency().deadline;
    deadline > exec.set_deadline(deadline)
}

/// This CPU runs something less urgent than before: what is more urgent and waits elsewhere may come (Linux: pull_rt_task by
/// way of RT_PUSH_IPI, pull_dl_task).
#[cold]
#[inline(never)]
fn less_urgent() {
    // The rank was stored before; the other side sets its bit before it reads the ranks.
    fence(SeqCst);
    let waiting = RT_OVERLOADED.load().0 & partition::span(CpuId::current()).0;
    for cpu in CpuMask(waiting).iter() {
        ask_to_spread(cpu);
    }
}

/// Makes `cpu` send away what waits there and can run elsewhere, soon.
pub(crate) fn ask_to_spread(cpu: CpuId) {
    if are_many()
        && let Some(p) = platform::get()
    {
        local_of(cpu).pending.set(DUE_SPREAD);
        p.send_reschedule(cpu);
    }
}

#[cold]
#[inline(never)]
fn crowded(exec: &CpuExec, rq: &mut RunQueue, here: CpuId, event: Option<Nanos>, now: Nanos) -> Option<Nanos> {
    pressure::note(rq, here, now);
    if !has_others(here) {
        // `uncrowded` is to be called.
        exec.set_load(own_load(rq));
        return event;
    }
    if !OVERLOADED.load().contains(here) {
        OVERLOADED.insert(here);
    } else {
        // As the insertion is: before IDLE and the ranks are read.
        fence(SeqCst);
    }
    // Before it is looked at, by `spread` as well.
    exec.set_load(own_load(rq));
    let cpus = Cpus { here };
    // SAFETY: this CPU's own, and interrupts are masked: nobody else uses it meanwhile.
    let periodic = unsafe { &mut *exec.periodic.as_ptr() };
    // SAFETY: the queue is locked by our caller.
    let mut done = unsafe { spread(&cpus, rq, here.index(), periodic, now) };
    if done.urgent_waits && RT_OVERLOADED.insert(here) {
        // Its bit was not there when the ranks were read.
        // SAFETY: as above.
        done = unsafe { spread(&cpus, rq, here.index(), periodic, now) };
    }
    if !done.urgent_waits && RT_OVERLOADED.load().contains(here) {
        RT_OVERLOADED.remove(here);
    }
    exec.set_load(own_load(rq));
    pressure::note(rq, here, now);
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
    // Who becomes less urgent than it asks this CPU for it.
    if task.is_realtime() && task.affinity().0 & partition::span(here).0 & !CpuMask::of(here).0 != 0 {
        RT_OVERLOADED.insert(here);
        let exec = CpuExec::this();
        if exec.load().nr == 0 {
            // `uncrowded` is to be called.
            exec.set_load(Load { nr: 2, weight: 0 });
        }
    }
    // After the push, against `uncrowded` and `idle::pull_one`, which take the bit out and then look at the inbox; and before ranks are read.
    fence(SeqCst);
    if !OVERLOADED.load().contains(here) {
        OVERLOADED.insert(here);
    }
    // What is above the fair class may run at once elsewhere: then this CPU has to send it there.
    let cpus = Cpus { here };
    let allowed = |cpu: usize| CpuId::new(cpu).is_some_and(|c| task.affinity().contains(c));
    let elsewhere = super::choose::nearest_idle(&cpus, here.index(), needs(task).util, allowed)
        .or_else(|| task.is_realtime().then(|| super::choose::lowest(&cpus, Urgency::of(task.rank()), here.index(), allowed))?);
    if elsewhere.is_some() {
        ctx.set_need_resched();
    }
}
