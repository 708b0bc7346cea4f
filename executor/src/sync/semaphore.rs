//! The counting semaphore (Linux: struct semaphore): units that are taken and given back, by whomever, in any context.

use super::grant::{AcquireLock, AsyncLock, Waiters, dismiss, want_of};
use crate::atomic::{AtomicU32, Ordering, const_unless_loom};
use crate::wait::{GRANTED, Interrupted, List, WaitMode, WaitSite};
#[cfg(not(loom))]
use crate::{
    time::{Nanos, now},
    timer::Alarm,
    wait::Waited,
};
#[cfg(not(loom))]
use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// The list is not empty: newcomers line up.
const WAITERS: u32 = 1;
/// One unit.
const UNIT: u32 = 2;

struct RawSemaphore {
    state: AtomicU32,
    waiters: Waiters,
}

/// A count of units; first come, first served.
pub struct Semaphore {
    raw: RawSemaphore,
}

impl Semaphore {
    /// The most units that it can hold.
    pub const MAX: u32 = (u32::MAX >> 1) / UNIT;

    const_unless_loom! {
        /// A semaphore of `units`, at most [`Semaphore::MAX`].
        pub fn new(units: u32) -> Self {
            let units = if units > Self::MAX { Self::MAX } else { units };
            Semaphore { raw: RawSemaphore { state: AtomicU32::new(units * UNIT), waiters: Waiters::new() } }
        }
    }

    /// Takes a unit, however long that lasts.
    pub async fn down(&self, site: &'static WaitSite) {
        while self.acquire(site, WaitMode::Uninterruptible).await.is_err() {}
    }

    /// Takes a unit, unless an interrupt of `mode` comes first.
    pub async fn down_mode(&self, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        self.acquire(site, mode).await
    }

    /// Takes a unit, unless a fatal signal comes first (Linux: down_killable).
    pub async fn down_killable(&self, site: &'static WaitSite) -> Result<(), Interrupted> {
        self.acquire(site, WaitMode::Killable).await
    }

    /// Takes a unit by `deadline` (CLOCK_MONOTONIC), unless an interrupt of `mode` comes first (Linux: down_timeout, which waits
    /// uninterruptibly). A unit that is granted at the moment of the deadline is the caller's.
    #[cfg(not(loom))]
    pub async fn down_deadline(&self, site: &'static WaitSite, mode: WaitMode, deadline: Nanos) -> Waited<()> {
        if self.raw.try_at_once(UNIT, site) {
            return Waited::Ready(());
        }
        let mut unit = pin!(AcquireLock::new(&self.raw, UNIT, site, mode));
        let mut alarm = pin!(Alarm::new(Some(deadline), 0));
        poll_fn(|cx| match unit.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Waited::Ready(())),
            // A time-out that has passed counts before a signal, as in the waits of queues.
            Poll::Ready(Err(Interrupted)) if now() >= deadline => Poll::Ready(Waited::TimedOut),
            Poll::Ready(Err(Interrupted)) => Poll::Ready(Waited::Interrupted),
            Poll::Pending if !alarm.as_mut().poll_expired(cx) => Poll::Pending,
            Poll::Pending => Poll::Ready(if unit.as_mut().give_up() { Waited::Ready(()) } else { Waited::TimedOut }),
        })
        .await
    }

    async fn acquire(&self, site: &'static WaitSite, mode: WaitMode) -> Result<(), Interrupted> {
        if self.raw.try_at_once(UNIT, site) { Ok(()) } else { AcquireLock::new(&self.raw, UNIT, site, mode).await }
    }

    /// Takes a unit if there is one and nobody waits. Any context.
    pub fn try_down(&self) -> bool {
        self.raw.try_acquire(UNIT)
    }

    /// Gives a unit; the first waiter gets it. Any context. Units beyond [`Semaphore::MAX`] are dropped.
    pub fn up(&self) {
        self.raw.release(UNIT);
    }

    /// Units that are free at this moment.
    pub fn available(&self) -> u32 {
        self.raw.state.load(Ordering::Relaxed) / UNIT
    }
}

impl AsyncLock for RawSemaphore {
    fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    fn try_acquire(&self, want: u32) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        while s & WAITERS == 0 && s >= want {
            match self.state.compare_exchange_weak(s, s - want, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    fn acquire_or_mark(&self, _list: &List, want: u32, _again: bool) -> bool {
        let mut s = self.state.load(Ordering::Relaxed);
        loop {
            let free = s & WAITERS == 0 && s >= want;
            let next = if free { s - want } else { s | WAITERS };
            match self.state.compare_exchange_weak(s, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return free,
                Err(now) => s = now,
            }
        }
    }

    fn after_leave(&self, list: &mut List, _woken: bool) -> bool {
        self.grant(list);
        false
    }

    fn release(&self, want: u32) {
        let mut s = self.state.load(Ordering::Relaxed);
        while s < Semaphore::MAX * UNIT {
            match self.state.compare_exchange_weak(s, s + want, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => s = now,
            }
        }
        if s & WAITERS != 0 {
            self.waiters.with(|list| self.grant(list));
        }
    }
}

impl RawSemaphore {
    /// Gives the units to the waiters in their order. While WAITERS is set, units are taken only here.
    fn grant(&self, list: &mut List) {
        while let Some(node) = list.first() {
            // SAFETY: first in the list.
            let want = unsafe { want_of(node) };
            if self.state.load(Ordering::Relaxed) & !WAITERS < want {
                return;
            }
            self.state.fetch_sub(want, Ordering::Acquire);
            // SAFETY: first in the list.
            unsafe { dismiss(list, node, GRANTED) };
        }
        self.state.fetch_and(!WAITERS, Ordering::Relaxed);
    }
}

impl core::fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish()
    }
}
