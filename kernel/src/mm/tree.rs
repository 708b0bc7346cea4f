//! The ordered set of an address space's VMAs.
//!
//! A B+ tree of two levels: leaves of up to [`LEAF`] VMAs, by value, and one array of leaves. A process of usual size has
//! one leaf, so a look-up is a binary search over a few cache lines and fork copies one block. With the most VMAs that
//! there may be (65 530) the array of leaves has some thousand entries, and an insertion moves at most those.
//!
//! A full leaf gives some of its VMAs to a neighbour that has room. When none has, it is split where the newcomer goes, not
//! in the middle: mappings come one below the other, so what is above the newcomer is done, and stays in a leaf that is
//! nearly full. A leaf that loses many is joined with a neighbour, so that thousands of threads that come and go in any
//! order leave no leaves with a few VMAs each: a leaf is 2 KiB.
//!
//! Insertion cannot fail after [`VmaTree::reserve`]: an operation reserves before it changes anything, and need not
//! be undone half-way.

use super::vma::Vma;
use vigil_mem::{AllocError, KVec};

/// VMAs in a full leaf.
const LEAF: usize = 32;
/// Room that a neighbour must have for a full leaf to give it some of its own: less would be used up soon.
const ROOM: usize = LEAF / 8;
/// VMAs that two neighbours may have together to be joined. The rest of a leaf is left, so that the next insertion does not
/// split what the last removal joined.
const JOINED: usize = LEAF - LEAF / 4;
/// Insertions that one reservation covers: a split at either end of a range, and a new mapping between.
const RESERVE: usize = 3;

/// The place of a VMA: valid until the next insertion or removal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pos {
    leaf: usize,
    slot: usize,
}

impl Pos {
    /// As one word, for a hint that is kept without the tree's lock.
    pub fn pack(self) -> usize {
        (self.leaf << 8) | self.slot
    }

    /// The inverse of [`Pos::pack`]. May name no VMA, or another one than then: the caller checks what it gets.
    pub fn unpack(word: usize) -> Pos {
        Pos { leaf: word >> 8, slot: word & 0xff }
    }
}

/// VMAs by ascending address, disjoint.
#[derive(Default)]
pub struct VmaTree {
    leaves: KVec<KVec<Vma>>,
    spare: KVec<KVec<Vma>>,
    count: usize,
}

impl VmaTree {
    /// An empty set; allocates nothing.
    pub fn new() -> VmaTree {
        VmaTree::default()
    }

    /// How many VMAs there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Makes the next [`RESERVE`] insertions infallible.
    pub fn reserve(&mut self) -> Result<(), AllocError> {
        if self.leaves.len() == 1 && self.count + RESERVE <= LEAF {
            return Ok(());
        }
        self.leaves.try_reserve(RESERVE + 1)?;
        self.spare.try_reserve(RESERVE)?;
        let wanted = if self.leaves.is_empty() { 1 } else { RESERVE };
        while self.spare.len() < wanted {
            self.spare.try_push(KVec::try_with_capacity(LEAF)?)?;
        }
        Ok(())
    }

    /// The first VMA that ends above `addr`: the one that holds it, or the next one.
    #[inline]
    pub fn find(&self, addr: usize) -> Option<Pos> {
        let leaf = match self.leaves.len() {
            0 => return None,
            1 => 0,
            _ => self.leaves.partition_point(|l| l.last().is_none_or(|v| v.end <= addr)),
        };
        let vmas = self.leaves.get(leaf)?;
        let slot = vmas.partition_point(|v| v.end <= addr);
        (slot < vmas.len()).then_some(Pos { leaf, slot })
    }

    /// The VMA at `pos`, if there still is one.
    #[inline(always)]
    pub fn get(&self, pos: Pos) -> Option<&Vma> {
        self.leaves.get(pos.leaf)?.get(pos.slot)
    }

    /// The VMA at `pos`. Whoever changes its ends keeps the order.
    #[inline(always)]
    pub fn get_mut(&mut self, pos: Pos) -> Option<&mut Vma> {
        self.leaves.get_mut(pos.leaf)?.get_mut(pos.slot)
    }

