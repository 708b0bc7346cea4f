//! One CPU's timers: the tree and the comparator.

use super::callback::Timer;
use super::entry::{Action, ByExpiry, Entry, MOVING, QUEUED};
use super::pull::Later;
#[cfg(not(loom))]
use super::target::start_elsewhere;
use super::wheel::Wheel;
use crate::arch;
use crate::atomic::{AtomicU64, Ordering, const_unless_loom, loom_static};
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use crate::time::{Nanos, nanos_to_counter, now_unordered};
#[cfg(not(loom))]
use crate::trace::KEY_TIMERS;
use core::pin::Pin;
use core::ptr;
use intrusive_collections::{RBTree, UnsafeRef};

/// "No event".
pub(super) const NEVER: Nanos = Nanos::MAX;
/// The counter value of an event that never comes, in 292 years of a counter of 1 GHz. Nobody who adds an offset to it overflows.
const NEVER_COUNT: u64 = i64::MAX as u64;
static TIMER_BASE: LockClass = LockClass::new("hrtimer_base");

/// What the lock guards.
pub(super) struct Tree {
    /// The earliest entry, if it was the earliest when it was started: in no tree, so that what is started to be the next
    /// and fires next, which is what sleeping and waking is made of, rebalances nothing. Null: see `head`.
    front: *const Entry,
    tree: RBTree<ByExpiry>,
    /// The first entry of the tree; null when it is empty. Not before `front`.
    head: *const Entry,
    /// The entry whose callback runs now, on this CPU.
    pub(super) running: *const Entry,
    /// Those that are later, also under this lock.
    later: &'static Later,
}

// SAFETY: used under the base's lock, on whichever CPU.
unsafe impl Send for Tree {}

impl Tree {
    /// The buckets.
    #[inline(always)]
    pub(super) fn wheel(&mut self) -> &mut Wheel {
        // SAFETY: each base has its own, and reaches it through its tree alone, which is borrowed.
        unsafe { self.later.wheel() }
    }

    /// The timer that empties the buckets.
    pub(super) fn pull(&self) -> &'static Timer {
        &self.later.pull
    }

    /// The first entry.
    #[inline(always)]
    pub(super) fn first(&self) -> *const Entry {
        if self.front.is_null() { self.head } else { self.front }
    }

    /// Calls `f` with each entry in front of the tree or in it, the first one first, until `f` says that it is enough.
    #[cfg(not(loom))]
    pub(super) fn each(&self, f: &mut dyn FnMut(&Entry) -> bool) {
        // SAFETY: queued entries are alive; the base's lock, which guards `self`, is held.
        if !unsafe { self.front.as_ref() }.is_none_or(&mut *f) {
            return;
        }
        let _ = self.tree.iter().all(f);
    }

    /// The first entry, if it may fire at `t`.
    #[inline(always)]
    pub(super) fn may_fire(&self, t: Nanos) -> Option<*const Entry> {
        let entry = self.first();
        // SAFETY: queued entries are alive; the base's lock, which guards `self`, is held.
        (!entry.is_null() && unsafe { (*entry).inner.with(|p| (*p).soft) } <= t).then_some(entry)
    }
}

/// The timers of one CPU.
pub(super) struct Base {
    pub(super) cpu: usize,
    pub(super) tree: SpinLock<Tree>,
    /// Hard expiry of the first entry of the tree. Written under the lock.
    pub(super) first: AtomicU64,
    /// The same as a value of the counter, so that the interrupt need not convert it; NEVER_COUNT when there is none.
    first_count: AtomicU64,
    /// The executor's event. Its own CPU only, interrupts masked.
    pub(super) slice: AtomicU64,
    /// What stands in the comparator. Its own CPU only, interrupts masked.
    pub(super) programmed: AtomicU64,
    /// The time that was converted last, a slice's end mostly, and its value of the counter: the comparator is set to it again after
    /// each interrupt before it. Its own CPU only, interrupts masked.
    converted: [AtomicU64; 2],
}

impl Base {
    const_unless_loom! {
        fn new(cpu: usize, later: &'static Later) -> Base {
            Base {
                cpu,
                tree: SpinLock::new(&TIMER_BASE, Tree { front: ptr::null(), tree: RBTree::new(ByExpiry::NEW), head: ptr::null(), running: ptr::null(), later }),
                first: AtomicU64::new(NEVER),
                first_count: AtomicU64::new(NEVER_COUNT),
                slice: AtomicU64::new(NEVER),
                programmed: AtomicU64::new(NEVER),
                converted: [AtomicU64::new(NEVER), AtomicU64::new(NEVER_COUNT)],
            }
        }
    }
}

