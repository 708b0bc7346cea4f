//! Sets of tasks of which it is watched for how long they wait for each CPU: what pressure files of control groups are made of
//! (Linux: struct psi_group, kernel/sched/psi.c).
//!
//! A task belongs to one set at most, by [`Entity::psi`](super::Entity), and with that to all sets above it, whatever its scheduling
//! class is. On a CPU a set is in one of these states:
//!
//! | | one of it waits | nobody of it waits |
//! |---|---|---|
//! | one of it runs | some | — |
//! | none of it runs | some and full | idle |
//!
//! Who is held back because a limit is used up waits, too.
//!
//! **Nobody pays who is in no set.** Fair tasks of sets are of an internal class ([`Watched`](class)), whose operations count them and
//! do what those of the task's own class do: other tasks do not meet it. Those above the fair class are few, and are looked for in
//! their queues. What has changed is put into a list, and looked at ([`RunQueue::note_psi`](super::RunQueue::note_psi)) when the CPU
//! has chosen whom to run, or somebody has come.
//!
//! All of a set on a CPU is guarded by that CPU's run queue.

pub(super) mod class;
mod note;
#[cfg(all(test, not(loom)))]
mod tests;

pub(super) use note::PsiRq;

use crate::atomic::loom_static;
use crate::cpu::MAX_CPUS;
use crate::lock_class;
use crate::sync::SpinLock;
use crate::time::Nanos;
use alloc::alloc::{alloc, alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::*};

/// How long a set was in each state: some of it waited; some waited and none ran; some waited or ran.
pub type PsiTimes = [Nanos; 3];

const SOME: u8 = 1;
const FULL: u8 = 2;
const BUSY: u8 = 4;

/// Who of a set is current.
const NOBODY: u8 = 0;
const URGENT: u8 = 1;
const FAIR: u8 = 2;

/// A set on one CPU.
struct Slot {
    /// Runnable fair tasks, the current one included.
    fair: AtomicU32,
    /// Those above the fair class that wait, as of the last look.
    urgent: AtomicU32,
    /// Who is current, as of the last look.
    runs: AtomicU8,
    /// The state, as of the last look, and since when.
    state: AtomicU8,
    since: AtomicU64,
    /// The times up to then.
    times: [AtomicU64; 3],
    /// 0: it is not in the list of those to be looked at; else the number of the next one there, or [`END`].
    next: AtomicU32,
}

/// Behind the last one of the list.
const END: u32 = u32::MAX;

/// A set of tasks.
pub struct PsiGroup {
    number: u32,
    /// Everybody in this one is in that one.
    parent: Option<NonNull<PsiGroup>>,
    cpus: [Slot; MAX_CPUS],
}

// SAFETY: what a CPU has of it is atomic; the parent is only read, and outlives it.
unsafe impl Sync for PsiGroup {}
// SAFETY: as above.
unsafe impl Send for PsiGroup {}

impl Slot {
    const fn new() -> Slot {
        Slot {
            fair: AtomicU32::new(0),
            urgent: AtomicU32::new(0),
            runs: AtomicU8::new(NOBODY),
            state: AtomicU8::new(0),
            since: AtomicU64::new(0),
            times: [const { AtomicU64::new(0) }; 3],
            next: AtomicU32::new(0),
        }
    }

    /// The times by `now`.
    fn times(&self, now: Nanos) -> PsiTimes {
        let (state, so_far) = (self.state.load(Relaxed), now.saturating_sub(self.since.load(Relaxed)));
        core::array::from_fn(|i| {
            let before = self.times[i].load(Relaxed);
            if state & 1 << i != 0 { before.wrapping_add(so_far) } else { before }
        })
    }

    /// Brings the state up to `now`.
    fn update(&self, now: Nanos) {
        let runs = self.runs.load(Relaxed);
        let runnable = self.fair.load(Relaxed).wrapping_add(self.urgent.load(Relaxed));
        let waits = runnable > u32::from(runs == FAIR);
        let state = match (waits, runs != NOBODY) {
            (true, true) => SOME | BUSY,
            (true, false) => SOME | FULL | BUSY,
            (false, true) => BUSY,
            (false, false) => 0,
        };
        if state == self.state.load(Relaxed) {
            return;
        }
        for (time, by_now) in self.times.iter().zip(self.times(now)) {
            time.store(by_now, Relaxed);
        }
        self.state.store(state, Relaxed);
        self.since.store(now, Relaxed);
    }
}

/// Owns a set: dropping it frees the memory. No task is in it then and no set below it, and no run queue has it in its list
/// ([`RunQueue::forget_psi`](super::RunQueue::forget_psi)).
pub struct OwnedPsi(NonNull<PsiGroup>);

