//! The kernel log's ring buffer: many writers in any context, NMIs included, and readers that never block them.
//!
//! A record is a descriptor (found by its sequence number modulo the ring) and a run of bytes in the text ring. A writer
//! takes a number and a run by one `fetch_add` each, fills them, and publishes the descriptor; there is no lock and no
//! retry, so a writer that is interrupted half-way, or a CPU that is stopped, delays nobody: readers stop at its record
//! until it is published or overwritten. A reader copies first and checks afterwards that nothing was overwritten:
//!
//! ```text
//!   writer                                  reader
//!   text_head.fetch_add                     load bytes
//!   fence(Release)                          fence(Acquire)
//!   store bytes                             load text_head   -> sees the add if it saw any of the new bytes
//! ```
//!
//! A writer that sleeps through a whole turn of the ring (an NMI that logs thousands of records) may garble the text of a
//! newer record, never anything else.

use core::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Longest text of one record, in bytes; longer ones are cut.
pub const MAX_TEXT: usize = 992;

/// What a record says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Nanoseconds since boot.
    pub time: u64,
    /// Severity, 0 (emergency) to 7 (debug).
    pub level: u8,
    /// Syslog facility: 0 kernel, 1 user.
    pub facility: u8,
    /// The CPU that logged it.
    pub cpu: u8,
    /// Bytes of text.
    pub len: u16,
}

/// Why there is no record with a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// It is not written, or not finished, yet.
    NotYet,
    /// It was overwritten; the oldest that may still be there is this one.
    Lost(u64),
}

struct Desc {
    /// `2 * seq + 1` while record `seq` is being written, `2 * seq + 2` when it is complete; 0 before the first use.
    state: AtomicU64,
    /// Logical start of the text: counts all bytes ever written.
    pos: AtomicU64,
    time: AtomicU64,
    /// len | level << 16 | facility << 24 | cpu << 32
    meta: AtomicU64,
}

/// A ring of `D` records and `T` bytes of text, both powers of two.
pub struct Ring<const D: usize, const T: usize> {
    next: AtomicU64,
    text_head: AtomicU64,
    descs: [Desc; D],
    text: [AtomicU8; T],
}

impl<const D: usize, const T: usize> Ring<D, T> {
    /// An empty ring.
    pub const fn new() -> Self {
        assert!(D.is_power_of_two() && T.is_power_of_two() && T > MAX_TEXT);
        Ring {
            next: AtomicU64::new(0),
            text_head: AtomicU64::new(0),
            descs: [const { Desc { state: AtomicU64::new(0), pos: AtomicU64::new(0), time: AtomicU64::new(0), meta: AtomicU64::new(0) } };
                D],
            text: [const { AtomicU8::new(0) }; T],
        }
    }

    /// Adds a record (its `len` is taken from `text`, cut to [`MAX_TEXT`]). Any context; never waits.
    pub fn push(&self, mut meta: Meta, text: &[u8]) -> u64 {
        let text = &text[..text.len().min(MAX_TEXT)];
        meta.len = text.len() as u16;
        let seq = self.next.fetch_add(1, Relaxed);
        let desc = &self.descs[seq as usize & (D - 1)];
        let writing = seq.wrapping_mul(2).wrapping_add(1);
        desc.state.store(writing, Relaxed);
        let pos = self.text_head.fetch_add(text.len() as u64, Relaxed);
        // Pairs with the reader's fence: who sees a byte or field below also sees the state and the text head above.
        fence(Release);
        for (i, b) in text.iter().enumerate() {
            self.text[(pos as usize).wrapping_add(i) & (T - 1)].store(*b, Relaxed);
        }
        desc.pos.store(pos, Relaxed);
        desc.time.store(meta.time, Relaxed);
        let packed = u64::from(meta.len) | u64::from(meta.level) << 16 | u64::from(meta.facility) << 24 | u64::from(meta.cpu) << 32;
        desc.meta.store(packed, Relaxed);
        // Fails only when the ring went round meanwhile: then the descriptor is somebody else's.
        let _ = desc.state.compare_exchange(writing, writing.wrapping_add(1), Release, Relaxed);
        seq
    }

