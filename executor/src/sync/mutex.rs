//! The async mutex: its holder may await, its waiters cost no stack (Linux: struct mutex).
//!
//! Taking a free mutex is one compare-and-swap, also when others wait ("barging"): a strict hand-over would make each
//! contended section as long as a wake-up. It is adaptive: who finds it held spins as long as the owner is being polled on
//! another CPU ([`optimistic`](super::optimistic)), and waits only then. But a waiter that was woken and lost the race asks for a
//! hand-off: it goes to the head of the line, nobody may take the mutex before it, and the next unlock makes it the owner. So
//! nobody waits for more than two sections beyond those of the waiters before him. Linux's mutex has the same policy.
//!
//! ```text
//!   word:  address of the owner's task | HANDOFF | WAITERS | LOCKED
//!   lock:    CAS 0 → me|LOCKED                    else: not LOCKED and no HANDOFF → also me|LOCKED
//!   unlock:  and WAITERS|HANDOFF                  what is left of these: the list is asked
//! ```
//!
//! An owner that was made by a hand-off has no address in the word until it runs: nobody spins for it.

use super::grant::{AcquireLock, AsyncLock, Waiters, dismiss};
use super::lockdep::{LockClass, Tracked};
use super::optimistic::{Holder, me};
use crate::atomic::{AtomicU64, Ordering, UnsafeCell, const_unless_loom};
use crate::wait::{GRANTED, Interrupted, List, WOKEN, WaitMode, WaitSite};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Somebody owns it.
const LOCKED: u64 = 1;
/// The list is not empty.
const WAITERS: u64 = 2;
/// The next unlock makes the first waiter the owner.
const HANDOFF: u64 = 4;
const FLAGS: u64 = LOCKED | WAITERS | HANDOFF;

/// The word and the waiters.
struct RawMutex {
    state: AtomicU64,
    waiters: Waiters,
    class: Tracked,
}

