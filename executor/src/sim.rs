//! A simulator: synthetic tasks on the real [`RunQueue`] code over virtual time, for the tests of the classes.
//!
//! Nothing takes time here but the tasks' own bursts: switches, timers and wake-ups are free and exact, unless a tick
//! is set, in which case slices end only at ticks, as on a Linux without HRTICK. CPUs do not influence each other ([`smp`] is for that);
//! tasks go from one to another only by [`Sim::migrate`].

#![expect(clippy::disallowed_methods, reason = "runs on the host only, where running out of memory may abort")]

#[cfg(not(loom))]
pub mod smp;
#[cfg(not(loom))]
mod view;

use crate::class::deadline::domain::Domain;
use crate::class::{
    Bandwidth, DlParams, Enqueue, Entity, OwnedGroup, Params, PickLimit, Policy, Preempt, PutPrev, Reservation, RunQueue, Stats,
};
use crate::time::Nanos;
use core::cmp::Reverse;
use core::ptr::NonNull;
use std::boxed::Box;
use std::collections::BinaryHeap;
use std::vec::Vec;

/// What a task does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// It computes for ever.
    Hog,
    /// It computes for `run` ns, sleeps for `sleep` ns, and so on.
    Sleeper {
        /// The length of a burst; more than 0.
        run: Nanos,
        /// The time from the end of a burst to the next wake-up.
        sleep: Nanos,
    },
    /// It computes for `run` ns at a time and calls sched_yield after each.
    Yielder {
        /// The time between two yields; more than 0.
        run: Nanos,
    },
    /// It computes for `run` ns in each period, from the period's start or the end of the last burst on if that is later.
    Periodic {
        /// The length of a burst; more than 0.
        run: Nanos,
        /// From one start to the next.
        period: Nanos,
    },
    /// It computes for `run` ns and ends.
    Once {
        /// How long it computes; more than 0.
        run: Nanos,
    },
}

/// So many events at one time are a queue that asks for ticks for ever.
const STUCK: u32 = 10_000;

/// The number of a task, in the order of [`Sim::spawn`].
pub type TaskId = usize;

/// The number of a group, in the order of [`Sim::group`].
pub type GroupId = usize;

#[repr(C)]
struct SimTask {
    // First, so that an entity's address is its task's.
    entity: Entity,
    id: TaskId,
    cpu: usize,
    behaviour: Behaviour,
    /// The value of the entity's run time at which its burst ends.
    burst_end: Nanos,
    /// When it wakes, while it sleeps.
    wakes_at: Option<Nanos>,
    /// When its present period began, and the longest time from there to the end of a burst, of a periodic one.
    released: Nanos,
    worst_response: Nanos,
    dead: bool,
}

struct SimCpu {
    rq: RunQueue,
    /// Tasks that sleep, by the time of their wake-up; entries of tasks that moved are stale.
    sleepers: BinaryHeap<Reverse<(Nanos, TaskId)>>,
    idle: Nanos,
    /// Who got the CPU when, without the entries of those who had it already.
    log: Vec<(Nanos, TaskId)>,
}

/// A machine.
pub struct Sim {
    // Never grows: a run queue may not move.
    cpus: Vec<SimCpu>,
    tasks: Vec<NonNull<SimTask>>,
    groups: Vec<OwnedGroup>,
    now: Nanos,
    tick: Option<Nanos>,
    /// Of all CPUs. Never freed: queues keep it for ever.
    domain: &'static Domain,
}

impl Sim {
    /// A machine with `nr_cpus` CPUs and Linux's tunables for that many.
    pub fn new(nr_cpus: usize) -> Sim {
        let domain: &'static Domain = Box::leak(Box::new(Domain::new()));
        domain.give_cpus(nr_cpus as u64);
        let cpu = |i| {
            let mut rq = RunQueue::new();
            rq.set_domain(domain, 0);
            rq.set_nr_cpus(nr_cpus);
            rq.set_cpu(i);
            SimCpu { rq, sleepers: BinaryHeap::new(), idle: 0, log: Vec::new() }
        };
        Sim { cpus: (0..nr_cpus).map(cpu).collect(), tasks: Vec::new(), groups: Vec::new(), now: 0, tick: None, domain }
    }

    /// Ends slices only at multiples of `tick`, as a kernel with a periodic tick does.
    pub fn set_tick(&mut self, tick: Nanos) {
        self.tick = Some(tick.max(1));
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// A CPU's queue, to tune it.
    pub fn rq(&mut self, cpu: usize) -> &mut RunQueue {
        &mut self.cpus[cpu].rq
    }

    /// What its CPUs can promise.
    pub fn domain(&self) -> &'static Domain {
        self.domain
    }

