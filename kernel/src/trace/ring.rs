//! The ring of one CPU's trace entries: one writer at a time, which overwrites the oldest, and readers that never delay it.
//!
//! A slot is 16 words. The first says which entry is in it (its number plus one; 0 while it is written), so a reader that copies
//! a slot and finds the same number before and after has an entry that nobody overwrote meanwhile:
//!
//! ```text
//!   writer                       reader
//!   number = 0                   number (Acquire)
//!   fence(Release)               words
//!   words                        fence(Acquire)
//!   number = n + 1 (Release)     number again: the same?
//! ```
//!
//! Text that is longer than a slot goes on in the slots behind it.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Words of a slot.
const WORDS: usize = 16;
/// Bytes of a slot.
pub const SLOT_SIZE: usize = WORDS * 8;
/// The first word of an entry's own bytes in its first slot.
const BODY: usize = 6;
/// Bytes of an entry in its first slot, and in each further one.
const FIRST: usize = (WORDS - BODY) * 8;
const FURTHER: usize = (WORDS - 1) * 8;
/// Most bytes of one entry.
pub const MAX_BODY: usize = 1024;
/// In a slot's first word: an entry goes on here.
const GOES_ON: u64 = 1 << 63;

/// A place for an entry.
#[derive(Debug)]
pub struct Slot([AtomicU64; WORDS]);

impl Slot {
    /// An empty one.
    pub const fn new() -> Slot {
        Slot([const { AtomicU64::new(0) }; WORDS])
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

/// What every entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Which event.
    pub id: u16,
    /// `FLAG_*` of the event's text.
    pub flags: u8,
    /// The low byte of the preempt count.
    pub preempt: u8,
    /// The number of the task that ran.
    pub pid: u32,
    /// Its name.
    pub comm: [u8; 16],
}

/// Why an entry is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// It is not written yet.
    NotYet,
    /// It was overwritten: the oldest that may still be there.
    Lost(u64),
    /// It is a part of the one before it: this is the next.
    Part(u64),
}

/// The ring of one CPU.
pub struct Ring<'a> {
    slots: &'a [Slot],
    /// Slots written so far.
    next: AtomicU64,
    /// Where readers begin: what is before was cleared, or consumed.
    start: AtomicU64,
    /// Entries written so far.
    entries: AtomicU64,
}

impl<'a> Ring<'a> {
    /// An empty ring over `slots`.
    pub const fn new(slots: &'a [Slot]) -> Ring<'a> {
        Ring { slots, next: AtomicU64::new(0), start: AtomicU64::new(0), entries: AtomicU64::new(0) }
    }

    fn slot(&self, n: u64) -> Option<&Slot> {
        self.slots.get((n % (self.slots.len() as u64).max(1)) as usize)
    }

    /// Its memory.
    pub fn slots(&self) -> &'a [Slot] {
        self.slots
    }

    /// How many entries were written so far.
    pub fn entries(&self) -> u64 {
        self.entries.load(Relaxed)
    }

    /// How many slots it has.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds an entry; of `body` the first [`MAX_BODY`] bytes. One writer at a time.
    pub fn write(&self, head: &Head, body: &[u8]) {
        let body = &body[..body.len().min(MAX_BODY)];
        let (first, mut rest) = body.split_at(body.len().min(FIRST));
        let mut n = self.next.load(Relaxed);
        let Some(slot) = self.slot(n) else { return };
        slot.0[0].store(0, Relaxed);
        fence(Release);
        let word = u64::from(head.pid) | u64::from(head.id) << 32 | u64::from(head.flags) << 48 | u64::from(head.preempt) << 56;
        let (comm, _) = head.comm.as_chunks::<8>();
        for (i, value) in
            [head.time, word, u64::from_le_bytes(comm[0]), u64::from_le_bytes(comm[1]), body.len() as u64].into_iter().enumerate()
        {
            slot.0[1 + i].store(value, Relaxed);
        }
        put(&slot.0[BODY..], first);
        slot.0[0].store(n + 1, Release);
        n += 1;
        while !rest.is_empty() {
            let (part, more) = rest.split_at(rest.len().min(FURTHER));
            let Some(slot) = self.slot(n) else { return };
            slot.0[0].store(0, Relaxed);
            fence(Release);
            put(&slot.0[1..], part);
            slot.0[0].store(n + 1 | GOES_ON, Release);
            n += 1;
            rest = more;
        }
        self.entries.store(self.entries.load(Relaxed).wrapping_add(1), Relaxed);
        self.next.store(n, Release);
    }

