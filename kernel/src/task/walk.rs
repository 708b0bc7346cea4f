//! Walks over all processes that let go of the tree's lock between some and the next, and still miss nobody.
//!
//! A walk goes by number, some at a time, so that it keeps neither interrupts nor other tasks waiting however many processes there are.
//! Meanwhile processes begin and end. Who ends needs nothing more. Who begins is a child of a process, and the walk, which
//! [`Walks`] knows, looks at the parent at that moment, under the same lock ([`born`]):
//!
//! - The walk has yet to meet the parent: the child is met at once. It is as its parent was before, and its number may lie behind the walk.
//! - The parent was met, or is itself younger than the walk: the child is not met, wherever its number lies. What was done to
//!   its parent came before the fork: a handler that forks does not send its signal to the child.
//!
//! So along each line of descent a walk seems to happen at one moment, and a process that forks without end does not escape it (Linux
//! holds `tasklist_lock` throughout). A process that moves to another group is met as what it is when its number comes.

use super::exit;
use super::process::{Process, Tasks, tasks};
use super::signal::many::Signal;
use core::sync::atomic::Ordering::Relaxed;
use vigil_abi::Errno;
use vigil_mem::KArc;

/// Walks that may be under way at once and know of births. One more meets whom it finds.
const MOST: usize = 4;
/// Processes to which something is done under one hold of the lock.
const MEETINGS: usize = 2;

/// What is done to processes.
#[derive(Clone, Copy)]
pub enum Errand {
    /// A signal is sent.
    Signal(Signal),
    /// The members of this session lose their controlling terminal.
    NoTerminal(u32),
}

impl Errand {
    /// `None`: it does not concern `process`.
    fn meet(&self, process: &Process, guard: &mut Tasks) -> Option<Result<(), Errno>> {
        match *self {
            Errand::Signal(ref signal) => signal.send(process, guard),
            Errand::NoTerminal(session) => {
                let relations = process.relations_mut(guard);
                (relations.session == session && relations.tty != 0).then(|| {
                    relations.tty = 0;
                    Ok(())
                })
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Walk {
    /// All below this number were met.
    from: u32,
    /// Births before it began.
    began: u64,
    errand: Errand,
}

/// The walks that are under way. Under the lock of the process tree.
pub struct Walks {
    slots: [Option<Walk>; MOST],
    /// How many of them are used.
    active: usize,
    births: u64,
}

impl Walks {
    /// None yet.
    pub const fn new() -> Walks {
        Walks { slots: [None; MOST], active: 0, births: 0 }
    }

    fn begin(&mut self, errand: Errand) -> Option<usize> {
        let slot = self.slots.iter().position(Option::is_none)?;
        self.slots[slot] = Some(Walk { from: 0, began: self.births, errand });
        self.active += 1;
        Some(slot)
    }

    fn at(&mut self, slot: usize, from: u32) {
        if let Some(walk) = &mut self.slots[slot] {
            walk.from = from;
        }
    }

    fn end(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.active -= 1;
    }
}

impl Default for Walks {
    fn default() -> Self {
        Self::new()
    }
}

/// `child` was entered into the tree as `parent`'s fork.
#[inline]
pub fn born(child: &Process, parent: &Process, guard: &mut Tasks) {
    let births = guard.walks.births.wrapping_add(1);
    guard.walks.births = births;
    child.relations_mut(guard).born = births;
    if guard.walks.active != 0 {
        born_meanwhile(child, parent, guard);
    }
}

#[cold]
fn born_meanwhile(child: &Process, parent: &Process, guard: &mut Tasks) {
    let older = parent.relations(guard).born;
    let walks = guard.walks.slots;
    for walk in walks.iter().flatten().filter(|walk| older <= walk.began && parent.pid >= walk.from) {
        // Who walks hears of those that it meets itself.
        let _ = walk.errand.meet(child, guard);
    }
}

/// Does `errand` to all processes that it concerns; `heard` is told what came of each. Where the caller can be preempted it is between some
/// and the next; it holds nothing that a signal's sender takes.
pub fn walk(errand: Errand, mut heard: impl FnMut(Result<(), Errno>)) {
    let (slot, began) = {
        let mut guard = tasks();
        (guard.walks.begin(errand), guard.walks.births)
    };
    let mut next = Some(0);
    while let Some(from) = next {
        let mut guard = tasks();
        let mut crowd = None;
        next = turn(from, &errand, slot.map(|_| began), &mut guard, &mut heard, &mut crowd);
        if let Some(slot) = slot {
            match next {
                Some(from) => guard.walks.at(slot, from),
                None => guard.walks.end(slot),
            }
        }
        drop(guard);
        if let Some(process) = crowd {
            exit::kick_rest(&process);
        }
    }
}

/// What is done under one hold of the lock, beginning with number `from`; where to go on. Who was born after `until` births is left out. A process
/// whose many threads are to end is put into `crowd`.
fn turn(
    mut from: u32,
    errand: &Errand,
    until: Option<u64>,
    guard: &mut Tasks,
    heard: &mut impl FnMut(Result<(), Errno>),
    crowd: &mut Option<KArc<Process>>,
) -> Option<u32> {
    for _ in 0..MEETINGS {
        let process: KArc<Process> = {
            let (mut processes, next) = guard.pids.some_processes(from)?;
            let wanted = |p: &&KArc<Process>| until.is_none_or(|until| p.relations(guard).born <= until);
            match processes.find(wanted) {
                Some(process) => process.clone(),
                None => return Some(next),
            }
        };
        from = process.pid + 1;
        if let Some(result) = errand.meet(&process, guard) {
            heard(result);
        }
        if process.to_kick.load(Relaxed) != 0 {
            *crowd = Some(process);
            return Some(from);
        }
        // Not the last reference: the table has one.
    }
    Some(from)
}
