//! The async reader-writer lock (Linux: rw_semaphore).
//!
//! First come, first served: when somebody waits, newcomers line up behind, readers too, so writers are not starved. A
//! release grants the lock to the first waiter, and, if that is a reader, to the readers directly behind it: an owner is
//! made before it runs, and a crowd of newcomers cannot overtake it.
//!
//! As long as nobody waits, a writer that finds it held spins while the writer that holds it is being polled on another CPU, and
//! for readers some 10 to 25 µs ([`optimistic`](super::optimistic)). Readers do not spin. Both as on Linux, where spinning writers
//! overtake who waits, until one that has waited 4 ms asks for a hand-off.
//!
//! ```text
//!   word:  address of the writer's task, or number of readers × READER | WAITERS | WRITER
//! ```

use super::grant::{AcquireLock, AsyncLock, Waiters, dismiss, want_of};
use super::lockdep::{LockClass, Tracked};
use super::optimistic::{Holder, me};
use crate::atomic::{AtomicU64, Ordering, UnsafeCell, const_unless_loom};
use crate::wait::{GRANTED, Interrupted, List, WaitMode, WaitSite};
use core::ops::{Deref, DerefMut};

/// A writer owns it.
const WRITER: u64 = 1;
/// The list is not empty: newcomers line up.
const WAITERS: u64 = 2;
/// Waiters that are let in before the waiters' lock is let go of: it masks interrupts.
const TURN: usize = if cfg!(loom) { 1 } else { 4 };
/// One reader.
const READER: u64 = 4;

/// What is wanted.
const READ: u32 = 0;
const WRITE: u32 = 1;

struct RawRwSem {
    state: AtomicU64,
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
                raw: RawRwSem { state: AtomicU64::new(0), waiters: Waiters::new(), class: Tracked::new(class) },
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Takes it as a reader, however long that lasts.
    #[inline]
    pub async fn read(&self, site: &'static WaitSite) -> RwSemReadGuard<'_, T> {
        while self.acquire(READ, site, WaitMode::Uninterruptible).await.is_err() {}
        RwSemReadGuard { lock: self }
    }

    /// Takes it as the writer, however long that lasts.
    #[inline]
    pub async fn write(&self, site: &'static WaitSite) -> RwSemWriteGuard<'_, T> {
        while self.acquire(WRITE, site, WaitMode::Uninterruptible).await.is_err() {}
        RwSemWriteGuard { lock: self }
    }

    acquire!(/** As `read`, unless a fatal signal comes first. */ read_killable, RwSemReadGuard, READ, WaitMode::Killable);
    acquire!(/** As `write`, unless a fatal signal comes first. */ write_killable, RwSemWriteGuard, WRITE, WaitMode::Killable);
    acquire!(/** As `read`, unless a signal comes first. */ read_interruptible, RwSemReadGuard, READ, WaitMode::Interruptible);
    acquire!(/** As `write`, unless a signal comes first. */ write_interruptible, RwSemWriteGuard, WRITE, WaitMode::Interruptible);

    #[inline]
    async fn acquire(&self, want: u32, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        if self.raw.try_at_once(want, site) { Ok(()) } else { AcquireLock::new(&self.raw, want, site, mode).await }
    }

    /// Takes it as a reader if no writer owns it and nobody waits.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_read(&self) -> Option<RwSemReadGuard<'_, T>> {
        self.try_here(READ).then(|| RwSemReadGuard { lock: self })
    }

    /// Takes it as the writer if nobody owns it or waits for it.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_write(&self) -> Option<RwSemWriteGuard<'_, T>> {
        self.try_here(WRITE).then(|| RwSemWriteGuard { lock: self })
    }

    #[inline(always)]
    #[cfg_attr(debug_assertions, track_caller)]
    fn try_here(&self, want: u32) -> bool {
        let got = self.raw.try_acquire(want);
        if got {
            self.raw.class.acquired_here(self.raw.addr(), want == READ);
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
        want == READ
    }

    #[inline(always)]
    fn try_acquire(&self, want: u32) -> bool {
        // A reader fits beside readers, a writer beside nobody; neither passes those who wait.
        if want == WRITE {
            return self.state.compare_exchange(0, me() | WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok();
        }
        let mut s = self.state.load(Ordering::Relaxed);
        while s & (WRITER | WAITERS) == 0 {
            match self.state.compare_exchange_weak(s, s.wrapping_add(READER), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    fn acquire_or_mark(&self, _list: &List, want: u32, _again: bool) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        loop {
            let free = if want == READ { s & (WRITER | WAITERS) == 0 } else { s == 0 };
            let next = match want {
                _ if !free => s | WAITERS,
                READ => s.wrapping_add(READER),
                _ => me() | WRITER,
            };
            match self.state.compare_exchange_weak(s, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return free,
                Err(now) => s = now,
            }
        }
    }

    fn after_leave(&self, list: &mut List, _woken: bool) -> bool {
        // A writer that left from the head lets the readers behind it in.
        self.grant(list)
    }

    #[inline(always)]
    fn release(&self, want: u32) {
        let slow = if want == WRITE {
            self.state.fetch_and(WAITERS, Ordering::Release) & WAITERS != 0
        } else {
            self.state.fetch_sub(READER, Ordering::Release) == READER | WAITERS
        };
        if slow {
            self.release_slow();
        }
    }

    fn holder(&self, want: u32) -> Holder {
        match self.state.load(Ordering::Relaxed) {
            0 => Holder::Nobody,
            s if want == READ || s & WAITERS != 0 || s == WRITER => Holder::Unknown,
            s if s & WRITER != 0 => Holder::Task((s & !WRITER) as usize),
            s => Holder::Readers((s / READER) as u32),
        }
    }

    fn adopt(&self, want: u32) {
        if want == WRITE {
            self.state.fetch_or(me(), Ordering::Relaxed);
        }
    }
}

impl RawRwSem {
    #[cold]
    fn release_slow(&self) {
        while self.waiters.with(|list| self.grant(list)) {}
    }

    /// Makes owners of the waiters that fit, in their order, [`TURN`] at most; whether there may be more of them, for whom the caller
    /// comes again. While WAITERS is set, newcomers come to the list's lock, which the caller holds: the word changes only by readers
    /// that let go.
    fn grant(&self, list: &mut List) -> bool {
        for _ in 0..TURN {
            let Some(node) = list.first() else { break };
            // SAFETY: first in the list.
            let want = unsafe { want_of(node) };
            let s = self.state.load(Ordering::Acquire);
            let (fits, add) = if want == READ { (s & WRITER == 0, READER) } else { (s & !WAITERS == 0, WRITER) };
            if !fits {
                return false;
            }
            self.state.fetch_add(add, Ordering::Acquire);
            // SAFETY: first in the list.
            unsafe { dismiss(list, node, GRANTED) };
        }
        if !list.is_empty() {
            return true;
        }
        self.state.fetch_and(!WAITERS, Ordering::Relaxed);
        false
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
        let state = &this.lock.raw.state;
        let mut s = state.load(Ordering::Relaxed);
        // Only WAITERS changes while there is a writer.
        while let Err(now) = state.compare_exchange_weak(s, (s & WAITERS) | READER, Ordering::Release, Ordering::Relaxed) {
            s = now;
        }
        if s & WAITERS != 0 {
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
        self.lock.raw.release(READ);
    }
}

impl<T> Drop for RwSemWriteGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.class.released(self.lock.raw.addr());
        self.lock.raw.release(WRITE);
    }
}