    /// The VMA that holds `addr`.
    #[inline]
    pub fn at(&self, addr: usize) -> Option<&Vma> {
        self.find(addr).and_then(|p| self.get(p)).filter(|v| v.start <= addr)
    }

    /// The first VMA that overlaps `[start, end)`.
    pub fn first_in(&self, start: usize, end: usize) -> Option<Pos> {
        self.find(start).filter(|p| self.get(*p).is_some_and(|v| v.start < end))
    }

    /// The place after `pos`.
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        if pos.slot + 1 < self.leaves.get(pos.leaf)?.len() {
            return Some(Pos { leaf: pos.leaf, slot: pos.slot + 1 });
        }
        (pos.leaf + 1 < self.leaves.len()).then_some(Pos { leaf: pos.leaf + 1, slot: 0 })
    }

    /// The place before `pos`.
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        if pos.slot > 0 {
            return Some(Pos { leaf: pos.leaf, slot: pos.slot - 1 });
        }
        let leaf = pos.leaf.checked_sub(1)?;
        Some(Pos { leaf, slot: self.leaves.get(leaf)?.len().checked_sub(1)? })
    }

    /// The last VMA that begins below `addr` and ends at or below it.
    pub fn before(&self, addr: usize) -> Option<Pos> {
        match self.find(addr) {
            Some(p) if self.get(p).is_some_and(|v| v.start < addr) => Some(p),
            Some(p) => self.prev(p),
            None => self.last(),
        }
    }

    /// The highest VMA.
    pub fn last(&self) -> Option<Pos> {
        let leaf = self.leaves.len().checked_sub(1)?;
        Some(Pos { leaf, slot: self.leaves[leaf].len().checked_sub(1)? })
    }

    /// The lowest VMA.
    pub fn first(&self) -> Option<Pos> {
        (!self.leaves.is_empty()).then_some(Pos { leaf: 0, slot: 0 })
    }

    /// All VMAs by ascending address.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.leaves.iter().flat_map(|l| l.iter())
    }

    /// All VMAs that overlap `[start, end)`.
    pub fn range(&self, start: usize, end: usize) -> impl Iterator<Item = &Vma> {
        let mut pos = self.first_in(start, end);
        core::iter::from_fn(move || {
            let v = self.get(pos?).filter(|v| v.start < end)?;
            pos = pos.and_then(|p| self.next(p));
            Some(v)
        })
    }

    /// Adds `vma`, which overlaps none. Gives it back when there is no room: never after [`Self::reserve`].
    pub fn insert(&mut self, vma: Vma) -> Result<(), Vma> {
        let (mut leaf, mut slot) = match self.find(vma.start) {
            Some(p) => (p.leaf, p.slot),
            None => match self.leaves.len() {
                0 => (0, 0),
                n => (n - 1, self.leaves[n - 1].len()),
            },
        };
        if self.leaves.is_empty() {
            let Some(fresh) = self.spare.pop() else { return Err(vma) };
            if let Err(back) = self.leaves.push_reserved(fresh) {
                drop(back);
                return Err(vma);
            }
        }
        let mut full = self.leaves[leaf].len() == LEAF;
        if full {
            (leaf, slot) = self.make_room(leaf, slot);
            full = self.leaves[leaf].len() == LEAF;
        }
        if full {
            let Some(mut upper) = self.spare.pop() else { return Err(vma) };
            let at = if slot == LEAF && leaf + 1 == self.leaves.len() { LEAF } else { slot.clamp(LEAF / 8, LEAF - LEAF / 8) };
            for v in self.leaves[leaf].drain(at..) {
                // `upper` has room for a whole leaf.
                let _ = upper.push_reserved(v);
            }
            // Room for it was reserved together with the spare leaf.
            if self.leaves.try_insert(leaf + 1, upper).is_err() {
                return Err(vma);
            }
            if slot > at || at == LEAF {
                leaf += 1;
                slot -= at;
            }
        }
        let leaf = &mut self.leaves[leaf];
        // A leaf has the capacity of a full one from the start, so this does not allocate.
        if leaf.len() == leaf.capacity() {
            return Err(vma);
        }
        if leaf.try_insert(slot, vma).is_ok() {
            self.count += 1;
        }
        Ok(())
    }

    /// Moves VMAs of the full leaf `leaf` to a neighbour that has room; the newcomer's place, which was `slot` of it.
    #[inline(never)]
    fn make_room(&mut self, leaf: usize, slot: usize) -> (usize, usize) {
        let room = |l: Option<usize>| l.and_then(|l| self.leaves.get(l)).map_or(0, |l| LEAF.saturating_sub(l.len()));
        let (below, above) = (room(leaf.checked_sub(1)), room(Some(leaf + 1)));
        if below.max(above) < ROOM {
            return (leaf, slot);
        }
        let n = below.max(above).div_ceil(2);
        let (lower, upper) = self.leaves.split_at_mut(if below > above { leaf } else { leaf + 1 });
        let (Some(lower), Some(upper)) = (lower.last_mut(), upper.first_mut()) else { return (leaf, slot) };
        // Both have the capacity of a full leaf: nothing is refused.
        if below > above {
            for v in upper.drain(..n) {
                let _ = lower.push_reserved(v);
            }
            if slot >= n { (leaf, slot - n) } else { (leaf - 1, lower.len() - n + slot) }
        } else {
            let keep = LEAF - n;
            for v in lower.drain(keep..) {
                let _ = upper.push_reserved(v);
            }
            upper.rotate_right(n);
            if slot <= keep { (leaf, slot) } else { (leaf + 1, slot - keep) }
        }
    }

    /// Joins the leaf `leaf`, which lost a VMA, with a neighbour if both have few.
    fn join(&mut self, leaf: usize) {
        for lower in [Some(leaf), leaf.checked_sub(1)].into_iter().flatten() {
            let (Some(low), Some(high)) = (self.leaves.get(lower), self.leaves.get(lower + 1)) else { continue };
            if low.len() + high.len() > JOINED {
                continue;
            }
            let Some(mut high) = self.leaves.remove(lower + 1) else { continue };
            for v in high.drain(..) {
                // It has the capacity of a full leaf.
                let _ = self.leaves[lower].push_reserved(v);
            }
            self.keep(high);
            return;
        }
    }

    /// Keeps an empty leaf for the next insertion; drops it when enough are kept.
    #[inline]
    fn keep(&mut self, empty: KVec<Vma>) {
        if self.spare.len() < RESERVE {
            let _ = self.spare.push_reserved(empty);
        }
    }

    /// Takes the VMA at `pos` out. No place is valid afterwards.
    pub fn remove(&mut self, pos: Pos) -> Option<Vma> {
        let leaf = self.leaves.get_mut(pos.leaf)?;
        if pos.slot >= leaf.len() {
            return None;
        }
        let vma = leaf.remove(pos.slot)?;
        self.count -= 1;
        let left = leaf.len();
        if left == 0 || self.leaves.len() > 1 && left < JOINED {
            self.thinned(pos.leaf, left == 0);
        }
        Some(vma)
    }

    /// Leaf `leaf` has lost a VMA, and is empty, or may have few enough to be joined.
    #[inline(never)]
    fn thinned(&mut self, leaf: usize, empty: bool) {
        if !empty {
            self.join(leaf);
        } else if let Some(empty) = self.leaves.remove(leaf) {
            self.keep(empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vma::VmFlags;
    use super::*;
    use std::collections::BTreeMap;

    fn vma(start: usize, end: usize) -> Vma {
        Vma::anonymous(start << 12, end << 12, VmFlags::READ)
    }

    #[test]
    fn find_gives_the_first_that_ends_above() {
        let mut t = VmaTree::new();
        for (s, e) in [(10, 20), (30, 40), (40, 41)] {
            t.reserve().unwrap();
            t.insert(vma(s, e)).map_err(|_| ()).unwrap();
        }
        let at = |a: usize| t.find(a << 12).and_then(|p| t.get(p)).map(|v| v.start >> 12);
        assert_eq!([0, 10, 19, 20, 39, 40, 41].map(at), [Some(10), Some(10), Some(10), Some(30), Some(30), Some(40), None]);
        assert!(t.at(25 << 12).is_none());
        assert_eq!(t.range(15 << 12, 41 << 12).count(), 3);
        assert_eq!(t.before(30 << 12).and_then(|p| t.get(p)).map(|v| v.start >> 12), Some(10));
        assert_eq!(t.before(35 << 12).and_then(|p| t.get(p)).map(|v| v.start >> 12), Some(30));
        assert_eq!(t.before(10 << 12), None);
        assert_eq!(t.before(usize::MAX).and_then(|p| t.get(p)).map(|v| v.end >> 12), Some(41));
    }

    /// Thread stacks and their guards: each below the last, between the program and what lies at the top.
    #[test]
    fn mappings_from_the_top_down_fill_their_leaves() {
        let mut t = VmaTree::new();
        let low = (1..7).map(|i| i * 2);
        for start in low.chain([20_000, 20_002]).chain((5_000..9_000).rev().map(|i| i * 2)) {
            t.reserve().unwrap();
            assert!(t.insert(vma(start, start + 1)).is_ok());
        }
        assert_eq!(t.count(), 4008);
        let fill = t.count() * 100 / (t.leaves.len() * LEAF);
        assert!(fill >= 75, "{fill} % of {} leaves", t.leaves.len());
    }

    /// A thread's stack is one mapping and then, by its guard, two; those of threads that have ended go in any order, and so come
    /// the next ones.
    #[test]
    fn mappings_in_any_order_fill_their_leaves() {
        let mut t = VmaTree::new();
        let mut seed = 11u64;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        let mut there = std::vec![false; 2000];
        let fill = |t: &VmaTree| t.count() * 100 / (t.leaves.len() * LEAF);
        for round in 0..6 {
            // Full, then a fourth of it, and again.
            while t.count() < 2000 {
                let i = next(2000);
                let i = (i..2000).chain(0..i).find(|i| !there[*i]).unwrap();
                there[i] = true;
                t.reserve().unwrap();
                assert!(t.insert(vma(2 * i + 1, 2 * i + 2)).is_ok());
            }
            assert!(fill(&t) >= 75, "round {round}: {} %", fill(&t));
            while t.count() > 500 {
                let i = next(2000);
                if core::mem::take(&mut there[i]) {
                    t.remove(t.first_in((2 * i + 1) << 12, (2 * i + 2) << 12).unwrap()).unwrap();
                }
            }
            assert!(fill(&t) >= 45, "round {round}, emptied: {} %", fill(&t));
            assert_eq!(
                t.iter().map(|v| v.start >> 13).collect::<std::vec::Vec<_>>(),
                (0..2000).filter(|i| there[*i]).collect::<std::vec::Vec<_>>()
            );
        }
    }

    /// Against a BTreeMap: random insertions and removals of up to a few thousand VMAs.
    #[test]
    fn behaves_like_an_ordered_map() {
        let mut t = VmaTree::new();
        let mut model = BTreeMap::new();
        let mut seed = 7u64;
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (seed >> 40) as usize % 3000;
            if model.contains_key(&key) || (step % 3 == 0 && !model.is_empty()) {
                let Some((&k, _)) = model.range(key..).next() else { continue };
                let pos = t.find((k * 2 + 1) << 12).unwrap();
                assert_eq!(t.get(pos).unwrap().start >> 12, k * 2 + 1);
                t.remove(pos).unwrap();
                model.remove(&k);
            } else {
                t.reserve().unwrap();
                assert!(t.insert(vma(key * 2 + 1, key * 2 + 2)).is_ok());
                model.insert(key, ());
            }
            assert_eq!(t.count(), model.len());
        }
        let got: std::vec::Vec<usize> = t.iter().map(|v| (v.start >> 12) / 2).collect();
        let want: std::vec::Vec<usize> = model.keys().copied().collect();
        assert_eq!(got, want);
        // Backwards by prev.
        let mut pos = t.last();
        let mut back = std::vec::Vec::new();
        while let Some(p) = pos {
            back.push((t.get(p).unwrap().start >> 12) / 2);
            pos = t.prev(p);
        }
        back.reverse();
        assert_eq!(back, want);
    }
}