    /// Starts a task on a CPU.
    pub fn spawn(&mut self, cpu: usize, params: Params, behaviour: Behaviour) -> TaskId {
        let id = self.make(cpu, params, behaviour);
        self.enqueue(cpu, self.tasks[id], Enqueue::New);
        id
    }

    /// Starts a task with a reservation on a CPU, if it is admitted.
    pub fn spawn_deadline(&mut self, cpu: usize, p: DlParams, behaviour: Behaviour) -> Option<TaskId> {
        let id = self.make(cpu, Params::DEFAULT, behaviour);
        if !self.set_deadline(id, p) {
            if let Some(task) = self.tasks.pop() {
                free(task);
            }
            return None;
        }
        self.enqueue(cpu, self.tasks[id], Enqueue::New);
        Some(id)
    }

    /// Makes a task that sleeps until `at`, and is on no queue before; with a reservation if it is given one, which must be
    /// admitted.
    pub fn spawn_asleep(&mut self, cpu: usize, params: Params, dl: Option<DlParams>, behaviour: Behaviour, at: Nanos) -> TaskId {
        let id = self.make(cpu, params, behaviour);
        if let Some(dl) = dl {
            assert!(self.set_deadline(id, dl), "not admitted");
        }
        // SAFETY: tasks live as long as the simulator.
        let task = unsafe { self.tasks[id].as_mut() };
        (task.wakes_at, task.released) = (Some(at), at);
        self.cpus[cpu].sleepers.push(Reverse((at, id)));
        id
    }

