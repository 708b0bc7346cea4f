//! The wait queue (Linux: wait_queue_head).

use super::list::List;
use super::node::{Register, WOKEN, WaitNode};
use crate::atomic::{AtomicU32, Ordering, const_unless_loom, fence};
use crate::sync::{LockClass, SpinIrqGuard, SpinLock};
use core::pin::pin;
use core::ptr::NonNull;

/// Nodes that a wake fires before it lets go of the lock: as many tasks arrive at once in a CPU's inbox, with interrupts masked as here.
const TURN: usize = if cfg!(loom) { 1 } else { 4 };

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
        self.wake_from(list, from, key, nr_exclusive, true)
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
        self.wake_from(list, first, key, nr_exclusive, false)
    }

    /// Lets go of the lock for a moment, in the midst of a wake; the node to go on with, which was `next` unless that has left.
    ///
    /// A node of our own keeps the place. It stands directly before `next` and is of the same kind, so it leaves no gap between the kinds.
    #[cold]
    #[inline(never)]
    fn breathe<'a>(
        &'a self,
        mut list: SpinIrqGuard<'a, List>,
        next: NonNull<WaitNode>,
    ) -> (SpinIrqGuard<'a, List>, Option<NonNull<WaitNode>>) {
        // SAFETY: linked, and we hold the lock.
        let mark = pin!(WaitNode::mark(unsafe { next.as_ref().inner.with(|p| (*p).how.is_exclusive()) }));
        let node = NonNull::from(mark.as_ref().get_ref());
        // SAFETY: the mark is in no list, and does not move nor go before it is taken out below: nobody else takes a mark out.
        unsafe { list.insert_before(node, next) };
        drop(list);
        let mut list = self.list.lock_irq();
        // SAFETY: it is still in.
        let next = unsafe {
            let next = list.next(node);
            list.cancel(node);
            next
        };
        (list, next)
    }

    /// A wake node by node, from the node `at` on. `breathes`: some at a time.
    #[inline(never)]
    fn wake_from<'a>(
        &'a self,
        mut list: SpinIrqGuard<'a, List>,
        mut at: Option<NonNull<WaitNode>>,
        key: u32,
        nr_exclusive: usize,
        breathes: bool,
    ) -> usize {
        let mut fired = 0;
        let mut left = if nr_exclusive == 0 { usize::MAX } else { nr_exclusive };
        let mut woken = 0;
        while let Some(node) = at {
            // SAFETY: the node is linked and we hold the lock: it is alive and its inner part is ours. After the store
            // of WOKEN it is not touched again.
            unsafe {
                at = list.next(node);
                let (wanted, how) = node.as_ref().inner.with(|p| ((*p).key, (*p).how));
                if (key != 0 && wanted & key == 0) || how.is_mark() {
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
                fired += 1;
            }
            if let (TURN, true, Some(next)) = (fired, breathes, at) {
                (list, at) = self.breathe(list, next);
                fired = 0;
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::pin::Pin;
    use core::sync::atomic::AtomicUsize;
    use std::boxed::Box;
    use std::vec::Vec;

    static FIRED: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn a_wake_of_many_reaches_each_once_and_leaves_no_mark() {
        fn fire(_: Pin<&WaitNode>, _: u32) -> bool {
            FIRED.fetch_add(1, Ordering::Relaxed);
            true
        }
        let queue = WaitQueue::new();
        let kinds = [Register::Shared, Register::Exclusive, Register::Keep, Register::KeepExclusive];
        let nodes: Vec<Pin<Box<WaitNode>>> = (0..32).map(|_| Box::pin(WaitNode::with_callback(fire))).collect();
        for (n, node) in nodes.iter().enumerate() {
            // SAFETY: the node is new, and goes before the queue.
            unsafe { node.as_ref().register(&queue, 1 << (n / 4 % 2), kinds[n % 4], None) };
        }
        // Of each kind half have the key; those that stay are reached again.
        assert_eq!((queue.wake(1, 0), FIRED.swap(0, Ordering::Relaxed)), (16, 16));
        assert_eq!((queue.wake(2, 3), FIRED.swap(0, Ordering::Relaxed)), (11, 11));
        assert_eq!((queue.wake_all(), FIRED.swap(0, Ordering::Relaxed)), (18, 18));
        assert_eq!(queue.wake_all(), 16);
        let linked = nodes.iter().filter(|node| node.is_linked()).count();
        assert_eq!(linked, 16);
        drop(nodes);
        assert!(queue.list.lock_irq().is_empty());
    }
}
