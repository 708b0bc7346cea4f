//! Rings of bytes and of received characters. Their storage is on the heap: they are too large to be built on a stack.

use core::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use vigil_mem::{AllocError, KVec};

/// A lock-free ring with one producer (an interrupt) and one consumer (whoever holds the consumer's lock).
///
/// `N` is a power of two. Positions run freely and wrap; their difference is the fill.
pub(crate) struct Spsc<const N: usize> {
    slots: KVec<AtomicU16>,
    /// Where the producer writes next. Release: the slot is written before.
    head: AtomicUsize,
    /// Where the consumer reads next. Release: the slot is read before.
    tail: AtomicUsize,
}

impl<const N: usize> Spsc<N> {
    pub(crate) fn try_new() -> Result<Self, AllocError> {
        const { assert!(N.is_power_of_two()) };
        let slots = KVec::try_from_iter((0..N).map(|_| AtomicU16::new(0)))?;
        Ok(Spsc { slots, head: AtomicUsize::new(0), tail: AtomicUsize::new(0) })
    }

    /// Producer: adds `value`; `false` if the ring is full.
    pub(crate) fn push(&self, value: u16) -> bool {
        let head = self.head.load(Ordering::Relaxed);
        if head.wrapping_sub(self.tail.load(Ordering::Acquire)) >= N {
            return false;
        }
        self.slots[head % N].store(value, Ordering::Relaxed);
        self.head.store(head.wrapping_add(1), Ordering::Release);
        true
    }

    /// Consumer: the oldest value, left where it is.
    pub(crate) fn peek(&self) -> Option<u16> {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail == self.head.load(Ordering::Acquire) {
            return None;
        }
        Some(self.slots[tail % N].load(Ordering::Relaxed))
    }

    /// Consumer: drops the value that [`peek`](Self::peek) returned.
    pub(crate) fn skip(&self) {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail != self.head.load(Ordering::Acquire) {
            self.tail.store(tail.wrapping_add(1), Ordering::Release);
        }
    }

    /// Producer: whether the next [`push`](Self::push) would fail.
    pub(crate) fn is_full(&self) -> bool {
        self.head.load(Ordering::Relaxed).wrapping_sub(self.tail.load(Ordering::Acquire)) >= N
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == self.tail.load(Ordering::Acquire)
    }
}

/// A ring of bytes under its owner's lock. `N` is a power of two.
pub(crate) struct ByteRing<const N: usize> {
    bytes: KVec<u8>,
    head: usize,
    tail: usize,
}

impl<const N: usize> ByteRing<N> {
    pub(crate) fn try_new() -> Result<Self, AllocError> {
        const { assert!(N.is_power_of_two()) };
        let mut bytes = KVec::new();
        bytes.try_resize(N, 0)?;
        Ok(ByteRing { bytes, head: 0, tail: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(crate) fn room(&self) -> usize {
        N - self.len()
    }

    pub(crate) fn push(&mut self, byte: u8) -> bool {
        if self.room() == 0 {
            return false;
        }
        self.bytes[self.head % N] = byte;
        self.head = self.head.wrapping_add(1);
        true
    }

    /// Adds as many of `bytes` as fit and returns how many.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        let start = self.head % N;
        let (first, second) = bytes[..n].split_at(n.min(N - start));
        self.bytes[start..start + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
        self.head = self.head.wrapping_add(n);
        n
    }

    pub(crate) fn pop(&mut self) -> Option<u8> {
        if self.is_empty() {
            return None;
        }
        let byte = self.bytes[self.tail % N];
        self.tail = self.tail.wrapping_add(1);
        Some(byte)
    }

    /// The oldest bytes that lie in one piece.
    pub(crate) fn front(&self) -> &[u8] {
        let start = self.tail % N;
        &self.bytes[start..(start + self.len()).min(N)]
    }

    /// Drops the `n` oldest bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.tail = self.tail.wrapping_add(n.min(self.len()));
    }

    pub(crate) fn clear(&mut self) {
        self.tail = self.head;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_ring_wraps_in_order() {
        let mut r = ByteRing::<8>::try_new().unwrap();
        assert_eq!(r.extend(b"abcdefghij"), 8);
        assert_eq!(r.front(), b"abcdefgh");
        r.consume(5);
        assert_eq!(r.extend(b"12"), 2);
        assert_eq!(r.front(), b"fgh");
        assert_eq!((r.len(), r.room()), (5, 3));
        let all: std::vec::Vec<u8> = core::iter::from_fn(|| r.pop()).collect();
        assert_eq!(all, b"fgh12");
        assert_eq!(r.extend(b"0123456789"), 8);
        let all: std::vec::Vec<u8> = core::iter::from_fn(|| r.pop()).collect();
        assert_eq!(all, b"01234567");
    }

    #[test]
    fn spsc_keeps_every_value_between_two_threads() {
        let ring: &'static Spsc<16> = std::boxed::Box::leak(std::boxed::Box::new(Spsc::try_new().unwrap()));
        let producer = std::thread::spawn(move || {
            for i in 0..50_000u16 {
                while !ring.push(i) {
                    std::thread::yield_now();
                }
            }
        });
        for i in 0..50_000u16 {
            while ring.is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(ring.peek(), Some(i));
            ring.skip();
        }
        producer.join().unwrap();
        assert_eq!(ring.peek(), None);
    }
}
