//! The timer interrupt: what is due fires.

use super::base::{Base, NEVER, Tree, bases};
use super::callback::Timer;
use super::entry::{Action, Entry};
use crate::atomic::Ordering;
#[cfg(not(loom))]
use crate::cpu::CpuId;
use crate::cpu::MAX_CPUS;
use crate::task::waker::wake_in_lock;
use crate::time::{Nanos, now};
use core::ptr;
use core::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

/// How often one interrupt looks at the clock again before it lets other work run (Linux: hrtimer_interrupt, 3).
const ROUNDS: u32 = 3;
/// Sleepers that one interrupt wakes: with the next ones the comparator interrupts again, after interrupts were open.
const TURN: u32 = 4;
/// How far ahead the comparator is set when timers come due faster than they can be run.
const HANG_DELAY: Nanos = 100 * crate::time::USEC;

/// The timer interrupt of this CPU: fires everything that is due, programs the comparator, and says whether the
/// executor's event ([`set_slice`]) was due; it is cleared then. Interrupts masked, in hard-interrupt context.
#[inline]
pub fn interrupt(now_at_entry: Nanos) -> bool {
    let base = bases().this();
    // Not only when the first one must fire: what may fire, its slack permitting, saves an interrupt.
    if base.first.load(Ordering::Relaxed) != NEVER {
        // What callbacks start is earlier than nothing that stands in the comparator: it is written once, below.
        base.programmed.store(0, Ordering::Relaxed);
        if !wake_due(base, now_at_entry) {
            return call_due(base, now_at_entry);
        }
    }
    let slice = base.slice.load(Ordering::Relaxed);
    if slice <= now_at_entry {
        return slice_is_over(base, now_at_entry);
    }
    base.program(base.first.load(Ordering::Relaxed).min(slice));
    false
}

/// The rest of [`interrupt`] from the first function on: a call of its own, so that to wake a sleeper takes few registers.
#[inline(never)]
fn call_due(base: &Base, now_at_entry: Nanos) -> bool {
    if expire_calls(base, now_at_entry) == Left::Sleepers {
        return set_next(base, now_at_entry, 0);
    }
    // Functions take time. Where the next timer is far there is nothing to look for, and no storm to hold back.
    let far = base.first.load(Ordering::Relaxed) > now_at_entry.wrapping_add(HANG_DELAY);
    let (t, not_before) = if far { (now_at_entry, 0) } else { expire_more(base, now_at_entry) };
    set_next(base, t, not_before)
}

/// The rest of [`interrupt`] when the executor's event is due.
#[inline(never)]
fn slice_is_over(base: &Base, now_at_entry: Nanos) -> bool {
    set_next(base, now_at_entry, 0)
}

/// Programs the comparator of this CPU for what comes next, but not for a timer before `not_before`; whether the executor's event
/// was due at `t`.
#[inline(always)]
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

/// How often an interrupt of each CPU looked again because more had come due, and how often it gave up: diagnostics, no order needed.
static RETRIES: [Count; MAX_CPUS] = [const { Count::new(0) }; MAX_CPUS];
static HANGS: [Count; MAX_CPUS] = [const { Count::new(0) }; MAX_CPUS];

/// How often the interrupt of `cpu` found that more had come due meanwhile, and how often it left that to a later one.
#[cfg(not(loom))]
pub fn troubles(cpu: CpuId) -> (u32, u32) {
    (RETRIES[cpu.index()].load(Relaxed), HANGS[cpu.index()].load(Relaxed))
}

/// Callbacks have run, which takes time and may start timers: what came due meanwhile would only interrupt again. Returns
/// the time at which there was nothing, or the patience over; and the time before which the comparator may not fire again.
#[cold]
#[inline(never)]
fn expire_more(base: &Base, mut t: Nanos) -> (Nanos, Nanos) {
    for _ in 1..ROUNDS {
        t = now().max(t);
        if base.first.load(Ordering::Relaxed) > t {
            // What comes due from here on interrupts at once: one that does so before the comparator is written is no storm.
            return (t, 0);
        }
        RETRIES[base.cpu].fetch_add(1, Relaxed);
        if expire_calls(base, t) == Left::Sleepers {
            return (t, 0);
        }
    }
    // Timers come due as fast as they run: leave the CPU to others for a moment. The clock anew: what has just run was started anew
    // at a time after `t`.
    t = now().max(t);
    let hang = base.first.load(Ordering::Relaxed) <= t;
    if hang {
        HANGS[base.cpu].fetch_add(1, Relaxed);
    }
    (t, if hang { t.saturating_add(HANG_DELAY) } else { 0 })
}

/// Wakes [`TURN`] of those that may fire at `t`, up to the first function; whether it met none.
#[inline(always)]
fn wake_due(base: &Base, t: Nanos) -> bool {
    let mut tree = base.tree.lock_masked();
    let Some(entry) = tree.may_fire(t) else { return true };
    // SAFETY: queued entries are alive, and we hold the lock.
    let woke = unsafe { wake_sleeper(base, &mut tree, entry) };
    // Usually it was the only one.
    if woke && tree.may_fire(t).is_none() {
        return true;
    }
    drop(tree);
    wake_rest(base, t, if woke { TURN - 1 } else { 1 })
}

/// The rest of [`wake_due`]: up to `most` sleepers.
#[inline(never)]
fn wake_rest(base: &Base, t: Nanos, most: u32) -> bool {
    let mut tree = base.tree.lock_masked();
    for _ in 0..most {
        let Some(entry) = tree.may_fire(t) else { return true };
        // SAFETY: as above.
        if !unsafe { wake_sleeper(base, &mut tree, entry) } {
            return false;
        }
    }
    true
}

/// What [`expire_calls`] leaves.
#[derive(PartialEq, Eq)]
enum Left {
    /// Nothing that may fire.
    Nothing,
    /// Sleepers, perhaps: it has woken [`TURN`].
    Sleepers,
}

/// Fires what may fire at `t`: all functions up to the last of [`TURN`] sleepers.
#[inline(always)]
fn expire_calls(base: &Base, t: Nanos) -> Left {
    let mut tree = base.tree.lock_masked();
    let mut woken = 0;
    while let Some(entry) = tree.may_fire(t) {
        // SAFETY: queued entries are alive, and we hold the lock. After it is let go the entry may be gone.
        unsafe {
            if wake_sleeper(base, &mut tree, entry) {
                woken += 1;
                if woken == TURN {
                    return Left::Sleepers;
                }
                continue;
            }
            let Action::Call(f) = (*entry).inner.with(|p| &(*p).action) else { continue };
            let f = *f;
            base.take(&mut tree, &*entry, Ordering::Relaxed);
            (*entry).set_called();
            tree.running = entry;
            drop(tree);
            // A cancel waits while `running` names the entry, so its owner is alive during the call; unless
            // the call itself frees it, and it is not looked at afterwards.
            f(Timer::of_entry(&*entry));
            tree = base.tree.lock_masked();
            tree.running = ptr::null();
        }
    }
    Left::Nothing
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
        (*entry).set_fired();
        if let Some(waker) = waker {
            wake_in_lock(waker);
        }
        true
    }
}
