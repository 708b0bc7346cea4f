//! The async reader-writer lock (Linux: rw_semaphore).
//!
//! First come, first served: when somebody waits, newcomers line up behind, readers too, so writers are not starved. A
//! release grants the lock to the first waiter, and, if that is a reader, to the readers directly behind it: an owner is
//! made before it runs, and a crowd of newcomers cannot overtake it.

use super::grant::{AcquireLock, AsyncLock, Waiters, dismiss, want_of};
use super::lockdep::{LockClass, Tracked};
use crate::atomic::{AtomicU32, Ordering, UnsafeCell, const_unless_loom};
use crate::wait::{GRANTED, Interrupted, List, WaitMode, WaitSite};
use core::ops::{Deref, DerefMut};

/// A writer owns it.
const WRITER: u32 = 1;
/// The list is not empty: newcomers line up.
const WAITERS: u32 = 2;
/// One reader.
const READER: u32 = 4;

struct RawRwSem {
    state: AtomicU32,
    waiters: Waiters,
    class: Tracked,
}

/// A value that many tasks may read, or one may change, across awaits.
pub struct RwSem<T> {
    raw: RawRwSem,
    value: UnsafeCell<T>,
}

// SAFETY: readers share `&T` between CPUs, a writer has `&mut T`.
unsafe impl<T: Send + Sync> Sync for RwSem<T> {}
// SAFETY: it owns its value.
unsafe impl<T: Send> Send for RwSem<T> {}

