//! Lists in order of urgency: waiters of a mutex, mutexes of an owner.

use crate::class::Rank;
use crate::time::Nanos;
use core::ptr::null;

/// How urgent something is, the most urgent first: by rank, and between deadline tasks by deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Urgency(pub Rank, pub Nanos);

/// The urgency of tasks that lend none: all fair ones (Linux: DEFAULT_PRIO).
pub(super) const FAIR: Urgency = Urgency(Rank::FAIR, 0);
/// The urgency of a mutex without waiters.
pub(super) const NONE: Urgency = Urgency(Rank::IDLE, 0);

/// A neighbour in a [`Ranked`] list.
pub(super) struct Links<T> {
    prev: *const T,
    next: *const T,
}

impl<T> Links<T> {
    pub(super) const NONE: Links<T> = Links { prev: null(), next: null() };
}

/// What a [`Ranked`] list holds. Both are called with the lock held.
pub(super) trait Node: Sized {
    fn links(&self) -> *mut Links<Self>;
    fn urgency(&self) -> Urgency;
}

/// A list in order of urgency, equals in order of arrival. It borrows its nodes, which are pinned while they are in it.
pub(super) struct Ranked<T> {
    pub(super) first: *const T,
    last: *const T,
}

impl<T: Node> Ranked<T> {
    pub(super) const EMPTY: Ranked<T> = Ranked { first: null(), last: null() };

    /// # Safety
    /// `node` is alive, pinned and in no list; the nodes of this one are alive; the lock is held.
    pub(super) unsafe fn insert(&mut self, node: *const T) {
        // SAFETY: by the contract above.
        unsafe {
            let mut before = self.last;
            while before.as_ref().is_some_and(|b| b.urgency() > (*node).urgency()) {
                before = (*(*before).links()).prev;
            }
            let after = match before.as_ref() {
                Some(b) => (*b.links()).next,
                None => self.first,
            };
            *(*node).links() = Links { prev: before, next: after };
            match before.as_ref() {
                Some(b) => (*b.links()).next = node,
                None => self.first = node,
            }
            match after.as_ref() {
                Some(a) => (*a.links()).prev = node,
                None => self.last = node,
            }
        }
    }

    /// # Safety
    /// `node` is in this list; the lock is held.
    pub(super) unsafe fn remove(&mut self, node: *const T) {
        // SAFETY: by the contract above.
        unsafe {
            let Links { prev, next } = core::mem::replace(&mut *(*node).links(), Links::NONE);
            match prev.as_ref() {
                Some(p) => (*p.links()).next = next,
                None => self.first = next,
            }
            match next.as_ref() {
                Some(n) => (*n.links()).prev = prev,
                None => self.last = prev,
            }
        }
    }
}
