//! One CPU's timers: the tree, the comparator, and the interrupt.

use super::callback::Timer;
use super::entry::{Action, ByExpiry, Entry, FIRED, IDLE, MOVING, QUEUED};
use crate::arch;
use crate::atomic::{AtomicU64, Ordering, const_unless_loom, loom_static};
use crate::cpu::{CpuId, MAX_CPUS, PerCpu};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use crate::task::waker::wake_in_lock;
use crate::time::{Nanos, nanos_to_counter, now};
use core::pin::Pin;
use core::ptr;
use intrusive_collections::{RBTree, UnsafeRef};

/// "No event".
const NEVER: Nanos = Nanos::MAX;
/// The counter value of an event that never comes, in 292 years of a counter of 1 GHz. Nobody who adds an offset to it overflows.
const NEVER_COUNT: u64 = i64::MAX as u64;
/// How often one interrupt looks at the clock again before it lets other work run (Linux: hrtimer_interrupt, 3).
const ROUNDS: u32 = 3;
/// How far ahead the comparator is set when timers come due faster than they can be run.
const HANG_DELAY: Nanos = 100 * crate::time::USEC;

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
    running: *const Entry,
}

// SAFETY: used under the base's lock, on whichever CPU.
unsafe impl Send for Tree {}

impl Tree {
    /// The first entry, if it may fire at `t`.
    #[inline(always)]
    fn may_fire(&self, t: Nanos) -> Option<*const Entry> {
        let entry = if self.front.is_null() { self.head } else { self.front };
        // SAFETY: queued entries are alive; the base's lock, which guards `self`, is held.
        (!entry.is_null() && unsafe { (*entry).inner.with(|p| (*p).soft) } <= t).then_some(entry)
    }
}

/// The timers of one CPU.
pub(super) struct Base {
    cpu: usize,
    tree: SpinLock<Tree>,
    /// Hard expiry of the first entry. Written under the lock.
    first: AtomicU64,
    /// The same as a value of the counter, so that the interrupt need not convert it; NEVER_COUNT when there is none.
    first_count: AtomicU64,
    /// The executor's event. Its own CPU only, interrupts masked.
    slice: AtomicU64,
    /// What stands in the comparator. Its own CPU only, interrupts masked.
    programmed: AtomicU64,
    /// The time that was converted last, a slice's end mostly, and its value of the counter: the comparator is set to it again after
    /// each interrupt before it. Its own CPU only, interrupts masked.
    converted: [AtomicU64; 2],
}

