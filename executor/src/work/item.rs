//! The work item, its state word, and the item with a future inside.
//!
//! ```text
//!             queue                 take                    finish
//!   ┌──────┐ ───────► ┌─────────┐ ───────► ┌─────────┐ ──────────────► (idle)
//!   │ idle │          │ PENDING │          │ RUNNING │
//!   └──────┘ ◄─────── └─────────┘          └─────────┘ ── queue ──► RUNNING|PENDING
//!             cancel                                                  │ take (another worker must not run it now)
//!                        PENDING, linked again ◄── finish ── RUNNING|PENDING|DEFERRED
//! ```
//!
//! Whoever cancels an item and waits for its end keeps PENDING, with CANCELING, so that nobody can queue it meanwhile, not even its
//! own function. The bits from 8 on count how often it began to run, for those who wait for the end of one run.

use super::list::NOWHERE;
use super::pwq::Pwq;
#[cfg(target_os = "none")]
use crate::arch;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering, UnsafeCell};
#[cfg(target_os = "none")]
use crate::trace::{KEY_WORK, Role};
use core::cell::Cell;
use core::future::Future;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::ptr::{NonNull, null, null_mut};
use core::task::{Context, Poll};

#[cfg(target_os = "none")]
const PWQ_AT: usize = core::mem::offset_of!(Work, pwq);
#[cfg(target_os = "none")]
const PREV_AT: usize = core::mem::offset_of!(Work, prev);

/// It is to be run: linked in a pool, waiting for its timer, or deferred.
pub(super) const PENDING: u32 = 1;
/// A worker runs it.
pub(super) const RUNNING: u32 = 2;
/// It came up while it was running: the worker that runs it links it again.
pub(super) const DEFERRED: u32 = 4;
/// PENDING is a canceller's.
pub(super) const CANCELING: u32 = 8;
/// One run.
const RUN: u32 = 1 << 8;

/// Gives back the reference that a queue holds.
pub(super) type Release = unsafe fn(NonNull<Work>);

/// What a worker does with an item.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Call a function.
    Call(fn(&Work)),
    /// Make a future in the item, and poll it to its end.
    Poll(&'static FutureOps),
}

/// The future inside an [`AsyncWork`], its type erased.
pub(super) struct FutureOps {
    /// Makes it and polls it once; it is there afterwards if the poll is pending.
    pub(super) begin: unsafe fn(NonNull<Work>, &mut Context<'_>) -> Poll<()>,
    /// Polls it, and drops it when it is ready.
    pub(super) poll: unsafe fn(NonNull<Work>, &mut Context<'_>) -> Poll<()>,
}

/// Something to do (Linux: work_struct). Part of the object that it works on, found from the item's address.
pub struct Work {
    state: AtomicU32,
    run: Run,
    /// What it is counted in, or was last.
    pub(super) pwq: AtomicPtr<Pwq>,
    /// Links, in which list, and how it is counted; guarded by the pool's lock.
    pub(super) next: Cell<*const Work>,
    pub(super) prev: Cell<*const Work>,
    pub(super) linked: Cell<u8>,
    pub(super) color: Cell<u32>,
    /// The function that gives back the reference that the queue holds; changes while PENDING is clear.
    release: AtomicPtr<()>,
}

// SAFETY: the cells are guarded by the pool's lock or the PENDING bit, as said above.
unsafe impl Sync for Work {}
// SAFETY: bound to no thread.
unsafe impl Send for Work {}

/// A reference to an item that a queue can hold.
///
/// # Safety
/// The item that `into_raw` returns stays where it is and alive until `release` is called with it.
pub unsafe trait WorkRef {
    /// The item; the reference is the queue's now.
    fn into_raw(self) -> NonNull<Work>;

    /// Gives the reference back. Any context that may drop it: usually a worker.
    ///
    /// # Safety
    /// Once for each `into_raw`.
    unsafe fn release(work: NonNull<Work>);
}

// SAFETY: a static is always there.
unsafe impl WorkRef for &'static Work {
    fn into_raw(self) -> NonNull<Work> {
        NonNull::from(self)
    }

    unsafe fn release(_work: NonNull<Work>) {}
}

impl Work {
    /// An item that calls `function`, which may not wait; in a task, preemptible.
    pub const fn new(function: fn(&Work)) -> Work {
        Self::with(Run::Call(function))
    }

