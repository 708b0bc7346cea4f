//! The checker's memory: classes, how each was used, and the order edges between them, each with the places where it was first
//! seen. Lock-free, never shrinks.

use super::LockClass;
use super::places::Place;
use core::cell::Cell;
use core::sync::atomic::{AtomicPtr, AtomicU16, AtomicU32, AtomicU64, Ordering::*};

/// One more than the most classes that are checked; locks of further classes are taken unchecked.
pub const MAX_CLASSES: usize = 256;
const WORDS: usize = MAX_CLASSES / 64;
/// No class.
const NONE: u8 = u8::MAX;

/// How a class was used (Linux: lock_usage_bit). Each has a twin for readers, [`READ`] bits further up.
pub(super) const IN_HARDIRQ: u32 = 1;
/// It was held with hard interrupts on.
pub(super) const HARDIRQS_ON: u32 = 2;
/// It was taken in a softirq.
pub(super) const IN_SOFTIRQ: u32 = 4;
/// It was held with softirqs on.
pub(super) const SOFTIRQS_ON: u32 = 8;
/// The shift from a use to the same use as a reader.
pub(super) const READ: u32 = 4;
const USES: usize = 8;

static COUNT: AtomicU32 = AtomicU32::new(0);
static CLASSES: [AtomicPtr<LockClass>; MAX_CLASSES] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CLASSES];
static USAGE: [AtomicU32; MAX_CLASSES] = [const { AtomicU32::new(0) }; MAX_CLASSES];
static USED_AT: [[AtomicU16; USES]; MAX_CLASSES] = [const { [const { AtomicU16::new(0) }; USES] }; MAX_CLASSES];
/// Bit `b` of row `a`: a lock of class `b` was waited for while one of class `a` was held.
static AFTER: [[AtomicU64; WORDS]; MAX_CLASSES] = [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_CLASSES];
/// The same where `a` was held by who excludes everybody else: only he makes readers wait.
static AFTER_WRITER: [[AtomicU64; WORDS]; MAX_CLASSES] = [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_CLASSES];
/// Where `a` had been taken, and in the upper half where `b` was.
static EDGE_AT: [[AtomicU32; MAX_CLASSES]; MAX_CLASSES] = [const { [const { AtomicU32::new(0) }; MAX_CLASSES] }; MAX_CLASSES];

/// The index of `class`, given at its first use; `None` when the table is full.
pub(super) fn index(class: &'static LockClass) -> Option<usize> {
    let id = class.id.load(Acquire);
    if id != 0 {
        return Some(id as usize - 1);
    }
    let i = COUNT.fetch_update(Relaxed, Relaxed, |n| (n < u32::from(NONE)).then_some(n + 1)).ok()?;
    CLASSES[i as usize].store(core::ptr::from_ref(class).cast_mut(), Release);
    // Two CPUs may race to the first use: the loser's slot stays unused.
    match class.id.compare_exchange(0, i + 1, AcqRel, Acquire) {
        Ok(_) => Some(i as usize),
        Err(winner) => Some(winner as usize - 1),
    }
}

/// How many classes there are.
pub(super) fn count() -> usize {
    COUNT.load(Acquire) as usize
}

/// Class `i`.
pub(super) fn class(i: usize) -> Option<&'static LockClass> {
    // SAFETY: only addresses of statics are stored.
    unsafe { CLASSES.get(i)?.load(Acquire).as_ref() }
}

/// The name of class `i`.
pub(super) fn name(i: usize) -> &'static str {
    class(i).map_or("?", |c| c.name)
}

/// How class `i` was used so far.
pub(super) fn usage(i: usize) -> u32 {
    USAGE[i].load(Relaxed)
}

/// Where class `i` was first used as one of `bits` says.
pub(super) fn used_at(i: usize, bits: u32) -> Place {
    let known = usage(i) & bits;
    Place(USED_AT[i].get(known.trailing_zeros() as usize).map_or(0, |p| p.load(Relaxed)))
}

/// Notes uses of class `i`; returns those that are new.
pub(super) fn add_usage(i: usize, bits: u32, at: impl FnOnce() -> Place) -> u32 {
    if USAGE[i].load(Relaxed) & bits == bits {
        return 0;
    }
    let new = bits & !USAGE[i].fetch_or(bits, AcqRel);
    let place = at();
    for use_ in 0..USES {
        if new & 1 << use_ != 0 {
            USED_AT[i][use_].store(place.0, Relaxed);
        }
    }
    new
}

fn is_set(matrix: &[[AtomicU64; WORDS]; MAX_CLASSES], a: usize, b: usize) -> bool {
    matrix[a][b / 64].load(Relaxed) & 1 << (b % 64) != 0
}

/// Notes that `b`, at the place of the second, follows `a`, taken at the first; `true` if that is new.
pub(super) fn add_edge(a: usize, b: usize, a_reads: bool, at: impl FnOnce() -> (Place, Place)) -> bool {
    let (word, bit) = (b / 64, 1 << (b % 64));
    let known = is_set(&AFTER, a, b);
    if known && (a_reads || is_set(&AFTER_WRITER, a, b)) {
        return false;
    }
    let new = AFTER[a][word].fetch_or(bit, AcqRel) & bit == 0;
    let stronger = !a_reads && AFTER_WRITER[a][word].fetch_or(bit, AcqRel) & bit == 0;
    if new {
        let (first, second) = at();
        EDGE_AT[a][b].store(u32::from(first.0) | u32::from(second.0) << 16, Relaxed);
    }
    new || stronger
}

/// Where the two classes of an edge had been taken.
pub(super) fn edge_at(a: usize, b: usize) -> (Place, Place) {
    let both = EDGE_AT[a][b].load(Relaxed);
    (Place(both as u16), Place((both >> 16) as u16))
}

