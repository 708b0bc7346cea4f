//! Waiting for callbacks (Linux: rcu_barrier): who is about to take away what they need, such as the memory in which they lie,
//! waits until all that were queued before have been called.
//!
//! A callback of the barrier's own is queued behind those of each CPU. Callbacks of a CPU are called in their order, one after the
//! other, so when the last of these has been called, so have all before them.

use super::callbacks::{RcuHead, push_behind_all};
use crate::atomic::{AtomicU32, Ordering};
use crate::cpu::MAX_CPUS;
use crate::sync::{LockClass, Mutex};
use crate::wait::{WaitMode, WaitQueue, WaitSite};
use core::ptr::NonNull;

static HEADS: [RcuHead; MAX_CPUS] = [const { RcuHead::new() }; MAX_CPUS];
static BARRIER: LockClass = LockClass::new("rcu_barrier");
/// One at a time: there is one set of heads.
static ONE: Mutex<()> = Mutex::new(&BARRIER, ());
/// Heads that have not been called, and one while they are being queued.
static LEFT: AtomicU32 = AtomicU32::new(0);
static DONE: WaitQueue = WaitQueue::new();

/// SAFETY: a `Callback`; it touches nothing of the head.
unsafe fn passed(_: NonNull<RcuHead>) {
    if LEFT.fetch_sub(1, Ordering::AcqRel) == 1 {
        DONE.wake_all();
    }
}

/// Waits until every callback that was queued before the call, on any CPU, has been called and has returned.
pub async fn barrier(site: &'static WaitSite) {
    let _one = ONE.lock(site).await;
    // The queue may be through before the next is entered.
    LEFT.store(1, Ordering::Relaxed);
    // SAFETY: the heads are statics, and are queued nowhere while the mutex is held and none is left.
    unsafe { push_behind_all(&HEADS, passed, || _ = LEFT.fetch_add(1, Ordering::Relaxed)) };
    // SAFETY: `passed` needs no head to be queued; this is the one that kept the count up.
    unsafe { passed(NonNull::from(&HEADS[0])) };
    let over = || (LEFT.load(Ordering::Acquire) == 0).then_some(());
    while DONE.wait_until(site, WaitMode::Uninterruptible, over).await.is_err() {}
}