/// A value that one task at a time may use, across awaits.
pub struct Mutex<T> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: one owner at a time; the value moves between tasks and CPUs.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: it owns its value.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    const_unless_loom! {
        /// A free mutex of `class` around `value`.
        pub fn new(class: &'static LockClass, value: T) -> Self {
            Mutex {
                raw: RawMutex { state: AtomicU64::new(0), waiters: Waiters::new(), class: Tracked::new(class) },
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Takes it if it is free. Any context but an interrupt that its owner's unlock may be in.
    #[inline]
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if !self.raw.try_acquire(0) {
            return None;
        }
        self.raw.class.acquired_here(self.raw.addr(), false);
        Some(MutexGuard { lock: self, _value: PhantomData })
    }

    /// Takes it, however long that lasts.
    #[inline]
    pub async fn lock(&self, site: &'static WaitSite) -> MutexGuard<'_, T> {
        // An uninterruptible wait ends in no other way.
        while self.acquire(site, WaitMode::Uninterruptible).await.is_err() {}
        MutexGuard { lock: self, _value: PhantomData }
    }

    /// Takes it, unless a fatal signal comes first.
    #[inline]
    pub async fn lock_killable(&self, site: &'static WaitSite) -> Result<MutexGuard<'_, T>, Interrupted> {
        self.acquire(site, WaitMode::Killable).await?;
        Ok(MutexGuard { lock: self, _value: PhantomData })
    }

    /// Takes it, unless a signal comes first.
    #[inline]
    pub async fn lock_interruptible(&self, site: &'static WaitSite) -> Result<MutexGuard<'_, T>, Interrupted> {
        self.acquire(site, WaitMode::Interruptible).await?;
        Ok(MutexGuard { lock: self, _value: PhantomData })
    }

    #[inline]
    async fn acquire(&self, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        if self.raw.try_at_once(0, site) { Ok(()) } else { AcquireLock::new(&self.raw, 0, site, mode).await }
    }

    /// Whether somebody owns it at this moment.
    pub fn is_locked(&self) -> bool {
        self.raw.state.load(Ordering::Relaxed) & LOCKED != 0
    }

    /// The value, without locking.
    pub fn get_mut(&mut self) -> &mut T {
        // SAFETY: `&mut self` excludes all owners.
        self.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl AsyncLock for RawMutex {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn class(&self) -> Option<&Tracked> {
        Some(&self.class)
    }

    #[inline(always)]
    fn try_acquire(&self, _want: u32) -> bool {
        self.state.compare_exchange(0, me() | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok() || self.barge()
    }

    fn acquire_or_mark(&self, _list: &List, _want: u32, again: bool) -> bool {
        let mark = if again { WAITERS | HANDOFF } else { WAITERS };
        let mut s = self.state.load(Ordering::Relaxed);
        loop {
            let free = s & (LOCKED | HANDOFF) == 0;
            let next = if free { s | me() | LOCKED } else { s | mark };
            match self.state.compare_exchange_weak(s, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return free,
                Err(now) => s = now,
            }
        }
    }

    fn after_leave(&self, list: &mut List, woken: bool) -> bool {
        if list.is_empty() {
            self.state.fetch_and(!(WAITERS | HANDOFF), Ordering::Relaxed);
        } else if woken && self.state.load(Ordering::Relaxed) & LOCKED == 0 {
            // The wake that the leaver consumed was for whoever waits first.
            self.wake_first(list);
        }
        false
    }

    #[inline(always)]
    fn release(&self, _want: u32) {
        if self.state.fetch_and(WAITERS | HANDOFF, Ordering::Release) & (WAITERS | HANDOFF) != 0 {
            self.release_slow();
        }
    }

    fn holder(&self, _want: u32) -> Holder {
        match self.state.load(Ordering::Relaxed) {
            s if s & (LOCKED | HANDOFF) == 0 => Holder::Nobody,
            s if s & HANDOFF != 0 || s & !FLAGS == 0 => Holder::Unknown,
            s => Holder::Task((s & !FLAGS) as usize),
        }
    }

    fn adopt(&self, _want: u32) {
        self.state.fetch_or(me(), Ordering::Relaxed);
    }
}

impl RawMutex {
    /// Takes it if it is free, although others may wait.
    #[cold]
    #[inline(never)]
    fn barge(&self) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        while s & (LOCKED | HANDOFF) == 0 {
            match self.state.compare_exchange_weak(s, s | me() | LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    /// It was let go, and somebody waits.
    #[cold]
    fn release_slow(&self) {
        self.waiters.with(|list| {
            // Who has taken it meanwhile comes here, too, when he lets go. Acquire: one may have come and gone, and what he did in
            // his section is before what the next owner does, also if that is made here.
            let s = self.state.load(Ordering::Acquire);
            if s & LOCKED != 0 {
                return;
            }
            match list.first() {
                Some(node) if s & HANDOFF != 0 => {
                    // With HANDOFF set nobody else takes it. The waiter's state orders the owners.
                    self.state.fetch_or(LOCKED, Ordering::Relaxed);
                    // SAFETY: first in the list.
                    unsafe { dismiss(list, node, GRANTED) };
                    let clear = if list.is_empty() { WAITERS | HANDOFF } else { HANDOFF };
                    self.state.fetch_and(!clear, Ordering::Relaxed);
                }
                _ => self.wake_first(list),
            }
        });
    }

    fn wake_first(&self, list: &mut List) {
        if let Some(node) = list.first() {
            // SAFETY: first in the list.
            unsafe { dismiss(list, node, WOKEN) };
        }
        if list.is_empty() {
            self.state.fetch_and(!(WAITERS | HANDOFF), Ordering::Relaxed);
        }
    }
}

/// The mutex is owned. `Send`: may live across awaits and migrate with its task.
#[must_use = "the mutex is owned only while the guard lives"]
pub struct MutexGuard<'a, T> {
    lock: &'a Mutex<T>,
    /// Shared between threads only if the value may be: a shared guard gives out `&T`.
    _value: PhantomData<&'a mut T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the guard's existence is the ownership.
        self.lock.value.with(|p| unsafe { &*p })
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard's existence is the ownership.
        self.lock.value.with_mut(|p| unsafe { &mut *p })
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.raw.class.released(self.lock.raw.addr());
        self.lock.raw.release(0);
    }
}
