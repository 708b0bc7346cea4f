//! The list of waiters: doubly linked through their nodes, non-exclusive ones before exclusive ones, FIFO in each part.

use super::node::{IDLE, LINKED, WaitNode};
use crate::atomic::Ordering;
use core::ptr::{self, NonNull};
use core::task::Waker;

/// The ends of the list; everything in it is guarded by the lock around it.
#[derive(Debug)]
pub(crate) struct List {
    first: *const WaitNode,
    last: *const WaitNode,
    /// The last of the non-exclusive nodes; null when there is none.
    last_shared: *const WaitNode,
}

// SAFETY: the pointers are used under the lock that contains the list, on whichever CPU.
unsafe impl Send for List {}

impl List {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        List { first: ptr::null(), last: ptr::null(), last_shared: ptr::null() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    pub(crate) fn first(&self) -> Option<NonNull<WaitNode>> {
        NonNull::new(self.first.cast_mut())
    }

    /// The node after `node`.
    ///
    /// # Safety
    /// `node` is in this list.
    pub(crate) unsafe fn next(&self, node: NonNull<WaitNode>) -> Option<NonNull<WaitNode>> {
        // SAFETY: linked nodes are alive, and their links are ours.
        unsafe { NonNull::new(node.as_ref().inner.with(|p| (*p).next).cast_mut()) }
    }

    /// Enters `node` where its kind belongs and marks it LINKED.
    ///
    /// # Safety
    /// `node` is in no list and stays where it is until it is taken out.
    pub(crate) unsafe fn insert(&mut self, node: NonNull<WaitNode>) {
        // SAFETY: by the contract the node is alive and ours.
        if unsafe { node.as_ref().inner.with(|p| (*p).how.is_exclusive()) } {
            // SAFETY: passed on.
            return unsafe { self.append(node) };
        }
        // SAFETY: passed on.
        unsafe { self.insert_after(node, self.last_shared) };
        self.last_shared = node.as_ptr();
    }

    /// Enters `node` behind all others.
    ///
    /// # Safety
    /// As [`List::insert`].
    #[inline(always)]
    unsafe fn append(&mut self, node: NonNull<WaitNode>) {
        // SAFETY: the last node is linked, hence alive, and all links are guarded by our lock.
        unsafe {
            let last = self.last;
            node.as_ref().inner.with_mut(|p| {
                (*p).prev = last;
                (*p).next = ptr::null();
            });
            let this = node.as_ptr().cast_const();
            self.last = this;
            if last.is_null() {
                self.first = this
            } else {
                (*last).inner.with_mut(|p| (*p).next = this)
            }
            node.as_ref().state.store(LINKED, Ordering::Relaxed);
        }
    }

    /// Enters the exclusive `node` before all other exclusive ones.
    ///
    /// # Safety
    /// As [`List::insert`].
    pub(crate) unsafe fn insert_first_exclusive(&mut self, node: NonNull<WaitNode>) {
        // SAFETY: passed on.
        unsafe { self.insert_after(node, self.last_shared) };
    }

    /// Enters `node` directly before `next`, which is of its kind.
    ///
    /// # Safety
    /// As [`List::insert`]; `next` is in the list.
    pub(crate) unsafe fn insert_before(&mut self, node: NonNull<WaitNode>, next: NonNull<WaitNode>) {
        // SAFETY: passed on.
        unsafe { self.insert_after(node, next.as_ref().inner.with(|p| (*p).prev)) };
    }

    /// # Safety
    /// As [`List::insert`]; `after` is in the list, or null for the front.
    unsafe fn insert_after(&mut self, node: NonNull<WaitNode>, after: *const WaitNode) {
        // SAFETY: neighbours are linked, hence alive, and all links are guarded by our lock.
        unsafe {
            let before = if after.is_null() { self.first } else { (*after).inner.with(|p| (*p).next) };
            node.as_ref().inner.with_mut(|p| {
                (*p).prev = after;
                (*p).next = before;
            });
            let this = node.as_ptr().cast_const();
            if after.is_null() {
                self.first = this
            } else {
                (*after).inner.with_mut(|p| (*p).next = this)
            }
            if before.is_null() {
                self.last = this
            } else {
                (*before).inner.with_mut(|p| (*p).prev = this)
            }
            node.as_ref().state.store(LINKED, Ordering::Relaxed);
        }
    }

    /// Takes `node` out. Its state is the caller's to set.
    ///
    /// # Safety
    /// `node` is in this list.
    pub(crate) unsafe fn remove(&mut self, node: NonNull<WaitNode>) {
        // SAFETY: neighbours are linked, hence alive, and all links are guarded by our lock.
        unsafe {
            let (prev, next, shared) = node.as_ref().inner.with(|p| ((*p).prev, (*p).next, !(*p).how.is_exclusive()));
            if prev.is_null() {
                self.first = next
            } else {
                (*prev).inner.with_mut(|p| (*p).next = next)
            }
            if next.is_null() {
                self.last = prev
            } else {
                (*next).inner.with_mut(|p| (*p).prev = prev)
            }
            // Only non-exclusive nodes stand before a non-exclusive one, so `prev` is one, or null.
            if shared && ptr::eq(self.last_shared, node.as_ptr()) {
                self.last_shared = prev;
            }
        }
    }

    /// [`List::remove`] of the first node, an exclusive one: nobody stands before it. Whether nobody is left.
    ///
    /// # Safety
    /// As [`List::remove`]; `node` is the first.
    #[inline(always)]
    pub(crate) unsafe fn remove_first_exclusive(&mut self, node: NonNull<WaitNode>) -> bool {
        // SAFETY: as in `remove`.
        unsafe {
            let next = node.as_ref().inner.with(|p| (*p).next);
            self.first = next;
            if next.is_null() {
                self.last = ptr::null()
            } else {
                (*next).inner.with_mut(|p| (*p).prev = ptr::null())
            }
            next.is_null()
        }
    }

    /// Takes `node` out for its own waiter; `false` if it was not in (any more).
    ///
    /// # Safety
    /// `node` is alive and was linked, if at all, in this list.
    pub(crate) unsafe fn cancel(&mut self, node: NonNull<WaitNode>) -> bool {
        // SAFETY: by the contract.
        unsafe {
            if node.as_ref().state.load(Ordering::Acquire) != LINKED {
                return false;
            }
            self.remove(node);
            node.as_ref().state.store(IDLE, Ordering::Relaxed);
        }
        true
    }

    /// Gives the linked `node` another waker, when its future has moved to another task; returns the one before, for
    /// the caller to drop outside of the lock. `Err` if the node is not in any more.
    ///
    /// # Safety
    /// As [`List::cancel`].
    pub(crate) unsafe fn update_waker(&mut self, node: NonNull<WaitNode>, waker: &Waker) -> Result<Option<Waker>, ()> {
        // SAFETY: by the contract; linked, and the list's lock is held: the inner part is ours.
        unsafe {
            if node.as_ref().state.load(Ordering::Acquire) != LINKED {
                return Err(());
            }
            Ok(node.as_ref().inner.with_mut(|p| match &mut (*p).waker {
                Some(w) if w.will_wake(waker) => None,
                slot => slot.replace(waker.clone()),
            }))
        }
    }
}