    const fn with(run: Run) -> Work {
        Work {
            state: AtomicU32::new(0),
            run,
            pwq: AtomicPtr::new(null_mut()),
            next: Cell::new(null()),
            prev: Cell::new(null()),
            linked: Cell::new(NOWHERE),
            color: Cell::new(0),
            release: AtomicPtr::new(nothing as Release as *mut ()),
        }
    }

    /// Whether it is to be run (again).
    pub fn is_pending(&self) -> bool {
        self.state() & PENDING != 0
    }

    /// Whether it is pending or runs.
    pub fn is_busy(&self) -> bool {
        self.state() & (PENDING | RUNNING) != 0
    }

    pub(super) fn state(&self) -> u32 {
        self.state.load(Ordering::Acquire)
    }

    pub(super) fn run(&self) -> Run {
        self.run
    }

    /// Makes it pending; `false` if it was. With `release` the queue lets go of the reference that it got.
    pub(super) fn set_pending(&self, release: Release) -> bool {
        if self.state.fetch_or(PENDING, Ordering::AcqRel) & PENDING != 0 {
            return false;
        }
        self.release.store(release as *mut (), Ordering::Relaxed);
        true
    }

    /// It is counted by `pwq` from now on. Under the pool's lock; PENDING is the caller's.
    #[inline(always)]
    pub(super) fn set_pwq(&self, pwq: &'static Pwq) {
        let pwq = core::ptr::from_ref(pwq).cast_mut();
        #[cfg(not(target_os = "none"))]
        self.pwq.store(pwq, Ordering::Relaxed);
        // SAFETY: the field is an atomic pointer of this item.
        #[cfg(target_os = "none")]
        unsafe {
            arch::store_traced::<{ Role::WorkQueued as u32 }, KEY_WORK, PWQ_AT>(core::ptr::from_ref(self).cast(), pwq.cast());
        }
    }

    /// It stands behind `last` among those that a worker may take. Under the pool's lock.
    #[inline(always)]
    pub(super) fn set_ready_behind(&self, last: *const Work) {
        #[cfg(not(target_os = "none"))]
        self.prev.set(last);
        // SAFETY: the field is a pointer of this item, guarded by the lock.
        #[cfg(target_os = "none")]
        unsafe {
            arch::store_traced::<{ Role::WorkReady as u32 }, KEY_WORK, PREV_AT>(core::ptr::from_ref(self).cast(), last.cast_mut().cast());
        }
    }

    /// The address of its function, or of the one that makes its future: for tracers.
    pub fn function_address(&self) -> usize {
        match self.run {
            Run::Call(function) => function as *const () as usize,
            Run::Poll(ops) => ops.begin as *const () as usize,
        }
    }

    /// Clears `bits` if all of `if_set` are set.
    pub(super) fn clear_bits_if(&self, if_set: u32, bits: u32) -> bool {
        let update = |s: u32| (s & if_set == if_set).then_some(s & !bits);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).is_ok()
    }

    /// A worker has taken it out: `true` if it runs now, `false` if it is deferred because it runs already. Under the lock of the pool
    /// in which it was linked.
    #[inline(always)]
    pub(super) fn begin(&self) -> bool {
        if self.state.load(Ordering::Acquire) & RUNNING != 0 {
            return self.begin_again();
        }
        // Without RUNNING nobody but who has taken it out sets that, or takes PENDING off: the one bit is carried over to the other.
        let old = self.state.fetch_add(RUN + RUNNING - PENDING, Ordering::AcqRel);
        debug_assert_eq!(old & (PENDING | RUNNING), PENDING);
        true
    }

