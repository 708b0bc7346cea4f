//! A radix tree from page indices to pages: 64 slots a node, as high as the largest index needs.
//!
//! A node is exactly 64 words, aligned to its size; how many of its slots are used is kept in the low bits of the slot
//! that points to it, so that removing needs no search and no memory is lost to a header. The first page of a file is in
//! the root itself: most files are small.
//!
//! ```text
//!   height 0:  root ── page 0
//!   height 1:  root ── [node] ── pages 0..64
//!   height 2:  root ── [node] ── [node] ── pages 0..4096        slot = address of node | used slots
//! ```
//!
//! No function recurses; the path to a slot is an array.

use super::page::{self, PageRef};
use vigil_mem::{AllocError, KBox};

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;
/// Levels that 64-bit indices need.
const MAX_HEIGHT: usize = 11;
const COUNT: usize = 0x7f;

#[repr(C, align(512))]
struct Node {
    slots: [usize; FANOUT],
}

/// A slot: 0, a page (at the bottom), or a node with its count.
type Slot = usize;

/// The tree. Owns one reference to each page in it.
pub struct Tree {
    root: Slot,
    height: u32,
}

fn node_of(slot: Slot) -> *mut Node {
    (slot & !COUNT) as *mut Node
}

/// Largest index that a tree of `height` holds.
fn max_index(height: u32) -> u64 {
    1u64.checked_shl(height * BITS).map_or(u64::MAX, |limit| limit - 1)
}

fn slot_index(index: u64, level: u32) -> usize {
    (index >> (level * BITS)) as usize & (FANOUT - 1)
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// An empty tree.
    pub const fn new() -> Tree {
        Tree { root: 0, height: 0 }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.root == 0
    }

    /// The page at `index`, counted.
    #[inline]
    pub fn get(&self, index: u64) -> Option<PageRef> {
        if index > max_index(self.height) {
            return None;
        }
        let mut slot = self.root;
        for level in (0..self.height).rev() {
            if slot == 0 {
                return None;
            }
            // SAFETY: above the bottom, a slot that is not 0 points to a node of this tree.
            slot = unsafe { (*node_of(slot)).slots[slot_index(index, level)] };
        }
        // SAFETY: at the bottom, a slot that is not 0 is a page to which the tree owns a reference.
        (slot != 0).then(|| unsafe { page::clone_raw(slot as *const ()) })
    }

    /// The pages from `first` on, counted, each in its slot; slots without a page stay as they are. One walk for each
    /// node: neighbours are in one.
    pub fn get_range(&self, first: u64, slots: &mut [Option<PageRef>]) {
        let mut done = 0;
        while done < slots.len() {
            let index = first.saturating_add(done as u64);
            if index > max_index(self.height) {
                return;
            }
            let (mut slot, at) = (self.root, slot_index(index, 0));
            for level in (1..self.height).rev() {
                if slot == 0 {
                    break;
                }
                // SAFETY: above the bottom, a slot that is not 0 points to a node of this tree.
                slot = unsafe { (*node_of(slot)).slots[slot_index(index, level)] };
            }
            let n = if self.height == 0 { 1 } else { (FANOUT - at).min(slots.len() - done) };
            if slot != 0 {
                let leaf = match self.height {
                    0 => core::slice::from_ref(&self.root),
                    // SAFETY: as above, of the lowest level.
                    _ => unsafe { &(&(*node_of(slot)).slots)[at..at + n] },
                };
                for (to, raw) in slots[done..done + n].iter_mut().zip(leaf) {
                    if *raw != 0 {
                        // SAFETY: at the bottom, a slot that is not 0 is a page to which the tree owns a reference.
                        *to = Some(unsafe { page::clone_raw(*raw as *const ()) });
                    }
                }
            }
            done += n;
        }
    }

    /// Enters `new` at `index`, which is empty: if not, the page that is there is the error. No memory: `Err(None)`.
    pub fn insert(&mut self, index: u64, new: PageRef) -> Result<(), Option<PageRef>> {
        while index > max_index(self.height) {
            if self.root != 0 {
                let node = new_node().map_err(|_| None)?;
                // SAFETY: just allocated.
                unsafe { (*node).slots[0] = self.root };
                self.root = node as usize | 1;
            }
            self.height += 1;
        }
        let mut path = [core::ptr::null_mut::<Slot>(); MAX_HEIGHT + 1];
        let mut depth = 0;
        path[0] = &raw mut self.root;
        for level in (0..self.height).rev() {
            // SAFETY: `path[depth]` is the root or a slot of a node on the path; all nodes on it are ours.
            unsafe {
                if *path[depth] == 0 {
                    let Ok(node) = new_node() else {
                        self.prune(&path, depth);
                        return Err(None);
                    };
                    *path[depth] = node as usize;
                    if depth > 0 {
                        *path[depth - 1] += 1;
                    }
                }
                path[depth + 1] = &raw mut (*node_of(*path[depth])).slots[slot_index(index, level)];
            }
            depth += 1;
        }
        // SAFETY: as above.
        unsafe {
            if *path[depth] != 0 {
                return Err(Some(page::clone_raw(*path[depth] as *const ())));
            }
            *path[depth] = page::into_raw(new) as usize;
            if depth > 0 {
                *path[depth - 1] += 1;
            }
        }
        Ok(())
    }

    /// Takes out the page at `index`.
    pub fn remove(&mut self, index: u64) -> Option<PageRef> {
        if index > max_index(self.height) {
            return None;
        }
        let mut path = [core::ptr::null_mut::<Slot>(); MAX_HEIGHT + 1];
        path[0] = &raw mut self.root;
        let mut depth = 0;
        for level in (0..self.height).rev() {
            // SAFETY: `path[depth]` is the root or a slot of a node on the path.
            unsafe {
                if *path[depth] == 0 {
                    return None;
                }
                path[depth + 1] = &raw mut (*node_of(*path[depth])).slots[slot_index(index, level)];
            }
            depth += 1;
        }
        // SAFETY: as above; the tree's reference moves into the result.
        let page = unsafe {
            let raw = core::mem::replace(&mut *path[depth], 0);
            if raw == 0 {
                return None;
            }
            if depth > 0 {
                *path[depth - 1] -= 1;
            }
            page::from_raw(raw as *const ())
        };
        if depth > 0 {
            self.prune(&path, depth - 1);
        }
        Some(page)
    }

    /// Frees the nodes on `path`, from `depth` upwards, that have become empty.
    fn prune(&mut self, path: &[*mut Slot; MAX_HEIGHT + 1], mut depth: usize) {
        loop {
            // SAFETY: `path[depth]` is the root or a slot of a node that is still there.
            unsafe {
                let slot = *path[depth];
                if slot != 0 {
                    if slot & COUNT != 0 {
                        return;
                    }
                    drop(KBox::from_raw(node_of(slot)));
                    *path[depth] = 0;
                    if depth > 0 {
                        *path[depth - 1] -= 1;
                    }
                }
            }
            if depth == 0 {
                break;
            }
            depth -= 1;
        }
        if self.root == 0 {
            self.height = 0;
        }
    }

    /// The first page at or after `from`, and its index.
    pub fn next(&self, from: u64) -> Option<(u64, PageRef)> {
        let mut index = from;
        'again: loop {
            if index > max_index(self.height) || self.root == 0 {
                return None;
            }
            let mut slot = self.root;
            for level in (0..self.height).rev() {
                // SAFETY: `slot` is not 0 and above the bottom: a node of this tree.
                let slots = unsafe { &(*node_of(slot)).slots };
                let start = slot_index(index, level);
                let below = level * BITS;
                match (start..FANOUT).find(|&at| slots[at] != 0) {
                    Some(at) => {
                        if at != start {
                            // A later subtree: its first page, whatever the lower digits were.
                            let prefix = index >> below >> BITS << BITS;
                            index = (prefix | at as u64) << below;
                        }
                        slot = slots[at];
                    }
                    None => {
                        // Nothing more in this node: on with the first index after it.
                        let next = (index >> below >> BITS).checked_add(1)?;
                        index = next.checked_shl(below + BITS).filter(|n| n >> (below + BITS) == next)?;
                        continue 'again;
                    }
                }
            }
            // SAFETY: the bottom slot that was found is a page in the tree.
            return Some((index, unsafe { page::clone_raw(slot as *const ()) }));
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        while let Some((index, _)) = self.next(0) {
            self.remove(index);
        }
    }
}

