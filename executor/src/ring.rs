//! A ring of neighbours: what waits is linked into one and taken out of it in a few stores, wherever it stands.

use core::cell::Cell;
use core::ptr;

/// A neighbour in a ring, or the head of one.
pub(crate) struct Link {
    next: Cell<*const Link>,
    prev: Cell<*const Link>,
}

impl Link {
    /// Of no ring; as a head, of an empty one.
    pub(crate) const fn new() -> Link {
        Link { next: Cell::new(ptr::null()), prev: Cell::new(ptr::null()) }
    }

    /// Whether the ring of this head is empty. A head that was never used has no neighbours.
    pub(crate) fn is_alone(&self) -> bool {
        self.next.get().is_null() || ptr::eq(self.next.get(), self)
    }

    /// The first one of the ring of this head.
    pub(crate) fn first(&self) -> Option<*const Link> {
        (!self.is_alone()).then(|| self.next.get())
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<*const Link> {
        (!self.is_alone()).then(|| self.prev.get())
    }

    fn close(&self) {
        self.next.set(self);
        self.prev.set(self);
    }

    /// Puts `link` behind the last one of this head.
    ///
    /// # Safety
    /// `link` is in no ring; both stay where they are until it is taken out; nobody else uses the ring at the same time.
    pub(crate) unsafe fn append(&self, link: &Link) {
        if self.next.get().is_null() {
            self.close();
        }
        let last = self.prev.get();
        link.next.set(self);
        link.prev.set(last);
        // SAFETY: what is in a ring is alive.
        unsafe { (*last).next.set(link) };
        self.prev.set(link);
    }

    /// Takes it out of its ring.
    ///
    /// # Safety
    /// It is in one that nobody else uses at the same time.
    pub(crate) unsafe fn remove(&self) {
        // SAFETY: what is in a ring is alive.
        unsafe {
            (*self.prev.get()).next.set(self.next.get());
            (*self.next.get()).prev.set(self.prev.get());
        }
    }

    /// Appends all of `from` to this head; that is empty then.
    ///
    /// # Safety
    /// Both are heads, of rings that nobody else uses at the same time.
    pub(crate) unsafe fn append_all(&self, from: &Link) {
        if from.is_alone() {
            return;
        }
        if self.next.get().is_null() {
            self.close();
        }
        // SAFETY: what is in a ring is alive.
        unsafe {
            let (first, last, end) = (&*from.next.get(), &*from.prev.get(), &*self.prev.get());
            end.next.set(first);
            first.prev.set(end);
            last.next.set(self);
        }
        self.prev.set(from.prev.get());
        from.close();
    }
}
