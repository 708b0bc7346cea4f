//! The words inside the spinning locks.
//!
//! [`RawMutex`] is the `spin` crate's: one byte, a load-acquire-exclusive pair to take it, a store-release to let it
//! go, which is as short as it gets. It is not fair among waiting CPUs. A ticket would be, but under QEMU, where CPUs
//! are threads of a smaller host, a ticket holder that is not scheduled stops all behind it; and sections are short.
//!
//! [`RawRwLock`] is ours, because `spin`'s lets readers starve a writer for ever, and readers are what a user controls
//! (`kill`, `wait4` from all CPUs): here readers queue behind a waiting writer, except in interrupts, where a reader of
//! the interrupted flow may be what the writer waits for.

use crate::arch;
use crate::atomic::{AtomicU32, Ordering, const_unless_loom};

/// How `spin` waits: with our hint, which on a host gives the processor away.
#[cfg(not(loom))]
pub(crate) struct Relax;

#[cfg(not(loom))]
impl spin::RelaxStrategy for Relax {
    #[inline(always)]
    fn relax() {
        arch::relax();
    }
}

/// The mutual exclusion inside a spin lock.
#[cfg(not(loom))]
pub(crate) type RawMutex<T> = spin::mutex::SpinMutex<T, Relax>;
#[cfg(not(loom))]
pub(crate) type RawGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, Relax>;

/// Takes `m`.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn lock<T>(m: &RawMutex<T>) -> RawGuard<'_, T> {
    match m.try_lock() {
        Some(guard) => guard,
        None => contend(m),
    }
}

#[cfg(not(loom))]
#[cold]
#[inline(never)]
fn contend<T>(m: &RawMutex<T>) -> RawGuard<'_, T> {
    m.lock()
}

/// Takes `m` if it is free.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn try_lock<T>(m: &RawMutex<T>) -> Option<RawGuard<'_, T>> {
    m.try_lock()
}

/// Under loom, its mutex stands in for `spin`'s: a spinning thread would have as many histories as it spins.
#[cfg(loom)]
pub(crate) type RawMutex<T> = loom::sync::Mutex<T>;
#[cfg(loom)]
pub(crate) type RawGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// Takes `m`.
#[cfg(loom)]
pub(crate) fn lock<T>(m: &RawMutex<T>) -> RawGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Takes `m` if it is free.
#[cfg(loom)]
pub(crate) fn try_lock<T>(m: &RawMutex<T>) -> Option<RawGuard<'_, T>> {
    m.try_lock().ok()
}

/// A writer holds it.
const WRITER: u32 = 1;
/// A writer waits: readers outside of interrupts hold back.
const WAITING: u32 = 2;
/// One reader.
const READER: u32 = 4;

/// The word of a reader-writer spin lock.
///
/// ```text
///   read:   CAS n·READER → (n+1)·READER           while neither WRITER nor (outside of interrupts) WAITING
///   write:  CAS 0|WAITING → WRITER                else set WAITING and spin
///   unlock: subtract what was added
/// ```
///
/// WAITING is cleared by the writer that gets in; another that still waits sets it again in its loop.
#[derive(Debug)]
pub(crate) struct RawRwLock(AtomicU32);

impl RawRwLock {
    const_unless_loom! {
        pub(crate) fn new() -> RawRwLock {
            RawRwLock(AtomicU32::new(0))
        }
    }

    /// Takes it as a reader if it can be had; `pass` a waiting writer when in an interrupt.
    #[inline(always)]
    pub(crate) fn try_read(&self, pass: bool) -> bool {
        let block = if pass { WRITER } else { WRITER | WAITING };
        let mut s = self.0.load(Ordering::Relaxed);
        while s & block == 0 {
            match self.0.compare_exchange_weak(s, s.wrapping_add(READER), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => s = now,
            }
        }
        false
    }

    #[inline(always)]
    pub(crate) fn read(&self, pass: bool) {
        while !self.try_read(pass) {
            arch::relax();
        }
    }

    #[inline(always)]
    pub(crate) fn try_write(&self) -> bool {
        let s = self.0.load(Ordering::Relaxed);
        s & !WAITING == 0 && self.0.compare_exchange(s, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    pub(crate) fn write(&self) {
        while !self.try_write() {
            if self.0.load(Ordering::Relaxed) & WAITING == 0 {
                self.0.fetch_or(WAITING, Ordering::Relaxed);
            }
            arch::relax();
        }
    }

    #[inline(always)]
    pub(crate) fn read_unlock(&self) {
        self.0.fetch_sub(READER, Ordering::Release);
    }

    #[inline(always)]
    pub(crate) fn write_unlock(&self) {
        self.0.fetch_sub(WRITER, Ordering::Release);
    }
}
