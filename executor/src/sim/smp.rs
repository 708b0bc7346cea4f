//! Many CPUs that influence each other: the run queues, and the balancing of [`crate::balance`], over virtual time.
//!
//! Events of all CPUs happen in the order of their times. A task that is sent arrives at once; a CPU that looks for work finds
//! what is there. So what the tests see is what the rules do, without the races that loom and the machine's own tests look at.

#![expect(clippy::disallowed_methods, reason = "runs on the host only, where running out of memory may abort")]

use super::Behaviour;
use super::view::View;
use crate::balance::begin::{Beginner, begun};
use crate::balance::choose::{Load, Machine, Woken, woken};
use crate::balance::spread::{Periodic, spread};
use crate::balance::topology::{Level, Place};
use crate::balance::{better, patience};
use crate::class::deadline::domain::Domain;
use crate::class::{Average, DlParams, Enqueue, Entity, Params, PickLimit, Policy, Preempt, PutPrev, Rank, Reservation, RunQueue, Urgency};
use crate::time::Nanos;
use core::cmp::Reverse;
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::BinaryHeap;
use std::vec::Vec;

#[repr(C)]
pub(super) struct SmpTask {
    // First, so that an entity's address is its task's.
    entity: Entity,
    behaviour: Behaviour,
    pub(super) cpu: usize,
    /// The CPUs on which it may run: those whose number has a bit set here, 64 being the same as 0.
    pub(super) affinity: u64,
    burst_end: Nanos,
    /// When its present period began, and the longest time from there to the end of a burst, of a periodic one.
    released: Nanos,
    worst_response: Nanos,
    dead: bool,
}

struct Cpu {
    rq: RunQueue,
    periodic: Periodic,
    /// Which of the events of this CPU in the heap is the true one.
    version: u64,
    urgent_waits: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Cpu(usize, u64),
    Wake(usize),
}

/// A machine.
pub struct Smp {
    // Never grows: a run queue may not move.
    cpus: Vec<Cpu>,
    view: View,
    tasks: Vec<NonNull<SmpTask>>,
    events: BinaryHeap<Reverse<(Nanos, Event)>>,
    now: Nanos,
    moves: u64,
    /// Whether one idle CPU is not as good as another.
    uneven: bool,
    /// Of all CPUs. Never freed: queues keep it for ever.
    domain: &'static Domain,
}

impl Smp {
    /// A machine whose CPUs are at `places`.
    pub fn new(places: &[Place]) -> Smp {
        let domain: &'static Domain = Box::leak(Box::new(Domain::new()));
        domain.give_cpus(places.len() as u64);
        let view = View::new(places);
        let cpu = |i| {
            let mut rq = RunQueue::new();
            rq.set_domain(domain, 0);
            rq.set_nr_cpus(places.len());
            rq.set_cpu(i);
            rq.note_averages(view.averages, &view.idled[i]);
            Cpu { rq, periodic: Periodic::NEW, version: 0, urgent_waits: false }
        };
        let n = places.len();
        let cpus = (0..n).map(cpu).collect();
        let uneven = places.iter().any(|p| places[0] != *p && places[0].level(*p) != Level::Cluster);
        Smp { cpus, view, tasks: Vec::new(), events: BinaryHeap::new(), now: 0, moves: 0, uneven, domain }
    }

    /// Says how much a CPU gets done, of [`CAPACITY`].
    pub fn set_capacity(&mut self, cpu: usize, capacity: u32) {
        self.view.averages[cpu].set_capacity(capacity);
        self.uneven = true;
    }

    /// Starts a task where a fork on `cpu` would, among the CPUs of `affinity` (bit `n` for CPUs `n`, `n` + 64, …).
    pub fn spawn(&mut self, cpu: usize, params: Params, affinity: u64, behaviour: Behaviour) -> usize {
        let task = self.make(cpu, params, affinity, behaviour);
        self.start(task, cpu)
    }

    /// The same with a reservation, on any CPU; `None`: it is not admitted.
    pub fn spawn_deadline(&mut self, cpu: usize, p: DlParams, behaviour: Behaviour) -> Option<usize> {
        let mut task = self.make(cpu, Params::DEFAULT, u64::MAX, behaviour);
        let rq = &mut self.cpus[cpu].rq;
        // SAFETY: the task lives as long as the simulator, and is on no queue.
        unsafe {
            task.as_mut().entity.set_reservation(NonNull::from(Box::leak(Box::new(Reservation::new(task.cast(), |_| {})))));
            rq.reserve(task.cast(), p, self.now).ok()?;
            let _ = rq.set_params(task.cast(), Params { policy: Policy::Deadline, ..Params::DEFAULT }, self.now);
        }
        Some(self.start(task, cpu))
    }

