//! An ordered array in chunks: as many items as there are, and no operation that moves more than a chunk of them, and the pointers
//! to chunks, which are moved when a chunk comes or goes. Who changes it holds a spin lock: nothing here takes long.

use vigil_mem::{AllocError, KVec};

/// Items in a full chunk.
const CHUNK: usize = 128;

/// The place of an item: valid until the next change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    chunk: usize,
    slot: usize,
}

/// The items, in the order that whoever inserts keeps. No chunk is empty.
pub struct Chunks<T> {
    chunks: KVec<KVec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks::new()
    }
}

impl<T> Chunks<T> {
    /// None.
    pub const fn new() -> Chunks<T> {
        Chunks { chunks: KVec::new(), len: 0 }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The place of the first item that is not `before`, by binary search; the end if all are.
    pub fn find(&self, before: impl Fn(&T) -> bool) -> Place {
        let chunk = self.chunks.partition_point(|c| c.last().is_some_and(&before));
        Place { chunk, slot: self.chunks.get(chunk).map_or(0, |c| c.partition_point(&before)) }
    }

    /// The item there; `None` at the end.
    pub fn get(&self, at: Place) -> Option<&T> {
        self.chunks.get(at.chunk)?.get(at.slot)
    }

    /// As [`get`](Self::get), to change it in a way that keeps the order.
    pub fn get_mut(&mut self, at: Place) -> Option<&mut T> {
        self.chunks.get_mut(at.chunk)?.get_mut(at.slot)
    }

    /// The last item.
    pub fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// The place after `at`, which holds an item.
    pub fn after(&self, at: Place) -> Place {
        match self.chunks.get(at.chunk) {
            Some(chunk) if at.slot + 1 < chunk.len() => Place { slot: at.slot + 1, ..at },
            _ => Place { chunk: at.chunk + 1, slot: 0 },
        }
    }

    /// The place before `at`.
    pub fn before(&self, at: Place) -> Option<Place> {
        if at.slot > 0 {
            return Some(Place { slot: at.slot - 1, ..at });
        }
        let chunk = at.chunk.checked_sub(1)?;
        Some(Place { chunk, slot: self.chunks.get(chunk)?.len().checked_sub(1)? })
    }

    /// Inserts `item` at `at`, before what is there. Without memory nothing has changed.
    pub fn insert(&mut self, at: Place, item: T) -> Result<(), AllocError> {
        // The end of all is the end of the last chunk.
        let Place { mut chunk, mut slot } = match self.chunks.len().checked_sub(1) {
            Some(last) if at.chunk > last => Place { chunk: last, slot: self.chunks[last].len() },
            _ => at,
        };
        if self.chunks.get(chunk).is_none_or(|c| c.len() >= CHUNK) {
            // What is appended goes to a chunk of its own, so that those before it stay full.
            let keep = if slot == CHUNK { CHUNK } else { CHUNK / 2 };
            let mut new = KVec::try_with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK })?;
            let to = self.chunks.len().min(chunk + 1);
            self.chunks.try_reserve(1)?;
            if let Some(full) = self.chunks.get_mut(chunk) {
                new.try_extend(full.drain(keep..))?;
            }
            self.chunks.try_insert(to, new)?;
            if to > chunk && slot >= keep {
                (chunk, slot) = (to, slot - keep);
            }
        }
        let into = self.chunks.get_mut(chunk).ok_or(AllocError)?;
        let result = into.try_insert(slot, item);
        if into.is_empty() {
            self.chunks.remove(chunk);
        }
        self.len += usize::from(result.is_ok());
        result
    }

    /// Removes the item there.
    pub fn remove(&mut self, at: Place) -> Option<T> {
        let chunk = self.chunks.get_mut(at.chunk)?;
        let item = chunk.remove(at.slot)?;
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(at.chunk);
        } else {
            self.merge(at.chunk);
            if let Some(left) = at.chunk.checked_sub(1) {
                self.merge(left);
            }
        }
        Some(item)
    }

    /// Moves the chunk after `first` into it when both fill half a chunk. If there is no memory for that, they stay.
    fn merge(&mut self, first: usize) {
        let len = |n: usize| self.chunks.get(n).map(|c| c.len());
        let (Some(a), Some(b)) = (len(first), len(first + 1)) else { return };
        if a + b > CHUNK / 2 || self.chunks[first].try_reserve(b).is_err() {
            return;
        }
        if let Some(second) = self.chunks.remove(first + 1) {
            // There is room: this cannot fail.
            let _ = self.chunks[first].try_extend(second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_array(ops in proptest::collection::vec((0u8..5, 0u32..300), 1..1500)) {
            let (mut ours, mut model) = (Chunks::new(), std::vec::Vec::new());
            for (op, n) in ops {
                let at = ours.find(|item| *item < n);
                let place = model.partition_point(|item| *item < n);
                if op < 2 {
                    let there = model.get(place) == Some(&n);
                    prop_assert_eq!(ours.get(at) == Some(&n), there);
                    if there {
                        prop_assert_eq!(ours.remove(at), Some(model.remove(place)));
                    }
                } else {
                    ours.insert(at, n).unwrap();
                    model.insert(place, n);
                }
                prop_assert!(ours.chunks.iter().all(|c| !c.is_empty() && c.len() <= CHUNK));
            }
            prop_assert_eq!(ours.len(), model.len());
            prop_assert_eq!(ours.last(), model.last());
            let mut at = ours.find(|_| false);
            for item in &model {
                prop_assert_eq!(ours.get(at), Some(item));
                at = ours.after(at);
            }
            prop_assert_eq!(ours.get(at), None);
            for item in model.iter().rev() {
                at = ours.before(at).unwrap();
                prop_assert_eq!(ours.get(at), Some(item));
            }
            prop_assert_eq!(ours.before(at), None);
        }
    }

    #[test]
    fn no_chunk_is_left_sparse() {
        let mut all = Chunks::new();
        for n in 0..10_000u32 {
            let end = all.find(|_| true);
            all.insert(end, n).unwrap();
        }
        assert_eq!(all.chunks.len(), 10_000usize.div_ceil(CHUNK));
        for n in (0..10_000).filter(|n| n % 100 != 0) {
            let at = all.find(|item| *item < n);
            assert_eq!(all.remove(at), Some(n));
        }
        assert_eq!(all.len(), 100);
        assert!(all.chunks.len() <= 100usize.div_ceil(CHUNK / 4), "{} chunks", all.chunks.len());
    }
}