fn new_node() -> Result<*mut Node, AllocError> {
    Ok(KBox::into_raw(KBox::try_new(Node { slots: [0; FANOUT] })?))
}

#[cfg(test)]
mod tests {
    use super::super::page::PageExt;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn tagged(tag: u8) -> PageRef {
        vigil_mem::host::start();
        let page = page::alloc(true).unwrap();
        // SAFETY: a new page.
        unsafe { *page.addr() = tag };
        page
    }

    fn tag(page: &PageRef) -> u8 {
        // SAFETY: nobody writes.
        unsafe { *page.addr() }
    }

    #[test]
    fn small_and_huge_indices_live_together_and_all_nodes_go() {
        let mut tree = Tree::new();
        for (n, index) in [0, 63, 64, 4095, 4096, 1 << 40, u64::MAX].into_iter().enumerate() {
            assert!(tree.insert(index, tagged(n as u8)).is_ok());
        }
        assert_eq!(tag(&tree.get(u64::MAX).unwrap()), 6);
        assert_eq!(tree.next(65).map(|(index, _)| index), Some(4095));
        assert_eq!(tree.next(4097).map(|(index, _)| index), Some(1 << 40));
        assert_eq!(tree.next((1 << 40) + 1).map(|(index, _)| index), Some(u64::MAX));
        for index in [0, 63, 64, 4095, 4096, 1 << 40, u64::MAX] {
            assert!(tree.remove(index).is_some());
            assert!(tree.remove(index).is_none());
        }
        assert!(tree.is_empty());
        assert_eq!(tree.height, 0);
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in proptest::collection::vec((0u8..3, 0u64..20_000), 1..300)) {
            let mut tree = Tree::new();
            let mut model = BTreeMap::new();
            for (n, (op, key)) in ops.into_iter().enumerate() {
                let key = if key % 7 == 0 { key << 30 } else { key };
                match op {
                    0 => {
                        let inserted = tree.insert(key, tagged(n as u8)).is_ok();
                        prop_assert_eq!(inserted, !model.contains_key(&key));
                        model.entry(key).or_insert(n as u8);
                    }
                    1 => prop_assert_eq!(tree.remove(key).map(|p| tag(&p)), model.remove(&key)),
                    _ => {
                        prop_assert_eq!(tree.get(key).map(|p| tag(&p)), model.get(&key).copied());
                        let next = model.range(key..).next().map(|(&k, &v)| (k, v));
                        prop_assert_eq!(tree.next(key).map(|(k, p)| (k, tag(&p))), next);
                        let mut range = [const { None }; 70];
                        tree.get_range(key, &mut range);
                        for (at, page) in range.iter().enumerate() {
                            prop_assert_eq!(page.as_ref().map(tag), model.get(&(key + at as u64)).copied());
                        }
                    }
                }
            }
            let all: Vec<u64> = model.keys().copied().collect();
            for key in all {
                prop_assert!(tree.remove(key).is_some());
            }
            prop_assert!(tree.is_empty());
        }
    }
}
