//! Workers that wait for an item, and the end of those that have waited for long (Linux: idle_worker_timeout).

use super::pool::{Items, Pool};
use super::worker::Node;
use crate::arch;
use crate::atomic::Ordering;
use crate::coarse::{CoarseTimer, TICK};
use crate::task::Task;
use crate::time::{self, Nanos, SEC};
use core::mem::offset_of;
use core::pin::Pin;
use core::ptr;

/// How long a worker waits for an item before it ends (IDLE_WORKER_TIMEOUT).
const IDLE: Nanos = 300 * SEC;
/// So many stay however long they wait.
const KEPT: u32 = 2;
/// Of the others so many wait for each that is at work, at least (MAX_IDLE_WORKERS_RATIO).
const RATIO: u32 = 4;
/// So many are told to end at once; others a tick later.
const AT_ONCE: usize = 8;

impl Pool {
    /// More than [`KEPT`] workers wait: sees to it that they do not wait for ever.
    #[cold]
    pub(super) fn watch_idle(&'static self) {
        if !self.idle_timer.is_queued() && self.items.lock_irq().too_many(self) {
            Pin::static_ref(&self.idle_timer).start(IDLE);
        }
    }

    /// Ends the worker that has waited the longest, if there are too many and it has waited long enough; or says how much longer it may.
    fn end_oldest(&self) -> Option<Nanos> {
        let mut items = self.items.lock_irq();
        if !items.too_many(self) {
            return None;
        }
        let node = items.oldest()?;
        let waited = time::ticks_to_nanos(arch::counter().wrapping_sub(node.since.get()));
        if waited < IDLE {
            return Some(IDLE - waited);
        }
        items.unlist(node);
        // It is in no list, and gets into none any more.
        node.listed.set(true);
        node.ends.store(true, Ordering::Relaxed);
        self.workers.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the node is part of the task, which ends only after it has left the list of all, under this lock.
        if let Some(task) = unsafe { node.task.get().as_ref() } {
            task.wake_in_lock();
        }
        Some(0)
    }
}

/// The function of a pool's timer.
pub(super) fn timer(timer: &CoarseTimer) {
    // SAFETY: this is the function of the timers of pools alone, which live for ever.
    let pool: &'static Pool = unsafe { &*ptr::from_ref(timer).byte_sub(offset_of!(Pool, idle_timer)).cast() };
    for _ in 0..AT_ONCE {
        match pool.end_oldest() {
            None => return,
            Some(0) => {}
            Some(later) => {
                Pin::static_ref(&pool.idle_timer).start(later);
                return;
            }
        }
    }
    Pin::static_ref(&pool.idle_timer).start(TICK);
}

impl Items {
    /// Whether workers wait that need not (too_many_workers).
    fn too_many(&self, pool: &Pool) -> bool {
        let (mut idle, mut at) = (0u32, self.idle);
        // SAFETY: as in `wake_idle`.
        while let Some(node) = unsafe { at.as_ref() } {
            idle += 1;
            at = node.next.get();
        }
        let busy = pool.workers.load(Ordering::Relaxed).saturating_sub(idle);
        idle > KEPT && (idle - KEPT) * RATIO >= busy
    }

    /// The worker that has waited the longest.
    fn oldest(&self) -> Option<&'static Node> {
        let mut at = self.idle;
        // SAFETY: as in `wake_idle`; whoever asks holds the lock, and makes no more of it.
        while let Some(node) = unsafe { at.as_ref() } {
            at = node.next.get();
            if at.is_null() {
                return Some(node);
            }
        }
        None
    }

    /// Wakes the worker that began to wait last: its future is the warmest. Whether there was one.
    pub(super) fn wake_one(&mut self) -> bool {
        self.wake_idle().is_some()
    }

    /// The same; `Some(false)`: whoever lets go of the lock need not ask whether to give way.
    #[inline(always)]
    pub(super) fn wake_idle(&mut self) -> Option<bool> {
        // SAFETY: a worker's node stays where it is, and alive, until it is off the list; the lock that guards `self` is held.
        let idle = unsafe { self.idle.as_ref() }?;
        self.idle = idle.next.get();
        idle.listed.set(false);
        // SAFETY: the node is part of the task.
        Some(unsafe { idle.task.get().as_ref() }.is_some_and(Task::wake_in_lock))
    }

    /// Puts `node` on the list, if it is not on it; whether it may be one too many.
    #[inline(always)]
    pub(super) fn add_idle(&mut self, node: &Node) -> bool {
        if node.listed.replace(true) {
            return false;
        }
        node.since.set(arch::counter_unordered());
        let next = self.idle;
        node.next.set(next);
        self.idle = node;
        // SAFETY: as in `wake_idle`.
        unsafe { next.as_ref() }.is_some_and(|next| !next.next.get().is_null())
    }

    /// Takes `node` off the list, if it is on it: a worker that was polled without having been woken.
    pub(super) fn remove_idle(&mut self, node: &Node) {
        if node.listed.get() && !node.ends.load(Ordering::Relaxed) {
            self.unlist(node);
        }
    }

    #[cold]
    fn unlist(&mut self, node: &Node) {
        node.listed.set(false);
        if ptr::eq(self.idle, node) {
            self.idle = node.next.get();
            return;
        }
        let mut at = self.idle;
        // SAFETY: as in `wake_one`.
        while let Some(other) = unsafe { at.as_ref() } {
            if ptr::eq(other.next.get(), node) {
                other.next.set(node.next.get());
                return;
            }
            at = other.next.get();
        }
    }
}
