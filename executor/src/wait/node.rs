//! The node of a waiter: pinned, intrusive, in one list at a time.
//!
//! ```text
//!            register                 wake (autoremove)
//!   ┌──────┐ ───────────► ┌────────┐ ─────────────────► ┌───────┐
//!   │ IDLE │              │ LINKED │                    │ WOKEN │      GRANTED: as WOKEN, and the lock that was
//!   └──────┘ ◄─────────── └────────┘ ─────────────────► └───────┘      waited for is already the waiter's
//!      ▲      unregister       └── grant ──► GRANTED        │
//!      └────────────────────────────── unregister ──────────┘
//! ```
//!
//! LINKED changes only under the list's lock; then everything in the node belongs to the holder of that lock. In the
//! other states it belongs to the waiter. The waker stores WOKEN or GRANTED as the last thing that it does to a node,
//! because the waiter may free it from then on without taking the lock.

use super::queue::WaitQueue;
use crate::atomic::{AtomicU32, Ordering, UnsafeCell, const_unless_loom};
use core::marker::PhantomPinned;
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::Waker;

/// In no list.
pub(crate) const IDLE: u32 = 0;
/// In the list.
pub(crate) const LINKED: u32 = 1;
/// A wake took it out.
pub(crate) const WOKEN: u32 = 2;
/// A releaser took it out and made its waiter the owner.
pub(crate) const GRANTED: u32 = 3;

/// Called by a wake, under the queue's lock with interrupts masked, instead of waking a task; says whether the wake
/// counts as consumed. May wake other queues (of another lock class); may not register or unregister on this one.
pub type WakeFn = fn(Pin<&WaitNode>, key: u32) -> bool;

/// How a node is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// Woken by every wake, taken out by it.
    Shared,
    /// Woken in FIFO order, one per unit of `nr_exclusive`, taken out by it.
    Exclusive,
    /// Woken by every wake and stays: poll, select, epoll.
    Keep,
    /// Stays, and counts against `nr_exclusive` when its wake succeeds (EPOLLEXCLUSIVE).
    KeepExclusive,
    /// Nobody: where a wake goes on that has let go of the lock, in the part of those that are not exclusive.
    Mark,
    /// The same, in the other part.
    MarkExclusive,
}

impl Register {
    pub(super) fn is_exclusive(self) -> bool {
        matches!(self, Register::Exclusive | Register::KeepExclusive | Register::MarkExclusive)
    }

    pub(super) fn is_mark(self) -> bool {
        matches!(self, Register::Mark | Register::MarkExclusive)
    }

    pub(super) fn stays(self) -> bool {
        matches!(self, Register::Keep | Register::KeepExclusive)
    }
}

/// What the lock of the list guards while the node is linked, and the waiter owns otherwise.
pub(crate) struct Inner {
    pub(super) next: *const WaitNode,
    pub(super) prev: *const WaitNode,
    pub(crate) how: Register,
    /// Events that it waits for; for the async locks: what is wanted of the lock.
    pub(crate) key: u32,
    pub(crate) waker: Option<Waker>,
    call: Option<WakeFn>,
}

/// A waiter's node. `!Unpin`: lists point at it.
pub struct WaitNode {
    pub(crate) state: AtomicU32,
    /// The keys of the wakes since the last [`WaitNode::take_fired`].
    fired: AtomicU32,
    /// Where it is, or was last, registered; the waiter's own.
    queue: UnsafeCell<*const WaitQueue>,
    pub(crate) inner: UnsafeCell<Inner>,
    _pin: PhantomPinned,
}

// SAFETY: shared parts are atomic or guarded by the list's lock, as the state diagram says.
unsafe impl Sync for WaitNode {}
// SAFETY: it is bound to no thread; wakers are `Send`.
unsafe impl Send for WaitNode {}

impl WaitNode {
    const_unless_loom! {
        /// A node that is in no list and wakes the task that registers it.
        pub fn new() -> Self {
            Self::with(None)
        }
    }

    const_unless_loom! {
        /// A node whose wake calls `call` instead; the object that contains it is found from its address.
        pub fn with_callback(call: WakeFn) -> Self {
            Self::with(Some(call))
        }
    }

    /// A place in a list.
    pub(super) fn mark(exclusive: bool) -> Self {
        let mark = Self::with(None);
        // SAFETY: nobody else knows it.
        mark.inner.with_mut(|p| unsafe { (*p).how = if exclusive { Register::MarkExclusive } else { Register::Mark } });
        mark
    }

    const_unless_loom! {
        fn with(call: Option<WakeFn>) -> Self {
            WaitNode {
                state: AtomicU32::new(IDLE),
                fired: AtomicU32::new(0),
                queue: UnsafeCell::new(ptr::null()),
                inner: UnsafeCell::new(Inner {
                    next: ptr::null(),
                    prev: ptr::null(),
                    how: Register::Shared,
                    key: u32::MAX,
                    waker: None,
                    call,
                }),
                _pin: PhantomPinned,
            }
        }
    }

