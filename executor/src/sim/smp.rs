//! Many CPUs that influence each other: the run queues, and the balancing of [`crate::balance`], over virtual time.
//!
//! Events of all CPUs happen in the order of their times. A task that is sent arrives at once; a CPU that looks for work finds
//! what is there. So what the tests see is what the rules do, without the races that loom and the machine's own tests look at.

#![expect(clippy::disallowed_methods, reason = "runs on the host only, where running out of memory may abort")]

use super::Behaviour;
use crate::balance::choose::{Load, Machine, idlest, nearest_idle, woken};
use crate::balance::spread::{Periodic, spread};
use crate::balance::topology::Place;
use crate::class::{Enqueue, Entity, Params, PickLimit, Preempt, PutPrev, Rank, RunQueue};
use crate::time::Nanos;
use core::cell::{Cell, RefCell};
use core::cmp::Reverse;
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::BinaryHeap;
use std::vec::Vec;

#[repr(C)]
struct SmpTask {
    // First, so that an entity's address is its task's.
    entity: Entity,
    behaviour: Behaviour,
    cpu: usize,
    /// The CPUs on which it may run: those whose number has a bit set here, 64 being the same as 0.
    affinity: u64,
    burst_end: Nanos,
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

/// What balancing sees.
struct View {
    places: Vec<Place>,
    idle: Vec<Cell<bool>>,
    ranks: Vec<Cell<Rank>>,
    loads: Vec<Cell<Load>>,
    /// Who was sent where, and has not arrived.
    sent: RefCell<Vec<(NonNull<Entity>, usize)>>,
}

impl Machine for View {
    fn nr_cpus(&self) -> usize {
        self.places.len()
    }

    fn place(&self, cpu: usize) -> Place {
        self.places[cpu]
    }

    fn takes_part(&self, _: usize) -> bool {
        true
    }

    fn is_idle(&self, cpu: usize) -> bool {
        self.idle[cpu].get()
    }

    fn any_idle(&self) -> bool {
        self.idle.iter().any(Cell::get)
    }

    fn rank(&self, cpu: usize) -> Rank {
        self.ranks[cpu].get()
    }

    fn load(&self, cpu: usize) -> Load {
        self.loads[cpu].get()
    }

    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool {
        // SAFETY: entities are first in their tasks, which live as long as the simulator.
        unsafe { (*e.cast::<SmpTask>().as_ptr()).affinity & 1 << (cpu % 64) != 0 }
    }

    unsafe fn send(&self, e: NonNull<Entity>, cpu: usize) {
        self.idle[cpu].set(false);
        // SAFETY: as above.
        self.ranks[cpu].set(unsafe { e.as_ref() }.rank());
        self.sent.borrow_mut().push((e, cpu));
    }
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
}

impl Smp {
    /// A machine whose CPUs are at `places`.
    pub fn new(places: &[Place]) -> Smp {
        let cpu = |_| {
            let mut rq = RunQueue::new();
            rq.set_nr_cpus(places.len());
            Cpu { rq, periodic: Periodic::NEW, version: 0, urgent_waits: false }
        };
        let n = places.len();
        let view = View {
            places: places.to_vec(),
            idle: (0..n).map(|_| Cell::new(true)).collect(),
            ranks: (0..n).map(|_| Cell::new(Rank::IDLE)).collect(),
            loads: (0..n).map(|_| Cell::new(Load::default())).collect(),
            sent: RefCell::new(Vec::new()),
        };
        Smp { cpus: (0..n).map(cpu).collect(), view, tasks: Vec::new(), events: BinaryHeap::new(), now: 0, moves: 0 }
    }

