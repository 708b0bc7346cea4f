//! An intrusive doubly linked list of entities: queues of one priority, and the fair class's parked polls.

use super::entity::Entity;
use core::ptr::NonNull;

/// The links of an entity. Which list they belong to follows from its class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    prev: Option<NonNull<Entity>>,
    next: Option<NonNull<Entity>>,
}

impl Links {
    pub(super) const UNLINKED: Links = Links { prev: None, next: None };
}

/// A list. All operations but iteration take constant time.
#[derive(Debug)]
pub(super) struct List {
    head: Option<NonNull<Entity>>,
    tail: Option<NonNull<Entity>>,
}

/// Both arguments of this crate-private helper are entities of live tasks under the queue's lock.
///
/// # Safety
/// `e` is valid, and no reference to its links exists.
#[inline(always)]
unsafe fn links(e: NonNull<Entity>) -> *mut Links {
    // SAFETY: by the caller's contract `e` points to an entity.
    unsafe { &raw mut (*e.as_ptr()).links }
}

impl List {
    pub(super) const fn new() -> Self {
        List { head: None, tail: None }
    }

    #[inline(always)]
    pub(super) fn first(&self) -> Option<NonNull<Entity>> {
        self.head
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// The one after `e`.
    ///
    /// # Safety
    /// `e` is in a list.
    #[inline(always)]
    pub(super) unsafe fn next(e: NonNull<Entity>) -> Option<NonNull<Entity>> {
        // SAFETY: valid by contract.
        unsafe { (*links(e)).next }
    }

    /// # Safety
    /// `e` is valid, in no list, and stays until it is removed.
    #[inline]
    pub(super) unsafe fn push_back(&mut self, e: NonNull<Entity>) {
        // SAFETY: `e` is valid, and so is every entity that the list holds.
        unsafe {
            *links(e) = Links { prev: self.tail, next: None };
            match self.tail {
                Some(t) => (*links(t)).next = Some(e),
                None => self.head = Some(e),
            }
        }
        self.tail = Some(e);
    }

    /// # Safety
    /// As [`List::push_back`].
    #[inline]
    pub(super) unsafe fn push_front(&mut self, e: NonNull<Entity>) {
        // SAFETY: `e` is valid, and so is every entity that the list holds.
        unsafe {
            *links(e) = Links { prev: None, next: self.head };
            match self.head {
                Some(h) => (*links(h)).prev = Some(e),
                None => self.tail = Some(e),
            }
        }
        self.head = Some(e);
    }

    /// # Safety
    /// `e` is in this list.
    #[inline]
    pub(super) unsafe fn remove(&mut self, e: NonNull<Entity>) {
        // SAFETY: `e` and its neighbours are in the list, hence valid.
        unsafe {
            let Links { prev, next } = *links(e);
            match prev {
                Some(p) => (*links(p)).next = next,
                None => self.head = next,
            }
            match next {
                Some(n) => (*links(n)).prev = prev,
                None => self.tail = prev,
            }
        }
    }

    /// The entity with the smallest key, the first of equals; linear in the length.
    ///
    /// # Safety
    /// The entities of the list are valid and not borrowed mutably.
    pub(super) unsafe fn min_by(&self, before: impl Fn(&Entity, &Entity) -> bool) -> Option<NonNull<Entity>> {
        let mut best = self.head?;
        let mut at = Some(best);
        while let Some(e) = at {
            // SAFETY: by the caller's contract.
            unsafe {
                if before(e.as_ref(), best.as_ref()) {
                    best = e;
                }
                at = (*links(e)).next;
            }
        }
        Some(best)
    }
}