    /// Enters it in `queue` for wakes whose key shares a bit with `key` (wakes of key 0 reach every node). `waker` is
    /// what is woken; a node with a callback needs none. Look at the condition *after* this. Any context but inside a
    /// wake of this queue.
    ///
    /// # Safety
    /// The node is in no list; nobody else registers or unregisters it at the same time; `queue` stays where it is
    /// until the node is unregistered or dropped.
    pub unsafe fn register(self: Pin<&Self>, queue: &WaitQueue, key: u32, how: Register, waker: Option<&Waker>) {
        let waker = waker.cloned();
        self.inner.with_mut(|p| {
            // SAFETY: the node is in no list, so it is the caller's alone.
            let inner = unsafe { &mut *p };
            inner.key = key;
            inner.how = how;
            inner.waker = waker;
        });
        // SAFETY: as above.
        self.queue.with_mut(|p| unsafe { *p = queue });
        queue.link(NonNull::from(self.get_ref()));
    }

    /// [`WaitNode::register`] for a node with a callback.
    ///
    /// # Safety
    /// As [`WaitNode::register`].
    #[inline(always)]
    pub unsafe fn register_callback(self: Pin<&Self>, queue: &WaitQueue, key: u32, how: Register) {
        self.inner.with_mut(|p| {
            // SAFETY: the node is in no list, so it is the caller's alone.
            let inner = unsafe { &mut *p };
            debug_assert!(inner.call.is_some() && inner.waker.is_none());
            inner.key = key;
            inner.how = how;
        });
        // SAFETY: as above.
        self.queue.with_mut(|p| unsafe { *p = queue });
        queue.link(NonNull::from(self.get_ref()));
    }

    /// Whether a wake has taken it out: then that is over, and the node may be registered again. For its waiter, and a node
    /// with a callback: there is no waker to drop.
    #[inline(always)]
    pub fn take_woken(&self) -> bool {
        let woken = self.is_woken();
        if woken {
            self.state.store(IDLE, Ordering::Relaxed);
        }
        woken
    }

    /// Takes it out; `true` if a wake had taken it out (and so was consumed by this waiter). The condition may have
    /// become true all the same.
    ///
    /// # Safety
    /// Nobody else registers or unregisters it at the same time.
    pub unsafe fn unregister(self: Pin<&Self>) -> bool {
        let woken = match self.state.load(Ordering::Acquire) {
            IDLE => return false,
            LINKED => {
                // SAFETY: by `register`'s contract the queue is still there.
                let queue = self.queue.with(|p| unsafe { &**p });
                queue.unlink(NonNull::from(self.get_ref()))
            }
            _ => true,
        };
        // SAFETY: out of the list, so it is the caller's alone.
        let waker = self.inner.with_mut(|p| unsafe { (*p).waker.take() });
        self.state.store(IDLE, Ordering::Relaxed);
        drop(waker);
        woken
    }

    /// Whether a wake took it out. Not for nodes that stay.
    #[inline]
    pub fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) >= WOKEN
    }

    /// Whether it is in no list and no wake has taken it out of one.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE
    }

    /// Whether it is in a list, as far as its waiter knows.
    #[inline]
    pub fn is_linked(&self) -> bool {
        self.state.load(Ordering::Acquire) == LINKED
    }

    /// The union of the keys of all wakes that reached it since the last call; a wake of key 0 counts as all bits.
    #[inline]
    pub fn take_fired(&self) -> u32 {
        if self.fired.load(Ordering::Acquire) == 0 { 0 } else { self.fired.swap(0, Ordering::AcqRel) }
    }

    /// What a wake with `key` does to a linked node under the list's lock, apart from taking it out: says whether the
    /// wake was consumed, and hands out the waker that is still to be woken.
    ///
    /// # Safety
    /// The caller holds the lock of the list in which the node is.
    pub(super) unsafe fn fire(&self, key: u32) -> (bool, Option<Waker>) {
        let (call, stays) = self.inner.with(|p| {
            // SAFETY: by the caller's contract.
            let inner = unsafe { &*p };
            (inner.call, inner.how.stays())
        });
        if let Some(call) = call {
            // SAFETY: the node is pinned while it is linked.
            return (call(unsafe { Pin::new_unchecked(self) }, key), None);
        }
        if stays {
            self.fired.fetch_or(if key == 0 { u32::MAX } else { key }, Ordering::AcqRel);
            self.inner.with(|p| {
                // SAFETY: by the caller's contract.
                if let Some(waker) = unsafe { &(*p).waker } {
                    waker.wake_by_ref();
                }
            });
            return (true, None);
        }
        // SAFETY: by the caller's contract.
        (true, self.inner.with_mut(|p| unsafe { (*p).waker.take() }))
    }
}

#[cfg(not(loom))]
impl Default for WaitNode {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WaitNode {
    #[inline]
    fn drop(&mut self) {
        if self.is_idle() {
            return;
        }
        // SAFETY: a node that was registered was pinned and does not move before it is dropped; `&mut self` excludes
        // others. Lock waiters (GRANTED) cancel before this: they are not LINKED here.
        unsafe { Pin::new_unchecked(&*self).unregister() };
    }
}
