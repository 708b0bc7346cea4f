//! The numbers of System V objects: an index into a table, and above it a sequence, so that a number that was given back does
//! not mean another object at once (Linux: ipc/util.c, `ipc_idr_alloc`). Pure.

use vigil_mem::{AllocError, KVec};

/// Bits of the index.
const INDEX_BITS: u32 = 15;
/// Indices that there are.
pub const MAX_OBJECTS: usize = 1 << INDEX_BITS;
/// Sequences before they begin again.
const MAX_SEQUENCE: u32 = 1 << 16;
/// Indices are used in turn, at least so many of them.
const LEAST_CYCLE: usize = 64;

/// What is at each index.
pub struct Slots<T> {
    slots: KVec<Option<T>>,
    in_use: usize,
    /// The index that was given last, and one more than that.
    last: Option<usize>,
    sequence: u32,
}

/// The index in a number.
pub fn index_of(id: i32) -> usize {
    id as usize & (MAX_OBJECTS - 1)
}

impl<T> Slots<T> {
    /// Nothing.
    pub const fn new() -> Slots<T> {
        Slots { slots: KVec::new(), in_use: 0, last: None, sequence: 0 }
    }

    /// How many objects there are.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// The highest index in use.
    pub fn highest(&self) -> Option<usize> {
        self.slots.iter().rposition(Option::is_some)
    }

    /// What is at `index`.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.as_ref()
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    /// Enters what `make` makes for the number that it is given. `Ok(None)`: all indices are taken. ENOMEM.
    pub fn add(&mut self, make: impl FnOnce(i32) -> T) -> Result<Option<i32>, AllocError> {
        let cycle = (self.in_use * 3 / 2).clamp(LEAST_CYCLE, MAX_OBJECTS);
        let start = self.last.map_or(0, |last| last + 1);
        let is_free = |index: &usize| self.slots.get(*index).is_none_or(Option::is_none);
        let Some(index) = (start..cycle).find(is_free).or_else(|| (0..cycle.min(start)).find(is_free)) else { return Ok(None) };
        while self.slots.len() <= index {
            self.slots.try_push(None)?;
        }
        if self.last.is_some_and(|last| index <= last) {
            self.sequence = (self.sequence + 1) % MAX_SEQUENCE;
        }
        self.last = Some(index);
        let id = (self.sequence << INDEX_BITS) as i32 | index as i32;
        self.slots[index] = Some(make(id));
        self.in_use += 1;
        Ok(Some(id))
    }

    /// Takes out what is at `index`.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let gone = self.slots.get_mut(index)?.take()?;
        self.in_use -= 1;
        Some(gone)
    }

    /// The memory of an empty table.
    pub fn take_memory(&mut self) -> KVec<Option<T>> {
        if self.in_use == 0 { core::mem::take(&mut self.slots) } else { KVec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_again_late() {
        let mut slots = Slots::new();
        let add = |slots: &mut Slots<i32>| slots.add(|id| id).unwrap().unwrap();
        // One object at a time: the indices are used in turn, and the second object at one has another number.
        for expected in (0..64).chain([1 << 15, 1 << 15 | 1]) {
            assert_eq!(add(&mut slots), expected);
            assert_eq!(slots.remove(index_of(expected)), Some(expected));
        }
        // With more in use the cycle is longer: half as many again.
        for expected in 2..80 {
            assert_eq!(add(&mut slots), 1 << 15 | expected);
        }
        assert_eq!((slots.in_use(), slots.highest()), (78, Some(79)));
        assert_eq!(slots.get(79), Some(&(1 << 15 | 79)));
        assert_eq!(slots.iter().count(), 78);
    }

    #[test]
    fn a_table_gives_its_memory_back_when_it_is_empty() {
        let mut slots = Slots::new();
        let id = slots.add(|id| id).unwrap().unwrap();
        assert_eq!(slots.take_memory().len(), 0, "an object is there");
        assert_eq!(slots.remove(index_of(id)), Some(id));
        assert_eq!((slots.take_memory().len(), slots.in_use()), (1, 0));
    }
}