/// A chain of classes, first to last.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) nodes: [u8; 24],
    pub(super) len: usize,
}

impl Path {
    pub(super) const EMPTY: Path = Path { nodes: [0; 24], len: 0 };

    /// One class alone.
    pub(super) fn of(node: usize) -> Path {
        let mut path = Path::EMPTY;
        path.push(node);
        path
    }

    fn push(&mut self, node: usize) {
        if self.len < self.nodes.len() {
            self.nodes[self.len] = node as u8;
            self.len += 1;
        }
    }

    /// Its classes, first to last.
    pub(super) fn classes(&self) -> impl Iterator<Item = usize> {
        self.nodes[..self.len].iter().map(|n| usize::from(*n))
    }

    /// The first and the last class.
    pub(super) fn ends(&self) -> (usize, usize) {
        (usize::from(self.nodes[0]), usize::from(self.nodes[self.len.saturating_sub(1)]))
    }

    /// This chain and, behind it, `more`.
    pub(super) fn then(mut self, more: Path) -> Path {
        more.classes().for_each(|node| self.push(node));
        self
    }
}

/// The shortest chain of edges from `from` to a class for which `goal` holds (`from` itself does not count as reached
/// unless a circle leads back to it), along edges or, with `backwards`, against them. An edge whose beginning is the class that
/// interrupts take is one of those that make who comes as `reader` wait, if it is one.
pub(super) fn search(from: usize, backwards: bool, reader: impl Fn(usize) -> bool, goal: impl Fn(usize) -> bool) -> Option<Path> {
    let mut parent = [NONE; MAX_CLASSES];
    let mut queue = [0u8; MAX_CLASSES];
    let (mut head, mut tail) = (0, 1);
    queue[0] = from as u8;
    while head < tail {
        let at = queue[head] as usize;
        head += 1;
        for next in 0..count() {
            let (a, b) = if backwards { (next, at) } else { (at, next) };
            if !is_set(&AFTER, a, b) || (parent[next] != NONE && next != from) {
                continue;
            }
            let blocks = |class: usize| !reader(class) || is_set(&AFTER_WRITER, a, b);
            if !backwards && at == from && !blocks(at) {
                continue;
            }
            if goal(next) && (!backwards || blocks(next)) {
                return Some(path_to(&parent, from, at, next, backwards));
            }
            if next != from && parent[next] == NONE {
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

/// What is known of a class.
#[derive(Clone, Copy, Debug)]
pub struct ClassInfo {
    index: usize,
    /// Its name.
    pub name: &'static str,
    /// Its address, which tells it from others of the name.
    pub address: usize,
    /// Classes that were waited for while it was held, in chains of any length (Linux: FD).
    pub after: usize,
    /// Classes that were held, likewise, when it was waited for (BD).
    pub before: usize,
    /// Four characters (Linux: get_usage_chars): hard interrupts, the same as a reader, softirqs, the same as a reader; `-`: taken
    /// in one, `+`: held with them on, `?`: both, `.`: neither.
    pub usage: [u8; 4],
}

impl ClassInfo {
    /// Calls `f` with the name and address of each class that was waited for while this one was held, without others between.
    pub fn for_each_after(&self, mut f: impl FnMut(&'static str, usize)) {
        for next in (0..count()).filter(|next| is_set(&AFTER, self.index, *next)) {
            f(name(next), address(next));
        }
    }
}

fn address(i: usize) -> usize {
    class(i).map_or(0, |c| core::ptr::from_ref(c).addr())
}

/// How many classes can be reached from `from`.
fn reached(from: usize, backwards: bool) -> usize {
    let n = Cell::new(0);
    // No class is the goal, so each is asked.
    let none = |class| {
        n.set(n.get() + usize::from(class != from));
        false
    };
    let _ = search(from, backwards, |_| false, none);
    n.get()
}

/// Calls `f` with each class.
pub fn for_each_class(mut f: impl FnMut(&ClassInfo)) {
    for index in 0..count() {
        let used = usage(index);
        let of = |inside: u32, on: u32, shift: u32| match (used >> shift & inside != 0, used >> shift & on != 0) {
            (false, false) => b'.',
            (true, false) => b'-',
            (false, true) => b'+',
            (true, true) => b'?',
        };
        let usage = [
            of(IN_HARDIRQ, HARDIRQS_ON, 0),
            of(IN_HARDIRQ, HARDIRQS_ON, READ),
            of(IN_SOFTIRQ, SOFTIRQS_ON, 0),
            of(IN_SOFTIRQ, SOFTIRQS_ON, READ),
        ];
        f(&ClassInfo {
            index,
            name: name(index),
            address: address(index),
            after: reached(index, false),
            before: reached(index, true),
            usage,
        });
    }
}

/// Figures of all classes together.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    /// Classes, and pairs of them that were held one in the other.
    pub classes: usize,
    /// See `classes`.
    pub direct: usize,
    /// Classes that are taken in hard interrupts, that are held with these on; the same of softirqs.
    pub uses: [usize; 4],
}

/// Counts them.
pub fn totals() -> Totals {
    let mut totals = Totals { classes: count(), ..Totals::default() };
    for index in 0..totals.classes {
        totals.direct += AFTER[index].iter().map(|word| word.load(Relaxed).count_ones() as usize).sum::<usize>();
        let used = usage(index) | usage(index) >> READ;
        for (n, bit) in [IN_HARDIRQ, HARDIRQS_ON, IN_SOFTIRQ, SOFTIRQS_ON].into_iter().enumerate() {
            totals.uses[n] += usize::from(used & bit != 0);
        }
    }
    totals
}
