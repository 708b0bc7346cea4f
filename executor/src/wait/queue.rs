//! The wait queue (Linux: wait_queue_head).

use super::list::List;
use super::node::{Register, WOKEN, WaitNode};
use crate::atomic::{AtomicU32, Ordering, const_unless_loom, fence};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use core::ptr::NonNull;

/// The class of the lock in a wait queue that was given no other.
static WAIT_QUEUE: LockClass = LockClass::new("wait_queue");

/// Waiters of one event.
///
/// A wake with nobody waiting is a fence and a load: whoever makes the condition true and then finds no waiter may go
/// on, because a waiter that he did not see will see the condition.
///
/// ```text
///   waiter                              waker
///   link the node, waiters = 1          condition = true
///   fence(SeqCst)                       fence(SeqCst)
///   read the condition                  read waiters
/// ```
///
/// One of the two reads sees the other's write.
pub struct WaitQueue {
    /// 0 when the list is empty. Written under the list's lock.
    waiters: AtomicU32,
    list: SpinLock<List>,
}

impl WaitQueue {
    const_unless_loom! {
        /// A queue with nobody in it.
        pub fn new() -> Self {
            Self::with_class(&WAIT_QUEUE)
        }
    }

    const_unless_loom! {
        /// A queue whose lock is of `class`: for queues whose wake functions wake other queues (epoll).
        pub fn with_class(class: &'static LockClass) -> Self {
            WaitQueue { waiters: AtomicU32::new(0), list: SpinLock::new(class, List::new()) }
        }
    }

    /// Whether somebody waits. `false` is reliable for conditions that the caller changed before the call.
    #[inline(always)]
    pub fn has_waiters(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiters.load(Ordering::Relaxed) != 0
    }

    /// Wakes all non-exclusive waiters and the first exclusive one. Returns how many it woke. Any context.
    #[inline(always)]
    pub fn wake_one(&self) -> usize {
        self.wake(0, 1)
    }

    /// Wakes everybody. Any context.
    #[inline(always)]
    pub fn wake_all(&self) -> usize {
        self.wake(0, 0)
    }

    /// Wakes the waiters whose key shares a bit with `key` (0: all keys): non-exclusive ones, then in FIFO order
    /// `nr_exclusive` exclusive ones (0: all). Returns how many it really woke: an exclusive waiter counts only if this
    /// wake took it out of the queue. Any context, with locks held; never allocates, frees or waits.
    #[inline(always)]
    pub fn wake(&self, key: u32, nr_exclusive: usize) -> usize {
        if self.has_waiters() { self.wake_slow(key, nr_exclusive) } else { 0 }
    }

    #[cold]
    #[inline(never)]
    fn wake_slow(&self, key: u32, nr_exclusive: usize) -> usize {
        let mut list = self.list.lock_irq();
        let mut from = list.first();
        // The usual wake: of one, and the first node is for it.
        if nr_exclusive == 1
            && let Some(node) = from
        {
            // SAFETY: as below.
            unsafe {
                let (wanted, how) = node.as_ref().inner.with(|p| ((*p).key, (*p).how));
                if how == Register::Exclusive && (key == 0 || wanted & key != 0) {
                    let (consumed, waker) = node.as_ref().fire(key);
                    if consumed {
                        if list.remove_first_exclusive(node) {
                            self.waiters.store(0, Ordering::Relaxed);
                        }
                        node.as_ref().state.store(WOKEN, Ordering::Release);
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                        return 1;
                    }
                    from = list.next(node);
                }
            }
        }
        self.wake_from(list, from, key, nr_exclusive)
    }

    /// Waits until a wake that is under way has done with its nodes. A wake wakes a task by a callback before it takes the
    /// node out, so the task may run, on another CPU, while its node still says that it is linked.
    pub fn settle(&self) {
        drop(self.list.lock_irq());
    }

    /// As [`WaitQueue::wake`], for a wake inside the wake of a queue of the same class (epolls that watch epolls), in an
    /// order that the caller fixes: `class` is that of this level.
    pub fn wake_nested(&self, key: u32, nr_exclusive: usize, class: &'static LockClass) -> usize {
        if !self.has_waiters() {
            return 0;
        }
        let list = self.list.lock_irq_nested(class);
        let first = list.first();
        self.wake_from(list, first, key, nr_exclusive)
    }

    /// A wake node by node, from the node `at` on.
    #[inline(never)]
    fn wake_from(
        &self,
        mut list: SpinIrqGuard<'_, List>,
        mut at: Option<NonNull<WaitNode>>,
        key: u32,
        nr_exclusive: usize,
    ) -> usize {
        let mut left = if nr_exclusive == 0 { usize::MAX } else { nr_exclusive };
        let mut woken = 0;
        while let Some(node) = at {
            // SAFETY: the node is linked and we hold the lock: it is alive and its inner part is ours. After the store
            // of WOKEN it is not touched again.
            unsafe {
                at = list.next(node);
                let (wanted, how) = node.as_ref().inner.with(|p| ((*p).key, (*p).how));
                if key != 0 && wanted & key == 0 {
                    continue;
                }
                let (consumed, waker) = node.as_ref().fire(key);
                if !how.stays() && consumed {
                    list.remove(node);
                    node.as_ref().state.store(WOKEN, Ordering::Release);
                }
                if let Some(waker) = waker {
                    waker.wake();
                }
                if consumed {
                    woken += 1;
                    if how.is_exclusive() {
                        left -= 1;
                        if left == 0 {
                            break;
                        }
                    }
                }
            }
        }
        if list.is_empty() {
            self.waiters.store(0, Ordering::Relaxed);
        }
        woken
    }

    /// Enters `node`; the fence of the Dekker pair included.
    #[inline]
    pub(super) fn link(&self, node: NonNull<WaitNode>) {
        let mut list = self.list.lock_irq();
        self.waiters.store(1, Ordering::Relaxed);
        // SAFETY: by `WaitNode::register`'s contract.
        unsafe { list.insert(node) };
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Takes `node` out; `true` if a wake had done so.
    pub(super) fn unlink(&self, node: NonNull<WaitNode>) -> bool {
        let mut list = self.list.lock_irq();
        // SAFETY: by `WaitNode::register`'s contract.
        let was_in = unsafe { list.cancel(node) };
        if was_in && list.is_empty() {
            self.waiters.store(0, Ordering::Relaxed);
        }
        !was_in
    }

    /// Whether `node` is in here and no wake is about to take it out. A wake calls a node's callback before it marks the node,
    /// so that a waiter with a callback, polled at once on another CPU, cannot tell from [`WaitNode::is_linked`] alone.
    pub fn holds(&self, node: &WaitNode) -> bool {
        let _list = self.list.lock_irq();
        node.is_linked()
    }

    /// Gives the linked `node` another waker, when its future moved to another task. `false` if it is not in any more.
    pub(super) fn update_waker(&self, node: &WaitNode, waker: &core::task::Waker) -> bool {
        // SAFETY: the node is linked here, if at all.
        let old = unsafe { self.list.lock_irq().update_waker(NonNull::from(node), waker) };
        old.is_ok()
    }
}

#[cfg(not(loom))]
impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("WaitQueue")
    }
}

/// How exclusive futures register.
pub(super) const fn registration(exclusive: bool) -> Register {
    if exclusive { Register::Exclusive } else { Register::Shared }
}