loom_static! {
    /// Each CPU's buckets.
    static LATER: [Later; MAX_CPUS] =
        [Later::new(0), Later::new(1), Later::new(2), Later::new(3), Later::new(4), Later::new(5), Later::new(6), Later::new(7)];
}

loom_static! {
    /// Each CPU's.
    static BASES: PerCpu<Base> = PerCpu::new([
        Base::new(0, &LATER[0]), Base::new(1, &LATER[1]), Base::new(2, &LATER[2]), Base::new(3, &LATER[3]),
        Base::new(4, &LATER[4]), Base::new(5, &LATER[5]), Base::new(6, &LATER[6]), Base::new(7, &LATER[7]),
    ]);
}
const _: () = assert!(MAX_CPUS == 8, "one initialiser for each CPU above");

impl Base {
    /// Queues `entry`; whether it may be what comes first now.
    ///
    /// # Safety
    /// `entry` is guarded by this base, is not queued and is pinned until it is taken out.
    #[inline(always)]
    pub(super) unsafe fn insert(&self, tree: &mut Tree, entry: &Entry, soft: Nanos, slack: Nanos) -> bool {
        let hard = soft.saturating_add(slack);
        let first = self.first.load(Ordering::Relaxed);
        // SAFETY: by the contract.
        unsafe {
            if hard >= first
                && let Some(spot) = tree.wheel().find(hard, first, now_unordered())
            {
                entry.inner.with_mut(|p| {
                    (*p).soft = soft;
                    (*p).hard = hard;
                });
                entry.set_queued();
                if tree.wheel().append(entry, spot) {
                    self.pull_at(tree, spot.empty_at());
                }
                return false;
            }
            self.order(tree, entry, soft, hard.min(NEVER - 1));
        }
        true
    }

