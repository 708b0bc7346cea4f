//! Reading: a line, or whatever is there.

use super::{DISABLED, NTty, SIZE};

/// What a read found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::tty) struct ReadOutcome {
    /// Bytes to copy, from the tail on.
    pub(in crate::tty) copy: usize,
    /// Bytes to drop: one more than `copy` when an end-of-file mark follows.
    pub(in crate::tty) drop: usize,
}

impl NTty {
    /// What a read of at most `max` bytes (not 0) takes: in canonical mode the first line or the start of it, an
    /// end-of-file mark with the bytes before it even when these fill the buffer; otherwise what is there. `None`:
    /// nothing.
    pub(in crate::tty) fn plan_read(&self, max: usize) -> Option<ReadOutcome> {
        if !self.canonical() {
            let n = self.count().min(max);
            return (n != 0).then_some(ReadOutcome { copy: n, drop: n });
        }
        let line = self.canon_head.wrapping_sub(self.tail);
        if line == 0 {
            return None;
        }
        let look = line.min(max.saturating_add(1));
        let end = (0..look).find(|&i| self.marks.get(self.tail.wrapping_add(i)));
        Some(match end {
            Some(i) if self.at(self.tail.wrapping_add(i)) == DISABLED => ReadOutcome { copy: i, drop: i + 1 },
            Some(i) => ReadOutcome { copy: (i + 1).min(max), drop: (i + 1).min(max) },
            None => ReadOutcome { copy: look.min(max), drop: look.min(max) },
        })
    }

    /// The bytes at offset `at` from the tail, at most `max`, that lie in one piece.
    pub(in crate::tty) fn piece(&self, at: usize, max: usize) -> &[u8] {
        let start = self.tail.wrapping_add(at) % SIZE;
        &self.buf[start..(start + max).min(SIZE)]
    }

    /// Drops `n` bytes from the tail.
    pub(in crate::tty) fn consume(&mut self, n: usize) {
        for _ in 0..n.min(self.count()) {
            self.marks.clear(self.tail);
            self.tail = self.tail.wrapping_add(1);
        }
        if !self.canonical() {
            self.canon_head = self.tail;
        }
    }
}
