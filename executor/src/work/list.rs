//! Linked items, oldest first. Guarded by the lock of the pool that the list belongs to.

use super::item::Work;
use core::cell::Cell;
use core::ptr::{NonNull, null};

/// In no list.
pub(super) const NOWHERE: u8 = 0;
/// In the list of a pool: a worker takes it when its turn has come.
pub(super) const READY: u8 = 1;
/// In the list of a queue that has `max_active` items under way.
pub(super) const HELD_BACK: u8 = 2;

/// The items in it are marked with `MARK`.
pub(super) struct WorkList<const MARK: u8> {
    first: Cell<*const Work>,
    last: Cell<*const Work>,
}

// SAFETY: used under the lock of a pool.
unsafe impl<const MARK: u8> Send for WorkList<MARK> {}

impl<const MARK: u8> WorkList<MARK> {
    pub(super) const fn new() -> Self {
        WorkList { first: Cell::new(null()), last: Cell::new(null()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.get().is_null()
    }

    /// # Safety
    /// `work` is alive until it is unlinked, in no list, and the pool's lock is held.
    #[inline]
    pub(super) unsafe fn push(&self, work: NonNull<Work>) {
        // SAFETY: linked items are alive; the links are guarded by the lock.
        unsafe {
            let (item, last) = (work.as_ref(), self.last.get());
            item.next.set(null());
            if MARK == READY {
                item.set_ready_behind(last)
            } else {
                item.prev.set(last)
            }
            item.linked.set(MARK);
            match last.as_ref() {
                Some(last) => last.next.set(item),
                None => self.first.set(item),
            }
            self.last.set(item);
        }
    }

    /// # Safety
    /// `item` is in this list, and the pool's lock is held.
    #[inline]
    pub(super) unsafe fn unlink(&self, item: &Work) {
        let (prev, next) = (item.prev.get(), item.next.get());
        // SAFETY: neighbours are linked, hence alive, and guarded by the lock.
        unsafe {
            match prev.as_ref() {
                Some(p) => p.next.set(next),
                None => self.first.set(next),
            }
            match next.as_ref() {
                Some(n) => n.prev.set(prev),
                None => self.last.set(prev),
            }
        }
        item.linked.set(NOWHERE);
    }

    /// The oldest item, taken out.
    ///
    /// # Safety
    /// The pool's lock is held.
    #[inline]
    pub(super) unsafe fn pop(&self) -> Option<NonNull<Work>> {
        let work = NonNull::new(self.first.get().cast_mut())?;
        // SAFETY: linked, hence alive, as the one behind it; the links are guarded by the lock.
        unsafe {
            let item = work.as_ref();
            let next = item.next.get();
            self.first.set(next);
            match next.as_ref() {
                Some(n) => n.prev.set(null()),
                None => self.last.set(null()),
            }
            item.linked.set(NOWHERE);
        }
        Some(work)
    }

    /// The items, oldest first; whoever calls may unlink the one that he was given last.
    pub(super) fn iter(&self) -> impl Iterator<Item = NonNull<Work>> + use<MARK> {
        let mut at = self.first.get();
        core::iter::from_fn(move || {
            let work = NonNull::new(at.cast_mut())?;
            // SAFETY: linked, hence alive; the lock under which the list is used keeps it so.
            at = unsafe { work.as_ref() }.next.get();
            Some(work)
        })
    }
}
