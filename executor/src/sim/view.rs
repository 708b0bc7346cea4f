//! What balancing sees of a simulated machine.

#![expect(clippy::disallowed_methods, reason = "runs on the host only, where running out of memory may abort")]

use super::smp::SmpTask;
use crate::balance::choose::{Load, Machine};
use crate::balance::topology::{Level, Place};
use crate::class::cpu_avg::Doing;
use crate::class::{Average, CpuAvg, Entity, Needs, Urgency};
use crate::idle_time::IdleTime;
use crate::time::Nanos;
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::collections::HashMap;
use std::vec::Vec;

/// What balancing sees.
pub(super) struct View {
    pub(super) places: Vec<Place>,
    idle: Vec<Cell<bool>>,
    /// How long each has idled, since when it does, and its averages. Never freed: queues keep them for ever.
    pub(super) idled: &'static [IdleTime],
    idle_since: Vec<Cell<Nanos>>,
    pub(super) averages: &'static [CpuAvg],
    pub(super) now: Cell<Nanos>,
    /// How many CPUs are busy in each part of the domain of a level, and which CPUs are in it.
    busy: RefCell<HashMap<(Level, u64), usize>>,
    parts: HashMap<(Level, u64), Vec<usize>>,
    pub(super) urgencies: Vec<Cell<Urgency>>,
    pub(super) loads: Vec<Cell<Load>>,
    /// Who was sent where, and has not arrived.
    pub(super) sent: RefCell<Vec<(NonNull<Entity>, usize)>>,
}

impl View {
    /// A machine that idles.
    pub(super) fn new(places: &[Place]) -> View {
        let n = places.len();
        let mut view = View {
            places: places.to_vec(),
            idle: (0..n).map(|_| Cell::new(true)).collect(),
            idled: Vec::leak((0..n).map(|_| IdleTime::new()).collect()),
            idle_since: (0..n).map(|_| Cell::new(1)).collect(),
            averages: Vec::leak((0..n).map(|_| CpuAvg::new()).collect()),
            now: Cell::new(0),
            busy: RefCell::new(HashMap::new()),
            parts: HashMap::new(),
            urgencies: (0..n).map(|_| Cell::new(Urgency::IDLE)).collect(),
            loads: (0..n).map(|_| Cell::new(Load::default())).collect(),
            sent: RefCell::new(Vec::new()),
        };
        view.idled.iter().for_each(|idled| idled.begin(1));
        for level in Level::ALL {
            for cpu in 0..n {
                view.parts.entry(view.part(cpu, level)).or_default().push(cpu);
            }
        }
        view
    }

    pub(super) fn set_idle(&self, cpu: usize, idle: bool) {
        if self.idle[cpu].replace(idle) != idle {
            let now = self.now.get().max(1);
            let since = self.idle_since[cpu].replace(now);
            if idle {
                self.idled[cpu].begin(now);
            } else {
                self.idled[cpu].end(since, || now);
            }
            for level in Level::ALL {
                let mut busy = self.busy.borrow_mut();
                let n = busy.entry(self.part(cpu, level)).or_insert(0);
                *n = if idle { *n - 1 } else { *n + 1 };
            }
        }
    }

    /// What a CPU does now.
    pub(super) fn doing(&self, cpu: usize) -> Doing {
        let (now, load) = (self.now.get(), self.loads[cpu].get());
        let (idled, idles) = self.idled[cpu].state(|| now);
        Doing { now, idled, idles, nr: load.nr, weight: load.weight }
    }

    /// A runnable task goes from one CPU to another: the executor's `averages::moved`.
    ///
    /// # Safety
    /// As [`Entity::attach`].
    pub(super) unsafe fn moved(&self, e: NonNull<Entity>, from: usize, to: usize) -> Needs {
        // SAFETY: passed on.
        let needs = unsafe { Entity::attach(e, from, to) };
        self.averages[to].add(needs, &self.doing(to));
        needs
    }

    /// The part of the domain of `level` in which a CPU is.
    fn part(&self, cpu: usize, level: Level) -> (Level, u64) {
        let bits = self.places[cpu].to_bits();
        match level {
            Level::Smt => (level, cpu as u64),
            Level::Cluster => (level, bits >> 16),
            Level::Package => (level, bits >> 32),
            Level::Machine => (level, bits >> 48),
        }
    }
}

impl Machine for View {
    fn nr_cpus(&self) -> usize {
        self.places.len()
    }

    fn place(&self, cpu: usize) -> Place {
        self.places[cpu]
    }

    fn capacity(&self, cpu: usize) -> u32 {
        self.averages[cpu].capacity()
    }

    fn takes_part(&self, _: usize) -> bool {
        true
    }

    fn is_idle(&self, cpu: usize) -> bool {
        self.idle[cpu].get()
    }

    fn busy_near(&self, cpu: usize, level: Level) -> usize {
        self.busy.borrow().get(&self.part(cpu, level)).copied().unwrap_or(0)
    }

    fn any_idle(&self) -> bool {
        self.idle.iter().any(Cell::get)
    }

    fn urgency(&self, cpu: usize) -> Urgency {
        self.urgencies[cpu].get()
    }

    fn load(&self, cpu: usize) -> Load {
        self.loads[cpu].get()
    }

    fn average(&self, cpu: usize) -> Average {
        self.averages[cpu].at(&self.doing(cpu))
    }

    fn each_near(&self, cpu: usize, level: Option<Level>, mut f: impl FnMut(usize)) {
        match level {
            Some(level) => {
                let near = &self.parts[&self.part(cpu, level)];
                let at = near.iter().position(|c| *c == cpu).unwrap_or(0);
                near[at..].iter().chain(&near[..at]).for_each(|c| f(*c));
            }
            None => (cpu..self.places.len()).chain(0..cpu).for_each(f),
        }
    }

    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool {
        // SAFETY: entities are first in their tasks, which live as long as the simulator.
        unsafe { (*e.cast::<SmpTask>().as_ptr()).affinity & 1 << (cpu % 64) != 0 }
    }

    unsafe fn send(&self, e: NonNull<Entity>, here: usize, cpu: usize) -> Needs {
        // SAFETY: passed on.
        let left = unsafe { self.moved(e, here, cpu) };
        self.set_idle(cpu, false);
        // SAFETY: as above.
        self.urgencies[cpu].set(unsafe { e.as_ref() }.urgency());
        self.sent.borrow_mut().push((e, cpu));
        left
    }

    fn gone(&self, here: usize, needs: Needs) {
        self.averages[here].remove(needs, &self.doing(here));
    }
}
