//! What tasks hold across awaits: mutexes, reader-writer semaphores, read sections of SRCU. They belong to a task, not to a flow,
//! so they are in a table of their own, by task.

use super::check::{self, HeldLock};
use super::places::Place;
use super::{LockClass, graph, stat};
use crate::arch;
use crate::context::Context;
use crate::time::{Nanos, now};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::*};

const BUCKETS: usize = 64;
/// Locks of all tasks of a bucket; more are not checked.
const SLOTS: usize = 24;

#[derive(Clone, Copy)]
struct Slot {
    task: usize,
    addr: usize,
    lock: HeldLock,
    since: Nanos,
}

struct Bucket {
    locked: AtomicBool,
    slots: UnsafeCell<[Slot; SLOTS]>,
}

// SAFETY: the slots are touched with `locked` set by whoever touches them.
unsafe impl Sync for Bucket {}

static HELD: [Bucket; BUCKETS] = [const {
    Bucket { locked: AtomicBool::new(false), slots: UnsafeCell::new([Slot { task: 0, addr: 0, lock: HeldLock(0), since: 0 }; SLOTS]) }
}; BUCKETS];

impl Bucket {
    /// Runs `f` on the slots. Takes no lock that is checked: this is the checker.
    fn with<R>(&self, f: impl FnOnce(&mut [Slot; SLOTS]) -> R) -> R {
        let irq = arch::irq_save();
        while self.locked.swap(true, Acquire) {
            arch::relax();
        }
        // SAFETY: `locked` was clear and is ours now; interrupts are masked, so nobody enters again on this CPU.
        let result = f(unsafe { &mut *self.slots.get() });
        self.locked.store(false, Release);
        arch::irq_restore(irq);
        result
    }
}

/// The task that runs here, as a number; on a host without tasks, the thread's context.
fn me() -> usize {
    let ctx = Context::here();
    let task = ctx.current().addr();
    if task != 0 { task } else { core::ptr::from_ref(ctx).addr() }
}

fn bucket(task: usize) -> &'static Bucket {
    &HELD[(task >> 6) % BUCKETS]
}

/// What one task holds.
pub(super) struct Own {
    locks: [(HeldLock, usize); SLOTS],
    len: usize,
}

impl Own {
    pub(super) const NONE: Own = Own { locks: [(HeldLock(0), 0); SLOTS], len: 0 };

    pub(super) fn iter(&self) -> impl Iterator<Item = HeldLock> {
        self.locks[..self.len].iter().map(|(lock, _)| *lock)
    }
}

/// What the task that runs here holds.
pub(super) fn held() -> Own {
    let me = me();
    let mut own = Own::NONE;
    bucket(me).with(|slots| {
        for slot in slots.iter().filter(|slot| slot.task == me) {
            own.locks[own.len] = (slot.lock, slot.addr);
            own.len += 1;
        }
    });
    own
}

/// A lock of `class` at `addr` is about to be awaited: its order after what the task holds.
pub(super) fn will_wait(class: &'static LockClass, addr: usize, reads: bool, at: Place) {
    check::might_wait(class.name, at);
    let Some(index) = graph::index(class) else { return };
    let lock = HeldLock::new(index, reads, at);
    let own = held();
    for (held, held_addr) in &own.locks[..own.len] {
        check::check_order(*held, *held_addr, lock, addr);
    }
}

/// The task that runs here has the lock of `class` at `addr`.
pub(super) fn acquired(class: &'static LockClass, addr: usize, reads: bool, at: Place) {
    let Some(index) = graph::index(class) else { return };
    let (lock, me) = (HeldLock::new(index, reads, at), me());
    bucket(me).with(|slots| {
        if let Some(slot) = slots.iter_mut().find(|slot| slot.task == 0) {
            *slot = Slot { task: me, addr, lock, since: now() };
        }
    });
}

/// The lock at `addr` is let go; by whom who took it, or by another task to which the guard has moved.
pub(super) fn released(addr: usize) {
    let me = me();
    let take = |bucket: &Bucket, is: &dyn Fn(&Slot) -> bool| {
        let taken = bucket.with(|slots| {
            let slot = slots.iter_mut().find(|slot| slot.task != 0 && is(slot))?;
            slot.task = 0;
            Some(*slot)
        });
        if let Some(Slot { lock, since, .. }) = taken {
            stat::held(lock.class(), lock.reads(), now().saturating_sub(since));
        }
        taken.is_some()
    };
    if !take(bucket(me), &|slot| slot.task == me && slot.addr == addr) {
        let _ = HELD.iter().any(|bucket| take(bucket, &|slot| slot.addr == addr));
    }
}