    fn make(&mut self, cpu: usize, params: Params, affinity: u64, behaviour: Behaviour) -> NonNull<SmpTask> {
        let entity = Entity::new(params);
        let task = SmpTask { entity, behaviour, cpu, affinity, burst_end: 0, released: self.now, worst_response: 0, dead: false };
        // SAFETY: a box is not null.
        let task = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(task))) };
        begin_burst(task);
        self.tasks.push(task);
        task
    }

    fn start(&mut self, task: NonNull<SmpTask>, cpu: usize) -> usize {
        // SAFETY: the task lives as long as the simulator.
        let allowed = |c: usize| unsafe { self.view.allows(task.cast(), c) };
        // SAFETY: as above.
        let what = Beginner { needs: unsafe { Entity::needs(task.cast(), task.as_ref().entity.weight()) }, runs: false };
        let to = begun(&self.view, cpu, what, allowed).unwrap_or(cpu);
        self.view.averages[to].add(what.needs, &self.view.doing(to));
        self.arrive(task, to, Enqueue::New);
        self.deliver();
        self.tasks.len() - 1
    }

    /// What its CPUs can promise.
    pub fn domain(&self) -> &'static Domain {
        self.domain
    }

    /// The longest time from the start of a period to the end of its burst, of a periodic task.
    pub fn worst_response(&self, id: usize) -> Nanos {
        // SAFETY: tasks live as long as the simulator.
        unsafe { self.tasks[id].as_ref().worst_response }
    }

    /// Lets `time` ns pass; calls `check` after each event.
    pub fn run(&mut self, time: Nanos, mut check: impl FnMut(&Smp)) {
        let end = self.now.saturating_add(time);
        while let Some(Reverse((at, _))) = self.events.peek()
            && *at <= end
        {
            let Some(Reverse((at, event))) = self.events.pop() else { break };
            self.now = at;
            self.view.now.set(at);
            match event {
                Event::Cpu(cpu, version) if self.cpus[cpu].version == version => self.cpu_event(cpu),
                Event::Cpu(..) => continue,
                Event::Wake(id) => self.wake(self.tasks[id]),
            }
            self.deliver();
            check(self);
        }
        self.now = end;
        self.view.now.set(end);
    }

    /// CPU time that a task has had.
    pub fn runtime(&mut self, id: usize) -> Nanos {
        let task = self.tasks[id];
        // SAFETY: tasks live as long as the simulator.
        unsafe {
            self.cpus[task.as_ref().cpu].rq.update_current(self.now);
            task.as_ref().entity.sum_exec_runtime()
        }
    }

    /// Whether a task has ended.
    pub fn is_dead(&self, id: usize) -> bool {
        // SAFETY: tasks live as long as the simulator.
        unsafe { self.tasks[id].as_ref() }.dead
    }

    /// How many tasks are runnable on a CPU.
    pub fn nr_running(&self, cpu: usize) -> usize {
        self.cpus[cpu].rq.nr_running()
    }

    /// The averages of a CPU.
    pub fn average(&self, cpu: usize) -> Average {
        self.view.average(cpu)
    }

    /// The CPU on which a task is, or was last.
    pub fn cpu_of(&self, id: usize) -> usize {
        // SAFETY: tasks live as long as the simulator.
        unsafe { self.tasks[id].as_ref() }.cpu
    }

    /// Lets a task run on other CPUs from its next wake on.
    pub fn set_affinity(&mut self, id: usize, affinity: u64) {
        // SAFETY: tasks live as long as the simulator, and nothing refers to it now.
        unsafe { self.tasks[id].as_mut() }.affinity = affinity;
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// How often tasks were sent from one CPU to another.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// A CPU that idles, or runs something less urgent than a real-time or deadline task that waits elsewhere and may run on it; with
    /// the CPU where that waits.
    pub fn injustice(&self) -> Option<(usize, usize)> {
        for (from, cpu) in self.cpus.iter().enumerate().filter(|(_, c)| c.rq.is_crowded()) {
            let mut to = None;
            let _ = cpu.rq.find_waiting(|e| {
                // SAFETY: it is on a queue.
                let urgency = unsafe { e.as_ref() }.urgency();
                to = (0..self.cpus.len()).find(|c| {
                    let runs = self.cpus[*c].rq.current_urgency();
                    let unjust = runs == Urgency::IDLE || urgency.rank.outranks(Rank::FAIR) && urgency.outranks(runs);
                    // SAFETY: as above.
                    unjust && unsafe { self.view.allows(e, *c) }
                });
                to.is_some()
            });
            if let Some(to) = to {
                return Some((to, from));
            }
        }
        None
    }

    /// A burst or a slice of the current task may be over, or it is time to balance.
    fn cpu_event(&mut self, cpu: usize) {
        let now = self.now;
        let rq = &mut self.cpus[cpu].rq;
        let mut again = rq.tick(now);
        if let Some(e) = rq.current() {
            let mut task = e.cast::<SmpTask>();
            // SAFETY: the current entity is a live task's; no reference to it is held across a queue's method.
            let (over, behaviour) =
                unsafe { (task.as_ref().entity.sum_exec_runtime() >= task.as_ref().burst_end, task.as_ref().behaviour) };
            if over {
                again = true;
                let why = match behaviour {
                    Behaviour::Sleeper { sleep, .. } => {
                        let id = self.tasks.iter().position(|t| *t == task).unwrap_or(0);
                        self.events.push(Reverse((now.saturating_add(sleep), Event::Wake(id))));
                        PutPrev::Sleep
                    }
                    Behaviour::Periodic { period, .. } => {
                        // SAFETY: as above.
                        let t = unsafe { task.as_mut() };
                        t.worst_response = t.worst_response.max(now.saturating_sub(t.released));
                        t.released = t.released.saturating_add(period);
                        let (id, at) = (self.tasks.iter().position(|t| *t == task).unwrap_or(0), t.released.max(now));
                        self.events.push(Reverse((at, Event::Wake(id))));
                        PutPrev::Sleep
                    }
                    Behaviour::Once { .. } => {
                        // SAFETY: as above.
                        unsafe { task.as_mut().dead = true };
                        PutPrev::Dead
                    }
                    _ => PutPrev::Yield,
                };
                rq.put_prev(why, now);
                begin_burst(task);
            }
        }
        again |= self.uneven && !again && self.sends_current(cpu);
        if again { self.reschedule(cpu) } else { self.settled(cpu) }
    }

    /// A sleeper wakes, by a timer of the CPU where it slept.
    fn wake(&mut self, task: NonNull<SmpTask>) {
        // SAFETY: tasks live as long as the simulator.
        let (prev, rank, needs) = unsafe {
            let entity = &task.as_ref().entity;
            (task.as_ref().cpu, entity.rank(), Entity::needs(task.cast(), entity.weight()))
        };
        if rank == Rank::DEADLINE {
            // Its reservation is kept there: it is pushed on from there if it must be.
            return self.arrive(task, prev, Enqueue::Wakeup);
        }
        // SAFETY: as above.
        let allowed = |c: usize| unsafe { self.view.allows(task.cast(), c) };
        let what = Woken { rank, needs, prev, here: prev, rests: false };
        let to = woken(&self.view, &what, allowed).unwrap_or(prev);
        self.arrive(task, to, Enqueue::Wakeup);
    }

    fn arrive(&mut self, mut task: NonNull<SmpTask>, cpu: usize, why: Enqueue) {
        // SAFETY: tasks live as long as the simulator, and it is on no queue.
        unsafe {
            task.as_mut().cpu = cpu;
            self.cpus[cpu].rq.enqueue(task.cast(), why, self.now);
        }
        let rq = &mut self.cpus[cpu].rq;
        // A CPU that idles has to choose, also when who came is throttled there: it then looks for work elsewhere.
        let goes_on = rq.should_preempt(task.cast(), self.now) == Preempt::No && rq.current().is_some();
        if goes_on { self.settled(cpu) } else { self.reschedule(cpu) }
    }

    /// Those who were sent arrive, and those whom they displace, until everybody is somewhere.
    fn deliver(&mut self) {
        let mut steps = 0;
        loop {
            // The borrow ends here: who arrives may send others.
            let next = self.view.sent.borrow_mut().pop();
            let Some((e, cpu)) = next else { break };
            self.moves += 1;
            steps += 1;
            assert!(steps <= 8 * self.tasks.len() + 64, "tasks are sent in a circle");
            self.arrive(e.cast(), cpu, Enqueue::Migrated);
        }
    }

    fn reschedule(&mut self, cpu: usize) {
        let now = self.now;
        let rq = &mut self.cpus[cpu].rq;
        rq.put_prev(PutPrev::Preempted, now);
        if rq.pick(PickLimit::Any, now).is_none() && self.pull(cpu) {
            return;
        }
        self.settled(cpu);
    }

    /// A CPU without work takes what waits elsewhere, the nearest first.
    fn pull(&mut self, cpu: usize) -> bool {
        let place = self.view.places[cpu];
        let mut from: Vec<usize> = (0..self.cpus.len()).filter(|c| self.cpus[*c].rq.is_crowded()).collect();
        from.sort_by_key(|c| self.view.places[*c].level(place));
        for c in from {
            // SAFETY: those who wait are on the queue.
            let found = self.cpus[c].rq.find_waiting(|e| unsafe { self.view.allows(e, cpu) });
            if let Some(e) = found {
                // SAFETY: it waits there, and then is nobody's.
                unsafe {
                    self.cpus[c].rq.dequeue(e, self.now);
                    let left = self.view.moved(e, c, cpu);
                    self.view.gone(c, left);
                }
                self.settled(c);
                self.moves += 1;
                self.arrive(e.cast(), cpu, Enqueue::Migrated);
                return true;
            }
        }
        false
    }

    /// Whether the task that a CPU has to itself is there for long and would be better off elsewhere: the executor's `active::look`.
    fn sends_current(&mut self, cpu: usize) -> bool {
        let now = self.now;
        let rq = &mut self.cpus[cpu].rq;
        let Some(e) = rq.current().filter(|_| !rq.is_crowded() && rq.current_rank() == Rank::FAIR) else { return false };
        // SAFETY: the current entity is a live task's.
        if unsafe { e.as_ref() }.stay(now) < patience(&self.view) {
            return false;
        }
        // SAFETY: as above.
        let Some(to) = better(&self.view, cpu, |c| unsafe { self.view.allows(e, c) }) else { return false };
        rq.put_prev(PutPrev::Preempted, now);
        // SAFETY: it is queued there, and then nobody's.
        unsafe {
            rq.dequeue(e, now);
            let left = self.view.send(e, cpu, to);
            self.view.gone(cpu, left);
        }
        true
    }

    /// After a choice or an arrival: what the executor does in `balance::settled`.
    fn settled(&mut self, cpu: usize) {
        let now = self.now;
        let c = &mut self.cpus[cpu];
        let urgency = c.rq.current_urgency();
        let before = self.view.urgencies[cpu].replace(urgency);
        // Also one whose real-time class is throttled.
        self.view.set_idle(cpu, urgency == Urgency::IDLE);
        let mut event = c.rq.next_event(now);
        c.urgent_waits = false;
        self.view.loads[cpu].set(Load { nr: c.rq.nr_running() as u32, weight: c.rq.load() });
        if c.rq.is_crowded() {
            // SAFETY: one thread: nobody else touches the queue.
            let done = unsafe { spread(&self.view, &mut c.rq, cpu, &mut c.periodic, now) };
            c.urgent_waits = done.urgent_waits;
            if c.rq.is_crowded() {
                event = Some(event.map_or(done.again, |e| e.min(done.again)));
            }
        }
        self.view.loads[cpu].set(Load { nr: c.rq.nr_running() as u32, weight: c.rq.load() });
        if urgency.rank == Rank::FAIR && self.uneven {
            let patience = patience(&self.view);
            let again = (now / patience + 2) * patience + cpu as Nanos;
            event = Some(event.map_or(again, |e| e.min(again)));
        }
        if let Some(e) = c.rq.current() {
            // SAFETY: the current entity is a live task's.
            let t = unsafe { e.cast::<SmpTask>().as_ref() };
            let burst = t.entity.exec_start().saturating_add(t.burst_end.saturating_sub(t.entity.sum_exec_runtime()));
            event = Some(event.map_or(burst, |e| e.min(burst)));
        }
        c.version += 1;
        if let Some(at) = event {
            self.events.push(Reverse((at.max(now), Event::Cpu(cpu, c.version))));
        }
        if before.rank.outranks(Rank::FAIR) && before.outranks(urgency) {
            // Those on which something urgent waits are told (RT_PUSH_IPI).
            for other in 0..self.cpus.len() {
                if other != cpu && self.cpus[other].urgent_waits {
                    self.settled(other);
                }
            }
        }
    }
}

fn begin_burst(mut task: NonNull<SmpTask>) {
    // SAFETY: tasks live as long as the simulator; on no queue or current, and nothing refers to it now.
    let t = unsafe { task.as_mut() };
    t.burst_end = match t.behaviour {
        Behaviour::Sleeper { run, .. } | Behaviour::Periodic { run, .. } | Behaviour::Yielder { run } | Behaviour::Once { run } => {
            t.entity.sum_exec_runtime().saturating_add(run.max(1))
        }
        _ => Nanos::MAX,
    };
}

impl Drop for Smp {
    fn drop(&mut self) {
        for task in self.tasks.drain(..) {
            // SAFETY: each came from a box; the queues do not follow their pointers any more.
            let task = unsafe { Box::from_raw(task.as_ptr()) };
            if let Some(dl) = task.entity.reservation_ptr() {
                // SAFETY: as above; the domain is not used any more.
                drop(unsafe { Box::from_raw(dl.as_ptr()) });
            }
        }
    }
}