macro_rules! acquire {
    ($(#[$m:meta])* $name:ident, $guard:ident, $want:expr, $mode:expr) => {
        $(#[$m])*
        #[inline]
        pub async fn $name(&self, site: &'static WaitSite) -> Result<$guard<'_, T>, Interrupted> {
            self.acquire($want, site, $mode).await?;
            Ok($guard { lock: self })
        }
    };
}

impl<T> RwSem<T> {
    const_unless_loom! {
        /// A free lock of `class` around `value`.
        pub fn new(class: &'static LockClass, value: T) -> Self {
            RwSem {
                raw: RawRwSem { state: AtomicU32::new(0), waiters: Waiters::new(), class: Tracked::new(class) },
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Takes it as a reader, however long that lasts.
    #[inline]
    pub async fn read(&self, site: &'static WaitSite) -> RwSemReadGuard<'_, T> {
        while self.acquire(READER, site, WaitMode::Uninterruptible).await.is_err() {}
        RwSemReadGuard { lock: self }
    }

    /// Takes it as the writer, however long that lasts.
    #[inline]
    pub async fn write(&self, site: &'static WaitSite) -> RwSemWriteGuard<'_, T> {
        while self.acquire(WRITER, site, WaitMode::Uninterruptible).await.is_err() {}
        RwSemWriteGuard { lock: self }
    }

    acquire!(/** As `read`, unless a fatal signal comes first. */ read_killable, RwSemReadGuard, READER, WaitMode::Killable);
    acquire!(/** As `write`, unless a fatal signal comes first. */ write_killable, RwSemWriteGuard, WRITER, WaitMode::Killable);
    acquire!(/** As `read`, unless a signal comes first. */ read_interruptible, RwSemReadGuard, READER, WaitMode::Interruptible);
    acquire!(/** As `write`, unless a signal comes first. */ write_interruptible, RwSemWriteGuard, WRITER, WaitMode::Interruptible);

    #[inline]
    async fn acquire(&self, want: u32, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        if self.raw.try_at_once(want, site) { Ok(()) } else { AcquireLock::new(&self.raw, want, site, mode).await }
    }

    /// Takes it as a reader if no writer owns it and nobody waits.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_read(&self) -> Option<RwSemReadGuard<'_, T>> {
        self.try_here(READER).then(|| RwSemReadGuard { lock: self })
    }

    /// Takes it as the writer if nobody owns it or waits for it.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_write(&self) -> Option<RwSemWriteGuard<'_, T>> {
        self.try_here(WRITER).then(|| RwSemWriteGuard { lock: self })
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_here(&self, want: u32) -> bool {
        let got = self.raw.try_acquire(want);
        if got {
            self.raw.class.acquired_here(self.raw.addr(), want == READER);
        }
        got
    }

    /// Whether others wait for it: long holders look, and let go for a moment (Linux: rwsem_is_contended).
    pub fn is_contended(&self) -> bool {
        self.raw.state.load(Ordering::Relaxed) & WAITERS != 0
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes all owners.
        self.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl AsyncLock for RawRwSem {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn class(&self) -> Option<&Tracked> {
        Some(&self.class)
    }

    fn reads(want: u32) -> bool {
        want == READER
    }

    #[inline(always)]
    fn try_acquire(&self, want: u32) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        // A reader fits beside readers, a writer beside nobody; neither passes those who wait.
        let block = if want == READER { WRITER | WAITERS } else { u32::MAX };
        while s & block == 0 {
            match self.state.compare_exchange_weak(s, s.wrapping_add(want), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    fn acquire_or_mark(&self, _list: &List, want: u32, _again: bool) -> bool {
        let block = if want == READER { WRITER | WAITERS } else { u32::MAX };
        let mut s = self.state.load(Ordering::Relaxed);
        loop {
            let free = s & block == 0;
            let next = if free { s.wrapping_add(want) } else { s | WAITERS };
            match self.state.compare_exchange_weak(s, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return free,
                Err(now) => s = now,
            }
        }
    }

    fn after_leave(&self, list: &mut List, _woken: bool) {
        // A writer that left from the head lets the readers behind it in.
        self.grant(list);
    }

    #[inline(always)]
    fn release(&self, want: u32) {
        let old = self.state.fetch_sub(want, Ordering::Release);
        if old.wrapping_sub(want) == WAITERS {
            self.release_slow();
        }
    }
}

impl RawRwSem {
    #[cold]
    fn release_slow(&self) {
        self.waiters.with(|list| self.grant(list));
    }

    /// Makes owners of the waiters that fit, in their order. While WAITERS is set, newcomers come to the list's lock,
    /// which the caller holds: the word changes only by readers that let go.
    fn grant(&self, list: &mut List) {
        while let Some(node) = list.first() {
            // SAFETY: first in the list.
            let want = unsafe { want_of(node) };
            let s = self.state.load(Ordering::Acquire);
            let fits = if want == READER { s & WRITER == 0 } else { s & !WAITERS == 0 };
            if !fits {
                return;
            }
            self.state.fetch_add(want, Ordering::Acquire);
            // SAFETY: first in the list.
            unsafe { dismiss(list, node, GRANTED) };
        }
        self.state.fetch_and(!WAITERS, Ordering::Relaxed);
    }
}

/// It is read-held. `Send`.
#[must_use = "the lock is held only while the guard lives"]
pub struct RwSemReadGuard<'a, T> {
    lock: &'a RwSem<T>,
}

/// It is write-held. `Send`.
#[must_use = "the lock is held only while the guard lives"]
pub struct RwSemWriteGuard<'a, T> {
    lock: &'a RwSem<T>,
}

impl<'a, T> RwSemWriteGuard<'a, T> {
    /// Becomes a reader without letting a writer in between; waiting readers at the head of the line come in, too.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn downgrade(self) -> RwSemReadGuard<'a, T> {
        let raw = &self.lock.raw;
        raw.class.released(raw.addr());
        raw.class.acquired_here(raw.addr(), true);
        let this = core::mem::ManuallyDrop::new(self);
        let old = this.lock.raw.state.fetch_add(READER - WRITER, Ordering::Release);
        if old & WAITERS != 0 {
            this.lock.raw.release_slow();
        }
        RwSemReadGuard { lock: this.lock }
    }
}

impl<T> Deref for RwSemReadGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: read-held: no writer.
        self.lock.value.with(|p| unsafe { &*p })
    }
}

impl<T> Deref for RwSemWriteGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: write-held: nobody else.
        self.lock.value.with(|p| unsafe { &*p })
    }
}

impl<T> DerefMut for RwSemWriteGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: write-held: nobody else.
        self.lock.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl<T> Drop for RwSemReadGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.class.released(self.lock.raw.addr());
        self.lock.raw.release(READER);
    }
}

impl<T> Drop for RwSemWriteGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.class.released(self.lock.raw.addr());
        self.lock.raw.release(WRITER);
    }
}
