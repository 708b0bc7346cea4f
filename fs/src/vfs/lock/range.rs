//! The record locks of one file (Linux: posix_lock_inode): a list in which each owner's locks stand together, ascending, do
//! not overlap, and are merged where they touch and are of one kind.

use super::{Kind, Owner};
use vigil_mem::{AllocError, KVec};

/// One record lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Who holds it.
    pub owner: Owner,
    /// The process that set it, for F_GETLK; −1 for an OFD lock.
    pub pid: i32,
    /// Shared or exclusive.
    pub kind: Kind,
    /// First byte.
    pub start: u64,
    /// Last byte; `i64::MAX` for "to the end of the file, wherever it is".
    pub end: u64,
}

impl Record {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    /// Overlaps or stands side by side.
    fn touches(&self, other: &Record) -> bool {
        self.overlaps(other.start.saturating_sub(1), other.end + 1)
    }
}

/// The record locks of one file.
#[derive(Default)]
pub struct RecordList(KVec<Record>);

impl RecordList {
    /// The first lock that keeps `wanted` from being set.
    pub fn conflict(&self, wanted: &Record) -> Option<Record> {
        let hinders =
            |held: &&Record| held.owner != wanted.owner && held.overlaps(wanted.start, wanted.end) && held.kind.conflicts(wanted.kind);
        self.0.iter().find(hinders).copied()
    }

    /// Sets `wanted`, which conflicts with nobody: it replaces what its owner holds in its range. True: something became
    /// weaker. On failure nothing changed.
    pub fn set(&mut self, wanted: &Record) -> Result<bool, AllocError> {
        let mut merged = *wanted;
        let mut weaker = false;
        let mut new = self.without(wanted.owner, wanted.start, wanted.end, |held| {
            if held.kind != wanted.kind {
                weaker |= held.kind == Kind::Write && held.overlaps(wanted.start, wanted.end);
                return false;
            }
            let joins = held.touches(wanted);
            if joins {
                merged.start = merged.start.min(held.start);
                merged.end = merged.end.max(held.end);
            }
            joins
        })?;
        // In its owner's group, by start; behind all others if the owner is new here.
        let group = self.0.iter().position(|held| held.owner == wanted.owner);
        let after = |held: &Record| held.owner != wanted.owner || held.start > merged.start;
        let at = group.map_or(new.len(), |first| first + new.iter().skip(first).position(after).unwrap_or(new.len() - first));
        new.try_insert(at, merged)?;
        self.0 = new;
        Ok(weaker)
    }

    /// Unlocks a range of `owner`. True: it held something there. On failure (a lock in the middle of which nothing is to be
    /// locked becomes two) nothing changed.
    pub fn clear(&mut self, owner: Owner, start: u64, end: u64) -> Result<bool, AllocError> {
        if !self.0.iter().any(|held| held.owner == owner && held.overlaps(start, end)) {
            return Ok(false);
        }
        self.0 = self.without(owner, start, end, |_| false)?;
        Ok(true)
    }

    /// Removes all locks of `owner`. True: there were some.
    pub fn remove(&mut self, owner: Owner) -> bool {
        let before = self.0.len();
        self.0.retain(|held| held.owner != owner);
        self.0.len() < before
    }

    /// A copy, with room for one more, in which nothing of `owner` is in `start..=end`, and without the locks of `owner`
    /// that `joins` takes.
    fn without(&self, owner: Owner, start: u64, end: u64, mut joins: impl FnMut(&Record) -> bool) -> Result<KVec<Record>, AllocError> {
        let mut new = KVec::try_with_capacity(self.0.len() + 2)?;
        for held in &self.0 {
            if held.owner != owner || (!joins(held) && !held.overlaps(start, end)) {
                new.try_push(*held)?;
                continue;
            }
            if !held.overlaps(start, end) || joins(held) {
                continue;
            }
            if held.start < start {
                new.try_push(Record { end: start - 1, ..*held })?;
            }
            if held.end > end {
                new.try_push(Record { start: end + 1, ..*held })?;
            }
        }
        Ok(new)
    }

    /// The locks, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    const END: u64 = i64::MAX as u64;
    const A: Owner = Owner::Table(1);
    const B: Owner = Owner::File(2);

    fn record(owner: Owner, kind: Kind, start: u64, end: u64) -> Record {
        Record { owner, pid: 1, kind, start, end }
    }

    fn shown(list: &RecordList) -> String {
        let one = |r: &Record| {
            let kind = if r.kind == Kind::Read { 'r' } else { 'w' };
            std::format!("{}{kind}{}-{}", if r.owner == A { 'A' } else { 'B' }, r.start, if r.end == END { -1 } else { r.end as i64 })
        };
        list.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ranges_split_merge_and_give_way() {
        vigil_mem::host::start();
        let mut list = RecordList::default();
        let mut set = |owner, kind, start, end| {
            let weaker = list.set(&record(owner, kind, start, end)).unwrap();
            std::format!("{} {weaker}", shown(&list))
        };
        assert_eq!(set(A, Kind::Read, 0, 9), "Ar0-9 false");
        assert_eq!(set(A, Kind::Write, 3, 5), "Ar0-2 Aw3-5 Ar6-9 false", "the middle becomes exclusive");
        assert_eq!(set(B, Kind::Read, 20, END), "Ar0-2 Aw3-5 Ar6-9 Br20--1 false");
        assert_eq!(set(A, Kind::Read, 10, 12), "Ar0-2 Aw3-5 Ar6-12 Br20--1 false", "side by side is one");
        assert_eq!(set(A, Kind::Read, 2, 7), "Ar0-12 Br20--1 true", "weaker in the middle, and all one again");
        assert_eq!(set(A, Kind::Read, 15, 16), "Ar0-12 Ar15-16 Br20--1 false");
        assert_eq!(set(A, Kind::Write, 13, END), "Ar0-12 Aw13--1 Br20--1 false");
        assert_eq!(list.clear(A, 5, 20), Ok(true));
        assert_eq!(shown(&list), "Ar0-4 Aw21--1 Br20--1");
        assert_eq!(list.clear(A, 5, 20), Ok(false));
        assert!(list.remove(A) && !list.remove(A));
        assert_eq!(shown(&list), "Br20--1");
    }

    #[test]
    fn conflicts_are_between_owners_only() {
        vigil_mem::host::start();
        let mut list = RecordList::default();
        list.set(&record(A, Kind::Read, 0, 9)).unwrap();
        list.set(&record(A, Kind::Write, 10, 19)).unwrap();
        let conflict = |owner, kind, start, end| list.conflict(&record(owner, kind, start, end)).map(|r| (r.start, r.end));
        assert_eq!(conflict(A, Kind::Write, 0, END), None);
        assert_eq!(conflict(B, Kind::Read, 0, 9), None);
        assert_eq!(conflict(B, Kind::Write, 0, 9), Some((0, 9)));
        assert_eq!(conflict(B, Kind::Read, 9, 10), Some((10, 19)));
        assert_eq!(conflict(B, Kind::Write, 20, END), None);
    }
}