    /// Entry number `n`: its head and the length of its body, which goes to `body`; and the number of the next one.
    pub fn read(&self, n: u64, body: &mut [u8; MAX_BODY]) -> Result<(Head, usize, u64), Missing> {
        let next = self.next.load(Acquire);
        if n >= next {
            return Err(Missing::NotYet);
        }
        let lost = || Err(Missing::Lost(self.oldest().max(n + 1)));
        if n < self.oldest() {
            return lost();
        }
        let Some(slot) = self.slot(n) else { return Err(Missing::NotYet) };
        let number = slot.0[0].load(Acquire);
        if number == n + 1 | GOES_ON {
            return Err(Missing::Part(n + 1));
        }
        let mut words = [0; WORDS];
        for (to, from) in words.iter_mut().zip(&slot.0) {
            *to = from.load(Relaxed);
        }
        fence(Acquire);
        if number != n + 1 || slot.0[0].load(Relaxed) != number {
            return lost();
        }
        let length = (words[5] as usize).min(MAX_BODY);
        get(&words[BODY..], &mut body[..length.min(FIRST)]);
        let (mut at, mut n) = (length.min(FIRST), n + 1);
        while at < length {
            let Some(slot) = self.slot(n) else { return Err(Missing::NotYet) };
            let number = slot.0[0].load(Acquire);
            let mut words = [0; WORDS - 1];
            for (to, from) in words.iter_mut().zip(&slot.0[1..]) {
                *to = from.load(Relaxed);
            }
            fence(Acquire);
            if number != n + 1 | GOES_ON || slot.0[0].load(Relaxed) != number {
                return lost();
            }
            let end = length.min(at + FURTHER);
            get(&words, &mut body[at..end]);
            (at, n) = (end, n + 1);
        }
        let mut comm = [0; 16];
        comm[..8].copy_from_slice(&words[3].to_le_bytes());
        comm[8..].copy_from_slice(&words[4].to_le_bytes());
        let head = Head {
            time: words[1],
            pid: words[2] as u32,
            id: (words[2] >> 32) as u16,
            flags: (words[2] >> 48) as u8,
            preempt: (words[2] >> 56) as u8,
            comm,
        };
        Ok((head, length, n))
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.next.load(Acquire)
    }

    /// The oldest number that may still be there, read or not.
    pub fn oldest(&self) -> u64 {
        self.next.load(Acquire).saturating_sub(self.slots.len() as u64)
    }

    /// Where a reader begins.
    pub fn start(&self) -> u64 {
        self.start.load(Relaxed).max(self.oldest())
    }

    /// Slots that were overwritten before anybody consumed them.
    pub fn overrun(&self) -> u64 {
        self.oldest().saturating_sub(self.start.load(Relaxed))
    }

    /// Everything before `n` is gone for readers: consumed, or cleared.
    pub fn consume_to(&self, n: u64) {
        self.start.fetch_max(n, Relaxed);
    }

    /// Everything is.
    pub fn clear(&self) {
        self.start.store(self.next(), Relaxed);
    }

    /// How many slots were read and taken out, or cleared.
    pub fn consumed(&self) -> u64 {
        self.start.load(Relaxed)
    }

    /// How many slots readers can read.
    pub fn readable(&self) -> u64 {
        self.next().saturating_sub(self.start())
    }
}

fn put(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(value), Relaxed);
    }
}

fn get(words: &[u64], bytes: &mut [u8]) {
    for (chunk, word) in bytes.chunks_mut(8).zip(words) {
        let length = chunk.len();
        chunk.copy_from_slice(&word.to_le_bytes()[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn head(time: u64) -> Head {
        Head { time, id: 264, flags: 1, preempt: 2, pid: 7, comm: *b"busybox\0\0\0\0\0\0\0\0\0" }
    }

    fn slots(n: usize) -> Vec<Slot> {
        (0..n).map(|_| Slot::new()).collect()
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        let slots = slots(8);
        let ring = Ring::new(&slots);
        let mut body = [0; MAX_BODY];
        assert_eq!(ring.read(0, &mut body), Err(Missing::NotYet));
        let text: Vec<u8> = (0..=255).collect();
        ring.write(&head(5), b"short");
        ring.write(&head(6), &text);
        let (h, n, next) = ring.read(0, &mut body).unwrap();
        assert_eq!((h, &body[..n], next), (head(5), &b"short"[..], 1));
        let (h, n, next) = ring.read(1, &mut body).unwrap();
        assert_eq!((h.time, &body[..n], next), (6, &text[..], 4));
        assert_eq!(ring.read(2, &mut body), Err(Missing::Part(3)));
        assert_eq!(ring.read(4, &mut body), Err(Missing::NotYet));
        assert_eq!(ring.readable(), 4);
    }

    #[test]
    fn the_oldest_are_overwritten_and_counted() {
        let slots = slots(4);
        let ring = Ring::new(&slots);
        let mut body = [0; MAX_BODY];
        for t in 0..10 {
            ring.write(&head(t), b"");
        }
        assert_eq!(ring.read(3, &mut body), Err(Missing::Lost(6)));
        assert_eq!(ring.start(), 6);
        assert_eq!(ring.overrun(), 6);
        assert_eq!(ring.read(6, &mut body).unwrap().0.time, 6);
        ring.consume_to(7);
        assert_eq!(ring.start(), 7);
        ring.clear();
        assert_eq!(ring.readable(), 0);
    }

    #[test]
    fn readers_beside_a_writer_see_whole_entries() {
        let slots = slots(16);
        let ring = Ring::new(&slots);
        std::thread::scope(|s| {
            s.spawn(|| {
                for t in 0..20_000u64 {
                    let text: Vec<u8> = std::iter::repeat_n(t as u8, (t % 200) as usize).collect();
                    ring.write(&Head { pid: t as u32, ..head(t) }, &text);
                }
            });
            s.spawn(|| {
                let (mut n, mut last, mut body) = (0, 0, [0; MAX_BODY]);
                while last < 19_999 {
                    match ring.read(n, &mut body) {
                        Ok((h, length, next)) => {
                            assert_eq!((u64::from(h.pid), length as u64), (h.time, h.time % 200));
                            assert!(body[..length].iter().all(|b| *b == h.time as u8));
                            (n, last) = (next, h.time);
                        }
                        Err(Missing::NotYet) => std::thread::yield_now(),
                        Err(Missing::Lost(next) | Missing::Part(next)) => n = next,
                    }
                }
            });
        });
    }
}
