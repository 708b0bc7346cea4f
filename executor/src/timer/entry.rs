//! The entry of the tree or of a bucket, and the tree's ordering.

use super::callback::Timer;
use super::wheel::Bucket;
#[cfg(target_os = "none")]
use crate::arch;
#[cfg(not(target_os = "none"))]
use crate::atomic::Ordering;
use crate::atomic::{AtomicU32, UnsafeCell, const_unless_loom};
use crate::time::Nanos;
#[cfg(target_os = "none")]
use crate::trace::{KEY_HRTIMERS, Role};
use core::marker::PhantomPinned;
use core::mem::ManuallyDrop;
use core::task::Waker;
use intrusive_collections::{KeyAdapter, RBTreeLink, UnsafeRef, intrusive_adapter};

/// In no tree; never started, cancelled, or its callback was called.
pub(super) const IDLE: u32 = 0;
/// In the tree of its CPU, in front of it, or in a bucket.
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
    /// `hard` as a value of the counter; [`IN_BUCKET`].
    pub(super) count: u64,
    pub(super) action: Action,
}

/// The count of an entry in a bucket, which no counter reaches.
const IN_BUCKET: u64 = u64::MAX;

/// Its neighbours in a bucket.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    pub(super) next: *const Entry,
    pub(super) prev: *const Entry,
    pub(super) bucket: Bucket,
}

/// What an entry hangs by: `ring` in a bucket, `tree` otherwise.
union Link {
    tree: ManuallyDrop<RBTreeLink>,
    ring: Ring,
}

/// A pinned timer, whatever it does at expiry.
pub(crate) struct Entry {
    link: core::cell::UnsafeCell<Link>,
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
            Entry::of_cpu(action, 0)
        }
    }

    const_unless_loom! {
        /// One that the base of `cpu` guards from the beginning.
        pub(super) fn of_cpu(action: Action, cpu: u32) -> Entry {
            Entry {
                link: core::cell::UnsafeCell::new(Link { tree: ManuallyDrop::new(RBTreeLink::new()) }),
                state: AtomicU32::new(IDLE),
                cpu: AtomicU32::new(cpu),
                inner: UnsafeCell::new(Inner { soft: 0, hard: 0, count: 0, action }),
                _pin: PhantomPinned,
            }
        }
    }
}

/// How changes of the state are traced.
#[cfg(target_os = "none")]
const STATE_AT: usize = core::mem::offset_of!(Entry, state);

/// Changes of the state, which tracers are told of. Under the base's lock.
#[cfg(target_os = "none")]
impl Entry {
    /// It is queued.
    #[inline(always)]
    pub(super) fn set_queued(&self) {
        // SAFETY: the field is an atomic word of this entry.
        unsafe { arch::store_word::<{ Role::TimerSet as u32 }, KEY_HRTIMERS, STATE_AT>(core::ptr::from_ref(self).cast(), QUEUED) };
    }

    /// It was taken out.
    #[inline(always)]
    pub(super) fn set_cancelled(&self) {
        // SAFETY: as above.
        unsafe { arch::clear_word::<{ Role::TimerSet as u32 }, KEY_HRTIMERS, STATE_AT>(core::ptr::from_ref(self).cast()) };
    }

    /// Its function is about to be called.
    #[inline(always)]
    pub(super) fn set_called(&self) {
        // SAFETY: as above.
        unsafe { arch::clear_word::<{ Role::TimerCalls as u32 }, KEY_HRTIMERS, STATE_AT>(core::ptr::from_ref(self).cast()) };
    }

    /// Its sleeper is about to be woken. It may be gone afterwards.
    #[inline(always)]
    pub(super) fn set_fired(&self) {
        arch::release_word::<{ Role::TimerWakes as u32 }, KEY_HRTIMERS>(&self.state, FIRED);
    }
}

/// The same where nothing is traced.
#[cfg(not(target_os = "none"))]
impl Entry {
    pub(super) fn set_queued(&self) {
        self.state.store(QUEUED, Ordering::Relaxed);
    }

    pub(super) fn set_cancelled(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    pub(super) fn set_called(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    pub(super) fn set_fired(&self) {
        self.state.store(FIRED, Ordering::Release);
    }
}

impl Entry {
    /// Whether it waits in a bucket.
    ///
    /// # Safety
    /// The lock of its base is held.
    #[inline(always)]
    pub(super) unsafe fn is_in_bucket(&self) -> bool {
        // SAFETY: by the contract.
        self.inner.with(|p| unsafe { (*p).count }) == IN_BUCKET
    }

    /// Its neighbours in the bucket.
    ///
    /// # Safety
    /// It is in one; the lock of its base is held, and no other reference to this is used beside this one.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "guarded by the base's lock, as the contract says")]
    pub(super) unsafe fn ring(&self) -> &mut Ring {
        // SAFETY: by the contract.
        unsafe { &mut (*self.link.get()).ring }
    }

    /// Stands between `next` and `prev`, perhaps itself, which do not know of it yet.
    ///
    /// # Safety
    /// It is in no bucket or tree; the lock of its base is held.
    #[inline(always)]
    pub(super) unsafe fn enter_ring(&self, next: &Entry, prev: &Entry, bucket: Bucket) {
        // SAFETY: by the contract nobody else looks at it.
        unsafe {
            (*self.link.get()).ring = Ring { next, prev, bucket };
            self.inner.with_mut(|p| (*p).count = IN_BUCKET);
        }
    }

    /// Its neighbours have forgotten it: it may enter the tree, or a ring.
    ///
    /// # Safety
    /// As [`Entry::ring`].
    #[inline(always)]
    pub(super) unsafe fn leave_ring(&self) {
        // SAFETY: by the contract nobody else looks at it.
        unsafe {
            (*self.link.get()).tree = ManuallyDrop::new(RBTreeLink::new());
            self.inner.with_mut(|p| (*p).count = 0);
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