    /// Starts a task where a fork on `cpu` would, among the CPUs of `affinity` (bit `n` for CPUs `n`, `n` + 64, …).
    pub fn spawn(&mut self, cpu: usize, params: Params, affinity: u64, behaviour: Behaviour) -> usize {
        let task = SmpTask { entity: Entity::new(params), behaviour, cpu, affinity, burst_end: 0, dead: false };
        // SAFETY: a box is not null.
        let task = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(task))) };
        begin_burst(task);
        self.tasks.push(task);
        // SAFETY: the task lives as long as the simulator.
        let allowed = |c: usize| unsafe { self.view.allows(task.cast(), c) };
        let to = nearest_idle(&self.view, cpu, allowed).or_else(|| idlest(&self.view, cpu, allowed)).unwrap_or(cpu);
        self.arrive(task, to, Enqueue::New);
        self.deliver();
        self.tasks.len() - 1
    }

    /// Lets `time` ns pass; calls `check` after each event.
    pub fn run(&mut self, time: Nanos, mut check: impl FnMut(&Smp)) {
        let end = self.now.saturating_add(time);
        while let Some(Reverse((at, _))) = self.events.peek()
            && *at <= end
        {
            let Some(Reverse((at, event))) = self.events.pop() else { break };
            self.now = at;
            match event {
                Event::Cpu(cpu, version) if self.cpus[cpu].version == version => self.cpu_event(cpu),
                Event::Cpu(..) => continue,
                Event::Wake(id) => self.wake(self.tasks[id]),
            }
            self.deliver();
            check(self);
        }
        self.now = end;
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

    /// How often tasks were sent from one CPU to another.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// A CPU that idles, or runs something less urgent than a real-time task that waits elsewhere and may run on it; with the
    /// CPU where that waits.
    pub fn injustice(&self) -> Option<(usize, usize)> {
        for (from, cpu) in self.cpus.iter().enumerate().filter(|(_, c)| c.rq.is_crowded()) {
            let mut to = None;
            let _ = cpu.rq.find_waiting(|e| {
                // SAFETY: it is on a queue.
                let rank = unsafe { e.as_ref() }.rank();
                to = (0..self.cpus.len()).find(|c| {
                    let runs = self.cpus[*c].rq.current_rank();
                    // SAFETY: as above.
                    (runs == Rank::IDLE || rank.outranks(Rank::FAIR) && rank.outranks(runs)) && unsafe { self.view.allows(e, *c) }
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
            let (over, behaviour) = unsafe { (task.as_ref().entity.sum_exec_runtime() >= task.as_ref().burst_end, task.as_ref().behaviour) };
            if over {
                again = true;
                let why = match behaviour {
                    Behaviour::Sleeper { sleep, .. } => {
                        let id = self.tasks.iter().position(|t| *t == task).unwrap_or(0);
                        self.events.push(Reverse((now.saturating_add(sleep), Event::Wake(id))));
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
        if again { self.reschedule(cpu) } else { self.settled(cpu) }
    }

    /// A sleeper wakes, by a timer of the CPU where it slept.
    fn wake(&mut self, task: NonNull<SmpTask>) {
        // SAFETY: tasks live as long as the simulator.
        let (prev, rank) = unsafe { (task.as_ref().cpu, task.as_ref().entity.rank()) };
        // SAFETY: as above.
        let allowed = |c: usize| unsafe { self.view.allows(task.cast(), c) };
        let to = if self.view.is_idle(prev) { Some(prev) } else { woken(&self.view, rank, prev, prev, allowed) };
        self.arrive(task, to.unwrap_or(prev), Enqueue::Wakeup);
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
                // SAFETY: it waits there.
                unsafe { self.cpus[c].rq.dequeue(e, self.now) };
                self.settled(c);
                self.moves += 1;
                self.arrive(e.cast(), cpu, Enqueue::Migrated);
                return true;
            }
        }
        false
    }

    /// After a choice or an arrival: what the executor does in `balance::settled`.
    fn settled(&mut self, cpu: usize) {
        let now = self.now;
        let c = &mut self.cpus[cpu];
        let rank = c.rq.current_rank();
        let before = self.view.ranks[cpu].replace(rank);
        // Also one whose real-time class is throttled.
        self.view.idle[cpu].set(rank == Rank::IDLE);
        let mut event = c.rq.next_event(now);
        c.urgent_waits = false;
        if c.rq.is_crowded() {
            // SAFETY: one thread: nobody else touches the queue.
            let done = unsafe { spread(&self.view, &mut c.rq, cpu, &mut c.periodic, now) };
            c.urgent_waits = done.urgent_waits;
            if c.rq.is_crowded() {
                event = Some(event.map_or(done.again, |e| e.min(done.again)));
            }
        }
        self.view.loads[cpu].set(Load { nr: c.rq.nr_running() as u32, weight: c.rq.load() });
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
        if before.outranks(Rank::FAIR) && before.outranks(rank) {
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
        Behaviour::Sleeper { run, .. } | Behaviour::Yielder { run } | Behaviour::Once { run } => {
            t.entity.sum_exec_runtime().saturating_add(run.max(1))
        }
        _ => Nanos::MAX,
    };
}

impl Drop for Smp {
    fn drop(&mut self) {
        for task in self.tasks.drain(..) {
            // SAFETY: each came from a box; the queues do not follow their pointers any more.
            drop(unsafe { Box::from_raw(task.as_ptr()) });
        }
    }
}
