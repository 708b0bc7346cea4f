//! The checker's memory: classes, how each was used, and the order edges between them. Lock-free, never shrinks.

use super::LockClass;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*};

/// The most classes that are checked; locks of further classes are taken unchecked.
pub(super) const MAX_CLASSES: usize = 192;
const WORDS: usize = MAX_CLASSES / 64;

/// A lock of the class was taken in a hard interrupt.
pub(super) const IN_HARDIRQ: u32 = 1;
/// A lock of the class was held with interrupts on.
pub(super) const HARDIRQS_ON: u32 = 2;

static COUNT: AtomicU32 = AtomicU32::new(0);
static CLASSES: [AtomicPtr<LockClass>; MAX_CLASSES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CLASSES];
static USAGE: [AtomicU32; MAX_CLASSES] = [const { AtomicU32::new(0) }; MAX_CLASSES];
/// Bit `b` of row `a`: a lock of class `b` was waited for while one of class `a` was held.
static AFTER: [[AtomicU64; WORDS]; MAX_CLASSES] = [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_CLASSES];

/// The index of `class`, given at its first use; `None` when the table is full.
pub(super) fn index(class: &'static LockClass) -> Option<usize> {
    let id = class.id.load(Acquire);
    if id != 0 {
        return Some(id as usize - 1);
    }
    let i = COUNT.fetch_update(Relaxed, Relaxed, |n| (n < MAX_CLASSES as u32).then_some(n + 1)).ok()?;
    CLASSES[i as usize].store(core::ptr::from_ref(class).cast_mut(), Release);
    // Two CPUs may race to the first use: the loser's slot stays unused.
    match class.id.compare_exchange(0, i + 1, AcqRel, Acquire) {
        Ok(_) => Some(i as usize),
        Err(winner) => Some(winner as usize - 1),
    }
}

/// The name of class `i`.
pub(super) fn name(i: usize) -> &'static str {
    // SAFETY: only addresses of statics are stored.
    unsafe { CLASSES[i].load(Acquire).as_ref() }.map_or("?", |c| c.name)
}

/// How class `i` was used so far.
pub(super) fn usage(i: usize) -> u32 {
    USAGE[i].load(Relaxed)
}

/// Notes uses of class `i`; returns those that are new.
pub(super) fn add_usage(i: usize, bits: u32) -> u32 {
    if USAGE[i].load(Relaxed) & bits == bits { 0 } else { bits & !USAGE[i].fetch_or(bits, AcqRel) }
}

/// Notes that `b` follows `a`; `true` if that is new.
pub(super) fn add_edge(a: usize, b: usize) -> bool {
    let (word, bit) = (&AFTER[a][b / 64], 1 << (b % 64));
    word.load(Relaxed) & bit == 0 && word.fetch_or(bit, AcqRel) & bit == 0
}

/// A chain of classes, first to last.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) nodes: [u8; 16],
    pub(super) len: usize,
}

impl Path {
    pub(super) const EMPTY: Path = Path { nodes: [0; 16], len: 0 };

    fn push(&mut self, node: usize) {
        if self.len < self.nodes.len() {
            self.nodes[self.len] = node as u8;
            self.len += 1;
        }
    }
}

/// The shortest chain of edges from `from` to a class for which `goal` holds (`from` itself does not count as reached
/// unless a circle leads back to it), along edges or, with `backwards`, against them.
pub(super) fn search(from: usize, backwards: bool, goal: impl Fn(usize) -> bool) -> Option<Path> {
    let mut parent = [u8::MAX; MAX_CLASSES];
    let mut queue = [0u8; MAX_CLASSES];
    let (mut head, mut tail) = (0, 1);
    let classes = (COUNT.load(Acquire) as usize).min(MAX_CLASSES);
    queue[0] = from as u8;
    while head < tail {
        let at = queue[head] as usize;
        head += 1;
        for next in 0..classes {
            let (a, b) = if backwards { (next, at) } else { (at, next) };
            if AFTER[a][b / 64].load(Relaxed) & 1 << (b % 64) == 0 || (parent[next] != u8::MAX && next != from) {
                continue;
            }
            if goal(next) {
                return Some(path_to(&parent, from, at, next, backwards));
            }
            if next != from && parent[next] == u8::MAX {
                parent[next] = at as u8;
                queue[tail] = next as u8;
                tail += 1;
            }
        }
    }
    None
}

/// The chain that `parent` describes, `from` → … → `at` → `end`, in the edges' direction.
fn path_to(parent: &[u8; MAX_CLASSES], from: usize, at: usize, end: usize, backwards: bool) -> Path {
    let mut path = Path::EMPTY;
    path.push(end);
    let mut p = at;
    while p != from && path.len < path.nodes.len() - 1 {
        path.push(p);
        p = parent[p] as usize;
    }
    path.push(from);
    if !backwards {
        path.nodes[..path.len].reverse();
    }
    path
}