    /// [`begin`](Self::begin) of one that ran a moment ago.
    #[cold]
    fn begin_again(&self) -> bool {
        let begin = |s: u32| Some(if s & RUNNING != 0 { s | DEFERRED } else { s.wrapping_add(RUN + RUNNING - PENDING) });
        matches!(self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin), Ok(old) if old & RUNNING == 0)
    }

    /// Sets `bits`; what was there before.
    pub(super) fn set_bits(&self, bits: u32) -> u32 {
        self.state.fetch_or(bits, Ordering::AcqRel)
    }

    /// What it is counted in, or was last; `None` if it was never queued. Whoever does not hold the lock of its pool asks again in the lock.
    #[inline(always)]
    pub(super) fn pwq(&self) -> Option<&'static Pwq> {
        // SAFETY: they are parts of queues, which live for ever.
        unsafe { self.pwq.load(Ordering::Relaxed).cast_const().as_ref() }
    }

    /// Its function has returned; `false` if it was deferred: then [`finish_deferred`](Self::finish_deferred) is to be called.
    pub(super) fn finish(&self) -> bool {
        let end = |s: u32| (s & DEFERRED == 0).then_some(s & !RUNNING);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, end).is_ok()
    }

    /// As [`finish`](Self::finish), under the lock of the pool that it is counted in; `true` if it must be linked again.
    pub(super) fn finish_deferred(&self) -> bool {
        self.state.fetch_and(!(RUNNING | DEFERRED), Ordering::AcqRel) & DEFERRED != 0
    }

    /// How to give back the reference that the queue holds; to be read while PENDING is set.
    pub(super) fn release_fn(&self) -> Release {
        // SAFETY: only functions of this type are stored.
        unsafe { core::mem::transmute::<*mut (), Release>(self.release.load(Ordering::Relaxed)) }
    }
}

/// Whether the run that was the last one to be asked for in the state `then` has ended in the state `now`.
pub(super) fn has_ended(then: u32, now: u32) -> bool {
    let runs = |s: u32| s / RUN;
    let last = runs(then.wrapping_add(if then & PENDING != 0 { RUN } else { 0 }));
    let ahead = runs(now).wrapping_sub(last) & (u32::MAX / RUN);
    let later = ahead != 0 && ahead < (u32::MAX / RUN) / 2;
    now & (PENDING | RUNNING) == 0 || later || (ahead == 0 && now & RUNNING == 0)
}

/// The release of an item that holds no reference.
unsafe fn nothing(_work: NonNull<Work>) {}

impl core::fmt::Debug for Work {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Work").field("state", &self.state()).finish()
    }
}

/// An item whose function is async. The future is made in place each time the item runs.
#[repr(C)]
pub struct AsyncWork<F, Fut> {
    work: Work,
    make: F,
    /// Initialised while the item runs; the running worker's own.
    future: UnsafeCell<MaybeUninit<Fut>>,
}

// SAFETY: `make` is shared, the future is one worker's at a time.
unsafe impl<F: Sync, Fut: Send> Sync for AsyncWork<F, Fut> {}
// SAFETY: as above.
unsafe impl<F: Send, Fut: Send> Send for AsyncWork<F, Fut> {}

impl<F, Fut> AsyncWork<F, Fut>
where
    F: Fn() -> Fut + Sync,
    Fut: Future<Output = ()> + Send,
{
    const OPS: FutureOps = FutureOps { begin: Self::begin, poll: Self::poll };

    /// An item that makes a future by `make` each time it runs, and polls it to its end.
    pub const fn new(make: F) -> Self {
        AsyncWork { work: Work::with(Run::Poll(const { &Self::OPS })), make, future: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The item, to be queued.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// # Safety
    /// `work` is the item of an `AsyncWork<F, Fut>`, alive.
    unsafe fn of<'a>(work: NonNull<Work>) -> &'a Self {
        // SAFETY: the item is the first field of the `repr(C)` structure.
        unsafe { work.cast::<Self>().as_ref() }
    }

    unsafe fn begin(work: NonNull<Work>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: called by the worker that runs the item: the slot is its own.
        unsafe {
            let this = Self::of(work);
            this.future.with_mut(|p| (*p).write((this.make)()));
            Self::poll(work, cx)
        }
    }

    #[inline(always)]
    unsafe fn poll(work: NonNull<Work>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: after `begin` and before it is dropped, by the same worker; the item does not move.
        unsafe {
            let polled = Self::of(work).future.with_mut(|p| Pin::new_unchecked((*p).assume_init_mut()).poll(cx));
            if polled.is_ready() {
                Self::of(work).future.with_mut(|p| (*p).assume_init_drop());
            }
            polled
        }
    }
}
