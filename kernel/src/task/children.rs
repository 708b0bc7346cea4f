//! The children of a process, and its threads that still run.
//!
//! The children are a list through their numbers, oldest first: a child keeps its number until it is waited for, so the list
//! needs no memory of its own, and an heir can take over any number of orphans.

use super::process::{Process, Tasks};
use super::thread::Thread;
use vigil_mem::KArc;

/// A process's place among its siblings, and its own children. Numbers; 0: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Family {
    first_child: u32,
    last_child: u32,
    next: u32,
    previous: u32,
}

impl Process {
    /// Its children, living and zombies, oldest first, from the one after `child` on, or from the first.
    pub fn children_after<'a>(&self, child: Option<&Process>, guard: &'a Tasks) -> impl Iterator<Item = &'a KArc<Process>> + use<'a> {
        let mut next = match child {
            Some(child) => child.relations(guard).family.next,
            None => self.relations(guard).family.first_child,
        };
        core::iter::from_fn(move || {
            let child = guard.pids.process_ref(next)?;
            next = child.relations(guard).family.next;
            Some(child)
        })
    }

    /// Makes it the youngest child of `parent`. It has none yet, and is in the table of numbers.
    pub fn join_family(&self, parent: KArc<Process>, guard: &mut Tasks) {
        let last = core::mem::replace(&mut parent.relations_mut(guard).family.last_child, self.pid);
        let own = &mut self.relations_mut(guard).family;
        (own.previous, own.next) = (last, 0);
        set_next_of(&parent, last, self.pid, guard);
        self.set_parent(parent, guard);
    }

    /// Takes it from among its parent's children; returns the parent.
    pub fn leave_family(&self, guard: &mut Tasks) -> Option<KArc<Process>> {
        let relations = self.relations_mut(guard);
        let parent = relations.parent.take()?;
        let Family { next, previous, .. } = relations.family;
        set_next_of(&parent, previous, next, guard);
        match guard.pids.process(next) {
            Some(next) => next.relations_mut(guard).family.previous = previous,
            None => parent.relations_mut(guard).family.last_child = previous,
        }
        Some(parent)
    }

    /// Its oldest child.
    pub fn first_child(&self, guard: &Tasks) -> Option<KArc<Process>> {
        guard.pids.process(self.relations(guard).family.first_child)
    }

    /// Its threads that have not ended; [`Relations::threads`](super::process::Relations::threads) holds the leader also
    /// after its end.
    pub fn living<'a>(&'a self, guard: &'a Tasks) -> impl Iterator<Item = &'a KArc<Thread>> {
        self.relations(guard).threads.iter().filter(|t| !t.is_gone())
    }
}

/// `next` follows the child `previous` of `parent`, or is its first.
fn set_next_of(parent: &Process, previous: u32, next: u32, guard: &mut Tasks) {
    match guard.pids.process(previous) {
        Some(previous) => previous.relations_mut(guard).family.next = next,
        None => parent.relations_mut(guard).family.first_child = next,
    }
}