impl Base {
    const_unless_loom! {
        fn new(cpu: usize) -> Base {
            Base {
                cpu,
                tree: SpinLock::new(&TIMER_BASE, Tree { front: ptr::null(), tree: RBTree::new(ByExpiry::NEW), head: ptr::null(), running: ptr::null() }),
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
    /// Each CPU's.
    static BASES: PerCpu<Base> = PerCpu::new([
        Base::new(0), Base::new(1), Base::new(2), Base::new(3), Base::new(4), Base::new(5), Base::new(6), Base::new(7),
    ]);
}
const _: () = assert!(MAX_CPUS == 8, "one initialiser for each CPU above");

impl Base {
    /// # Safety
    /// `entry` is guarded by this base, is not queued and is pinned until it is taken out.
    unsafe fn insert(&self, tree: &mut Tree, entry: &Entry, soft: Nanos, slack: Nanos) {
        let hard = soft.saturating_add(slack).min(NEVER - 1);
        let count = nanos_to_counter(hard);
        let earliest = hard < self.first.load(Ordering::Relaxed);
        // SAFETY: by the contract nobody else looks at it; it lives until it is taken out. `front` is queued, and alive.
        unsafe {
            entry.inner.with_mut(|p| {
                (*p).soft = soft;
                (*p).hard = hard;
                (*p).count = count;
            });
            entry.state.store(QUEUED, Ordering::Relaxed);
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
    unsafe fn remove(&self, tree: &mut Tree, entry: &Entry) {
        // SAFETY: by the contract.
        unsafe { self.take(tree, entry, Ordering::Release) };
        entry.state.store(IDLE, Ordering::Relaxed);
    }

    /// Takes `entry` out and leaves its state to the caller. `order`: Release, but on the base's own CPU.
    ///
    /// # Safety
    /// `entry` is queued in this base.
    #[inline(always)]
    unsafe fn take(&self, tree: &mut Tree, entry: &Entry, order: Ordering) {
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
    fn arm(&self) {
        let event = self.first.load(Ordering::Relaxed).min(self.slice.load(Ordering::Relaxed));
        if event < self.programmed.load(Ordering::Relaxed) {
            self.program(event);
        }
    }

    /// Writes `event`, which may be `first`, into the comparator. This CPU's, interrupts masked.
    #[inline(always)]
    fn program(&self, event: Nanos) {
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
fn lock_of(entry: &Entry) -> (&'static Base, SpinIrqGuard<'static, Tree>) {
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

fn bases() -> &'static PerCpu<Base> {
    &BASES
}

fn cpu_id(cpu: u32) -> CpuId {
    CpuId::new(cpu as usize).unwrap_or(CpuId::BOOT)
}

/// Starts `entry`, or starts it anew, on this CPU; `prepare` changes its inner part on the way.
pub(super) fn start(entry: Pin<&Entry>, soft: Nanos, slack: Nanos, prepare: impl FnOnce(&mut Action)) {
    let irq = arch::irq_save();
    let entry = entry.get_ref();
    let here = bases().this();
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
            drop(tree);
        } else {
            entry.cpu.store(MOVING, Ordering::Relaxed);
            drop(tree);
            let mut tree = here.tree.lock_irq();
            here.insert(&mut tree, entry, soft, slack);
            entry.cpu.store(here.cpu as u32, Ordering::Release);
        }
    }
    here.arm();
    arch::irq_restore(irq);
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

/// The timer interrupt of this CPU: fires everything that is due, programs the comparator, and says whether the
/// executor's event ([`set_slice`]) was due; it is cleared then. Interrupts masked, in hard-interrupt context.
#[inline]
pub fn interrupt(now_at_entry: Nanos) -> bool {
    let base = bases().this();
    // Not only when the first one must fire: what may fire, its slack permitting, saves an interrupt.
    if base.first.load(Ordering::Relaxed) != NEVER {
        // What callbacks start is earlier than nothing that stands in the comparator: it is written once, below.
        base.programmed.store(0, Ordering::Relaxed);
        if expire(base, now_at_entry) {
            // Functions take time. Where the next timer is far there is nothing to look for, and no storm to hold back.
            let far = base.first.load(Ordering::Relaxed) > now_at_entry.saturating_add(HANG_DELAY);
            let (t, not_before) = if far { (now_at_entry, 0) } else { expire_more(base, now_at_entry) };
            return set_next(base, t, not_before);
        }
    }
    let slice = base.slice.load(Ordering::Relaxed);
    if slice <= now_at_entry {
        return set_next(base, now_at_entry, 0);
    }
    base.program(base.first.load(Ordering::Relaxed).min(slice));
    false
}

/// Programs the comparator of this CPU for what comes next, but not for a timer before `not_before`; whether the executor's event
/// was due at `t`.
#[inline(never)]
fn set_next(base: &Base, t: Nanos, not_before: Nanos) -> bool {
    let mut slice = base.slice.load(Ordering::Relaxed);
    let due = slice <= t;
    if due {
        slice = NEVER;
        base.slice.store(NEVER, Ordering::Relaxed);
    }
    base.program(base.first.load(Ordering::Relaxed).max(not_before).min(slice));
    due
}

/// Callbacks have run, which takes time and may start timers: what came due meanwhile would only interrupt again. Returns
/// the time at which there was nothing, or the patience over; and the time before which the comparator may not fire again.
#[cold]
#[inline(never)]
fn expire_more(base: &Base, mut t: Nanos) -> (Nanos, Nanos) {
    for _ in 1..ROUNDS {
        t = now().max(t);
        if base.first.load(Ordering::Relaxed) > t || !expire(base, t) {
            break;
        }
    }
    // Timers come due as fast as they run: leave the CPU to others for a moment.
    let hang = base.first.load(Ordering::Relaxed) <= t;
    (t, if hang { t.saturating_add(HANG_DELAY) } else { 0 })
}

/// Fires what may fire at `t`; whether functions were called, and not only sleepers woken.
#[inline(always)]
fn expire(base: &Base, t: Nanos) -> bool {
    let mut tree = base.tree.lock_masked();
    while let Some(entry) = tree.may_fire(t) {
        // SAFETY: queued entries are alive, and we hold the lock.
        if !unsafe { wake_sleeper(base, &mut tree, entry) } {
            drop(tree);
            expire_calls(base, t);
            return true;
        }
    }
    false
}

/// [`expire`] from the first function on.
#[inline(never)]
fn expire_calls(base: &Base, t: Nanos) {
    let mut tree = base.tree.lock_masked();
    while let Some(entry) = tree.may_fire(t) {
        // SAFETY: queued entries are alive, and we hold the lock. After it is let go the entry may be gone.
        unsafe {
            if wake_sleeper(base, &mut tree, entry) {
                continue;
            }
            let Action::Call(f) = (*entry).inner.with(|p| &(*p).action) else { continue };
            let f = *f;
            base.take(&mut tree, &*entry, Ordering::Relaxed);
            (*entry).state.store(IDLE, Ordering::Relaxed);
            tree.running = entry;
            drop(tree);
            // A cancel waits while `running` names the entry, so its owner is alive during the call; unless
            // the call itself frees it, and it is not looked at afterwards.
            f(Timer::of_entry(&*entry));
            tree = base.tree.lock_masked();
            tree.running = ptr::null();
        }
    }
}

/// Fires `entry` if a sleeper waits for it; whether one does.
///
/// # Safety
/// `entry` is queued in `base`, whose lock is held. It may be gone afterwards.
#[inline(always)]
unsafe fn wake_sleeper(base: &Base, tree: &mut Tree, entry: *const Entry) -> bool {
    // SAFETY: by the contract.
    unsafe {
        let waker = (*entry).inner.with_mut(|p| match &mut (*p).action {
            Action::Call(_) => None,
            Action::Wake(waker) => Some(waker.take()),
        });
        let Some(waker) = waker else { return false };
        // It stays QUEUED until FIRED: an owner that read IDLE would free it without taking our lock. After that it may be gone.
        base.take(tree, &*entry, Ordering::Relaxed);
        (*entry).state.store(FIRED, Ordering::Release);
        if let Some(waker) = waker {
            wake_in_lock(waker);
        }
        true
    }
}

/// Programs this CPU's comparator for its next event. Interrupts masked.
pub fn reprogram() {
    let base = bases().this();
    base.program(base.first.load(Ordering::Relaxed).min(base.slice.load(Ordering::Relaxed)));
}

/// This CPU stops: it has no event, and its line stays down till [`reprogram`]. Interrupts masked.
pub(crate) fn stop() {
    let base = bases().this();
    base.slice.store(NEVER, Ordering::Relaxed);
    base.programmed.store(NEVER, Ordering::Relaxed);
    arch::stop_timer();
}

/// Moves the timers of `gone`, which has [stopped](stop), to this CPU (Linux: hrtimers_dead_cpu). Those that are due fire at once.
pub fn take_over(gone: CpuId) {
    let from = bases().of(gone);
    loop {
        let irq = arch::irq_save();
        let here = bases().this();
        let mut tree = from.tree.lock_irq();
        let first = if tree.front.is_null() { tree.head } else { tree.front };
        // SAFETY: queued entries are alive, and this one stays so: whoever wants to end it waits until it is some base's again.
        let Some(entry) = (unsafe { first.as_ref() }) else {
            drop(tree);
            return arch::irq_restore(irq);
        };
        // SAFETY: it is queued in `from`, whose lock is held; then it is nobody's but ours, and pinned.
        unsafe {
            from.take(&mut tree, entry, Ordering::Release);
            let (soft, hard) = entry.inner.with(|p| ((*p).soft, (*p).hard));
            entry.cpu.store(MOVING, Ordering::Relaxed);
            drop(tree);
            let mut tree = here.tree.lock_irq();
            here.insert(&mut tree, entry, soft, hard.saturating_sub(soft));
            entry.cpu.store(here.cpu as u32, Ordering::Release);
        }
        here.arm();
        arch::irq_restore(irq);
    }
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

/// The soft expiry with which `entry` was started last.
pub(super) fn deadline(entry: &Entry) -> Nanos {
    let (_base, _tree) = lock_of(entry);
    // SAFETY: we hold the lock that guards it.
    entry.inner.with(|p| unsafe { (*p).soft })
}