    /// Copies record `seq` into `out`.
    pub fn read(&self, seq: u64, out: &mut [u8; MAX_TEXT]) -> Result<Meta, Missing> {
        let next = self.next.load(Acquire);
        if seq >= next {
            return Err(Missing::NotYet);
        }
        if next - seq > D as u64 {
            return Err(Missing::Lost(next - D as u64));
        }
        let desc = &self.descs[seq as usize & (D - 1)];
        let done = seq.wrapping_mul(2).wrapping_add(2);
        let state = desc.state.load(Acquire);
        if state != done {
            // A newer owner means that ours is gone; an older state, that the writer has not come that far.
            return Err(if state > done { Missing::Lost(seq + 1) } else { Missing::NotYet });
        }
        let pos = desc.pos.load(Relaxed);
        let time = desc.time.load(Relaxed);
        let meta = desc.meta.load(Relaxed);
        let len = (meta as usize & 0xffff).min(MAX_TEXT);
        for (i, b) in out[..len].iter_mut().enumerate() {
            *b = self.text[(pos as usize).wrapping_add(i) & (T - 1)].load(Relaxed);
        }
        fence(Acquire);
        if desc.state.load(Relaxed) != done || self.text_head.load(Relaxed).wrapping_sub(pos) > T as u64 {
            return Err(Missing::Lost(seq + 1));
        }
        Ok(Meta { time, level: (meta >> 16) as u8, facility: (meta >> 24) as u8, cpu: (meta >> 32) as u8, len: len as u16 })
    }

    /// The number that the next record gets.
    pub fn next(&self) -> u64 {
        self.next.load(Acquire)
    }

    /// The oldest number that may still be there.
    pub fn oldest(&self) -> u64 {
        self.next().saturating_sub(D as u64)
    }

    /// Bytes of text that the ring holds.
    pub const fn capacity(&self) -> usize {
        T
    }
}

impl<const D: usize, const T: usize> Default for Ring<D, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::format;

    fn meta() -> Meta {
        Meta { time: 7, level: 6, facility: 0, cpu: 1, len: 0 }
    }

    #[test]
    fn records_come_back_in_order_until_they_are_overwritten() {
        let r = Box::new(Ring::<8, 1024>::new());
        let mut buf = [0; MAX_TEXT];
        assert_eq!(r.read(0, &mut buf), Err(Missing::NotYet));
        for i in 0..20 {
            r.push(meta(), format!("record {i}").as_bytes());
        }
        assert_eq!(r.read(0, &mut buf), Err(Missing::Lost(12)));
        for i in 12..20 {
            let m = r.read(i, &mut buf).unwrap();
            assert_eq!(&buf[..m.len as usize], format!("record {i}").as_bytes());
            assert_eq!((m.time, m.level, m.cpu), (7, 6, 1));
        }
        assert_eq!(r.read(20, &mut buf), Err(Missing::NotYet));
    }

    #[test]
    fn overwritten_text_is_lost_even_when_the_descriptor_is_there() {
        let r = Box::new(Ring::<8, 1024>::new());
        let mut buf = [0; MAX_TEXT];
        r.push(meta(), b"first");
        r.push(meta(), &[b'x'; 5000]);
        r.push(meta(), &[b'y'; 100]);
        assert_eq!(r.read(0, &mut buf), Err(Missing::Lost(1)));
        assert_eq!(r.read(1, &mut buf), Err(Missing::Lost(2)));
        assert_eq!(r.read(2, &mut buf).unwrap().len, 100);
    }

    #[test]
    fn a_reader_never_sees_torn_text() {
        let r: &'static Ring<64, 4096> = Box::leak(Box::new(Ring::new()));
        let writers: std::vec::Vec<_> = (0..3u8)
            .map(|w| {
                std::thread::spawn(move || {
                    for i in 0..20_000usize {
                        r.push(meta(), &[b'a' + w; 100][..1 + i % 100]);
                    }
                })
            })
            .collect();
        let (mut seq, mut seen) = (0, 0);
        let mut buf = [0; MAX_TEXT];
        while seq < 60_000 {
            match r.read(seq, &mut buf) {
                Ok(m) => {
                    let t = &buf[..m.len as usize];
                    assert!(t.iter().all(|b| *b == t[0]), "torn: {t:?}");
                    seq += 1;
                    seen += 1;
                }
                Err(Missing::Lost(at)) => seq = at,
                Err(Missing::NotYet) => std::thread::yield_now(),
            }
        }
        for w in writers {
            w.join().unwrap();
        }
        assert!(seen > 0);
    }
}
