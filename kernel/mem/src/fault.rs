//! The fault injector: makes the n-th allocation of one flow of execution fail, so that every error path can be run.
//!
//! Linux knows it as `/proc/PID/fail-nth`. A flow is a task's poll; outside of a poll (boot, tests on a host) it is the
//! stack. While nobody injects, an allocation pays one relaxed load of a static.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use vigil_executor::context::Context;

/// How many flows may inject at once; more are refused.
const SLOTS: usize = 16;

struct Slot {
    /// The flow, 0 when free.
    flow: AtomicUsize,
    /// Allocations until the failing one; 0: it has happened.
    left: AtomicU32,
    /// The failure has happened and nobody has asked about it.
    fired: AtomicBool,
}

static ACTIVE: AtomicU32 = AtomicU32::new(0);
static INJECTED: AtomicUsize = AtomicUsize::new(0);
static TABLE: [Slot; SLOTS] = [const { Slot { flow: AtomicUsize::new(0), left: AtomicU32::new(0), fired: AtomicBool::new(false) } }; SLOTS];

/// The flow that this code belongs to: the task, or the stack when there is none.
fn this_flow() -> usize {
    let ctx = Context::here();
    let task = ctx.current();
    if task.is_null() { core::ptr::from_ref(ctx) as usize } else { task as usize }
}

/// Makes the `n`-th allocation from now of the current flow fail (1 is the next); 0 withdraws the wish.
/// `false` when too many flows inject already.
pub fn set(n: u32) -> bool {
    set_flow(this_flow(), n)
}

/// As [`set`], for the task at address `flow`.
pub fn set_flow(flow: usize, n: u32) -> bool {
    clear(flow);
    if n == 0 {
        return true;
    }
    for slot in &TABLE {
        if slot.flow.load(Ordering::Relaxed) == 0 {
            slot.left.store(n, Ordering::Relaxed);
            slot.fired.store(false, Ordering::Relaxed);
            if slot.flow.compare_exchange(0, flow, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                ACTIVE.fetch_add(1, Ordering::Relaxed);
                return true;
            }
        }
    }
    false
}

/// What is left of the current flow's wish: allocations until the failing one, 0 when it has happened or there is none.
pub fn get() -> u32 {
    get_flow(this_flow())
}

/// As [`get`], for the task at address `flow`.
pub fn get_flow(flow: usize) -> u32 {
    TABLE.iter().find(|s| s.flow.load(Ordering::Acquire) == flow).map_or(0, |s| s.left.load(Ordering::Relaxed))
}

/// Forgets the task at address `flow`. Called when a task ends.
pub fn clear(flow: usize) {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return;
    }
    for slot in &TABLE {
        if slot.flow.compare_exchange(flow, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            ACTIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How many allocations were failed on purpose since boot.
pub fn injected() -> usize {
    INJECTED.load(Ordering::Relaxed)
}

/// Whether the current flow's failure has just happened; once. An allocator that would wait and try again asks this
/// first, so that an injected failure is seen by the caller.
pub fn take_fired() -> bool {
    if ACTIVE.load(Ordering::Relaxed) == 0 {
        return false;
    }
    let flow = this_flow();
    TABLE.iter().any(|s| s.flow.load(Ordering::Acquire) == flow && s.fired.swap(false, Ordering::Relaxed))
}

/// Whether this allocation is the one that must fail. Every allocator asks at its entry.
#[inline(always)]
pub fn should_fail() -> bool {
    ACTIVE.load(Ordering::Relaxed) != 0 && should_fail_slow()
}

#[cold]
#[inline(never)]
fn should_fail_slow() -> bool {
    // An interrupt does not allocate on behalf of the task that it interrupted.
    if vigil_executor::context::in_interrupt() {
        return false;
    }
    let flow = this_flow();
    let Some(slot) = TABLE.iter().find(|s| s.flow.load(Ordering::Acquire) == flow) else { return false };
    // Only this flow counts down, so a load and a store are enough.
    let left = slot.left.load(Ordering::Relaxed);
    if left == 0 {
        return false;
    }
    slot.left.store(left - 1, Ordering::Relaxed);
    if left == 1 {
        slot.fired.store(true, Ordering::Relaxed);
        INJECTED.fetch_add(1, Ordering::Relaxed);
    }
    left == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_exactly_the_nth_of_this_flow() {
        let before = injected();
        assert!(set(3));
        assert_eq!(get(), 3);
        let other = std::thread::spawn(|| (0..10).any(|_| should_fail())).join();
        assert!(!other.unwrap());
        let fails: std::vec::Vec<bool> = (0..6).map(|_| should_fail()).collect();
        assert_eq!(fails, [false, false, true, false, false, false]);
        assert_eq!(get(), 0);
        assert!(injected() > before);
        assert!(set(0));
        assert!(!should_fail());
    }
}