// SAFETY: it is only a pointer to what is both.
unsafe impl Send for OwnedPsi {}
// SAFETY: as above.
unsafe impl Sync for OwnedPsi {}

impl OwnedPsi {
    /// A set below `parent`, which must outlive it. `None`: no memory, or there are too many.
    pub fn try_new(parent: Option<&PsiGroup>) -> Option<OwnedPsi> {
        // SAFETY: the layout is not empty.
        let group = NonNull::new(unsafe { alloc(Layout::new::<PsiGroup>()) }.cast::<PsiGroup>())?;
        let Some(number) = numbered(group) else {
            // SAFETY: allocated above, and nobody has it.
            unsafe { dealloc(group.as_ptr().cast(), Layout::new::<PsiGroup>()) };
            return None;
        };
        // SAFETY: fresh memory of the layout; nobody looks at a number that no task has.
        unsafe { group.write(PsiGroup { number, parent: parent.map(NonNull::from), cpus: [const { Slot::new() }; MAX_CPUS] }) };
        Some(OwnedPsi(group))
    }
}

impl core::ops::Deref for OwnedPsi {
    type Target = PsiGroup;
    fn deref(&self) -> &PsiGroup {
        // SAFETY: it lives as long as its owner.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedPsi {
    fn drop(&mut self) {
        if let Some(entry) = entry(self.number) {
            entry.store(core::ptr::null_mut(), Release);
            taken_near(self.number).fetch_sub(1, Relaxed);
        }
        // SAFETY: nobody refers to it any more, neither by number nor by address; allocated with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<PsiGroup>()) };
    }
}

impl PsiGroup {
    /// What entities know it by; never 0.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// Sets by number: an entity has no room for an address.
type Chunk = [AtomicPtr<PsiGroup>; CHUNK];
const CHUNK: usize = 256;
static SETS: [AtomicPtr<Chunk>; CHUNK] = [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNK];
loom_static! {
    /// The number that was given last. Held while one is given, which is looked for in two chunks at most.
    static LAST: SpinLock<u32> = SpinLock::new(lock_class!("psi_numbers"), 0);
}
/// How many numbers of each chunk are given, that of no set included.
static TAKEN: [AtomicU32; CHUNK] = {
    let mut taken = [const { AtomicU32::new(0) }; CHUNK];
    taken[0] = AtomicU32::new(1);
    taken
};

/// How many are given of the chunk of `number`.
fn taken_near(number: u32) -> &'static AtomicU32 {
    &TAKEN[number as usize / CHUNK % CHUNK]
}

/// Where the set with this number is noted, if any set ever had a number near to it.
fn entry(number: u32) -> Option<&'static AtomicPtr<PsiGroup>> {
    let chunk = SETS.get(number as usize / CHUNK)?.load(Acquire);
    // SAFETY: a chunk, once made, stays.
    unsafe { chunk.as_ref() }?.get(number as usize % CHUNK)
}

/// Gives `group` a number. `None`: no memory, or all are used.
fn numbered(group: NonNull<PsiGroup>) -> Option<u32> {
    let mut last = LAST.lock();
    // From the chunk of the last one on, in which old numbers come late again.
    let chunk = (0..CHUNK).map(|i| (*last as usize / CHUNK + i) % CHUNK).find(|chunk| TAKEN[*chunk].load(Relaxed) < CHUNK as u32)?;
    let at = &SETS[chunk];
    if at.load(Relaxed).is_null() {
        // Null pointers are zeros.
        // SAFETY: the layout is not empty.
        let made = NonNull::new(unsafe { alloc_zeroed(Layout::new::<Chunk>()) })?;
        at.store(made.as_ptr().cast(), Release);
    }
    let first = *last as usize % CHUNK + 1;
    let number = (0..CHUNK).map(|i| (chunk * CHUNK + (first + i) % CHUNK) as u32).find(|number| {
        // Who gives one back clears the entry first, and the count says so after it.
        *number != 0 && entry(*number).is_some_and(|entry| entry.load(Relaxed).is_null())
    })?;
    entry(number)?.store(group.as_ptr(), Release);
    taken_near(number).fetch_add(1, Relaxed);
    *last = number;
    Some(number)
}

/// The set numbered `number` and all above it.
///
/// # Safety
/// Number 0, which is no set's, or that of a set that lives as long as what is returned is used.
unsafe fn chain<'a>(number: u32) -> impl Iterator<Item = &'a PsiGroup> {
    let first = if number == 0 { None } else { entry(number).and_then(|entry| NonNull::new(entry.load(Acquire))) };
    // SAFETY: by the contract; parents outlive their children.
    core::iter::successors(first, |group| unsafe { group.as_ref() }.parent).map(|group| unsafe { group.as_ref() })
}
