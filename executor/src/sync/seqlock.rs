//! Sequence locks: readers that write nothing, copy, and look whether a writer came between (Linux: seqlock_t).
//!
//! For small values that are read far more often than written: the time keeper, a rename counter. A reader never makes
//! a writer wait. An odd count means "being written".

use super::lockdep::LockClass;
use super::spinlock::{SpinIrqGuard, SpinLock};
use crate::arch;
use crate::atomic::{AtomicU32, Ordering, const_unless_loom, fence};
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, align_of, size_of};
use core::sync::atomic::{AtomicU8, AtomicUsize};

/// The count alone, for data that has its own lock and is made of atomics (Linux: seqcount_t).
#[derive(Debug)]
pub struct SeqCount(AtomicU32);

impl SeqCount {
    const_unless_loom! {
        /// An even count: nobody writes.
        pub fn new() -> Self {
            SeqCount(AtomicU32::new(0))
        }
    }

    /// Begins a read; spins while a write is under way.
    #[inline(always)]
    pub fn read_begin(&self) -> u32 {
        loop {
            let seq = self.0.load(Ordering::Acquire);
            if seq & 1 == 0 {
                return seq;
            }
            arch::relax();
        }
    }

    /// Whether what was read since `seq` was begun must be thrown away.
    #[inline(always)]
    #[must_use = "data read under a count may be torn until this says otherwise"]
    pub fn read_retry(&self, seq: u32) -> bool {
        fence(Ordering::Acquire);
        self.0.load(Ordering::Relaxed) != seq
    }

    /// Begins a write. The caller excludes other writers, and readers on its own CPU (interrupts that read).
    #[inline(always)]
    pub fn write_begin(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
    }

    /// Ends it.
    #[inline(always)]
    pub fn write_end(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
}

#[cfg(not(loom))]
impl Default for SeqCount {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`SeqLock`] can hold: plain data.
///
/// # Safety
/// The type has no padding bytes and no interior mutability: it is copied as an array of integers.
pub unsafe trait SeqData: Copy + Send + 'static {}

macro_rules! seq_data {
    ($($t:ty),*) => {
        $(
            // SAFETY: an integer has no padding.
            unsafe impl SeqData for $t {}
        )*
    };
}
seq_data!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize);
// SAFETY: arrays add no padding to their elements.
unsafe impl<T: SeqData, const N: usize> SeqData for [T; N] {}

/// A value whose readers retry instead of waiting; writers exclude each other with interrupts masked.
pub struct SeqLock<T: SeqData> {
    count: SeqCount,
    writer: SpinLock<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is read and written through atomics only.
unsafe impl<T: SeqData> Sync for SeqLock<T> {}

impl<T: SeqData> SeqLock<T> {
    const_unless_loom! {
        /// A lock of `class` around `value`.
        pub fn new(class: &'static LockClass, value: T) -> Self {
            SeqLock { count: SeqCount::new(), writer: SpinLock::new(class, ()), value: UnsafeCell::new(value) }
        }
    }

    /// A copy of the value. Never waits for a lock, but spins while a write is under way. Any context.
    #[inline(always)]
    pub fn read(&self) -> T {
        loop {
            let seq = self.count.read_begin();
            let copy = self.load();
            if !self.count.read_retry(seq) {
                // SAFETY: no writer came between, so the bytes are those of one `T` that was stored whole.
                return unsafe { copy.assume_init() };
            }
        }
    }

    /// Excludes other writers; the value changes when the guard stores it.
    pub fn write(&self) -> SeqWriteGuard<'_, T> {
        let guard = self.writer.lock_irq();
        // Under the writers' lock nothing changes the value.
        // SAFETY: the bytes are those of the `T` that was stored last.
        let value = unsafe { self.load().assume_init() };
        SeqWriteGuard { lock: self, value, _guard: guard }
    }

    fn load(&self) -> MaybeUninit<T> {
        let mut out = MaybeUninit::<T>::uninit();
        let (src, dst) = (self.value.get().cast::<u8>(), out.as_mut_ptr().cast::<u8>());
        let mut at = 0;
        while at < size_of::<T>() {
            // SAFETY: `at` plus the step is within `T`; the word step is taken only where `T`'s alignment allows it.
            // The source is touched by atomics alone, the destination is ours, and `T` has no padding.
            unsafe {
                if at + size_of::<usize>() <= size_of::<T>() && align_of::<T>() >= align_of::<usize>() {
                    let word = (*src.add(at).cast::<AtomicUsize>()).load(core::sync::atomic::Ordering::Relaxed);
                    dst.add(at).cast::<usize>().write(word);
                    at += size_of::<usize>();
                } else {
                    dst.add(at).write((*src.add(at).cast::<AtomicU8>()).load(core::sync::atomic::Ordering::Relaxed));
                    at += 1;
                }
            }
        }
        out
    }

    fn store(&self, value: &T) {
        let (src, dst) = (core::ptr::from_ref(value).cast::<u8>(), self.value.get().cast::<u8>());
        let mut at = 0;
        while at < size_of::<T>() {
            // SAFETY: as in `load`, with the sides exchanged; the caller holds the writers' lock.
            unsafe {
                if at + size_of::<usize>() <= size_of::<T>() && align_of::<T>() >= align_of::<usize>() {
                    let word = src.add(at).cast::<usize>().read();
                    (*dst.add(at).cast::<AtomicUsize>()).store(word, core::sync::atomic::Ordering::Relaxed);
                    at += size_of::<usize>();
                } else {
                    let byte = src.add(at).read();
                    (*dst.add(at).cast::<AtomicU8>()).store(byte, core::sync::atomic::Ordering::Relaxed);
                    at += 1;
                }
            }
        }
    }
}

/// The writers' lock is held, interrupts are masked. Change the copy by deref; dropping the guard publishes it.
#[must_use = "the value is published when the guard drops"]
pub struct SeqWriteGuard<'a, T: SeqData> {
    lock: &'a SeqLock<T>,
    value: T,
    _guard: SpinIrqGuard<'a, ()>,
}

impl<T: SeqData> core::ops::Deref for SeqWriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: SeqData> core::ops::DerefMut for SeqWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: SeqData> Drop for SeqWriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.count.write_begin();
        self.lock.store(&self.value);
        self.lock.count.write_end();
    }
}
