//! The entry of the tree, and the tree's ordering.

use super::callback::Timer;
use crate::atomic::{AtomicU32, UnsafeCell, const_unless_loom};
use crate::time::Nanos;
use core::marker::PhantomPinned;
use core::task::Waker;
use intrusive_collections::{KeyAdapter, RBTreeLink, UnsafeRef, intrusive_adapter};

/// In no tree; never started, cancelled, or its callback was called.
pub(super) const IDLE: u32 = 0;
/// In the tree of its CPU.
pub(super) const QUEUED: u32 = 1;
/// Its sleeper was woken by it.
pub(super) const FIRED: u32 = 2;

/// `Entry::cpu` while the entry moves from one CPU's tree to another's.
pub(super) const MOVING: u32 = u32::MAX;

/// What happens at expiry.
pub(super) enum Action {
    /// Wake a sleeper; the waker is there while the entry is queued.
    Wake(Option<Waker>),
    /// Call the function of the [`Timer`] that the entry is in.
    Call(fn(&Timer)),
}

/// The part of an entry that its base's lock guards.
pub(super) struct Inner {
    pub(super) soft: Nanos,
    pub(super) hard: Nanos,
    /// `hard` as a value of the counter.
    pub(super) count: u64,
    pub(super) action: Action,
}

/// A pinned timer, whatever it does at expiry.
pub(crate) struct Entry {
    link: RBTreeLink,
    /// IDLE, QUEUED or FIRED; changes under the base's lock. FIRED is stored as the last thing done to the entry.
    pub(super) state: AtomicU32,
    /// The CPU whose base guards this entry, or MOVING.
    pub(super) cpu: AtomicU32,
    pub(super) inner: UnsafeCell<Inner>,
    _pin: PhantomPinned,
}

// SAFETY: the link and `inner` are touched under the base's lock (or by the owner while the entry is in no tree),
// the rest is atomic.
unsafe impl Sync for Entry {}
// SAFETY: bound to no thread.
unsafe impl Send for Entry {}

impl Entry {
    const_unless_loom! {
        pub(super) fn new(action: Action) -> Entry {
            Entry {
                link: RBTreeLink::new(),
                state: AtomicU32::new(IDLE),
                cpu: AtomicU32::new(0),
                inner: UnsafeCell::new(Inner { soft: 0, hard: 0, count: 0, action }),
                _pin: PhantomPinned,
            }
        }
    }
}

intrusive_adapter!(pub(super) ByExpiry = UnsafeRef<Entry>: Entry { link => RBTreeLink });

impl KeyAdapter<'_> for ByExpiry {
    type Key = Nanos;
    fn get_key(&self, entry: &Entry) -> Nanos {
        // SAFETY: entries are compared under the lock of the base that they are in.
        entry.inner.with(|p| unsafe { (*p).hard })
    }
}
