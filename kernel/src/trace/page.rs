//! Entries as Linux's ring buffer has them in a page, which is what `trace_pipe_raw` gives and `trace-cmd record` stores
//! (`events/header_page`, `events/header_event`).
//!
//! A page begins with the time of its first entry and the bytes that follow. An entry begins with a word: 5 bits of its length in words, 27
//! of the nanoseconds since the one before. A longer time has an entry of its own.

use super::event::MARK;
use super::ring::Head;

/// Bytes of a page, and of what precedes its entries.
pub const PAGE: usize = 4096;
const HEADER: usize = 16;
/// What precedes an event's own fields: type, flags, preempt count, number of the task.
const COMMON: usize = 8;

/// The longest length that fits into an entry's first word, in words.
const LONGEST: usize = 28;
/// The first word's low bits of an entry that only says how much time has passed.
const TIME_EXTEND: u32 = 30;
const TIME_BITS: u32 = 27;
/// Beside the number of bytes: entries before these were lost.
const LOST: u64 = 1 << 31;

/// `events/header_page`.
pub const HEADER_PAGE: &str = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n";
/// `events/header_event`.
pub const HEADER_EVENT: &str = "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n\
    \tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n";

/// A page that fills.
pub struct Page {
    bytes: [u8; PAGE],
    length: usize,
    /// Of the last entry.
    time: u64,
    /// Entries before its first one were lost.
    lost: bool,
}

impl Page {
    /// An empty one.
    pub const fn new() -> Page {
        Page { bytes: [0; PAGE], length: HEADER, time: 0, lost: false }
    }

    /// Entries were overwritten before they were read: the page says so.
    pub fn set_lost(&mut self) {
        self.lost = true;
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.length == HEADER
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8; PAGE] {
        &self.bytes
    }

    fn put(&mut self, bytes: &[u8]) {
        let to = &mut self.bytes[self.length..];
        let n = bytes.len().min(to.len());
        to[..n].copy_from_slice(&bytes[..n]);
        self.length += n;
    }

    fn word(&mut self, word: u32) {
        self.put(&word.to_le_bytes());
    }

    /// Adds an entry; false, and nothing is changed, if it has no room.
    pub fn add(&mut self, head: &Head, body: &[u8]) -> bool {
        // What user space writes has the place of its writer before it, and an end.
        let (before, after) = if head.id == MARK { (8, 1) } else { (0, 0) };
        let words = (COMMON + before + body.len() + after).div_ceil(4);
        let delta = if self.is_empty() { 0 } else { head.time.saturating_sub(self.time) };
        let extends = delta >> TIME_BITS != 0;
        let long = words > LONGEST;
        let needed = 4 * (1 + words + usize::from(long)) + if extends { 8 } else { 0 };
        if self.length + needed > PAGE {
            return false;
        }
        if self.is_empty() {
            self.bytes[..8].copy_from_slice(&head.time.to_le_bytes());
        }
        self.time = head.time;
        let low = |time: u64, kind: u32| (time as u32 & ((1 << TIME_BITS) - 1)) << 5 | kind;
        if extends {
            self.word(low(delta, TIME_EXTEND));
            self.word((delta >> TIME_BITS) as u32);
        }
        let delta = if extends { 0 } else { delta };
        if long {
            // The length in bytes, its own word included.
            self.word(low(delta, 0));
            self.word((words as u32 + 1) * 4);
        } else {
            self.word(low(delta, words as u32));
        }
        let end = self.length + 4 * words;
        self.put(&head.id.to_le_bytes());
        self.put(&[head.flags, head.preempt]);
        self.put(&head.pid.to_le_bytes());
        self.put(&[0; 8][..before]);
        self.put(body);
        // The rest of the last word is 0 already.
        self.length = end;
        let committed = (self.length - HEADER) as u64 | if self.lost { LOST } else { 0 };
        self.bytes[8..16].copy_from_slice(&committed.to_le_bytes());
        true
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(page: &Page, at: usize) -> u32 {
        u32::from_le_bytes(page.bytes()[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn entries_follow_each_other_with_the_time_between_them() {
        let mut page = Page::new();
        let head = |time| Head { time, id: 264, flags: 1, preempt: 2, pid: 7, comm: [0; 16] };
        assert!(page.add(&head(1_000_000), &[9; 10]) && page.add(&head(1_000_005), &[8; 4]));
        assert_eq!(u64::from_le_bytes(page.bytes()[..8].try_into().unwrap()), 1_000_000);
        assert_eq!(word(&page, 8), 4 * (1 + 5) + 4 * (1 + 3));
        // 18 bytes are five words.
        assert_eq!((word(&page, 16), word(&page, 20), word(&page, 24)), (5, 264 | 1 << 16 | 2 << 24, 7));
        assert_eq!(word(&page, 40), 5 << 5 | 3);
    }

    #[test]
    fn a_long_time_and_a_long_entry_have_words_of_their_own() {
        let mut page = Page::new();
        let head = |time| Head { time, id: 1, ..Head::default() };
        page.add(&head(1), &[]);
        let late = (3 << TIME_BITS) + 5;
        page.add(&head(1 + late), &[7; 200]);
        assert_eq!((word(&page, 28), word(&page, 32)), (5 << 5 | TIME_EXTEND, 3));
        assert_eq!((word(&page, 36), word(&page, 40)), (0, 208 + 4));
    }

    #[test]
    fn what_has_no_room_is_left_for_the_next_page() {
        let mut page = Page::new();
        let mut n = 0;
        while page.add(&Head::default(), &[1; 32]) {
            n += 1;
        }
        assert_eq!(n, (PAGE - HEADER) / 44);
        assert!(u64::from(word(&page, 8)) <= (PAGE - HEADER) as u64);
        let mut next = Page::new();
        next.set_lost();
        assert!(next.is_empty() && next.add(&Head::default(), &[1; 32]) && u64::from(word(&next, 8)) == LOST | 44);
    }
}