    fn make(&mut self, cpu: usize, params: Params, behaviour: Behaviour) -> TaskId {
        let id = self.tasks.len();
        let mut task = SimTask {
            entity: Entity::new(params),
            id,
            cpu,
            behaviour,
            burst_end: Nanos::MAX,
            wakes_at: None,
            released: self.now,
            worst_response: 0,
            dead: false,
        };
        task.begin_burst();
        // SAFETY: a box is not null.
        let task = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(task))) };
        self.tasks.push(task);
        id
    }

    /// Gives a task a reservation, or another one; whether it was admitted.
    pub fn set_deadline(&mut self, id: TaskId, p: DlParams) -> bool {
        let mut task = self.tasks[id];
        let now = self.now;
        // SAFETY: tasks live as long as the simulator; it is on its CPU's queue, or was last there.
        let (cpu, admitted) = unsafe {
            let t = task.as_mut();
            if t.entity.reservation().is_none() {
                let dl = Box::new(Reservation::new(task.cast(), |_| {}));
                t.entity.set_reservation(NonNull::from(Box::leak(dl)));
            }
            let cpu = t.cpu;
            (cpu, self.cpus[cpu].rq.reserve(task.cast(), p, now))
        };
        if admitted.is_ok() {
            if admitted == Ok(true) {
                self.reschedule(cpu);
            }
            self.set_params(id, Params { policy: Policy::Deadline, ..Params::DEFAULT });
        }
        admitted.is_ok()
    }

    /// Puts a task that is runnable or asleep on another CPU; the dead stay where they are.
    pub fn migrate(&mut self, id: TaskId, cpu: usize) {
        let mut task = self.tasks[id];
        // SAFETY: tasks live as long as the simulator; no reference to this one is held across a queue's method.
        let (from, on_rq, current) = unsafe {
            let t = task.as_mut();
            (core::mem::replace(&mut t.cpu, cpu), t.entity.on_rq(), t.entity.is_current())
        };
        if from == cpu {
            return;
        }
        if on_rq {
            if current {
                self.cpus[from].rq.put_prev(PutPrev::Preempted, self.now);
            }
            // SAFETY: it is queued there, and not current.
            unsafe { self.cpus[from].rq.dequeue(task.cast(), self.now) };
            self.enqueue(cpu, task, Enqueue::Migrated);
            if current {
                self.reschedule(from);
            }
        // SAFETY: as above.
        } else if let Some(at) = unsafe { task.as_ref().wakes_at } {
            // SAFETY: it sleeps, and was last there.
            unsafe { self.cpus[from].rq.detach(task.cast()) };
            self.cpus[cpu].sleepers.push(Reverse((at, id)));
        }
    }

    /// Changes a task's parameters.
    pub fn set_params(&mut self, id: TaskId, params: Params) {
        let task = self.tasks[id];
        // SAFETY: tasks live as long as the simulator.
        let cpu = unsafe { task.as_ref().cpu };
        // SAFETY: it is on its CPU's queue, or was last there.
        if unsafe { self.cpus[cpu].rq.set_params(task.cast(), params, self.now) } {
            self.reschedule(cpu);
        }
        if params.policy != Policy::Deadline {
            // SAFETY: as above.
            unsafe { self.cpus[cpu].rq.give_back(task.cast(), self.now) };
        }
    }

    /// The longest time from the start of a period to the end of its burst, of a periodic task.
    pub fn worst_response(&self, id: TaskId) -> Nanos {
        // SAFETY: tasks live as long as the simulator.
        unsafe { self.tasks[id].as_ref().worst_response }
    }

    /// Makes a group.
    pub fn group(&mut self, parent: Option<GroupId>) -> GroupId {
        let group = OwnedGroup::try_new(parent.map(|p| &*self.groups[p]), self.cpus.len(), |_| {}).expect("memory for a group");
        self.groups.push(group);
        self.groups.len() - 1
    }

    /// Gives a group a weight.
    pub fn set_shares(&mut self, group: GroupId, shares: u32, idle: bool) {
        self.groups[group].note_shares(shares, idle);
        self.tell(group, false);
    }

    /// Limits a group.
    pub fn set_bandwidth(&mut self, group: GroupId, quota: Option<Nanos>, period: Nanos, burst: Nanos) {
        self.groups[group].note_bandwidth(quota, period, burst, self.now);
        self.tell(group, true);
    }

    fn tell(&mut self, group: GroupId, limit: bool) {
        for cpu in 0..self.cpus.len() {
            self.cpus[cpu].rq.group_changed(&self.groups[group], limit, self.now);
            self.reschedule(cpu);
        }
    }

    /// A group's limit and what came of it.
    pub fn bandwidth(&self, group: GroupId) -> Bandwidth {
        self.groups[group].with_bandwidth(|b| *b)
    }

    /// Puts a task into a group, or into the root.
    pub fn set_group(&mut self, id: TaskId, group: Option<GroupId>) {
        let task = self.tasks[id];
        // SAFETY: tasks live as long as the simulator.
        let cpu = unsafe { task.as_ref().cpu };
        let group = group.map(|g| NonNull::from(&*self.groups[g]));
        // SAFETY: it is on its CPU's queue, or was last there; groups live as long as the simulator.
        if unsafe { self.cpus[cpu].rq.set_group(task.cast(), group, self.now) } {
            self.reschedule(cpu);
        }
    }

    /// CPU time that a task has had.
    pub fn runtime(&mut self, id: TaskId) -> Nanos {
        let task = self.tasks[id];
        // SAFETY: tasks live as long as the simulator.
        unsafe {
            self.cpus[task.as_ref().cpu].rq.update_current(self.now);
            task.as_ref().entity.sum_exec_runtime()
        }
    }

    /// A task's counters.
    pub fn stats(&self, id: TaskId) -> Stats {
        // SAFETY: tasks live as long as the simulator.
        unsafe { *self.tasks[id].as_ref().entity.stats() }
    }

    /// A task's virtual run time.
    pub fn vruntime(&self, id: TaskId) -> u64 {
        // SAFETY: tasks live as long as the simulator.
        unsafe { self.tasks[id].as_ref().entity.vruntime() }
    }

    /// How long a CPU was idle.
    pub fn idle(&self, cpu: usize) -> Nanos {
        self.cpus[cpu].idle
    }

    /// Who got a CPU when.
    pub fn log(&self, cpu: usize) -> &[(Nanos, TaskId)] {
        &self.cpus[cpu].log
    }

    /// Lets `time` ns pass on every CPU.
    pub fn run(&mut self, time: Nanos) {
        let (start, end) = (self.now, self.now.saturating_add(time));
        for cpu in 0..self.cpus.len() {
            self.now = start;
            let (mut last, mut stuck) = (start, 0);
            while self.now < end {
                self.step(cpu, end);
                stuck = if self.now == last { stuck + 1 } else { 0 };
                assert!(stuck < STUCK, "CPU {cpu} makes no progress at {last} ns");
                last = self.now;
            }
        }
        self.now = end;
    }

    /// Goes on to the next event of a CPU, or to `end`, and handles it.
    fn step(&mut self, cpu: usize, end: Nanos) {
        let now = self.now;
        let c = &mut self.cpus[cpu];
        let current = c.rq.current();
        let timer = match (self.tick, current) {
            (Some(tick), Some(_)) => Some((now / tick + 1).saturating_mul(tick)),
            _ => c.rq.next_event(now),
        };
        let burst = current.map(|e| {
            // SAFETY: the current entity is a live task's.
            let t = unsafe { e.cast::<SimTask>().as_ref() };
            t.entity.exec_start().saturating_add(t.burst_end.saturating_sub(t.entity.sum_exec_runtime()))
        });
        let wake = c.sleepers.peek().map(|Reverse((at, _))| *at);
        let at = [timer, burst, wake].into_iter().flatten().min().unwrap_or(end).clamp(now, end);
        if current.is_none() {
            c.idle += at - now;
        }
        self.now = at;
        let mut resched = false;
        if burst.is_some_and(|b| b <= at) {
            self.end_burst(cpu);
            resched = true;
        }
        while let Some(&Reverse((when, id))) = self.cpus[cpu].sleepers.peek()
            && when <= at
        {
            self.cpus[cpu].sleepers.pop();
            let mut task = self.tasks[id];
            // SAFETY: tasks live as long as the simulator.
            let awake = unsafe {
                let t = task.as_mut();
                t.cpu == cpu && t.wakes_at.take_if(|w| *w == when).is_some()
            };
            if awake {
                resched |= self.enqueue_quietly(cpu, task, Enqueue::Wakeup) != Preempt::No;
            }
        }
        if timer.is_some_and(|t| t <= at) {
            resched |= self.cpus[cpu].rq.tick(at);
        }
        if resched {
            self.reschedule(cpu);
        }
    }

    /// The current task's burst is over.
    fn end_burst(&mut self, cpu: usize) {
        let now = self.now;
        let c = &mut self.cpus[cpu];
        let Some(e) = c.rq.current() else { return };
        let mut task = e.cast::<SimTask>();
        // SAFETY: the current entity is a live task's; no reference to it is held across a queue's method.
        let (why, id) = unsafe {
            let t = task.as_mut();
            match t.behaviour {
                Behaviour::Sleeper { sleep, .. } => {
                    t.wakes_at = Some(now.saturating_add(sleep));
                    (PutPrev::Sleep, t.id)
                }
                Behaviour::Periodic { period, .. } => {
                    t.worst_response = t.worst_response.max(now.saturating_sub(t.released));
                    t.released = t.released.saturating_add(period);
                    t.wakes_at = Some(t.released.max(now));
                    (PutPrev::Sleep, t.id)
                }
                Behaviour::Once { .. } => {
                    t.dead = true;
                    (PutPrev::Dead, t.id)
                }
                Behaviour::Hog | Behaviour::Yielder { .. } => (PutPrev::Yield, t.id),
            }
        };
        c.rq.put_prev(why, now);
        // SAFETY: as above.
        let wakes_at = unsafe {
            task.as_mut().begin_burst();
            task.as_ref().wakes_at
        };
        if let Some(at) = wakes_at {
            c.sleepers.push(Reverse((at, id)));
        }
    }

    fn enqueue_quietly(&mut self, cpu: usize, task: NonNull<SimTask>, why: Enqueue) -> Preempt {
        let rq = &mut self.cpus[cpu].rq;
        // SAFETY: it is on no queue, lives as long as the simulator, and so do all queues.
        unsafe { rq.enqueue(task.cast(), why, self.now) };
        rq.should_preempt(task.cast(), self.now)
    }

    fn enqueue(&mut self, cpu: usize, task: NonNull<SimTask>, why: Enqueue) {
        if self.enqueue_quietly(cpu, task, why) != Preempt::No {
            self.reschedule(cpu);
        }
    }

    fn reschedule(&mut self, cpu: usize) {
        let c = &mut self.cpus[cpu];
        c.rq.put_prev(PutPrev::Preempted, self.now);
        let before = c.rq.nr_switches();
        if let Some(e) = c.rq.pick(PickLimit::Any, self.now)
            && c.rq.nr_switches() != before
        {
            // SAFETY: the current entity is a live task's.
            c.log.push((self.now, unsafe { e.cast::<SimTask>().as_ref().id }));
        }
    }
}

impl SimTask {
    fn begin_burst(&mut self) {
        self.burst_end = match self.behaviour {
            Behaviour::Hog => Nanos::MAX,
            Behaviour::Sleeper { run, .. } | Behaviour::Periodic { run, .. } | Behaviour::Yielder { run } | Behaviour::Once { run } => {
                self.entity.sum_exec_runtime().saturating_add(run.max(1))
            }
        };
    }
}

/// Frees a task, on whose queue nothing is done any more.
fn free(task: NonNull<SimTask>) {
    // SAFETY: each came from a box; the queues do not follow their pointers any more. The domain is not used any more, either.
    unsafe {
        if let Some(dl) = task.as_ref().entity.reservation_ptr() {
            drop(Box::from_raw(dl.as_ptr()));
        }
        drop(Box::from_raw(task.as_ptr()));
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(free);
    }
}
