//! Moving timers down the [wheel](super::wheel) and into the tree, in pieces.

use super::base::{Base, Tree, bases};
use super::callback::Timer;
use super::entry::QUEUED;
use super::wheel::Wheel;
use crate::atomic::{Ordering, const_unless_loom};
use crate::time::{Nanos, USEC, now};
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;

/// What one piece may cost: a timer that goes to a lower level counts 1, one that goes into the tree 4.
const BUDGET: u32 = 64;
/// Between two pieces of a bucket that has more timers.
const PAUSE: Nanos = 20 * USEC;

#[cfg(not(loom))]
type Buckets = Wheel;
/// Loom's threads have small stacks.
#[cfg(loom)]
type Buckets = std::boxed::Box<Wheel>;

const_unless_loom! {
    fn buckets() -> Buckets {
        #[cfg(not(loom))]
        let new = Wheel::new();
        #[cfg(loom)]
        let new = std::boxed::Box::new(Wheel::new());
        new
    }
}

/// What one CPU has beside its tree, apart from it so that a CPU's base is found by a shift.
pub(super) struct Later {
    wheel: UnsafeCell<Buckets>,
    /// Empties the buckets. Never dropped, but by loom, which drops statics when there is no base any more. In the tree while one has timers, before the first of them; it may be there without need.
    pub(super) pull: ManuallyDrop<Timer>,
}

// SAFETY: the wheel is used under the lock of its CPU's base.
unsafe impl Sync for Later {}
// SAFETY: as above.
unsafe impl Send for Later {}

impl Later {
    const_unless_loom! {
        pub(super) fn new(cpu: u32) -> Later {
            Later { wheel: UnsafeCell::new(buckets()), pull: ManuallyDrop::new(Timer::of_cpu(pull, cpu)) }
        }
    }

    /// The buckets.
    ///
    /// # Safety
    /// The lock of the base is held, and there is no other reference.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "guarded by the base's lock, as the contract says")]
    pub(super) unsafe fn wheel(&self) -> &mut Wheel {
        // SAFETY: by the contract.
        unsafe { &mut *self.wheel.get() }
    }
}

impl Base {
    /// Has [`pull`] run at `at`.
    ///
    /// # Safety
    /// `tree` is this base's, under its lock.
    #[cold]
    pub(super) unsafe fn pull_at(&self, tree: &mut Tree, at: Nanos) {
        let entry = tree.pull().entry();
        // SAFETY: it is this base's own, in a static, and never in the wheel.
        unsafe {
            if entry.state.load(Ordering::Relaxed) == QUEUED {
                self.remove(tree, entry);
            }
            self.order(tree, entry, at, at);
        }
    }
}

/// A bucket's time comes near: in the timer interrupt of its CPU.
fn pull(timer: &Timer) {
    let base = bases().this();
    let mut tree = base.tree.lock_masked();
    let mut budget = BUDGET;
    // SAFETY: under the lock that guards it.
    let t = now().max(timer.entry().inner.with(|p| unsafe { (*p).soft }));
    while let Some((bucket, at)) = tree.wheel().earliest() {
        if at > t {
            // SAFETY: under the lock.
            return unsafe { base.pull_at(&mut tree, at) };
        }
        while let Some(entry) = tree.wheel().pop(bucket) {
            // SAFETY: it was queued, so it is alive and pinned; now it is ours, in no bucket or tree.
            unsafe {
                let (soft, hard) = (*entry).inner.with(|p| ((*p).soft, (*p).hard));
                match tree.wheel().find_lower(hard, base.first.load(Ordering::Relaxed)) {
                    Some(spot) => {
                        tree.wheel().append(&*entry, spot);
                        budget = budget.saturating_sub(1);
                    }
                    None => {
                        base.order(&mut tree, &*entry, soft, hard);
                        budget = budget.saturating_sub(4);
                    }
                }
            }
            if budget == 0 {
                // SAFETY: under the lock.
                return unsafe { base.pull_at(&mut tree, t.saturating_add(PAUSE)) };
            }
        }
    }
}
