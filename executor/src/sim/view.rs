//! What balancing sees of a simulated machine.

#![expect(clippy::disallowed_methods, reason = "runs on the host only, where running out of memory may abort")]

use super::smp::SmpTask;
use crate::balance::choose::{Load, Machine};
use crate::balance::topology::{CAPACITY, Level, Place};
use crate::class::{Entity, Urgency};
use core::cell::{Cell, RefCell};
use core::ptr::NonNull;
use std::collections::HashMap;
use std::vec;
use std::vec::Vec;

/// What balancing sees.
pub(super) struct View {
    pub(super) places: Vec<Place>,
    pub(super) capacities: Vec<u32>,
    idle: Vec<Cell<bool>>,
    /// How many CPUs are busy in each part of the domain of a level.
    busy: RefCell<HashMap<(Level, u64), usize>>,
    pub(super) urgencies: Vec<Cell<Urgency>>,
    pub(super) loads: Vec<Cell<Load>>,
    /// Who was sent where, and has not arrived.
    pub(super) sent: RefCell<Vec<(NonNull<Entity>, usize)>>,
}

impl View {
    /// A machine that idles.
    pub(super) fn new(places: &[Place]) -> View {
        let n = places.len();
        View {
            places: places.to_vec(),
            capacities: vec![CAPACITY; n],
            idle: (0..n).map(|_| Cell::new(true)).collect(),
            busy: RefCell::new(HashMap::new()),
            urgencies: (0..n).map(|_| Cell::new(Urgency::IDLE)).collect(),
            loads: (0..n).map(|_| Cell::new(Load::default())).collect(),
            sent: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn set_idle(&self, cpu: usize, idle: bool) {
        if self.idle[cpu].replace(idle) != idle {
            for level in Level::ALL {
                let mut busy = self.busy.borrow_mut();
                let n = busy.entry(self.part(cpu, level)).or_insert(0);
                *n = if idle { *n - 1 } else { *n + 1 };
            }
        }
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
        self.capacities[cpu]
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

    unsafe fn allows(&self, e: NonNull<Entity>, cpu: usize) -> bool {
        // SAFETY: entities are first in their tasks, which live as long as the simulator.
        unsafe { (*e.cast::<SmpTask>().as_ptr()).affinity & 1 << (cpu % 64) != 0 }
    }

    unsafe fn send(&self, e: NonNull<Entity>, cpu: usize) {
        self.set_idle(cpu, false);
        // SAFETY: as above.
        self.urgencies[cpu].set(unsafe { e.as_ref() }.urgency());
        self.sent.borrow_mut().push((e, cpu));
    }
}