    /// Puts `entry` into the tree.
    ///
    /// # Safety
    /// As [`Base::insert`].
    pub(super) unsafe fn order(&self, tree: &mut Tree, entry: &Entry, soft: Nanos, hard: Nanos) {
        let count = nanos_to_counter(hard);
        let earliest = hard < self.first.load(Ordering::Relaxed);
        // SAFETY: by the contract nobody else looks at it; it lives until it is taken out. `front` is queued, and alive.
        unsafe {
            entry.inner.with_mut(|p| {
                (*p).soft = soft;
                (*p).hard = hard;
                (*p).count = count;
            });
            entry.set_queued();
            if earliest {
                if !tree.front.is_null() {
                    // Before all others, those of the same time included, which were started later.
                    tree.tree.front_mut().insert_before(UnsafeRef::from_raw(tree.front));
                    tree.head = tree.front;
                }
                tree.front = entry;
            } else {
                // Behind those of the same time: they fire in the order of their starts.
                tree.tree.insert(UnsafeRef::from_raw(entry));
                if tree.head.is_null() || hard < (*tree.head).inner.with(|p| (*p).hard) {
                    tree.head = entry;
                }
            }
        }
        if earliest {
            self.first_count.store(count, Ordering::Relaxed);
            self.first.store(hard, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// `entry` is queued in this base.
    #[inline(always)]
    pub(super) unsafe fn remove(&self, tree: &mut Tree, entry: &Entry) {
        // SAFETY: by the contract.
        unsafe {
            if entry.is_in_bucket() {
                tree.wheel().remove(entry);
            } else {
                self.take(tree, entry, Ordering::Release);
            }
        }
        entry.set_cancelled();
    }

    /// Takes `entry` out of the tree and leaves its state to the caller. `order`: Release, but on the base's own CPU.
    ///
    /// # Safety
    /// `entry` is in this base's tree, or in front of it.
    #[inline(always)]
    pub(super) unsafe fn take(&self, tree: &mut Tree, entry: &Entry, order: Ordering) {
        if ptr::eq(tree.front, entry) {
            tree.front = ptr::null();
        } else {
            // SAFETY: by the contract; what is queued and not in front is in the tree.
            unsafe { take_from_tree(tree, entry) };
            if !tree.front.is_null() {
                return;
            }
        }
        let (mut first, mut count) = (NEVER, NEVER_COUNT);
        if !tree.head.is_null() {
            // SAFETY: it is queued; we hold the lock (`tree` is what it guards).
            (first, count) = unsafe { (*tree.head).inner.with(|p| ((*p).hard, (*p).count)) };
        }
        // In this order, for `program`.
        self.first.store(first, Ordering::Relaxed);
        self.first_count.store(count, order);
    }

    /// Programs the comparator if something earlier than what stands in it has come. This CPU's, interrupts masked.
    #[inline(always)]
    pub(super) fn arm(&self) {
        let event = self.first.load(Ordering::Relaxed).min(self.slice.load(Ordering::Relaxed));
        if event < self.programmed.load(Ordering::Relaxed) {
            self.program(event);
        }
    }

    /// Writes `event`, which may be `first`, into the comparator. This CPU's, interrupts masked.
    #[inline(always)]
    pub(super) fn program(&self, event: Nanos) {
        self.programmed.store(event, Ordering::Relaxed);
        // Another CPU may take the first entry out meanwhile (`remove`): who reads the new count does not find the old event. The
        // comparator may stand at an event that is gone, which costs an interrupt that finds nothing, but never behind
        // `programmed`. Entries are queued here by this CPU alone, or while a callback runs, after which it is programmed anew.
        let count = self.first_count.load(Ordering::Acquire);
        arch::program_timer(if event == self.first.load(Ordering::Relaxed) { count } else { self.converted(event) });
    }

    /// `event` as a value of the counter. This CPU's, interrupts masked.
    #[inline(always)]
    fn converted(&self, event: Nanos) -> u64 {
        let [from, to] = &self.converted;
        if from.load(Ordering::Relaxed) != event {
            to.store(nanos_to_counter(event), Ordering::Relaxed);
            from.store(event, Ordering::Relaxed);
        }
        to.load(Ordering::Relaxed)
    }
}

/// Takes `entry` out of the tree.
///
/// # Safety
/// It is in there; the lock is held.
#[inline(never)]
unsafe fn take_from_tree(tree: &mut Tree, entry: &Entry) {
    // SAFETY: by the contract.
    let mut cursor = unsafe { tree.tree.cursor_mut_from_ptr(entry) };
    let _ = cursor.remove();
    if ptr::eq(tree.head, entry) {
        // The cursor stands on the one that came behind it.
        tree.head = cursor.get().map_or(ptr::null(), ptr::from_ref);
    }
}

/// Locks the base that guards `entry`.
pub(super) fn lock_of(entry: &Entry) -> (&'static Base, SpinIrqGuard<'static, Tree>) {
    loop {
        let cpu = entry.cpu.load(Ordering::Acquire);
        if cpu != MOVING {
            let base: &'static Base = bases().of(cpu_id(cpu));
            let tree = base.tree.lock_irq();
            if entry.cpu.load(Ordering::Relaxed) == cpu {
                return (base, tree);
            }
        }
        arch::relax();
    }
}

pub(super) fn bases() -> &'static PerCpu<Base> {
    &BASES
}

fn cpu_id(cpu: u32) -> CpuId {
    CpuId::new(cpu as usize).unwrap_or(CpuId::BOOT)
}

/// Starts `entry`, or starts it anew, wherever timers of this CPU wait best; `prepare` changes its inner part on the way.
#[inline(always)]
pub(super) fn start(entry: Pin<&Entry>, soft: Nanos, slack: Nanos, prepare: impl FnOnce(&mut Action)) {
    let irq = arch::irq_save();
    let (entry, here) = (entry.get_ref(), bases().this());
    #[cfg(loom)]
    let left = Some(prepare);
    // SAFETY: it is pinned.
    #[cfg(not(loom))]
    let left = if arch::is_traced::<KEY_TIMERS>() { unsafe { start_elsewhere(here, entry, soft, slack, prepare) } } else { Some(prepare) };
    if let Some(prepare) = left {
        start_masked(here, entry, soft, slack, prepare);
    }
    arch::irq_restore(irq);
}

/// As [`start`], on this CPU.
#[inline(always)]
pub(super) fn start_here(entry: Pin<&Entry>, soft: Nanos, slack: Nanos) {
    let irq = arch::irq_save();
    start_masked(bases().this(), entry.get_ref(), soft, slack, |_| {});
    arch::irq_restore(irq);
}

/// Starts `entry`, which is pinned, by `here`, this CPU's. Interrupts masked.
#[inline(always)]
fn start_masked(here: &Base, entry: &Entry, soft: Nanos, slack: Nanos, prepare: impl FnOnce(&mut Action)) {
    let is_here = || entry.cpu.load(Ordering::Relaxed) == here.cpu as u32;
    let tree = is_here().then(|| here.tree.lock_masked());
    if let Some(mut tree) = tree.filter(|_| is_here()) {
        // SAFETY: the entry is guarded by this base, whose lock we hold; it is pinned.
        unsafe {
            if entry.state.load(Ordering::Relaxed) == QUEUED {
                here.remove(&mut tree, entry);
            }
            entry.inner.with_mut(|p| prepare(&mut (*p).action));
            let first = here.insert(&mut tree, entry, soft, slack);
            drop(tree);
            if first {
                here.arm();
            }
        }
    } else {
        // SAFETY: it is pinned.
        unsafe { start_of_other(here, entry, soft, slack, prepare) };
    }
}

/// [`start`] of an entry that another base guards, or guarded a moment ago. Interrupts masked.
///
/// # Safety
/// It is pinned until it is taken out.
#[cold]
#[inline(never)]
unsafe fn start_of_other(here: &Base, entry: &Entry, soft: Nanos, slack: Nanos, prepare: impl FnOnce(&mut Action)) {
    let (base, mut tree) = lock_of(entry);
    // SAFETY: the entry is guarded by `base`, whose lock we hold; it is pinned.
    unsafe {
        if entry.state.load(Ordering::Relaxed) == QUEUED {
            base.remove(&mut tree, entry);
        }
        entry.inner.with_mut(|p| prepare(&mut (*p).action));
        if base.cpu == here.cpu || ptr::eq(tree.running, entry) {
            // While its callback runs elsewhere it stays there, so that a cancel finds both in one place. That CPU
            // programs its comparator when the callback has returned.
            base.insert(&mut tree, entry, soft, slack);
        } else {
            entry.cpu.store(MOVING, Ordering::Relaxed);
            drop(tree);
            let mut tree = here.tree.lock_irq();
            here.insert(&mut tree, entry, soft, slack);
            entry.cpu.store(here.cpu as u32, Ordering::Release);
        }
    }
    here.arm();
}

/// How a cancel ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cancelled {
    /// It was waiting and is not any more.
    Yes,
    /// It was not waiting.
    WasIdle,
    /// Its callback runs, on the CPU of this number.
    Running(usize),
}

/// Takes `entry` out.
pub(super) fn cancel(entry: &Entry) -> Cancelled {
    let (base, mut tree) = lock_of(entry);
    if entry.state.load(Ordering::Relaxed) == QUEUED {
        // SAFETY: queued, in the base that guards it.
        unsafe { base.remove(&mut tree, entry) };
        // Running and queued again: the callback started it anew, or somebody else did.
        if !ptr::eq(tree.running, entry) {
            return Cancelled::Yes;
        }
    }
    if ptr::eq(tree.running, entry) { Cancelled::Running(base.cpu) } else { Cancelled::WasIdle }
}

/// Runs `f` on the action of `entry` under its base's lock, with whether it is queued.
pub(super) fn with_action<R>(entry: &Entry, f: impl FnOnce(&mut Action, bool) -> R) -> R {
    let (_base, tree) = lock_of(entry);
    let queued = entry.state.load(Ordering::Acquire) == QUEUED;
    // SAFETY: we hold the lock that guards it.
    let r = entry.inner.with_mut(|p| f(unsafe { &mut (*p).action }, queued));
    drop(tree);
    r
}

/// Programs this CPU's comparator for its next event. Interrupts masked.
pub fn reprogram() {
    let base = bases().this();
    base.program(base.first.load(Ordering::Relaxed).min(base.slice.load(Ordering::Relaxed)));
}

/// This CPU's next event, for the idle loop.
pub fn next_event() -> Option<Nanos> {
    let base = bases().this();
    let event = base.first.load(Ordering::Relaxed).min(base.slice.load(Ordering::Relaxed));
    (event != NEVER).then_some(event)
}

/// The executor's next event of `here`, this CPU: the end of a slice, a quantum, a bandwidth period. Replaces the one before,
/// which otherwise stays until it has come: an event too many only asks the classes once more. The comparator is touched only when the event is earlier than what it stands at. Interrupts masked.
#[inline(always)]
pub fn set_slice(here: CpuId, slice: Nanos) {
    let base = bases().of(here);
    // The comparator never stands later than the slice: if that stays, nothing else need be looked at.
    if base.slice.load(Ordering::Relaxed) != slice {
        base.slice.store(slice, Ordering::Relaxed);
        base.arm();
    }
}

/// The executor's next event is at `slice` at the latest: one before that stays. Interrupts masked.
#[inline]
pub fn set_slice_by(here: CpuId, slice: Nanos) {
    set_slice(here, bases().of(here).slice.load(Ordering::Relaxed).min(slice));
}

/// The soft expiry with which `entry` was started last.
pub(super) fn deadline(entry: &Entry) -> Nanos {
    let (_base, _tree) = lock_of(entry);
    // SAFETY: we hold the lock that guards it.
    entry.inner.with(|p| unsafe { (*p).soft })
}
